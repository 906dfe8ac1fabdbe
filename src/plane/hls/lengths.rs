use std::time::Duration;

use super::Settings;

/// How long parts and segments are. Two of the numbers players are told, and neither changes once it
/// was told: the part target, and the target duration. All in nanoseconds, whole microseconds.
#[derive(Debug, Clone)]
pub(super) struct Lengths {
    segment: i64,
    segment_max: i64,
    part_least: i64,
    /// Of a part, once it is settled.
    part: Option<i64>,
    target_s: Option<u64>,
    /// Of the segments that ended before the target was settled.
    longest: i64,
}

pub(super) const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;
/// What stamps are off by is less than this.
const JITTER: i64 = SECOND / 4;

impl Lengths {
    pub(super) fn new(settings: &Settings) -> Self {
        let segment = nanos(settings.segment).max(100 * MILLISECOND);
        let target_s = settings.target.map(|target| whole_seconds(nanos(target).max(segment)));
        Self {
            segment,
            segment_max: nanos(settings.segment_max).max(segment),
            part_least: nanos(settings.part).clamp(10 * MILLISECOND, segment),
            part: None,
            target_s,
            longest: 0,
        }
    }

    /// The part that has begun would be this long. Settles how long they are, if it is time to:
    /// `longest_step` is how far apart frames were until now. Each part is to have one.
    pub(super) fn settle_part(&mut self, length: i64, longest_step: i64) {
        if self.part.is_none() && length >= self.part_least {
            let step = longest_step.saturating_add(longest_step / 20);
            let most = self.part_least.max(self.segment / 2);
            self.part = Some(whole_micros(step.clamp(self.part_least, most)));
        }
    }

    /// Of a part.
    pub(super) fn part(&self) -> i64 {
        self.part.unwrap_or(self.part_least)
    }

    /// No part is longer. The tenth beyond what they are is for the last of a segment: a key frame
    /// that comes a little late then needs no part of its own. The others are longer than the 85 % that
    /// all but the last must have.
    pub(super) fn part_target(&self) -> i64 {
        whole_micros(self.part() + self.part() / 10)
    }

    /// No segment is longer, once it is settled; in seconds.
    pub(super) fn target_s(&self) -> Option<u64> {
        self.target_s
    }

    /// A segment has ended where segments end. Settles the target, if that is not settled.
    pub(super) fn settle_target(&mut self, length: i64) {
        self.longest = self.longest.max(length);
        if self.target_s.is_none() {
            let seconds = whole_seconds(self.longest - JITTER);
            self.target_s = Some(seconds.max(whole_seconds(self.segment)));
        }
    }

    /// A segment has ended before its time.
    pub(super) fn note_segment(&mut self, length: i64) {
        self.longest = self.longest.max(length);
    }

    /// True if a segment of that length is long enough to end.
    pub(super) fn is_enough(&self, length: i64) -> bool {
        length >= self.segment - self.part() / 2
    }

    /// True if a segment of that length is too long for any playlist with this target (4.4.3.1: its
    /// length is rounded).
    pub(super) fn is_too_long(&self, length: i64) -> bool {
        match self.target_s.and_then(|seconds| i64::try_from(seconds).ok()) {
            Some(seconds) => length >= seconds.saturating_mul(SECOND).saturating_add(SECOND / 2),
            None => length > self.segment_max,
        }
    }
}

pub(super) fn nanos(duration: Duration) -> i64 {
    whole_micros(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

pub(super) fn whole_micros(nanos: i64) -> i64 {
    nanos.div_euclid(1000).saturating_mul(1000)
}

/// Rounded up, at least one.
fn whole_seconds(nanos: i64) -> u64 {
    let seconds = nanos.div_euclid(SECOND) + i64::from(nanos.rem_euclid(SECOND) > 0);
    u64::try_from(seconds).unwrap_or_default().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(segment_ms: i64) -> u64 {
        let mut lengths = Lengths::new(&Settings::default());
        lengths.settle_target(segment_ms * MILLISECOND);
        lengths.target_s().expect("settled")
    }

    #[test]
    fn the_target_is_that_of_the_first_segment_with_room_for_jitter() {
        let targets = [300, 1999, 2000, 2002, 2240, 2260, 8333, 10_000].map(settled);
        assert_eq!(targets, [2, 2, 2, 2, 2, 3, 9, 10]);
    }

    #[test]
    fn parts_are_longer_where_pictures_are_further_apart() {
        for (step_ms, part_ms) in [(21, 200), (40, 200), (333, 349), (3000, 1000)] {
            let mut lengths = Lengths::new(&Settings::default());
            lengths.settle_part(100 * MILLISECOND, step_ms * MILLISECOND);
            assert_eq!(lengths.part, None);
            lengths.settle_part(200 * MILLISECOND, step_ms * MILLISECOND);
            assert_eq!(lengths.part() / MILLISECOND, part_ms);
            assert!(lengths.part() * 100 > lengths.part_target() * 85);
        }
    }
}
