//! WS-FLV, WS-TS and WS-fMP4: an endless file in the binary messages of a WebSocket (RFC 6455), cut anywhere.
//!
//! A server's frames are not masked. Its pings are answered while the session lives; viewers that
//! let go of it say a Pong by the clock instead, asked or not.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use corecast::bytes::Chain;
use corecast::proto::http::ws;

use super::body::Body;
use super::http::{Head, Url};
use super::{Event, Session, SignOfLife, Stream, words};

/// A URL of the scheme `ws`, or `wss`.
pub(super) fn parse(url: &str) -> Result<Box<dyn Stream>, String> {
    Ok(Box::new(Resource { url: Url::parse(url)?.into() }))
}

struct Resource {
    url: Arc<Url>,
}

impl Stream for Resource {
    fn address(&self) -> (&str, u16) {
        (&self.url.host, self.url.port)
    }

    fn open(&self, seed: u64, _now: Instant) -> Box<dyn Session> {
        let nonce = [seed.to_be_bytes(), (!seed).to_be_bytes()].concat();
        let key = BASE64.encode(nonce);
        let request = self.url.request(&format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n"
        ));
        let mut out = Chain::default();
        out.push(request);
        let url = Arc::clone(&self.url);
        Box::new(Viewer { out, stage: Stage::Head { head: Head::default(), key, url } })
    }

    /// An unsolicited Pong, which RFC 6455 5.5.3 has for this and nobody answers.
    fn sign_of_life(&self, _received: u32) -> Option<SignOfLife> {
        Some([FIN | PONG, MASKED, 0, 0, 0, 0].into_iter().collect())
    }
}

struct Viewer {
    out: Chain,
    stage: Stage,
}

/// ```text
/// Head ─> Frames
/// ```
enum Stage {
    Head { head: Head, key: String, url: Arc<Url> },
    Frames { frame: Frame, body: Body },
}

impl Session for Viewer {
    fn handle_input(&mut self, _now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>> {
        match &mut self.stage {
            Stage::Head { head, key, url } => {
                let answer = head.read(101, input).map_err(|error| url.explain(error))?;
                let Some(answer) = answer else { return Ok(None) };
                let (found, expected) = (answer.accept.unwrap_or_default(), ws::accept_value(key));
                if found != expected {
                    return Err(io::Error::other(format!(
                        "expected Sec-WebSocket-Accept {expected:?}, found {found:?}"
                    )));
                }
                self.stage = Stage::Frames { frame: Frame::default(), body: Body::of(url) };
                Ok(Some(Event::Joined { server: answer.server }))
            }
            Stage::Frames { frame, body } => loop {
                if let Some(event) = body.poll_event() {
                    return Ok(Some(event));
                }
                match frame.payload(input, &mut self.out)? {
                    0 => return Ok(None),
                    count => frame.advance(body.read(input, count)?),
                }
            },
        }
    }

    fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        let any = !self.out.is_empty();
        self.out.drain().for_each(|slice| out.push(slice));
        any
    }
}

/// The frame that is coming in, RFC 6455 5.2.
enum Frame {
    Head(ArrayVec<u8, HEAD_MAX>),
    Data { left: u64 },
    Control { opcode: u8, left: usize, payload: ArrayVec<u8, CONTROL_MAX> },
}

/// Two bytes and a length of 64 bits.
const HEAD_MAX: usize = 10;
const CONTROL_MAX: usize = 125;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Default for Frame {
    fn default() -> Self {
        Self::Head(ArrayVec::new())
    }
}

impl Frame {
    /// Takes what is not the file's off the front of `input`, answers it, and says how much of
    /// `input` then is the file's.
    fn payload(&mut self, input: &mut &[u8], out: &mut Chain) -> io::Result<usize> {
        loop {
            match self {
                Self::Data { left: 0 } => *self = Self::default(),
                Self::Data { left } => {
                    let len = input.len();
                    return Ok(usize::try_from(*left).map_or(len, |left| left.min(len)));
                }
                Self::Control { opcode, left: 0, payload } => {
                    answer(*opcode, payload, out)?;
                    *self = Self::default();
                }
                Self::Control { left, payload, .. } => {
                    let Some(byte) = take_byte(input) else { return Ok(0) };
                    payload.push(byte);
                    *left -= 1;
                }
                Self::Head(head) => {
                    let Some(byte) = take_byte(input) else { return Ok(0) };
                    head.push(byte);
                    if let Some(frame) = Self::begin(head)? {
                        *self = frame;
                    }
                }
            }
        }
    }

    /// What a head begins; none while it is not whole.
    fn begin(head: &[u8]) -> io::Result<Option<Self>> {
        let [first, second, length @ ..] = head else { return Ok(None) };
        if second & MASKED != 0 {
            return Err(io::Error::other("expected a WebSocket frame without a mask, found one"));
        }
        let left = match (second, length) {
            (126, [a, b]) => u64::from(u16::from_be_bytes([*a, *b])),
            (127, length) if length.len() == 8 => {
                u64::from_be_bytes(length.try_into().expect("the guard says eight"))
            }
            (126 | 127, _) => return Ok(None),
            (short, _) => u64::from(*short),
        };
        match first & 0x0f {
            // The file may be cut into frames as well as into messages.
            CONTINUATION | BINARY => Ok(Some(Self::Data { left })),
            opcode @ (CLOSE | PING | PONG) if left <= CONTROL_MAX as u64 => {
                Ok(Some(Self::Control { opcode, left: left as usize, payload: ArrayVec::new() }))
            }
            opcode => Err(io::Error::other(format!(
                "expected a WebSocket frame of binary data, found opcode {opcode} with {left} bytes"
            ))),
        }
    }

    /// So many bytes of the file were taken.
    fn advance(&mut self, count: usize) {
        if let Self::Data { left } = self {
            *left -= count as u64;
        }
    }
}

fn take_byte(input: &mut &[u8]) -> Option<u8> {
    let (&byte, rest) = input.split_first()?;
    *input = rest;
    Some(byte)
}

/// What a control frame wants.
fn answer(opcode: u8, payload: &[u8], out: &mut Chain) -> io::Result<()> {
    match (opcode, payload) {
        (CLOSE, [a, b, reason @ ..]) => {
            let (code, reason) =
                (u16::from_be_bytes([*a, *b]), words(&String::from_utf8_lossy(reason)));
            Err(io::Error::other(format!("the server closed the WebSocket: {code} {reason}")))
        }
        (CLOSE, _) => Err(io::Error::other("the server closed the WebSocket")),
        (PING, _) => {
            // A mask of zeros is a mask: what must not be guessed is for proxies, not for us.
            let mut pong = vec![FIN | PONG, MASKED | payload.len() as u8, 0, 0, 0, 0];
            pong.extend_from_slice(payload);
            out.push(pong);
            Ok(())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: &[u8] = include_bytes!("../../../src/app/demo/clip.flv");

    /// The key of seed 7 makes this.
    fn head() -> Vec<u8> {
        let key = BASE64.encode([7_u64.to_be_bytes(), (!7_u64).to_be_bytes()].concat());
        let accept = ws::accept_value(&key);
        format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n").into()
    }

    fn viewer() -> Box<dyn Session> {
        parse("ws://127.0.0.1/x.flv").expect("a URL").open(7, Instant::now())
    }

    fn watch(viewer: &mut dyn Session, answer: &[u8], size: usize) -> io::Result<usize> {
        let mut frames = 0;
        for mut piece in answer.chunks(size) {
            while let Some(event) = viewer.handle_input(Instant::now(), &mut piece)? {
                frames += usize::from(matches!(event, Event::Frame(_)));
            }
        }
        Ok(frames)
    }

    #[test]
    fn messages_fragments_and_pings_give_the_file() {
        let mut answer = head();
        for (number, part) in CLIP.chunks(70_000).enumerate() {
            let (header, count) = ws::header(part.len());
            answer.extend(&header[..count]);
            answer.extend(part);
            answer.extend([FIN | PING, 2, b'h', number as u8]);
            // An empty continuation, and a pong nobody asked for.
            answer.extend([FIN, 0, FIN | PONG, 0]);
        }
        let mut counts = Vec::new();
        for size in [1, 13, 9000, usize::MAX] {
            let mut viewer = viewer();
            let mut out = Chain::default();
            viewer.poll_transmit(&mut out);
            out = Chain::default();
            counts.push(watch(&mut *viewer, &answer, size).expect("a good stream"));
            viewer.poll_transmit(&mut out);
            assert!(out.into_bytes().starts_with(&[0x8a, 0x82, 0, 0, 0, 0, b'h', 0]), "{size}");
        }
        assert!(counts[0] > 100 && counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    }

    #[test]
    fn a_sign_of_life_is_a_masked_pong_without_payload() {
        let stream = parse("ws://127.0.0.1/x.flv").expect("a URL");
        let said = stream.sign_of_life(7).expect("WebSocket has one");
        assert_eq!(said.as_slice(), [0x8a, 0x80, 0, 0, 0, 0]);
    }

    #[test]
    fn a_close_and_a_wrong_accept_are_told_with_their_words() {
        let mut answer = head();
        answer.extend([FIN | CLOSE, 5, 0x03, 0xf4, b'b', b'y', b'e']);
        let error = watch(&mut *viewer(), &answer, usize::MAX).expect_err("closed");
        assert!(error.to_string().contains("1012 bye"), "{error}");
        let answer = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: no\r\n\r\n";
        let error = watch(&mut *viewer(), answer, usize::MAX).expect_err("a wrong proof");
        assert!(error.to_string().contains("found \"no\""), "{error}");
        let answer = [head(), vec![FIN | BINARY, MASKED | 1]].concat();
        let error = watch(&mut *viewer(), &answer, usize::MAX).expect_err("masked");
        assert!(error.to_string().contains("mask"), "{error}");
    }
}
