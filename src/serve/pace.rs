use std::time::{Duration, Instant};

/// How often a publisher's socket is looked at.
///
/// A camera sends some seventy packets a second, and each that wakes a sleeping core costs as much
/// as several viewers do. What is flushed once per merge window need not be read as it comes: a
/// publisher is read on the beats of a clock, a few to the window, and between them its bytes wait
/// in the socket. All publishers with one merge window share their beats, so hundreds of them are
/// read in one go. The time a byte may have waited is taken off its merge window.
#[derive(Debug)]
pub(crate) struct Pace {
    beat: Duration,
    last: Instant,
    rested: bool,
}

/// Beats in a merge window.
const BEATS: u32 = 4;
/// Nobody is made to wait for longer, however wide the window.
const BEAT_MAX: Duration = Duration::from_millis(100);
/// As much should lie in the socket at most: with more, a sender sees its window close.
const BYTES: u128 = 32 << 10;

impl Pace {
    /// For a stream that is flushed once per `merge_window`. Zero: it is read as it comes.
    pub(crate) fn new(merge_window: Duration, now: Instant) -> Self {
        Self { beat: (merge_window / BEATS).min(BEAT_MAX), last: now, rested: false }
    }

    /// How long the oldest of what was read at `now` may have waited for that.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        match self.rested {
            true => now.saturating_duration_since(self.last).min(self.beat),
            false => Duration::ZERO,
        }
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
        // The time in which, at the rate just seen, `BYTES` will have come.
        let nanos = passed.as_nanos() * BYTES / bytes.max(1) as u128;
        let rest = if nanos >= self.beat.as_nanos() {
            next_beat(now.saturating_duration_since(origin), self.beat)
        } else {
            // Not above `beat`, which is small.
            Duration::from_nanos(nanos as u64)
        };
        self.rested = !rest.is_zero();
        self.rested.then(|| now + rest)
    }
}

/// From `time` to the next multiple of `beat`.
fn next_beat(time: Duration, beat: Duration) -> Duration {
    match beat.as_nanos() {
        0 => Duration::ZERO,
        beat => Duration::from_nanos((beat - time.as_nanos() % beat) as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(50);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn publishers_that_began_at_different_times_are_read_on_the_same_beats() {
        let origin = Instant::now();
        for began in [3, 17, 171] {
            let now = origin + ms(began + 40);
            let mut pace = Pace::new(BEAT * BEATS, origin + ms(began));
            let again = pace.rest_until(1000, now, origin).expect("a rest");
            assert_eq!((again - origin).as_millis() % 50, 0);
            assert!(again > now && again <= now + BEAT);
            assert_eq!(pace.waited(again), again - now);
        }
    }

    #[test]
    fn a_fast_publisher_is_read_before_its_window_closes() {
        let origin = Instant::now();
        let mut pace = Pace::new(BEAT * BEATS, origin);
        // 64 KiB in 10 ms.
        let again = pace.rest_until(64 << 10, origin + ms(10), origin).expect("a rest");
        assert_eq!(again, origin + ms(15));
        assert_eq!(pace.waited(again), ms(5));
        // All at once: no rest.
        assert_eq!(
            pace.rest_until(64 << 10, again, origin).map(|at| at - again),
            Some(ms(2) + Duration::from_micros(500))
        );
        assert_eq!(pace.rest_until(64 << 10, again, origin), None);
        assert_eq!(pace.waited(again + ms(1)), Duration::ZERO);
    }

    #[test]
    fn without_a_merge_window_everything_is_read_as_it_comes() {
        let origin = Instant::now();
        let mut pace = Pace::new(Duration::ZERO, origin);
        assert_eq!(pace.rest_until(1000, origin + ms(40), origin), None);
        assert_eq!(pace.waited(origin + ms(80)), Duration::ZERO);
    }

    #[test]
    fn nobody_waits_longer_than_the_longest_beat() {
        let origin = Instant::now();
        let mut pace = Pace::new(Duration::from_secs(10), origin);
        let again = pace.rest_until(1000, origin + ms(1), origin).expect("a rest");
        assert!(again <= origin + ms(1) + BEAT_MAX);
        assert_eq!(pace.waited(again + ms(300)), BEAT_MAX);
    }
}
