//! What the control thread tells a core, or asks of it; and what cores tell each other beside where streams are. A core obeys between two turns; what it
//! answers goes straight to whoever asked, and a core that nobody asks does nothing for it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::blocks::Blocks;
use super::doors::Door;
use super::grant::Grant;
use super::record::{RecordRefused, RecordingSnapshot};
use super::ts_udp::Moved;
use super::verdict::Advice;
use crate::config::{Config, RecordFormat};
use crate::media::StreamKey;
use crate::net::TlsConfigs;
use crate::plane::{CoreSnapshot, Left, SinkId, SinkSnapshot, StreamDetails};

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
    /// Accept here too. Answered when it does.
    Open(Vec<Door>, oneshot::Sender<()>),
    /// Accept no more at these addresses; who has come in by them stays. Answered when it does.
    Close(Vec<SocketAddr>, oneshot::Sender<()>),
    /// Receive datagrams of an input here, which begins or comes from another core. Whoever asks is
    /// answered when it does.
    Receive(Box<Moved>, Option<oneshot::Sender<()>>),
    /// Have these leave. Answered at once with who is left.
    Leave(Leave, oneshot::Sender<Left>),
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
    /// Record this stream.
    Record {
        /// The stream.
        key: StreamKey,
        /// What it is muxed as; none: as its app says.
        format: Option<RecordFormat>,
        /// Answered by none if nobody publishes it here.
        asker: oneshot::Sender<Option<Result<RecordingSnapshot, RecordRefused>>>,
    },
    /// End the recording of this stream. Answered by false if there is none here.
    EndRecording(StreamKey, oneshot::Sender<bool>),
    /// Which recordings are there?
    Recordings(oneshot::Sender<Vec<RecordingSnapshot>>),
    /// Of another core: about streams that are fetched.
    Hls(super::hls::Word),
    /// From now on these may not connect.
    Block {
        /// All of them.
        blocks: Arc<Blocks>,
        /// The one that was not among them before: who is here from there goes.
        newly: Option<IpAddr>,
        /// How many publishers and viewers went.
        asker: oneshot::Sender<usize>,
    },
    /// New connections are to show these certificates. Answered when they do.
    Certify(Arc<TlsConfigs>, oneshot::Sender<()>),
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
