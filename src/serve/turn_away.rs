//! RTMP newcomers for whom there is no place: a few at a time are told why.
//!
//! An RTMP client listens to nothing before it has shaken hands and said `connect`, so unlike one
//! of HTTP it cannot be answered at the door. What it costs to get there is bounded on all sides:
//! [`Node::refusals_max`] of them at once, outside of the connections and within the descriptors
//! set aside for them, [`INPUT_MAX`] bytes, and `limits.handshake_timeout`. Beyond that they are
//! closed without a word, as is who comes over TLS: a handshake costs more than all of that.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;

use super::conn::LINGER;
use super::core::{Core, Node, SCRATCH_BYTES};
use super::proxy_header::{Opening, ProxyHeader};
use crate::bytes::Chain;
use crate::net::TcpStream;
use crate::net::rt::{self, Deadline};
use crate::proto::rtmp::{Event, Refusal, Server};

/// One client on its way to hear why it is refused.
pub(super) struct TurnAway {
    core: Rc<Core>,
    socket: TcpStream,
    machine: Box<Server>,
    out: Chain,
    begun: Begun,
    reason: String,
    until: Instant,
    deadline: Deadline,
    /// Bytes that are still read.
    room: usize,
    /// After the socket: its descriptor is free before another may take the place.
    _place: Place,
}

/// Where the connection stands.
pub(super) struct Begun {
    /// What a proxy says first, if it has not yet.
    pub(super) header: Option<ProxyHeader>,
    /// What the client has said.
    pub(super) unread: Option<Box<BytesMut>>,
}

/// One of the node's [`Node::refusals_max`], given back on drop.
struct Place(Arc<Node>);

/// A handshake is 3073 bytes, and a `connect` of less than a kilobyte follows; what is sent ahead
/// is read so that closing does not destroy our answer on its way (RFC 9112 9.6 says why).
const INPUT_MAX: usize = 32 << 10;

impl TurnAway {
    /// Takes the connection if a place is free. `seed` makes the handshake's random bytes.
    pub(super) fn new(
        core: &Rc<Core>,
        socket: TcpStream,
        seed: u64,
        reason: String,
        now: Instant,
        begun: Begun,
    ) -> Option<Self> {
        let place = Place::take(&core.node)?;
        let setup = core.setup();
        Some(Self {
            core: Rc::clone(core),
            socket,
            machine: Box::new(Server::new(Arc::clone(&setup.rtmp), seed, now)),
            out: Chain::default(),
            begun,
            reason,
            until: now + setup.config.limits.handshake_timeout,
            deadline: Deadline::default(),
            room: INPUT_MAX,
            _place: place,
        })
    }

    /// Tells it, if it listens. However that ends, the log has a line about the refusal.
    pub(super) async fn run(mut self) {
        if self.answer_connect().await.is_some() && self.socket.shutdown_write().is_ok() {
            self.until = self.until.min(Instant::now() + LINGER);
            while self.read().await.is_some() {
                rt::yield_if_needed().await;
            }
        }
    }

    async fn answer_connect(&mut self) -> Option<()> {
        if let Some(unread) = self.begun.unread.take() {
            self.machine.handle_input(Instant::now(), &unread).ok()?;
            self.answer().await?;
        }
        while !self.machine.is_finished() {
            let read = self.read().await?;
            self.take(read)?;
            self.answer().await?;
            rt::yield_if_needed().await;
        }
        Some(())
    }

    async fn answer(&mut self) -> Option<()> {
        if let Some(Event::Connect { ask, .. }) = self.machine.poll_event() {
            let why = std::mem::take(&mut self.reason);
            self.machine.refuse(Instant::now(), ask, &Refusal::Denied(why));
        }
        while self.machine.poll_transmit(&mut self.out) {}
        std::future::poll_fn(|cx| self.poll_write(cx)).await.ok()
    }

    fn take(&mut self, read: usize) -> Option<()> {
        let (core, now) = (Rc::clone(&self.core), Instant::now());
        let scratch = core.scratch.borrow();
        let Some(header) = &mut self.begun.header else {
            return self.machine.handle_input(now, &scratch[..read]).ok().map(|_| ());
        };
        let opening = header.handle_input(&scratch[..read]).ok()?;
        let Some(Opening { rest, .. }) = opening else { return Some(()) };
        self.begun.header = None;
        self.machine.handle_input(now, &rest).ok().map(|_| ())
    }

    /// So many bytes lie in the core's scratch buffer. `None`: there will be no more.
    async fn read(&mut self) -> Option<usize> {
        let read = std::future::poll_fn(|cx| self.poll_read(cx)).await;
        let read = read.ok().filter(|read| *read > 0)?;
        self.room -= read;
        Some(read)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.room == 0 || self.deadline.poll(cx, Some(self.until)).is_ready() {
            return Poll::Ready(Ok(0));
        }
        let mut scratch = self.core.scratch.borrow_mut();
        self.socket.poll_read(cx, &mut scratch[..self.room.min(SCRATCH_BYTES)])
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deadline.poll(cx, Some(self.until)).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        self.socket.poll_write_all(cx, &mut self.out)
    }
}

impl Place {
    fn take(node: &Arc<Node>) -> Option<Self> {
        let one_more = |taken: usize| (taken < node.refusals_max).then_some(taken + 1);
        let taken = node.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        taken.is_ok().then(|| Self(Arc::clone(node)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.refusals.fetch_sub(1, Ordering::Relaxed);
    }
}
