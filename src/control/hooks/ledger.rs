//! What was granted and has not ended, for the ends that no core tells.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::plane::SinkStats;
use crate::serve::event::GrantEnd;
use crate::serve::verdict::Question;

/// Grants by the address of their question, which each has for itself and keeps to its end.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<usize, Given>>);

/// A yes whose end is to be told.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) question: Arc<Question>,
    since: Instant,
    started: bool,
    /// Its end is told. It stays here, so that it has no second one.
    ended: bool,
}

impl Ledger {
    /// The grant of `question` is there, or has come to what it was for.
    pub(super) fn enter(&self, question: &Arc<Question>, started: bool) {
        let (since, ended) = (Instant::now(), false);
        let given = || Given { question: Arc::clone(question), since, started, ended };
        self.lock().entry(address(question)).or_insert_with(given).started |= started;
    }

    /// Its core tells its end. False: it has been told.
    pub(super) fn strike(&self, question: &Arc<Question>) -> bool {
        self.lock().remove(&address(question)).is_none_or(|given| !given.ended)
    }

    /// Takes those whose end was lost on its way: nobody else has their question any more.
    pub(super) fn take_lost(&self) -> Vec<Given> {
        let is_lost =
            |_: &usize, given: &mut Given| !given.ended && Arc::strong_count(&given.question) == 1;
        self.lock().extract_if(is_lost).map(|(_, given)| given).collect()
    }

    /// Ends all that have not ended, because of `reason`.
    pub(super) fn end_all(&self, reason: &str) -> Vec<(Arc<Question>, GrantEnd)> {
        let mut all = self.lock();
        let rest = all.values_mut().filter(|given| !given.ended);
        let end = |given: &mut Given| {
            given.ended = true;
            (Arc::clone(&given.question), given.end(reason))
        };
        rest.map(end).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<usize, Given>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Given {
    /// An end as far as it is known.
    pub(super) fn end(&self, reason: &str) -> GrantEnd {
        GrantEnd {
            started: self.started,
            lasted: self.since.elapsed(),
            received: 0,
            sent: SinkStats::default(),
            reason: reason.into(),
        }
    }
}

/// Nobody else's for as long as the question is there.
fn address(question: &Arc<Question>) -> usize {
    Arc::as_ptr(question).addr()
}
