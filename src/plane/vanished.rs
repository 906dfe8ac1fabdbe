//! Viewers whose peer has gone without a word: a pulled plug, a phone without a network.
//!
//! A socket that is full tells so at the next write. But what a small stream sends in minutes fits
//! into the kernel, which goes on trying for a quarter of an hour; its keepalive is silent as long as
//! bytes are unacknowledged, and its TCP_USER_TIMEOUT also ends readers that are only slow. So the
//! kernel is asked now and then what a viewer has acknowledged, which takes half a microsecond; of a
//! viewer whose stream fills its socket in that time anyway, it is not.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::sink::{Position, Sink};
use super::visit::UNSENT_MIN;
use super::{Hub, SinkEnd, SinkId};

/// What a peer has said of the bytes that its socket took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// So many bytes have arrived since the connection began.
    pub acknowledged: u64,
    /// Others have not: they are on their way or wait for room at the peer.
    pub waits: bool,
    /// How long the peer has said nothing at all.
    pub silent: Duration,
}

/// Viewers that were found silent, by their place among all.
#[derive(Debug, Default)]
pub(super) struct Silent {
    since: HashMap<SinkId, Since>,
    /// The place that is looked at next.
    next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    serial: u64,
    acknowledged: u64,
    at: Instant,
}

/// Each viewer is asked for once in so many calls,
const CALLS: usize = 8;
/// unless there are so many that a call would hold up the others: a thousand take half a millisecond.
const LOOKS_MAX: usize = 1000;
/// A stream that fills a socket within this time needs no question.
const FILLS_WITHIN: Duration = Duration::from_secs(CALLS as u64);
/// Whoever has said something within this time is not silent: of viewers of a large stream some
/// bytes are always on their way.
const SILENT_MIN: Duration = Duration::from_secs(1);

impl Hub {
    /// Looks at an eighth of the viewers, a thousand at most, and at the next ones when it is called
    /// again, which is to be once a second. Ends those of small streams that have taken nothing for
    /// `stall_timeout` although bytes waited in their socket. `None` of `ask`: nothing is known of
    /// that socket.
    ///
    /// Of who has paused nothing is asked: it may leave lying what was on its way.
    pub fn end_the_vanished(&mut self, now: Instant, ask: impl Fn(RawFd) -> Option<Delivery>) {
        let places = self.sinks.capacity().max(CALLS);
        for _ in 0..places.div_ceil(CALLS).min(LOOKS_MAX) {
            let id = if self.silent.next < places { self.silent.next } else { 0 };
            self.silent.next = id + 1;
            let Some(sink) = self.sinks.get(id).filter(|sink| self.may_vanish_unseen(sink)) else {
                self.silent.since.remove(&id);
                continue;
            };
            let known = self.silent.since.get(&id).filter(|known| known.serial == sink.serial);
            let Some(Delivery { acknowledged, waits: true, silent }) = ask(sink.fd) else {
                self.silent.since.remove(&id);
                continue;
            };
            match known.filter(|known| known.acknowledged == acknowledged) {
                Some(known) => {
                    let limit = self.sources[sink.source].settings.stall_timeout;
                    if now.saturating_duration_since(known.at) >= limit {
                        self.silent.since.remove(&id);
                        self.totals.stalls += 1;
                        self.end_sink(id, SinkEnd::Stalled(limit), now);
                    }
                }
                None if silent >= SILENT_MIN => {
                    let since = Since { serial: sink.serial, acknowledged, at: now };
                    self.silent.since.insert(id, since);
                }
                None => drop(self.silent.since.remove(&id)),
            }
        }
    }

    /// It has begun, is to take all that comes, and that is too little to fill its socket.
    fn may_vanish_unseen(&self, sink: &Sink) -> bool {
        let fills = match sink.position {
            Position::Waiting | Position::AwaitingKey { .. } => false,
            Position::At { trans, .. } => {
                let bytes = self.transes[trans].log.bytes_in(FILLS_WITHIN);
                bytes.is_some_and(|bytes| bytes >= UNSENT_MIN)
            }
            Position::Fetching { .. } | Position::Ended => true,
        };
        sink.greeting.is_none() && !sink.paused && !fills
    }
}
