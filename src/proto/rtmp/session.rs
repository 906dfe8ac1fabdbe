//! The server's end after connect: message streams, publish and play (RTMP 7.2.2).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::command::{Call, Command, Connect, Level, PublishKind, status};
use super::ingest::Ingest;
use super::server::{AskId, Core, Event, Flow, Refusal, Timer};
use super::{Error, Message, PLAY_STREAM_ID, UserControl, code, csid, kind, quote, url};
use crate::container::amf0::{self, Value};
use crate::container::flv::{HevcForm, Item};
use crate::media::{InvalidKey, StreamKey};

/// A client that was let in.
pub(super) struct Session {
    info: Arc<Connect>,
    /// Bit n: message stream n was created. Bit 0 is the connection itself.
    streams: u32,
    /// It announced its publish by FCPublish, and waits for onFCPublish.
    fc_publish: bool,
    audio: bool,
    video: bool,
    doing: Doing,
}

/// ```text
///        ┌── publish ──> AskingPublish ──accept──> Publishing ──┐
/// Nothing┤                                                      ├─> Nothing
///        └── play ─────> AskingPlay ─────accept──> Playing ─────┘
/// ```
/// A refusal closes the connection, except of a play that is not found: back to Nothing.
enum Doing {
    Nothing,
    AskingPublish { ask: AskId, stream_id: u32 },
    AskingPlay { ask: AskId, reset: bool },
    // Boxed: players are many, publishers few.
    Publishing(Box<Publishing>),
    Playing { paused: bool },
}

struct Publishing {
    stream_id: u32,
    ingest: Ingest,
    items: Vec<Item>,
}

/// Message streams of one connection, at most: what fits the mask.
const STREAMS_MAX: u32 = u32::BITS - 1;

impl Session {
    pub(super) fn new(info: Arc<Connect>) -> Self {
        let doing = Doing::Nothing;
        Self { info, streams: 1, fc_publish: false, audio: true, video: true, doing }
    }

    pub(super) fn is_asking(&self) -> bool {
        matches!(self.doing, Doing::AskingPublish { .. } | Doing::AskingPlay { .. })
    }

    pub(super) fn is_publishing(&self) -> bool {
        matches!(self.doing, Doing::Publishing(_))
    }

    pub(super) fn on_message(
        &mut self,
        core: &mut Core,
        now: Instant,
        message: Message,
    ) -> Result<Flow, Error> {
        match message.kind {
            kind::COMMAND | kind::COMMAND_AMF3 => {
                let call = Call::decode(message.kind, &message.payload, core.config.limits.amf)?;
                Ok(self.on_call(core, now, &call, message.stream_id))
            }
            _ => self.on_media(core, now, message).map(ControlFlow::Continue),
        }
    }

    fn on_media(&mut self, core: &mut Core, now: Instant, message: Message) -> Result<(), Error> {
        match &mut self.doing {
            Doing::Publishing(publishing)
                if publishing.hears(message.stream_id) && Ingest::takes(message.kind) =>
            {
                if !matches!(message.kind, kind::DATA | kind::DATA_AMF3) {
                    core.expect_media(now, Timer::Silence);
                }
                publishing.take(core, message)
            }
            _ => core.stray(&message),
        }
    }

    fn on_call(&mut self, core: &mut Core, now: Instant, call: &Call, stream_id: u32) -> Flow {
        let id = call.transaction;
        match Command::of(call) {
            Command::CreateStream => self.create_stream(core, id),
            Command::ReleaseStream => core.line.result(id, Value::Undefined),
            Command::FcPublish => {
                self.fc_publish = true;
                core.line.result(id, Value::Undefined);
            }
            Command::Publish { name, kind } => {
                return self.on_publish(core, stream_id, &name, kind);
            }
            Command::FcUnpublish => {
                let ended = status(Level::Status, code::UNPUBLISH_SUCCESS, "Stopped publishing.");
                core.line.call(0, "onFCUnpublish", 0.0, &[Value::Null, ended]);
                core.line.result(id, Value::Undefined);
                self.end(core, now, None, "FCUnpublish");
            }
            Command::FcSubscribe { name } => {
                core.line.result(id, Value::Undefined);
                let started = status(Level::Status, code::PLAY_START, &quote(&name));
                core.line.call(0, "onFCSubscribe", 0.0, &[Value::Null, started]);
            }
            Command::Play { name, start, duration, reset } => {
                self.on_play(core, stream_id, &name, start, duration, reset);
            }
            Command::Pause { pause } => self.on_pause(core, id, pause),
            Command::Seek => core.line.status(
                PLAY_STREAM_ID,
                Level::Error,
                code::SEEK_FAILED,
                "A live stream cannot be sought.",
            ),
            Command::ReceiveAudio(audio) => self.select(core, audio, self.video),
            Command::ReceiveVideo(video) => self.select(core, self.audio, video),
            Command::CloseStream => self.end(core, now, Some(stream_id), "closeStream"),
            Command::DeleteStream { stream_id: named } => {
                let stream_id = named.unwrap_or(stream_id);
                self.end(core, now, Some(stream_id), "deleteStream");
                if (1..=STREAMS_MAX).contains(&stream_id) {
                    self.streams &= !(1 << stream_id);
                }
            }
            Command::GetStreamLength => core.line.result(id, Value::Number(0.0)),
            Command::CheckBandwidth => core.line.result(id, Value::Null),
            Command::Reply => {}
            Command::Connect(_) => {
                core.line.error(id, code::CALL_FAILED, "This connection is connected already.");
            }
            Command::Unknown => {
                let description = format!("There is no command {}.", quote(&call.name));
                core.line.error(id, code::CALL_FAILED, &description);
            }
        }
        ControlFlow::Continue(())
    }

    /// The lowest free id, so that a client that deletes its stream and creates another may play
    /// again on the one id that players have.
    fn create_stream(&mut self, core: &mut Core, id: f64) {
        let stream_id = self.streams.trailing_ones();
        if stream_id > STREAMS_MAX {
            let description = format!("At most {STREAMS_MAX} streams, delete one first.");
            return core.line.error(id, code::CALL_FAILED, &description);
        }
        self.streams |= 1 << stream_id;
        core.line.result(id, Value::Number(f64::from(stream_id)));
    }

    fn on_publish(
        &mut self,
        core: &mut Core,
        stream_id: u32,
        name: &str,
        kind: PublishKind,
    ) -> Flow {
        if let Some(busy) = self.busy() {
            core.line.status(stream_id, Level::Error, code::PUBLISH_BAD_NAME, busy);
            return ControlFlow::Continue(());
        }
        match self.key(name) {
            Ok((key, query)) => {
                let ask = core.ask();
                self.doing = Doing::AskingPublish { ask, stream_id };
                core.events.get_or_insert_default().push_back(Event::Publish {
                    ask,
                    key,
                    query,
                    kind,
                });
                ControlFlow::Continue(())
            }
            Err(invalid) => {
                // Its media is on the way already: staying open would only swallow it.
                let description = invalid.to_string();
                core.line.status(stream_id, Level::Error, code::PUBLISH_BAD_NAME, &description);
                ControlFlow::Break(())
            }
        }
    }

    fn on_play(
        &mut self,
        core: &mut Core,
        stream_id: u32,
        name: &str,
        start: f64,
        duration: f64,
        reset: bool,
    ) {
        let mut fail = |code, why: &str| core.line.status(stream_id, Level::Error, code, why);
        if let Some(busy) = self.busy() {
            return fail(code::PLAY_FAILED, busy);
        }
        // Media is muxed once for all players, stream id included. 0 is what clients send that
        // do not create a stream.
        if stream_id > PLAY_STREAM_ID {
            return fail(code::PLAY_FAILED, "Play is served on the first message stream only.");
        }
        match self.key(name) {
            Err(invalid) => fail(code::PLAY_STREAM_NOT_FOUND, &invalid.to_string()),
            Ok((key, query)) => {
                let legacy =
                    url::query_has(&query, "hevc", "legacy") || self.info.lacks_video("hvc1");
                let hevc = if legacy { HevcForm::Legacy } else { HevcForm::Enhanced };
                let ask = core.ask();
                self.doing = Doing::AskingPlay { ask, reset };
                let event = Event::Play { ask, key, query, start, duration, reset, hevc };
                core.events.get_or_insert_default().push_back(event);
            }
        }
    }

    /// Why this connection can neither publish nor play now.
    fn busy(&self) -> Option<&'static str> {
        match self.doing {
            Doing::Nothing => None,
            Doing::AskingPublish { .. } | Doing::Publishing(_) => {
                Some("This connection publishes a stream already.")
            }
            Doing::AskingPlay { .. } | Doing::Playing { .. } => {
                Some("This connection plays a stream already.")
            }
        }
    }

    /// The stream a client names, and its query.
    fn key(&self, name: &str) -> Result<(StreamKey, String), InvalidKey> {
        let (name, query) = url::split_query(name);
        let query = url::merge_queries([query, &self.info.query]);
        let key = match self.info.app.as_str() {
            "" => StreamKey::parse(name)?,
            app => StreamKey::new(app, name)?,
        };
        Ok((key, query))
    }

    fn on_pause(&mut self, core: &mut Core, id: f64, pause: bool) {
        let Doing::Playing { paused } = &mut self.doing else {
            return core.line.error(id, code::CALL_FAILED, "Nothing is being played.");
        };
        let (code, description, event) = match pause {
            true => (code::PAUSE_NOTIFY, "Paused.", Event::Pause),
            false => (code::UNPAUSE_NOTIFY, "Resumed, from the live point.", Event::Resume),
        };
        core.line.status(PLAY_STREAM_ID, Level::Status, code, description);
        if *paused != pause {
            *paused = pause;
            core.events.get_or_insert_default().push_back(event);
        }
    }

    fn select(&mut self, core: &mut Core, audio: bool, video: bool) {
        let changed = (self.audio, self.video) != (audio, video);
        (self.audio, self.video) = (audio, video);
        if changed && matches!(self.doing, Doing::Playing { .. }) {
            core.events.get_or_insert_default().push_back(Event::Select { audio, video });
        }
    }

    /// The client ends what it does on `stream_id`, or (`None`) its publish on whichever. Stream 0
    /// is the connection, which does one thing at a time.
    fn end(&mut self, core: &mut Core, now: Instant, stream_id: Option<u32>, reason: &'static str) {
        match &self.doing {
            Doing::Publishing(publishing)
                if stream_id.is_none_or(|id| id == 0 || publishing.owns(id)) =>
            {
                let stream_id = publishing.stream_id;
                let description = "Stopped publishing.";
                core.line.status(stream_id, Level::Status, code::UNPUBLISH_SUCCESS, description);
                core.events.get_or_insert_default().push_back(Event::PublishEnded { reason });
            }
            Doing::Playing { .. } if stream_id.is_some_and(|id| id <= PLAY_STREAM_ID) => {
                core.events.get_or_insert_default().push_back(Event::PlayEnded);
            }
            _ => return,
        }
        self.rest(core, now);
    }

    /// Back to a client that has yet to say what it wants.
    fn rest(&mut self, core: &mut Core, now: Instant) {
        self.doing = Doing::Nothing;
        self.fc_publish = false;
        core.expect_request(now);
    }

    pub(super) fn accept_publish(&mut self, core: &mut Core, now: Instant, ask: AskId) {
        let stream_id = match self.doing {
            Doing::AskingPublish { ask: open, stream_id } if open == ask => stream_id,
            _ => return,
        };
        let ingest = Ingest::new(core.config.limits.flv, core.config.limits.aggregate_tags);
        self.doing = Doing::Publishing(Box::new(Publishing { stream_id, ingest, items: vec![] }));
        core.trust();
        core.expect_media(now, Timer::FirstFrame);
        let description = "Publishing; send media now.";
        if self.fc_publish {
            let started = status(Level::Status, code::PUBLISH_START, description);
            core.line.call(0, "onFCPublish", 0.0, &[Value::Null, started]);
        }
        core.line.user_control(UserControl::StreamBegin(stream_id));
        core.line.status(stream_id, Level::Status, code::PUBLISH_START, description);
    }

    pub(super) fn accept_play(&mut self, core: &mut Core, ask: AskId) -> Bytes {
        let reset = match self.doing {
            Doing::AskingPlay { ask: open, reset } if open == ask => reset,
            _ => return Bytes::new(),
        };
        self.doing = Doing::Playing { paused: false };
        let line = &mut core.line;
        line.user_control(UserControl::StreamBegin(PLAY_STREAM_ID));
        if reset {
            let description = "Starting over.";
            line.status(PLAY_STREAM_ID, Level::Status, code::PLAY_RESET, description);
        }
        line.status(PLAY_STREAM_ID, Level::Status, code::PLAY_START, "Live.");
        // Flash players may then read the samples.
        let mut access = bytes::BytesMut::new();
        for value in [Value::from("|RtmpSampleAccess"), Value::from(true), Value::from(true)] {
            amf0::encode(&mut access, &value);
        }
        line.write(csid::DATA, kind::DATA, 0, PLAY_STREAM_ID, &[], &access);
        if !(self.audio && self.video) {
            let (audio, video) = (self.audio, self.video);
            core.events.get_or_insert_default().push_back(Event::Select { audio, video });
        }
        core.line.take_out()
    }

    pub(super) fn refuse(
        &mut self,
        core: &mut Core,
        now: Instant,
        ask: AskId,
        refusal: &Refusal,
    ) -> Flow {
        match self.doing {
            Doing::AskingPublish { ask: open, stream_id } if open == ask => {
                let code = match refusal {
                    Refusal::Denied(_) => code::PUBLISH_DENIED,
                    Refusal::InUse(_) | Refusal::NotFound(_) => code::PUBLISH_BAD_NAME,
                };
                core.line.status(stream_id, Level::Error, code, refusal.description());
                ControlFlow::Break(())
            }
            Doing::AskingPlay { ask: open, .. } if open == ask => match refusal {
                Refusal::NotFound(reason) => {
                    self.play_not_found(core, now, reason);
                    ControlFlow::Continue(())
                }
                Refusal::Denied(reason) | Refusal::InUse(reason) => {
                    core.line.status(PLAY_STREAM_ID, Level::Error, code::PLAY_FAILED, reason);
                    ControlFlow::Break(())
                }
            },
            _ => ControlFlow::Continue(()),
        }
    }

    pub(super) fn play_not_found(&mut self, core: &mut Core, now: Instant, reason: &str) {
        if matches!(self.doing, Doing::AskingPlay { .. } | Doing::Playing { .. }) {
            let code = code::PLAY_STREAM_NOT_FOUND;
            core.line.status(PLAY_STREAM_ID, Level::Error, code, reason);
            self.rest(core, now);
        }
    }

    /// True if there was a play to refuse.
    pub(super) fn play_refused(&mut self, core: &mut Core, reason: &str) -> bool {
        let playing = matches!(self.doing, Doing::AskingPlay { .. } | Doing::Playing { .. });
        if playing {
            core.line.status(PLAY_STREAM_ID, Level::Error, code::PLAY_FAILED, reason);
        }
        playing
    }

    /// `left` says why the publisher is no longer to be seen.
    pub(super) fn play_ended(&mut self, core: &mut Core, now: Instant, left: &str) {
        match self.doing {
            Doing::AskingPlay { .. } => self.play_not_found(core, now, "The stream has ended."),
            Doing::Playing { .. } => {
                let line = &mut core.line;
                line.user_control(UserControl::StreamEof(PLAY_STREAM_ID));
                for (code, description) in [
                    (code::PLAY_UNPUBLISH_NOTIFY, left),
                    (code::PLAY_STOP, "The stream has ended."),
                ] {
                    line.status(PLAY_STREAM_ID, Level::Status, code, description);
                }
                self.rest(core, now);
            }
            _ => {}
        }
    }

    /// True if there was a play to end.
    pub(super) fn play_stopped(&mut self, core: &mut Core, reason: &str) -> bool {
        let plays = matches!(self.doing, Doing::Playing { .. });
        if plays {
            core.line.user_control(UserControl::StreamEof(PLAY_STREAM_ID));
            core.line.status(PLAY_STREAM_ID, Level::Status, code::PLAY_STOP, reason);
            self.doing = Doing::Nothing;
        }
        plays
    }

    /// True if there was a publish to end.
    pub(super) fn publish_ended(&mut self, core: &mut Core, reason: &str) -> bool {
        let stream_id = match &self.doing {
            Doing::Publishing(publishing) => publishing.stream_id,
            Doing::AskingPublish { stream_id, .. } => *stream_id,
            _ => return false,
        };
        // As an error, because encoders show only those.
        core.line.status(stream_id, Level::Error, code::STREAM_FAILED, reason);
        true
    }
}

impl Publishing {
    /// True if a message of this stream is the publish's. A client that published on the
    /// connection itself does not know message streams, so everything is.
    fn owns(&self, stream_id: u32) -> bool {
        self.stream_id == stream_id || self.stream_id == 0
    }

    /// True if media of this stream is the publish's. Stream 0 is what media has whose chunk stream
    /// was opened by fmt 1, which carries no stream id.
    fn hears(&self, stream_id: u32) -> bool {
        self.owns(stream_id) || stream_id == 0
    }

    fn take(&mut self, core: &mut Core, message: Message) -> Result<(), Error> {
        let result = self.ingest.push(message, &mut self.items);
        let events = self.items.drain(..).filter_map(|item| match item {
            Item::Track(track) => Some(Event::Track(track)),
            Item::Frame(frame) => Some(Event::Frame(frame)),
            Item::Metadata(metadata) => Some(Event::Metadata(metadata)),
            Item::EndOfSequence(kind) => Some(Event::EndOfSequence(kind)),
            Item::PrivateStreams(_) => None,
        });
        core.events.get_or_insert_default().extend(events);
        while let Some(notice) = self.ingest.poll_notice() {
            core.events.get_or_insert_default().push_back(Event::Notice(notice));
        }
        result
    }
}
