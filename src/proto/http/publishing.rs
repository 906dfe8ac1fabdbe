use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::body::{Body, Length};
use super::error::Error;
use super::ingest::{Container, Ingest};
use super::server::{Config, Event, Timer};
use crate::container::Item;

/// A request whose body is a stream that is being published.
#[derive(Debug)]
pub(super) struct Publishing {
    body: Body,
    ingest: Ingest,
    /// What came and was not polled: while it [`is_full`](Self::is_full), nothing is read.
    items: VecDeque<Item>,
    /// What one piece of content held; kept for its memory.
    fresh: Vec<Item>,
    deadline: Instant,
    timer: Timer,
}

/// Items that wait to be polled, from which on nothing is read. Who polls them has other streams to
/// serve: an honest publisher has sent some twenty of them when it is read, and bytes that were read
/// at once may hold thousands.
const ITEMS_MAX: usize = 256;
/// What is demultiplexed at a time, in bytes. A frame of MP4 may have a single one.
const PIECE_BYTES: usize = 1 << 10;

impl Publishing {
    pub(super) fn new(length: Length, container: Container, config: &Config, now: Instant) -> Self {
        Self {
            body: Body::new(length),
            ingest: Ingest::new(container, config),
            items: VecDeque::new(),
            fresh: Vec::new(),
            deadline: now + config.first_frame_timeout,
            timer: Timer::FirstFrame,
        }
    }

    /// Takes bytes from the front of `input` up to the end of the body, or until it is full. `at` is
    /// where `input` stands in the connection.
    pub(super) fn read(
        &mut self,
        now: Instant,
        config: &Config,
        at: u64,
        input: &mut &[u8],
    ) -> Result<(), Error> {
        let whole = input.len();
        while !input.is_empty() && !self.body.is_over() && !self.is_full() {
            let at = at + (whole - input.len()) as u64;
            let (mut piece, behind) = input.split_at(input.len().min(PIECE_BYTES));
            let content = self.body.read(at, &mut piece)?;
            *input = &input[input.len() - behind.len() - piece.len()..];
            let pushed = self.ingest.push(content, &mut self.fresh);
            self.items.extend(self.fresh.drain(..));
            if pushed? {
                self.timer = Timer::Silence;
                self.deadline = now + config.publisher_silence;
            }
        }
        if !self.body.is_over() {
            return Ok(());
        }
        let had_media = self.timer == Timer::Silence;
        let finished = self.ingest.finish(had_media, &mut self.fresh);
        self.items.extend(self.fresh.drain(..));
        finished
    }

    /// True behind the last byte of the body.
    pub(super) fn is_over(&self) -> bool {
        self.body.is_over()
    }

    /// True while so much waits to be polled that nothing more is read.
    pub(super) fn is_full(&self) -> bool {
        self.items.len() >= ITEMS_MAX
    }

    /// What the body held, in order, and what the log is to be told of it.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let item = self.items.pop_front().map(Event::Media);
        item.or_else(|| self.ingest.poll_notice().map(Event::Notice))
    }

    /// When it has been silent for too long.
    pub(super) fn deadline(&self) -> (Instant, Timer) {
        (self.deadline, self.timer)
    }

    /// The next sound or picture is waited for as long again: until then.
    pub(super) fn extend_silence(&mut self, now: Instant, config: &Config) -> Instant {
        self.deadline = now + self.patience(config);
        self.deadline
    }

    /// What is to be said when it has been silent for too long.
    pub(super) fn silence(&self, at: u64, config: &Config) -> Error {
        let expected = match self.timer {
            Timer::FirstFrame => "the first audio or video",
            _ => "audio or video",
        };
        Error::Silent { at, expected, limit: self.patience(config) }
    }

    fn patience(&self, config: &Config) -> Duration {
        match self.timer {
            Timer::FirstFrame => config.first_frame_timeout,
            _ => config.publisher_silence,
        }
    }
}

#[cfg(test)]
mod tests;
