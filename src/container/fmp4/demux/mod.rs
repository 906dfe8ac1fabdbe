//! MP4 that comes as a stream, to frames: `moov`, then fragments (`moof`, `mdat`) or, of a file
//! whose index stands in front, one `mdat`.
//!
//! Boxes are read where they lie: what they announce costs nothing until it has come. Memory is
//! bounded by [`Limits`], whatever that is.

mod boxes;
mod entry;
mod error;
mod fragment;
mod lane;
mod movie;
mod notice;
mod table;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use error::Error;
pub use notice::Notice;

use boxes::{Atom, Header, Looks};
use bytes::Bytes;
use lane::Lanes;
use movie::Movie;
use notice::Report;

use crate::container::Item;
use crate::media::{Track, TrackKind};

/// What a demultiplexer accepts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest `moov`; that of a file whose index it holds has some bytes for each frame.
    /// Longer ones are an error. 8 MiB by default.
    pub movie_bytes: usize,
    /// The longest `moof`. Longer ones are an error. 1 MiB by default.
    pub fragment_head_bytes: usize,
    /// How often boxes in one of these are looked at; that of a file with 64 tracks has some thousands
    /// of looks. More are an error. 65536 by default.
    pub boxes: usize,
    /// The longest configuration record, which lives as long as the stream. Longer ones are an
    /// error. 64 KiB by default.
    pub config_bytes: usize,
    /// Tracks of a movie that are looked at. Further ones are left out. 64 by default.
    pub tracks: usize,
    /// Samples in one fragment. More are an error, and so are as many, beyond the frames that came,
    /// that have no bytes or are not where they should be: a list of them costs its sender nothing.
    /// 65536 by default.
    pub samples: usize,
    /// The longest sample. Longer ones are dropped. 16 MiB by default.
    pub sample_bytes: usize,
    /// Bytes of samples that wait for earlier ones of the other track, which the fragment has
    /// behind them. What is over it does not wait. 32 MiB by default.
    pub waiting_bytes: usize,
    /// The same in frames, which may all come out at once. 16384 by default: five minutes of sound.
    pub waiting_frames: usize,
    /// Notices kept, so that each is told once. Further ones are not told. 32 by default.
    pub notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            movie_bytes: 8 << 20,
            fragment_head_bytes: 1 << 20,
            boxes: 1 << 16,
            config_bytes: 64 << 10,
            tracks: 64,
            samples: 1 << 16,
            sample_bytes: 16 << 20,
            waiting_bytes: 32 << 20,
            waiting_frames: 16 << 10,
            notices: 32,
        }
    }
}

/// What came, and how often something was not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Fragments whose head was read.
    pub fragments: u64,
    /// Frames that were whole.
    pub frames: u64,
    /// Samples that were announced and are not where they should be, or have no bytes.
    pub missing_samples: u64,
    /// Samples over their limit, which were dropped.
    pub long_samples: u64,
    /// Frames that came out before an earlier one of the other track.
    pub unordered_frames: u64,
    /// Bytes of `mdat` that belong to no sample that is routed.
    pub skipped_bytes: u64,
}

/// Turns the bytes of an MP4 stream into tracks and frames: the first video and the first audio
/// track of each movie.
///
/// Frames come out as soon as they are whole and none of the other track is earlier; nothing is
/// held beyond its fragment.
#[derive(Debug)]
pub struct Demux {
    limits: Limits,
    report: Report,
    state: State,
    /// Bytes that were taken.
    at: u64,
    /// Of the last `moov`.
    lanes: Option<Lanes>,
    /// What is known downstream.
    video: Option<Track>,
    audio: Option<Track>,
}

/// ```text
///          ┌──────────────── its end ───────────────┐
///          v                                        │
/// ──> Header ── moov, moof ──> Kept ── whole: read ─┤
///          ├── mdat ─────────> Media ───────────────┤
///          └── any other ────> Skipped ─────────────┘
/// ```
#[derive(Debug)]
enum State {
    /// What there is of a box's header.
    Header(Vec<u8>),
    /// A box that is read when it is whole.
    Kept { header: Header, at: u64, bytes: usize, content: Vec<u8> },
    /// Samples, and so many bytes until they end; none: they go on to the end of the stream.
    Media { left: Option<u64> },
    /// A box nobody needs.
    Skipped { left: Option<u64> },
}

impl State {
    const BETWEEN: Self = Self::Header(Vec::new());
}

impl Demux {
    /// A demultiplexer that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            report: Report::default(),
            state: State::BETWEEN,
            at: 0,
            lanes: None,
            video: None,
            audio: None,
        }
    }

    /// Takes bytes, cut anywhere, and appends what they hold to `items`.
    ///
    /// # Errors
    /// It is no MP4, or none that can be read as it comes. What came before is in `items`; the
    /// demultiplexer is of no more use.
    pub fn push(&mut self, mut bytes: &[u8], items: &mut Vec<Item>) -> Result<(), Error> {
        while !bytes.is_empty() {
            let taken = match &mut self.state {
                State::Header(have) => {
                    have.extend(bytes.first());
                    1
                }
                State::Kept { bytes: whole, content, .. } => {
                    let taken = (*whole - content.len()).min(bytes.len());
                    content.extend_from_slice(&bytes[..taken]);
                    taken
                }
                State::Media { left } => {
                    let here = up_to(*left, bytes);
                    match &mut self.lanes {
                        Some(lanes) => {
                            let (limits, report) = (&self.limits, &mut self.report);
                            let taken = lanes.take(self.at, here, limits, report)?;
                            lanes.give(items, limits, report);
                            taken
                        }
                        None => here.len(),
                    }
                }
                State::Skipped { left } => up_to(*left, bytes).len(),
            };
            self.at += taken as u64;
            bytes = &bytes[taken..];
            self.advance(taken, items)?;
        }
        Ok(())
    }

    /// Nothing follows: gives out what waits.
    ///
    /// # Errors
    /// It ends in the midst of a box.
    pub fn finish(&mut self, items: &mut Vec<Item>) -> Result<(), Error> {
        self.end_lanes(items);
        let at = self.at;
        match &self.state {
            State::Header(have) if have.is_empty() => Ok(()),
            State::Header(_) => Err(Error::CutOff { what: *b"....", at, missing: None }),
            State::Kept { header, bytes, content, .. } => {
                let missing = Some((bytes - content.len()) as u64);
                Err(Error::CutOff { what: header.kind, at, missing })
            }
            State::Media { left: Some(left) } => {
                Err(Error::CutOff { what: *b"mdat", at, missing: Some(*left) })
            }
            State::Skipped { left: Some(left) } => {
                Err(Error::CutOff { what: *b"....", at, missing: Some(*left) })
            }
            State::Media { left: None } | State::Skipped { left: None } => Ok(()),
        }
    }

    /// The next notice. Each is told once, however often its cause comes.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.report.poll()
    }

    /// What came, and what was not as it should be so far.
    pub fn counts(&self) -> Counts {
        self.report.counts
    }

    /// So many bytes were taken: what they were the last of is over.
    fn advance(&mut self, taken: usize, items: &mut Vec<Item>) -> Result<(), Error> {
        match &mut self.state {
            State::Header(have) => {
                let at = self.at - have.len() as u64;
                if let Some(header) = Header::parse(have, at)? {
                    self.begin(header, at, items)?;
                }
            }
            State::Kept { bytes, content, .. } => {
                if content.len() == *bytes {
                    self.on_kept(items)?;
                }
            }
            State::Media { left: Some(left) } | State::Skipped { left: Some(left) } => {
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::BETWEEN;
                }
            }
            State::Media { left: None } | State::Skipped { left: None } => {}
        }
        Ok(())
    }

    /// The header of a box that begins at `at` is whole.
    fn begin(&mut self, header: Header, at: u64, items: &mut Vec<Item>) -> Result<(), Error> {
        if at == 0 && !header.may_be_first() {
            return Err(Error::NotMp4 { found: header.kind });
        }
        let longest = match &header.kind {
            b"moov" => Some(self.limits.movie_bytes),
            b"moof" if self.lanes.is_none() => return Err(Error::NoMovie { at }),
            b"moof" => Some(self.limits.fragment_head_bytes),
            b"mdat" if self.lanes.is_none() => return Err(Error::MediaFirst { at }),
            b"mdat" if !self.lanes.as_ref().is_some_and(Lanes::were_filled) => {
                return Err(Error::Unannounced { at });
            }
            _ => None,
        };
        self.state = match (longest, header.content) {
            (Some(max), found) => {
                let bytes = found.and_then(|found| usize::try_from(found).ok());
                let Some(bytes) = bytes.filter(|bytes| *bytes <= max) else {
                    return Err(Error::TooLong { what: header.kind, at, max, found });
                };
                State::Kept { header, at, bytes, content: Vec::new() }
            }
            (None, Some(0)) => State::BETWEEN,
            (None, left) if &header.kind == b"mdat" => State::Media { left },
            (None, left) => State::Skipped { left },
        };
        match &self.state {
            State::Kept { bytes: 0, .. } => self.on_kept(items),
            _ => Ok(()),
        }
    }

    /// A box that was kept is whole.
    fn on_kept(&mut self, items: &mut Vec<Item>) -> Result<(), Error> {
        let State::Kept { header, at, content, .. } =
            std::mem::replace(&mut self.state, State::BETWEEN)
        else {
            return Ok(());
        };
        let content = Bytes::from(content);
        let looks = Looks::new(self.limits.boxes);
        let whole =
            Atom { kind: header.kind, at: at + header.bytes, content: &content, looks: &looks };
        // What was announced before comes out before.
        self.end_lanes(items);
        self.report.check(at, &self.limits)?;
        if &header.kind == b"moov" {
            let movie = Movie::parse(whole, &content, &self.limits, &mut self.report)?;
            self.set_movie(movie, items);
        } else if let Some(lanes) = &mut self.lanes {
            self.report.counts.fragments += 1;
            lanes.on_fragment(whole, at, &self.limits)?;
        }
        Ok(())
    }

    fn end_lanes(&mut self, items: &mut Vec<Item>) {
        if let Some(lanes) = &mut self.lanes {
            lanes.end(items, &self.limits, &mut self.report);
        }
    }

    fn set_movie(&mut self, movie: Movie, items: &mut Vec<Item>) {
        let of_kind = |kind| {
            let routed = movie.tracks.iter().find(|routed| routed.track.kind() == kind);
            routed.map(|routed| routed.track.clone())
        };
        let video = (TrackKind::Video, &mut self.video, of_kind(TrackKind::Video));
        let audio = (TrackKind::Audio, &mut self.audio, of_kind(TrackKind::Audio));
        for (kind, told, next) in [video, audio] {
            if *told == next {
                continue;
            }
            items.push(match &next {
                Some(track) => Item::Track(track.clone()),
                None => Item::EndOfSequence(kind),
            });
            *told = next;
        }
        self.lanes = Some(Lanes::new(movie));
    }
}

/// The bytes that belong to what has so many left.
fn up_to(left: Option<u64>, bytes: &[u8]) -> &[u8] {
    let left = left.and_then(|left| usize::try_from(left).ok());
    &bytes[..left.map_or(bytes.len(), |left| left.min(bytes.len()))]
}
