//! What the control thread tells a core, or asks of it. A core obeys between two turns; what it
//! answers goes straight to whoever asked, and a core that nobody asks does nothing for it.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::blocks::Blocks;
use super::grant::Grant;
use super::verdict::Advice;
use crate::config::Config;
use crate::media::StreamKey;
use crate::net::TlsConfigs;
use crate::plane::{CoreSnapshot, SinkId, SinkSnapshot, StreamDetails};

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
    /// What do you know of this stream? Answered by none if it is not here.
    Stream(StreamKey, oneshot::Sender<Option<Box<StreamDetails>>>),
    /// Who plays this stream, or waits for it?
    Sinks {
        /// Which.
        stream: StreamKey,
        /// So many are left out, and so many told.
        page: (usize, usize),
        /// How many they are, and those of the page; none if the stream is not here.
        asker: oneshot::Sender<Option<(usize, Vec<SinkSnapshot>)>>,
    },
    /// What do you know of this viewer?
    Sink(SinkId, u64, oneshot::Sender<Option<SinkSnapshot>>),
    /// End a viewer. Answered by false if it is not there.
    EndSink {
        /// Its place.
        id: SinkId,
        /// Whose place it was.
        serial: u64,
        /// Why, for the viewer and the log.
        reason: String,
        /// Whether it was there.
        asker: oneshot::Sender<bool>,
    },
    /// Put the publisher of this stream out, likewise.
    EndPublisher {
        /// Which.
        stream: StreamKey,
        /// Why, for the publisher and the log.
        reason: String,
        /// Whether it was there.
        asker: oneshot::Sender<bool>,
    },
    /// From now on these may not connect.
    Block {
        /// All of them.
        blocks: Arc<Blocks>,
        /// The one that was not among them before: who is here from there goes.
        newly: Option<IpAddr>,
        /// How many publishers and viewers went.
        asker: oneshot::Sender<usize>,
    },
    /// Are you there? Answered by a word in [`Health`](super::health::Health).
    Pulse,
    /// New connections are to show these certificates.
    Certify(Arc<TlsConfigs>),
    /// End.
    Stop,
}
