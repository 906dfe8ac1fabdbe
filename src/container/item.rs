use bytes::Bytes;

use crate::media::{Frame, PrivateStreams, Track, TrackKind};

/// What a container held, in its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A track began, or its parameters changed.
    Track(Track),
    /// One frame of the track of its kind.
    Frame(Frame),
    /// AMF0: `onMetaData` and its object; a `@setDataFrame` before it is taken off.
    Metadata(Bytes),
    /// The private streams are these from now on. Only transport streams have any.
    PrivateStreams(PrivateStreams),
    /// The sender says no more frames follow until the next configuration.
    EndOfSequence(TrackKind),
}

impl Item {
    /// A frame of sound or of pictures: what a stream is published for.
    pub fn is_media(&self) -> bool {
        matches!(self, Self::Frame(frame) if frame.kind != TrackKind::Private)
    }
}
