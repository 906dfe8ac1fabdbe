//! What a client was allowed to do, from the yes to its end.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slab::Slab;

use super::event::{Event, Events, GrantEnd};
use super::verdict::Question;
use crate::plane::SinkStats;

/// A question that was answered by yes. Wherever it goes, on its way back to the core, with a
/// connection from core to core, into a refusal after all, its end is told exactly once: by
/// [`Self::end`], by being dropped, or by [`OpenGrant::end`] if the node is gone before that.
#[derive(Debug)]
pub struct Grant {
    // Boxed, so to say: every connection has room for one.
    it: Arc<Granted>,
}

#[derive(Debug)]
struct Granted {
    question: Arc<Question>,
    events: Arc<Events>,
    since: Instant,
    /// Among the grants that are open.
    place: AtomicUsize,
    started: AtomicBool,
    ended: AtomicBool,
}

/// Grants that have not ended. A core that stops leaves its connections where they are.
#[derive(Debug, Default)]
pub(super) struct OpenGrants([Mutex<Slab<Arc<Granted>>>; SHARDS]);

/// Cores that grant at the same time seldom meet.
const SHARDS: usize = 16;

/// A grant that nobody may be left to end.
#[derive(Debug)]
pub(crate) struct OpenGrant(Arc<Granted>);

impl Grant {
    /// Yes to `question`.
    pub fn new(question: Arc<Question>, events: Arc<Events>) -> Self {
        let it = Arc::new(Granted {
            question,
            events,
            since: Instant::now(),
            place: AtomicUsize::new(0),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let place = it.shard().insert(Arc::clone(&it));
        it.place.store(place, Ordering::Relaxed);
        Self { it }
    }

    /// What was granted.
    pub fn question(&self) -> &Arc<Question> {
        &self.it.question
    }

    /// It has come to what was granted.
    pub(crate) fn start(&mut self) {
        self.it.started.store(true, Ordering::Relaxed);
        self.it.events.tell(Event::Started(Arc::clone(&self.it.question)));
    }

    /// It is over. `received` and `sent` are what its client moved.
    pub(crate) fn end(self, reason: &str, received: u64, sent: SinkStats) {
        self.it.end(reason, received, sent);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.it.end("the connection was gone", 0, SinkStats::default());
        let place = self.it.place.load(Ordering::Relaxed);
        drop(self.it.shard().remove(place));
    }
}

impl Granted {
    /// Its part of the grants that are open.
    fn shard(&self) -> MutexGuard<'_, Slab<Arc<Self>>> {
        let shard = &self.events.open.0[(self.question.client.0 % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, reason: &str, received: u64, sent: SinkStats) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let (started, lasted) = (self.started.load(Ordering::Relaxed), self.since.elapsed());
        let end = GrantEnd { started, lasted, received, sent, reason: reason.into() };
        self.events.tell(Event::Ended { question: Arc::clone(&self.question), end });
    }
}

impl OpenGrants {
    /// Those of now.
    pub(super) fn all(&self) -> Vec<OpenGrant> {
        let mut all = Vec::new();
        for shard in &self.0 {
            let open = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(open.iter().map(|(_, it)| OpenGrant(Arc::clone(it))));
        }
        all
    }
}

impl OpenGrant {
    /// Tells its end, if that was not told.
    pub(crate) fn end(&self, reason: &str) {
        self.0.end(reason, 0, SinkStats::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::verdict::{Action, ClientId, Protocol};

    #[test]
    fn a_grant_has_one_end_whether_it_is_told_or_dropped() {
        let (events, mut heard) = Events::new(8);
        let question = Arc::new(Question {
            client: ClientId(1),
            peer: ([127, 0, 0, 1], 1).into(),
            protocol: Protocol::Rtmp,
            action: Action::Connect { app: "live".to_owned() },
            asked: None,
            query: "".into(),
            connect: None,
            http: None,
        });
        let grant = || Grant::new(Arc::clone(&question), Arc::clone(&events));
        grant().end("finished", 5, SinkStats::default());
        let mut started = grant();
        started.start();
        assert_eq!(events.open().len(), 1);
        drop(started);
        let left = grant();
        events.open().iter().for_each(|grant| grant.end("stopped"));
        drop(left);
        assert!(events.open().is_empty());
        let mut ends = Vec::new();
        while let Ok(event) = heard.try_recv() {
            if let Event::Ended { end, .. } = event {
                ends.push((end.started, end.received, end.reason.to_string()));
            }
        }
        let gone = "the connection was gone".to_owned();
        assert_eq!(
            ends,
            [(false, 5, "finished".to_owned()), (true, 0, gone), (false, 0, "stopped".to_owned())]
        );
    }
}
