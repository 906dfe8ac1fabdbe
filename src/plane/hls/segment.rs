use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Rendition;
use crate::bytes::Slice;

/// Some seconds of the stream, in all renditions. While parts are added it is the open one; after
/// that it never changes.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Its media sequence number.
    pub(super) msn: u64,
    /// The directory of its media.
    pub(super) dir: u128,
    /// When it began, since 1970.
    pub(super) wall: Duration,
    /// Of all its parts.
    pub(super) duration: Duration,
    /// It does not go on from the one before.
    pub(super) discontinuity: bool,
    /// How many discontinuities there were, its own included.
    pub(super) discontinuities: u64,
    /// What a player must have before it, by rendition.
    pub(super) inits: [Option<Arc<Init>>; Rendition::COUNT],
    /// None if nothing came in its time.
    pub(super) parts: Vec<Part>,
    /// Of media, in all renditions.
    pub(super) bytes: usize,
}

impl Segment {
    pub(super) fn add(&mut self, part: Part) {
        self.duration += part.duration;
        self.bytes += part.pieces.iter().map(|piece| piece.data.len()).sum::<usize>();
        self.parts.push(part);
    }

    /// Bytes of media in one rendition.
    pub(super) fn pieces(&self, rendition: Rendition) -> impl Iterator<Item = &Piece> {
        self.parts.iter().map(move |part| &part.pieces[rendition as usize])
    }

    /// There is nothing of it in that rendition.
    pub(super) fn is_gap(&self, rendition: Rendition) -> bool {
        self.pieces(rendition).all(Piece::is_gap)
    }
}

/// What precedes the segments of a rendition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Init {
    pub(super) number: u32,
    /// That of the first segment behind it.
    pub(super) dir: u128,
    pub(super) data: Bytes,
}

/// A short piece of the stream, in all renditions.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) duration: Duration,
    pub(super) pieces: [Piece; Rendition::COUNT],
}

/// A part of one rendition; empty while there is no such rendition.
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub(super) data: Slice,
    /// There is a frame in it that a decoder can start at.
    pub(super) independent: bool,
}

impl Piece {
    pub(super) fn is_gap(&self) -> bool {
        self.data.is_empty()
    }
}
