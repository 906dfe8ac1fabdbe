//! The little of HTTP/1.x and WebSocket that live media needs, server side.
pub mod ws {
    /// x
    pub fn header(len: usize) -> ([u8; 10], usize) {
        let mut h = [0u8; 10];
        h[0] = 0x82;
        if len < 126 {
            h[1] = len as u8;
            (h, 2)
        } else if len < 65536 {
            h[1] = 126;
            h[2..4].copy_from_slice(&(len as u16).to_be_bytes());
            (h, 4)
        } else {
            h[1] = 127;
            h[2..].copy_from_slice(&(len as u64).to_be_bytes());
            (h, 10)
        }
    }
}
