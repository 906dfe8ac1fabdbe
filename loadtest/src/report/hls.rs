//! What viewers of HLS asked for, and how they were answered.

use serde::{Deserialize, Serialize};

use super::Distribution;

/// Of all viewers of HLS, in the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hls {
    /// Requests that were answered, whatever the answer.
    pub requests: u64,
    /// The same per second.
    pub requests_per_s: f64,
    /// Media playlists.
    pub playlists: u64,
    /// Those of them in which nothing was new.
    pub unchanged: u64,
    /// Whole segments.
    pub segments: u64,
    /// Parts.
    pub parts: u64,
    /// Segments that had left the playlist before the viewer came to them, or were not given.
    pub segments_missing: u64,
    /// Parts that were listed and not given.
    pub parts_missing: u64,
    /// Segments and parts that the playlist itself calls gaps.
    pub gaps: u64,
    /// Parts that were asked for in advance (`PRELOAD-HINT`) and not given.
    pub hints_withdrawn: u64,
    /// Times that playback had to wait, because what comes next was not there when all before it had
    /// been played.
    pub stalls: u64,
    /// How long it waited, in all.
    pub stalled_s: f64,
    /// Answers with another status than 200.
    pub errors: u64,
    /// The statuses of those.
    pub statuses: Vec<Status>,
    /// From a request for a playlist that need not wait to its last byte.
    pub playlist_ms: Distribution,
    /// From a request for a segment or part that is there to its last byte.
    pub media_ms: Distribution,
    /// Of blocking reloads of those who look at each byte: from the first one's answer (or the request,
    /// if that came later) to each one's. None waits less than the server knows of the part.
    pub reload_spread_ms: Distribution,
    /// Of the same: from when the picture was sent that ends the part, by its mark, to the answer. With
    /// sound in the stream a part may have ended before.
    pub reload_ms: Distribution,
}

/// How often a status was met.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// As in HTTP.
    pub status: u16,
    /// So often.
    pub times: u64,
}

impl Hls {
    /// Adds what other viewers found.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.requests_per_s += other.requests_per_s;
        self.playlists += other.playlists;
        self.unchanged += other.unchanged;
        self.segments += other.segments;
        self.parts += other.parts;
        self.segments_missing += other.segments_missing;
        self.parts_missing += other.parts_missing;
        self.gaps += other.gaps;
        self.hints_withdrawn += other.hints_withdrawn;
        self.stalls += other.stalls;
        self.stalled_s += other.stalled_s;
        other.statuses.iter().for_each(|it| self.add_errors(it.status, it.times));
        self.playlist_ms.merge(&other.playlist_ms);
        self.media_ms.merge(&other.media_ms);
        self.reload_spread_ms.merge(&other.reload_spread_ms);
        self.reload_ms.merge(&other.reload_ms);
    }

    /// Counts answers with `status`.
    pub fn add_errors(&mut self, status: u16, times: u64) {
        self.errors += times;
        match self.statuses.iter_mut().find(|known| known.status == status) {
            Some(known) => known.times += times,
            None => self.statuses.push(Status { status, times }),
        }
    }
}
