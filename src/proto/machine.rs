use std::fmt::Display;
use std::time::Instant;

use crate::bytes::Chain;
use crate::proto::{http, rtmp};

/// What the machine of a connection does, whatever it speaks. Its events and answers are its own.
pub trait Machine {
    /// What the peer did wrong; the connection is over.
    type Error: Display;

    /// Takes bytes from the front of `input` and says how many: all, unless a question is open or
    /// what it has said is to be polled first.
    fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<usize, Self::Error>;

    /// The time has come that [`Self::deadline`] named.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Moves what it has to say to `out`; false if there was nothing.
    fn poll_transmit(&mut self, out: &mut Chain) -> bool;

    /// When it wants to be told the time.
    fn deadline(&self) -> Option<Instant>;

    /// All is said: close once that is written.
    fn is_finished(&self) -> bool;

    /// Bytes taken since the start, to find an error in a capture.
    fn offset(&self) -> u64;
}

/// The machines have these verbs as methods of their own; this hands them on.
macro_rules! machine {
    ($machine:ty, $error:ty) => {
        impl Machine for $machine {
            type Error = $error;

            fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<usize, $error> {
                self.handle_input(now, input)
            }

            fn handle_timeout(&mut self, now: Instant) -> Result<(), $error> {
                self.handle_timeout(now)
            }

            fn poll_transmit(&mut self, out: &mut Chain) -> bool {
                self.poll_transmit(out)
            }

            fn deadline(&self) -> Option<Instant> {
                self.poll_timeout().map(|(at, _)| at)
            }

            fn is_finished(&self) -> bool {
                self.is_finished()
            }

            fn offset(&self) -> u64 {
                self.offset()
            }
        }
    };
}

machine!(rtmp::Server, rtmp::Error);
machine!(http::Server, http::Error);
