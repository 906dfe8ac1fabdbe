//! Readers of a trans stream that have no socket: a recording.
//!
//! A tap is handed each block as it is sealed, and holds it until its driver takes it. It slows
//! nobody: what its driver does not take in time is bounded in bytes, and over that bound the tap
//! ends by itself. Its bytes are shared with viewers and count as held by none of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::block::{Block, Init, Start};
use super::trans_streams::TRANS_IDLE;
use super::{Format, Hub, Selection, Tracks, TransId};
use crate::media::StreamKey;
use crate::time::Timestamp;

/// A block, with what somebody who starts at it must have been given before.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Whole messages or packets.
    pub bytes: Bytes,
    /// Whether one can start here.
    pub key: Start,
    /// Precedes everything else, once.
    pub preamble: Bytes,
    /// What is in force at its start.
    pub init: Rc<Init>,
    /// What that was made from.
    pub tracks: Rc<Tracks>,
    /// dts of its first frame.
    pub start: Timestamp,
    /// dts of its last frame.
    pub end: Timestamp,
}

/// Why a tap is handed no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TapEnd {
    /// Whoever published has left.
    #[error("the publisher left")]
    PublisherGone,
    /// Its driver wants no more.
    #[error("its reader wants no more")]
    Closed,
    /// Another publishes now.
    #[error("another publisher took over")]
    TakenOver,
    /// The source failed inside.
    #[error("the source failed")]
    SourceFailed,
    /// Its driver did not take what there was.
    #[error("expected at most {0} bytes waiting to be written, found more: the disk is too slow")]
    TooSlow(usize),
}

/// What waits for a tap's driver.
#[derive(Debug)]
pub(crate) struct Queue {
    /// With what each costs.
    pieces: VecDeque<(Piece, usize)>,
    bytes: usize,
    bytes_max: usize,
    /// It was handed a block to start at.
    begun: bool,
    end: Option<TapEnd>,
    waker: Option<Waker>,
}

impl Queue {
    fn new(bytes_max: usize) -> Self {
        let (pieces, bytes, begun) = (VecDeque::new(), 0, false);
        Self { pieces, bytes, bytes_max, begun, end: None, waker: None }
    }

    /// Appends `block`, unless it comes before one to start at. `before`: preamble and tracks.
    pub(crate) fn push(&mut self, block: &Block, before: (Bytes, Rc<Tracks>)) {
        self.begun |= block.key != Start::No;
        if !self.begun || self.end.is_some() {
            return;
        }
        let (preamble, tracks) = before;
        let mut cost = block.bytes.len() + Block::OVERHEAD;
        // Headers, and what they were made from, are often those of the piece before it.
        let last = self.pieces.back().map(|(last, _)| last);
        if last.is_none_or(|last| !Rc::ptr_eq(&last.init, &block.init)) {
            cost += block.init.bytes.len();
        }
        if last.is_none_or(|last| !Rc::ptr_eq(&last.tracks, &tracks)) {
            cost += tracks.bytes();
        }
        self.bytes += cost;
        // One block may wait, however large it is.
        if self.bytes > self.bytes_max && !self.pieces.is_empty() {
            return self.finish(TapEnd::TooSlow(self.bytes_max));
        }
        let piece = Piece {
            bytes: block.bytes.clone(),
            key: block.key,
            preamble,
            init: Rc::clone(&block.init),
            tracks,
            start: block.start,
            end: block.end,
        };
        self.pieces.push_back((piece, cost));
        self.wake();
    }

    /// No more comes. What was too much is let go at once; else the driver takes what there is.
    pub(crate) fn finish(&mut self, why: TapEnd) {
        if self.end.is_some() {
            return;
        }
        if let TapEnd::TooSlow(_) = why {
            self.pieces.clear();
        }
        self.end = Some(why);
        self.wake();
    }

    /// It needs a block to start at.
    pub(crate) fn awaits_key(&self) -> bool {
        !self.begun && self.end.is_none()
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A place at a trans stream, held by its driver. Dropping it gives it back.
#[derive(Debug)]
pub struct Tap {
    hub: Rc<RefCell<Hub>>,
    trans: TransId,
    queue: Rc<RefCell<Queue>>,
}

impl Tap {
    /// Reads `key` as `format`, all tracks, from the newest block to start at or from the next one
    /// that comes; the latter also if what follows the newest is more than half of `bytes_max`, of
    /// which no more wait to be taken. `None` unless somebody publishes it here and its tracks are
    /// known.
    pub fn open(
        hub: &Rc<RefCell<Hub>>,
        key: &StreamKey,
        format: Format,
        bytes_max: usize,
        now: Instant,
    ) -> Option<Self> {
        let (trans, queue) = hub.borrow_mut().open_tap(key, format, bytes_max, now)?;
        Some(Self { hub: Rc::clone(hub), trans, queue })
    }

    /// The next block; after the last, why there is no more.
    pub fn poll_piece(&self, cx: &mut Context<'_>) -> Poll<Result<Piece, TapEnd>> {
        let mut queue = self.queue.borrow_mut();
        if let Some((piece, cost)) = queue.pieces.pop_front() {
            queue.bytes = queue.bytes.saturating_sub(cost);
            return Poll::Ready(Ok(piece));
        }
        if let Some(end) = &queue.end {
            return Poll::Ready(Err(end.clone()));
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Blocks that wait to be taken.
    pub fn waiting(&self) -> usize {
        self.queue.borrow().pieces.len()
    }

    /// Has it handed all frames that have come, and no more.
    pub fn close(&self, now: Instant) {
        self.seal(now);
        self.queue.borrow_mut().finish(TapEnd::Closed);
    }

    /// True if it is handed no more; what it has not been given may still wait.
    pub fn has_ended(&self) -> bool {
        self.queue.borrow().end.is_some()
    }

    /// Ready when too much has waited, whatever its driver is busy with.
    pub fn poll_too_slow(&self, cx: &mut Context<'_>) -> Poll<TapEnd> {
        let mut queue = self.queue.borrow_mut();
        match &queue.end {
            Some(end @ TapEnd::TooSlow(_)) => Poll::Ready(end.clone()),
            _ => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Has it handed all frames that have come.
    pub fn seal(&self, now: Instant) {
        let mut hub = self.hub.borrow_mut();
        if hub.taps(self.trans, &self.queue) {
            hub.seal(self.trans, now);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.hub.borrow_mut().close_tap(self.trans, &self.queue);
    }
}

impl Hub {
    fn open_tap(
        &mut self,
        key: &StreamKey,
        format: Format,
        bytes_max: usize,
        now: Instant,
    ) -> Option<(TransId, Rc<RefCell<Queue>>)> {
        let id = *self.by_key.get(key)?;
        let source = &self.sources[id];
        if !source.is_live() || source.publisher.is_none() {
            return None;
        }
        let back = source.settings.audio_start_back;
        let trans_id = self.trans_for(id, (format, Selection::ALL));
        self.seal(trans_id, now);
        let trans = &mut self.transes[trans_id];
        let mut queue = Queue::new(usize::MAX);
        let kept = trans.log.start(back).into_iter().flat_map(|start| trans.log.from(start));
        kept.for_each(|block| queue.push(block, trans.before()));
        // What came before it was there is not told to be too much for the disk.
        if queue.bytes > bytes_max / 2 {
            queue = Queue::new(bytes_max);
        }
        queue.bytes_max = bytes_max;
        let queue = Rc::new(RefCell::new(queue));
        trans.taps.push(Rc::clone(&queue));
        trans.idle_since = None;
        Some((trans_id, queue))
    }

    /// True if `queue` is one of that trans stream: its place may have another user by now.
    fn taps(&self, id: TransId, queue: &Rc<RefCell<Queue>>) -> bool {
        let trans = self.transes.get(id);
        trans.is_some_and(|trans| trans.taps.iter().any(|tap| Rc::ptr_eq(tap, queue)))
    }

    fn close_tap(&mut self, id: TransId, queue: &Rc<RefCell<Queue>>) {
        if self.taps(id, queue) {
            let trans = &mut self.transes[id];
            trans.taps.retain(|tap| !Rc::ptr_eq(tap, queue));
            let now = self.now;
            self.rest_if_unread(id, now);
        }
    }

    /// If nobody reads that trans stream any more, it is dropped after a while.
    pub(super) fn rest_if_unread(&mut self, id: TransId, now: Instant) {
        let trans = &mut self.transes[id];
        if trans.is_read() {
            return;
        }
        trans.idle_since = Some(now);
        if !std::mem::replace(&mut trans.idle_set, true) {
            self.at(now + TRANS_IDLE, super::hub::Timer::TransIdle(id));
        }
    }
}
