//! Whose turn it is, where each has one turn in a round.

use std::time::{Duration, Instant};

/// Goes round the seats, at such a pace that a round takes its length: turns are spread over all of
/// it, and nobody's next one need be kept.
#[derive(Debug)]
pub(super) struct Round {
    length: Duration,
    since: Instant,
    due: f64,
    next: usize,
}

impl Round {
    /// The first begins at `now`.
    pub(super) fn new(length: Duration, now: Instant) -> Self {
        Self { length, since: now, due: 0.0, next: 0 }
    }

    /// Whose turn has come since the last call, of `seats`; nobody twice, however long it was.
    pub(super) fn turns(
        &mut self,
        now: Instant,
        seats: usize,
    ) -> impl Iterator<Item = usize> + use<> {
        let time = now.saturating_duration_since(self.since);
        self.since = now;
        self.due += seats as f64 * time.as_secs_f64() / self.length.as_secs_f64();
        let count = (self.due as usize).min(seats);
        self.due = self.due.fract();
        let first = self.next;
        self.next = (first + count) % seats.max(1);
        (0..count).map(move |step| (first + step) % seats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_one_turn_in_a_round_and_few_at_once() {
        let start = Instant::now();
        let mut round = Round::new(Duration::from_secs(50), start);
        let mut turns = vec![0; 1000];
        for tick in 1..=2 * 2500 {
            let now = start + tick * Duration::from_millis(20);
            let mut at_once = 0;
            for seat in round.turns(now, 1000) {
                turns[seat] += 1;
                at_once += 1;
            }
            assert!(at_once <= 1, "{at_once}");
        }
        // The last turn may be due a hair after the last tick.
        assert!(turns.iter().sum::<u32>() >= 1999 && turns.iter().all(|turns| *turns <= 2));
        let much_later = start + Duration::from_secs(10_000);
        assert_eq!(round.turns(much_later, 1000).count(), 1000);
    }

    #[test]
    fn nobody_has_no_turn() {
        let start = Instant::now();
        let mut round = Round::new(Duration::from_secs(1), start);
        assert_eq!(round.turns(start + Duration::from_secs(9), 0).count(), 0);
    }
}
