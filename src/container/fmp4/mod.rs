//! Fragmented MP4 (ISO/IEC 14496-12, 14496-15), both ways: an init of one video and one audio track,
//! then fragments of their frames. What is read may also be a file whose index stands in front.
//!
//! What is written: times are the source's own: a fragment says by itself when it begins, so whoever starts late
//! needs nothing of what went before. That is why there are no edit lists: a picture is shown at
//! the time its frame has, and what an encoder of sound puts before its first sample (priming) was
//! given its time by the publisher already, so nothing is cut from the middle of a stream. For
//! decoders that ask, `dOps` repeats how much that was.
//!
//! Boxes are those of shiguredo_mp4, which depends on nothing and writes a sample entry that it does not
//! know as it is, so a codec's record goes on as it came; mp4-atom would parse each and write it anew, and
//! refuses those it has no type for. Either would have samples copied into its `mdat` first, so the head
//! of that is written here.
//!
//! What has no agreed form in MP4 without more than its record (AC-3, FLAC, G.711) is left out.

mod clock;
mod demux;
mod fragment;
mod hvc1;
mod init;
mod sample_entry;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use demux::{Counts, Demux, Error, Limits, Notice};
pub use fragment::Fragmenter;
pub use init::init;

use std::num::NonZeroU32;

use crate::media::{Track, TrackKind};

/// True if frames of `track` have a place in it.
pub fn carries(track: &Track) -> bool {
    sample_entry::of(track).is_some()
}

/// The number of a track, the same whatever other track there is.
fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
        TrackKind::Data | TrackKind::Private => 3,
    }
}

/// The ticks a second has in a track: of sound, its samples.
fn timescale(track: &Track) -> NonZeroU32 {
    const PICTURES_HZ: NonZeroU32 = NonZeroU32::new(90_000).expect("more than zero");
    track.audio.and_then(|audio| NonZeroU32::new(audio.sample_rate_hz)).unwrap_or(PICTURES_HZ)
}
