//! What the control thread tells a core, or asks of it. A core obeys between two turns; what it
//! answers goes straight to whoever asked, and a core that nobody asks does nothing for it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::grant::Grant;
use super::verdict::Advice;
use crate::config::Config;
use crate::net::TlsConfigs;
use crate::plane::CoreSnapshot;

/// Yes, or no and what the client is told.
pub type Answer = Result<Grant, String>;

/// One order, or one question.
#[derive(Debug)]
pub enum Order {
    /// The answer to a question of a connection.
    Answer {
        /// The asker's number.
        ask: u64,
        /// The answer. One that comes late is dropped, which ends what it grants.
        answer: Answer,
    },
    /// The answer to what a publisher's connection asked about a [`Concern`](super::verdict::Concern).
    Advice {
        /// The asker's number.
        ask: u64,
        /// The answer.
        advice: Advice,
    },
    /// How is it going?
    Measure(oneshot::Sender<CoreSnapshot>),
    /// From now on this holds. Answered when it does.
    Configure(Arc<Config>, oneshot::Sender<()>),
    /// Are you there? Answered by a word in [`Health`](super::health::Health).
    Pulse,
    /// New connections are to show these certificates.
    Certify(Arc<TlsConfigs>),
    /// End.
    Stop,
}
