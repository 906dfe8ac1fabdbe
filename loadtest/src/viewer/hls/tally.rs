//! What all viewers of HLS on one thread found, together.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Position;
use crate::inspect::Moment;
use crate::report::Hls;

/// Since the last [`Tally::begin`].
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(super) found: Hls,
    /// In order of their first answers.
    waits: VecDeque<Wait>,
}

/// All who waited for one part of one stream.
#[derive(Debug)]
struct Wait {
    stream: u32,
    part: Position,
    since: Instant,
    /// When the part was whole, as far as some viewer could tell.
    sealed_ns: Option<u64>,
    /// When each asked and had its answer.
    answers: Vec<(u64, u64)>,
}

/// So long after the first answer nobody hears of a part any more.
const WAITS: Duration = Duration::from_secs(3);
/// Of all streams together; more are accounted for before their time.
const WAITS_MAX: usize = 4096;

impl Tally {
    /// Forgets everything.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }

    /// A blocking reload was answered: `part` of `stream` is there.
    pub(super) fn reloaded(&mut self, stream: u32, part: Position, asked: Moment, read: Moment) {
        let times = (asked.clock_ns, read.clock_ns);
        match self.waits.iter_mut().rev().find(|it| (it.stream, it.part) == (stream, part)) {
            Some(wait) => wait.answers.push(times),
            None => {
                if self.waits.len() == WAITS_MAX {
                    self.account();
                }
                let (since, sealed_ns) = (read.at, None);
                self.waits.push_back(Wait { stream, part, since, sealed_ns, answers: vec![times] });
            }
        }
    }

    /// The picture that ended `part` was sent at `clock_ns`.
    pub(super) fn sealed(&mut self, stream: u32, part: Position, clock_ns: u64) {
        let wait = self.waits.iter_mut().rev().find(|it| (it.stream, it.part) == (stream, part));
        if let Some(wait) = wait {
            wait.sealed_ns = Some(clock_ns);
        }
    }

    /// Accounts for parts that nobody waits for any more.
    pub(crate) fn tick(&mut self, now: Instant) {
        while self.waits.front().is_some_and(|it| now.saturating_duration_since(it.since) > WAITS) {
            self.account();
        }
    }

    fn account(&mut self) {
        let Some(wait) = self.waits.pop_front() else { return };
        let first = wait.answers.iter().map(|(_, answered)| *answered).min().unwrap_or(0);
        for (asked, answered) in wait.answers {
            let since = |ns: u64| Duration::from_nanos(answered.saturating_sub(asked.max(ns)));
            self.found.reload_spread_ms.record(since(first));
            if let Some(sealed_ns) = wait.sealed_ns {
                self.found.reload_ms.record(since(sealed_ns));
            }
        }
    }

    /// All of it, of a time of `window_s`. None if nobody asked for anything.
    pub(crate) fn finish(mut self, window_s: f64) -> Option<Hls> {
        while !self.waits.is_empty() {
            self.account();
        }
        self.found.requests_per_s = self.found.requests as f64 / window_s;
        (self.found.requests > 0).then_some(self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Distribution;

    #[test]
    fn each_answer_counts_from_the_first_and_from_the_picture_that_ended_the_part() {
        let start = Instant::now();
        let moment = |ms: u64| Moment {
            at: start + Duration::from_millis(ms),
            clock_ns: 1_000_000_000 + ms * 1_000_000,
        };
        let part = |part| Position { msn: 7, part };
        let mut tally = Tally::default();
        // Read in another order than they came.
        tally.reloaded(0, part(2), moment(0), moment(103));
        tally.reloaded(0, part(2), moment(0), moment(101));
        // This one asked when the part was there already.
        tally.reloaded(0, part(2), moment(108), moment(110));
        tally.reloaded(1, part(2), moment(0), moment(400));
        tally.sealed(0, part(2), moment(100).clock_ns);
        tally.sealed(0, part(9), 0);
        tally.tick(start + WAITS);
        assert_eq!(tally.found.reload_ms.count(), 0);
        tally.tick(start + WAITS * 2);
        let found = tally.finish(1.0);
        assert_eq!(found, None, "nobody asked");
        let mut tally = Tally::default();
        tally.found.requests = 4;
        tally.reloaded(0, part(2), moment(0), moment(103));
        tally.reloaded(0, part(2), moment(0), moment(101));
        tally.reloaded(0, part(2), moment(108), moment(110));
        tally.sealed(0, part(2), moment(100).clock_ns);
        let found = tally.finish(2.0).expect("they asked");
        assert_eq!((found.requests_per_s, found.reload_spread_ms.count()), (2.0, 3));
        let ms = |of: &Distribution| [0.0, 1.0].map(|at| of.value_at(at).map(f64::round));
        assert_eq!(ms(&found.reload_spread_ms), [Some(0.0), Some(2.0)]);
        assert_eq!(ms(&found.reload_ms), [Some(1.0), Some(3.0)]);
    }
}
