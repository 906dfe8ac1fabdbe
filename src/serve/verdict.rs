//! May this one do that? The question leaves the core by value and its answer comes back by id.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Config, RecordFormat};
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
    pub protocol: Way,
    /// What it wants, or was given instead.
    pub action: Action,
    /// What it asked for, if it was given another stream.
    pub asked: Option<StreamKey>,
    /// Of a publish that was granted: what is said of its recording, whatever its app says.
    pub record: Option<Record>,
    /// Query parameters, raw, without `?`. They may hold secrets.
    pub query: Box<str>,
    /// What an RTMP client said of itself.
    pub connect: Option<Arc<Connect>>,
    /// What an HTTP client said of itself.
    pub http: Option<Arc<HttpClient>>,
}

/// What an HTTP client says of itself with a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpClient {
    /// The page or address it comes from: Referer, else Origin.
    pub referer: Option<Box<str>>,
    /// User-Agent.
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
    /// The program at the other end, as it calls itself.
    pub fn agent(&self) -> Option<&str> {
        let rtmp = || self.connect.as_ref().map(|connect| &connect.flash_ver[..]);
        let http = self.http.as_ref().and_then(|http| http.user_agent.as_deref());
        http.or_else(rtmp).filter(|agent| !agent.is_empty())
    }

    /// The page that the client was started from, as it says.
    pub fn page(&self) -> Option<&str> {
        let rtmp = || self.connect.as_ref().map(|connect| &connect.page_url[..]);
        let http = self.http.as_ref().and_then(|http| http.referer.as_deref());
        http.or_else(rtmp).filter(|page| !page.is_empty())
    }

    /// The stream that it is about.
    pub fn stream(&self) -> Option<&StreamKey> {
        match &self.action {
            Action::Connect { .. } => None,
            Action::Publish(key) | Action::Play(key) => Some(key),
        }
    }

    /// The same of stream `key`.
    #[must_use]
    pub fn renamed(&self, key: StreamKey) -> Self {
        let asked = self.asked.clone().or_else(|| self.stream().cloned());
        let action = match &self.action {
            Action::Connect { app } => Action::Connect { app: app.clone() },
            Action::Publish(_) => Action::Publish(key),
            Action::Play(_) => Action::Play(key),
        };
        Self { action, asked, ..self.clone() }
    }

    /// What is granted on `terms`, if that is not what was asked for as it was.
    #[must_use]
    pub fn granted(&self, terms: Terms) -> Self {
        let Terms { key, record } = terms;
        let granted = match key {
            Some(key) => self.renamed(key),
            None => self.clone(),
        };
        Self { record, ..granted }
    }

    /// An RTMP client's first, for tests that ask something.
    #[cfg(test)]
    pub(crate) fn to_connect() -> Self {
        Self {
            client: ClientId(1),
            peer: ([127, 0, 0, 1], 1).into(),
            protocol: Protocol::Rtmp.into(),
            action: Action::Connect { app: "live".to_owned() },
            asked: None,
            record: None,
            query: "".into(),
            connect: None,
            http: None,
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

/// How somebody publishes or plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// By a connection.
    Connection(Protocol),
    /// By an input that receives MPEG-TS in datagrams.
    TsUdp,
}

impl From<Protocol> for Way {
    fn from(protocol: Protocol) -> Self {
        Self::Connection(protocol)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(protocol) => protocol.fmt(f),
            Self::TsUdp => f.write_str("ts_udp"),
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow,
    /// Yes, but otherwise than it was asked for.
    AllowWith(Terms),
    /// No, and what the client is told.
    Deny(String),
}

/// How a yes differs from what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// It is to this stream instead.
    pub key: Option<StreamKey>,
    /// What is said of the recording of a publish.
    pub record: Option<Record>,
}

/// Whether a publish is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// No.
    No,
    /// Yes, muxed as its app says.
    Yes,
    /// Yes, muxed like this.
    As(RecordFormat),
}

/// Takes questions from any core and answers each once, whenever it can. It must not block.
pub trait Ask: Send + Sync + fmt::Debug {
    /// `config` is what the core goes by, whose hooks are to be asked. `ask` and `core` say where the
    /// answer goes.
    fn ask(&self, question: Arc<Question>, config: Arc<Config>, core: CoreId, ask: u64);

    /// Says what happened to the publish that `question` was about, and asks what is to become of it.
    fn consult(&self, question: Arc<Question>, concern: Concern, core: CoreId, ask: u64);
}

/// What may happen to a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Nobody has watched it for its app's `idle_timeout`.
    Idle,
    /// Its publisher has sent nothing for too long.
    Silent,
}

/// Whether a publish is to be closed for a [`Concern`]; `None` leaves it to who asks.
pub type Advice = Option<bool>;
