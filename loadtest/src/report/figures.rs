//! Numbers as people read them: few digits, always a unit.

/// Digits that matter: three for small values, none behind the point for large ones.
///
/// `4.53`, `38.2`, `361`, `19 000`. Not a number is `-`.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "-".into(),
        _ if size >= 999.5 => grouped(value),
        _ if size >= 99.95 => format!("{value:.0}"),
        _ if size >= 9.995 => format!("{value:.1}"),
        _ if size == 0.0 => "0".into(),
        _ if size < 0.005 => format!("{value:.4}"),
        _ => format!("{value:.2}"),
    }
}

/// A whole number, its thousands set apart: `19 000`.
pub fn count(value: u64) -> String {
    grouped(value as f64)
}

/// Per cent of one core, or of anything: `4.53 %`.
pub fn percent(value: f64) -> String {
    format!("{} %", number(value))
}

/// Milliseconds, as seconds from ten of them on: `175 ms`, `12.5 s`.
pub fn millis(value: f64) -> String {
    match value.abs() >= 10_000.0 {
        true => format!("{} s", number(value / 1000.0)),
        false => format!("{} ms", number(value)),
    }
}

/// Mbit/s, as Gbit/s from a thousand on: `2.03 Gbit/s`.
pub fn mbit_s(value: f64) -> String {
    match value.abs() >= 999.5 {
        true => format!("{} Gbit/s", number(value / 1000.0)),
        false => format!("{} Mbit/s", number(value)),
    }
}

/// Bytes by the thousand, as hosts are sold: `1.90 KB`, `61.2 MB`.
pub fn bytes(value: f64) -> String {
    let (scale, unit) = byte_scale(value);
    format!("{} {unit}", number(value / scale))
}

/// What to divide bytes of this size by, and the name of the unit.
pub(super) fn byte_scale(value: f64) -> (f64, &'static str) {
    match value.abs() {
        size if size >= 1e12 => (1e12, "TB"),
        size if size >= 1e9 => (1e9, "GB"),
        size if size >= 1e6 => (1e6, "MB"),
        size if size >= 1e3 => (1e3, "KB"),
        _ => (1.0, "B"),
    }
}

/// A span of time: `30 s`, `4 min 10 s`, `2 h 5 min`.
pub fn seconds(value: f64) -> String {
    let whole = value.round().max(0.0) as u64;
    let (large, small, names) = match whole {
        0..10 if value.fract() != 0.0 => return format!("{} s", number(value)),
        0..60 => return format!("{whole} s"),
        60..3600 => (whole / 60, whole % 60, ("min", "s")),
        _ => (whole / 3600, whole % 3600 / 60, ("h", "min")),
    };
    match small {
        0 => format!("{large} {}", names.0),
        _ => format!("{large} {} {small} {}", names.0, names.1),
    }
}

/// `0 lost`, `1 viewer`, `3 viewers`.
pub fn many(value: u64, one: &str, more: &str) -> String {
    match value {
        1 => format!("1 {one}"),
        _ => format!("{} {more}", count(value)),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value <= -0.5 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A space where no line ends.
pub const GLUE: char = '\u{a0}';

/// Words in which no line ends within a number, or between it and its unit.
pub fn glued(text: &str) -> String {
    let mut last = ' ';
    let glue = |found: char| {
        let is_glue = found == ' ' && last.is_ascii_digit();
        last = found;
        if is_glue { GLUE } else { found }
    };
    text.chars().map(glue).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_the_digits_that_matter() {
        let read = [4.534, 38.21, 361.4, 999.6, 19_000.4, 0.0, 0.0012, -0.5, f64::NAN].map(number);
        assert_eq!(read, ["4.53", "38.2", "361", "1 000", "19 000", "0", "0.0012", "-0.50", "-"]);
    }

    #[test]
    fn thousands_are_set_apart_in_counts_of_any_length() {
        let read = [0, 7, 999, 1000, 51_234, 1_234_567].map(count);
        assert_eq!(read, ["0", "7", "999", "1 000", "51 234", "1 234 567"]);
    }

    #[test]
    fn a_unit_grows_with_the_value() {
        assert_eq!(bytes(1900.0), "1.90 KB");
        assert_eq!(bytes(61_200_000.0), "61.2 MB");
        assert_eq!(mbit_s(812.4), "812 Mbit/s");
        assert_eq!(mbit_s(20_312.0), "20.3 Gbit/s");
        assert_eq!(millis(12_500.0), "12.5 s");
        let spans = [4.04, 9.0, 30.0, 60.0, 250.0, 3600.0, 7500.0].map(seconds);
        assert_eq!(spans, ["4.04 s", "9 s", "30 s", "1 min", "4 min 10 s", "1 h", "2 h 5 min"]);
    }
}
