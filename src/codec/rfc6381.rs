//! The `codecs` parameter of RFC 6381: a codec with its profile and level in a few characters.

use std::fmt::Write;

use super::AudioSpecificConfig;
use crate::media::{AudioCodec, Codec, Track, VideoCodec};

/// What a playlist or a media type calls the codec of `track`; none if there is no such name, or if
/// the configuration it would be made of is too short.
pub fn codec_string(track: &Track) -> Option<String> {
    let config = &track.config[..];
    match track.codec {
        Codec::Video(VideoCodec::H264) => h264(config),
        Codec::Video(VideoCodec::H265) => h265(config),
        Codec::Video(VideoCodec::Av1) => av1(config),
        Codec::Video(VideoCodec::Vp9) => Some(vp9(track)),
        Codec::Audio(AudioCodec::Aac) => aac(config),
        Codec::Audio(AudioCodec::Mp3) => Some("mp4a.40.34".into()),
        Codec::Audio(AudioCodec::Opus) => Some("Opus".into()),
        Codec::Audio(AudioCodec::Flac) => Some("fLaC".into()),
        Codec::Audio(AudioCodec::Ac3) => Some("ac-3".into()),
        Codec::Audio(AudioCodec::G711A | AudioCodec::G711U) => None,
    }
}

/// RFC 6381 3.3: profile, constraint flags and level as they stand in `avcC`.
fn h264(config: &[u8]) -> Option<String> {
    let [profile, constraints, level] = *config.get(1..4)? else { return None };
    Some(format!("avc1.{profile:02x}{constraints:02x}{level:02x}"))
}

/// ISO/IEC 14496-15 E.3.
fn h265(config: &[u8]) -> Option<String> {
    let head = config.get(1..13)?;
    let space = ["", "A", "B", "C"][usize::from(head[0] >> 6)];
    let tier = if head[0] & 0x20 == 0 { 'L' } else { 'H' };
    let profile = head[0] & 0x1f;
    let compatibility = u32::from_be_bytes(head[1..5].try_into().ok()?).reverse_bits();
    let level = head[11];
    let mut name = format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{level}");
    let constraints = &head[5..11];
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..used] {
        write!(name, ".{byte:X}").ok()?;
    }
    Some(name)
}

/// AV1-ISOBMFF 5, its short form.
fn av1(config: &[u8]) -> Option<String> {
    let [profile_level, flags] = *config.get(1..3)? else { return None };
    let (profile, level) = (profile_level >> 5, profile_level & 0x1f);
    let tier = if flags & 0x80 == 0 { 'M' } else { 'H' };
    let depth = match flags >> 5 & 3 {
        0 | 1 => 8,
        2 => 10,
        _ => 12,
    };
    Some(format!("av01.{profile}.{level:02}{tier}.{depth:02}"))
}

/// VP9-ISOBMFF "Codecs Parameter String". Without a record: what the first frame said, and the
/// lowest level.
fn vp9(track: &Track) -> String {
    // Some write the version and flags of the box before the record.
    let record = track.config.strip_prefix(&[1, 0, 0, 0]).unwrap_or(&track.config);
    let (profile, level, depth) = match *record {
        [profile, level, depth, ..] => (profile, level, depth >> 4),
        _ => (track.video.map_or(0, |video| video.profile), 10, 8),
    };
    format!("vp09.{profile:02}.{level:02}.{depth:02}")
}

/// RFC 6381 3.3: 40 is MPEG-4 audio, then the object type that a decoder is in for.
fn aac(config: &[u8]) -> Option<String> {
    let config = AudioSpecificConfig::parse(config)?;
    let object_type = match config {
        _ if config.parametric_stereo => 29,
        _ if config.sbr_rate_hz.is_some() => 5,
        _ => config.object_type,
    };
    Some(format!("mp4a.40.{object_type}"))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::testing::hex;

    fn name(codec: Codec, config: &str) -> Option<String> {
        named(codec, hex(config))
    }

    fn named(codec: Codec, config: Vec<u8>) -> Option<String> {
        let config = Bytes::from(config);
        codec_string(&Track { codec, config, hdr: None, video: None, audio: None })
    }

    #[test]
    fn the_records_of_real_encoders_have_their_names() {
        use AudioCodec::{Aac, Ac3, Flac, G711A, Mp3, Opus};
        use VideoCodec::{Av1, H264, H265, Vp9};
        let video = |codec, config| name(Codec::Video(codec), config);
        let audio = |codec, config| name(Codec::Audio(codec), config);
        for (found, expected) in [
            (video(H264, "0164000cffe1"), Some("avc1.64000c")),
            (video(H264, "014d401f"), Some("avc1.4d401f")),
            (video(H265, "0101600000009000000000003c"), Some("hvc1.1.6.L60.90")),
            (video(H265, "01222000000090000000000099"), Some("hvc1.2.4.H153.90")),
            (video(Av1, "81000c00"), Some("av01.0.00M.08")),
            (video(Av1, "8108cc00"), Some("av01.0.08H.10")),
            (video(Vp9, "01000000000a82020202020000"), Some("vp09.00.10.08")),
            (video(Vp9, "0229a2"), Some("vp09.02.41.10")),
            (video(Vp9, ""), Some("vp09.00.10.08")),
            (audio(Aac, "1190"), Some("mp4a.40.2")),
            (audio(Aac, "2b920800"), Some("mp4a.40.5")),
            (audio(Aac, "eb8a0800"), Some("mp4a.40.29")),
            (audio(Mp3, ""), Some("mp4a.40.34")),
            (audio(Opus, ""), Some("Opus")),
            (audio(Flac, ""), Some("fLaC")),
            (audio(Ac3, ""), Some("ac-3")),
            (audio(G711A, ""), None),
            (video(H264, "0164"), None),
        ] {
            assert_eq!(found.as_deref(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_name_can_stand_in_quotes_whatever_the_record_says(config: Vec<u8>) {
            use VideoCodec::{Av1, H264, H265, Vp9};
            let video = [H264, H265, Av1, Vp9].map(Codec::Video);
            for codec in video.into_iter().chain([Codec::Audio(AudioCodec::Aac)]) {
                let name = named(codec, config.clone()).unwrap_or_default();
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '.'));
            }
        }
    }
}
