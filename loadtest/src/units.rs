//! Numbers as people write them on a command line.

use std::time::Duration;

/// `"350ms"`, `"2s"`, `"1m"`. Zero needs no unit.
///
/// # Errors
/// What was expected, and what was found.
pub fn duration(text: &str) -> Result<Duration, String> {
    let seconds = scaled(text, &[("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)])
        .ok_or_else(|| format!("expected a duration such as 350ms or 30s, found {text:?}"))?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The same, above zero.
///
/// # Errors
/// What was expected, and what was found.
pub fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    let none = || format!("expected a duration above 0 such as 30s, found {text:?}");
    (!time.is_zero()).then_some(time).ok_or_else(none)
}

/// `"800k"`, `"2M"`, `"2.5M"`: bits per second.
///
/// # Errors
/// What was expected, and what was found.
pub fn bitrate(text: &str) -> Result<u64, String> {
    scaled(text, &[("k", 1e3), ("M", 1e6), ("G", 1e9)])
        .map(|bits| bits as u64)
        .ok_or_else(|| format!("expected bits per second such as 800k or 2M, found {text:?}"))
}

/// `"500/s"`: how many per second. 0 is none.
///
/// # Errors
/// What was expected, and what was found.
pub fn rate(text: &str) -> Result<f64, String> {
    scaled(text, &[("/s", 1.0), ("/m", 1.0 / 60.0)])
        .filter(|rate| *rate > 0.0)
        .ok_or_else(|| format!("expected a rate such as 500/s, found {text:?}"))
}

/// `"16KiB"`, `"1MiB"`: bytes.
///
/// # Errors
/// What was expected, and what was found.
pub fn size(text: &str) -> Result<usize, String> {
    scaled(text, &[("KiB", 1024.0), ("MiB", 1024.0 * 1024.0)])
        .map(|bytes| bytes as usize)
        .ok_or_else(|| format!("expected a size such as 16KiB, found {text:?}"))
}

/// `"25"`: so many times a second, each of them at least a microsecond long.
///
/// # Errors
/// What was expected, and what was found.
pub fn frequency(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| is_frequency(*number));
    number.ok_or_else(|| format!("expected times per second from 0.001 to 1000000, found {text:?}"))
}

/// Whether something can be done so many times a second.
pub(crate) fn is_frequency(per_second: f64) -> bool {
    (0.001..=1e6).contains(&per_second)
}

fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let number = |digits: &str| digits.trim().parse().ok().filter(|n: &f64| *n >= 0.0);
    if text == "0" {
        return Some(0.0);
    }
    // "ms" ends in "s" too, so the longer ones stand first.
    let (digits, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    number(digits).map(|number| number * scale).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_read_and_their_lack_is_told() {
        assert_eq!(duration("350ms"), Ok(Duration::from_millis(350)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(bitrate("2M"), Ok(2_000_000));
        assert_eq!(rate("500/s"), Ok(500.0));
        assert_eq!(size("16KiB"), Ok(16 << 10));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert!(some_time("0s").is_err() && some_time("1ms").is_ok());
        for text in ["", "5", "s", "-1s", "nan s", "infs"] {
            assert!(duration(text).is_err() && size(text).is_err(), "{text}");
        }
        assert!(rate("0").is_err());
        assert_eq!(frequency("71.875"), Ok(71.875));
        for text in ["0", "-1", "NaN", "inf", "1e-300", "1e300", ""] {
            assert!(frequency(text).is_err(), "{text}");
        }
    }
}
