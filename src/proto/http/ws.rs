//! WebSocket frames, RFC 6455 section 5: the head of our messages, and the peer's frames.
//!
//! ```text
//!  FIN RSV1-3 opcode(4) | MASK length(7) | length(16 or 64) | mask(32) | payload
//! ```
//!
//! A viewer has nothing to say, so what it says is checked and thrown away as it comes in, and is
//! never collected; text is not checked to be UTF-8. Only the payload of a control frame (at most
//! 125 bytes) is kept until the frame is whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use sha1::{Digest, Sha1};

/// The head of one whole binary message of `len` bytes, unmasked, as an array and how much of it
/// counts (2, 4 or 10).
pub fn header(len: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = FIN | BINARY;
    if len <= CONTROL_MAX {
        header[1] = len as u8;
        (header, 2)
    } else if let Ok(len) = u16::try_from(len) {
        header[1] = 126;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        (header, 4)
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(len as u64).to_be_bytes());
        (header, 10)
    }
}

/// A close frame. `reason` is cut to what a control frame holds, 123 bytes.
pub fn close(code: u16, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_MAX - 2)];
    let mut payload = BytesMut::with_capacity(2 + reason.len());
    payload.put_u16(code);
    payload.put_slice(reason.as_bytes());
    control(CLOSE, &payload)
}

/// The answer to a ping. `payload` must be the ping's, at most 125 bytes.
pub fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

/// The value of Sec-WebSocket-Accept that proves that `key` was understood, RFC 6455 4.2.2.
pub fn accept_value(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.finalize())
}

/// What a viewer's frame asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// To be answered with [`pong`] and the same payload.
    Ping(Bytes),
    /// To be answered with a close frame of the same code, if we have not sent one.
    Close {
        /// Why, unless the peer gave no code.
        code: Option<u16>,
    },
}

/// Reads the frames of a client. Owns nothing on the heap between control frames.
#[derive(Debug)]
pub struct Reader {
    message_limit: u64,
    /// Payload bytes of the message in progress, while one is.
    message: Option<u64>,
    frame: Frame,
}

#[derive(Debug)]
enum Frame {
    Head { bytes: [u8; HEAD_MAX], have: u8 },
    Payload { kind: Kind, mask: [u8; 4], left: u64 },
}

/// Data is discarded; control payload is collected, unmasked.
#[derive(Debug)]
enum Kind {
    Data { last: bool },
    Control { opcode: u8, payload: Vec<u8> },
}

impl Reader {
    /// A reader at the first byte after the handshake. A message of more than `message_limit`
    /// bytes, in however many frames, is refused with 1009.
    pub fn new(message_limit: u64) -> Self {
        Self { message_limit, message: None, frame: Frame::EMPTY }
    }

    /// Takes bytes from the front of `input` until a frame wants an answer; None when all are used.
    /// After an error the rest of the connection has no meaning.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Violation> {
        loop {
            match &mut self.frame {
                Frame::Head { bytes, have } => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    bytes[usize::from(*have)] = byte;
                    *have += 1;
                    let head = &bytes[..usize::from(*have)];
                    if let Some(frame) = read_head(head, &mut self.message, self.message_limit)? {
                        self.frame = frame;
                    }
                }
                Frame::Payload { kind, mask, left } => {
                    let take = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (taken, rest) = input.split_at(take);
                    *input = rest;
                    *left -= take as u64;
                    if let Kind::Control { payload, .. } = kind {
                        for byte in taken {
                            payload.push(byte ^ mask[payload.len() % 4]);
                        }
                    }
                    if *left > 0 {
                        return Ok(None);
                    }
                    match std::mem::replace(&mut self.frame, Frame::EMPTY) {
                        Frame::Payload { kind: Kind::Control { opcode, payload }, .. } => {
                            if let Some(incoming) = read_control(opcode, payload)? {
                                return Ok(Some(incoming));
                            }
                        }
                        Frame::Payload { kind: Kind::Data { last: true }, .. } => {
                            self.message = None;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}

impl Frame {
    const EMPTY: Self = Self::Head { bytes: [0; HEAD_MAX], have: 0 };
}

/// Judges a head as far as it came; the frame's payload comes next once it is whole.
fn read_head(
    head: &[u8],
    message: &mut Option<u64>,
    limit: u64,
) -> Result<Option<Frame>, Violation> {
    let [first, second, rest @ ..] = head else { return Ok(None) };
    let (last, reserved, opcode) = (first & FIN != 0, first & 0x70, first & 0x0f);
    let short_len = second & 0x7f;
    let is_control = opcode & 0x08 != 0;
    if reserved != 0 {
        return Err(Violation::ReservedBits { found: reserved >> 4 });
    }
    if !matches!(opcode, CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG) {
        return Err(Violation::Opcode { found: opcode });
    }
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    if is_control && !last {
        return Err(Violation::FragmentedControl { opcode });
    }
    if is_control && usize::from(short_len) > CONTROL_MAX {
        return Err(Violation::LongControl { opcode });
    }
    match (opcode, &message) {
        (CONTINUATION, None) => return Err(Violation::NothingToContinue),
        (TEXT | BINARY, Some(_)) => return Err(Violation::MessageInMessage),
        _ => {}
    }

    let (len, mask) = match (short_len, rest) {
        (126, [a, b, mask @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), mask),
        (127, [long @ .., _, _, _, _]) if long.len() == 8 => {
            let len = long.try_into().expect("the guard says eight");
            (u64::from_be_bytes(len), &rest[8..])
        }
        (126 | 127, _) => return Ok(None),
        (len, mask) => (u64::from(len), mask),
    };
    let &[a, b, c, d] = mask else { return Ok(None) };
    let least = [0, CONTROL_MAX as u64 + 1, u64::from(u16::MAX) + 1][head_step(short_len)];
    if len < least || len > u64::MAX / 2 {
        return Err(Violation::LengthForm { found: len });
    }
    let kind = if is_control {
        Kind::Control { opcode, payload: Vec::with_capacity(usize::from(short_len)) }
    } else {
        let total = message.unwrap_or(0).saturating_add(len);
        if total > limit {
            return Err(Violation::TooBig { limit });
        }
        *message = Some(total);
        Kind::Data { last }
    };
    Ok(Some(Frame::Payload { kind, mask: [a, b, c, d], left: len }))
}

/// 0, 1 or 2: length in 7, 16 or 64 bits.
fn head_step(short_len: u8) -> usize {
    usize::from(short_len.saturating_sub(CONTROL_MAX as u8))
}

fn read_control(opcode: u8, payload: Vec<u8>) -> Result<Option<Incoming>, Violation> {
    match (opcode, &payload[..]) {
        (PING, _) => Ok(Some(Incoming::Ping(payload.into()))),
        (CLOSE, []) => Ok(Some(Incoming::Close { code: None })),
        (CLOSE, [_]) => Err(Violation::CloseOfOneByte),
        (CLOSE, &[a, b, ref reason @ ..]) => {
            let code = u16::from_be_bytes([a, b]);
            // RFC 6455 7.4: 1004 to 1006 and 1015 never travel, 1016 to 2999 are not given out.
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Violation::CloseCode { found: code });
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Violation::CloseReason);
            }
            Ok(Some(Incoming::Close { code: Some(code) }))
        }
        _ => Ok(None),
    }
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= CONTROL_MAX);
    let mut frame = BytesMut::with_capacity(2 + payload.len());
    frame.put_u8(FIN | opcode);
    frame.put_u8(payload.len() as u8);
    frame.put_slice(payload);
    frame.freeze()
}

/// A frame that ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An extension bit, though no extension was agreed on.
    #[error("expected reserved bits 0, found {found:03b}")]
    ReservedBits {
        /// RSV1 to RSV3.
        found: u8,
    },
    /// An opcode RFC 6455 does not know.
    #[error("expected opcode 0, 1, 2, 8, 9 or 10, found {found}")]
    Opcode {
        /// The opcode.
        found: u8,
    },
    /// A client must mask.
    #[error("expected a masked frame, found one without mask")]
    Unmasked,
    /// A control frame without FIN.
    #[error("expected a control frame in one piece, found a fragment of opcode {opcode}")]
    FragmentedControl {
        /// The opcode.
        opcode: u8,
    },
    /// A control frame above 125 bytes.
    #[error("expected a control frame of at most 125 bytes, found a longer one of opcode {opcode}")]
    LongControl {
        /// The opcode.
        opcode: u8,
    },
    /// A length in more bytes than it needs, or above 2^63 - 1.
    #[error("expected a length in its shortest form below 2^63, found {found}")]
    LengthForm {
        /// The length.
        found: u64,
    },
    /// A continuation frame without a message begun.
    #[error("expected a new message, found a continuation frame")]
    NothingToContinue,
    /// A message begun inside another.
    #[error("expected a continuation frame, found a new message")]
    MessageInMessage,
    /// A message larger than we care to throw away.
    #[error("expected a message of at most {limit} bytes, found a longer one")]
    TooBig {
        /// The limit in bytes.
        limit: u64,
    },
    /// A close frame with half a code.
    #[error("expected a close payload of 0 or at least 2 bytes, found 1")]
    CloseOfOneByte,
    /// A close code that may not be sent.
    #[error("expected a close code of RFC 6455 7.4, found {found}")]
    CloseCode {
        /// The code.
        found: u16,
    },
    /// A close reason in some other charset.
    #[error("expected a close reason in UTF-8, found other bytes")]
    CloseReason,
}

impl Violation {
    /// The close code that answers it.
    pub fn code(self) -> u16 {
        match self {
            Self::TooBig { .. } => 1009,
            Self::CloseReason => 1007,
            _ => 1002,
        }
    }
}

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The longest payload of a control frame, and the longest with a 7-bit length.
const CONTROL_MAX: usize = 125;
/// Two bytes, a 64-bit length, the mask.
const HEAD_MAX: usize = 14;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's frame, masked, with the shortest length.
    pub(in crate::proto::http) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let (header, count) = header(payload.len());
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut frame = header[..count].to_vec();
        frame[0] = first;
        frame[1] |= MASKED;
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn read_all(bytes: &[u8], step: usize) -> Result<Vec<Incoming>, Violation> {
        let mut reader = Reader::new(1000);
        let mut found = Vec::new();
        for mut piece in bytes.chunks(step) {
            while let Some(incoming) = reader.read(&mut piece)? {
                found.push(incoming);
            }
            assert!(piece.is_empty(), "None only when all is used");
        }
        Ok(found)
    }

    #[test]
    fn accept_value_is_the_specs_example() {
        // RFC 6455 1.3.
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn header_uses_the_shortest_length() {
        // RFC 6455 5.7.
        let written = |len| {
            let (header, count) = header(len);
            header[..count].to_vec()
        };
        assert_eq!(written(0), [0x82, 0]);
        assert_eq!(written(125), [0x82, 125]);
        assert_eq!(written(126), [0x82, 126, 0, 126]);
        assert_eq!(written(256), [0x82, 0x7e, 1, 0]);
        assert_eq!(written(65535), [0x82, 0x7e, 0xff, 0xff]);
        assert_eq!(written(65536), [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn masked_hello_of_the_spec_is_discarded_and_its_ping_answered() {
        // RFC 6455 5.7: a masked text "Hello", then "Hello" as a masked ping.
        let payload = [0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        let bytes = [&[0x81, 0x85][..], &payload, &[0x89, 0x85], &payload].concat();
        let ping = Incoming::Ping("Hello".into());
        assert_eq!(read_all(&bytes, bytes.len()), Ok(vec![ping]));
        assert_eq!(&pong(b"Hello")[..], b"\x8a\x05Hello");
    }

    #[test]
    fn ping_between_fragments_is_answered_however_it_is_cut() {
        let bytes = [
            masked(0x01, &[b'a'; 300]),
            masked(0x89, b"one"),
            masked(0x00, b""),
            masked(0x8a, b"a pong nobody asked for"),
            masked(0x80, &[b'c'; 200]),
            masked(0x82, b"another message"),
            masked(0x89, &[7; 125]),
            masked(0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let expected = vec![
            Incoming::Ping("one".into()),
            Incoming::Ping(Bytes::from_static(&[7; 125])),
            Incoming::Close { code: Some(1000) },
        ];
        for step in 1..=bytes.len() {
            assert_eq!(read_all(&bytes, step).as_ref(), Ok(&expected), "pieces of {step}");
        }
    }

    #[test]
    fn what_the_spec_forbids_is_refused_by_name() {
        let hello = b"hello";
        let long_form = [&[0x82, 0xfe, 0, 5][..], &[0; 9]].concat();
        let longer_form = [&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0][..], &[0; 9]].concat();
        let top_bit = [&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0][..], &[0; 4]].concat();
        let cases = [
            (vec![0x82, 5], Violation::Unmasked, 1002),
            (masked(0xc2, hello), Violation::ReservedBits { found: 0b100 }, 1002),
            (masked(0x83, hello), Violation::Opcode { found: 3 }, 1002),
            (masked(0x8b, hello), Violation::Opcode { found: 11 }, 1002),
            (masked(0x09, hello), Violation::FragmentedControl { opcode: 9 }, 1002),
            (masked(0x89, &[0; 126]), Violation::LongControl { opcode: 9 }, 1002),
            (masked(0x80, hello), Violation::NothingToContinue, 1002),
            (
                [masked(0x02, hello), masked(0x82, hello)].concat(),
                Violation::MessageInMessage,
                1002,
            ),
            (masked(0x82, &[0; 1001]), Violation::TooBig { limit: 1000 }, 1009),
            (long_form, Violation::LengthForm { found: 5 }, 1002),
            (longer_form, Violation::LengthForm { found: 256 }, 1002),
            (top_bit, Violation::LengthForm { found: 1 << 63 }, 1002),
            (masked(0x88, b"x"), Violation::CloseOfOneByte, 1002),
            (masked(0x88, &1005_u16.to_be_bytes()), Violation::CloseCode { found: 1005 }, 1002),
            (masked(0x88, b"\x03\xe8\xff"), Violation::CloseReason, 1007),
        ];
        for (bytes, violation, code) in cases {
            assert_eq!(read_all(&bytes, 1), Err(violation));
            assert_eq!(read_all(&bytes, bytes.len()), Err(violation));
            assert_eq!(violation.code(), code);
        }
    }

    #[test]
    fn fragments_count_together_against_the_limit() {
        let whole = [masked(0x02, &[0; 600]), masked(0x80, &[0; 400])].concat();
        assert_eq!(read_all(&[whole.clone(), whole].concat(), 7), Ok(vec![]));
        let over = [masked(0x02, &[0; 600]), masked(0x80, &[0; 401])].concat();
        assert_eq!(read_all(&over, 7), Err(Violation::TooBig { limit: 1000 }));
    }

    #[test]
    fn close_reason_is_cut_between_characters() {
        let frame = close(1001, &"ä".repeat(100));
        assert_eq!((frame[1], frame.len()), (124, 126));
        assert_eq!(std::str::from_utf8(&frame[4..]), Ok(&*"ä".repeat(61)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read_all(&bytes, 400);
        }

        #[test]
        fn likely_frames_read_alike_in_any_pieces(
            frames in proptest::collection::vec(
                (prop::sample::select(&[0x82_u8, 0x02, 0x80, 0x00, 0x89, 0x8a, 0x88][..]), 0_usize..140),
                0..8,
            ),
            step in 1_usize..50,
        ) {
            let bytes: Vec<u8> =
                frames.iter().flat_map(|(first, len)| masked(*first, &vec![3; *len])).collect();
            prop_assert_eq!(read_all(&bytes, step), read_all(&bytes, bytes.len().max(1)));
        }
    }
}
