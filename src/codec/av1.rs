//! AV1: the `av1C` record (AV1-ISOBMFF 2.3.3) and the size in its sequence header (AV1 5.5).

use std::io::Cursor;

use scuffle_av1::seq::SequenceHeaderObu;
use scuffle_av1::{ObuHeader, ObuType};

use crate::media::VideoFormat;

/// What `av1C` says of the picture: its profile and level, and the sequence header's size.
pub(super) fn video_format(config: &[u8]) -> Option<VideoFormat> {
    let byte = *config.get(1)?;
    let sequence = sequence_header(config.get(4..)?)?;
    Some(VideoFormat {
        width: u32::try_from(sequence.max_frame_width).ok()?,
        height: u32::try_from(sequence.max_frame_height).ok()?,
        profile: byte >> 5,
        level: byte & 0x1f,
    })
}

fn sequence_header(obus: &[u8]) -> Option<SequenceHeaderObu> {
    let mut rest = obus;
    while !rest.is_empty() {
        let mut cursor = Cursor::new(rest);
        let header = ObuHeader::parse(&mut cursor).ok()?;
        let after = rest.get(usize::try_from(cursor.position()).ok()?..)?;
        let size = header.size.map_or(Some(after.len()), |size| usize::try_from(size).ok())?;
        let (obu, next) = after.split_at_checked(size)?;
        if header.obu_type == ObuType::SequenceHeader {
            // The parser counts the zeros of a number in a byte: 256 of them must not come.
            let obu = &obu[..obu.len().min(SEQUENCE_HEADER_BYTES_MAX)];
            return SequenceHeaderObu::parse(header, &mut Cursor::new(obu)).ok();
        }
        rest = next;
    }
    None
}

/// Real ones have a dozen bytes.
const SEQUENCE_HEADER_BYTES_MAX: usize = 31;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{Codec, VideoCodec};

    /// SVT-AV1 of ffmpeg 9, 320x180.
    const AV1C: &str = "81000c000a0b0200000521e7f66017c002";

    #[test]
    fn size_is_that_of_the_sequence_header() {
        let format = video_format(&testing::hex(AV1C)).unwrap();
        assert_eq!(format, VideoFormat { width: 320, height: 180, profile: 0, level: 0 });
        // Behind another OBU (padding) it is found as well.
        let mut record = testing::hex(AV1C);
        record.splice(4..4, [0x7a, 1, 0]);
        assert_eq!(video_format(&record), Some(format));
    }

    #[test]
    fn av1c_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Video(VideoCodec::Av1), &testing::hex(AV1C));
    }
}
