//! Private data on its way out: the times in it are of its publisher's clock, and are moved to the
//! program's.

use arrayvec::ArrayVec;

use super::psi::CRC;
use super::{WIRE_TIME_MAX, pes};

/// What a PES packet begins with, its times `shift` ticks later, and what follows as it is.
pub(super) fn pes_packet(packet: &[u8], shift: u64) -> (ArrayVec<u8, TIMED_BYTES>, &[u8]) {
    let (head, rest) = packet.split_at(packet.len().min(TIMED_BYTES));
    let mut head: ArrayVec<u8, TIMED_BYTES> = head.iter().copied().collect();
    let times = match head.get(FLAGS_AT).map(|flags| flags >> 6) {
        Some(2) => 1,
        Some(3) => 2,
        _ => 0,
    };
    let from = head.len().min(TIMES_AT);
    let (fields, _) = head[from..].as_chunks_mut();
    for field in fields.iter_mut().take(times) {
        *field = pes::time(field[0] >> 4, pes::time_of(field).wrapping_add(shift));
    }
    (head, rest)
}

/// A section of cues (SCTE 35 9.6) of whose times the receiver is to take `shift` ticks more than it
/// was to; with its sum, that `section` is without.
pub(super) fn cues(section: &[u8], shift: u64) -> Vec<u8> {
    let mut section = section.to_vec();
    if let Some(field) = section.get_mut(ADJUSTMENT_AT).and_then(<[u8]>::first_chunk_mut::<5>) {
        let [a, b, c, d, e] = *field;
        let before = u64::from_be_bytes([0, 0, 0, a, b, c, d, e]);
        // Seven bits before it tell of encryption, which it is no part of.
        let after = before & !WIRE_TIME_MAX | before.wrapping_add(shift) & WIRE_TIME_MAX;
        let [.., a, b, c, d, e] = after.to_be_bytes();
        *field = [a, b, c, d, e];
    }
    section.extend(CRC.checksum(&section).to_be_bytes());
    section
}

/// The header of a PES packet up to the end of its times.
const TIMED_BYTES: usize = 19;
const FLAGS_AT: usize = 7;
const TIMES_AT: usize = 9;
/// Where `pts_adjustment` is.
const ADJUSTMENT_AT: std::ops::Range<usize> = 4..9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_packet_are_moved_over_the_wrap_and_nothing_else_is() {
        let max = WIRE_TIME_MAX;
        for (pts, dts, fields) in [(max, 5, 10), (max, max, 5)] {
            let packet = [&pes::header(0xfc, Some(3), pts, dts)[..], b"klv"].concat();
            let (head, rest) = pes_packet(&packet, 7);
            let moved = |time: u64| (time + 7) & max;
            let expected = [&pes::header(0xfc, Some(3), moved(pts), moved(dts))[..], b"klv"];
            assert_eq!([&head[..], rest].concat(), expected.concat());
            assert_eq!(packet[8], fields);
        }
        // Without times, and cut.
        let bare = [0, 0, 1, 0xbd, 0, 6, 0x84, 0, 0, b'k', b'l', b'v'];
        for end in 0..bare.len() {
            let (head, rest) = pes_packet(&bare[..end], 7);
            assert_eq!([&head[..], rest].concat(), bare[..end]);
        }
    }

    #[test]
    fn the_adjustment_of_cues_wraps_in_its_33_bits_and_the_sum_is_right() {
        // encryption_algorithm 0x15 and an adjustment of 2^33 - 2.
        let section =
            [0xfc, 0x30, 0x11, 0, 0x2b, 0xff, 0xff, 0xff, 0xfe, 0, 0xff, 0xf0, 0, 0, 0, 0];
        let moved = cues(&section, 3);
        assert_eq!(moved[..4], section[..4]);
        assert_eq!(moved[4..9], [0x2a, 0, 0, 0, 1]);
        assert_eq!(moved[9..16], section[9..]);
        assert_eq!(moved[16..], CRC.checksum(&moved[..16]).to_be_bytes());
        assert_eq!(cues(&[0xfc], 3).len(), 5, "what is too short for it has none");
    }
}
