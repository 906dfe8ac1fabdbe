//! Playlists of HTTP Live Streaming (RFC 8216bis), as a server of live streams writes them, low
//! latency included; and those of a recording.
//!
//! A playlist is written from its first line to its last, straight into text: what stands in it, and
//! for how long, is known to others.

mod media;
mod multivariant;
mod quoted;
mod vod;

pub use media::{Head, MediaPlaylist};

pub use multivariant::{AudioRendition, Captions, MultivariantPlaylist, Variant};
pub use vod::{Piece, VodPlaylist};

/// The version that deltas need (8); a playlist keeps one for its life.
const VERSION: u32 = 9;
