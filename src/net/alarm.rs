use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

/// Wakes a core that sleeps past its own deadline.
///
/// The runtime may miss what should wake it, as `timers.rs` tells; this is for the case that what
/// is done there does not help. The core says here until when it sleeps, which costs it a store; the control
/// thread looks once a second.
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

    /// Wakes the core if it should have woken half a second before `now`, and says how late it is.
    pub fn check(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        let late = Duration::from_millis(self.millis(now).checked_sub(until)?);
        if late < LATE {
            return None;
        }
        self.sleeper.wake();
        Some(late)
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
    fn a_sleeper_is_woken_when_it_is_late_and_not_before() {
        let alarm = Alarm::default();
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let until = Instant::now() + Duration::from_secs(5);
        alarm.set(Some(until), &waker);
        assert_eq!(alarm.check(until + LATE / 2), None);
        assert!(!woken.0.load(Ordering::Relaxed));
        assert!(alarm.check(until + LATE * 2).is_some());
        assert!(woken.0.load(Ordering::Relaxed));
        alarm.set(None, &waker);
        assert_eq!(alarm.check(until + LATE * 9), None);
    }
}
