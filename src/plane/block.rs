use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use arrayvec::ArrayVec;
use bytes::Bytes;

use super::Framing;
use crate::proto::http::{chunk, ws};
use crate::time::Timestamp;

/// What a viewer must have been sent before a block: metadata and sequence headers, muxed for
/// one format. Two of one version are the same to a decoder.
#[derive(Debug)]
pub struct Init {
    /// The version of the [`Tracks`](super::Tracks) it was made from.
    pub version: u32,
    /// The messages or tags themselves.
    pub bytes: Bytes,
}

/// Whether a viewer can start at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No: its pictures need earlier ones.
    No,
    /// At its first frame, a picture that needs no other.
    Picture,
    /// Anywhere: it has no living video to wait for.
    Sound,
}

/// One contiguous shared buffer of whole messages.
#[derive(Debug)]
pub struct Block {
    /// Its place in the log, counted from 0 without gaps.
    pub number: u64,
    /// The muxed messages.
    pub bytes: Bytes,
    /// Whether a viewer can start here.
    pub key: Start,
    /// What is in force at its start.
    pub init: Rc<Init>,
    /// What a viewer must be sent before it that was not sent the block before, if anything.
    pub rejoin: Bytes,
    /// dts of its first frame.
    pub start: Timestamp,
    /// dts of its last frame.
    pub end: Timestamp,
    /// Bytes of all blocks of its log before it; set when it is appended.
    pub bytes_before: u64,
    /// What it adds to the bytes of the log: its own, `rejoin`, and those of an init first used by it.
    cost: usize,
    ws_head: ArrayVec<u8, 10>,
    chunk_head: ArrayVec<u8, 10>,
}

impl Block {
    /// What a block costs beside its bytes, so that many small ones have a bound too.
    pub(crate) const OVERHEAD: usize = 256;

    /// A sealed block; its framings are computed here, once.
    pub fn new(
        number: u64,
        bytes: Bytes,
        key: Start,
        init: Rc<Init>,
        (start, end): (Timestamp, Timestamp),
    ) -> Self {
        let ws_head = ws_head(bytes.len());
        let chunk_head = chunk::head(bytes.len());
        let cost = bytes.len() + Self::OVERHEAD;
        let (rejoin, bytes_before) = (Bytes::new(), 0);
        Self {
            number,
            bytes,
            key,
            init,
            rejoin,
            start,
            end,
            bytes_before,
            cost,
            ws_head,
            chunk_head,
        }
    }

    /// Head, body and tail as a viewer of that framing is sent them.
    pub fn parts(&self, framing: Framing) -> [&[u8]; 3] {
        match framing {
            Framing::Raw => [&[], &self.bytes, &[]],
            Framing::WebSocket => [&self.ws_head, &self.bytes, &[]],
            Framing::Chunked => [&self.chunk_head, &self.bytes, chunk::TAIL],
        }
    }

    /// Bytes of all blocks of its log up to its end.
    pub fn bytes_through(&self) -> u64 {
        self.bytes_before + self.bytes.len() as u64
    }

    /// Bytes on the wire in that framing.
    pub fn framed_len(&self, framing: Framing) -> usize {
        self.parts(framing).iter().map(|part| part.len()).sum()
    }
}

impl Framing {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// `body` as this framing sends it; for what is private to a viewer.
    pub(crate) fn wrap(self, body: &Bytes) -> ArrayVec<Bytes, 3> {
        let mut parts = ArrayVec::new();
        match self {
            Self::Raw => {}
            Self::WebSocket => parts.push(Bytes::copy_from_slice(&ws_head(body.len()))),
            Self::Chunked => parts.push(Bytes::copy_from_slice(&chunk::head(body.len()))),
        }
        parts.push(body.clone());
        if self == Self::Chunked {
            parts.push(Bytes::from_static(chunk::TAIL));
        }
        parts
    }
}

fn ws_head(len: usize) -> ArrayVec<u8, 10> {
    let (head, used) = ws::header(len);
    head[..used].iter().copied().collect()
}

/// A trans stream's sealed blocks, in order: from the last key block or `max_lag` back,
/// whichever is more, within `max_bytes`.
#[derive(Debug)]
pub struct BlockLog {
    blocks: VecDeque<Rc<Block>>,
    next: u64,
    newest_key: Option<u64>,
    bytes: usize,
    bytes_ever: u64,
    max_lag: Duration,
    max_bytes: usize,
    /// Let go by the log, still in some viewer's hand.
    pinned: VecDeque<Rc<Block>>,
}

impl BlockLog {
    /// An empty log.
    pub fn new(max_lag: Duration, max_bytes: usize) -> Self {
        Self {
            blocks: VecDeque::new(),
            next: 0,
            newest_key: None,
            bytes: 0,
            bytes_ever: 0,
            max_lag,
            max_bytes,
            pinned: VecDeque::new(),
        }
    }

    /// Other bounds, from the next block on.
    pub(crate) fn set_bounds(&mut self, max_lag: Duration, max_bytes: usize) {
        (self.max_lag, self.max_bytes) = (max_lag, max_bytes);
    }

    /// The number the next block will have: the head, one past the newest.
    pub fn head(&self) -> u64 {
        self.next
    }

    /// The newest block.
    pub(crate) fn newest(&self) -> Option<&Rc<Block>> {
        self.blocks.back()
    }

    /// The oldest block.
    pub(crate) fn oldest(&self) -> Option<&Block> {
        self.blocks.front().map(Rc::as_ref)
    }

    /// How many there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The newest block a viewer can start at.
    pub(crate) fn newest_key(&self) -> Option<u64> {
        self.newest_key
    }

    /// The block a newcomer starts at: the newest key block, or without video the newest that
    /// reaches `sound_back` behind the head.
    pub(crate) fn start(&self, sound_back: Duration) -> Option<u64> {
        let mut start = self.newest_key?;
        let end = self.end()?;
        let sound = |number: u64| self.get(number).filter(|block| block.key == Start::Sound);
        while let Some(block) = sound(start) {
            let back = Duration::from_nanos(end.since(block.start).max(0).unsigned_abs());
            let Some(before) = start.checked_sub(1).and_then(sound) else { break };
            if back >= sound_back {
                break;
            }
            start = before.number;
        }
        Some(start)
    }

    /// dts of the newest frame.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        self.blocks.back().map(|block| block.end)
    }

    /// Bytes that come in `time`, going by those in the log. None while it holds less than two.
    pub(crate) fn bytes_in(&self, time: Duration) -> Option<usize> {
        let first = self.blocks.front()?;
        let span = Duration::from_nanos(u64::try_from(self.end()?.since(first.start)).ok()?);
        let times = time.as_secs_f64() / span.as_secs_f64();
        let bytes = self.bytes_ever - first.bytes_before;
        times.is_finite().then_some((bytes as f64 * times) as usize)
    }

    /// Bytes of all blocks in the log and what they cost beside.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all blocks there have ever been before `number`, which is in the log or its head.
    pub(crate) fn bytes_before(&self, number: u64) -> u64 {
        self.get(number).map_or(self.bytes_ever, |block| block.bytes_before)
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Rc<Block>> {
        let first = self.blocks.front()?.number;
        self.blocks.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// Blocks from `number` to the head; nothing if `number` was let go.
    pub(crate) fn from(&self, number: u64) -> impl Iterator<Item = &Rc<Block>> {
        let first = self.blocks.front().map_or(0, |block| block.number);
        let skip = number.checked_sub(first).and_then(|skip| usize::try_from(skip).ok());
        self.blocks.iter().skip(skip.unwrap_or(usize::MAX))
    }

    /// Appends a block whose number is [`Self::head`], and lets go of those no longer needed.
    pub fn append(&mut self, mut block: Block) {
        debug_assert_eq!(block.number, self.next);
        if self.blocks.back().is_none_or(|last| !Rc::ptr_eq(&last.init, &block.init)) {
            block.cost += block.init.bytes.len();
        }
        block.cost += block.rejoin.len();
        self.next += 1;
        block.bytes_before = self.bytes_ever;
        self.bytes_ever += block.bytes.len() as u64;
        if block.key != Start::No {
            self.newest_key = Some(block.number);
        }
        self.bytes += block.cost;
        let end = block.end;
        self.blocks.push_back(Rc::new(block));
        while self.may_let_go(end) {
            let block = self.blocks.pop_front().expect("may_let_go looked at it");
            self.bytes -= block.cost;
            if Rc::strong_count(&block) > 1 {
                self.pinned.push_back(block);
            }
        }
        if self.newest_key.is_some_and(|key| self.get(key).is_none()) {
            self.newest_key = None;
        }
    }

    /// No block of now is a start any more.
    pub(crate) fn forget_keys(&mut self) {
        self.newest_key = None;
    }

    fn may_let_go(&self, end: Timestamp) -> bool {
        let Some(first) = self.blocks.front() else { return false };
        if self.blocks.len() == 1 {
            return false;
        }
        let lag = Duration::from_nanos(end.since(first.end).max(0).unsigned_abs());
        let needed = self.newest_key.is_some_and(|key| first.number >= key) || lag <= self.max_lag;
        self.bytes > self.max_bytes || !needed
    }

    /// Bytes of blocks that only viewers still hold.
    pub(crate) fn pinned_bytes(&mut self) -> usize {
        self.pinned.retain(|block| Rc::strong_count(block) > 1);
        self.pinned.iter().map(|block| block.bytes.len()).sum()
    }

    /// The oldest block that only viewers still hold.
    pub(crate) fn oldest_pinned(&self) -> Option<Rc<Block>> {
        self.pinned.front().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::Start::{No, Picture, Sound};
    use super::*;

    const MAX: usize = 1 << 20;

    fn block(log: &BlockLog, key: Start, ms: i64, bytes: usize) -> Block {
        let init = Rc::new(Init { version: 0, bytes: Bytes::new() });
        let at = Timestamp::from_millis(ms);
        Block::new(log.head(), vec![0; bytes].into(), key, init, (at, at))
    }

    fn log(blocks: &[(Start, i64, usize)], max_lag_ms: u64, max_bytes: usize) -> BlockLog {
        let mut log = BlockLog::new(Duration::from_millis(max_lag_ms), max_bytes);
        for &(key, ms, bytes) in blocks {
            let block = block(&log, key, ms, bytes);
            log.append(block);
        }
        log
    }

    fn numbers(log: &BlockLog) -> Vec<u64> {
        log.from(log.head().saturating_sub(log.blocks.len() as u64)).map(|b| b.number).collect()
    }

    #[test]
    fn the_log_reaches_back_to_the_last_key_block_even_past_max_lag() {
        let log =
            log(&[(Picture, 0, 1), (Picture, 100, 1), (No, 900, 1), (No, 5000, 1)], 1000, MAX);
        assert_eq!(numbers(&log), [1, 2, 3]);
    }

    #[test]
    fn the_log_reaches_back_max_lag_even_past_the_last_key_block() {
        let log = log(&[(Picture, 0, 1), (Picture, 500, 1), (Picture, 1000, 1)], 600, MAX);
        assert_eq!(numbers(&log), [1, 2]);
    }

    #[test]
    fn bytes_bound_everything_and_a_lost_key_block_is_no_start() {
        let log = log(&[(Picture, 0, 4000), (No, 1, 4000), (No, 2, 4000)], 1000, 10_000);
        assert_eq!(numbers(&log), [1, 2]);
        assert_eq!(log.newest_key(), None);
        assert_eq!(log.bytes(), 2 * (4000 + Block::OVERHEAD));
    }

    #[test]
    fn tiny_blocks_and_large_inits_count_for_more_than_their_bytes() {
        let mut log = log(&[], 1000, 10_000);
        for _ in 0..100 {
            let init = Rc::new(Init { version: 0, bytes: vec![0; 3000].into() });
            let at = Timestamp::ZERO;
            log.append(Block::new(log.head(), vec![0].into(), Sound, init, (at, at)));
        }
        assert_eq!(log.blocks.len(), 3);
        assert!(log.bytes() <= 10_000);
    }

    #[test]
    fn a_block_in_a_viewers_hand_is_counted_until_it_is_dropped() {
        let mut log = log(&[(Picture, 0, 60)], 0, MAX);
        let held = Rc::clone(log.get(0).expect("in the log"));
        let next = block(&log, Picture, 1, 60);
        log.append(next);
        assert_eq!(log.pinned_bytes(), 60);
        assert!(log.oldest_pinned().is_some_and(|oldest| Rc::ptr_eq(&oldest, &held)));
        drop(held);
        assert_eq!(log.pinned_bytes(), 0);
    }

    #[test]
    fn without_video_a_newcomer_starts_one_second_back_and_with_it_at_the_newest_key() {
        let back = Duration::from_secs(1);
        let sound = [0, 350, 700, 1050, 1400].map(|ms| (Sound, ms, 1));
        assert_eq!(log(&sound, 8000, MAX).start(back), Some(1));
        let intra = [0, 40, 80].map(|ms| (Picture, ms, 1));
        assert_eq!(log(&intra, 8000, MAX).start(back), Some(2));
    }
}
