//! FLV files, tag by tag, so that they can be changed, joined, and published at the pace they play.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::http::connect;

/// A tag without what frames it.
#[derive(Debug, Clone)]
pub(crate) struct Tag {
    pub(crate) kind: u8,
    pub(crate) ms: u32,
    pub(crate) body: Vec<u8>,
}

pub(crate) const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;
/// With sound and pictures; behind it the length of no tag.
const HEAD: &[u8] = &[b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];

/// All tags of a file.
pub(crate) fn read(path: &Path) -> Vec<Tag> {
    let bytes = fs::read(path).expect("it was made");
    let (mut rest, mut tags) = (&bytes[HEAD.len()..], Vec::new());
    while let [kind, l0, l1, l2, t0, t1, t2, t3, _, _, _, after @ ..] = rest {
        let length = u32::from_be_bytes([0, *l0, *l1, *l2]) as usize;
        let ms = u32::from_be_bytes([*t3, *t0, *t1, *t2]);
        tags.push(Tag { kind: *kind, ms, body: after[..length].to_vec() });
        rest = &after[length + 4..];
    }
    assert!(rest.is_empty() && !tags.is_empty(), "{} is no whole file", path.display());
    tags
}

/// Writes them down again.
pub(crate) fn bytes(tags: &[Tag]) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    for tag in tags {
        out.extend(framed(tag));
    }
    out
}

fn framed(tag: &Tag) -> Vec<u8> {
    let length = u32::try_from(tag.body.len()).expect("a tag is short");
    let ([_, length_bytes @ ..], [t3, time @ ..]) = (length.to_be_bytes(), tag.ms.to_be_bytes());
    let mut out = vec![tag.kind];
    out.extend(length_bytes);
    out.extend(time);
    out.extend([t3, 0, 0, 0]);
    out.extend(&tag.body);
    out.extend((length + 11).to_be_bytes());
    out
}

/// Lets `more` follow `tags`, its headers included, 40 ms behind the last.
pub(crate) fn append(tags: &mut Vec<Tag>, more: &[Tag]) {
    let end = tags.iter().map(|tag| tag.ms).max().unwrap_or(0) + 40;
    let first = more.iter().filter(|tag| tag.kind != SCRIPT).map(|tag| tag.ms).min().unwrap_or(0);
    let media = more.iter().filter(|tag| tag.kind != SCRIPT);
    tags.extend(media.map(|tag| Tag { ms: end + tag.ms - first, ..tag.clone() }));
}

/// Publishes at `/KEY.flv`, what and when it is told.
pub(crate) struct Publisher {
    socket: TcpStream,
}

impl Publisher {
    pub(crate) fn new(port: u16, key: &str) -> Self {
        let mut socket = connect(port, None);
        let head = format!(
            "POST /{key}.flv HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).expect("the server reads");
        let mut publisher = Self { socket };
        publisher.chunk(HEAD);
        publisher
    }

    pub(crate) fn send(&mut self, tags: &[Tag]) {
        for tag in tags {
            self.chunk(&framed(tag));
        }
    }

    /// Ends the request, and waits for the answer.
    pub(crate) fn finish(mut self) {
        self.chunk(&[]);
        let mut answer = [0; 12];
        self.socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200", "{}", String::from_utf8_lossy(&answer));
    }

    fn chunk(&mut self, bytes: &[u8]) {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend(bytes);
        chunk.extend(b"\r\n");
        self.socket.write_all(&chunk).expect("the server reads");
    }
}

/// Publishes them at `/KEY.flv` as fast as they play, and waits for the answer.
pub(crate) fn publish(tags: &[Tag], port: u16, key: &str) {
    let mut publisher = Publisher::new(port, key);
    let begin = Instant::now();
    for tag in tags {
        let at = begin + Duration::from_millis(u64::from(tag.ms));
        sleep(at.saturating_duration_since(Instant::now()));
        publisher.send(std::slice::from_ref(tag));
    }
    publisher.finish();
}
