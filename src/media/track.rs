use std::fmt;

use bytes::Bytes;

use super::{Codec, TrackKind};

/// A codec with what a decoder must know before the first frame.
///
/// Two tracks are equal when a decoder of one can go on with the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The codec.
    pub codec: Codec,
    /// The configuration record, in the form the codec's documentation names; empty if it has
    /// none.
    pub config: Bytes,
    /// Enhanced RTMP video metadata (`colorInfo`: HDR), AMF0, passed on as it came.
    pub hdr: Option<Bytes>,
    /// What the configuration says of the picture, where it could be read.
    pub video: Option<VideoFormat>,
    /// What the configuration or the container says of the sound.
    pub audio: Option<AudioFormat>,
}

impl Track {
    /// The kind of track its codec makes.
    pub fn kind(&self) -> TrackKind {
        self.codec.kind()
    }
}

/// `h264 1280x720 profile 100 level 31`, `aac 48000 Hz 2 channels`: as far as it is known.
impl fmt::Display for Track {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.codec)?;
        if let Some(VideoFormat { width, height, profile, level }) = self.video {
            write!(f, " {width}x{height} profile {profile} level {level}")?;
        }
        if let Some(AudioFormat { sample_rate_hz, channels }) = self.audio {
            write!(f, " {sample_rate_hz} Hz {channels} channels")?;
        }
        Ok(())
    }
}

/// The picture a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFormat {
    /// Width after cropping, in pixels.
    pub width: u32,
    /// Height after cropping, in pixels.
    pub height: u32,
    /// `profile_idc`, `general_profile_idc` or `seq_profile`.
    pub profile: u8,
    /// `level_idc`, `general_level_idc` or `seq_level_idx`, as coded.
    pub level: u8,
}

/// The sound a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioFormat {
    /// Samples per second.
    pub sample_rate_hz: u32,
    /// Channels.
    pub channels: u8,
}
