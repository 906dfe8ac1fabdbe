//! Trans streams: a source muxed for one output format and selection of tracks, once for all of
//! its viewers.
//!
//! A format is a row in [`Format`] and in [`Muxer`], and a file beside this one; nothing else of the
//! plane knows formats.

mod flv;
mod muxer;
mod rtmp;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use arrayvec::ArrayVec;
use bytes::{Bytes, BytesMut};
use serde::Serialize;
use utoipa::ToSchema;

use super::block::{Block, BlockLog, Init, Start};
use super::hls::Container;
use super::tap::{Queue, TapEnd};
use super::{Framing, Settings, SinkId, SourceId, Tracks};
use crate::container::flv::{HevcForm, frame_head, metadata_of};
use crate::container::{fmp4, ts};
use crate::media::{Frame, Track, TrackKind};
use crate::time::Timestamp;
pub use muxer::Muxer;

/// What a trans stream is muxed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// RTMP chunks of message stream 1.
    Rtmp {
        /// Bytes a chunk carries at most; the viewer was told it before.
        chunk_size: u32,
        /// How H.265 is written.
        hevc: HevcForm,
    },
    /// FLV tags.
    Flv {
        /// How H.265 is written.
        hevc: HevcForm,
    },
    /// MPEG-2 transport packets.
    Ts,
    /// Fragmented MP4.
    Fmp4,
    /// Parts, segments and playlists, which viewers fetch: no trans stream, but what stands beside
    /// those of its source.
    Hls(Container),
}

impl Format {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rtmp { .. } => "rtmp",
            Self::Flv { .. } => "flv",
            Self::Ts => "ts",
            Self::Fmp4 => "fmp4",
            Self::Hls(_) => "hls",
        }
    }

    /// How H.265 is written in it, if there is more than one way.
    pub(crate) fn hevc(self) -> Option<HevcForm> {
        match self {
            Self::Rtmp { hevc, .. } | Self::Flv { hevc } => Some(hevc),
            Self::Ts | Self::Fmp4 | Self::Hls(_) => None,
        }
    }

    /// False if frames of `track` have no place in it, whatever is yet to be known of it.
    pub(crate) fn carries(self, track: &Track) -> bool {
        match self {
            Self::Rtmp { .. } | Self::Flv { .. } => true,
            Self::Ts => ts::carries(track),
            Self::Fmp4 => fmp4::carries(track),
            Self::Hls(container) => container.carries(track),
        }
    }

    /// False if no frame of that kind has a place in it.
    fn takes(self, kind: TrackKind) -> bool {
        kind != TrackKind::Private || matches!(self, Self::Ts | Self::Hls(Container::Ts))
    }

    /// Bytes that a chunk of it carries at most, if it has chunks.
    pub(crate) fn chunk_size(self) -> Option<u32> {
        match self {
            Self::Rtmp { chunk_size, .. } => Some(chunk_size),
            Self::Flv { .. } | Self::Ts | Self::Fmp4 | Self::Hls(_) => None,
        }
    }
}

/// The tracks a viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
pub struct Selection {
    /// Sound.
    pub audio: bool,
    /// Pictures.
    pub video: bool,
}

impl Selection {
    /// Both.
    pub const ALL: Self = Self { audio: true, video: true };

    /// Those of `tracks` that are wanted.
    pub(crate) fn of(self, tracks: &Tracks) -> impl Iterator<Item = &Track> {
        let video = tracks.video.as_ref().filter(|_| self.video);
        video.into_iter().chain(tracks.audio.as_ref().filter(|_| self.audio))
    }

    fn takes(self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.video,
            TrackKind::Audio => self.audio,
            TrackKind::Data | TrackKind::Private => true,
        }
    }
}

/// One muxing of a source, shared by every sink of that format and selection.
#[derive(Debug)]
pub(crate) struct Trans {
    pub(crate) source: SourceId,
    pub(crate) format: Format,
    pub(crate) selection: Selection,
    pub(crate) log: BlockLog,
    /// Everyone who reads this log, in the order a sweep visits them.
    pub(crate) sinks: Vec<SinkId>,
    /// How many of them are of each framing.
    pub(crate) framings: [u32; Framing::COUNT],
    /// Those of `sinks` that have no cursor yet.
    pub(crate) awaiting_key: BTreeSet<SinkId>,
    /// Those who read it without a socket. One that has ended stays until its driver lets go.
    pub(crate) taps: Vec<Rc<RefCell<Queue>>>,
    /// The sweep under way.
    pub(crate) sweep: Option<Sweep>,
    /// When what is unflushed must be flushed.
    pub(crate) due: Option<Instant>,
    pub(crate) sealed_for_newcomer: Option<Instant>,
    /// Newcomers wait for the open block to be sealed; a timer will.
    pub(crate) newcomer_seal_due: bool,
    pub(crate) idle_since: Option<Instant>,
    /// A timer is set that looks whether it is idle still.
    pub(crate) idle_set: bool,
    init: Rc<Init>,
    /// The time in the headers of `init`; none before the first is made.
    init_at: Option<Timestamp>,
    tracks: Rc<Tracks>,
    muxer: Muxer,
    open: Option<Open>,
    capacity: usize,
    block_bytes: usize,
}

/// One visit to each sink of a trans stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// Sinks before this place have been visited.
    pub(crate) at: usize,
    pub(crate) since: Instant,
    /// The next one is due already and follows right on this.
    pub(crate) again: bool,
}

/// The block that is being written.
#[derive(Debug)]
struct Open {
    bytes: BytesMut,
    rejoin: Bytes,
    key: Start,
    start: Timestamp,
    end: Timestamp,
}

impl Trans {
    pub(crate) fn new(
        source: SourceId,
        (format, selection): (Format, Selection),
        settings: &Settings,
        tracks: Rc<Tracks>,
    ) -> Self {
        Self {
            source,
            format,
            selection,
            log: BlockLog::new(settings.max_lag, settings.log_max_bytes),
            sinks: Vec::new(),
            framings: [0; Framing::COUNT],
            awaiting_key: BTreeSet::new(),
            taps: Vec::new(),
            sweep: None,
            due: None,
            sealed_for_newcomer: None,
            newcomer_seal_due: false,
            idle_since: None,
            idle_set: false,
            init: Rc::new(Init { version: tracks.version, bytes: Bytes::new() }),
            init_at: None,
            tracks,
            muxer: format.muxer(),
            open: None,
            capacity: 16 << 10,
            block_bytes: settings.block_bytes,
        }
    }

    /// Other bounds, from the next block on.
    pub(crate) fn configure(&mut self, settings: &Settings) {
        self.log.set_bounds(settings.max_lag, settings.log_max_bytes);
        self.block_bytes = settings.block_bytes;
    }

    /// Muxes `frame`. `starts`: a decoder of video can start here. `has_video`: the source's
    /// video is alive. Answers true if a block was sealed on the way.
    pub(crate) fn push(
        &mut self,
        tracks: &Rc<Tracks>,
        frame: &Frame,
        starts: bool,
        has_video: bool,
    ) -> bool {
        if !self.selection.takes(frame.kind) || !self.format.takes(frame.kind) {
            return false;
        }
        let of_selection;
        let frame = if is_metadata(frame) && self.selection != Selection::ALL {
            let data = metadata_of(&frame.data, self.selection.audio, self.selection.video);
            of_selection = Frame { data, ..frame.clone() };
            &of_selection
        } else {
            frame
        };
        let head = self.log.head();
        let sound = !(has_video && self.selection.video);
        let gathered = self.muxer.gathered();
        let ends = |open: &Open| {
            let full = open.bytes.len() + gathered + frame.data.len() > self.block_bytes;
            // Pictures that have returned do not belong into a block where anyone may start.
            full || (open.key == Start::Sound && !sound)
        };
        let other_tracks = self.is_of_others_than(tracks);
        if starts || other_tracks || self.open.as_ref().is_some_and(ends) {
            self.seal();
        }
        if self.open.is_none() {
            let start = if starts {
                Start::Picture
            } else if sound {
                Start::Sound
            } else {
                Start::No
            };
            self.open_block(tracks, start, frame.dts);
        }
        let open = self.open.as_mut().expect("opened above");
        self.muxer.push(&mut open.bytes, tracks, frame);
        open.end = open.end.max(frame.dts);
        if open.bytes.len() + self.muxer.gathered() >= self.block_bytes {
            self.seal();
        }
        self.log.head() != head
    }

    /// Closes the open block, if there is one with anything in it.
    pub(crate) fn seal(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        self.muxer.end(&mut open.bytes);
        if open.bytes.is_empty() {
            return;
        }
        // The next block will be about as large; growing it step by step would copy it.
        self.capacity = (open.bytes.len() + open.bytes.len() / 4).min(self.block_bytes);
        let (number, init) = (self.log.head(), Rc::clone(&self.init));
        let span = (open.start, open.end);
        let mut block = Block::new(number, open.bytes.freeze(), open.key, init, span);
        block.rejoin = open.rejoin;
        self.log.append(block);
        if let Some(block) = self.log.newest().filter(|_| !self.taps.is_empty()) {
            let before = self.before();
            for tap in &self.taps {
                tap.borrow_mut().push(block, before.clone());
            }
        }
    }

    /// What a tap is given with each block: what precedes all, and the tracks in force.
    pub(crate) fn before(&self) -> (Bytes, Rc<Tracks>) {
        (self.preamble(), Rc::clone(&self.tracks))
    }

    /// Its taps are handed no more.
    pub(crate) fn end_taps(&self, why: &TapEnd) {
        for tap in &self.taps {
            tap.borrow_mut().finish(why.clone());
        }
    }

    /// True if anybody reads it.
    pub(crate) fn is_read(&self) -> bool {
        !self.sinks.is_empty() || !self.taps.is_empty()
    }

    /// True if somebody needs a place to start.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.awaiting_key.is_empty() || self.taps.iter().any(|tap| tap.borrow().awaits_key())
    }

    /// True if it is known to write something of `tracks`.
    pub(crate) fn carries_some_of(&self, tracks: &Tracks) -> bool {
        self.tracks.version == tracks.version && !self.muxer.is_empty()
    }

    /// True if frames wait in the open block.
    pub(crate) fn has_open(&self) -> bool {
        self.open.is_some()
    }

    /// True if the open block is one to start at for its key frame.
    pub(crate) fn opens_with_a_picture(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.key == Start::Picture)
    }

    /// What precedes everything else of this format, once per viewer.
    pub(crate) fn preamble(&self) -> Bytes {
        self.muxer.preamble(&self.tracks, self.selection)
    }

    /// Takes out the sink at `hole` of `sinks` and calls `moved` for each sink that got another
    /// place. A sweep under way still visits everyone else exactly once.
    pub(crate) fn remove(&mut self, mut hole: usize, mut moved: impl FnMut(SinkId, usize)) {
        if let Some(sweep) = self.sweep.as_mut().filter(|sweep| hole < sweep.at) {
            // Fill the hole from the visited part, then the visited part from the end.
            sweep.at -= 1;
            self.sinks.swap(hole, sweep.at);
            moved(self.sinks[hole], hole);
            hole = sweep.at;
        }
        self.sinks.swap_remove(hole);
        if let Some(id) = self.sinks.get(hole) {
            moved(*id, hole);
        }
    }

    /// True if what was written last is of other tracks than these, as far as they have a place in it.
    fn is_of_others_than(&self, tracks: &Tracks) -> bool {
        let other_private = || tracks.private != self.tracks.private;
        tracks.version != self.tracks.version
            || (self.format.takes(TrackKind::Private) && other_private())
    }

    fn open_block(&mut self, tracks: &Rc<Tracks>, key: Start, start: Timestamp) {
        // Made anew now and then, so that headers carry the time of their block and not one of
        // hours ago. Not at each key block: without video each is one, however small.
        let old = |at: Timestamp| start.since(at) >= INIT_AGE_MAX_NS;
        let old = self.init_at.is_some_and(old) || !Rc::ptr_eq(tracks, &self.tracks);
        let other_tracks = self.is_of_others_than(tracks);
        if (key != Start::No && old) || other_tracks || self.init_at.is_none() {
            self.tracks = Rc::clone(tracks);
            self.init_at = Some(start);
            let bytes = self.muxer.init(tracks, self.selection, start);
            self.init = Rc::new(Init { version: tracks.version, bytes });
        }
        let mut bytes = BytesMut::with_capacity(self.capacity);
        let rejoin = self.muxer.begin(&mut bytes, key, start);
        self.open = Some(Open { bytes, rejoin, key, start, end: start });
    }
}

/// Headers are at most this much older than the key block they precede.
const INIT_AGE_MAX_NS: i64 = 1_000_000_000;

/// What precedes the frame's bytes in its message, the same for both formats. `None` for a frame
/// whose track is not known: it cannot be labelled, and the source sends none.
fn body_head(tracks: &Tracks, frame: &Frame, hevc: HevcForm) -> Option<ArrayVec<u8, 24>> {
    match frame.kind {
        TrackKind::Data => Some(ArrayVec::new()),
        TrackKind::Private => None,
        kind => tracks.track(kind).map(|track| frame_head(frame, track, hevc)),
    }
}

/// `onMetaData` is always sent with time zero: ffmpeg takes one with another time for subtitles.
const METADATA_TIME: Timestamp = Timestamp::ZERO;

fn wire_time(frame: &Frame) -> Timestamp {
    if is_metadata(frame) { METADATA_TIME } else { frame.dts }
}

fn is_metadata(frame: &Frame) -> bool {
    frame.kind == TrackKind::Data && frame.data.starts_with(ON_META_DATA)
}

/// The AMF0 string `onMetaData`.
const ON_META_DATA: &[u8] = b"\x02\x00\x0aonMetaData";
