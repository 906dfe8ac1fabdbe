//! What happens on the cores, told to the control thread, which tells hook servers and whoever
//! listens at the API. A core tells and goes on: what finds no room is counted as lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::verdict::Question;
use crate::media::StreamKey;
use crate::plane::SinkStats;

/// One thing that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A publisher has the slot of its stream, a viewer is being sent its first block, or an RTMP
    /// client that somebody was asked about is connected. One who takes a stream over starts before
    /// the other ends.
    Started(Arc<Question>),
    /// What was granted is over, whether it had started or not. There is one of these for each
    /// grant, however it ended.
    Ended {
        /// What was granted.
        question: Arc<Question>,
        /// How it went.
        end: GrantEnd,
    },
    /// Somebody was refused what it asked for: to connect, to publish or to play. Who is turned away
    /// before it has asked for that is in the log and counted, and is no event: who finds no room at
    /// the door, who is blocked when it comes, or asks through a proxy and is.
    Refused {
        /// What was asked for.
        question: Arc<Question>,
        /// What the client was told.
        reason: String,
    },
    /// A viewer asks for a stream that nobody publishes, and waits.
    NotFound(Arc<Question>),
    /// A viewer was moved forward because it lagged.
    Skipped {
        /// What it plays.
        question: Arc<Question>,
        /// Stream time left out, in milliseconds.
        ms: u64,
        /// Bytes left out.
        bytes: u64,
    },
    /// Somebody publishes this, and nobody has watched it for `idle_timeout`.
    Idle(StreamKey),
    /// A recording has begun. There is one end of each.
    RecordStarted(Arc<Recorded>),
    /// It has ended.
    RecordEnded {
        /// Which.
        recording: Arc<Recorded>,
        /// How it went.
        end: RecordEnd,
    },
    /// A file of a recording is whole.
    Segment {
        /// Of which.
        recording: Arc<Recorded>,
        /// The file.
        segment: Segment,
    },
}

/// A recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Distinguishes it from all others.
    pub id: String,
    /// What is recorded.
    pub key: StreamKey,
    /// How it is muxed.
    pub format: &'static str,
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordEnd {
    /// Why.
    pub reason: Box<str>,
    /// The disk was full, broken or too slow.
    pub failed: bool,
    /// Files that were begun.
    pub files: u32,
    /// Bytes that were written.
    pub bytes: u64,
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its path.
    pub file: String,
    /// That of what says what it holds.
    pub sidecar: String,
    /// Which of its recording's files, from 0.
    pub sequence: u32,
    /// Bytes it holds.
    pub bytes: u64,
    /// Stream time it holds.
    pub lasted: Duration,
}

/// How a grant ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantEnd {
    /// It came to what was granted: a slot, a first block, an answer to `connect`.
    pub started: bool,
    /// Since it was granted.
    pub lasted: Duration,
    /// Bytes its connection had received by then.
    pub received: u64,
    /// What it was sent.
    pub sent: SinkStats,
    /// Why it ended.
    pub reason: Box<str>,
}

/// The cores' end of the way to the control thread.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Event>,
    lost: AtomicU64,
}

impl Events {
    /// A queue for `depth` events, and where they are heard.
    pub fn new(depth: usize) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let (queue, heard) = mpsc::channel(depth);
        (Arc::new(Self { queue, lost: AtomicU64::new(0) }), heard)
    }

    /// Tells of `event`, without waiting. What strangers can cause as often as they like has half of
    /// the queue, so that starts and ends find room.
    pub fn tell(&self, event: Event) {
        let half_full = self.queue.capacity() < self.queue.max_capacity() / 2;
        let matters = matches!(
            event,
            Event::Started(_)
                | Event::Ended { .. }
                | Event::RecordStarted(_)
                | Event::RecordEnded { .. }
                | Event::Segment { .. }
        );
        let told =
            if half_full && !matters { Err(()) } else { self.queue.try_send(event).map_err(drop) };
        if told.is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// True if nothing waits to be heard.
    pub fn are_heard(&self) -> bool {
        self.queue.capacity() == self.queue.max_capacity()
    }

    /// How many found no room, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
