use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fetching::{HlsOutput, KeyIntervals};
use super::flow::Flow;
use super::gop::GopCache;
use super::idle::Idle;
use super::stats::Watched;
use super::timeline::Timeline;
use super::{BitrateAction, Settings, SinkId, Tag, Tracks, TransId};
use crate::codec;
use crate::container::amf0;
use crate::media::{Frame, PrivateStreams, StreamKey, Track, TrackKind};

/// Why a publisher was ended by the plane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublisherEnd {
    /// Another publisher took the key over.
    #[error("another publisher took over {0}")]
    TakenOver(StreamKey),
    /// The source failed inside.
    #[error("the source of {0} failed")]
    SourceFailed(StreamKey),
    /// The node is going out of service.
    #[error("this server is going out of service: try another")]
    Draining,
    /// Somebody outside wants it to end.
    #[error("{reason}")]
    Kicked {
        /// What it published.
        key: StreamKey,
        /// Why.
        reason: String,
    },
    /// Nobody watched it for the app's `idle_timeout`, and somebody said that it is to end.
    #[error("nobody watches {0} (hooks.on_idle)")]
    Idle(StreamKey),
}

/// Why a frame was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// More bits per second than the app allows.
    #[error("publisher: expected at most {allowed} bit/s (publisher_bitrate_max), found {found}")]
    TooFast {
        /// The limit.
        allowed: u64,
        /// What it sent, on average over some seconds.
        found: u64,
    },
    /// This publisher no longer holds the key; its driver is told why.
    #[error("publisher: expected to hold the key, found that another does")]
    NotHeld,
}

/// One published stream on its owner core.
///
/// ```text
/// Vacant ──publish──▶ Probing ──tracks known──▶ Live
///    ▲                   ▲                       │ publisher leaves
///    └──grace over── Grace ◀─────────────────────┘
///                        └──publish──▶ Probing
/// ```
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) key: StreamKey,
    pub(crate) serial: u64,
    /// Where its app is counted, from its first publisher on.
    pub(super) app: usize,
    pub(crate) settings: Rc<Settings>,
    /// The directory's count of owners of this key; given back when the source ends.
    pub(crate) epoch: u64,
    pub(crate) phase: Phase,
    pub(crate) publisher: Option<Slot>,
    pub(crate) tracks: Rc<Tracks>,
    pub(crate) gop: GopCache,
    pub(crate) transes: Vec<TransId>,
    /// Made on first demand, too.
    pub(super) hls: Option<Box<HlsOutput>>,
    pub(super) key_intervals: KeyIntervals,
    pub(crate) waiting: BTreeSet<SinkId>,
    /// Every sink that has not ended, wherever it stands.
    pub(crate) sinks: usize,
    /// Since it has been there.
    pub(crate) since: Instant,
    /// Those of the sinks that are at a trans stream.
    pub(super) watched: Watched,
    timeline: Timeline,
    expected: Option<Expected>,
    /// Kinds of track this publisher has shown.
    seen: Expected,
    needs_key: bool,
    last_video: Option<Instant>,
    video_stalled: bool,
    /// Of video, and of audio.
    flows: [Flow; 2],
    rate: Rate,
    /// How long the oldest of what was read last may have waited for that.
    pub(crate) waited: Duration,
    pub(crate) stats: SourceStats,
    pub(super) idle: Idle,
}

/// Where the life of a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Vacant,
    Probing { until: Instant },
    Live,
    Grace { until: Instant },
}

/// Who publishes.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) serial: u64,
    pub(crate) since: Instant,
    pub(crate) mail: Rc<RefCell<PublisherMail>>,
    pub(crate) tag: Option<Tag>,
}

impl Slot {
    /// Tells the publisher's driver that nobody watches.
    pub(crate) fn tell_idle(&self) {
        let mut mail = self.mail.borrow_mut();
        mail.idle = true;
        if let Some(waker) = mail.waker.take() {
            waker.wake();
        }
    }

    /// Tells the publisher's driver that the slot is no longer its own.
    pub(crate) fn end(&self, why: PublisherEnd) {
        let mut mail = self.mail.borrow_mut();
        mail.end = Some(why);
        if let Some(waker) = mail.waker.take() {
            waker.wake();
        }
    }
}

/// A publisher's mailbox; it outlives the slot when another takes over.
#[derive(Debug, Default)]
pub(crate) struct PublisherMail {
    pub(crate) end: Option<PublisherEnd>,
    /// Nobody watches, and its driver has not heard of it.
    pub(crate) idle: bool,
    pub(crate) waker: Option<Waker>,
}

/// Counters of one source, from its first publisher on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SourceStats {
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
    pub(crate) gop_overgrown: u64,
    /// Without what is fetched while [`Source::hls`] is there.
    pub(crate) egress_bytes: u64,
    pub(crate) skips: u64,
    pub(crate) ingest_ns: u64,
    pub(crate) flush_ns: u64,
}

/// Which of the two kinds of media.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Expected {
    video: bool,
    audio: bool,
}

/// Bytes since a moment at most [`RATE_OVER`] ago.
#[derive(Debug, Clone, Copy)]
struct Rate {
    since: Instant,
    bytes: u64,
    /// It was said that it is too high.
    told: bool,
}

/// A frame that was taken, as it goes to the trans streams.
pub(crate) struct Placed {
    pub(crate) frame: Frame,
    pub(crate) starts: bool,
    pub(crate) has_video: bool,
    /// With this frame the GOP has outgrown the cache: it is no longer a start.
    pub(crate) overgrown: bool,
    /// The publisher's clock jumped here; the line goes on.
    pub(crate) jumped: bool,
}

/// A publisher's bitrate is its average over this long: one that catches up after a hitch of its
/// network sends in bursts.
const RATE_OVER: Duration = Duration::from_secs(4);

impl Source {
    pub(crate) fn new(
        key: StreamKey,
        serial: u64,
        settings: Rc<Settings>,
        epoch: u64,
        now: Instant,
    ) -> Self {
        let gop = gop_cache(&settings);
        Self {
            key,
            serial,
            app: 0,
            epoch,
            phase: Phase::Vacant,
            publisher: None,
            tracks: Rc::default(),
            gop,
            transes: Vec::new(),
            hls: None,
            key_intervals: KeyIntervals::default(),
            waiting: BTreeSet::new(),
            sinks: 0,
            since: now,
            watched: Watched::new(now),
            timeline: Timeline::new(settings.jump_back, settings.jump_forward),
            expected: None,
            seen: Expected::default(),
            needs_key: false,
            last_video: None,
            video_stalled: false,
            flows: Default::default(),
            rate: Rate { since: now, bytes: 0, told: false },
            waited: Duration::ZERO,
            stats: SourceStats::default(),
            idle: Idle::default(),
            settings,
        }
    }

    /// True while nobody has published it: viewers wait.
    pub(crate) fn is_vacant(&self) -> bool {
        self.phase == Phase::Vacant
    }

    /// True when newcomers can be given a trans stream.
    pub(crate) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// True when nobody publishes, nobody watches, and nobody is waited for.
    pub(crate) fn is_unused(&self) -> bool {
        self.phase == Phase::Vacant && self.sinks == 0
    }

    /// True if the publisher of that serial has the slot.
    pub(crate) fn is_held_by(&self, serial: u64) -> bool {
        self.publisher.as_ref().is_some_and(|slot| slot.serial == serial)
    }

    /// A publisher has taken the slot.
    pub(crate) fn start(&mut self, slot: Slot) {
        self.phase = Phase::Probing { until: slot.since + self.settings.probe_timeout };
        self.rate = Rate { since: slot.since, bytes: 0, told: false };
        self.flows = Default::default();
        self.waited = Duration::ZERO;
        self.publisher = Some(slot);
        self.expected = None;
        self.seen = Expected::default();
        self.set_private_streams(PrivateStreams::default());
        // Frames of the one before and of this one do not decode together.
        self.needs_key = self.tracks.video.is_some();
        self.timeline.resume();
        self.gop = gop_cache(&self.settings);
        self.key_intervals = KeyIntervals::default();
        self.last_video = None;
        self.video_stalled = false;
    }

    /// Other numbers hold from now on. What is kept for newcomers stays, unless nothing may be.
    pub(crate) fn configure(&mut self, settings: Rc<Settings>) {
        if !settings.gop_cache {
            self.gop.clear();
        }
        self.gop.set_bounds(
            settings.gop_cache_max,
            settings.gop_cache_bytes,
            settings.audio_start_back,
        );
        self.timeline.set_bounds(settings.jump_back, settings.jump_forward);
        self.settings = settings;
    }

    /// The publisher has left the slot.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.publisher = None;
        self.gop.clear();
        if self.tracks.video.is_none() && self.tracks.audio.is_none() {
            // It sent nothing that anyone could wait for to go on.
            self.forget();
        } else {
            self.phase = Phase::Grace { until: now + self.settings.grace() };
        }
    }

    /// The grace is over: as if it had never been published.
    pub(crate) fn forget(&mut self) {
        self.phase = Phase::Vacant;
        self.gop.clear();
        self.timeline = Timeline::new(self.settings.jump_back, self.settings.jump_forward);
        self.tracks =
            Rc::new(Tracks { version: self.tracks.version.wrapping_add(1), ..Tracks::default() });
    }

    /// Answers true if that ended the probe.
    pub(crate) fn set_track(&mut self, track: Track) -> bool {
        match track.kind() {
            TrackKind::Video => {
                self.seen.video = true;
                // Who watches already has nothing the first pictures could be made from.
                self.needs_key |= self.tracks.video.is_none() && self.timeline.latest().is_some();
            }
            TrackKind::Audio | TrackKind::Data | TrackKind::Private => self.seen.audio = true,
        }
        if self.tracks.track(track.kind()) != Some(&track) {
            let is_new = self.tracks.track(track.kind()).is_none();
            let before = Rc::clone(&self.tracks);
            self.tracks = Rc::new(before.with_track(track));
            if is_new {
                self.gop.add_track(&before, &self.tracks);
            }
        }
        self.probe_is_complete() && self.end_probe()
    }

    /// Answers true if that ended the probe. Some encoders repeat or change their metadata every
    /// second, so a change is [`Self::announcement`] to those who watch, and no new init.
    pub(crate) fn set_metadata(&mut self, metadata: Bytes) -> bool {
        self.expected = announced(&metadata);
        self.tracks = Rc::new(self.tracks.with_metadata(metadata));
        self.probe_is_complete() && self.end_probe()
    }

    /// Private streams of before are no more.
    pub(crate) fn set_private_streams(&mut self, streams: PrivateStreams) {
        if self.tracks.private != streams {
            self.tracks = Rc::new(self.tracks.with_private(streams));
        }
    }

    /// The metadata in force as a frame for those who watch already.
    pub(crate) fn announcement(&self) -> Option<Placed> {
        let data = self.tracks.metadata.clone()?;
        let dts = self.timeline.latest()?.0;
        let frame = Frame { kind: TrackKind::Data, dts, pts: dts, key: false, data };
        let has_video = self.has_video();
        Some(Placed { frame, starts: false, has_video, overgrown: false, jumped: false })
    }

    fn probe_is_complete(&self) -> bool {
        match self.expected {
            Some(expected) => {
                (self.seen.video || !expected.video) && (self.seen.audio || !expected.audio)
            }
            None => self.seen.video && self.seen.audio,
        }
    }

    /// Ends the probe with the tracks there are. Answers false if it was not running or there
    /// are none yet.
    pub(crate) fn end_probe(&mut self) -> bool {
        let any = self.seen.video || self.seen.audio;
        if !matches!(self.phase, Phase::Probing { .. }) || !any {
            return false;
        }
        self.phase = Phase::Live;
        let gone_video = self.tracks.video.is_some() && !self.seen.video;
        let gone_audio = self.tracks.audio.is_some() && !self.seen.audio;
        if gone_video || gone_audio {
            // The publisher that returned has fewer tracks than the one before.
            let mut next = self.tracks.next();
            next.video = next.video.filter(|_| self.seen.video);
            next.audio = next.audio.filter(|_| self.seen.audio);
            self.tracks = Rc::new(next);
            self.needs_key &= self.seen.video;
        }
        true
    }

    /// Puts `frame` on the timeline and into the GOP cache. `seek_start`: somebody needs a place
    /// to start and has found none, so recovery points count. `None`: the frame is dropped.
    pub(crate) fn place(
        &mut self,
        now: Instant,
        mut frame: Frame,
        seek_start: bool,
    ) -> Result<Option<Placed>, PushError> {
        self.count(now, frame.data.len())?;
        let is_video = frame.kind == TrackKind::Video;
        let is_data = matches!(frame.kind, TrackKind::Data | TrackKind::Private);
        let unknown = !is_data && self.tracks.track(frame.kind).is_none();
        let seek_start = seek_start || self.needs_key;
        let starts = is_video && (frame.key || (seek_start && self.is_recovery_point(&frame)));
        if unknown || (is_video && self.needs_key && !starts) {
            self.stats.dropped += 1;
            return Ok(None);
        }
        if is_video {
            self.needs_key = false;
            self.last_video = Some(now);
            self.video_stalled = false;
        } else {
            self.notice_stalled_video(now);
        }
        let jumps = self.timeline.jumps();
        let placed = match frame.kind {
            TrackKind::Private => self.timeline.place_beside(frame.pts),
            kind => Some(self.timeline.place(kind, frame.dts, frame.pts)),
        };
        let Some(placed) = placed else {
            self.stats.dropped += 1;
            return Ok(None);
        };
        (frame.dts, frame.pts) = placed;
        if !is_data {
            self.flows[usize::from(!is_video)].count(frame.dts, frame.data.len());
        }
        if starts {
            self.key_intervals.note(frame.dts);
        }
        let has_video = self.has_video();
        let overgrown =
            self.settings.gop_cache && self.gop.push(&self.tracks, &frame, starts, has_video);
        if overgrown {
            self.stats.gop_overgrown += 1;
            if self.stats.gop_overgrown == 1 {
                tracing::warn!(stream = %self.key, max = ?self.settings.gop_cache_max,
                    max_bytes = self.settings.gop_cache_bytes,
                    "GOP outgrew the cache (gop_cache_max, gop_cache_bytes): \
                     newcomers wait for the next key frame");
            }
        }
        let jumped = self.timeline.jumps() != jumps;
        Ok(Some(Placed { frame, starts, has_video, overgrown, jumped }))
    }

    /// Bytes its viewers were sent.
    pub(super) fn egress_bytes(&self) -> u64 {
        let fetched = self.hls.as_ref().map_or(0, |hls| hls.channel.served());
        self.stats.egress_bytes + fetched
    }

    /// Nobody fetches it any more; what was fetched is counted.
    pub(super) fn take_hls(&mut self) -> Option<Box<HlsOutput>> {
        let hls = self.hls.take()?;
        self.stats.egress_bytes += hls.channel.take_served();
        Some(hls)
    }

    /// Bytes of its segments.
    pub(super) fn hls_bytes(&self) -> usize {
        self.hls.as_ref().map_or(0, |hls| hls.packager.bytes())
    }

    /// How much of a track flows.
    pub(super) fn flow(&self, kind: TrackKind) -> &Flow {
        &self.flows[usize::from(kind != TrackKind::Video)]
    }

    /// The source has video, and it has not stopped.
    pub(crate) fn has_video(&self) -> bool {
        self.tracks.video.is_some() && !self.video_stalled
    }

    fn notice_stalled_video(&mut self, now: Instant) {
        // A track whose first frame never comes has stalled too.
        let last = *self.last_video.get_or_insert(now);
        // What is read at once did not come at once.
        let patience = self.settings.video_stall + self.waited;
        if !self.video_stalled && now.saturating_duration_since(last) > patience {
            self.video_stalled = true;
            self.gop.keep_sound_only();
        }
    }

    fn is_recovery_point(&self, frame: &Frame) -> bool {
        let track = self.tracks.video.as_ref();
        track.is_some_and(|track| codec::is_recovery_point(track, &frame.data))
    }

    fn count(&mut self, now: Instant, bytes: usize) -> Result<(), PushError> {
        self.stats.frames += 1;
        self.stats.bytes += bytes as u64;
        if now.saturating_duration_since(self.rate.since) >= RATE_OVER {
            self.rate = Rate { since: now, bytes: 0, told: false };
        }
        self.rate.bytes += bytes as u64;
        let found = self.rate.bytes * 8 / RATE_OVER.as_secs();
        let allowed = self.settings.publisher_bitrate_max;
        if allowed == 0 || found <= allowed {
            return Ok(());
        }
        let error = PushError::TooFast { allowed, found };
        match self.settings.publisher_bitrate_action {
            BitrateAction::Cut => return Err(error),
            BitrateAction::Warn if self.rate.told => {}
            BitrateAction::Warn => {
                self.rate.told = true;
                tracing::warn!(stream = %self.key, "{error}");
            }
        }
        Ok(())
    }
}

fn gop_cache(settings: &Settings) -> GopCache {
    GopCache::new(settings.gop_cache_max, settings.gop_cache_bytes, settings.audio_start_back)
}

/// The kinds of track `onMetaData` announces; `None` if it names neither.
fn announced(metadata: &[u8]) -> Option<Expected> {
    let values = amf0::decode(metadata, amf0::Limits::default()).ok()?;
    let object = values.get(1)?;
    let video = object.get("videocodecid").is_some();
    let audio = object.get("audiocodecid").is_some();
    (video || audio).then_some(Expected { video, audio })
}
