//! What has become of the requests of one hook, counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one hook. They only grow.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were sent, again or for the first time.
    pub(crate) sent: AtomicU64,
    /// Requests without an answer in time, or with one that does not come from a hook server which is
    /// well.
    pub(crate) failed: AtomicU64,
    /// Requests that were sent again.
    pub(crate) retried: AtomicU64,
    /// What was to be told and was never heard.
    pub(crate) lost: AtomicU64,
    /// How long answers took.
    pub(crate) latency: Latency,
}

impl Tally {
    /// Something was to be sent.
    pub(super) fn is_used(&self) -> bool {
        [&self.sent, &self.lost].iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    pub(super) fn figures(&self) -> serde_json::Value {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        serde_json::json!({
            "sent": count(&self.sent),
            "failed": count(&self.failed),
            "retried": count(&self.retried),
            "lost": count(&self.lost),
            "answered": self.latency.counts().iter().sum::<u64>(),
            "answered_s": self.latency.sum_s(),
        })
    }
}

/// A histogram.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// How many took at most so long as the bound in the same place of [`Latency::BOUNDS_MS`], and
    /// longer than the one before; last those that took longer than all.
    counts: [AtomicU64; Self::BOUNDS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// Upper bounds, in milliseconds.
    pub(crate) const BOUNDS_MS: [u64; 11] = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

    pub(super) fn record(&self, took: Duration) {
        let fits = |bound: &u64| took <= Duration::from_millis(*bound);
        let at = Self::BOUNDS_MS.iter().position(fits).unwrap_or(Self::BOUNDS_MS.len());
        add(&self.counts[at], 1);
        add(&self.sum_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many lie at or below each bound and above the one before, then how many above all.
    pub(crate) fn counts(&self) -> [u64; Self::BOUNDS_MS.len() + 1] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// All of them together, in seconds.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 / 1e6
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_counts_where_its_time_belongs() {
        let latency = Latency::default();
        for ms in [0, 2, 3, 10_000, 10_001] {
            latency.record(Duration::from_millis(ms));
        }
        assert_eq!(latency.counts(), [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((latency.sum_s() - 20.006).abs() < 1e-9);
    }
}
