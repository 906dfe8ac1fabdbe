use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::RecvFlags;

use super::fd;
use crate::bytes::Chain;

/// A connected TCP socket on one core.
#[derive(Debug)]
pub struct TcpStream {
    stream: glommio::net::TcpStream,
}

impl TcpStream {
    /// Takes a socket over on this core.
    pub fn from_fd(socket: OwnedFd) -> Self {
        Self { stream: fd::stream(socket) }
    }

    pub(super) fn new(stream: glommio::net::TcpStream) -> Self {
        Self { stream }
    }

    /// The socket, for another core. It costs a descriptor until this one is dropped, which
    /// cancels whatever waits on it here.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        fd::duplicate(self.stream.as_raw_fd())
    }

    /// Says that nothing more will be written; what is still read does not matter.
    pub fn shutdown_write(&self) -> io::Result<()> {
        fd::with_socket(self.fd(), |socket| socket.shutdown(std::net::Shutdown::Write))
    }

    /// Lets the peer take nothing for as long as somebody else allows: the kernel's own patience
    /// (TCP_USER_TIMEOUT) ends with a reader too whose window is small and who reads all the time.
    ///
    /// # Errors
    /// The socket broke.
    pub fn lift_user_timeout(&self) -> io::Result<()> {
        fd::with_socket(self.fd(), |socket| socket.set_tcp_user_timeout(None))
    }

    /// Has the kernel take no more while it holds `bytes` that it has not sent yet. Without this it
    /// holds up to tcp_wmem (4 MiB) for each viewer that does not read.
    ///
    /// # Errors
    /// The socket broke.
    pub fn bound_unsent(&self, bytes: usize) -> io::Result<()> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        fd::with_socket(self.fd(), |socket| socket.set_tcp_notsent_lowat(bytes))
    }

    /// Has the kernel throw away what the peer has not taken when the socket closes.
    pub fn reset_on_close(&self) {
        // If the socket is broken, so much the better.
        let _ = fd::with_socket(self.fd(), |socket| socket.set_linger(Some(Duration::ZERO)));
    }

    /// Its number.
    pub fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Has the kernel call this readable from `bytes` on, or when the peer has closed, or when no
    /// more would find room. It makes room for so many, as far as tcp_rmem allows.
    ///
    /// # Errors
    /// The socket broke.
    pub fn readable_from(&self, bytes: usize) -> io::Result<()> {
        fd::set_readable_from(self.fd(), i32::try_from(bytes).unwrap_or(i32::MAX))
    }

    /// Who is at the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr().map_err(io::Error::from)
    }

    /// Reads what is there without waiting for more.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing; the socket broke.
    pub fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        fd::with_socket(self.fd(), |socket| {
            let (read, _) = rustix::net::recv(&*socket, into, RecvFlags::DONTWAIT)?;
            Ok(read)
        })
    }

    /// Reads what is there. Zero bytes: the peer has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }

    /// Writes all of `chain` before it is ready; what was not written yet stays in there.
    pub fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        chain: &mut Chain,
    ) -> Poll<io::Result<()>> {
        while let Some(slice) = chain.first() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, slice))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => chain.advance(taken),
            }
        }
        Poll::Ready(Ok(()))
    }
}
