//! What `hvc1` promises of H.265 (ISO/IEC 14496-15 8.4.1.1): every parameter set is in the record, and
//! none in a sample. Publishers leave that open, and players of some makers count on it.

use bytes::Bytes;

use crate::bytes::{Reader, Short};
use crate::codec::nal;

/// `hvcC` that says so. Arrays of other units, and a record that cannot be read, stay as they are.
pub(super) fn complete(config: &[u8]) -> Vec<u8> {
    const ARRAY_COMPLETENESS: u8 = 0x80;
    let mut record = config.to_vec();
    for array in parameter_sets(config).unwrap_or_default() {
        record[array.at] |= ARRAY_COMPLETENESS;
    }
    record
}

/// Takes the sets that the record has out of the samples of a track.
///
/// An encoder may change its sets without another record. Those are in band alone: they stay in their
/// samples, where decoders find them, and so do all from then on, for the last one that a decoder reads
/// is in force.
#[derive(Debug)]
pub(super) struct InBand {
    sets: Vec<Bytes>,
    /// Bytes that the length of a unit has in a sample.
    length_bytes: u8,
    has_others: bool,
}

impl InBand {
    /// Of the track with this record.
    pub(super) fn of(config: &Bytes) -> Self {
        let arrays = parameter_sets(config).unwrap_or_default();
        let sets = arrays.into_iter().flat_map(|array| array.sets);
        let sets = sets.map(|set| config.slice_ref(set)).collect();
        let length_bytes = config.get(LENGTH_SIZE_AT).map_or(4, |byte| (byte & 3) + 1);
        Self { sets, length_bytes, has_others: false }
    }

    /// The sample of these bytes: a copy without its sets, or, as nearly all have none, they themselves.
    pub(super) fn strip(&mut self, sample: &Bytes) -> Bytes {
        let length_bytes = self.length_bytes;
        let units = || nal::length_prefixed(sample, length_bytes);
        let is_set = |unit: &&[u8]| is_parameter_set(unit[0] >> 1);
        let mut has_some = false;
        for set in units().filter(is_set) {
            has_some = true;
            self.has_others |= !self.sets.iter().any(|known| known == set);
        }
        if !has_some || self.has_others {
            return sample.clone();
        }
        let mut rest = Vec::with_capacity(sample.len());
        for unit in units().filter(|unit| !is_set(unit)) {
            let length = (unit.len() as u64).to_be_bytes();
            rest.extend_from_slice(&length[length.len() - usize::from(length_bytes)..]);
            rest.extend_from_slice(unit);
        }
        rest.into()
    }
}

/// `lengthSizeMinusOne`.
const LENGTH_SIZE_AT: usize = 21;

/// Parameter sets of one kind (8.3.3.1).
struct Array<'a> {
    /// Where it begins in the record.
    at: usize,
    sets: Vec<&'a [u8]>,
}

fn parameter_sets(config: &[u8]) -> Result<Vec<Array<'_>>, Short> {
    let mut reader = Reader::new(config);
    let mut found = Vec::new();
    reader.take("hvcC", 22)?;
    for _ in 0..reader.u8("numOfArrays")? {
        let (at, mut sets) = (reader.position(), Vec::new());
        let kind = reader.u8("NAL_unit_type")?;
        for _ in 0..reader.u16("numNalus")? {
            let length = reader.u16("nalUnitLength")?;
            sets.push(reader.take("nalUnit", length.into())?);
        }
        if is_parameter_set(kind) {
            found.push(Array { at, sets });
        }
    }
    Ok(found)
}

/// VPS, SPS and PPS (H.265 table 7-1), by the last six bits.
fn is_parameter_set(kind: u8) -> bool {
    (32..=34).contains(&(kind & 0x3f))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a VPS, a unit of another kind, an SPS and no PPS; lengths have two bytes.
    fn record() -> Bytes {
        let mut record = vec![1; 22];
        record.extend([4, 0x20, 0, 1, 0, 2, 0x40, 1, 0x27, 0, 1, 0, 0]);
        record.extend([0x21, 0, 1, 0, 3, 0x42, 1, 7, 0x22, 0, 0]);
        record.into()
    }

    #[test]
    fn a_record_promises_that_its_sets_are_all_there_are() {
        let (record, complete) = (record(), complete(&record()));
        let places = (0..record.len()).filter(|&at| record[at] != complete[at]);
        let changed: Vec<_> = places.map(|at| (at, complete[at])).collect();
        assert_eq!(changed, [(23, 0xa0), (35, 0xa1), (43, 0xa2)]);
    }

    #[test]
    fn sets_of_the_record_are_taken_out_until_others_come() {
        let mut in_band = InBand::of(&record());
        let mut strip = |sample: &'static [u8]| in_band.strip(&Bytes::from_static(sample));
        const SLICE: &[u8] = &[0, 3, 0x26, 1, 9];
        let bare = strip(SLICE);
        assert_eq!(bare.as_ptr(), SLICE.as_ptr(), "nothing is copied");
        let both = &[0, 2, 0x40, 1, 0, 3, 0x42, 1, 7, 0, 3, 0x26, 1, 9];
        assert_eq!(strip(both), SLICE);
        assert_eq!(strip(&[0, 2, 0x40, 1]), &[][..]);
        let other = &[0, 3, 0x42, 1, 8, 0, 3, 0x26, 1, 9];
        assert_eq!(strip(other), &other[..]);
        assert_eq!(strip(both), &both[..], "or else the others would stay in force");
        let mut unreadable = InBand::of(&record().slice(..30));
        assert_eq!(unreadable.strip(&Bytes::from_static(both)), &both[..]);
    }
}
