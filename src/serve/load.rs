//! How much a core has to do, as it counts itself once a second, and which core has least.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::core::Core;
use crate::net::{flush, rt};
use crate::shard::CoreId;

/// What a source costs a core beside the bytes it moves, in bytes per second.
pub const SOURCE_LOAD: u64 = 100_000;

impl Core {
    pub(super) fn least_loaded(&self) -> CoreId {
        let loads = self.node.loads.iter().map(|load| load.load(Ordering::Relaxed));
        // The first of equals would make core 0 everybody's choice.
        let cores = self.node.loads.len();
        let offset = self.id.index();
        let (index, _) = loads
            .enumerate()
            .min_by_key(|(index, load)| (*load, (index + cores - offset) % cores))
            .expect("a node has a core");
        self.node.loads[index].fetch_add(SOURCE_LOAD, Ordering::Relaxed);
        CoreId(u16::try_from(index).expect("fewer than 2^16 cores"))
    }

    /// The source that a placing counted in will not be. An idle owner would count it for ever,
    /// as nobody came who would have made it count anew.
    pub(super) fn expect_less_of(&self, owner: CoreId) {
        let less = |load: u64| Some(load.saturating_sub(SOURCE_LOAD));
        let load = &self.node.loads[owner.index()];
        // Err cannot be: `less` always says Some.
        let _ = load.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Once a second, while anything moves: how busy the core is, and its load. An idle core must
    /// not tick.
    pub(super) async fn count_seconds(&self) {
        let mut before = self.look();
        self.tell_wall(before.at);
        loop {
            let due = before.at + SECOND;
            rt::sleep_until(due).await;
            let now = self.look();
            self.tell_wall(now.at);
            let passed = now.at.saturating_duration_since(before.at).as_secs_f64();
            let busy = now.wanted.saturating_sub(before.wanted).as_secs_f64() / passed;
            let refuses = {
                let mut hub = self.hub.borrow_mut();
                hub.second(busy, now.at.saturating_duration_since(due));
                hub.refuses_newcomers()
            };
            flush::end_the_vanished(&self.hub, now.at);
            self.node.health.set_refuses_newcomers(self.id, refuses);
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss
            )]
            let rate = ((now.moved - before.moved) as f64 / passed) as u64;
            let load = rate + now.sources * SOURCE_LOAD;
            self.node.loads[self.id.index()].store(load, Ordering::Relaxed);
            before = now;
            if !self.hub.borrow().is_active() {
                let mut first = true;
                std::future::poll_fn(|cx| {
                    if std::mem::take(&mut first) {
                        *self.idle.borrow_mut() = Some(cx.waker().clone());
                        return std::task::Poll::Pending;
                    }
                    std::task::Poll::Ready(())
                })
                .await;
                before = self.look();
                self.tell_wall(before.at);
            }
        }
    }

    fn tell_wall(&self, now: Instant) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.hub.borrow_mut().set_wall(since_1970, now);
    }

    fn look(&self) -> Look {
        let totals = self.hub.borrow().totals();
        Look {
            at: Instant::now(),
            wanted: self.scheduler.look().wanted(),
            moved: totals.ingest_bytes + totals.egress_bytes,
            sources: totals.sources,
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// What is seen of a core once a second.
struct Look {
    at: Instant,
    /// How long its thread has run, or waited for its CPU.
    wanted: Duration,
    /// Bytes from publishers and to viewers.
    moved: u64,
    sources: u64,
}
