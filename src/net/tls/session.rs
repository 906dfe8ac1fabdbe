//! One TLS connection without its socket: bytes in, bytes out.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The server's side of a connection. What it holds beside its keys is what has come and is not
/// whole yet, what was not read yet, and what the socket has not taken; in between nothing.
pub struct Session {
    connection: UnbufferedServerConnection,
    /// Records that have come, the last of them perhaps in part.
    incoming: Vec<u8>,
    /// Decrypted, and not read yet.
    plain: BytesMut,
    /// Encrypted, and not taken by the socket yet.
    unsent: BytesMut,
    peer_closed: bool,
}

/// Plaintext that is encrypted before the socket is asked to take it. More would be kept for each
/// viewer that is slow.
const BATCH: usize = 64 << 10;
/// What the records of one write add to what is in them: as many as there are slices, and a message
/// about keys.
const RECORDS_ROOM: usize = 8 << 10;
/// The least that a record adds to what is in it: a header and a tag.
pub(crate) const WRAPPING: usize = 5 + 16;
/// Room for a batch in its records.
pub const ROOM: usize = BATCH + RECORDS_ROOM;
/// What is kept of records that are not whole, and of messages of a handshake that are not: a record is
/// no longer than 16 KiB and a little (RFC 8446 5.2), which rustls sees to.
const INCOMING_MAX: usize = 64 << 10;

impl Session {
    /// A connection that has just been accepted.
    pub fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(broken)?;
        let (plain, unsent) = (BytesMut::new(), BytesMut::new());
        Ok(Self { connection, incoming: Vec::new(), plain, unsent, peer_closed: false })
    }

    /// Takes what the socket gave, and says how many bytes of what was worked off were no content:
    /// there are [`WRAPPING`] or more to each record, and all of those that hold nothing to be read.
    /// After an error an alert may be left to be sent.
    pub fn receive(&mut self, records: &[u8]) -> io::Result<usize> {
        self.incoming.extend_from_slice(records);
        let (came, had) = (self.incoming.len(), self.plain.len());
        let advanced = self.advance();
        if let Err(error) = advanced {
            self.take_alert();
            return Err(error);
        }
        if self.incoming.len() > INCOMING_MAX {
            return Err(broken("more came than a handshake may take"));
        }
        let (worked_off, content) = (came - self.incoming.len(), self.plain.len() - had);
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Ok(worked_off.saturating_sub(content))
    }

    /// After an error: one step for the alert that says so. A second would find the same error in
    /// what has come, and rustls panics when it is to tell of one twice.
    fn take_alert(&mut self) {
        let Self { connection, incoming, unsent, .. } = self;
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            connection.process_tls_records(incoming).state
        {
            // Err: then the end itself has to tell.
            let _ = append(unsent, |room| {
                data.encode(room).map_err(|error| TooSmall::of_encode(&error))
            });
        }
    }

    /// Works off what has come.
    fn advance(&mut self) -> io::Result<()> {
        let Self { connection, incoming, plain, unsent, peer_closed } = self;
        // Records before it are done. They go together: each alone would move all behind it.
        let mut at = 0;
        let advanced = loop {
            let left = &mut incoming[at..];
            let UnbufferedStatus { discard, state } = connection.process_tls_records(left);
            let more = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => plain.extend_from_slice(record.payload),
                        Some(Err(error)) => break Err(broken(error)),
                        None => break Ok(true),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => append(unsent, |room| {
                    data.encode(room).map_err(|error| TooSmall::of_encode(&error))
                })
                .map(|()| true),
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    // It goes before everything that is encrypted from here on.
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::PeerClosed) => {
                    *peer_closed = true;
                    Ok(true)
                }
                Ok(ConnectionState::Closed) => {
                    *peer_closed = true;
                    Ok(false)
                }
                // It waits for the peer, or for somebody who has something to say.
                Ok(_) => Ok(false),
                Err(error) => Err(broken(error)),
            };
            at += discard;
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        incoming.drain(..at);
        advanced
    }

    /// Moves what was decrypted into `into` and says how many bytes that were.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let count = self.plain.len().min(into.len());
        self.plain.copy_to_slice(&mut into[..count]);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        count
    }

    /// Bytes that can be read.
    pub fn readable(&self) -> usize {
        self.plain.len()
    }

    /// The peer has said that it will send no more.
    pub fn is_over(&self) -> bool {
        self.peer_closed
    }

    /// Encrypts the beginning of what is left of `plain`, a batch at most, into `room`, which holds
    /// [`ROOM`] bytes. Answers how many bytes of plaintext that were, and how many they have become.
    ///
    /// # Errors
    /// The handshake is not done, or the keys are used up.
    pub fn encrypt(
        &mut self,
        plain: &mut Plaintext<'_>,
        room: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let Self { connection, incoming, .. } = self;
        // Whatever came was worked off when it came, so nothing is to be discarded.
        let mut traffic = match connection.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => traffic,
            Ok(_) => return Err(broken("nothing can be sent before the handshake is done")),
            Err(error) => return Err(broken(error)),
        };
        let (mut taken, mut made) = (0, 0);
        while taken < BATCH {
            let next = plain.next(BATCH - taken);
            if next.is_empty() {
                break;
            }
            made += traffic.encrypt(next, &mut room[made..]).map_err(broken)?;
            taken += next.len();
        }
        Ok((taken, made))
    }

    /// Keeps bytes that were encrypted and that the socket has not taken.
    pub fn keep(&mut self, encrypted: &[u8]) {
        self.unsent.extend_from_slice(encrypted);
    }

    /// Says that no more will be sent.
    pub fn close(&mut self) {
        let Self { connection, incoming, unsent, .. } = self;
        let status = connection.process_tls_records(incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
            // Err: its keys are used up; the socket closes anyway.
            let _ = append(unsent, |room| {
                traffic.queue_close_notify(room).map_err(|error| TooSmall::of_encrypt(&error))
            });
        }
    }

    /// What the socket is to take next.
    pub fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    /// The socket has taken so many bytes of it.
    pub fn sent(&mut self, count: usize) {
        self.unsent.advance(count);
        if self.unsent.is_empty() {
            // A viewer that keeps up has nothing here between two visits.
            self.unsent = BytesMut::new();
        }
    }

    /// True until both sides have agreed on keys.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("unsent", &self.unsent.len()).finish_non_exhaustive()
    }
}

/// Slices to be encrypted, and how far that has come.
#[derive(Debug)]
pub struct Plaintext<'a> {
    slices: &'a [IoSlice<'a>],
    offset: usize,
}

impl<'a> Plaintext<'a> {
    /// All of `slices`, from their beginning.
    pub fn new(slices: &'a [IoSlice<'a>]) -> Self {
        Self { slices, offset: 0 }
    }

    /// The next bytes that lie together, at most so many. None are left: an empty slice.
    fn next(&mut self, most: usize) -> &'a [u8] {
        while let Some((first, rest)) = self.slices.split_first() {
            let left = &first[self.offset..];
            if left.is_empty() {
                (self.slices, self.offset) = (rest, 0);
                continue;
            }
            let next = &left[..left.len().min(most)];
            self.offset += next.len();
            // As long as the slices themselves live.
            return next;
        }
        &[]
    }

    /// True when nothing is left.
    pub fn is_empty(&self) -> bool {
        let mut slices = self.slices.iter();
        slices.next().is_none_or(|first| first.len() == self.offset)
            && slices.all(|slice| slice.is_empty())
    }
}

/// Why bytes could not be appended.
enum TooSmall {
    Needs(usize),
    Never(String),
}

impl TooSmall {
    fn of_encode(error: &EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(error) => Self::Needs(error.required_size),
            EncodeError::AlreadyEncoded => Self::Never(error.to_string()),
        }
    }

    fn of_encrypt(error: &EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(error) => Self::Needs(error.required_size),
            EncryptError::EncryptExhausted => Self::Never(error.to_string()),
        }
    }
}

/// Lets `write` put bytes behind those of `to`: asked without room, it says how much it needs.
fn append(
    to: &mut BytesMut,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, TooSmall>,
) -> io::Result<()> {
    let at = to.len();
    let mut needs = 0;
    for _ in 0..2 {
        to.resize(at + needs, 0);
        match write(&mut to[at..]) {
            Ok(count) => {
                to.truncate(at + count);
                return Ok(());
            }
            Err(TooSmall::Needs(bytes)) => needs = bytes,
            Err(TooSmall::Never(why)) => return Err(broken(why)),
        }
    }
    Err(broken("more room was needed than was asked for"))
}

fn broken(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
}
