//! Opus: the `OpusHead` identification header (RFC 7845 5.1), and how long a packet sounds (RFC 6716
//! 3.1).

use crate::media::AudioFormat;

/// What `OpusHead` says. Opus decodes at 48 kHz, whatever rate the header remembers of its input.
pub(super) fn audio_format(config: &[u8]) -> Option<AudioFormat> {
    let channels = *config.strip_prefix(b"OpusHead")?.get(1)?;
    (channels > 0).then_some(AudioFormat { sample_rate_hz: 48_000, channels })
}

/// Samples a packet decodes to, at 48 kHz (RFC 6716 3.1, 3.2); none if it is no packet.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let (&head, rest) = packet.split_first()?;
    let ten_ms = 480;
    let frame = match (head >> 3, head >> 3 & 3) {
        (0..12, 3) => 6 * ten_ms,
        (0..12, 2) => 4 * ten_ms,
        (0..12, size) => ten_ms << size,
        (12..16, size) => ten_ms << (size & 1),
        (_, size) => (ten_ms / 4) << size,
    };
    let frames = match head & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*rest.first()? & 0x3f),
    };
    const LONGEST: u32 = 5760;
    Some(frame * frames).filter(|samples| (1..=LONGEST).contains(samples))
}

/// `OpusHead` of so many channels in the order of Vorbis, without gain and nothing to skip; none if
/// there is no such order. 0 stands for two channels that have nothing to do with each other.
pub fn head(channels: u8) -> Option<Vec<u8>> {
    let (family, streams, coupled, mapping): (u8, u8, u8, &[u8]) = match channels {
        0 => (255, 2, 0, &[0, 1]),
        1 | 2 => (0, 1, channels - 1, &[]),
        3 => (1, 2, 1, &[0, 2, 1]),
        4 => (1, 2, 2, &[0, 1, 2, 3]),
        5 => (1, 3, 2, &[0, 4, 1, 2, 3]),
        6 => (1, 4, 2, &[0, 4, 1, 2, 3, 5]),
        7 => (1, 4, 3, &[0, 4, 1, 2, 3, 5, 6]),
        8 => (1, 5, 3, &[0, 6, 1, 2, 3, 4, 5, 7]),
        _ => return None,
    };
    let mut head = b"OpusHead\x01".to_vec();
    head.push(if channels == 0 { 2 } else { channels });
    head.extend([0, 0]); // pre-skip
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0, 0, family]); // output gain
    if family != 0 {
        head.extend([streams, coupled]);
        head.extend_from_slice(mapping);
    }
    Some(head)
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
    fn a_packet_tells_how_long_it_plays() {
        // SILK 10, 20, 40 and 60 ms, hybrid 10 and 20 ms, CELT 2.5, 5, 10 and 20 ms.
        for (configs, samples) in [
            ([0, 4, 8], 480),
            ([1, 5, 9], 960),
            ([2, 6, 10], 1920),
            ([3, 7, 11], 2880),
            ([12, 14, 12], 480),
            ([13, 15, 13], 960),
            ([16, 20, 28], 120),
            ([17, 21, 29], 240),
            ([18, 22, 30], 480),
            ([19, 23, 31], 960),
        ] {
            for config in configs {
                assert_eq!(packet_samples(&[config << 3]), Some(samples), "{config}");
                assert_eq!(packet_samples(&[config << 3 | 4 | 1]), Some(samples * 2), "{config}");
            }
        }
        assert_eq!(packet_samples(&[31 << 3 | 3, 6, 0]), Some(5760));
        for no_packet in [&[][..], &[31 << 3 | 3], &[31 << 3 | 3, 0], &[31 << 3 | 3, 7]] {
            assert_eq!(packet_samples(no_packet), None);
        }
    }

    #[test]
    fn a_head_that_is_made_can_be_read() {
        for channels in 1..=8 {
            let head = head(channels).expect("they have an order");
            assert_eq!(audio_format(&head).map(|format| format.channels), Some(channels));
        }
        let mono = testing::hex(HEAD);
        let made = head(1).expect("one channel");
        assert_eq!((&made[..10], &made[12..]), (&mono[..10], &mono[12..]), "but for the pre-skip");
        assert_eq!((head(0).map(|head| head[9]), head(9)), (Some(2), None));
    }

    #[test]
    fn opus_head_cut_or_damaged_never_panics() {
        testing::cut_and_damage(Codec::Audio(AudioCodec::Opus), &testing::hex(HEAD));
    }
}
