//! Sockets that receive datagrams, of one address or of a multicast group.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{RecvFlags, netdevice};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::fd;

/// What is to be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// Where: an address of this host, all of them, or a multicast group.
    pub address: SocketAddr,
    /// On which interface a group is joined; empty for the one that routes lead to.
    pub interface: &'a str,
    /// Of a group, what this one sends.
    pub source: Option<IpAddr>,
    /// The kernel holds so much until it is read, in bytes. It counts what a datagram takes in memory,
    /// about twice its bytes, and doubles the number for that.
    pub buffer_bytes: usize,
}

/// Binds a socket, and joins the group if it is one. `shared`: it may be on an address that another
/// socket of this user shares, such as one of ours that is about to be closed. A group is always
/// shared, for all who receive it get all of it.
///
/// # Errors
/// Of the kernel.
pub fn bind(wanted: &Wanted<'_>, shared: bool) -> io::Result<OwnedFd> {
    let Wanted { mut address, interface, source, buffer_bytes } = *wanted;
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let index = match interface {
        "" => 0,
        name => netdevice::name_to_index(&socket, name)?,
    };
    let is_group = address.ip().is_multicast();
    if let SocketAddr::V6(v6) = &mut address {
        socket.set_only_v6(*v6.ip() != Ipv6Addr::UNSPECIFIED)?;
        if v6.scope_id() == 0 {
            v6.set_scope_id(index);
        }
    }
    socket.set_reuse_address(is_group)?;
    socket.set_reuse_port(is_group || shared)?;
    socket.set_recv_buffer_size(buffer_bytes)?;
    socket.bind(&address.into())?;
    match (address.ip(), source) {
        (group, _) if !group.is_multicast() => {}
        (_, Some(source)) => fd::join_source(socket.as_fd(), address, source, index)?,
        (IpAddr::V4(group), None) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
        }
        (IpAddr::V6(group), None) => socket.join_multicast_v6(&group, index)?,
    }
    // Not what others of this host have joined elsewhere.
    match address {
        SocketAddr::V4(_) => socket.set_multicast_all_v4(false)?,
        SocketAddr::V6(_) => socket.set_multicast_all_v6(false)?,
    }
    Ok(socket.into())
}

/// A bound socket on one core.
#[derive(Debug)]
pub struct UdpSocket {
    socket: glommio::net::UdpSocket,
}

impl UdpSocket {
    /// Takes a socket over on this core.
    pub fn arrive(socket: OwnedFd) -> Self {
        Self { socket: fd::datagrams(socket) }
    }

    /// The socket, for another core; it is to be taken over there when this one was dropped.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        fd::duplicate(self.socket.as_raw_fd())
    }

    /// Ready when there is a datagram.
    ///
    /// # Errors
    /// The socket broke.
    pub async fn readable(&self) -> io::Result<()> {
        match self.socket.peek_from(&mut [0]).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The next datagram that is there, without waiting: its bytes, as far as `into` has room for
    /// them, and where it comes from.
    ///
    /// # Errors
    /// The socket broke.
    pub fn receive(&self, into: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let received = fd::with_socket(self.socket.as_raw_fd(), |socket| {
            Ok(rustix::net::recvfrom(&*socket, into, RecvFlags::DONTWAIT)?)
        });
        match received {
            Ok((bytes, _, from)) => {
                let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                let from = from.ok_or_else(|| io::Error::other("a datagram from nowhere"))?;
                Ok(Some((bytes, SocketAddr::new(from.ip().to_canonical(), from.port()))))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Datagrams for which the kernel had no room, since the socket was made.
    pub fn dropped(&self) -> u32 {
        fd::dropped(self.socket.as_raw_fd()).unwrap_or(0)
    }

    /// What the kernel holds at most until it is read, in its own count.
    ///
    /// # Errors
    /// The socket broke.
    pub fn buffer_bytes(&self) -> io::Result<usize> {
        fd::with_socket(self.socket.as_raw_fd(), |socket| socket.recv_buffer_size())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Plain;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::net::rt;

    fn wanted(address: SocketAddr) -> Wanted<'static> {
        Wanted { address, interface: "", source: None, buffer_bytes: 4096 }
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }

    fn address_of(socket: &OwnedFd) -> SocketAddr {
        let address = socket2::SockRef::from(socket).local_addr().expect("bound");
        address.as_socket().expect("of IP")
    }

    #[test]
    fn a_port_in_use_is_shared_with_us_alone() {
        let first = bind(&wanted(any()), true).expect("a free port");
        let address = address_of(&first);
        assert!(bind(&wanted(address), false).is_err());
        bind(&wanted(address), true).expect("it is ours");
    }

    #[test]
    fn an_interface_that_is_none_is_an_error() {
        let wanted = Wanted { interface: "none-such", ..wanted(any()) };
        assert_eq!(bind(&wanted, false).expect_err("no such one").raw_os_error(), Some(19));
    }

    #[test]
    fn datagrams_wake_and_are_received_one_by_one_and_those_without_room_are_counted() {
        let socket = bind(&wanted(any()), false).expect("a free port");
        let address = address_of(&socket);
        let main = move || async move {
            let socket = UdpSocket::arrive(socket);
            let mut into = [0; 100];
            assert_eq!(socket.receive(&mut into).expect("it works"), None);
            let sender = Plain::bind("127.0.0.1:0").expect("a free port");
            let from = sender.local_addr().expect("bound");
            rt::spawn(async move {
                sender.send_to(b"one", address).expect("loopback");
                sender.send_to(b"", address).expect("loopback");
                for _ in 0..100 {
                    sender.send_to(&[7; 1000], address).expect("loopback");
                }
            });
            socket.readable().await.expect("it works");
            // The kernel may take its time with them. Once there is no room, the first are there.
            let gave_up = Instant::now() + Duration::from_secs(20);
            while socket.dropped() == 0 {
                assert!(Instant::now() < gave_up, "there is room for all");
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(socket.receive(&mut into).expect("it works"), Some((3, from)));
            assert_eq!(&into[..3], b"one");
            assert_eq!(socket.receive(&mut into).expect("it works"), Some((0, from)));
            let mut rest = 0;
            while socket.dropped() + rest < 100 {
                let Some((bytes, _)) = socket.receive(&mut into).expect("it works") else {
                    assert!(Instant::now() < gave_up, "{rest} came, {} not", socket.dropped());
                    rt::sleep(Duration::from_millis(1)).await;
                    continue;
                };
                assert_eq!(bytes, 100, "as many as there is room for");
                rest += 1;
            }
            assert_eq!(socket.dropped() + rest, 100);
            assert!(rest > 0);
        };
        rt::on_a_core(main);
    }
}
