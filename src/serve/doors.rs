//! What one core listens on; it changes while the core runs.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::accept;
use super::core::Core;
use super::verdict::Protocol;
use crate::config::Tcp;
use crate::net::{Listener, rt};

/// Where there is a door, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// It names the door.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Over TLS.
    pub secure: bool,
}

/// A socket that listens, for one core to accept on.
#[derive(Debug)]
pub struct Door {
    /// Where.
    pub place: Place,
    /// The core's own of several that share the address.
    pub socket: OwnedFd,
}

/// The doors of one core that are open.
#[derive(Debug, Default)]
pub(crate) struct Doors(RefCell<Vec<Open>>);

#[derive(Debug)]
struct Open {
    place: Place,
    listener: Rc<Listener>,
}

impl Doors {
    /// Accepts on `door` until it is closed.
    pub(crate) fn open(&self, core: &Rc<Core>, door: Door) {
        let config = core.config();
        let Door { place, socket } = door;
        let Tcp { keepalive, user_timeout, .. } = config.tcp;
        let listener = Rc::new(Listener::new(socket, keepalive, user_timeout));
        rt::spawn(accept::run(Rc::clone(core), Rc::clone(&listener), place));
        self.0.borrow_mut().push(Open { place, listener });
    }

    /// Closes those at `addresses`. Who has come in by them stays, and who stands at the door comes in.
    pub(crate) fn close(&self, core: &Rc<Core>, addresses: &[SocketAddr]) {
        self.0.borrow_mut().retain(|Open { place, listener }| {
            let stays = !addresses.contains(&place.address);
            if !stays {
                close(core, *place, listener);
            }
            stays
        });
    }

    /// Closes all, for good: nobody who comes now is served.
    pub(crate) fn close_all(&self) {
        self.0.borrow_mut().drain(..).for_each(|open| shut(&open.listener));
    }

    /// What holds for the sockets of newcomers from now on.
    pub(crate) fn configure(&self, tcp: &Tcp) {
        for Open { listener, .. } in &*self.0.borrow() {
            listener.configure(tcp.keepalive, tcp.user_timeout);
        }
    }
}

fn close(core: &Rc<Core>, place: Place, listener: &Listener) {
    while let Some(newcomer) = listener.take_waiting() {
        accept::open(core, newcomer, place);
    }
    shut(listener);
}

fn shut(listener: &Listener) {
    if let Err(error) = listener.close() {
        tracing::debug!(%error, "a listener was not closed");
    }
}
