use bytes::Bytes;

use crate::media::{Codec, PrivateStreams, Track, TrackKind};

/// What a decoder must know, as it was in force from some frame on. Immutable: a change makes a
/// new one with the next version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracks {
    /// Counts changes within one source that a decoder must hear of.
    pub version: u32,
    /// The video track, if there is one.
    pub video: Option<Track>,
    /// The audio track, if there is one.
    pub audio: Option<Track>,
    /// The publisher's `onMetaData`, as AMF0 with its name first.
    pub metadata: Option<Bytes>,
    /// Streams of private data beside them.
    pub private: PrivateStreams,
}

impl Tracks {
    /// The codec of the track of that kind.
    pub fn codec(&self, kind: TrackKind) -> Option<Codec> {
        self.track(kind).map(|track| track.codec)
    }

    /// The track of that kind; data has none.
    pub fn track(&self, kind: TrackKind) -> Option<&Track> {
        match kind {
            TrackKind::Video => self.video.as_ref(),
            TrackKind::Audio => self.audio.as_ref(),
            TrackKind::Data | TrackKind::Private => None,
        }
    }

    /// Bytes of metadata, configurations and descriptors.
    pub(crate) fn bytes(&self) -> usize {
        let of = |track: &Track| track.config.len() + track.hdr.as_ref().map_or(0, Bytes::len);
        let tracks = [&self.video, &self.audio].into_iter().flatten();
        let metadata = self.metadata.as_ref().map_or(0, Bytes::len);
        tracks.map(of).sum::<usize>() + metadata + self.private.bytes()
    }

    pub(crate) fn with_track(&self, track: Track) -> Self {
        let mut next = self.next();
        match track.kind() {
            TrackKind::Video => next.video = Some(track),
            TrackKind::Audio | TrackKind::Data | TrackKind::Private => next.audio = Some(track),
        }
        next
    }

    /// Private data changes no decoder: the version stays.
    pub(crate) fn with_private(&self, private: PrivateStreams) -> Self {
        Self { private, ..self.clone() }
    }

    /// Metadata changes no decoder: the version stays.
    pub(crate) fn with_metadata(&self, metadata: Bytes) -> Self {
        Self { metadata: Some(metadata), ..self.clone() }
    }

    pub(crate) fn next(&self) -> Self {
        Self { version: self.version.wrapping_add(1), ..self.clone() }
    }
}
