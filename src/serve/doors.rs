//! What one core listens on; it changes while the core runs.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::accept;
use super::core::Core;
use super::verdict::Protocol;
use crate::config::Tcp;
use crate::net::{AcceptError, Listener, rt};

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
    // No more than the kernel lets wait: who comes meanwhile could go on coming.
    for _ in 0..core.config().tcp.backlog {
        match listener.take_waiting() {
            Some(Ok(newcomer)) => accept::open(core, newcomer, place),
            Some(Err(error @ AcceptError::Connection(_))) => {
                tracing::debug!(%error, "not accepted");
            }
            Some(Err(AcceptError::OutOfFds(_) | AcceptError::Closed)) | None => break,
        }
    }
    shut(listener);
}

fn shut(listener: &Listener) {
    if let Err(error) = listener.close() {
        tracing::debug!(%error, "a listener was not closed");
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;
    use crate::net::bind;
    use crate::serve::Mesh;
    use crate::serve::core::Node;
    use crate::shard::CoreId;

    #[test]
    fn who_stands_at_a_door_that_closes_comes_in_behind_one_that_has_given_up() {
        let node = Arc::new(Node { connections_max: 10, ..Node::new(Mesh::new(1, 16)) });
        let counters = Arc::clone(&node.counters);
        let main = move || async move {
            let core = Core::new(CoreId(0), node, Arc::default());
            let any = "127.0.0.1:0".parse().expect("an address");
            let socket = bind(any, false, 16).expect("a free port");
            let local = SockRef::from(&socket).local_addr().expect("bound");
            let address = local.as_socket().expect("of IPv4");
            let doors = Doors::default();
            let place = Place { address, protocol: Protocol::Http, secure: false };
            doors.open(&core, Door { place, socket });
            // Nobody accepts before this task pauses.
            let connect = || TcpStream::connect(address).expect("it listens");
            let given_up = connect();
            let reset = SockRef::from(&given_up).set_linger(Some(Duration::ZERO));
            reset.expect("a socket can");
            drop(given_up);
            let _waiting = [connect(), connect()];
            doors.close(&core, &[address]);
        };
        rt::on_a_core(main);
        assert_eq!(counters.accepted_http.load(Ordering::Relaxed), 2);
    }
}
