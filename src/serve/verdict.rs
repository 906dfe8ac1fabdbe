//! May this one do that? The question leaves the core by value and its answer comes back by id.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Secret;
use crate::media::StreamKey;
use crate::proto::rtmp::Connect;
use crate::shard::CoreId;

/// Who asks for what, as a hook server or a rule wants to know it.
#[derive(Debug, Clone)]
pub struct Question {
    /// The connection; the same through all its questions and events.
    pub client: ClientId,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// What it wants.
    pub action: Action,
    /// Query parameters, raw, without `?`. They may hold secrets.
    pub query: Box<str>,
    /// What an RTMP client said of itself.
    pub connect: Option<Arc<Connect>>,
    /// The page or address an HTTP client named: Referer, else Origin.
    pub referer: Option<Box<str>>,
    /// The token an HTTP client sent as `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// User-Agent of an HTTP client.
    pub user_agent: Option<Box<str>>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To be an RTMP client of an app.
    Connect {
        /// The app.
        app: String,
    },
    /// To publish a stream.
    Publish(StreamKey),
    /// To play a stream.
    Play(StreamKey),
}

/// Names a connection for as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub u64);

impl Question {
    /// The stream that it is about.
    pub fn stream(&self) -> Option<&StreamKey> {
        match &self.action {
            Action::Connect { .. } => None,
            Action::Publish(key) | Action::Play(key) => Some(key),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// How a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RTMP.
    Rtmp,
    /// HTTP.
    Http,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtmp => "rtmp",
            Self::Http => "http",
        })
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// No, and what the client is told.
    Deny(String),
}

/// Takes questions from any core and answers each once, whenever it can. It must not block.
pub trait Ask: Send + Sync + fmt::Debug {
    /// `ask` and `core` say where the answer goes.
    fn ask(&self, question: Arc<Question>, core: CoreId, ask: u64);
}
