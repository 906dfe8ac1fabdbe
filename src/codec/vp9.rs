//! VP9: the size in a key frame's header (VP9 6.2). `vpcC` does not have it.

use crate::bytes::{BitReader, Short};
use crate::media::VideoFormat;

/// What a key frame says of the picture; none for other frames. Its level stands in `vpcC` only
/// and is 0 here.
pub(super) fn video_format(frame: &[u8]) -> Option<VideoFormat> {
    key_frame(frame).ok()?
}

fn key_frame(frame: &[u8]) -> Result<Option<VideoFormat>, Short> {
    let mut bits = BitReader::new(frame);
    if bits.bits("frame_marker", 2)? != 2 {
        return Ok(None);
    }
    let (low, high) = (bits.bits("profile_low_bit", 1)?, bits.bits("profile_high_bit", 1)?);
    let profile = low | high << 1;
    if profile == 3 {
        bits.skip("reserved_zero", 1)?;
    }
    let repeats = bits.bit("show_existing_frame")?;
    let inter = bits.bit("frame_type")?;
    if repeats || inter {
        return Ok(None);
    }
    bits.skip("show_frame, error_resilient_mode", 2)?;
    if bits.bits("frame_sync_code", 24)? != 0x49_8342 {
        return Ok(None);
    }
    if profile >= 2 {
        bits.skip("ten_or_twelve_bit", 1)?;
    }
    let rgb = bits.bits("color_space", 3)? == 7;
    let subsampled = profile & 1 == 1;
    bits.skip(
        "color_config",
        match (rgb, subsampled) {
            (false, false) => 1,
            (false, true) => 4,
            (true, true) => 1,
            (true, false) => 0,
        },
    )?;
    let width = bits.bits("frame_width_minus_1", 16)? + 1;
    let height = bits.bits("frame_height_minus_1", 16)? + 1;
    let profile = u8::try_from(profile).expect("two bits");
    Ok(Some(VideoFormat { width, height, profile, level: 0 }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::testing;

    /// Heads of libvpx frames of ffmpeg 9, 320x180.
    const KEY: &str = "824983420013f00b360638241c184a000b405066";
    const INTER: &str = "86004092f121400000887f91e46e8e31f13de5c6";

    #[test]
    fn a_key_frame_has_the_size() {
        let format = VideoFormat { width: 320, height: 180, profile: 0, level: 0 };
        assert_eq!(video_format(&testing::hex(KEY)), Some(format));
        assert_eq!(video_format(&testing::hex(INTER)), None);
        for end in 0..9 {
            assert_eq!(video_format(&testing::hex(KEY)[..end]), None);
        }
    }
}
