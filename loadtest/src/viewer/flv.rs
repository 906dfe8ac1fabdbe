//! An FLV file without end, as HTTP and WebSocket carry it, to frames.

use std::collections::VecDeque;
use std::io;

use corecast::container::flv::{Demux, FileReader, Item, Limits, TagKind};
use corecast::media::{Frame, TrackKind};
use corecast::time::{Timestamp, Unwrap};

/// The reader of one viewer.
pub(super) struct Flv {
    file: FileReader,
    demux: Demux,
    clock_ms: Unwrap,
    items: Vec<Item>,
    frames: VecDeque<Frame>,
}

impl Flv {
    /// Before the file header.
    pub(super) fn new() -> Self {
        Self {
            file: FileReader::new(Limits::default()),
            demux: Demux::new(Limits::default()),
            clock_ms: Unwrap::new(32),
            items: Vec::new(),
            frames: VecDeque::new(),
        }
    }

    /// A frame that is whole already.
    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Takes bytes from the front of `input` up to the end of a tag, or the first `count` of them
    /// if none ends there. How many it took.
    ///
    /// # Errors
    /// It is no FLV.
    pub(super) fn read(&mut self, input: &mut &[u8], count: usize) -> io::Result<usize> {
        let mut part = &input[..count];
        let tag = self.file.read(&mut part).map_err(io::Error::other)?;
        let taken = count - part.len();
        *input = &input[taken..];
        let Some((kind, ms, body)) = tag else { return Ok(taken) };
        let ms = match kind {
            // Data may sit at zero for ever; it must not lead the clock astray.
            TagKind::Script => self.clock_ms.clone().unfold(ms.into()),
            TagKind::Audio | TagKind::Video => self.clock_ms.unfold(ms.into()),
        };
        let time = Timestamp::from_millis(ms);
        self.demux.push(kind, time, body, &mut self.items).map_err(io::Error::other)?;
        self.frames.extend(self.items.drain(..).filter_map(|item| match item {
            Item::Frame(frame) if frame.kind != TrackKind::Data => Some(frame),
            _ => None,
        }));
        Ok(taken)
    }
}
