use std::time::{Duration, Instant};

/// How often a publisher's socket is looked at.
///
/// A camera sends some seventy packets a second, and each that wakes a sleeping core costs as much
/// as several viewers do. What is flushed once per merge window need not be read as it comes: a
/// publisher is read on the beat of a clock, right before the flush, and between the beats its bytes
/// wait in the socket, which tells when there are many of them or the publisher has left
/// ([`Conn::poll_rest`](super::conn::Conn::poll_rest)). Publishers share their beats, so hundreds are
/// read in a few goes, but not all in one, for which the last would wait too long. The time a byte
/// may have waited is taken off its merge window, so it is not sent later than if it had been read
/// at once.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Where the clock of all beats begins.
    origin: Instant,
    beat: Duration,
    /// How many parts of a beat this publisher is ahead of the clock.
    phase: u32,
    state: State,
}

/// ```text
///  AsItComes ──all──▶ Resting ⟲ all     Resting ──nothing──▶ AsItComes
///  AsItComes, Resting ──a part──▶ Draining ⟲ a part     Draining ──all or nothing──▶ Resting
/// ```
/// Without a merge window every read leads to `AsItComes`.
#[derive(Debug)]
enum State {
    /// The kernel tells of each byte.
    AsItComes,
    /// The socket was `empty` then, and is looked at when it is time.
    Resting { empty: Instant, until: Instant },
    /// What was read last was not all. The oldest of what is still there came after `empty`.
    Draining { empty: Instant, since: Instant },
}

/// Nobody's commands wait for longer, however wide the window.
const BEAT_MAX: Duration = Duration::from_millis(500);
/// So many parts a beat has.
const PHASES: u32 = 4;
/// A shorter rest would not be worth its timer.
const REST_MIN: Duration = Duration::from_millis(2);

impl Pace {
    /// For the `nth` publisher, which has just begun. `origin` is where the clock of all beats begins.
    pub(crate) fn new(nth: u64, origin: Instant) -> Self {
        let phase = (nth % u64::from(PHASES)) as u32;
        Self { origin, beat: Duration::ZERO, phase, state: State::AsItComes }
    }

    /// When to look at the socket, or `None`: as soon as something comes.
    pub(crate) fn rest_until(&self) -> Option<Instant> {
        match self.state {
            State::AsItComes => None,
            State::Resting { until, .. } => Some(until),
            State::Draining { since, .. } => Some(since),
        }
    }

    /// How long the oldest of what is read at `now` may have waited for that.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        match self.state {
            State::AsItComes => Duration::ZERO,
            State::Resting { empty, .. } | State::Draining { empty, .. } => {
                now.saturating_duration_since(empty)
            }
        }
    }

    /// Something was read at `now`, `all` that was there or not, for a stream that is flushed once
    /// per `window`.
    pub(crate) fn read(&mut self, all: bool, window: Duration, now: Instant) {
        // A part of the window that it is a multiple of: what is read is then due at once, and
        // nothing stays behind that would be due before the next beat.
        let beats = window.as_nanos().div_ceil(BEAT_MAX.as_nanos()).max(1);
        self.beat = window / u32::try_from(beats).unwrap_or(u32::MAX);
        self.state = if self.beat < REST_MIN {
            State::AsItComes
        } else if all {
            self.rest(now)
        } else {
            // What was read as it came has not waited, and what is there after two beats without an
            // end has come since.
            let waited = self.waited(now);
            let empty = if waited > self.beat * 2 { now } else { now - waited };
            State::Draining { empty, since: now }
        };
    }

    /// It was time to look at `now`, and nothing was there. After a rest there is silence, and what
    /// ends it is read as it comes.
    pub(crate) fn nothing(&mut self, now: Instant) {
        self.state = match self.state {
            State::Draining { .. } => self.rest(now),
            State::AsItComes | State::Resting { .. } => State::AsItComes,
        };
    }

    fn rest(&self, now: Instant) -> State {
        let time = now.saturating_duration_since(self.origin) + self.beat / PHASES * self.phase;
        let rest = next_beat(time, self.beat);
        // Just after the beat is on the beat: or else the next flush would be so much after it, in a
        // turn of its own.
        let late = self.beat - rest;
        let empty = if late < REST_MIN { now - late } else { now };
        State::Resting { empty, until: now + rest }
    }
}

/// From `time` to the next multiple of `beat`, which is not zero.
pub(crate) fn next_beat(time: Duration, beat: Duration) -> Duration {
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

    #[test]
    fn publishers_that_began_at_different_times_are_read_on_the_same_beat() {
        let origin = Instant::now();
        for began in [3, 17, 171].map(ms) {
            let mut pace = Pace::new(0, origin);
            assert_eq!((pace.rest_until(), pace.waited(origin + began)), (None, Duration::ZERO));
            pace.read(true, WINDOW, origin + began);
            let beat = pace.rest_until().expect("a rest");
            assert_eq!((beat - origin).as_millis() % 80, 0);
            assert_eq!(pace.waited(beat), beat - (origin + began));
            pace.read(true, WINDOW, beat);
            assert_eq!(pace.rest_until(), Some(beat + WINDOW));
        }
    }

    #[test]
    fn publishers_are_read_in_a_few_goes() {
        let origin = Instant::now();
        let beats: std::collections::BTreeSet<_> = (0..500)
            .map(|nth| {
                let mut pace = Pace::new(nth, origin);
                pace.read(true, WINDOW, origin);
                (pace.rest_until().expect("a rest") - origin).as_millis()
            })
            .collect();
        assert_eq!(Vec::from_iter(beats), [20, 40, 60, 80]);
    }

    #[test]
    fn a_window_is_a_multiple_of_its_beat_however_wide_pressure_makes_it() {
        let origin = Instant::now();
        for window in [100, 150, 350, 431, 500, 1000, 10_000].map(ms) {
            let mut pace = Pace::new(0, origin);
            pace.read(true, window, origin);
            let beat = pace.rest_until().expect("a rest") - origin;
            assert!(
                beat <= BEAT_MAX && (beat * 2 > BEAT_MAX || beat == window),
                "{window:?} {beat:?}"
            );
            let rest = window.as_nanos() % beat.as_nanos();
            assert!(rest < 200 || beat.as_nanos() - rest < 200, "{window:?} {beat:?}");
        }
    }

    #[test]
    fn what_is_left_in_the_socket_is_read_at_once_and_has_waited_as_long() {
        let origin = Instant::now();
        let mut pace = Pace::new(0, origin);
        pace.read(true, WINDOW, origin);
        let woken = origin + ms(33);
        pace.read(false, WINDOW, woken);
        assert_eq!((pace.rest_until(), pace.waited(woken + ms(1))), (Some(woken), ms(34)));
        // It was all, after all.
        pace.nothing(woken + ms(1));
        assert_eq!(pace.rest_until(), Some(origin + WINDOW));
        assert_eq!(pace.waited(origin + WINDOW), WINDOW - ms(34));
    }

    #[test]
    fn what_ends_a_silence_is_read_as_it_comes_and_has_not_waited() {
        let origin = Instant::now();
        let mut pace = Pace::new(0, origin);
        pace.read(true, WINDOW, origin);
        pace.nothing(origin + WINDOW);
        assert_eq!((pace.rest_until(), pace.waited(origin + ms(333))), (None, Duration::ZERO));
        pace.read(true, WINDOW, origin + ms(333));
        assert_eq!(pace.rest_until(), Some(origin + 5 * WINDOW));
    }

    #[test]
    fn what_fills_a_read_after_a_silence_or_without_an_end_has_not_waited_since_ever() {
        let origin = Instant::now();
        let mut pace = Pace::new(0, origin);
        pace.read(true, WINDOW, origin);
        pace.nothing(origin + WINDOW);
        let mut now = origin + ms(600_000);
        for _ in 0..100 {
            pace.read(false, WINDOW, now);
            now += ms(3);
            assert!(pace.waited(now) <= 2 * WINDOW + ms(3), "{:?}", pace.waited(now));
        }
    }

    #[test]
    fn without_a_merge_window_everything_is_read_as_it_comes() {
        let origin = Instant::now();
        let mut pace = Pace::new(0, origin);
        for all in [true, false] {
            pace.read(all, Duration::ZERO, origin + ms(40));
            assert_eq!((pace.rest_until(), pace.waited(origin + ms(80))), (None, Duration::ZERO));
        }
    }
}
