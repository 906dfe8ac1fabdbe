use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::Block;
use super::{Format, Selection, SourceId, TransId};
use crate::bytes::Chain;
use crate::time::Timestamp;

/// What stands around a block on one viewer's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    Raw,
    /// One HTTP chunk per block (RFC 9112 7.1).
    Chunked,
    /// One binary WebSocket message per block (RFC 6455 5.2).
    WebSocket,
}

/// What the plane tells a viewer's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkEvent {
    /// The greeting is on its way: from now on only the flush writes to the socket.
    Started,
    /// Nobody published in time; the greeting was not sent.
    NotFound,
    /// No more will come.
    Ended(SinkEnd),
}

/// Why a viewer gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SinkEnd {
    /// The publisher left and did not return within the grace.
    #[error("the publisher left")]
    PublisherGone,
    /// Bytes waited, and the viewer took none for `stall_timeout`.
    #[error("stalled: the viewer took nothing for {0:?}")]
    Stalled(Duration),
    /// The socket refused the write.
    #[error("write failed: {0}")]
    WriteFailed(std::io::ErrorKind),
    /// It held the oldest of too many blocks.
    #[error("the viewer held blocks past pinned_max_bytes")]
    Pinned,
    /// The source failed inside.
    #[error("the source failed")]
    SourceFailed,
}

/// What one viewer was sent, for the access line at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkStats {
    /// Bytes the socket took, greeting and framing included.
    pub bytes: u64,
    /// Times it was moved forward to a newer key block.
    pub skips: u32,
    /// Stream time those skips left out, in milliseconds.
    pub skipped_ms: u64,
}

/// One viewer: a socket's number and a cursor.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Distinguishes the users of one place in the slab.
    pub(crate) serial: u64,
    pub(crate) source: SourceId,
    pub(crate) fd: RawFd,
    pub(crate) format: Format,
    pub(crate) selection: Selection,
    pub(crate) framing: Framing,
    /// Start at the kept key frame rather than at the next.
    pub(crate) from_cache: bool,
    pub(crate) paused: bool,
    /// True once the cursor stood at the head: from then on lag is the viewer's.
    pub(crate) caught_up: bool,
    pub(crate) position: Position,
    /// The block that is partly sent, and how many framed bytes of it.
    pub(crate) in_hand: Option<(Rc<Block>, usize)>,
    /// Bytes for this viewer alone, sent at the next block boundary.
    pub(crate) private: Chain,
    /// Sent before everything else; `None` once it is in `private`.
    pub(crate) greeting: Option<Bytes>,
    pub(crate) init_sent: Option<u64>,
    /// In the behind set, and how long to wait if it takes nothing again.
    pub(crate) behind: Option<Duration>,
    /// Since when the socket takes nothing.
    pub(crate) blocked_since: Option<Instant>,
    /// dts up to which it was sent, where it changed trans streams.
    pub(crate) sent_until: Timestamp,
    pub(crate) event: Option<SinkEvent>,
    pub(crate) waker: Option<Waker>,
    pub(crate) stats: SinkStats,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Nobody publishes yet, or the tracks are not known yet.
    Waiting {
        until: Instant,
    },
    /// At a trans stream, which has no block to start at: the first key block from number `from`
    /// on is. `after`: a viewer that comes from another trans stream starts no earlier.
    AwaitingKey {
        trans: TransId,
        index: usize,
        from: u64,
        after: Option<Timestamp>,
    },
    /// `next` is the block to be sent when nothing is in hand.
    At {
        trans: TransId,
        index: usize,
        next: u64,
    },
    Ended,
}

impl Position {
    pub(crate) fn trans(self) -> Option<(TransId, usize)> {
        match self {
            Self::AwaitingKey { trans, index, .. } | Self::At { trans, index, .. } => {
                Some((trans, index))
            }
            Self::Waiting { .. } | Self::Ended => None,
        }
    }

    pub(crate) fn set_index(&mut self, new: usize) {
        if let Self::AwaitingKey { index, .. } | Self::At { index, .. } = self {
            *index = new;
        }
    }
}

impl Sink {
    pub(crate) fn tell(&mut self, event: SinkEvent) {
        self.event = Some(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What must still be said to end at a message boundary: the rest of the block in hand, then
    /// what is private.
    pub(crate) fn take_rest(&mut self) -> Chain {
        let mut rest = Chain::default();
        if let Some((block, mut sent)) = self.in_hand.take() {
            for part in block.parts(self.framing) {
                let skip = sent.min(part.len());
                sent -= skip;
                rest.push(Bytes::copy_from_slice(&part[skip..]));
            }
        }
        for slice in self.private.drain() {
            rest.push(slice);
        }
        rest
    }

    pub(crate) fn send_framed(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            for part in self.framing.wrap(bytes) {
                self.private.push(part);
            }
        }
    }
}
