//! Transfer codings (RFC 9112 section 7): which bytes of an answer are its body's.

use std::io;

use arrayvec::ArrayVec;

/// How a body comes.
#[derive(Debug)]
pub(super) enum Coding {
    /// As it is, until somebody else knows that it ends.
    Plain,
    Chunked(Chunk),
}

/// What is next in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes of the body; of none, more has to come first.
    Body(usize),
    /// Nothing: the body has ended.
    End,
}

/// `SIZE[;EXTENSION]\r\n` body `\r\n`, over and over; a size of 0 and an empty line are the end.
/// Trailers are skipped.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Bytes of the body that are still to come.
    left: u64,
    /// What stands between two bodies, as far as it has come.
    line: ArrayVec<u8, LINE_MAX>,
    /// The size 0 was read.
    ends: bool,
}

const LINE_MAX: usize = 128;

impl Coding {
    /// Takes what is not the body's off the front of `input`, and says how much of it then is.
    ///
    /// # Errors
    /// There are no chunks.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> io::Result<Next> {
        match self {
            Self::Plain => Ok(Next::Body(input.len())),
            Self::Chunked(chunk) => chunk.next(input),
        }
    }

    /// So many bytes of the body were taken.
    pub(super) fn advance(&mut self, count: usize) {
        match self {
            Self::Plain => {}
            Self::Chunked(chunk) => chunk.left -= count as u64,
        }
    }
}

impl Chunk {
    fn next(&mut self, input: &mut &[u8]) -> io::Result<Next> {
        while self.left == 0 {
            let Some((&byte, rest)) = input.split_first() else { return Ok(Next::Body(0)) };
            *input = rest;
            self.line.try_push(byte).map_err(|_| self.malformed())?;
            if byte != b'\n' {
                continue;
            }
            if self.line.as_slice() == b"\r\n" {
                // The line break after the body before, or the last of all.
                if self.ends {
                    return Ok(Next::End);
                }
            } else if !self.ends {
                match httparse::parse_chunk_size(&self.line) {
                    Ok(httparse::Status::Complete((_, size))) => {
                        (self.left, self.ends) = (size, size == 0);
                    }
                    _ => return Err(self.malformed()),
                }
            }
            self.line.clear();
        }
        Ok(Next::Body(usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()))))
    }

    fn malformed(&self) -> io::Error {
        let found = self.line.escape_ascii();
        io::Error::other(format!("expected the size of a chunk, found \"{found}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_ends_with_its_last_line_however_it_is_cut() {
        let wire = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\nHTTP/1.1";
        for size in 1..wire.len() {
            let (mut coding, mut body, mut rest) =
                (Coding::Chunked(Chunk::default()), Vec::new(), Vec::new());
            let mut has_ended = false;
            for mut piece in wire.chunks(size) {
                while !has_ended && !piece.is_empty() {
                    match coding.next(&mut piece).expect("good chunks") {
                        Next::End => has_ended = true,
                        Next::Body(count) => {
                            body.extend_from_slice(&piece[..count]);
                            piece = &piece[count..];
                            coding.advance(count);
                        }
                    }
                }
                rest.extend_from_slice(piece);
            }
            assert_eq!((body.as_slice(), rest.as_slice()), (&b"abcde"[..], &b"HTTP/1.1"[..]));
        }
    }
}
