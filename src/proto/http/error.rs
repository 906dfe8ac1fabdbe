use std::time::Duration;

use super::ingest::Container;
use super::ws;
use crate::container::{flv, fmp4, ts};

/// What the peer did that ends its connection. The answer that tells it so, if there is one, waits
/// in `poll_transmit`. `at` counts bytes from the start of the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The head, or what is asked with it, can never become right: 400.
    #[error("http/head: at byte {at}: expected {expected}, found {found}")]
    Malformed {
        /// Where the head begins.
        at: u64,
        /// What would have been right.
        expected: &'static str,
        /// What came, shortened and escaped.
        found: String,
    },
    /// The head has more bytes than allowed: 431.
    #[error("http/head: at byte {at}: expected a head of at most {limit} {unit}, found more")]
    HeadTooLong {
        /// Where the head begins.
        at: u64,
        /// The limit.
        limit: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// The head took longer than allowed: 408.
    #[error("http/head: at byte {at}: expected a whole head within {limit:?}, found {had} bytes")]
    HeadTooSlow {
        /// Where the head begins.
        at: u64,
        /// The limit.
        limit: Duration,
        /// Bytes of the head that had come.
        had: usize,
    },
    /// A method not served here: 405.
    #[error("http/head: at byte {at}: expected GET, HEAD, POST, PUT or OPTIONS, found {found}")]
    Method {
        /// Where the head begins.
        at: u64,
        /// The method.
        found: String,
    },
    /// A WebSocket version other than 13: 426.
    #[error("http/websocket: at byte {at}: expected Sec-WebSocket-Version 13, found {found}")]
    WebSocketVersion {
        /// Where the head begins.
        at: u64,
        /// The version asked for.
        found: String,
    },
    /// A frame that RFC 6455 forbids or that is larger than allowed: a close frame with the code.
    #[error("http/websocket: at byte {at}: {violation}")]
    WebSocket {
        /// Where the frame was given up.
        at: u64,
        /// What was wrong.
        violation: ws::Violation,
    },
    /// An expectation other than 100-continue (RFC 9110 10.1.1): 417.
    #[error("http/head: at byte {at}: expected Expect: 100-continue, found {found}")]
    Expectation {
        /// Where the head begins.
        at: u64,
        /// What is expected.
        found: String,
    },
    /// The chunks of a body can never become right: 400.
    #[error("http/body: at byte {at}: expected {expected}, found {found}")]
    Body {
        /// Where.
        at: u64,
        /// What would have been right.
        expected: &'static str,
        /// The byte that came, escaped.
        found: String,
    },
    /// What is published is not what its path says: 400, or 413 if a part of it is too long.
    #[error("http/body: in what begins at byte {at} of the body: {error}")]
    Media {
        /// Where, in the content of the body: as if it were a file.
        at: u64,
        /// What is wrong.
        error: flv::Error,
    },
    /// What is published is not what its path says, or encrypted: 400.
    #[error("http/body: up to byte {at} of the body: {error}")]
    Ts {
        /// Where, in the content of the body: as if it were a file.
        at: u64,
        /// What is wrong.
        error: ts::Error,
    },
    /// What is published is not what its path says, or cannot be read as it comes: 400, or 413 if a
    /// part of it is too long. It says where, in the content of the body: as if it were a file.
    #[error("http/body: {0}")]
    Mp4(fmp4::Error),
    /// The body of a publisher ended, and nothing was published: 400.
    #[error(
        "http/body: at byte {at} of the body, its end: expected audio or video in {container}, found none"
    )]
    NoMedia {
        /// How long it was: as if it were a file.
        at: u64,
        /// What its path says that it is.
        container: Container,
    },
    /// What is published is in another container than its path says, by how it begins: 400.
    #[error(
        "http/body: expected {expected}, found what looks like {found}: name it {}",
        found.extension()
    )]
    Misnamed {
        /// What its path says that it is.
        expected: Container,
        /// What it looks like.
        found: Container,
    },
    /// A publisher sent nothing for too long: 408.
    #[error("http/body: at byte {at}: expected {expected} within {limit:?}, found none")]
    Silent {
        /// Where its silence began.
        at: u64,
        /// What was waited for.
        expected: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The peer of a running stream kept sending what nobody will read.
    #[error(
        "http/stream: at byte {at}: expected at most {limit} bytes after the request, found more"
    )]
    TooMuchInput {
        /// Where the limit was passed.
        at: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Error {
    /// The status that answers it; 0 if no HTTP response can be given any more.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. }
            | Self::Body { .. }
            | Self::NoMedia { .. }
            | Self::Misnamed { .. } => 400,
            Self::Media { error: flv::Error::TooLong { .. }, .. } => 413,
            Self::Mp4(
                fmp4::Error::TooLong { .. }
                | fmp4::Error::TooManyBoxes { .. }
                | fmp4::Error::TooManySamples { .. },
            ) => 413,
            Self::Media { .. } | Self::Ts { .. } | Self::Mp4(_) => 400,
            Self::HeadTooLong { .. } => 431,
            Self::HeadTooSlow { .. } | Self::Silent { .. } => 408,
            Self::Method { .. } => 405,
            Self::Expectation { .. } => 417,
            Self::WebSocketVersion { .. } => 426,
            Self::WebSocket { .. } | Self::TooMuchInput { .. } => 0,
        }
    }
}
