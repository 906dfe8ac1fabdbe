use std::time::{Duration, Instant};

/// How often a publisher's socket is looked at.
///
/// A camera sends some seventy packets a second, and each that wakes a sleeping core costs as much
/// as several viewers do. What is flushed once per merge window need not be read as it comes: a
/// publisher is read on the beat of a clock, a few times per window and right before the flush, and
/// between the beats its bytes wait in the socket. All publishers with one merge window share their
/// beat, so hundreds of them are read in one go. The time a byte may have waited is taken off its
/// merge window, so it is not sent later than if it had been read at once.
#[derive(Debug)]
pub(crate) struct Pace {
    last: Instant,
    /// How long the rest before the next read is, or was before the last.
    rest: Duration,
    /// The last read did not get everything, perhaps.
    much: bool,
}

/// Nobody is made to wait for longer, however wide the window: a publisher that has left keeps its
/// key until that is seen.
const BEAT_MAX: Duration = Duration::from_millis(100);
/// As much should lie in the socket when it is read. A receive buffer begins with a window of
/// 64 KiB, and a key frame comes at once.
const BYTES: u128 = 24 << 10;
/// After more than this the next read does not rest.
const MUCH: usize = 32 << 10;
/// A shorter rest would not be worth its timer.
const REST_MIN: Duration = Duration::from_millis(2);

impl Pace {
    /// For a publisher that has just begun.
    pub(crate) fn new(now: Instant) -> Self {
        Self { last: now, rest: Duration::ZERO, much: false }
    }

    /// The rest is over, and nothing had come.
    pub(crate) fn nothing_waited(&mut self) {
        self.rest = Duration::ZERO;
    }

    /// How long the oldest of what is read at `now` may have waited for that.
    pub(crate) fn waited(&mut self, now: Instant) -> Duration {
        // The peer saw its window close, and what it held back is here a moment later; or else this
        // is new.
        let soon = now.saturating_duration_since(self.last) <= REST_MIN;
        if std::mem::take(&mut self.much) && !soon {
            self.rest = Duration::ZERO;
        }
        self.rest
    }

    /// `bytes` were read at `now` for a stream that is flushed once per `window`. Answers when to
    /// read again, if that is not as soon as more is there. `origin` is where the clock of all beats
    /// begins.
    pub(crate) fn rest_until(
        &mut self,
        bytes: usize,
        window: Duration,
        now: Instant,
        origin: Instant,
    ) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        if bytes >= MUCH {
            self.much = true;
            return None;
        }
        // A part of the window that it is a multiple of: the last read is then right before the
        // flush, and leaves nothing behind that would be due before the next.
        let beats = window.as_nanos().div_ceil(BEAT_MAX.as_nanos()).max(1);
        let beat = window / u32::try_from(beats).unwrap_or(u32::MAX);
        // The time in which, at the rate just seen, `BYTES` will have come. One sample may mislead:
        // after a peer that was held back the first packet comes alone.
        let enough = Duration::from_nanos(
            u64::try_from(passed.as_nanos() * BYTES / bytes.max(1) as u128).unwrap_or(u64::MAX),
        );
        let most = enough.min((self.rest * 2).max(beat / 8));
        self.rest = beat;
        while self.rest > most {
            self.rest /= 2;
        }
        if self.rest < REST_MIN {
            self.rest = Duration::ZERO;
            return None;
        }
        Some(now + next_beat(now.saturating_duration_since(origin), self.rest))
    }
}

/// From `time` to the next multiple of `beat`, which is not zero.
fn next_beat(time: Duration, beat: Duration) -> Duration {
    let beat = beat.as_nanos();
    Duration::from_nanos((beat - time.as_nanos() % beat) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(80);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A publisher of few bytes that has been read often enough to rest for whole beats.
    fn steady(window: Duration, began: Instant, origin: Instant) -> (Pace, Instant) {
        let (mut pace, mut now) = (Pace::new(began), began + ms(40));
        for _ in 0..8 {
            now = pace.rest_until(1000, window, now, origin).unwrap_or(now + ms(40));
        }
        (pace, now)
    }

    #[test]
    fn publishers_that_began_at_different_times_are_read_on_the_same_beat() {
        let origin = Instant::now();
        for began in [3, 17, 171] {
            let (mut pace, now) = steady(WINDOW, origin + ms(began), origin);
            assert_eq!((now - origin).as_millis() % 80, 0);
            assert_eq!(pace.waited(now), WINDOW);
            assert_eq!(pace.rest_until(1000, WINDOW, now, origin), Some(now + WINDOW));
        }
    }

    #[test]
    fn a_window_is_a_multiple_of_its_beat_however_wide_pressure_makes_it() {
        let origin = Instant::now();
        for window in [100, 150, 350, 431, 500, 1000, 10_000].map(ms) {
            let (mut pace, now) = steady(window, origin, origin);
            let beat = pace.waited(now);
            assert!(beat <= BEAT_MAX && beat * 2 > BEAT_MAX, "{window:?} {beat:?}");
            let rest = window.as_nanos() % beat.as_nanos();
            assert!(rest < 200 || beat.as_nanos() - rest < 200, "{window:?} {beat:?}");
        }
    }

    #[test]
    fn a_fast_publisher_is_read_before_its_window_closes() {
        let origin = Instant::now();
        let (mut pace, now) = steady(WINDOW, origin, origin);
        pace.rest_until(1000, WINDOW, now, origin).expect("a rest");
        // 20 KiB in 10 ms: 24 in 12, for which a quarter of 80 is too long and an eighth is not.
        let again = pace.rest_until(20 << 10, WINDOW, now + ms(10), origin);
        assert_eq!((again, pace.waited(now + ms(10))), (Some(now + ms(20)), ms(10)));
        // All at once: no rest.
        assert_eq!(pace.rest_until(20 << 10, WINDOW, now + ms(10), origin), None);
        assert_eq!(pace.waited(now + ms(20)), Duration::ZERO);
    }

    #[test]
    fn after_much_the_next_read_does_not_rest_and_what_came_with_it_has_waited_as_long() {
        let origin = Instant::now();
        let (mut pace, now) = steady(WINDOW, origin, origin);
        assert_eq!(pace.rest_until(MUCH, WINDOW, now, origin), None);
        assert_eq!(pace.waited(now + ms(1)), WINDOW);
        assert_eq!(pace.rest_until(MUCH, WINDOW, now + ms(1), origin), None);
        assert_eq!(pace.waited(now + ms(30)), Duration::ZERO, "that is new");
        // A peer that was held back sends one packet first: that is not its rate.
        let again = pace.rest_until(1448, WINDOW, now + ms(30), origin).expect("a rest");
        assert!(again <= now + ms(40));
    }

    #[test]
    fn what_comes_after_a_beat_without_bytes_has_not_waited() {
        let origin = Instant::now();
        let (mut pace, now) = steady(WINDOW, origin, origin);
        pace.nothing_waited();
        assert_eq!(pace.waited(now + ms(7)), Duration::ZERO);
    }

    #[test]
    fn without_a_merge_window_everything_is_read_as_it_comes() {
        let origin = Instant::now();
        let mut pace = Pace::new(origin);
        assert_eq!(pace.rest_until(1000, Duration::ZERO, origin + ms(40), origin), None);
        assert_eq!(pace.waited(origin + ms(80)), Duration::ZERO);
    }
}
