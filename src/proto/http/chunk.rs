//! The chunked transfer coding, RFC 9112 7.1: `SIZE\r\n` body `\r\n`, at the end `0\r\n\r\n`.

use arrayvec::ArrayVec;

/// What follows the body of each chunk.
pub const TAIL: &[u8] = b"\r\n";

/// The end of the body: a chunk of no bytes, and no trailer.
pub const LAST: &[u8; 5] = b"0\r\n\r\n";

/// The head of a chunk of `len` bytes.
///
/// `len` must be above zero (a chunk of zero bytes ends the body) and below 4 GiB.
pub fn head(len: usize) -> ArrayVec<u8, 10> {
    debug_assert!(len > 0 && u32::try_from(len).is_ok());
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).clamp(1, 8);
    let mut head: ArrayVec<u8, 10> =
        (0..digits).rev().map(|digit| b"0123456789abcdef"[len >> (4 * digit) & 15]).collect();
    head.extend([b'\r', b'\n']);
    head
}

#[cfg(test)]
mod tests {
    #[test]
    fn head_is_the_size_in_hex() {
        for len in [1, 9, 10, 15, 16, 255, 256, 0x1_0000, 1 << 20, u32::MAX as usize] {
            assert_eq!(super::head(len).as_slice(), format!("{len:x}\r\n").as_bytes());
        }
    }
}
