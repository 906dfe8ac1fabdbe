//! The other end of an RTMP connection, over a plain blocking socket: [`Peer`] by our own client
//! machine, [`Raw`] by single messages, for clients that do what ours would not.

// Each test program uses a part.
#![allow(dead_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use corecast::bytes::Chain;
use corecast::container::amf0::{self, Value};
use corecast::media::{AudioCodec, Codec, Frame, Track, TrackKind, VideoCodec};
use corecast::proto::rtmp::client::Event;
use corecast::proto::rtmp::{
    ChunkLimits, ChunkReader, ChunkWriter, Client, ClientConfig, Goal, Message, kind,
};
use corecast::time::Timestamp;

use super::node::{PATIENCE, connect, eventually};

/// A client of ours on a socket.
pub(crate) struct Peer {
    pub(crate) socket: TcpStream,
    client: Client,
    pushed: i64,
}

impl Peer {
    /// Connects to `port` and begins to ask for `path`, with its query.
    pub(crate) fn new(port: u16, goal: Goal, path: &str) -> Self {
        Self::on(connect(port), goal, path)
    }

    /// The same on a connection that is there.
    pub(crate) fn on(socket: TcpStream, goal: Goal, path: &str) -> Self {
        let url: corecast::proto::rtmp::Url =
            format!("rtmp://127.0.0.1/{path}").parse().expect("a valid path");
        socket.set_nodelay(true).expect("TCP");
        let client = Client::new(ClientConfig::default(), url, goal, 1, Instant::now());
        let mut peer = Self { socket, client, pushed: 0 };
        peer.transmit();
        peer
    }

    /// A publisher of sound that was let in.
    pub(crate) fn publish(port: u16, path: &str) -> Self {
        let mut peer = Self::new(port, Goal::Publish, path);
        peer.start();
        peer
    }

    /// A viewer; it was not let in yet.
    pub(crate) fn play(port: u16, path: &str) -> Self {
        Self::new(port, Goal::Play, path)
    }

    /// Waits until it is let in. A publisher announces its track.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        self.try_start().expect("it is let in");
        if self.client.push_track(&sound()) {
            self.transmit();
        }
    }

    /// Waits until it is refused, and tells the code and the reason.
    #[track_caller]
    pub(crate) fn refusal(&mut self) -> (String, String) {
        self.try_start().expect_err("it is refused")
    }

    /// Waits until it is let in, or refused: then it tells the code and the reason.
    #[track_caller]
    pub(crate) fn try_start(&mut self) -> Result<(), (String, String)> {
        loop {
            match self.event() {
                Event::Started => return Ok(()),
                Event::Refused { code, description } => return Err((code, description)),
                Event::Connected => {}
                other => panic!("expected an answer, found {other:?}"),
            }
        }
    }

    /// Says what our client says by itself until `done` says yes.
    #[track_caller]
    pub(crate) fn go_on_until(&mut self, what: &str, mut done: impl FnMut() -> bool) {
        eventually(what, || {
            let end = Instant::now() + Duration::from_millis(5);
            while let Some(bytes) = read_until(&mut self.socket, end) {
                let bytes = bytes.expect("the server stays");
                self.client.handle_input(Instant::now(), &bytes).expect("the server speaks RTMP");
                self.transmit();
            }
            done()
        });
    }

    /// The next thing that happens.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.event_within(PATIENCE).expect("something happens")
    }

    /// The next thing that happens in `time`; none if nothing does.
    #[track_caller]
    pub(crate) fn event_within(&mut self, time: Duration) -> Option<Event> {
        let end = Instant::now() + time;
        loop {
            if let Some(event) = self.client.poll_event() {
                return Some(event);
            }
            let bytes = read_until(&mut self.socket, end)?.expect("the server stays");
            assert!(!bytes.is_empty(), "the server closed");
            self.client.handle_input(Instant::now(), &bytes).expect("the server speaks RTMP");
            self.transmit();
        }
    }

    /// Publishes the next `count` frames.
    pub(crate) fn push(&mut self, count: i64) {
        for _ in 0..count {
            assert!(self.client.push_frame(&frame(self.pushed)), "it publishes");
            self.pushed += 1;
        }
        self.transmit();
    }

    /// Announces pictures.
    pub(crate) fn announce_pictures(&mut self) {
        assert!(self.client.push_track(&pictures()), "it publishes");
        self.transmit();
    }

    /// Publishes the next picture.
    pub(crate) fn push_picture(&mut self, key: bool) {
        assert!(self.client.push_frame(&picture(self.pushed, key)), "it publishes");
        self.pushed += 1;
        self.transmit();
    }

    /// The next frame to be published.
    pub(crate) fn next(&self) -> i64 {
        self.pushed
    }

    /// Receives until frame `last` has come, from `first` on or from any; none may be missing.
    #[track_caller]
    pub(crate) fn expect_frames(&mut self, first: Option<i64>, last: i64) {
        let mut expected = first;
        while expected.is_none_or(|next| next <= last) {
            if let Event::Frame(got) = self.event() {
                let number = number_of(&got.data);
                assert_eq!(number, expected.unwrap_or(number), "a frame is missing or twice");
                assert_eq!(got.data, frame(number).data);
                expected = Some(number + 1);
            }
        }
    }

    /// Takes leave and hangs up.
    pub(crate) fn leave(mut self) {
        self.client.stop();
        self.transmit();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("connected")
    }

    fn transmit(&mut self) {
        let mut out = Chain::default();
        while self.client.poll_transmit(&mut out) {}
        self.socket.write_all(&out.into_bytes()).expect("the server reads");
    }
}

/// What arrives before `end`: nothing in time (`None`), or bytes; no bytes at the end.
pub(crate) fn read_until(socket: &mut TcpStream, end: Instant) -> Option<io::Result<Vec<u8>>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = end.checked_duration_since(Instant::now())?;
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("not zero");
        match socket.read(&mut buffer) {
            Ok(read) => {
                buffer.truncate(read);
                return Some(Ok(buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// The track of every test: AAC, 44.1 kHz, stereo.
pub(crate) fn sound() -> Track {
    let config = Bytes::from_static(&[0x12, 0x10]);
    Track { codec: Codec::Audio(AudioCodec::Aac), config, hdr: None, video: None, audio: None }
}

/// Frame `number` of every test: it carries its number, and more with each.
pub(crate) fn frame(number: i64) -> Frame {
    let time = Timestamp::from_millis(number * 23);
    let filler = (0..100 + number % 400).map(|at| (number + at) as u8);
    let data = number.to_be_bytes().into_iter().chain(filler).collect();
    Frame { kind: TrackKind::Audio, dts: time, pts: time, key: false, data }
}

/// A track of pictures: H.264, of no size in particular.
pub(crate) fn pictures() -> Track {
    let config = Bytes::from_static(&[1, 100, 0, 31, 0xff, 0xe0, 0]);
    Track { codec: Codec::Video(VideoCodec::H264), config, hdr: None, video: None, audio: None }
}

/// Picture `number`, 40 ms each: one NAL unit that carries its number.
pub(crate) fn picture(number: i64, key: bool) -> Frame {
    let time = Timestamp::from_millis(number * 40);
    let mut data = vec![0, 0, 0, 109, if key { 0x65 } else { 0x41 }];
    data.extend(number.to_be_bytes());
    data.resize(113, 0x55);
    Frame { kind: TrackKind::Video, dts: time, pts: time, key, data: data.into() }
}

/// The number a picture carries.
pub(crate) fn number_of_picture(data: &[u8]) -> i64 {
    number_of(&data[5..])
}

/// The number a frame carries.
pub(crate) fn number_of(data: &[u8]) -> i64 {
    i64::from_be_bytes(data[..8].try_into().expect("a frame of ours"))
}

/// A connection that says single messages.
pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    reader: ChunkReader,
    unread: BytesMut,
}

impl Raw {
    /// Connects and shakes hands.
    pub(crate) fn new(port: u16) -> Self {
        Self::on(connect(port))
    }

    /// Shakes hands on a connection that is there.
    pub(crate) fn on(mut socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("TCP");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut hello = vec![0; 1537];
        hello[0] = 3;
        socket.write_all(&hello).expect("the server reads");
        let mut answer = vec![0; 3073];
        socket.read_exact(&mut answer).expect("the server shakes hands");
        socket.write_all(&answer[1..1537]).expect("the server reads");
        let reader = ChunkReader::new(ChunkLimits::default());
        Self { socket, reader, unread: BytesMut::new() }
    }

    /// Connects up to the point where it may publish or play on stream 1.
    pub(crate) fn ready(port: u16, app: &str) -> Self {
        let mut raw = Self::new(port);
        raw.make_ready(app);
        raw
    }

    /// connect and createStream, and their answers.
    pub(crate) fn make_ready(&mut self, app: &str) {
        self.send(&[connect_call(app), call("createStream", 2.0, 0, &[Value::Null])].concat());
        self.reply(2.0);
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    /// The next message; none if the server closed.
    #[track_caller]
    pub(crate) fn message(&mut self) -> Option<Message> {
        loop {
            let mut input = &self.unread[..];
            let message = self.reader.read(&mut input).expect("the server speaks RTMP");
            self.unread = input.into();
            if message.is_some() {
                return message;
            }
            let end = Instant::now() + PATIENCE;
            match read_until(&mut self.socket, end).expect("the server answers") {
                Ok(bytes) if !bytes.is_empty() => self.unread.extend_from_slice(&bytes),
                _ => return None,
            }
        }
    }

    /// True if a message comes in `time`.
    pub(crate) fn hears_within(&mut self, time: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        self.socket.set_read_timeout(Some(time)).expect("not zero");
        self.socket.peek(&mut [0]).is_ok()
    }

    /// The next command's values.
    #[track_caller]
    pub(crate) fn command(&mut self) -> Vec<Value> {
        loop {
            let message = self.message().expect("the server stays");
            if message.kind == kind::COMMAND {
                return amf0::decode(&message.payload, amf0::Limits::default()).expect("AMF0");
            }
        }
    }

    /// Waits for the answer to call `transaction`.
    #[track_caller]
    pub(crate) fn reply(&mut self, transaction: f64) -> Vec<Value> {
        loop {
            let values = self.command();
            let is_reply = matches!(values[0].as_str(), Some("_result" | "_error"));
            if is_reply && values[1].as_f64() == Some(transaction) {
                return values;
            }
        }
    }

    /// The next status: its code and its reason.
    #[track_caller]
    pub(crate) fn status(&mut self) -> (String, String) {
        loop {
            let values = self.command();
            if values[0].as_str() == Some("onStatus") {
                let text = |name| {
                    let value = values[3].get(name).and_then(Value::as_str);
                    value.expect("a status has it").to_owned()
                };
                return (text("code"), text("description"));
            }
        }
    }

    /// Waits for the answer to a ping. Statuses on the way are told.
    #[track_caller]
    pub(crate) fn pong(&mut self, value: u32) {
        loop {
            let message = self.message().expect("the server stays");
            if message.kind == kind::USER_CONTROL
                && message.payload[..2] == [0, 7]
                && message.payload[2..6] == value.to_be_bytes()
            {
                return;
            }
        }
    }

    /// Reads until the server closes.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        while self.message().is_some() {}
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("connected")
    }
}

/// `connect`, transaction 1.
pub(crate) fn connect_call(app: &str) -> Vec<u8> {
    let fields = [("app", app), ("tcUrl", "rtmp://localhost/"), ("flashVer", "test")];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    call("connect", 1.0, 0, &[Value::Object(fields.into())])
}

/// `publish` on stream 1.
pub(crate) fn publish(name: &str) -> Vec<u8> {
    call("publish", 3.0, 1, &[Value::Null, name.into(), "live".into()])
}

/// `play` on stream 1.
pub(crate) fn play(name: &str) -> Vec<u8> {
    call("play", 3.0, 1, &[Value::Null, name.into()])
}

/// A command message.
pub(crate) fn call(name: &str, transaction: f64, stream: u32, arguments: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    amf0::encode(&mut body, &name.into());
    amf0::encode(&mut body, &transaction.into());
    arguments.iter().for_each(|argument| amf0::encode(&mut body, argument));
    message(kind::COMMAND, 3, 0, stream, &body)
}

/// A ping.
pub(crate) fn ping(value: u32) -> Vec<u8> {
    let mut body = vec![0, 6];
    body.extend(value.to_be_bytes());
    message(kind::USER_CONTROL, 2, 0, 0, &body)
}

/// The track of every test as a message.
pub(crate) fn sound_message() -> Vec<u8> {
    message(kind::AUDIO, 4, 0, 1, &[0xaf, 0, 0x12, 0x10])
}

/// Frame `number` as a message.
pub(crate) fn frame_message(number: i64) -> Vec<u8> {
    let frame = frame(number);
    let body = [&[0xaf, 1], &frame.data[..]].concat();
    message(kind::AUDIO, 4, frame.dts.as_millis() as u32, 1, &body)
}

/// One message in chunks of the first size.
pub(crate) fn message(kind: u8, csid: u32, time_ms: u32, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let writer = ChunkWriter::new(ChunkWriter::INITIAL_CHUNK_SIZE);
    assert!(writer.write(&mut out, csid, kind, time_ms, stream, &[], body));
    out.to_vec()
}
