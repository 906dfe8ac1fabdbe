//! The mark: what each H.264 picture of ours says of itself, so that any viewer on any host can
//! tell what is missing, repeated or damaged, and how old it is.
//!
//! It is an SEI NAL unit of unregistered user data (H.264 D.1.7) within the access unit. Servers
//! drop, merge and reorder data messages; none touches a NAL unit, and this one belongs to exactly
//! one picture. Its payload, after our UUID:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | clock |
//! | 4 | number of the picture |
//! | 4 | hash of the rest of its access unit |
//! | 4 | number of the first audio frame listed |
//! | 1 | how many are listed |
//! | 4 each | their hashes |

use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};
use corecast::codec::nal;

/// One picture's mark. Numbers begin at 0 with each publisher's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// `CLOCK_REALTIME` in nanoseconds when the picture was handed to the socket.
    pub clock_ns: u64,
    /// Which picture this is, in order of sending.
    pub picture: u32,
    /// [`Mark::hash_without`] of its access unit.
    pub hash: u32,
    /// Which audio frame `sounds` begins with.
    pub first_sound: u32,
    /// [`Mark::hash`] of each audio frame sent since the picture before.
    pub sounds: ArrayVec<u32, 255>,
}

/// What a mark's NAL unit begins with, after the type and before the payload's size.
const HEAD: [u8; 2] = [SEI, USER_DATA_UNREGISTERED];
const UUID: [u8; 16] = *b"\xb9\x1c\x5d\x36\x84\x2f\x4e\x0a\x9b\x70corecs";
const VERSION: u8 = 1;
/// The payload without hashes of audio frames.
const FIXED_BYTES: usize = UUID.len() + 1 + 8 + 4 + 4 + 4 + 1;

const SEI: u8 = 6;
const USER_DATA_UNREGISTERED: u8 = 5;

impl Mark {
    /// The access unit with this mark before its first slice, where a buffering period or a
    /// delimiter may still be the first thing in it. Both have 4-byte lengths.
    pub fn write_into(&self, access_unit_avcc: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes_max() + access_unit_avcc.len());
        let (before, from_slice) = access_unit_avcc.split_at(first_slice(access_unit_avcc));
        out.put_slice(before);
        let start = out.len();
        out.put_u32(0);
        out.put_slice(&HEAD);
        let payload = self.payload();
        // 255 for each full 255 bytes, then the rest (H.264 7.3.2.3.1); neither makes a zero.
        out.put_bytes(255, payload.len() / 255);
        escape(&[(payload.len() % 255) as u8], &mut out);
        escape(&payload, &mut out);
        out.put_u8(0x80); // rbsp_trailing_bits
        let length = (out.len() - start - LENGTH_BYTES) as u32;
        out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        out.put_slice(from_slice);
        out.freeze()
    }

    /// The mark in `access_unit` (4-byte lengths), if it has one that this version understands.
    pub fn find(access_unit: &[u8]) -> Option<Self> {
        units(access_unit).take_while(|unit| !unit.is_slice()).find_map(|unit| {
            let mut rbsp = payload_of(unit.nal)?;
            let mut take = |count: usize| {
                (0..count).try_fold(0_u64, |value, _| Some(value << 8 | u64::from(rbsp.next()?)))
            };
            if take(1)? as u8 != VERSION {
                return None;
            }
            let (clock_ns, picture, hash) = (take(8)?, take(4)? as u32, take(4)? as u32);
            let (first_sound, count) = (take(4)? as u32, take(1)? as u8);
            let sounds = (0..count).map(|_| Some(take(4)? as u32)).collect::<Option<_>>()?;
            Some(Self { clock_ns, picture, hash, first_sound, sounds })
        })
    }

    /// The hash of `access_unit` (4-byte lengths) without its mark. Delimiters, parameter sets and
    /// filler are left out as well: other containers must add or remove them.
    pub fn hash_without(access_unit: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        let mut end = 0;
        for unit in units(access_unit) {
            end = unit.end;
            if !matches!(unit.kind(), 7..=9 | 12) && payload_of(unit.nal).is_none() {
                hasher.update(&access_unit[unit.start..unit.end]);
            }
        }
        // What is no NAL unit is damage, and must be seen as such.
        hasher.update(&access_unit[end..]);
        hasher.finalize()
    }

    /// `access_unit` (4-byte lengths) without its marks, shared if it has none.
    pub fn remove_from(access_unit: &Bytes) -> Bytes {
        let marks = units(access_unit).filter(|unit| payload_of(unit.nal).is_some());
        let marks = marks.map(|unit| unit.start..unit.end).collect::<Vec<_>>();
        if marks.is_empty() {
            return access_unit.clone();
        }
        let is_kept = |at: &usize| marks.iter().all(|mark| !mark.contains(at));
        (0..access_unit.len()).filter(is_kept).map(|at| access_unit[at]).collect()
    }

    /// The hash of an audio frame.
    pub fn hash(bytes: &[u8]) -> u32 {
        crc32fast::hash(bytes)
    }

    /// How many bytes [`Self::write_into`] adds for a picture after so many audio frames, before
    /// emulation prevention, which adds a few at times.
    pub fn bytes(sounds: usize) -> usize {
        let payload = FIXED_BYTES + 4 * sounds.min(255);
        LENGTH_BYTES + HEAD.len() + payload / 255 + 1 + payload + 1
    }

    fn bytes_max(&self) -> usize {
        Self::bytes(self.sounds.len()) * 3 / 2
    }

    fn payload(&self) -> ArrayVec<u8, { FIXED_BYTES + 4 * 255 }> {
        let mut payload = ArrayVec::new();
        payload.extend(UUID);
        payload.push(VERSION);
        payload.extend(self.clock_ns.to_be_bytes());
        payload.extend(self.picture.to_be_bytes());
        payload.extend(self.hash.to_be_bytes());
        payload.extend(self.first_sound.to_be_bytes());
        payload.push(self.sounds.len() as u8);
        payload.extend(self.sounds.iter().flat_map(|hash| hash.to_be_bytes()));
        payload
    }
}

/// What follows our UUID, if `nal` is a mark.
fn payload_of(nal: &[u8]) -> Option<impl Iterator<Item = u8>> {
    let sei = nal.strip_prefix(&HEAD)?;
    let mut rbsp = nal::rbsp(sei);
    while rbsp.next()? == 255 {}
    UUID.iter().all(|byte| rbsp.next() == Some(*byte)).then_some(rbsp)
}

/// Where the first slice begins, or the data partition or prefix NAL unit that stands for one.
fn first_slice(access_unit: &[u8]) -> usize {
    units(access_unit).find(Unit::is_slice).map_or(access_unit.len(), |unit| unit.start)
}

/// A NAL unit, and its place in the access unit with its length.
struct Unit<'a> {
    start: usize,
    end: usize,
    nal: &'a [u8],
}

impl Unit<'_> {
    /// `nal_unit_type` (H.264 table 7-1); 0 for an empty one.
    fn kind(&self) -> u8 {
        self.nal.first().map_or(0, |byte| byte & 0x1f)
    }

    fn is_slice(&self) -> bool {
        matches!(self.kind(), 1..=5 | 14)
    }
}

const LENGTH_BYTES: usize = 4;

/// All that is whole.
fn units(access_unit: &[u8]) -> impl Iterator<Item = Unit<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let (length, rest) = access_unit[start..].split_first_chunk::<LENGTH_BYTES>()?;
        let nal = rest.get(..u32::from_be_bytes(*length) as usize)?;
        let unit = Unit { start, end: start + LENGTH_BYTES + nal.len(), nal };
        start = unit.end;
        Some(unit)
    })
}

/// Appends `bytes` to the NAL unit with emulation prevention (H.264 7.4.1.1).
fn escape(bytes: &[u8], nal: &mut BytesMut) {
    for &byte in bytes {
        if byte <= 3 && nal.ends_with(&[0, 0]) {
            nal.put_u8(3);
        }
        nal.put_u8(byte);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn mark(clock_ns: u64, picture: u32, hash: u32, first_sound: u32, sounds: &[u32]) -> Mark {
        let sounds = sounds.iter().copied().collect();
        Mark { clock_ns, picture, hash, first_sound, sounds }
    }

    /// An access unit of whole NAL units.
    fn avcc(nals: &[&[u8]]) -> Vec<u8> {
        let with_length = |nal: &&[u8]| [&(nal.len() as u32).to_be_bytes(), *nal].concat();
        nals.iter().flat_map(with_length).collect()
    }

    #[test]
    fn a_mark_stands_after_the_delimiter_and_before_the_slice() {
        let unit = avcc(&[&[9, 0xf0], &[0x65, 1, 2, 3]]);
        let marked = mark(1, 2, 3, 4, &[5]).write_into(&unit);
        let kinds = units(&marked).map(|unit| unit.kind()).collect::<Vec<_>>();
        assert_eq!(kinds, [9, SEI, 5]);
    }

    #[test]
    fn no_start_code_hides_in_a_mark() {
        let marked = mark(0, 0, 0x0100, 0x0300_0001, &[0; 255]).write_into(&avcc(&[&[0x41, 9]]));
        let nal = units(&marked).next().expect("the mark").nal;
        let bad = nal.windows(3).find(|bytes| bytes[..2] == [0, 0] && bytes[2] < 3);
        assert_eq!(bad, None);
        assert!(Mark::find(&marked).is_some_and(|found| found.sounds.len() == 255));
    }

    #[test]
    fn foreign_user_data_and_later_versions_are_no_marks() {
        let foreign = [&HEAD[..], &[17], &[7; 17], &[0x80]].concat();
        assert_eq!(Mark::find(&avcc(&[&foreign, &[0x65, 1]])), None);
        let mut later = mark(1, 2, 3, 4, &[]).write_into(&avcc(&[&[0x65, 1]])).to_vec();
        later[LENGTH_BYTES + HEAD.len() + 1 + UUID.len()] = VERSION + 1;
        assert_eq!(Mark::find(&later), None);
        assert_eq!(Mark::hash_without(&later), Mark::hash_without(&avcc(&[&[0x65, 1]])));
    }

    #[test]
    fn the_hash_tells_damage_but_not_what_containers_add() {
        let plain = avcc(&[&[0x65, 1, 2], &[0x65, 3]]);
        let hash = Mark::hash_without(&plain);
        let dressed = avcc(&[&[9, 0xf0], &[0x67, 4], &[0x68, 5], &[0x65, 1, 2], &[0x65, 3]]);
        assert_eq!(Mark::hash_without(&dressed), hash);
        for (at, _) in plain.iter().enumerate() {
            let mut damaged = plain.clone();
            damaged[at] ^= 0x10;
            assert_ne!(Mark::hash_without(&damaged), hash, "byte {at}");
            assert_ne!(Mark::hash_without(&plain[..at]), hash, "cut at {at}");
        }
        assert_ne!(Mark::hash_without(&avcc(&[&[0x65, 1, 2]])), hash, "a slice is missing");
    }

    #[test]
    fn the_size_of_a_mark_is_known_before() {
        for sounds in [0, 1, 2, 53, 54, 55, 118, 255] {
            let mark = mark(u64::MAX, 0x0101_0101, 0x0101_0101, 0x0101_0101, &vec![!0; sounds]);
            assert_eq!(mark.write_into(&[]).len(), Mark::bytes(sounds), "{sounds}");
        }
    }

    proptest! {
        #[test]
        fn a_mark_is_found_again_and_the_rest_is_as_it_was(
            numbers: (u64, u32, u32, u32),
            zeros in 0_u32..4,
            sounds in vec(any::<u32>(), 0..=255),
            nals in vec(vec(any::<u8>(), 1..40), 0..4),
        ) {
            let (clock_ns, picture, hash, first_sound) = numbers;
            // Small numbers are full of zero bytes.
            let picture = picture >> (8 * zeros);
            let unit = avcc(&nals.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mark = mark(clock_ns, picture, hash, first_sound, &sounds);
            let marked = mark.write_into(&unit);
            prop_assert_eq!(Mark::find(&marked), Some(mark.clone()));
            prop_assert_eq!(Mark::hash_without(&marked), Mark::hash_without(&unit));
            prop_assert!(marked.len() - unit.len() <= mark.bytes_max());
        }

        #[test]
        fn random_bytes_are_no_mark(bytes: Vec<u8>) {
            prop_assert_eq!(Mark::find(&bytes), None);
            Mark::hash_without(&bytes);
        }

        #[test]
        fn a_mark_cut_or_damaged_never_panics(
            sounds in vec(any::<u32>(), 0..=255),
            cut: proptest::sample::Index,
            at: proptest::sample::Index,
            byte: u8,
        ) {
            let marked = mark(7, 8, 9, 0, &sounds).write_into(&avcc(&[&[0x65, 1]]));
            let _ = Mark::find(&marked[..cut.index(marked.len())]);
            let mut damaged = marked.to_vec();
            damaged[at.index(marked.len())] = byte;
            let _ = Mark::find(&damaged);
            Mark::hash_without(&damaged);
        }
    }
}
