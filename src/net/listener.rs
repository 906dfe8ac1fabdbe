use std::cell::Cell;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::{TcpStream, fd};

/// One of several sockets that listen on one port; the kernel spreads connections over them.
#[derive(Debug)]
pub struct Listener {
    listener: glommio::net::TcpListener,
    /// Its descriptor, which glommio does not tell.
    number: RawFd,
    /// Of newcomers: keepalive and user timeout.
    timeouts: Cell<(Duration, Duration)>,
    closed: Cell<bool>,
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// No more file descriptors, in the process or on the host: wait before trying again.
    #[error("out of file descriptors: {0}")]
    OutOfFds(io::Error),
    /// It was closed, and none will come any more.
    #[error("the listener is closed")]
    Closed,
    /// That connection broke before it was accepted.
    #[error("accept: {0}")]
    Connection(io::Error),
}

/// Binds a listening socket. An IPv6 address takes IPv4 too unless `v6_only`. Several sockets of
/// one process may bind the same port; another process must not, which the start checks see to.
pub fn bind(address: SocketAddr, v6_only: bool, backlog: u32) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

impl Listener {
    /// Takes a listening socket over on this core.
    pub fn new(socket: OwnedFd, keepalive: Duration, user_timeout: Duration) -> Self {
        let number = socket.as_raw_fd();
        let timeouts = Cell::new((keepalive, user_timeout));
        Self { listener: fd::listener(socket), number, timeouts, closed: Cell::new(false) }
    }

    /// From now on this holds for newcomers.
    pub fn configure(&self, keepalive: Duration, user_timeout: Duration) {
        self.timeouts.set((keepalive, user_timeout));
    }

    /// The next connection, with its options set, and where it comes from.
    pub async fn accept(&self) -> Result<(TcpStream, SocketAddr), AcceptError> {
        let stream = self.listener.accept().await.map_err(|error| match self.closed.get() {
            true => AcceptError::Closed,
            false => AcceptError::of(error.into()),
        })?;
        let stream = TcpStream::new(stream);
        let peer = self.set_up(&stream).map_err(AcceptError::Connection)?;
        Ok((stream, peer))
    }

    /// One of those that the kernel has let in already and nobody has accepted, if there is any:
    /// they would be cut off by [`Self::close`], which must come next. An error is of one of them:
    /// others may stand behind.
    pub fn take_waiting(&self) -> Option<Result<(TcpStream, SocketAddr), AcceptError>> {
        let taken = fd::with_socket(self.number, |socket| {
            socket.set_nonblocking(true)?;
            socket.accept()
        });
        let socket = match taken {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => return Some(Err(AcceptError::of(error))),
        };
        let stream = TcpStream::new(fd::stream(socket.into()));
        let peer = self.set_up(&stream).map_err(AcceptError::Connection);
        Some(peer.map(|peer| (stream, peer)))
    }

    /// Stops listening at once. Dropping it does so only when the kernel has taken apart the whole
    /// ring that waits on it, which with thousands of connections is a second during which a
    /// restarted process finds its port in use.
    pub fn close(&self) -> io::Result<()> {
        self.closed.set(true);
        fd::with_socket(self.number, |socket| socket.shutdown(Shutdown::Both))
    }

    fn set_up(&self, stream: &TcpStream) -> io::Result<SocketAddr> {
        let peer = stream.peer_addr()?;
        let (keepalive, user_timeout) = self.timeouts.get();
        stream.with_socket(|socket| {
            // Blocks are large and complete; waiting to fill a segment would only add delay.
            socket.set_tcp_nodelay(true)?;
            if !keepalive.is_zero() {
                let keepalive = TcpKeepalive::new()
                    .with_time(keepalive)
                    .with_interval(keepalive / 3)
                    .with_retries(3);
                socket.set_tcp_keepalive(&keepalive)?;
            }
            if !user_timeout.is_zero() {
                socket.set_tcp_user_timeout(Some(user_timeout))?;
            }
            Ok(())
        })?;
        Ok(SocketAddr::new(peer.ip().to_canonical(), peer.port()))
    }
}

impl TcpStream {
    fn with_socket<T>(&self, work: impl FnOnce(SockRef<'_>) -> io::Result<T>) -> io::Result<T> {
        fd::with_socket(self.fd(), work)
    }
}

impl AcceptError {
    fn of(error: io::Error) -> Self {
        match is_out_of_fds(&error) {
            true => Self::OutOfFds(error),
            false => Self::Connection(error),
        }
    }
}

fn is_out_of_fds(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let codes = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    codes.iter().any(|code| error.raw_os_error() == Some(code.raw_os_error()))
}
