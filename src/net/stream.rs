use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::RecvFlags;
use rustls::ServerConfig;

use super::fd;
use super::tls::{self, Link, Plaintext, ROOM, Session};
use crate::bytes::Chain;

/// A connected TCP socket on one core.
#[derive(Debug)]
pub struct TcpStream {
    /// `None` for a socket without TLS.
    tls: Option<Link>,
    stream: glommio::net::TcpStream,
}

/// A socket on its way to another core.
#[derive(Debug)]
pub struct Moved {
    socket: OwnedFd,
    tls: Option<Box<Session>>,
}

impl From<OwnedFd> for Moved {
    fn from(socket: OwnedFd) -> Self {
        Self { socket, tls: None }
    }
}

impl TcpStream {
    /// Takes a socket over on this core.
    pub fn arrive(moved: Moved) -> Self {
        let mut this = Self::new(fd::stream(moved.socket));
        this.tls = moved.tls.map(|session| tls::enter(this.fd(), *session));
        this
    }

    pub(super) fn new(stream: glommio::net::TcpStream) -> Self {
        Self { tls: None, stream }
    }

    /// From now on the peer is expected to speak TLS, and its first bytes are `begun`.
    ///
    /// # Errors
    /// `config` cannot be used, or `begun` is no TLS.
    pub fn secure(&mut self, config: Arc<ServerConfig>, begun: &[u8]) -> io::Result<()> {
        let mut session = Session::new(config)?;
        if !begun.is_empty() {
            take_in(&mut session, self.fd(), begun)?;
        }
        self.tls = Some(tls::enter(self.fd(), session));
        Ok(())
    }

    /// Whether the peer speaks TLS, or is expected to.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// The socket, for another core. It costs a descriptor until this one is dropped, which
    /// cancels whatever waits on it here.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        fd::duplicate(self.stream.as_raw_fd())
    }

    /// Leaves for another core as `socket`, its [duplicate](Self::duplicate).
    pub fn depart(mut self, socket: OwnedFd) -> Moved {
        let tls = self.tls.take().map(|link| {
            tls::leave(self.fd());
            Box::new(Rc::into_inner(link).expect("listed once, and held here").into_inner())
        });
        Moved { socket, tls }
    }

    /// Says that nothing more will be written; what is still read does not matter.
    pub fn shutdown_write(&self) -> io::Result<()> {
        if let Some(link) = &self.tls {
            let mut session = link.borrow_mut();
            session.close();
            // A full socket does not get it, and sees the end all the same.
            let _ = tls::send_rest(&mut session, self.fd());
        }
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
        let Some(link) = &self.tls else { return receive(self.fd(), into) };
        let mut session = link.borrow_mut();
        let closed = match read_all(&mut session, self.fd(), into) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            read => read.map(|()| true)?,
        };
        match session.read(into) {
            0 if !closed && !session.is_over() => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }

    /// Reads what is there. Zero bytes: the peer has closed.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.tls.is_none() {
            return Pin::new(&mut self.stream).poll_read(cx, into);
        }
        self.poll_read_tls(cx, into)
    }

    fn poll_read_tls(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let number = self.fd();
        let Some(link) = &self.tls else { return Poll::Ready(Ok(0)) };
        let mut session = link.borrow_mut();
        loop {
            // Our part of the handshake. The peer waits for it, so it must not wait for the peer.
            while session.is_handshaking() && !session.unsent().is_empty() {
                let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, session.unsent()))?;
                session.sent(sent);
            }
            if session.readable() > 0 {
                return Poll::Ready(Ok(session.read(into)));
            }
            if session.is_over() {
                return Poll::Ready(Ok(0));
            }
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            take_in(&mut session, number, &into[..read])?;
            // As much as there is room for: who gets less takes it for all there was.
            match read_all(&mut session, number, into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => read?,
            }
        }
    }

    /// Writes all of `chain` before it is ready; what was not written yet stays in there.
    pub fn poll_write_all(
        &mut self,
        cx: &mut Context<'_>,
        chain: &mut Chain,
    ) -> Poll<io::Result<()>> {
        if self.tls.is_some() {
            return self.poll_write_all_tls(cx, chain);
        }
        while let Some(slice) = chain.first() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, slice))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                taken => chain.advance(taken),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_all_tls(
        &mut self,
        cx: &mut Context<'_>,
        chain: &mut Chain,
    ) -> Poll<io::Result<()>> {
        let Some(link) = &self.tls else { return Poll::Ready(Ok(())) };
        let mut session = link.borrow_mut();
        loop {
            while !session.unsent().is_empty() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, session.unsent()))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    sent => session.sent(sent),
                }
            }
            let Some(slice) = chain.first() else { return Poll::Ready(Ok(())) };
            let mut room = vec![0; ROOM];
            let slices = [IoSlice::new(slice)];
            let (taken, made) = session.encrypt(&mut Plaintext::new(&slices), &mut room)?;
            session.keep(&room[..made]);
            chain.advance(taken);
        }
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if self.tls.is_some() {
            tls::leave(self.stream.as_raw_fd());
        }
    }
}

fn receive(number: RawFd, into: &mut [u8]) -> io::Result<usize> {
    fd::with_socket(number, |socket| {
        let (read, _) = rustix::net::recv(&*socket, into, RecvFlags::DONTWAIT)?;
        Ok(read)
    })
}

/// Takes in what the socket has, by way of `scratch`, until as much can be read as that holds.
/// `Ok`: that is so, or the peer has closed. `WouldBlock`: there is no more for now.
fn read_all(session: &mut Session, number: RawFd, scratch: &mut [u8]) -> io::Result<()> {
    while session.readable() < scratch.len() && !session.is_over() {
        match receive(number, scratch)? {
            0 => return Ok(()),
            read => take_in(session, number, &scratch[..read])?,
        }
    }
    Ok(())
}

/// What the session has to say to it is sent, as far as the socket takes it: the rest goes before
/// what is written next.
fn take_in(session: &mut Session, number: RawFd, records: &[u8]) -> io::Result<()> {
    let taken = session.receive(records);
    if !session.is_handshaking() || taken.is_err() {
        // A broken socket is noticed by whoever reads it next.
        let _ = tls::send_rest(session, number);
    }
    taken
}
