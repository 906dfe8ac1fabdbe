//! The client's end of a connection: publishes one stream or plays one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::command::{self, Call, text};
use super::ingest::Ingest;
use super::line::Line;
use super::{ChunkLimits, Error, Message, Timer, Url, UserControl, code, csid, handshake, kind};
use crate::bytes::Chain;
use crate::container::amf0::{self, Value};
use crate::container::flv::{self, HevcForm, Item};
use crate::media::{Codec, Frame, Track, TrackKind};

/// Client side of one RTMP connection: bytes in; bytes, events and a deadline out.
///
/// After each `handle_*` and each `push_*`, drain [`Self::poll_event`] and
/// [`Self::poll_transmit`].
pub struct Client {
    state: State,
    config: Arc<ClientConfig>,
    url: Arc<Url>,
    goal: Goal,
    line: Line,
    events: VecDeque<Event>,
    deadline: Option<(Instant, Timer)>,
}

/// ```text
/// Handshake ─> Connecting ─> Creating ─> Starting ─> Publishing | Playing ─> Closed
///     └────────────┴──── error, timeout, refusal ─┴──────────────────┴─────────^
/// ```
enum State {
    Handshake(Box<handshake::Client>),
    /// connect was sent.
    Connecting,
    /// createStream was sent.
    Creating,
    /// publish or play was sent.
    Starting {
        stream_id: u32,
    },
    Publishing(Box<Publishing>),
    Playing {
        stream_id: u32,
        // Boxed and late: a load generator has thousands that wait.
        playing: Box<Playing>,
    },
    Closed,
}

struct Publishing {
    stream_id: u32,
    audio: Option<Track>,
    video: Option<Track>,
    /// Time of the latest frame; sequence headers take it.
    now_ms: u32,
}

struct Playing {
    ingest: Ingest,
    items: Vec<Item>,
}

/// What a client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Send the stream.
    Publish,
    /// Receive it.
    Play,
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Its name, `flashVer`.
    pub flash_ver: String,
    /// Size of the chunks it writes: 60000.
    pub chunk_size_bytes: u32,
    /// It acknowledges after so many bytes until the server says otherwise: 2500000.
    pub window_bytes: u32,
    /// How it writes H.265.
    pub hevc: HevcForm,
    /// The buffer it tells the server of, in milliseconds: 1000.
    pub buffer_ms: u32,
    /// Bounds of what a server may send.
    pub chunks: ChunkLimits,
    /// Bounds of commands.
    pub amf: amf0::Limits,
    /// Bounds of media.
    pub flv: flv::Limits,
    /// Tags in one aggregate message: 4096.
    pub aggregate_tags: usize,
    /// For the handshake: 5 s.
    pub handshake: Duration,
    /// For each reply after it: 20 s.
    pub reply: Duration,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The server let us in.
    Connected,
    /// The server said Publish.Start or Play.Start. Frames may be pushed now, or will come.
    Started,
    /// The server said no; the client is finished.
    Refused {
        /// The status code.
        code: String,
        /// Why, in the server's words.
        description: String,
    },
    /// The server ended what had started; the client is finished.
    Ended {
        /// The status code.
        code: String,
        /// Why, in the server's words.
        description: String,
    },
    /// A track, new or changed. Before its frames.
    Track(Track),
    /// `onMetaData`, AMF0.
    Metadata(Bytes),
    /// A frame.
    Frame(Frame),
    /// The publisher ended a track.
    EndOfSequence(TrackKind),
    /// Something for the log, told once.
    Notice(flv::Notice),
}

/// Transactions of the calls we make; each client makes each call once.
const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const START: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;
const DELETE_STREAM: f64 = 7.0;

impl Client {
    /// A client on a connection made at `now`. `seed` makes the handshake's random bytes.
    pub fn new(
        config: impl Into<Arc<ClientConfig>>,
        url: impl Into<Arc<Url>>,
        goal: Goal,
        seed: u64,
        now: Instant,
    ) -> Self {
        let config = config.into();
        let handshake = handshake::Client::new(handshake::Variant::Simple, 0, seed);
        Self {
            state: State::Handshake(Box::new(handshake)),
            line: Line::new(config.chunks, config.window_bytes),
            deadline: Some((now + config.handshake, Timer::Handshake)),
            events: VecDeque::new(),
            url: url.into(),
            config,
            goal,
        }
    }

    /// Takes bytes from the server, all of them, and says how many. After an error the client is
    /// finished.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        let result = self.take(now, &mut rest);
        let connected = !matches!(self.state, State::Handshake(_) | State::Closed);
        self.line.count(input.len() - rest.len(), connected && result.is_ok());
        if let Err(error) = result {
            self.close();
            return Err(error);
        }
        Ok(input.len() - rest.len())
    }

    fn take(&mut self, now: Instant, input: &mut &[u8]) -> Result<(), Error> {
        loop {
            match &mut self.state {
                State::Handshake(handshake) => {
                    if !handshake.handle_input(input)? {
                        return Ok(());
                    }
                    let mut last = Chain::default();
                    while handshake.poll_transmit(&mut last) {}
                    self.line.write_raw(last);
                    self.connect(now);
                }
                State::Closed => {
                    *input = &[];
                    return Ok(());
                }
                _ => match self.line.read(input)? {
                    Some(message) => self.on_message(now, message)?,
                    None => return Ok(()),
                },
            }
        }
    }

    /// The deadline of [`Self::poll_timeout`] may have passed; then the client is finished.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        match self.deadline {
            Some((at, timer)) if at <= now => {
                self.close();
                let handshake = timer == Timer::Handshake;
                let after = if handshake { self.config.handshake } else { self.config.reply };
                Err(Error::Timeout { timer, after })
            }
            _ => Ok(()),
        }
    }

    /// What happened, first to last.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Appends what is to be written; false if there is nothing.
    pub fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        match &mut self.state {
            State::Handshake(handshake) => handshake.poll_transmit(out),
            _ => self.line.poll_transmit(out),
        }
    }

    /// When to call [`Self::handle_timeout`], and what for. Nothing once started.
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        self.deadline
    }

    /// True when nothing more will be said: close once everything is written.
    pub fn is_finished(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Bytes taken since the connection began, for the log.
    pub fn offset(&self) -> u64 {
        self.line.received()
    }

    /// Bytes written but not yet polled: what a publisher that outpaces its socket holds.
    pub fn unsent_bytes(&self) -> usize {
        self.line.unsent_bytes()
    }

    /// Sends a track's configuration. Its frames may follow. False if there is no publish, or the
    /// track is data.
    pub fn push_track(&mut self, track: &Track) -> bool {
        let State::Publishing(publishing) = &mut self.state else { return false };
        let (line, time_ms, stream_id) = (&mut self.line, publishing.now_ms, publishing.stream_id);
        let (csid, kind) = match track.codec {
            Codec::Audio(_) => {
                publishing.audio = Some(track.clone());
                (csid::AUDIO, kind::AUDIO)
            }
            Codec::Video(_) => {
                publishing.video = Some(track.clone());
                (csid::VIDEO, kind::VIDEO)
            }
        };
        let form = self.config.hevc;
        let bodies = [flv::sequence_start(track, form), flv::hdr_body(track, form)];
        bodies.iter().flatten().all(|body| line.write(csid, kind, time_ms, stream_id, &[], body))
    }

    /// Sends a frame. False if there is no publish or no track of its kind, or if no message can
    /// hold it.
    pub fn push_frame(&mut self, frame: &Frame) -> bool {
        let State::Publishing(publishing) = &mut self.state else { return false };
        // The wire's clock wraps at 32 bits.
        publishing.now_ms = frame.dts.as_millis() as u32;
        let (line, time_ms, stream_id) = (&mut self.line, publishing.now_ms, publishing.stream_id);
        let (track, csid, kind) = match frame.kind {
            TrackKind::Audio => (&publishing.audio, csid::AUDIO, kind::AUDIO),
            TrackKind::Video => (&publishing.video, csid::VIDEO, kind::VIDEO),
            TrackKind::Data => {
                return line.write(csid::DATA, kind::DATA, time_ms, stream_id, &[], &frame.data);
            }
            TrackKind::Private => return false,
        };
        let Some(track) = track else { return false };
        let head = flv::frame_head(frame, track, self.config.hevc);
        line.write(csid, kind, time_ms, stream_id, &head, &frame.data)
    }

    /// Sends `onMetaData`, AMF0 as in [`Event::Metadata`]. False if there is no publish.
    pub fn push_metadata(&mut self, metadata: &[u8]) -> bool {
        let State::Publishing(publishing) = &self.state else { return false };
        let mut head = BytesMut::new();
        amf0::encode(&mut head, &text("@setDataFrame"));
        let (time_ms, stream_id) = (publishing.now_ms, publishing.stream_id);
        self.line.write(csid::DATA, kind::DATA, time_ms, stream_id, &head, metadata)
    }

    /// Takes leave. The client is finished; close once everything is written.
    pub fn stop(&mut self) {
        let stream_id = match &self.state {
            State::Publishing(publishing) => {
                let name = text(self.url.play_path());
                self.line.call(0, "FCUnpublish", FC_UNPUBLISH, &[Value::Null, name]);
                Some(publishing.stream_id)
            }
            State::Playing { stream_id, .. } | State::Starting { stream_id } => Some(*stream_id),
            _ => None,
        };
        if let Some(stream_id) = stream_id {
            let arguments = [Value::Null, Value::Number(stream_id.into())];
            self.line.call(0, "deleteStream", DELETE_STREAM, &arguments);
        }
        self.close();
    }

    fn close(&mut self) {
        self.state = State::Closed;
        self.deadline = None;
    }

    fn expect_reply(&mut self, now: Instant) {
        self.deadline = Some((now + self.config.reply, Timer::Reply));
    }

    fn connect(&mut self, now: Instant) {
        self.line.set_chunk_size(self.config.chunk_size_bytes);
        let mut fields = vec![
            ("app".to_owned(), text(&*self.url.app)),
            ("type".to_owned(), text("nonprivate")),
            ("flashVer".to_owned(), text(&*self.config.flash_ver)),
            ("tcUrl".to_owned(), text(self.url.tc_url())),
            ("objectEncoding".to_owned(), Value::Number(0.0)),
        ];
        fields.extend(command::enhanced_offer());
        self.line.call(0, "connect", CONNECT, &[Value::Object(fields)]);
        self.state = State::Connecting;
        self.expect_reply(now);
    }

    fn create_stream(&mut self, now: Instant) {
        let line = &mut self.line;
        match self.goal {
            Goal::Publish => {
                let name = text(self.url.play_path());
                let arguments = [Value::Null, name];
                line.call(0, "releaseStream", RELEASE_STREAM, &arguments);
                line.call(0, "FCPublish", FC_PUBLISH, &arguments);
            }
            Goal::Play => line.announce_window(self.config.window_bytes),
        }
        line.call(0, "createStream", CREATE_STREAM, &[Value::Null]);
        self.events.push_back(Event::Connected);
        self.state = State::Creating;
        self.expect_reply(now);
    }

    fn start(&mut self, now: Instant, stream_id: u32) {
        let name = text(self.url.play_path());
        match self.goal {
            Goal::Publish => {
                let arguments = [Value::Null, name, text("live")];
                self.line.call(stream_id, "publish", START, &arguments);
            }
            Goal::Play => {
                let arguments = [Value::Null, name, Value::Number(-2.0)];
                self.line.call(stream_id, "play", START, &arguments);
                let ms = self.config.buffer_ms;
                self.line.user_control(UserControl::SetBufferLength { stream: stream_id, ms });
            }
        }
        self.state = State::Starting { stream_id };
        self.expect_reply(now);
    }

    fn on_message(&mut self, now: Instant, message: Message) -> Result<(), Error> {
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => {
                let call = Call::decode(message.kind, &message.payload, self.config.amf)?;
                self.on_call(now, &call);
                Ok(())
            }
            kind if Ingest::takes(kind) && self.goal == Goal::Play => self.on_media(message),
            _ => Ok(()),
        }
    }

    fn on_call(&mut self, now: Instant, call: &Call) {
        let id = call.transaction;
        match (call.name.as_str(), &self.state) {
            ("_result", State::Connecting) if id == CONNECT => self.create_stream(now),
            ("_result", State::Creating) if id == CREATE_STREAM => {
                let stream_id = call.argument(1).and_then(Value::as_f64).unwrap_or(1.0);
                self.start(now, stream_id as u32);
            }
            ("_error", State::Connecting) if id == CONNECT => self.refused(call),
            ("_error", State::Creating) if id == CREATE_STREAM => self.refused(call),
            ("_error", State::Starting { .. }) if id == START => self.refused(call),
            ("onStatus", _) => self.on_status(call),
            // The bandwidth test's end wants an answer from no one; other calls get one.
            ("_result" | "_error" | "onBWDone" | "onFCPublish" | "onFCUnpublish", _) => {}
            _ => self.line.error(id, code::CALL_FAILED, "There is no such command."),
        }
    }

    fn on_status(&mut self, call: &Call) {
        let (code, description) = status_of(call);
        let level = call.argument(1).and_then(|status| status.get("level")).and_then(Value::as_str);
        let is_error = level == Some("error");
        match (&self.state, code.as_str()) {
            (State::Starting { stream_id }, code::PUBLISH_START) if self.goal == Goal::Publish => {
                let stream_id = *stream_id;
                let publishing = Publishing { stream_id, audio: None, video: None, now_ms: 0 };
                self.started(State::Publishing(Box::new(publishing)));
            }
            (State::Starting { stream_id }, code::PLAY_START) if self.goal == Goal::Play => {
                self.start_playing(*stream_id);
            }
            (State::Publishing(_) | State::Playing { .. }, _)
                if is_error || ENDS.contains(&code.as_str()) =>
            {
                self.events.push_back(Event::Ended { code, description });
                self.close();
            }
            (_, _) if is_error => self.refused(call),
            _ => {}
        }
    }

    fn refused(&mut self, call: &Call) {
        let (code, description) = status_of(call);
        self.events.push_back(Event::Refused { code, description });
        self.close();
    }

    fn start_playing(&mut self, stream_id: u32) {
        let ingest = Ingest::new(self.config.flv, self.config.aggregate_tags);
        let playing = Box::new(Playing { ingest, items: Vec::new() });
        self.started(State::Playing { stream_id, playing });
    }

    fn started(&mut self, state: State) {
        self.state = state;
        self.deadline = None;
        self.events.push_back(Event::Started);
    }

    fn on_media(&mut self, message: Message) -> Result<(), Error> {
        // Some servers send media first and Play.Start later or never.
        let is_av = matches!(message.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE);
        if let State::Starting { stream_id } = self.state
            && is_av
        {
            self.start_playing(stream_id);
        }
        let State::Playing { playing, .. } = &mut self.state else { return Ok(()) };
        let result = playing.ingest.push(message, &mut playing.items);
        self.events.extend(playing.items.drain(..).filter_map(|item| match item {
            Item::Track(track) => Some(Event::Track(track)),
            Item::Frame(frame) => Some(Event::Frame(frame)),
            Item::Metadata(metadata) => Some(Event::Metadata(metadata)),
            Item::EndOfSequence(kind) => Some(Event::EndOfSequence(kind)),
            Item::PrivateStreams(_) => None,
        }));
        while let Some(notice) = playing.ingest.poll_notice() {
            self.events.push_back(Event::Notice(notice));
        }
        result
    }
}

/// Statuses after which nothing more comes.
const ENDS: [&str; 4] =
    [code::PLAY_STOP, code::PLAY_UNPUBLISH_NOTIFY, code::UNPUBLISH_SUCCESS, code::STREAM_FAILED];

fn status_of(call: &Call) -> (String, String) {
    let field = |name| {
        let value = call.argument(1).and_then(|status| status.get(name)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    (field("code"), field("description"))
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            flash_ver: "FMLE/3.0 (compatible; Corecast)".to_owned(),
            chunk_size_bytes: 60_000,
            window_bytes: 2_500_000,
            hevc: HevcForm::Enhanced,
            buffer_ms: 1000,
            chunks: ChunkLimits::default(),
            amf: amf0::Limits::default(),
            flv: flv::Limits::default(),
            aggregate_tags: 4096,
            handshake: Duration::from_secs(5),
            reply: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests;
