//! Viewers that only discard and do not mind when: when they are looked at.

use std::io;
use std::time::{Duration, Instant};

use super::sockets::Sockets;

/// Those that are in. A thread that slept until one of them is ready would be woken by the server's
/// next write to any of them, and the server would pay for that, as it does not for viewers on
/// other hosts; so they are looked at every [`REST`].
pub(super) struct Patient {
    pub(super) sockets: Sockets,
    count: usize,
    /// The next look, if there is anybody by then.
    due: Instant,
}

/// How long they are let wait: little enough for what the kernel holds for them to stay in the
/// cache.
const REST: Duration = Duration::from_millis(4);
/// So many of them are looked at before the others again: some 0.3 ms.
const AT_ONCE: usize = 100;

impl Patient {
    /// Nobody is.
    pub(super) fn new(now: Instant) -> io::Result<Self> {
        Ok(Self { sockets: Sockets::new(AT_ONCE)?, count: 0, due: now })
    }

    /// The next look. None while there is nobody to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.count > 0).then_some(self.due)
    }

    /// One more. The first is let wait as long as anybody.
    pub(super) fn come(&mut self, now: Instant) {
        if self.count == 0 {
            self.due = now + REST;
        }
        self.count += 1;
    }

    /// One less.
    pub(super) fn go(&mut self) {
        self.count -= 1;
    }

    /// They were looked at just now; it is their turn again at once if that was not all of them.
    pub(super) fn looked_at(&mut self) {
        if !self.sockets.may_be_more() {
            self.due = Instant::now() + REST;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_looked_at_where_there_is_nobody() {
        let start = Instant::now();
        let mut patient = Patient::new(start).expect("the kernel has epoll");
        assert_eq!(patient.due(), None);
        let later = start + Duration::from_secs(9);
        patient.come(later);
        patient.come(later + REST / 2);
        assert_eq!(patient.due(), Some(later + REST));
        patient.go();
        assert_eq!(patient.due(), Some(later + REST));
        patient.go();
        assert_eq!(patient.due(), None);
    }
}
