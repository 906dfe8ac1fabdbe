//! A stream of private data: its PES packets or sections, handed on whole and unread.

use super::Notice;
use super::clock::Clock;
use super::packet::{Arrival, Continuity, Packet};
use super::pes::{self, Header};
use super::report::Out;
use super::section::{Section, Sections};
use crate::container::Item;
use crate::media::{Frame, PrivateStream, PrivateUnit, TrackKind};
use crate::time::Timestamp;

/// A stream that is handed on.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) pid: u16,
    /// Its place in the list of private streams.
    place: u8,
    continuity: Continuity,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// What came of a PES packet; none until one begins.
    Packets(Option<Vec<u8>>),
    Sections(Sections),
}

/// A PES packet tells its length in 16 bits. One that does not, which is for video alone, may not be
/// longer.
const PACKET_BYTES_MAX: usize = pes::LENGTH_ENDS + 0xffff;
/// SCTE 35 9.6.
const CUES_BYTES_MAX: usize = 4096;
/// The table of cues, and what its shortest section has before its sum.
const CUES_TABLE: u8 = 0xfc;
const CUES_BYTES_MIN: usize = 16;

impl Private {
    pub(super) fn new(pid: u16, place: u8, stream: &PrivateStream) -> Self {
        let content = match stream.is_of_sections() {
            true => Content::Sections(Sections::default()),
            false => Content::Packets(None),
        };
        Self { pid, place, continuity: Continuity::default(), content }
    }

    /// What makes it another stream.
    pub(super) fn source(&self) -> (u16, u8, bool) {
        (self.pid, self.place, matches!(self.content, Content::Sections(_)))
    }

    pub(super) fn on_packet(&mut self, packet: &Packet<'_>, clock: &Clock, out: &mut Out<'_>) {
        let payload = match self.continuity.arrive(packet) {
            Arrival::Duplicate => {
                out.report.counts.duplicates += 1;
                return;
            }
            Arrival::Next(payload) => payload,
            Arrival::Lost(payload) => {
                out.report.counts.losses += 1;
                out.note(Notice::LostPackets { pid: self.pid });
                self.lose(out);
                payload
            }
            Arrival::Restart(payload) => {
                self.lose(out);
                payload
            }
        };
        if packet.scrambled {
            out.report.counts.scrambled_packets += 1;
            out.note(Notice::Scrambled { pid: self.pid });
            return self.lose(out);
        }
        if payload.is_empty() {
            return;
        }
        match &mut self.content {
            Content::Packets(_) => self.gather(packet.starts, payload, clock, out),
            Content::Sections(sections) => {
                for section in sections.push(packet.starts, payload, CUES_BYTES_MAX) {
                    give_section(self.place, &section, clock, out);
                }
            }
        }
    }

    /// Packets are missing, or are not what they should be.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        match &mut self.content {
            Content::Packets(open) => {
                if open.take().is_some() {
                    out.incomplete();
                }
            }
            Content::Sections(sections) => sections.lose(),
        }
    }

    /// Nothing follows what is open.
    pub(super) fn finish(&mut self, clock: &Clock, out: &mut Out<'_>) {
        let Content::Packets(open) = &mut self.content else { return };
        match open.take() {
            Some(packet) if pes::length(&packet) == Some(0) => {
                give_packet(self.place, &packet, clock, out);
            }
            Some(_) => out.incomplete(),
            None => {}
        }
    }

    fn gather(&mut self, starts: bool, payload: &[u8], clock: &Clock, out: &mut Out<'_>) {
        if starts {
            self.finish(clock, out);
            self.content = Content::Packets(Some(Vec::new()));
        }
        let Content::Packets(open) = &mut self.content else { return };
        let Some(packet) = open else { return };
        packet.extend_from_slice(payload);
        let told = pes::length(packet).filter(|length| *length > 0);
        let whole = told.map_or(usize::MAX, |length| pes::LENGTH_ENDS + usize::from(length));
        if packet.len() >= whole {
            packet.truncate(whole);
            give_packet(self.place, packet, clock, out);
            *open = None;
        } else if packet.len() > PACKET_BYTES_MAX {
            *open = None;
            out.too_long();
        }
    }
}

fn give_packet(stream: u8, packet: &[u8], clock: &Clock, out: &mut Out<'_>) {
    let times = match pes::read(packet) {
        Ok(Header::Plain { times, .. }) => times,
        Ok(Header::Scrambled) => {
            out.report.counts.scrambled_packets += 1;
            return out.note(Notice::Scrambled { pid: out.pid });
        }
        Ok(Header::Wrong) | Err(_) => return out.damaged(),
    };
    let at = match times {
        // However it is stamped, it moves no clock.
        Some(times) => clock.clone().times(times).map(|placed| (times.pts, placed.pts)),
        None => clock.now(),
    };
    match at {
        Some((ticks, at)) => give(PrivateUnit { stream, ticks, bytes: packet }, at, out),
        None => out.damaged(),
    }
}

fn give_section(stream: u8, section: &Section, clock: &Clock, out: &mut Out<'_>) {
    match section {
        Section::Whole(bytes)
            if bytes.first() == Some(&CUES_TABLE) && bytes.len() >= CUES_BYTES_MIN =>
        {
            if let Some((ticks, at)) = clock.now() {
                give(PrivateUnit { stream, ticks, bytes }, at, out);
            }
        }
        // Another table has no place in it.
        Section::Whole(_) => {}
        Section::Damaged => {
            out.report.counts.damaged_sections += 1;
            out.note(Notice::Damaged { pid: out.pid });
        }
    }
}

fn give(unit: PrivateUnit<'_>, at: Timestamp, out: &mut Out<'_>) {
    let (kind, data) = (TrackKind::Private, unit.to_data());
    out.items.push(Item::Frame(Frame { kind, dts: at, pts: at, key: false, data }));
}
