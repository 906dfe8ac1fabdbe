//! NAL units in frames, each preceded by its length (ISO/IEC 14496-15 5.3.2), and in byte streams,
//! each behind a start code (H.264 annex B).

/// The NAL units of `frame`, whose lengths have `length_bytes` (1 to 4). Empty ones are left out.
/// Ends at the first length that goes beyond the frame.
pub fn length_prefixed(frame: &[u8], length_bytes: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = frame;
    std::iter::from_fn(move || {
        loop {
            let (length, after) = rest.split_at_checked(length_bytes.clamp(1, 4).into())?;
            let length = length.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
            let (nal, after) = after.split_at_checked(length)?;
            rest = after;
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

/// The NAL units of a byte stream: what stands between start codes, without the zeros behind it.
/// What is before the first start code is left out, and so are empty units.
pub fn annex_b(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = start_code(stream).map(|code| &stream[code + START_CODE_BYTES..]);
    std::iter::from_fn(move || {
        loop {
            let current = rest?;
            let code = start_code(current);
            rest = code.map(|code| &current[code + START_CODE_BYTES..]);
            let unit = &current[..code.unwrap_or(current.len())];
            if let Some(last) = unit.iter().rposition(|&byte| byte != 0) {
                return Some(&unit[..=last]);
            }
        }
    })
}

/// Where the first start code (three bytes) is.
fn start_code(bytes: &[u8]) -> Option<usize> {
    let mut at = START_CODE_BYTES - 1;
    loop {
        match *bytes.get(at)? {
            1 if bytes[at - 2..at] == [0, 0] => return Some(at - 2),
            0 => at += 1,
            // Neither this byte nor the two behind it can be the end of one.
            _ => at += START_CODE_BYTES,
        }
    }
}

const START_CODE_BYTES: usize = 3;

/// The bytes of `nal` without emulation prevention (H.264 7.4.1.1), one by one.
pub fn rbsp(nal: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    nal.iter().copied().filter(move |&byte| {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            return false;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        true
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nal_units_end_where_the_frame_does() {
        let nals = |frame, length_bytes| length_prefixed(frame, length_bytes).collect::<Vec<_>>();
        let frame = &[0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 3];
        assert_eq!(nals(frame, 4), [&[1, 2][..], &[3]]);
        assert_eq!(nals(&frame[..14], 4), [&[1, 2][..]]);
        assert_eq!(nals(&[1, 9, 2, 8, 7], 1), [&[9][..], &[8, 7]]);
        assert_eq!(nals(&[0, 0, 0, 255, 1], 4), [[0; 0]; 0]);
        assert_eq!(nals(&[], 4), [[0; 0]; 0]);
    }

    #[test]
    fn units_of_a_byte_stream_stand_between_start_codes() {
        let units = |stream| annex_b(stream).collect::<Vec<_>>();
        let stream = &[7, 0, 0, 0, 1, 9, 8, 0, 0, 1, 5, 0, 0, 0, 0, 1, 0, 0, 1, 3, 0, 0, 3, 0];
        assert_eq!(units(stream), [&[9, 8][..], &[5], &[3, 0, 0, 3]]);
        assert_eq!(units(&[0, 0, 1]), [[0; 0]; 0]);
        assert_eq!(units(&[0, 0, 2, 1]), [[0; 0]; 0]);
        assert_eq!(units(&[0, 1, 0, 0, 1, 1, 0, 0, 1, 1]), [[1], [1]]);
    }

    #[test]
    fn emulation_prevention_is_left_out() {
        assert!(rbsp(&[0, 0, 3, 0, 0, 3, 1, 3]).eq([0, 0, 0, 0, 1, 3]));
    }

    proptest! {
        #[test]
        fn random_frames_never_panic(frame: Vec<u8>, length_bytes: u8) {
            prop_assert!(length_prefixed(&frame, length_bytes).count() <= frame.len());
        }

        #[test]
        fn a_start_code_is_found_wherever_it_is(
            stream in proptest::collection::vec(0_u8..3, 0..64),
        ) {
            let first = stream.windows(3).position(|bytes| bytes == [0, 0, 1]);
            prop_assert_eq!(start_code(&stream), first);
            let units: Vec<_> = annex_b(&stream).collect();
            prop_assert!(units.iter().all(|unit| start_code(unit).is_none()));
        }
    }
}
