use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use corecast::bytes::Chain;
use corecast::media::Frame;
use corecast::proto::rtmp::client::Event;
use corecast::proto::rtmp::{Client, ClientConfig, Goal, Url};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::stream::Stream;
use crate::viewer::{is_http, words};

/// One publisher's connection. Nothing here waits.
pub(super) struct Connection {
    socket: TcpStream,
    client: Client,
    out: Chain,
    began: bool,
    has_heard: bool,
}

impl Connection {
    /// Begins to connect. The socket is writable when that is done.
    pub(super) fn begin(
        address: SocketAddr,
        config: Arc<ClientConfig>,
        url: Arc<Url>,
        now: Instant,
    ) -> io::Result<Self> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let client = Client::new(config, url, Goal::Publish, 1, now);
        Ok(Self {
            socket: socket.into(),
            client,
            out: Chain::default(),
            began: false,
            has_heard: false,
        })
    }

    /// Reads and writes all that can be: the socket tells only of changes. True when publishing was granted with it.
    ///
    /// # Errors
    /// Nobody is there, or the server refused, ended it or hung up, with its words.
    pub(super) fn ready(&mut self, now: Instant) -> io::Result<bool> {
        if !self.began {
            if let Some(error) = self.socket.take_error()? {
                return Err(error);
            }
            self.began = true;
        }
        self.flush()?;
        let mut granted = false;
        let mut input = [0; 4096];
        loop {
            match self.socket.read(&mut input) {
                Ok(0) => return Err(io::Error::other("the server hung up")),
                Ok(count) => {
                    if !std::mem::replace(&mut self.has_heard, true) {
                        is_http(&input[..count])?;
                    }
                    self.client.handle_input(now, &input[..count]).map_err(io::Error::other)?;
                    granted |= self.events()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.flush()?;
        Ok(granted)
    }

    fn events(&mut self) -> io::Result<bool> {
        let mut granted = false;
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Started => granted = true,
                Event::Refused { code, description } => {
                    return Err(io::Error::other(format!(
                        "refused: {} {}",
                        words(&code),
                        words(&description)
                    )));
                }
                Event::Ended { code, description } => {
                    let why =
                        format!("the server ended it: {} {}", words(&code), words(&description));
                    return Err(io::Error::other(why));
                }
                _ => {}
            }
        }
        Ok(granted)
    }

    /// When to call [`Self::check_deadline`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.client.poll_timeout().map(|(at, _)| at)
    }

    /// # Errors
    /// The server has not answered in time.
    pub(super) fn check_deadline(&mut self, now: Instant) -> io::Result<()> {
        self.client.handle_timeout(now).map_err(io::Error::other)
    }

    /// What comes before the first frame.
    pub(super) fn announce(&mut self, stream: &Stream) -> io::Result<()> {
        if let Some(metadata) = stream.metadata() {
            self.client.push_metadata(metadata);
        }
        for track in stream.tracks() {
            self.client.push_track(track);
        }
        self.flush()
    }

    /// Sends a frame, or what the socket takes of it.
    pub(super) fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.client.push_frame(frame);
        self.flush()
    }

    /// True while the socket has not taken everything.
    pub(super) fn is_blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Takes leave, as far as the socket lets it.
    pub(super) fn leave(mut self) {
        // A server that has gone meanwhile needs no farewell. What it said is read, because closing
        // with unread bytes would reset the connection and take the farewell with it.
        let _ = self.ready(Instant::now());
        self.client.stop();
        let _ = self.flush();
    }

    fn flush(&mut self) -> io::Result<()> {
        const SLICES: usize = 16;
        loop {
            while self.client.poll_transmit(&mut self.out) {}
            if self.out.is_empty() {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let used = slices.iter_mut().zip(self.out.slices());
            let count = used.map(|(into, slice)| *into = IoSlice::new(slice)).count();
            match self.socket.write_vectored(&slices[..count]) {
                Ok(taken) => self.out.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
