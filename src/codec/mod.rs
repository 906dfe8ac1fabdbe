//! Inside a frame: configuration records, parameter sets and frame headers of each codec, and NAL
//! framing.
//!
//! Routing needs little of this: a record is passed on whether or not it can be read. What is
//! read names the picture's size and the sound's rate for people and for headers that ask.

mod aac;
pub mod ac3;
mod av1;
mod captions;
mod flac;
pub mod h264;
pub mod h265;
pub mod mp3;
pub mod nal;
pub mod opus;
mod profile;
mod rfc6381;
mod vp9;

pub use aac::AudioSpecificConfig;
pub use captions::{CaptionChannels, captions};
pub use profile::{level, profile};
pub use rfc6381::codec_string;

use crate::media::{AudioCodec, AudioFormat, Codec, Track, VideoCodec, VideoFormat};

/// What a configuration record or a frame says of its track, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Description {
    /// The picture.
    pub video: Option<VideoFormat>,
    /// The sound.
    pub audio: Option<AudioFormat>,
}

/// Why bytes are no configuration record of their codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the fixed part of the record has.
    #[error("codec/{record}: expected at least {need} bytes, found {found}")]
    TooShort {
        /// The record.
        record: &'static str,
        /// Bytes of its fixed part.
        need: usize,
        /// Bytes there are.
        found: usize,
    },
}

/// What the configuration record `config` says. A part that makes no sense is left out: someone
/// downstream may understand it. Codecs without a record describe nothing here.
///
/// # Errors
/// `config` is too short to be a record at all.
pub fn describe(codec: Codec, config: &[u8]) -> Result<Description, Error> {
    let (record, need) = match codec {
        Codec::Video(VideoCodec::H264) => ("avcC", 7),
        Codec::Video(VideoCodec::H265) => ("hvcC", 23),
        Codec::Video(VideoCodec::Av1) => ("av1C", 4),
        Codec::Video(VideoCodec::Vp9) => ("vpcC", 8),
        Codec::Audio(AudioCodec::Aac) => ("AudioSpecificConfig", 2),
        Codec::Audio(AudioCodec::Opus) => ("OpusHead", 19),
        Codec::Audio(AudioCodec::Flac) => ("STREAMINFO", 34),
        Codec::Audio(AudioCodec::Ac3 | AudioCodec::Mp3 | AudioCodec::G711A | AudioCodec::G711U) => {
            return Ok(Description::default());
        }
    };
    if config.len() < need {
        return Err(Error::TooShort { record, need, found: config.len() });
    }
    let mut description = Description::default();
    match codec {
        Codec::Video(VideoCodec::H264) => description.video = h264::video_format(config),
        Codec::Video(VideoCodec::H265) => description.video = h265::video_format(config),
        Codec::Video(VideoCodec::Av1) => description.video = av1::video_format(config),
        // vpcC has a profile and a level, but no size: that stands in each key frame.
        Codec::Video(VideoCodec::Vp9) => {}
        Codec::Audio(AudioCodec::Aac) => {
            let config = AudioSpecificConfig::parse(config);
            description.audio = config.map(|config| config.audio_format());
        }
        Codec::Audio(AudioCodec::Opus) => description.audio = opus::audio_format(config),
        Codec::Audio(AudioCodec::Flac) => description.audio = flac::audio_format(config),
        Codec::Audio(_) => {}
    }
    Ok(description)
}

/// What `frame` itself says, for codecs whose first frame is all the configuration there is.
pub fn describe_frame(codec: Codec, frame: &[u8]) -> Description {
    let mut description = Description::default();
    match codec {
        Codec::Video(VideoCodec::Vp9) => description.video = vp9::video_format(frame),
        Codec::Audio(AudioCodec::Mp3) => description.audio = mp3::audio_format(frame),
        Codec::Audio(AudioCodec::Ac3) => description.audio = ac3::audio_format(frame),
        _ => {}
    }
    description
}

/// How many samples, at the rate of the track's [`AudioFormat`], a frame of sound decodes to. None
/// where neither the codec nor the frame tells.
pub fn samples(track: &Track, frame: &[u8]) -> Option<u32> {
    let Codec::Audio(codec) = track.codec else { return None };
    match codec {
        AudioCodec::Aac => AudioSpecificConfig::parse(&track.config)?.frame_samples(),
        AudioCodec::Opus => opus::packet_samples(frame),
        // MPEG-1's rates begin at 32 kHz; the lower ones of MPEG-2 have half a frame.
        AudioCodec::Mp3 => track.audio.map(|a| if a.sample_rate_hz < 32_000 { 576 } else { 1152 }),
        AudioCodec::Ac3 => Some(ac3::SAMPLES),
        AudioCodec::Flac | AudioCodec::G711A | AudioCodec::G711U => None,
    }
}

/// True if a decoder can start at `frame` although it is no key frame: an H.264 recovery point
/// (intra refresh). Of other codecs none is known.
pub fn is_recovery_point(track: &Track, frame: &[u8]) -> bool {
    // Only the one field: it is asked of each frame until one is found.
    track.codec == Codec::Video(VideoCodec::H264)
        && h264::nal_length_bytes(&track.config)
            .is_some_and(|length| h264::is_recovery_point(frame, length))
}

/// Shared by the tests of each codec.
#[cfg(test)]
mod testing {
    use proptest::test_runner::TestRunner;

    use super::*;

    /// Bytes of hexadecimal digits; blanks are ignored.
    pub(super) fn hex(digits: &str) -> Vec<u8> {
        let digits: Vec<u32> = digits.chars().filter_map(|c| c.to_digit(16)).collect();
        let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits");
        digits.chunks_exact(2).map(byte).collect()
    }

    /// Describes `record` cut at every byte, then with random bytes in it.
    pub(super) fn cut_and_damage(codec: Codec, record: &[u8]) {
        for end in 0..record.len() {
            let _ = describe(codec, &record[..end]);
        }
        let changes = proptest::collection::vec((0..record.len(), proptest::num::u8::ANY), 1..12);
        let damage = |changes: Vec<(usize, u8)>| {
            let mut record = record.to_vec();
            changes.into_iter().for_each(|(at, byte)| record[at] = byte);
            let _ = describe(codec, &record);
            Ok(())
        };
        TestRunner::default().run(&changes, damage).expect("no panic");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codecs() -> impl Iterator<Item = Codec> {
        use AudioCodec::{Aac, Ac3, Flac, G711A, G711U, Mp3, Opus};
        use VideoCodec::{Av1, H264, H265, Vp9};
        let video = [H264, H265, Av1, Vp9].map(Codec::Video);
        video.into_iter().chain([Aac, Opus, Ac3, Mp3, Flac, G711A, G711U].map(Codec::Audio))
    }

    #[test]
    fn an_empty_record_is_an_error_where_there_should_be_one() {
        for codec in codecs() {
            assert!(describe(codec, &[]).is_err() || !codec.needs_config(), "{codec}");
        }
        let error = describe(Codec::Video(VideoCodec::H264), &[1]).unwrap_err();
        assert_eq!(error.to_string(), "codec/avcC: expected at least 7 bytes, found 1");
    }

    #[test]
    fn a_record_that_makes_no_sense_describes_nothing() {
        let description = describe(Codec::Video(VideoCodec::H264), &[0; 8]).unwrap();
        assert_eq!(description, Description::default());
    }

    #[test]
    fn only_h264_has_recovery_points_and_its_record_says_how_to_find_them() {
        let track = |codec, length_size: u8| {
            let config = vec![1, 0, 0, 0, 0xfc | length_size, 0xe0, 0].into();
            Track { codec: Codec::Video(codec), config, hdr: None, video: None, audio: None }
        };
        let is_one = |track, frame| is_recovery_point(&track, frame);
        let frame = [0, 0, 0, 5, 6, 6, 1, 0xc4, 0x80];
        assert!(is_one(track(VideoCodec::H264, 3), &frame[..]));
        assert!(is_one(track(VideoCodec::H264, 1), &frame[2..]));
        assert!(!is_one(track(VideoCodec::H264, 3), &frame[2..]));
        assert!(!is_one(track(VideoCodec::H265, 3), &frame[..]));
        let bare = Track { config: bytes::Bytes::new(), ..track(VideoCodec::H264, 3) };
        assert!(!is_one(bare, &frame[..]));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            for codec in codecs() {
                let _ = describe(codec, &bytes);
                let _ = describe_frame(codec, &bytes);
                let audio = Some(AudioFormat { sample_rate_hz: 44_100, channels: 2 });
                let config = bytes.clone().into();
                let track = Track { codec, config, hdr: None, video: None, audio };
                let _ = samples(&track, &bytes);
            }
            h264::is_recovery_point(&bytes, 4);
        }
    }
}
