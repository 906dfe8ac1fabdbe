use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::segment::Segment;

/// The whole segments, oldest first: some that are no longer listed, then those that are.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    segments: VecDeque<Arc<Segment>>,
    /// When those that are no longer listed left the list, by [`Self::added`].
    left: VecDeque<Duration>,
    listed: Duration,
    /// How long all segments were that ever came.
    added: Duration,
    bytes: usize,
}

/// What a shelf keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// At least this much is listed.
    pub(super) window: Duration,
    /// How long a segment is kept that is no longer listed.
    pub(super) linger: Duration,
    /// But no more than this.
    pub(super) max_bytes: usize,
    /// Nor more of them than this, however short they are.
    pub(super) max_segments: usize,
}

impl Shelf {
    pub(super) fn add(&mut self, segment: Segment) {
        self.bytes += segment.bytes;
        self.listed += segment.duration;
        self.added += segment.duration;
        self.segments.push_back(Arc::new(segment));
    }

    /// Lets go what need not be kept. Answers how many segments went that should still be listed.
    pub(super) fn trim(&mut self, bounds: Bounds) -> u64 {
        while self.segments.len() - self.left.len() > 1
            && self.listed_without_oldest() >= bounds.window
        {
            self.unlist();
        }
        self.let_go(Duration::ZERO, bounds.linger);
        let mut cut_short = 0;
        while self.bytes > bounds.max_bytes || self.segments.len() > bounds.max_segments {
            if self.left.is_empty() {
                self.unlist();
                cut_short += 1;
            }
            self.pop();
        }
        cut_short
    }

    /// Lets go what has lingered, when there is so much of the next segment.
    pub(super) fn let_go(&mut self, open: Duration, linger: Duration) {
        let now = self.added + open;
        while self.left.front().is_some_and(|left| now.saturating_sub(*left) >= linger) {
            self.pop();
        }
    }

    /// Those that a playlist lists.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.segments.iter().skip(self.left.len())
    }

    /// How many are kept that are no longer listed, and all of them.
    pub(super) fn all(&self) -> (usize, impl Iterator<Item = &Arc<Segment>>) {
        (self.left.len(), self.segments.iter())
    }

    /// Of media.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn listed_without_oldest(&self) -> Duration {
        let oldest = self.listed().next().map_or(Duration::ZERO, |oldest| oldest.duration);
        self.listed.saturating_sub(oldest)
    }

    fn unlist(&mut self) {
        if let Some(segment) = self.segments.get(self.left.len()) {
            self.listed -= segment.duration;
            self.left.push_back(self.added);
        }
    }

    fn pop(&mut self) {
        if let Some(segment) = self.segments.pop_front() {
            self.bytes -= segment.bytes;
            self.left.pop_front();
        }
    }
}
