//! Streams that somebody publishes and nobody watches.

use std::time::Instant;

use super::hub::Timer;
use super::{Hub, SourceId};

/// How long a source has been published for nobody.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Idle {
    state: State,
    /// When a timer looks at it. One is enough, as viewers may come and go as often as they like; one
    /// of before a shorter time was configured finds that it is too early, or that nothing is left.
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Somebody watches, or nobody publishes, or that is of no interest.
    #[default]
    Busy,
    /// Nobody has watched since.
    Since(Instant),
    /// Nor until its publisher was told so.
    Told,
}

impl Idle {
    /// Somebody watches.
    pub(super) fn end(&mut self) {
        self.state = State::Busy;
    }

    /// The publisher was told that nobody watches, and nobody has come since.
    pub(super) fn is_told(self) -> bool {
        self.state == State::Told
    }
}

impl Hub {
    /// Begins to count, if `id` has a publisher and no viewer.
    pub(super) fn watch_for_idleness(&mut self, id: SourceId, now: Instant) {
        self.sources[id].idle.end();
        self.go_on_watching_for_idleness(id, now);
    }

    /// Goes on to count by the time that is configured now.
    pub(super) fn go_on_watching_for_idleness(&mut self, id: SourceId, now: Instant) {
        let source = &mut self.sources[id];
        let timeout = source.settings.idle_timeout;
        if source.sinks > 0 || source.publisher.is_none() || timeout.is_zero() {
            return source.idle.end();
        }
        let since = match source.idle.state {
            State::Busy => now,
            State::Since(since) => since,
            State::Told => return,
        };
        source.idle.state = State::Since(since);
        let at = since + timeout;
        if source.idle.due.is_none_or(|due| at < due) {
            source.idle.due = Some(at);
            let serial = source.serial;
            self.at(at, Timer::Idle(id, serial));
        }
    }

    /// The time has come to look.
    pub(super) fn look_for_idleness(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        if source.idle.due.is_none_or(|due| now < due) {
            return;
        }
        source.idle.due = None;
        let timeout = source.settings.idle_timeout;
        let State::Since(since) = source.idle.state else { return };
        if timeout.is_zero() || now < since + timeout {
            return self.go_on_watching_for_idleness(id, now);
        }
        if let Some(slot) = &source.publisher {
            source.idle.state = State::Told;
            slot.tell_idle();
        }
    }
}
