//! What the flush loop does: which sink next, which slices, how much went.

use std::cmp::Reverse;
use std::io::{ErrorKind, IoSlice};
use std::os::fd::RawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::block::Start;
use super::hub::Revisit;
use super::sink::{Position, Sink};
use super::trans::Sweep;
use super::turns::Turn;
use super::{Hub, SinkEnd, SinkId, TransId};

/// Slices of one vectored write.
pub type Slices<'a> = ArrayVec<IoSlice<'a>, 64>;

/// A socket may hold this much unsent, however small the stream is.
pub(super) const UNSENT_MIN: usize = 128 << 10;
/// Most bytes one visit hands to the socket, so that one viewer cannot hold up the sweep.
const VISIT_BYTES: usize = 256 << 10;
/// A sink whose socket is full is tried again after this.
pub(super) const RETRY_MIN: Duration = Duration::from_millis(10);
/// While it takes nothing the wait doubles up to this.
const RETRY_MAX: Duration = Duration::from_millis(320);
/// A sweep that takes less than this is no overrun, however small the merge window.
const OVERRUN_MIN: Duration = Duration::from_millis(20);

/// What the socket said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It took this many bytes.
    Wrote(usize),
    /// It took this many bytes, a batch; it would take more, but the rest is for another visit.
    Batch(usize),
    /// They were taken, but some lie between here and the socket, which is full: they must be
    /// written on even if nothing comes behind them.
    Held(usize),
    /// It is full.
    Full,
    /// It is broken.
    Failed(ErrorKind),
}

impl Hub {
    /// The next sink to write to. `None` when nothing is due at `now`.
    ///
    /// Sinks that are behind and sinks of a sweep take turns, so that neither starves.
    pub fn next_visit(&mut self, now: Instant) -> Option<SinkId> {
        self.end_flush_turn(now);
        self.behind_turn = !self.behind_turn;
        let first = if self.behind_turn { self.next_behind(now) } else { None };
        // A sweep that begins may let viewers start, who are then behind.
        let next = first.or_else(|| self.next_of_sweep(now)).or_else(|| self.next_behind(now))?;
        self.flush_turn = Some(Turn { of: self.sinks[next].source, since: now });
        Some(next)
    }

    /// True if something that was written lies between here and the socket of `id`.
    pub fn is_held(&self, id: SinkId) -> bool {
        self.sinks[id].held
    }

    /// The socket of `id` and the slices to write to it, at most 256 KiB. No slices: there is
    /// nothing to say, and [`Self::wrote`] need not be called unless something [is held](Self::is_held).
    pub fn slices(&mut self, id: SinkId, now: Instant) -> (RawFd, Slices<'_>) {
        self.prepare(id, now);
        let sink = &self.sinks[id];
        let mut list = SliceList { slices: Slices::new(), left: VISIT_BYTES };
        if sink.position == Position::Ended {
            // What is left of it is for its driver.
            return (sink.fd, list.slices);
        }
        let mut fits = true;
        if let Some((block, sent)) = &sink.in_hand {
            fits = list.add_after(block.parts(sink.framing), *sent);
        }
        fits = fits && sink.private.slices().all(|slice| list.add(slice));
        if let Position::At { trans, next, .. } = sink.position
            && fits
            && !sink.paused
        {
            for block in self.transes[trans].log.from(next) {
                // A changed init goes first, and so does what tells of a jump: both are made private
                // on the next visit. Who leaves does so before a key block.
                if Some(block.init.version) != sink.init_sent
                    || sink.rejoins
                    || (sink.leaving && block.key != Start::No)
                    || !list.add_after(block.parts(sink.framing), 0)
                {
                    break;
                }
            }
        }
        (sink.fd, list.slices)
    }

    /// The socket's answer to the write of all slices, which held `offered` bytes.
    pub fn wrote(&mut self, id: SinkId, mut offered: usize, outcome: Outcome, now: Instant) {
        self.totals.writes += 1;
        let sink = &mut self.sinks[id];
        let (taken, full) = match outcome {
            Outcome::Wrote(taken) => {
                sink.held = false;
                (taken, taken == 0 && offered > 0)
            }
            Outcome::Batch(taken) => {
                sink.held = false;
                // As if no more had been offered: the next visit comes at once.
                offered = taken;
                (taken, false)
            }
            Outcome::Held(taken) => {
                sink.held = true;
                (taken, false)
            }
            Outcome::Full => (0, true),
            Outcome::Failed(kind) => return self.end_sink(id, SinkEnd::WriteFailed(kind), now),
        };
        self.outputs.of(sink.output()).egress_bytes += taken as u64;
        self.totals.short_writes += u64::from(!full && (taken < offered || sink.held));
        self.totals.blocked_writes += u64::from(full);
        sink.stats.bytes += taken as u64;
        self.sources[sink.source].stats.egress_bytes += taken as u64;
        if !full {
            sink.blocked_since = None;
            self.consume(id, taken);
            let sink = &self.sinks[id];
            if taken < offered || sink.held {
                self.revisit(id, RETRY_MIN, now + RETRY_MIN);
            } else if self.is_at_head(sink) {
                let sink = &mut self.sinks[id];
                sink.rest();
                sink.caught_up |= matches!(sink.position, Position::At { .. });
            } else {
                self.revisit(id, Duration::ZERO, now);
            }
            return;
        }
        let since = *sink.blocked_since.get_or_insert(now);
        let limit = self.sources[sink.source].settings.stall_timeout;
        if now.saturating_duration_since(since) >= limit {
            self.totals.stalls += 1;
            self.end_sink(id, SinkEnd::Stalled(limit), now);
        } else {
            let waited = Duration::from_millis(sink.behind.unwrap_or(0).into());
            let wait = (waited * 2).clamp(RETRY_MIN, RETRY_MAX);
            self.revisit(id, wait, now + wait);
        }
    }

    /// Two windows of the stream, or one at its widest: with less, viewers that keep up would take
    /// more than one write per window.
    pub(super) fn unsent_max(&self, id: SinkId) -> usize {
        let sink = &self.sinks[id];
        // It may have started and ended before its driver looks, and the source with it.
        let Some(source) = self.sources.get(sink.source) else { return UNSENT_MIN };
        let settings = &source.settings;
        let time = (2 * settings.merge_window).max(settings.merge_window_max);
        let bytes = match sink.position {
            Position::At { trans, .. } => self.transes[trans].log.bytes_in(time),
            _ => None,
        };
        bytes.unwrap_or(settings.block_bytes).max(UNSENT_MIN)
    }

    fn next_behind(&mut self, now: Instant) -> Option<SinkId> {
        loop {
            let &Reverse(Revisit { at, id, serial, .. }) = self.behind.peek()?;
            if at > now {
                return None;
            }
            self.behind.pop();
            let sink = self.sinks.get(id).filter(|sink| sink.serial == serial);
            if sink.is_some_and(|sink| sink.position != Position::Ended) {
                return Some(id);
            }
        }
    }

    fn next_of_sweep(&mut self, now: Instant) -> Option<SinkId> {
        self.begin_due_sweeps(now);
        while let Some(trans_id) = self.sweeps.pop_front() {
            let trans = &mut self.transes[trans_id];
            let sweep = trans.sweep.as_mut().expect("a trans stream in the list is being swept");
            let Some(&id) = trans.sinks.get(sweep.at) else {
                let again = sweep.again;
                self.sweep_times.record(now.saturating_duration_since(sweep.since));
                self.totals.sweeps += 1;
                trans.sweep = None;
                if again {
                    self.begin_sweep(trans_id, now);
                }
                continue;
            };
            sweep.at += 1;
            // Sweeps take turns, so that a small one does not wait for a large one.
            self.sweeps.push_back(trans_id);
            let sink = &self.sinks[id];
            if sink.behind.is_none() && matches!(sink.position, Position::At { .. }) {
                self.totals.swept_viewers += 1;
                return Some(id);
            }
        }
        None
    }

    fn begin_due_sweeps(&mut self, now: Instant) {
        while let Some(&Reverse((at, id))) = self.due.peek().filter(|Reverse((at, _))| *at <= now) {
            self.due.pop();
            let trans = &mut self.transes[id];
            if trans.due != Some(at) {
                continue;
            }
            trans.due = None;
            let Some(sweep) = &mut trans.sweep else {
                self.loop_lags.record(now.saturating_duration_since(at));
                self.begin_sweep(id, now);
                continue;
            };
            sweep.again = true;
            let window = self.sources[trans.source].settings.merge_window;
            if now.saturating_duration_since(sweep.since) >= window.max(OVERRUN_MIN) {
                self.totals.overruns += 1;
                self.pressure.overrun();
            }
        }
    }

    fn begin_sweep(&mut self, id: TransId, now: Instant) {
        let trans = &mut self.transes[id];
        trans.due = None;
        trans.sweep = Some(Sweep { at: 0, since: now, again: false });
        self.sweeps.push_back(id);
        self.seal(id, now);
    }

    /// Brings the cursor to where the next write starts: past what was let go, forward if it
    /// lags too far, and with the init of its block if that is another than it was sent.
    fn prepare(&mut self, id: SinkId, now: Instant) {
        if self.is_at_head(&self.sinks[id]) {
            self.sinks[id].rest();
            return;
        }
        let sink = &mut self.sinks[id];
        let Position::At { trans: trans_id, index, next } = sink.position else { return };
        if sink.in_hand.is_some() || sink.paused {
            return;
        }
        let log = &self.transes[trans_id].log;
        if next >= log.head() {
            return;
        }
        let max_lag = self.sources[sink.source].settings.max_lag;
        let end = log.end().expect("a block lies before the head");
        let here = log.get(next);
        let lag = |start| Duration::from_nanos(end.since(start).max(0).unsigned_abs());
        let lags = here.is_none_or(|block| sink.caught_up && lag(block.start) > max_lag);
        if sink.leaving && (lags || here.is_none_or(|block| block.key != Start::No)) {
            // What is held goes out first, by this same loop.
            if !sink.held {
                self.end_sink(id, SinkEnd::Draining, now);
            }
            return;
        }
        let newest_key = log.newest_key().filter(|key| *key > next);
        let mut skip = None;
        let number = match (lags, newest_key) {
            (true, Some(key)) => {
                let to = log.get(key).expect("the newest key block is in the log");
                let from = here.map(|block| block.start).or(sink.sent_until).unwrap_or(to.start);
                let skipped_ms = to.start.since(from).max(0).unsigned_abs() / 1_000_000;
                let from = here.map_or(sink.log_bytes, |block| block.bytes_before);
                let skipped_bytes = to.bytes_before.saturating_sub(from);
                sink.stats.skips += 1;
                sink.stats.skipped_ms += skipped_ms;
                sink.stats.skipped_bytes += skipped_bytes;
                self.totals.skips += 1;
                self.sources[sink.source].stats.skips += 1;
                tracing::info!(stream = %self.sources[sink.source].key, sink = id, skipped_ms,
                    skipped_bytes, blocks = key - next, bytes_sent = sink.stats.bytes,
                    "viewer lagged past max_lag: moved to the newest key block");
                sink.position = Position::At { trans: trans_id, index, next: key };
                sink.rejoins = true;
                skip = Some((skipped_ms, skipped_bytes));
                key
            }
            (_, None) if here.is_none() => {
                // Let go by the log, and no key block ahead: wait for the next one.
                let skipped_ms = sink.sent_until.map_or(0, |from| lag(from).as_millis() as u64);
                let skipped_bytes = log.bytes_before(log.head()).saturating_sub(sink.log_bytes);
                sink.stats.skips += 1;
                sink.stats.skipped_ms += skipped_ms;
                sink.stats.skipped_bytes += skipped_bytes;
                self.totals.skips += 1;
                self.sources[sink.source].stats.skips += 1;
                tracing::info!(stream = %self.sources[sink.source].key, sink = id, skipped_ms,
                    skipped_bytes, bytes_sent = sink.stats.bytes,
                    "viewer lagged past the log: waits for the next key frame");
                let (from, after) = (log.head(), None);
                let until = now + self.sources[sink.source].settings.key_wait;
                sink.position =
                    Position::AwaitingKey { trans: trans_id, index, from, after, until };
                sink.rest();
                self.tell_skip(id, skipped_ms, skipped_bytes);
                self.await_key(id, trans_id, until);
                return;
            }
            _ => next,
        };
        let block = log.get(number).expect("chosen from the log");
        if sink.init_sent != Some(block.init.version) {
            sink.init_sent = Some(block.init.version);
            sink.send_framed(&block.init.bytes);
        }
        if std::mem::take(&mut sink.rejoins) {
            sink.send_framed(&block.rejoin);
        }
        if let Some((ms, bytes)) = skip {
            self.tell_skip(id, ms, bytes);
        }
    }

    /// Moves the cursor over `taken` bytes, in the order [`Self::slices`] listed them.
    fn consume(&mut self, id: SinkId, mut taken: usize) {
        let sink = &mut self.sinks[id];
        let framing = sink.framing;
        if let Some((block, sent)) = &mut sink.in_hand {
            let rest = block.framed_len(framing) - *sent;
            if taken < rest {
                *sent += taken;
                return;
            }
            taken -= rest;
            sink.sent_until = Some(block.end);
            sink.log_bytes = block.bytes_through();
            sink.in_hand = None;
        }
        let private = taken.min(sink.private.len());
        sink.private.advance(private);
        if sink.private.is_empty() {
            sink.reply_bytes = 0;
        }
        taken -= private;
        while taken > 0 {
            // Blocks are offered only to a sink with a cursor.
            let Position::At { trans, next, .. } = &mut sink.position else { return };
            let block = self.transes[*trans].log.get(*next).expect("it was offered just now");
            *next += 1;
            let len = block.framed_len(framing);
            if taken < len {
                sink.in_hand = Some((Rc::clone(block), taken));
                return;
            }
            taken -= len;
            sink.sent_until = Some(block.end);
            sink.log_bytes = block.bytes_through();
        }
    }

    /// True if there is nothing to be written to it.
    pub(super) fn is_at_head(&self, sink: &Sink) -> bool {
        if sink.held || sink.in_hand.is_some() || !sink.private.is_empty() {
            return false;
        }
        match sink.position {
            Position::At { trans, next, .. } => {
                sink.paused || next >= self.transes[trans].log.head()
            }
            _ => true,
        }
    }
}

/// Collects slices up to a number of bytes.
struct SliceList<'a> {
    slices: Slices<'a>,
    left: usize,
}

impl<'a> SliceList<'a> {
    /// Adds `bytes`, cut to what may still go. Answers false when nothing more fits.
    fn add(&mut self, bytes: &'a [u8]) -> bool {
        let bytes = &bytes[..bytes.len().min(self.left)];
        if !bytes.is_empty() {
            self.slices.push(IoSlice::new(bytes));
            self.left -= bytes.len();
        }
        self.left > 0 && !self.slices.is_full()
    }

    /// Adds all of `parts` but the first `skip` bytes. Answers false when nothing more fits.
    fn add_after(&mut self, parts: [&'a [u8]; 3], mut skip: usize) -> bool {
        parts.into_iter().all(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            self.add(&part[skipped..])
        })
    }
}
