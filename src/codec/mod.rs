//! Inside a frame: headers and parameter sets of each codec, and NAL framing.

use crate::media::{AudioFormat, Codec, VideoFormat};

/// What a configuration record or a frame says of its track, as far as it could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Description {
    /// The picture.
    pub video: Option<VideoFormat>,
    /// The sound.
    pub audio: Option<AudioFormat>,
    /// Bytes of the length before each NAL unit of a frame; none for codecs without NAL units.
    pub nal_length_bytes: Option<u8>,
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

/// What `config` says.
pub fn describe(_codec: Codec, _config: &[u8]) -> Result<Description, Error> {
    Ok(Description::default())
}

/// What `frame` says.
pub fn describe_frame(_codec: Codec, _frame: &[u8]) -> Description {
    Description::default()
}
/// x
pub fn is_recovery_point(_t: &crate::media::Track, _d: &[u8]) -> bool {
    false
}
