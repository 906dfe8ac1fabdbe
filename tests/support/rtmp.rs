//! An RTMP client of a few lines, for what foreign programs cannot be made to do: many at once,
//! at one instant, in one write. It shares no code with the server.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::http::connect;

/// A connection after the handshake.
pub(crate) struct Talk {
    pub(crate) stream: TcpStream,
    heard: Vec<u8>,
}

impl Talk {
    /// Shakes hands and sends `connect` for `app`.
    pub(crate) fn open(port: u16, app: &str) -> Self {
        let mut stream = connect(port, None);
        stream.set_nodelay(true).expect("a TCP socket");
        let mut hello = vec![0; 1537];
        hello[0] = 3;
        stream.write_all(&hello).expect("the server reads");
        let mut answer = vec![0; 3073];
        stream.read_exact(&mut answer).expect("the server shakes hands");
        stream.write_all(&answer[1..1537]).expect("the server reads");
        let mut talk = Self { stream, heard: Vec::new() };
        talk.send(&connect_command(app));
        talk
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Reads until one of `texts` was heard and tells which; none if the server hung up first or
    /// the time was over.
    pub(crate) fn hear<'a>(&mut self, texts: &[&'a str], within: Duration) -> Option<&'a str> {
        let end = Instant::now() + within;
        let mut buffer = [0; 4096];
        loop {
            let said = |text: &str| self.heard.windows(text.len()).any(|w| w == text.as_bytes());
            if let Some(text) = texts.iter().copied().find(|text| said(text)) {
                return Some(text);
            }
            let left = end.checked_duration_since(Instant::now())?;
            let left = left.max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("not zero");
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(n) => self.heard.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return None,
            }
        }
    }
}

/// `connect`, transaction 1.
pub(crate) fn connect_command(app: &str) -> Vec<u8> {
    let mut body = [string("connect"), number(1.0)].concat();
    body.push(3);
    for (name, value) in [("app", app), ("tcUrl", "rtmp://localhost/"), ("flashVer", "test")] {
        body.extend(&string(name)[1..]);
        body.extend(string(value));
    }
    body.extend([0, 0, 9]);
    message(20, 0, &body)
}

/// `createStream`, transaction 2. The answer is stream 1 on a new connection.
pub(crate) fn create_stream() -> Vec<u8> {
    message(20, 0, &[string("createStream"), number(2.0), vec![5]].concat())
}

/// `publish` of `name`, live, on stream 1.
pub(crate) fn publish(name: &str) -> Vec<u8> {
    message(
        20,
        1,
        &[string("publish"), number(3.0), vec![5], string(name), string("live")].concat(),
    )
}

/// `play` of `name` on stream 1.
pub(crate) fn play(name: &str) -> Vec<u8> {
    message(20, 1, &[string("play"), number(3.0), vec![5], string(name)].concat())
}

/// One message in chunks of 128 bytes, on chunk stream 3.
pub(crate) fn message(kind: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![3, 0, 0, 0];
    out.extend(&u32::try_from(body.len()).expect("short").to_be_bytes()[1..]);
    out.push(kind);
    out.extend(stream.to_le_bytes());
    for (i, chunk) in body.chunks(128).enumerate() {
        if i > 0 {
            out.push(0xc3);
        }
        out.extend(chunk);
    }
    out
}

fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    [&[2][..], &length, text.as_bytes()].concat()
}

fn number(value: f64) -> Vec<u8> {
    [&[0][..], &value.to_be_bytes()].concat()
}
