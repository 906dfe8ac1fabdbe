//! Ports for servers of the tests.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::{self, net::UnixDatagram};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

/// A port nobody listens on, below the range of outgoing connections. No other test gets it for as
/// long as this process lives: of two servers that share ports (`SO_REUSEPORT`) neither would notice
/// the other.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 18_000;
    let start = (std::process::id() % 100) as u16 * 180;
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT;
        if is_ours(port) && nobody_listens(port) {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// Takes the port's name, unless a process of tests has it. Names are, as ports, of the network
/// namespace, and are free again when the process has ended.
fn is_ours(port: u16) -> bool {
    let name = unix::net::SocketAddr::from_abstract_name(format!("corecast-test-port-{port}"));
    let taken = UnixDatagram::bind_addr(&name.expect("it is short"));
    // Kept to the end.
    taken.map(std::mem::forget).is_ok()
}

/// Without listening there: a program that another thread starts meanwhile has a copy of the socket
/// until it runs, and whoever connects would take that for the server.
fn nobody_listens(port: u16) -> bool {
    let bind = |address: SocketAddr| {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    // A host may have no IPv6.
    let is_taken = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    bind((Ipv4Addr::LOCALHOST, port).into()).is_ok()
        && !bind((Ipv6Addr::LOCALHOST, port).into()).as_ref().is_err_and(is_taken)
}
