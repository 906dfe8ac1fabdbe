//! MP3: the frame header (ISO/IEC 11172-3 2.4.1.3, 13818-3 2.4.2.3).

use crate::media::AudioFormat;

/// What the header of an MPEG audio frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// 1, 2 or 3.
    pub layer: u8,
    /// The sound.
    pub format: AudioFormat,
    /// Bytes of the whole frame, where the layer is III.
    pub bytes: usize,
    /// Samples per channel, where the layer is III.
    pub samples: u32,
}

impl FrameHeader {
    /// Reads the first four bytes of a frame; none if they are no header, or of a free bitrate.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let &[0xff, version, rate, mode, ..] = frame else {
            return None;
        };
        if version >> 5 != 7 {
            return None;
        }
        let layer = match version >> 1 & 3 {
            0 => return None,
            layer => 4 - layer,
        };
        let halvings = match version >> 3 & 3 {
            3 => 0, // MPEG-1
            2 => 1, // MPEG-2
            0 => 2, // MPEG-2.5
            _ => return None,
        };
        let rate_hz: u32 = *[44_100, 48_000, 32_000].get(usize::from(rate >> 2 & 3))?;
        let sample_rate_hz = rate_hz >> halvings;
        let kbps = if halvings == 0 { LAYER_III_KBPS } else { LAYER_III_LOW_KBPS };
        let kbps: u32 = *kbps.get(usize::from(rate >> 4).checked_sub(1)?)?;
        let samples = if halvings == 0 { 1152 } else { 576 };
        let padding = u32::from(rate >> 1 & 1);
        let channels = if mode >> 6 == 3 { 1 } else { 2 };
        Some(Self {
            layer,
            format: AudioFormat { sample_rate_hz, channels },
            bytes: (samples * kbps * 125 / sample_rate_hz + padding) as usize,
            samples,
        })
    }
}

/// What a layer III frame says of the sound.
pub(super) fn audio_format(frame: &[u8]) -> Option<AudioFormat> {
    FrameHeader::parse(frame).filter(|header| header.layer == 3).map(|header| header.format)
}

/// By bitrate index, which begins at 1.
const LAYER_III_KBPS: [u32; 14] = [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
/// The same of MPEG-2 and 2.5.
const LAYER_III_LOW_KBPS: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

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
    fn a_frame_is_as_long_as_its_bitrate_and_padding_say() {
        let bytes = |frame: [u8; 4]| FrameHeader::parse(&frame).map(|header| header.bytes);
        assert_eq!(bytes([0xff, 0xfb, 0x90, 0x64]), Some(417));
        assert_eq!(bytes([0xff, 0xfb, 0x92, 0x64]), Some(418));
        assert_eq!(bytes([0xff, 0xf3, 0x40, 0xc4]), Some(104));
    }

    #[test]
    fn what_is_no_layer_iii_header_is_refused() {
        for frame in [&[0xff, 0xfb, 0x90][..], &[0xff, 0xf1, 0x50, 0x80], &[0xff, 0xfb, 0x9c, 0]] {
            assert_eq!(audio_format(frame), None);
        }
    }
}
