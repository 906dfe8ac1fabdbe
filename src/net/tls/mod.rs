//! TLS between a socket and whoever reads and writes it.
//!
//! A viewer's socket has two users on its core: its driver, which reads, and the flush, which knows
//! it by number. So the connections of a core are listed by that number; sockets without TLS pay a
//! look at that list.

mod by_number;
#[cfg(test)]
#[path = "../../../tests/support/secure.rs"]
pub(crate) mod secure;
mod session;
#[cfg(test)]
mod tests;
mod turns;

use std::cell::RefCell;
use std::io::IoSlice;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

pub(super) use session::WRAPPING;
pub use session::{Plaintext, ROOM, Session};
pub(super) use turns::{Turn, took};

use self::by_number::ByNumber;
use super::fd;
use crate::plane::Outcome;

/// What a server shows its clients, by protocol: they differ in what is spoken inside.
#[derive(Debug, Clone)]
pub struct TlsConfigs {
    /// RTMPS.
    pub rtmp: Arc<ServerConfig>,
    /// HTTPS and WSS.
    pub http: Arc<ServerConfig>,
}

thread_local! {
    static OF_THIS_CORE: RefCell<Core> = RefCell::default();
}

#[derive(Default)]
struct Core {
    sessions: ByNumber<Link>,
    /// Where batches are encrypted, one after the other.
    scratch: Vec<u8>,
}

/// A session and its place in the list of its core.
pub(crate) type Link = Rc<RefCell<Session>>;

/// Lists the session of a socket on this core.
pub(super) fn enter(socket: RawFd, session: Session) -> Link {
    let link = Rc::new(RefCell::new(session));
    OF_THIS_CORE.with_borrow_mut(|core| core.sessions.insert(socket, Rc::clone(&link)));
    link
}

/// The reverse, before the socket closes or leaves this core.
pub(super) fn leave(socket: RawFd) {
    OF_THIS_CORE.with_borrow_mut(|core| core.sessions.remove(socket));
}

/// As [`fd::send`], for sockets with TLS and without.
pub(crate) fn send(socket: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    OF_THIS_CORE.with_borrow_mut(|core| {
        let Core { sessions, scratch } = core;
        match sessions.get(socket) {
            None => fd::send(socket, slices),
            Some(session) => encrypt_and_send(&mut session.borrow_mut(), socket, slices, scratch),
        }
    })
}

/// The same by who has the session in hand.
pub(super) fn send_by(session: &mut Session, socket: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    OF_THIS_CORE
        .with_borrow_mut(|core| encrypt_and_send(session, socket, slices, &mut core.scratch))
}

/// A batch at most, behind what was encrypted before.
fn encrypt_and_send(
    session: &mut Session,
    socket: RawFd,
    slices: &[IoSlice<'_>],
    scratch: &mut Vec<u8>,
) -> Outcome {
    let before = session.unsent().len();
    if let Err(outcome) = send_rest(session, socket) {
        return outcome;
    }
    if !session.unsent().is_empty() {
        return if session.unsent().len() < before { Outcome::Held(0) } else { Outcome::Full };
    }
    let mut plain = Plaintext::new(slices);
    if plain.is_empty() {
        return Outcome::Wrote(0);
    }
    scratch.resize(ROOM, 0);
    let (taken, made) = match session.encrypt(&mut plain, scratch) {
        Ok(made) => made,
        Err(error) => {
            tracing::debug!(%error, "a batch cannot be encrypted");
            return Outcome::Failed(error.kind());
        }
    };
    let sent = match fd::send(socket, &[IoSlice::new(&scratch[..made])]) {
        Outcome::Full => 0,
        failed @ Outcome::Failed(_) => return failed,
        Outcome::Wrote(sent) | Outcome::Batch(sent) | Outcome::Held(sent) => sent,
    };
    // Encrypted is sent: nothing can be put before it any more.
    match sent < made {
        true => {
            session.keep(&scratch[sent..made]);
            Outcome::Held(taken)
        }
        false if plain.is_empty() => Outcome::Wrote(taken),
        false => Outcome::Batch(taken),
    }
}

/// Sends what was encrypted before, as far as the socket takes it.
pub(super) fn send_rest(session: &mut Session, socket: RawFd) -> Result<(), Outcome> {
    while !session.unsent().is_empty() {
        match fd::send(socket, &[IoSlice::new(session.unsent())]) {
            Outcome::Wrote(sent) | Outcome::Batch(sent) | Outcome::Held(sent) => session.sent(sent),
            Outcome::Full => return Ok(()),
            failed @ Outcome::Failed(_) => return Err(failed),
        }
    }
    Ok(())
}
