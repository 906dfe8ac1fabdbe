//! MPEG transport streams that come in datagrams (`[[ts_udp]]`), published from inside.
//!
//! Each input is one task and one socket. It waits on the home core of its stream's key; with the
//! first frame it takes a ticket as a publisher's connection does, and moves to the owner, if that is
//! another core. When it has left the slot it goes home again.
//!
//! What an input holds is no connection: it is configured by the operator, so neither rules nor hooks
//! are asked; what happens is told as of any publisher.

mod receiver;

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use atomic_waker::AtomicWaker;

use super::core::Core;
use super::setup::ts_limits;
use crate::config::{Limits, TsUdp};
use crate::media::{InvalidKey, StreamKey};
use crate::net::udp::Wanted;
use crate::proto::ts_udp::Counts;

pub use receiver::Moved;

/// An input, wherever its task is.
#[derive(Debug)]
pub struct Input {
    settings: TsUdp,
    key: StreamKey,
    figures: Mutex<Figures>,
    closed: AtomicBool,
    gone: AtomicBool,
    /// Of its task.
    waker: AtomicWaker,
}

/// What an input has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Datagrams that were received, whatever they hold.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams for which the kernel had no room.
    pub dropped: u64,
    /// What they held.
    pub counts: Counts,
}

impl Input {
    /// As the configuration has it.
    ///
    /// # Errors
    /// Its stream cannot be one.
    pub fn new(settings: TsUdp) -> Result<Arc<Self>, InvalidKey> {
        let key = StreamKey::parse(&settings.stream)?;
        let (figures, waker) = (Mutex::default(), AtomicWaker::new());
        let (closed, gone) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Arc::new(Self { settings, key, figures, closed, gone, waker }))
    }

    /// As the configuration has it.
    pub fn settings(&self) -> &TsUdp {
        &self.settings
    }

    /// What it is published as.
    pub fn key(&self) -> &StreamKey {
        &self.key
    }

    /// What it has counted so far.
    pub fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it end.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// True when it has ended, and left its slot and its socket.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn tell(&self, figures: Figures) {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

/// What the kernel is to receive for an input.
pub fn wanted(settings: &TsUdp) -> Wanted<'_> {
    Wanted {
        address: settings.listen,
        interface: &settings.interface,
        source: settings.source,
        buffer_bytes: settings.receive_buffer,
    }
}

/// The inputs of a node.
#[derive(Debug, Default)]
pub struct Inputs(Mutex<Vec<Arc<Input>>>);

impl Inputs {
    /// Those that there are.
    pub fn all(&self) -> Vec<Arc<Input>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on there are these.
    pub fn replace(&self, inputs: Vec<Arc<Input>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = inputs;
    }
}

impl Core {
    /// Receives on this core what `moved` brings, until it is closed or moves on.
    pub(super) fn receive_datagrams(self: &Rc<Self>, moved: Moved) {
        receiver::start(self, moved);
    }
}

/// An input with the socket it begins with, for the home core of its stream, and what of `limits` goes
/// for it until it ends.
pub fn first(input: &Arc<Input>, socket: OwnedFd, limits: &Limits) -> Box<Moved> {
    Box::new(Moved::new(Arc::clone(input), socket, ts_limits(limits)))
}

#[cfg(test)]
mod tests;
