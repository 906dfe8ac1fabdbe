//! The server's end of a connection: handshake and connect, and the door to what follows.

mod limits;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

pub use self::limits::{Limits, ServerConfig, Timer};
use super::command::{self, Call, Command, Connect, Level, PublishKind, object, status, text};
use super::ingest::Ingest;
use super::line::Line;
use super::session::Session;
use super::{BandwidthLimit, Control, Error, Message, UserControl, code, handshake, kind};
use crate::bytes::Chain;
use crate::container::amf0::Value;
use crate::container::flv::{self, HevcForm};
use crate::media::{Frame, StreamKey, Track, TrackKind};

/// Server side of one RTMP connection: bytes in; bytes, events and a deadline out.
///
/// After each `handle_*` and each answer, drain [`Self::poll_event`] and [`Self::poll_transmit`].
/// Some events are questions and carry an [`AskId`]; until one is answered the machine parses
/// nothing more, so that nothing a client sends ahead is lost or acted on too early.
pub struct Server {
    state: State,
    core: Core,
}

/// ```text
/// Handshake ─> Connecting ─connect─> Asking ─accept─> Connected (see Session) ─┐
///     └────────────┴──── error, timeout, refusal, ending ─┴────────────────────┴─> Closed
/// ```
enum State {
    Handshake(Box<handshake::Server>),
    Connecting,
    Asking { ask: AskId, info: Arc<Connect> },
    Connected(Session),
    Closed,
}

/// What every state has.
pub(super) struct Core {
    pub(super) config: Arc<ServerConfig>,
    pub(super) line: Line,
    #[allow(clippy::box_collection, reason = "a player has none, and there are many players")]
    pub(super) events: Option<Box<VecDeque<Event>>>,
    pub(super) deadline: Option<(Instant, Timer)>,
    last_ask: u64,
    stray_bytes: usize,
}

/// A question of the machine, to be answered by this id; unique within the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Question: may this client connect? [`Server::accept_connect`] or [`Server::refuse`].
    Connect {
        /// The question's id.
        ask: AskId,
        /// What the client said of itself.
        info: Arc<Connect>,
    },
    /// Question: may it publish? [`Server::accept_publish`] or [`Server::refuse`].
    Publish {
        /// The question's id.
        ask: AskId,
        /// The stream.
        key: StreamKey,
        /// Parameters of name, app and `tcUrl`, in this order of rank, without `?`.
        query: String,
        /// What it wants done with the stream.
        kind: PublishKind,
    },
    /// Question: may it play? [`Server::accept_play`], [`Server::refuse`] or
    /// [`Server::play_not_found`].
    Play {
        /// The question's id.
        ask: AskId,
        /// The stream.
        key: StreamKey,
        /// Parameters of name, app and `tcUrl`, in this order of rank, without `?`.
        query: String,
        /// As sent; -2 (live or recorded) if absent. Some clients send milliseconds.
        start: f64,
        /// As sent; -1 (all of it) if absent.
        duration: f64,
        /// As sent; true if absent.
        reset: bool,
        /// How this player understands H.265.
        hevc: HevcForm,
    },
    /// A track of the publisher, new or changed. Before its frames.
    Track(Track),
    /// `onMetaData` of the publisher, AMF0.
    Metadata(Bytes),
    /// A frame of the publisher.
    Frame(Frame),
    /// The publisher ended a track.
    EndOfSequence(TrackKind),
    /// Something for the log, told once per publish.
    Notice(flv::Notice),
    /// The player paused: send it no media.
    Pause,
    /// The player resumed.
    Resume,
    /// The player wants only some kinds of media from now on.
    Select {
        /// Sound.
        audio: bool,
        /// Pictures.
        video: bool,
    },
    /// The publisher stopped and may publish or play again.
    PublishEnded {
        /// The command that said so.
        reason: &'static str,
    },
    /// The player stopped and may publish or play again.
    PlayEnded,
}

/// Why a question is answered by no. The text goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else publishes this stream.
    InUse(String),
    /// Not allowed, or no room.
    Denied(String),
    /// There is no such stream.
    NotFound(String),
}

impl Refusal {
    pub(super) fn description(&self) -> &str {
        match self {
            Self::InUse(text) | Self::Denied(text) | Self::NotFound(text) => text,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.description())
    }
}

impl Server {
    /// A connection accepted at `now`. `seed` makes the handshake's random bytes; it should differ
    /// from connection to connection.
    pub fn new(config: impl Into<Arc<ServerConfig>>, seed: u64, now: Instant) -> Self {
        let config = config.into();
        let deadline = Some((now + config.limits.handshake, Timer::Handshake));
        let line = Line::new(config.limits.chunks_before_publish(), config.window_bytes);
        let core = Core { config, line, events: None, deadline, last_ask: 0, stray_bytes: 0 };
        Self { state: State::Handshake(Box::new(handshake::Server::new(seed))), core }
    }

    /// Bytes per chunk that its client was told to expect.
    pub fn chunk_size_bytes(&self) -> u32 {
        self.core.config.chunk_size_bytes
    }

    /// Takes bytes from the peer and says how many: all of them, unless a question is open. The
    /// caller keeps the rest and offers it again after the answer. After an error the connection
    /// is closed.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        let result = self.take(now, &mut rest);
        let taken = input.len() - rest.len();
        let connected = !matches!(self.state, State::Handshake(_) | State::Closed);
        self.core.line.count(taken, connected && result.is_ok());
        if let Err(error) = result {
            self.close();
            return Err(error);
        }
        Ok(taken)
    }

    fn take(&mut self, now: Instant, input: &mut &[u8]) -> Result<(), Error> {
        loop {
            match &mut self.state {
                State::Handshake(handshake) => {
                    if !handshake.handle_input(0, input)? {
                        return Ok(());
                    }
                    self.end_handshake(now);
                }
                State::Asking { .. } => return Ok(()),
                State::Connected(session) if session.is_asking() => return Ok(()),
                State::Connecting => match self.core.line.read(input)? {
                    Some(message) => self.expect_connect(&message)?,
                    None => return Ok(()),
                },
                State::Connected(session) => match self.core.line.read(input)? {
                    Some(message) => {
                        let flow = session.on_message(&mut self.core, now, message)?;
                        self.obey(flow);
                    }
                    None => return Ok(()),
                },
                State::Closed => {
                    *input = &[];
                    return Ok(());
                }
            }
        }
    }

    /// The deadline of [`Self::poll_timeout`] may have passed; then the connection is closed.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        match self.core.deadline {
            Some((at, timer)) if at <= now => {
                self.close();
                Err(Error::Timeout { timer, after: self.core.config.limits.of(timer) })
            }
            _ => Ok(()),
        }
    }

    /// What happened, first to last.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.core.events.as_mut().and_then(|events| events.pop_front());
        if event.is_none()
            && !matches!(&self.state, State::Connected(session) if session.is_publishing())
        {
            // Only publishers have events all the time; the others should weigh nothing.
            self.core.events = None;
        }
        event
    }

    /// Appends what is to be written; false if there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        match &mut self.state {
            State::Handshake(handshake) => handshake.poll_transmit(out),
            _ => self.core.line.poll_transmit(out),
        }
    }

    /// When to call [`Self::handle_timeout`], and what for. Nothing while a question is open.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.core.deadline
    }

    /// `same` equals what the client said of itself and takes its place: programs of one kind say
    /// all the same, and thousands of copies weigh. Ignored if it differs.
    pub fn share_connect(&mut self, same: &Arc<Connect>) {
        if let State::Asking { info, .. } = &mut self.state
            && **info == **same
        {
            *info = Arc::clone(same);
        }
    }

    /// Yes to [`Event::Connect`].
    pub fn accept_connect(&mut self, now: Instant, ask: AskId) {
        if let State::Asking { ask: open, info } = &self.state
            && *open == ask
        {
            let info = Arc::clone(info);
            self.core.greet(&info);
            self.core.expect_request(now);
            self.state = State::Connected(Session::new(info));
        }
    }

    /// Yes to [`Event::Publish`]; only this tells the client to start.
    pub fn accept_publish(&mut self, now: Instant, ask: AskId) {
        if let State::Connected(session) = &mut self.state {
            session.accept_publish(&mut self.core, now, ask);
        }
    }

    /// Yes to [`Event::Play`]. The bytes start the play: write them right before the first media.
    /// They hold whatever [`Self::poll_transmit`] had not yet given. Empty for an unknown `ask`.
    pub fn accept_play(&mut self, ask: AskId) -> Bytes {
        match &mut self.state {
            State::Connected(session) => session.accept_play(&mut self.core, ask),
            _ => Bytes::new(),
        }
    }

    /// No to a question. The connection is finished after it, save for a play that is not found:
    /// that client may ask for another stream.
    pub fn refuse(&mut self, now: Instant, ask: AskId, refusal: &Refusal) {
        match &mut self.state {
            State::Asking { ask: open, info } if *open == ask => {
                let status = status(Level::Error, code::CONNECT_REJECTED, refusal.description());
                self.core.line.call(0, "_error", info.transaction, &[Value::Null, status]);
                self.close();
            }
            State::Connected(session) => {
                let flow = session.refuse(&mut self.core, now, ask, refusal);
                self.obey(flow);
            }
            _ => {}
        }
    }

    /// The stream of an [`Event::Play`] did not come: it was not answered, or the bytes of
    /// [`Self::accept_play`] were not written. The client may ask for another.
    pub fn play_not_found(&mut self, now: Instant, reason: &str) {
        if let State::Connected(session) = &mut self.state {
            session.play_not_found(&mut self.core, now, reason);
        }
    }

    /// There is no room for a play that was answered by yes, and the bytes of
    /// [`Self::accept_play`] were not written. The connection is finished.
    pub fn play_refused(&mut self, reason: &str) {
        if let State::Connected(session) = &mut self.state
            && session.play_refused(&mut self.core, reason)
        {
            self.close();
        }
    }

    /// The stream being played is over. The client may ask for another.
    pub fn play_ended(&mut self, now: Instant) {
        if let State::Connected(session) = &mut self.state {
            session.play_ended(&mut self.core, now, "The publisher has left.");
        }
    }

    /// The server ends a play, for a reason that is told to the client. The connection is finished.
    pub fn play_over(&mut self, now: Instant, reason: &str) {
        if let State::Connected(session) = &mut self.state {
            session.play_ended(&mut self.core, now, reason);
            self.close();
        }
    }

    /// The player is put out, for a reason that is told to it. The connection is finished.
    pub fn play_stopped(&mut self, reason: &str) {
        if let State::Connected(session) = &mut self.state
            && session.play_stopped(&mut self.core, reason)
        {
            self.close();
        }
    }

    /// The publisher is put out, for a reason that is told to it. The connection is finished.
    pub fn publish_ended(&mut self, reason: &str) {
        if let State::Connected(session) = &mut self.state
            && session.publish_ended(&mut self.core, reason)
        {
            self.close();
        }
    }

    /// If a publisher's first frame or next one is waited for, it is for as long again: until then.
    pub fn extend_silence(&mut self, now: Instant) -> Option<Instant> {
        match self.core.deadline {
            Some((_, timer @ (Timer::FirstFrame | Timer::Silence))) => {
                self.core.expect_media(now, timer);
                self.core.deadline.map(|(until, _)| until)
            }
            _ => None,
        }
    }

    /// True when nothing more will be said: close once everything is written.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes taken since the connection began, for the log.
    pub fn offset(&self) -> u64 {
        self.core.line.received()
    }

    fn obey(&mut self, flow: Flow) {
        if flow.is_break() {
            self.close();
        }
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.core.deadline = None;
    }

    fn end_handshake(&mut self, now: Instant) {
        if let State::Handshake(handshake) = &mut self.state {
            let mut last = Chain::default();
            while handshake.poll_transmit(&mut last) {}
            self.core.line.write_raw(last);
            self.state = State::Connecting;
            self.core.expect_request(now);
        }
    }

    fn expect_connect(&mut self, message: &Message) -> Result<(), Error> {
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => {
                let amf = self.core.config.limits.amf;
                let call = Call::decode(message.kind, &message.payload, amf)?;
                let Command::Connect(info) = Command::of(&call) else {
                    return Err(Error::unexpected("command", "connect", super::quote(&call.name)));
                };
                let (ask, info) = (self.core.ask(), Arc::new(*info));
                let event = Event::Connect { ask, info: Arc::clone(&info) };
                self.core.events.get_or_insert_default().push_back(event);
                self.state = State::Asking { ask, info };
                Ok(())
            }
            _ => self.core.stray(message),
        }
    }
}

impl Core {
    /// Opens a question: its waits are the caller's, not ours.
    pub(super) fn ask(&mut self) -> AskId {
        self.last_ask += 1;
        self.deadline = None;
        AskId(self.last_ask)
    }

    /// The client is to say what it wants.
    pub(super) fn expect_request(&mut self, now: Instant) {
        self.deadline = Some((now + self.config.limits.request, Timer::Request));
    }

    pub(super) fn expect_media(&mut self, now: Instant, timer: Timer) {
        self.deadline = Some((now + self.config.limits.of(timer), timer));
    }

    /// A publish was granted: the connection is trusted with more memory.
    pub(super) fn trust(&mut self) {
        self.stray_bytes = 0;
        self.line.set_limits(self.config.limits.chunks());
    }

    /// A message nobody waits for.
    pub(super) fn stray(&mut self, message: &Message) -> Result<(), Error> {
        self.stray_bytes += message.payload.len();
        if self.stray_bytes > self.config.limits.stray_media_bytes {
            let found = match Ingest::takes(message.kind) {
                true => format!("{} bytes outside of a publish", self.stray_bytes),
                false => format!("messages of unknown type {}", message.kind),
            };
            return Err(Error::unexpected("message", "publish before media", found));
        }
        Ok(())
    }

    /// The reply to connect.
    fn greet(&mut self, info: &Connect) {
        let config = Arc::clone(&self.config);
        self.line.announce_window(config.window_bytes);
        let (window_bytes, limit) = (config.window_bytes, BandwidthLimit::Dynamic);
        self.line.control(Control::SetPeerBandwidth { window_bytes, limit });
        self.line.set_chunk_size(config.chunk_size_bytes);
        self.line.user_control(UserControl::StreamBegin(0));
        let server = object([
            // Clients look for a Flash Media Server of at least 3.
            ("fmsVer", text("FMS/3,5,7,7009")),
            ("capabilities", Value::Number(31.0)),
            ("mode", Value::Number(1.0)),
        ]);
        let mut status = status(Level::Status, code::CONNECT_SUCCESS, "Connection succeeded.");
        if let Value::Object(fields) = &mut status {
            // AMF0, whatever was offered: the client must then not send AMF3.
            fields.push(("objectEncoding".to_owned(), Value::Number(0.0)));
            fields.extend(command::enhanced_answer(info));
        }
        self.line.call(0, "_result", info.transaction, &[server, status]);
        // Encoders of the Flash family wait for it; others ignore it.
        self.line.call(0, "onBWDone", 0.0, &[Value::Null]);
    }
}

/// What a session's step means for its connection: `Break` closes it.
pub(super) type Flow = ControlFlow<()>;

#[cfg(test)]
mod tests;
