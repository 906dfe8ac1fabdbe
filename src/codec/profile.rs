use super::AudioSpecificConfig;
use crate::media::{AudioCodec, Codec, Track, VideoCodec};

/// The profile of a track in the words of its specification; its number if it has no name here.
pub fn profile(track: &Track) -> Option<String> {
    let video = |codec| {
        let number = track.video?.profile;
        Some(video_profile(codec, number).map_or_else(|| number.to_string(), str::to_owned))
    };
    match track.codec {
        Codec::Video(codec) => video(codec),
        Codec::Audio(AudioCodec::Aac) => {
            let config = AudioSpecificConfig::parse(&track.config)?;
            Some(aac_profile(&config).map_or_else(|| config.object_type.to_string(), str::to_owned))
        }
        Codec::Audio(_) => None,
    }
}

/// The level of a track as people write it, such as `4.1`.
pub fn level(track: &Track) -> Option<String> {
    let Codec::Video(codec) = track.codec else { return None };
    let number = track.video?.level;
    let tenths = match codec {
        // H.264 A.3: level_idc is ten times the level. H.265 A.4: thirty times.
        VideoCodec::H264 | VideoCodec::Vp9 => number,
        VideoCodec::H265 => number / 3,
        // AV1 A.3: two bits after the point, and 31 for none.
        VideoCodec::Av1 if number == 31 => return None,
        VideoCodec::Av1 => 20 + number / 4 * 10 + number % 4,
    };
    (tenths > 0).then(|| format!("{}.{}", tenths / 10, tenths % 10))
}

fn video_profile(codec: VideoCodec, number: u8) -> Option<&'static str> {
    Some(match (codec, number) {
        (VideoCodec::H264, 66) => "Baseline",
        (VideoCodec::H264, 77) | (VideoCodec::H265, 1) | (VideoCodec::Av1, 0) => "Main",
        (VideoCodec::H264, 88) => "Extended",
        (VideoCodec::H264, 100) | (VideoCodec::Av1, 1) => "High",
        (VideoCodec::H264, 110) => "High 10",
        (VideoCodec::H264, 122) => "High 4:2:2",
        (VideoCodec::H264, 244) => "High 4:4:4 Predictive",
        (VideoCodec::H265, 2) => "Main 10",
        (VideoCodec::H265, 3) => "Main Still Picture",
        (VideoCodec::H265, 4) => "Format Range Extensions",
        (VideoCodec::Av1, 2) => "Professional",
        _ => return None,
    })
}

fn aac_profile(config: &AudioSpecificConfig) -> Option<&'static str> {
    Some(match config.object_type {
        _ if config.parametric_stereo => "HE-AAC v2",
        _ if config.sbr_rate_hz.is_some() => "HE-AAC",
        1 => "Main",
        2 => "LC",
        3 => "SSR",
        4 => "LTP",
        42 => "xHE-AAC",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::media::VideoFormat;

    fn video(codec: VideoCodec, profile: u8, level: u8) -> Track {
        let format = VideoFormat { width: 16, height: 16, profile, level };
        let codec = Codec::Video(codec);
        Track { codec, config: Bytes::new(), hdr: None, video: Some(format), audio: None }
    }

    #[test]
    fn profiles_and_levels_are_said_as_people_say_them() {
        for (codec, number, level_number, name, level_name) in [
            (VideoCodec::H264, 100, 31, "High", "3.1"),
            (VideoCodec::H264, 99, 40, "99", "4.0"),
            (VideoCodec::H265, 1, 123, "Main", "4.1"),
            (VideoCodec::H265, 2, 150, "Main 10", "5.0"),
            (VideoCodec::Av1, 0, 8, "Main", "4.0"),
            (VideoCodec::Av1, 1, 13, "High", "5.1"),
            (VideoCodec::Vp9, 0, 31, "0", "3.1"),
        ] {
            let track = video(codec, number, level_number);
            assert_eq!(profile(&track).as_deref(), Some(name), "{codec:?} {number}");
            assert_eq!(level(&track).as_deref(), Some(level_name), "{codec:?} {level_number}");
        }
        let codec = Codec::Audio(AudioCodec::Aac);
        let config = Bytes::from_static(&[0x12, 0x10]);
        let aac = Track { codec, config, hdr: None, video: None, audio: None };
        assert_eq!((profile(&aac).as_deref(), level(&aac)), (Some("LC"), None));
    }
}
