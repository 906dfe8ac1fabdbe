use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// How long something took, each time: a histogram of microseconds from the start of the core on.
///
/// It only ever counts up, so that everyone who asks can take the difference to what they saw
/// before ([`Self::since`]), and nobody's question spoils another's. Its size is fixed, 18 KiB:
/// two digits from 1 µs to 10 s, longer ones count as 10 s. To record takes some nanoseconds and
/// no memory.
#[derive(Debug, Clone)]
pub struct Timings(Histogram<u64>);

/// The longest that is told from a longer one.
const LONGEST_US: u64 = 10_000_000;
const DIGITS: u8 = 2;

impl Default for Timings {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, DIGITS).expect("bounds it can hold"))
    }
}

impl Timings {
    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_US));
    }

    /// What was recorded after `earlier`, which is an older state of this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut later = self.clone();
        // Err: it is not older; then all of it is new.
        if later.0.subtract(&earlier.0).is_err() {
            later.clone_from(self);
        }
        later
    }

    /// Adds what another core recorded.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many took more than the bound before, and at most each of `bounds`, which rise; the last
    /// count is of those beyond. Like every figure here it knows two digits.
    pub fn counts<const N: usize>(&self, bounds: [Duration; N]) -> (Vec<u64>, u64) {
        let mut counts = vec![0; N];
        let mut beyond = 0;
        for step in self.0.iter_recorded() {
            let time = Duration::from_micros(step.value_iterated_to());
            // What cannot be told from the bound is within it.
            let within = bounds.iter().position(|bound| self.is_within(time, *bound));
            *within.map_or(&mut beyond, |at| &mut counts[at]) += step.count_at_value();
        }
        (counts, beyond)
    }

    fn is_within(&self, time: Duration, bound: Duration) -> bool {
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        time <= bound || self.0.equivalent(us(time), us(bound).min(LONGEST_US))
    }

    /// All of them together, to two digits.
    pub fn sum(&self) -> Duration {
        let of = |value: u64, count: u64| self.0.median_equivalent(value) * count;
        let steps = self.0.iter_recorded();
        Duration::from_micros(steps.map(|it| of(it.value_iterated_to(), it.count_at_value())).sum())
    }

    /// Its figures.
    pub fn quantiles(&self) -> Quantiles {
        #[allow(clippy::cast_precision_loss)]
        let ms = |us: u64| us as f64 / 1000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Quantiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: ms(self.0.max()),
        }
    }
}

/// What a [`Timings`] comes to. All zero if nothing was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Quantiles {
    /// How often it happened.
    pub count: u64,
    /// Half of them took at most this.
    pub p50_ms: f64,
    /// Nine of ten took at most this.
    pub p90_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timings(ms: &[u64]) -> Timings {
        let mut timings = Timings::default();
        ms.iter().for_each(|ms| timings.record(Duration::from_millis(*ms)));
        timings
    }

    #[test]
    fn an_interval_holds_only_what_came_after_the_earlier_state() {
        let earlier = timings(&[500; 100]);
        let mut now = earlier.clone();
        (0..10).for_each(|_| now.record(Duration::from_millis(2)));
        let Quantiles { count, p50_ms, max_ms, .. } = now.since(&earlier).quantiles();
        assert_eq!(count, 10);
        assert!((1.9..2.1).contains(&p50_ms) && (1.9..2.1).contains(&max_ms), "{p50_ms} {max_ms}");
        assert_eq!(now.since(&now).quantiles(), Quantiles::default());
    }

    #[test]
    fn what_is_out_of_range_counts_at_its_end() {
        let mut all = timings(&[0, 3_600_000]);
        all.record(Duration::MAX);
        all.add(&timings(&[1]));
        let Quantiles { count, max_ms, .. } = all.quantiles();
        assert_eq!(count, 4);
        assert!((10_000.0..10_200.0).contains(&max_ms), "{max_ms}");
    }

    #[test]
    fn each_is_counted_below_the_first_bound_that_it_does_not_exceed() {
        let ms = Duration::from_millis;
        let all = timings(&[1, 5, 5, 100, 4000, 20_000]);
        let (counts, beyond) = all.counts([ms(1), ms(10), ms(50), ms(5000)]);
        assert_eq!((counts, beyond), (vec![1, 2, 0, 2], 1));
        let sum = all.sum().as_secs_f64();
        assert!((13.9..14.3).contains(&sum), "{sum}: the longest counts as 10 s");
        assert_eq!(Timings::default().sum(), Duration::ZERO);
    }

    #[test]
    fn it_takes_18_kib() {
        let histogram = Timings::default().0;
        assert_eq!(histogram.distinct_values() * size_of::<u64>(), 18 << 10);
    }
}
