//! `moov` (ISO/IEC 14496-12 8.2.1): its tracks, and what fragments leave out.

use bytes::Bytes;

use super::boxes::{Atom, version_and_flags};
use super::notice::{Notice, Report};
use super::table::Table;
use super::{Error, Limits, entry};
use crate::media::{Track, TrackKind};
use crate::time::Timestamp;

/// What is known of the tracks until the next `moov`.
#[derive(Debug)]
pub(super) struct Movie {
    /// Those that are routed: at most one of each kind.
    pub(super) tracks: Vec<Routed>,
    defaults: Vec<Defaults>,
    /// Added to all times, so that none is before zero. Known with the first samples.
    lead: Option<i64>,
}

/// A track that is routed.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) id: u32,
    pub(super) track: Track,
    timescale: u32,
    /// Nanoseconds by which it is presented later than its media's clock says: by its edit list.
    later: i64,
    /// Ticks by which pictures would be shown before they are decoded, at most so far: where
    /// composition offsets are negative, decoding times are meant to be that much earlier.
    pub(super) early: i64,
    /// Where the last fragment led, in ticks, for one that does not say when it begins.
    pub(super) next_dts: u64,
    /// Its samples, if `moov` lists them.
    pub(super) table: Option<Table>,
}

/// `trex`: what a fragment takes for granted of a track.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    id: u32,
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

/// When something is decoded, in ticks of its track, and how much later it is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) dts: u64,
    pub(super) shown_after: i32,
}

impl Movie {
    /// Reads `moov`, whose content is `content` too.
    pub(super) fn parse(
        moov: Atom<'_>,
        content: &Bytes,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<Self, Error> {
        let timescale = moov.get(*b"mvhd")?;
        let timescale = clock_of(timescale)?;
        let mut movie = Self { tracks: Vec::new(), defaults: Vec::new(), lead: None };
        let (mut count, mut forms) = (0, Vec::new());
        for child in moov.children() {
            let child = child?;
            match &child.kind {
                b"trak" if count == limits.tracks => {
                    report.note(Notice::TooManyTracks, limits);
                }
                b"trak" => {
                    count += 1;
                    movie.on_trak(child, timescale, content, &mut forms, (limits, report))?;
                }
                b"mvex" => movie.on_mvex(child, limits)?,
                _ => {}
            }
        }
        if movie.tracks.is_empty() {
            let found = match forms.is_empty() {
                true => "none".to_owned(),
                false => forms.join(", "),
            };
            return Err(Error::NoTrack { at: moov.at, found });
        }
        Ok(movie)
    }

    fn on_trak(
        &mut self,
        trak: Atom<'_>,
        movie_hz: u32,
        content: &Bytes,
        forms: &mut Vec<String>,
        (limits, report): (&Limits, &mut Report),
    ) -> Result<(), Error> {
        let header = trak.get(*b"tkhd")?;
        let id = header.read(|reader| {
            let (version, _) = version_and_flags(reader)?;
            reader.take("times", if version == 1 { 16 } else { 8 })?;
            reader.u32("track_ID")
        })?;
        let media = trak.get(*b"mdia")?;
        let handler = media.get(*b"hdlr")?.read(|reader| {
            version_and_flags(reader)?;
            reader.u32("pre_defined")?;
            reader.array("handler_type")
        })?;
        let mut unsupported = |form: [u8; 4]| {
            forms.push(format!("\"{}\"", form.escape_ascii()));
            report.note(Notice::UnsupportedTrack { id, form }, limits);
            Ok(())
        };
        if !matches!(&handler, b"vide" | b"soun") {
            return unsupported(handler);
        }
        let samples = media.get(*b"minf")?.get(*b"stbl")?;
        // Version, flags and the count; of several forms the first is taken.
        let described = samples.get(*b"stsd")?.behind("entry_count", 8)?;
        let missing = Error::Missing { kind: *b"stsd", at: described.at, missing: *b"...." };
        let entry = described.children().next().ok_or(missing)??;
        let Some(track) = entry::track_of(entry, limits)? else {
            return unsupported(entry.kind);
        };
        let kind = track.kind();
        if self.routed(kind).is_some() {
            report.note(Notice::OtherTrack { kind, id }, limits);
            return Ok(());
        }
        let timescale = clock_of(media.get(*b"mdhd")?)?;
        let later = match trak.find(*b"edts")? {
            Some(edits) => {
                let (later, is_all) = begin_of(edits.get(*b"elst")?, movie_hz, timescale)?;
                if !is_all {
                    report.note(Notice::Edits { id }, limits);
                }
                later
            }
            None => 0,
        };
        let table = Table::parse(samples, content)?;
        let early = table.as_ref().map_or(0, Table::early);
        self.tracks.push(Routed { id, track, timescale, later, early, next_dts: 0, table });
        Ok(())
    }

    fn on_mvex(&mut self, mvex: Atom<'_>, limits: &Limits) -> Result<(), Error> {
        for child in mvex.children() {
            let child = child?;
            if &child.kind == b"trex" && self.defaults.len() < limits.tracks {
                self.defaults.push(child.read(|reader| {
                    version_and_flags(reader)?;
                    let id = reader.u32("track_ID")?;
                    reader.u32("default_sample_description_index")?;
                    let duration = reader.u32("default_sample_duration")?;
                    let size = reader.u32("default_sample_size")?;
                    let flags = reader.u32("default_sample_flags")?;
                    Ok(Defaults { id, duration, size, flags })
                })?);
            }
        }
        Ok(())
    }

    /// What is taken for granted of a track.
    pub(super) fn defaults(&self, id: u32) -> Defaults {
        self.defaults.iter().copied().find(|defaults| defaults.id == id).unwrap_or_default()
    }

    /// The place among those routed of the track with this number.
    pub(super) fn place(&self, id: u32) -> Option<usize> {
        self.tracks.iter().position(|track| track.id == id)
    }

    fn routed(&self, kind: TrackKind) -> Option<&Routed> {
        self.tracks.iter().find(|routed| routed.track.kind() == kind)
    }

    /// How much later than its media's clock and its edit list say everything is, from the first
    /// samples on.
    pub(super) fn lead(&mut self) -> i64 {
        let before_zero = self
            .tracks
            .iter()
            .map(|routed| routed.nanos(routed.early.into()).saturating_sub(routed.later));
        *self.lead.get_or_insert_with(|| before_zero.max().unwrap_or(0).max(0))
    }
}

impl Routed {
    /// When it is decoded and shown.
    pub(super) fn place(&self, times: Times, lead: i64) -> (Timestamp, Timestamp) {
        let shift = self.later.saturating_add(lead);
        let at = |ticks: i128| Timestamp::from_nanos(self.nanos(ticks)) + shift;
        let dts = i128::from(times.dts);
        match self.track.kind() {
            TrackKind::Video => {
                (at(dts - i128::from(self.early)), at(dts + i128::from(times.shown_after)))
            }
            TrackKind::Audio | TrackKind::Data | TrackKind::Private => (at(dts), at(dts)),
        }
    }

    fn nanos(&self, ticks: i128) -> i64 {
        const NANOS: i128 = 1_000_000_000;
        let nanos = (ticks * NANOS).div_euclid(self.timescale.max(1).into());
        i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
    }
}

/// Ticks a second has, of `mvhd` or `mdhd`, which begin alike.
fn clock_of(header: Atom<'_>) -> Result<u32, Error> {
    let timescale = header.read(|reader| {
        let (version, _) = version_and_flags(reader)?;
        reader.take("times", if version == 1 { 16 } else { 8 })?;
        reader.u32("timescale")
    })?;
    match timescale {
        0 => Err(header.field("a timescale of at least 1", 0_u32)),
        timescale => Ok(timescale),
    }
}

/// How many nanoseconds later than its media's clock a track is presented: empty edits stand
/// before it, and the first other one says where in the media it begins (8.6.6). True if that is
/// all that the list does.
fn begin_of(list: Atom<'_>, movie_hz: u32, media_hz: u32) -> Result<(i64, bool), Error> {
    const EMPTY: i64 = -1;
    const NORMAL_RATE: u32 = 0x1_0000;
    let (mut empty, mut begin, mut is_all) = (0_i128, None, true);
    list.read(|reader| {
        let (version, _) = version_and_flags(reader)?;
        for _ in 0..reader.u32("entry_count")? {
            let (duration, media_time) = match version {
                1 => (reader.u64("segment_duration")?, reader.u64("media_time")?.cast_signed()),
                _ => {
                    let duration = reader.u32("segment_duration")?;
                    (duration.into(), reader.u32("media_time")?.cast_signed().into())
                }
            };
            let rate = reader.u32("media_rate")?;
            match (media_time, begin) {
                (EMPTY, None) => empty = empty.saturating_add(duration.into()),
                (_, None) => begin = Some(media_time),
                _ => is_all = false,
            }
            is_all &= rate == NORMAL_RATE;
        }
        Ok(())
    })?;
    const NANOS: i128 = 1_000_000_000;
    let empty = empty.saturating_mul(NANOS) / i128::from(movie_hz);
    let begin = i128::from(begin.unwrap_or(0)) * NANOS / i128::from(media_hz);
    // No track begins years after another.
    let later = i64::try_from(empty.saturating_sub(begin)).unwrap_or(0);
    Ok((later, is_all))
}
