//! The demo clip, taken apart: 10.24 s of H.264 and AAC, 280 kbit/s, a key frame each 1.28 s.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast::container::flv::{Demux, FileReader, HevcForm, Item, Limits};
use corecast::media::{Frame, PrivateStreams, StreamKey, Track, TrackKind};
use corecast::plane::{Format, Hub, PublishRequest, Publisher, Settings, Tracks};

const FILE: &[u8] = include_bytes!("../../../src/app/demo/clip.flv");
/// Both tracks end on a whole frame here.
const LENGTH_NS: i64 = 10_240_000_000;

/// What viewers ask for most, by the names the results carry.
pub(crate) const FORMATS: [(&str, Format); 2] = [
    ("FLV", Format::Flv { hevc: HevcForm::Enhanced }),
    ("RTMP", Format::Rtmp { chunk_size: 60_000, hevc: HevcForm::Enhanced }),
];

pub(crate) struct Clip {
    pub(crate) tracks: Vec<Track>,
    pub(crate) metadata: Bytes,
    pub(crate) frames: Vec<Frame>,
}

impl Clip {
    pub(crate) fn read() -> Self {
        let (mut file, mut demux) =
            (FileReader::new(Limits::default()), Demux::new(Limits::default()));
        let (mut input, mut items) = (FILE, Vec::new());
        while let Some((kind, ms, body)) = file.read(&mut input).expect("the clip is an FLV file") {
            let time = corecast::time::Timestamp::from_millis(ms.into());
            demux.push(kind, time, body, &mut items).expect("the clip is an FLV file");
        }
        let mut clip = Self { tracks: Vec::new(), metadata: Bytes::new(), frames: Vec::new() };
        for item in items {
            match item {
                Item::Track(track) => clip.tracks.push(track),
                Item::Metadata(metadata) => clip.metadata = metadata,
                Item::Frame(frame) => clip.frames.push(frame),
                Item::EndOfSequence(_) | Item::PrivateStreams(_) => {}
            }
        }
        clip
    }

    /// From its first key frame up to the next.
    pub(crate) fn gop(&self) -> &[Frame] {
        let keys = self.frames.iter().enumerate().filter(|(_, frame)| frame.key);
        let mut keys = keys.map(|(at, _)| at);
        let first = keys.next().expect("the clip begins with a key frame");
        &self.frames[first..keys.next().expect("it has more of them")]
    }

    /// A picture of the usual size, neither the largest nor the smallest.
    pub(crate) fn usual_picture(&self) -> &Frame {
        let pictures = self.frames.iter().filter(|frame| frame.kind == TrackKind::Video);
        let mut pictures = pictures.filter(|frame| !frame.key).collect::<Vec<_>>();
        pictures.sort_by_key(|frame| frame.data.len());
        pictures[pictures.len() / 2]
    }

    /// What the plane knows of its tracks.
    pub(crate) fn known(&self) -> Tracks {
        let track = |kind| self.tracks.iter().find(|track| track.kind() == kind).cloned();
        Tracks {
            version: 1,
            video: track(TrackKind::Video),
            audio: track(TrackKind::Audio),
            metadata: Some(self.metadata.clone()),
            private: PrivateStreams::default(),
        }
    }

    /// Its frames for ever, each round later by its length.
    pub(crate) fn endless(&self) -> impl Iterator<Item = Frame> + '_ {
        (0..).flat_map(move |round| {
            self.frames.iter().map(move |frame| Frame {
                dts: frame.dts + round * LENGTH_NS,
                pts: frame.pts + round * LENGTH_NS,
                ..frame.clone()
            })
        })
    }

    /// Publishes on `hub`, without frames yet; the stream is live at once.
    pub(crate) fn publish(&self, hub: &Rc<RefCell<Hub>>, settings: &Rc<Settings>) -> Publisher {
        let now = Instant::now();
        let request =
            PublishRequest { key: key(), settings: Rc::clone(settings), epoch: 1, tag: None };
        let publisher = Publisher::acquire(hub, request, now).expect("nobody else publishes");
        publisher.set_metadata(self.metadata.clone(), now);
        for track in &self.tracks {
            publisher.set_track(track.clone(), now);
        }
        hub.borrow_mut().handle_timeout(Instant::now());
        publisher
    }
}

pub(crate) fn key() -> StreamKey {
    StreamKey::new("live", "clip").expect("a key")
}

/// The defaults, but for what goes by the clock: between two samples much time may pass.
pub(crate) fn settings(merge_window: Duration) -> Rc<Settings> {
    Rc::new(Settings {
        merge_window,
        probe_timeout: Duration::ZERO,
        video_stall: Duration::from_secs(3600),
        ..Settings::default()
    })
}

/// Bytes of media in `frames`.
pub(crate) fn media_bytes<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> u64 {
    frames.into_iter().map(|frame| frame.data.len() as u64).sum()
}
