//! The chunked transfer coding, RFC 9112 7.1: `SIZE\r\n` body `\r\n`, at the end `0\r\n\r\n`.

/// What follows the body of each chunk.
pub const TAIL: &[u8; 2] = b"\r\n";

/// The end of the body: a chunk of no bytes, and no trailer.
pub const LAST: &[u8; 5] = b"0\r\n\r\n";

/// The head of a chunk of `len` bytes, as an array and how much of it counts.
///
/// `len` must be above zero (a chunk of zero bytes ends the body) and below 4 GiB.
pub fn head(len: usize) -> ([u8; 10], usize) {
    debug_assert!(len > 0 && u32::try_from(len).is_ok());
    let digits = (usize::BITS - len.leading_zeros()).div_ceil(4).max(1) as usize;
    let mut head = [0; 10];
    for (place, byte) in head[..digits].iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[len >> (4 * place) & 15];
    }
    head[digits..digits + 2].copy_from_slice(b"\r\n");
    (head, digits + 2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn head_is_the_size_in_hex() {
        for len in [1, 9, 10, 15, 16, 255, 256, 0x1_0000, 1 << 20, u32::MAX as usize] {
            let (head, count) = super::head(len);
            assert_eq!(&head[..count], format!("{len:x}\r\n").as_bytes());
        }
    }
}
