//! H.265: the `hvcC` record (ISO/IEC 14496-15 8.3.3.1) and the size in an SPS (H.265 7.3.2.2).
//!
//! Only the first fields of the SPS are read. The reader that was at hand for all of it panics on
//! hostile input.

use super::nal;
use crate::bytes::{BitReader, Reader, Short, unescape_rbsp};
use crate::media::VideoFormat;

/// What `hvcC` says of the picture: its profile and level, and the first SPS's size.
pub(super) fn video_format(config: &[u8]) -> Option<VideoFormat> {
    let mut reader = Reader::new(config);
    let head: [u8; 22] = reader.array("hvcC").ok()?;
    let (width, height) = size(&unescape_rbsp(first_sps(&mut reader).ok()??)).ok()??;
    Some(VideoFormat { width, height, profile: head[1] & 0x1f, level: head[12] })
}

fn first_sps<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, Short> {
    for _ in 0..reader.u8("numOfArrays")? {
        let kind = reader.u8("NAL_unit_type")? & 0x3f;
        for _ in 0..reader.u16("numNalus")? {
            let len = reader.u16("nalUnitLength")?;
            let nal = reader.take("nalUnit", len.into())?;
            if kind == NAL_SPS {
                return Ok(Some(nal));
            }
        }
    }
    Ok(None)
}

/// An `hvcC` record of these parameter sets, whole NAL units, for frames whose lengths have four
/// bytes. None if the first SPS cannot be read or something is longer than the record can say.
pub fn hvcc(vps: &[&[u8]], sps: &[&[u8]], pps: &[&[u8]]) -> Option<Vec<u8>> {
    let first = unescape_rbsp(sps.first()?);
    let mut bits = BitReader::new(&first);
    let head = read_sps(&mut bits).ok()?;
    let mut depth = || bits.ue("bit_depth_minus8").ok().filter(|depth| *depth <= 8);
    let (luma, chroma) = (depth()? as u8, depth()? as u8);
    let mut record = vec![1];
    // general_profile_space to general_level_idc, as they stand in the SPS.
    record.extend_from_slice(first.get(3..15)?);
    let layers = first[2] >> 1 & 7;
    let nesting = first[2] & 1;
    // Neither segmentation nor parallelism is known, nor the frame rate.
    record.extend([0xf0, 0, 0xfc, 0xfc | head.chroma_format as u8 & 3]);
    record.extend([0xf8 | luma, 0xf8 | chroma, 0, 0, (layers + 1) << 3 | nesting << 2 | 3]);
    let arrays = [(NAL_VPS, vps), (NAL_SPS, sps), (NAL_PPS, pps)];
    record.push(arrays.iter().filter(|(_, sets)| !sets.is_empty()).count() as u8);
    for (kind, sets) in arrays.into_iter().filter(|(_, sets)| !sets.is_empty()) {
        const COMPLETE: u8 = 0x80;
        record.push(COMPLETE | kind);
        record.extend(u16::try_from(sets.len()).ok()?.to_be_bytes());
        for set in sets {
            record.extend(u16::try_from(set.len()).ok()?.to_be_bytes());
            record.extend_from_slice(set);
        }
    }
    Some(record)
}

/// The number of a parameter set, a whole NAL unit of type 32 (VPS), 33 (SPS) or 34 (PPS).
pub fn set_id(set: &[u8]) -> Option<u32> {
    // The number of an SPS is behind its profile, with up to eight of layers.
    const HEAD_BYTES: usize = 128;
    let rbsp: Vec<u8> = nal::rbsp(set).take(HEAD_BYTES).collect();
    let mut bits = BitReader::new(&rbsp);
    match set.first()? >> 1 & 0x3f {
        NAL_SPS => Some(read_sps(&mut bits).ok()?.id),
        kind => {
            bits.skip("nal_unit_header", 16).ok()?;
            match kind {
                NAL_VPS => bits.bits("vps_video_parameter_set_id", 4).ok(),
                _ => bits.ue("pps_pic_parameter_set_id").ok(),
            }
        }
    }
}

/// Width and height after cropping; none if the fields contradict each other.
fn size(sps: &[u8]) -> Result<Option<(u32, u32)>, Short> {
    Ok(read_sps(&mut BitReader::new(sps))?.size)
}

/// The first fields of an SPS.
struct SpsHead {
    id: u32,
    chroma_format: u32,
    /// Width and height after cropping.
    size: Option<(u32, u32)>,
}

/// Reads as far as the bit depths.
fn read_sps(bits: &mut BitReader<'_>) -> Result<SpsHead, Short> {
    bits.skip("nal_unit_header", 16)?;
    bits.skip("sps_video_parameter_set_id", 4)?;
    let sub_layers = bits.bits("sps_max_sub_layers_minus1", 3)?;
    bits.skip("sps_temporal_id_nesting_flag", 1)?;
    skip_profile_tier_level(bits, sub_layers)?;
    let id = bits.ue("sps_seq_parameter_set_id")?;
    let chroma_format = bits.ue("chroma_format_idc")?;
    if chroma_format == 3 {
        bits.skip("separate_colour_plane_flag", 1)?;
    }
    let width = bits.ue("pic_width_in_luma_samples")?;
    let height = bits.ue("pic_height_in_luma_samples")?;
    if !bits.bit("conformance_window_flag")? {
        return Ok(SpsHead { id, chroma_format, size: Some((width, height)) });
    }
    let (unit_x, unit_y) = match chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let mut crop = |unit: u32| -> Result<Option<u32>, Short> {
        let (before, after) = (bits.ue("conf_win_offset")?, bits.ue("conf_win_offset")?);
        Ok(before.checked_add(after).and_then(|sum| sum.checked_mul(unit)))
    };
    let (crop_x, crop_y) = (crop(unit_x)?, crop(unit_y)?);
    let width = crop_x.and_then(|crop| width.checked_sub(crop));
    let height = crop_y.and_then(|crop| height.checked_sub(crop));
    Ok(SpsHead { id, chroma_format, size: width.zip(height) })
}

/// H.265 7.3.3, with the general profile present.
fn skip_profile_tier_level(bits: &mut BitReader<'_>, sub_layers: u32) -> Result<(), Short> {
    bits.skip("general profile", PROFILE_BITS)?;
    bits.skip("general_level_idc", LEVEL_BITS)?;
    let mut present = 0;
    for _ in 0..sub_layers {
        present += PROFILE_BITS * usize::from(bits.bit("sub_layer_profile_present_flag")?);
        present += LEVEL_BITS * usize::from(bits.bit("sub_layer_level_present_flag")?);
    }
    if sub_layers > 0 {
        bits.skip("reserved_zero_2bits", 2 * (8 - sub_layers as usize))?;
    }
    bits.skip("sub layers", present)
}

const NAL_VPS: u8 = 32;
const NAL_SPS: u8 = 33;
const NAL_PPS: u8 = 34;
const PROFILE_BITS: usize = 88;
const LEVEL_BITS: usize = 8;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{Codec, VideoCodec};

    /// x265 of ffmpeg 9, 320x180, Main; the SEI array is left out.
    const HVCC: &str = "0101600000009000000000003cf000fcfdf8f800000f032000010018\
        40010c01ffff01600000030090000003000003003c95940921000100\
        2b42010101600000030090000003000003003ca00a080c1f3e595952930bc05a020000030002000003003210\
        22000100064401c073c189";

    #[test]
    fn size_is_cropped() {
        let format = video_format(&testing::hex(HVCC)).unwrap();
        assert_eq!(format, VideoFormat { width: 320, height: 180, profile: 1, level: 60 });
    }

    #[test]
    fn a_record_made_of_its_sets_is_the_same_but_for_what_they_do_not_say() {
        let record = testing::hex(HVCC);
        let (vps, sps, pps) = (&record[28..52], &record[57..100], &record[105..]);
        let made = hvcc(&[vps], &[sps], &[pps]).unwrap();
        let mut expected = record.clone();
        // x265's arrays are not said to be complete.
        [23, 52, 100].into_iter().for_each(|at| expected[at] |= 0x80);
        assert_eq!(made, expected);
        assert_eq!([vps, sps, pps].map(set_id), [Some(0); 3]);
        assert_eq!(hvcc(&[], &[pps], &[]), None);
        for end in 0..sps.len() {
            let _ = (hvcc(&[], &[&sps[..end]], &[]), set_id(&sps[..end]));
        }
    }

    #[test]
    fn a_crop_beyond_the_picture_is_no_size() {
        // ue(): sps id 0, chroma 1, 1x1 pixels, crop 1 at the left.
        let mut sps = vec![0; 15];
        sps.extend([0b1010_0100, 0b1010_0101, 0b1110_0000]);
        assert_eq!(size(&sps), Ok(None));
    }

    #[test]
    fn hvcc_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Video(VideoCodec::H265), &testing::hex(HVCC));
    }
}
