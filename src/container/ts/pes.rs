//! Headers of PES packets (2.4.3.6).

use arrayvec::ArrayVec;

/// Before `length` bytes of an elementary stream, or before as many as come (of video alone that is
/// allowed). Times are ticks of 90 kHz, 33 bits.
pub(super) fn header(stream_id: u8, length: Option<usize>, pts: u64, dts: u64) -> ArrayVec<u8, 19> {
    let times: &[(u8, u64)] = if pts == dts { &[(2, pts)] } else { &[(3, pts), (1, dts)] };
    let times_bytes = TIME_BYTES * times.len();
    // What is longer than its field can say is said to be as long as it is.
    let length = length.and_then(|length| u16::try_from(3 + times_bytes + length).ok());
    let mut header = ArrayVec::new();
    header.extend([0, 0, 1, stream_id]);
    header.extend(length.unwrap_or(0).to_be_bytes());
    // An access unit begins right behind it.
    header.extend([0x84, times[0].0 << 6, times_bytes as u8]);
    for &(prefix, time) in times {
        header.extend(self::time(prefix, time));
    }
    header
}

/// A time behind its prefix of four bits, with a mark behind each of its three pieces.
pub(super) fn time(prefix: u8, time: u64) -> [u8; TIME_BYTES] {
    [
        prefix << 4 | (time >> 29) as u8 & 0x0e | 1,
        (time >> 22) as u8,
        (time >> 14) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}

/// The time that was written so.
pub(super) fn time_of(field: &[u8; TIME_BYTES]) -> u64 {
    let [a, b, c, d, e] = field.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

const TIME_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_their_three_pieces() {
        let header = header(0xe0, None, 0x1_ffff_ffff, 0x1_0000_8001);
        assert_eq!(header[..9], [0, 0, 1, 0xe0, 0, 0, 0x84, 0xc0, 10]);
        assert_eq!(header[9..14], [0x3f, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(header[14..], [0x19, 0, 3, 0, 3]);
    }

    #[test]
    fn one_time_is_enough_where_both_are_the_same_and_lengths_are_told() {
        let header = header(0xc0, Some(100), 0, 0);
        assert_eq!(header[..], [0, 0, 1, 0xc0, 0, 108, 0x84, 0x80, 5, 0x21, 0, 1, 0, 1]);
    }
}
