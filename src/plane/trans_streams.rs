//! The trans streams of the hub's sources: made on demand, sealed, flushed, dropped when idle.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::hub::Timer;
use super::sink::Position;
use super::source::Source;
use super::trans::Trans;
use super::{Format, Hub, Selection, Settings, SinkEnd, SinkId, SourceId, TransId};

/// A trans stream nobody watches is kept this long for the next viewer.
pub(super) const TRANS_IDLE: Duration = Duration::from_secs(5);

impl Hub {
    /// The source's trans stream of that kind, if there is one.
    pub(super) fn trans_of(&self, source: &Source, what: (Format, Selection)) -> Option<TransId> {
        let of = |id: TransId| (self.transes[id].format, self.transes[id].selection);
        source.transes.iter().copied().find(|id| of(*id) == what)
    }

    /// The same; a new one begins with what the GOP cache holds.
    pub(super) fn trans_for(&mut self, source_id: SourceId, what: (Format, Selection)) -> TransId {
        let source = &self.sources[source_id];
        if let Some(id) = self.trans_of(source, what) {
            return id;
        }
        let first = source.gop.frames().next().map(|(tracks, _)| tracks);
        let tracks = Rc::clone(first.unwrap_or(&source.tracks));
        for track in what.1.of(&source.tracks).filter(|track| !what.0.carries(track)) {
            tracing::info!(stream = %source.key, format = what.0.name(), codec = %track.codec,
                "left out: it has no place in this format");
        }
        let mut trans = Trans::new(source_id, what, &source.settings, tracks);
        let gop = source.gop.is_of_pictures();
        for (at, (tracks, frame)) in source.gop.frames().enumerate() {
            trans.push(tracks, frame, at == 0 && gop, gop);
        }
        let id = self.transes.insert(trans);
        self.sources[source_id].transes.push(id);
        id
    }

    pub(super) fn drop_idle_trans(&mut self, id: TransId, now: Instant) {
        let Some(trans) = self.transes.get_mut(id) else { return };
        trans.idle_set = false;
        let Some(since) = trans.idle_since else { return };
        if since + TRANS_IDLE > now {
            trans.idle_set = true;
            self.at(since + TRANS_IDLE, Timer::TransIdle(id));
        } else {
            let source = trans.source;
            self.sources[source].transes.retain(|other| *other != id);
            self.remove_trans(id);
        }
    }

    pub(super) fn remove_trans(&mut self, id: TransId) {
        self.transes.remove(id);
        // The places that name it must not name its successor in the slab.
        self.sweeps.retain(|other| *other != id);
        self.due.retain(|Reverse((_, other))| *other != id);
        self.timers.retain(|_, timer| match timer {
            Timer::TransIdle(other) | Timer::NewcomerSeal(other) => *other != id,
            _ => true,
        });
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

    /// The merge window in force.
    pub(super) fn window_of(&self, source: &Source) -> Duration {
        let Settings { merge_window, merge_window_max, .. } = *source.settings;
        self.pressure.window(merge_window, merge_window_max)
    }

    /// Flushes `id` one merge window from now, unless a flush is due already.
    pub(super) fn flush_in_a_window(&mut self, id: TransId, now: Instant) {
        let trans = &self.transes[id];
        if trans.due.is_none() {
            let source = &self.sources[trans.source];
            let window = self.window_of(source).saturating_sub(source.waited);
            self.flush_by(id, now + window);
        }
    }

    /// Closes the open block, so that all that was muxed is in the log.
    pub(super) fn seal(&mut self, id: TransId, now: Instant) {
        self.transes[id].seal();
        self.after_seal(id, now);
    }

    /// Nobody may start at a block there is now.
    pub(super) fn forget_starts(&mut self, id: TransId, now: Instant) {
        self.seal(id, now);
        self.transes[id].log.forget_keys();
        if !self.transes[id].sinks.is_empty() {
            self.flush_in_a_window(id, now);
        }
    }

    /// A newcomer needs what is in the open block: sealed now, or as soon as that is allowed.
    /// It is not flushed: those who watch already do not pay for newcomers.
    pub(super) fn seal_for_newcomer(&mut self, id: TransId, now: Instant) {
        let trans = &mut self.transes[id];
        if !trans.has_open() || trans.newcomer_seal_due {
            return;
        }
        let rest = self.sources[trans.source].settings.newcomer_seal;
        match trans.sealed_for_newcomer.map(|last| last + rest).filter(|at| *at > now) {
            Some(at) => {
                trans.newcomer_seal_due = true;
                self.at(at, Timer::NewcomerSeal(id));
            }
            None => self.newcomer_seal_is_due(id, now),
        }
    }

    pub(super) fn newcomer_seal_is_due(&mut self, id: TransId, now: Instant) {
        let trans = &mut self.transes[id];
        trans.newcomer_seal_due = false;
        trans.sealed_for_newcomer = Some(now);
        self.seal(id, now);
    }

    /// A block was sealed: who waited for a start may have one, who holds too much must go.
    pub(super) fn after_seal(&mut self, id: TransId, now: Instant) {
        self.end_those_who_pin(id, now);
        self.start_those_who_wait(id, now);
    }

    /// Frees the oldest blocks that only slow viewers hold, by ending those viewers, until what
    /// is left is within bounds.
    fn end_those_who_pin(&mut self, id: TransId, now: Instant) {
        let max = self.sources[self.transes[id].source].settings.pinned_max_bytes;
        // The last viewer of a source that is over takes its trans streams along.
        while let Some(trans) = self.transes.get_mut(id)
            && trans.log.pinned_bytes() > max
        {
            let Some(oldest) = trans.log.oldest_pinned() else { return };
            // A viewer may hold it and have moved to other tracks: look at all.
            let holders = self.sinks.iter().filter(|(_, sink)| sink.holds(&oldest));
            let holders: Vec<SinkId> = holders.map(|(id, _)| id).collect();
            drop(oldest);
            for holder in holders {
                self.totals.pinned_out += 1;
                self.end_sink(holder, SinkEnd::Pinned, now);
                self.sinks[holder].in_hand = None;
            }
        }
    }

    fn start_those_who_wait(&mut self, id: TransId, now: Instant) {
        let Some(trans) = self.transes.get(id) else { return };
        let Some(key) = trans.log.newest_key().filter(|_| !trans.awaiting_key.is_empty()) else {
            return;
        };
        let start = trans.log.get(key).expect("the newest key block is in the log").start;
        let can_start = |sink: &&SinkId| match self.sinks[**sink].position {
            Position::AwaitingKey { from, after, .. } => {
                key >= from && after.is_none_or(|after| start >= after)
            }
            _ => false,
        };
        let ready: Vec<SinkId> = trans.awaiting_key.iter().filter(can_start).copied().collect();
        for sink in ready {
            self.start_at(sink, key, now);
        }
    }
}
