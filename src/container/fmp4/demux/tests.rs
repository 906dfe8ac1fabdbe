//! Streams as our own multiplexer writes them, as others do, and what may happen to them on the way.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{Fragmenter, init, sample_entry};
use super::*;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, VideoCodec, VideoFormat};
use crate::time::Timestamp;

mod boxes;
mod damage;
mod round_trip;

/// x264 of ffmpeg 5.1, 320x180, High.
const AVCC: &str =
    "0164000cffe1001a6764000cacd941419f9f011000000300100000030320f142996001000468ef8fcbfdf8f800";
/// x265 of ffmpeg 9, 320x180, Main; each array complete, the SEI left out.
const HVCC: &str = "0101600000009000000000003cf000fcfdf8f800000f03a000010018\
    40010c01ffff01600000030090000003000003003c959409a10001002b42010101600000030090000003000003003ca00a08\
    0c1f3e595952930bc05a020000030002000003003210a2000100064401c073c189";

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn video(codec: VideoCodec, config: Vec<u8>) -> Track {
    let codec = Codec::Video(codec);
    let told = crate::codec::describe(codec, &config).unwrap();
    Track { codec, config: config.into(), hdr: None, video: told.video, audio: None }
}

fn audio(codec: AudioCodec, config: Vec<u8>) -> Track {
    let audio = Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 });
    Track { codec: Codec::Audio(codec), config: config.into(), hdr: None, video: None, audio }
}

fn h264() -> Track {
    video(VideoCodec::H264, hex(AVCC))
}

/// AAC-LC, 48 kHz, two channels.
fn aac() -> Track {
    audio(AudioCodec::Aac, hex("1190"))
}

fn picture(dts_ms: i64, pts_ms: i64, key: bool, bytes: usize) -> Frame {
    let [dts, pts] = [dts_ms, pts_ms].map(Timestamp::from_millis);
    let data = (0..bytes).map(|at| (at % 251) as u8 ^ dts_ms as u8).collect::<Vec<_>>().into();
    Frame { kind: TrackKind::Video, dts, pts, key, data }
}

fn tone(samples: i64, bytes: usize) -> Frame {
    let at = Timestamp::from_nanos(samples * 1_000_000_000 / 48_000);
    let data = (0..bytes).map(|byte| (byte as i64 * 7 + samples) as u8).collect::<Vec<_>>().into();
    Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data }
}

/// `pictures` pictures at 25 a second with sound, a key frame each second, some of them reordered.
fn media(pictures: i64) -> Vec<Frame> {
    let video = (0..pictures).map(|at| {
        let later = [40, 120, 40, 0][(at % 4) as usize];
        picture(at * 40, at * 40 + later, at % 25 == 0, 300 + (at as usize * 97) % 900)
    });
    let sounds =
        (0..pictures * 40 * 48 / 1024).map(|at| tone(at * 1024, 20 + (at as usize * 31) % 200));
    let mut frames: Vec<Frame> = video.chain(sounds).collect();
    frames.sort_by_key(|frame| (frame.dts, frame.kind));
    frames
}

/// What the multiplexer writes of them, a fragment after so many frames.
fn write(video: Option<&Track>, audio: Option<&Track>, frames: &[Frame], each: usize) -> Vec<u8> {
    let mut out = BytesMut::from(&init(video, audio)[..]);
    let mut fragmenter = Fragmenter::new();
    fragmenter.set_tracks(video, audio);
    for frames in frames.chunks(each) {
        frames.iter().for_each(|frame| fragmenter.push(frame));
        fragmenter.flush(&mut out);
    }
    out.to_vec()
}

fn stream() -> Vec<u8> {
    write(Some(&h264()), Some(&aac()), &media(60), 20)
}

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    [&(content.len() as u32 + 8).to_be_bytes(), &kind[..], &content].concat()
}

/// A box with version and flags, and fields of 32 bits.
fn full(kind: &[u8; 4], version: u8, flags: u32, fields: &[u32]) -> Vec<u8> {
    let fields: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
    atom(kind, &[&(u32::from(version) << 24 | flags).to_be_bytes(), &fields])
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

    fn frames(&self) -> Vec<Frame> {
        let frame = |item: &Item| match item {
            Item::Frame(frame) => Some(frame.clone()),
            _ => None,
        };
        self.items.iter().filter_map(frame).collect()
    }

    fn tracks(&self) -> Vec<Track> {
        let track = |item: &Item| match item {
            Item::Track(track) => Some(track.clone()),
            _ => None,
        };
        self.items.iter().filter_map(track).collect()
    }

    /// Of each frame, whether it is a picture, and when it is decoded and shown in ms.
    fn times(&self) -> Vec<(bool, i64, i64)> {
        let times = |frame: &Frame| {
            (frame.kind == TrackKind::Video, frame.dts.as_millis(), frame.pts.as_millis())
        };
        self.frames().iter().map(times).collect()
    }

    #[track_caller]
    fn error(&self) -> String {
        self.error.as_ref().expect("it is refused").to_string()
    }

    /// Nothing was wrong.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!((&self.error, &self.notices[..]), (&None, &[][..]));
        let Counts { missing_samples, long_samples, unordered_frames, skipped_bytes, .. } =
            self.counts;
        assert_eq!([missing_samples, long_samples, unordered_frames, skipped_bytes], [0; 4]);
    }
}
