use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hook_url::HookUrl;
use super::secret::Secret;
use super::units::duration;

/// `[hooks]`: servers that are told what happens, or asked. Each URL may be empty for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Told once, at the start.
    pub on_server_started: HookUrl,
    /// Asked whether an RTMP client may connect.
    pub on_connect: HookUrl,
    /// Told that it has left.
    pub on_close: HookUrl,
    /// Asked whether a client may publish.
    pub on_publish: HookUrl,
    /// Told that what was granted to a publisher is over.
    pub on_publish_done: HookUrl,
    /// Asked whether a client may play.
    pub on_play: HookUrl,
    /// Told that what was granted to a viewer is over.
    pub on_play_done: HookUrl,
    /// Told that a viewer waits for a stream that nobody publishes.
    pub on_not_found: HookUrl,
    /// Told that nobody has watched a stream for its app's `idle_timeout`; may close it.
    pub on_idle: HookUrl,
    /// Asked about a publisher that was silent for too long; may keep it.
    pub on_publish_timeout: HookUrl,
    /// Told that a recording has begun, and that it has ended.
    pub on_record: HookUrl,
    /// Told of each file of a recording when it is whole.
    pub on_segment: HookUrl,
    /// Told the figures of the node.
    pub on_stats: HookUrl,
    /// What requests are signed by; empty for no signature.
    pub secret: Secret,
    /// A file with the authorities that sign the certificates of `https` servers; empty for those that
    /// the host trusts.
    pub ca_file: String,
    /// The longest wait for an answer.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long what is told is tried again.
    #[serde(with = "duration")]
    pub retry_for: Duration,
    /// What is told and not yet heard, at most.
    pub queue: usize,
    /// How often the figures are told.
    #[serde(with = "duration")]
    pub stats_interval: Duration,
    /// What becomes of a client if `on_connect` has no answer.
    pub on_connect_error: OnError,
    /// What becomes of a publisher if `on_publish` has no answer.
    pub on_publish_error: OnError,
    /// What becomes of a viewer if `on_play` has no answer.
    pub on_play_error: OnError,
}

/// What no answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// No.
    Deny,
    /// Yes.
    Allow,
}

/// One of the keys of [`Hooks`] that hold a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `on_server_started`
    ServerStarted,
    /// `on_connect`
    Connect,
    /// `on_close`
    Close,
    /// `on_publish`
    Publish,
    /// `on_publish_done`
    PublishDone,
    /// `on_play`
    Play,
    /// `on_play_done`
    PlayDone,
    /// `on_not_found`
    NotFound,
    /// `on_idle`
    Idle,
    /// `on_publish_timeout`
    PublishTimeout,
    /// `on_record`
    Record,
    /// `on_segment`
    Segment,
    /// `on_stats`
    Stats,
}

impl Hook {
    /// All of them, each at the place of its number.
    pub const ALL: [Self; 13] = [
        Self::ServerStarted,
        Self::Connect,
        Self::Close,
        Self::Publish,
        Self::PublishDone,
        Self::Play,
        Self::PlayDone,
        Self::NotFound,
        Self::Idle,
        Self::PublishTimeout,
        Self::Record,
        Self::Segment,
        Self::Stats,
    ];

    /// Its key.
    pub fn key(self) -> &'static str {
        match self {
            Self::ServerStarted => "on_server_started",
            Self::Connect => "on_connect",
            Self::Close => "on_close",
            Self::Publish => "on_publish",
            Self::PublishDone => "on_publish_done",
            Self::Play => "on_play",
            Self::PlayDone => "on_play_done",
            Self::NotFound => "on_not_found",
            Self::Idle => "on_idle",
            Self::PublishTimeout => "on_publish_timeout",
            Self::Record => "on_record",
            Self::Segment => "on_segment",
            Self::Stats => "on_stats",
        }
    }
}

impl Hooks {
    /// Where `hook` is told or asked, if it is.
    pub fn url(&self, hook: Hook) -> Option<&str> {
        let url = match hook {
            Hook::ServerStarted => &self.on_server_started,
            Hook::Connect => &self.on_connect,
            Hook::Close => &self.on_close,
            Hook::Publish => &self.on_publish,
            Hook::PublishDone => &self.on_publish_done,
            Hook::Play => &self.on_play,
            Hook::PlayDone => &self.on_play_done,
            Hook::NotFound => &self.on_not_found,
            Hook::Idle => &self.on_idle,
            Hook::PublishTimeout => &self.on_publish_timeout,
            Hook::Record => &self.on_record,
            Hook::Segment => &self.on_segment,
            Hook::Stats => &self.on_stats,
        };
        Some(url.reveal()).filter(|url| !url.is_empty())
    }

    /// True if somebody is told or asked by `hook`.
    pub fn has(&self, hook: Hook) -> bool {
        self.url(hook).is_some()
    }

    /// What no answer of a hook that is asked means.
    pub fn on_error(&self, hook: Hook) -> OnError {
        match hook {
            Hook::Connect => self.on_connect_error,
            Hook::Publish => self.on_publish_error,
            Hook::Play => self.on_play_error,
            _ => OnError::Deny,
        }
    }
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            on_server_started: HookUrl::default(),
            on_connect: HookUrl::default(),
            on_close: HookUrl::default(),
            on_publish: HookUrl::default(),
            on_publish_done: HookUrl::default(),
            on_play: HookUrl::default(),
            on_play_done: HookUrl::default(),
            on_not_found: HookUrl::default(),
            on_idle: HookUrl::default(),
            on_publish_timeout: HookUrl::default(),
            on_record: HookUrl::default(),
            on_segment: HookUrl::default(),
            on_stats: HookUrl::default(),
            secret: Secret::default(),
            ca_file: String::new(),
            timeout: Duration::from_secs(3),
            retry_for: Duration::from_secs(60),
            queue: 10_000,
            stats_interval: Duration::from_secs(60),
            on_connect_error: OnError::Deny,
            on_publish_error: OnError::Deny,
            on_play_error: OnError::Deny,
        }
    }
}
