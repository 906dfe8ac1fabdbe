//! The viewers' side of the hub: waiting, taking a seat at a trans stream, starting, leaving.

use std::cmp::Reverse;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::block::Start;
use super::drain::Admits;
use super::hub::{Revisit, Timer};
use super::sink::{Position, Sink};
use super::source::{Phase, Source};
use super::{
    Format, Framing, Hub, Selection, Settings, SinkEnd, SinkEvent, SinkId, SinkStats, SourceId,
    Tag, TransId,
};
use crate::bytes::Chain;
use crate::media::StreamKey;
use crate::time::Timestamp;

/// A request to play, authorised.
#[derive(Debug, Clone)]
pub struct PlayRequest {
    /// The key.
    pub key: StreamKey,
    /// The app's numbers.
    pub settings: Rc<Settings>,
    /// The directory's epoch of the key.
    pub epoch: u64,
    /// The socket. It must stay open until the [`Viewer`](super::Viewer) is dropped. A viewer that
    /// fetches ([`Format::Hls`]) has none: [`NO_SOCKET`].
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
    /// Whom the driver knows it by.
    pub tag: Option<Tag>,
}

/// What the plane never writes to.
pub const NO_SOCKET: RawFd = -1;

/// Why a viewer was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlayRefused {
    /// Too many wait for this key.
    #[error("expected at most {0} viewers waiting for one stream (limits.waiting_sinks_per_key)")]
    TooManyWaitForKey(usize),
    /// Too many wait on this node.
    #[error("expected at most {0} viewers waiting on this node (limits.waiting_sinks)")]
    TooManyWait(usize),
    /// As many watch the stream as may.
    #[error(
        "expected at most {0} viewers of one stream (viewers_max_per_stream): try this one again later"
    )]
    StreamIsFull(usize),
    /// The segments of other streams are as many as the node may keep.
    #[error("expected at most {0} bytes of HLS segments on this node (limits.hls_max_bytes)")]
    TooManySegments(usize),
    /// As many watch by HTTP Live Streaming as may.
    #[error("expected at most {0} viewers by HLS on this node (limits.hls_sessions)")]
    TooManySessions(usize),
    /// The widest merge window was not enough.
    #[error("this server is overloaded: try another, or this one again later")]
    Overloaded,
    /// The node is going out of service.
    #[error("this server is going out of service: try another")]
    Draining,
}

/// Replies to a viewer that does not read them; past this it is ended.
const REPLY_BYTES_MAX: u32 = 64 << 10;

impl Hub {
    pub(super) fn play(
        &mut self,
        request: PlayRequest,
        now: Instant,
    ) -> Result<SinkId, PlayRefused> {
        let live = self.by_key.get(&request.key).map(|id| &self.sources[*id]);
        let waiting = live.map_or(0, |source| source.waiting.len());
        let sinks = live.map_or(0, |source| source.sinks);
        let settings = &request.settings;
        let fetches = matches!(request.format, Format::Hls(_));
        let refused = if self.drain.admits != Admits::Everyone {
            Some(PlayRefused::Draining)
        } else if self.pressure.refuses_newcomers() {
            Some(PlayRefused::Overloaded)
        } else if settings.sinks_max > 0 && sinks >= settings.sinks_max {
            Some(PlayRefused::StreamIsFull(settings.sinks_max))
        } else if fetches && self.node.hls_sessions.load(Ordering::Relaxed) >= settings.hls_sessions
        {
            Some(PlayRefused::TooManySessions(settings.hls_sessions))
        } else if fetches
            && live.is_none_or(|source| source.hls.is_none())
            && self.node.hls_bytes.load(Ordering::Relaxed) > settings.hls_node_max_bytes
        {
            Some(PlayRefused::TooManySegments(settings.hls_node_max_bytes))
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
            match refused {
                PlayRefused::Overloaded => self.totals.refused_overloaded += 1,
                PlayRefused::Draining => {}
                PlayRefused::StreamIsFull(_) => self.totals.refused_full += 1,
                PlayRefused::TooManySegments(_) | PlayRefused::TooManySessions(_) => {
                    self.totals.refused_hls += 1;
                }
                _ => self.totals.refused_waiting += 1,
            }
            return Err(refused);
        }
        let source = self.source_for(&request.key, &request.settings, request.epoch, now);
        let serial = self.next_serial();
        let until = now + request.settings.wait_for_publisher;
        let id = self.sinks.insert(Sink {
            serial,
            tag: request.tag,
            since_s: u32::try_from(self.age_s(now)).unwrap_or(u32::MAX),
            source,
            fd: request.fd,
            format: request.format,
            selection: request.selection,
            framing: request.framing,
            from_cache: request.from_cache && request.settings.gop_cache,
            paused: false,
            leaving: false,
            held: false,
            rejoins: false,
            caught_up: false,
            position: Position::Waiting,
            in_hand: None,
            private: Chain::default(),
            greeting: Some(Box::new(request.greeting)),
            key_wait_set: false,
            init_sent: None,
            behind: None,
            blocked_since: None,
            sent_until: None,
            log_bytes: 0,
            reply_bytes: 0,
            started: false,
            end: None,
            waker: None,
            stats: SinkStats::default(),
        });
        self.node.hls_sessions.fetch_add(usize::from(fetches), Ordering::Relaxed);
        self.sources[source].sinks += 1;
        self.sources[source].idle.end();
        self.outputs.of(self.sinks[id].output()).plays += 1;
        if self.sources[source].is_live() {
            self.seat(id, now);
        } else {
            self.node.waiting_sinks.fetch_add(1, Ordering::Relaxed);
            self.sources[source].waiting.insert(id);
            self.at(until, Timer::Wait(id, serial));
        }
        Ok(id)
    }

    /// The viewer's handle was dropped.
    pub(super) fn leave(&mut self, id: SinkId) {
        let now = self.now;
        self.unseat(id, now);
        let sink = self.sinks.remove(id);
        let fetched = matches!(sink.format, Format::Hls(_));
        self.node.hls_sessions.fetch_sub(usize::from(fetched), Ordering::Relaxed);
        if sink.position != Position::Ended {
            self.left_source(sink.source);
        }
    }

    /// What `id` was sent, and how far it is behind.
    pub(super) fn sink_stats(&self, id: SinkId) -> SinkStats {
        let sink = &self.sinks[id];
        let Position::At { trans, next, .. } = sink.position else { return sink.stats };
        let log = &self.transes[trans].log;
        let held = sink.in_hand.as_ref();
        let since = held.map(|(block, _)| block.start);
        let since = since.or_else(|| log.get(next).map(|block| block.start)).or(match next {
            // Let go by the log.
            next if next < log.head() => sink.sent_until,
            _ => None,
        });
        let Some((since, end)) = since.zip(log.end()) else {
            return SinkStats { lag_ms: 0, lag_bytes: 0, ..sink.stats };
        };
        let lag_ms = end.since(since).max(0).unsigned_abs() / 1_000_000;
        let lag_ms = u32::try_from(lag_ms).unwrap_or(u32::MAX);
        let sent = held.map_or(0, |(_, sent)| *sent as u64);
        let behind = log.bytes_before(log.head()).saturating_sub(sink.log_bytes);
        SinkStats { lag_ms, lag_bytes: behind.saturating_sub(sent), ..sink.stats }
    }

    /// Takes `id` away from wherever it stands and tells its driver why. Its handle remains.
    pub(super) fn end_sink(&mut self, id: SinkId, why: SinkEnd, now: Instant) {
        if self.sinks[id].position == Position::Ended {
            return;
        }
        self.sinks[id].stats = self.sink_stats(id);
        self.unseat(id, now);
        let sink = &mut self.sinks[id];
        sink.position = Position::Ended;
        // The rest of its block is its driver's from here on: the block itself, which counts as held,
        // would be taken from it when too many are.
        let rest = sink.take_rest();
        sink.private = if why.breaks_off() { Chain::default() } else { rest };
        let told = sink.greeting.is_none() || why.breaks_off();
        match why {
            why if told || matches!(why, SinkEnd::Kicked(_)) => sink.tell(SinkEvent::Ended(why)),
            SinkEnd::Draining => sink.tell(SinkEvent::TurnedAway),
            _ => {
                self.totals.not_found += 1;
                sink.tell(SinkEvent::NotFound);
            }
        }
        let source = sink.source;
        self.left_source(source);
    }

    fn left_source(&mut self, source: SourceId) {
        self.sources[source].sinks -= 1;
        self.watch_for_idleness(source, self.now);
        self.drop_unused(source);
    }

    pub(super) fn wait_is_over(&mut self, id: SinkId, serial: u64, now: Instant) {
        let Some(sink) = self.sink_mut(id, serial) else { return };
        let Position::Waiting = sink.position else { return };
        let source = sink.source;
        if matches!(self.sources[source].phase, Phase::Probing { .. }) {
            // Somebody publishes; the probe ends within its own limit.
            let again = now + self.sources[source].settings.probe_timeout;
            self.at(again, Timer::Wait(id, serial));
            return;
        }
        self.end_sink(id, SinkEnd::PublisherGone, now);
    }

    pub(super) fn key_wait_is_over(&mut self, id: SinkId, serial: u64, now: Instant) {
        let Some(sink) = self.sink_mut(id, serial) else { return };
        sink.key_wait_set = false;
        let Position::AwaitingKey { trans, until, .. } = sink.position else {
            return self.fetching_waited_in_vain(id, now);
        };
        if until <= now {
            let head = self.transes[trans].log.head();
            self.start_at(id, head, now);
        } else {
            self.await_key(id, trans, until);
        }
    }

    /// Gives `id` a trans stream, and a block to start at if there is one. Nobody waits for what
    /// cannot come.
    pub(super) fn seat(&mut self, id: SinkId, now: Instant) {
        if let Some(why) = self.nothing_carried(&self.sinks[id]) {
            let sink = &mut self.sinks[id];
            let source = sink.source;
            sink.position = Position::Ended;
            sink.tell(SinkEvent::Ended(SinkEnd::NotCarried(why.into())));
            return self.left_source(source);
        }
        if let Format::Hls(_) = self.sinks[id].format {
            return self.seat_fetching(id, now);
        }
        let sink = &self.sinks[id];
        let after = sink.sent_until();
        // Who comes from another trans stream goes on as soon as it can.
        let (source, from_cache) = (sink.source, sink.from_cache || after.is_some());
        let framing = sink.framing;
        let trans_id = self.trans_for(source, (sink.format, sink.selection));
        let settings = &self.sources[source].settings;
        let (audio_start, until) = (settings.audio_start_back, now + settings.key_wait);
        let trans = &mut self.transes[trans_id];
        trans.idle_since = None;
        let index = trans.sinks.len();
        trans.sinks.push(id);
        trans.framings[framing as usize] += 1;
        self.sources[source].watched.joined(now);
        self.watched.joined(now);
        self.outputs.of(self.sinks[id].output()).viewers += 1;
        // The open block began before the newcomer came.
        let from = trans.log.head() + u64::from(trans.has_open() && !from_cache);
        let sink = &mut self.sinks[id];
        sink.position = Position::AwaitingKey { trans: trans_id, index, from, after, until };
        sink.caught_up = false;
        if from_cache {
            self.seal_for_newcomer(trans_id, now);
            if let Some(start) = self.start_in_log(trans_id, after, audio_start) {
                self.start_at(id, start, now);
            }
        }
        if matches!(self.sinks[id].position, Position::AwaitingKey { .. }) {
            self.await_key(id, trans_id, until);
        }
        if self.transes[trans_id].has_open() {
            self.flush_in_a_window(trans_id, now);
        }
    }

    /// Why the format of `sink` has nothing for it of the tracks there are, if there are some.
    fn nothing_carried(&self, sink: &Sink) -> Option<String> {
        let (source, Sink { format, selection, .. }) = (&self.sources[sink.source], sink);
        let tracks = &source.tracks;
        // Who comes to a trans stream that runs does not look into the tracks' records once more.
        let running = self.trans_of(source, (*format, *selection));
        if running.is_some_and(|id| self.transes[id].carries_some_of(tracks))
            || selection.of(tracks).any(|track| format.carries(track))
        {
            return None;
        }
        let codecs: Vec<_> = selection.of(tracks).map(|track| track.codec.to_string()).collect();
        let (codecs, format) = (codecs.join(" and "), format.name());
        let why = || format!("this stream is {codecs}, which has no place in {format}");
        (!codecs.is_empty()).then(why)
    }

    /// The block to start at now. None also if a key frame waits in the open block, which will
    /// be sealed in a moment.
    fn start_in_log(
        &self,
        trans: TransId,
        after: Option<Timestamp>,
        audio_start: Duration,
    ) -> Option<u64> {
        let trans = &self.transes[trans];
        let start = trans.log.start(audio_start).filter(|_| !trans.opens_with_a_picture())?;
        let block = trans.log.get(start).expect("a start lies in the log");
        after.is_none_or(|after| block.start >= after).then_some(start)
    }

    /// Lists a sink whose position says that it awaits a key block.
    pub(super) fn await_key(&mut self, id: SinkId, trans: TransId, until: Instant) {
        self.transes[trans].awaiting_key.insert(id);
        // One timer at most: a viewer may move to other tracks as often as it likes.
        let sink = &mut self.sinks[id];
        if !std::mem::replace(&mut sink.key_wait_set, true) {
            let serial = sink.serial;
            self.at(until, Timer::KeyWait(id, serial));
        }
    }

    /// Sets the cursor of a sink that awaited a key block.
    pub(super) fn start_at(&mut self, id: SinkId, next: u64, now: Instant) {
        let sink = &mut self.sinks[id];
        let Position::AwaitingKey { trans, index, .. } = sink.position else { return };
        sink.position = Position::At { trans, index, next };
        // A key block begins with what others are sent for that.
        let block = self.transes[trans].log.get(next);
        let begins = block.is_some_and(|block| block.key != Start::No);
        sink.rejoins = sink.greeting.is_none() || !begins;
        sink.log_bytes = self.transes[trans].log.bytes_before(next);
        if let Some(greeting) = sink.greeting.take() {
            sink.private.push(*greeting);
            let preamble = self.transes[trans].preamble();
            sink.send_framed(&preamble);
            sink.tell(SinkEvent::Started);
        }
        self.transes[trans].awaiting_key.remove(&id);
        self.visit_at(id, now);
    }

    /// Takes `id` out of its trans stream or waiting list, leaving its position stale.
    fn unseat(&mut self, id: SinkId, now: Instant) {
        let sink = &self.sinks[id];
        let source = sink.source;
        match sink.position {
            Position::Waiting => {
                self.node.waiting_sinks.fetch_sub(1, Ordering::Relaxed);
                self.sources[source].waiting.remove(&id);
            }
            Position::AwaitingKey { trans, index, .. } | Position::At { trans, index, .. } => {
                let from = &mut self.transes[trans];
                from.framings[sink.framing as usize] -= 1;
                from.awaiting_key.remove(&id);
                let sinks = &mut self.sinks;
                from.remove(index, |moved, index| sinks[moved].position.set_index(index));
                self.sources[source].watched.left(now);
                self.watched.left(now);
                self.outputs.of(self.sinks[id].output()).viewers -= 1;
                self.rest_if_unread(trans, now);
            }
            Position::Fetching { .. } => self.unseat_fetching(id, now),
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
            sink.rejoins |= newest > next;
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
        if sink.is_seated() {
            self.unseat(id, now);
            // The headers it has are not those of the other tracks.
            self.sinks[id].init_sent = None;
            self.seat(id, now);
        }
    }

    /// Bytes for this viewer alone: at once if its cursor stands at a block boundary.
    pub(super) fn send_private(&mut self, id: SinkId, bytes: Bytes, now: Instant) {
        let sink = &mut self.sinks[id];
        let more = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        sink.reply_bytes = sink.reply_bytes.saturating_add(more);
        if sink.reply_bytes > REPLY_BYTES_MAX {
            return self.end_sink(id, SinkEnd::Flooded, now);
        }
        sink.private.push(bytes);
        self.visit_at(id, now);
    }

    /// Puts `id` into the behind set, to be visited at `at`.
    pub(super) fn visit_at(&mut self, id: SinkId, at: Instant) {
        if self.sinks[id].behind.is_none() {
            self.revisit(id, super::visit::RETRY_MIN, at);
        }
    }

    /// Puts `id`, which is not in it, into the behind set. `wait` is how long it waited.
    pub(super) fn revisit(&mut self, id: SinkId, wait: Duration, at: Instant) {
        let turn = self.next_serial();
        let sink = &mut self.sinks[id];
        sink.behind = Some(u16::try_from(wait.as_millis()).unwrap_or(u16::MAX));
        self.behind.push(Reverse(Revisit { at, turn, id, serial: sink.serial }));
        self.wake(at);
    }
}
