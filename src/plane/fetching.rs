//! Viewers that fetch: HTTP Live Streaming. Their source is cut into parts and segments as long as
//! somebody watches it that way; what there is goes out by a [`Channel`], from which any core serves,
//! and the plane writes to no socket. Here a viewer is a place: it is counted, listed and ended like
//! any other.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hls::{Channel, Counters, Packager, Store};
use super::hub::Timer;
use super::outputs::Output;
use super::sink::{Position, SinkEvent};
use super::source::Placed;
use super::trans_streams::TRANS_IDLE;
use super::{Hub, HubEvent, SinkEnd, SinkId, SourceId};
use crate::bytes::unguessable;
use crate::media::StreamKey;
use crate::time::Timestamp;

/// A source as HTTP Live Streaming.
#[derive(Debug)]
pub(crate) struct HlsOutput {
    pub(super) packager: Packager,
    pub(super) channel: Arc<Channel>,
    /// Everyone who watches it that way.
    pub(super) sinks: BTreeSet<SinkId>,
    /// Those of them for whom there has been nothing yet.
    awaiting: BTreeSet<SinkId>,
    /// What the core has counted of its packager.
    told: Counters,
    idle_since: Option<Instant>,
    /// A timer is set that looks whether it is idle still.
    idle_set: bool,
}

impl HlsOutput {
    /// True if somebody needs a place to start.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaiting.is_empty()
    }
}

/// How far apart the last key frames were, for the length of segments.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeyIntervals {
    last: Option<Timestamp>,
    recent_ns: [i64; 4],
}

impl KeyIntervals {
    /// A key frame at `at`.
    pub(super) fn note(&mut self, at: Timestamp) {
        if let Some(last) = self.last.replace(at) {
            self.recent_ns.rotate_right(1);
            self.recent_ns[0] = at.since(last);
        }
    }

    /// The longest of them.
    fn longest(self) -> Option<Duration> {
        let longest = self.recent_ns.into_iter().max().filter(|longest| *longest > 0)?;
        Some(Duration::from_nanos(longest.unsigned_abs()))
    }
}

/// However many streams share what the node may keep, each has room for so much.
const SHARE_MIN: usize = 2 << 20;
/// Stamps are a little off: a segment may be longer by this than what is announced.
const JITTER: Duration = Duration::from_millis(250);

impl Hub {
    /// Gives `id` a place among those who fetch. It starts with the first part there is.
    pub(super) fn seat_fetching(&mut self, id: SinkId, now: Instant) {
        let source_id = self.sinks[id].source;
        self.begin_hls(source_id, now);
        let source = &mut self.sources[source_id];
        let hls = &source.settings.hls;
        let until = now + source.settings.key_wait + hls.segment_max.max(hls.segment);
        let Some(hls) = &mut source.hls else { return };
        hls.sinks.insert(id);
        hls.idle_since = None;
        source.watched.joined(now);
        self.watched.joined(now);
        self.outputs.of(Output::Hls).viewers += 1;
        let sink = &mut self.sinks[id];
        sink.position = Position::Fetching { awaits: Some(until) };
        if hls.packager.snapshot().is_some() {
            return self.start_fetching(id);
        }
        hls.awaiting.insert(id);
        sink.key_wait_set = true;
        let serial = sink.serial;
        self.at(until, Timer::KeyWait(id, serial));
    }

    /// Takes `id` out again, leaving its position stale.
    pub(super) fn unseat_fetching(&mut self, id: SinkId, now: Instant) {
        let source_id = self.sinks[id].source;
        let source = &mut self.sources[source_id];
        source.watched.left(now);
        self.watched.left(now);
        self.outputs.of(Output::Hls).viewers -= 1;
        let Some(hls) = &mut source.hls else { return };
        hls.sinks.remove(&id);
        hls.awaiting.remove(&id);
        if hls.sinks.is_empty() {
            hls.idle_since = Some(now);
            if !std::mem::replace(&mut hls.idle_set, true) {
                let serial = source.serial;
                self.at(now + TRANS_IDLE, Timer::HlsIdle(source_id, serial));
            }
        }
    }

    /// Nothing came that it could start with.
    pub(super) fn fetching_waited_in_vain(&mut self, id: SinkId, now: Instant) {
        match self.sinks[id].position {
            Position::Fetching { awaits: Some(until) } if until <= now => {
                self.end_sink(id, SinkEnd::PublisherGone, now);
            }
            _ => {}
        }
    }

    pub(super) fn hls_is_idle(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        let Some(hls) = &mut source.hls else { return };
        hls.idle_set = false;
        let Some(since) = hls.idle_since else { return };
        if since + TRANS_IDLE > now {
            hls.idle_set = true;
            self.at(since + TRANS_IDLE, Timer::HlsIdle(id, serial));
        } else {
            self.end_hls(id);
        }
    }

    /// Where those who fetch `key` find it, if anyone does.
    pub fn channel(&self, key: &StreamKey) -> Option<Arc<Channel>> {
        let hls = self.sources[*self.by_key.get(key)?].hls.as_ref()?;
        Some(Arc::clone(&hls.channel))
    }

    /// A viewer fetched so many bytes more, from whichever core. Its stream counts them by its
    /// [`Channel`], with those that nobody knows whom they were for.
    pub(super) fn fetched(&mut self, id: SinkId, bytes: u64) {
        self.sinks[id].stats.bytes += bytes;
    }

    /// Nobody may fetch from `channel` any more: what was sent of it since its stream let go of it is
    /// its app's.
    pub fn count_rest(&mut self, channel: &Channel) {
        let bytes = channel.take_served();
        if bytes > 0 {
            self.apps.sent(channel.key().app(), bytes);
        }
    }

    /// This core sent so many bytes to viewers that fetch.
    pub fn count_served(&mut self, bytes: u64) {
        self.outputs.of(Output::Hls).egress_bytes += bytes;
    }

    /// Segments that are made from now on lie in what `stores` makes, one for each rendition.
    pub fn keep_segments_in(&mut self, stores: fn() -> Box<dyn Store>) {
        self.stores = stores;
    }

    /// The source has a packager from now on, which begins with what the GOP cache holds.
    fn begin_hls(&mut self, id: SourceId, now: Instant) {
        let since_1970 = self.since_1970(now);
        let source = &mut self.sources[id];
        if source.hls.is_some() {
            return;
        }
        let mut settings = (*source.settings.hls).clone();
        let segment = settings.segment;
        if let Some(interval) = source.key_intervals.longest().filter(|_| source.has_video()) {
            let regular = lasts(segment.saturating_sub(settings.part / 2), interval);
            let most = settings.segment_max.max(segment);
            let length = regular.saturating_sub(JITTER).clamp(segment, most);
            settings.target.get_or_insert(length);
        }
        let linger = settings.window + settings.linger;
        let channel = Channel::new(source.key.clone(), linger, Arc::clone(&self.node));
        let mut packager = Packager::new(settings, since_1970.as_secs(), unguessable, self.stores);
        let of_pictures = source.gop.is_of_pictures();
        let end = source.gop.frames().last().map(|(_, last)| last.dts);
        for (at, (tracks, frame)) in source.gop.frames().enumerate() {
            let age = end.map_or(0, |end| end.since(frame.dts).max(0).unsigned_abs());
            let came = since_1970.saturating_sub(Duration::from_nanos(age));
            packager.push(came, tracks, frame, at == 0 && of_pictures, of_pictures);
        }
        source.hls = Some(Box::new(HlsOutput {
            packager,
            channel,
            sinks: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            told: Counters::default(),
            idle_since: None,
            idle_set: false,
        }));
        self.node.hls_streams.fetch_add(1, Ordering::Relaxed);
        self.publish_hls(id);
    }

    /// A frame for those who fetch, if there are any.
    pub(super) fn push_hls(&mut self, id: SourceId, placed: &Placed, now: Instant) {
        let since_1970 = self.since_1970(now);
        let source = &mut self.sources[id];
        let Some(hls) = &mut source.hls else { return };
        let Placed { frame, starts, has_video, .. } = placed;
        if hls.packager.push(since_1970, &source.tracks, frame, *starts, *has_video) {
            self.publish_hls(id);
        }
    }

    /// What comes next does not go on from what was there.
    pub(super) fn interrupt_hls(&mut self, id: SourceId) {
        if let Some(hls) = &mut self.sources[id].hls
            && hls.packager.interrupt()
        {
            self.publish_hls(id);
        }
    }

    /// The stream is over: players are told so, and their viewers are to be ended.
    pub(super) fn finish_hls(&mut self, id: SourceId, why: &SinkEnd) -> BTreeSet<SinkId> {
        let Some(hls) = &mut self.sources[id].hls else { return BTreeSet::new() };
        let sinks = hls.sinks.clone();
        // What failed may be the packager.
        if *why != SinkEnd::SourceFailed && hls.packager.end() {
            self.publish_hls(id);
        }
        sinks
    }

    /// Nobody fetches it any more.
    pub(super) fn end_hls(&mut self, id: SourceId) {
        if let Some(hls) = self.sources[id].take_hls() {
            self.forget_hls(*hls);
        }
    }

    /// The same of a source that is no more.
    pub(super) fn forget_hls(&mut self, hls: HlsOutput) {
        self.node.hls_streams.fetch_sub(1, Ordering::Relaxed);
        self.tell(HubEvent::HlsGone { channel: hls.channel });
    }

    fn publish_hls(&mut self, id: SourceId) {
        let source = &mut self.sources[id];
        let Some(hls) = &mut source.hls else { return };
        let all = hls.channel.count(hls.packager.bytes());
        // When all of them hold too much, each has an equal share.
        let (own, of_all) = (source.settings.hls.max_bytes, source.settings.hls_node_max_bytes);
        let streams = self.node.hls_streams.load(Ordering::Relaxed).max(1);
        let share = (of_all / streams).max(SHARE_MIN);
        hls.packager.set_max_bytes(if all > of_all { own.min(share) } else { own });
        let counters = hls.packager.counters();
        let told = std::mem::replace(&mut hls.told, counters);
        self.totals.hls_forced += counters.forced - told.forced;
        self.totals.hls_cut_short += counters.cut_short - told.cut_short;
        self.totals.hls_overgrown += counters.overgrown - told.overgrown;
        self.totals.hls_gaps += counters.gaps - told.gaps;
        let Some(snapshot) = hls.packager.snapshot() else { return };
        let cores = hls.channel.publish(snapshot);
        let (channel, awaiting) = (Arc::clone(&hls.channel), std::mem::take(&mut hls.awaiting));
        if !cores.is_empty() {
            self.tell(HubEvent::HlsNews { channel, cores });
        }
        for sink in awaiting {
            self.start_fetching(sink);
        }
    }

    fn start_fetching(&mut self, id: SinkId) {
        let sink = &mut self.sinks[id];
        sink.position = Position::Fetching { awaits: None };
        sink.greeting = None;
        sink.tell(SinkEvent::Started);
    }
}

/// A whole number of intervals that is no less than `least`.
fn lasts(least: Duration, interval: Duration) -> Duration {
    let times = least.as_nanos().div_ceil(interval.as_nanos().max(1)).max(1);
    interval.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX))
}
