use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::Tracks;
use crate::media::Frame;

/// The frames since the last key frame, for the trans streams still to be made.
///
/// Without living video it holds the last moments of sound instead. A GOP that outgrows its
/// bounds is dropped whole: half a GOP decodes to nothing.
#[derive(Debug)]
pub(crate) struct GopCache {
    entries: VecDeque<Entry>,
    bytes: usize,
    max: Duration,
    max_bytes: usize,
    audio_start: Duration,
    state: State,
}

/// A frame and the tracks in force at it.
type Entry = (Rc<Tracks>, Frame);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Frames of a GOP whose start was not kept are of no use.
    AwaitingKey,
    /// The first entry is a key frame.
    Gop,
    /// No video: the latest sound.
    Sound,
    /// The GOP was longer or larger than allowed.
    Overgrown,
}

impl GopCache {
    pub(crate) fn new(max: Duration, max_bytes: usize, audio_start: Duration) -> Self {
        let entries = VecDeque::new();
        Self { entries, bytes: 0, max, max_bytes, audio_start, state: State::AwaitingKey }
    }

    /// Other bounds, for the frames to come.
    pub(crate) fn set_bounds(&mut self, max: Duration, max_bytes: usize, audio_start: Duration) {
        (self.max, self.max_bytes, self.audio_start) = (max, max_bytes, audio_start);
    }

    /// Keeps `frame` if that is of use. Answers true if the GOP has just outgrown its bounds.
    pub(crate) fn push(
        &mut self,
        tracks: &Rc<Tracks>,
        frame: &Frame,
        starts: bool,
        has_video: bool,
    ) -> bool {
        match (starts, has_video) {
            (true, _) => {
                self.clear();
                self.state = State::Gop;
            }
            (false, false) => self.state = State::Sound,
            (false, true) if self.state == State::Sound => {
                self.clear();
                return false;
            }
            (false, true) if self.state != State::Gop => return false,
            (false, true) => {}
        }
        let entry = (Rc::clone(tracks), frame.clone());
        self.bytes += self.cost(&entry);
        self.entries.push_back(entry);
        if !has_video {
            while self.duration() > self.audio_start || self.bytes > self.max_bytes {
                self.pop();
            }
        } else if self.duration() > self.max || self.bytes > self.max_bytes {
            self.clear();
            self.state = State::Overgrown;
            return true;
        }
        false
    }

    /// A track has begun of which there was none, so `before` is now `after`. Who starts at what is
    /// kept hears of it at once: many players take no track later.
    pub(crate) fn add_track(&mut self, before: &Tracks, after: &Rc<Tracks>) {
        self.bytes = 0;
        for (tracks, frame) in std::mem::take(&mut self.entries) {
            let same = tracks.version == before.version && tracks.private == before.private;
            let entry = (if same { Rc::clone(after) } else { tracks }, frame);
            self.bytes += self.cost(&entry);
            self.entries.push_back(entry);
        }
    }

    /// The kept frames, each with the tracks in force at it; empty if no decoder could start.
    pub(crate) fn frames(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// True if the first kept frame is a key frame.
    pub(crate) fn is_of_pictures(&self) -> bool {
        self.state == State::Gop
    }

    pub(crate) fn is_overgrown(&self) -> bool {
        self.state == State::Overgrown
    }

    /// Bytes held: media, what keeping each frame costs, and tracks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.bytes = 0;
        self.state = State::AwaitingKey;
    }

    /// Video has stopped: what was kept of it is no start any more, the latest sound is.
    pub(crate) fn keep_sound_only(&mut self) {
        self.entries.retain(|(_, frame)| frame.kind != crate::media::TrackKind::Video);
        let entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        for entry in entries {
            self.bytes += self.cost(&entry);
            self.entries.push_back(entry);
        }
        while self.duration() > self.audio_start {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some((tracks, frame)) = self.entries.pop_front() else { return };
        self.bytes -= size_of::<Entry>() + frame.data.len();
        // The tracks were counted with their first frame, and are let go with their last.
        let next = self.entries.front();
        if next.is_none_or(|(next, _)| !Rc::ptr_eq(next, &tracks)) {
            self.bytes -= tracks.bytes();
        }
    }

    /// What `entry` adds behind the last one. Frames without a byte cost something too.
    fn cost(&self, (tracks, frame): &Entry) -> usize {
        let last = self.entries.back();
        let new_tracks = last.is_none_or(|(last, _)| !Rc::ptr_eq(last, tracks));
        let tracks = if new_tracks { tracks.bytes() } else { 0 };
        size_of::<Entry>() + frame.data.len() + tracks
    }

    fn duration(&self) -> Duration {
        match (self.entries.front(), self.entries.back()) {
            (Some((_, first)), Some((_, last))) => {
                Duration::from_nanos(last.dts.since(first.dts).max(0).unsigned_abs())
            }
            _ => Duration::ZERO,
        }
    }
}
