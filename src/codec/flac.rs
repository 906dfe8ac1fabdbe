//! FLAC: the STREAMINFO block (RFC 9639 8.2).

use crate::media::AudioFormat;

/// What STREAMINFO says, with or without `fLaC` and a block header before it.
pub(super) fn audio_format(config: &[u8]) -> Option<AudioFormat> {
    let info = match config.strip_prefix(b"fLaC") {
        Some(block) => block.get(4..)?,
        None => config,
    };
    // 20 bits of rate, 3 of channels less one.
    let &[a, b, c] = info.get(10..13)? else {
        return None;
    };
    let sample_rate_hz = u32::from_be_bytes([0, a, b, c]) >> 4;
    let channels = (c >> 1 & 7) + 1;
    (sample_rate_hz > 0).then_some(AudioFormat { sample_rate_hz, channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{AudioCodec, Codec};

    /// FLAC of ffmpeg 9, one channel.
    const STREAMINFO: &str = "040004000000000008150ac440f0\
        0000000000000000000000000000000000000000";

    #[test]
    fn streaminfo_is_read_bare_and_with_its_header() {
        let format = Some(AudioFormat { sample_rate_hz: 44_100, channels: 1 });
        let bare = testing::hex(STREAMINFO);
        assert_eq!(audio_format(&bare), format);
        assert_eq!(audio_format(&[b"fLaC\x80\0\0\x22", &bare[..]].concat()), format);
    }

    #[test]
    fn streaminfo_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Audio(AudioCodec::Flac), &testing::hex(STREAMINFO));
    }
}
