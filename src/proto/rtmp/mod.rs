//! RTMP, server and client side (Adobe's RTMP 1.0, sections 5 to 7, and Enhanced RTMP v2).
//!
//! [`Server`] and [`Client`] are whole ends of a connection: bytes in; bytes, events and a
//! deadline out. Below them: [`handshake`], chunks, messages, commands. What stands inside a
//! media message is [`crate::container::flv`]'s. The shared stream that players get is muxed
//! elsewhere, by the numbers fixed here: [`PLAY_STREAM_ID`] and [`csid`].

mod chunk_read;
mod chunk_write;
pub mod client;
mod command;
mod error;
pub mod handshake;
mod ingest;
mod line;
mod message;
pub mod server;
mod session;
mod url;

pub use chunk_read::{ChunkError, ChunkLimits, ChunkReader};
pub use chunk_write::ChunkWriter;
pub use client::{Client, ClientConfig, Goal};
pub use command::{Connect, NotACall, PublishKind};
pub use error::Error;
pub use message::{
    BandwidthLimit, Control, ControlError, MAX_BODY_BYTES, MAX_CHUNK_SIZE, Message, UserControl,
    kind,
};
pub use server::{AskId, Event, Limits, Refusal, Server, ServerConfig, Timer};
pub use url::{InvalidUrl, Url};

/// The message stream id every player gets its media on.
pub const PLAY_STREAM_ID: u32 = 1;

/// Chunk stream ids of media, to players and from our publishing client.
pub mod csid {
    /// Audio messages.
    pub const AUDIO: u32 = 4;
    /// Data messages.
    pub const DATA: u32 = 5;
    /// Video messages.
    pub const VIDEO: u32 = 6;
}

/// Status codes, in the spelling players compare with.
mod code {
    pub(super) const CALL_FAILED: &str = "NetConnection.Call.Failed";
    pub(super) const CONNECT_REJECTED: &str = "NetConnection.Connect.Rejected";
    pub(super) const CONNECT_SUCCESS: &str = "NetConnection.Connect.Success";
    pub(super) const PAUSE_NOTIFY: &str = "NetStream.Pause.Notify";
    pub(super) const PLAY_FAILED: &str = "NetStream.Play.Failed";
    pub(super) const PLAY_RESET: &str = "NetStream.Play.Reset";
    pub(super) const PLAY_START: &str = "NetStream.Play.Start";
    pub(super) const PLAY_STOP: &str = "NetStream.Play.Stop";
    pub(super) const PLAY_STREAM_NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
    pub(super) const PLAY_UNPUBLISH_NOTIFY: &str = "NetStream.Play.UnpublishNotify";
    pub(super) const PUBLISH_BAD_NAME: &str = "NetStream.Publish.BadName";
    pub(super) const PUBLISH_DENIED: &str = "NetStream.Publish.Denied";
    pub(super) const PUBLISH_START: &str = "NetStream.Publish.Start";
    pub(super) const SEEK_FAILED: &str = "NetStream.Seek.Failed";
    pub(super) const STREAM_FAILED: &str = "NetStream.Failed";
    pub(super) const UNPAUSE_NOTIFY: &str = "NetStream.Unpause.Notify";
    pub(super) const UNPUBLISH_SUCCESS: &str = "NetStream.Unpublish.Success";
}

/// A text of the peer, short and without control characters, for messages and logs.
fn quote(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("{short:?}")
}
