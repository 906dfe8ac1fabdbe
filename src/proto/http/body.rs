use super::error::Error;

/// How long a request's body is, RFC 9112 6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes, one at least (Content-Length).
    Known(u64),
    /// In chunks, of which the last says so (Transfer-Encoding: chunked).
    Chunked,
}

/// Cuts the content of a body out of what the peer sends, without a copy.
///
/// Nothing is kept of it but where the reader stands, so a body may be endless.
#[derive(Debug)]
pub(super) struct Body {
    state: State,
}

/// ```text
/// Known:    Rest ──all──▶ Over
///
/// Chunked:  Size ──▶ Extension ──┐                            ┌──────────┐
///            ▲ └──CR──▶ SizeLf ◀─┘                            ▼          │
///            │            ├──0──────────────────▶ Trailer ──▶ Field ─▶ FieldLf
///            │            └──▶ Data ──▶ DataCr      └──CR──▶ LastLf ──▶ Over
///            └────────────────────────── DataLf ◀─┘
/// ```
#[derive(Debug, Clone, Copy)]
enum State {
    /// So many bytes of content are to come.
    Rest(u64),
    /// What the digits so far say, and how many they are.
    Size {
        size: u64,
        digits: u8,
    },
    /// Between the size and its extension. Bytes of that so far, here and below.
    Blank {
        size: u64,
        len: usize,
    },
    Extension {
        size: u64,
        len: usize,
    },
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// Before a field, or the end. Bytes of trailers so far, here and below.
    Trailer(usize),
    Field(usize),
    FieldLf(usize),
    LastLf,
    Over,
}

/// Digits of a chunk's size: no chunk has 2^60 bytes, so no size overflows.
const DIGITS_MAX: u8 = 15;
/// What stands behind a chunk's size. Nobody looks at it.
const EXTENSION_MAX: usize = 256;
/// What stands behind the last chunk, all fields together. Nobody looks at them.
const TRAILERS_MAX: usize = 8 << 10;

impl Body {
    /// A reader before the first byte of the body.
    pub(super) fn new(length: Length) -> Self {
        Self {
            state: match length {
                Length::Known(bytes) => State::Rest(bytes),
                Length::Chunked => SIZE,
            },
        }
    }

    /// True behind the last byte of the body.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Over | State::Rest(0))
    }

    /// Takes bytes from the front of `input` up to the end of a piece of content, and gives that;
    /// an empty piece when `input` is used up or the body is over. `at` is where `input` stands in
    /// the connection.
    ///
    /// # Errors
    /// The chunks can never become right. Line ends are CR LF and nothing else: where two readers
    /// of one connection disagree about them, they disagree about what is a request (RFC 9112 11.2).
    pub(super) fn read<'a>(&mut self, at: u64, input: &mut &'a [u8]) -> Result<&'a [u8], Error> {
        let before = input.len();
        while let Some((&byte, rest)) = input.split_first() {
            if let State::Rest(left) | State::Data(left) = &mut self.state
                && *left > 0
            {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (content, rest) = input.split_at(count);
                *left -= count as u64;
                *input = rest;
                return Ok(content);
            }
            let state = match self.state {
                State::Rest(_) | State::Over => break,
                State::Data(_) => State::DataCr,
                state => {
                    let at = at + (before - input.len()) as u64;
                    *input = rest;
                    step(state, byte).map_err(|expected| Error::Body {
                        at,
                        expected,
                        found: byte.escape_ascii().to_string(),
                    })?
                }
            };
            self.state = state;
        }
        Ok(&[])
    }
}

/// What follows `state` when `byte` is next; or what would have been right. Not for states in which
/// content comes, or nothing.
fn step(state: State, byte: u8) -> Result<State, &'static str> {
    Ok(match (state, byte) {
        (State::Size { digits: DIGITS_MAX, .. }, byte) if byte.is_ascii_hexdigit() => {
            return Err("a chunk size of at most 15 digits");
        }
        (State::Size { size, digits }, byte) if byte.is_ascii_hexdigit() => {
            let digit = char::from(byte).to_digit(16).unwrap_or_default();
            State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 }
        }
        (State::Size { digits: 0, .. }, _) => return Err("the size of a chunk in hex digits"),
        (State::Size { size, .. }, b'\r') => State::SizeLf(size),
        (State::Size { size, .. }, b';') => State::Extension { size, len: 1 },
        (State::Blank { size, len }, b';') => State::Extension { size, len: len + 1 },
        // RFC 9112 7.1.1: bad whitespace before an extension is to be understood.
        (State::Size { size, .. }, b' ' | b'\t') => State::Blank { size, len: 1 },
        (State::Blank { size, len }, b' ' | b'\t') if len < EXTENSION_MAX => {
            State::Blank { size, len: len + 1 }
        }
        (State::Size { .. } | State::Blank { .. }, _) => {
            return Err("CR LF or ; behind the size of a chunk");
        }
        (State::Extension { size, .. }, b'\r') => State::SizeLf(size),
        (State::Extension { .. }, byte) if is_control(byte) => {
            return Err("an extension of a chunk without control characters");
        }
        (State::Extension { len, .. }, _) if len >= EXTENSION_MAX => {
            return Err("an extension of a chunk of at most 256 bytes");
        }
        (State::Extension { size, len }, _) => State::Extension { size, len: len + 1 },
        (State::SizeLf(0), b'\n') => State::Trailer(0),
        (State::SizeLf(size), b'\n') => State::Data(size),
        (State::DataCr, b'\r') => State::DataLf,
        (State::DataCr, _) => return Err("CR LF behind the bytes of a chunk"),
        (State::DataLf, b'\n') => SIZE,
        (State::Trailer(_), b'\r') => State::LastLf,
        (State::Field(len), b'\r') => State::FieldLf(len),
        (State::Trailer(_) | State::Field(_), byte) if is_control(byte) => {
            return Err("a trailer field without control characters");
        }
        (State::Trailer(len) | State::Field(len), _) if len >= TRAILERS_MAX => {
            return Err("at most 8192 bytes of trailer fields");
        }
        (State::Trailer(len) | State::Field(len), _) => State::Field(len + 1),
        (State::FieldLf(len), b'\n') => State::Trailer(len),
        (State::LastLf, b'\n') => State::Over,
        (State::SizeLf(_) | State::DataLf | State::FieldLf(_) | State::LastLf, _) => {
            return Err("LF behind CR");
        }
        (State::Rest(_) | State::Data(_) | State::Over, _) => state,
    })
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Before the first digit.
const SIZE: State = State::Size { size: 0, digits: 0 };

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content of `input`, read in pieces of `step`, and what is left behind the body.
    fn read(length: Length, input: &[u8], step: usize) -> Result<(Vec<u8>, usize, bool), Error> {
        let mut body = Body::new(length);
        let (mut content, mut taken) = (Vec::new(), 0);
        for mut piece in input.chunks(step) {
            while !piece.is_empty() && !body.is_over() {
                let before = piece.len();
                content.extend(body.read(taken, &mut piece)?);
                taken += (before - piece.len()) as u64;
            }
        }
        Ok((content, input.len() - taken as usize, body.is_over()))
    }

    fn refusal(input: &str) -> (u64, &'static str, String) {
        match read(Length::Chunked, input.as_bytes(), usize::MAX) {
            Err(Error::Body { at, expected, found }) => (at, expected, found),
            other => panic!("{input:?}: {other:?}"),
        }
    }

    #[test]
    fn a_known_length_ends_where_it_says() {
        for step in 1..8 {
            let got = read(Length::Known(5), b"hello GET /", step);
            assert_eq!(got, Ok((b"hello".to_vec(), 6, true)));
        }
        assert_eq!(read(Length::Known(9), b"hello", 2), Ok((b"hello".to_vec(), 0, false)));
        assert!(Body::new(Length::Known(0)).is_over());
    }

    #[test]
    fn chunks_are_the_same_in_any_pieces() {
        let input = b"5\r\nhello\r\n1;name=\"value\"\r\n \r\n0A \t;x\r\n0123456789\r\n\
            000\r\nDigest: x\r\nOther: y\r\n\r\nGET";
        let expected = (b"hello 0123456789".to_vec(), 3, true);
        for step in 1..=input.len() {
            assert_eq!(read(Length::Chunked, input, step), Ok(expected.clone()), "by {step}");
        }
    }

    #[test]
    fn content_is_given_as_it_lies_there() {
        let input = b"5\r\nhello\r\n";
        let mut body = Body::new(Length::Chunked);
        let content = body.read(0, &mut &input[..]).expect("right");
        assert!(std::ptr::eq(content, &raw const input[3..8]));
    }

    #[test]
    fn what_others_may_read_differently_is_refused() {
        let size = "the size of a chunk in hex digits";
        let behind = "CR LF or ; behind the size of a chunk";
        for (input, at, expected, found) in [
            ("g\r\n", 0, size, "g"),
            ("\r\n", 0, size, "\\r"),
            (" 5\r\n", 0, size, " "),
            ("+5\r\n", 0, size, "+"),
            ("-1\r\n", 0, size, "-"),
            ("0x5\r\n", 1, behind, "x"),
            ("5\nhello", 1, behind, "\\n"),
            ("5 5\r\n", 2, behind, "5"),
            ("5 \r\n", 2, behind, "\\r"),
            ("5\rhello", 2, "LF behind CR", "h"),
            ("1234567890abcdef\r\n", 15, "a chunk size of at most 15 digits", "f"),
            ("5;a\nb", 3, "an extension of a chunk without control characters", "\\n"),
            ("5;a\0b", 3, "an extension of a chunk without control characters", "\\x00"),
            ("1\r\nab", 4, "CR LF behind the bytes of a chunk", "b"),
            ("1\r\na\n", 4, "CR LF behind the bytes of a chunk", "\\n"),
            ("1\r\na\rb", 5, "LF behind CR", "b"),
            ("0\r\n\n", 3, "a trailer field without control characters", "\\n"),
            ("0\r\na: b\n", 7, "a trailer field without control characters", "\\n"),
            ("0\r\n\rG", 4, "LF behind CR", "G"),
        ] {
            assert_eq!(refusal(input), (at, expected, found.to_owned()), "{input:?}");
        }
    }

    #[test]
    fn what_nobody_looks_at_is_bounded() {
        let long = |bytes: usize| "x".repeat(bytes);
        let extension = |bytes: usize| format!("1;{}\r\na\r\n0\r\n\r\n", long(bytes - 1));
        assert!(read(Length::Chunked, extension(256).as_bytes(), 7).is_ok());
        assert_eq!(refusal(&extension(257)).1, "an extension of a chunk of at most 256 bytes");
        let trailers = |bytes: usize| format!("0\r\n{}\r\n{}\r\n\r\n", long(8000), long(bytes));
        assert!(read(Length::Chunked, trailers(192).as_bytes(), 7).is_ok());
        assert_eq!(refusal(&trailers(193)).1, "at most 8192 bytes of trailer fields");
        let blanks = format!("1{};\r\n", " ".repeat(300));
        assert_eq!(refusal(&blanks).1, "CR LF or ; behind the size of a chunk");
    }

    proptest! {
        #[test]
        fn any_chunks_give_their_content_and_leave_what_follows(
            chunks in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..300), 0..6),
            step in 1_usize..400,
        ) {
            let mut input = Vec::new();
            for chunk in &chunks {
                input.extend(super::super::chunk::head(chunk.len()));
                input.extend(chunk);
                input.extend(super::super::chunk::TAIL);
            }
            input.extend(super::super::chunk::LAST);
            input.extend(b"GET");
            prop_assert_eq!(read(Length::Chunked, &input, step), Ok((chunks.concat(), 3, true)));
        }

        #[test]
        fn any_bytes_mean_the_same_in_any_pieces(
            input in proptest::collection::vec(
                prop::sample::select(&b"\r\n\r\n0015aF; \tx\0"[..]), 0..60),
            step in 1_usize..60,
        ) {
            let whole = read(Length::Chunked, &input, usize::MAX);
            prop_assert_eq!(read(Length::Chunked, &input, step), whole);
        }
    }
}
