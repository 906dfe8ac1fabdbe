//! AC-3: the sync frame header (ETSI TS 102 366 4.3, 4.4).

use crate::bytes::{BitReader, Short};
use crate::media::AudioFormat;

/// Samples per channel of each sync frame.
pub const SAMPLES: u32 = 1536;

/// Bytes of the sync frame that begins like this, of which five bytes are needed (ETSI TS 102 366
/// 4.4.1.4); none if it is no header of AC-3.
pub fn frame_bytes(frame: &[u8]) -> Option<usize> {
    let &[0x0b, 0x77, _, _, size, ..] = frame else { return None };
    let code = size & 0x3f;
    let kbps: usize = *KBPS.get(usize::from(code >> 1))?;
    let words = match size >> 6 {
        0 => kbps * 2,
        1 => kbps * 320 / 147 + usize::from(code & 1),
        2 => kbps * 3,
        _ => return None,
    };
    Some(words * 2)
}

/// What a sync frame says of the sound; none for E-AC-3.
pub(super) fn audio_format(frame: &[u8]) -> Option<AudioFormat> {
    parse(frame).ok()?
}

fn parse(frame: &[u8]) -> Result<Option<AudioFormat>, Short> {
    let mut bits = BitReader::new(frame);
    if bits.bits("syncword", 16)? != 0x0b77 {
        return Ok(None);
    }
    bits.skip("crc1", 16)?;
    let rate = bits.bits("fscod", 2)?;
    bits.skip("frmsizecod", 6)?;
    let id = bits.bits("bsid", 5)?;
    bits.skip("bsmod", 3)?;
    let mode = bits.bits("acmod", 3)? as usize;
    if mode & 1 == 1 && mode != 1 {
        bits.skip("cmixlev", 2)?;
    }
    if mode & 4 == 4 {
        bits.skip("surmixlev", 2)?;
    }
    if mode == 2 {
        bits.skip("dsurmod", 2)?;
    }
    let low = u8::from(bits.bit("lfeon")?);
    let rate_hz: Option<&u32> = [48_000, 44_100, 32_000].get(rate as usize);
    // Streams of the alternative syntax 9 and 10 run at a half and a quarter of the rate.
    let halvings = id.saturating_sub(8);
    let format = |rate_hz: &u32| AudioFormat {
        sample_rate_hz: rate_hz >> halvings,
        channels: CHANNELS[mode] + low,
    };
    Ok(rate_hz.filter(|_| id <= 10).map(format))
}

/// By frame size code without its lowest bit.
const KBPS: [usize; 19] =
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640];
/// Full-bandwidth channels by acmod.
const CHANNELS: [u8; 8] = [2, 1, 2, 3, 3, 4, 4, 5];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::hex;

    #[test]
    fn rate_and_channels_are_read() {
        let format = |sample_rate_hz, channels| Some(AudioFormat { sample_rate_hz, channels });
        // ffmpeg 9, mono 44.1 kHz; ffmpeg 5.1, 5.1 channels.
        assert_eq!(audio_format(&hex("0b7778624c402f84")), format(44_100, 1));
        assert_eq!(audio_format(&hex("0b770dce5e40ebf8")), format(44_100, 6));
    }

    #[test]
    fn a_frame_is_as_long_as_the_specs_table_says() {
        let bytes = |size: u8| frame_bytes(&[0x0b, 0x77, 0, 0, size]);
        // 32 kbit/s at each rate, 640 at 44.1 kHz with the odd word.
        assert_eq!([0, 0x40, 0x41, 0x80].map(bytes), [128, 138, 140, 192].map(Some));
        assert_eq!(bytes(0x40 | 37), Some(2 * 1394));
        assert_eq!([0xc0, 38].map(bytes), [None; 2]);
    }

    #[test]
    fn enhanced_ac3_and_cut_frames_are_refused() {
        assert_eq!(audio_format(&hex("0b770dce5e80ebf8")), None);
        for end in 0..7 {
            assert_eq!(audio_format(&hex("0b770dce5e40ebf8")[..end]), None);
        }
    }
}
