use std::fmt::Debug;
use std::time::{Duration, Instant};

use crate::bytes::Chain;
use crate::proto::rtmp;

/// One end of a connection.
pub(crate) trait Machine {
    /// Why it gives up.
    type Error: Debug;

    /// Takes bytes and says how many.
    fn feed(&mut self, now: Instant, input: &[u8]) -> Result<usize, Self::Error>;

    /// Moves what it has to say to `out`.
    fn drain(&mut self, out: &mut Chain);
}

/// A connection between two machines, with a clock that only [`Self::pass`] moves. It delivers in
/// pieces whose sizes depend on a seed alone.
pub(crate) struct Link {
    now: Instant,
    random: u64,
    to_left: Vec<u8>,
    to_right: Vec<u8>,
}

impl Link {
    pub(crate) fn new(seed: u64) -> Self {
        Self { now: Instant::now(), random: seed | 1, to_left: vec![], to_right: vec![] }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Bytes the right end has not taken.
    pub(crate) fn waiting_right(&self) -> usize {
        self.to_right.len()
    }

    /// Delivers until both ends are silent or take nothing more. Panics if one gives up.
    pub(crate) fn run(&mut self, left: &mut impl Machine, right: &mut impl Machine) {
        self.try_run(left, right).expect("both ends go on");
    }

    /// The same, but the right end may give up.
    pub(crate) fn try_run<R: Machine>(
        &mut self,
        left: &mut impl Machine,
        right: &mut R,
    ) -> Result<(), R::Error> {
        collect(left, &mut self.to_right);
        collect(right, &mut self.to_left);
        loop {
            let (to_left, to_right) = (self.piece(), self.piece());
            let right_taken = give(right, self.now, &mut self.to_right, to_right)?;
            let left_taken = give(left, self.now, &mut self.to_left, to_left)
                .expect("the left end does not give up");
            collect(left, &mut self.to_right);
            collect(right, &mut self.to_left);
            let silent = self.to_right.is_empty() && self.to_left.is_empty();
            // What is offered and not taken waits for an answer to a question.
            if silent || (right_taken == 0 && left_taken == 0) {
                return Ok(());
            }
        }
    }

    /// A size: often tiny, sometimes a whole read buffer (xorshift).
    fn piece(&mut self) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let most = [3, 40, 1500, 65536][(self.random >> 60) as usize % 4];
        1 + (self.random >> 8) as usize % most
    }
}

fn collect(from: &mut impl Machine, into: &mut Vec<u8>) {
    let mut chain = Chain::default();
    from.drain(&mut chain);
    into.extend_from_slice(&chain.into_bytes());
}

fn give<M: Machine>(
    to: &mut M,
    now: Instant,
    waiting: &mut Vec<u8>,
    most: usize,
) -> Result<usize, M::Error> {
    if waiting.is_empty() {
        return Ok(0);
    }
    let most = most.min(waiting.len());
    let taken = to.feed(now, &waiting[..most])?;
    waiting.drain(..taken);
    Ok(taken)
}

impl Machine for rtmp::Server {
    type Error = rtmp::Error;

    fn feed(&mut self, now: Instant, input: &[u8]) -> Result<usize, rtmp::Error> {
        self.handle_input(now, input)
    }

    fn drain(&mut self, out: &mut Chain) {
        while self.poll_transmit(out) {}
    }
}

impl Machine for rtmp::Client {
    type Error = rtmp::Error;

    fn feed(&mut self, now: Instant, input: &[u8]) -> Result<usize, rtmp::Error> {
        self.handle_input(now, input)
    }

    fn drain(&mut self, out: &mut Chain) {
        while self.poll_transmit(out) {}
    }
}
