//! FLV tag bodies, which are also RTMP message bodies, both ways; and FLV files.
//!
//! Adobe Flash Video File Format 10.1, annex E; Enhanced RTMP v1 and v2 (FourCC codecs, HDR
//! metadata, nanosecond offsets, multitrack). One track of each kind is routed: of a multitrack,
//! the one numbered 0. RTMP's chunks are left to `proto::rtmp`.

mod demux;
mod file;
mod header;
mod mux;
mod notice;
mod tags;

pub use demux::Demux;
pub use file::FileReader;
pub use mux::{
    HevcForm, file_header, frame_head, hdr_body, is_hdr, metadata_of, previous_tag_size,
    sequence_start, tag_header,
};
pub use notice::{CodecTag, Notice};
pub use tags::Tags;

pub use super::Item;

use crate::bytes::Short;
use crate::codec;
use crate::media::TrackKind;

/// What a tag carries. The number is the FLV tag type and the RTMP message type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TagKind {
    /// Sound.
    Audio = 8,
    /// Pictures.
    Video = 9,
    /// AMF0 script data.
    Script = 18,
}

impl TagKind {
    /// The kind of an FLV tag type or RTMP message type.
    pub fn from_wire(kind: u8) -> Option<Self> {
        match kind {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}

impl From<TrackKind> for TagKind {
    fn from(kind: TrackKind) -> Self {
        match kind {
            TrackKind::Audio => Self::Audio,
            TrackKind::Video => Self::Video,
            TrackKind::Data | TrackKind::Private => Self::Script,
        }
    }
}

/// What a demultiplexer or file reader accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest tag body. Longer ones are an error. A little under 16 MiB by default: a body's
    /// length has 24 bits, and its head may grow by a few bytes on the way out.
    pub tag_bytes: usize,
    /// The longest configuration record, HDR metadata or `onMetaData`, which live as long as the
    /// stream. Longer ones are an error. 1 MiB by default.
    pub config_bytes: usize,
    /// Tracks in one multitrack body. More are an error. 256 by default: track numbers have 8
    /// bits.
    pub tracks: usize,
    /// Notices kept, so that each is told once. Further ones are not told. 16 by default.
    pub notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tag_bytes: (16 << 20) - 1024, config_bytes: 1 << 20, tracks: 256, notices: 16 }
    }
}

/// Why bytes cannot be FLV, or more of it than allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A body ends inside its header.
    #[error("flv/{0}")]
    Short(#[from] Short),
    /// A configuration record that cannot be one.
    #[error("flv/sequence start: {0}")]
    Config(#[from] codec::Error),
    /// Something longer than its limit.
    #[error("flv/{what}: expected at most {max} bytes, found {found}")]
    TooLong {
        /// What it was.
        what: &'static str,
        /// The limit.
        max: usize,
        /// Its length.
        found: usize,
    },
    /// Enhanced RTMP's MPEG2TSSequenceStart: frames of this track would be in MPEG-TS form.
    #[error("flv/video packet type: expected SequenceStart (0), found MPEG2TSSequenceStart (5)")]
    MpegTs,
    /// A multitrack type that is not defined, so that its tracks cannot be told apart.
    #[error("flv/multitrack type: expected 0, 1 or 2, found {found}")]
    MultitrackType {
        /// The type.
        found: u8,
    },
    /// More tracks in one body than [`Limits::tracks`].
    #[error("flv/multitrack: expected at most {max} tracks in one body, found more")]
    TooManyTracks {
        /// The limit.
        max: usize,
    },
    /// A file that does not begin with `FLV`.
    #[error("flv/file header: expected \"FLV\" and version 1, found {found:02x?}")]
    NotFlv {
        /// Its first four bytes.
        found: [u8; 4],
    },
    /// A file header that says it is shorter than the fields it has.
    #[error("flv/file header: expected a data offset of at least 9, found {found}")]
    DataOffset {
        /// The offset.
        found: u32,
    },
    /// A file that ends before something in it does.
    #[error("flv/{what}: expected {expected} bytes, found the end of the file after {found}")]
    CutOff {
        /// What it was.
        what: &'static str,
        /// How long it is.
        expected: usize,
        /// What there is of it.
        found: usize,
    },
    /// A tag with the filter bit: its body is encrypted.
    #[error("flv/tag header: expected no filter, found an encrypted tag")]
    Encrypted,
}
