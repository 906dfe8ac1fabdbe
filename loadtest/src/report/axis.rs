//! Where a value lies in a plot, and the round numbers beside it.

use super::figures;

/// What is counted along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds since the begin; ticks at round seconds, minutes or hours.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Per cent.
    Percent,
    /// Mbit/s.
    MbitS,
    /// Bytes, by the thousand.
    Bytes,
    /// Things.
    Count,
    /// Times another value.
    Ratio,
    /// A share of all, as nines: 0 is none, 1 is 90 %, 2 is 99 % of them. See [`nines`].
    Nines,
}

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// In proportion, from zero.
    #[default]
    Linear,
    /// By their logarithm, between powers of ten or their halves; for what spans decades.
    Log,
}

/// One axis of a plot: a unit, and a range that its ticks fill.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    unit: Unit,
    scale: Scale,
    from: f64,
    to: f64,
    step: f64,
}

/// The share `quantile` as the axis counts it.
pub fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

impl Unit {
    /// A value with its unit, as it is shown alone.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Seconds => figures::seconds(value),
            Self::Millis => figures::millis(value),
            Self::Percent => figures::percent(value),
            Self::MbitS => figures::mbit_s(value),
            Self::Bytes => figures::bytes(value),
            Self::Count => figures::number(value),
            Self::Ratio => format!("{} ×", figures::number(value)),
            Self::Nines => format!("{} %", percentile(value)),
        }
    }
}

/// `50`, `99`, `99.9`: as many digits as it takes to tell it from all.
fn percentile(nines: f64) -> String {
    let digits = ((nines - 1e-6).ceil() - 2.0).clamp(0.0, 6.0) as usize;
    format!("{:.digits$}", 100.0 * (1.0 - 10f64.powf(-nines)))
}

impl Axis {
    /// An axis that ends exactly where `values` do. For time and shares.
    pub fn exact(unit: Unit, values: impl Iterator<Item = f64>) -> Self {
        let (from, to) = range(values);
        let (from, to) = if to > from { (from, to) } else { (from, from + 1.0) };
        let steps = if unit == Unit::Seconds { TIME_STEPS } else { &[] };
        let step = steps.iter().copied().find(|step| (to - from) / step <= TICKS_X);
        let step = step.unwrap_or_else(|| round_step((to - from) / TICKS_X));
        Self { unit, scale: Scale::Linear, from, to, step }
    }

    /// An axis with a tick at or above the largest of `values`: from zero, or for
    /// [`Scale::Log`] with one at or below the smallest above zero.
    pub fn round(unit: Unit, scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let values = values.filter(|value| scale == Scale::Linear || *value > 0.0);
        let (least, most) = range(values);
        match scale {
            Scale::Linear => {
                let most = if most > 0.0 { most } else { 1.0 };
                let step = round_step(most / TICKS_Y);
                // Half of things does not exist.
                let step = if unit == Unit::Count { step.max(1.0) } else { step };
                Self { unit, scale, from: 0.0, to: (most / step).ceil() * step, step }
            }
            Scale::Log => {
                let (least, most) = if least > 0.0 { (least, most) } else { (1.0, 10.0) };
                let (from, to) = (10f64.powf(least.log10().floor()), most.log10().ceil());
                let to = 10f64.powf(to).max(10.0 * from);
                // Not a decade of nothing above.
                let to = [to / 5.0, to / 2.0].into_iter().find(|half| *half >= most).unwrap_or(to);
                Self { unit, scale, from, to, step: 0.0 }
            }
        }
    }

    /// What is counted along it.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Where `value` lies: 0 at the begin, 1 at the end, never outside.
    pub fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log => (value / self.from).log10() / (self.to / self.from).log10(),
        };
        // A value of zero has no logarithm.
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// The round numbers, with what to write beside them.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match (self.unit, self.scale) {
            (Unit::Nines, _) => {
                // 0 and 50 % lie together where the rest takes much room.
                let shares = if self.to > 2.5 { &SHARES[1..] } else { SHARES };
                shares.iter().map(|share| nines(*share)).collect()
            }
            (_, Scale::Linear) => {
                let first = (self.from / self.step - 1e-6).ceil() as i64;
                (first..first + 20).map(|at| at as f64 * self.step).collect()
            }
            (_, Scale::Log) => self.log_ticks(),
        };
        let inside = |value: &f64| *value <= self.to * (1.0 + 1e-9) && *value >= self.from;
        values.into_iter().filter(inside).map(|value| (value, self.label(value))).collect()
    }

    /// Powers of ten; 2 and 5 of each as well where there are few of them.
    fn log_ticks(&self) -> Vec<f64> {
        let (first, last) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let parts: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decade = |power| parts.iter().map(move |part| part * 10f64.powi(power));
        (first..=last).flat_map(decade).collect()
    }

    /// Units are the same along the axis, where a value alone might change over.
    fn label(&self, value: f64) -> String {
        let round = |value: f64, step: f64| {
            let whole = |digits: &i32| {
                let step = step * 10f64.powi(*digits);
                (step - step.round()).abs() < 1e-6
            };
            let digits = (0..4).find(whole).unwrap_or(4) as usize;
            match value.abs() {
                0.0 => "0".to_owned(),
                1000.0.. => figures::number(value),
                _ => format!("{value:.digits$}"),
            }
        };
        let step = if self.scale == Scale::Log { value } else { self.step };
        match self.unit {
            Unit::Seconds if self.to >= 3600.0 && step >= 3600.0 => {
                format!("{} h", round(value / 3600.0, step / 3600.0))
            }
            Unit::Seconds if step >= 60.0 => format!("{} min", round(value / 60.0, step / 60.0)),
            Unit::Seconds => format!("{} s", round(value, step)),
            Unit::Millis => format!("{} ms", round(value, step)),
            Unit::Percent => format!("{} %", round(value, step)),
            Unit::MbitS if self.to >= 1000.0 => {
                format!("{} Gbit/s", round(value / 1000.0, step / 1000.0))
            }
            Unit::MbitS => format!("{} Mbit/s", round(value, step)),
            Unit::Bytes => {
                let (scale, name) = figures::byte_scale(self.to);
                format!("{} {name}", round(value / scale, step / scale))
            }
            Unit::Count => round(value, step),
            Unit::Ratio => format!("{} ×", round(value, step)),
            Unit::Nines => self.unit.text(value),
        }
    }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let range = finite.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((least, most)) => Some((f64::min(least, value), f64::max(most, value))),
    });
    range.unwrap_or((0.0, 0.0))
}

/// 1, 2, 2.5 or 5 of a power of ten, not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let parts = [1.0, 2.0, 2.5, 5.0, 10.0];
    let part = parts.into_iter().find(|part| part * power >= step * (1.0 - 1e-9));
    part.unwrap_or(10.0) * power
}

/// As many as are easy to count.
const TICKS_Y: f64 = 5.0;
/// As many as have room for their labels on a telephone.
const TICKS_X: f64 = 5.0;
/// Round times: parts of a minute, of an hour and of a day.
const TIME_STEPS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    14_400.0, 21_600.0, 43_200.0, 86_400.0,
];
/// Where a percentile axis has ticks.
const SHARES: &[f64] = &[0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999];

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_reach_past_the_largest_value() {
        let axis = Axis::round(Unit::Percent, Scale::Linear, [0.7, 4.7].into_iter());
        assert_eq!(labels(&axis), ["0 %", "1 %", "2 %", "3 %", "4 %", "5 %"]);
        let axis = Axis::round(Unit::Percent, Scale::Linear, [11.3].into_iter());
        assert_eq!(labels(&axis), ["0 %", "2.5 %", "5.0 %", "7.5 %", "10.0 %", "12.5 %"]);
        let axis = Axis::round(Unit::Bytes, Scale::Linear, [63e6].into_iter());
        assert_eq!(labels(&axis), ["0 MB", "20 MB", "40 MB", "60 MB", "80 MB"]);
        let axis = Axis::round(Unit::MbitS, Scale::Linear, [9_700.0].into_iter());
        assert_eq!(labels(&axis).last().map(String::as_str), Some("10 Gbit/s"));
        let axis = Axis::round(Unit::Count, Scale::Linear, [2.0].into_iter());
        assert_eq!(labels(&axis), ["0", "1", "2"]);
    }

    #[test]
    fn time_has_ticks_at_round_seconds_minutes_and_hours() {
        let of = |to: f64| labels(&Axis::exact(Unit::Seconds, [0.0, to].into_iter()));
        assert_eq!(of(36.0), ["0 s", "10 s", "20 s", "30 s"]);
        assert_eq!(of(240.0), ["0 min", "1 min", "2 min", "3 min", "4 min"]);
        assert_eq!(of(4.0 * 3600.0), ["0 h", "1 h", "2 h", "3 h", "4 h"]);
        assert_eq!(of(50.0 * 60.0), ["0 min", "10 min", "20 min", "30 min", "40 min", "50 min"]);
    }

    #[test]
    fn a_log_axis_begins_below_the_smallest_value_above_zero() {
        let axis = Axis::round(Unit::Millis, Scale::Log, [0.0, 3.0, 40.0].into_iter());
        assert_eq!(labels(&axis), ["1 ms", "2 ms", "5 ms", "10 ms", "20 ms", "50 ms"]);
        assert_eq!((axis.place(0.0), axis.place(1.0), axis.place(50.0)), (0.0, 0.0, 1.0));
        let axis = Axis::round(Unit::Count, Scale::Log, [100.0, 10_000.0].into_iter());
        assert_eq!(labels(&axis).last().map(String::as_str), Some("10 000"));
    }

    #[test]
    fn shares_are_named_by_as_many_nines_as_tell_them_apart() {
        let axis = Axis::exact(Unit::Nines, [0.0, nines(0.9999)].into_iter());
        assert_eq!(labels(&axis), ["50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        let axis = Axis::exact(Unit::Nines, [0.0, nines(0.95)].into_iter());
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %"]);
    }

    #[test]
    fn without_values_there_is_an_axis_all_the_same() {
        for scale in [Scale::Linear, Scale::Log] {
            let axis = Axis::round(Unit::Millis, scale, [f64::NAN].into_iter());
            assert!(axis.ticks().len() >= 2, "{axis:?}");
        }
        assert!(!Axis::exact(Unit::Seconds, std::iter::empty()).ticks().is_empty());
    }
}
