//! Numbers as people write them: `"350ms"`, `"32MiB"`, `"2Mbit/s"`. Zero needs no unit.
//!
//! Each module is for `#[serde(with = "...")]`, so that the fields are plain numbers.

use std::fmt;

use serde::{Deserializer, Serializer};

/// A [`Duration`](std::time::Duration) with a unit: ns, us, ms, s, m or h.
pub(super) mod duration {
    use std::time::Duration;

    use serde::de::Error as _;

    use super::*;

    /// So that a deadline never leaves the range of the clock.
    pub(in super::super) const MAX: Duration = Duration::from_secs(24 * 3600);

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let nanos = deserializer.deserialize_any(Quantity(&DURATION))?;
        let value = Duration::from_nanos(nanos);
        if value > MAX {
            let found = show(value);
            return Err(D::Error::custom(format_args!("expected at most 24h, found {found}")));
        }
        Ok(value)
    }

    pub(in super::super) fn show(value: Duration) -> String {
        DURATION.show(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A [`Duration`](std::time::Duration) likewise that may be of years: no deadline is made of it.
pub(super) mod age {
    use std::time::Duration;

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::show(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        deserializer.deserialize_any(Quantity(&DURATION)).map(Duration::from_nanos)
    }
}

/// A duration as people write it, such as `90m` or `720h`. `None` if it is none.
pub fn parse_duration(text: &str) -> Option<std::time::Duration> {
    DURATION.parse(text).map(std::time::Duration::from_nanos)
}

/// A number of bytes with a unit: B, or KiB, MiB, GiB, or kB, MB, GB.
pub(super) mod size {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &usize,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&show(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<usize, D::Error> {
        let bytes = deserializer.deserialize_any(Quantity(&SIZE))?;
        usize::try_from(bytes).map_err(|_| serde::de::Error::custom("more than this machine has"))
    }

    pub(in super::super) fn show(value: usize) -> String {
        SIZE.show(value as u64)
    }
}

/// Bits per second with a unit: bit/s, kbit/s, Mbit/s or Gbit/s.
pub(super) mod bitrate {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &u64,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BITRATE.show(*value))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u64, D::Error> {
        deserializer.deserialize_any(Quantity(&BITRATE))
    }
}

/// A list of socket addresses.
pub(super) mod addresses {
    use std::net::SocketAddr;

    use serde::de::Error as _;
    use serde::{Deserialize, Serialize};

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &[SocketAddr],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<SocketAddr>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer).map_err(|error| {
            let found = error.to_string();
            let found = found.trim_end();
            D::Error::custom(format_args!(
                "{found}; write a list of addresses such as [\"[::]:1935\"]"
            ))
        })?;
        texts.iter().map(|text| address(text).map_err(D::Error::custom)).collect()
    }

    fn address(text: &str) -> Result<SocketAddr, String> {
        text.parse().map_err(|_| {
            let hint = match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
                Ok(port) => format!("[::]:{port}"),
                Err(_) => "[::]:1935".to_owned(),
            };
            format!("expected an IP address and a port such as \"{hint}\", found {text:?}")
        })
    }
}

/// A list of networks, such as `"10.0.0.0/8"`; an address alone is a network of one.
pub(super) mod networks {
    use ipnet::IpNet;
    use serde::de::Error as _;
    use serde::{Deserialize, Serialize};

    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer).map_err(|error| {
            D::Error::custom(format_args!(
                "{error}; write a list of networks such as [\"10.0.0.0/8\"]"
            ))
        })?;
        let network = |text: &String| {
            super::super::rule::network(text).ok_or_else(|| {
                D::Error::custom(format_args!(
                    "expected a network such as \"10.0.0.0/8\" or \"fd00::/8\", or an address, \
                     found {text:?}"
                ))
            })
        };
        texts.iter().map(network).collect()
    }
}

/// The units of one quantity, smallest first. The last that divides a value evenly shows it.
struct Units {
    noun: &'static str,
    examples: &'static str,
    units: &'static [(&'static str, u64)],
    /// Read as well, but never written.
    aliases: &'static [(&'static str, u64)],
}

const DURATION: Units = Units {
    noun: "a duration with its unit (ns, us, ms, s, m, h)",
    examples: r#""350ms", "15s" or "2m""#,
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ],
    aliases: &[("sec", 1_000_000_000), ("min", 60_000_000_000)],
};

const SIZE: Units = Units {
    noun: "a size with its unit (B, KiB, MiB, GiB, kB, MB, GB)",
    examples: r#""64KiB", "32MiB" or "1GiB""#,
    units: &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)],
    aliases: &[("kB", 1_000), ("KB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000)],
};

const BITRATE: Units = Units {
    noun: "a bitrate with its unit (bit/s, kbit/s, Mbit/s, Gbit/s)",
    examples: r#""800kbit/s", "2Mbit/s" or 0"#,
    units: &[("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)],
    aliases: &[("bps", 1), ("kbps", 1_000), ("Mbps", 1_000_000), ("Gbps", 1_000_000_000)],
};

impl Units {
    fn parse(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        if unit.is_empty() {
            return (number.parse() == Ok(0)).then_some(0);
        }
        let &(_, factor) = self.units.iter().chain(self.aliases).find(|(name, _)| *name == unit)?;
        match number.split_once('.') {
            None => number.parse::<u64>().ok()?.checked_mul(factor),
            Some((whole, fraction)) => {
                let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
                let scale = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
                let fraction = fraction.parse::<u64>().ok()?.checked_mul(factor)?;
                // "1.0001ms" has no nanoseconds left over, "0.5B" has half a byte.
                (fraction % scale == 0).then(|| whole.checked_add(fraction / scale))?
            }
        }
    }

    fn show(&self, value: u64) -> String {
        if value == 0 {
            return "0".to_owned();
        }
        let even = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor);
        let (unit, factor) = self.units.iter().rev().find(even).expect("one divides everything");
        format!("{}{unit}", value / factor)
    }
}

/// Reads a quantity as its number of smallest units.
struct Quantity(&'static Units);

impl serde::de::Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} such as {}", self.0.noun, self.0.examples)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        self.0.parse(text).ok_or_else(|| E::custom(format_args!("expected {self}, found {text:?}")))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<u64, E> {
        match number {
            0 => Ok(0),
            _ => Err(E::custom(format_args!("expected {self}, found {number} without one"))),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<u64, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        serde::de::Visitor::expecting(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_unit() {
        assert_eq!(DURATION.parse("350ms"), Some(350_000_000));
        assert_eq!(DURATION.parse("1.5 s"), Some(1_500_000_000));
        assert_eq!(DURATION.parse("2m"), Some(120_000_000_000));
        assert_eq!(SIZE.parse("32MiB"), Some(32 << 20));
        assert_eq!(SIZE.parse("1.5KiB"), Some(1536));
        assert_eq!(SIZE.parse("10MB"), Some(10_000_000));
        assert_eq!(BITRATE.parse("2Mbit/s"), Some(2_000_000));
        assert_eq!(BITRATE.parse("2.5Mbps"), Some(2_500_000));
    }

    #[test]
    fn zero_needs_no_unit_and_nothing_else_goes_without() {
        assert_eq!(DURATION.parse("0"), Some(0));
        for bad in ["", "15", "s", "-1s", "1e3s", "15 parsecs", ".s", "1.2.3s", "0.3ns", "1,5s"] {
            assert_eq!(DURATION.parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn numbers_too_large_are_refused() {
        assert_eq!(DURATION.parse("18446744073709551615h"), None);
        assert_eq!(SIZE.parse("99999999999999999999B"), None);
        assert_eq!(SIZE.parse("1.99999999999999999999999KiB"), None);
    }

    #[test]
    fn the_largest_unit_that_divides_shows_a_quantity() {
        assert_eq!(DURATION.show(350_000_000), "350ms");
        assert_eq!(DURATION.show(15_000_000_000), "15s");
        assert_eq!(DURATION.show(0), "0");
        assert_eq!(SIZE.show(48 << 20), "48MiB");
        assert_eq!(SIZE.show(1000), "1000B");
        assert_eq!(BITRATE.show(2_500_000), "2500kbit/s");
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back(value: u64) {
            for units in [&DURATION, &SIZE, &BITRATE] {
                proptest::prop_assert_eq!(units.parse(&units.show(value)), Some(value));
            }
        }

        #[test]
        fn no_text_can_upset_the_parser(text: String) {
            let _ = DURATION.parse(&text);
        }
    }
}
