//! An MPEG-2 transport stream without end (ISO/IEC 13818-1), as HTTP and WebSocket carry it, to
//! frames.
//!
//! TCP loses nothing, so a counter that does not go on is the server's fault: it has left packets
//! out or sent some twice. Where it says itself that they jump, the pictures' marks tell what is
//! missing.

use std::collections::VecDeque;
use std::io;

use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};
use corecast::media::{Frame, TrackKind};
use corecast::time::{Timestamp, Unwrap};

use super::ts_sound::Sound;

/// The reader of one viewer.
#[derive(Debug)]
pub(super) struct Ts {
    /// What has come of a packet.
    packet: ArrayVec<u8, PACKET_BYTES>,
    /// By PID: the counter of the last packet.
    counters: Vec<(u16, u8)>,
    pmt_pid: Option<u16>,
    /// What the program's table lists and is known here.
    streams: Vec<Stream>,
    /// The table itself.
    table: Vec<u8>,
    frames: VecDeque<Frame>,
}

/// One elementary stream.
#[derive(Debug)]
struct Stream {
    pid: u16,
    kind: Kind,
    clock: Unwrap,
    /// A PES packet, as far as it has come; empty between two.
    unit: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    H264,
    H265,
    Sound(Sound),
}

const PACKET_BYTES: usize = 188;
const PAT_PID: u16 = 0;
/// Stuffing, which is not counted.
const NULL_PID: u16 = 0x1fff;
/// No server here lists more.
const PIDS_MAX: usize = 64;
/// The largest PES packet that is taken for one.
const UNIT_BYTES_MAX: usize = 16 << 20;
/// Times have 33 bits and count 90 000 a second.
const TIME_BITS: u32 = 33;

impl Ts {
    /// Before the first packet.
    pub(super) fn new() -> Self {
        Self {
            packet: ArrayVec::new(),
            counters: Vec::new(),
            pmt_pid: None,
            streams: Vec::new(),
            table: Vec::new(),
            frames: VecDeque::new(),
        }
    }

    /// A frame that is whole already.
    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Takes bytes from the front of `input` up to the end of a frame, or the first `count` of them
    /// if none ends there. How many it took.
    ///
    /// # Errors
    /// It is no transport stream, or packets are missing or there twice.
    pub(super) fn read(&mut self, input: &mut &[u8], count: usize) -> io::Result<usize> {
        let mut part = &input[..count];
        while !part.is_empty() && self.frames.is_empty() {
            let (taken, rest) = part.split_at(self.packet.remaining_capacity().min(part.len()));
            self.packet.extend(taken.iter().copied());
            part = rest;
            if self.packet.is_full() {
                let packet = std::mem::take(&mut self.packet);
                self.packet(&packet).map_err(io::Error::other)?;
            }
        }
        let taken = count - part.len();
        *input = &input[taken..];
        Ok(taken)
    }

    /// 2.4.3.2 to 2.4.3.5.
    fn packet(&mut self, packet: &[u8]) -> Result<(), String> {
        let [sync, a, b, flags, ..] = *packet else { return Ok(()) };
        if sync != 0x47 {
            return Err(format!("expected a transport packet (0x47), found {sync:#x}"));
        }
        let pid = u16::from_be_bytes([a & 0x1f, b]);
        if pid == NULL_PID {
            return Ok(());
        }
        let (has_field, has_payload) = (flags & 0x20 != 0, flags & 0x10 != 0);
        let field = if has_field { 1 + usize::from(packet[4]) } else { 0 };
        let (field, payload) = packet[4..].split_at_checked(field).ok_or_else(|| {
            format!("expected an adaptation field within its packet, found {field} bytes")
        })?;
        let says = field.get(1).copied().unwrap_or(0);
        self.count(pid, flags & 15, has_payload, says & 0x80 != 0)?;
        if !has_payload {
            return Ok(());
        }
        let starts = a & 0x40 != 0;
        match pid {
            PAT_PID => self.read_programs(payload),
            pid if Some(pid) == self.pmt_pid => self.read_streams(payload),
            pid => {
                // A unit without a length ends with the packet that has to be filled up.
                let needed = if says & 0x10 != 0 { 8 } else { 2 };
                self.read_unit(pid, starts, payload, !field.is_empty() && field.len() != needed)?;
            }
        }
        Ok(())
    }

    fn count(&mut self, pid: u16, found: u8, is_counted: bool, jumps: bool) -> Result<(), String> {
        let Some((_, last)) = self.counters.iter_mut().find(|(of, _)| *of == pid) else {
            if self.counters.len() == PIDS_MAX {
                return Err(format!("expected at most {PIDS_MAX} PIDs, found more"));
            }
            self.counters.push((pid, found));
            return Ok(());
        };
        let expected = if is_counted { (*last + 1) & 15 } else { *last };
        *last = found;
        match jumps || found == expected {
            true => Ok(()),
            false => Err(format!(
                "packets are missing or there twice: expected number {expected} of PID {pid:#x}, \
                 found {found}"
            )),
        }
    }

    /// The table of programs, of which the first is watched (2.4.4.3).
    fn read_programs(&mut self, payload: &[u8]) {
        let Some(section) = section(payload) else { return };
        let programs = section.get(8..).unwrap_or_default().chunks_exact(4);
        let mut pids = programs.filter(|program| program[..2] != [0, 0]);
        self.pmt_pid = pids.next().map(|it| u16::from_be_bytes([it[2] & 0x1f, it[3]]));
    }

    /// The table of the program (2.4.4.8).
    fn read_streams(&mut self, payload: &[u8]) {
        let Some(section) = section(payload).filter(|section| *section != self.table) else {
            return;
        };
        self.table = section.to_vec();
        let length = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0] & 0x0f, bytes[1]]));
        let mut rest = section.get(10..).unwrap_or_default();
        let mut streams = Vec::new();
        let mut skip = rest.get(..2).map_or(0, |info| 2 + length(info));
        while let Some(listed) = rest.get(skip..).filter(|listed| listed.len() >= 5) {
            let pid = u16::from_be_bytes([listed[1] & 0x1f, listed[2]]);
            skip = 5 + length(&listed[3..]);
            let descriptors = listed.get(5..skip).unwrap_or_default();
            if let Some(kind) = Kind::of(listed[0], descriptors) {
                let before = self.streams.iter().position(|it| it.pid == pid && it.kind == kind);
                streams.push(match before {
                    Some(at) => self.streams.swap_remove(at),
                    None => Stream { pid, kind, clock: Unwrap::new(TIME_BITS), unit: Vec::new() },
                });
            }
            rest = listed;
        }
        self.streams = streams;
    }

    fn read_unit(
        &mut self,
        pid: u16,
        starts: bool,
        payload: &[u8],
        is_filled: bool,
    ) -> Result<(), String> {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.pid == pid) else {
            return Ok(());
        };
        if starts {
            // One that ended exactly with its packet.
            stream.finish(&mut self.frames)?;
        } else if stream.unit.is_empty() {
            // Its begin was not for this viewer.
            return Ok(());
        }
        stream.unit.extend_from_slice(payload);
        if stream.unit.len() > UNIT_BYTES_MAX {
            return Err(format!("expected a PES packet of at most {UNIT_BYTES_MAX} bytes"));
        }
        let is_whole = match stream.unit.get(4..6) {
            None | Some([0, 0]) => is_filled,
            Some(length) => {
                stream.unit.len() >= 6 + usize::from(u16::from_be_bytes([length[0], length[1]]))
            }
        };
        if is_whole { stream.finish(&mut self.frames) } else { Ok(()) }
    }
}

impl Kind {
    fn of(stream_type: u8, descriptors: &[u8]) -> Option<Self> {
        match stream_type {
            0x1b => Some(Self::H264),
            0x24 => Some(Self::H265),
            other => Sound::of(other, descriptors).map(Self::Sound),
        }
    }
}

impl Stream {
    /// The unit is whole (2.4.3.6).
    fn finish(&mut self, frames: &mut VecDeque<Frame>) -> Result<(), String> {
        let unit = std::mem::take(&mut self.unit);
        if unit.is_empty() {
            return Ok(());
        }
        let wrong = || format!("expected a PES packet in PID {:#x}, found none", self.pid);
        let [0, 0, 1, _, _, _, _, flags, header, rest @ ..] = &unit[..] else {
            return Err(wrong());
        };
        let (times, payload) = rest.split_at_checked((*header).into()).ok_or_else(wrong)?;
        let pts = times.first_chunk().filter(|_| flags & 0x80 != 0).ok_or_else(wrong)?;
        let dts = times.get(5..).and_then(<[u8]>::first_chunk).filter(|_| flags & 0x40 != 0);
        // The time before which nothing comes leads.
        let dts = self.clock.unfold(wire_time(dts.unwrap_or(pts)));
        let pts = self.clock.clone().unfold(wire_time(pts));
        let [dts, pts] = [dts, pts].map(|ticks| Timestamp::from_nanos(ticks * 100_000 / 9));
        match self.kind {
            Kind::Sound(sound) => sound.split(payload, dts, frames),
            Kind::H264 | Kind::H265 => {
                let (data, key) = length_prefixed(payload, self.kind == Kind::H265);
                frames.push_back(Frame { kind: TrackKind::Video, dts, pts, key, data });
                Ok(())
            }
        }
    }
}

/// A section that is whole in its first packet, without its checksum.
fn section(payload: &[u8]) -> Option<&[u8]> {
    let section = payload.get(1 + usize::from(*payload.first()?)..)?;
    let length = u16::from_be_bytes([section.get(1)? & 0x0f, *section.get(2)?]);
    section.get(..(3 + usize::from(length)).checked_sub(4)?)
}

/// Three pieces, each with a mark behind it.
fn wire_time(bytes: &[u8; 5]) -> u64 {
    let [a, b, c, d, e] = bytes.map(u64::from);
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// The NAL units of `unit`, which have start codes there (H.264 annex B), with their lengths, and
/// whether it is a key frame.
fn length_prefixed(unit: &[u8], is_hevc: bool) -> (Bytes, bool) {
    let mut out = BytesMut::with_capacity(unit.len() + 64);
    let mut key = false;
    let mut rest = after_start_code(unit).unwrap_or_default();
    while let Some(first) = rest.first() {
        let next = after_start_code(rest);
        let end = rest.len() - next.map_or(0, |next| next.len() + START_CODE_BYTES);
        let mut nal = &rest[..end];
        // Zeros behind it are no part of it: its own last byte has a bit set.
        while let [before @ .., 0] = nal {
            nal = before;
        }
        key |= match is_hevc {
            true => (16..=21).contains(&(first >> 1 & 0x3f)),
            false => first & 0x1f == 5,
        };
        out.put_u32(nal.len() as u32);
        out.put_slice(nal);
        rest = next.unwrap_or_default();
    }
    (out.freeze(), key)
}

const START_CODE_BYTES: usize = 3;

/// What follows the next start code.
fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(START_CODE_BYTES).position(|bytes| bytes == [0, 0, 1])?;
    Some(&bytes[at + START_CODE_BYTES..])
}

#[cfg(test)]
mod tests {
    use corecast::container::ts::Mux;
    use corecast::media::{AudioCodec, Codec, Track, VideoCodec};

    use super::*;

    fn track(codec: Codec, config: &'static [u8]) -> Track {
        let config = Bytes::from_static(config);
        Track { codec, config, hdr: None, video: None, audio: None }
    }

    /// What a server sends, and the frames of it: two seconds with a key frame each.
    fn stream() -> (BytesMut, Vec<Frame>) {
        let avcc = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 1, 1, 0, 2, 0x68, 0xee];
        let (mut mux, mut out) = (Mux::new(), BytesMut::new());
        let video = track(Codec::Video(VideoCodec::H264), avcc);
        mux.set_tracks(Some(&video), Some(&track(Codec::Audio(AudioCodec::Aac), &[0x11, 0x90])));
        let mut sent = Vec::new();
        for at in 0..50 {
            let key = at % 25 == 0;
            if key {
                mux.tables(&mut out, Timestamp::from_millis(40 * at));
            }
            // All lengths, so that some end exactly with a packet.
            let slice = 1 + at as usize * 37;
            let mut data = BytesMut::new();
            data.put_u32(slice as u32 + 1);
            data.put_u8(if key { 0x65 } else { 0x41 });
            data.put_bytes(0x80 + at as u8, slice);
            let dts = Timestamp::from_millis(40 * at);
            let (pts, data) = (Timestamp::from_millis(40 * at + 80), data.freeze());
            sent.push(Frame { kind: TrackKind::Video, dts, pts, key, data });
            for half in 0..2 {
                let at = Timestamp::from_millis(40 * at + 20 * half);
                let data = Bytes::from(vec![at.as_millis() as u8; 30]);
                sent.push(Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data });
            }
        }
        sent.iter().for_each(|frame| mux.push(&mut out, frame));
        mux.flush(&mut out);
        (out, sent)
    }

    fn read(bytes: &[u8], size: usize) -> io::Result<Vec<Frame>> {
        let (mut ts, mut frames) = (Ts::new(), Vec::new());
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() {
                let count = piece.len();
                ts.read(&mut piece, count)?;
                frames.extend(std::iter::from_fn(|| ts.poll_frame()));
            }
        }
        Ok(frames)
    }

    fn of(frames: &[Frame], kind: TrackKind) -> impl Iterator<Item = &Frame> {
        frames.iter().filter(move |frame| frame.kind == kind)
    }

    #[test]
    fn frames_are_those_that_were_sent_however_the_bytes_are_cut() {
        let (bytes, sent) = stream();
        for size in [1, 187, 188, 1000, usize::MAX] {
            let came = read(&bytes, size).expect("a good stream");
            let sounds = |frames: &[Frame]| {
                of(frames, TrackKind::Audio).map(|frame| frame.data.clone()).collect::<Vec<_>>()
            };
            assert_eq!(sounds(&came), sounds(&sent), "pieces of {size}");
            let pictures = of(&came, TrackKind::Video).zip(of(&sent, TrackKind::Video));
            let offset = came[0].dts.since(sent[0].dts);
            for (came, sent) in pictures {
                assert!(came.data.ends_with(&sent.data), "a delimiter and sets are before it");
                assert_eq!((came.dts, came.key), (sent.dts + offset, sent.key));
                assert_eq!(came.pts.since(came.dts), 80_000_000);
            }
            // The last one, unless it fills its packet up.
            let missing = of(&sent, TrackKind::Video).count() - of(&came, TrackKind::Video).count();
            assert!(missing <= 1, "{missing}");
        }
    }

    #[test]
    fn a_packet_that_is_missing_or_there_twice_is_told() {
        let (bytes, _) = stream();
        let packets = bytes.chunks(PACKET_BYTES).collect::<Vec<_>>();
        // Neither the first of its stream, nor one that is not counted.
        let counted = (8..packets.len() - 1).filter(|at| packets[*at][3] & 0x10 != 0);
        let mut told = 0;
        for at in counted.step_by(7) {
            let without = [&packets[..at], &packets[at + 1..]].concat().concat();
            let twice = [&packets[..=at], &packets[at..]].concat().concat();
            told += usize::from(read(&without, 5000).is_err());
            let error = read(&twice, 5000).expect_err("twice").to_string();
            assert!(error.contains("missing or there twice"), "{error}");
        }
        // The last of a stream is missed by nobody.
        assert!(told > 20, "{told}");
    }

    #[test]
    fn a_jump_that_is_told_is_no_fault_and_what_is_no_stream_is() {
        let (bytes, _) = stream();
        let (mut mux, mut later) = (Mux::new(), BytesMut::new());
        mux.set_tracks(
            Some(&track(Codec::Video(VideoCodec::H264), &[1, 0, 0, 0, 0xff, 0, 0])),
            None,
        );
        mux.tables(&mut later, Timestamp::ZERO);
        let jump = mux.rejoin();
        read(&[&bytes[..], &jump].concat(), 1000).expect("it says so");
        let error =
            read(&[&bytes[..], b"<html>", &[0; 188]].concat(), 1000).expect_err("no packet");
        assert!(error.to_string().contains("found 0x3c"), "{error}");
    }

    #[test]
    fn damaged_packets_never_panic() {
        let (bytes, _) = stream();
        for at in 0..PACKET_BYTES * 12 {
            for value in [0, 1, 0x47, 0x80, 0xff] {
                let mut damaged = bytes[..PACKET_BYTES * 20].to_vec();
                damaged[at] = value;
                let _ = read(&damaged, usize::MAX);
            }
        }
    }
}
