//! Is this node well, and does it want more viewers? Any core can say it of the whole node, without
//! asking another: the control thread asks each core once a second whether it is there
//! ([`Order::Pulse`]), and what it hears lies here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Mesh;
use super::order::Order;
use crate::shard::{CoreId, Tell};

/// What is known of each core.
#[derive(Debug)]
pub struct Health {
    zero: Instant,
    /// When the control thread asked last, in milliseconds from `zero`.
    asked: AtomicU64,
    cores: Box<[Beat]>,
}

#[derive(Debug)]
struct Beat {
    /// When the oldest question was asked that is not answered yet; [`NONE`] if all are.
    unanswered: AtomicU64,
    refuses_newcomers: AtomicBool,
}

/// Why a node should not be sent anyone, or should be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A core is stuck.
    #[error("core {core} has not answered for {late:?}")]
    Silent {
        /// Which.
        core: usize,
        /// Since it was asked.
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

const NONE: u64 = u64::MAX;
/// A core that is not stuck answers within a few milliseconds, busy or not.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// The control thread asks once a second; it may be late as well.
const ASK_WITHIN: Duration = Duration::from_secs(3);

impl Health {
    /// Of `cores` cores that were not asked yet.
    pub(super) fn new(cores: usize) -> Self {
        let beat =
            || Beat { unanswered: AtomicU64::new(NONE), refuses_newcomers: AtomicBool::new(false) };
        Self {
            zero: Instant::now(),
            asked: AtomicU64::new(0),
            cores: (0..cores).map(|_| beat()).collect(),
        }
    }

    /// Asks each core whether it is there. To be called once a second by the control thread.
    pub fn ask(&self, mesh: &Mesh, now: Instant) {
        let now = self.millis(now);
        self.asked.store(now, Ordering::Relaxed);
        for (core, beat) in (0..).zip(&self.cores) {
            // Err: an older question is open, and its time counts.
            let (all, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = beat.unanswered.compare_exchange(NONE, now, all, relaxed);
            // Err: its inbox is full. Its answer will not come, then.
            drop(mesh.try_tell(CoreId(core), Tell::Order(Order::Pulse)));
        }
    }

    /// `core` is there.
    pub(super) fn answer(&self, core: CoreId, refuses_newcomers: bool) {
        let beat = &self.cores[core.index()];
        beat.refuses_newcomers.store(refuses_newcomers, Ordering::Relaxed);
        beat.unanswered.store(NONE, Ordering::Release);
    }

    /// Whether each core answered within a second when it was asked last.
    ///
    /// # Errors
    /// The first that did not.
    pub fn check(&self, now: Instant) -> Result<(), Unfit> {
        let now = self.millis(now);
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        let unasked = since(self.asked.load(Ordering::Relaxed));
        if unasked > ASK_WITHIN {
            return Err(Unfit::Unasked(unasked));
        }
        let late = |beat: &Beat| since(beat.unanswered.load(Ordering::Acquire));
        let mut late = self.cores.iter().map(late).enumerate();
        match late.find(|(_, late)| *late > ANSWER_WITHIN) {
            Some((core, late)) => Err(Unfit::Silent { core, late }),
            None => Ok(()),
        }
    }

    /// The first core that said that it refuses newcomers.
    pub(super) fn shedding(&self) -> Option<usize> {
        self.cores.iter().position(|beat| beat.refuses_newcomers.load(Ordering::Relaxed))
    }

    fn millis(&self, at: Instant) -> u64 {
        let passed = at.saturating_duration_since(self.zero).as_millis();
        u64::try_from(passed).unwrap_or(NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_as_well_as_its_worst_core() {
        let (health, mesh) = (Health::new(2), Mesh::new(2, 16));
        let at = |ms| health.zero + Duration::from_millis(ms);
        assert_eq!(health.check(at(0)), Ok(()), "nobody was asked yet");
        health.ask(&mesh, at(1000));
        health.answer(CoreId(0), false);
        assert_eq!(health.check(at(2000)), Ok(()), "core 1 has a second");
        health.ask(&mesh, at(2000));
        health.answer(CoreId(0), true);
        let late = Duration::from_millis(1001);
        assert_eq!(health.check(at(2001)), Err(Unfit::Silent { core: 1, late }));
        assert_eq!(health.shedding(), Some(0));
        health.answer(CoreId(1), false);
        health.answer(CoreId(0), false);
        assert_eq!((health.check(at(2500)), health.shedding()), (Ok(()), None));
    }

    #[test]
    fn a_node_that_drains_or_sheds_is_well_and_not_ready() {
        use crate::serve::core::Node;
        let node = Node::new(Mesh::new(2, 16));
        assert_eq!(node.ready(), Ok(()));
        node.health.answer(CoreId(1), true);
        assert_eq!((node.healthy(), node.ready()), (Ok(()), Err(Unfit::Shedding(1))));
        node.draining.store(true, Ordering::Relaxed);
        assert_eq!((node.healthy(), node.ready()), (Ok(()), Err(Unfit::Draining)));
        assert_eq!(Unfit::Draining.to_string(), "draining");
    }

    #[test]
    fn without_a_control_thread_nothing_is_known() {
        let (health, mesh) = (Health::new(1), Mesh::new(1, 16));
        let at = |ms| health.zero + Duration::from_millis(ms);
        health.ask(&mesh, at(1000));
        health.answer(CoreId(0), false);
        assert_eq!(health.check(at(4000)), Ok(()));
        let unasked = Duration::from_millis(3001);
        assert_eq!(health.check(at(4001)), Err(Unfit::Unasked(unasked)));
    }
}
