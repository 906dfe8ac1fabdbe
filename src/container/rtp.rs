//! RTP packets (RFC 3550 5.1) that carry a transport stream (RFC 2250 2), put in their order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::bytes::{Reader, Short};

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What the payload is: 33 for a transport stream (RFC 3551 6), or what was agreed on elsewhere.
    pub payload_type: u8,
    /// Its number, which begins anywhere and wraps.
    pub sequence: u16,
    /// Whose it is.
    pub ssrc: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why bytes are no packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Of another protocol, or too old.
    #[error("rtp: expected version 2, found {0}")]
    Version(u8),
    /// It ends within a field.
    #[error("rtp: {0}")]
    Short(#[from] Short),
    /// More padding than there are bytes, or none although it says so.
    #[error("rtp: expected padding of 1 to {most} bytes, found {found}")]
    Padding {
        /// Bytes behind the header.
        most: usize,
        /// As its last byte says.
        found: u8,
    },
}

/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// |                           timestamp                           |
/// |                             SSRC                              |
/// |                        CSRC, CC of them                       |
/// |  of a profile, if X           |  words that follow            |
/// ```
impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(datagram);
        let flags = reader.u8("V, P, X, CC")?;
        if flags >> 6 != 2 {
            return Err(Error::Version(flags >> 6));
        }
        let payload_type = reader.u8("M, PT")? & 0x7f;
        let sequence = reader.u16("sequence number")?;
        reader.take("timestamp", 4)?;
        let ssrc = reader.u32("SSRC")?;
        reader.take("CSRC", usize::from(flags & 0x0f) * 4)?;
        if flags & 0x10 != 0 {
            reader.take("profile of the extension", 2)?;
            let words = reader.u16("length of the extension")?;
            reader.take("extension", usize::from(words) * 4)?;
        }
        let mut payload = reader.take("payload", reader.left())?;
        if flags & 0x20 != 0 {
            let found = payload.last().copied().unwrap_or(0);
            let most = payload.len();
            let left = most.checked_sub(found.into()).filter(|_| found > 0);
            payload = &payload[..left.ok_or(Error::Padding { most, found })?];
        }
        Ok(Self { payload_type, sequence, ssrc, payload })
    }
}

/// Packets of one sender in the order of their numbers.
///
/// Networks with several ways overtake packets by a few places. What follows a gap waits until the
/// gap is filled, until there is no room for more of it, or until the first of it has waited for
/// long enough; then what is missing counts as lost. As long as nothing is missing nothing waits, and
/// nothing is copied.
#[derive(Debug, Default)]
pub struct Order {
    /// Whose packets, and the number of the one that is due.
    due: Option<(u32, u16)>,
    /// Payloads from the due one on, and since when they are; `None` for those that are missing, of
    /// which the first is one.
    held: VecDeque<Option<(Instant, Vec<u8>)>>,
    counts: Counts,
}

/// What was not in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets that did not come, or too late.
    pub lost: u64,
    /// Packets that came twice, or when they had been given up. They are dropped.
    pub late: u64,
}

/// As many packets behind a gap wait for it: at 2 Mbit/s for 80 ms,
const HELD: usize = 16;
/// and so long at most. Ways of one network differ by less; ffmpeg waits as long.
const WAIT: Duration = Duration::from_millis(100);
/// A number that is further behind is another beginning.
const LATE_MAX: u16 = 100;
/// Likewise ahead.
const GAP_MAX: u16 = 3000;

impl Order {
    /// Takes a packet and has `deliver` take the payloads that are due then.
    pub fn arrive(&mut self, now: Instant, packet: &Packet<'_>, mut deliver: impl FnMut(&[u8])) {
        let Packet { sequence, ssrc, payload, .. } = *packet;
        let due = match self.due {
            Some((of, due)) if of == ssrc && is_near(due, sequence) => due,
            _ => {
                self.flush(&mut deliver);
                sequence
            }
        };
        let ahead = sequence.wrapping_sub(due);
        if ahead > GAP_MAX {
            self.counts.late += 1;
            return;
        }
        let mut ahead = usize::from(ahead);
        let mut passed = 0_u16;
        while ahead >= HELD {
            self.give_up(&mut deliver);
            ahead -= 1;
            passed += 1;
        }
        if ahead == 0 && self.held.is_empty() {
            deliver(payload);
            self.due = Some((ssrc, due.wrapping_add(passed + 1)));
            return;
        }
        if self.held.len() <= ahead {
            self.held.resize(ahead + 1, None);
        }
        match &mut self.held[ahead] {
            Some(_) => self.counts.late += 1,
            free => *free = Some((now, payload.to_vec())),
        }
        passed += self.deliver_due(&mut deliver);
        self.due = Some((ssrc, due.wrapping_add(passed)));
    }

    /// When what waits will have waited for long enough.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.held.iter().flatten().map(|(since, _)| *since + WAIT).min()
    }

    /// Gives up what has been waited for so long by now, and has `deliver` take what is due then.
    pub fn handle_timeout(&mut self, now: Instant, mut deliver: impl FnMut(&[u8])) {
        while self.poll_timeout().is_some_and(|at| at <= now) {
            let mut passed = 0;
            while let Some(None) = self.held.front() {
                self.give_up(&mut deliver);
                passed += 1;
            }
            passed += self.deliver_due(&mut deliver);
            self.due = self.due.map(|(ssrc, due)| (ssrc, due.wrapping_add(passed)));
        }
    }

    /// Nothing follows: what waits is delivered, and what is missing of it is lost.
    pub fn flush(&mut self, mut deliver: impl FnMut(&[u8])) {
        while !self.held.is_empty() {
            self.give_up(&mut deliver);
        }
        self.due = None;
    }

    /// What was not in order so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Up to the next gap. Answers how many they were.
    fn deliver_due(&mut self, deliver: &mut impl FnMut(&[u8])) -> u16 {
        let mut passed = 0;
        while let Some(Some(_)) = self.held.front() {
            self.give_up(deliver);
            passed += 1;
        }
        passed
    }

    /// The packet that is due is delivered, or lost.
    fn give_up(&mut self, deliver: &mut impl FnMut(&[u8])) {
        match self.held.pop_front().flatten() {
            Some((_, payload)) => deliver(&payload),
            None => self.counts.lost += 1,
        }
    }
}

/// True if `sequence` belongs to what `due` continues.
fn is_near(due: u16, sequence: u16) -> bool {
    sequence.wrapping_sub(due) <= GAP_MAX || due.wrapping_sub(sequence) <= LATE_MAX
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet with everything that a header may have.
    fn written(csrcs: u8, extension: Option<u16>, payload: &[u8], padding: u8) -> Vec<u8> {
        let mut bytes = vec![0x80 | csrcs, 0x80 | 33];
        bytes.extend(0xfffe_u16.to_be_bytes());
        bytes.extend([9; 4]);
        bytes.extend(7_u32.to_be_bytes());
        bytes.extend(vec![1; usize::from(csrcs) * 4]);
        if let Some(words) = extension {
            bytes[0] |= 0x10;
            bytes.extend([2; 2]);
            bytes.extend(words.to_be_bytes());
            bytes.extend(vec![3; usize::from(words) * 4]);
        }
        bytes.extend(payload);
        if padding > 0 {
            bytes[0] |= 0x20;
            bytes.extend(vec![0; usize::from(padding) - 1]);
            bytes.push(padding);
        }
        bytes
    }

    #[test]
    fn csrc_extension_and_padding_are_left_out() {
        for (csrcs, extension, padding) in
            [(0, None, 0), (15, None, 0), (2, Some(0), 4), (0, Some(3), 255)]
        {
            let bytes = written(csrcs, extension, b"payload", padding);
            let packet = Packet::parse(&bytes).unwrap();
            let expected =
                Packet { payload_type: 33, sequence: 0xfffe, ssrc: 7, payload: b"payload" };
            assert_eq!(packet, expected);
        }
        let bytes = written(0, None, b"", 0);
        assert!(Packet::parse(&bytes).unwrap().payload.is_empty());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let whole = written(1, Some(1), b"", 0);
        for end in 0..whole.len() {
            assert!(matches!(Packet::parse(&whole[..end]), Err(Error::Short(_))), "{end} bytes");
        }
        let mut other = whole;
        other[0] = 0x47;
        assert_eq!(Packet::parse(&other), Err(Error::Version(1)));
        let mut padded = written(0, None, b"1234", 1);
        for (says, is_right) in [(0, false), (1, true), (5, true), (6, false), (255, false)] {
            *padded.last_mut().unwrap() = says;
            let parsed = Packet::parse(&padded);
            assert_eq!(parsed.is_ok(), is_right, "{says}: {parsed:?}");
        }
    }

    /// What comes out when packets of these numbers come, each with its number, and what was counted.
    fn ordered(numbers: impl IntoIterator<Item = u16>) -> (Vec<u16>, Counts) {
        let (mut order, mut out, now) = (Order::default(), Vec::new(), Instant::now());
        let read = |payload: &[u8]| u16::from_be_bytes(payload.try_into().unwrap());
        for sequence in numbers {
            let payload = sequence.to_be_bytes();
            let packet = Packet { payload_type: 33, sequence, ssrc: 1, payload: &payload };
            order.arrive(now, &packet, |payload| out.push(read(payload)));
            assert!(order.held.len() <= HELD);
        }
        order.flush(|payload| out.push(read(payload)));
        (out, order.counts())
    }

    #[test]
    fn packets_that_were_overtaken_come_out_in_their_place() {
        let none = Counts::default();
        assert_eq!(ordered([5, 7, 6, 8]), (vec![5, 6, 7, 8], none));
        assert_eq!(ordered([5, 9, 8, 7, 6, 10]), (vec![5, 6, 7, 8, 9, 10], none));
        // Across the wrap.
        assert_eq!(ordered([65_534, 0, 65_535, 1]), (vec![65_534, 65_535, 0, 1], none));
    }

    #[test]
    fn a_gap_that_stays_is_counted_and_holds_up_no_more_than_it_may() {
        let (mut order, mut out, now) = (Order::default(), 0, Instant::now());
        for sequence in (0..100).filter(|number| number % 50 != 7) {
            let packet = Packet { payload_type: 33, sequence, ssrc: 1, payload: b"" };
            order.arrive(now, &packet, |_| out += 1);
        }
        // The gap at 57 is as far back as it may be.
        assert_eq!((out, order.held.len()), (98, 0));
        assert_eq!(order.counts(), Counts { lost: 2, late: 0 });
        let all = (0..300).filter(|number| !(100..=180).contains(number));
        let (out, counts) = ordered(all.clone());
        assert_eq!((out, counts.lost), (all.collect::<Vec<_>>(), 81));
    }

    #[test]
    fn a_gap_is_waited_for_so_long_and_no_longer() {
        let (mut order, mut out, begin) = (Order::default(), Vec::new(), Instant::now());
        let arrive = |order: &mut Order, ms, sequence: u16, out: &mut Vec<u8>| {
            let payload = [sequence as u8];
            let packet = Packet { payload_type: 33, sequence, ssrc: 1, payload: &payload };
            order.arrive(begin + Duration::from_millis(ms), &packet, |it| out.push(it[0]));
        };
        arrive(&mut order, 0, 5, &mut out);
        assert_eq!(order.poll_timeout(), None);
        for (ms, sequence) in [(10, 7), (60, 9)] {
            arrive(&mut order, ms, sequence, &mut out);
        }
        let mut at = |order: &mut Order, ms| {
            assert_eq!(order.poll_timeout(), Some(begin + Duration::from_millis(ms)));
            for (early, expected) in [(1, 0), (0, 1)] {
                let now = begin + Duration::from_millis(ms - early);
                let mut some = 0;
                order.handle_timeout(now, |it| {
                    out.push(it[0]);
                    some = 1;
                });
                assert_eq!(some, expected);
            }
        };
        at(&mut order, 110);
        at(&mut order, 160);
        assert_eq!(order.poll_timeout(), None);
        // The number that is due goes on.
        arrive(&mut order, 161, 6, &mut out);
        arrive(&mut order, 162, 10, &mut out);
        assert_eq!(out, [5, 7, 9, 10]);
        assert_eq!(order.counts(), Counts { lost: 2, late: 1 });
    }

    #[test]
    fn what_comes_twice_or_too_late_is_dropped() {
        assert_eq!(ordered([5, 5, 7, 7, 6]), (vec![5, 6, 7], Counts { lost: 0, late: 2 }));
        assert_eq!(ordered([5, 6, 3]), (vec![5, 6], Counts { lost: 0, late: 1 }));
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed() {
        assert_eq!(ordered([5, 6, 40_000, 40_001]).0, [5, 6, 40_000, 40_001]);
        assert_eq!(ordered([5000, 5002, 7, 8]).0, [5000, 5002, 7, 8]);
        let (mut order, mut out, now) = (Order::default(), Vec::new(), Instant::now());
        for (ssrc, sequence) in [(1, 5), (1, 6), (2, 6), (2, 7)] {
            let payload = [ssrc as u8, sequence as u8];
            let packet = Packet { payload_type: 33, sequence, ssrc, payload: &payload };
            order.arrive(now, &packet, |payload| out.push((payload[0], payload[1])));
        }
        assert_eq!(out, [(1, 5), (1, 6), (2, 6), (2, 7)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + 12 <= bytes.len());
            }
        }

        #[test]
        fn what_goes_in_comes_out_or_is_counted(
            steps in prop::collection::vec(-20_i32..40, 1..200),
        ) {
            let mut number = 30_000_i32;
            let numbers = steps.iter().map(|step| {
                number += step;
                number as u16
            });
            let (out, counts) = ordered(numbers);
            prop_assert_eq!(out.len() as u64 + counts.late, steps.len() as u64);
        }
    }
}
