use super::Short;

/// Reads bits, most significant first, from a borrowed slice.
#[derive(Debug, Clone)]
pub struct BitReader<'a> {
    whole: &'a [u8],
    at_bit: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `whole`.
    pub fn new(whole: &'a [u8]) -> Self {
        Self { whole, at_bit: 0 }
    }

    /// Bits not yet consumed.
    pub fn left(&self) -> usize {
        self.whole.len() * 8 - self.at_bit
    }

    /// The next bit.
    pub fn bit(&mut self, what: &'static str) -> Result<bool, Short> {
        let byte = self.whole.get(self.at_bit / 8);
        let byte = byte.ok_or(Short { what, at: self.at_bit / 8, need: 1, have: 0 })?;
        let bit = byte >> (7 - self.at_bit % 8) & 1;
        self.at_bit += 1;
        Ok(bit == 1)
    }

    /// The next `count` bits (at most 32) as a number.
    pub fn bits(&mut self, what: &'static str, count: u32) -> Result<u32, Short> {
        debug_assert!(count <= 32);
        (0..count).try_fold(0_u32, |value, _| Ok(value << 1 | u32::from(self.bit(what)?)))
    }

    /// Skips `count` bits.
    pub fn skip(&mut self, what: &'static str, count: usize) -> Result<(), Short> {
        if count > self.left() {
            let at = self.at_bit / 8;
            return Err(Short { what, at, need: count.div_ceil(8), have: self.left() / 8 });
        }
        self.at_bit += count;
        Ok(())
    }

    /// An unsigned Exp-Golomb number, `ue(v)` of H.264 9.1. More than 31 leading zeros are
    /// reported as short: no such number exists in a valid stream.
    pub fn ue(&mut self, what: &'static str) -> Result<u32, Short> {
        let mut zeros = 0;
        while !self.bit(what)? {
            zeros += 1;
            if zeros > 31 {
                return Err(Short { what, at: self.at_bit / 8, need: 5, have: 4 });
            }
        }
        let suffix = self.bits(what, zeros)?;
        Ok((1_u32 << zeros) - 1 + suffix)
    }

    /// A signed Exp-Golomb number, `se(v)` of H.264 9.1.1.
    pub fn se(&mut self, what: &'static str) -> Result<i32, Short> {
        let code = i64::from(self.ue(what)?);
        let magnitude = (code + 1) / 2;
        let value = if code % 2 == 0 { -magnitude } else { magnitude };
        i32::try_from(value).map_err(|_| Short { what, at: self.at_bit / 8, need: 5, have: 4 })
    }
}

/// Removes emulation prevention bytes (`00 00 03` becomes `00 00`), H.264 7.4.1.1.
pub fn unescape_rbsp(nal: &[u8]) -> Vec<u8> {
    let mut rbsp = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
    rbsp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_reads_the_specs_table() {
        // 1, 010, 011, 00100 are 0, 1, 2, 3 (H.264 table 9-2).
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0000]);
        assert_eq!(
            [0; 4].map(|_: u8| reader.ue("code").ok()),
            [Some(0), Some(1), Some(2), Some(3)]
        );
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0000]);
        assert_eq!(
            [0; 4].map(|_: u8| reader.se("code").ok()),
            [Some(0), Some(1), Some(-1), Some(2)]
        );
    }

    #[test]
    fn endless_zeros_are_an_error_not_an_overflow() {
        assert!(BitReader::new(&[0; 16]).ue("code").is_err());
    }

    #[test]
    fn emulation_prevention_is_removed_once_per_pair_of_zeros() {
        assert_eq!(unescape_rbsp(&[0, 0, 3, 0, 0, 3, 1, 3]), [0, 0, 0, 0, 1, 3]);
    }
}
