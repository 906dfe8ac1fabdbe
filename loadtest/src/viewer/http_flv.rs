//! HTTP-FLV, HTTP-TS and HTTP-fMP4: a GET whose answer does not end. The body comes as it is, or in chunks.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use corecast::bytes::Chain;

use super::body::Body;
use super::coding::{Chunk, Coding, Next};
use super::http::{self, Head, NotMedia, Url};
use super::{Event, Session, Stream};

/// Any endless HTTP answer will do for those that do not look inside.
pub(super) fn parse(url: &str) -> Result<Box<dyn Stream>, String> {
    let url = Url::parse(url)?;
    let request = url.request("Accept: */*\r\n").into();
    Ok(Box::new(Resource { url: url.into(), request }))
}

struct Resource {
    url: Arc<Url>,
    request: Bytes,
}

impl Stream for Resource {
    fn address(&self) -> (&str, u16) {
        (&self.url.host, self.url.port)
    }

    fn open(&self, _seed: u64, _now: Instant) -> Box<dyn Session> {
        let request = Some(self.request.clone());
        let url = Arc::clone(&self.url);
        Box::new(Viewer { request, stage: Stage::Head { head: Head::default(), url } })
    }
}

struct Viewer {
    request: Option<Bytes>,
    stage: Stage,
}

/// ```text
/// Head ─> Body
/// ```
enum Stage {
    Head { head: Head, url: Arc<Url> },
    Body { coding: Coding, body: Body },
}

impl Session for Viewer {
    fn handle_input(&mut self, _now: Instant, input: &mut &[u8]) -> io::Result<Option<Event>> {
        match &mut self.stage {
            Stage::Head { head, url } => {
                let Some(answer) = head.read(200, input)? else { return Ok(None) };
                let kind = match answer.kind {
                    Some(kind) => Some(kind).filter(|kind| http::is_text(kind)),
                    None if answer.chunked => None,
                    None => http::text_type(input).map(str::to_owned),
                };
                if let Some(kind) = kind {
                    return Err(url.explain(io::Error::other(NotMedia(kind))));
                }
                let coding = match answer.chunked {
                    true => Coding::Chunked(Chunk::default()),
                    false => Coding::Plain,
                };
                self.stage = Stage::Body { coding, body: Body::of(url) };
                Ok(Some(Event::Joined { server: answer.server }))
            }
            Stage::Body { coding, body } => loop {
                if let Some(event) = body.poll_event() {
                    return Ok(Some(event));
                }
                match coding.next(input)? {
                    Next::Body(0) => return Ok(None),
                    Next::Body(count) => coding.advance(body.read(input, count)?),
                    Next::End => return Err(io::Error::other("the server ended the stream")),
                }
            },
        }
    }

    fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        self.request.take().map(|request| out.push(request)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: &[u8] = include_bytes!("../../../src/app/demo/clip.flv");

    /// The frames of `answer`, given in pieces of `size`, and how it ended.
    fn watch(answer: &[u8], size: usize) -> (usize, bool, io::Result<()>) {
        let stream = parse("http://127.0.0.1/x.flv").expect("a URL");
        let now = Instant::now();
        let mut viewer = stream.open(0, now);
        let (mut frames, mut joined) = (0, false);
        for mut piece in answer.chunks(size) {
            loop {
                match viewer.handle_input(now, &mut piece) {
                    Ok(Some(Event::Joined { .. })) => joined = true,
                    Ok(Some(Event::Frame(_))) => frames += 1,
                    Ok(Some(Event::Fragment(_))) => unreachable!("FLV has none"),
                    Ok(None) => break,
                    Err(error) => return (frames, joined, Err(error)),
                }
            }
            assert!(piece.is_empty());
        }
        (frames, joined, Ok(()))
    }

    fn plain() -> Vec<u8> {
        [&b"HTTP/1.1 200 OK\r\n\r\n"[..], CLIP].concat()
    }

    #[test]
    fn a_page_is_not_taken_for_a_stream_and_what_was_meant_is_told() {
        let answer = |head: &str, body: &str| {
            let stream = parse("http://h:81/live/x?k=v").expect("a URL");
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n{body}");
            let mut viewer = stream.open(0, Instant::now());
            viewer.handle_input(Instant::now(), &mut answer.as_bytes()).map(|_| ())
        };
        let page = "Content-Type: text/html; charset=utf-8\r\nContent-Length: 99\r\n";
        for (head, body) in [(page, ""), ("", "\r\n<!doctype html>")] {
            let error = answer(head, body).expect_err("a page").to_string();
            let words =
                "the answer is text/html, no stream: did you mean http://h:81/live/x.flv?k=v?";
            assert_eq!(error, words);
        }
        for kind in ["video/x-flv", "video/mp2t", "application/octet-stream", "audio/aac"] {
            answer(&format!("Content-Type: {kind}\r\n"), "").expect("it may be a stream");
        }
        answer("", "FLV\x01").expect("a stream");
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut() {
        let (all, joined, end) = watch(&plain(), usize::MAX);
        end.expect("a good clip");
        assert!(joined && all > 100, "{all}");
        for size in [1, 7, 1000] {
            assert_eq!(watch(&plain(), size).0, all, "pieces of {size}");
        }
    }

    #[test]
    fn chunks_are_taken_off() {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in CLIP.chunks(1003) {
            answer.extend(format!("{:X};x=y\r\n", part.len()).bytes());
            answer.extend(part);
            answer.extend(b"\r\n");
        }
        for size in [1, 11, 5000] {
            let (frames, _, end) = watch(&answer, size);
            end.expect("good chunks");
            assert_eq!(frames, watch(&plain(), usize::MAX).0, "pieces of {size}");
        }
        answer.extend(b"0\r\n\r\n");
        let (_, _, end) = watch(&answer, usize::MAX);
        assert!(end.expect_err("it ended").to_string().contains("ended"));
    }

    #[test]
    fn a_chunk_without_a_size_is_told() {
        let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFLV\x01\r\n";
        let (_, joined, end) = watch(answer, usize::MAX);
        assert!(joined && end.expect_err("no size").to_string().contains("\"FLV"));
    }
}
