//! Streams as the multiplexer writes them, and what may happen to them on the way.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::super::{Mux, PACKET_BYTES, ZERO_AT_NS, psi};
use super::*;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, VideoCodec};
use crate::time::Timestamp;

mod damage;
mod private;
mod round_trip;
mod units;

/// x264 of ffmpeg 5.1, 320x180, High.
const AVCC: &str =
    "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468ef8fcbfdf8f800";
/// x265 of ffmpeg 9, 320x180, Main; each array complete, the SEI left out.
const HVCC: &str = "0101600000009000000000003cf000fcfdf8f800000f03a000010018\
    40010c01ffff01600000030090000003000003003c959409a10001002b42010101600000030090000003000003003ca00a08\
    0c1f3e595952930bc05a020000030002000003003210a2000100064401c073c189";
/// AAC-LC, 48 kHz, two channels.
const AAC: &str = "1190";

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn track(codec: Codec, config: &str) -> Track {
    let config = Bytes::from(hex(config));
    let told = crate::codec::describe(codec, &config).unwrap();
    let audio = match codec {
        Codec::Audio(_) => told.audio.or(Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 })),
        Codec::Video(_) => None,
    };
    Track { codec, config, hdr: None, video: told.video, audio }
}

fn h264() -> Track {
    track(Codec::Video(VideoCodec::H264), AVCC)
}

fn aac() -> Track {
    track(Codec::Audio(AudioCodec::Aac), AAC)
}

fn frame(kind: TrackKind, at: Timestamp, key: bool, data: Vec<u8>) -> Frame {
    Frame { kind, dts: at, pts: at, key, data: data.into() }
}

/// A picture of one slice of H.264.
fn picture(at_ms: i64, key: bool, bytes: usize) -> Frame {
    let mut data = (bytes as u32).to_be_bytes().to_vec();
    data.extend([if key { 0x65 } else { 0x41 }, 0x88]);
    data.extend((2..bytes).map(|at| (at % 251) as u8 | 1));
    frame(TrackKind::Video, Timestamp::from_millis(at_ms), key, data)
}

fn tone(samples: i64, bytes: usize) -> Frame {
    let at = Timestamp::from_nanos(samples * 1_000_000_000 / 48_000);
    let data = (0..bytes).map(|byte| (byte as i64 * 7 + samples) as u8).collect();
    frame(TrackKind::Audio, at, false, data)
}

/// `pictures` pictures at 25 a second with sound, a key frame each second, from so many ms on.
fn media(from_ms: i64, pictures: i64) -> Vec<Frame> {
    let video = (0..pictures)
        .map(|at| picture(from_ms + at * 40, at % 25 == 0, 300 + (at as usize * 97) % 900));
    let sounds = (0..pictures * 40 * 48 / 1024)
        .map(|at| tone(from_ms * 48 + at * 1024, 20 + (at as usize * 31) % 200));
    let mut frames: Vec<Frame> = video.chain(sounds).collect();
    frames.sort_by_key(|frame| frame.dts);
    frames
}

/// Writes frames with tables before each key frame.
fn write(mux: &mut Mux, frames: &[Frame]) -> BytesMut {
    let mut out = BytesMut::new();
    for frame in frames {
        if frame.key {
            mux.flush(&mut out);
            mux.tables(&mut out, frame.dts);
        }
        mux.push(&mut out, frame);
    }
    mux.flush(&mut out);
    out
}

fn both() -> Mux {
    let mut mux = Mux::new();
    mux.set_tracks(Some(&h264()), Some(&aac()));
    mux
}

/// What a stream holds, and what was not as it should be.
#[derive(Debug, Default, PartialEq)]
struct Read {
    items: Vec<Item>,
    notices: Vec<Notice>,
    counts: Counts,
    error: Option<Error>,
}

impl Read {
    fn of(stream: &[u8]) -> Self {
        Self::in_pieces([stream], Limits::default())
    }

    fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Self {
        let mut demux = Demux::new(limits);
        let mut read = Self::default();
        let read_all = |items: &mut Vec<Item>| {
            for piece in pieces {
                demux.push(piece, items)?;
            }
            demux.finish(items)
        };
        read.error = read_all(&mut read.items).err();
        read.notices = std::iter::from_fn(|| demux.poll_notice()).collect();
        read.counts = demux.counts();
        read
    }

    /// Their times as they were before the multiplexer moved them.
    fn frames(&self, kind: TrackKind) -> Vec<Frame> {
        let of_kind = |item: &Item| match item {
            Item::Frame(frame) if frame.kind == kind => {
                let (dts, pts) = (frame.dts - ZERO_AT_NS, frame.pts - ZERO_AT_NS);
                Some(Frame { dts, pts, ..frame.clone() })
            }
            _ => None,
        };
        self.items.iter().filter_map(of_kind).collect()
    }

    fn tracks(&self) -> Vec<Track> {
        let track = |item: &Item| match item {
            Item::Track(track) => Some(track.clone()),
            _ => None,
        };
        self.items.iter().filter_map(track).collect()
    }

    /// Nothing was wrong.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.error, None);
        assert_eq!(self.notices, []);
        assert_eq!(self.counts, Counts::default());
    }
}

fn of_kind(frames: &[Frame], kind: TrackKind) -> Vec<Frame> {
    frames.iter().filter(|frame| frame.kind == kind).cloned().collect()
}

/// The same frames: times of what is written may differ by a tick of 90 kHz, of sound by two.
#[track_caller]
fn assert_same(got: &[Frame], sent: &[Frame]) {
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(sent) {
        assert_eq!((&got.data, got.key), (&sent.data, sent.key), "at {:?}", sent.dts);
        for (got, sent) in [(got.dts, sent.dts), (got.pts, sent.pts)] {
            let off = got.since(sent).abs();
            assert!(off <= 23_000, "{got:?} is {off} ns off {sent:?}");
        }
    }
}
