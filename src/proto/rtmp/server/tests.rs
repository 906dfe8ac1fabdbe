use std::mem::size_of;
use std::time::Duration;

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{ChunkLimits, ChunkReader, ChunkWriter, Client};
use super::*;
use crate::container::amf0;
use crate::media::{AudioCodec, Codec};
use crate::testkit::{Link, Machine};
use crate::time::Timestamp;

/// A client made of its parts, which says what a test tells it to.
struct Peer {
    handshake: Option<handshake::Client>,
    reader: ChunkReader,
    writer: ChunkWriter,
    out: BytesMut,
    got: Vec<Message>,
}

impl Peer {
    fn new() -> Self {
        let handshake = handshake::Client::new(handshake::Variant::Simple, 0, 7);
        Self {
            handshake: Some(handshake),
            reader: ChunkReader::new(ChunkLimits::default()),
            writer: ChunkWriter::new(ChunkWriter::INITIAL_CHUNK_SIZE),
            out: BytesMut::new(),
            got: Vec::new(),
        }
    }

    fn send(&mut self, kind: u8, time_ms: u32, stream_id: u32, body: &[u8]) {
        assert!(self.writer.write(&mut self.out, 3, kind, time_ms, stream_id, &[], body));
    }

    fn call(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        self.send(kind::COMMAND, 0, stream_id, &command::encode(name, id, arguments));
    }

    fn connect(&mut self, fields: &[(&str, Value)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.call(0, "connect", 1.0, &[Value::Object(fields.collect())]);
    }

    /// Everything the server said since the last time, a line per message.
    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.got).iter().map(line_of).collect()
    }
}

fn line_of(message: &Message) -> String {
    let Message { kind, stream_id, payload, .. } = message;
    if let Ok(Some(control)) = Control::decode(*kind, payload) {
        return format!("{control:?}");
    }
    if *kind != kind::COMMAND {
        return format!("message {kind} on {stream_id}: {} bytes", payload.len());
    }
    let call = Call::decode(*kind, payload, amf0::Limits::default()).expect("ours");
    let code = call.argument(1).and_then(|status| status.get("code")).and_then(Value::as_str);
    let value = code.map(str::to_owned).or_else(|| Some(call.argument(1)?.as_f64()?.to_string()));
    format!("{} {} on {stream_id}: {}", call.name, call.transaction, value.unwrap_or_default())
}

impl Machine for Peer {
    type Error = Error;

    fn feed(&mut self, _now: Instant, input: &[u8]) -> Result<usize, Error> {
        let mut rest = input;
        if let Some(handshake) = &mut self.handshake {
            if !handshake.handle_input(&mut rest)? {
                return Ok(input.len() - rest.len());
            }
            let mut chain = Chain::default();
            handshake.poll_transmit(&mut chain);
            let mut before = BytesMut::from(&chain.into_bytes()[..]);
            before.extend_from_slice(&self.out);
            self.out = before;
            self.handshake = None;
        }
        while let Some(message) = self.reader.read(&mut rest)? {
            self.got.push(message);
        }
        Ok(input.len() - rest.len())
    }

    fn drain(&mut self, out: &mut Chain) {
        match &mut self.handshake {
            Some(handshake) => drop(handshake.poll_transmit(out)),
            None => out.push(self.out.split().freeze()),
        }
    }
}

/// A peer and the server, and the link between.
struct Talk {
    peer: Peer,
    server: Server,
    link: Link,
}

impl Talk {
    fn with(config: ServerConfig) -> Self {
        let link = Link::new(11);
        let server = Server::new(config, 5, link.now());
        Self { peer: Peer::new(), server, link }
    }

    fn run(&mut self) {
        self.link.run(&mut self.peer, &mut self.server);
    }

    /// After connect to `live`, nothing heard yet.
    fn connected() -> Self {
        Self::connected_with(ServerConfig::default(), &[("app", text("live"))])
    }

    fn connected_with(config: ServerConfig, fields: &[(&str, Value)]) -> Self {
        let mut talk = Self::with(config);
        talk.peer.connect(fields);
        talk.run();
        let Some(Event::Connect { ask, .. }) = talk.server.poll_event() else {
            panic!("no connect")
        };
        talk.server.accept_connect(talk.link.now(), ask);
        talk.run();
        talk.peer.heard();
        talk
    }

    fn call(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        self.peer.call(stream_id, name, id, arguments);
        self.run();
    }

    fn publish(&mut self, stream_id: u32, name: &str) -> AskId {
        self.call(stream_id, "publish", 5.0, &[Value::Null, text(name), text("live")]);
        match self.server.poll_event() {
            Some(Event::Publish { ask, .. }) => ask,
            other => panic!("no publish but {other:?}"),
        }
    }

    fn publishing() -> Self {
        let mut talk = Self::connected();
        let ask = talk.publish(1, "x");
        talk.server.accept_publish(talk.link.now(), ask);
        talk.run();
        talk.peer.heard();
        talk
    }

    fn play(&mut self, name: &str) -> AskId {
        self.call(1, "play", 0.0, &[Value::Null, text(name)]);
        match self.server.poll_event() {
            Some(Event::Play { ask, .. }) => ask,
            other => panic!("no play but {other:?}"),
        }
    }

    /// Sends the greeting as a driver would.
    fn accept_play(&mut self, ask: AskId) -> Vec<String> {
        let greeting = self.server.accept_play(ask);
        let taken = self.peer.feed(self.link.now(), &greeting);
        assert_eq!(taken.expect("our own bytes"), greeting.len());
        self.peer.heard()
    }

    fn playing() -> Self {
        let mut talk = Self::connected();
        let ask = talk.play("x");
        talk.accept_play(ask);
        talk
    }

    fn heard(&mut self) -> Vec<String> {
        self.run();
        self.peer.heard()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.server.poll_event()).collect()
    }

    fn frame_times_ms(&mut self) -> Vec<i64> {
        let time = |event| match event {
            Event::Frame(frame) => Some(frame.dts.as_millis()),
            _ => None,
        };
        self.events().into_iter().filter_map(time).collect()
    }

    fn error(&mut self) -> String {
        let result = self.link.try_run(&mut self.peer, &mut self.server);
        result.expect_err("the server gives up").to_string()
    }
}

const ASC: [u8; 4] = [0xaf, 0, 0x12, 0x10];
const SOUND: [u8; 4] = [0xaf, 1, 0xaa, 0xbb];

#[test]
fn connect_is_answered_only_when_accepted() {
    let mut talk = Talk::with(ServerConfig::default());
    talk.peer.connect(&[("app", text("live")), ("flashVer", text("x"))]);
    assert_eq!(talk.heard(), [""; 0]);
    let Some(Event::Connect { ask, info }) = talk.server.poll_event() else { panic!() };
    assert_eq!((&*info.app, &*info.flash_ver), ("live", "x"));
    talk.server.accept_connect(talk.link.now(), ask);
    let heard = talk.heard();
    assert_eq!(
        heard,
        [
            "WindowAckSize(2500000)",
            "SetPeerBandwidth { window_bytes: 2500000, limit: Dynamic }",
            // Set Chunk Size is not seen: the reader obeys it.
            "User(StreamBegin(0))",
            "_result 1 on 0: NetConnection.Connect.Success",
            "onBWDone 0 on 0: ",
        ]
    );
    assert_eq!(talk.peer.reader.chunk_size(), 60_000);
}

#[test]
fn refused_connect_is_told_why_and_finishes() {
    let mut talk = Talk::with(ServerConfig::default());
    talk.peer.connect(&[("app", text("live"))]);
    talk.run();
    let Some(Event::Connect { ask, .. }) = talk.server.poll_event() else { panic!() };
    talk.server.refuse(talk.link.now(), ask, &Refusal::Denied("no".into()));
    assert!(talk.server.is_finished());
    assert_eq!(talk.heard(), ["_error 1 on 0: NetConnection.Connect.Rejected"]);
}

#[test]
fn enhanced_codecs_are_answered_to_those_who_ask() {
    let answer = |fields: &[(&str, Value)]| {
        let mut talk = Talk::with(ServerConfig::default());
        talk.peer.connect(fields);
        talk.run();
        let Some(Event::Connect { ask, .. }) = talk.server.poll_event() else { panic!() };
        talk.server.accept_connect(talk.link.now(), ask);
        talk.run();
        let result = talk.peer.got.iter().find(|message| message.kind == kind::COMMAND);
        let result = result.expect("the result comes first");
        let call = Call::decode(kind::COMMAND, &result.payload, amf0::Limits::default());
        call.expect("ours").arguments.remove(1)
    };
    let plain = answer(&[("app", text("live"))]);
    assert_eq!(plain.get("fourCcList"), None);
    let list = answer(&[("fourCcList", Value::StrictArray(vec![text("*")]))]);
    let Some(Value::StrictArray(codecs)) = list.get("fourCcList") else { panic!("{list:?}") };
    assert!(codecs.contains(&text("hvc1")) && codecs.contains(&text("Opus")));
    assert_eq!(list.get("capsEx"), Some(&Value::Number(12.0)));
    assert_eq!(list.get("videoFourCcInfoMap"), None);
    let maps = answer(&[("videoFourCcInfoMap", object([("*", Value::Number(1.0))]))]);
    let forward = maps.get("audioFourCcInfoMap").and_then(|map| map.get("fLaC"));
    assert_eq!(forward, Some(&Value::Number(4.0)));
}

#[test]
fn publish_starts_only_when_accepted() {
    let mut talk = Talk::connected();
    let ask = talk.publish(1, "x");
    assert_eq!(talk.heard(), [""; 0]);
    talk.server.accept_publish(talk.link.now(), ask);
    let started = ["User(StreamBegin(1))", "onStatus 0 on 1: NetStream.Publish.Start"];
    assert_eq!(talk.heard(), started);
}

#[test]
fn media_sent_ahead_waits_for_the_answer() {
    let mut talk = Talk::connected();
    let ask = talk.publish(1, "x");
    talk.peer.send(kind::AUDIO, 0, 1, &ASC);
    talk.peer.send(kind::AUDIO, 20, 1, &SOUND);
    talk.run();
    assert!(talk.link.waiting_right() > 0);
    assert!(talk.server.poll_event().is_none());
    assert_eq!(talk.server.poll_timeout(), None);
    talk.link.pass(Duration::from_secs(3));
    talk.server.accept_publish(talk.link.now(), ask);
    talk.run();
    assert_eq!(talk.link.waiting_right(), 0);
    let [Event::Track(track), Event::Frame(frame)] = &talk.events()[..] else { panic!() };
    assert_eq!(track.codec, Codec::Audio(AudioCodec::Aac));
    assert_eq!((frame.dts, &frame.data[..]), (Timestamp::from_millis(20), &SOUND[2..]));
}

#[test]
fn refused_publish_is_told_why_and_finishes() {
    for (refusal, code) in [
        (Refusal::InUse("taken".into()), "NetStream.Publish.BadName"),
        (Refusal::Denied("token".into()), "NetStream.Publish.Denied"),
    ] {
        let mut talk = Talk::connected();
        let ask = talk.publish(1, "x");
        talk.peer.send(kind::AUDIO, 0, 1, &ASC);
        talk.server.refuse(talk.link.now(), ask, &refusal);
        assert!(talk.server.is_finished());
        assert_eq!(talk.heard(), [format!("onStatus 0 on 1: {code}")]);
        assert!(talk.server.poll_event().is_none());
    }
}

#[test]
fn late_and_unknown_answers_are_ignored() {
    let mut talk = Talk::connected();
    let (now, ask) = (talk.link.now(), talk.publish(1, "x"));
    talk.server.accept_publish(now, AskId(ask.0 + 1));
    talk.server.accept_connect(now, ask);
    assert_eq!(talk.server.accept_play(ask), Bytes::new());
    talk.server.refuse(now, AskId(ask.0 - 1), &Refusal::Denied(String::new()));
    assert_eq!(talk.heard(), [""; 0]);
    talk.server.accept_publish(now, ask);
    talk.server.refuse(now, ask, &Refusal::Denied(String::new()));
    assert!(!talk.server.is_finished());
}

#[test]
fn fmle_publishes() {
    let mut talk = Talk::connected();
    talk.call(0, "releaseStream", 2.0, &[Value::Null, text("x")]);
    talk.call(0, "FCPublish", 3.0, &[Value::Null, text("x")]);
    talk.call(0, "createStream", 4.0, &[Value::Null]);
    assert_eq!(talk.heard(), ["_result 2 on 0: ", "_result 3 on 0: ", "_result 4 on 0: 1"]);
    let ask = talk.publish(1, "x");
    talk.server.accept_publish(talk.link.now(), ask);
    let expected = [
        "onFCPublish 0 on 0: NetStream.Publish.Start",
        "User(StreamBegin(1))",
        "onStatus 0 on 1: NetStream.Publish.Start",
    ];
    assert_eq!(talk.heard(), expected);
    talk.call(0, "FCUnpublish", 6.0, &[Value::Null, text("x")]);
    talk.call(0, "deleteStream", 7.0, &[Value::Null, Value::Number(1.0)]);
    let expected = [
        "onFCUnpublish 0 on 0: NetStream.Unpublish.Success",
        "_result 6 on 0: ",
        "onStatus 0 on 1: NetStream.Unpublish.Success",
    ];
    assert_eq!(talk.heard(), expected);
    let events = talk.events();
    assert!(matches!(events[..], [Event::PublishEnded { reason: "FCUnpublish" }]), "{events:?}");
}

#[test]
fn haivision_creates_its_stream_before_fc_publish_and_publishes_on_the_second() {
    let mut talk = Talk::connected();
    talk.call(0, "createStream", 2.0, &[Value::Null]);
    talk.call(0, "createStream", 3.0, &[Value::Null]);
    talk.call(0, "FCPublish", 4.0, &[Value::Null, text("x")]);
    assert_eq!(talk.heard(), ["_result 2 on 0: 1", "_result 3 on 0: 2", "_result 4 on 0: "]);
    let ask = talk.publish(2, "x");
    talk.server.accept_publish(talk.link.now(), ask);
    talk.call(0, "deleteStream", 0.0, &[Value::Null, Value::Number(1.0)]);
    talk.peer.send(kind::AUDIO, 0, 1, &SOUND);
    talk.peer.send(kind::AUDIO, 20, 2, &ASC);
    talk.peer.send(kind::AUDIO, 20, 2, &SOUND);
    talk.run();
    assert_eq!(talk.frame_times_ms(), [20]);
}

#[test]
fn media_whose_first_chunk_names_no_stream_belongs_to_the_publish() {
    let mut talk = Talk::publishing();
    // csid 4 begins with fmt 1: a time, a length and a kind, and no message stream id.
    talk.peer.out.extend_from_slice(&[0x44, 0, 0, 0, 0, 0, ASC.len() as u8, kind::AUDIO]);
    talk.peer.out.extend_from_slice(&ASC);
    talk.peer.send(kind::AUDIO, 20, 1, &SOUND);
    talk.run();
    assert_eq!(talk.frame_times_ms(), [20]);
}

#[test]
fn a_connection_publishes_again_after_it_stopped() {
    let mut talk = Talk::publishing();
    for (round, stop) in ["closeStream", "deleteStream", "FCUnpublish"].into_iter().enumerate() {
        talk.call(1, stop, 0.0, &[Value::Null, Value::Number(1.0)]);
        let events = talk.events();
        assert!(matches!(events[..], [Event::PublishEnded { reason }] if reason == stop));
        talk.call(0, "createStream", 8.0, &[Value::Null]);
        let ask = talk.publish(1, "y");
        talk.server.accept_publish(talk.link.now(), ask);
        talk.peer.send(kind::AUDIO, 0, 1, &ASC);
        talk.peer.send(kind::AUDIO, 0, 1, &SOUND);
        talk.run();
        let events = talk.events();
        assert!(matches!(events[..], [Event::Track(_), Event::Frame(_)]), "round {round}");
    }
}

#[test]
fn a_publisher_put_out_is_told_why() {
    let mut talk = Talk::publishing();
    talk.server.publish_ended("Taken over.");
    assert!(talk.server.is_finished());
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Failed"]);
}

#[test]
fn play_is_greeted_in_order() {
    let mut talk = Talk::connected();
    let ask = talk.play("x");
    assert_eq!(talk.heard(), [""; 0]);
    let expected = [
        "User(StreamBegin(1))",
        "onStatus 0 on 1: NetStream.Play.Reset",
        "onStatus 0 on 1: NetStream.Play.Start",
        "message 18 on 1: 24 bytes",
    ];
    assert_eq!(talk.accept_play(ask), expected);
    assert_eq!(talk.server.poll_timeout(), None);
}

#[test]
fn play_tells_what_was_asked_for() {
    let mut talk = Talk::connected_with(
        ServerConfig::default(),
        &[("app", text("live?b=2&c=1")), ("tcUrl", text("rtmp://h/live?c=2&d=3"))],
    );
    let arguments = [
        Value::Null,
        text("a/b?gop=0&b=1"),
        Value::Number(-1.0),
        Value::Number(9.0),
        Value::Boolean(false),
    ];
    talk.call(1, "play", 0.0, &arguments);
    let Some(Event::Play { ask, key, query, start, duration, reset, hevc }) =
        talk.server.poll_event()
    else {
        panic!()
    };
    assert_eq!(key.as_str(), "live/a/b");
    assert_eq!(query, "gop=0&b=1&c=1&d=3");
    assert_eq!((start, duration, reset), (-1.0, 9.0, false));
    assert_eq!(hevc, HevcForm::Enhanced);
    assert!(!talk.accept_play(ask).iter().any(|line| line.contains("Reset")));
}

#[test]
fn a_player_whose_list_lacks_hvc1_gets_the_legacy_form() {
    let form = |list: &[&str], name: &str| {
        let list = list.iter().map(|&codec| text(codec)).collect();
        let fields = [("app", text("live")), ("fourCcList", Value::StrictArray(list))];
        let mut talk = Talk::connected_with(ServerConfig::default(), &fields);
        talk.call(1, "play", 0.0, &[Value::Null, text(name)]);
        match talk.server.poll_event() {
            Some(Event::Play { hevc, .. }) => hevc,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(form(&["av01"], "x"), HevcForm::Legacy);
    assert_eq!(form(&["av01", "hvc1"], "x"), HevcForm::Enhanced);
    assert_eq!(form(&["*"], "x"), HevcForm::Enhanced);
    assert_eq!(form(&["*"], "x?hevc=legacy"), HevcForm::Legacy);
}

#[test]
fn a_play_not_found_may_be_followed_by_another() {
    let mut talk = Talk::connected();
    let ask = talk.play("x");
    talk.server.play_not_found(talk.link.now(), "nobody publishes live/x");
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Play.StreamNotFound"]);
    assert_eq!(talk.server.accept_play(ask), Bytes::new());
    let ask = talk.play("y");
    talk.server.refuse(talk.link.now(), ask, &Refusal::NotFound("nor y".into()));
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Play.StreamNotFound"]);
    let ask = talk.play("z");
    assert_eq!(talk.accept_play(ask).len(), 4);
}

#[test]
fn a_denied_play_finishes() {
    let mut talk = Talk::connected();
    let ask = talk.play("x");
    talk.server.refuse(talk.link.now(), ask, &Refusal::Denied("token".into()));
    assert!(talk.server.is_finished());
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Play.Failed"]);
}

#[test]
fn the_end_of_a_stream_is_told_once_and_leaves_the_connection() {
    let mut talk = Talk::playing();
    talk.server.play_ended(talk.link.now());
    talk.server.play_ended(talk.link.now());
    let expected = [
        "User(StreamEof(1))",
        "onStatus 0 on 1: NetStream.Play.UnpublishNotify",
        "onStatus 0 on 1: NetStream.Play.Stop",
    ];
    assert_eq!(talk.heard(), expected);
    talk.play("y");
}

#[test]
fn pause_and_resume_are_told_once() {
    let mut talk = Talk::playing();
    for pause in [true, true, false] {
        talk.call(1, "pause", 0.0, &[Value::Null, Value::Boolean(pause), Value::Number(0.0)]);
    }
    let expected = [
        "onStatus 0 on 1: NetStream.Pause.Notify",
        "onStatus 0 on 1: NetStream.Pause.Notify",
        "onStatus 0 on 1: NetStream.Unpause.Notify",
    ];
    assert_eq!(talk.heard(), expected);
    assert!(matches!(talk.events()[..], [Event::Pause, Event::Resume]));
}

#[test]
fn seek_fails_because_it_is_live() {
    let mut talk = Talk::playing();
    talk.call(1, "seek", 0.0, &[Value::Null, Value::Number(1000.0)]);
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Seek.Failed"]);
}

#[test]
fn receive_audio_and_video_select_before_and_during_play() {
    let mut talk = Talk::connected();
    talk.call(1, "receiveAudio", 0.0, &[Value::Null, Value::Boolean(false)]);
    assert!(talk.events().is_empty());
    let ask = talk.play("x");
    talk.accept_play(ask);
    assert!(matches!(talk.events()[..], [Event::Select { audio: false, video: true }]));
    talk.call(1, "receiveAudio", 0.0, &[Value::Null, Value::Boolean(true)]);
    talk.call(1, "receiveVideo", 0.0, &[Value::Null, Value::Boolean(true)]);
    assert!(matches!(talk.events()[..], [Event::Select { audio: true, video: true }]));
}

#[test]
fn a_player_that_stops_may_play_again() {
    let mut talk = Talk::playing();
    talk.call(0, "deleteStream", 0.0, &[Value::Null, Value::Number(1.0)]);
    assert!(matches!(talk.events()[..], [Event::PlayEnded]));
    talk.call(0, "createStream", 2.0, &[Value::Null]);
    assert_eq!(talk.heard(), ["_result 2 on 0: 1"]);
    talk.play("y");
}

#[test]
fn play_without_a_stream_is_tolerated_and_on_a_second_one_refused() {
    let mut talk = Talk::connected();
    talk.call(2, "play", 0.0, &[Value::Null, text("x")]);
    assert_eq!(talk.heard(), ["onStatus 0 on 2: NetStream.Play.Failed"]);
    talk.call(0, "play", 0.0, &[Value::Null, text("x")]);
    let Some(Event::Play { ask, .. }) = talk.server.poll_event() else { panic!() };
    assert_eq!(talk.accept_play(ask).len(), 4);
}

#[test]
fn a_connection_does_one_thing_at_a_time() {
    let mut talk = Talk::publishing();
    talk.call(1, "publish", 0.0, &[Value::Null, text("y")]);
    talk.call(1, "play", 0.0, &[Value::Null, text("y")]);
    let expected =
        ["onStatus 0 on 1: NetStream.Publish.BadName", "onStatus 0 on 1: NetStream.Play.Failed"];
    assert_eq!(talk.heard(), expected);
    let mut talk = Talk::playing();
    talk.call(1, "publish", 0.0, &[Value::Null, text("y")]);
    talk.call(1, "play", 0.0, &[Value::Null, text("y")]);
    assert_eq!(talk.heard(), expected);
    assert!(!talk.server.is_finished() && talk.events().is_empty());
}

#[test]
fn empty_names_are_refused() {
    let mut talk = Talk::connected();
    talk.call(1, "play", 0.0, &[Value::Null, text("?x=1")]);
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Play.StreamNotFound"]);
    talk.call(1, "publish", 0.0, &[Value::Null, text("")]);
    assert_eq!(talk.heard(), ["onStatus 0 on 1: NetStream.Publish.BadName"]);
    assert!(talk.server.is_finished());
}

#[test]
fn other_calls_get_their_answers() {
    let mut talk = Talk::connected();
    for (id, name) in
        ["getStreamLength", "_checkbw", "FCSubscribe", "dance", "connect"].into_iter().enumerate()
    {
        talk.call(0, name, id as f64 + 2.0, &[Value::Null, text("x")]);
        talk.call(0, "dance", 0.0, &[]);
    }
    let expected = [
        "_result 2 on 0: 0",
        "_result 3 on 0: ",
        "_result 4 on 0: ",
        "onFCSubscribe 0 on 0: NetStream.Play.Start",
        "_error 5 on 0: NetConnection.Call.Failed",
        "_error 6 on 0: NetConnection.Call.Failed",
    ];
    assert_eq!(talk.heard(), expected);
}

#[test]
fn streams_run_out_politely() {
    let mut talk = Talk::connected();
    for _ in 0..32 {
        talk.call(0, "createStream", 9.0, &[Value::Null]);
    }
    let heard = talk.heard();
    assert_eq!(heard[30], "_result 9 on 0: 31");
    assert_eq!(heard[31], "_error 9 on 0: NetConnection.Call.Failed");
}

#[test]
fn connect_wrapped_for_amf3_is_understood() {
    let mut talk = Talk::with(ServerConfig::default());
    let body = command::encode("connect", 1.0, &[object([("app", text("live"))])]);
    talk.peer.send(kind::COMMAND_AMF3, 0, 0, &[&[0], &body[..]].concat());
    talk.run();
    assert!(matches!(talk.server.poll_event(), Some(Event::Connect { .. })));
}

#[test]
fn anything_but_connect_first_is_an_error_that_says_so() {
    let mut talk = Talk::with(ServerConfig::default());
    talk.peer.call(0, "play", 1.0, &[Value::Null, text("x")]);
    assert_eq!(talk.error(), "rtmp/command: expected connect, found \"play\"");
    assert!(talk.server.is_finished());
    assert_eq!(talk.server.handle_input(talk.link.now(), &[1, 2]).expect("closed"), 2);
}

/// An FLV tag with a stream id of 0 and a back pointer.
fn tag(kind: u8, time_ms: u32, body: &[u8]) -> Vec<u8> {
    let [high, a, b, c] = time_ms.to_be_bytes();
    let size = body.len() as u8;
    let head = [kind, 0, 0, size, a, b, c, high, 0, 0, 0];
    [&head[..], body, &[0, 0, 0, size + 11]].concat()
}

#[test]
fn an_aggregate_is_its_parts_at_offsets_from_the_first() {
    let mut talk = Talk::publishing();
    let parts = [tag(8, 5000, &ASC), tag(8, 5000, &SOUND), tag(8, 5023, &SOUND)].concat();
    talk.peer.send(kind::AGGREGATE, 100, 1, &parts);
    // Without the last back pointer, and over the wrap.
    let parts = [tag(8, u32::MAX, &SOUND), tag(8, 19, &SOUND)].concat();
    talk.peer.send(kind::AGGREGATE, 146, 1, &parts[..parts.len() - 4]);
    talk.run();
    assert_eq!(talk.frame_times_ms(), [100, 123, 146, 166]);
}

#[test]
fn aggregates_that_nest_or_end_early_or_hold_too_much_are_refused() {
    for (parts, found) in [
        (tag(kind::AGGREGATE, 0, &SOUND), "message type 22"),
        (tag(8, 0, &SOUND).repeat(4097), "more than 4096"),
        (tag(8, 0, &SOUND)[..12].to_vec(), "sub-message at byte 11: expected 4 bytes, found 1"),
        (tag(8, 0, &SOUND)[..17].to_vec(), "sub-message back pointer at byte 15"),
    ] {
        let mut talk = Talk::publishing();
        talk.peer.send(kind::AGGREGATE, 0, 1, &parts);
        let error = talk.error();
        assert!(error.starts_with("rtmp/aggregate: ") && error.contains(found), "{error}");
    }
}

#[test]
fn times_go_on_over_the_wrap_and_data_at_zero_does_not_bend_them() {
    let mut talk = Talk::publishing();
    talk.peer.send(kind::AUDIO, 0xffff_fff0, 1, &ASC);
    talk.peer.send(kind::AUDIO, 0xffff_fff0, 1, &SOUND);
    talk.peer.send(kind::AUDIO, 0x10, 1, &SOUND);
    let mut cue = BytesMut::new();
    amf0::encode(&mut cue, &text("onCuePoint"));
    talk.peer.send(kind::DATA_AMF3, 0x8000_0008, 1, &[&[0], &cue[..]].concat());
    talk.peer.send(kind::AUDIO, 0x20, 1, &SOUND);
    talk.run();
    let times = talk.frame_times_ms();
    assert_eq!([times[0], times[1], times[3]], [0xffff_fff0, 0x1_0000_0010, 0x1_0000_0020]);
}

#[test]
fn media_without_a_publish_is_dropped_up_to_a_bound() {
    let limits = Limits { stray_media_bytes: 100, ..Limits::default() };
    let config = ServerConfig { limits, ..ServerConfig::default() };
    let mut talk = Talk::connected_with(config, &[("app", text("live"))]);
    talk.peer.send(kind::VIDEO, 0, 1, &[0; 100]);
    talk.run();
    talk.peer.send(kind::VIDEO, 0, 1, &[0; 1]);
    let error = "rtmp/message: expected publish before media, found 101 bytes outside of a publish";
    assert_eq!(talk.error(), error);
}

#[test]
fn large_messages_must_wait_for_a_publish() {
    let mut talk = Talk::connected();
    talk.peer.send(kind::VIDEO, 0, 1, &vec![0; 65 << 10]);
    assert!(talk.error().starts_with("rtmp/chunk"), "before a publish");
    let mut talk = Talk::publishing();
    talk.peer.send(kind::AUDIO, 0, 1, &ASC);
    talk.peer.send(kind::AUDIO, 0, 1, &[&SOUND[..2], &vec![0; 65 << 10]].concat());
    talk.run();
    assert_eq!(talk.frame_times_ms(), [0]);
}

#[test]
fn received_bytes_are_acknowledged_once_per_window() {
    let mut talk = Talk::publishing();
    let mut body = BytesMut::new();
    Control::WindowAckSize(5000).encode(&mut body);
    talk.peer.send(kind::WINDOW_ACK_SIZE, 0, 0, &body);
    talk.run();
    // What came before already fills the window.
    let already = talk.heard().len();
    talk.peer.send(kind::AUDIO, 0, 1, &[&SOUND[..], &[0; 20_000]].concat());
    talk.run();
    let acks = talk.heard();
    assert!((1..=4).contains(&acks.len()) && already <= 1, "{acks:?}");
    assert!(acks.iter().all(|line| line.starts_with("Ack(")), "{acks:?}");
    assert!(talk.server.offset() > 20_000);
}

#[test]
fn a_window_that_is_not_ours_is_answered_and_pings_too() {
    let mut talk = Talk::connected();
    for control in [
        Control::SetPeerBandwidth { window_bytes: 2_500_000, limit: BandwidthLimit::Hard },
        Control::SetPeerBandwidth { window_bytes: 77, limit: BandwidthLimit::Hard },
        Control::User(UserControl::Ping(5)),
        Control::User(UserControl::SetBufferLength { stream: 1, ms: 100 }),
        Control::Ack(3),
    ] {
        let mut body = BytesMut::new();
        control.encode(&mut body);
        talk.peer.send(control.kind(), 0, 0, &body);
    }
    assert_eq!(talk.heard(), ["WindowAckSize(77)", "User(Pong(5))"]);
}

/// Passes time up to the deadline, and gives the error it ends in.
fn time_out(talk: &mut Talk, timer: Timer, seconds: u64) -> String {
    let wait = Duration::from_secs(seconds);
    assert_eq!(talk.server.poll_timeout(), Some((talk.link.now() + wait, timer)));
    talk.link.pass(wait - Duration::from_millis(1));
    talk.server.handle_timeout(talk.link.now()).expect("not yet");
    talk.link.pass(Duration::from_millis(1));
    let error = talk.server.handle_timeout(talk.link.now()).expect_err("too late");
    assert!(talk.server.is_finished() && talk.server.poll_timeout().is_none());
    error.to_string()
}

#[test]
fn every_wait_has_an_end() {
    let mut talk = Talk::with(ServerConfig::default());
    let error = "rtmp/handshake: expected a whole handshake within 5s, found none";
    assert_eq!(time_out(&mut talk, Timer::Handshake, 5), error);

    let mut talk = Talk::with(ServerConfig::default());
    talk.link.pass(Duration::from_secs(4));
    talk.run();
    time_out(&mut talk, Timer::Request, 20);

    let mut talk = Talk::connected();
    talk.link.pass(Duration::from_secs(0));
    time_out(&mut talk, Timer::Request, 20);

    let mut talk = Talk::publishing();
    time_out(&mut talk, Timer::FirstFrame, 20);

    let mut talk = Talk::publishing();
    talk.link.pass(Duration::from_secs(19));
    talk.peer.send(kind::AUDIO, 0, 1, &ASC);
    talk.run();
    time_out(&mut talk, Timer::Silence, 10);

    let mut talk = Talk::playing();
    talk.link.pass(Duration::from_secs(1000));
    talk.server.handle_timeout(talk.link.now()).expect("players may be silent");
    talk.server.play_ended(talk.link.now());
    time_out(&mut talk, Timer::Request, 20);
}

#[test]
fn a_machine_is_small_and_can_move() {
    fn movable<T: Send + 'static>() {}
    movable::<Server>();
    movable::<Client>();
    let (server, client, event) = (size_of::<Server>(), size_of::<Client>(), size_of::<Event>());
    println!("server {server}, client {client}, event {event} bytes");
    // There is one for each player; more would take a larger piece of memory.
    assert!(server <= 192, "{server}");
    assert!(client <= 600, "{client}");
}

#[test]
fn a_player_keeps_no_memory_for_events() {
    let mut talk = Talk::playing();
    assert!(talk.events().is_empty());
    assert!(talk.server.core.events.is_none());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, pieces in 1_usize..50) {
        let now = Instant::now();
        let mut server = Server::new(ServerConfig::default(), 1, now);
        for piece in bytes.chunks(pieces) {
            let _ = server.handle_input(now, piece);
        }
    }

    #[test]
    fn random_messages_never_panic(
        messages in proptest::collection::vec(
            (1_u8..24, any::<u32>(), 0_u32..3, any::<Vec<u8>>()),
            0..20,
        ),
    ) {
        for mut talk in [Talk::connected(), Talk::publishing(), Talk::playing()] {
            for (kind, time_ms, stream_id, body) in &messages {
                talk.peer.send(*kind, *time_ms, *stream_id, body);
            }
            let _ = talk.link.try_run(&mut talk.peer, &mut talk.server);
            talk.events();
        }
    }
}
