//! H.264: the `avcC` record (ISO/IEC 14496-15 5.3.3.1) and recovery points (H.264 D.2.8).

use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};

use super::nal;
use crate::bytes::Reader;
use crate::media::VideoFormat;

/// True if decoding can begin at this frame: it holds an IDR picture or a recovery point SEI.
/// `frame` is length-prefixed NAL units. Encoders with intra refresh send no IDR after the first.
pub fn is_recovery_point(frame: &[u8], nal_length_bytes: u8) -> bool {
    for unit in nal::length_prefixed(frame, nal_length_bytes) {
        match unit[0] & 0x1f {
            NAL_IDR => return true,
            NAL_SEI if has_recovery_point(&unit[1..]) => return true,
            // SEI comes before the first slice of its picture.
            NAL_SLICE => return false,
            _ => {}
        }
    }
    false
}

/// Bytes of the length before each NAL unit of a frame, 1 to 4, as `avcC` says.
pub(super) fn nal_length_bytes(config: &[u8]) -> Option<u8> {
    config.get(4).map(|byte| (byte & 3) + 1)
}

/// What `avcC` says of the picture: its profile and level, and the first SPS's size.
pub(super) fn video_format(config: &[u8]) -> Option<VideoFormat> {
    let mut reader = Reader::new(config);
    let [_version, profile, _compatibility, level, _length_size, count] =
        reader.array("avcC").ok()?;
    if count & 0x1f == 0 {
        return None;
    }
    let len = reader.u16("SPS length").ok()?;
    let sps = reader.take("SPS", len.into()).ok()?;
    if sps.first()? & 0x1f != NAL_SPS {
        return None;
    }
    let sps = SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()?;
    let (width, height) = sps.pixel_dimensions().ok()?;
    Some(VideoFormat { width, height, profile, level })
}

/// Walks the messages of one SEI NAL unit, after its header (H.264 7.3.2.3).
fn has_recovery_point(sei: &[u8]) -> bool {
    let mut bytes = nal::rbsp(sei);
    // A number is the sum of its bytes; all but the last are 255.
    let number = |bytes: &mut dyn Iterator<Item = u8>| {
        let mut sum = 0_usize;
        loop {
            let byte = bytes.next()?;
            sum += usize::from(byte);
            if byte != 255 {
                return Some(sum);
            }
        }
    };
    while let (Some(kind), Some(size)) = (number(&mut bytes), number(&mut bytes)) {
        if kind == SEI_RECOVERY_POINT {
            return true;
        }
        if size > 0 && bytes.nth(size - 1).is_none() {
            return false;
        }
    }
    false
}

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const SEI_RECOVERY_POINT: usize = 6;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{Codec, VideoCodec};

    /// x264 of ffmpeg 5.1, 320x180, High.
    const AVCC: &str = "0164000cffe1001a6764000cacd941419f9f0110000003001000000303\
        20f142996001000468ef8fcbfdf8f800";
    /// x264 with intra refresh: recovery point SEI, then the head of a slice.
    const RECOVERY: &str = "00000006060602 09c480 00000002 4101";

    #[test]
    fn size_is_cropped() {
        let format = video_format(&testing::hex(AVCC)).unwrap();
        assert_eq!(format, VideoFormat { width: 320, height: 180, profile: 100, level: 12 });
    }

    #[test]
    fn avcc_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Video(VideoCodec::H264), &testing::hex(AVCC));
    }

    #[test]
    fn recovery_point_sei_and_idr_are_places_to_start() {
        let frame = testing::hex(RECOVERY);
        assert!(is_recovery_point(&frame, 4));
        // User data before it, with 255-byte length steps and an escaped zero run.
        let mut sei = vec![6, 5, 255, 3];
        sei.extend([0, 0, 3, 1].repeat(43 * 2));
        sei.extend([6, 1, 0x80, 0x80]);
        let mut frame = u32::try_from(sei.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(sei);
        assert!(is_recovery_point(&frame, 4));
        assert!(is_recovery_point(&[2, 9, 0, 1, 0x65], 1));
    }

    #[test]
    fn a_plain_slice_is_no_place_to_start() {
        let frame = testing::hex(RECOVERY);
        assert!(!is_recovery_point(&frame[10..], 4));
        assert!(!is_recovery_point(&[1, 0x41, 1, 0x65], 1), "what follows a slice is no start");
        assert!(!is_recovery_point(&[3, 6, 5, 200], 1));
        for end in 0..frame.len() {
            is_recovery_point(&frame[..end], 4);
        }
    }
}
