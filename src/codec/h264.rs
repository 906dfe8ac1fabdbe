//! H.264: the `avcC` record (ISO/IEC 14496-15 5.3.3.1) and recovery points (H.264 D.2.8).

use h264_reader::nal::sps::{FrameMbsFlags, SeqParameterSet};
use h264_reader::nal::{Nal, RefNal};

use super::nal;
use crate::bytes::{BitReader, Reader, Short};
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

/// An `avcC` record of these parameter sets, whole NAL units, for frames whose lengths have four
/// bytes. None if the first SPS cannot be read or something is more than the record can say.
pub fn avcc(sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    const SPS_MAX: usize = 31;
    const PPS_MAX: usize = 255;
    let first = read_sps(sps.first()?)?;
    if sps.len() > SPS_MAX || pps.len() > PPS_MAX {
        return None;
    }
    let &[_, profile, compatibility, level, ..] = *sps.first()? else { return None };
    let mut record = vec![1, profile, compatibility, level, 0xff, 0xe0 | sps.len() as u8];
    let put = |record: &mut Vec<u8>, sets: &[&[u8]]| {
        for set in sets {
            record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
            record.extend_from_slice(set);
        }
        Some(())
    };
    put(&mut record, sps)?;
    record.push(pps.len() as u8);
    put(&mut record, pps)?;
    // Baseline, Main and Extended have nothing but 4:2:0 of eight bits.
    if !matches!(profile, 66 | 77 | 88) {
        let chroma = &first.chroma_info;
        record.push(0xfc | chroma.chroma_format.to_u32() as u8 & 3);
        record.push(0xf8 | chroma.bit_depth_luma_minus8 & 7);
        record.push(0xf8 | chroma.bit_depth_chroma_minus8 & 7);
        record.push(0); // SPS extensions
    }
    Some(record)
}

/// The number of an SPS, a whole NAL unit.
pub fn sps_id(sps: &[u8]) -> Option<u32> {
    let mut bits = BitReader::new(sps);
    bits.skip("header, profile_idc, constraint flags, level_idc", 32).ok()?;
    bits.ue("seq_parameter_set_id").ok()
}

/// The number of a PPS, a whole NAL unit.
pub fn pps_id(pps: &[u8]) -> Option<u32> {
    let mut bits = BitReader::new(pps);
    bits.skip("header", 8).ok()?;
    bits.ue("pic_parameter_set_id").ok()
}

/// How slices say that they are of one field of an interlaced frame (H.264 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldSyntax {
    frame_num_bits: u32,
    separate_colour_planes: bool,
}

/// Which field a slice is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The number of the frame it is a part of.
    pub frame_num: u32,
    /// Bottom, not top.
    pub bottom: bool,
}

impl FieldSyntax {
    /// None if pictures of this SPS, a whole NAL unit, are never coded by fields.
    pub fn of_sps(sps: &[u8]) -> Option<Self> {
        let sps = read_sps(sps)?;
        match sps.frame_mbs_flags {
            FrameMbsFlags::Frames => None,
            FrameMbsFlags::Fields { .. } => Some(Self {
                frame_num_bits: sps.log2_max_frame_num().into(),
                separate_colour_planes: sps.chroma_info.separate_colour_plane_flag,
            }),
        }
    }

    /// The field of this slice, a whole NAL unit; none if it is of a whole frame.
    pub fn field(self, slice: &[u8]) -> Option<Field> {
        // Enough for the numbers before it, with emulation prevention in them.
        const HEAD_BYTES: usize = 32;
        let head: Vec<u8> = nal::rbsp(slice.get(1..)?).take(HEAD_BYTES).collect();
        self.read(&mut BitReader::new(&head)).ok()?
    }

    fn read(self, bits: &mut BitReader<'_>) -> Result<Option<Field>, Short> {
        bits.ue("first_mb_in_slice")?;
        bits.ue("slice_type")?;
        bits.ue("pic_parameter_set_id")?;
        if self.separate_colour_planes {
            bits.skip("colour_plane_id", 2)?;
        }
        let frame_num = bits.bits("frame_num", self.frame_num_bits)?;
        if !bits.bit("field_pic_flag")? {
            return Ok(None);
        }
        Ok(Some(Field { frame_num, bottom: bits.bit("bottom_field_flag")? }))
    }
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
    let (width, height) = read_sps(sps)?.pixel_dimensions().ok()?;
    Some(VideoFormat { width, height, profile, level })
}

fn read_sps(sps: &[u8]) -> Option<SeqParameterSet> {
    if sps.first()? & 0x1f != NAL_SPS {
        return None;
    }
    SeqParameterSet::from_bits(RefNal::new(sps, &[], true).rbsp_bits()).ok()
}

fn has_recovery_point(sei: &[u8]) -> bool {
    recovery_frames(sei).is_some()
}

/// After how many frames pictures are right if decoding begins at this SEI NAL unit (after its
/// header): with 0, from this one on. None if it is no recovery point.
pub fn recovery_frames(sei: &[u8]) -> Option<u32> {
    let mut bytes = nal::rbsp(sei);
    // The messages of H.264 7.3.2.3. A number is the sum of its bytes; all but the last are 255.
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
            // Exp-Golomb of sixteen bits takes no more.
            let head: Vec<u8> = bytes.take(size.min(5)).collect();
            return Some(BitReader::new(&head).ue("recovery_frame_cnt").unwrap_or(u32::MAX));
        }
        if size > 0 && bytes.nth(size - 1).is_none() {
            return None;
        }
    }
    None
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
    fn a_record_made_of_its_sets_is_the_same() {
        let record = testing::hex(AVCC);
        let (sps, pps) = (&record[8..34], &record[37..41]);
        assert_eq!(avcc(&[sps], &[pps]).unwrap(), record);
        assert_eq!((sps_id(sps), pps_id(pps)), (Some(0), Some(0)));
        assert_eq!(avcc(&[pps], &[sps]), None);
        assert_eq!(avcc(&[], &[pps]), None);
        assert_eq!(avcc(&[sps; 32], &[pps]), None);
        assert_eq!(FieldSyntax::of_sps(sps), None, "it is progressive");
    }

    #[test]
    fn a_field_is_told_from_a_frame() {
        let syntax = FieldSyntax { frame_num_bits: 4, separate_colour_planes: false };
        // ue() 0, 5 and 0, frame number 9, then the flags of a bottom field and of a frame.
        let bottom = syntax.field(&[0x41, 0b1001_1011, 0b0011_1000]);
        assert_eq!(bottom, Some(Field { frame_num: 9, bottom: true }));
        assert_eq!(syntax.field(&[0x41, 0b1001_1011, 0b0010_0000]), None);
        assert_eq!(syntax.field(&[0x41]), None);
    }

    #[test]
    fn avcc_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Video(VideoCodec::H264), &testing::hex(AVCC));
    }

    #[test]
    fn recovery_point_sei_and_idr_are_places_to_start() {
        let frame = testing::hex(RECOVERY);
        assert!(is_recovery_point(&frame, 4));
        assert_eq!(recovery_frames(&frame[5..10]), Some(18));
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
