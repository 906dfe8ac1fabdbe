//! Handshakes take turns: one signature costs a core up to some milliseconds, in which no stream of
//! its goes on. Each step of a handshake is paid for with as much time that is free of them, so that a
//! crowd, or whoever plays one, gets half of a core at most.
//!
//! Who must wait does so as a connection that is open: for no longer than its own deadlines allow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::net::rt;

thread_local! {
    static OF_THIS_CORE: RefCell<Turns> = RefCell::default();
}

/// So much may be owed before others must wait. It bounds how long handshakes alone go on, but for a
/// single one that is longer.
const OWED_MAX: Duration = Duration::from_millis(1);
/// Who has been called and has gone is noticed after this.
const CALL_AGAIN: Duration = Duration::from_millis(1);

/// The turns of one core, without its clock.
#[derive(Default)]
struct Turns {
    /// From when on nothing is owed for the steps there have been.
    paid_at: Option<Instant>,
    /// Who wait, the first first. They are connections that are open: no more than there may be.
    waiting: BTreeMap<u64, Waker>,
    serial: u64,
    /// Somebody calls those who wait.
    is_called: bool,
}

impl Turns {
    /// True if the holder of `place` may do a step now; else it is called when it should ask again.
    fn ask(&mut self, now: Instant, place: &mut Option<u64>, waker: &Waker) -> bool {
        // Who was called is not in the list any more, and goes before all who are.
        let is_next = match place {
            None => self.waiting.is_empty(),
            Some(place) => !self.waiting.contains_key(place),
        };
        if is_next && self.has_time(now) {
            *place = None;
            return true;
        }
        let place = *place.get_or_insert_with(|| {
            self.serial += 1;
            self.serial
        });
        self.waiting.insert(place, waker.clone());
        false
    }

    fn has_time(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|paid_at| paid_at <= now + OWED_MAX)
    }

    /// A step ended `now` and took so long. Answers who is next, if anyone may be.
    fn took(&mut self, now: Instant, time: Duration) -> Option<Waker> {
        let began = now.checked_sub(time).unwrap_or(now);
        let owed_from = self.paid_at.map_or(began, |paid_at| paid_at.max(began));
        // The time of the step itself, and as much again for others.
        self.paid_at = Some(owed_from + 2 * time);
        self.has_time(now).then(|| self.call())?
    }

    /// Who waits longest.
    fn call(&mut self) -> Option<Waker> {
        self.waiting.pop_first().map(|(_, waker)| waker)
    }
}

/// A connection's place among those who wait for their turn, if it has one.
#[derive(Debug, Default)]
pub(crate) struct Turn(Option<u64>);

impl Turn {
    /// Ready when a step may be done, for which [`took`] is to be told.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (may, nobody_calls) = OF_THIS_CORE.with_borrow_mut(|turns| {
            let may = turns.ask(Instant::now(), &mut self.0, cx.waker());
            (may, !may && !std::mem::replace(&mut turns.is_called, !turns.waiting.is_empty()))
        });
        if nobody_calls {
            rt::spawn(call_all());
        }
        if may { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            // The thread's storage may be gone when the executor drops its last tasks.
            let _ = OF_THIS_CORE.try_with(|turns| turns.borrow_mut().waiting.remove(&place));
        }
    }
}

/// A step took so long.
pub(crate) fn took(time: Duration) {
    let next = OF_THIS_CORE.with_borrow_mut(|turns| turns.took(Instant::now(), time));
    next.into_iter().for_each(Waker::wake);
}

/// While anybody waits: calls the first as soon as all is paid for.
async fn call_all() {
    loop {
        let soonest = Instant::now() + CALL_AGAIN;
        let paid_at = OF_THIS_CORE.with_borrow(|turns| turns.paid_at);
        rt::sleep_until(paid_at.map_or(soonest, |paid_at| paid_at.max(soonest))).await;
        let first = OF_THIS_CORE.with_borrow_mut(|turns| {
            // Who was called before may have made new debts.
            let first = turns.has_time(Instant::now()).then(|| turns.call()).flatten();
            turns.is_called = first.is_some() || !turns.waiting.is_empty();
            turns.is_called.then_some(first)
        });
        let Some(first) = first else { return };
        first.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(400);

    #[test]
    fn a_crowd_gets_half_of_the_time_and_the_first_goes_first() {
        let (mut turns, waker, start) = (Turns::default(), Waker::noop(), Instant::now());
        let mut places = [const { None }; 200];
        let (mut now, mut done, mut worked) = (start, Vec::new(), Duration::ZERO);
        while done.len() < places.len() {
            for (number, place) in places.iter_mut().enumerate() {
                if !done.contains(&number) && turns.ask(now, place, waker) {
                    now += STEP;
                    worked += STEP;
                    done.push(number);
                    turns.took(now, STEP);
                }
            }
            assert!(worked <= (now - start) / 2 + 2 * OWED_MAX, "{worked:?} of {:?}", now - start);
            now += STEP / 4;
            if turns.has_time(now) {
                turns.call();
            }
        }
        assert!(done.is_sorted(), "{done:?}");
        assert!(worked >= (now - start) / 3, "{worked:?} of {:?}: time is not wasted", now - start);
    }

    #[test]
    fn who_comes_alone_never_waits() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        for _ in 0..100 {
            assert!(turns.ask(now, &mut None, Waker::noop()));
            turns.took(now + STEP, STEP);
            now += 2 * STEP;
        }
        // One that takes long is paid for by those after it.
        turns.took(now + Duration::from_millis(10), Duration::from_millis(10));
        let mut place = None;
        assert!(!turns.ask(now + Duration::from_millis(18), &mut place, Waker::noop()));
        turns.call().expect("it waits");
        assert!(turns.ask(now + Duration::from_millis(20), &mut place, Waker::noop()));
        assert_eq!(place, None);
    }
}
