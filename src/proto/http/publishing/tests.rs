//! A publisher and the machine, driven the way a driver drives it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::super::{
    AskId, Config, Container, Error, Event, Request, Response, Server, Timer, chunk,
};
use super::{ITEMS_MAX, PIECE_BYTES};
use crate::bytes::Chain;
use crate::container::flv::{self, Item, TagKind};
use crate::container::{fmp4, ts};
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, TrackKind};
use crate::time::Timestamp;

/// `count` sounds, 20 ms apart, as a file.
fn file(count: u32) -> Vec<u8> {
    let mut file = flv::file_header(true, false).to_vec();
    for number in 0..count {
        tag(&mut file, TagKind::Audio, number * 20, &[b"\x2fsound ", &[number as u8][..]].concat());
    }
    file
}

fn tag(file: &mut Vec<u8>, kind: TagKind, time_ms: u32, body: &[u8]) {
    file.extend(flv::tag_header(kind, body.len(), time_ms.into()));
    file.extend(body);
    file.extend(flv::previous_tag_size(body.len()));
}

/// `content` in chunks of `size`.
fn chunks(content: &[u8], size: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for content in content.chunks(size) {
        body.extend([&chunk::head(content.len())[..], content, chunk::TAIL].concat());
    }
    body.extend(chunk::LAST);
    body
}

fn post(fields: &str) -> String {
    format!("POST /live/a.flv HTTP/1.1\r\nHost: h\r\n{fields}\r\n")
}

fn chunked(content: &[u8]) -> Vec<u8> {
    [post("Transfer-Encoding: chunked\r\n").as_bytes(), &chunks(content, 100)].concat()
}

fn sized(content: &[u8]) -> Vec<u8> {
    let head = post(&format!("Content-Length: {}\r\n", content.len()));
    [head.as_bytes(), content].concat()
}

/// A machine that lets everyone publish, and what came of it.
struct Peer {
    server: Server,
    now: Instant,
    unread: Vec<u8>,
    said: String,
    requests: Vec<Request>,
    /// The last byte of each, and its time.
    sounds: Vec<u8>,
    times_ms: Vec<i64>,
    ended: usize,
    error: Option<Error>,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        let server = Server::new(Config::default(), now);
        Self {
            server,
            now,
            unread: vec![],
            said: String::new(),
            requests: vec![],
            sounds: vec![],
            times_ms: vec![],
            ended: 0,
            error: None,
        }
    }

    fn after(input: &[u8]) -> Self {
        let mut peer = Self::new();
        peer.send(input);
        peer
    }

    fn send(&mut self, input: &[u8]) {
        self.unread.extend(input);
        loop {
            match self.server.handle_input(self.now, &self.unread) {
                Ok(taken) => drop(self.unread.drain(..taken)),
                Err(error) => {
                    self.error = Some(error);
                    self.unread.clear();
                }
            }
            if !self.drain() {
                return;
            }
        }
    }

    /// False if there was nothing to do.
    fn drain(&mut self) -> bool {
        let mut some = false;
        while let Some(event) = self.server.poll_event() {
            some = true;
            match event {
                Event::Request(request) => {
                    let ask = request.ask;
                    self.requests.push(*request);
                    self.server.accept_publish(self.now, ask, Container::Flv);
                }
                Event::Media(Item::Frame(frame)) => {
                    self.sounds.push(*frame.data.last().expect("not empty"));
                    self.times_ms.push(frame.dts.as_millis());
                }
                Event::Media(_) | Event::Notice(_) => {}
                Event::PublishEnded { ask } => {
                    self.ended += 1;
                    self.server.respond(self.now, ask, &Response::new(200, "", "ok"));
                }
                Event::Closed { .. } => panic!("no WebSocket here"),
            }
        }
        let mut out = Chain::default();
        while self.server.poll_transmit(&mut out) {}
        self.said += std::str::from_utf8(&out.into_bytes()).expect("text");
        some
    }

    fn pass(&mut self, time: Duration) -> Result<(), Error> {
        self.now += time;
        let result = self.server.handle_timeout(self.now);
        self.drain();
        result
    }

    /// The statuses that were answered.
    fn statuses(&self) -> Vec<&str> {
        self.said.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
    }
}

#[test]
fn a_body_is_published_however_its_length_is_told_and_the_next_request_follows() {
    for first in [sized(&file(5)), chunked(&file(5))] {
        let mut peer = Peer::after(&[first, sized(&file(3))].concat());
        assert_eq!(peer.error, None);
        assert_eq!(peer.sounds, [0, 1, 2, 3, 4, 0, 1, 2]);
        assert_eq!(peer.times_ms, [0, 20, 40, 60, 80, 0, 20, 40]);
        assert_eq!((peer.statuses(), peer.ended), (vec!["200", "200"], 2));
        assert!(peer.said.contains("Connection: keep-alive\r\n"), "{}", peer.said);
        assert_eq!(peer.pass(Duration::from_secs(30)), Ok(()));
        assert!(peer.server.is_finished());
    }
}

#[test]
fn the_end_waits_until_all_that_came_before_it_was_polled() {
    let mut server = Server::new(Config::default(), Instant::now());
    let (now, input) = (Instant::now(), sized(&file(2)));
    let head = server.handle_input(now, &input).expect("right");
    let Some(Event::Request(request)) = server.poll_event() else { panic!("a request") };
    server.accept_publish(now, request.ask, Container::Flv);
    assert_eq!(server.handle_input(now, &input[head..]), Ok(input.len() - head));
    assert_eq!(server.handle_input(now, b"GET"), Ok(0), "the answer comes first");
    let kinds: Vec<_> = std::iter::from_fn(|| server.poll_event())
        .map(|event| match event {
            Event::Media(Item::Track(_)) => "track",
            Event::Media(Item::Frame(_)) => "frame",
            Event::PublishEnded { ask } if ask == request.ask => "end",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["track", "frame", "frame", "end"]);
    assert_eq!(server.poll_timeout(), None, "its answer is the caller's");
}

/// `count` sounds of one byte, as each container has them.
fn tiny(count: i64) -> [(Container, Vec<u8>); 3] {
    let track = Track {
        codec: Codec::Audio(AudioCodec::Aac),
        config: Bytes::from_static(&[0x11, 0x90]),
        hdr: None,
        video: None,
        audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 }),
    };
    let (mut mux, mut fragmenter) = (ts::Mux::new(), fmp4::Fragmenter::new());
    mux.set_tracks(None, Some(&track));
    fragmenter.set_tracks(None, Some(&track));
    let (mut packets, mut fragments) =
        (BytesMut::new(), BytesMut::from(&fmp4::init(None, Some(&track))[..]));
    for number in 0..count {
        let at = Timestamp::from_nanos(number * 1024 * 1_000_000_000 / 48_000);
        let data = Bytes::from_static(b"a");
        let frame = Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data };
        mux.push(&mut packets, &frame);
        fragmenter.push(&frame);
    }
    mux.flush(&mut packets);
    fragmenter.flush(&mut fragments);
    [
        (Container::Flv, file(count as u32)),
        (Container::Ts, packets.to_vec()),
        (Container::Mp4, fragments.to_vec()),
    ]
}

#[test]
fn frames_of_a_few_bytes_are_told_some_at_a_time() {
    let (now, count) = (Instant::now(), 20_000);
    for (container, body) in tiny(count) {
        let mut server = Server::new(Config::default(), now);
        let head = post(&format!("Content-Length: {}\r\n", body.len()));
        assert_eq!(server.handle_input(now, head.as_bytes()), Ok(head.len()));
        let Some(Event::Request(request)) = server.poll_event() else { panic!("a request") };
        server.accept_publish(now, request.ask, container);
        let (mut rest, mut frames) = (&body[..], 0);
        while !rest.is_empty() {
            let taken = server.handle_input(now, rest).expect("right");
            rest = &rest[taken..];
            let events: Vec<Event> = std::iter::from_fn(|| server.poll_event()).collect();
            let told = events.iter().filter(|event| matches!(event, Event::Media(_))).count();
            assert!(told > 0 && told < ITEMS_MAX + PIECE_BYTES, "{container:?}: {told} at once");
            let is_frame = |event: &&Event| matches!(event, Event::Media(Item::Frame(_)));
            frames += events.iter().filter(is_frame).count() as i64;
        }
        assert_eq!(frames, count, "{container:?}");
    }
}

#[test]
fn who_waits_for_100_gets_it_when_it_is_let_in_and_never_before() {
    let head = post("Content-Length: 3\r\nExpect: 100-continue\r\n");
    let refuse = |response: &Response| {
        let mut server = Server::new(Config::default(), Instant::now());
        assert_eq!(server.handle_input(Instant::now(), head.as_bytes()), Ok(head.len()));
        let Some(Event::Request(request)) = server.poll_event() else { panic!("a request") };
        let mut out = Chain::default();
        assert!(!server.poll_transmit(&mut out), "nothing is said before the answer");
        server.respond(Instant::now(), request.ask, response);
        while server.poll_transmit(&mut out) {}
        assert!(server.is_finished(), "its body may come or not");
        String::from_utf8(out.into_bytes().to_vec()).expect("text")
    };
    let said = refuse(&Response::json_error(403, "forbidden", "no"));
    assert!(said.starts_with("HTTP/1.1 403 ") && said.contains("Connection: close\r\n"), "{said}");

    let mut peer = Peer::after(head.as_bytes());
    assert_eq!(peer.said, "HTTP/1.1 100 Continue\r\n\r\n");
    peer.send(b"FLV");
    assert_eq!(peer.statuses(), ["100", "400"]);
    assert_eq!(Peer::after(post("Content-Length: 3\r\n").as_bytes()).said, "", "not asked for");
}

#[test]
fn a_refused_body_is_never_taken_for_a_request() {
    let input = [&sized(b"GET /secret HTTP/1.1\r\nHost: h\r\n\r\n")[..], b"GET / "].concat();
    let mut server = Server::new(Config::default(), Instant::now());
    let now = Instant::now();
    let taken = server.handle_input(now, &input).expect("right");
    let Some(Event::Request(request)) = server.poll_event() else { panic!("a request") };
    server.respond(now, request.ask, &Response::json_error(415, "no", ""));
    assert_eq!(server.handle_input(now, &input[taken..]), Ok(input.len() - taken));
    assert_eq!(server.poll_event(), None);
}

#[test]
fn a_request_without_body_cannot_publish_and_stays_open() {
    for fields in ["", "Content-Length: 0\r\n"] {
        let mut peer = Peer::after(post(fields).as_bytes());
        assert_eq!((peer.requests[0].body, peer.said.as_str()), (None, ""));
        peer.server.respond(peer.now, AskId(1), &Response::json_error(411, "length", ""));
        peer.drain();
        assert!(peer.said.contains("Connection: keep-alive\r\n"), "nothing follows: {}", peer.said);
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let whole = file(2);
    let changed = |at: usize, byte: u8| {
        let mut file = whole.clone();
        file[at] = byte;
        file
    };
    // A file header of 9 bytes, then the size of nothing, 4, and twice: a tag of 11 + 8, its size.
    for (content, status, why) in [
        (
            changed(0, b'f'),
            "400",
            "http/body: in what begins at byte 0 of the body: flv/file header: expected \"FLV\" and \
             version 1, found [66, 4c, 56, 01]",
        ),
        (
            changed(13 + 23, 0x28),
            "400",
            "http/body: in what begins at byte 32 of the body: flv/tag header: expected no filter, \
             found an encrypted tag",
        ),
        (
            whole[..whole.len() - 5].to_vec(),
            "400",
            "http/body: in what begins at byte 32 of the body: flv/tag body: expected 8 bytes, found \
             the end of the file after 7",
        ),
    ] {
        for input in [sized(&content), chunked(&content)] {
            let peer = Peer::after(&input);
            let error = peer.error.as_ref().map(Error::to_string);
            assert_eq!(error.as_deref(), Some(why));
            assert_eq!(peer.statuses(), [status], "{why}");
            assert!(peer.server.is_finished());
        }
    }
    let broken = post("Transfer-Encoding: chunked\r\n") + "3\r\nFLVx";
    let error = Peer::after(broken.as_bytes()).error.expect("wrong").to_string();
    let at = broken.len() - 1;
    let why =
        format!("http/body: at byte {at}: expected CR LF behind the bytes of a chunk, found x");
    assert_eq!(error, why);
}

#[test]
fn a_tag_over_the_limit_is_413() {
    let limits = flv::Limits { tag_bytes: 7, ..flv::Limits::default() };
    let config = Config { flv: limits, ..Config::default() };
    let now = Instant::now();
    let mut peer = Peer { server: Server::new(config, now), ..Peer::new() };
    peer.send(&sized(&file(1)));
    assert_eq!(peer.statuses(), ["413"]);
    assert!(peer.said.contains("flv/tag body: expected at most 7 bytes, found 8"), "{}", peer.said);
}

#[test]
fn a_silent_publisher_is_told_so_and_sound_moves_the_deadline() {
    let head = post("Transfer-Encoding: chunked\r\n");
    let timeout =
        |peer: &Peer| peer.server.poll_timeout().map(|(at, timer)| (at - peer.now, timer));
    let [first, silence] = [20, 10].map(Duration::from_secs);
    let mut peer = Peer::after(head.as_bytes());
    assert_eq!(timeout(&peer), Some((first, Timer::FirstFrame)));
    // A header is no sound, nor is a chunk's head.
    peer.now += Duration::from_secs(19);
    peer.send(&chunks(&file(0), 100)[..4]);
    assert_eq!(timeout(&peer), Some((Duration::from_secs(1), Timer::FirstFrame)));
    assert_eq!(peer.pass(Duration::from_secs(1)).expect_err("silent").status(), 408);
    assert!(peer.said.contains("expected the first audio or video within 20s"), "{}", peer.said);

    let mut peer = Peer::after(head.as_bytes());
    let body = chunks(&file(2), 10_000);
    peer.send(&body[..body.len() - 30]);
    assert_eq!((peer.sounds.len(), timeout(&peer)), (1, Some((silence, Timer::Silence))));
    peer.now += Duration::from_secs(9);
    let until = peer.server.extend_silence(peer.now).expect("it publishes");
    assert_eq!(until, peer.now + silence);
    assert_eq!(peer.pass(Duration::from_secs(9)), Ok(()));
    assert_eq!(peer.pass(Duration::from_secs(1)).expect_err("silent").status(), 408);
    assert!(peer.said.contains("expected audio or video within 10s"), "{}", peer.said);
}

#[test]
fn who_is_put_out_hears_why_and_what_it_still_sends_is_thrown_away() {
    let mut peer = Peer::after(post("Transfer-Encoding: chunked\r\n").as_bytes());
    peer.server.end_publish(&Response::json_error(409, "in use", "another took over"));
    peer.drain();
    assert_eq!(peer.statuses(), ["409"]);
    assert!(peer.said.contains("Connection: close\r\n") && peer.server.is_finished());
    peer.send(&chunks(&file(2), 100));
    assert_eq!((peer.sounds.len(), peer.ended), (0, 0));
    peer.server.end_publish(&Response::json_error(500, "twice", ""));
    peer.drain();
    assert_eq!(peer.statuses(), ["409"], "it is said once");
}

proptest! {
    #[test]
    fn a_publisher_is_the_same_in_any_pieces(
        count in 1_u32..20,
        size in 1_usize..300,
        step in 1_usize..400,
        is_chunked: bool,
        is_continued: bool,
    ) {
        let content = file(count);
        let (length, body) = match is_chunked {
            true => ("Transfer-Encoding: chunked\r\n".to_owned(), chunks(&content, size)),
            false => (format!("Content-Length: {}\r\n", content.len()), content),
        };
        let expect = if is_continued { "Expect: 100-continue\r\n" } else { "" };
        let input = [post(&(length + expect)).as_bytes(), &body, &sized(&file(1))].concat();
        let mut peer = Peer::new();
        input.chunks(step).for_each(|piece| peer.send(piece));
        let sounds: Vec<u8> = (0..count as u8).chain([0]).collect();
        prop_assert_eq!((&peer.error, peer.sounds), (&None, sounds));
    }

    #[test]
    fn any_body_means_the_same_in_any_pieces(
        tail in proptest::collection::vec(
            prop::sample::select(&b"\r\n\r\n0015aF;\x08\x09\x12\0\0\0\xff"[..]), 0..80),
        keep in 0_usize..200,
        step in 1_usize..100,
    ) {
        let mut input = chunked(&file(4));
        input.truncate(keep);
        input.extend(tail);
        let whole = Peer::after(&input);
        let mut cut = Peer::new();
        input.chunks(step).for_each(|piece| cut.send(piece));
        prop_assert_eq!(&cut.error, &whole.error);
        prop_assert_eq!(cut.statuses(), whole.statuses());
        // What was read together with a fault is lost with it.
        prop_assert!(cut.sounds.starts_with(&whole.sounds));
    }
}
