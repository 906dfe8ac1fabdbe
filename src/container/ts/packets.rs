//! Transport packets: PES packets and sections cut into pieces of 188 bytes (2.4.3).

use bytes::{BufMut, BytesMut};

/// Bytes of a transport packet.
pub const PACKET_BYTES: usize = 188;
const HEADER_BYTES: usize = 4;
const PAYLOAD_BYTES: usize = PACKET_BYTES - HEADER_BYTES;
const SYNC: u8 = 0x47;

/// One elementary stream or table: its packets are counted (2.4.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Channel {
    pub(super) pid: u16,
    /// Of the next packet with a payload.
    counter: u8,
}

/// What an adaptation field may say beside its stuffing (2.4.3.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Adaptation {
    /// The counter, and the clock where there is one, do not go on from what was before.
    pub(super) discontinuity: bool,
    /// A decoder can begin here.
    pub(super) random_access: bool,
    /// The program clock in ticks of 90 kHz, 33 bits.
    pub(super) pcr: Option<u64>,
}

impl Adaptation {
    /// Bytes of the whole field without stuffing; none if it says nothing.
    fn len(self) -> usize {
        match self {
            Self { pcr: Some(_), .. } => 8,
            Self { discontinuity: false, random_access: false, pcr: None } => 0,
            Self { .. } => 2,
        }
    }
}

impl Channel {
    pub(super) fn new(pid: u16) -> Self {
        Self { pid, counter: 0 }
    }

    /// Appends `parts`, which hold `left` bytes together, as packets of which the first says `first`
    /// and the last is filled up by stuffing. `left` is more than zero.
    pub(super) fn write<'a>(
        &mut self,
        out: &mut BytesMut,
        first: Adaptation,
        parts: impl IntoIterator<Item = &'a [u8]>,
        mut left: usize,
    ) {
        out.reserve((left / (PACKET_BYTES - HEADER_BYTES) + 2) * PACKET_BYTES);
        let (mut parts, mut part) = (parts.into_iter(), &[][..]);
        let (mut adaptation, mut starts) = (first, true);
        while left > 0 {
            let room = PACKET_BYTES - HEADER_BYTES - adaptation.len();
            let payload = left.min(room);
            self.header(out, starts, true, adaptation, room - payload);
            left -= payload;
            let mut missing = payload;
            while missing > 0 {
                if part.is_empty() {
                    let Some(next) = parts.next() else {
                        // Fewer than was said, which no caller does: packets stay whole.
                        out.put_bytes(0xff, missing);
                        return;
                    };
                    part = next;
                    continue;
                }
                let (now, rest) = part.split_at(missing.min(part.len()));
                out.put_slice(now);
                (part, missing) = (rest, missing - now.len());
            }
            (adaptation, starts) = (Adaptation::default(), false);
        }
    }

    /// Appends a section (2.4.4), stuffed behind its end to whole packets, of which the first says
    /// `first`.
    pub(super) fn write_section(&mut self, out: &mut BytesMut, first: Adaptation, section: &[u8]) {
        const POINTER: &[u8] = &[0];
        let room = packets_of(first, section) * PAYLOAD_BYTES - first.len();
        let stuffing = room - POINTER.len() - section.len();
        self.write(out, first, [POINTER, section, &[0xff; PAYLOAD_BYTES][..stuffing]], room);
    }

    /// As if the packets of a section, of which the first said `first`, had not been.
    pub(super) fn before_section(self, first: Adaptation, section: &[u8]) -> Self {
        let packets = packets_of(first, section) as u8;
        Self { counter: self.counter.wrapping_sub(packets) & COUNTER_MAX, ..self }
    }

    /// Appends one packet without a payload, which is not counted.
    pub(super) fn write_adaptation(&mut self, out: &mut BytesMut, adaptation: Adaptation) {
        out.reserve(PACKET_BYTES);
        let stuffing = PACKET_BYTES - HEADER_BYTES - adaptation.len();
        self.header(out, false, false, adaptation, stuffing);
    }

    /// The header of a packet and its adaptation field with `stuffing` more bytes.
    fn header(
        &mut self,
        out: &mut BytesMut,
        starts: bool,
        has_payload: bool,
        adaptation: Adaptation,
        stuffing: usize,
    ) {
        let field_bytes = adaptation.len() + stuffing;
        // What has no payload repeats the number of the packet before it.
        let counter = match has_payload {
            true => {
                let counter = self.counter;
                self.counter = (counter + 1) & COUNTER_MAX;
                counter
            }
            false => self.counter.wrapping_sub(1) & COUNTER_MAX,
        };
        let control = u8::from(has_payload) << 4 | u8::from(field_bytes > 0) << 5;
        out.put_u8(SYNC);
        out.put_u16(u16::from(starts) << 14 | self.pid);
        out.put_u8(control | counter);
        if field_bytes == 0 {
            return;
        }
        // A packet has no more than 184 bytes for it.
        out.put_u8((field_bytes - 1) as u8);
        if field_bytes == 1 {
            return;
        }
        let Adaptation { discontinuity, random_access, pcr } = adaptation;
        let flag = |is_set: bool, bit: u8| u8::from(is_set) << bit;
        out.put_u8(flag(discontinuity, 7) | flag(random_access, 6) | flag(pcr.is_some(), 4));
        let mut used = 2;
        if let Some(base) = pcr {
            // 33 bits, six reserved ones, and nine of an extension of 27 MHz that is always zero.
            out.put_u32((base >> 1) as u32);
            out.put_u16((base as u16 & 1) << 15 | 0x7e00);
            used += 6;
        }
        out.put_bytes(0xff, field_bytes - used);
    }
}

/// How many packets a section takes behind its pointer, if the first says `first`.
fn packets_of(first: Adaptation, section: &[u8]) -> usize {
    (first.len() + 1 + section.len()).div_ceil(PAYLOAD_BYTES)
}

const COUNTER_MAX: u8 = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PCR: Adaptation =
        Adaptation { discontinuity: false, random_access: true, pcr: Some(0x1_2345_6789) };

    proptest! {
        #[test]
        fn whole_packets_hold_what_was_written(
            payload in prop::collection::vec(any::<u8>(), 1..2000),
            cuts in prop::collection::vec(1_usize..300, 0..9),
            says: bool,
        ) {
            let first = if says { PCR } else { Adaptation::default() };
            let mut parts = Vec::new();
            let mut rest = &payload[..];
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = after;
            }
            parts.push(rest);
            let (mut channel, mut out) = (Channel::new(0x100), BytesMut::new());
            channel.write(&mut out, first, parts, payload.len());
            prop_assert_eq!(out.len() % PACKET_BYTES, 0);
            let mut read = Vec::new();
            for (number, packet) in out.chunks(PACKET_BYTES).enumerate() {
                prop_assert_eq!(packet[0], SYNC);
                let starts = if number == 0 { 0x40 } else { 0 };
                prop_assert_eq!([packet[1], packet[2]], [starts | 1, 0]);
                prop_assert_eq!(usize::from(packet[3] & 15), number % 16);
                let field = if packet[3] & 0x20 == 0 { 0 } else { 1 + usize::from(packet[4]) };
                prop_assert!(packet[3] & 0x10 != 0 && field < 184);
                read.extend_from_slice(&packet[4 + field..]);
            }
            prop_assert_eq!(read, payload);
            if says {
                // The field is longer if all of it is stuffing behind.
                prop_assert!(out[4] >= 7);
                prop_assert_eq!(&out[5..12], &[0x50, 0x91, 0xa2, 0xb3, 0xc4, 0xfe, 0][..]);
            }
        }
    }

    #[test]
    fn a_packet_without_payload_repeats_the_number_before_it() {
        let (mut channel, mut out) = (Channel::new(0x101), BytesMut::new());
        channel.write_adaptation(&mut out, Adaptation { pcr: Some(0), ..Adaptation::default() });
        channel.write(&mut out, Adaptation::default(), [&[1][..]], 1);
        channel.write_adaptation(&mut out, Adaptation { pcr: Some(0), ..Adaptation::default() });
        let heads: Vec<_> = out.chunks(PACKET_BYTES).map(|packet| packet[3]).collect();
        assert_eq!(heads, [0x2f, 0x30, 0x20]);
        assert_eq!(out.len(), 3 * PACKET_BYTES);
    }
}
