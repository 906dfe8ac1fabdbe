use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

/// Wakes a core that may have slept through what was to wake it.
///
/// glommio 0.9 may sleep although tasks are ready: before it runs the first of them it looks
/// whether the preempt timer has expired, and if so takes it that there was nothing to run. A
/// thread that others keep off its CPU for that millisecond loses what has just woken it, timer or
/// socket, until something else does. A core at work sleeps half a second at most (`timers.rs`); an
/// idle one is woken from outside once a second, which costs it next to nothing. The core says
/// here until when it sleeps, so that a lost deadline is told of.
#[derive(Debug)]
pub struct Alarm {
    zero: Instant,
    /// Milliseconds from `zero`; [`NEVER`] while it sleeps for ever or does not sleep.
    until: AtomicU64,
    sleeper: AtomicWaker,
}

const NEVER: u64 = u64::MAX;
/// A busy core may be this late.
const LATE: Duration = Duration::from_millis(500);

impl Default for Alarm {
    fn default() -> Self {
        Self { zero: Instant::now(), until: AtomicU64::new(NEVER), sleeper: AtomicWaker::new() }
    }
}

impl Alarm {
    /// The core sleeps until `until`, or until something else wakes it.
    pub(super) fn set(&self, until: Option<Instant>, waker: &Waker) {
        self.sleeper.register(waker);
        self.until.store(until.map_or(NEVER, |at| self.millis(at)), Ordering::Release);
    }

    /// Wakes the core, and says how late it is if it should have woken half a second before `now`.
    pub fn ring(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        self.sleeper.wake();
        let late = Duration::from_millis(self.millis(now).checked_sub(until)?);
        Some(late).filter(|late| *late >= LATE)
    }

    fn millis(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.zero).as_millis();
        u64::try_from(passed).unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_sleeper_is_woken_and_its_lateness_is_told() {
        let alarm = Alarm::default();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let until = Instant::now() + Duration::from_secs(5);
        alarm.set(Some(until), &waker);
        assert_eq!(alarm.ring(until + LATE / 2), None);
        assert!(woken.0.load(Ordering::Relaxed));
        alarm.set(Some(until), &waker);
        assert!(alarm.ring(until + LATE * 2).is_some());
        alarm.set(None, &waker);
        assert_eq!(alarm.ring(until + LATE * 9), None);
    }
}
