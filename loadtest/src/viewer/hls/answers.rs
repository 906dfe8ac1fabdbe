//! The answers on a connection that is kept (RFC 9112): heads, and bodies that may be thrown away
//! unread.

use std::io;

use crate::viewer::coding::{Chunk, Coding, Next};
use crate::viewer::words;

/// As far as they have come.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// The begin of a head that is not whole.
    head: Vec<u8>,
    body: Body,
}

/// ```text
/// None ─> Sized | Chunked ─> None
/// ```
#[derive(Debug, Default)]
enum Body {
    /// A head is to come.
    #[default]
    None,
    Sized {
        left: u64,
    },
    Chunked(Coding),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Head {
        status: u16,
        server: Option<String>,
    },
    Data(&'a [u8]),
    /// The answer is whole.
    End,
}

/// No head is longer.
const HEAD_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;

impl Answers {
    /// Takes the next piece off the front of `input`; none if that is used up.
    ///
    /// # Errors
    /// It is no answer, or one whose end nobody can tell before the connection's.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        names_server: bool,
    ) -> io::Result<Option<Piece<'a>>> {
        match &mut self.body {
            Body::None => return self.read_head(input, names_server),
            Body::Sized { left: 0 } => {}
            Body::Sized { left } => {
                let count = usize::try_from(*left).map_or(input.len(), |it| it.min(input.len()));
                *left -= count as u64;
                return Ok(take(input, count));
            }
            Body::Chunked(coding) => match coding.next(input)? {
                Next::End => {}
                Next::Body(count) => {
                    coding.advance(count);
                    return Ok(take(input, count));
                }
            },
        }
        self.body = Body::None;
        Ok(Some(Piece::End))
    }

    /// How much of what comes next is a body's, whose bytes may go unread.
    pub(super) fn skippable(&self) -> u64 {
        match self.body {
            Body::Sized { left } => left,
            Body::None | Body::Chunked(_) => 0,
        }
    }

    /// So many of them are gone. True if they were the last.
    pub(super) fn skip(&mut self, count: usize) -> bool {
        let Body::Sized { left } = &mut self.body else { return false };
        *left = left.saturating_sub(count as u64);
        *left == 0
    }

    fn read_head<'a>(
        &mut self,
        input: &mut &'a [u8],
        names_server: bool,
    ) -> io::Result<Option<Piece<'a>>> {
        if input.is_empty() {
            return Ok(None);
        }
        // Most heads come in one piece, and are read where they are.
        let before = self.head.len();
        if before > 0 {
            self.head.extend_from_slice(input);
        }
        let bytes = if before > 0 { &self.head[..] } else { *input };
        let Some((length, head, body)) = parse(bytes, names_server)? else {
            if bytes.len() > HEAD_MAX {
                let why = format!("expected an HTTP head of at most {HEAD_MAX} bytes, found more");
                return Err(io::Error::other(why));
            }
            if before == 0 {
                self.head.extend_from_slice(input);
            }
            *input = &[];
            return Ok(None);
        };
        self.head.clear();
        *input = &input[length - before..];
        self.body = body;
        Ok(Some(head))
    }
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> Option<Piece<'a>> {
    let (data, rest) = input.split_at(count);
    *input = rest;
    (count > 0).then_some(Piece::Data(data))
}

fn parse(bytes: &[u8], names_server: bool) -> io::Result<Option<(usize, Piece<'static>, Body)>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes).map_err(|error| {
        let begin = bytes[..bytes.len().min(40)].escape_ascii();
        io::Error::other(format!("expected an HTTP answer, found \"{begin}\" ({error})"))
    })?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let field = |name: &str| {
        let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| field.value.trim_ascii())
    };
    let status = response.code.unwrap_or_default();
    let size = field("Content-Length").map(|size| str::from_utf8(size).unwrap_or_default());
    let body = match (size.map(str::parse), field("Transfer-Encoding")) {
        _ if matches!(status, 204 | 304) => Body::Sized { left: 0 },
        (_, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") => {
            Body::Chunked(Coding::Chunked(Chunk::default()))
        }
        (Some(Ok(left)), None) => Body::Sized { left },
        _ => {
            let why = "expected an answer with a Content-Length or in chunks, found one that ends \
                       with its connection";
            return Err(io::Error::other(why));
        }
    };
    let server = field("Server").filter(|_| names_server);
    let server = server.map(|server| words(&String::from_utf8_lossy(server)));
    Ok(Some((length, Piece::Head { status, server }, body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIRE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: some/1\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n\
        HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
        HTTP/1.1 304 Not Modified\r\n\r\n";

    #[test]
    fn answers_follow_each_other_however_they_are_cut() {
        for size in 1..=WIRE.len() {
            let (mut answers, mut found, mut body) = (Answers::default(), Vec::new(), Vec::new());
            for mut piece in WIRE.chunks(size) {
                loop {
                    match answers.next(&mut piece, true).expect("good answers") {
                        Some(Piece::Head { status, server }) => found.push((status, server)),
                        Some(Piece::Data(data)) => body.extend_from_slice(data),
                        Some(Piece::End) => body.push(b'|'),
                        None => break,
                    }
                }
            }
            let heads = found.iter().map(|(status, _)| *status).collect::<Vec<_>>();
            assert_eq!(heads, [200, 404, 200, 304], "pieces of {size}");
            assert_eq!(found[0].1.as_deref(), Some("some/1"));
            assert_eq!(body, b"hello||abc||", "pieces of {size}");
        }
    }

    #[test]
    fn a_body_may_be_thrown_away_by_others() {
        let mut answers = Answers::default();
        let head = WIRE.windows(5).position(|five| five == b"hello").expect("it says so");
        let mut input = &WIRE[..head];
        assert!(matches!(answers.next(&mut input, false), Ok(Some(Piece::Head { .. }))));
        assert_eq!(answers.skippable(), 5);
        assert!(!answers.skip(3) && answers.skip(2));
        assert_eq!(answers.next(&mut &b""[..], false).expect("its end"), Some(Piece::End));
        assert_eq!(answers.skippable(), 0);
    }

    #[test]
    fn an_answer_without_an_end_is_told() {
        let mut input = &b"HTTP/1.1 200 OK\r\n\r\nx"[..];
        let error = Answers::default().next(&mut input, false).expect_err("no end");
        assert!(error.to_string().contains("Content-Length"), "{error}");
        let error = Answers::default().next(&mut &b"RTMP"[..], false).expect_err("no HTTP");
        assert!(error.to_string().contains("expected an HTTP answer"), "{error}");
    }
}
