//! Opus: the `OpusHead` identification header (RFC 7845 5.1).

use crate::media::AudioFormat;

/// What `OpusHead` says. Opus decodes at 48 kHz, whatever rate the header remembers of its input.
pub(super) fn audio_format(config: &[u8]) -> Option<AudioFormat> {
    let channels = *config.strip_prefix(b"OpusHead")?.get(1)?;
    (channels > 0).then_some(AudioFormat { sample_rate_hz: 48_000, channels })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{AudioCodec, Codec};

    /// libopus of ffmpeg 9, one channel, made from 48 kHz.
    const HEAD: &str = "4f707573486561640101380180bb0000000000";

    #[test]
    fn channels_are_read() {
        let format = AudioFormat { sample_rate_hz: 48_000, channels: 1 };
        assert_eq!(audio_format(&testing::hex(HEAD)), Some(format));
    }

    #[test]
    fn opus_head_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Audio(AudioCodec::Opus), &testing::hex(HEAD));
    }
}
