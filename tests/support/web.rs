//! The other end of an HTTP connection, over a plain blocking socket: requests as bytes, answers
//! as they come, and a viewer of HTTP-FLV.

// Each test program uses a part.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use corecast::container::flv::{Demux, FileReader, Item, Limits};
use corecast::media::Frame;
use corecast::time::Timestamp;

use super::node::{PATIENCE, connect};
use super::talk::{frame, number_of, read_until};

/// A connection, and what came and was not yet looked at.
pub(crate) struct Web {
    pub(crate) socket: TcpStream,
    pub(crate) heard: Vec<u8>,
}

/// An answer with a length, or without a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The fields, as they came.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of a field, by its name in small letters.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(key, _)| key.to_ascii_lowercase() == name).map(|(_, value)| value).next()
    }

    /// Whoever asks for a core that is late on a busy machine is told to ask again; what it was told to
    /// do it does when it can.
    pub(crate) fn is_late(&self) -> bool {
        self.status == 503 && self.body.contains("ask again later")
    }
}

/// Asks for `path` on a connection of its own.
#[track_caller]
pub(crate) fn get(port: u16, path: &str) -> Answer {
    let mut web = Web::new(port);
    web.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    web.answer()
}

impl Web {
    pub(crate) fn new(port: u16) -> Self {
        Self::on(connect(port))
    }

    pub(crate) fn on(socket: TcpStream) -> Self {
        Self { socket, heard: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.socket.write_all(text.as_bytes()).expect("the server reads");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("connected")
    }

    /// Waits for more; false at the end.
    #[track_caller]
    pub(crate) fn hear(&mut self) -> bool {
        let bytes = read_until(&mut self.socket, Instant::now() + PATIENCE);
        match bytes.expect("the server answers") {
            Ok(bytes) => {
                self.heard.extend_from_slice(&bytes);
                !bytes.is_empty()
            }
            Err(_) => false,
        }
    }

    /// Takes `count` bytes.
    #[track_caller]
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        while self.heard.len() < count {
            assert!(self.hear(), "expected {count} bytes, found {:?}", self.heard);
        }
        let rest = self.heard.split_off(count);
        std::mem::replace(&mut self.heard, rest)
    }

    /// Takes a head: its status, and its fields.
    #[track_caller]
    pub(crate) fn head(&mut self) -> (u16, String) {
        let end = loop {
            if let Some(at) = self.heard.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let so_far = String::from_utf8_lossy(&self.heard).into_owned();
            assert!(self.hear(), "expected an answer, found {so_far:?}");
        };
        let head = String::from_utf8(self.take(end)).expect("a head is ASCII");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.expect("a status line"), head)
    }

    /// Takes an answer whose body has a length.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.field("content-length").map(|length| length.parse().expect("a number"));
        answer.body = String::from_utf8(self.take(length.unwrap_or(0))).expect("a text");
        answer
    }

    /// Reads until the server closes. What came last stays in `heard`.
    #[track_caller]
    pub(crate) fn expect_closed(&mut self) {
        while self.hear() {}
    }
}

/// A viewer of HTTP-FLV.
pub(crate) struct Watcher {
    pub(crate) web: Web,
    file: FileReader,
    demux: Demux,
    items: VecDeque<Item>,
    started: bool,
}

impl Watcher {
    /// Asks for `path`, such as `live/x.flv`.
    pub(crate) fn new(port: u16, path: &str) -> Self {
        Self::on(connect(port), path)
    }

    /// The same on a connection that is there.
    pub(crate) fn on(socket: TcpStream, path: &str) -> Self {
        let mut web = Web::on(socket);
        web.send(&format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let (file, demux) = (FileReader::new(Limits::default()), Demux::new(Limits::default()));
        Self { web, file, demux, items: VecDeque::new(), started: false }
    }

    /// Receives until frame `last` has come, from `first` on or from any; none may be missing.
    #[track_caller]
    pub(crate) fn expect_frames(&mut self, first: Option<i64>, last: i64) {
        let mut expected = first;
        while expected.is_none_or(|next| next <= last) {
            if let Item::Frame(got) = self.item() {
                let number = number_of(&got.data);
                assert_eq!(number, expected.unwrap_or(number), "a frame is missing or twice");
                assert_eq!(got.data, frame(number).data);
                expected = Some(number + 1);
            }
        }
    }

    /// The next frame; none if the server has closed behind a whole one.
    #[track_caller]
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            match self.next_item() {
                Some(Item::Frame(frame)) => return Some(frame),
                Some(_) => {}
                None => {
                    assert!(self.web.heard.is_empty(), "a part of a tag");
                    return None;
                }
            }
        }
    }

    #[track_caller]
    fn item(&mut self) -> Item {
        self.next_item().expect("the server stays")
    }

    #[track_caller]
    fn next_item(&mut self) -> Option<Item> {
        if !std::mem::replace(&mut self.started, true) {
            let (status, head) = self.web.head();
            assert_eq!(status, 200, "{head}");
        }
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let mut input = &self.web.heard[..];
            while let Some((kind, ms, body)) = self.file.read(&mut input).expect("an FLV file") {
                let mut items = Vec::new();
                let time = Timestamp::from_millis(i64::from(ms));
                self.demux.push(kind, time, body, &mut items).expect("media");
                self.items.extend(items);
            }
            self.web.heard = input.to_vec();
            if self.items.is_empty() && !self.web.hear() {
                return None;
            }
        }
    }
}
