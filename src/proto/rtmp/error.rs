use std::time::Duration;

use super::{ChunkError, ControlError, NotACall, Timer, handshake};
use crate::container::flv;

/// Why a connection cannot go on. It is closed after this, without a farewell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The handshake cannot become right.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    /// The chunk stream is broken or beyond its limits.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A control message is broken.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A command cannot be read.
    #[error(transparent)]
    Command(#[from] NotACall),
    /// The media inside a message is broken or not supported.
    #[error(transparent)]
    Media(#[from] flv::Error),
    /// A message that is right in itself came at the wrong time or holds what it must not.
    #[error("rtmp/{place}: expected {expected}, found {found}")]
    Unexpected {
        /// The part of the protocol.
        place: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// The peer took too long.
    #[error("rtmp/{timer}: expected {} within {after:?}, found none", .timer.expected())]
    Timeout {
        /// What was waited for.
        timer: Timer,
        /// How long.
        after: Duration,
    },
}

impl Error {
    pub(super) fn unexpected(
        place: &'static str,
        expected: &'static str,
        found: impl Into<String>,
    ) -> Self {
        Self::Unexpected { place, expected, found: found.into() }
    }
}
