//! The way of a connection from the core that accepted it to the one that owns its stream.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;

use super::admit::Ticket;
use super::conn::{About, Conn, InputWaits};
use super::core::Core;
use super::refused::Refused;
use super::session::{Protocol, Session};
use super::{http, rtmp};
use crate::bytes::Chain;
use crate::media::StreamKey;
use crate::net::{Moved, TcpStream};
use crate::plane::SinkStats;
use crate::proto::Machine;
use crate::shard::Place;

/// A connection on its way to the core that owns its stream: one value, without handles.
pub struct HandOver {
    pub(crate) socket: Moved,
    pub(crate) about: About,
    pub(crate) unread: Option<Box<BytesMut>>,
    pub(crate) unsent: Chain,
    pub(crate) input_waits: InputWaits,
    pub(crate) received: u64,
    pub(crate) sent: Option<Box<SinkStats>>,
    pub(crate) key: StreamKey,
    pub(crate) place: Place,
    pub(crate) driver: Driver,
}

/// The machine, and what it asked for.
pub(crate) enum Driver {
    Rtmp(Box<(rtmp::Rtmp, rtmp::Wish)>),
    Http(Box<(http::Http, http::Wish)>),
}

impl std::fmt::Debug for HandOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOver").field("about", &self.about).field("key", &self.key).finish()
    }
}

impl<P: Protocol> Session<P> {
    /// Sends it to the owner of the stream that it wishes for, or gives it back, refused.
    pub(super) fn hand_over(
        mut self: Box<Self>,
        ticket: Ticket,
        wish: P::Wish,
    ) -> Result<(), Box<Self>> {
        let (owner, core) = (ticket.owner(), Rc::clone(&self.conn.core));
        let socket = match self.conn.socket.duplicate() {
            Ok(socket) => socket,
            Err(error) => {
                self.refuse(&wish, &Refused::NoDescriptor(error), Instant::now());
                return Err(self);
            }
        };
        let Self { conn, mut protocol, received, sent, .. } = *self;
        let Conn { socket: here, about, unread, out: mut unsent, input_waits, .. } = conn;
        let socket = here.depart(socket);
        while protocol.machine().poll_transmit(&mut unsent) {}
        let (key, place) = ticket.into_parts();
        let driver = protocol.pack(wish);
        let moved = HandOver {
            socket,
            about,
            unread,
            unsent,
            input_waits,
            received,
            sent,
            key,
            place,
            driver,
        };
        match core.post.hand_over(owner, Box::new(moved)) {
            Ok(()) => Ok(()),
            Err(moved) => match Self::unpack(&core, *moved) {
                None => Ok(()),
                Some((mut this, ticket, wish)) => {
                    drop(ticket);
                    core.node.counters.refused_hand_overs.fetch_add(1, Ordering::Relaxed);
                    this.refuse(&wish, &Refused::OwnerIsBusy, Instant::now());
                    Err(this)
                }
            },
        }
    }

    /// Goes on with what was packed up, on this core.
    pub(crate) fn take_over(core: &Rc<Core>, moved: HandOver) -> Option<Box<Self>> {
        let (mut this, ticket, wish) = Self::unpack(core, moved)?;
        this.arrive(ticket, wish, Instant::now());
        Some(this)
    }

    fn unpack(core: &Rc<Core>, moved: HandOver) -> Option<(Box<Self>, Ticket, P::Wish)> {
        let ticket = Ticket::new(core, moved.key.clone(), moved.place);
        let mut conn = Conn::new(core, TcpStream::arrive(moved.socket), moved.about);
        (conn.unread, conn.out) = (moved.unread, moved.unsent);
        conn.input_waits = moved.input_waits;
        let (protocol, wish) = P::unpack(moved.driver)?;
        let mut this = Self::new(conn, protocol);
        (this.received, this.sent) = (moved.received, moved.sent);
        let granted = this.conn.about.granted.as_ref();
        this.question = granted.map(|grant| Arc::clone(grant.question()));
        Some((this, ticket, wish))
    }
}
