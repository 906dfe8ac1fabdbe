//! AC-3: the sync frame header (ETSI TS 102 366 4.3, 4.4).

use crate::bytes::{BitReader, Short};
use crate::media::AudioFormat;

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
    fn enhanced_ac3_and_cut_frames_are_refused() {
        assert_eq!(audio_format(&hex("0b770dce5e80ebf8")), None);
        for end in 0..7 {
            assert_eq!(audio_format(&hex("0b770dce5e40ebf8")[..end]), None);
        }
    }
}
