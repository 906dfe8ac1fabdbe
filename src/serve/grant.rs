//! What a client was allowed to do, from the yes to its end.

use std::sync::Arc;
use std::time::Instant;

use super::access::{Census, Counted, Full};
use super::event::{Event, Events, GrantEnd};
use super::verdict::Question;
use crate::config::{App, Limits};
use crate::plane::SinkStats;

/// A question that was answered by yes. Wherever it goes, on its way back to the core, with a
/// connection from core to core, into a refusal after all, its end is told exactly once: by
/// [`Self::end`], or by being dropped.
#[derive(Debug)]
pub struct Grant {
    // Boxed: every connection has room for one.
    it: Box<Granted>,
}

#[derive(Debug)]
struct Granted {
    question: Arc<Question>,
    events: Arc<Events>,
    since: Instant,
    started: bool,
    ended: bool,
    /// Among those who publish or watch, until the end.
    counted: Option<Counted>,
}

impl Grant {
    /// Yes to `question`.
    pub fn new(question: Arc<Question>, events: Arc<Events>) -> Self {
        let since = Instant::now();
        let (started, ended, counted) = (false, false, None);
        Self { it: Box::new(Granted { question, events, since, started, ended, counted }) }
    }

    /// Yes to `question`, which is counted in already.
    pub(crate) fn counted(
        question: Arc<Question>,
        events: Arc<Events>,
        counted: Option<Counted>,
    ) -> Self {
        let mut grant = Self::new(question, events);
        grant.it.counted = counted;
        grant
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
        self.it.events.tell(Event::Started(Arc::clone(&self.it.question)));
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
        let (started, lasted) = (self.started, self.since.elapsed());
        let end = GrantEnd { started, lasted, received, sent, reason: reason.into() };
        self.events.tell(Event::Ended { question: Arc::clone(&self.question), end });
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if !self.ended {
            self.end("its connection ended", 0, SinkStats::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_has_one_end_whether_it_is_told_or_dropped() {
        let (events, mut heard) = Events::new(8);
        let question = Arc::new(Question::to_connect());
        let grant = || Grant::new(Arc::clone(&question), Arc::clone(&events));
        grant().end("finished", 5, SinkStats::default());
        let mut started = grant();
        started.start();
        drop(started);
        let mut ends = Vec::new();
        while let Ok(event) = heard.try_recv() {
            if let Event::Ended { end, .. } = event {
                ends.push((end.started, end.received, end.reason.to_string()));
            }
        }
        let gone = "its connection ended".to_owned();
        assert_eq!(ends, [(false, 5, "finished".to_owned()), (true, 0, gone)]);
    }
}
