//! Listeners: from a new connection to its driver.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::access::Network;
use super::conn::{About, Conn};
use super::core::Core;
use super::doors::Place;
use super::guard;
use super::hand_over::{Driver, HandOver};
use super::proxied;
use super::proxy_header::ProxyHeader;
use super::refusals::Reason;
use super::session::{Protocol, Session};
use super::turn_away::{Begun, TurnAway};
use super::verdict::{ClientId, Protocol as Kind};
use super::{http, rtmp};
use crate::net::{AcceptError, Listener, TcpStream, rt};

/// After the host ran out of descriptors, nothing is accepted for this long; those who wait stay
/// in the kernel's queue.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts on one listener until it is closed.
pub async fn run(core: Rc<Core>, listener: Rc<Listener>, place: Place) {
    let mut this_turn = 0;
    loop {
        match listener.accept().await {
            Ok(newcomer) => open(&core, newcomer, place),
            Err(AcceptError::Closed) => return,
            Err(AcceptError::Connection(error)) => tracing::debug!(%error, "not accepted"),
            Err(AcceptError::OutOfFds(error)) => {
                let allowed = core.violations.borrow_mut().allow(Instant::now());
                if let Some(suppressed) = allowed {
                    tracing::error!(%error, suppressed, "accepting pauses for {BACK_OFF:?}; \
                        raise `ulimit -n` or lower limits.connections");
                }
                rt::sleep(BACK_OFF).await;
            }
        }
        this_turn += 1;
        if this_turn >= core.setup().config.tcp.accept_per_turn {
            this_turn = 0;
            rt::yield_now().await;
        }
    }
}

/// Begins to serve a newcomer, or turns it away.
pub(super) fn open(
    core: &Rc<Core>,
    (socket, peer): (TcpStream, SocketAddr),
    Place { protocol, secure, .. }: Place,
) {
    let node = &core.node;
    let opened = Instant::now();
    let before = node.counters.connections.fetch_add(1, Ordering::Relaxed);
    let accepted = match protocol {
        Kind::Rtmp => &node.counters.accepted_rtmp,
        Kind::Http => &node.counters.accepted_http,
    };
    accepted.fetch_add(1, Ordering::Relaxed);
    let here = node.addresses.enter(Network::of(peer.ip()));
    let (client, node_of) = (core.next_client(), Arc::clone(node));
    let about = About::new(client, peer, protocol, opened, node_of);
    let mut conn = Conn::new(core, socket, about);
    let header = proxied::header_of(core, peer.ip(), protocol);
    if secure && header.is_none() && !begin_tls(&mut conn, &[]) {
        return;
    }
    let refused = if before >= node.connections_max {
        let most = node.connections_max;
        let by = match core.setup().config.limits.connections {
            asked if asked == most => "limits.connections",
            _ => "as many as file descriptors allow, `ulimit -n`",
        };
        node.refused.count(Reason::Connections);
        Some(format!("expected at most {most} connections ({by})"))
    } else {
        too_many_of_one(core, peer.ip(), here)
    };
    match (refused, header) {
        (Some(reason), header) => refuse(conn, header.map(|header| (header, secure)), &reason),
        (None, Some(header)) => drive(core, client, proxied::run(conn, header, secure)),
        (None, None) => serve(conn),
    }
}

/// Has the connection go on over TLS, of which `begun` has come. False: it cannot, and is to be
/// closed.
pub(super) fn begin_tls(conn: &mut Conn, begun: &[u8]) -> bool {
    let About { client, peer, protocol, .. } = conn.about;
    let may_log = || conn.core.violations.borrow_mut().allow(Instant::now());
    if conn.core.hub.borrow_mut().turns_away() {
        // A handshake costs more than all that would be done for it.
        conn.about.node.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = may_log() {
            tracing::warn!(%client, %peer, %protocol, suppressed, "refused: overloaded, no handshake");
        }
        return false;
    }
    match conn.core.secure(&mut conn.socket, protocol, begun) {
        Ok(()) => return true,
        Err(error) => {
            if let Some(suppressed) = may_log() {
                tracing::error!(%error, %peer, suppressed, "TLS cannot be begun");
            }
        }
    }
    false
}

/// Why `address`, which has `here` connections now, with all of its network, may not have so many, or
/// so many in a second; that is counted. A proxy may: they are not its own.
pub(super) fn too_many_of_one(core: &Core, address: IpAddr, here: usize) -> Option<String> {
    let setup = core.setup();
    if setup.config.proxy.trusts(address) {
        return None;
    }
    let limits = &setup.config.limits;
    let (most, rate) = (limits.connections_per_address, limits.connects_per_second_per_address);
    let network = Network::of(address);
    let one = network.kind();
    if most > 0 && here > most {
        core.node.refused.count(Reason::ConnectionsPerAddress);
        return Some(format!(
            "expected at most {most} connections from {one} \
             (limits.connections_per_address), found {here}"
        ));
    }
    (!core.node.arrivals.let_in(network, rate, Instant::now())).then(|| {
        core.node.refused.count(Reason::ConnectsPerSecond);
        format!(
            "expected at most {rate} new connections per second from {one} \
             (limits.connects_per_second_per_address)"
        )
    })
}

/// Turns a newcomer away, of whom a header may still have to come, and then TLS if that is true. Who is
/// to speak TLS is closed without a word.
pub(super) fn refuse(conn: Conn, header: Option<(ProxyHeader, bool)>, reason: &str) {
    let Conn { core, socket, about, unread, .. } = conn;
    let About { client, peer, protocol, .. } = about;
    let now = Instant::now();
    about.node.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = core.violations.borrow_mut().allow(now) {
        tracing::warn!(%client, %peer, %protocol, suppressed, "refused: {reason}");
    }
    match protocol {
        // Over TLS nothing can be said without a handshake, of which an address that comes too often
        // would have as many as it likes.
        _ if socket.is_secure() || matches!(header, Some((_, true))) => {}
        Kind::Http => http::refuse_at_the_door(&socket, reason),
        Kind::Rtmp => {
            let reason = format!("{reason}: try another server, or this one again later");
            let seed = rtmp::seed(client, peer);
            let begun = Begun { header: header.map(|(header, _)| header), unread };
            if let Some(it) = TurnAway::new(&core, socket, seed, reason, now, begun) {
                drive(&core, client, it.run());
            }
        }
    }
}

/// Serves a connection whose peer is known.
pub(super) fn serve(conn: Conn) {
    let core = Rc::clone(&conn.core);
    let About { client, peer, protocol, .. } = conn.about;
    let now = Instant::now();
    if let Some(reason) = core.blocked(peer.ip(), now) {
        // It is closed without a word.
        core.node.refused.count(Reason::Blocked);
        conn.about.node.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = core.violations.borrow_mut().allow(now) {
            tracing::warn!(%client, %peer, %protocol, suppressed, "refused: {reason}");
        }
        return;
    }
    tracing::debug!(%client, %peer, %protocol, core = %core.id, "open");
    match protocol {
        Kind::Rtmp => drive(&core, client, rtmp::session(conn).run()),
        Kind::Http => drive(&core, client, http::session(conn).run()),
    }
}

/// Goes on with a connection that comes from another core.
pub(crate) fn take_over(core: &Rc<Core>, moved: Box<HandOver>) {
    let About { client, peer, protocol, .. } = &moved.about;
    tracing::debug!(%client, %peer, %protocol, stream = %moved.key, core = %core.id, "moved here");
    match moved.driver {
        Driver::Rtmp(_) => go_on::<rtmp::Rtmp>(core, moved),
        Driver::Http(_) => go_on::<http::Http>(core, moved),
    }
}

fn go_on<P: Protocol>(core: &Rc<Core>, moved: Box<HandOver>) {
    let (client, here) = (moved.about.client, Rc::clone(core));
    drive(core, client, async move {
        if let Some(session) = Session::<P>::take_over(&here, *moved) {
            session.run().await;
        }
    });
}

/// Runs a driver; its panic is its own.
fn drive(core: &Rc<Core>, client: ClientId, driver: impl Future<Output = ()> + 'static) {
    let told = move || tracing::error!(%client, reason = "its driver panicked", "close");
    guard::spawn(core, driver, told);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{TlsConfigs, bind, secure};
    use crate::serve::Mesh;
    use crate::serve::core::Node;
    use crate::serve::doors::Door;
    use crate::shard::CoreId;

    #[test]
    fn an_overloaded_core_makes_no_handshake_and_counts_whom_it_sends_away() {
        use std::io::{Read, Write};
        let certificate = secure::Certificate::new(4, &["media.test"]);
        let server = certificate.server();
        let configs = Arc::new(TlsConfigs { rtmp: Arc::clone(&server), http: server });
        let any = "127.0.0.1:0".parse().expect("an address");
        let socket = bind(any, false, 16).expect("a free port");
        let address = socket2::SockRef::from(&socket).local_addr().expect("bound");
        let address = address.as_socket().expect("of IPv4");
        let node = Arc::new(Node { connections_max: 10, ..Node::new(Mesh::new(1, 16)) });
        let (relieved, is_relieved) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            let connect = || std::net::TcpStream::connect(address).expect("it listens");
            let mut said = [Vec::new(), Vec::new()];
            let mut socket = connect();
            let hello = certificate.hello("media.test");
            // Err: it was closed, perhaps before all of this had come.
            let _ = socket.write_all(&hello).and_then(|()| socket.read_to_end(&mut said[0]));
            is_relieved.recv().expect("the core says so");
            let mut plain = certificate.connect(&connect(), "media.test");
            let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            plain.write_all(request).expect("it is open");
            plain.read_to_end(&mut said[1]).expect("it answers and closes");
            said
        });
        let counters = Arc::clone(&node.counters);
        let main = move || async move {
            let core = Core::new(CoreId(0), node, Arc::default());
            core.certify(configs);
            let busy = |busy| core.hub.borrow_mut().second(busy, Duration::ZERO);
            while !core.hub.borrow().refuses_newcomers() {
                busy(1.0);
            }
            core.open(Door {
                place: Place { address, protocol: Kind::Http, secure: true },
                socket,
            });
            let gave_up = Instant::now() + Duration::from_secs(20);
            let refused = || core.node.counters.refused_connections.load(Ordering::Relaxed);
            while refused() == 0 && !client.is_finished() && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(core.hub.borrow().totals().refused_overloaded, 1);
            busy(0.0);
            relieved.send(()).expect("it waits");
            while !client.is_finished() && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            let [then, now] = client.join().expect("it has both answers");
            assert_eq!(then, b"", "nothing, not even an alert");
            assert!(now.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&now));
            core.close_doors();
        };
        rt::on_a_core(main);
        assert_eq!(counters.refused_connections.load(Ordering::Relaxed), 1);
    }
}
