use std::time::Duration;

use super::ws;

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
    #[error("http/head: at byte {at}: expected GET, HEAD or OPTIONS, found {found}")]
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
            Self::Malformed { .. } => 400,
            Self::HeadTooLong { .. } => 431,
            Self::HeadTooSlow { .. } => 408,
            Self::Method { .. } => 405,
            Self::WebSocketVersion { .. } => 426,
            Self::WebSocket { .. } | Self::TooMuchInput { .. } => 0,
        }
    }
}
