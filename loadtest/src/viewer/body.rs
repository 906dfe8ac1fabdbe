//! What the body of an answer or the messages of a WebSocket hold, by the URL.

use std::io;

use super::Event;
use super::flv::Flv;
use super::http::Url;
use super::mp4::Mp4;
use super::ts::Ts;

/// The reader of one viewer.
pub(super) enum Body {
    Flv(Box<Flv>),
    Mp4(Box<Mp4>),
    Ts(Box<Ts>),
}

impl Body {
    /// Before its first byte.
    pub(super) fn of(url: &Url) -> Self {
        match url.extension() {
            Some("ts") => Self::ts(),
            Some("mp4") => Self::mp4(),
            _ => Self::Flv(Box::new(Flv::new())),
        }
    }

    /// Fragments of MP4.
    pub(super) fn mp4() -> Self {
        Self::Mp4(Box::new(Mp4::new()))
    }

    /// A transport stream.
    pub(super) fn ts() -> Self {
        Self::Ts(Box::new(Ts::new()))
    }

    /// What is whole already.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Flv(flv) => flv.poll_frame().map(Event::Frame),
            Self::Mp4(mp4) => mp4.poll_event(),
            Self::Ts(ts) => ts.poll_frame().map(Event::Frame),
        }
    }

    /// Takes some of the first `count` bytes from the front of `input`: all of them if no frame ends
    /// there. How many it took.
    ///
    /// # Errors
    /// They are of another format.
    pub(super) fn read(&mut self, input: &mut &[u8], count: usize) -> io::Result<usize> {
        match self {
            Self::Flv(flv) => flv.read(input, count),
            Self::Mp4(mp4) => mp4.read(input, count),
            Self::Ts(ts) => ts.read(input, count),
        }
    }
}
