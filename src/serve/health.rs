//! Is this node well, and does it want more viewers? Any core can say it of the whole node, without
//! asking another: the control thread wakes each core once a second by its [`Alarm`], which knows
//! whether it woke up, and each core says here when it refuses newcomers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::net::Alarm;
use crate::shard::CoreId;

/// What is known of each core.
#[derive(Debug)]
pub struct Health {
    zero: Instant,
    /// When the control thread woke the cores last, in milliseconds from `zero`.
    rung: AtomicU64,
    alarms: Box<[Arc<Alarm>]>,
    refuses_newcomers: Box<[AtomicBool]>,
}

/// Why a node should not be sent anyone, or should be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A core is stuck.
    #[error("core {core} has not answered for {late:?}")]
    Silent {
        /// Which.
        core: usize,
        /// Since it was to wake up.
        late: Duration,
    },
    /// The control thread is stuck, so nothing is known of the cores.
    #[error("the control thread has not asked its cores for {0:?}")]
    Unasked(Duration),
    /// It ends, and its viewers are being sent elsewhere.
    #[error("draining")]
    Draining,
    /// A core is overloaded although its merge windows are at their widest.
    #[error("overloaded: core {0} refuses newcomers")]
    Shedding(usize),
}

/// A core that is not stuck wakes up within a few milliseconds, busy or not.
const WAKES_WITHIN: Duration = Duration::from_secs(1);
/// The control thread wakes them once a second; it may be late as well.
const RINGS_WITHIN: Duration = Duration::from_secs(3);

impl Health {
    /// Of `cores` cores that do not run yet.
    pub(super) fn new(cores: usize) -> Self {
        Self {
            zero: Instant::now(),
            rung: AtomicU64::new(0),
            alarms: (0..cores).map(|_| Arc::default()).collect(),
            refuses_newcomers: (0..cores).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// What wakes each core: to be given to its thread.
    pub fn alarms(&self) -> &[Arc<Alarm>] {
        &self.alarms
    }

    /// Wakes each core, which is how it is known to be there. To be called once a second by the
    /// control thread.
    pub fn ring(&self, now: Instant) {
        self.rung.store(self.millis(now), Ordering::Relaxed);
        for (core, alarm) in self.alarms.iter().enumerate() {
            if let Some(late) = alarm.ring(now) {
                tracing::warn!(core, ?late, "slept past its deadline, and was woken");
            }
        }
    }

    /// Wakes `core`, whatever its alarm thinks of that: it is to end.
    pub fn wake(&self, core: CoreId) {
        self.alarms[core.index()].ring(Instant::now());
    }

    /// Whether `core` lets nobody new in.
    pub(super) fn set_refuses_newcomers(&self, core: CoreId, refuses: bool) {
        self.refuses_newcomers[core.index()].store(refuses, Ordering::Relaxed);
    }

    /// Whether each core woke up within a second when it was woken last.
    ///
    /// # Errors
    /// The first that did not.
    pub fn check(&self, now: Instant) -> Result<(), Unfit> {
        let rung = Duration::from_millis(self.rung.load(Ordering::Relaxed));
        let unasked = now.saturating_duration_since(self.zero + rung);
        if unasked > RINGS_WITHIN {
            return Err(Unfit::Unasked(unasked));
        }
        let mut late = self.alarms.iter().map(|alarm| alarm.unheard(now)).enumerate();
        match late.find(|(_, late)| *late > WAKES_WITHIN) {
            Some((core, late)) => Err(Unfit::Silent { core, late }),
            None => Ok(()),
        }
    }

    /// Whether each core has begun to run.
    pub fn all_run(&self) -> bool {
        self.alarms.iter().all(|alarm| alarm.has_been_heard())
    }

    /// The first core that said that it refuses newcomers.
    pub(super) fn shedding(&self) -> Option<usize> {
        self.refuses_newcomers.iter().position(|refuses| refuses.load(Ordering::Relaxed))
    }

    fn millis(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.zero).as_millis();
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::serve::Mesh;

    /// `core` is awake.
    fn wakes(health: &Health, core: usize) {
        health.alarms[core].set(None, Waker::noop());
    }

    #[test]
    fn a_node_is_as_well_as_its_worst_core() {
        let health = Health::new(2);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(health.check(at(0)), Ok(()), "they are about to run");
        wakes(&health, 0);
        assert!(!health.all_run());
        wakes(&health, 1);
        assert!(health.all_run());
        health.ring(at(1000));
        wakes(&health, 0);
        assert_eq!(health.check(at(1900)), Ok(()), "core 1 has a second");
        health.ring(at(2000));
        wakes(&health, 0);
        let silent = health.check(at(2100)).expect_err("core 1 does not wake up");
        assert!(matches!(silent, Unfit::Silent { core: 1, late } if late > WAKES_WITHIN));
        wakes(&health, 1);
        assert_eq!(health.check(at(2500)), Ok(()));
    }

    #[test]
    fn a_node_that_drains_or_sheds_is_well_and_not_ready() {
        use crate::serve::core::Node;
        let node = Node::new(Mesh::new(2, 16));
        assert_eq!(node.ready(), Ok(()));
        node.health.set_refuses_newcomers(CoreId(1), true);
        assert_eq!((node.healthy(), node.ready()), (Ok(()), Err(Unfit::Shedding(1))));
        node.draining.store(true, Ordering::Relaxed);
        assert_eq!((node.healthy(), node.ready()), (Ok(()), Err(Unfit::Draining)));
        node.draining.store(false, Ordering::Relaxed);
        node.health.set_refuses_newcomers(CoreId(1), false);
        assert_eq!(node.ready(), Ok(()));
        assert_eq!(Unfit::Draining.to_string(), "draining");
    }

    #[test]
    fn without_a_control_thread_nothing_is_known() {
        let health = Health::new(1);
        let at = |ms| health.zero + Duration::from_millis(ms);
        health.ring(at(1000));
        wakes(&health, 0);
        assert_eq!(health.check(at(4000)), Ok(()));
        let unasked = Duration::from_millis(3001);
        assert_eq!(health.check(at(4001)), Err(Unfit::Unasked(unasked)));
    }
}
