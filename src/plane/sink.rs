use std::os::fd::RawFd;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::block::Block;
use super::outputs::Output;
use super::{Format, Selection, SourceId, Tag, TransId};
use crate::bytes::Chain;
use crate::time::Timestamp;

/// What stands around a block on one viewer's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Nothing.
    Raw,
    /// One HTTP chunk per block (RFC 9112 7.1).
    Chunked,
    /// One binary WebSocket message per block (RFC 6455 5.2).
    WebSocket,
}

/// What the plane tells a viewer's driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkEvent {
    /// The greeting is on its way: from now on only the flush writes to the socket.
    Started,
    /// Nobody published in time, or the stream ended before its first block: the greeting was not
    /// sent.
    NotFound,
    /// The server is going out of service, before its first block: the greeting was not sent.
    TurnedAway,
    /// No more will come.
    Ended(SinkEnd),
}

/// Why a viewer gets no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// It asked for more replies than it read.
    #[error("the viewer does not read the replies it asks for")]
    Flooded,
    /// The source failed inside.
    #[error("the source failed")]
    SourceFailed,
    /// The node is going out of service.
    #[error("this server is going out of service: try another")]
    Draining,
    /// Its format has no place for any track that it wants: the greeting was not sent.
    #[error("{0}")]
    NotCarried(Rc<String>),
    /// Somebody outside wants it to end, perhaps before it was greeted.
    #[error("{0}")]
    Kicked(Rc<String>),
}

impl SinkEnd {
    /// True if the socket may stand inside a message: close it without another word.
    pub fn breaks_off(&self) -> bool {
        !matches!(
            self,
            Self::PublisherGone
                | Self::SourceFailed
                | Self::Draining
                | Self::NotCarried(_)
                | Self::Kicked(_)
        )
    }
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
    /// Bytes they left out, without framing.
    pub skipped_bytes: u64,
    /// Stream time that it is behind what is to be sent, in milliseconds; at its end if it has ended.
    pub lag_ms: u32,
    /// The same in bytes, without framing.
    pub lag_bytes: u64,
}

impl std::ops::AddAssign for SinkStats {
    fn add_assign(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.skips += more.skips;
        self.skipped_ms += more.skipped_ms;
        self.skipped_bytes += more.skipped_bytes;
        // Of the later of the two.
        (self.lag_ms, self.lag_bytes) = (more.lag_ms, more.lag_bytes);
    }
}

/// One viewer: a socket's number and a cursor.
#[derive(Debug)]
pub(crate) struct Sink {
    /// Distinguishes the users of one place in the slab.
    pub(crate) serial: u64,
    pub(crate) tag: Option<Tag>,
    /// When it came, in seconds of its core. A viewer costs memory.
    pub(crate) since_s: u32,
    pub(crate) source: SourceId,
    pub(crate) fd: RawFd,
    pub(crate) format: Format,
    pub(crate) selection: Selection,
    pub(crate) framing: Framing,
    /// Start at the kept key frame rather than at the next.
    pub(crate) from_cache: bool,
    pub(crate) paused: bool,
    /// It is to be ended where the next key block begins.
    pub(crate) leaving: bool,
    /// Bytes that it counts as written lie before its socket.
    pub(crate) held: bool,
    /// Its cursor was moved: it was not sent the block before the next one.
    pub(crate) rejoins: bool,
    /// True once the cursor stood at the head: from then on lag is the viewer's.
    pub(crate) caught_up: bool,
    pub(crate) position: Position,
    /// The block that is partly sent, and how many framed bytes of it.
    pub(crate) in_hand: Option<(Rc<Block>, usize)>,
    /// Bytes for this viewer alone, sent at the next block boundary.
    pub(crate) private: Chain,
    /// Sent before everything else; `None` once it is in `private`.
    pub(crate) greeting: Option<Box<Bytes>>,
    /// A timer is set that ends its wait for a key block.
    pub(crate) key_wait_set: bool,
    pub(crate) init_sent: Option<u32>,
    /// In the behind set, and how many milliseconds it waited for that.
    pub(crate) behind: Option<u16>,
    /// Since when the socket takes nothing.
    pub(crate) blocked_since: Option<Instant>,
    /// dts of the last frame of the last block it was sent whole.
    pub(crate) sent_until: Option<Timestamp>,
    /// Bytes of its log up to there, or to where it started.
    pub(crate) log_bytes: u64,
    /// Bytes its driver had sent to it alone since all such bytes were last written.
    pub(crate) reply_bytes: u32,
    /// Its driver is still to be told that it started, and then how it ended.
    pub(crate) started: bool,
    pub(crate) end: Option<SinkEvent>,
    pub(crate) waker: Option<Waker>,
    pub(crate) stats: SinkStats,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// Nobody publishes yet, or the tracks are not known yet.
    Waiting,
    /// At a trans stream, which has no block to start at: the first key block from number `from`
    /// on is. `after`: a viewer that comes from another trans stream starts no earlier. At
    /// `until` it starts without.
    AwaitingKey {
        trans: TransId,
        index: usize,
        from: u64,
        after: Option<Timestamp>,
        until: Instant,
    },
    /// `next` is the block to be sent when nothing is in hand.
    At {
        trans: TransId,
        index: usize,
        next: u64,
    },
    /// It fetches from any core, and nothing is written to it. `awaits`: there is nothing yet that it
    /// could start with, and it gives up at that time.
    Fetching {
        awaits: Option<Instant>,
    },
    Ended,
}

impl Position {
    pub(crate) fn set_index(&mut self, new: usize) {
        if let Self::AwaitingKey { index, .. } | Self::At { index, .. } = self {
            *index = new;
        }
    }
}

impl Sink {
    /// What it is counted by: it follows from what it is sent, and a byte more here is eight.
    pub(crate) fn output(&self) -> Output {
        Output::of(self.format, self.framing)
    }

    pub(crate) fn tell(&mut self, event: SinkEvent) {
        match event {
            SinkEvent::Started => self.started = true,
            end => self.end = Some(end),
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What its driver is to be told next: both events, even if it listens late.
    pub(crate) fn event(&mut self) -> Option<SinkEvent> {
        match std::mem::take(&mut self.started) {
            true => Some(SinkEvent::Started),
            false => self.end.take(),
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
                // The body is shared; a hundred slow viewers must not make a hundred copies.
                rest.push(if std::ptr::eq(part, &*block.bytes) {
                    block.bytes.slice(skip..)
                } else {
                    Bytes::copy_from_slice(&part[skip..])
                });
            }
        }
        for slice in self.private.drain() {
            rest.push(slice);
        }
        rest
    }

    /// There is nothing to write: out of the behind set, and nothing stalls.
    pub(crate) fn rest(&mut self) {
        self.behind = None;
        self.blocked_since = None;
    }

    pub(crate) fn is_seated(&self) -> bool {
        matches!(self.position, Position::AwaitingKey { .. } | Position::At { .. })
    }

    /// True if it has sent a part of `block`.
    pub(crate) fn holds(&self, block: &Rc<Block>) -> bool {
        self.in_hand.as_ref().is_some_and(|(held, _)| Rc::ptr_eq(held, block))
    }

    /// dts up to which it will have been sent when what is in hand is finished.
    pub(crate) fn sent_until(&self) -> Option<Timestamp> {
        self.in_hand.as_ref().map(|(block, _)| block.end).or(self.sent_until)
    }

    /// Bytes for this viewer alone, in its framing.
    pub(crate) fn send_framed(&mut self, bytes: &Bytes) {
        if !bytes.is_empty() {
            for part in self.framing.wrap(bytes) {
                self.private.push(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A viewer's memory is a figure of the product, and the slab has room for twice as many.
    #[test]
    fn a_sink_stays_small() {
        assert!(size_of::<Sink>() <= 280, "{}", size_of::<Sink>());
        assert_eq!(size_of::<Option<SinkEvent>>(), 16);
    }
}
