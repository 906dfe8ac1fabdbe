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
///
/// As a core that is not stuck wakes up, busy or not, the alarm also knows whether it is there.
#[derive(Debug)]
pub struct Alarm {
    zero: Instant,
    /// Milliseconds from `zero`; [`NEVER`] while it sleeps for ever or does not sleep.
    until: AtomicU64,
    /// When it first rang without the core having woken up since, likewise; [`NEVER`] if the core
    /// has, and [`MADE`] until it wakes up for the first time.
    unheard: AtomicU64,
    /// Stays when it has been woken: that wake may be lost like any other, and then the next ring is
    /// to wake it. The runtime tells its thread of each wake that comes from another one, also where
    /// the task is ready already.
    sleeper: AtomicWaker,
}

const NEVER: u64 = u64::MAX;
const MADE: u64 = 0;
/// A busy core may be this late.
const LATE: Duration = Duration::from_millis(500);

impl Default for Alarm {
    fn default() -> Self {
        Self {
            zero: Instant::now(),
            until: AtomicU64::new(NEVER),
            unheard: AtomicU64::new(MADE),
            sleeper: AtomicWaker::new(),
        }
    }
}

impl Alarm {
    /// The core is awake. It will sleep until `until`, or until something else wakes it.
    pub(crate) fn set(&self, until: Option<Instant>, waker: &Waker) {
        self.sleeper.register(waker);
        self.until.store(until.map_or(NEVER, |at| self.millis(at)), Ordering::Release);
        self.unheard.store(NEVER, Ordering::Release);
    }

    /// Wakes the core, and says how late it is if it should have woken half a second before `now`.
    pub fn ring(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        let now = self.millis(now);
        // Err: it did not hear an earlier ring, and the time since that counts.
        let (all, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
        let _ = self.unheard.compare_exchange(NEVER, now.max(MADE + 1), all, relaxed);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake_by_ref();
            // If the core has said meanwhile whom to wake, that was the same task.
            self.sleeper.register(&sleeper);
        }
        let late = Duration::from_millis(now.checked_sub(until)?);
        Some(late).filter(|late| *late >= LATE)
    }

    /// For how long it has rung, or been there, without the core having woken up.
    pub fn unheard(&self, now: Instant) -> Duration {
        let since = self.unheard.load(Ordering::Acquire);
        Duration::from_millis(self.millis(now).saturating_sub(since))
    }

    /// Whether the core has ever been awake.
    pub fn has_been_heard(&self) -> bool {
        self.unheard.load(Ordering::Acquire) != MADE
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

    #[test]
    fn a_sleeper_that_slept_through_a_ring_is_woken_by_the_next() {
        let alarm = Alarm::default();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        alarm.set(None, &Waker::from(Arc::clone(&woken)));
        for _ in 0..3 {
            alarm.ring(Instant::now());
            assert!(woken.0.swap(false, Ordering::Relaxed));
        }
    }

    #[test]
    fn a_core_that_does_not_wake_up_is_silent_since_the_first_ring_that_it_missed() {
        let (alarm, waker) = (Alarm::default(), Waker::noop());
        let at = |ms| alarm.zero + Duration::from_millis(ms);
        assert!(!alarm.has_been_heard());
        alarm.ring(at(1000));
        assert_eq!(alarm.unheard(at(1500)).as_millis(), 1500, "it has never been awake");
        alarm.set(None, waker);
        assert!(alarm.has_been_heard());
        assert_eq!(alarm.unheard(at(1500)), Duration::ZERO);
        alarm.ring(at(2000));
        alarm.ring(at(3000));
        assert_eq!(alarm.unheard(at(3500)).as_millis(), 1500);
        alarm.set(None, waker);
        assert_eq!(alarm.unheard(at(3500)), Duration::ZERO);
    }
}
