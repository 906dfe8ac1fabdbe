//! Whether something grows: a straight line through noisy samples, and how sure it is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How something changed over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// What.
    pub what: String,
    /// In what it is counted.
    pub unit: String,
    /// Its median.
    pub median: f64,
    /// Change per hour: the median of the slopes between all pairs of samples (Theil and Sen), which
    /// a few wild samples do not move.
    pub per_hour: f64,
    /// With 95 % confidence the change is not below this (Sen 1968, by Kendall's statistic) ...
    pub low_per_hour: f64,
    /// ... nor above this.
    pub high_per_hour: f64,
    /// What it may grow by.
    pub allowed_per_hour: f64,
}

/// Samples are taken together until so many are left: those that lie close to each other say the
/// same twice, and would make it look surer than it is.
const POINTS_MAX: usize = 120;
/// With fewer there is no telling.
const POINTS_MIN: usize = 10;
/// The normal distribution's 97.5 %.
const Z: f64 = 1.96;
const HOUR_S: f64 = 3600.0;

impl Trend {
    /// Of `samples`: seconds, and what was found then. None if there are too few to tell.
    pub(super) fn of(
        what: &str,
        unit: &str,
        allowed_per_hour: f64,
        samples: &[(f64, f64)],
    ) -> Option<Self> {
        let points = thinned(samples);
        if points.len() < POINTS_MIN {
            return None;
        }
        let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
        for (at, (x, y)) in points.iter().enumerate() {
            for (later_x, later_y) in &points[at + 1..] {
                slopes.push((later_y - y) / (later_x - x) * HOUR_S);
            }
        }
        slopes.sort_by(f64::total_cmp);
        let (n, all) = (points.len() as f64, slopes.len() as f64);
        let spread = Z * (n * (n - 1.0) * (2.0 * n + 5.0) / 18.0).sqrt();
        let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
        Some(Self {
            what: what.to_owned(),
            unit: unit.to_owned(),
            median: middle(samples.iter().map(|(_, value)| *value).collect()),
            per_hour: middle(slopes.clone()),
            low_per_hour: at(((all - spread) / 2.0).floor()),
            high_per_hour: at(((all + spread) / 2.0).ceil()),
            allowed_per_hour,
        })
    }

    /// It grows by more than is allowed, and chance does not explain it.
    pub fn grew(&self) -> bool {
        self.low_per_hour > self.allowed_per_hour
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, median, per_hour, .. } = self;
        write!(
            f,
            "{what:<8} {median:>10.1} {unit:<3} {per_hour:+9.2} per hour ({:+.2} to {:+.2} with 95 % \
             confidence; {:.2} allowed): {}",
            self.low_per_hour,
            self.high_per_hour,
            self.allowed_per_hour,
            if self.grew() { "GREW" } else { "flat" }
        )
    }
}

/// Medians of groups of neighbours.
fn thinned(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = samples.len().div_ceil(POINTS_MAX).max(1);
    let of = |group: &[(f64, f64)], take: fn(&(f64, f64)) -> f64| {
        middle(group.iter().map(take).collect())
    };
    let mut points = samples
        .chunks(group)
        .map(|group| (of(group, |(at, _)| *at), of(group, |(_, value)| *value)))
        .collect::<Vec<_>>();
    points.dedup_by(|a, b| a.0 <= b.0);
    points
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    crate::compare::median(&values).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise between -1 and 1, the same each time.
    fn noise(at: usize) -> f64 {
        let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) as i64 as f64 / i64::MAX as f64
    }

    /// Half an hour, each ten seconds.
    fn samples(value: impl Fn(usize, f64) -> f64) -> Vec<(f64, f64)> {
        (0..180).map(|at| (at as f64 * 10.0, value(at, at as f64 / 360.0))).collect()
    }

    fn trend(samples: &[(f64, f64)]) -> Trend {
        Trend::of("RSS", "MiB", 1.0, samples).expect("enough of them")
    }

    #[test]
    fn a_slope_is_found_within_its_confidence() {
        let found = trend(&samples(|at, hours| 100.0 + 5.0 * hours + noise(at)));
        assert!((found.per_hour - 5.0).abs() < 0.5, "{found}");
        assert!(found.low_per_hour < 5.0 && 5.0 < found.high_per_hour, "{found}");
        assert!(found.grew(), "{found}");
    }

    #[test]
    fn noise_and_single_peaks_are_no_growth() {
        let found = trend(&samples(|at, _| 100.0 + 10.0 * noise(at)));
        assert!(found.low_per_hour < 0.0 && found.high_per_hour > 0.0, "{found}");
        assert!(!found.grew(), "{found}");
        let found = trend(&samples(|at, _| if at > 170 { 500.0 } else { 100.0 }));
        assert_eq!((found.per_hour, found.grew()), (0.0, false));
    }

    #[test]
    fn what_stays_the_same_is_flat_and_one_step_is_no_trend() {
        let found = trend(&samples(|_, _| 42.0));
        assert_eq!((found.low_per_hour, found.per_hour, found.high_per_hour), (0.0, 0.0, 0.0));
        let found = trend(&samples(|at, _| if at > 120 { 43.0 } else { 42.0 }));
        assert!(!found.grew(), "{found}");
    }

    #[test]
    fn a_thread_every_ten_minutes_is_a_leak() {
        let found = trend(&samples(|at, _| (at / 60) as f64));
        assert!(found.grew(), "{found}");
    }

    #[test]
    fn growth_that_is_allowed_is_flat() {
        let found = trend(&samples(|at, hours| 100.0 + 0.9 * hours + noise(at) * 0.01));
        assert!(found.low_per_hour > 0.8 && !found.grew(), "{found}");
    }

    #[test]
    fn a_handful_of_samples_tells_nothing() {
        assert_eq!(Trend::of("RSS", "MiB", 1.0, &samples(|_, _| 1.0)[..9]), None);
        assert_eq!(Trend::of("RSS", "MiB", 1.0, &[(1.0, 1.0); 50]), None);
    }
}
