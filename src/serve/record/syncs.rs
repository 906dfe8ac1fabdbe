use std::time::{Duration, Instant};

/// When a recording makes durable what it has written: each interval all that had come by then,
/// whatever comes meanwhile.
#[derive(Debug)]
pub(super) struct Syncs {
    every: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The next is due then.
    At(Instant),
    /// One is due, and begins when so many more pieces are written; the one behind it is due then.
    After(usize, Instant),
}

impl Syncs {
    /// The first is due one interval after `now`.
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self { every, state: State::At(now + every) }
    }

    /// When the next is due. `None`: it is.
    pub(super) fn due_at(&self) -> Option<Instant> {
        match self.state {
            State::At(at) => Some(at),
            State::After(..) => None,
        }
    }

    /// It is, and so many pieces wait that it is to reach.
    pub(super) fn is_due(&mut self, waiting: usize, now: Instant) {
        self.state = State::After(waiting, now + self.every);
    }

    /// A piece is taken to be written.
    pub(super) fn takes_piece(&mut self) {
        if let State::After(waiting, _) = &mut self.state {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// True if one is due, and what it is to reach is written. It begins.
    pub(super) fn begins(&mut self) -> bool {
        let State::After(0, next) = self.state else { return false };
        self.state = State::At(next);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_reaches_what_had_come_and_does_not_wait_for_what_comes_then() {
        let (every, begun) = (Duration::from_secs(1), Instant::now());
        let mut syncs = Syncs::new(every, begun);
        assert_eq!(syncs.due_at(), Some(begun + every));
        syncs.takes_piece();
        assert!(!syncs.begins());
        syncs.is_due(2, begun + every);
        assert_eq!(syncs.due_at(), None);
        for is_last in [false, true] {
            assert!(!syncs.begins());
            syncs.takes_piece();
            assert_eq!(syncs.begins(), is_last);
        }
        // However long that took.
        assert_eq!(syncs.due_at(), Some(begun + 2 * every));
        assert!(!syncs.begins());
        // Nothing waits: at once.
        syncs.is_due(0, begun + 2 * every);
        assert!(syncs.begins());
    }
}
