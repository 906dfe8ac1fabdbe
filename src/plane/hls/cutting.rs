use super::lengths::Lengths;
use super::segment::Segment;
use crate::time::Timestamp;

/// Where the cuts are in a series of frames that follow each other. Times are whole microseconds, so
/// that lengths add up to what playlists say.
#[derive(Debug)]
pub(super) struct Cutting {
    pub(super) open: Segment,
    pub(super) segment_start: Timestamp,
    pub(super) part_start: Timestamp,
    /// The latest frame of any track.
    pub(super) clock: Timestamp,
    pub(super) longest_step: i64,
    pub(super) last_step: i64,
    /// The last key frame, and how far it was from the one before.
    pub(super) key: Option<Timestamp>,
    pub(super) key_interval: Option<i64>,
    /// The part has frames.
    pub(super) has_frames: bool,
    /// A part of the segment has frames.
    pub(super) segment_has_frames: bool,
    /// Nanoseconds from the time of the media to that since 1970.
    pub(super) wall_shift: i128,
}

impl Cutting {
    pub(super) fn step_to(&mut self, at: Timestamp) {
        let step = at.since(self.clock);
        if step > 0 {
            (self.last_step, self.longest_step) = (step, self.longest_step.max(step));
        }
        self.clock = at;
    }

    pub(super) fn note_key(&mut self, at: Timestamp) {
        self.key_interval = self.key.map(|last| at.since(last)).filter(|interval| *interval > 0);
        self.key = Some(at);
    }

    /// True if a key frame of time `at` ends the segment: it is long enough, or would be too long at
    /// the next.
    pub(super) fn may_end(&self, at: Timestamp, lengths: &Lengths) -> bool {
        let length = at.since(self.segment_start);
        let next = self.key.map(|last| at.since(last));
        let too_long_then = next.is_some_and(|interval| {
            length >= lengths.part() && lengths.is_too_long(length.saturating_add(interval))
        });
        lengths.is_enough(length) || too_long_then
    }

    /// True if a key frame that ends the segment is about to come when this part ends.
    pub(super) fn key_is_near(&self, part: i64, lengths: &Lengths) -> bool {
        let (Some(last), Some(interval)) = (self.key, self.key_interval) else { return false };
        let key = last + interval;
        let off = key.since(self.part_start + part).abs();
        off <= lengths.part_target() - part && self.may_end(key, lengths)
    }
}
