//! No: why, and who hears of it.

use std::sync::Arc;
use std::time::Instant;

use super::access::Full;
use super::event::Event;
use super::refusals::Reason;
use super::session::{Protocol, Session};
use super::verdict::Question;
use crate::plane::{PlayRefused, PublishRefused, SinkStats};

/// Why a question is answered by no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Not allowed.
    #[error("{1}")]
    Denied(Reason, String),
    /// Allowed, but there are as many as there may be.
    #[error("{0}")]
    NoRoom(Full),
    /// Somebody else publishes.
    #[error(transparent)]
    Publish(#[from] PublishRefused),
    /// Too many wait, or the core is overloaded.
    #[error(transparent)]
    Play(#[from] PlayRefused),
    /// Moving takes a descriptor for a moment, and there is none.
    #[error("no room: {0}")]
    NoDescriptor(std::io::Error),
    /// The owner's inbox is full.
    #[error(
        "the core that owns this stream is too busy to take more: try another server, or this one again later"
    )]
    OwnerIsBusy,
}

impl Refused {
    /// What it is counted as, if it is not counted where it is found.
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Denied(by, _) => Some(*by),
            Self::Publish(PublishRefused::InUse { .. }) => Some(Reason::Conflict),
            Self::NoRoom(full) => Some(full.reason()),
            Self::NoDescriptor(_) => Some(Reason::NoDescriptor),
            Self::Publish(PublishRefused::Draining) | Self::Play(PlayRefused::Draining) => {
                Some(Reason::Draining)
            }
            Self::Play(_) | Self::OwnerIsBusy => None,
        }
    }
}

impl<P: Protocol> Session<P> {
    pub(crate) fn refuse(&mut self, wish: &P::Wish, why: &Refused, now: Instant) {
        // A client may ask again and again.
        if self.conn.core.violations.borrow_mut().allow(now).is_some() {
            self.log_sparingly(&format!("refused: {why}"));
        }
        self.count_refusal(why);
        let reason = why.to_string();
        if let Some(grant) = &self.conn.about.granted {
            let (question, reason) = (Arc::clone(grant.question()), reason.clone());
            self.conn.about.node.events.tell(Event::Refused { question, reason });
        }
        self.end_grant(&reason, SinkStats::default());
        self.why = Some(reason.into());
        self.protocol.refuse(wish, why, now);
    }

    /// Refuses what no grant was given for.
    pub(crate) fn deny(
        &mut self,
        question: Arc<Question>,
        wish: &P::Wish,
        (by, reason): (Reason, String),
        now: Instant,
    ) {
        self.question = Some(Arc::clone(&question));
        if self.conn.about.granted.is_none() {
            let reason = reason.clone();
            self.conn.about.node.events.tell(Event::Refused { question, reason });
        }
        self.refuse(wish, &Refused::Denied(by, reason), now);
    }

    fn count_refusal(&self, why: &Refused) {
        if let Some(reason) = why.reason() {
            self.conn.core.node.refused.count(reason);
        }
    }
}
