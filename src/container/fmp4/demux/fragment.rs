//! `moof` (ISO/IEC 14496-12 8.8.4): where the samples of a fragment are, and when.

use std::collections::VecDeque;

use super::boxes::{Atom, version_and_flags};
use super::lane::Sample;
use super::movie::{Defaults, Movie, Times};
use super::{Error, Limits};
use crate::bytes::{Reader, Short};

/// The samples of each routed track, by its place.
pub(super) type Fragment = Vec<VecDeque<Sample>>;

/// `tfhd` 8.8.7 and `trun` 8.8.8: which fields are there.
mod flags {
    pub(super) const BASE_DATA_OFFSET: u32 = 0x01;
    pub(super) const SAMPLE_DESCRIPTION_INDEX: u32 = 0x02;
    pub(super) const DEFAULT_DURATION: u32 = 0x08;
    pub(super) const DEFAULT_SIZE: u32 = 0x10;
    pub(super) const DEFAULT_FLAGS: u32 = 0x20;
    pub(super) const BASE_IS_MOOF: u32 = 0x02_0000;

    pub(super) const DATA_OFFSET: u32 = 0x01;
    pub(super) const FIRST_FLAGS: u32 = 0x04;
    pub(super) const DURATION: u32 = 0x100;
    pub(super) const SIZE: u32 = 0x200;
    pub(super) const FLAGS: u32 = 0x400;
    pub(super) const SHOWN_AFTER: u32 = 0x800;

    /// Of a sample (8.8.3.1): decoding cannot start at it.
    pub(super) const IS_NO_SYNC: u32 = 0x01_0000;
}

/// Reads a `moof` that begins at `begin`. What it says of the tracks, `movie` remembers.
pub(super) fn parse(
    moof: Atom<'_>,
    begin: u64,
    movie: &mut Movie,
    limits: &Limits,
) -> Result<Fragment, Error> {
    let mut fragment: Fragment = movie.tracks.iter().map(|_| VecDeque::new()).collect();
    let mut left = limits.samples;
    // Where the samples of the track before end.
    let mut end = begin;
    for child in moof.children() {
        let traf = child?;
        if &traf.kind == b"traf" {
            let run = TrackRun::parse(traf, begin, end, movie)?;
            end = run.read(traf, movie, &mut fragment, &mut left, limits)?;
        }
    }
    for (routed, samples) in movie.tracks.iter_mut().zip(&fragment) {
        let early = samples.iter().map(|sample| -i64::from(sample.times.shown_after));
        routed.early = routed.early.max(early.max().unwrap_or(0));
    }
    Ok(fragment)
}

/// The samples of one track: what holds for all of them.
struct TrackRun {
    /// The track's place, if it is routed.
    place: Option<usize>,
    base: u64,
    defaults: Defaults,
    dts: u64,
}

impl TrackRun {
    fn parse(traf: Atom<'_>, begin: u64, end: u64, movie: &Movie) -> Result<Self, Error> {
        let header = traf.get(*b"tfhd")?;
        let (id, base, defaults) = header.read(|reader| {
            let (_, flags) = version_and_flags(reader)?;
            let id = reader.u32("track_ID")?;
            let mut defaults = movie.defaults(id);
            let base = match flags {
                flags if flags & flags::BASE_DATA_OFFSET != 0 => reader.u64("base_data_offset")?,
                flags if flags & flags::BASE_IS_MOOF != 0 => begin,
                _ => end,
            };
            if flags & flags::SAMPLE_DESCRIPTION_INDEX != 0 {
                reader.u32("sample_description_index")?;
            }
            let mut field = |flag, what, default: &mut u32| {
                if flags & flag != 0 {
                    *default = reader.u32(what)?;
                }
                Ok(())
            };
            let Defaults { duration, size, flags: sample_flags, .. } = &mut defaults;
            field(flags::DEFAULT_DURATION, "default_sample_duration", duration)?;
            field(flags::DEFAULT_SIZE, "default_sample_size", size)?;
            field(flags::DEFAULT_FLAGS, "default_sample_flags", sample_flags)?;
            Ok((id, base, defaults))
        })?;
        let place = movie.place(id);
        let dts = match traf.find(*b"tfdt")? {
            Some(time) => time.read(|reader| match version_and_flags(reader)? {
                (1, _) => reader.u64("baseMediaDecodeTime"),
                _ => reader.u32("baseMediaDecodeTime").map(u64::from),
            })?,
            None => place.map_or(0, |place| movie.tracks[place].next_dts),
        };
        Ok(Self { place, base, defaults, dts })
    }

    /// Reads its runs; says where the last sample ends.
    fn read(
        mut self,
        traf: Atom<'_>,
        movie: &mut Movie,
        fragment: &mut Fragment,
        left: &mut usize,
        limits: &Limits,
    ) -> Result<u64, Error> {
        let mut at = self.base;
        for child in traf.children() {
            let run = child?;
            if &run.kind != b"trun" {
                continue;
            }
            let (flags, count) = run.read(run_head)?;
            let max = limits.samples;
            let too_many = Error::TooManySamples { kind: run.kind, at: run.at, max };
            *left = left.checked_sub(count as usize).ok_or(too_many)?;
            let mut samples = self.place.map(|place| &mut fragment[place]);
            run.read(|reader| {
                run_head(reader)?;
                if flags & flags::DATA_OFFSET != 0 {
                    let offset = reader.u32("data_offset")?.cast_signed();
                    at = self.base.saturating_add_signed(offset.into());
                }
                let first = match flags & flags::FIRST_FLAGS != 0 {
                    true => Some(reader.u32("first_sample_flags")?),
                    false => None,
                };
                // Of a track that is left out, samples that are alike need not be looked at.
                const EACH: u32 = flags::DURATION | flags::SIZE | flags::FLAGS | flags::SHOWN_AFTER;
                if samples.is_none() && flags & EACH == 0 {
                    let bytes = u64::from(count) * u64::from(self.defaults.size);
                    at = at.saturating_add(bytes);
                    return Ok(());
                }
                for number in 0..count {
                    let sample = self.sample(reader, flags, first.filter(|_| number == 0), at)?;
                    at = at.saturating_add(sample.bytes.into());
                    if let Some(samples) = &mut samples {
                        samples.push_back(sample);
                    }
                }
                Ok(())
            })?;
        }
        if let Some(place) = self.place {
            movie.tracks[place].next_dts = self.dts;
        }
        Ok(at)
    }

    /// The next sample, which is at `at`. `first`: its flags, if it is the first of its run.
    fn sample(
        &mut self,
        reader: &mut Reader<'_>,
        flags: u32,
        first: Option<u32>,
        at: u64,
    ) -> Result<Sample, Short> {
        let mut field = |flag, what, default| match flags & flag != 0 {
            true => reader.u32(what),
            false => Ok(default),
        };
        let duration = field(flags::DURATION, "sample_duration", self.defaults.duration)?;
        let bytes = field(flags::SIZE, "sample_size", self.defaults.size)?;
        let of_sample = field(flags::FLAGS, "sample_flags", self.defaults.flags)?;
        let shown_after = field(flags::SHOWN_AFTER, "sample_composition_time_offset", 0)?;
        let times = Times { dts: self.dts, shown_after: shown_after.cast_signed() };
        self.dts = self.dts.saturating_add(duration.into());
        let key = first.unwrap_or(of_sample) & flags::IS_NO_SYNC == 0;
        Ok(Sample { at, bytes, times, key })
    }
}

/// Flags and `sample_count`.
fn run_head(reader: &mut Reader<'_>) -> Result<(u32, u32), Short> {
    let (_, flags) = version_and_flags(reader)?;
    Ok((flags, reader.u32("sample_count")?))
}
