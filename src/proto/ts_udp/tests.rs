#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, TrackKind};
use crate::time::Timestamp;

const SILENCE: Duration = Duration::from_secs(10);

fn config() -> Config {
    Config { source: None, program: None, silence: SILENCE, ts: ts::Limits::default() }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 5000))
}

fn tone(number: i64) -> Frame {
    let at = Timestamp::from_nanos(number * 1024 * 1_000_000_000 / 48_000);
    let data = Bytes::from(vec![number as u8; 150]);
    Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data }
}

/// The bytes of a transport stream with tones of these numbers.
fn stream(numbers: std::ops::Range<i64>) -> Vec<u8> {
    let track = Track {
        codec: Codec::Audio(AudioCodec::Aac),
        config: Bytes::from_static(&[0x11, 0x90]),
        hdr: None,
        video: None,
        audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 }),
    };
    let (mut mux, mut out) = (ts::Mux::new(), BytesMut::new());
    mux.set_tracks(None, Some(&track));
    mux.tables(&mut out, Timestamp::ZERO);
    for number in numbers {
        mux.push(&mut out, &tone(number));
        mux.flush(&mut out);
    }
    out.to_vec()
}

/// RTP packets of `stream`.
fn in_rtp(stream: &[u8], first: u16) -> Vec<Vec<u8>> {
    let packets = stream.chunks(7 * PACKET).zip(0_u16..);
    let head = |number: u16| {
        let [high, low] = first.wrapping_add(number).to_be_bytes();
        [0x80, 33, high, low, 0, 0, 0, 0, 0, 0, 0, 9]
    };
    packets.map(|(part, number)| [&head(number)[..], part].concat()).collect()
}

/// The numbers of the tones.
fn heard(items: &[Item]) -> Vec<u8> {
    let number = |item: &Item| match item {
        Item::Frame(frame) => Some(frame.data[0]),
        _ => None,
    };
    items.iter().filter_map(number).collect()
}

struct Input {
    ingest: Ingest,
    begin: Instant,
    items: Vec<Item>,
}

impl Input {
    fn new(config: Config) -> Self {
        Self { ingest: Ingest::new(config), begin: Instant::now(), items: Vec::new() }
    }

    fn take(&mut self, ms: u64, from: u8, datagrams: impl IntoIterator<Item = impl AsRef<[u8]>>) {
        let now = self.begin + Duration::from_millis(ms);
        for datagram in datagrams {
            let (from, bytes) = (address(from), datagram.as_ref());
            self.ingest.handle_datagram(now, from, bytes, &mut self.items).unwrap();
        }
    }

    /// True if it has been silent for too long.
    fn at(&mut self, ms: u64) -> bool {
        let now = self.begin + Duration::from_millis(ms);
        self.ingest.handle_timeout(now, &mut self.items).unwrap()
    }
}

#[test]
fn a_stream_comes_out_however_it_is_cut_and_in_rtp_too() {
    let stream = stream(0..40);
    let whole: Vec<u8> = (0..40).collect();
    for size in [188, 7 * 188, 1472, 500, 60_000, 0] {
        let mut input = Input::new(config());
        match size {
            // As ffmpeg does: what is left goes at the end of each frame.
            0 => {
                stream.chunks(1504).for_each(|part| input.take(0, 1, part.chunks(1472)));
            }
            _ => input.take(0, 1, stream.chunks(size)),
        }
        assert!(input.at(10_000));
        assert_eq!(heard(&input.items), whole, "in datagrams of {size}");
        assert_eq!(input.ingest.counts().invalid, 0);
    }
    let mut input = Input::new(config());
    let mut packets = in_rtp(&stream, 65_534);
    packets.swap(1, 2);
    input.take(0, 1, &packets);
    assert!(input.at(10_000));
    assert_eq!(heard(&input.items), whole);
    let counts = Counts { taken: packets.len() as u64, ..Counts::default() };
    assert_eq!(input.ingest.counts(), counts);
}

#[test]
fn who_comes_in_the_middle_of_a_packet_begins_at_the_next() {
    let stream = stream(0..40);
    let mut input = Input::new(config());
    let cut: Vec<_> = stream.chunks(1472).collect();
    // Nothing of a table: it begins again with the next round.
    input.take(0, 1, cut[1..].iter().chain(&[]));
    assert_eq!(input.ingest.sender(), Some(address(1)));
    assert_eq!(input.ingest.counts().invalid, 0);
    assert_eq!(first_packet(cut[1]), Some(PACKET - 1472 % PACKET));
}

#[test]
fn what_is_missing_is_counted_and_costs_its_own_frames() {
    let stream = stream(0..40);
    for rtp in [false, true] {
        let mut packets = in_rtp(&stream, 7);
        // The type does not matter.
        packets.iter_mut().for_each(|packet| packet[1] = 96);
        if !rtp {
            packets.iter_mut().for_each(|packet| drop(packet.drain(..12)));
        }
        let missing = packets.remove(3);
        // Each stream of which something with a payload is missing goes on with a jump.
        let missing = missing[missing.len() % PACKET..].chunks(PACKET);
        let with_payload = missing.filter(|packet| packet[3] & 0x10 != 0);
        let jumps =
            with_payload.map(|packet| [packet[1] & 0x1f, packet[2]]).collect::<HashSet<_>>();
        let mut input = Input::new(config());
        input.take(0, 1, &packets);
        assert!(!input.at(1000) && input.at(11_000));
        let heard = heard(&input.items);
        assert!((30..40).contains(&heard.len()) && heard.contains(&39), "{heard:?}");
        let counts = input.ingest.counts();
        assert_eq!((counts.lost, counts.discontinuities), (u64::from(rtp), jumps.len() as u64));
    }
}

#[test]
fn what_follows_a_missing_packet_waits_for_it_no_longer_than_a_moment() {
    let packets = in_rtp(&stream(0..40), 7);
    let mut input = Input::new(config());
    input.take(0, 1, &packets[..3]);
    let before = heard(&input.items).len();
    input.take(1000, 1, &packets[4..6]);
    assert_eq!(heard(&input.items).len(), before, "it may still come");
    let due = input.begin + Duration::from_millis(1100);
    assert_eq!(input.ingest.poll_timeout(), Some(due));
    assert!(!input.at(1099));
    assert_eq!(heard(&input.items).len(), before);
    assert!(!input.at(1100));
    assert!(heard(&input.items).len() > before);
    assert_eq!(input.ingest.counts().lost, 1);
    // It was not silent meanwhile.
    assert!(!input.at(11_099) && input.at(11_100));
}

#[test]
fn others_are_left_out_until_the_sender_has_been_silent_for_a_second() {
    let (one, other) = (stream(0..10), stream(100..110));
    let mut input = Input::new(config());
    input.take(0, 1, one.chunks(1316));
    input.take(900, 2, other.chunks(1316));
    assert_eq!(input.ingest.sender(), Some(address(1)));
    assert_eq!(input.ingest.counts().foreign as usize, other.chunks(1316).count());
    input.take(1001, 2, other.chunks(1316));
    assert_eq!(input.ingest.sender(), Some(address(2)));
    // The first one is not the sender any more.
    input.take(1100, 1, one.chunks(1316));
    assert!(input.at(11_002));
    let expected: Vec<u8> = (0..10).chain(100..110).collect();
    assert_eq!(heard(&input.items), expected);
}

#[test]
fn garbage_is_counted_and_makes_nobody_the_sender() {
    let garbage: [&[u8]; 6] =
        [b"", b"\x47", &[0; 1316], &[0x80; 12], &[0xff; 64], &[b"\x47", &[0; 1315][..]].concat()];
    let mut input = Input::new(config());
    input.take(0, 1, garbage);
    assert_eq!((input.ingest.sender(), input.ingest.poll_timeout()), (None, None));
    assert_eq!(input.ingest.counts(), Counts { invalid: 6, ..Counts::default() });
    let stream = stream(0..9);
    // Between what it sends, too.
    for part in stream.chunks(1316) {
        input.take(0, 1, [part]);
        input.take(0, 1, garbage);
    }
    assert!(input.at(10_000));
    assert_eq!(heard(&input.items), (0..9).collect::<Vec<_>>());
}

#[test]
fn only_the_configured_source_is_heard() {
    let mut input = Input::new(Config { source: Some(address(2).ip()), ..config() });
    let stream = stream(0..9);
    input.take(0, 1, stream.chunks(1316));
    assert_eq!(input.ingest.sender(), None);
    assert_eq!(input.ingest.counts().foreign as usize, stream.chunks(1316).count());
    input.take(0, 2, stream.chunks(1316));
    assert!(input.at(10_000));
    assert_eq!(heard(&input.items), (0..9).collect::<Vec<_>>());
}

#[test]
fn packets_without_frames_are_silence() {
    let mut input = Input::new(config());
    let stream = stream(0..9);
    input.take(0, 1, stream.chunks(1316));
    // Null packets.
    let null = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat();
    (1..100).for_each(|tenth| input.take(tenth * 100, 1, [&null]));
    assert!(!input.at(9_999));
    assert!(input.at(10_000));
    assert_eq!(input.ingest.sender(), None);
    assert!(!input.at(20_000));
}

#[test]
fn the_program_that_is_wanted_is_routed_and_no_other() {
    for (program, count) in [(Some(1), 9), (Some(2), 0), (None, 9)] {
        let mut input = Input::new(Config { program, ..config() });
        input.take(0, 1, stream(0..9).chunks(1316));
        assert!(input.at(10_000));
        assert_eq!(heard(&input.items).len(), count, "program {program:?}");
    }
}

proptest! {
    /// Nothing that anyone sends panics, whoever sends.
    #[test]
    fn any_datagram_is_taken(
        datagrams in prop::collection::vec(
            (0_u64..3000, 1_u8..4, datagram()),
            0..40,
        ),
    ) {
        let mut input = Input::new(config());
        let mut at = 0;
        for (wait, from, datagram) in datagrams {
            at += wait;
            let now = input.begin + Duration::from_millis(at);
            let _ = input.ingest.handle_timeout(now, &mut input.items);
            let from = address(from);
            let _ = input.ingest.handle_datagram(now, from, &datagram, &mut input.items);
        }
        let _ = input.ingest.finish(&mut input.items);
    }
}

/// Any bytes, of which some look like packets.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..600);
    let looks = (bytes.clone(), 0_usize..4, any::<u16>()).prop_map(|(mut bytes, form, number)| {
        if form & 1 == 1 {
            bytes.iter_mut().step_by(PACKET).for_each(|first| *first = SYNC);
        }
        if form & 2 == 2 {
            let [high, low] = number.to_be_bytes();
            bytes.splice(0..0, [0x80, 33, high, low, 0, 0, 0, 0, 0, 0, 0, 1]);
        }
        bytes
    });
    prop_oneof![bytes, looks]
}
