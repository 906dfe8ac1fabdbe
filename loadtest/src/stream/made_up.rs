//! A made-up stream: arbitrary bytes of exactly the bitrate asked for, labelled H.264 and AAC by
//! true parameter sets. A server routes it like any other; no decoder would like it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corecast::codec;
use corecast::media::{AudioCodec, Codec, Frame, Track, TrackKind};
use corecast::time::Timestamp;

use super::clip::{Clip, is_h264};
use crate::mark::Mark;

/// What a made-up stream is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// All of it in bits per second, sound and marks included; what protocols add is not.
    pub bitrate: u64,
    /// Pictures per second.
    pub fps: u32,
    /// From key frame to key frame; rounded to whole frames.
    pub gop: Duration,
    /// Bits per second of the sound. None for no sound at all.
    pub sound: Option<u64>,
    /// Makes the bytes.
    pub seed: u64,
}

/// What all streams of one shape share.
#[derive(Debug)]
pub struct Pattern {
    shape: Shape,
    pub(super) tracks: Vec<Track>,
    /// Pictures from one key frame to the next.
    group_pictures: u64,
    noise: Vec<u8>,
}

/// A key frame is this many times as large as the others.
const KEY_FRAME_WEIGHT: f64 = 5.0;
const SAMPLES_PER_FRAME: i64 = 1024;
const SOUND_RATE_HZ: i64 = 48_000;
/// AAC LC, 48 kHz, stereo (ISO/IEC 14496-3 1.6.2.1).
const SOUND_CONFIG: [u8; 2] = [0x11, 0x90];
const SECOND_NS: i64 = 1_000_000_000;
/// Its length, header, and a number that tells it from all others.
const PICTURE_BYTES_MIN: usize = 4 + KEY_HEAD.len() + NUMBER_BYTES;
const SOUND_BYTES_MIN: usize = NUMBER_BYTES;
const NUMBER_BYTES: usize = 5;
/// An IDR slice whose header begins as it should: first macroblock, I, first picture parameters.
const KEY_HEAD: [u8; 3] = [0x65, 0x88, 0x84];
/// The same for a P slice.
const OTHER_HEAD: [u8; 3] = [0x41, 0x9a, 0x84];
const NOISE_BYTES: usize = 1 << 18;

impl Shape {
    /// Pictures from one key frame to the next.
    fn group_pictures(&self) -> u64 {
        (self.gop.as_secs_f64() * f64::from(self.fps)).round().max(1.0) as u64
    }

    /// Bytes of a picture that is no key frame, for each bit per second of all pictures.
    fn share_of_picture(&self) -> f64 {
        let pictures = self.group_pictures() as f64;
        pictures / f64::from(self.fps) / 8.0 / (pictures - 1.0 + KEY_FRAME_WEIGHT)
    }

    /// Bytes of a picture, mark included, that is no key frame.
    fn picture_bytes(&self) -> f64 {
        (self.bitrate as f64 - self.sound.unwrap_or(0) as f64) * self.share_of_picture()
    }

    /// Bytes of all pictures of one group with their marks.
    fn group_bytes(&self) -> f64 {
        self.picture_bytes() * (self.group_pictures() as f64 - 1.0 + KEY_FRAME_WEIGHT)
    }

    /// Audio frames that a picture's mark lists, at most.
    fn sounds_per_picture(&self) -> usize {
        match self.sound {
            None => 0,
            Some(_) => (SOUND_RATE_HZ / SAMPLES_PER_FRAME) as usize / self.fps as usize + 2,
        }
    }
}

impl Pattern {
    /// Whatever streams of `shape` need.
    ///
    /// # Errors
    /// So few bits cannot hold so many frames.
    pub(super) fn new(shape: Shape) -> io::Result<Self> {
        if let Some(sound) = shape.sound {
            let least = SOUND_BYTES_MIN as i64 * 8 * SOUND_RATE_HZ / SAMPLES_PER_FRAME + 1;
            if (sound as i64) < least {
                return Err(io::Error::other(format!(
                    "sound: expected at least {least} bit/s, or none, found {sound}"
                )));
            }
        }
        let need = (PICTURE_BYTES_MIN + Mark::bytes(shape.sounds_per_picture())) as f64;
        if shape.picture_bytes() < need {
            let least = shape.sound.unwrap_or(0) as f64 + need / shape.share_of_picture();
            return Err(io::Error::other(format!(
                "bitrate: expected at least {} bit/s for {} pictures a second with sound and \
                 marks, found {}",
                least.ceil(),
                shape.fps,
                shape.bitrate
            )));
        }
        let demo = Clip::demo();
        let mut tracks = demo.tracks.into_iter().filter(is_h264).collect::<Vec<_>>();
        if shape.sound.is_some() {
            let codec = Codec::Audio(AudioCodec::Aac);
            let about = codec::describe(codec, &SOUND_CONFIG).expect("a whole record");
            let config = Bytes::from_static(&SOUND_CONFIG);
            tracks.push(Track { codec, config, hdr: None, video: None, audio: about.audio });
        }
        let noise = noise(shape.seed);
        Ok(Self { shape, tracks, group_pictures: shape.group_pictures(), noise })
    }

    pub(super) fn bitrate(&self) -> u64 {
        self.shape.bitrate
    }

    pub(super) fn group(&self) -> Duration {
        Duration::from_secs(1) * self.group_pictures as u32 / self.shape.fps
    }
}

/// One stream of a pattern.
#[derive(Debug)]
pub(super) struct MadeUp {
    pattern: Arc<Pattern>,
    next_picture: u64,
    next_sound: u64,
    picture_bytes: u64,
    sound_bytes: u64,
    /// Frames ever, over all beginnings: none is like another.
    frames: u64,
}

impl MadeUp {
    pub(super) fn new(pattern: Arc<Pattern>) -> Self {
        Self {
            pattern,
            next_picture: 0,
            next_sound: 0,
            picture_bytes: 0,
            sound_bytes: 0,
            frames: 0,
        }
    }

    pub(super) fn tracks(&self) -> &[Track] {
        &self.pattern.tracks
    }

    pub(super) fn begin_again(&mut self) {
        *self = Self { frames: self.frames, ..Self::new(Arc::clone(&self.pattern)) };
    }

    /// When the next frame is due.
    pub(super) fn next_at(&self) -> Timestamp {
        let (picture, sound) = self.times();
        Timestamp::from_nanos(sound.map_or(picture, |sound| sound.min(picture)))
    }

    fn times(&self) -> (i64, Option<i64>) {
        let fps = i64::from(self.pattern.shape.fps);
        let picture = self.next_picture as i64 * SECOND_NS / fps;
        let sound = self.next_sound as i64 * SAMPLES_PER_FRAME * SECOND_NS / SOUND_RATE_HZ;
        (picture, self.pattern.shape.sound.map(|_| sound))
    }

    /// The next frame, made so small that a mark of `mark_bytes` fits in its place.
    pub(super) fn next_frame(&mut self, mark_bytes: usize) -> Frame {
        let dts = self.next_at();
        let (picture, sound) = self.times();
        let frame = |kind, key, data| Frame { kind, dts, pts: dts, key, data };
        match sound {
            Some(sound) if sound < picture => {
                let bytes = self.due_sound_bytes().saturating_sub(self.sound_bytes) as usize;
                let data = self.fill(Vec::with_capacity(bytes), bytes.max(SOUND_BYTES_MIN));
                self.next_sound += 1;
                self.sound_bytes += data.len() as u64;
                frame(TrackKind::Audio, false, data)
            }
            _ => {
                let due = self.due_picture_bytes().saturating_sub(self.picture_bytes) as usize;
                let bytes = due.saturating_sub(mark_bytes).max(PICTURE_BYTES_MIN);
                let key = self.next_picture.is_multiple_of(self.pattern.group_pictures);
                let mut data = Vec::with_capacity(bytes);
                data.extend((bytes as u32 - 4).to_be_bytes());
                data.extend(if key { KEY_HEAD } else { OTHER_HEAD });
                let data = self.fill(data, bytes);
                self.next_picture += 1;
                frame(TrackKind::Video, key, data)
            }
        }
    }

    /// The picture went out with its mark: `bytes` in all.
    pub(super) fn sent_picture(&mut self, bytes: usize) {
        self.picture_bytes += bytes as u64;
    }

    /// What sound must have taken with its next frame, so that the bitrate is kept for ever.
    fn due_sound_bytes(&self) -> u64 {
        let bits = self.pattern.shape.sound.unwrap_or(0);
        (self.next_sound + 1) * SAMPLES_PER_FRAME as u64 * bits / 8 / SOUND_RATE_HZ as u64
    }

    /// The same for pictures.
    fn due_picture_bytes(&self) -> u64 {
        let (shape, group) = (&self.pattern.shape, self.pattern.group_pictures);
        let (groups, in_group) = (self.next_picture / group, self.next_picture % group);
        let units = KEY_FRAME_WEIGHT + in_group as f64;
        (shape.group_bytes() * groups as f64 + shape.picture_bytes() * units) as u64
    }

    /// Appends the frame's number and noise up to `bytes` in all.
    fn fill(&mut self, mut into: Vec<u8>, bytes: usize) -> Bytes {
        // Seven bits in each, the eighth set: no zeros, so no start code.
        into.extend((0..NUMBER_BYTES).map(|at| (self.frames >> (7 * at)) as u8 | 0x80));
        let noise = &self.pattern.noise;
        let mut from = (self.frames as usize).wrapping_mul(4099) % noise.len();
        while into.len() < bytes {
            let some = &noise[from..];
            into.extend(&some[..some.len().min(bytes - into.len())]);
            from = 0;
        }
        self.frames += 1;
        into.into()
    }
}

/// Arbitrary bytes, the same for the same seed (xorshift64*). None is zero: where a server writes
/// start codes, nothing may look like one.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = Vec::with_capacity(NOISE_BYTES);
    while noise.len() < NOISE_BYTES {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let bytes = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
        noise.extend(bytes.map(|byte| byte.max(1)));
    }
    noise
}
