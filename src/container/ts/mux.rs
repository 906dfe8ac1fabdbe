//! Frames to transport packets.

use bytes::{Bytes, BytesMut};

use super::access_unit::AccessUnits;
use super::packets::{Adaptation, Channel};
use super::pes;
use super::psi::{self, Descriptors, Listed, Section};
use super::sound::Sound;
use super::{private, wire_time};
use crate::media::{Frame, PrivateStream, PrivateStreams, PrivateUnit, Track, TrackKind};
use crate::time::Timestamp;

/// Writes one program. Frames come in the order of their dts.
///
/// Sound is gathered: some frames share a PES packet. [`Self::flush`] writes what is left of it.
#[derive(Debug)]
pub struct Mux {
    pat: Channel,
    pmt: Channel,
    video: Channel,
    audio: Channel,
    /// By place in `private`.
    beside: [Channel; PrivateStreams::MAX],
    tracks: [Option<Track>; 2],
    pictures: Option<AccessUnits>,
    sound: Option<Sound>,
    private: PrivateStreams,
    /// Of the program's table.
    version: u8,
    /// The clock when the tables were written last.
    tables_at: Option<Timestamp>,
    /// The last clock that was written.
    clock: Option<Timestamp>,
    /// How far it is behind the newest frame.
    clock_behind_ns: i64,
    newest: Option<Timestamp>,
    /// Somebody may begin at the next picture.
    begins: bool,
    gathered: BytesMut,
    /// Times of the first frame in it and of the last.
    gathered_from: Timestamp,
    gathered_until: Timestamp,
}

/// Tables are repeated after this, however far apart key frames are.
const TABLES_NS: i64 = 400_000_000;
/// Sound is gathered for this long at most.
const GATHERED_NS: i64 = 60_000_000;
const GATHERED_BYTES: usize = 4 << 10;
/// A longer frame is no sound, and its PES packet could not tell its length.
const SOUND_BYTES_MAX: usize = 32 << 10;
/// The clock is this far behind the frame it comes with: what was gathered is not late then.
const CLOCK_BEHIND_NS: i64 = 150_000_000;
/// Where one kind of frame comes later than the other, it is as much further behind, at most so far.
const CLOCK_BEHIND_MAX_NS: i64 = 900_000_000;
/// Two clocks are at least so far apart: a tick of 90 kHz, rounded up.
const CLOCK_STEP_MIN_NS: i64 = 11_112;
/// Two clocks are no further apart. The standard allows 100 ms (2.7.2); many receivers expect 40.
const CLOCK_STEP_NS: i64 = 40_000_000;
/// A longer time in which nothing came is not filled with clocks.
const CLOCK_GAP_NS: i64 = 1_000_000_000;

impl Default for Mux {
    fn default() -> Self {
        Self::new()
    }
}

impl Mux {
    /// A program without streams.
    pub fn new() -> Self {
        Self {
            pat: Channel::new(psi::PAT_PID),
            pmt: Channel::new(psi::PMT_PID),
            video: Channel::new(psi::VIDEO_PID),
            audio: Channel::new(psi::AUDIO_PID),
            beside: std::array::from_fn(|at| Channel::new(psi::PRIVATE_PID + at as u16)),
            tracks: [None, None],
            pictures: None,
            sound: None,
            private: PrivateStreams::default(),
            version: 0,
            tables_at: None,
            clock: None,
            clock_behind_ns: CLOCK_BEHIND_NS,
            newest: None,
            begins: false,
            gathered: BytesMut::new(),
            gathered_from: Timestamp::ZERO,
            gathered_until: Timestamp::ZERO,
        }
    }

    /// What is in the program from now on, if it is something else. Nothing may be gathered.
    pub fn set_tracks(&mut self, video: Option<&Track>, audio: Option<&Track>) {
        let tracks = [video.cloned(), audio.cloned()];
        if tracks == self.tracks {
            return;
        }
        self.tracks = tracks;
        let written = (video.and_then(AccessUnits::of), audio.and_then(Sound::of));
        if written == (self.pictures.take(), self.sound) {
            // What was found out about them since changes nothing here.
            self.pictures = written.0;
            return;
        }
        debug_assert!(self.gathered.is_empty(), "what is gathered is of the tracks before");
        (self.pictures, self.sound) = written;
        self.version = (self.version + 1) & 31;
        // Time goes on: the clock is that of before, whichever stream it is in.
        self.tables_at = None;
    }

    /// What is in the program beside its tracks from now on, if it is something else.
    pub fn set_private_streams(&mut self, streams: &PrivateStreams) {
        if self.private != *streams {
            self.private = streams.clone();
            self.version = (self.version + 1) & 31;
            self.tables_at = None;
        }
    }

    /// True if there is nothing that can be written.
    pub fn is_empty(&self) -> bool {
        self.pictures.is_none() && self.sound.is_none()
    }

    /// True if frames of that kind are written.
    pub fn carries(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.pictures.is_some(),
            TrackKind::Audio => self.sound.is_some(),
            TrackKind::Data => false,
            TrackKind::Private => !self.is_empty() && !self.private.is_empty(),
        }
    }

    /// Writes what whoever begins at the next frame, of `at`, needs before it: the tables. With that
    /// frame, if it is a picture, come parameter sets.
    pub fn tables(&mut self, out: &mut BytesMut, at: Timestamp) {
        self.begins = true;
        self.write_tables(out, self.clock_at(at));
    }

    /// For a receiver that has missed what was written before: the same tables once more, and of each
    /// stream that its counter jumps. What is written from now on follows right behind it.
    pub fn rejoin(&self) -> Bytes {
        let mut out = BytesMut::new();
        let jumps = Adaptation { discontinuity: true, ..Adaptation::default() };
        for (channel, section) in [(self.pat, psi::pat()), (self.pmt, self.table())] {
            channel.before_section(jumps, &section).write_section(&mut out, jumps, &section);
        }
        if self.pictures.is_some() {
            self.video.clone().write_adaptation(&mut out, jumps);
        }
        if self.sound.is_some() {
            self.audio.clone().write_adaptation(&mut out, jumps);
        }
        for (_, channel) in self.listed() {
            channel.clone().write_adaptation(&mut out, jumps);
        }
        out.freeze()
    }

    /// Writes a frame, or gathers it. One whose track is not in the program adds nothing.
    pub fn push(&mut self, out: &mut BytesMut, frame: &Frame) {
        match frame.kind {
            TrackKind::Video => self.push_video(out, frame),
            TrackKind::Audio => self.push_audio(out, frame),
            TrackKind::Private => self.push_private(out, frame),
            TrackKind::Data => {}
        }
    }

    /// Bytes of sound that were gathered.
    pub fn gathered(&self) -> usize {
        self.gathered.len()
    }

    /// Writes the sound that was gathered.
    pub fn flush(&mut self, out: &mut BytesMut) {
        let Some(sound) = self.sound.filter(|_| !self.gathered.is_empty()) else { return };
        let clock = self.clock_at(self.gathered_from);
        self.keep_tables(out, clock);
        // Where there are pictures, the clock goes with them, as long as they come.
        let has_stopped = self.clock.is_none_or(|last| clock.since(last) > CLOCK_GAP_NS);
        let pcr = match self.pictures {
            Some(_) if has_stopped => {
                self.write_clock(out, clock);
                None
            }
            Some(_) => None,
            None => {
                self.keep_clock(out, clock);
                Some(self.set_clock(clock))
            }
        };
        let pts = wire_time(self.gathered_from);
        let header = pes::header(sound.stream_id(), Some(self.gathered.len()), pts, pts);
        let first =
            Adaptation { random_access: self.pictures.is_none(), pcr, discontinuity: false };
        let bytes = header.len() + self.gathered.len();
        self.audio.write(out, first, [&header[..], &self.gathered], bytes);
        self.gathered.clear();
    }

    fn push_video(&mut self, out: &mut BytesMut, frame: &Frame) {
        if self.pictures.is_none() {
            return;
        }
        self.keep_time(out, frame.dts);
        // Not each picture that one can begin at is a key frame: see recovery points.
        let begins = std::mem::take(&mut self.begins) || frame.key;
        // Sound that came first may have brought the clock so far already. Where one can begin there
        // is one all the same (2.4.3.5).
        let clock = self.clock_at(frame.dts);
        let is_due = begins || self.clock.is_none_or(|last| last < clock);
        let pcr = is_due.then(|| self.set_clock(clock));
        let Some(pictures) = &self.pictures else { return };
        // No picture is shown before it is decoded (2.4.3.7), whatever a publisher says.
        let (pts, dts) = (wire_time(frame.pts.max(frame.dts)), wire_time(frame.dts));
        let header = pes::header(VIDEO_STREAM_ID, None, pts, dts);
        let first = Adaptation { random_access: frame.key, pcr, discontinuity: false };
        let parts = || {
            let unit = pictures.parts(&frame.data, begins);
            std::iter::once(&header[..]).chain(unit)
        };
        self.video.write(out, first, parts(), parts().map(<[u8]>::len).sum());
    }

    fn push_audio(&mut self, out: &mut BytesMut, frame: &Frame) {
        let Some(sound) = self.sound else { return };
        if frame.data.is_empty() || frame.data.len() > SOUND_BYTES_MAX {
            return;
        }
        // What shares a packet has one time: behind a gap begins another.
        if frame.dts.since(self.gathered_until) > GATHERED_NS {
            self.flush(out);
        }
        self.see(frame.dts);
        if self.gathered.is_empty() {
            self.gathered_from = frame.dts;
        }
        self.gathered_until = frame.dts;
        sound.write(&mut self.gathered, &frame.data);
        let span = frame.dts.since(self.gathered_from);
        if span >= GATHERED_NS || self.gathered.len() >= GATHERED_BYTES {
            // Where there are no pictures, the clock is that of what is gathered.
            if self.pictures.is_some() {
                self.keep_time(out, frame.dts);
            }
            self.flush(out);
        }
    }

    fn push_private(&mut self, out: &mut BytesMut, frame: &Frame) {
        let Some(unit) = PrivateUnit::of(&frame.data).filter(|_| !self.is_empty()) else { return };
        let place = usize::from(unit.stream);
        let Some(stream) = self.private.iter().nth(place) else { return };
        let is_of_sections = stream.is_of_sections();
        if self.clock.is_none() {
            self.write_clock(out, self.clock_at(frame.dts));
        } else if self.tables_at.is_none() {
            self.write_tables(out, self.clock_at(frame.dts));
        }
        let Some(channel) = self.beside.get_mut(place) else { return };
        let shift = wire_time(frame.pts).wrapping_sub(unit.ticks);
        let first = Adaptation::default();
        if is_of_sections {
            channel.write_section(out, first, &private::cues(unit.bytes, shift));
        } else {
            let (head, rest) = private::pes_packet(unit.bytes, shift);
            channel.write(out, first, [&head[..], rest], unit.bytes.len());
        }
    }

    /// A frame of `at` has come.
    fn see(&mut self, at: Timestamp) {
        let newest = self.newest.map_or(at, |newest| newest.max(at));
        self.newest = Some(newest);
        let behind = CLOCK_BEHIND_NS.saturating_add(newest.since(at)).min(CLOCK_BEHIND_MAX_NS);
        self.clock_behind_ns = self.clock_behind_ns.max(behind);
    }

    /// Writes what is due before a frame of `now`, whatever it is: sound that would be late,
    /// tables, and clocks.
    fn keep_time(&mut self, out: &mut BytesMut, now: Timestamp) {
        self.see(now);
        let until = self.clock_at(now);
        if self.gathered_from.since(until) < CLOCK_STEP_NS {
            self.flush(out);
        }
        self.keep_clock(out, until);
        self.keep_tables(out, until);
    }

    /// Writes clocks so that one of `until` may follow.
    fn keep_clock(&mut self, out: &mut BytesMut, until: Timestamp) {
        let Some(last) = self.clock else { return };
        let gap = until.since(last);
        if gap > CLOCK_GAP_NS {
            return;
        }
        for step in 1..=(gap - 1).max(0) / CLOCK_STEP_NS {
            self.write_clock(out, last + step * CLOCK_STEP_NS);
        }
    }

    fn keep_tables(&mut self, out: &mut BytesMut, clock: Timestamp) {
        if self.tables_at.is_none_or(|at| clock.since(at) >= TABLES_NS) {
            self.write_tables(out, clock);
        }
    }

    fn write_tables(&mut self, out: &mut BytesMut, clock: Timestamp) {
        // They stand behind the last clock, however long ago that was.
        self.tables_at = Some(self.clock.map_or(clock, |last| last.min(clock)));
        let table = self.table();
        self.pat.write_section(out, Adaptation::default(), &psi::pat());
        self.pmt.write_section(out, Adaptation::default(), &table);
    }

    /// A clock in a packet of its own.
    fn write_clock(&mut self, out: &mut BytesMut, clock: Timestamp) {
        self.keep_tables(out, clock);
        let pcr = Some(self.set_clock(clock));
        let channel = if self.pictures.is_some() { &mut self.video } else { &mut self.audio };
        channel.write_adaptation(out, Adaptation { pcr, ..Adaptation::default() });
    }

    /// The clock that is written now: it always goes on. Receivers divide by its steps.
    fn set_clock(&mut self, clock: Timestamp) -> u64 {
        let clock = self.clock.map_or(clock, |last| clock.max(last + CLOCK_STEP_MIN_NS));
        self.clock = Some(clock);
        wire_time(clock)
    }

    /// The clock that goes with a frame of `now`.
    fn clock_at(&self, now: Timestamp) -> Timestamp {
        now - self.clock_behind_ns
    }

    /// The private streams that are in the program: there is none without media.
    fn listed(&self) -> impl Iterator<Item = (&PrivateStream, &Channel)> {
        self.private.iter().zip(&self.beside).filter(|_| !self.is_empty())
    }

    fn table(&self) -> Section {
        let video = self.pictures.as_ref().map(|pictures| Listed {
            stream_type: pictures.stream_type(),
            pid: psi::VIDEO_PID,
            descriptors: pictures.descriptors(),
        });
        let audio = self.sound.map(|sound| Listed {
            stream_type: sound.stream_type(),
            pid: psi::AUDIO_PID,
            descriptors: sound.descriptors(),
        });
        let clock = if video.is_some() { psi::VIDEO_PID } else { psi::AUDIO_PID };
        // SCTE 35 8.1.
        let of_program = match self.listed().any(|(stream, _)| stream.is_of_sections()) {
            true => Descriptors::Registered(*b"CUEI"),
            false => Descriptors::None,
        };
        let private = self.listed().map(|(stream, channel)| Listed {
            stream_type: stream.stream_type,
            pid: channel.pid,
            descriptors: Descriptors::Given(&stream.descriptors),
        });
        let streams = [video, audio].into_iter().flatten().chain(private);
        psi::pmt(self.version, clock, of_program, streams)
    }
}

const VIDEO_STREAM_ID: u8 = 0xe0;
