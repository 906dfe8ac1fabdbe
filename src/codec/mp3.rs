//! MP3: the frame header (ISO/IEC 11172-3 2.4.1.3, 13818-3 2.4.2.3).

use crate::media::AudioFormat;

/// What a layer III frame says of the sound.
pub(super) fn audio_format(frame: &[u8]) -> Option<AudioFormat> {
    let &[0xff, version, rate, mode, ..] = frame else {
        return None;
    };
    const LAYER_III: u8 = 1;
    if version >> 5 != 7 || version >> 1 & 3 != LAYER_III {
        return None;
    }
    let halvings = match version >> 3 & 3 {
        3 => 0, // MPEG-1
        2 => 1, // MPEG-2
        0 => 2, // MPEG-2.5
        _ => return None,
    };
    let rate_hz: u32 = *[44_100, 48_000, 32_000].get(usize::from(rate >> 2 & 3))?;
    let channels = if mode >> 6 == 3 { 1 } else { 2 };
    Some(AudioFormat { sample_rate_hz: rate_hz >> halvings, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_channels_are_read() {
        let format = |sample_rate_hz, channels| Some(AudioFormat { sample_rate_hz, channels });
        // lame of ffmpeg 5.1: 44.1 kHz stereo, 22.05 kHz mono.
        assert_eq!(audio_format(&[0xff, 0xfb, 0x90, 0x64, 0]), format(44_100, 2));
        assert_eq!(audio_format(&[0xff, 0xf3, 0x40, 0xc4]), format(22_050, 1));
        assert_eq!(audio_format(&[0xff, 0xe3, 0x48, 0xc4]), format(8_000, 1));
    }

    #[test]
    fn what_is_no_layer_iii_header_is_refused() {
        for frame in [&[0xff, 0xfb, 0x90][..], &[0xff, 0xf1, 0x50, 0x80], &[0xff, 0xfb, 0x9c, 0]] {
            assert_eq!(audio_format(frame), None);
        }
    }
}
