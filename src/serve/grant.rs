//! What a client was allowed to do, from the yes to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slab::Slab;

use super::access::{Census, Counted, Full};
use super::event::{Event, Events, GrantEnd};
use super::verdict::Question;
use crate::config::{App, Limits};
use crate::plane::SinkStats;

/// A question that was answered by yes. Wherever it goes, on its way back to the core, with a
/// connection from core to core, into a refusal after all, its end is told exactly once: by
/// [`Self::end`], by being dropped, or by [`Events::end_one`](super::event::Events::end_one) if the
/// cores are gone before that.
#[derive(Debug)]
pub struct Grant {
    // Boxed: every connection has room for one.
    it: Box<Granted>,
}

#[derive(Debug)]
struct Granted {
    question: Arc<Question>,
    events: Arc<Events>,
    /// Among those that are open.
    place: usize,
    /// As [`Open`] has it, for who need not lock for it.
    started: bool,
    ended: bool,
    /// Among those who publish or watch, until the end.
    counted: Option<Counted>,
}

/// Grants that have not ended: a core that stops leaves its connections where they are.
#[derive(Debug, Default)]
pub(super) struct OpenGrants([Mutex<Slab<Open>>; SHARDS]);

#[derive(Debug)]
pub(super) struct Open {
    question: Arc<Question>,
    since: Instant,
    started: bool,
}

/// Cores that grant at the same time seldom meet.
const SHARDS: usize = 16;

impl Grant {
    /// Yes to `question`.
    pub fn new(question: Arc<Question>, events: Arc<Events>) -> Self {
        let open = Open { question: Arc::clone(&question), since: Instant::now(), started: false };
        let place = events.open.shard(&question).insert(open);
        Self {
            it: Box::new(Granted {
                question,
                events,
                place,
                started: false,
                ended: false,
                counted: None,
            }),
        }
    }

    /// Counts it in, if there is a place.
    pub(crate) fn count(
        &mut self,
        census: &Arc<Census>,
        limits: &Limits,
        app: &App,
    ) -> Result<(), Full> {
        self.it.counted = Counted::new(census, &self.it.question, limits, app)?;
        Ok(())
    }

    /// What was granted.
    pub fn question(&self) -> &Arc<Question> {
        &self.it.question
    }

    /// It has come to what was granted.
    pub(crate) fn start(&mut self) {
        self.it.started = true;
        let Granted { question, events, place, .. } = &*self.it;
        events.open.start(question, *place);
        events.tell(Event::Started(Arc::clone(question)));
    }

    /// Whether it has come to that.
    pub(crate) fn has_started(&self) -> bool {
        self.it.started
    }

    /// It is over. `received` and `sent` are what its client moved.
    pub(crate) fn end(mut self, reason: &str, received: u64, sent: SinkStats) {
        self.it.end(reason, received, sent);
    }
}

impl Granted {
    fn end(&mut self, reason: &str, received: u64, sent: SinkStats) {
        self.ended = true;
        if let Some(open) = self.events.open.take(&self.question, self.place) {
            self.events.tell(open.end(reason, received, sent));
        }
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.ended {
            self.end("its connection ended", 0, SinkStats::default());
        }
    }
}

impl Open {
    /// The event of its end.
    pub(super) fn end(self, reason: &str, received: u64, sent: SinkStats) -> Event {
        let (started, lasted) = (self.started, self.since.elapsed());
        let end = GrantEnd { started, lasted, received, sent, reason: reason.into() };
        Event::Ended { question: self.question, end }
    }
}

impl OpenGrants {
    fn shard(&self, question: &Question) -> MutexGuard<'_, Slab<Open>> {
        let shard = &self.0[(question.client.0 % SHARDS as u64) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, question: &Arc<Question>, place: usize) {
        let mut shard = self.shard(question);
        if let Some(open) = shard.get_mut(place).filter(|open| open.is_of(question)) {
            open.started = true;
        }
    }

    /// The grant of `question`, unless it has ended.
    fn take(&self, question: &Arc<Question>, place: usize) -> Option<Open> {
        let mut shard = self.shard(question);
        // Its place may have another user by then.
        shard.get(place).filter(|open| open.is_of(question))?;
        shard.try_remove(place)
    }

    /// Any of them.
    pub(super) fn take_one(&self) -> Option<Open> {
        self.0.iter().find_map(|shard| {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let (place, _) = shard.iter().next_back()?;
            shard.try_remove(place)
        })
    }
}

impl Open {
    fn is_of(&self, question: &Arc<Question>) -> bool {
        Arc::ptr_eq(&self.question, question)
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
        drop(started);
        let left = grant();
        assert!(events.end_one("stopped"));
        drop((left, grant()));
        assert!(!events.end_one("stopped"), "none is open");
        let mut ends = Vec::new();
        while let Ok(event) = heard.try_recv() {
            if let Event::Ended { end, .. } = event {
                ends.push((end.started, end.received, end.reason.to_string()));
            }
        }
        let expected = [
            (false, 5, "finished"),
            (true, 0, "its connection ended"),
            (false, 0, "stopped"),
            (false, 0, "its connection ended"),
        ];
        assert_eq!(
            ends,
            expected.map(|(started, received, why)| (started, received, why.to_owned()))
        );
    }
}
