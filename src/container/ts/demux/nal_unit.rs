//! What NAL units are for the picture they are of (H.264 7.4.1.2, H.265 7.4.2.4).

use crate::codec::h264;
use crate::media::VideoCodec;

/// What a NAL unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Begins an access unit.
    Delimiter,
    ParameterSet,
    /// Stands before the slices of its picture; decoding may begin here.
    Prefix {
        key: bool,
    },
    /// A part of a picture, maybe the first one.
    Slice {
        first: bool,
        key: bool,
    },
    /// Stands behind slices.
    Suffix,
    /// Says nothing, or is damaged.
    Void,
}

/// The role of `unit`, which is not empty.
pub(super) fn role(codec: VideoCodec, unit: &[u8]) -> Role {
    const FORBIDDEN: u8 = 0x80;
    if unit[0] & FORBIDDEN != 0 {
        return Role::Void;
    }
    match codec {
        VideoCodec::H265 => role_h265(unit),
        _ => role_h264(unit),
    }
}

fn role_h264(unit: &[u8]) -> Role {
    let kind = unit[0] & 0x1f;
    match (kind, unit.get(1)) {
        // first_mb_in_slice is 0 if its first bit is set.
        (1 | 2 | 5, Some(&next)) => Role::Slice { first: next & 0x80 != 0, key: kind == 5 },
        (3 | 4, Some(_)) => Role::Slice { first: false, key: false },
        // From this picture on all are right.
        (6, _) => Role::Prefix { key: h264::recovery_frames(&unit[1..]) == Some(0) },
        (7 | 8, Some(_)) => Role::ParameterSet,
        (9, _) => Role::Delimiter,
        (12, _) => Role::Void,
        (14..=18, _) => Role::Prefix { key: false },
        (1..=8, None) => Role::Void,
        _ => Role::Suffix,
    }
}

fn role_h265(unit: &[u8]) -> Role {
    const RANDOM_ACCESS: std::ops::RangeInclusive<u8> = 16..=23;
    let kind = unit[0] >> 1 & 0x3f;
    match (kind, unit.get(2)) {
        (0..32, Some(&next)) => {
            Role::Slice { first: next & 0x80 != 0, key: RANDOM_ACCESS.contains(&kind) }
        }
        (32..=34, Some(_)) => Role::ParameterSet,
        (35, _) => Role::Delimiter,
        (38, _) | (..=34, None) => Role::Void,
        (39 | 41..=44 | 48..=55, _) => Role::Prefix { key: false },
        _ => Role::Suffix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_sets_and_delimiters_are_told_apart() {
        let h264 = |unit: &[u8]| role(VideoCodec::H264, unit);
        assert_eq!(h264(&[0x65, 0x88]), Role::Slice { first: true, key: true });
        assert_eq!(h264(&[0x41, 0x4a]), Role::Slice { first: false, key: false });
        assert_eq!(h264(&[6, 6, 1, 0xc4, 0x80]), Role::Prefix { key: true });
        assert_eq!(h264(&[6, 6, 2, 9, 0xc4]), Role::Prefix { key: false });
        assert_eq!(
            [&[9][..], &[0x67, 1], &[12], &[0xe5, 1]].map(h264),
            [Role::Delimiter, Role::ParameterSet, Role::Void, Role::Void]
        );
        let h265 = |unit: &[u8]| role(VideoCodec::H265, unit);
        assert_eq!(h265(&[0x2a, 1, 0x80]), Role::Slice { first: true, key: true });
        assert_eq!(h265(&[0x02, 1, 0x40]), Role::Slice { first: false, key: false });
        assert_eq!(
            [&[0x46, 1, 0x50][..], &[0x40, 1, 1], &[0x4e, 1], &[0x50, 1], &[2]].map(h265),
            [
                Role::Delimiter,
                Role::ParameterSet,
                Role::Prefix { key: false },
                Role::Suffix,
                Role::Void
            ]
        );
    }
}
