//! MPEG-2 transport streams (ISO/IEC 13818-1, ITU-T H.222.0), both ways: one program of one video and
//! one audio track, and streams of private data.
//!
//! What there is no stream type for in common use (AV1, VP9, FLAC, G.711) is left out. Private data
//! (KLV, timed ID3, subtitles, SCTE 35) goes from transport stream to transport stream as it came, but
//! for its times, which are moved with those of the media. Its PIDs are those of our program.

mod access_unit;
mod demux;
mod mux;
mod packets;
mod pes;
mod private;
mod psi;
mod sound;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use demux::{Counts, Demux, Error, Limits, Notice};
pub use mux::Mux;
pub use packets::PACKET_BYTES;

use crate::media::Track;
use crate::time::Timestamp;

/// True if frames of `track` can be written.
pub fn carries(track: &Track) -> bool {
    access_unit::AccessUnits::of(track).is_some() || sound::Sound::of(track).is_some()
}

/// A 33-bit time of 90 kHz, as PES headers and program clocks carry it; it wraps after 26.5 hours.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn wire_time(at: Timestamp) -> u64 {
    let ticks = (i128::from(at.as_nanos()) + i128::from(ZERO_AT_NS)) * 9;
    // The lowest bits of a negative time are those of the time before the wrap.
    ticks.div_euclid(100_000) as u64 & WIRE_TIME_MAX
}

/// Where a publisher's zero lies: the clock is behind the frames, and must not begin before its own.
const ZERO_AT_NS: i64 = 1_000_000_000;

/// It has 33 bits.
const WIRE_TIME_MAX: u64 = (1 << 33) - 1;
