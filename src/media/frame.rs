use bytes::Bytes;

use crate::time::Timestamp;

/// The kinds of track a stream has; at most one of each is routed, but for private data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Script data in order with the media: cue points, text.
    Data,
    /// Private data of a transport stream; see [`PrivateStreams`](super::PrivateStreams).
    Private,
}

/// One access unit of one track, its bytes shared by count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Decoding time.
    pub dts: Timestamp,
    /// Presentation time; equals `dts` for sound and script data.
    pub pts: Timestamp,
    /// For video: decoding can start here. Never set for other kinds.
    pub key: bool,
    /// The access unit in the form its codec's documentation in
    /// [`VideoCodec`](super::VideoCodec) and [`AudioCodec`](super::AudioCodec) names. For
    /// [`TrackKind::Data`]: AMF0, the handler's name first. For [`TrackKind::Private`]: a
    /// [`PrivateUnit`](super::PrivateUnit).
    pub data: Bytes,
}
