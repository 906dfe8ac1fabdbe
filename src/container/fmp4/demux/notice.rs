use std::fmt;

use super::{Counts, Error, Limits};
use crate::media::TrackKind;

/// Something in the input that is not routed, or was mended. The stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A track that is not carried.
    UnsupportedTrack {
        /// Its number.
        id: u32,
        /// Its sample entry; of what is neither picture nor sound, its handler.
        form: [u8; 4],
    },
    /// Only one track of each kind is routed; this is another one.
    OtherTrack {
        /// Its kind.
        kind: TrackKind,
        /// Its number.
        id: u32,
    },
    /// More tracks in a movie than are looked at.
    TooManyTracks,
    /// An edit list that does more than say where a track begins.
    Edits {
        /// Number of the track.
        id: u32,
    },
    /// Samples that are not where they are announced, or have no bytes, are left out.
    MissingSamples {
        /// Their kind.
        kind: TrackKind,
    },
    /// A sample was longer than its limit and was dropped.
    TooLong {
        /// Its kind.
        kind: TrackKind,
    },
    /// So much of one track came before the other that it did not wait.
    Unordered,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedTrack { id, form } => {
                write!(f, "track {id} in the form \"{}\" is not carried", form.escape_ascii())
            }
            Self::OtherTrack { kind, id } => {
                write!(f, "{kind:?} track {id}: only the first of its kind is routed")
            }
            Self::TooManyTracks => f.write_str("more tracks than are looked at: left out"),
            Self::Edits { id } => {
                write!(f, "edit list of track {id}: only where it begins is taken from it")
            }
            Self::MissingSamples { kind } => {
                write!(
                    f,
                    "{kind:?} samples that are not where they are announced, or empty: left out"
                )
            }
            Self::TooLong { kind } => write!(f, "a {kind:?} sample over the limit: dropped"),
            Self::Unordered => {
                f.write_str("too much of one track before the other: frames are out of order")
            }
        }
    }
}

/// What a demultiplexer tells beside its items.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Each notice so far; those from `told` on have not been polled.
    notices: Vec<Notice>,
    told: usize,
    pub(super) counts: Counts,
}

impl Report {
    pub(super) fn note(&mut self, notice: Notice, limits: &Limits) {
        if self.notices.len() < limits.notices && !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    /// Refuses what announces much and sends little.
    pub(super) fn check(&self, at: u64, limits: &Limits) -> Result<(), Error> {
        let Counts { frames, missing_samples, .. } = self.counts;
        if missing_samples > frames.saturating_add(limits.samples as u64) {
            return Err(Error::Misplaced { at, missing: missing_samples, frames });
        }
        Ok(())
    }

    pub(super) fn poll(&mut self) -> Option<Notice> {
        let notice = *self.notices.get(self.told)?;
        self.told += 1;
        Some(notice)
    }
}
