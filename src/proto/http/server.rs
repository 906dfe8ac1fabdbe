use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::answer::{self, Framing, Greeting, Response};
use super::body::Length;
use super::error::Error;
use super::forwarded::ForwardedField;
use super::head::{self, AskId, Head, Method, Request, Upgrade, Version};
use super::ingest::{Container, Notice};
use super::publishing::Publishing;
use super::{chunk, ws};
use crate::bytes::Chain;
use crate::container::{Item, flv, fmp4, ts};

/// The bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// A longer head is answered with 431. Bytes, 8 KiB.
    pub head_bytes: usize,
    /// A head that is not whole this long after the connection was opened, or after the first byte
    /// of a later request, is answered with 408. 10 s.
    pub head_timeout: Duration,
    /// A connection without a request for this long after an answer is closed. 30 s.
    pub idle_timeout: Duration,
    /// What the peer may send after asking for a plain stream; it is thrown away, for it can never
    /// be answered. More closes the connection. Bytes, 64 KiB.
    pub ignored_bytes: u64,
    /// A larger WebSocket message of the peer closes the connection with 1009. Bytes, 64 KiB. How
    /// many messages is not limited: nothing of them is kept.
    pub message_bytes: u64,
    /// How long we wait for the peer's close frame after sending ours. 2 s.
    pub close_timeout: Duration,
    /// From the moment a publisher is let in to its first audio or video; then 408. 20 s.
    pub first_frame_timeout: Duration,
    /// Between two pieces of audio or video of a publisher; then 408. 10 s.
    pub publisher_silence: Duration,
    /// What is accepted of a publisher of FLV; a longer part of its body is answered with 413.
    pub flv: flv::Limits,
    /// What is accepted of a publisher of a transport stream; longer parts are left out.
    pub ts: ts::Limits,
    /// What is accepted of a publisher of MP4; longer heads are answered with 413, longer samples
    /// are left out.
    pub mp4: fmp4::Limits,
    /// The field that is handed on as [`Request::forwarded`]. None.
    pub client_field: Option<ForwardedField>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            head_bytes: 8 << 10,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            ignored_bytes: 64 << 10,
            message_bytes: 64 << 10,
            close_timeout: Duration::from_secs(2),
            first_frame_timeout: Duration::from_secs(20),
            publisher_silence: Duration::from_secs(10),
            flv: flv::Limits::default(),
            ts: ts::Limits::default(),
            mp4: fmp4::Limits::default(),
            client_field: None,
        }
    }
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It asks for something. To be answered once, by [`Server::respond`],
    /// [`Server::respond_in_pieces`], [`Server::accept_stream`] or [`Server::accept_publish`]; until then no further input is
    /// taken.
    Request(Box<Request>),
    /// A publisher's body holds this.
    Media(Item),
    /// Something in a publisher's body is not routed; each is told once.
    Notice(Notice),
    /// A publisher's body has come to its end, and was right up to there. To be answered by
    /// [`Server::respond`].
    PublishEnded {
        /// As its request had it.
        ask: AskId,
    },
    /// It left a running WebSocket stream by a close frame. Ours is in `poll_transmit`.
    Closed {
        /// The peer's reason, if it gave one (RFC 6455 7.4).
        code: Option<u16>,
    },
}

/// Why a stream ends, as WebSocket puts it (RFC 6455 7.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// 1000: the stream is over.
    Over,
    /// 1001: the server goes down.
    GoingAway,
    /// 1008: this viewer is sent away.
    Policy,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// The head must be whole.
    Head,
    /// A further request must begin.
    Idle,
    /// The peer must answer our close frame.
    Close,
    /// A publisher that was let in must send audio or video.
    FirstFrame,
    /// It must send more of it.
    Silence,
}

/// Server side of one HTTP connection: bytes in; bytes, events and a deadline out.
///
/// After each call, drain [`Self::poll_event`] and [`Self::poll_transmit`]. After an error too: the
/// answer that says what was wrong waits there, and the machine is finished.
#[derive(Debug)]
pub struct Server {
    config: Arc<Config>,
    state: State,
    /// One at most: input stops at a request, and a close is the last event. What a publisher
    /// sends waits elsewhere.
    event: Option<Waiting>,
    out: Chain,
    last_ask: u64,
    /// Bytes taken since the start.
    taken: u64,
}

/// ```text
///         ┌─────────────respond, keep-alive────────────┐
///         ▼                                            │
///       Idle ──byte──▶ Head ──whole──▶ Asking ─────────┤
///                                        │  respond    └──▶ Closed
///                                        │ ▲
///                          accept_publish│ │the body is over
///                                        │ └──── Publishing ──end_publish──▶ Closed
///                                        ├────────▲
///                                        │ respond_in_pieces
///                                        ├──▶ Sending ──push_body, the last──▶ Idle or Closed
///                                        │ accept_stream
///                                        ├──▶ Streaming ──end_stream──▶ Closed
///                                        └──▶ WebSocket ──end_stream──▶ Closing ──peer's close──▶ Closed
/// ```
/// Any error and any timeout lead to Closed. A new connection is at Head.
#[derive(Debug)]
enum State {
    Idle {
        deadline: Instant,
    },
    Head {
        bytes: Vec<u8>,
        deadline: Instant,
    },
    Asking(Asking),
    // Boxed: viewers are many, publishers few.
    Publishing(Box<(Publishing, Asking)>),
    /// Of a body, so many bytes are to come from the caller.
    Sending {
        left: u64,
        keep_alive: bool,
    },
    Streaming {
        framing: Framing,
        ignored: u64,
    },
    // Boxed: it is four times as large as any other.
    WebSocket {
        reader: Box<ws::Reader>,
        pong: Option<Bytes>,
    },
    Closing {
        reader: Box<ws::Reader>,
        deadline: Instant,
    },
    Closed,
}

#[derive(Debug)]
struct Asking {
    ask: AskId,
    method: Method,
    version: Version,
    keep_alive: bool,
    waits_for_continue: bool,
    /// What the client has, by ETag.
    known: Option<Box<str>>,
    /// Until all of it was taken.
    body: Option<Length>,
    upgrade: Option<Box<Upgrade>>,
}

/// An event until it is polled: an [`Event`] is larger, and every viewer would have room for it.
#[derive(Debug)]
enum Waiting {
    Request(Box<Request>),
    Closed { code: Option<u16> },
}

impl Server {
    /// The machine of a connection opened at `now`.
    pub fn new(config: impl Into<Arc<Config>>, now: Instant) -> Self {
        let config = config.into();
        Self {
            state: State::Head { bytes: Vec::new(), deadline: now + config.head_timeout },
            config,
            event: None,
            out: Chain::default(),
            last_ask: 0,
            taken: 0,
        }
    }

    /// Takes bytes from the front of `input` and says how many. All of them, unless an answer is
    /// due (then the rest is to be offered again after it) or waits to be drained, or much of what
    /// is published waits to be polled.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        let result = self.take(now, &mut rest);
        if let Err(error) = &result {
            self.on_error(error);
        }
        result.map(|()| input.len() - rest.len())
    }

    fn take(&mut self, now: Instant, input: &mut &[u8]) -> Result<(), Error> {
        while !input.is_empty() && self.step(now, input)? {}
        Ok(())
    }

    /// One step of the state; false if it wants no input now.
    fn step(&mut self, now: Instant, input: &mut &[u8]) -> Result<bool, Error> {
        let before = input.len();
        let at = self.taken;
        let done = match &mut self.state {
            State::Idle { .. } => {
                skip_empty_lines(input);
                if !input.is_empty() {
                    let deadline = now + self.config.head_timeout;
                    self.state = State::Head { bytes: Vec::new(), deadline };
                }
                None
            }
            // Preflights are answered without an event; their answers must not pile up.
            State::Head { .. } if !self.out.is_empty() => return Ok(false),
            State::Head { bytes, .. } => {
                if bytes.is_empty() {
                    skip_empty_lines(input);
                }
                let at = at + (before - input.len()) as u64 - bytes.len() as u64;
                take_head(bytes, self.config.head_bytes, at, input)?
                    .map(|head| Done::Head(head, at))
            }
            State::Asking(_) | State::Sending { .. } => return Ok(false),
            State::Publishing(it) if it.0.is_over() || it.0.is_full() => return Ok(false),
            State::Publishing(it) => {
                it.0.read(now, &self.config, at, input)?;
                None
            }
            State::Streaming { ignored, .. } => {
                *ignored += input.len() as u64;
                *input = &[];
                let limit = self.config.ignored_bytes;
                if *ignored > limit {
                    return Err(Error::TooMuchInput { at, limit });
                }
                None
            }
            State::WebSocket { reader, .. } | State::Closing { reader, .. } => {
                let incoming = reader.read(input).map_err(|violation| Error::WebSocket {
                    at: at + (before - input.len()) as u64,
                    violation,
                })?;
                incoming.map(Done::Frame)
            }
            State::Closed => {
                *input = &[];
                None
            }
        };
        self.taken += (before - input.len()) as u64;
        match done {
            Some(Done::Head(bytes, at)) => self.on_head(now, &bytes, at)?,
            Some(Done::Frame(incoming)) => self.on_frame(incoming),
            None => {}
        }
        Ok(true)
    }

    fn on_head(&mut self, now: Instant, bytes: &[u8], at: u64) -> Result<(), Error> {
        let ask = AskId(self.last_ask + 1);
        let Head { keep_alive, waits_for_continue, known, request } =
            head::parse(bytes, at, ask, self.config.client_field)?;
        let Some((request, upgrade)) = request else {
            self.write(now, &Response::preflight(), Method::Get, keep_alive);
            return Ok(());
        };
        self.last_ask = ask.0;
        self.state = State::Asking(Asking {
            ask,
            method: request.method,
            version: request.version,
            keep_alive,
            waits_for_continue,
            known,
            body: request.body,
            upgrade: upgrade.map(Box::new),
        });
        self.event = Some(Waiting::Request(Box::new(request)));
        Ok(())
    }

    fn on_frame(&mut self, incoming: ws::Incoming) {
        match (&mut self.state, incoming) {
            // RFC 6455 5.5.3: only the latest of several unanswered pings needs an answer.
            (State::WebSocket { pong, .. }, ws::Incoming::Ping(payload)) => *pong = Some(payload),
            (State::WebSocket { .. }, ws::Incoming::Close { code }) => {
                self.out.push(ws::close(code.unwrap_or(1000), ""));
                self.event = Some(Waiting::Closed { code });
                self.state = State::Closed;
            }
            (State::Closing { .. }, ws::Incoming::Close { .. }) => self.state = State::Closed,
            _ => {}
        }
    }

    /// The time has come that [`Self::poll_timeout`] named. A connection that never sent a byte of
    /// a request is closed without a word and without an error.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.poll_timeout().is_none_or(|(deadline, _)| now < deadline) {
            return Ok(());
        }
        let error = match &self.state {
            State::Head { bytes, .. } if !bytes.is_empty() => Error::HeadTooSlow {
                at: self.taken - bytes.len() as u64,
                limit: self.config.head_timeout,
                had: bytes.len(),
            },
            State::Publishing(it) => it.0.silence(self.taken, &self.config),
            _ => {
                self.state = State::Closed;
                return Ok(());
            }
        };
        self.on_error(&error);
        Err(error)
    }

    fn on_error(&mut self, error: &Error) {
        if let Some(response) = Response::of_error(error) {
            response.write(false, true, &mut self.out);
        }
        if let (Error::WebSocket { violation, .. }, State::WebSocket { .. }) = (error, &self.state)
        {
            self.out.push(ws::close(violation.code(), &violation.to_string()));
        }
        self.state = State::Closed;
    }

    /// Answers request `ask` with a whole response, or by 304 if the client has it. Says how many bytes
    /// of the body are sent: none then, and none to who asks for the head alone. An id that is not open
    /// is ignored. If there is a body that was not taken, the connection closes after that: the client
    /// may or may not send it (RFC 9110 10.1.1), and it must not be taken for a request.
    pub fn respond(&mut self, now: Instant, ask: AskId, response: &Response) -> u64 {
        let Some(Asking { method, keep_alive, body, known, .. }) = self.answered(ask) else {
            return 0;
        };
        let keep_alive = keep_alive && body.is_none();
        match known.filter(|known| response.is_known(known)) {
            Some(_) => self.write(now, &response.not_modified(), method, keep_alive),
            None => self.write(now, response, method, keep_alive),
        }
    }

    /// Answers request `ask` with the head of `response` before a body of `length` bytes, which come by
    /// [`Self::push_body`]. True if they are to come: not if the client has them (304), or asked for
    /// the head alone. An id that is not open is ignored.
    pub fn respond_in_pieces(
        &mut self,
        now: Instant,
        ask: AskId,
        response: &Response,
        length: u64,
    ) -> bool {
        let Some(Asking { method, keep_alive, body, known, .. }) = self.answered(ask) else {
            return false;
        };
        let keep_alive = keep_alive && body.is_none();
        if known.is_some_and(|known| response.is_known(&known)) {
            self.write(now, &response.not_modified(), method, keep_alive);
            return false;
        }
        self.out.push(response.head_of(keep_alive, length));
        let left = if method == Method::Head { 0 } else { length };
        self.state = State::Sending { left, keep_alive };
        self.push_body(now, Bytes::new());
        left > 0
    }

    /// The next piece of a body whose head was written; what is more than was announced is left away.
    /// Ignored when none is awaited.
    pub fn push_body(&mut self, now: Instant, mut piece: Bytes) {
        let State::Sending { left, keep_alive } = &mut self.state else { return };
        piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= piece.len() as u64;
        let keep_alive = *keep_alive;
        if *left == 0 {
            self.state = self.after_answer(now, keep_alive);
        }
        self.out.push(piece);
    }

    /// Answers request `ask` by taking its body, and tells the client to go on if it waits for
    /// that. What is in the body comes as [`Event::Media`], and its end as
    /// [`Event::PublishEnded`]. An id that is not open, or of a request without body, is ignored.
    pub fn accept_publish(&mut self, now: Instant, ask: AskId, container: Container) {
        let Some(mut asking) = self.answered(ask) else { return };
        let Some(length) = asking.body.take() else {
            self.state = State::Asking(asking);
            return;
        };
        if asking.waits_for_continue {
            self.out.push(answer::CONTINUE);
        }
        let publishing = Publishing::new(length, container, &self.config, now);
        self.state = State::Publishing(Box::new((publishing, asking)));
    }

    /// Ends a running publish from our side, by `response`, and then the connection. Ignored when
    /// none runs.
    pub fn end_publish(&mut self, response: &Response) {
        if let State::Publishing(_) = &self.state {
            response.write(false, true, &mut self.out);
            self.state = State::Closed;
        }
    }

    /// If a publisher's first audio or video, or the next, is waited for, it is for as long again:
    /// until then.
    pub fn extend_silence(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.state {
            State::Publishing(it) => Some(it.0.extend_silence(now, &self.config)),
            _ => None,
        }
    }

    /// How a stream that answers request `ask` begins, to be sent right before the first block. A
    /// WebSocket request becomes one whatever `framing` says; otherwise chunks fall back to
    /// [`Framing::Close`] for HTTP/1.0, and so does WebSocket that nobody asked for. None if the
    /// id is not open.
    ///
    /// The question stays open, so that "not found" is still possible while a viewer waits:
    /// [`Self::accept_stream`] answers it once the greeting is on its way.
    pub fn greeting(&self, ask: AskId, content_type: &str, framing: Framing) -> Option<Greeting> {
        let asking = self.asking(ask)?;
        if let Some(upgrade) = &asking.upgrade {
            let framing = Some(Framing::WebSocket);
            return Some(Greeting { bytes: answer::websocket_head(upgrade), framing });
        }
        let framing = match framing {
            Framing::Chunked if asking.version >= Version::Http11 => Framing::Chunked,
            _ => Framing::Close,
        };
        let bytes = answer::stream_head(content_type, framing);
        let framing = (asking.method != Method::Head).then_some(framing);
        Some(Greeting { bytes, framing })
    }

    /// Answers request `ask` with a stream, whose [`Self::greeting`] somebody else has sent. From
    /// now on the machine only watches the peer; after HEAD it is finished. An id that is not open
    /// is ignored.
    pub fn accept_stream(&mut self, ask: AskId, framing: Framing) {
        let Some(asking) = self.answered(ask) else { return };
        self.state = match framing {
            _ if asking.method == Method::Head => State::Closed,
            Framing::WebSocket => {
                let reader = Box::new(ws::Reader::new(self.config.message_bytes));
                State::WebSocket { reader, pong: None }
            }
            framing => State::Streaming { framing, ignored: 0 },
        };
    }

    /// Ends a running stream: the last chunk or a close frame with `reason` (at most 123 bytes of
    /// it) goes to `poll_transmit`, to be sent after the last block. Ignored when none runs.
    pub fn end_stream(&mut self, now: Instant, end: End, reason: &str) {
        self.state = match std::mem::replace(&mut self.state, State::Closed) {
            State::Streaming { framing, .. } => {
                if framing == Framing::Chunked {
                    self.out.push(&chunk::LAST[..]);
                }
                State::Closed
            }
            State::WebSocket { reader, .. } => {
                let code = match end {
                    End::Over => 1000,
                    End::GoingAway => 1001,
                    End::Policy => 1008,
                };
                self.out.push(ws::close(code, reason));
                State::Closing { reader, deadline: now + self.config.close_timeout }
            }
            other => other,
        };
    }

    /// What the peer did, if something is left to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let State::Publishing(it) = &mut self.state {
            if let Some(event) = it.0.poll_event() {
                return Some(event);
            }
            return it.0.is_over().then(|| self.publish_over()).flatten();
        }
        Some(match self.event.take()? {
            Waiting::Request(request) => Event::Request(request),
            Waiting::Closed { code } => Event::Closed { code },
        })
    }

    /// The request is open again, and its body is taken.
    fn publish_over(&mut self) -> Option<Event> {
        let State::Publishing(it) = std::mem::replace(&mut self.state, State::Closed) else {
            return None;
        };
        let (_, asking) = *it;
        let ask = asking.ask;
        self.state = State::Asking(asking);
        Some(Event::PublishEnded { ask })
    }

    /// Moves what is to be sent to `out`; false if there was nothing. While a stream runs these are
    /// pongs, the last chunk and close frames, and belong between two blocks.
    pub fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        if let State::WebSocket { pong, .. } = &mut self.state
            && let Some(payload) = pong.take()
        {
            self.out.push(ws::pong(&payload));
        }
        let had_some = !self.out.is_empty();
        out.append(&mut self.out);
        had_some
    }

    /// When [`Self::handle_timeout`] is to be called, and what for. While a request is open and
    /// while a stream is sent there is no deadline here: those are the caller's.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        match &self.state {
            State::Idle { deadline } => Some((*deadline, Timer::Idle)),
            State::Head { deadline, .. } => Some((*deadline, Timer::Head)),
            State::Closing { deadline, .. } => Some((*deadline, Timer::Close)),
            // What came behind its last picture is no silence.
            State::Publishing(it) if it.0.is_over() => None,
            State::Publishing(it) => Some(it.0.deadline()),
            State::Asking(_)
            | State::Sending { .. }
            | State::Streaming { .. }
            | State::WebSocket { .. }
            | State::Closed => None,
        }
    }

    /// True when all is said; close once what `poll_transmit` gave is written. Input is still
    /// taken and thrown away, for a socket closed with unread input may lose the answer (RFC 9112
    /// 9.6).
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed) && self.out.is_empty()
    }

    /// Bytes taken since the connection began, for the log.
    pub fn offset(&self) -> u64 {
        self.taken
    }

    fn asking(&self, ask: AskId) -> Option<&Asking> {
        match &self.state {
            State::Asking(asking) if asking.ask == ask => Some(asking),
            _ => None,
        }
    }

    /// Closes the question `ask`, if it is the open one.
    fn answered(&mut self, ask: AskId) -> Option<Asking> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Asking(asking) if asking.ask == ask => Some(asking),
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Answers with how many bytes of the body it wrote.
    fn write(
        &mut self,
        now: Instant,
        response: &Response,
        method: Method,
        keep_alive: bool,
    ) -> u64 {
        let with_body = method != Method::Head;
        response.write(keep_alive, with_body, &mut self.out);
        self.state = self.after_answer(now, keep_alive);
        if with_body { response.body_bytes() } else { 0 }
    }

    fn after_answer(&self, now: Instant, keep_alive: bool) -> State {
        match keep_alive {
            true => State::Idle { deadline: now + self.config.idle_timeout },
            false => State::Closed,
        }
    }
}

/// What a step completed.
enum Done {
    Head(Vec<u8>, u64),
    Frame(ws::Incoming),
}

/// RFC 9112 2.2: empty lines before a request are to be ignored. Only the deadline bounds them.
fn skip_empty_lines(input: &mut &[u8]) {
    let lines = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    *input = &input[lines..];
}

/// Moves bytes of `input` to `bytes` up to the end of the head, and gives the head once it is
/// whole. `at` is where the head begins.
fn take_head(
    bytes: &mut Vec<u8>,
    limit: usize,
    at: u64,
    input: &mut &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let had = bytes.len();
    match input.first() {
        Some(&byte) if had == 0 => head::check_first_byte(byte, at)?,
        Some(_) => {}
        None => return Ok(None),
    }
    let room = input.len().min(limit.saturating_sub(had));
    bytes.extend_from_slice(&input[..room]);
    let end = head::end(bytes, had);
    *input = &input[end.unwrap_or(bytes.len()) - had..];
    match end {
        Some(end) => {
            bytes.truncate(end);
            Ok(Some(std::mem::take(bytes)))
        }
        None if bytes.len() >= limit => Err(Error::HeadTooLong { at, limit, unit: "bytes" }),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
