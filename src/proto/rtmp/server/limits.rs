//! What a server is told: its numbers, and how long each step of a client may take.

use std::fmt;
use std::time::Duration;

use crate::container::{amf0, flv};
use crate::proto::rtmp::ChunkLimits;

/// What the server needs to know; the same for all connections of a listener.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Size of the chunks we write: 60000, large enough that a message is rarely cut. It must be
    /// the one the muxer of the shared stream uses.
    pub chunk_size_bytes: u32,
    /// The acknowledgement window we announce, and ours until the peer announces one: 2500000.
    pub window_bytes: u32,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a [`Server`](super::Server). All but `stray_media_bytes` close the connection at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest message: 16 MiB.
    pub message_bytes: usize,
    /// Unfinished messages of one connection, together: 32 MiB.
    pub reassembly_bytes: usize,
    /// The same until its first publish is granted: 64 KiB.
    pub reassembly_before_publish_bytes: usize,
    /// Chunk streams: 64.
    pub csids: usize,
    /// Values inside a command.
    pub amf: amf0::Limits,
    /// What the demultiplexer accepts.
    pub flv: flv::Limits,
    /// Tags in one aggregate message: 4096.
    pub aggregate_tags: usize,
    /// Media outside a publish (what is under way when it ends, or sent to the wrong stream) is
    /// dropped; more than this between two publishes closes the connection: 4 MiB.
    pub stray_media_bytes: usize,
    /// From the accepted connection to the end of the handshake: 5 s.
    pub handshake: Duration,
    /// For the next step of a client that has neither asked to publish nor to play: 20 s.
    pub request: Duration,
    /// From Publish.Start to the first audio or video: 20 s.
    pub first_frame: Duration,
    /// Between two audio or video messages of a publisher: 10 s.
    pub silence: Duration,
}

/// Which wait a deadline ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// [`Limits::handshake`].
    Handshake,
    /// [`Limits::request`].
    Request,
    /// [`Limits::first_frame`].
    FirstFrame,
    /// [`Limits::silence`].
    Silence,
    /// Of a client: the server's reply to a command.
    Reply,
}

impl Timer {
    pub(in super::super) fn expected(self) -> &'static str {
        match self {
            Self::Handshake => "a whole handshake",
            Self::Request => "connect, then publish or play,",
            Self::FirstFrame => "the first audio or video",
            Self::Silence => "audio or video",
            Self::Reply => "a reply",
        }
    }
}

impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::Request => "request",
            Self::FirstFrame => "first frame",
            Self::Silence => "silence",
            Self::Reply => "reply",
        })
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { chunk_size_bytes: 60_000, window_bytes: 2_500_000, limits: Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 20,
            reassembly_bytes: 32 << 20,
            reassembly_before_publish_bytes: 64 << 10,
            csids: 64,
            amf: amf0::Limits::default(),
            flv: flv::Limits::default(),
            aggregate_tags: 4096,
            stray_media_bytes: 4 << 20,
            handshake: Duration::from_secs(5),
            request: Duration::from_secs(20),
            first_frame: Duration::from_secs(20),
            silence: Duration::from_secs(10),
        }
    }
}

impl Limits {
    pub(super) fn chunks(&self) -> ChunkLimits {
        self.chunks_within(self.reassembly_bytes)
    }

    pub(super) fn chunks_before_publish(&self) -> ChunkLimits {
        self.chunks_within(self.reassembly_before_publish_bytes)
    }

    fn chunks_within(&self, reassembly_bytes: usize) -> ChunkLimits {
        let most = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        ChunkLimits {
            message_bytes: most(self.message_bytes),
            reassembly_bytes: most(reassembly_bytes),
            csids: most(self.csids),
        }
    }

    pub(super) fn of(&self, timer: Timer) -> Duration {
        match timer {
            Timer::Handshake => self.handshake,
            Timer::Request | Timer::Reply => self.request,
            Timer::FirstFrame => self.first_frame,
            Timer::Silence => self.silence,
        }
    }
}
