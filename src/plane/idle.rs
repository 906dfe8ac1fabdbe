//! Streams that somebody publishes and nobody watches.

use std::time::Instant;

use super::hub::Timer;
use super::{Hub, SourceId};

/// How long a source has been published for nobody.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Idle {
    /// Nobody has watched since, and its publisher was not yet told so.
    pub(super) since: Option<Instant>,
    /// A timer looks at it: one at most, as viewers may come and go as often as they like.
    timer: bool,
}

impl Hub {
    /// Begins to count, if `id` has a publisher and no viewer.
    pub(super) fn watch_for_idleness(&mut self, id: SourceId, now: Instant) {
        let source = &mut self.sources[id];
        let timeout = source.settings.idle_timeout;
        if source.sinks > 0 || source.publisher.is_none() || timeout.is_zero() {
            source.idle.since = None;
            return;
        }
        source.idle.since = Some(now);
        if !std::mem::replace(&mut source.idle.timer, true) {
            let serial = source.serial;
            self.at(now + timeout, Timer::Idle(id, serial));
        }
    }

    /// The time has come to look.
    pub(super) fn look_for_idleness(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        source.idle.timer = false;
        let timeout = source.settings.idle_timeout;
        let Some(since) = source.idle.since.filter(|_| !timeout.is_zero()) else { return };
        if since + timeout > now {
            source.idle.timer = true;
            self.at(since + timeout, Timer::Idle(id, serial));
            return;
        }
        source.idle.since = None;
        if let Some(slot) = &source.publisher {
            slot.tell_idle();
        }
    }
}
