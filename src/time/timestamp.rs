use std::fmt;
use std::ops::{Add, Sub};

/// A point on a stream's own clock, in nanoseconds. The zero is the publisher's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The publisher's zero.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From milliseconds; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// In nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// In milliseconds, rounded to the nearest, halves up. Muxers round the absolute value by
    /// this, never a difference, so that rounding does not add up.
    pub const fn as_millis(self) -> i64 {
        self.0.saturating_add(500_000).div_euclid(1_000_000)
    }

    /// Nanoseconds from `earlier` to `self`, negative if `self` is the earlier; saturates.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Adds nanoseconds; saturates.
impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

/// Subtracts nanoseconds; saturates.
impl Sub<i64> for Timestamp {
    type Output = Self;
    fn sub(self, nanos: i64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}ms", self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_round_to_the_nearest_on_both_sides_of_zero() {
        let millis = |nanos| Timestamp::from_nanos(nanos).as_millis();
        assert_eq!([1_499_999, 1_500_000, -1_500_001, -1_500_000].map(millis), [1, 2, -2, -1]);
    }

    #[test]
    fn extremes_saturate() {
        let far = Timestamp::from_millis(i64::MAX);
        assert_eq!(far + 1, far);
        assert_eq!(far.since(Timestamp::from_nanos(i64::MIN)), i64::MAX);
    }
}
