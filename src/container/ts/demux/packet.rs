//! The header and adaptation field of a packet (2.4.3.2, 2.4.3.4), and its place among those of its
//! stream.

use arrayvec::ArrayVec;

use super::super::PACKET_BYTES;
use crate::bytes::{Reader, Short};

/// What a packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    pub(super) pid: u16,
    /// A PES packet or section begins in it.
    pub(super) starts: bool,
    pub(super) scrambled: bool,
    counter: u8,
    /// The counter or the clock may jump here.
    discontinuity: bool,
    /// The program clock in ticks of 90 kHz, 33 bits.
    pub(super) clock: Option<u64>,
    payload: Option<&'a [u8]>,
}

impl<'a> Packet<'a> {
    /// None if a receiver before us marked it as damaged, or it contradicts itself.
    pub(super) fn parse(bytes: &'a [u8; PACKET_BYTES]) -> Option<Self> {
        read(bytes).ok()?
    }
}

fn read(bytes: &[u8; PACKET_BYTES]) -> Result<Option<Packet<'_>>, Short> {
    let mut reader = Reader::new(bytes);
    reader.u8("sync_byte")?;
    let word = reader.u16("PID")?;
    let control = reader.u8("continuity_counter")?;
    const TRANSPORT_ERROR: u16 = 0x8000;
    let (has_field, has_payload) = (control & 0x20 != 0, control & 0x10 != 0);
    if word & TRANSPORT_ERROR != 0 || !(has_field || has_payload) {
        return Ok(None);
    }
    let mut packet = Packet {
        pid: word & PID_MAX,
        starts: word & 0x4000 != 0,
        scrambled: control & 0xc0 != 0,
        counter: control & COUNTER_MAX,
        discontinuity: false,
        clock: None,
        payload: None,
    };
    if has_field {
        let length = reader.u8("adaptation_field_length")?;
        let field = reader.take("adaptation_field", length.into())?;
        if !field.is_empty() {
            read_field(&mut packet, &mut Reader::new(field))?;
        }
    }
    packet.payload = has_payload.then_some(reader.rest());
    Ok(Some(packet))
}

fn read_field(packet: &mut Packet<'_>, field: &mut Reader<'_>) -> Result<(), Short> {
    const DISCONTINUITY: u8 = 0x80;
    const PCR: u8 = 0x10;
    let flags = field.u8("adaptation field flags")?;
    packet.discontinuity = flags & DISCONTINUITY != 0;
    if flags & PCR != 0 {
        let high = field.u32("program_clock_reference_base")?;
        let low = field.u16("program_clock_reference_extension")?;
        packet.clock = Some(u64::from(high) << 1 | u64::from(low >> 15));
    }
    Ok(())
}

/// The largest PID, which is that of packets without meaning.
pub(super) const PID_MAX: u16 = 0x1fff;
const COUNTER_MAX: u8 = 15;

/// Counts the packets of one PID (2.4.3.3).
#[derive(Debug, Default)]
pub(super) struct Continuity {
    last: Option<(u8, ArrayVec<u8, PACKET_BYTES>)>,
}

/// How a packet stands to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival<'a> {
    /// It follows; or it has no payload, and says nothing.
    Next(&'a [u8]),
    /// The same once more.
    Duplicate,
    /// Packets before it are missing.
    Lost(&'a [u8]),
    /// The same, as the sender says itself.
    Restart(&'a [u8]),
}

impl Continuity {
    pub(super) fn arrive<'a>(&mut self, packet: &Packet<'a>) -> Arrival<'a> {
        let Some(payload) = packet.payload else {
            // Muxers differ in how they count these, so only what they say is heard.
            if packet.discontinuity {
                self.last = None;
                return Arrival::Restart(&[]);
            }
            return Arrival::Next(&[]);
        };
        let arrival = match &self.last {
            None => Arrival::Next(payload),
            Some((last, _)) if packet.counter == (last + 1) & COUNTER_MAX => Arrival::Next(payload),
            Some((last, before)) if packet.counter == *last && before[..] == *payload => {
                return Arrival::Duplicate;
            }
            _ if packet.discontinuity => Arrival::Restart(payload),
            Some(_) => Arrival::Lost(payload),
        };
        let (last, before) = self.last.get_or_insert_with(Default::default);
        *last = packet.counter;
        before.clear();
        before.extend(payload.iter().copied());
        arrival
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn bytes(head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut bytes = [0xff; PACKET_BYTES];
        bytes[0] = super::super::sync::SYNC;
        bytes[1..=head.len()].copy_from_slice(head);
        bytes
    }

    #[test]
    fn header_and_adaptation_field_are_read() {
        let whole = bytes(&[0x41, 0x23, 0xbc, 7, 0x90, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x12]);
        let packet = Packet::parse(&whole).unwrap();
        assert_eq!((packet.pid, packet.counter), (0x123, 12));
        assert!(packet.starts && packet.scrambled && packet.discontinuity);
        assert_eq!(packet.clock, Some(0x1_ffff_ffff));
        assert_eq!(packet.payload.unwrap().len(), 188 - 4 - 8);
        let bare = bytes(&[0x01, 0x23, 0x10]);
        let packet = Packet::parse(&bare).unwrap();
        assert!(!packet.starts && !packet.scrambled && !packet.discontinuity);
        assert_eq!(packet.payload.unwrap().len(), 184);
    }

    #[test]
    fn what_contradicts_itself_is_none() {
        for head in [
            &[0x81, 0x23, 0x10][..],      // marked as damaged
            &[0x01, 0x23, 0x00],          // neither field nor payload
            &[0x01, 0x23, 0x30, 184],     // a field beyond the packet
            &[0x01, 0x23, 0x20, 6, 0x10], // a clock beyond its field
        ] {
            assert_eq!(Packet::parse(&bytes(head)), None, "{head:02x?}");
        }
    }

    #[test]
    fn a_jump_is_a_loss_unless_it_is_announced_and_the_same_twice_is_a_duplicate() {
        let mut continuity = Continuity::default();
        let mut arrive =
            |head: &[u8]| match continuity.arrive(&Packet::parse(&bytes(head)).unwrap()) {
                Arrival::Next(_) => 'n',
                Arrival::Duplicate => 'd',
                Arrival::Lost(_) => 'l',
                Arrival::Restart(_) => 'r',
            };
        assert_eq!(arrive(&[1, 0, 0x1e]), 'n');
        assert_eq!(arrive(&[1, 0, 0x1f]), 'n');
        assert_eq!(arrive(&[1, 0, 0x1f]), 'd');
        assert_eq!(arrive(&[1, 0, 0x20, 183, 0]), 'n');
        assert_eq!(arrive(&[1, 0, 0x10]), 'n');
        assert_eq!(arrive(&[1, 0, 0x12]), 'l');
        assert_eq!(arrive(&[1, 0, 0x12, 5]), 'l');
        assert_eq!(arrive(&[1, 0, 0x38, 1, 0x80]), 'r');
        assert_eq!(arrive(&[1, 0, 0x19]), 'n');
        assert_eq!(arrive(&[1, 0, 0x29, 183, 0x80]), 'r');
        assert_eq!(arrive(&[1, 0, 0x13]), 'n');
    }
}
