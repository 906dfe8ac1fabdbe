//! What the control thread tells a core, or asks of it. A core obeys between two turns; what it
//! answers goes straight to whoever asked, and a core that nobody asks does nothing for it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::doors::Door;
use super::grant::Grant;
use crate::config::Config;
use crate::net::TlsConfigs;
use crate::plane::{CoreSnapshot, Left};

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
    /// How is it going?
    Measure(oneshot::Sender<CoreSnapshot>),
    /// From now on this holds. Answered when it does.
    Configure(Arc<Config>, oneshot::Sender<()>),
    /// Are you there?
    Ping(oneshot::Sender<()>),
    /// Accept here too. Answered when it does.
    Open(Vec<Door>, oneshot::Sender<()>),
    /// Accept no more at these addresses; who has come in by them stays. Answered when it does.
    Close(Vec<SocketAddr>, oneshot::Sender<()>),
    /// Have these leave. Answered at once with who is left.
    Leave(Leave, oneshot::Sender<Left>),
    /// New connections are to show these certificates.
    Certify(Arc<TlsConfigs>),
    /// End.
    Stop,
}

/// Who is to leave a node that goes out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// Nobody, and newcomers are let in; this is how it begins, and takes back what was said.
    Nobody,
    /// So many more viewers, each where it can go on elsewhere; newcomers are refused.
    Viewers(usize),
    /// All publishers.
    Publishers,
    /// Everyone who is left, wherever they stand.
    Everyone,
}
