//! Where packets begin in a stream of bytes, of which some may be lost or be too many.

use super::super::PACKET_BYTES;
use super::{Error, Limits};

pub(super) const SYNC: u8 = 0x47;
/// As many packets in a row must begin with [`SYNC`].
const AGREEING: usize = 3;
const SEARCH_BYTES: usize = (AGREEING - 1) * PACKET_BYTES + 1;

/// Cuts bytes into packets, however they arrive.
#[derive(Debug)]
pub(super) struct Sync {
    /// What is not cut yet: less than a packet, and while searching less than [`SEARCH_BYTES`].
    held: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// The next byte begins a packet.
    Found,
    /// No packet was found for so many bytes.
    Searching { skipped: usize },
}

/// What comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Packet([u8; PACKET_BYTES]),
    /// What follows the last packet is none: bytes were lost or are too many, and maybe inside it.
    Lost,
    /// Bytes that belong to no packet.
    Skipped(usize),
}

impl Sync {
    pub(super) fn new() -> Self {
        Self { held: Vec::new(), state: State::Searching { skipped: 0 } }
    }

    /// Takes bytes from the front of `input` until there is something, or it is used up (none).
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        limits: &Limits,
    ) -> Result<Option<Piece>, Error> {
        let State::Searching { skipped } = self.state else {
            return Ok(self.cut(input));
        };
        self.hold(input, SEARCH_BYTES);
        if self.held.len() < SEARCH_BYTES {
            return Ok(None);
        }
        if is_begun(&self.held, 0) {
            self.state = State::Found;
            return Ok(self.cut(input));
        }
        let skip = candidate(&self.held, 1);
        self.held.drain(..skip);
        let skipped = skipped + skip;
        if skipped > limits.unsynced_bytes {
            return Err(Error::NotTs { searched: skipped });
        }
        self.state = State::Searching { skipped };
        Ok(Some(Piece::Skipped(skip)))
    }

    /// The next packet of an input that has ended: there fewer need to agree.
    pub(super) fn next_of_rest(&mut self) -> Option<Piece> {
        if matches!(self.state, State::Searching { .. }) {
            let at = (0..self.held.len()).find(|&at| is_begun(&self.held, at))?;
            self.held.drain(..at);
            self.state = State::Found;
        }
        self.cut(&mut &[][..])
    }

    fn cut(&mut self, input: &mut &[u8]) -> Option<Piece> {
        let first = *self.held.first().or(input.first())?;
        if first != SYNC {
            self.state = State::Searching { skipped: 0 };
            return Some(Piece::Lost);
        }
        let mut packet = [0; PACKET_BYTES];
        if self.held.is_empty()
            && let Some((whole, rest)) = input.split_first_chunk::<PACKET_BYTES>()
        {
            *input = rest;
            packet = *whole;
        } else {
            self.hold(input, PACKET_BYTES);
            packet.copy_from_slice(self.held.get(..PACKET_BYTES)?);
            self.held.drain(..PACKET_BYTES);
        }
        Some(Piece::Packet(packet))
    }

    /// Takes from `input` what is missing of `count` bytes.
    fn hold(&mut self, input: &mut &[u8], count: usize) {
        let missing = count.saturating_sub(self.held.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.held.extend_from_slice(taken);
        *input = rest;
    }
}

/// The first place from `from` on where a packet may begin.
fn candidate(bytes: &[u8], from: usize) -> usize {
    let at = bytes[from..].iter().position(|&byte| byte == SYNC);
    at.map_or(bytes.len(), |at| from + at)
}

/// True if there is a whole packet at `at`, and all behind it that are there begin like one.
fn is_begun(bytes: &[u8], at: usize) -> bool {
    bytes.len() - at >= PACKET_BYTES
        && bytes[at..].iter().step_by(PACKET_BYTES).all(|&byte| byte == SYNC)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Packets whose bytes are their number.
    fn packets(numbers: std::ops::Range<u8>) -> Vec<u8> {
        numbers.flat_map(|number| [&[SYNC][..], &[number; PACKET_BYTES - 1]].concat()).collect()
    }

    /// The numbers of packets; 255 for a loss.
    fn numbers(stream: &[u8], piece: usize) -> Vec<u8> {
        let mut sync = Sync::new();
        let mut numbers = Vec::new();
        let mut add = |piece| match piece {
            Piece::Packet(packet) => numbers.push(packet[100]),
            Piece::Lost => numbers.push(255),
            Piece::Skipped(_) => {}
        };
        for mut input in stream.chunks(piece) {
            while let Some(piece) = sync.next(&mut input, &Limits::default()).unwrap() {
                add(piece);
            }
            assert!(input.is_empty());
            assert!(sync.held.len() < SEARCH_BYTES);
        }
        while let Some(piece) = sync.next_of_rest() {
            add(piece);
        }
        numbers
    }

    #[test]
    fn packets_are_found_behind_what_is_none_and_after_a_loss() {
        for piece in [1, 7, 187, 188, 189, 376, 1316, 10_000] {
            let cut = |stream: &[u8]| numbers(stream, piece);
            assert_eq!(cut(&packets(0..9)), [0, 1, 2, 3, 4, 5, 6, 7, 8], "pieces of {piece}");
            assert_eq!(cut(&[&[0x47, 1, 2, 3], &packets(1..4)[..]].concat()), [1, 2, 3]);
            // Ten bytes are missing in 3; of what follows 4 cannot be cut.
            let stream = [&packets(0..4)[..3 * 188 + 178], &packets(4..9)].concat();
            assert_eq!(cut(&stream), [0, 1, 2, 3, 255, 5, 6, 7, 8]);
            // Five too many, behind a packet.
            let stream = [&packets(0..4)[..], &[1; 5], &packets(4..9)].concat();
            assert_eq!(cut(&stream), [0, 1, 2, 3, 255, 4, 5, 6, 7, 8]);
            // A first byte is damaged.
            let mut stream = packets(0..9);
            stream[4 * 188] = 0;
            assert_eq!(cut(&stream), [0, 1, 2, 3, 255, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn less_than_three_packets_are_enough_at_the_end() {
        assert_eq!(numbers(&packets(0..1), 50), [0]);
        assert_eq!(numbers(&packets(0..2)[..200], 50), [0]);
        assert!(numbers(&packets(0..1)[..187], 50).is_empty());
    }

    #[test]
    fn what_is_no_transport_stream_is_refused() {
        let limits = Limits::default();
        for bytes in [[SYNC, 0, 0].repeat(1 << 16), vec![0; 1 << 17]] {
            let mut sync = Sync::new();
            let mut input = &bytes[..];
            let error = loop {
                match sync.next(&mut input, &limits) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it is no transport stream"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, Error::NotTs { searched } if searched < 1 << 17));
        }
    }
}
