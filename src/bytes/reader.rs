use bytes::BufMut;

/// A reader asked for more bytes than there are.
///
/// It says only that *this slice* is too short. Whether more may come is known by the caller: a
/// stream parser turns it into "not yet", a parser of a whole message into its own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}: expected {need} bytes, found {have}")]
pub struct Short {
    /// The field that was being read, in the words of its specification.
    pub what: &'static str,
    /// Offset in bytes from the start of the slice the reader was made over.
    pub at: usize,
    /// Bytes the field needs.
    pub need: usize,
    /// Bytes that were left.
    pub have: usize,
}

/// Reads big-endian fields from a borrowed slice, and never past its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the first byte of `whole`.
    pub fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    /// Bytes consumed so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    pub fn left(&self) -> usize {
        self.whole.len() - self.at
    }

    /// True when every byte was consumed.
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// What is left, without consuming it.
    pub fn rest(&self) -> &'a [u8] {
        &self.whole[self.at..]
    }

    /// The next `count` bytes.
    pub fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], Short> {
        let short = Short { what, at: self.at, need: count, have: self.left() };
        let slice = self.rest().get(..count).ok_or(short)?;
        self.at += count;
        Ok(slice)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Short> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Short> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes, big-endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Short> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// Three bytes, big-endian.
    pub fn u24(&mut self, what: &'static str) -> Result<u32, Short> {
        let [a, b, c] = self.array(what)?;
        Ok(u32::from_be_bytes([0, a, b, c]))
    }

    /// Three bytes, big-endian, two's complement.
    pub fn i24(&mut self, what: &'static str) -> Result<i32, Short> {
        // The sign bit is moved to bit 31 and shifted back down.
        Ok((self.u24(what)? << 8).cast_signed() >> 8)
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Short> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// Four bytes, little-endian (RTMP's message stream id is the only such field).
    pub fn u32_le(&mut self, what: &'static str) -> Result<u32, Short> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Short> {
        self.array(what).map(u64::from_be_bytes)
    }

    /// Eight bytes, big-endian IEEE 754.
    pub fn f64(&mut self, what: &'static str) -> Result<f64, Short> {
        self.array(what).map(f64::from_be_bytes)
    }
}

/// `put_u24`, which [`BufMut`] lacks.
pub trait PutU24: BufMut {
    /// Appends the low 24 bits of `value`, big-endian.
    fn put_u24(&mut self, value: u32) {
        self.put_slice(&value.to_be_bytes()[1..]);
    }
}

impl<B: BufMut + ?Sized> PutU24 for B {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_read_names_the_field_and_consumes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u8("tag type"), Ok(1));
        let short = Short { what: "timestamp", at: 1, need: 3, have: 2 };
        assert_eq!(reader.u24("timestamp"), Err(short));
        assert_eq!(reader.rest(), [2, 3]);
    }

    #[test]
    fn i24_keeps_its_sign() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xfe]).i24("cts"), Ok(-2));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff]).i24("cts"), Ok(0x7f_ffff));
    }
}
