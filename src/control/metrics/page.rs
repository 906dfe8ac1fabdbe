use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::plane::Timings;

/// The page in the making: one family of metrics after the other, each with its samples.
///
/// Names are given whole, so that they can be looked for; a unit at the end is told as such.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

/// Names and values.
pub(super) type Labels = [(&'static str, String)];

/// Of the histograms of times: what keeps up takes tens of microseconds, what strains a merge
/// window takes hundreds of milliseconds.
const BOUNDS: [Duration; 15] = {
    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }
    [
        us(100),
        us(250),
        us(500),
        us(1000),
        us(2500),
        us(5000),
        us(10_000),
        us(25_000),
        us(50_000),
        us(100_000),
        us(250_000),
        us(500_000),
        us(1_000_000),
        us(2_500_000),
        us(5_000_000),
    ]
};

/// A histogram: how many took longer than the bound before, and at most each of the bounds. The last
/// is infinite.
pub(super) struct Steps {
    sum_s: f64,
    buckets: Vec<(f64, u64)>,
}

impl Steps {
    /// `buckets` are bounds in seconds, the last of them infinite, and counts.
    pub(super) fn new(sum_s: f64, buckets: impl IntoIterator<Item = (f64, u64)>) -> Self {
        Self { sum_s, buckets: buckets.into_iter().collect() }
    }
}

impl From<&Timings> for Steps {
    fn from(timings: &Timings) -> Self {
        let (counts, beyond) = timings.counts(BOUNDS);
        let buckets = BOUNDS.iter().map(Duration::as_secs_f64).zip(counts);
        Self::new(timings.sum().as_secs_f64(), buckets.chain([(f64::INFINITY, beyond)]))
    }
}

impl Page<'_> {
    /// What only ever counts up; `_total` is added to its name.
    pub(super) fn counter<'s, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'s Labels, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Counter, samples, |metric, value| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// What goes up and down.
    pub(super) fn gauge<'s, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'s Labels, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |metric, value| {
            metric.encode_gauge(&value)
        })
    }

    /// How often something took how long.
    pub(super) fn histogram<'s>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'s Labels, Steps)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |metric, steps| {
            let count = steps.buckets.iter().map(|(_, count)| count).sum();
            metric.encode_histogram::<NoLabelSet>(steps.sum_s, count, &steps.buckets, None)
        })
    }

    fn family<'s, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (&'s Labels, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let (name, unit) = match name.rsplit_once('_') {
            Some((name, "seconds")) => (name, Some(Unit::Seconds)),
            Some((name, "bytes")) => (name, Some(Unit::Bytes)),
            _ => (name, None),
        };
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => write(&mut metric, value)?,
                false => write(&mut metric.encode_family(&labels)?, value)?,
            }
        }
        Ok(())
    }
}
