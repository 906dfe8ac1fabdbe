//! When those whom the server dropped or did not let in try again: as players do, after a pause that
//! grows while it is in vain.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The first pause. Each further one is twice as long,
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// up to this; who has stayed in for as long begins anew.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Seats that wait for their next try, at most all of the crowd.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
}

impl Retries {
    /// `seat` pauses from `now` on, `pauses` after the first. By `random` up to half as long again,
    /// so that those that went together do not come together.
    pub(super) fn put(&mut self, seat: u32, pauses: u8, now: Instant, random: u64) {
        let pause = pause(pauses);
        let more = pause.mul_f64(0.5 * (random >> 32) as f64 / f64::from(u32::MAX));
        self.waiting.push(Reverse((now + pause + more, seat)));
    }

    /// When the next pause ends.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((until, _))| *until)
    }

    /// One whose pause has ended.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        self.next().filter(|until| *until <= now)?;
        self.waiting.pop().map(|Reverse((_, seat))| seat)
    }
}

fn pause(pauses: u8) -> Duration {
    let times = 1_u32.checked_shl(pauses.into()).unwrap_or(u32::MAX);
    PAUSE_MIN.saturating_mul(times).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let seconds = [0, 1, 2, 3, 4, 5, 6, 255].map(|pauses| pause(pauses).as_secs());
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn who_went_together_comes_back_in_turn() {
        let start = Instant::now();
        let mut retries = Retries::default();
        retries.put(7, 1, start, 0);
        retries.put(8, 0, start, u64::MAX);
        retries.put(9, 0, start, 0);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!((retries.next(), retries.pop(at(999))), (Some(at(1000)), None));
        assert_eq!((retries.pop(at(1000)), retries.pop(at(1499))), (Some(9), None));
        assert_eq!((retries.pop(at(2000)), retries.pop(at(2000))), (Some(8), Some(7)));
        assert_eq!(retries.next(), None);
    }
}
