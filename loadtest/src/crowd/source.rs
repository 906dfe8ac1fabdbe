//! From which address a viewer comes.
//!
//! One address has some 28 000 ports towards one address and port of a server. All of 127.0.0.0/8
//! is this host, so towards a server on it there are always more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// The addresses that viewers come from, in turn.
#[derive(Debug)]
pub(super) struct Sources {
    /// The first of those that are tried, counted from 127.0.0.1.
    first: u32,
    /// How many are in use.
    count: u32,
    next: u32,
}

/// The last address of 127.0.0.0/8 that is used, counted from 127.0.0.1.
const LAST: u32 = 0x00ff_fffd;
/// From here on the kernel searches long for a free port.
const FILL: f64 = 0.5;

impl Sources {
    /// Enough for `viewers`. `part` keeps processes of one run apart.
    pub(super) fn new(part: usize, viewers: usize) -> Self {
        let ports = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
        Self::of_ports(port_count(&ports.unwrap_or_default()), part, viewers)
    }

    fn of_ports(ports: u32, part: usize, viewers: usize) -> Self {
        let count = (viewers as f64 / (f64::from(ports) * FILL)).ceil().max(1.0) as u32;
        Self { first: (part as u32 * PART).min(LAST), count, next: 0 }
    }

    /// A socket that is connecting to `server`. With `receive_buffer`, at most about so many bytes
    /// wait in it.
    ///
    /// # Errors
    /// The kernel's, at once: no route, or out of something.
    pub(super) fn connect(
        &mut self,
        server: SocketAddr,
        receive_buffer: Option<usize>,
    ) -> io::Result<Socket> {
        for _ in 0..TRIES {
            let number = self.first + self.next % self.count;
            self.next = self.next.wrapping_add(1);
            match connect(server, source(server, number), receive_buffer) {
                // Other programs have ports too, and closed connections keep theirs for a while.
                Err(error) if is(&error, Errno::ADDRNOTAVAIL) && is_here(server) => {
                    self.count += 1;
                }
                result => return result,
            }
        }
        Err(Errno::ADDRNOTAVAIL.into())
    }
}

/// Addresses of each process.
const PART: u32 = 256;
const TRIES: u32 = 16;

fn port_count(range: &str) -> u32 {
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<u32>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if last >= first => last - first + 1,
        _ => 28_232,
    }
}

fn is_here(server: SocketAddr) -> bool {
    matches!(server.ip(), IpAddr::V4(ip) if ip.is_loopback())
}

/// The address numbered `number`; the first is whichever the kernel takes.
fn source(server: SocketAddr, number: u32) -> Option<SocketAddr> {
    let number = number.min(LAST);
    let address = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + number);
    (number > 0 && is_here(server)).then(|| (address, 0).into())
}

fn connect(
    server: SocketAddr,
    source: Option<SocketAddr>,
    receive_buffer: Option<usize>,
) -> io::Result<Socket> {
    let domain = Domain::for_address(server);
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        // The port is chosen when the other end is known, so that it may serve for many others.
        setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
        socket.bind(&source.into())?;
    }
    match socket.connect(&server.into()) {
        Err(error) if !is(&error, Errno::INPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    Errno::from_io_error(error) == Some(errno)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_suffice_for_the_viewers_and_differ_by_process() {
        assert_eq!(port_count("32768\t60999\n"), 28_232);
        assert_eq!(Sources::of_ports(28_232, 0, 1000).count, 1);
        assert_eq!(Sources::of_ports(28_232, 0, 100_000).count, 8);
        let server = "127.0.0.1:80".parse().expect("an address");
        assert_eq!(source(server, 0), None);
        let other = source(server, Sources::of_ports(28_232, 1, 1).first);
        assert_eq!(other, Some("127.0.1.1:0".parse().expect("an address")));
        let far = "10.0.0.1:80".parse().expect("an address");
        assert_eq!(source(far, 300), None);
    }

    #[test]
    fn viewers_come_from_all_of_them() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = listener.local_addr().expect("it is bound");
        let mut sources = Sources::of_ports(4, 0, 6);
        let seen = (0..6).map(|_| {
            let viewer = sources.connect(server, Some(8192)).expect("it listens");
            let (_, peer) = listener.accept().expect("it has come");
            drop(viewer);
            peer.ip().to_string()
        });
        let seen = seen.collect::<Vec<_>>();
        assert_eq!(seen, ["127.0.0.1", "127.0.0.2", "127.0.0.3"].repeat(2));
    }
}
