use std::fmt;

use super::TrackKind;

/// How pictures are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// H.264 / AVC, frames as length-prefixed NAL units, configuration an `avcC` record.
    H264,
    /// H.265 / HEVC, frames as length-prefixed NAL units, configuration an `hvcC` record.
    H265,
    /// AV1, frames as a temporal unit of OBUs, with or without its temporal delimiter as it came,
    /// configuration `av1C`.
    Av1,
    /// VP9, frames as they are, configuration a `vpcC` record.
    Vp9,
}

/// How sound is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC, raw frames, configuration an `AudioSpecificConfig`.
    Aac,
    /// Opus, raw packets, configuration an `OpusHead` (with its magic).
    Opus,
    /// AC-3, sync frames, no configuration.
    Ac3,
    /// MPEG-1/2 layer III, frames, no configuration.
    Mp3,
    /// FLAC, frames, configuration `fLaC` and the STREAMINFO block.
    Flac,
    /// G.711 A-law samples.
    G711A,
    /// G.711 µ-law samples.
    G711U,
}

/// The codec of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Pictures.
    Video(VideoCodec),
    /// Sound.
    Audio(AudioCodec),
}

impl Codec {
    /// The kind of track this codec makes.
    pub fn kind(self) -> TrackKind {
        match self {
            Self::Video(_) => TrackKind::Video,
            Self::Audio(_) => TrackKind::Audio,
        }
    }

    /// True if frames cannot be decoded without the track's configuration record.
    pub fn needs_config(self) -> bool {
        match self {
            Self::Video(codec) => codec != VideoCodec::Vp9,
            Self::Audio(codec) => matches!(codec, AudioCodec::Aac),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video(VideoCodec::H264) => "h264",
            Self::Video(VideoCodec::H265) => "h265",
            Self::Video(VideoCodec::Av1) => "av1",
            Self::Video(VideoCodec::Vp9) => "vp9",
            Self::Audio(AudioCodec::Aac) => "aac",
            Self::Audio(AudioCodec::Opus) => "opus",
            Self::Audio(AudioCodec::Ac3) => "ac3",
            Self::Audio(AudioCodec::Mp3) => "mp3",
            Self::Audio(AudioCodec::Flac) => "flac",
            Self::Audio(AudioCodec::G711A) => "g711a",
            Self::Audio(AudioCodec::G711U) => "g711u",
        })
    }
}
