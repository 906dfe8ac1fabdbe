//! Transport packets to frames.
//!
//! What is damaged or missing costs the units it is a part of and nothing else. Memory is bounded by
//! [`Limits`], whatever comes.

mod clock;
mod nal_unit;
mod notice;
mod packet;
mod pes;
mod pictures;
mod private;
mod report;
mod section;
mod sets;
mod sound;
mod sound_frame;
mod stream;
mod sync;
mod tables;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use notice::Notice;

use clock::Clock;
use packet::{Arrival, Continuity, PID_MAX, Packet};
use private::Private;
use report::{Out, Report};
use section::{Section, Sections};
use stream::Stream;
use sync::{Piece, Sync};
use tables::{Program, ProgramTable, StreamTable};

use super::psi::PAT_PID;
use crate::container::Item;
use crate::media::{PrivateStream, PrivateStreams, TrackKind};

/// What a demultiplexer accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest picture, or as many as come between two with a time. Longer ones are dropped.
    /// 8 MiB by default.
    pub unit_bytes: usize,
    /// The longest frame of sound. Longer ones are dropped. 64 KiB by default.
    pub sound_bytes: usize,
    /// The longest section of a table. Longer ones are dropped. 1024 bytes by default, more than
    /// which the standard allows none.
    pub section_bytes: usize,
    /// Streams of a program that are looked at. Further ones are left out. 64 by default.
    pub streams: usize,
    /// Parameter sets in force at a time. Pictures go on with those before. 64 by default.
    pub parameter_sets: usize,
    /// Bytes of them. 16 KiB by default.
    pub config_bytes: usize,
    /// Bytes in a row in which no packets are found. More are an error. 64 KiB by default.
    pub unsynced_bytes: usize,
    /// Scrambled packets of a stream in a row. More are an error. 64 by default.
    pub scrambled_packets: usize,
    /// Notices kept, so that each is told once. Further ones are not told. 32 by default.
    pub notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            unit_bytes: 8 << 20,
            sound_bytes: 64 << 10,
            section_bytes: 1024,
            streams: 64,
            parameter_sets: 64,
            config_bytes: 16 << 10,
            unsynced_bytes: 64 << 10,
            scrambled_packets: 64,
            notices: 32,
        }
    }
}

/// Why bytes cannot be a transport stream that is routed. The demultiplexer is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are no packets in it.
    #[error("ts: expected packets of 188 bytes, found none in {searched} bytes")]
    NotTs {
        /// Bytes in which they were looked for.
        searched: usize,
    },
    /// It is encrypted.
    #[error("ts/PID {pid:#x}: expected plain packets, found {packets} scrambled ones in a row")]
    Scrambled {
        /// Of the stream.
        pid: u16,
        /// How many came.
        packets: usize,
    },
}

/// How often something was not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Packets did not follow each other.
    pub lost_sync: u64,
    /// Bytes that were left out to find them again.
    pub skipped_bytes: u64,
    /// Counters that jumped: each stands for one or more missing packets.
    pub losses: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that contradict themselves or were marked as damaged on the way.
    pub damaged_packets: u64,
    /// Sections with a wrong checksum or length.
    pub damaged_sections: u64,
    /// Pictures, frames of sound and PES packets that were dropped.
    pub damaged_units: u64,
    /// Encrypted packets that were dropped.
    pub scrambled_packets: u64,
    /// Jumps of the program's clock.
    pub clock_jumps: u64,
}

/// Turns the bytes of a transport stream into tracks and frames: the first video and the first audio
/// stream of the first program, or of the one that is wanted, and its private data.
///
/// Pictures come out one late, when the next begins.
#[derive(Debug)]
pub struct Demux {
    limits: Limits,
    /// The number of the program that is to be routed; `None` for the first.
    wanted: Option<u16>,
    report: Report,
    sync: Sync,
    /// The PID of the last packet.
    last_pid: u16,
    programs: Table,
    /// The program that is routed, and in which section it was listed.
    program: Option<(Program, u8)>,
    streams: Table,
    clock_pid: u16,
    clock: Clock,
    video: Option<Stream>,
    audio: Option<Stream>,
    private: Vec<Private>,
    /// As they were told last.
    listed: PrivateStreams,
    /// What is beside a first picture (or sound, if there is none) that has not come yet: it is given
    /// out behind that. None since.
    early: Option<Vec<Item>>,
}

/// So many units of private data that came before any media are kept.
const EARLY_MAX: usize = 32;

/// The packets of a table.
#[derive(Debug, Default)]
struct Table {
    continuity: Continuity,
    sections: Sections,
    /// The section that was read last.
    last: Vec<u8>,
}

impl Demux {
    /// A demultiplexer that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            wanted: None,
            report: Report::default(),
            sync: Sync::new(),
            last_pid: PID_MAX,
            programs: Table::default(),
            program: None,
            streams: Table::default(),
            clock_pid: PID_MAX,
            clock: Clock::default(),
            video: None,
            audio: None,
            private: Vec::new(),
            listed: PrivateStreams::default(),
            early: Some(Vec::new()),
        }
    }

    /// It routes the program of this number, and nothing while there is none.
    #[must_use]
    pub fn of_program(self, number: u16) -> Self {
        Self { wanted: Some(number), ..self }
    }

    /// Takes bytes, cut anywhere, and appends what they hold to `items`.
    ///
    /// # Errors
    /// It is no transport stream, or an encrypted one. What came before is in `items`.
    pub fn push(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) -> Result<(), Error> {
        while let Some(piece) = self.sync.next(&mut bytes, &self.limits)? {
            self.on_piece(&piece, items)?;
        }
        Ok(())
    }

    /// Nothing follows: gives out what was open.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self, items: &mut Vec<Item>) -> Result<(), Error> {
        while let Some(piece) = self.sync.next_of_rest() {
            self.on_piece(&piece, items)?;
        }
        for stream in [self.video.take(), self.audio.take()].into_iter().flatten() {
            self.close(stream, items);
        }
        self.set_private(Vec::new(), PrivateStreams::default(), items);
        Ok(())
    }

    /// The next notice. Each is told once, however often its cause comes.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.report.poll()
    }

    /// What was not as it should be so far.
    pub fn counts(&self) -> Counts {
        self.report.counts
    }

    fn on_piece(&mut self, piece: &Piece, items: &mut Vec<Item>) -> Result<(), Error> {
        match piece {
            Piece::Packet(bytes) => match Packet::parse(bytes) {
                Some(packet) => return self.on_packet(&packet, items),
                None => self.report.counts.damaged_packets += 1,
            },
            Piece::Skipped(bytes) => self.report.counts.skipped_bytes += *bytes as u64,
            Piece::Lost => {
                self.report.counts.lost_sync += 1;
                self.report.note(Notice::LostSync, &self.limits);
                // Bytes may be missing in the last packet, or too many.
                self.lose(self.last_pid, items);
            }
        }
        Ok(())
    }

    fn on_packet(&mut self, packet: &Packet<'_>, items: &mut Vec<Item>) -> Result<(), Error> {
        self.last_pid = packet.pid;
        if packet.pid == self.clock_pid
            && let Some(clock) = packet.clock
            && self.clock.tick(clock)
        {
            self.report.counts.clock_jumps += 1;
            self.report.note(Notice::ClockJump, &self.limits);
        }
        let table_pid = self.program.map(|(program, _)| program.table_pid);
        if packet.pid == PAT_PID {
            for section in self.programs.gather(packet, &self.limits, &mut self.report) {
                self.on_programs(&section, items);
            }
        } else if Some(packet.pid) == table_pid {
            for section in self.streams.gather(packet, &self.limits, &mut self.report) {
                self.on_streams(&section, items);
            }
        } else {
            let media = [&mut self.video, &mut self.audio];
            let stream = media.into_iter().flatten().find(|stream| stream.pid == packet.pid);
            if let Some(stream) = stream {
                let (limits, report) = (&self.limits, &mut self.report);
                let mut out = Out { pid: packet.pid, limits, items, report };
                let result = stream.on_packet(packet, &mut self.clock, &mut out);
                self.give_early(items);
                return result;
            }
            if let Some(private) = self.private.iter_mut().find(|it| it.pid == packet.pid) {
                let items = self.early.as_mut().unwrap_or(items);
                let (limits, report) = (&self.limits, &mut self.report);
                let mut out = Out { pid: packet.pid, limits, items, report };
                private.on_packet(packet, &self.clock, &mut out);
                if let Some(early) = &mut self.early {
                    early.truncate(EARLY_MAX);
                }
            }
        }
        Ok(())
    }

    /// Gives out private data that came before the first frame it can be beside, if that has come.
    fn give_early(&mut self, items: &mut Vec<Item>) {
        let first = if self.video.is_some() { TrackKind::Video } else { TrackKind::Audio };
        if matches!(items.last(), Some(Item::Frame(frame)) if frame.kind == first)
            && let Some(mut early) = self.early.take()
        {
            items.append(&mut early);
        }
    }

    /// Packets of `pid` may be damaged although they follow each other.
    fn lose(&mut self, pid: u16, items: &mut Vec<Item>) {
        for stream in [&mut self.video, &mut self.audio].into_iter().flatten() {
            if stream.pid == pid {
                let (limits, report) = (&self.limits, &mut self.report);
                stream.lose(&mut Out { pid, limits, items, report });
            }
        }
        if let Some(private) = self.private.iter_mut().find(|it| it.pid == pid) {
            let (limits, report) = (&self.limits, &mut self.report);
            private.lose(&mut Out { pid, limits, items, report });
        }
    }

    fn on_programs(&mut self, section: &[u8], items: &mut Vec<Item>) {
        let Some(table) = ProgramTable::parse(section) else { return };
        if let Some((program, listed)) = self.program {
            // What the other sections of the table list does not matter.
            if table.programs.contains(&program) || table.section != listed {
                return;
            }
        }
        let is_wanted = |program: &&Program| self.wanted.is_none_or(|it| it == program.number);
        let taken = table.programs.iter().find(is_wanted).copied();
        self.streams = Table::default();
        self.program = taken.map(|program| (program, table.section));
        if let Some(other) = table.programs.iter().find(|program| Some(**program) != taken) {
            let notice = Notice::OtherProgram { number: other.number };
            self.report.note(notice, &self.limits);
        }
        if taken.is_none() {
            self.set_stream(TrackKind::Video, None, items);
            self.set_stream(TrackKind::Audio, None, items);
            self.set_private(Vec::new(), PrivateStreams::default(), items);
        }
    }

    fn on_streams(&mut self, section: &[u8], items: &mut Vec<Item>) {
        let Some(table) = StreamTable::parse(section, self.limits.streams) else { return };
        if self.program.is_none_or(|(program, _)| program.number != table.program) {
            return;
        }
        if table.is_cut {
            self.report.note(Notice::TooManyStreams, &self.limits);
        }
        self.clock_pid = table.clock_pid;
        let [mut video, mut audio] = [None; 2];
        let (mut private, mut list) = (Vec::new(), PrivateStreams::default());
        for listed in &table.streams {
            let pid = listed.pid;
            if listed.is_private() {
                let (stream_type, descriptors) = (listed.stream_type, listed.descriptors.clone());
                let stream = PrivateStream { stream_type, descriptors };
                let next = Private::new(pid, private.len() as u8, &stream);
                match list.push(stream) {
                    true => private.push(next),
                    false => self.report.note(Notice::TooManyStreams, &self.limits),
                }
                continue;
            }
            let Some(form) = listed.form() else {
                let (stream_type, registered) = (listed.stream_type, listed.registered);
                let notice = Notice::UnsupportedStream { pid, stream_type, registered };
                self.report.note(notice, &self.limits);
                continue;
            };
            let kind = form.codec().kind();
            let taken = if kind == TrackKind::Video { &mut video } else { &mut audio };
            match taken {
                None => *taken = Some((pid, form)),
                Some(_) => self.report.note(Notice::OtherStream { kind, pid }, &self.limits),
            }
        }
        self.set_private(private, list, items);
        self.set_stream(TrackKind::Video, video.map(|(pid, form)| Stream::new(pid, form)), items);
        self.set_stream(TrackKind::Audio, audio.map(|(pid, form)| Stream::new(pid, form)), items);
    }

    /// What is handed on from now on, if it is something else.
    fn set_private(&mut self, next: Vec<Private>, list: PrivateStreams, items: &mut Vec<Item>) {
        if !next.iter().map(Private::source).eq(self.private.iter().map(Private::source)) {
            for mut private in std::mem::replace(&mut self.private, next) {
                let (limits, report) = (&self.limits, &mut self.report);
                let mut out = Out { pid: private.pid, limits, items, report };
                private.finish(&self.clock, &mut out);
            }
            // The places of what waits are those of the list before.
            if let Some(early) = &mut self.early {
                early.clear();
            }
        }
        if list != self.listed {
            self.listed = list.clone();
            items.push(Item::PrivateStreams(list));
        }
    }

    /// What is routed from now on as the stream of its kind, if it is another one.
    fn set_stream(&mut self, kind: TrackKind, next: Option<Stream>, items: &mut Vec<Item>) {
        let stream = if kind == TrackKind::Video { &mut self.video } else { &mut self.audio };
        if stream.as_ref().map(Stream::source) == next.as_ref().map(Stream::source) {
            return;
        }
        let is_over = next.is_none();
        if let Some(last) = std::mem::replace(stream, next) {
            self.close(last, items);
            if is_over {
                items.push(Item::EndOfSequence(kind));
            }
        }
    }

    fn close(&mut self, mut stream: Stream, items: &mut Vec<Item>) {
        let (limits, report) = (&self.limits, &mut self.report);
        stream.finish(&mut Out { pid: stream.pid, limits, items, report });
    }
}

impl Table {
    /// The sections that end in this packet and are not the same as the one before.
    fn gather(
        &mut self,
        packet: &Packet<'_>,
        limits: &Limits,
        report: &mut Report,
    ) -> Vec<Vec<u8>> {
        let pid = packet.pid;
        let payload = match self.continuity.arrive(packet) {
            Arrival::Duplicate => {
                report.counts.duplicates += 1;
                return Vec::new();
            }
            Arrival::Next(payload) => payload,
            Arrival::Lost(payload) => {
                report.counts.losses += 1;
                report.note(Notice::LostPackets { pid }, limits);
                self.sections.lose();
                payload
            }
            Arrival::Restart(payload) => {
                self.sections.lose();
                payload
            }
        };
        let mut news = Vec::new();
        for section in self.sections.push(packet.starts, payload, limits.section_bytes) {
            match section {
                Section::Whole(section) if section != self.last => {
                    self.last.clone_from(&section);
                    news.push(section);
                }
                Section::Whole(_) => {}
                Section::Damaged => {
                    report.counts.damaged_sections += 1;
                    report.note(Notice::Damaged { pid }, limits);
                }
            }
        }
        news
    }
}
