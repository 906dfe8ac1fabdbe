//! One viewer's socket, from its first connection to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use corecast::bytes::Chain;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;

use super::bucket::Bucket;
use super::fetching::Fetching;
use super::plan::Role;
use crate::inspect::{Findings, Inspector, Moment};
use crate::viewer::hls::Tally;
use crate::viewer::{Event, Session, Stream, Voice};

/// A place in the crowd. Whoever has it may leave and come back; small, for there are many.
pub(super) struct Seat {
    pub(super) role: Role,
    /// Tells the events of one connection from those of the one before.
    pub(super) generation: u32,
    pub(super) state: State,
    /// Bytes of this connection, modulo 2^32.
    received: u32,
    /// Slow readers have one.
    pub(super) bucket: Option<Box<Bucket>>,
    /// The server has let it in before.
    pub(super) has_been_in: bool,
    /// Its last connection was refused or lost, and it tries again or waits for that.
    pub(super) tries_again: bool,
    /// How many pauses it has made before a try since it last stayed in.
    pub(super) pauses: u8,
    /// When it was last let in, in seconds from the start.
    pub(super) in_since_s: u32,
    /// It was in when the measured time began, and has received nothing since.
    pub(super) starves: bool,
}

/// ```text
/// Out ─> Talking ─> Discarding | Inspecting ─> Out
///  │        └────────── refused ────────────────^
///  └───> Fetching ──────────────────────────────┘
/// ```
pub(super) enum State {
    /// Has not come yet, or has gone.
    Out,
    /// Connects, asks, and waits to be let in.
    Talking(Box<Talking>),
    /// Lets the kernel throw away what comes. Over TLS it has a voice, if it says anything.
    Discarding(Socket, Option<Box<Voice>>),
    /// Looks at every byte.
    Inspecting(Box<Inspecting>),
    /// Asks for one file after the other.
    Fetching(Box<Fetching>),
}

pub(super) struct Talking {
    socket: Socket,
    session: Box<dyn Session>,
    since: Moment,
    /// When it was to come.
    due: Instant,
    connected: bool,
}

pub(super) struct Inspecting {
    socket: Socket,
    session: Box<dyn Session>,
    inspector: Inspector,
}

/// What came of a look at the socket.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Bytes that were read, or thrown away.
    pub(super) bytes: usize,
    /// The connection is made and the request sent; from now on it is only read.
    pub(super) asked: bool,
    /// The server let the viewer in, and said what it calls itself.
    pub(super) joined: Option<Option<String>>,
    /// A slow reader has had enough for now.
    pub(super) rest: bool,
}

/// An answer to a request comes in pieces of at most this size; so little of what follows it is
/// read in vain.
const ANSWER_BYTES: usize = 4096;

impl Seat {
    /// Nobody has come yet.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            generation: 0,
            state: State::Out,
            received: 0,
            bucket: None,
            has_been_in: false,
            tries_again: false,
            pauses: 0,
            in_since_s: 0,
            starves: false,
        }
    }

    /// Takes the seat, as it was to at `due`; `socket` is connecting.
    pub(super) fn sit(
        &mut self,
        socket: Socket,
        session: Box<dyn Session>,
        since: Moment,
        due: Instant,
    ) {
        self.generation = self.generation.wrapping_add(1);
        self.received = 0;
        let talking = Talking { socket, session, since, due, connected: false };
        self.state = State::Talking(Box::new(talking));
    }

    /// The same for a viewer that fetches.
    pub(super) fn sit_and_fetch(&mut self, fetching: Fetching) {
        self.generation = self.generation.wrapping_add(1);
        self.received = 0;
        self.state = State::Fetching(Box::new(fetching));
    }

    /// Whether the server has let it in.
    pub(super) fn is_in(&self) -> bool {
        match &self.state {
            State::Out | State::Talking(_) => false,
            State::Discarding(..) | State::Inspecting(_) => true,
            State::Fetching(fetching) => fetching.is_in,
        }
    }

    /// Whether it does not matter when it reads, within reason: it only discards, at no pace of its
    /// own and from a buffer that holds a while.
    pub(super) fn is_patient(&self) -> bool {
        let hurries = self.role.slow || self.role.small_buffer;
        !hurries
            && match &self.state {
                State::Discarding(..) => true,
                State::Fetching(fetching) => fetching.is_patient(),
                State::Out | State::Talking(_) | State::Inspecting(_) => false,
            }
    }

    /// Since when it waits to be let in.
    pub(super) fn talking_since(&self) -> Option<Instant> {
        match &self.state {
            State::Talking(talking) => Some(talking.since.at),
            State::Fetching(fetching) if !fetching.is_in => Some(fetching.since.at),
            _ => None,
        }
    }

    /// The socket, while there is one.
    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Out => None,
            State::Talking(talking) => Some(talking.socket.as_fd()),
            State::Discarding(socket, _) => Some(socket.as_fd()),
            State::Inspecting(inspecting) => Some(inspecting.socket.as_fd()),
            State::Fetching(fetching) => Some(fetching.socket.as_fd()),
        }
    }

    /// What a viewer that fetches has to be woken for, if that is news.
    pub(super) fn new_alarm(&mut self) -> Option<Instant> {
        match &mut self.state {
            State::Fetching(fetching) => fetching.new_alarm(),
            _ => None,
        }
    }

    /// What was due at `alarm` is.
    ///
    /// # Errors
    /// The server does not read.
    pub(super) fn wake(&mut self, alarm: Instant) -> io::Result<()> {
        match &mut self.state {
            State::Fetching(fetching) if fetching.alarm == Some(alarm) => fetching.wake(),
            _ => Ok(()),
        }
    }

    /// The socket is ready, or (`hung_up`) will not be again. `scratch` is overwritten, or not.
    ///
    /// # Errors
    /// The server refused, hung up or broke the protocol.
    pub(super) fn look(
        &mut self,
        now: Instant,
        hung_up: bool,
        scratch: &mut [u8],
        findings: &mut Findings,
        tally: &mut Tally,
    ) -> io::Result<Look> {
        let allowed = match &mut self.bucket {
            Some(bucket) if !hung_up => bucket.allowance(now),
            _ => Some(scratch.len()),
        };
        let Some(allowed) = allowed.map(|allowed| allowed.min(scratch.len())) else {
            return Ok(Look { rest: true, ..Look::default() });
        };
        let was_in = self.is_in();
        let mut look = match &mut self.state {
            State::Out => Look::default(),
            State::Discarding(socket, _) => {
                // The kernel copies nothing for TRUNC on TCP (tcp(7)).
                let bytes = receive(socket, &mut scratch[..allowed], RecvFlags::TRUNC)?;
                Look { bytes, ..Look::default() }
            }
            State::Inspecting(inspecting) => inspecting.look(&mut scratch[..allowed], findings)?,
            State::Fetching(fetching) => fetching.look(scratch, findings, tally)?,
            State::Talking(_) => {
                let allowed = allowed.min(ANSWER_BYTES);
                self.talk(now, &mut scratch[..allowed], findings)?
            }
        };
        self.received = self.received.wrapping_add(look.bytes as u32);
        // The server's yes feeds nobody.
        self.starves &= !was_in || look.bytes == 0;
        if let Some(bucket) = &mut self.bucket {
            bucket.take(look.bytes);
            look.rest = bucket.allowance(now).is_none();
        }
        Ok(look)
    }

    fn talk(
        &mut self,
        now: Instant,
        scratch: &mut [u8],
        findings: &mut Findings,
    ) -> io::Result<Look> {
        let State::Talking(talking) = &mut self.state else { return Ok(Look::default()) };
        if !talking.connected {
            if let Some(error) = talking.socket.take_error()? {
                return Err(error);
            }
            talking.connected = true;
            transmit(&talking.socket, &mut *talking.session)?;
            return Ok(Look { asked: true, ..Look::default() });
        }
        let received = receive(&talking.socket, scratch, RecvFlags::empty());
        let bytes = received.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::other(
                "the server hung up without an answer; does this port speak the protocol of the URL?",
            ),
            _ => error,
        })?;
        let mut input = &scratch[..bytes];
        let event = talking.session.handle_input(now, &mut input)?;
        transmit(&talking.socket, &mut *talking.session)?;
        let Some(Event::Joined { server }) = event else {
            return Ok(Look { bytes, ..Look::default() });
        };
        let State::Talking(talking) = std::mem::replace(&mut self.state, State::Out) else {
            unreachable!("it was a moment ago");
        };
        let Talking { socket, session, since, due, .. } = *talking;
        self.state = match self.role.inspects {
            false => State::Discarding(socket, session.into_voice()),
            true => {
                let inspector = Inspector::new(since, due);
                inspector.joined(Instant::now(), findings);
                let mut inspecting = Box::new(Inspecting { socket, session, inspector });
                inspecting.take(input, findings)?;
                State::Inspecting(inspecting)
            }
        };
        Ok(Look { bytes, joined: Some(server), ..Look::default() })
    }

    /// Says a word if it only discards: those that look answer by their session. What does not fit
    /// is not said, and who has gone will be found out by reading.
    ///
    /// # Errors
    /// Half of it fitted, which the server cannot read.
    pub(super) fn show_life(&mut self, stream: &dyn Stream) -> io::Result<()> {
        let State::Discarding(socket, voice) = &mut self.state else { return Ok(()) };
        // Over TLS its records are counted whole: some bytes in a hundred more.
        let Some(words) = stream.sign_of_life(self.received) else { return Ok(()) };
        let sealed = voice.as_mut().map(|voice| voice.seal(&words)).transpose()?;
        let words = sealed.as_deref().unwrap_or(&words);
        match rustix::net::send(socket, words, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) if count < words.len() => Err(unread()),
            _ => Ok(()),
        }
    }

    /// It goes, or the measurement ends.
    pub(super) fn leave(&self, now: Instant, findings: &mut Findings) {
        match &self.state {
            State::Inspecting(inspecting) => inspecting.inspector.leave(now, findings),
            State::Fetching(fetching) => fetching.leave(now, findings),
            State::Out | State::Talking(_) | State::Discarding(..) => {}
        }
    }
}

impl Inspecting {
    fn look(&mut self, scratch: &mut [u8], findings: &mut Findings) -> io::Result<Look> {
        let bytes = receive(&self.socket, scratch, RecvFlags::empty())?;
        self.take(&scratch[..bytes], findings)?;
        Ok(Look { bytes, ..Look::default() })
    }

    fn take(&mut self, mut input: &[u8], findings: &mut Findings) -> io::Result<()> {
        let read = Moment::now();
        while let Some(event) = self.session.handle_input(read.at, &mut input)? {
            match event {
                Event::Frame(frame) => self.inspector.take(&frame, read, findings),
                Event::Fragment(fragment) => Inspector::take_fragment(&fragment, findings),
                Event::Joined { .. } => {}
            }
        }
        transmit(&self.socket, &mut *self.session)
    }
}

/// What a viewer says is far smaller than an empty socket buffer; if it does not fit, something is
/// wrong.
fn transmit(socket: &Socket, session: &mut dyn Session) -> io::Result<()> {
    let mut out = Chain::default();
    while session.poll_transmit(&mut out) {}
    out.slices().try_for_each(|slice| {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::send(socket, slice, flags)? == slice.len() {
            true => Ok(()),
            false => Err(unread()),
        }
    })
}

/// The server lets requests wait in its socket.
pub(super) fn unread() -> io::Error {
    io::Error::other("the server does not read what the viewer says")
}

/// Reads what is there; nothing if nothing is.
///
/// # Errors
/// The server hung up.
pub(super) fn receive(socket: &Socket, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    match rustix::net::recv(socket, into, flags | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
        Ok((_, count)) => Ok(count),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_small() {
        // Twenty thousand of them are to fit into the cache.
        assert!(size_of::<Seat>() <= 48, "{} bytes", size_of::<Seat>());
    }
}
