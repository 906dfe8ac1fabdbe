//! HLS and LL-HLS (RFC 8216bis): a viewer asks again and again, on one connection that is kept.
//!
//! It goes the way of a player (6.3): the multivariant playlist, the media playlist of its first
//! variant, the init, then segments from so far before the end as the playlist wants it. It loads the
//! playlist again after a target duration, or half of one if nothing was new, and knows when what it
//! has would have been played. Bodies of media are thrown away by the kernel unless somebody looks.
//!
//! Low latency: as soon as a playlist is there, the viewer writes all that comes next at once, on the
//! same connection (pipelining): parts that are listed and new, the blocking reload of the next
//! (`_HLS_msn`, `_HLS_part`, with `_HLS_skip=YES` where offered), and the part of the PRELOAD-HINT.
//! Browsers use two connections for that, which costs a server one more wake-up for each part.
//! Playlists are asked for without compression, which a server has done once for all viewers.
//!
//! When a blocking reload was answered is told by the kernel, not by when somebody read it: a thousand of
//! them come at once, and reading them takes longer than it may take to send them. The kernel has one
//! time for bytes that wait together, that of the last. So only viewers that look at every byte are
//! timed, and they ask for the part when it is listed: nothing comes right behind their playlist.

mod answers;
mod media;
mod player;
mod playlist;
mod tally;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub(crate) use player::Player;
pub(crate) use tally::Tally;

use super::http::Url;

/// How viewers of HLS go about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Manner {
    /// Whole segments.
    #[default]
    Segments,
    /// Parts and blocking reloads, where the server offers them.
    LowLatency,
    /// The newest part, or segment, and the playlist in turn, without a pause: no player, but a
    /// measure of what a server can answer.
    ClosedLoop,
}

/// What is watched. One for all viewers of the stream.
#[derive(Debug)]
pub(crate) struct Source {
    pub(super) url: Url,
    pub(super) manner: Manner,
    /// Its number among those of a run.
    pub(super) stream: u32,
}

/// Which part of which segment; a segment itself is its part 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) msn: u64,
    pub(super) part: u32,
}

impl Source {
    /// `url`, whose path ends with `.m3u8`.
    pub(super) fn parse(url: &str, manner: Manner, stream: u32) -> Result<Arc<Self>, String> {
        let url = Url::parse(url)?;
        if url.scheme != "http" {
            return Err(format!("expected HLS by http://, without TLS, found {}://", url.scheme));
        }
        Ok(Arc::new(Self { url, manner, stream }))
    }

    /// Host name or address, and port.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.url.host, self.url.port)
    }
}

/// Whether a URL names a playlist.
pub(super) fn is_playlist(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| url.extension() == Some("m3u8"))
}

#[cfg(test)]
mod tests;
