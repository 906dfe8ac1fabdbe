//! TLS between a socket and whoever reads and writes it.
//!
//! A viewer's socket has two users on its core: its driver, which reads, and the flush, which knows
//! it by number. So the connections of a core are listed by that number; a core without any pays a
//! look at an empty list.

mod session;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;

pub(super) use session::{Plaintext, ROOM, Session};

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
    sessions: HashMap<RawFd, Link>,
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
    OF_THIS_CORE.with_borrow_mut(|core| core.sessions.remove(&socket));
}

/// As [`fd::send`], for sockets with TLS and without.
pub(crate) fn send(socket: RawFd, slices: &[IoSlice<'_>]) -> Outcome {
    OF_THIS_CORE.with_borrow_mut(|core| {
        if core.sessions.is_empty() {
            return fd::send(socket, slices);
        }
        let Core { sessions, scratch } = core;
        match sessions.get(&socket) {
            None => fd::send(socket, slices),
            Some(session) => {
                scratch.resize(ROOM, 0);
                encrypt_and_send(&mut session.borrow_mut(), socket, slices, scratch)
            }
        }
    })
}

fn encrypt_and_send(
    session: &mut Session,
    socket: RawFd,
    slices: &[IoSlice<'_>],
    scratch: &mut [u8],
) -> Outcome {
    let before = session.unsent().len();
    if let Err(outcome) = send_rest(session, socket) {
        return outcome;
    }
    if !session.unsent().is_empty() {
        return if session.unsent().len() < before { Outcome::Held(0) } else { Outcome::Full };
    }
    let (mut plain, mut written) = (Plaintext::new(slices), 0);
    while !plain.is_empty() {
        let Ok((taken, made)) = session.encrypt(&mut plain, scratch) else {
            return Outcome::Failed(std::io::ErrorKind::InvalidData);
        };
        // Encrypted is sent: nothing can be put before it any more.
        written += taken;
        let sent = match fd::send(socket, &[IoSlice::new(&scratch[..made])]) {
            Outcome::Wrote(sent) | Outcome::Held(sent) => sent,
            Outcome::Full => 0,
            failed @ Outcome::Failed(_) => return failed,
        };
        if sent < made {
            session.keep(&scratch[sent..made]);
            return Outcome::Held(written);
        }
    }
    Outcome::Wrote(written)
}

/// Sends what was encrypted before, as far as the socket takes it.
pub(super) fn send_rest(session: &mut Session, socket: RawFd) -> Result<(), Outcome> {
    while !session.unsent().is_empty() {
        match fd::send(socket, &[IoSlice::new(session.unsent())]) {
            Outcome::Wrote(sent) | Outcome::Held(sent) => session.sent(sent),
            Outcome::Full => return Ok(()),
            failed @ Outcome::Failed(_) => return Err(failed),
        }
    }
    Ok(())
}
