//! PES packets (2.4.3.6): their headers, and where they end.

use arrayvec::ArrayVec;

use super::super::pes::time_of;
use crate::bytes::{Reader, Short};

/// Reads the PES packets of one stream out of the payloads of its packets.
#[derive(Debug)]
pub(super) struct PesReader {
    state: State,
    header: ArrayVec<u8, HEADER_BYTES_MAX>,
}

/// ```text
/// Waiting -> Header -> Payload --+
///    ^         ^         |       |
///    |         +---------+       |
///    +---------------------------+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until a packet begins.
    Waiting,
    Header,
    /// So many bytes are left; or it lasts until the next one begins.
    Payload {
        left: Option<usize>,
    },
}

/// What comes out, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The packet ends before it is whole.
    Broken,
    /// A packet that was begun is none that can be read.
    Unreadable,
    Begin(Option<Times>),
    Bytes(&'a [u8]),
    /// The content is encrypted.
    Scrambled,
}

/// Times of an access unit in ticks of 90 kHz, 33 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) pts: u64,
    pub(super) dts: u64,
}

/// At most what was open ends, and one packet begins with some bytes.
pub(super) type Parts<'a> = ArrayVec<Part<'a>, 4>;

impl PesReader {
    pub(super) fn new() -> Self {
        Self { state: State::Waiting, header: ArrayVec::new() }
    }

    /// Takes the payload of the next packet; at its start a PES packet may begin.
    pub(super) fn push<'a>(&mut self, starts: bool, mut payload: &'a [u8]) -> Parts<'a> {
        let mut parts = Parts::new();
        if starts {
            parts.extend(self.end());
            self.state = State::Header;
            self.header.clear();
        }
        if self.state == State::Header {
            while let Some(missing) = self.missing() {
                let Some((taken, rest)) = payload.split_at_checked(missing) else {
                    self.header.extend(payload.iter().copied());
                    return parts;
                };
                self.header.extend(taken.iter().copied());
                payload = rest;
            }
            let (state, part) = begin(&self.header);
            self.state = state;
            parts.push(part);
        }
        if let State::Payload { left } = &mut self.state {
            let bytes = &payload[..left.map_or(payload.len(), |left| left.min(payload.len()))];
            if !bytes.is_empty() {
                parts.push(Part::Bytes(bytes));
            }
            *left = left.map(|left| left - bytes.len());
            if *left == Some(0) {
                self.state = State::Waiting;
            }
        }
        parts
    }

    /// Packets are missing, and what is open with them.
    pub(super) fn lose(&mut self) -> Option<Part<'static>> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Waiting => None,
            State::Header => Some(Part::Unreadable),
            State::Payload { .. } => Some(Part::Broken),
        }
    }

    /// Nothing more belongs to what is open.
    pub(super) fn end(&mut self) -> Option<Part<'static>> {
        match self.state {
            State::Payload { left: None } => {
                self.state = State::Waiting;
                None
            }
            _ => self.lose(),
        }
    }

    /// Bytes of the header that are missing as far as its length is known.
    fn missing(&self) -> Option<usize> {
        let bytes = match self.header.get(FIXED_BYTES - 1) {
            None => FIXED_BYTES,
            Some(&rest) => FIXED_BYTES + usize::from(rest),
        };
        bytes.checked_sub(self.header.len()).filter(|missing| *missing > 0)
    }
}

/// What a whole header means.
fn begin(header: &[u8]) -> (State, Part<'static>) {
    match read(header) {
        Ok(Header::Plain { left, times }) => (State::Payload { left }, Part::Begin(times)),
        Ok(Header::Scrambled) => (State::Waiting, Part::Scrambled),
        Ok(Header::Wrong) | Err(Short { .. }) => (State::Waiting, Part::Unreadable),
    }
}

/// What a header says.
pub(super) enum Header {
    Plain {
        left: Option<usize>,
        times: Option<Times>,
    },
    Scrambled,
    /// It contradicts itself, or is of a kind without media in it.
    Wrong,
}

/// Reads the header that `packet` begins with.
pub(super) fn read(packet: &[u8]) -> Result<Header, Short> {
    let header_bytes = packet.get(FIXED_BYTES - 1).map(|rest| FIXED_BYTES + usize::from(*rest));
    let mut reader = Reader::new(packet);
    let mut reader = Reader::new(reader.take("PES header", header_bytes.unwrap_or(FIXED_BYTES))?);
    let start = reader.u24("packet_start_code_prefix")?;
    let stream_id = reader.u8("stream_id")?;
    let length = usize::from(reader.u16("PES_packet_length")?);
    let [marks, flags, rest] = reader.array("PES header flags")?;
    // Sound, pictures, private stream 1, metadata, and what is named by an extension.
    let is_media = matches!(stream_id, 0xbd | 0xc0..=0xef | 0xfc | 0xfd);
    if start != 1 || !is_media || marks >> 6 != 2 {
        return Ok(Header::Wrong);
    }
    if marks & 0x30 != 0 {
        return Ok(Header::Scrambled);
    }
    let times = match flags >> 6 {
        0 => None,
        2 => match read_time(&mut reader)? {
            Some(pts) => Some(Times { pts, dts: pts }),
            None => return Ok(Header::Wrong),
        },
        3 => match (read_time(&mut reader)?, read_time(&mut reader)?) {
            (Some(pts), Some(dts)) => Some(Times { pts, dts }),
            _ => return Ok(Header::Wrong),
        },
        _ => return Ok(Header::Wrong),
    };
    let left = match length {
        0 => None,
        length => match length.checked_sub(FIXED_BYTES - LENGTH_ENDS + usize::from(rest)) {
            Some(left) => Some(left),
            None => return Ok(Header::Wrong),
        },
    };
    Ok(Header::Plain { left, times })
}

/// The length that a packet tells of what follows; none if too little of it is there.
pub(super) fn length(packet: &[u8]) -> Option<u16> {
    let field = packet.get(LENGTH_ENDS - 2..LENGTH_ENDS)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// None if one of its marker bits is missing.
fn read_time(reader: &mut Reader<'_>) -> Result<Option<u64>, Short> {
    let field: [u8; 5] = reader.array("PTS or DTS")?;
    let is_marked = field[0] & field[2] & field[4] & 1 == 1;
    Ok(is_marked.then(|| time_of(&field)))
}

/// Bytes of a header that are always there; the last says how many follow.
const FIXED_BYTES: usize = 9;
/// What its length counts begins here.
pub(super) const LENGTH_ENDS: usize = 6;
const HEADER_BYTES_MAX: usize = FIXED_BYTES + 255;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::pes;
    use super::*;

    fn packet(length: Option<usize>, payload: &[u8]) -> Vec<u8> {
        [&pes::header(0xe0, length, 0x1_ffff_fffe, 0x1_0000_8001), payload].concat()
    }

    const TIMES: Times = Times { pts: 0x1_ffff_fffe, dts: 0x1_0000_8001 };

    #[test]
    fn a_packet_with_a_length_ends_by_itself_and_one_without_at_the_next() {
        let mut reader = PesReader::new();
        let long = packet(Some(5), b"abcde");
        assert_eq!(reader.push(false, b"xyz")[..], []);
        assert_eq!(
            reader.push(true, &long[..21])[..],
            [Part::Begin(Some(TIMES)), Part::Bytes(b"ab")]
        );
        assert_eq!(reader.push(false, &long[21..])[..], [Part::Bytes(b"cde")]);
        assert_eq!(reader.push(false, b"xyz")[..], [], "it has ended");
        let open = packet(None, b"fg");
        assert_eq!(reader.push(true, &open)[..], [Part::Begin(Some(TIMES)), Part::Bytes(b"fg")]);
        assert_eq!(reader.push(false, b"hi")[..], [Part::Bytes(b"hi")]);
        assert_eq!(reader.push(true, &long)[..], [Part::Begin(Some(TIMES)), Part::Bytes(b"abcde")]);
    }

    #[test]
    fn a_header_may_be_cut_anywhere() {
        let long = packet(Some(5), b"abcde");
        for at in 0..19 {
            let mut reader = PesReader::new();
            assert_eq!(reader.push(true, &long[..at])[..], []);
            let parts = reader.push(false, &long[at..]);
            assert_eq!(parts[..], [Part::Begin(Some(TIMES)), Part::Bytes(b"abcde")]);
        }
    }

    #[test]
    fn what_does_not_end_is_broken() {
        let long = packet(Some(5), b"abc");
        let mut reader = PesReader::new();
        reader.push(true, &long);
        assert_eq!(reader.push(true, &long[..8])[..], [Part::Broken]);
        assert_eq!(reader.lose(), Some(Part::Unreadable));
        assert_eq!(reader.lose(), None);
        reader.push(true, &packet(None, b"abc"));
        assert_eq!(reader.end(), None);
        reader.push(true, &packet(None, b"abc"));
        assert_eq!(reader.lose(), Some(Part::Broken));
    }

    #[test]
    fn headers_that_are_wrong_are_refused() {
        let refused = |at: usize, byte: u8| {
            let mut wrong = packet(Some(5), b"abcde");
            wrong[at] = byte;
            PesReader::new().push(true, &wrong)[..] == [Part::Unreadable]
        };
        // Start code, padding, no header, DTS alone, no marker bits, shorter than its header.
        assert!(refused(2, 2) && refused(3, 0xbe) && refused(6, 0x04) && refused(7, 0x40));
        assert!(refused(9, 0x30) && refused(18, 0) && refused(5, 12) && refused(8, 9));
        let mut scrambled = packet(None, b"abc");
        scrambled[6] |= 0x20;
        assert_eq!(PesReader::new().push(true, &scrambled)[..], [Part::Scrambled]);
    }
}
