use bytes::Bytes;

use crate::time::Timestamp;

/// The three kinds of track a stream has; at most one of each is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Script data in order with the media: cue points, text.
    Data,
}

/// One access unit of one track, its bytes shared by count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Decoding time.
    pub dts: Timestamp,
    /// Presentation time; equals `dts` for anything but video.
    pub pts: Timestamp,
    /// For video: decoding can start here. Never set for other kinds.
    pub key: bool,
    /// The access unit in the form its codec's documentation in
    /// [`VideoCodec`](super::VideoCodec) and [`AudioCodec`](super::AudioCodec) names. For
    /// [`TrackKind::Data`]: AMF0, the handler's name first.
    pub data: Bytes,
}
