//! Pictures as a transport stream has them: NAL units behind start codes, each access unit opened by
//! a delimiter, parameter sets before each picture that one can begin at (2.14.1, 2.17.1).

use super::psi::Descriptors;
use crate::bytes::Reader;
use crate::codec::nal;
use crate::media::{Codec, Track, VideoCodec};

/// How the frames of a track become access units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccessUnits {
    codec: VideoCodec,
    nal_length_bytes: u8,
    /// With their start codes.
    parameter_sets: Vec<u8>,
}

const START_CODE: &[u8] = &[0, 0, 0, 1];
/// A delimiter that allows any picture (H.264 7.4.2.4, H.265 7.4.3.5).
const H264_DELIMITER: &[u8] = &[0, 0, 0, 1, 9, 0xf0];
const H265_DELIMITER: &[u8] = &[0, 0, 0, 1, 0x46, 1, 0x50];

impl AccessUnits {
    /// None if its codec has no place in a transport stream, or its record cannot be read.
    pub(super) fn of(track: &Track) -> Option<Self> {
        let (codec, (nal_length_bytes, parameter_sets)) = match track.codec {
            Codec::Video(codec @ VideoCodec::H264) => (codec, of_avcc(&track.config)?),
            Codec::Video(codec @ VideoCodec::H265) => (codec, of_hvcc(&track.config)?),
            _ => return None,
        };
        Some(Self { codec, nal_length_bytes, parameter_sets })
    }

    /// As the program's table tells of it (2.4.4.9).
    pub(super) fn stream_type(&self) -> u8 {
        match self.codec {
            VideoCodec::H265 => 0x24,
            _ => 0x1b,
        }
    }

    pub(super) fn descriptors(&self) -> Descriptors<'static> {
        match self.codec {
            VideoCodec::H265 => Descriptors::Registered(*b"HEVC"),
            _ => Descriptors::None,
        }
    }

    /// The parts of the access unit that `frame` becomes, in their order. `begins`: a decoder may
    /// begin here.
    pub(super) fn parts<'a>(
        &'a self,
        frame: &'a [u8],
        begins: bool,
    ) -> impl Iterator<Item = &'a [u8]> {
        let delimiter = match self.codec {
            VideoCodec::H265 => H265_DELIMITER,
            _ => H264_DELIMITER,
        };
        let units = || nal::length_prefixed(frame, self.nal_length_bytes);
        // Those it brings itself are newer, and the last that a decoder reads are in force.
        let sets = match begins && !self.has_parameter_sets(units()) {
            true => &self.parameter_sets[..],
            false => &[],
        };
        let coded = units().filter(|unit| self.kind(unit) != Kind::Delimiter);
        let coded = coded.flat_map(|unit| [START_CODE, unit]);
        [delimiter, sets].into_iter().chain(coded)
    }

    /// True if none is missing.
    fn has_parameter_sets<'a>(&self, units: impl Iterator<Item = &'a [u8]>) -> bool {
        let found = units.fold(0_u8, |found, unit| match self.kind(unit) {
            Kind::ParameterSet(bit) => found | 1 << bit,
            _ => found,
        });
        found.count_ones() == if self.codec == VideoCodec::H265 { 3 } else { 2 }
    }

    fn kind(&self, unit: &[u8]) -> Kind {
        match (self.codec, unit[0]) {
            (VideoCodec::H265, first) => match first >> 1 & 0x3f {
                kind @ 32..=34 => Kind::ParameterSet(kind - 32),
                35 => Kind::Delimiter,
                _ => Kind::Other,
            },
            (_, first) => match first & 0x1f {
                kind @ 7..=8 => Kind::ParameterSet(kind - 7),
                9 => Kind::Delimiter,
                _ => Kind::Other,
            },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Which of those that there are.
    ParameterSet(u8),
    Delimiter,
    Other,
}

/// `avcC` (ISO/IEC 14496-15 5.3.3.1).
fn of_avcc(config: &[u8]) -> Option<(u8, Vec<u8>)> {
    let mut reader = Reader::new(config);
    let [_, _, _, _, length_size] = reader.array("avcC").ok()?;
    let mut sets = Vec::new();
    for mask in [0x1f, 0xff] {
        for _ in 0..reader.u8("parameter sets").ok()? & mask {
            add_set(&mut reader, &mut sets)?;
        }
    }
    Some(((length_size & 3) + 1, sets))
}

/// `hvcC` (ISO/IEC 14496-15 8.3.3.1).
fn of_hvcc(config: &[u8]) -> Option<(u8, Vec<u8>)> {
    let mut reader = Reader::new(config);
    let head: [u8; 22] = reader.array("hvcC").ok()?;
    let mut sets = Vec::new();
    for _ in 0..reader.u8("numOfArrays").ok()? {
        let kind = reader.u8("NAL_unit_type").ok()? & 0x3f;
        for _ in 0..reader.u16("numNalus").ok()? {
            // Only parameter sets: an SEI here may be megabytes.
            if (32..=34).contains(&kind) {
                add_set(&mut reader, &mut sets)?;
            } else {
                let length = reader.u16("nalUnitLength").ok()?;
                reader.take("nalUnit", length.into()).ok()?;
            }
        }
    }
    Some(((head[21] & 3) + 1, sets))
}

fn add_set(reader: &mut Reader<'_>, sets: &mut Vec<u8>) -> Option<()> {
    let length = reader.u16("parameter set length").ok()?;
    let set = reader.take("parameter set", length.into()).ok()?;
    if !set.is_empty() {
        sets.extend_from_slice(START_CODE);
        sets.extend_from_slice(set);
    }
    Some(())
}
