use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};

use super::access::Network;
use super::core::{Core, Node, SCRATCH_BYTES};
use super::grant::Grant;
use super::verdict::{ClientId, Protocol};
use crate::bytes::Chain;
use crate::net::TcpStream;
use crate::net::rt::{self, Deadline};
use crate::plane::SinkEnd;

/// One connection: its socket, what was read and not yet taken, what is to be written.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) core: Rc<Core>,
    pub(crate) socket: TcpStream,
    pub(crate) about: About,
    /// Read, and not taken by the machine because a question is open.
    /// Boxed: of thousands, hardly one has any.
    pub(crate) unread: Option<Box<BytesMut>>,
    pub(crate) out: Chain,
    /// When a peer that takes nothing of `out` is given up; while one does not.
    gives_up: Option<Instant>,
    deadline: Deadline,
    pub(super) input_waits: InputWaits,
}

/// Whether input waits in the socket, and the kernel wakes nobody, until there is [`MUCH`]. The
/// kernel has its own memory of that, which goes wherever the socket goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum InputWaits {
    /// It never did.
    NotYet,
    /// It did, and room was made for it.
    NotNow,
    /// It does.
    Now,
}

/// What a connection is, wherever it lives, and its place among those of the node, which is given
/// back on drop.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) client: ClientId,
    /// Who the client is, as far as proxies that we trust say.
    pub(crate) peer: SocketAddr,
    /// The connection's own address, while `peer` is what a request said: the next may say another.
    hop: Option<Box<SocketAddr>>,
    pub(crate) protocol: Protocol,
    pub(crate) opened: Instant,
    pub(crate) node: Arc<Node>,
    /// To publish or play. Before the next, so that it ends first.
    pub(crate) granted: Option<Grant>,
    /// Bytes it was sent by its driver: all but what a viewer is sent of its stream.
    pub(crate) answered: u64,
    /// To connect, if somebody was asked.
    pub(crate) connected: Option<Grant>,
}

impl About {
    /// A connection accepted at `opened` that counts in already.
    pub(crate) fn new(
        client: ClientId,
        peer: SocketAddr,
        protocol: Protocol,
        opened: Instant,
        node: Arc<Node>,
    ) -> Self {
        Self {
            client,
            peer,
            hop: None,
            protocol,
            opened,
            node,
            answered: 0,
            granted: None,
            connected: None,
        }
    }

    /// The client is at `peer`, as a proxy says of the whole connection. It counts there from now
    /// on; answers with how many do.
    pub(crate) fn set_peer(&mut self, peer: SocketAddr) -> usize {
        self.node.addresses.leave(Network::of(self.peer.ip()));
        self.peer = peer;
        self.node.addresses.enter(Network::of(peer.ip()))
    }

    /// The same of one request. None: the connection's own.
    pub(crate) fn set_requester(&mut self, peer: Option<SocketAddr>) -> usize {
        let hop = self.hop();
        self.hop = peer.map(|_| Box::new(hop));
        self.set_peer(peer.unwrap_or(hop))
    }

    /// Where the connection comes from, whoever its requests are for.
    pub(crate) fn hop(&self) -> SocketAddr {
        self.hop.as_deref().copied().unwrap_or(self.peer)
    }
}

impl Drop for About {
    fn drop(&mut self) {
        self.node.counters.connections.fetch_sub(1, Ordering::Relaxed);
        self.node.addresses.leave(Network::of(self.peer.ip()));
    }
}

/// What the socket or the clock said.
#[derive(Debug)]
pub(crate) enum Io {
    /// So many bytes lie in the core's scratch buffer: `all` that had come, or a part.
    Input { read: usize, all: bool },
    /// The peer has closed.
    Closed,
    /// What was to be written is.
    Written,
    /// The deadline has passed.
    Deadline,
}

/// Why a connection ended, for its last line in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// It said all it had to say.
    #[error("{0}")]
    Finished(String),
    /// The peer hung up.
    #[error("the peer closed")]
    PeerClosed,
    /// The socket broke.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// The plane gave a viewer up, perhaps inside a message: not another word.
    #[error("{0}")]
    BrokenOff(SinkEnd),
    /// Its address may not be here: not another word.
    #[error("{0}")]
    Blocked(String),
    /// It broke a rule; worth a line of its own.
    #[error("{0}")]
    Violation(String),
}

/// A peer that does not read our last words in this time does not get them.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long, and how much, is read after our last words, so that closing does not destroy them
/// on their way (RFC 9112 9.6 says why).
pub(super) const LINGER: Duration = Duration::from_secs(1);
/// Input that is let wait is read from so many bytes on: two reads, and less than a core's cache. The
/// kernel tells earlier if the window that it offers is nearly closed, or its memory for TCP is scarce.
const MUCH: usize = 2 * SCRATCH_BYTES;

impl Io {
    /// Of `read` bytes where there was room for `most`, which is more than none.
    fn of_read(read: usize, most: usize) -> Self {
        match read {
            0 => Self::Closed,
            // The kernel fills the room if it can (recv(2)).
            read => Self::Input { read, all: read < most },
        }
    }
}

impl Conn {
    pub(crate) fn new(core: &Rc<Core>, socket: TcpStream, about: About) -> Self {
        Self {
            core: Rc::clone(core),
            socket,
            about,
            unread: None,
            out: Chain::default(),
            gives_up: None,
            deadline: Deadline::default(),
            input_waits: InputWaits::NotYet,
        }
    }

    /// Waits for input or for `until`. What is to be written goes first, and while the machine
    /// holds back too much, nothing is read.
    pub(crate) fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
    ) -> Poll<io::Result<Io>> {
        if !self.out.is_empty() {
            return self.poll_write(cx);
        }
        self.let_input_wait(false)?;
        self.poll_input(cx, until)
    }

    /// Waits until `rest` or `until`, or until much has come or the peer has closed, and takes what
    /// input has come by then, if any. What is to be written goes first.
    pub(crate) fn poll_rest(
        &mut self,
        cx: &mut Context<'_>,
        until: Option<Instant>,
        rest: Instant,
    ) -> Poll<Option<io::Result<Io>>> {
        if !self.out.is_empty() {
            return self.poll_write(cx).map(Some);
        }
        if let Err(error) = self.let_input_wait(true) {
            return Poll::Ready(Some(Err(error)));
        }
        let until = until.filter(|until| *until < rest);
        match ready!(self.poll_input(cx, Some(until.unwrap_or(rest)))) {
            Ok(Io::Deadline) if until.is_none() => Poll::Ready(None),
            io => Poll::Ready(Some(io)),
        }
    }

    /// Waits for input or for `until`. What lies there goes before a deadline: it may have come in
    /// time, to a core that was late. Whoever calls bounds how often.
    fn poll_input(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Poll<io::Result<Io>> {
        let over = self.deadline.poll(cx, until).is_ready();
        let most = self.room();
        if most > 0 {
            let mut scratch = self.core.scratch.borrow_mut();
            let read = match over {
                true => self.socket.try_read(&mut scratch[..most]),
                false => ready!(self.socket.poll_read(cx, &mut scratch[..most])),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|read| Io::of_read(read, most))),
            }
        }
        match over {
            true => Poll::Ready(Ok(Io::Deadline)),
            false => Poll::Pending,
        }
    }

    /// Has the kernel wake nobody before [`MUCH`] has come, or else at each byte.
    fn let_input_wait(&mut self, wait: bool) -> io::Result<()> {
        match (self.input_waits, wait) {
            (InputWaits::NotYet, true) => {
                // Makes room for it, and for what comes until it is read. What the kernel has made
                // it keeps.
                self.socket.readable_from(2 * MUCH)?;
                self.socket.readable_from(MUCH)?;
            }
            (InputWaits::NotNow, true) => self.socket.readable_from(MUCH)?,
            (InputWaits::Now, false) => self.socket.readable_from(1)?,
            (InputWaits::Now, true) | (InputWaits::NotYet | InputWaits::NotNow, false) => {
                return Ok(());
            }
        }
        self.input_waits = if wait { InputWaits::Now } else { InputWaits::NotNow };
        Ok(())
    }

    /// How much may be read at once: the scratch buffer, or less while the machine holds back.
    fn room(&self) -> usize {
        match &self.unread {
            None => SCRATCH_BYTES,
            Some(unread) => {
                let held = self.core.setup().config.limits.held_input_bytes;
                held.saturating_sub(unread.len()).min(SCRATCH_BYTES)
            }
        }
    }

    /// Offers `read` bytes of the scratch buffer to `take`, after what it left before, and keeps
    /// what it does not take now.
    pub(crate) fn feed<E>(
        &mut self,
        read: usize,
        mut take: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let scratch = self.core.scratch.borrow();
        if let Some(unread) = &mut self.unread {
            unread.extend_from_slice(&scratch[..read]);
            drop(scratch);
            return self.feed_rest(take).map(|_| ());
        }
        let taken = take(&scratch[..read])?;
        if taken < read {
            self.unread = Some(Box::new(BytesMut::from(&scratch[taken..read])));
        }
        Ok(())
    }

    /// Offers what was left before. Answers true if any of it was taken.
    pub(crate) fn feed_rest<E>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<usize, E>,
    ) -> Result<bool, E> {
        let Some(unread) = &mut self.unread else { return Ok(false) };
        let taken = take(unread)?;
        unread.advance(taken);
        if unread.is_empty() {
            self.unread = None;
        }
        Ok(taken > 0)
    }

    /// Writes what is to be written, for as long as the peer takes some of it now and then.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Io>> {
        let before = self.out.len();
        let written = self.socket.poll_write_all(cx, &mut self.out);
        self.about.answered += (before - self.out.len()) as u64;
        if let Poll::Ready(written) = written {
            self.gives_up = None;
            return Poll::Ready(written.map(|()| Io::Written));
        }
        if self.out.len() < before || self.gives_up.is_none() {
            let patience = self.core.setup().config.limits.reply_timeout;
            self.gives_up = Some(Instant::now() + patience);
        }
        self.deadline.poll(cx, self.gives_up).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Writes the last words, says that they were the last, and waits until the peer has closed
    /// too or enough time has passed.
    pub(crate) async fn say_goodbye(&mut self) {
        let mut deadline = Deadline::default();
        let until = Instant::now() + LAST_WORDS;
        let written = std::future::poll_fn(|cx| {
            if deadline.poll(cx, Some(until)).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.socket.poll_write_all(cx, &mut self.out)
        });
        if written.await.is_err() || self.socket.shutdown_write().is_err() {
            return;
        }
        let until = Instant::now() + LINGER;
        self.unread = None;
        // Nothing is left in `out`, so this only reads.
        while Instant::now() < until
            && let Ok(Io::Input { .. }) =
                std::future::poll_fn(|cx| self.poll_io(cx, Some(until))).await
        {
            rt::yield_if_needed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::net;

    use super::*;
    use crate::config::App;
    use crate::net::{Listener, bind};
    use crate::serve::alone::on_the_only_core;

    #[test]
    fn what_came_before_a_late_core_looked_at_the_time_is_read_first() {
        on_the_only_core(App::default(), |core| async move {
            let any = "127.0.0.1:0".parse().expect("an address");
            let socket = net::TcpListener::from(bind(any, false, 16).expect("a free port"));
            let to = socket.local_addr().expect("bound");
            let listener = Listener::new(socket.into(), Duration::ZERO, Duration::ZERO);
            let mut client = net::TcpStream::connect(to).expect("it listens");
            let (socket, peer) = listener.accept().await.expect("it has come");
            let (now, node) = (Instant::now(), Arc::clone(&core.node));
            node.counters.connections.fetch_add(1, Ordering::Relaxed);
            node.addresses.enter(Network::of(peer.ip()));
            let about = About::new(ClientId(1), peer, Protocol::Http, now, node);
            let mut conn = Conn::new(&core, socket, about);
            client.write_all(b"first").expect("it is open");
            let twin = conn.socket.duplicate().expect("a descriptor");
            let twin = net::TcpStream::from(twin);
            while twin.peek(&mut [0]).is_err() {
                assert!(now.elapsed() < Duration::from_secs(20), "it has not come");
                rt::sleep(Duration::from_millis(1)).await;
            }
            let deadline = Some(now);
            let io = poll_fn(|cx| conn.poll_io(cx, deadline)).await;
            assert!(matches!(io, Ok(Io::Input { read: 5, all: true })), "{io:?}");
            let io = poll_fn(|cx| conn.poll_io(cx, deadline)).await;
            assert!(matches!(io, Ok(Io::Deadline)), "{io:?}");
        });
    }
}
