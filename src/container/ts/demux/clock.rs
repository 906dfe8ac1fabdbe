//! The clock of a program (2.4.2): times of 33 bits without their wrap, and without its jumps.

use super::super::WIRE_TIME_MAX;
use super::pes::Times;
use crate::time::{Timestamp, Unwrap};

/// Turns times on the wire into those of the stream.
///
/// Where the program's clock jumps, the stream's goes on from where it was, for all tracks alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    base: Option<Base>,
    /// The one before the last jump, until the new one has lasted: times may still be of it, or it
    /// may come back.
    before: Option<Base>,
    /// The program has a clock. Until one is seen, times themselves are taken for it.
    is_ticking: bool,
}

/// What is between two jumps.
#[derive(Debug, Clone)]
struct Base {
    unwrap: Unwrap,
    /// The last clock, and the first, in ticks.
    last: i64,
    first: i64,
    /// From the clock before the last to the last.
    step: i64,
    /// What is added to its times.
    shift: i64,
}

/// A frame's times in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameTimes {
    pub(super) pts: Timestamp,
    pub(super) dts: Timestamp,
}

const TICKS_PER_SECOND: i64 = 90_000;
/// A clock that steps back or forward by more has jumped.
const BACK: i64 = TICKS_PER_SECOND;
const FORWARD: i64 = 10 * TICKS_PER_SECOND;
/// How long the base before a jump is kept.
const SETTLED: i64 = TICKS_PER_SECOND;
/// No picture is shown so long before or after it is decoded.
const REORDER: i64 = 10 * TICKS_PER_SECOND;

impl Clock {
    /// Takes a clock of the program; true if it jumped.
    pub(super) fn tick(&mut self, clock: u64) -> bool {
        let was_ticking = std::mem::replace(&mut self.is_ticking, true);
        let Some(base) = &mut self.base else {
            self.base = Some(Base::at(clock, None));
            return false;
        };
        if base.fits(clock) || !was_ticking {
            base.advance(clock);
            if base.last - base.first > SETTLED {
                self.before = None;
            }
            return false;
        }
        if let Some(before) = &mut self.before
            && before.fits(clock)
        {
            before.advance(clock);
            std::mem::swap(base, before);
            return true;
        }
        let next = Base::at(clock, Some(base.last + base.shift + base.step));
        self.before = Some(std::mem::replace(base, next));
        true
    }

    /// The last clock in ticks of 33 bits, and what that is in the stream; none if none was seen.
    pub(super) fn now(&self) -> Option<(u64, Timestamp)> {
        let base = self.base.as_ref()?;
        Some((base.last.cast_unsigned() & WIRE_TIME_MAX, timestamp(base.last + base.shift)))
    }

    /// The times of a frame; none if they cannot be those of one.
    pub(super) fn times(&mut self, times: Times) -> Option<FrameTimes> {
        let base = self.base.get_or_insert_with(|| Base::at(times.dts, None));
        if !self.is_ticking {
            base.advance(times.dts);
        }
        let of_before = self.before.as_ref().filter(|before| before.fits(times.dts));
        let base = of_before.filter(|_| !base.fits(times.dts)).unwrap_or(base);
        let mut unwrap = base.unwrap.clone();
        let dts = unwrap.unfold(times.dts);
        let pts = unwrap.unfold(times.pts);
        let is_one = (-REORDER..=REORDER).contains(&(pts - dts));
        let at = |ticks: i64| timestamp(ticks + base.shift);
        is_one.then(|| FrameTimes { pts: at(pts), dts: at(dts) })
    }
}

impl Base {
    /// One that begins with `clock`, which is `at` in the stream, or the same.
    fn at(clock: u64, at: Option<i64>) -> Self {
        let mut unwrap = Unwrap::new(33);
        let first = unwrap.unfold(clock);
        Self { unwrap, last: first, first, step: 0, shift: at.map_or(0, |at| at - first) }
    }

    fn fits(&self, clock: u64) -> bool {
        let step = self.unwrap.clone().unfold(clock) - self.last;
        (-BACK..=FORWARD).contains(&step)
    }

    fn advance(&mut self, clock: u64) {
        let next = self.unwrap.unfold(clock);
        self.step = next - self.last;
        self.last = next;
    }
}

/// The first nanosecond of a tick: it is that tick again when it is written.
fn timestamp(ticks: i64) -> Timestamp {
    let nanos = (i128::from(ticks) * 100_000 + 8).div_euclid(9);
    let limit = if nanos < 0 { i64::MIN } else { i64::MAX };
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(limit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{WIRE_TIME_MAX, ZERO_AT_NS, wire_time};
    use super::*;

    fn at(clock: &mut Clock, dts: i64) -> i64 {
        let dts = dts.cast_unsigned() & WIRE_TIME_MAX;
        let times = clock.times(Times { pts: (dts + 3600) & WIRE_TIME_MAX, dts }).unwrap();
        assert_eq!(times.pts.since(times.dts), 40_000_000);
        times.dts.as_millis()
    }

    #[test]
    fn a_tick_is_the_same_when_it_is_written() {
        for ticks in (0..100).chain([WIRE_TIME_MAX as i64]) {
            for ticks in [ticks, -ticks] {
                let wire = wire_time(timestamp(ticks) - ZERO_AT_NS);
                assert_eq!(wire, ticks.cast_unsigned() & WIRE_TIME_MAX);
            }
        }
        assert_eq!(timestamp(i64::MAX).as_nanos(), i64::MAX);
    }

    #[test]
    fn times_go_on_over_the_wrap_with_and_without_a_clock() {
        for has_clock in [false, true] {
            let mut clock = Clock::default();
            let wrap = 1_i64 << 33;
            let first = at(&mut clock, wrap - 180_000);
            for step in 1..100 {
                let now = wrap - 180_000 + step * 9000;
                if has_clock {
                    assert!(!clock.tick((now - 63_000).cast_unsigned() & WIRE_TIME_MAX));
                }
                assert_eq!(at(&mut clock, now), first + step * 100);
            }
        }
    }

    #[test]
    fn a_jump_of_the_clock_is_none_of_the_stream() {
        for to in [0_i64, 1_000_000_000, (1 << 33) - 1] {
            let mut clock = Clock::default();
            assert!(!clock.tick(500_000_000));
            assert_eq!(at(&mut clock, 500_090_000), at(&mut clock, 500_090_000));
            let before = at(&mut clock, 500_090_000);
            assert!(clock.tick(to.cast_unsigned()));
            assert_eq!(at(&mut clock, to + 93_600), before + 40);
            assert_eq!(at(&mut clock, 500_091_800), before + 20, "some sound is late");
            for second in 1..4 {
                assert!(!clock.tick((to + second * 90_000).cast_unsigned() & WIRE_TIME_MAX));
                assert_eq!(
                    at(&mut clock, to + 93_600 + second * 90_000),
                    before + 40 + second * 1000
                );
            }
        }
    }

    #[test]
    fn one_wrong_clock_changes_nothing() {
        let mut clock = Clock::default();
        clock.tick(9000);
        let before = at(&mut clock, 90_000);
        assert!(clock.tick(7_000_000_000));
        assert!(clock.tick(12_600));
        assert_eq!(at(&mut clock, 93_600), before + 40);
        assert!(!clock.tick(16_200));
    }

    #[test]
    fn times_far_apart_are_none_of_a_frame() {
        let mut clock = Clock::default();
        assert_eq!(clock.times(Times { pts: 1_000_000, dts: 0 }), None);
        assert!(clock.times(Times { pts: 900_000, dts: 0 }).is_some());
    }
}
