//! Sections (2.4.4): tables cut over the payloads of packets.

use crc::{CRC_32_MPEG_2, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_MPEG_2);
const HEAD_BYTES: usize = 3;
const STUFFING: u8 = 0xff;

/// Gathers the sections of one PID.
#[derive(Debug, Default)]
pub(super) struct Sections {
    /// From the first byte of a section on; none until one begins.
    gathered: Option<Vec<u8>>,
}

/// A section without its CRC, if that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Section {
    Whole(Vec<u8>),
    Damaged,
}

impl Sections {
    /// Takes the payload of the next packet; at its start a section may begin. What is longer than
    /// `max` bytes is left out.
    pub(super) fn push(&mut self, starts: bool, payload: &[u8], max: usize) -> Vec<Section> {
        let mut sections = Vec::new();
        if !starts {
            self.gather(payload, max, &mut sections);
            return sections;
        }
        let Some((&pointer, rest)) = payload.split_first() else { return sections };
        let Some((before, behind)) = rest.split_at_checked(pointer.into()) else {
            self.lose();
            return sections;
        };
        self.gather(before, max, &mut sections);
        self.gathered = Some(Vec::new());
        self.gather(behind, max, &mut sections);
        sections
    }

    /// Packets are missing: what was begun cannot be finished.
    pub(super) fn lose(&mut self) {
        self.gathered = None;
    }

    fn gather(&mut self, payload: &[u8], max: usize, sections: &mut Vec<Section>) {
        let Some(gathered) = &mut self.gathered else { return };
        gathered.extend_from_slice(payload);
        let mut whole = &gathered[..];
        loop {
            match *whole {
                // Nothing but stuffing is behind the last section of a packet.
                [STUFFING, ..] => {
                    self.gathered = None;
                    return;
                }
                [_, high, low, ..] => {
                    let length = usize::from(u16::from_be_bytes([high & 0x0f, low]));
                    if HEAD_BYTES + length > max {
                        sections.push(Section::Damaged);
                        self.gathered = None;
                        return;
                    }
                    let Some((section, rest)) = whole.split_at_checked(HEAD_BYTES + length) else {
                        break;
                    };
                    sections.push(checked(section));
                    whole = rest;
                }
                _ => break,
            }
        }
        let done = gathered.len() - whole.len();
        gathered.drain(..done);
    }
}

fn checked(section: &[u8]) -> Section {
    match section.split_last_chunk::<4>() {
        Some((body, crc)) if CRC.checksum(body) == u32::from_be_bytes(*crc) => {
            Section::Whole(body.to_vec())
        }
        _ => Section::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(bytes: usize, fill: u8) -> Vec<u8> {
        let mut section = vec![2, 0xb0, (bytes + 4) as u8];
        section.resize(HEAD_BYTES + bytes, fill);
        section.extend(CRC.checksum(&section).to_be_bytes());
        section
    }

    #[test]
    fn sections_are_gathered_over_packets_and_several_of_one() {
        let (a, b, c) = (section(100, 1), section(150, 2), section(9, 3));
        let bare = |section: &Vec<u8>| Section::Whole(section[..section.len() - 4].to_vec());
        let mut sections = Sections::default();
        let mut push = |starts, parts: &[&[u8]]| sections.push(starts, &parts.concat(), 1024);
        assert_eq!(push(false, &[&a]), [], "it has not begun");
        assert_eq!(push(true, &[&[0], &a, &b[..70]]), [bare(&a)]);
        assert_eq!(push(true, &[&[87], &b[70..], &c, &[0xff; 40]]), [bare(&b), bare(&c)]);
        assert_eq!(push(false, &[&a]), [], "nothing is behind stuffing");
        assert_eq!(push(true, &[&[0], &a[..2]]), []);
        assert_eq!(push(false, &[&a[2..]]), [bare(&a)]);
        assert_eq!(push(true, &[&[200], &a]), [], "the pointer is beyond the packet");
        assert_eq!(push(true, &[]), []);
    }

    #[test]
    fn a_wrong_sum_or_length_is_damage() {
        let mut sections = Sections::default();
        let mut wrong = section(100, 1);
        wrong[50] ^= 1;
        assert_eq!(sections.push(true, &[&[0][..], &wrong].concat(), 1024), [Section::Damaged]);
        assert_eq!(sections.push(true, &[0, 2, 0xbf, 0xff], 1024), [Section::Damaged]);
        assert_eq!(sections.push(true, &[0, 2, 0xb0, 0], 1024), [Section::Damaged]);
        assert_eq!(sections.push(false, &[0; 184], 1024).len(), 61);
    }
}
