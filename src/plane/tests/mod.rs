//! The rules of life, one test each, on a rig without sockets and with a clock that is set.
//!
//! Streams are written as words: `K40` a key frame at 40 ms, `v` another picture, `a` sound, `d`
//! script data, `V1` and `A1` configurations, `meta`, `flv5` a file header with its flags.

mod configure;
mod drain;
mod fetching;
mod flush;
mod idle;
mod listing;
mod publishers;
mod slow;
mod starts;
mod stats;
mod tap;
mod vanished;
mod viewers;
mod wire;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::container::amf0::{self, Value};
use crate::container::flv::HevcForm;
use crate::media::{AudioCodec, Codec, Frame, StreamKey, Track, TrackKind, VideoCodec};
use crate::time::Timestamp;

/// A hub, its flush loop, sockets that are byte vectors, and the clock.
pub(super) struct Rig {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) node: Arc<NodeCounters>,
    pub(super) settings: Rc<Settings>,
    pub(super) sockets: HashMap<RawFd, Socket>,
    /// Sinks in the order of their visits.
    pub(super) visits: Vec<SinkId>,
    pub(super) events: Vec<HubEvent>,
    pub(super) base: Instant,
    pub(super) now: Instant,
    next_fd: RawFd,
    /// Whom drivers know those by who come next.
    pub(super) tag: Option<super::Tag>,
}

/// What a viewer's socket took, and how much more it takes.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) got: Vec<u8>,
    pub(super) room: usize,
    /// The most that it takes in one visit, if there is such a bound.
    pub(super) batch: Option<usize>,
    /// Each write: when, and how much was taken.
    pub(super) writes: Vec<(u64, usize)>,
    pub(super) broken: bool,
}

/// A viewer and its socket.
pub(super) struct Watcher {
    pub(super) viewer: Viewer,
    pub(super) fd: RawFd,
}

pub(super) const FLV: Format = Format::Flv { hevc: HevcForm::Enhanced };

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let node = Arc::new(NodeCounters::default());
        let base = Instant::now();
        Self {
            hub: Rc::new(RefCell::new(Hub::new(Arc::clone(&node), base))),
            node,
            settings: Rc::new(settings),
            sockets: HashMap::new(),
            visits: Vec::new(),
            events: Vec::new(),
            base,
            now: base,
            next_fd: 100,
            tag: None,
        }
    }

    /// Milliseconds since the beginning.
    pub(super) fn ms(&self) -> u64 {
        (self.now - self.base).as_millis() as u64
    }

    pub(super) fn key() -> StreamKey {
        StreamKey::parse("live/a").expect("valid")
    }

    pub(super) fn try_publish(&self) -> Result<Publisher, PublishRefused> {
        let settings = Rc::clone(&self.settings);
        let request =
            PublishRequest { key: Self::key(), settings, epoch: 7, tag: self.tag.clone() };
        Publisher::acquire(&self.hub, request, self.now)
    }

    /// A publisher that has not said anything yet.
    pub(super) fn publish(&self) -> Publisher {
        self.try_publish().expect("the slot is free")
    }

    /// A publisher with both tracks.
    pub(super) fn publish_av(&self) -> Publisher {
        let publisher = self.publish();
        publisher.set_track(video_track(1), self.now);
        publisher.set_track(audio_track(1), self.now);
        publisher
    }

    /// A stream whose first picture has been shown.
    pub(super) fn on_air(&mut self) -> (Publisher, Watcher) {
        let (publisher, watcher) = (self.publish_av(), self.join());
        self.push(&publisher, picture(0, true, 10));
        self.advance(400);
        assert_eq!(watcher.event(), Some(SinkEvent::Started));
        (publisher, watcher)
    }

    pub(super) fn push(&self, publisher: &Publisher, frame: Frame) {
        publisher.push(frame, self.now).expect("within limits");
    }

    /// Frames every 40 ms up to `to` on the clock, stamped by it: a key frame each `gop` ms, two
    /// of sound with each picture, 100 bytes each.
    pub(super) fn stream(&mut self, publisher: &Publisher, to: u64, gop: u64) {
        while self.ms() < to {
            let at = self.ms();
            self.push(publisher, picture(at, at.is_multiple_of(gop), 100));
            self.push(publisher, sound(at, 100));
            self.push(publisher, sound(at + 20, 100));
            self.advance(40);
        }
    }

    /// Sound every 20 ms up to `to` on the clock.
    pub(super) fn sound(&mut self, publisher: &Publisher, to: u64) {
        while self.ms() < to {
            self.push(publisher, sound(self.ms(), 100));
            self.advance(20);
        }
    }

    pub(super) fn try_join(
        &mut self,
        change: impl FnOnce(&mut PlayRequest),
    ) -> Result<Watcher, PlayRefused> {
        let fd = self.next_fd;
        self.next_fd += 1;
        let mut request = PlayRequest {
            tag: self.tag.clone(),
            key: Self::key(),
            settings: Rc::clone(&self.settings),
            epoch: 7,
            fd,
            format: FLV,
            selection: Selection::ALL,
            framing: Framing::Raw,
            greeting: Bytes::new(),
            from_cache: true,
        };
        change(&mut request);
        let socket = Socket {
            got: Vec::new(),
            room: usize::MAX,
            batch: None,
            writes: Vec::new(),
            broken: false,
        };
        self.sockets.insert(fd, socket);
        let viewer = Viewer::join(&self.hub, request, self.now)?;
        Ok(Watcher { viewer, fd })
    }

    pub(super) fn join_with(&mut self, change: impl FnOnce(&mut PlayRequest)) -> Watcher {
        self.try_join(change).expect("let in")
    }

    pub(super) fn join(&mut self) -> Watcher {
        self.join_with(|_| ())
    }

    /// What the flush loop does when it wakes up.
    pub(super) fn run(&mut self) {
        let mut hub = self.hub.borrow_mut();
        hub.set_now(self.now);
        hub.handle_timeout(self.now);
        for turn in 0.. {
            assert!(turn < 100_000, "the flush loop spins");
            let Some(id) = hub.next_visit(self.now) else { break };
            let ms = (self.now - self.base).as_millis() as u64;
            let (fd, slices) = hub.slices(id, self.now);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            if offered == 0 {
                continue;
            }
            assert!(offered <= 256 << 10);
            self.visits.push(id);
            let socket = self.sockets.get_mut(&fd).expect("open");
            let outcome = socket.write(ms, &slices);
            drop(slices);
            hub.wrote(id, offered, outcome, self.now);
        }
        while let Some(event) = hub.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets `ms` pass; the flush loop wakes whenever it asked to.
    pub(super) fn advance(&mut self, ms: u64) {
        let target = self.now + Duration::from_millis(ms);
        self.run();
        for turn in 0.. {
            assert!(turn < 100_000, "time stands still");
            let next = self.hub.borrow().poll_timeout(self.now);
            let Some(at) = next.filter(|at| *at <= target) else { break };
            self.now = at.max(self.now);
            self.run();
        }
        self.now = target;
        self.run();
    }

    pub(super) fn totals(&self) -> Totals {
        self.hub.borrow().totals()
    }

    pub(super) fn socket(&mut self, of: &Watcher) -> &mut Socket {
        self.sockets.get_mut(&of.fd).expect("open")
    }

    /// What a viewer of raw FLV got, in words; asserts that whole tags came.
    pub(super) fn words(&self, of: &Watcher) -> String {
        let (words, rest) = flv_words(&self.sockets[&of.fd].got);
        assert_eq!(rest, 0, "a part of a tag after {words:?}");
        words.join(" ")
    }

    /// As [`Self::words`], forgetting what it got.
    pub(super) fn take_words(&mut self, of: &Watcher) -> String {
        let words = self.words(of);
        self.socket(of).got.clear();
        words
    }
}

impl Socket {
    fn write(&mut self, ms: u64, slices: &Slices<'_>) -> Outcome {
        if self.broken {
            return Outcome::Failed(ErrorKind::BrokenPipe);
        }
        let (mut taken, mut left) = (0, self.batch.unwrap_or(usize::MAX));
        for slice in slices {
            let now = slice.len().min(self.room).min(left);
            left -= now;
            self.got.extend_from_slice(&slice[..now]);
            self.room -= now;
            taken += now;
        }
        self.writes.push((ms, taken));
        match left {
            0 => Outcome::Batch(taken),
            _ if taken == 0 => Outcome::Full,
            _ => Outcome::Wrote(taken),
        }
    }
}

impl Watcher {
    pub(super) fn event(&self) -> Option<SinkEvent> {
        match self.viewer.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }
}

pub(super) fn ended(publisher: &Publisher) -> Option<PublisherEnd> {
    match publisher.poll_end(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

pub(super) fn video_track(version: u8) -> Track {
    let config = Bytes::from(vec![1, 100, 0, 31, 0xff, 0xe0, 0, version]);
    Track { codec: Codec::Video(VideoCodec::H264), config, hdr: None, video: None, audio: None }
}

pub(super) fn audio_track(version: u8) -> Track {
    let config = Bytes::from(vec![0x12, version]);
    Track { codec: Codec::Audio(AudioCodec::Aac), config, hdr: None, video: None, audio: None }
}

/// `onMetaData` that announces these tracks.
pub(super) fn metadata(video: bool, audio: bool) -> Bytes {
    let mut fields = Vec::new();
    if video {
        fields.push(("videocodecid".to_owned(), Value::Number(7.0)));
    }
    if audio {
        fields.push(("audiocodecid".to_owned(), Value::Number(10.0)));
    }
    let mut out = bytes::BytesMut::new();
    amf0::encode(&mut out, &Value::String("onMetaData".to_owned()));
    amf0::encode(&mut out, &Value::EcmaArray(fields));
    out.freeze()
}

pub(super) fn picture(ms: u64, key: bool, len: usize) -> Frame {
    frame(TrackKind::Video, ms, key, len)
}

pub(super) fn sound(ms: u64, len: usize) -> Frame {
    frame(TrackKind::Audio, ms, false, len)
}

/// A frame whose bytes begin with its time as its publisher stamped it.
pub(super) fn frame(kind: TrackKind, ms: u64, key: bool, len: usize) -> Frame {
    let at = Timestamp::from_millis(ms as i64);
    let mut data = ms.to_be_bytes().to_vec();
    data.resize(len.max(8), 0x55);
    Frame { kind, dts: at, pts: at, key, data: data.into() }
}

/// FLV tags as words, and how many bytes of a last, partial tag there are. A frame's time is its
/// tag's.
pub(super) fn flv_words(bytes: &[u8]) -> (Vec<String>, usize) {
    let mut words = Vec::new();
    if bytes.starts_with(b"FLV\x01") && bytes.len() >= FLV_HEAD {
        words.push(format!("flv{}", bytes[4]));
    }
    let (tags, rest) = flv_tags(bytes);
    words.extend(tags.into_iter().map(|(kind, ms, body)| word(kind, ms, body)));
    (words, rest)
}

/// Kind, time in milliseconds and body.
pub(super) type Tag<'a> = (u8, u32, &'a [u8]);

/// The tags, behind a file header if there is one, and how many bytes of a
/// last, partial tag there are.
pub(super) fn flv_tags(mut bytes: &[u8]) -> (Vec<Tag<'_>>, usize) {
    let mut tags = Vec::new();
    if bytes.starts_with(b"FLV\x01") && bytes.len() >= FLV_HEAD {
        bytes = &bytes[FLV_HEAD..];
    }
    while bytes.len() >= 11 {
        let len = u32::from_be_bytes([0, bytes[1], bytes[2], bytes[3]]) as usize;
        if bytes.len() < 11 + len + 4 {
            break;
        }
        let ms = u32::from_be_bytes([bytes[7], bytes[4], bytes[5], bytes[6]]);
        let (tag, rest) = bytes.split_at(11 + len + 4);
        assert_eq!(tag[11 + len..], ((11 + len) as u32).to_be_bytes(), "tag {}", tags.len());
        tags.push((tag[0], ms, &tag[11..11 + len]));
        bytes = rest;
    }
    (tags, bytes.len())
}

const FLV_HEAD: usize = 13;

/// One message body of H.264, AAC or script data as a word.
pub(super) fn word(kind: u8, ms: u32, body: &[u8]) -> String {
    match (kind, body) {
        (18, [2, 0, 10, ..]) => "meta".to_owned(),
        (18, _) => format!("d{ms}"),
        (9, [0x17, 0, 0, 0, 0, .., version]) => format!("V{version}"),
        (9, [0x17, 1, ..]) => format!("K{ms}"),
        (9, [0x27, 1, ..]) => format!("v{ms}"),
        (8, [0xaf, 0, _, version]) => format!("A{version}"),
        (8, [0xaf, 1, ..]) => format!("a{ms}"),
        _ => panic!("no message of kind {kind}: {body:02x?}"),
    }
}
