//! Many durations kept by their size, so that percentiles of several viewers, seconds and
//! processes can be had exactly, and never as a mean of percentiles.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

/// How often each duration was met: to the microsecond, or three digits where that is coarser.
///
/// Its JSON has what people look for in milliseconds (`count`, `p50` to `max`), and everything
/// in `hdr_us`: an HdrHistogram of microseconds, V2 encoding in base64, as other tools read it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Json", try_from = "Json")]
pub struct Distribution(Histogram<u64>);

/// What the histogram keeps of a number.
const DIGITS: u8 = 3;
/// A day; what is longer counts as this.
const MAX_US: u64 = 86_400_000_000;

impl Default for Distribution {
    fn default() -> Self {
        Self(Histogram::new(DIGITS).expect("it takes up to five digits"))
    }
}

impl Distribution {
    /// Adds one.
    pub fn record(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(MAX_US);
        self.0.record(us.min(MAX_US)).expect("it grows, and a day fits");
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("it grows");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The milliseconds that a share `quantile` (0.0 to 1.0) of all do not exceed. None if there
    /// are none.
    pub fn value_at(&self, quantile: f64) -> Option<f64> {
        (!self.is_empty()).then(|| match quantile >= 1.0 {
            true => milliseconds(self.0.max()),
            false => milliseconds(self.0.value_at_quantile(quantile)),
        })
    }

    /// Their mean in milliseconds. None if there are none.
    pub fn mean(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.0.mean() * 1e-3)
    }
}

fn milliseconds(us: u64) -> f64 {
    us as f64 * 1e-3
}

impl fmt::Debug for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = [0.5, 0.99, 1.0].map(|quantile| self.value_at(quantile).unwrap_or_default());
        write!(f, "{} of p50, p99, max {values:?} ms", self.count())
    }
}

/// Its lasting form.
#[derive(Serialize, Deserialize)]
struct Json {
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    max: Option<f64>,
    hdr_us: String,
}

impl From<Distribution> for Json {
    fn from(distribution: Distribution) -> Self {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&distribution.0, &mut bytes)
            .expect("memory takes all, and counts are far below 2^63");
        // Rounded, because 7.0009999999999994 helps nobody.
        let value_at = |quantile| {
            distribution.value_at(quantile).map(|value: f64| (value * 1e3).round() / 1e3)
        };
        Self {
            count: distribution.count(),
            p50: value_at(0.5),
            p90: value_at(0.9),
            p99: value_at(0.99),
            p999: value_at(0.999),
            max: value_at(1.0),
            hdr_us: BASE64.encode(bytes),
        }
    }
}

impl TryFrom<Json> for Distribution {
    type Error = String;

    fn try_from(json: Json) -> Result<Self, String> {
        let expected = "expected an HdrHistogram, V2 in base64";
        let bytes = BASE64.decode(&json.hdr_us).map_err(|error| format!("{expected}: {error}"))?;
        let mut histogram = Deserializer::new()
            .deserialize::<u64, _>(&mut bytes.as_slice())
            .map_err(|error| format!("{expected}: {error}"))?;
        histogram.auto(true);
        Ok(Self(histogram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ms: impl IntoIterator<Item = u64>) -> Distribution {
        let mut distribution = Distribution::default();
        ms.into_iter().for_each(|ms| distribution.record(Duration::from_millis(ms)));
        distribution
    }

    #[test]
    fn percentiles_of_a_merge_are_those_of_all_values() {
        let mut merged = of(1..=500);
        merged.merge(&of(501..=1000));
        let all = of(1..=1000);
        for quantile in [0.0, 0.5, 0.9, 0.99, 0.999, 1.0] {
            assert_eq!(merged.value_at(quantile), all.value_at(quantile), "{quantile}");
        }
        let p99 = merged.value_at(0.99).expect("there are some");
        assert!((989.0..=991.0).contains(&p99), "{p99}");
        assert_eq!(merged.count(), 1000);
    }

    #[test]
    fn json_brings_back_every_value_and_more_can_be_added() {
        let before = of([0, 1, 5, 80_000]);
        let text = serde_json::to_string(&before).expect("plain data");
        let mut after = serde_json::from_str::<Distribution>(&text).expect("its own form");
        assert_eq!(after, before);
        after.record(Duration::from_secs(7200));
        after.merge(&before);
        assert_eq!(after.count(), 9);
        assert!(serde_json::from_str::<Distribution>(r#"{"count":1,"hdr_us":"!"}"#).is_err());
    }

    #[test]
    fn of_nothing_there_is_no_percentile() {
        let nothing = Distribution::default();
        assert_eq!((nothing.value_at(0.99), nothing.mean()), (None, None));
        let text = serde_json::to_string(&nothing).expect("plain data");
        assert!(text.contains("\"p99\":null"), "{text}");
        let mut some = serde_json::from_str::<Distribution>(&text).expect("its own form");
        some.record(Duration::MAX);
        assert_eq!(some.value_at(1.0).map(|ms| (ms / 1e6).round()), Some(86.0));
    }
}
