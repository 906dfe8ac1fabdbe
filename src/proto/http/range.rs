//! Which part of something is wanted (RFC 9110 14).

/// What Range asks for, of something so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of it: nothing else was said, or nothing that must be heeded (RFC 9110 14.2).
    Whole,
    /// From byte `first` on, `length` bytes, which are there.
    Part {
        /// Bytes before it.
        first: u64,
        /// How many.
        length: u64,
    },
    /// What is not there: 416.
    Beyond,
}

impl Wanted {
    /// Of `length` bytes that `etag` names, quotes included; `range` and `if_range` as they came. Of
    /// several parts at once all is given instead, which is allowed.
    pub fn of(range: Option<&str>, if_range: Option<&str>, etag: &str, length: u64) -> Self {
        // RFC 9110 13.1.5: a date, and a weak tag, are other bytes.
        if if_range.is_some_and(|known| known.trim() != etag) {
            return Self::Whole;
        }
        range.and_then(|range| Self::read(range, length)).unwrap_or(Self::Whole)
    }

    /// None of what is no range, or more than one.
    fn read(range: &str, length: u64) -> Option<Self> {
        let (unit, set) = range.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        if first.is_empty() {
            // So many from the end.
            return Some(match number(last)?.min(length) {
                0 => Self::Beyond,
                most => Self::Part { first: length - most, length: most },
            });
        }
        let first = number(first)?;
        let last = match last {
            "" => u64::MAX,
            last => number(last)?,
        };
        if last < first {
            return None;
        }
        if first >= length {
            return Some(Self::Beyond);
        }
        Some(Self::Part { first, length: last.min(length - 1) - first + 1 })
    }
}

/// Decimal digits alone; a number too large for us is beyond anything there is.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(range: &str) -> Wanted {
        Wanted::of(Some(range), None, "\"a\"", 100)
    }

    fn part(first: u64, length: u64) -> Wanted {
        Wanted::Part { first, length }
    }

    #[test]
    fn one_range_is_heeded_as_far_as_there_is_something() {
        for (range, wanted) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=10-19", part(10, 10)),
            ("BYTES=90-", part(90, 10)),
            ("bytes=90-1000", part(90, 10)),
            ("bytes=-10", part(90, 10)),
            ("bytes=-1000", part(0, 100)),
            ("bytes=0-99999999999999999999999", part(0, 100)),
            ("bytes=100-", Wanted::Beyond),
            ("bytes=99999999999999999999999-", Wanted::Beyond),
            ("bytes=-0", Wanted::Beyond),
        ] {
            assert_eq!(of(range), wanted, "{range}");
        }
        assert_eq!(Wanted::of(Some("bytes=0-"), None, "\"a\"", 0), Wanted::Beyond);
    }

    #[test]
    fn what_is_no_range_or_several_is_the_whole() {
        for range in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=0-1,3-4",
            "seconds=0-1",
            "bytes=1 - 2",
            "bytes=0--1",
        ] {
            assert_eq!(of(range), Wanted::Whole, "{range}");
        }
        assert_eq!(Wanted::of(None, None, "\"a\"", 100), Wanted::Whole);
    }

    #[test]
    fn a_part_of_other_bytes_is_given_to_nobody() {
        let of = |if_range| Wanted::of(Some("bytes=0-0"), Some(if_range), "\"a\"", 100);
        assert_eq!(of("\"a\""), part(0, 1));
        for other in ["\"b\"", "W/\"a\"", "a", "Sat, 29 Oct 1994 19:43:31 GMT", ""] {
            assert_eq!(of(other), Wanted::Whole, "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_always_there(range in "bytes=[0-9]{0,25}-[0-9]{0,25}", length: u64) {
            if let Wanted::Part { first, length: part } = Wanted::of(Some(&range), None, "", length) {
                prop_assert!(part > 0 && first.checked_add(part).is_some_and(|end| end <= length));
            }
        }
    }
}
