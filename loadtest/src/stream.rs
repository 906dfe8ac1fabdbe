//! What a publisher sends: a clip in a loop, or a stream made up.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corecast::container::flv::{Demux, FileReader, Item, Limits};
use corecast::media::{AudioCodec, Codec, Frame, Track, TrackKind, VideoCodec};
use corecast::time::Timestamp;

/// A clip that is always there; a made-up stream takes its parameter sets from it.
const CLIP: &[u8] = include_bytes!("../../src/app/demo/clip.flv");

/// An endless stream, its times on one clock from zero.
#[derive(Debug)]
pub struct Stream {
    /// At most one of each kind.
    pub tracks: Vec<Track>,
    /// `onMetaData`, if there is one.
    pub metadata: Option<Bytes>,
    frames: Frames,
}

#[derive(Debug)]
enum Frames {
    Clip { frames: Vec<Frame>, length_ns: i64, round: i64, next: usize },
    Synthetic(Synthetic),
}

/// What a made-up stream is like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// All of it, in bits per second.
    pub bitrate: u64,
    /// Pictures per second.
    pub fps: u32,
    /// From key frame to key frame; rounded to whole frames.
    pub gop: Duration,
    /// Makes the bytes.
    pub seed: u64,
}

#[derive(Debug)]
struct Synthetic {
    /// One group of pictures, sent over and over.
    pictures: Vec<Bytes>,
    sound: Bytes,
    fps: i64,
    sound_rate_hz: i64,
    next_picture: i64,
    next_sound: i64,
}

/// A key frame is this many times as large as the others.
const KEY_FRAME_WEIGHT: u64 = 5;
/// 128 bytes each 1024 samples: 48 kbit/s at 48 kHz.
const SOUND_BYTES: usize = 128;
const SAMPLES_PER_FRAME: i64 = 1024;
const SECOND_NS: i64 = 1_000_000_000;

impl Stream {
    /// The FLV file at `path`, over and over.
    ///
    /// # Errors
    /// It cannot be read, is no FLV, or has no frames.
    pub fn clip(path: &Path) -> io::Result<Self> {
        Self::of_clip(&std::fs::read(path)?)
    }

    fn of_clip(file: &[u8]) -> io::Result<Self> {
        let (mut reader, mut demux) =
            (FileReader::new(Limits::default()), Demux::new(Limits::default()));
        let (mut input, mut items) = (file, Vec::new());
        while let Some((kind, ms, body)) = reader.read(&mut input).map_err(io::Error::other)? {
            let time = Timestamp::from_millis(ms.into());
            demux.push(kind, time, body, &mut items).map_err(io::Error::other)?;
        }
        let (mut tracks, mut metadata, mut frames) = (Vec::<Track>::new(), None, Vec::new());
        for item in items {
            match item {
                Item::Track(track) if tracks.iter().all(|known| known.kind() != track.kind()) => {
                    tracks.push(track);
                }
                Item::Frame(frame) => frames.push(frame),
                Item::Metadata(data) => metadata = Some(data),
                Item::Track(_) | Item::EndOfSequence(_) => {}
            }
        }
        let length_ns = [TrackKind::Video, TrackKind::Audio].map(|kind| length_ns(&frames, kind));
        let length_ns = length_ns.into_iter().max().filter(|length| *length > 0);
        let length_ns = length_ns.ok_or_else(|| io::Error::other("expected frames, found none"))?;
        Ok(Self { tracks, metadata, frames: Frames::Clip { frames, length_ns, round: 0, next: 0 } })
    }

    /// A stream of `shape`: frames of arbitrary bytes, labelled H.264 and AAC by true parameter
    /// sets. A server routes it like any other; no decoder would like it.
    pub fn synthetic(shape: Shape) -> Self {
        let tracks = Self::of_clip(CLIP).expect("a test reads the clip").tracks;
        let sound_rate_hz = tracks.iter().find_map(|track| track.audio);
        let sound_rate_hz: i64 =
            sound_rate_hz.map_or(48_000, |format| format.sample_rate_hz.into());
        let mut noise = Noise(shape.seed);
        let sound_bits = SOUND_BYTES as u64 * 8 * sound_rate_hz.unsigned_abs() / 1024;
        let count = (shape.gop.as_secs_f64() * f64::from(shape.fps)).round().max(1.0) as u64;
        let bytes = shape.bitrate.saturating_sub(sound_bits) * count / u64::from(shape.fps) / 8;
        let unit = bytes / (count - 1 + KEY_FRAME_WEIGHT);
        let pictures = (0..count).map(|at| match at {
            0 => noise.picture(0x65, unit * KEY_FRAME_WEIGHT),
            _ => noise.picture(0x41, unit),
        });
        let pictures = pictures.collect();
        let sound = noise.fill(Vec::new(), SOUND_BYTES);
        let frames = Frames::Synthetic(Synthetic {
            pictures,
            sound,
            fps: shape.fps.into(),
            sound_rate_hz,
            next_picture: 0,
            next_sound: 0,
        });
        Self { tracks, metadata: None, frames }
    }

    /// Whether there is a codec for everything: video and audio as labelled.
    pub fn describe(&self) -> String {
        let name = |track: &Track| match track.codec {
            Codec::Video(VideoCodec::H264) => "H.264".to_owned(),
            Codec::Audio(AudioCodec::Aac) => "AAC".to_owned(),
            Codec::Video(codec) => format!("{codec:?}"),
            Codec::Audio(codec) => format!("{codec:?}"),
        };
        self.tracks.iter().map(name).collect::<Vec<_>>().join(" + ")
    }

    /// The next frame in order of sending. There is always one.
    pub fn next_frame(&mut self) -> Frame {
        match &mut self.frames {
            Frames::Clip { frames, length_ns, round, next } => {
                let mut frame = frames[*next].clone();
                let shift = *round * *length_ns;
                (frame.dts, frame.pts) = (frame.dts + shift, frame.pts + shift);
                *next += 1;
                if *next == frames.len() {
                    (*next, *round) = (0, *round + 1);
                }
                frame
            }
            Frames::Synthetic(synthetic) => synthetic.next_frame(),
        }
    }
}

/// Where a track's next round may begin: one interval after its last frame.
fn length_ns(frames: &[Frame], kind: TrackKind) -> i64 {
    let mut times = frames.iter().filter(|frame| frame.kind == kind).map(|frame| frame.dts);
    let Some(first) = times.next() else { return 0 };
    let (count, last) = times.fold((0, first), |(count, _), time| (count + 1, time));
    let interval = if count > 0 { last.since(first) / count } else { SECOND_NS / 25 };
    last.as_nanos() + interval
}

impl Synthetic {
    fn next_frame(&mut self) -> Frame {
        let picture_at = self.next_picture * SECOND_NS / self.fps;
        let sound_at = self.next_sound * SAMPLES_PER_FRAME * SECOND_NS / self.sound_rate_hz;
        let (kind, at, key, data) = if picture_at <= sound_at {
            let number = self.next_picture as usize % self.pictures.len();
            self.next_picture += 1;
            (TrackKind::Video, picture_at, number == 0, self.pictures[number].clone())
        } else {
            self.next_sound += 1;
            (TrackKind::Audio, sound_at, false, self.sound.clone())
        };
        let at = Timestamp::from_nanos(at);
        Frame { kind, dts: at, pts: at, key, data }
    }
}

/// Arbitrary bytes, the same for the same seed (xorshift64*).
struct Noise(u64);

impl Noise {
    /// One NAL unit with its length before it, `bytes` in all.
    fn picture(&mut self, nal_header: u8, bytes: u64) -> Bytes {
        let bytes = bytes.max(16) as usize;
        let mut picture = (bytes as u32 - 4).to_be_bytes().to_vec();
        picture.push(nal_header);
        self.fill(picture, bytes)
    }

    fn fill(&mut self, mut into: Vec<u8>, bytes: usize) -> Bytes {
        self.0 |= 1;
        while into.len() < bytes {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            into.extend(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
        }
        into.truncate(bytes);
        into.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_until(stream: &mut Stream, ms: i64) -> Vec<Frame> {
        let frames = std::iter::from_fn(|| Some(stream.next_frame()));
        frames.take_while(|frame| frame.dts.as_millis() < ms).collect()
    }

    #[test]
    fn a_made_up_stream_has_the_bitrate_and_the_key_frames_asked_for() {
        let gop = Duration::from_secs(2);
        let shape = Shape { bitrate: 2_000_000, fps: 25, gop, seed: 1 };
        let frames = frames_until(&mut Stream::synthetic(shape), 20_000);
        let bits = frames.iter().map(|frame| frame.data.len() * 8).sum::<usize>();
        assert!((39_500_000..40_100_000).contains(&bits), "{bits}");
        let keys = frames.iter().filter(|frame| frame.key).map(|frame| frame.dts.as_millis());
        assert_eq!(keys.collect::<Vec<_>>(), (0..10).map(|n| n * 2000).collect::<Vec<_>>());
    }

    #[test]
    fn a_clip_goes_round_without_a_jump() {
        let mut stream = Stream::of_clip(CLIP).expect("an FLV file");
        let frames = frames_until(&mut stream, 25_000);
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let times = frames.iter().filter(|frame| frame.kind == kind).map(|frame| frame.dts);
            let times = times.collect::<Vec<_>>();
            for pair in times.windows(2) {
                let gap = pair[1].since(pair[0]);
                assert!((15_000_000..=45_000_000).contains(&gap), "{kind:?} {pair:?}");
            }
        }
    }
}
