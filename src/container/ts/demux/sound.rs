//! Sound: the frames of a stream, wherever PES packets cut it.

use arrayvec::ArrayVec;
use bytes::{Buf, Bytes, BytesMut};

use super::Notice;
use super::report::Out;
use super::sound_frame::{FrameHead, Head, head, payload, track};
use super::tables::Form;
use crate::container::Item;
use crate::media::{Frame, Track, TrackKind};
use crate::time::Timestamp;

/// Makes frames of the PES packets of a sound stream.
///
/// The time of a PES packet is that of the first frame that begins in it; those behind it follow by
/// their samples. A frame that is unlike those before it is believed when the next is like it.
#[derive(Debug)]
pub(super) struct Sound {
    form: Form,
    track: Option<Track>,
    /// The head of the last frame, without what differs from frame to frame.
    kind: Option<u32>,
    buffer: BytesMut,
    /// Where PES packets with a time began in it.
    marks: ArrayVec<(usize, Timestamp), MARKS>,
    /// The time the last mark told, and samples since.
    from: Option<(Timestamp, u64)>,
    /// What follows is dropped until a PES packet with a time begins.
    is_waiting: bool,
    /// What was read last is no frame.
    is_searching: bool,
}

/// PES packets that may begin in one frame.
const MARKS: usize = 8;

impl Sound {
    pub(super) fn new(form: Form) -> Self {
        Self {
            form,
            track: None,
            kind: None,
            buffer: BytesMut::new(),
            marks: ArrayVec::new(),
            from: None,
            is_waiting: true,
            is_searching: false,
        }
    }

    /// A PES packet begins.
    pub(super) fn begin(&mut self, at: Option<Timestamp>, out: &mut Out<'_>) {
        let Some(at) = at else { return };
        self.is_waiting = false;
        if self.marks.is_full() {
            self.lose(out);
            self.is_waiting = false;
        }
        self.marks.push((self.buffer.len(), at));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        if self.is_waiting {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        self.take_frames(false, out);
        // One frame that is not whole, and one before it that waits for it.
        if self.buffer.len() > 2 * out.limits.sound_bytes {
            self.lose(out);
            out.too_long();
        }
    }

    /// A part of what is open is missing.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        if !self.buffer.is_empty() {
            out.incomplete();
        }
        self.buffer.clear();
        self.marks.clear();
        self.from = None;
        self.is_waiting = true;
    }

    /// Nothing follows: frames that waited for one like them are taken.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        self.take_frames(true, out);
        self.buffer.clear();
        self.marks.clear();
    }

    fn take_frames(&mut self, is_end: bool, out: &mut Out<'_>) {
        loop {
            let frame = match head(self.form, &self.buffer) {
                Head::Short if !is_end || self.buffer.is_empty() => return,
                Head::Frame(frame) if frame.bytes <= out.limits.sound_bytes => frame,
                Head::Frame(_) | Head::None | Head::Short => {
                    self.skip(out);
                    continue;
                }
                Head::Unsupported(form) => {
                    if self.track.is_none() {
                        out.note(Notice::UnsupportedForm(form));
                    }
                    self.skip(out);
                    continue;
                }
            };
            let Some(behind) = self.buffer.get(frame.bytes..) else {
                if is_end {
                    self.skip(out);
                    continue;
                }
                return;
            };
            if self.kind != Some(frame.kind) && !is_end {
                match head(self.form, behind) {
                    Head::Short => return,
                    Head::Frame(next) if next.kind == frame.kind => {}
                    _ => {
                        self.skip(out);
                        continue;
                    }
                }
            }
            self.give(frame, out);
        }
    }

    /// Leaves out bytes up to the next that may be a frame's first.
    fn skip(&mut self, out: &mut Out<'_>) {
        if !self.is_searching && self.track.is_some() {
            out.damaged();
        }
        self.is_searching = true;
        let first = match self.form {
            // Its heads are too like other bytes: only PES packets tell where they are.
            Form::Opus(_) => {
                let mark = self.marks.iter().find(|(at, _)| *at > 0);
                self.is_waiting = mark.is_none();
                mark.map(|(at, _)| *at)
            }
            Form::Ac3 => self.next_of(0x0b),
            Form::Aac | Form::MpegAudio | Form::Video(_) => self.next_of(0xff),
        };
        self.advance(first.unwrap_or(self.buffer.len()));
    }

    fn next_of(&self, sync: u8) -> Option<usize> {
        self.buffer.iter().skip(1).position(|&byte| byte == sync).map(|at| at + 1)
    }

    fn advance(&mut self, count: usize) {
        self.buffer.advance(count);
        self.marks.iter_mut().for_each(|(at, _)| *at = at.saturating_sub(count));
    }

    fn give(&mut self, frame: FrameHead, out: &mut Out<'_>) {
        while let Some(&(0, at)) = self.marks.first() {
            self.from = Some((at, 0));
            self.marks.remove(0);
        }
        let whole = &self.buffer[..frame.bytes];
        let data = Bytes::copy_from_slice(payload(self.form, whole, frame));
        if self.kind != Some(frame.kind) {
            self.kind = Some(frame.kind);
            let track = track(self.form, whole);
            if track.is_some() && track != self.track {
                self.track.clone_from(&track);
                out.items.extend(track.map(Item::Track));
            }
        }
        if let Some((from, samples)) = &mut self.from {
            let after = i128::from(*samples) * 1_000_000_000 / i128::from(frame.rate_hz);
            *samples += u64::from(frame.samples);
            // Bounded by what sounds between two times.
            let at = *from + i64::try_from(after).unwrap_or(i64::MAX);
            if self.track.is_some() && !data.is_empty() {
                let kind = TrackKind::Audio;
                out.items.push(Item::Frame(Frame { kind, dts: at, pts: at, key: false, data }));
            }
        }
        self.is_searching = false;
        self.advance(frame.bytes);
    }
}
