//! Sockets that the kernel watches: epoll(7).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};

pub(super) use rustix::event::epoll::EventFlags;

/// Some of the crowd's sockets, each by a number.
pub(super) struct Sockets {
    epoll: OwnedFd,
    /// Found by the last [`Self::wait`].
    ready: Vec<epoll::Event>,
}

/// A socket that is ready, or has hung up and will not be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) number: u64,
    pub(super) hung_up: bool,
}

impl Sockets {
    /// None yet. A wait ends with `at_once` of them at most.
    pub(super) fn new(at_once: usize) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, ready: Vec::with_capacity(at_once) })
    }

    /// One more; it goes when it is closed.
    pub(super) fn add(&self, socket: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(number), flags)?)
    }

    /// From now on `flags` of it count.
    pub(super) fn modify(
        &self,
        socket: impl AsFd,
        number: u64,
        flags: EventFlags,
    ) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, epoll::EventData::new_u64(number), flags)?)
    }

    /// It is another's.
    pub(super) fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, socket)?)
    }

    /// Waits until some are ready, `at_most` so long. How many they are.
    pub(super) fn wait(&mut self, at_most: Duration) -> io::Result<usize> {
        let at_most = Timespec::try_from(at_most).map_err(io::Error::other)?;
        self.ready.clear();
        let ready = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, ready, Some(&at_most)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(self.ready.len()),
            Err(error) => Err(error.into()),
        }
    }

    /// Number `at` of those that the last wait has found.
    pub(super) fn ready(&self, at: usize) -> Ready {
        let epoll::Event { flags, data } = self.ready[at];
        Ready { number: data.u64(), hung_up: flags.intersects(EventFlags::HUP | EventFlags::ERR) }
    }

    /// Whether more may have been ready than the last wait has found.
    pub(super) fn may_be_more(&self) -> bool {
        self.ready.len() == self.ready.capacity()
    }
}
