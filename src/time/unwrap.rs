/// Unfolds a counter of `bits` bits (8 to 62) into one that does not wrap.
///
/// Each value is taken as the one nearest to the last, so a step of up to half the range is
/// understood in either direction.
#[derive(Debug, Clone)]
pub struct Unwrap {
    bits: u32,
    last: Option<i64>,
}

impl Unwrap {
    /// An unfolder that has seen nothing; its first answer is its first input.
    pub const fn new(bits: u32) -> Self {
        assert!(bits >= 8 && bits <= 62);
        Self { bits, last: None }
    }

    /// The unfolded value of `wire`. Bits above the counter's width are ignored. It may be
    /// negative if the counter went back past its first value.
    pub fn unfold(&mut self, wire: u64) -> i64 {
        let range = 1_i64 << self.bits;
        let wire = (wire & ((1 << self.bits) - 1)).cast_signed();
        let value = match self.last {
            None => wire,
            Some(last) => {
                let step = (wire - last).rem_euclid(range);
                last + if step < range / 2 { step } else { step - range }
            }
        };
        self.last = Some(value);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrap_at_32_bits_goes_on_upwards() {
        let mut unwrap = Unwrap::new(32);
        assert_eq!(unwrap.unfold(0xffff_fff0), 0xffff_fff0);
        assert_eq!(unwrap.unfold(0x10), 0x1_0000_0010);
        assert_eq!(unwrap.unfold(0xffff_fffa), 0xffff_fffa);
    }

    #[test]
    fn a_small_step_back_stays_a_small_step_back() {
        let mut unwrap = Unwrap::new(32);
        assert_eq!([5, 3, 7].map(|wire| unwrap.unfold(wire)), [5, 3, 7]);
    }
}
