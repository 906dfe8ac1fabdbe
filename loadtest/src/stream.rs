//! What publishers send: a file in a loop or a stream made up, each picture marked ([`crate::mark`])
//! at the moment it is sent.
//!
//! [`Material`] is read or made once and shared; a [`Stream`] is one publisher's place in it.

mod clip;
mod made_up;
mod mp4;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use bytes::Bytes;
use corecast::media::{Frame, Track, TrackKind};
use corecast::time::Timestamp;

pub use clip::Clip;
pub use made_up::{Pattern, Shape};

use crate::mark::Mark;
use made_up::MadeUp;

/// What publishers send.
#[derive(Debug, Clone)]
pub enum Material {
    /// A file.
    Clip(Arc<Clip>),
    /// Frames of arbitrary bytes.
    MadeUp(Arc<Pattern>),
}

impl Material {
    /// The FLV or MP4 file at `path`.
    ///
    /// # Errors
    /// It cannot be read, is neither, or has no frames.
    pub fn clip(path: &Path) -> io::Result<Self> {
        Ok(Self::Clip(Clip::read(path)?.into()))
    }

    /// The clip that is built in.
    pub fn demo() -> Self {
        Self::Clip(Clip::demo().into())
    }

    /// Streams of `shape`.
    ///
    /// # Errors
    /// So few bits cannot hold so many frames.
    pub fn made_up(shape: Shape) -> io::Result<Self> {
        Ok(Self::MadeUp(Pattern::new(shape)?.into()))
    }

    /// At most one of each kind.
    pub fn tracks(&self) -> &[Track] {
        match self {
            Self::Clip(clip) => &clip.tracks,
            Self::MadeUp(pattern) => &pattern.tracks,
        }
    }

    /// From one key frame to the next.
    pub fn group(&self) -> Duration {
        match self {
            Self::Clip(clip) => clip.group,
            Self::MadeUp(pattern) => pattern.group(),
        }
    }

    /// Bits per second of all frames, marks included where that can be said before: those of a clip
    /// add about one in a hundred.
    pub fn bitrate(&self) -> u64 {
        match self {
            Self::Clip(clip) => {
                let bytes = clip.frames.iter().map(|frame| frame.data.len() as u64).sum::<u64>();
                (bytes as f64 * 8e9 / clip.length_ns as f64) as u64
            }
            Self::MadeUp(pattern) => pattern.bitrate(),
        }
    }

    /// Its codecs in a line.
    pub fn describe(&self) -> String {
        self.tracks().iter().map(Track::to_string).collect::<Vec<_>>().join(" + ")
    }

    /// A stream from the beginning.
    pub fn stream(&self) -> Stream {
        let place = match self {
            Self::Clip(clip) => Place::Clip { clip: Arc::clone(clip), round: 0, next: 0 },
            Self::MadeUp(pattern) => Place::MadeUp(MadeUp::new(Arc::clone(pattern))),
        };
        let marks = self.tracks().iter().any(clip::is_h264).then(Marks::default);
        Stream { place, marks }
    }
}

/// An endless stream, its times on one clock from zero.
#[derive(Debug)]
pub struct Stream {
    place: Place,
    /// None where there is no H.264 to carry them.
    marks: Option<Marks>,
}

#[derive(Debug)]
enum Place {
    Clip { clip: Arc<Clip>, round: i64, next: usize },
    MadeUp(MadeUp),
}

/// What the next mark will tell.
#[derive(Debug, Default)]
struct Marks {
    picture: u32,
    first_sound: u32,
    sounds: ArrayVec<u32, 255>,
}

impl Stream {
    /// At most one of each kind.
    pub fn tracks(&self) -> &[Track] {
        match &self.place {
            Place::Clip { clip, .. } => &clip.tracks,
            Place::MadeUp(made_up) => made_up.tracks(),
        }
    }

    /// `onMetaData`, if there is one.
    pub fn metadata(&self) -> Option<&Bytes> {
        match &self.place {
            Place::Clip { clip, .. } => clip.metadata.as_ref(),
            Place::MadeUp(_) => None,
        }
    }

    /// When the next frame is due, counted from the beginning.
    pub fn next_at(&self) -> Duration {
        let at = match &self.place {
            Place::Clip { clip, round, next } => clip.frames[*next].dts + *round * clip.length_ns,
            Place::MadeUp(made_up) => made_up.next_at(),
        };
        Duration::from_nanos(at.since(Timestamp::ZERO).max(0).unsigned_abs())
    }

    /// The next frame in order of sending. There is always one. A picture's mark says that it was
    /// sent at `clock_ns` (`CLOCK_REALTIME`).
    pub fn next_frame(&mut self, clock_ns: u64) -> Frame {
        let mut frame = match &mut self.place {
            Place::Clip { clip, round, next } => {
                let mut frame = clip.frames[*next].clone();
                let shift = *round * clip.length_ns;
                (frame.dts, frame.pts) = (frame.dts + shift, frame.pts + shift);
                *next += 1;
                if *next == clip.frames.len() {
                    (*next, *round) = (0, *round + 1);
                }
                frame
            }
            Place::MadeUp(made_up) => {
                let sounds = self.marks.as_ref().map_or(0, |marks| marks.sounds.len());
                made_up.next_frame(Mark::bytes(sounds))
            }
        };
        if let Some(marks) = &mut self.marks {
            match frame.kind {
                TrackKind::Video => frame.data = marks.picture(&frame.data, clock_ns),
                TrackKind::Audio => marks.sound(&frame.data),
                TrackKind::Data | TrackKind::Private => {}
            }
        }
        if let (Place::MadeUp(made_up), TrackKind::Video) = (&mut self.place, frame.kind) {
            made_up.sent_picture(frame.data.len());
        }
        frame
    }

    /// Begins again at zero with a key frame, as an encoder does that was started anew. The
    /// numbers in the marks go on.
    pub fn begin_again(&mut self) {
        match &mut self.place {
            Place::Clip { round, next, .. } => (*round, *next) = (0, 0),
            Place::MadeUp(made_up) => made_up.begin_again(),
        }
    }
}

impl Marks {
    fn picture(&mut self, access_unit: &[u8], clock_ns: u64) -> Bytes {
        let sounds = std::mem::take(&mut self.sounds);
        let count = sounds.len() as u32;
        let Self { picture, first_sound, .. } = *self;
        let hash = Mark::hash_without(access_unit);
        let mark = Mark { clock_ns, picture, hash, first_sound, sounds };
        self.picture = picture.wrapping_add(1);
        self.first_sound = first_sound.wrapping_add(count);
        mark.write_into(access_unit)
    }

    fn sound(&mut self, frame: &[u8]) {
        // Pictures minutes apart: what does not fit cannot be judged, and the number says so.
        if self.sounds.is_full() {
            self.sounds.remove(0);
            self.first_sound = self.first_sound.wrapping_add(1);
        }
        self.sounds.push(Mark::hash(frame));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use corecast::codec::nal;

    use super::*;

    const SHAPE: Shape = Shape {
        bitrate: 2_000_000,
        fps: 25,
        gop: Duration::from_secs(2),
        sound: Some(48_000),
        seed: 1,
    };

    fn frames_until(stream: &mut Stream, ms: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        while stream.next_at() < Duration::from_millis(ms) {
            frames.push(stream.next_frame(7));
        }
        frames
    }

    #[test]
    fn a_made_up_stream_has_the_bitrate_and_the_key_frames_asked_for() {
        for (bitrate, fps, sound) in
            [(2_000_000, 25, Some(48_000)), (250_000, 30, Some(32_000)), (500_000, 25, None)]
        {
            let shape = Shape { bitrate, fps, sound, ..SHAPE };
            let mut stream = Material::made_up(shape).expect("enough bits").stream();
            let frames = frames_until(&mut stream, 20_000);
            let bits = frames.iter().map(|frame| frame.data.len() as u64 * 8).sum::<u64>();
            assert!(bits.abs_diff(bitrate * 20) < 4000, "{bits} of {}", bitrate * 20);
            let keys = frames.iter().filter(|frame| frame.key).map(|frame| frame.dts.as_millis());
            assert_eq!(keys.collect::<Vec<_>>(), (0..10).map(|n| n * 2000).collect::<Vec<_>>());
            let sounds = frames.iter().filter(|frame| frame.kind == TrackKind::Audio).count();
            assert_eq!(sounds, if sound.is_some() { 938 } else { 0 });
        }
    }

    #[test]
    fn too_few_bits_for_the_frames_are_refused() {
        let few = Shape { bitrate: 60_000, ..SHAPE };
        let error = Material::made_up(few).expect_err("48k of it are sound").to_string();
        assert!(error.contains("bitrate: expected at least"), "{error}");
        let least = error.split_whitespace().find_map(|word| word.parse::<u64>().ok());
        let least = least.expect("it names the least");
        Material::made_up(Shape { bitrate: least + 100, ..SHAPE }).expect("that is enough");
        let error = Material::made_up(Shape { sound: Some(100), ..SHAPE }).expect_err("too few");
        assert!(error.to_string().contains("sound: expected at least"), "{error}");
    }

    #[test]
    fn no_two_frames_are_alike_even_after_a_new_beginning() {
        let mut stream = Material::made_up(SHAPE).expect("enough bits").stream();
        let mut frames = frames_until(&mut stream, 6000);
        stream.begin_again();
        frames.extend(frames_until(&mut stream, 6000));
        let hashes = frames.iter().map(|frame| Mark::hash_without(&frame.data));
        let sounds = frames.iter().map(|frame| Mark::hash(&frame.data));
        assert_eq!(hashes.collect::<HashSet<_>>().len(), frames.len());
        assert_eq!(sounds.collect::<HashSet<_>>().len(), frames.len());
    }

    #[test]
    fn marks_tell_every_frame_that_was_sent() {
        for material in [Material::demo(), Material::made_up(SHAPE).expect("enough bits")] {
            let mut stream = material.stream();
            let (mut sounds, mut pictures, mut listed) = (Vec::new(), 0, 0);
            for frame in frames_until(&mut stream, 25_000) {
                if frame.kind == TrackKind::Audio {
                    sounds.push(Mark::hash(&frame.data));
                    continue;
                }
                let mark = Mark::find(&frame.data).expect("each picture has one");
                assert_eq!((mark.picture, mark.clock_ns), (pictures, 7));
                assert_eq!(mark.hash, Mark::hash_without(&frame.data));
                assert_eq!(mark.first_sound as usize, listed);
                assert_eq!(mark.sounds[..], sounds[listed..]);
                (pictures, listed) = (pictures + 1, sounds.len());
            }
            assert!(pictures >= 600, "{pictures}");
        }
    }

    #[test]
    fn a_made_up_picture_holds_no_start_code() {
        let mut stream = Material::made_up(SHAPE).expect("enough bits").stream();
        for frame in frames_until(&mut stream, 4000) {
            for nal in nal::length_prefixed(&frame.data, 4) {
                assert!(nal.windows(3).all(|bytes| bytes[..2] != [0, 0] || bytes[2] > 2));
            }
        }
    }

    #[test]
    fn a_clip_goes_round_without_a_jump() {
        let frames = frames_until(&mut Material::demo().stream(), 25_000);
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let times = frames.iter().filter(|frame| frame.kind == kind).map(|frame| frame.dts);
            let times = times.collect::<Vec<_>>();
            for pair in times.windows(2) {
                let gap = pair[1].since(pair[0]);
                assert!((15_000_000..=45_000_000).contains(&gap), "{kind:?} {pair:?}");
            }
        }
    }

    #[test]
    fn more_sound_than_a_mark_can_list_is_left_out_at_the_front() {
        let mut marks = Marks::default();
        (0..300_u32).for_each(|at| marks.sound(&at.to_be_bytes()));
        let picture = marks.picture(&[0, 0, 0, 2, 0x65, 1], 0);
        let mark = Mark::find(&picture).expect("just written");
        assert_eq!((mark.first_sound, mark.sounds.len()), (45, 255));
        assert_eq!(mark.sounds[0], Mark::hash(&45_u32.to_be_bytes()));
        assert_eq!(marks.first_sound, 300);
    }
}
