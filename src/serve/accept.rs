//! Listeners: from a new connection to its driver.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::conn::{About, Conn, End};
use super::core::Core;
use super::end_line::EndLine;
use super::hand_over::{Driver, HandOver};
use super::proxied;
use super::proxy_header::ProxyHeader;
use super::session::{Protocol, Session};
use super::turn_away::{Begun, TurnAway};
use super::verdict::{ClientId, Protocol as Kind};
use super::{http, rtmp};
use crate::net::{AcceptError, Listener, TcpStream, rt};

/// After the host ran out of descriptors, nothing is accepted for this long; those who wait stay
/// in the kernel's queue.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts on one listener for as long as the core runs.
///
/// `secure`: over TLS.
pub async fn run(core: Rc<Core>, listener: Rc<Listener>, protocol: Kind, secure: bool) {
    let mut this_turn = 0;
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => open(&core, (socket, peer), protocol, secure),
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

fn open(core: &Rc<Core>, (socket, peer): (TcpStream, SocketAddr), protocol: Kind, secure: bool) {
    let node = &core.node;
    let opened = Instant::now();
    let before = node.counters.connections.fetch_add(1, Ordering::Relaxed);
    let accepted = match protocol {
        Kind::Rtmp => &node.counters.accepted_rtmp,
        Kind::Http => &node.counters.accepted_http,
    };
    accepted.fetch_add(1, Ordering::Relaxed);
    let here = node.addresses.enter(peer.ip());
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
    let About { peer, protocol, .. } = conn.about;
    match conn.core.secure(&mut conn.socket, protocol, begun) {
        Ok(()) => return true,
        Err(error) if begun.is_empty() => tracing::error!(%error, %peer, "TLS cannot be begun"),
        Err(error) => EndLine::default().write(conn, &End::Socket(error)),
    }
    false
}

/// Why `address`, which has `here` connections now, may not have so many, or so many in a second. A
/// proxy may: they are not its own.
pub(super) fn too_many_of_one(core: &Core, address: IpAddr, here: usize) -> Option<String> {
    let setup = core.setup();
    if setup.config.proxy.trusts(address) {
        return None;
    }
    let limits = &setup.config.limits;
    let (most, rate) = (limits.connections_per_address, limits.connects_per_second_per_address);
    if most > 0 && here > most {
        return Some(format!(
            "expected at most {most} connections from one address \
             (limits.connections_per_address), found {here}"
        ));
    }
    (!core.node.arrivals.let_in(address, rate, Instant::now())).then(|| {
        format!(
            "expected at most {rate} new connections per second from one address \
             (limits.connects_per_second_per_address)"
        )
    })
}

/// Turns a newcomer away, of whom a header may still have to come, and then TLS if that is true.
pub(super) fn refuse(conn: Conn, header: Option<(ProxyHeader, bool)>, reason: &str) {
    let Conn { core, socket, about, unread, .. } = conn;
    let About { client, peer, protocol, .. } = about;
    let now = Instant::now();
    about.node.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
    if let Some(suppressed) = core.violations.borrow_mut().allow(now) {
        tracing::warn!(%client, %peer, %protocol, suppressed, "refused: {reason}");
    }
    match protocol {
        // Over TLS nothing can be said without a handshake.
        Kind::Http if socket.is_secure() || matches!(header, Some((_, true))) => {}
        Kind::Http => http::refuse_at_the_door(&socket, reason),
        Kind::Rtmp => {
            let reason = format!("{reason}: try another server, or this one again later");
            let seed = rtmp::seed(client, peer);
            let begun = Begun { header, unread };
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
pub(crate) fn take_over(core: &Rc<Core>, moved: HandOver) {
    let About { client, peer, protocol, .. } = &moved.about;
    tracing::debug!(%client, %peer, %protocol, stream = %moved.key, core = %core.id, "moved here");
    match moved.driver {
        Driver::Rtmp(_) => go_on::<rtmp::Rtmp>(core, moved),
        Driver::Http(_) => go_on::<http::Http>(core, moved),
    }
}

fn go_on<P: Protocol>(core: &Rc<Core>, moved: HandOver) {
    let client = moved.about.client;
    if let Some((session, ticket, wish)) = Session::<P>::unpack(core, moved) {
        drive(core, client, session.arrive_and_run(ticket, wish));
    }
}

/// Runs a driver; its panic is its own.
///
/// The driver is boxed, because a future that is handed another by value has room for it twice,
/// and there may be many thousands.
fn drive(core: &Rc<Core>, client: ClientId, driver: impl Future<Output = ()> + 'static) {
    let (core, mut driver) = (Rc::clone(core), Box::pin(driver));
    rt::spawn(std::future::poll_fn(move |cx| {
        let polled = core.turn(|| catch_unwind(AssertUnwindSafe(|| driver.as_mut().poll(cx))));
        polled.unwrap_or_else(|_| {
            tracing::error!(%client, reason = "its driver panicked", "close");
            Poll::Ready(())
        })
    }));
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;
    use crate::media::StreamKey;
    use crate::plane::Publisher;
    use crate::serve::Mesh;
    use crate::serve::core::Node;
    use crate::shard::CoreId;

    #[test]
    fn a_panic_in_a_driver_ends_its_source_and_nothing_else() {
        let node = Arc::new(Node { connections_max: 10, ..Node::new(Mesh::new(1, 16)) });
        let main = move || async move {
            let core = Core::new(CoreId(0), node, Arc::default());
            core.start();
            let [bad, good] =
                ["bad", "good"].map(|name| StreamKey::new("live", name).expect("valid"));
            let publish = |key: &StreamKey| {
                let request = core.claim(key).expect("the only core");
                Publisher::acquire(core.hub(), request, Instant::now()).expect("nobody is there")
            };
            let (publisher, other) = (publish(&bad), publish(&good));
            let hub = Rc::clone(core.hub());
            drive(&core, ClientId(1), async move {
                let _held = publisher;
                // In the midst of the plane, as a bug there would be.
                let _hub = hub.borrow_mut();
                panic!("as the test wants it");
            });
            let gave_up = Instant::now() + Duration::from_secs(20);
            while core.hub().borrow().holds(&bad) && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert!(!core.hub().borrow().holds(&bad), "the source has ended");
            assert!(core.hub().borrow().holds(&good));
            assert!(other.poll_end(&mut Context::from_waker(Waker::noop())).is_pending());
            // The home core has heard of it too.
            while core.directory.borrow().len() > 1 && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(core.directory.borrow().len(), 1);
            publish(&bad);
        };
        let thread = rt::launch(0, "test", std::sync::Arc::default(), main).expect("a core");
        thread.join().expect("the core has not noticed");
    }
}
