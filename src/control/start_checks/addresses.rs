//! Where the node is to listen, and whether it can.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::Failure;
use crate::config::{Config, TsUdp, v6_only};
use crate::control::admin;
use crate::net::udp;
use crate::serve::doors::Place;
use crate::serve::ts_udp;
use crate::serve::verdict::Protocol as Kind;

/// Where a node listens. `[::]` has become `0.0.0.0` if there is no IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listening {
    /// RTMP; empty if it is off.
    pub(crate) rtmp: Vec<SocketAddr>,
    /// RTMPS.
    pub(crate) rtmps: Vec<SocketAddr>,
    /// HTTP.
    pub(crate) http: Vec<SocketAddr>,
    /// HTTPS.
    pub(crate) https: Vec<SocketAddr>,
    /// The API.
    pub(crate) admin: Vec<SocketAddr>,
    /// The API over TLS.
    pub(crate) admin_tls: Vec<SocketAddr>,
    /// The metrics alone.
    pub(crate) metrics: Vec<SocketAddr>,
}

impl Listening {
    /// Where media is served.
    pub(crate) fn media(&self) -> impl Iterator<Item = Place> {
        let all = [
            (&self.rtmp, Kind::Rtmp, false),
            (&self.rtmps, Kind::Rtmp, true),
            (&self.http, Kind::Http, false),
            (&self.https, Kind::Http, true),
        ];
        all.into_iter().flat_map(|(addresses, protocol, secure)| {
            addresses.iter().map(move |&address| Place { address, protocol, secure })
        })
    }

    /// Where the API is served.
    pub(crate) fn admin(&self) -> impl Iterator<Item = admin::Place> {
        let all = [(&self.admin, false), (&self.admin_tls, true)];
        all.into_iter().flat_map(|(addresses, secure)| {
            addresses.iter().map(move |&address| admin::Place { address, secure })
        })
    }

    /// Where the metrics alone are.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = admin::Place> {
        self.metrics.iter().map(|&address| admin::Place { address, secure: false })
    }
}

/// Where `config` listens. All of it must be free, but for the addresses of `own`, which are ours.
///
/// # Errors
/// Each address that is not.
pub(crate) fn listening(config: &Config, own: &[SocketAddr]) -> Result<Listening, Vec<Failure>> {
    let mut failures = Vec::new();
    let mut listen = |key, enabled: bool, addresses: &[SocketAddr]| -> Vec<SocketAddr> {
        if !enabled {
            return Vec::new();
        }
        let bound = addresses.iter().map(|&address| free(key, address, addresses, own));
        bound.filter_map(|result| result.map_err(|failure| failures.push(failure)).ok()).collect()
    };
    let rtmp = listen("rtmp.listen", config.rtmp.enabled, &config.rtmp.listen);
    let rtmps = listen("rtmp.tls_listen", config.rtmp.enabled, &config.rtmp.tls_listen);
    let http = listen("http.listen", config.http.enabled, &config.http.listen);
    let https = listen("http.tls_listen", config.http.enabled, &config.http.tls_listen);
    let admin = listen("admin.listen", config.admin.enabled, &config.admin.listen);
    let admin_tls = listen("admin.tls_listen", config.admin.enabled, &config.admin.tls_listen);
    let metrics = listen("admin.metrics_listen", true, &config.admin.metrics_listen);
    match failures.is_empty() {
        true => Ok(Listening { rtmp, rtmps, http, https, admin, admin_tls, metrics }),
        false => Err(failures),
    }
}

/// The inputs of datagrams that cannot be received.
pub(super) fn inputs(config: &Config) -> Vec<Failure> {
    let failure = |input: &TsUdp| {
        let error = patiently(|| udp::bind(&ts_udp::wanted(input), false)).err()?;
        let in_use = "stop that program (`ss -lunp` names it), or choose another port";
        let (what, cure) = explain(&error, in_use);
        Some(Failure::Address { key: "ts_udp.listen", address: input.listen, what, cure })
    };
    config.ts_udp.iter().filter_map(failure).collect()
}

/// The address to listen on for `address`, whose port must be free or one of our `own`. `all` are
/// those of its protocol.
fn free(
    key: &'static str,
    address: SocketAddr,
    all: &[SocketAddr],
    own: &[SocketAddr],
) -> Result<SocketAddr, Failure> {
    let only = v6_only(address, all);
    let shared = own.iter().any(|own| own.port() == address.port());
    let Err(error) = patiently(|| bind(address, only, shared)) else { return Ok(address) };
    let errno = Errno::from_io_error(&error);
    let no_ipv6 = matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL));
    if address.is_ipv6() && address.ip().is_unspecified() && !only && no_ipv6 {
        tracing::info!(%address, "{key}: this host has no IPv6, listening on IPv4 alone");
        return free(key, SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())), all, own);
    }
    let in_use = "stop that program (`ss -ltnp` names it), or choose another port";
    let (what, cure) = explain(&error, in_use);
    Err(Failure::Address { key, address, what, cure })
}

/// What is wrong with an address, and what to change.
fn explain(error: &io::Error, in_use: &'static str) -> (String, &'static str) {
    match Errno::from_io_error(error) {
        Some(Errno::ADDRINUSE) => ("is in use by another program".to_owned(), in_use),
        Some(Errno::ADDRNOTAVAIL) => (
            "is no address of this host".to_owned(),
            "name one that `ip address` shows, or \"[::]\" with the port for all",
        ),
        Some(Errno::ACCESS) => (
            "may not be bound by this user".to_owned(),
            "choose a port from 1024 on, or grant CAP_NET_BIND_SERVICE",
        ),
        Some(Errno::AFNOSUPPORT) => (
            "is IPv6, which this host does not have".to_owned(),
            "use an IPv4 address, or enable IPv6",
        ),
        Some(Errno::NODEV) => (
            "cannot be joined: there is no such interface, or no way to the group".to_owned(),
            "name an interface that `ip address` shows",
        ),
        _ => (format!("cannot be bound: {error}"), "choose another address"),
    }
}

/// The kernel takes a moment to close the listeners of a process that has just ended, since its
/// io_uring still holds them: a restart must not fail for that.
fn patiently<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..TRIES {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => sleep(BETWEEN_TRIES),
            bound => return bound,
        }
    }
    bind()
}

const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Binds once, alone: without SO_REUSEPORT a port that another program listens on is in use, even
/// if that program would share it. `shared`: it may be us.
fn bind(address: SocketAddr, v6_only: bool, shared: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    // Connections of an earlier run that wait for their end are no hindrance.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    fn loopback(listener: &TcpListener) -> SocketAddr {
        listener.local_addr().expect("bound")
    }

    #[test]
    fn a_port_in_use_is_named_with_its_key() {
        // No other test is there, to take the port when it is free again.
        let taken = TcpListener::bind("127.1.2.3:0").expect("loopback");
        let address = loopback(&taken);
        let error = free("rtmp.listen", address, &[address], &[]).expect_err("in use").to_string();
        assert!(error.starts_with(&format!("rtmp.listen: {address} is in use")), "{error}");
        drop(taken);
        // A program that another test starts has a copy of the socket until it runs.
        let gave_up = Instant::now() + Duration::from_secs(20);
        let found = loop {
            match free("rtmp.listen", address, &[address], &[]) {
                Ok(found) => break found,
                Err(error) => assert!(Instant::now() < gave_up, "{error}"),
            }
        };
        assert_eq!(found, address);
    }

    #[test]
    fn a_port_that_another_program_would_share_is_in_use() {
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        taken.set_reuse_port(true).expect("linux");
        taken.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("loopback");
        taken.listen(1).expect("bound");
        let address = taken.local_addr().expect("bound").as_socket().expect("IPv4");
        assert!(free("rtmp.listen", address, &[address], &[]).is_err());
        let everywhere = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, address.port()));
        assert!(free("rtmp.listen", everywhere, &[everywhere], &[]).is_err());
    }

    #[test]
    fn ipv6_and_ipv4_on_one_port_do_not_fight() {
        let port = loopback(&TcpListener::bind("127.0.0.1:0").expect("loopback")).port();
        let all = [
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)),
        ];
        assert!(!v6_only(all[0], &all));
        assert!(v6_only(all[1], &all));
        assert!(!v6_only(all[1], &all[1..]));
    }

    #[test]
    fn an_address_of_another_host_is_refused() {
        let address = "192.0.2.1:1935".parse().expect("an address");
        let error =
            free("http.listen", address, &[address], &[]).expect_err("not ours").to_string();
        assert!(error.starts_with("http.listen: 192.0.2.1:1935 is no address of this host"));
    }
}
