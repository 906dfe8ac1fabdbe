//! The samples of a track whose `moov` lists them (ISO/IEC 14496-12 8.6.1, 8.7): of a file that was
//! made to be kept. They are read off the tables as they come, which stay as they are.

use bytes::{Buf, Bytes};

use super::Error;
use super::boxes::{Atom, version_and_flags};
use super::lane::Sample;
use super::movie::Times;

/// What is left of the tables.
#[derive(Debug)]
pub(super) struct Table {
    durations: Runs,
    shown_after: Runs,
    sizes: Sizes,
    /// Numbers of the samples to start at, from 1; none: every one.
    keys: Option<Bytes>,
    /// The first chunk, from 1, of those that have so many samples.
    chunks: Bytes,
    chunk_samples: u32,
    places: Places,
    /// Of the chunk that is read, from 1.
    chunk: u32,
    left_in_chunk: u32,
    at: u64,
    dts: u64,
    /// From 1.
    number: u32,
}

/// `stts` or `ctts`: so many samples of one value each.
#[derive(Debug)]
struct Runs {
    entries: Bytes,
    left: u32,
    value: u32,
}

#[derive(Debug)]
enum Sizes {
    Same { bytes: u32, left: u32 },
    Each(Bytes),
}

/// Where chunks begin.
#[derive(Debug)]
enum Places {
    Short(Bytes),
    Long(Bytes),
}

impl Table {
    /// Of `stbl`, whose tables are kept as parts of `whole`; none if it lists no samples.
    pub(super) fn parse(stbl: Atom<'_>, whole: &Bytes) -> Result<Option<Self>, Error> {
        let Some(sizes) = stbl.find(*b"stsz")? else { return Ok(None) };
        let sizes = Sizes::parse(sizes, whole)?;
        if sizes.is_empty() {
            return Ok(None);
        }
        let required = |kind, width| entries(stbl.get(kind)?, width, whole);
        let optional = |kind, width| match stbl.find(kind)? {
            Some(found) => entries(found, width, whole).map(Some),
            None => Ok(None),
        };
        let places = match optional(*b"co64", 8)? {
            Some(places) => Places::Long(places),
            None => Places::Short(required(*b"stco", 4)?),
        };
        Ok(Some(Self {
            durations: Runs::new(required(*b"stts", 8)?),
            shown_after: Runs::new(optional(*b"ctts", 8)?.unwrap_or_default()),
            sizes,
            keys: optional(*b"stss", 4)?,
            chunks: required(*b"stsc", 12)?,
            chunk_samples: 0,
            places,
            chunk: 0,
            left_in_chunk: 0,
            at: 0,
            dts: 0,
            number: 0,
        }))
    }

    /// The most ticks by which a picture would be shown before it is decoded.
    pub(super) fn early(&self) -> i64 {
        let offsets = self.shown_after.entries.chunks_exact(8).map(|entry| number(&entry[4..]));
        offsets.map(|offset| -i64::from(offset.cast_signed())).max().unwrap_or(0).max(0)
    }

    /// How many samples are left, if there is a place for each.
    pub(super) fn left(&self) -> u64 {
        match &self.sizes {
            Sizes::Same { left, .. } => (*left).into(),
            Sizes::Each(each) => each.len() as u64 / 4,
        }
    }

    /// The next sample in the order in which they are decoded.
    pub(super) fn next(&mut self) -> Option<Sample> {
        let bytes = self.sizes.next()?;
        while self.left_in_chunk == 0 {
            self.next_chunk()?;
        }
        self.left_in_chunk -= 1;
        self.number = self.number.saturating_add(1);
        let key = self.keys.as_mut().is_none_or(|keys| {
            while keys.len() >= 4 && number(keys) < self.number {
                keys.advance(4);
            }
            keys.len() >= 4 && number(keys) == self.number
        });
        let shown_after = self.shown_after.next().unwrap_or(0).cast_signed();
        let times = Times { dts: self.dts, shown_after };
        let sample = Sample { at: self.at, bytes, times, key };
        self.at = self.at.saturating_add(bytes.into());
        self.dts = self.dts.saturating_add(self.durations.next().unwrap_or(0).into());
        Some(sample)
    }

    fn next_chunk(&mut self) -> Option<()> {
        self.at = self.places.next()?;
        self.chunk = self.chunk.saturating_add(1);
        while self.chunks.len() >= 12 && number(&self.chunks) <= self.chunk {
            self.chunk_samples = number(&self.chunks[4..]);
            self.chunks.advance(12);
        }
        self.left_in_chunk = self.chunk_samples;
        Some(())
    }
}

impl Runs {
    fn new(entries: Bytes) -> Self {
        Self { entries, left: 0, value: 0 }
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.left = self.entries.try_get_u32().ok()?;
            self.value = self.entries.try_get_u32().ok()?;
        }
        self.left -= 1;
        Some(self.value)
    }
}

impl Sizes {
    fn parse(stsz: Atom<'_>, whole: &Bytes) -> Result<Self, Error> {
        let (bytes, left) = stsz.read(|reader| {
            version_and_flags(reader)?;
            Ok((reader.u32("sample_size")?, reader.u32("sample_count")?))
        })?;
        if bytes > 0 {
            return Ok(Self::Same { bytes, left });
        }
        let each = stsz.behind("sample_count", 12)?;
        let each = each.read(|reader| reader.take("entry_size", left as usize * 4))?;
        Ok(Self::Each(whole.slice_ref(each)))
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Same { left, .. } => *left == 0,
            Self::Each(each) => each.is_empty(),
        }
    }

    fn next(&mut self) -> Option<u32> {
        match self {
            Self::Same { bytes, left } => {
                *left = left.checked_sub(1)?;
                Some(*bytes)
            }
            Self::Each(each) => each.try_get_u32().ok(),
        }
    }
}

impl Places {
    fn next(&mut self) -> Option<u64> {
        match self {
            Self::Short(places) => places.try_get_u32().ok().map(u64::from),
            Self::Long(places) => places.try_get_u64().ok(),
        }
    }
}

/// The entries of a table, each so wide, behind their count.
fn entries(table: Atom<'_>, width: usize, whole: &Bytes) -> Result<Bytes, Error> {
    let entries = table.read(|reader| {
        version_and_flags(reader)?;
        let count = reader.u32("entry_count")? as usize;
        reader.take("entries", count * width)
    })?;
    Ok(whole.slice_ref(entries))
}

/// The four bytes at the front; of fewer, zero.
fn number(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}
