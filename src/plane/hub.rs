use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::time::{Duration, Instant};

use slab::Slab;

use super::apps::Apps;
use super::drain::Drain;
use super::hls::{Channel, Heap, Store};
use super::outputs::Outputs;
use super::pressure::Pressure;
use super::sink::Sink;
use super::source::{Phase, Source};
use super::stats::{Totals, Watched};
use super::timings::Timings;
use super::trans::Trans;
use super::turns::Turn;
use super::vanished::Silent;
use super::{PressureSnapshot, Settings, SinkId, SourceId, Tag, TransId};
use crate::media::StreamKey;

/// All streams of one core. It never touches a socket and is told the time.
///
/// What it does for publishers, for viewers and in the flush loop is in the files of those names.
#[derive(Debug)]
pub struct Hub {
    pub(super) node: Arc<NodeCounters>,
    pub(super) sources: Slab<Source>,
    pub(super) by_key: HashMap<StreamKey, SourceId>,
    pub(super) transes: Slab<Trans>,
    pub(super) sinks: Slab<Sink>,
    pub(super) timers: BTreeMap<(Instant, u64), Timer>,
    /// Trans streams with something unflushed, by when it must go.
    pub(super) due: BinaryHeap<Reverse<(Instant, TransId)>>,
    /// Sinks that are behind, by when to try them again.
    pub(super) behind: BinaryHeap<Reverse<Revisit>>,
    /// Trans streams whose sweep is under way, first first.
    pub(super) sweeps: VecDeque<TransId>,
    pub(super) pressure: Pressure,
    /// Publishers whose drivers have not let go of them.
    pub(super) publishers: usize,
    pub(super) drain: Drain,
    pub(super) totals: Totals,
    pub(super) outputs: Outputs,
    /// Where segments lie.
    pub(super) stores: fn() -> Box<dyn Store>,
    pub(super) apps: Apps,
    pub(super) watched: Watched,
    /// How late what was due was begun.
    pub(super) loop_lags: Timings,
    pub(super) sweep_times: Timings,
    /// The stream whose viewers the flush loop is about to write to.
    pub(super) flush_turn: Option<Turn>,
    /// The stream that was published to since a task last began a turn.
    pub(super) published_by: Option<SourceId>,
    serial: u64,
    born: Instant,
    /// By the clock of the wall, since 1970, and when that was told.
    wall: (Duration, Instant),
    /// The latest time told; handles that are dropped use it.
    pub(super) now: Instant,
    events: VecDeque<HubEvent>,
    sleeper: Option<(Option<Instant>, Waker)>,
    pub(super) behind_turn: bool,
    pub(super) silent: Silent,
}

/// What all cores of a node count together. Counters only: nobody waits for anybody.
#[derive(Debug, Default)]
pub struct NodeCounters {
    /// How many cores count.
    pub cores: usize,
    /// Viewers that wait for a publisher.
    pub waiting_sinks: AtomicUsize,
    /// Open connections.
    pub connections: AtomicUsize,
    /// Connections that were refused before anyone heard what they want.
    pub refused_connections: AtomicUsize,
    /// Connections that the owner of their stream had no room for in its inbox.
    pub refused_hand_overs: AtomicUsize,
    /// Connections that were accepted on an RTMP listener, those included that were then refused.
    pub accepted_rtmp: AtomicUsize,
    /// The same on an HTTP listener.
    pub accepted_http: AtomicUsize,
    /// Streams that are cut into segments for HTTP Live Streaming.
    pub hls_streams: AtomicUsize,
    /// Bytes of their segments, and of those that players may still ask for after the end.
    pub hls_bytes: AtomicUsize,
    /// Who watches them so, waiting ones included.
    pub hls_sessions: AtomicUsize,
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
    /// Somebody publishes the key, and what it carries is known.
    Live {
        /// The key.
        key: StreamKey,
    },
    /// There is a new snapshot, and these cores want to know.
    HlsNews {
        /// Where it is.
        channel: Arc<Channel>,
        /// Who asked to be told.
        cores: Vec<u16>,
    },
    /// There will be no more of them.
    HlsGone {
        /// Where they were.
        channel: Arc<Channel>,
    },
    /// A viewer was moved forward because it lagged.
    Skipped {
        /// As its driver knows it.
        tag: Tag,
        /// Stream time left out, in milliseconds.
        ms: u64,
        /// Bytes left out.
        bytes: u64,
    },
}

/// A place in the behind set. Who was written least lately comes first among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Revisit {
    pub(super) at: Instant,
    pub(super) turn: u64,
    pub(super) id: SinkId,
    /// The sink's serial: its place in the slab may have a new user by then.
    pub(super) serial: u64,
}

/// What comes due. Sinks and sources are named with their serial, because a timer may outlive
/// them; a timer whose moment is no longer the one its target waits for does nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Timer {
    Wait(SinkId, u64),
    KeyWait(SinkId, u64),
    Probe(SourceId, u64),
    Grace(SourceId, u64),
    /// With the time at which no viewer is waited for any more.
    Tail(SourceId, u64, Instant),
    Idle(SourceId, u64),
    HlsIdle(SourceId, u64),
    /// These two are taken out with their trans stream.
    TransIdle(TransId),
    NewcomerSeal(TransId),
}

impl Hub {
    /// A hub without streams.
    pub fn new(node: Arc<NodeCounters>, now: Instant) -> Self {
        Self {
            node,
            born: now,
            wall: (Duration::ZERO, now),
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
            publishers: 0,
            drain: Drain::default(),
            totals: Totals::default(),
            outputs: Outputs::default(),
            stores: || Box::new(Heap),
            apps: Apps::default(),
            watched: Watched::new(now),
            loop_lags: Timings::default(),
            sweep_times: Timings::default(),
            flush_turn: None,
            published_by: None,
            serial: 0,
            events: VecDeque::new(),
            sleeper: None,
            behind_turn: false,
            silent: Silent::default(),
        }
    }

    /// Counters and what is held now.
    pub fn totals(&self) -> Totals {
        Totals {
            sources: self.sources.len() as u64,
            sinks: self.sources.iter().map(|(_, source)| source.sinks as u64).sum(),
            viewers: self.watched.viewers(),
            transes: self.transes.len() as u64,
            log_bytes: self.transes.iter().map(|(_, trans)| trans.log.bytes() as u64).sum(),
            hls_bytes: self.sources.iter().map(|(_, source)| source.hls_bytes() as u64).sum(),
            gop_bytes: self.sources.iter().map(|(_, source)| source.gop.bytes() as u64).sum(),
            egress_bytes: self.outputs.egress_bytes(),
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

    /// From now on the streams there are live by what `settings` says of their key; one of which it
    /// says nothing goes on as before.
    pub fn configure(&mut self, settings: impl Fn(&StreamKey) -> Option<Rc<Settings>>) {
        let mut other_idleness = Vec::new();
        for (id, source) in &mut self.sources {
            let Some(settings) = settings(&source.key) else { continue };
            for trans in &source.transes {
                self.transes[*trans].configure(&settings);
            }
            if settings.idle_timeout != source.settings.idle_timeout {
                other_idleness.push(id);
            }
            source.configure(settings);
        }
        for id in other_idleness {
            self.go_on_watching_for_idleness(id, self.now);
        }
    }

    /// True if nobody publishes `key` here, and nobody who did may still return.
    pub fn is_vacant(&self, key: &StreamKey) -> bool {
        let source = self.by_key.get(key).map(|id| &self.sources[*id]);
        source.is_none_or(|source| source.phase == Phase::Vacant)
    }

    /// What pressure does to this core.
    pub fn pressure(&self) -> PressureSnapshot {
        self.pressure.snapshot()
    }

    /// Tells the time. Whoever wakes up does so before it does anything else here.
    pub fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The latest time told.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Tells the time since 1970, which playlists speak of: now and then, as it may be set.
    pub fn set_wall(&mut self, since_1970: Duration, now: Instant) {
        self.wall = (since_1970, now);
    }

    /// Since 1970.
    pub(super) fn since_1970(&self, now: Instant) -> Duration {
        self.wall.0 + now.saturating_duration_since(self.wall.1)
    }

    /// Seconds since it was made.
    pub(super) fn age_s(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_secs()
    }

    /// A viewer was moved forward.
    pub(super) fn tell_skip(&mut self, id: SinkId, ms: u64, bytes: u64) {
        if let Some(tag) = self.sinks[id].tag.clone() {
            self.events.push_back(HubEvent::Skipped { tag, ms, bytes });
        }
    }

    /// True while anything moves: without it, nobody need measure how busy the core is.
    pub fn is_active(&self) -> bool {
        !self.sources.is_empty()
    }

    /// True while pressure is such that nobody new is let in.
    pub fn refuses_newcomers(&self) -> bool {
        self.pressure.refuses_newcomers()
    }

    /// The same of somebody who comes and of whom nothing is known yet; that is counted.
    pub(crate) fn turns_away(&mut self) -> bool {
        let turns_away = self.refuses_newcomers();
        self.totals.refused_overloaded += u64::from(turns_away);
        turns_away
    }

    /// A second has passed, and `late` more, in which the core was busy for `busy` of 1.
    pub fn second(&mut self, busy: f64, late: Duration) {
        self.loop_lags.record(late);
        let before = self.pressure.snapshot();
        self.pressure.second(busy);
        self.tell_of_pressure(before, Some(&format!("{:.0}%", busy * 100.0)));
    }

    /// What has become of pressure since `before`, if anything.
    fn tell_of_pressure(&self, before: PressureSnapshot, busy: Option<&str>) {
        let after = self.pressure.snapshot();
        let (step, of) = (after.step, after.widest_step);
        match step.cmp(&before.step) {
            Ordering::Greater => tracing::info!(busy, step, of, "merge windows widened"),
            Ordering::Less => tracing::info!(busy, step, of, "merge windows narrowed"),
            Ordering::Equal => {}
        }
        let refused = self.totals.refused_overloaded;
        match (before.refuses_newcomers, after.refuses_newcomers) {
            (false, true) => tracing::warn!(
                busy,
                viewers = self.watched.viewers(),
                "overloaded although merge windows are at their widest: newcomers are refused"
            ),
            (true, false) => tracing::info!(busy, refused, "newcomers are let in again"),
            _ => {}
        }
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<HubEvent> {
        while let Some(event) = self.events.pop_front() {
            let HubEvent::Emptied { key, .. } = &event else { return Some(event) };
            // Somebody has come meanwhile, and the home core may have heard of that first: to say
            // now that the key is empty would let it give the key to another core.
            if !self.holds(key) {
                return Some(event);
            }
        }
        None
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
        let behind = self.behind.peek().map(|Reverse(revisit)| revisit.at);
        [timer, due, behind].into_iter().flatten().min()
    }

    /// Does what has come due, flushes aside. A panic ends the stream that it was done for.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            let done = catch_unwind(AssertUnwindSafe(|| self.handle_timer(timer, now)));
            if done.is_err() {
                self.abort_source_of_timer(timer, now);
            }
        }
    }

    fn handle_timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Wait(id, serial) => self.wait_is_over(id, serial, now),
            Timer::KeyWait(id, serial) => self.key_wait_is_over(id, serial, now),
            Timer::Probe(id, serial) => self.probe_is_over(id, serial, now),
            Timer::Grace(id, serial) => self.grace_is_over(id, serial, now),
            Timer::Tail(id, serial, last) => self.end_tail(id, serial, last, now),
            Timer::Idle(id, serial) => self.look_for_idleness(id, serial, now),
            Timer::HlsIdle(id, serial) => self.hls_is_idle(id, serial, now),
            Timer::TransIdle(id) => self.drop_idle_trans(id, now),
            Timer::NewcomerSeal(id) => self.newcomer_seal_is_due(id, now),
        }
    }

    fn abort_source_of_timer(&mut self, timer: Timer, now: Instant) {
        let source = match timer {
            Timer::Wait(id, serial) | Timer::KeyWait(id, serial) => {
                self.sink_mut(id, serial).map(|sink| sink.source)
            }
            Timer::Probe(id, serial)
            | Timer::Grace(id, serial)
            | Timer::Tail(id, serial, _)
            | Timer::Idle(id, serial)
            | Timer::HlsIdle(id, serial) => self.source_mut(id, serial).map(|_| id),
            Timer::TransIdle(id) | Timer::NewcomerSeal(id) => {
                self.transes.get(id).map(|trans| trans.source)
            }
        };
        let source = source.and_then(|id| self.sources.get(id));
        let key = source.map(|source| source.key.clone());
        tracing::error!(stream = key.as_ref().map(StreamKey::as_str), ?timer, "its timer panicked");
        if let Some(key) = key {
            self.abort(&key, now);
        }
    }

    pub(super) fn source_for(
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

    pub(super) fn drop_unused(&mut self, id: SourceId) {
        if self.sources.get(id).is_some_and(Source::is_unused) {
            for trans in std::mem::take(&mut self.sources[id].transes) {
                self.remove_trans(trans);
            }
            let mut source = self.sources.remove(id);
            if let Some(hls) = source.take_hls() {
                self.forget_hls(*hls);
            }
            self.by_key.remove(&source.key);
            self.apps.left(&source, self.now);
            if self.sources.is_empty() {
                // Nobody measures an idle core: what pressure there was must not outlast it.
                let before = std::mem::take(&mut self.pressure).snapshot();
                self.tell_of_pressure(before, None);
            }
            self.tell(HubEvent::Emptied { key: source.key, epoch: source.epoch });
        }
    }

    pub(super) fn tell_live(&mut self, key: StreamKey) {
        self.tell(HubEvent::Live { key });
    }

    /// Also while the flush loop sleeps.
    pub(super) fn tell(&mut self, event: HubEvent) {
        self.events.push_back(event);
        if let Some((_, waker)) = self.sleeper.take() {
            waker.wake();
        }
    }

    pub(super) fn published(&mut self, id: SourceId, serial: u64) -> Option<&mut Source> {
        self.sources.get_mut(id).filter(|source| source.is_held_by(serial))
    }

    pub(super) fn source_mut(&mut self, id: SourceId, serial: u64) -> Option<&mut Source> {
        self.sources.get_mut(id).filter(|source| source.serial == serial)
    }

    pub(super) fn sink_mut(&mut self, id: SinkId, serial: u64) -> Option<&mut Sink> {
        self.sinks.get_mut(id).filter(|sink| sink.serial == serial)
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn at(&mut self, at: Instant, timer: Timer) {
        let serial = self.next_serial();
        self.timers.insert((at, serial), timer);
        self.wake(at);
    }

    pub(super) fn wake(&mut self, at: Instant) {
        if self.sleeper.as_ref().is_some_and(|(until, _)| until.is_none_or(|until| at < until)) {
            let (_, waker) = self.sleeper.take().expect("just looked at");
            waker.wake();
        }
    }
}
