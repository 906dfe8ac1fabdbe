use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use futures_lite::{AsyncRead, AsyncWrite};
use rustix::net::RecvFlags;
use rustls::ServerConfig;

use super::fd;
use super::tls::{self, Link, Session, Turn, WRAPPING};
use crate::bytes::{Chain, Place};
use crate::plane::Outcome;

/// A connected TCP socket on one core.
#[derive(Debug)]
pub struct TcpStream {
    /// `None` for a socket without TLS.
    tls: Option<Box<Secured>>,
    stream: glommio::net::TcpStream,
}

/// TLS on a connection.
#[derive(Debug)]
struct Secured {
    link: Link,
    /// Until it is done.
    handshake: Option<Handshake>,
}

/// What one that is not done waits for.
#[derive(Debug, Default)]
struct Handshake {
    /// Has come, and waits for its turn: a read at most.
    held: Vec<u8>,
    turn: Turn,
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
        this.tls = moved.tls.map(|session| {
            Box::new(Secured { link: tls::enter(this.fd(), *session), handshake: None })
        });
        this
    }

    pub(super) fn new(stream: glommio::net::TcpStream) -> Self {
        Self { tls: None, stream }
    }

    /// From now on the peer is expected to speak TLS, and its first bytes are `begun`.
    ///
    /// # Errors
    /// `config` cannot be used.
    pub fn secure(&mut self, config: Arc<ServerConfig>, begun: &[u8]) -> io::Result<()> {
        let session = Session::new(config)?;
        let handshake = Some(Handshake { held: begun.to_vec(), turn: Turn::default() });
        self.tls = Some(Box::new(Secured { link: tls::enter(self.fd(), session), handshake }));
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
        let tls = self.tls.take().map(|tls| {
            tls::leave(self.fd());
            Box::new(Rc::into_inner(tls.link).expect("listed once, and held here").into_inner())
        });
        Moved { socket, tls }
    }

    /// Says that nothing more will be written; what is still read does not matter.
    pub fn shutdown_write(&self) -> io::Result<()> {
        if let Some(tls) = &self.tls {
            let mut session = tls.link.borrow_mut();
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
        let Some(tls) = &self.tls else { return receive(self.fd(), into) };
        if tls.handshake.is_some() {
            // It waits for its turn, and what it holds back comes first.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (mut session, mut left) = (tls.link.borrow_mut(), WRAPPINGS_MAX);
        let closed = match read_all(&mut session, self.fd(), into, &mut left) {
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
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(0)) };
        let Secured { link, handshake: under_way } = &mut **tls;
        let mut session = link.borrow_mut();
        let mut left = WRAPPINGS_MAX;
        loop {
            // Our part of the handshake. The peer waits for it, so it must not wait for the peer.
            while session.is_handshaking() && !session.unsent().is_empty() {
                let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, session.unsent()))?;
                session.sent(sent);
            }
            if let Some(handshake) = under_way
                && !handshake.held.is_empty()
            {
                ready!(handshake.turn.poll(cx));
                let (records, began) = (std::mem::take(&mut handshake.held), Instant::now());
                let taken = take_in(&mut session, number, &records, &mut left);
                tls::took(began.elapsed());
                taken?;
                if !session.is_handshaking() {
                    *under_way = None;
                }
                continue;
            }
            if session.readable() > 0 {
                return Poll::Ready(Ok(session.read(into)));
            }
            if session.is_over() {
                return Poll::Ready(Ok(0));
            }
            if left == 0 {
                // Others have their turn: records without a byte of content could go on for ever.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let piece = into.len().min(PIECE);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into[..piece]))?;
            if read == 0 {
                return Poll::Ready(Ok(0));
            }
            if let Some(handshake) = under_way {
                handshake.held.extend_from_slice(&into[..read]);
                continue;
            }
            take_in(&mut session, number, &into[..read], &mut left)?;
            // As much as there is room for: who gets less takes it for all there was.
            match read_all(&mut session, number, into, &mut left) {
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
        while let Some(first) = chain.first() {
            let taken = match self.send(chain) {
                Outcome::Wrote(taken) | Outcome::Batch(taken) | Outcome::Held(taken) => taken,
                Outcome::Failed(kind) => return Poll::Ready(Err(kind.into())),
                // There is no room. This waits for it.
                Outcome::Full => {
                    // Of what lies in a file no more is copied than to where a page of it begins.
                    let most = from_file(chain, 0).map_or(first.len(), |(place, _)| to_page(place));
                    let some = &first[..first.len().min(most)];
                    ready!(Pin::new(&mut self.stream).poll_write(cx, some))?
                }
            };
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            chain.advance(taken);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what comes next in `chain` in one call, copied, or if much of it lies in a file, from there.
    fn send(&self, chain: &Chain) -> Outcome {
        let mut slices = ArrayVec::<_, SLICES>::new();
        let begins = from_file(chain, 0);
        if let Some((place, len)) = begins {
            match fd::send_file(self.fd(), place, len) {
                // Some kernels, and filters of system calls, have no such thing.
                Outcome::Failed(
                    io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput,
                ) => {}
                outcome => return outcome,
            }
        }
        for (slice, at) in chain.slices().take(SLICES).zip(0..) {
            if begins.is_none() && from_file(chain, at).is_some() {
                return fd::send_more(self.fd(), &slices);
            }
            slices.push(IoSlice::new(slice));
        }
        fd::send(self.fd(), &slices)
    }

    fn poll_write_all_tls(
        &mut self,
        cx: &mut Context<'_>,
        chain: &mut Chain,
    ) -> Poll<io::Result<()>> {
        let Some(Secured { link, .. }) = self.tls.as_deref() else { return Poll::Ready(Ok(())) };
        let mut session = link.borrow_mut();
        loop {
            while !session.unsent().is_empty() {
                match ready!(Pin::new(&mut self.stream).poll_write(cx, session.unsent()))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    sent => session.sent(sent),
                }
            }
            if chain.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let slices = chain.slices().take(SLICES).map(IoSlice::new);
            let slices = slices.collect::<ArrayVec<_, SLICES>>();
            // What the socket does not take is unsent, and waited for above.
            match tls::send_by(&mut session, self.stream.as_raw_fd(), &slices) {
                Outcome::Wrote(taken) | Outcome::Batch(taken) | Outcome::Held(taken) => {
                    drop(slices);
                    chain.advance(taken);
                }
                Outcome::Full => {}
                Outcome::Failed(kind) => return Poll::Ready(Err(kind.into())),
            }
        }
    }
}

/// Slices of a reply that are written in one go, or encrypted together.
const SLICES: usize = 16;
/// So much in a file is sent from there. Less, as a part of low latency, goes with its head in one call.
const FROM_FILE: usize = 128 << 10;

/// What is to be sent from a file, from the `skip`th slice on.
fn from_file(chain: &Chain, skip: usize) -> Option<(&Place, usize)> {
    chain.in_file(skip).filter(|(_, len)| *len >= FROM_FILE)
}

/// How many bytes there are to the end of the page.
fn to_page(place: &Place) -> usize {
    let page = rustix::param::page_size();
    page - usize::try_from(place.offset % page as u64).unwrap_or(0)
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
/// `Ok`: that is so, or the peer has closed. `WouldBlock`: there is no more for now, or so much came
/// that holds so little that nothing is `left` of the turn.
fn read_all(
    session: &mut Session,
    number: RawFd,
    scratch: &mut [u8],
    left: &mut usize,
) -> io::Result<()> {
    let piece = scratch.len().min(PIECE);
    while session.readable() < scratch.len() && !session.is_over() {
        if *left == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match receive(number, &mut scratch[..piece])? {
            0 => return Ok(()),
            read => take_in(session, number, &scratch[..read], left)?,
        }
    }
    Ok(())
}

/// What is around the content of all records that one turn works off. A record costs as much time
/// with one byte in it as with some hundreds, so these are counted: as many as a publisher fills the
/// largest read with that puts 128 bytes, the smallest chunk of RTMP, into each.
const WRAPPINGS_MAX: usize = 512 * WRAPPING;
/// Bytes that are read at once: a turn that has something left goes on for so many records more as
/// find room in them.
const PIECE: usize = 8 << 10;

/// What the session has to say to it is sent, as far as the socket takes it: the rest goes before
/// what is written next. What is no content is taken from what is `left` of the turn.
fn take_in(
    session: &mut Session,
    number: RawFd,
    records: &[u8],
    left: &mut usize,
) -> io::Result<()> {
    let taken = session.receive(records);
    if !session.is_handshaking() || taken.is_err() {
        // A broken socket is noticed by whoever reads it next.
        let _ = tls::send_rest(session, number);
    }
    *left = left.saturating_sub(taken?);
    Ok(())
}
