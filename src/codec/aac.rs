//! AAC: AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), with SBR and PS where it says so.

use crate::bytes::{BitReader, Short};
use crate::media::AudioFormat;

/// What an AudioSpecificConfig says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpecificConfig {
    /// Audio object type of the core coder: 2 is AAC-LC.
    pub object_type: u8,
    /// Samples per second of the core coder.
    pub core_rate_hz: u32,
    /// Channels of the core coder.
    pub channels: u8,
    /// Samples per second after spectral band replication, where its use is signalled.
    pub sbr_rate_hz: Option<u32>,
    /// Parametric stereo is signalled: one channel becomes two.
    pub parametric_stereo: bool,
}

impl AudioSpecificConfig {
    /// Reads `config`; none if it is short or holds reserved values.
    pub fn parse(config: &[u8]) -> Option<Self> {
        parse(&mut BitReader::new(config)).ok()?
    }

    /// The index of the core coder's rate (ISO/IEC 14496-3 1.6.3.4), if it is one of those that have
    /// one.
    pub fn core_rate_index(&self) -> Option<u8> {
        let index = RATES_HZ.iter().position(|rate| *rate == self.core_rate_hz);
        index.and_then(|index| u8::try_from(index).ok())
    }

    /// The rate of such an index, if it has one.
    pub fn rate_hz(index: u8) -> Option<u32> {
        RATES_HZ.get(usize::from(index)).copied()
    }

    /// What a decoder puts out.
    pub fn audio_format(&self) -> AudioFormat {
        AudioFormat {
            sample_rate_hz: self.sbr_rate_hz.unwrap_or(self.core_rate_hz),
            channels: if self.parametric_stereo { 2 } else { self.channels },
        }
    }

    /// Samples of [`Self::audio_format`] in a frame; none if the rates make no sense.
    pub(super) fn frame_samples(&self) -> Option<u32> {
        const CORE_SAMPLES: u32 = 1024;
        let rate_hz = self.sbr_rate_hz.unwrap_or(self.core_rate_hz);
        rate_hz.checked_mul(CORE_SAMPLES)?.checked_div(self.core_rate_hz)
    }
}

fn parse(bits: &mut BitReader<'_>) -> Result<Option<AudioSpecificConfig>, Short> {
    let mut object_type = read_object_type(bits)?;
    let Some(core_rate_hz) = read_rate(bits)? else {
        return Ok(None);
    };
    let channel_configuration = bits.bits("channelConfiguration", 4)?;
    let mut sbr_rate_hz = None;
    let parametric_stereo = object_type == PS;
    if object_type == SBR || object_type == PS {
        sbr_rate_hz = read_rate(bits)?;
        object_type = read_object_type(bits)?;
    }
    let channels = match channel_configuration {
        0 => match read_program_config(bits, object_type)? {
            0 => return Ok(None),
            channels => channels,
        },
        1..=6 => channel_configuration,
        7 | 12 | 14 => 8,
        11 => 7,
        _ => return Ok(None),
    };
    let Ok(channels) = u8::try_from(channels) else {
        return Ok(None);
    };
    let mut config =
        AudioSpecificConfig { object_type, core_rate_hz, channels, sbr_rate_hz, parametric_stereo };
    // The tail, which decoders that know nothing of SBR never reach. It is optional.
    if sbr_rate_hz.is_none() && channel_configuration != 0 {
        let _: Result<(), Short> = read_sync_extension(bits, &mut config);
    }
    Ok(Some(config))
}

fn read_object_type(bits: &mut BitReader<'_>) -> Result<u8, Short> {
    let mut object_type = bits.bits("audioObjectType", 5)?;
    if object_type == 31 {
        object_type = 32 + bits.bits("audioObjectTypeExt", 6)?;
    }
    Ok(u8::try_from(object_type).expect("at most 95"))
}

/// None for the reserved indices.
fn read_rate(bits: &mut BitReader<'_>) -> Result<Option<u32>, Short> {
    match bits.bits("samplingFrequencyIndex", 4)? {
        15 => bits.bits("samplingFrequency", 24).map(Some),
        index => Ok(RATES_HZ.get(index as usize).copied()),
    }
}

/// GASpecificConfig up to the program_config_element in it (ISO/IEC 14496-3 4.4.1), of which it
/// counts the channels.
fn read_program_config(bits: &mut BitReader<'_>, object_type: u8) -> Result<u32, Short> {
    skip_ga_config(bits)?;
    if !matches!(object_type, 1..=4) {
        return Ok(0);
    }
    bits.skip("element_instance_tag, object_type, sampling_frequency_index", 10)?;
    let mut pairs = 0;
    for place in ["num_front_elements", "num_side_elements", "num_back_elements"] {
        pairs += bits.bits(place, 4)?;
    }
    let low = bits.bits("num_lfe_channel_elements", 2)?;
    bits.skip("num_assoc_data_elements, num_valid_cc_elements", 7)?;
    for (mixdown, len) in [("mono_mixdown", 4), ("stereo_mixdown", 4), ("matrix_mixdown", 3)] {
        if bits.bit(mixdown)? {
            bits.skip(mixdown, len)?;
        }
    }
    let mut channels = low;
    for _ in 0..pairs {
        channels += 1 + bits.bits("element_is_cpe", 1)?;
        bits.skip("element_tag_select", 4)?;
    }
    Ok(channels)
}

fn skip_ga_config(bits: &mut BitReader<'_>) -> Result<(), Short> {
    bits.skip("frameLengthFlag", 1)?;
    if bits.bit("dependsOnCoreCoder")? {
        bits.skip("coreCoderDelay", 14)?;
    }
    bits.skip("extensionFlag", 1)
}

/// Backward compatible signalling of SBR and PS after the core's configuration.
fn read_sync_extension(
    bits: &mut BitReader<'_>,
    config: &mut AudioSpecificConfig,
) -> Result<(), Short> {
    skip_ga_config(bits)?;
    if bits.bits("syncExtensionType", 11)? != 0x2b7
        || read_object_type(bits)? != SBR
        || !bits.bit("sbrPresentFlag")?
    {
        return Ok(());
    }
    config.sbr_rate_hz = read_rate(bits)?;
    if bits.bits("syncExtensionType", 11)? == 0x548 {
        config.parametric_stereo = bits.bit("psPresentFlag")?;
    }
    Ok(())
}

const SBR: u8 = 5;
const PS: u8 = 29;
/// ISO/IEC 14496-3 table 1.18.
const RATES_HZ: [u32; 13] =
    [96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::testing;
    use crate::media::{AudioCodec, Codec};

    fn parsed(digits: &str) -> AudioSpecificConfig {
        AudioSpecificConfig::parse(&testing::hex(digits)).unwrap()
    }

    fn format(digits: &str) -> (u32, u8) {
        let format = parsed(digits).audio_format();
        (format.sample_rate_hz, format.channels)
    }

    #[test]
    fn plain_aac_with_a_tail_that_denies_sbr() {
        // ffmpeg 5.1, mono 44.1 kHz.
        assert_eq!(format("120856e500"), (44_100, 1));
        assert_eq!(parsed("120856e500").object_type, 2);
        assert_eq!(format("1208"), (44_100, 1));
    }

    #[test]
    fn sbr_and_ps_are_told_before_the_core() {
        assert_eq!(format("2b920800"), (44_100, 2));
        assert_eq!(parsed("2b920800").core_rate_hz, 22_050);
        assert_eq!(format("eb8a0800"), (44_100, 2));
        assert_eq!(parsed("eb8a0800").channels, 1);
    }

    #[test]
    fn sbr_and_ps_are_told_after_the_core() {
        assert_eq!(format("139056e5a0"), (44_100, 2));
        assert!(!parsed("139056e5a0").parametric_stereo);
        assert_eq!(format("138856e5a54880"), (44_100, 2));
        assert!(parsed("138856e5a54880").parametric_stereo);
    }

    #[test]
    fn a_frame_has_its_samples_twice_over_with_sbr() {
        assert_eq!(parsed("1208").frame_samples(), Some(1024));
        assert_eq!(parsed("2b920800").frame_samples(), Some(2048));
        // Object type 2, index 15, a rate of zero.
        assert_eq!(parsed("1780000010").frame_samples(), None);
    }

    #[test]
    fn an_escaped_rate_is_read() {
        // Object type 2, index 15, 24 bits of rate, two channels.
        assert_eq!(format("17805dc010"), (48_000, 2));
    }

    #[test]
    fn channels_of_a_program_config_are_counted() {
        assert_eq!(format(PCE), (44_100, 6));
    }

    #[test]
    fn a_config_cut_or_damaged_never_panics() {
        for config in ["120856e500", "eb8a0800", "138856e5a54880", PCE] {
            testing::cut_and_damage(Codec::Audio(AudioCodec::Aac), &testing::hex(config));
        }
    }

    /// ffmpeg 5.1, six channels in an order that has no number (6.0).
    const PCE: &str = "1200050844002008840d4c61766335392e33372e31303056e500";
}
