//! One elementary stream: its packets, what they carry, and its times.

use super::clock::{Clock, FrameTimes};
use super::packet::{Arrival, Continuity, Packet};
use super::pes::{Part, PesReader};
use super::pictures::Pictures;
use super::report::Out;
use super::sound::Sound;
use super::tables::Form;
use super::{Error, Notice};

/// A stream that is routed.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) pid: u16,
    form: Form,
    continuity: Continuity,
    pes: PesReader,
    content: Content,
    /// Scrambled packets in a row.
    scrambled: usize,
}

#[derive(Debug)]
enum Content {
    Pictures(Pictures),
    Sound(Sound),
}

impl Stream {
    pub(super) fn new(pid: u16, form: Form) -> Self {
        let content = match form {
            Form::Video(codec) => Content::Pictures(Pictures::new(codec)),
            _ => Content::Sound(Sound::new(form)),
        };
        let (continuity, pes) = (Continuity::default(), PesReader::new());
        Self { pid, form, continuity, pes, content, scrambled: 0 }
    }

    /// What makes it another stream.
    pub(super) fn source(&self) -> (u16, Form) {
        (self.pid, self.form)
    }

    pub(super) fn on_packet(
        &mut self,
        packet: &Packet<'_>,
        clock: &mut Clock,
        out: &mut Out<'_>,
    ) -> Result<(), Error> {
        let payload = match self.continuity.arrive(packet) {
            Arrival::Duplicate => {
                out.report.counts.duplicates += 1;
                return Ok(());
            }
            Arrival::Next(payload) => payload,
            Arrival::Lost(payload) => {
                out.report.counts.losses += 1;
                out.note(Notice::LostPackets { pid: self.pid });
                self.lose(out);
                payload
            }
            Arrival::Restart(payload) => {
                if self.pes.end() == Some(Part::Broken) {
                    self.content.lose(out);
                }
                self.content.pause(out);
                payload
            }
        };
        if payload.is_empty() {
            return Ok(());
        }
        if packet.scrambled {
            self.lose(out);
            return self.on_scrambled(out);
        }
        for part in self.pes.push(packet.starts, payload) {
            if part == Part::Scrambled {
                self.on_scrambled(out)?;
            } else {
                self.scrambled = 0;
                self.on_part(part, clock, out);
            }
        }
        Ok(())
    }

    /// Packets are missing, or are not what they should be.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        match self.pes.lose() {
            Some(Part::Broken) => self.content.lose(out),
            Some(_) => {
                out.incomplete();
                self.content.pause(out);
            }
            // Maybe something without a time of its own.
            None => self.content.pause(out),
        }
    }

    /// Nothing follows.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        if self.pes.end() == Some(Part::Broken) {
            self.content.lose(out);
        }
        self.content.finish(out);
    }

    fn on_scrambled(&mut self, out: &mut Out<'_>) -> Result<(), Error> {
        self.content.pause(out);
        out.report.counts.scrambled_packets += 1;
        out.note(Notice::Scrambled { pid: self.pid });
        self.scrambled += 1;
        if self.scrambled > out.limits.scrambled_packets {
            return Err(Error::Scrambled { pid: self.pid, packets: self.scrambled });
        }
        Ok(())
    }

    fn on_part(&mut self, part: Part<'_>, clock: &mut Clock, out: &mut Out<'_>) {
        match part {
            Part::Broken => self.content.lose(out),
            Part::Begin(None) => self.content.begin(None, out),
            Part::Begin(Some(times)) => match clock.times(times) {
                Some(times) => self.content.begin(Some(times), out),
                None => self.content.refuse(out),
            },
            Part::Unreadable | Part::Scrambled => self.content.refuse(out),
            Part::Bytes(bytes) => self.content.bytes(bytes, out),
        }
    }
}

impl Content {
    fn begin(&mut self, times: Option<FrameTimes>, out: &mut Out<'_>) {
        match self {
            Self::Pictures(pictures) => pictures.begin(times, out),
            Self::Sound(sound) => sound.begin(times.map(|times| times.pts), out),
        }
    }

    fn bytes(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        match self {
            Self::Pictures(pictures) => pictures.bytes(bytes, out),
            Self::Sound(sound) => sound.bytes(bytes, out),
        }
    }

    /// A part of what is open is missing.
    fn lose(&mut self, out: &mut Out<'_>) {
        match self {
            Self::Pictures(pictures) => pictures.lose(out),
            Self::Sound(sound) => sound.lose(out),
        }
    }

    /// What is open is whole, but what follows does not belong to it.
    fn pause(&mut self, out: &mut Out<'_>) {
        match self {
            Self::Pictures(pictures) => pictures.finish(out),
            // A frame may reach over the end of its PES packet.
            Self::Sound(sound) => sound.lose(out),
        }
    }

    /// A PES packet that cannot be read takes the place of the next one.
    fn refuse(&mut self, out: &mut Out<'_>) {
        self.pause(out);
        out.damaged();
    }

    fn finish(&mut self, out: &mut Out<'_>) {
        match self {
            Self::Pictures(pictures) => pictures.finish(out),
            Self::Sound(sound) => sound.finish(out),
        }
    }
}
