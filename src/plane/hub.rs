use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;

use super::pressure::Pressure;
use super::sink::{Position, Sink};
use super::source::{Phase, Placed, PublisherMail, Slot, Source};
use super::trans::Trans;
use super::{
    Format, Framing, OnConflict, PublisherEnd, PushError, Selection, Settings, SinkEnd, SinkEvent,
    SinkId, SinkStats, SourceId, TransId,
};
use crate::bytes::Chain;
use crate::media::{Frame, StreamKey, Track};
use crate::time::Timestamp;

/// All streams of one core. It never touches a socket and is told the time.
#[derive(Debug)]
pub struct Hub {
    node: Arc<NodeCounters>,
    pub(super) sources: Slab<Source>,
    by_key: HashMap<StreamKey, SourceId>,
    pub(super) transes: Slab<Trans>,
    pub(super) sinks: Slab<Sink>,
    timers: BTreeMap<(Instant, u64), Timer>,
    /// Trans streams with something unflushed, by when it must go.
    pub(super) due: BinaryHeap<Reverse<(Instant, TransId)>>,
    /// Sinks that are behind, by when to try them again; with their serial.
    pub(super) behind: BinaryHeap<Reverse<(Instant, u64, SinkId)>>,
    /// Trans streams whose sweep is under way, first first.
    pub(super) sweeps: VecDeque<TransId>,
    pub(super) pressure: Pressure,
    pub(super) totals: Totals,
    serial: u64,
    /// The latest time told; handles that are dropped use it.
    now: Instant,
    events: VecDeque<HubEvent>,
    sleeper: Option<(Option<Instant>, Waker)>,
    pub(super) behind_turn: bool,
}

/// What all cores of a node count together. Counters only: nobody waits for anybody.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// Viewers that wait for a publisher.
    pub waiting_sinks: AtomicUsize,
    /// Open connections.
    pub connections: AtomicUsize,
}

/// What the plane tells its core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubEvent {
    /// Nobody uses the key any more on this core; `epoch` is the one it was last acquired with.
    Emptied {
        /// The key.
        key: StreamKey,
        /// The directory's epoch.
        epoch: u64,
    },
}

/// Counters of one core since its start, and what it holds now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sources in any phase.
    pub sources: usize,
    /// Viewers that have not ended, waiting ones included.
    pub sinks: usize,
    /// Trans streams.
    pub transes: usize,
    /// Bytes in all block logs.
    pub log_bytes: usize,
    /// Bytes in all GOP caches.
    pub gop_bytes: usize,
    /// Bytes publishers sent.
    pub ingest_bytes: u64,
    /// Bytes sockets took.
    pub egress_bytes: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Writes of which the socket took nothing or a part.
    pub short_writes: u64,
    /// Viewers moved forward because they lagged.
    pub skips: u64,
    /// Viewers closed because they took nothing.
    pub stalls: u64,
    /// Viewers closed because they pinned too many bytes.
    pub pinned_out: u64,
    /// Viewers that waited in vain for a publisher.
    pub not_found: u64,
    /// Viewers refused because too many wait, or the core is overloaded.
    pub refused: u64,
    /// Sweeps that were still running when their next was due.
    pub overruns: u64,
}

/// A request to publish, authorised.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// The key.
    pub key: StreamKey,
    /// The app's numbers.
    pub settings: Rc<Settings>,
    /// The directory's epoch of the key.
    pub epoch: u64,
}

/// Why a publisher was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    /// `on_conflict = "refuse"`, and somebody is there.
    #[error("{key} is being published already, since {since:?} (on_conflict = \"refuse\")")]
    InUse {
        /// The key.
        key: StreamKey,
        /// How long the other has been there.
        since: Duration,
    },
}

/// A request to play, authorised.
#[derive(Debug, Clone)]
pub struct PlayRequest {
    /// The key.
    pub key: StreamKey,
    /// The app's numbers.
    pub settings: Rc<Settings>,
    /// The directory's epoch of the key.
    pub epoch: u64,
    /// The socket. It must stay open until the [`Viewer`](super::Viewer) is dropped.
    pub fd: RawFd,
    /// What to send.
    pub format: Format,
    /// Which tracks.
    pub selection: Selection,
    /// How to frame it.
    pub framing: Framing,
    /// Sent unframed right before the first block.
    pub greeting: Bytes,
    /// Start at the kept key frame (`?gop=0` says no).
    pub from_cache: bool,
}

/// Why a viewer was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayRefused {
    /// Too many wait for this key.
    #[error("expected at most {0} viewers waiting for one stream (limits.waiting_sinks_per_key)")]
    TooManyWaitForKey(usize),
    /// Too many wait on this node.
    #[error("expected at most {0} viewers waiting on this node (limits.waiting_sinks)")]
    TooManyWait(usize),
    /// The widest merge window was not enough.
    #[error("the core is overloaded at its widest merge window")]
    Overloaded,
}

#[derive(Debug, Clone, Copy)]
enum Timer {
    Wait(SinkId, u64),
    KeyWait(SinkId, u64),
    Probe(SourceId, u64),
    Grace(SourceId, u64),
    TransIdle(TransId),
}

/// A trans stream nobody watches is kept this long for the next viewer.
const TRANS_IDLE: Duration = Duration::from_secs(5);
/// The open block is sealed for newcomers no more often than this.
const NEWCOMER_SEAL: Duration = Duration::from_millis(50);

impl Hub {
    /// A hub without streams.
    pub fn new(node: Arc<NodeCounters>, now: Instant) -> Self {
        Self {
            node,
            now,
            sources: Slab::new(),
            by_key: HashMap::new(),
            transes: Slab::new(),
            sinks: Slab::new(),
            timers: BTreeMap::new(),
            due: BinaryHeap::new(),
            behind: BinaryHeap::new(),
            sweeps: VecDeque::new(),
            pressure: Pressure::default(),
            totals: Totals::default(),
            serial: 0,
            events: VecDeque::new(),
            sleeper: None,
            behind_turn: false,
        }
    }

    /// Counters and what is held now.
    pub fn totals(&self) -> Totals {
        Totals {
            sources: self.sources.len(),
            sinks: self.sinks.len(),
            transes: self.transes.len(),
            log_bytes: self.transes.iter().map(|(_, trans)| trans.log.bytes()).sum(),
            gop_bytes: self.sources.iter().map(|(_, source)| source.gop.bytes()).sum(),
            ..self.totals
        }
    }

    /// True if anybody publishes, watches or waits for `key` here.
    pub fn holds(&self, key: &StreamKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// True if somebody publishes `key` here now.
    pub fn is_published(&self, key: &StreamKey) -> bool {
        self.by_key.get(key).is_some_and(|id| self.sources[*id].publisher.is_some())
    }

    /// Steps by which pressure has widened the merge windows, 0 to 8.
    pub fn pressure_level(&self) -> u32 {
        self.pressure.level()
    }

    /// Tells the time. Whoever wakes up does so before it does anything else here.
    pub fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The latest time told.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// True while anything moves: without it, nobody need measure how busy the core is.
    pub fn is_active(&self) -> bool {
        !self.sources.is_empty()
    }

    /// A second has passed in which the core was busy for `busy` of 1.
    pub fn second(&mut self, busy: f64) {
        let before = self.pressure.level();
        self.pressure.second(busy);
        let after = self.pressure.level();
        if before != after {
            tracing::info!(
                busy = format!("{:.0}%", busy * 100.0),
                step = after,
                of = 8,
                "merge windows {}",
                if after > before { "widened" } else { "narrowed" }
            );
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<HubEvent> {
        self.events.pop_front()
    }

    /// The flush loop sleeps until `until`; wake it when something is due sooner.
    pub fn sleep(&mut self, until: Option<Instant>, waker: &Waker) {
        self.sleeper = Some((until, waker.clone()));
    }

    /// When the hub next wants to be visited or told the time.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if !self.sweeps.is_empty() || !self.events.is_empty() {
            return Some(now);
        }
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let behind = self.behind.peek().map(|Reverse((at, ..))| *at);
        [timer, due, behind].into_iter().flatten().min()
    }

    /// Does what has come due, flushes aside.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Timer::Wait(id, serial) => self.wait_is_over(id, serial, now),
                Timer::KeyWait(id, serial) => self.key_wait_is_over(id, serial, now),
                Timer::Probe(id, serial) => self.probe_is_over(id, serial, now),
                Timer::Grace(id, serial) => self.grace_is_over(id, serial, now),
                Timer::TransIdle(id) => self.drop_idle_trans(id, now),
            }
        }
    }

    // Publishers

    pub(super) fn publish(
        &mut self,
        request: PublishRequest,
        mail: &Rc<RefCell<PublisherMail>>,
        now: Instant,
    ) -> Result<(SourceId, u64), PublishRefused> {
        let id = self.source_for(&request.key, &request.settings, request.epoch, now);
        let serial = self.next_serial();
        let source = &mut self.sources[id];
        if let Some(slot) = &source.publisher {
            if request.settings.on_conflict == OnConflict::Refuse {
                let since = now.saturating_duration_since(slot.since);
                return Err(PublishRefused::InUse { key: request.key, since });
            }
            slot.end(PublisherEnd::TakenOver(request.key));
        }
        source.settings = request.settings;
        source.start(Slot { serial, since: now, mail: Rc::clone(mail) });
        let (until, serial_of_source) = (now + source.settings.probe_timeout, source.serial);
        self.at(until, Timer::Probe(id, serial_of_source));
        Ok((id, serial))
    }

    pub(super) fn unpublish(&mut self, id: SourceId, serial: u64) {
        let now = self.now;
        let Some(source) = self.published(id, serial) else { return };
        source.leave(now);
        let (phase, serial) = (source.phase, source.serial);
        // What the publisher said last must not wait for a frame that never comes.
        for trans in self.sources[id].transes.clone() {
            self.transes[trans].seal();
            self.flush_by(trans, now);
        }
        match phase {
            Phase::Grace { until } => self.at(until, Timer::Grace(id, serial)),
            _ => self.drop_unused(id),
        }
    }

    pub(super) fn set_track(&mut self, id: SourceId, serial: u64, track: Track, now: Instant) {
        if self.published(id, serial).is_some_and(|source| source.set_track(track)) {
            self.went_live(id, now);
        }
    }

    pub(super) fn set_metadata(&mut self, id: SourceId, serial: u64, data: Bytes, now: Instant) {
        let Some(source) = self.published(id, serial) else { return };
        let changed = source.tracks.metadata.as_ref() != Some(&data);
        let went_live = source.set_metadata(data);
        if let Some(placed) = source.announcement().filter(|_| changed) {
            for at in 0..self.sources[id].transes.len() {
                let trans = self.sources[id].transes[at];
                self.push_to(id, trans, &placed, now);
            }
        }
        if went_live {
            self.went_live(id, now);
        }
    }

    pub(super) fn push(
        &mut self,
        id: SourceId,
        serial: u64,
        frame: Frame,
        now: Instant,
    ) -> Result<(), PushError> {
        let Some(source) = self.sources.get_mut(id).filter(|source| source.is_held_by(serial))
        else {
            return Err(PushError::NotHeld);
        };
        self.totals.ingest_bytes += frame.data.len() as u64;
        let starving = |trans: &TransId| !self.transes[*trans].awaiting_key.is_empty();
        let seek_start = source.gop.is_overgrown() || source.transes.iter().any(starving);
        let Some(placed) = source.place(now, frame, seek_start)? else { return Ok(()) };
        for at in 0..self.sources[id].transes.len() {
            let trans = self.sources[id].transes[at];
            self.push_to(id, trans, &placed, now);
        }
        Ok(())
    }

    fn push_to(&mut self, id: SourceId, trans_id: TransId, placed: &Placed, now: Instant) {
        let source = &self.sources[id];
        let trans = &mut self.transes[trans_id];
        let sealed = trans.push(&source.tracks, &placed.frame, placed.starts, placed.has_video);
        if trans.sinks.is_empty() {
            return;
        }
        if trans.due.is_none() && (sealed || trans.has_open()) {
            let settings = &source.settings;
            let window = self.pressure.window(settings.merge_window, settings.merge_window_max);
            self.flush_by(trans_id, now + window);
        }
        if sealed {
            self.after_seal(trans_id, now);
        }
    }

    /// The source failed inside: everyone at it is told, nobody else notices.
    pub fn abort(&mut self, key: &StreamKey, now: Instant) {
        let Some(&id) = self.by_key.get(key) else { return };
        let source = &mut self.sources[id];
        if let Some(slot) = source.publisher.take() {
            slot.end(PublisherEnd::SourceFailed(source.key.clone()));
        }
        source.forget();
        self.end_source(id, SinkEnd::SourceFailed, now);
    }

    /// As [`Self::abort`], for the source of a sink.
    pub fn abort_source_of(&mut self, id: SinkId, now: Instant) {
        if let Some(sink) = self.sinks.get(id) {
            let key = self.sources[sink.source].key.clone();
            self.abort(&key, now);
        }
    }

    fn went_live(&mut self, id: SourceId, now: Instant) {
        for sink in std::mem::take(&mut self.sources[id].waiting) {
            self.node.waiting_sinks.fetch_sub(1, Ordering::Relaxed);
            self.seat(sink, now);
        }
    }

    fn probe_is_over(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        if matches!(source.phase, Phase::Probing { until } if until <= now) {
            if source.end_probe() {
                self.went_live(id, now);
            } else {
                let again = now + source.settings.probe_timeout;
                source.phase = Phase::Probing { until: again };
                self.at(again, Timer::Probe(id, serial));
            }
        }
    }

    fn grace_is_over(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        if matches!(source.phase, Phase::Grace { until } if until <= now) {
            source.forget();
            self.end_source(id, SinkEnd::PublisherGone, now);
        }
    }

    /// Ends every seated sink and drops the trans streams; waiting ones go on waiting.
    fn end_source(&mut self, id: SourceId, why: SinkEnd, now: Instant) {
        for trans in std::mem::take(&mut self.sources[id].transes) {
            for sink in self.transes[trans].sinks.clone() {
                self.end_sink(sink, why, now);
            }
            self.remove_trans(trans);
        }
        self.drop_unused(id);
    }

    // Viewers

    pub(super) fn play(
        &mut self,
        request: PlayRequest,
        now: Instant,
    ) -> Result<SinkId, PlayRefused> {
        let live = self.by_key.get(&request.key).map(|id| &self.sources[*id]);
        let waiting = live.map_or(0, |source| source.waiting.len());
        let settings = &request.settings;
        let refused = if self.pressure.refuses_newcomers() {
            Some(PlayRefused::Overloaded)
        } else if live.is_some_and(Source::is_live) {
            None
        } else if waiting >= settings.waiting_sinks_per_key {
            Some(PlayRefused::TooManyWaitForKey(settings.waiting_sinks_per_key))
        } else if self.node.waiting_sinks.load(Ordering::Relaxed) >= settings.waiting_sinks {
            Some(PlayRefused::TooManyWait(settings.waiting_sinks))
        } else {
            None
        };
        if let Some(refused) = refused {
            self.totals.refused += 1;
            return Err(refused);
        }
        let source = self.source_for(&request.key, &request.settings, request.epoch, now);
        let serial = self.next_serial();
        let until = now + request.settings.wait_for_publisher;
        let id = self.sinks.insert(Sink {
            serial,
            source,
            fd: request.fd,
            format: request.format,
            selection: request.selection,
            framing: request.framing,
            from_cache: request.from_cache && request.settings.gop_cache,
            paused: false,
            caught_up: false,
            position: Position::Waiting { until },
            in_hand: None,
            private: Chain::default(),
            greeting: Some(request.greeting),
            init_sent: None,
            behind: None,
            blocked_since: None,
            sent_until: Timestamp::from_nanos(i64::MIN),
            event: None,
            waker: None,
            stats: SinkStats::default(),
        });
        self.sources[source].sinks += 1;
        if self.sources[source].is_live() {
            self.seat(id, now);
        } else {
            self.node.waiting_sinks.fetch_add(1, Ordering::Relaxed);
            self.sources[source].waiting.push(id);
            self.at(until, Timer::Wait(id, serial));
        }
        Ok(id)
    }

    /// The viewer's handle was dropped.
    pub(super) fn leave(&mut self, id: SinkId) {
        let now = self.now;
        self.unseat(id, now);
        let sink = self.sinks.remove(id);
        if sink.position != Position::Ended {
            self.left_source(sink.source);
        }
    }

    /// Takes `id` away from wherever it stands and tells its driver why. Its handle remains.
    pub(super) fn end_sink(&mut self, id: SinkId, why: SinkEnd, now: Instant) {
        let not_found = matches!(self.sinks[id].position, Position::Waiting { .. });
        self.unseat(id, now);
        let sink = &mut self.sinks[id];
        if sink.position == Position::Ended {
            return;
        }
        sink.position = Position::Ended;
        let event = if not_found { SinkEvent::NotFound } else { SinkEvent::Ended(why) };
        sink.tell(event);
        let source = sink.source;
        self.left_source(source);
    }

    fn left_source(&mut self, source: SourceId) {
        self.sources[source].sinks -= 1;
        self.drop_unused(source);
    }

    fn wait_is_over(&mut self, id: SinkId, serial: u64, now: Instant) {
        let Some(sink) = self.sink_mut(id, serial) else { return };
        let Position::Waiting { .. } = sink.position else { return };
        let source = sink.source;
        if matches!(self.sources[source].phase, Phase::Probing { .. }) {
            // Somebody publishes; the probe ends within its own limit.
            let again = now + self.sources[source].settings.probe_timeout;
            self.at(again, Timer::Wait(id, serial));
            return;
        }
        self.totals.not_found += 1;
        self.end_sink(id, SinkEnd::PublisherGone, now);
    }

    fn key_wait_is_over(&mut self, id: SinkId, serial: u64, now: Instant) {
        let Some(sink) = self.sink_mut(id, serial) else { return };
        if let Position::AwaitingKey { trans, .. } = sink.position {
            let head = self.transes[trans].log.head();
            self.start_at(id, head, now);
        }
    }

    /// Gives `id` a trans stream, and a block to start at if there is one.
    fn seat(&mut self, id: SinkId, now: Instant) {
        let sink = &self.sinks[id];
        let after = sink.init_sent.map(|_| sink.sent_until);
        let (source, from_cache) = (sink.source, sink.from_cache || after.is_some());
        let trans_id = self.trans_for(source, (sink.format, sink.selection));
        let audio_start = self.sources[source].settings.audio_start;
        let key_wait = self.sources[source].settings.key_wait;
        let trans = &mut self.transes[trans_id];
        trans.idle_since = None;
        let index = trans.sinks.len();
        trans.sinks.push(id);
        trans.awaiting_key.push(id);
        let sink = &mut self.sinks[id];
        let from = trans.log.head();
        sink.position = Position::AwaitingKey { trans: trans_id, index, from, after };
        sink.caught_up = false;
        if from_cache {
            let recent = |at: Instant| now.saturating_duration_since(at) < NEWCOMER_SEAL;
            if trans.has_open() && !trans.sealed_for_newcomer.is_some_and(recent) {
                trans.sealed_for_newcomer = Some(now);
                trans.seal();
                self.flush_by(trans_id, now + NEWCOMER_SEAL);
                self.after_seal(trans_id, now);
            }
            let log = &self.transes[trans_id].log;
            let start = log.start(audio_start).filter(|start| {
                let block = log.get(*start).expect("a start lies in the log");
                after.is_none_or(|after| block.start >= after)
            });
            if let Some(start) = start {
                self.start_at(id, start, now);
            }
        }
        if matches!(self.sinks[id].position, Position::AwaitingKey { .. }) {
            self.await_key_until(id, now + key_wait);
            if self.transes[trans_id].has_open() {
                self.flush_by(trans_id, now + NEWCOMER_SEAL);
            }
        }
    }

    /// A block was sealed: who waited for a start may have one, who holds too much must go.
    pub(super) fn after_seal(&mut self, trans_id: TransId, now: Instant) {
        let trans = &mut self.transes[trans_id];
        let source = &self.sources[trans.source];
        let max = source.settings.pinned_max_bytes;
        if trans.log.pinned_bytes() > max {
            let oldest = trans.log.oldest_pinned();
            let holds = |id: &&SinkId| {
                self.sinks[**id].in_hand.as_ref().map(|(block, _)| block.number) == oldest
            };
            if let Some(id) = trans.sinks.iter().find(holds).copied() {
                self.totals.pinned_out += 1;
                self.end_sink(id, SinkEnd::Pinned, now);
            }
        }
        self.start_those_who_wait(trans_id, now);
    }

    fn start_those_who_wait(&mut self, trans_id: TransId, now: Instant) {
        let Some(trans) = self.transes.get(trans_id) else { return };
        let Some(key) = trans.log.newest_key().filter(|_| !trans.awaiting_key.is_empty()) else {
            return;
        };
        let start = trans.log.get(key).expect("the newest key block is in the log").start;
        for id in trans.awaiting_key.clone() {
            let position = self.sinks[id].position;
            let Position::AwaitingKey { from, after, .. } = position else { continue };
            if key >= from && after.is_none_or(|after| start >= after) {
                self.start_at(id, key, now);
            }
        }
    }

    pub(super) fn await_key_until(&mut self, id: SinkId, until: Instant) {
        let serial = self.sinks[id].serial;
        self.at(until, Timer::KeyWait(id, serial));
    }

    fn start_at(&mut self, id: SinkId, next: u64, now: Instant) {
        let sink = &mut self.sinks[id];
        let Position::AwaitingKey { trans, index, .. } = sink.position else { return };
        sink.position = Position::At { trans, index, next };
        if let Some(greeting) = sink.greeting.take() {
            sink.private.push(greeting);
            let preamble = self.transes[trans].preamble();
            sink.send_framed(&preamble);
            sink.tell(SinkEvent::Started);
        }
        self.transes[trans].awaiting_key.retain(|other| *other != id);
        self.visit_at(id, now);
    }

    /// Takes `id` out of its trans stream or waiting list, leaving its position stale.
    fn unseat(&mut self, id: SinkId, now: Instant) {
        let sink = &self.sinks[id];
        let source = sink.source;
        match sink.position {
            Position::Waiting { .. } => {
                self.node.waiting_sinks.fetch_sub(1, Ordering::Relaxed);
                self.sources[source].waiting.retain(|other| *other != id);
            }
            Position::AwaitingKey { trans, index, .. } | Position::At { trans, index, .. } => {
                let Some(from) = self.transes.get_mut(trans) else { return };
                from.awaiting_key.retain(|other| *other != id);
                let sinks = &mut self.sinks;
                from.remove(index, |moved, index| sinks[moved].position.set_index(index));
                if from.sinks.is_empty() {
                    from.idle_since = Some(now);
                    self.at(now + TRANS_IDLE, Timer::TransIdle(trans));
                }
            }
            Position::Ended => {}
        }
    }

    pub(super) fn pause(&mut self, id: SinkId) {
        self.sinks[id].paused = true;
    }

    /// Goes on at the newest key block if it lies ahead of the cursor.
    pub(super) fn resume(&mut self, id: SinkId, now: Instant) {
        let sink = &mut self.sinks[id];
        if !std::mem::take(&mut sink.paused) {
            return;
        }
        if let Position::At { trans, index, next } = sink.position {
            let newest = self.transes[trans].log.newest_key().unwrap_or(next);
            sink.position = Position::At { trans, index, next: next.max(newest) };
            sink.caught_up = false;
            self.visit_at(id, now);
        }
    }

    /// Moves a viewer to other tracks, at a key block that is not older than what it has.
    pub(super) fn select(&mut self, id: SinkId, selection: Selection, now: Instant) {
        let sink = &mut self.sinks[id];
        if sink.selection == selection {
            return;
        }
        sink.selection = selection;
        if sink.position.trans().is_some() {
            self.unseat(id, now);
            self.seat(id, now);
        }
    }

    /// Bytes for this viewer alone: at once if its cursor stands at a block boundary.
    pub(super) fn send_private(&mut self, id: SinkId, bytes: Bytes, now: Instant) {
        self.sinks[id].private.push(bytes);
        self.visit_at(id, now);
    }

    /// Puts `id` into the behind set, to be visited at `at`.
    pub(super) fn visit_at(&mut self, id: SinkId, at: Instant) {
        let sink = &mut self.sinks[id];
        if sink.behind.is_none() {
            sink.behind = Some(super::visit::RETRY_MIN);
            self.behind.push(Reverse((at, sink.serial, id)));
            self.wake(at);
        }
    }

    // Trans streams

    fn trans_for(&mut self, source_id: SourceId, what: (Format, Selection)) -> TransId {
        let source = &self.sources[source_id];
        let same =
            |id: &&TransId| (self.transes[**id].format, self.transes[**id].selection) == what;
        if let Some(id) = source.transes.iter().find(same) {
            return *id;
        }
        let first = source.gop.frames().next().map(|(tracks, _)| tracks);
        let tracks = Rc::clone(first.unwrap_or(&source.tracks));
        let mut trans = Trans::new(source_id, what, &source.settings, tracks);
        let gop = source.gop.is_of_pictures();
        for (at, (tracks, frame)) in source.gop.frames().enumerate() {
            trans.push(tracks, frame, at == 0 && gop, gop);
        }
        let id = self.transes.insert(trans);
        self.sources[source_id].transes.push(id);
        id
    }

    fn drop_idle_trans(&mut self, id: TransId, now: Instant) {
        let Some(trans) = self.transes.get(id) else { return };
        if trans.idle_since.is_some_and(|since| since + TRANS_IDLE <= now) {
            let source = trans.source;
            self.sources[source].transes.retain(|other| *other != id);
            self.remove_trans(id);
        }
    }

    fn remove_trans(&mut self, id: TransId) {
        self.transes.remove(id);
        // The places that name it must not name its successor in the slab.
        self.sweeps.retain(|other| *other != id);
        self.due.retain(|Reverse((_, other))| *other != id);
        self.timers.retain(|_, timer| !matches!(timer, Timer::TransIdle(other) if *other == id));
    }

    /// Flushes `id` at `at` or sooner.
    pub(super) fn flush_by(&mut self, id: TransId, at: Instant) {
        let trans = &mut self.transes[id];
        if trans.due.is_none_or(|due| at < due) {
            trans.due = Some(at);
            self.due.push(Reverse((at, id)));
            self.wake(at);
        }
    }

    // The rest

    fn source_for(
        &mut self,
        key: &StreamKey,
        settings: &Rc<Settings>,
        epoch: u64,
        now: Instant,
    ) -> SourceId {
        if let Some(&id) = self.by_key.get(key) {
            let source = &mut self.sources[id];
            source.epoch = source.epoch.max(epoch);
            return id;
        }
        let serial = self.next_serial();
        let source = Source::new(key.clone(), serial, Rc::clone(settings), epoch, now);
        let id = self.sources.insert(source);
        self.by_key.insert(key.clone(), id);
        id
    }

    fn drop_unused(&mut self, id: SourceId) {
        if self.sources.get(id).is_some_and(Source::is_unused) {
            for trans in std::mem::take(&mut self.sources[id].transes) {
                self.remove_trans(trans);
            }
            let source = self.sources.remove(id);
            self.by_key.remove(&source.key);
            self.events.push_back(HubEvent::Emptied { key: source.key, epoch: source.epoch });
            if let Some((_, waker)) = self.sleeper.take() {
                waker.wake();
            }
        }
    }

    fn published(&mut self, id: SourceId, serial: u64) -> Option<&mut Source> {
        self.sources.get_mut(id).filter(|source| source.is_held_by(serial))
    }

    fn source_mut(&mut self, id: SourceId, serial: u64) -> Option<&mut Source> {
        self.sources.get_mut(id).filter(|source| source.serial == serial)
    }

    fn sink_mut(&mut self, id: SinkId, serial: u64) -> Option<&mut Sink> {
        self.sinks.get_mut(id).filter(|sink| sink.serial == serial)
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    fn at(&mut self, at: Instant, timer: Timer) {
        let serial = self.next_serial();
        self.timers.insert((at, serial), timer);
        self.wake(at);
    }

    fn wake(&mut self, at: Instant) {
        if self.sleeper.as_ref().is_some_and(|(until, _)| until.is_none_or(|until| at < until)) {
            let (_, waker) = self.sleeper.take().expect("just looked at");
            waker.wake();
        }
    }
}
