//! Decoding times in the ticks of a track.

use std::num::NonZeroU32;

use crate::time::Timestamp;

/// Gives each frame of a track its decoding time. Frames come in the order of their dts.
///
/// Publishers send times in milliseconds, frames of sound last a number of samples: where a time
/// is what the samples so far make it, but for rounding, the samples are believed.
#[derive(Debug)]
pub(super) struct Clock {
    timescale: NonZeroU32,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    at: u64,
    /// How long the frame at that time plays, as far as it can be known.
    ticks: u64,
}

/// A time this near to where the samples lead was only rounded. Two roundings meet in one.
const ROUNDED_NS: i64 = 2_000_000;
/// What the first frame is taken to last if it does not say so itself.
const FIRST_NS: i64 = 40_000_000;

impl Clock {
    pub(super) fn new(timescale: NonZeroU32) -> Self {
        Self { timescale, last: None }
    }

    /// The decoding time of a frame, always later than the one before. `samples`: how many it
    /// decodes to, if it is one of sound that tells.
    pub(super) fn tick(&mut self, dts: Timestamp, samples: Option<u32>) -> u64 {
        let exact = self.ticks(dts);
        let at = match &self.last {
            Some(last) => {
                let next = last.at.saturating_add(last.ticks);
                let rounded = samples.is_some() && exact.abs_diff(next) <= self.length(ROUNDED_NS);
                if rounded { next } else { exact.max(last.at.saturating_add(1)) }
            }
            None => exact,
        };
        let ticks = match (samples, &self.last) {
            (Some(samples), _) => samples.into(),
            (None, Some(last)) => at.saturating_sub(last.at),
            (None, None) => self.length(FIRST_NS),
        };
        self.last = Some(Last { at, ticks: ticks.max(1) });
        at
    }

    /// How long the last frame plays: as long as its samples, or as the frame before it did.
    pub(super) fn last_ticks(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.ticks)
    }

    /// A time in ticks, rounded from the absolute value; nothing is before zero.
    pub(super) fn ticks(&self, at: Timestamp) -> u64 {
        let ticks = i128::from(at.as_nanos()) * i128::from(self.timescale.get()) + HALF;
        u64::try_from(ticks.div_euclid(NANOS).max(0)).unwrap_or(u64::MAX)
    }

    fn length(&self, nanos: i64) -> u64 {
        self.ticks(Timestamp::from_nanos(nanos))
    }
}

const NANOS: i128 = 1_000_000_000;
const HALF: i128 = NANOS / 2;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(timescale: u32) -> Clock {
        Clock::new(NonZeroU32::new(timescale).unwrap())
    }

    #[test]
    fn sound_goes_on_by_its_samples_however_its_times_are_rounded() {
        let mut clock = clock(44_100);
        for frame in 0..10_000_i64 {
            let ms = frame * 1024 * 1000 / 44_100;
            let at = clock.tick(Timestamp::from_millis(ms), Some(1024));
            assert_eq!(at, frame as u64 * 1024);
        }
    }

    #[test]
    fn a_gap_in_the_sound_stays_a_gap() {
        let mut clock = clock(48_000);
        assert_eq!(clock.tick(Timestamp::from_millis(0), Some(960)), 0);
        assert_eq!(clock.tick(Timestamp::from_millis(20), Some(960)), 960);
        assert_eq!(clock.tick(Timestamp::from_millis(60), Some(960)), 2880);
    }

    #[test]
    fn a_picture_lasts_as_long_as_the_one_before_until_it_is_known_better() {
        let mut clock = clock(90_000);
        let mut at = |ms| {
            let at = clock.tick(Timestamp::from_millis(ms), None);
            (at, clock.last_ticks())
        };
        assert_eq!(at(100), (9000, 3600));
        assert_eq!(at(120), (10_800, 1800));
        assert_eq!(at(160), (14_400, 3600));
    }

    #[test]
    fn nothing_is_before_zero_and_times_still_go_on() {
        let mut clock = clock(90_000);
        let at = [-80, -40, 0, 40].map(|ms| clock.tick(Timestamp::from_millis(ms), None));
        assert_eq!(at, [0, 1, 2, 3600]);
    }

    proptest! {
        #[test]
        fn times_always_go_on(
            times in proptest::collection::vec(any::<(i64, Option<u32>)>(), 1..50),
            timescale in 1_u32..,
        ) {
            let mut clock = clock(timescale);
            let mut last = None;
            for (nanos, samples) in times {
                let at = clock.tick(Timestamp::from_nanos(nanos), samples);
                prop_assert!(last.is_none_or(|last| at > last || at == u64::MAX));
                last = Some(at);
            }
        }
    }
}
