//! One function per thing that reads bytes of strangers: it feeds them in and checks what must
//! hold whatever they are. The fuzz targets call these, and `tests/seeds.rs` replays the seeds.
//!
//! Where reading may be interrupted anywhere, the first byte says how long the pieces are: what is
//! read in pieces must equal what is read at once.

pub(crate) mod gates;
pub(crate) mod records;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use corecast::bytes::Chain;
use corecast::codec;
use corecast::container::{amf0, flv, fmp4, ts};
use corecast::media::{AudioCodec, Codec, VideoCodec};
use corecast::proto::{http, rtmp, ts_udp as datagrams};
use corecast::time::Timestamp;

/// A function that takes any bytes.
pub(crate) type Feed = fn(&[u8]);

/// All of them, by the name of the fuzz target and of the folder of its seeds.
pub(crate) const ALL: [(&str, Feed); 18] = [
    ("chunk_reader", chunk_reader),
    ("amf0", amf0),
    ("handshake", handshake),
    ("rtmp_server", rtmp_server),
    ("rtmp_client", rtmp_client),
    ("flv_demux", flv_demux),
    ("flv_file", flv_file),
    ("ts_demux", ts_demux),
    ("ts_udp", ts_udp),
    ("fmp4_demux", fmp4_demux),
    ("http_head", http_head),
    ("ws_frames", ws_frames),
    ("codec_config", codec_config),
    ("proxy_header", gates::proxy_header),
    ("forwarded", gates::forwarded),
    ("access", gates::access),
    ("hook_reply", gates::hook_reply),
    ("tls_records", records::tls_records),
];

/// The bytes without the first, and the length of pieces it stands for.
fn pieces(data: &[u8]) -> (&[u8], usize) {
    match data {
        [] => (data, 1),
        [first, rest @ ..] => (rest, 1 + usize::from(*first)),
    }
}

/// RTMP chunks: messages are the same however they arrive, and no longer than the limit.
pub(crate) fn chunk_reader(data: &[u8]) {
    let (data, size) = pieces(data);
    let limits = rtmp::ChunkLimits { message_bytes: 1 << 16, reassembly_bytes: 1 << 17, csids: 8 };
    let read = |size: usize| {
        let mut reader = rtmp::ChunkReader::new(limits);
        let mut messages = Vec::new();
        for mut piece in data.chunks(size.max(1)) {
            while !piece.is_empty() {
                match reader.read(&mut piece) {
                    Ok(Some(message)) => {
                        assert!(message.payload.len() <= limits.message_bytes as usize);
                        messages.push(message);
                    }
                    Ok(None) => assert!(piece.is_empty(), "all is taken when no message is whole"),
                    Err(_) => return messages,
                }
            }
        }
        messages
    };
    let (whole, cut) = (read(data.len()), read(size));
    assert_eq!(whole.len(), cut.len());
    for (a, b) in whole.iter().zip(&cut) {
        assert_eq!((a.kind, a.timestamp_ms, a.stream_id), (b.kind, b.timestamp_ms, b.stream_id));
        assert_eq!(a.payload, b.payload);
    }
}

/// AMF0: what was read can be written, and reads as the same again.
pub(crate) fn amf0(data: &[u8]) {
    let Ok(values) = amf0::decode(data, amf0::Limits::default()) else { return };
    let write = |values: &[amf0::Value]| {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::encode(&mut out, value));
        out.freeze()
    };
    let once = write(&values);
    let again = amf0::decode(&once, amf0::Limits::default()).expect("what we write, we can read");
    assert_eq!(once, write(&again));
}

/// The RTMP handshake, both sides, in pieces.
pub(crate) fn handshake(data: &[u8]) {
    let (data, size) = pieces(data);
    let mut server = rtmp::handshake::Server::new(7);
    let mut out = Chain::default();
    for mut piece in data.chunks(size) {
        if !matches!(server.handle_input(1, &mut piece), Ok(false)) {
            break;
        }
        server.poll_transmit(&mut out);
    }
    let mut client =
        rtmp::handshake::Client::new(rtmp::handshake::Variant::Simple, 1, u64::from(size as u8));
    for mut piece in data.chunks(size) {
        if !matches!(client.handle_input(&mut piece), Ok(false)) {
            break;
        }
        client.poll_transmit(&mut out);
    }
}

/// The RTMP server machine after its handshake, with everything granted.
pub(crate) fn rtmp_server(data: &[u8]) {
    let (data, size) = pieces(data);
    let now = Instant::now();
    let mut server = rtmp::Server::new(rtmp::ServerConfig::default(), 7, now);
    let mut out = Chain::default();
    let mut hello = vec![0; 1 + 2 * 1536];
    hello[0] = 3;
    if server.handle_input(now, &hello).is_err() {
        return;
    }
    for piece in data.chunks(size) {
        let mut taken = 0;
        while taken < piece.len() {
            let Ok(count) = server.handle_input(now, &piece[taken..]) else { return };
            taken += count;
            let mut asked = false;
            while let Some(event) = server.poll_event() {
                asked = true;
                match event {
                    rtmp::Event::Connect { ask, .. } => server.accept_connect(now, ask),
                    rtmp::Event::Publish { ask, .. } => server.accept_publish(now, ask),
                    rtmp::Event::Play { ask, .. } => drop(server.accept_play(ask)),
                    _ => {}
                }
            }
            server.poll_transmit(&mut out);
            if server.is_finished() || (count == 0 && !asked) {
                return;
            }
        }
    }
}

/// The RTMP client machine: a server may say anything.
pub(crate) fn rtmp_client(data: &[u8]) {
    let (data, size) = pieces(data);
    let now = Instant::now();
    let Ok(url) = "rtmp://localhost/live/a".parse::<rtmp::Url>() else { return };
    let goal = match size % 2 {
        0 => rtmp::Goal::Play,
        _ => rtmp::Goal::Publish,
    };
    let mut client = rtmp::Client::new(rtmp::ClientConfig::default(), url, goal, 7, now);
    let mut out = Chain::default();
    let mut hello = vec![0; 1 + 2 * 1536];
    hello[0] = 3;
    for piece in [hello.as_slice()].into_iter().chain(data.chunks(size)) {
        if client.handle_input(now, piece).is_err() {
            return;
        }
        while client.poll_event().is_some() {}
        client.poll_transmit(&mut out);
    }
}

/// FLV tag bodies, one after the other: kind, length, body.
pub(crate) fn flv_demux(mut data: &[u8]) {
    let mut demux = flv::Demux::new(flv::Limits::default());
    let mut items = Vec::new();
    while let [kind, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        data = rest;
        let kind = match kind % 3 {
            0 => flv::TagKind::Audio,
            1 => flv::TagKind::Video,
            _ => flv::TagKind::Script,
        };
        let _ = demux.push(kind, Timestamp::ZERO, Bytes::copy_from_slice(body), &mut items);
        while demux.poll_notice().is_some() {}
        for item in items.drain(..) {
            if let flv::Item::Track(track) = item {
                let _ = flv::sequence_start(&track, flv::HevcForm::Enhanced);
                let _ = flv::sequence_start(&track, flv::HevcForm::Legacy);
            }
        }
    }
}

/// An FLV file and what its tags hold: the tags are the same however they arrive.
pub(crate) fn flv_file(data: &[u8]) {
    let (data, size) = pieces(data);
    let limits = flv::Limits::default();
    let read = |size: usize| {
        let mut reader = flv::FileReader::new(limits);
        let mut tags = Vec::new();
        for mut piece in data.chunks(size.max(1)) {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(tag)) => tags.push(tag),
                    Ok(None) => break,
                    Err(_) => return tags,
                }
            }
        }
        tags
    };
    let tags = read(data.len());
    assert_eq!(tags.len(), read(size).len());
    let mut demux = flv::Demux::new(limits);
    let mut items = Vec::new();
    for (kind, time_ms, body) in tags {
        let at = Timestamp::from_millis(i64::from(time_ms));
        let _ = demux.push(kind, at, body, &mut items);
    }
}

/// A transport stream: what it holds is the same however it arrives, and no longer than allowed.
pub(crate) fn ts_demux(data: &[u8]) {
    let (data, size) = pieces(data);
    let limits = ts_limits();
    let read = |size: usize| {
        let mut demux = ts::Demux::new(limits);
        let mut items = Vec::new();
        let mut pieces = data.chunks(size.max(1));
        let result = pieces
            .try_for_each(|piece| demux.push(piece, &mut items))
            .and_then(|()| demux.finish(&mut items));
        let notices: Vec<_> = std::iter::from_fn(|| demux.poll_notice()).collect();
        assert!(notices.len() <= limits.notices);
        (items, notices, demux.counts(), result)
    };
    let whole = read(data.len());
    assert_eq!(whole, read(size));
    check_ts_items(whole.0);
}

fn ts_limits() -> ts::Limits {
    ts::Limits { unit_bytes: 1 << 16, sound_bytes: 1 << 12, ..ts::Limits::default() }
}

fn check_ts_items(items: Vec<flv::Item>) {
    for item in items {
        match item {
            flv::Item::Track(track) => {
                let _ = flv::sequence_start(&track, flv::HevcForm::Enhanced);
            }
            // Three bytes of a start code and one of a unit become five.
            flv::Item::Frame(frame) => assert!(frame.data.len() <= ts_limits().unit_bytes * 5 / 4),
            _ => {}
        }
    }
}

/// An input of datagrams, each with its sender, the time since the one before, and its length: each is
/// counted, and nothing waits longer than it may.
pub(crate) fn ts_udp(mut data: &[u8]) {
    let (silence, ts) = (Duration::from_secs(1), ts_limits());
    let mut input =
        datagrams::Ingest::new(datagrams::Config { source: None, program: None, silence, ts });
    let (mut now, mut items) = (Instant::now(), Vec::new());
    while let [from, wait, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (datagram, rest) = rest.split_at(length);
        data = rest;
        now += Duration::from_millis(5 * u64::from(*wait));
        let from = SocketAddr::from(([127, 0, 0, 1], u16::from(from % 4)));
        let _ = input.handle_timeout(now, &mut items);
        assert!(input.poll_timeout().is_none_or(|at| now < at && at <= now + silence));
        let counted = |counts: datagrams::Counts| counts.taken + counts.foreign + counts.invalid;
        let before = counted(input.counts());
        match input.handle_datagram(now, from, datagram, &mut items) {
            Ok(()) => assert_eq!(counted(input.counts()), before + 1),
            Err(_) => assert_eq!(input.sender(), None),
        }
        while input.poll_notice().is_some() {}
    }
    let _ = input.finish(&mut items);
    assert_eq!((input.sender(), input.poll_timeout()), (None, None));
    check_ts_items(items);
}

/// An MP4 stream: what it holds is the same however it arrives, no longer than allowed, and no more
/// than came.
pub(crate) fn fmp4_demux(data: &[u8]) {
    let (data, size) = pieces(data);
    let limits = fmp4::Limits {
        sample_bytes: 1 << 14,
        waiting_bytes: 1 << 15,
        waiting_frames: 64,
        samples: 1 << 10,
        ..fmp4::Limits::default()
    };
    let read = |size: usize| {
        let mut demux = fmp4::Demux::new(limits);
        let mut items = Vec::new();
        let mut pieces = data.chunks(size.max(1));
        let result = pieces
            .try_for_each(|piece| demux.push(piece, &mut items))
            .and_then(|()| demux.finish(&mut items));
        let notices: Vec<_> = std::iter::from_fn(|| demux.poll_notice()).collect();
        assert!(notices.len() <= limits.notices);
        drop(result.as_ref().map_err(ToString::to_string));
        (items, notices, demux.counts(), result)
    };
    let whole = read(data.len());
    assert_eq!(whole, read(size));
    let mut bytes = 0;
    for item in whole.0 {
        match item {
            flv::Item::Track(track) => {
                let _ = flv::sequence_start(&track, flv::HevcForm::Enhanced);
                let _ = fmp4::init(Some(&track), None);
            }
            flv::Item::Frame(frame) => {
                assert!((1..=limits.sample_bytes).contains(&frame.data.len()));
                bytes += frame.data.len();
            }
            _ => {}
        }
    }
    assert!(bytes <= data.len());
}

/// The HTTP server machine: each request is answered, streams are begun by WebSocket too, and every
/// body is published. What it tells is the same however it arrives, but for what is read together
/// with a fault and lost with it.
pub(crate) fn http_head(data: &[u8]) {
    let (data, size) = pieces(data);
    let (whole, cut) = (http_events(data, data.len()), http_events(data, size));
    // Much of one body is told in parts, wherever they end.
    assert!(cut.starts_with(&whole) || whole.starts_with(&cut), "{whole:?} {cut:?}");
}

fn http_events(data: &[u8], size: usize) -> Vec<String> {
    let now = Instant::now();
    let mut server = http::Server::new(http::Config::default(), now);
    let mut out = Chain::default();
    let mut seen = Vec::new();
    for piece in data.chunks(size.max(1)) {
        let mut taken = 0;
        while taken < piece.len() {
            let Ok(count) = server.handle_input(now, &piece[taken..]) else { return seen };
            taken += count;
            let mut asked = false;
            while let Some(event) = server.poll_event() {
                asked = true;
                seen.push(format!("{event:?}"));
                match event {
                    http::Event::Request(request) => http_answer(&mut server, now, &request),
                    http::Event::PublishEnded { ask } => {
                        server.respond(now, ask, &http::Response::new(200, "text/plain", "ok"));
                    }
                    _ => {}
                }
            }
            let said = server.poll_transmit(&mut out);
            if server.is_finished() || (count == 0 && !asked && !said) {
                return seen;
            }
        }
    }
    seen
}

fn http_answer(server: &mut http::Server, now: Instant, request: &http::Request) {
    let query = http::Query::new(&request.query);
    let _ = (query.get("gop"), query.get("audio"));
    if request.websocket {
        server.accept_stream(request.ask, http::Framing::WebSocket);
    } else if request.body.is_some() {
        server.accept_publish(now, request.ask, http::Container::Flv);
    } else {
        let answer = http::Response::json_error(404, "none", "");
        server.respond(now, request.ask, &answer);
    }
}

/// Frames of a WebSocket client: the same however they arrive.
pub(crate) fn ws_frames(data: &[u8]) {
    let (data, size) = pieces(data);
    let read = |size: usize| {
        let mut reader = http::ws::Reader::new(1 << 16);
        let mut seen = Vec::new();
        for mut piece in data.chunks(size.max(1)) {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(incoming)) => seen.push(format!("{incoming:?}")),
                    Ok(None) => break,
                    Err(violation) => {
                        seen.push(format!("{violation:?}"));
                        return seen;
                    }
                }
            }
        }
        seen
    };
    assert_eq!(read(data.len()), read(size));
}

/// Configuration records and first frames of every codec: SPS, avcC, hvcC, av1C, vpcC, ASC, ….
pub(crate) fn codec_config(data: &[u8]) {
    let [which, data @ ..] = data else { return };
    let codecs = [
        Codec::Video(VideoCodec::H264),
        Codec::Video(VideoCodec::H265),
        Codec::Video(VideoCodec::Av1),
        Codec::Video(VideoCodec::Vp9),
        Codec::Audio(AudioCodec::Aac),
        Codec::Audio(AudioCodec::Opus),
        Codec::Audio(AudioCodec::Ac3),
        Codec::Audio(AudioCodec::Mp3),
        Codec::Audio(AudioCodec::Flac),
    ];
    let codec = codecs[usize::from(*which) % codecs.len()];
    let _ = codec::describe(codec, data);
    let _ = codec::describe_frame(codec, data);
    let _ = codec::h264::is_recovery_point(data, 1 + which % 4);
    codec::nal::length_prefixed(data, 1 + which % 4).for_each(drop);
}
