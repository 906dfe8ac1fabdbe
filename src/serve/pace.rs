use std::time::{Duration, Instant};

/// How often a publisher's socket is looked at.
///
/// A camera sends some seventy packets a second, and each that wakes a sleeping core costs as much
/// as several viewers do. What is flushed once per merge window need not be read as it comes: a
/// publisher is read on the beat of a clock, once per window (or in halves, quarters… of it when much
/// comes) and right before the flush, and until then its bytes wait in the socket. All publishers with one merge window share their beat, so
/// hundreds of them are read in one go. The time a byte may have waited is taken off its merge
/// window, so it is not sent later than if it had been read at once.
#[derive(Debug)]
pub(crate) struct Pace {
    beat: Duration,
    last: Instant,
    /// How long the rest before the next read is.
    rest: Duration,
}

/// Nobody is made to wait for longer, however wide the window.
const BEAT_MAX: Duration = Duration::from_millis(350);
/// As much should lie in the socket when it is read. A receive buffer begins with a window of
/// 64 KiB, and a key frame comes at once.
const BYTES: u128 = 24 << 10;
/// After more than this the next read does not rest.
const MUCH: usize = 32 << 10;
/// A shorter rest would not be worth its timer.
const REST_MIN: Duration = Duration::from_millis(2);

impl Pace {
    /// For a stream that is flushed once per `merge_window`. Zero: it is read as it comes.
    pub(crate) fn new(merge_window: Duration, now: Instant) -> Self {
        Self { beat: merge_window.min(BEAT_MAX), last: now, rest: Duration::ZERO }
    }

    /// How long the oldest of what is read now may have waited for that.
    pub(crate) fn waited(&self) -> Duration {
        self.rest
    }

    /// `bytes` were read at `now`. Answers when to read again, if that is not as soon as more is
    /// there. `origin` is where the clock of all beats begins.
    pub(crate) fn rest_until(
        &mut self,
        bytes: usize,
        now: Instant,
        origin: Instant,
    ) -> Option<Instant> {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        if bytes >= MUCH {
            // The peer may have seen its window close: then more is there in a moment, and has
            // waited as long.
            return None;
        }
        // The time in which, at the rate just seen, `BYTES` will have come.
        let enough = passed.as_nanos() * BYTES / bytes.max(1) as u128;
        self.rest = self.beat;
        // A part of the window that it is a multiple of: the last read is then right before the
        // flush, and leaves nothing behind that would be due before the next.
        while self.rest.as_nanos() > enough {
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

    const BEAT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn publishers_that_began_at_different_times_are_read_on_the_same_beat() {
        let origin = Instant::now();
        for began in [3, 17, 171] {
            let now = origin + ms(began + 40);
            let mut pace = Pace::new(BEAT, origin + ms(began));
            let again = pace.rest_until(1000, now, origin).expect("a rest");
            assert_eq!((again - origin).as_millis() % 50, 0);
            assert!(again > now && again <= now + BEAT);
            assert_eq!(pace.waited(), BEAT);
        }
    }

    #[test]
    fn a_fast_publisher_is_read_before_its_window_closes() {
        let origin = Instant::now();
        let mut pace = Pace::new(BEAT, origin);
        // 20 KiB in 10 ms: 24 in 12, for which a quarter of 50 is too long and an eighth is not.
        let again = pace.rest_until(20 << 10, origin + ms(10), origin).expect("a rest");
        assert_eq!(pace.waited(), BEAT / 8);
        assert_eq!(again, origin + BEAT / 4);
        // All at once: no rest.
        assert_eq!(pace.rest_until(20 << 10, origin + ms(10), origin), None);
        assert_eq!(pace.waited(), Duration::ZERO);
    }

    #[test]
    fn after_much_the_rest_is_read_at_once_and_has_waited_as_long() {
        let origin = Instant::now();
        let mut pace = Pace::new(BEAT, origin);
        pace.rest_until(1000, origin + ms(50), origin).expect("a rest");
        assert_eq!(pace.rest_until(MUCH, origin + ms(100), origin), None);
        assert_eq!(pace.waited(), BEAT);
    }

    #[test]
    fn without_a_merge_window_everything_is_read_as_it_comes() {
        let origin = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, origin);
        assert_eq!(pace.rest_until(1000, origin + ms(40), origin), None);
        assert_eq!(pace.waited(), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_beat() {
        let origin = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(10), origin);
        let again = pace.rest_until(1000, origin + ms(100), origin).expect("a rest");
        assert!(again <= origin + ms(100) + BEAT_MAX);
        assert_eq!(pace.waited(), BEAT_MAX);
    }
}
