//! Pictures of a byte stream (H.264 and H.265 annex B) as frames.

use bytes::Bytes;

use super::clock::FrameTimes;
use super::nal_unit::{Role, role};
use super::report::Out;
use super::sets::Sets;
use crate::codec::{h264, nal};
use crate::container::Item;
use crate::media::{Frame, Track, TrackKind, VideoCodec};
use crate::time::Timestamp;

/// Makes frames of the PES packets of a video stream.
///
/// A PES packet without a time goes on with the picture before it, so a picture is given out when
/// the next one with a time begins. Delimiters, parameter sets and filler are left out: a frame's
/// form has no place for them.
#[derive(Debug)]
pub(super) struct Pictures {
    codec: VideoCodec,
    sets: Sets,
    /// What came since a time was told, and that time; without one it is dropped.
    gathered: Vec<u8>,
    open: Option<FrameTimes>,
    /// When the last one with a time was decoded, and how many pictures came since.
    last: Option<(Timestamp, i64)>,
    /// From picture to picture, for those without a time.
    interval_ns: i64,
}

/// An access unit in the making.
#[derive(Default)]
struct Unit<'a> {
    /// NAL units behind their lengths.
    data: Vec<u8>,
    sets: Vec<&'a [u8]>,
    has_slices: bool,
    key: bool,
    /// If it is one field of a frame.
    field: Option<h264::Field>,
    /// The track that begins with it.
    track: Option<Track>,
}

/// Until two times are known: 25 pictures a second.
const INTERVAL_NS: i64 = 40_000_000;
/// Access units between two times: each costs more than its bytes, and nobody sends so many at once.
const UNITS_MAX: usize = 256;
/// What is longer is a gap.
const INTERVAL_MAX_NS: i64 = 1_000_000_000;

impl Pictures {
    pub(super) fn new(codec: VideoCodec) -> Self {
        let (gathered, sets) = (Vec::new(), Sets::new(codec));
        Self { codec, sets, gathered, open: None, last: None, interval_ns: INTERVAL_NS }
    }

    /// A PES packet begins.
    pub(super) fn begin(&mut self, times: Option<FrameTimes>, out: &mut Out<'_>) {
        if times.is_some() {
            self.finish(out);
            self.open = times;
        }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        if self.open.is_none() {
            return;
        }
        if self.gathered.len() + bytes.len() > out.limits.unit_bytes {
            self.open = None;
            self.gathered = Vec::new();
            out.too_long();
            return;
        }
        self.gathered.extend_from_slice(bytes);
    }

    /// A part of what is open is missing.
    pub(super) fn lose(&mut self, out: &mut Out<'_>) {
        self.gathered.clear();
        if self.open.take().is_some() {
            out.incomplete();
        }
    }

    /// Gives out what is open: nothing more belongs to it.
    pub(super) fn finish(&mut self, out: &mut Out<'_>) {
        let Some(times) = self.open.take() else { return };
        let gathered = std::mem::take(&mut self.gathered);
        self.sets.begin();
        let units = self.split(&gathered, out);
        self.give(times, units, out);
        self.gathered = gathered;
        self.gathered.clear();
    }

    /// The access units of a byte stream, those of both fields of a frame together.
    fn split<'a>(&mut self, stream: &'a [u8], out: &mut Out<'_>) -> Vec<Unit<'a>> {
        let mut units = Vec::new();
        let mut unit = Unit::default();
        let mut closed = 0;
        for piece in nal::annex_b(stream) {
            let role = role(self.codec, piece);
            let begins = match role {
                Role::Delimiter => true,
                Role::ParameterSet | Role::Prefix { .. } | Role::Slice { first: true, .. } => {
                    unit.has_slices
                }
                Role::Slice { first: false, .. } | Role::Suffix | Role::Void => false,
            };
            if begins {
                self.close(std::mem::take(&mut unit), &mut units, out);
                closed += 1;
                if closed > UNITS_MAX {
                    out.too_long();
                    return units;
                }
            }
            match role {
                Role::Delimiter | Role::Void => continue,
                // Each is looked for among the others.
                Role::ParameterSet if unit.sets.len() == out.limits.parameter_sets => {
                    out.too_long();
                    continue;
                }
                Role::ParameterSet => {
                    unit.sets.push(piece);
                    continue;
                }
                Role::Prefix { key } => unit.key |= key,
                Role::Slice { key, .. } => {
                    if !unit.has_slices {
                        // The slices are written as the sets before them say.
                        unit.track = self.sets.adopt(&std::mem::take(&mut unit.sets), out);
                        unit.field = self.sets.fields().and_then(|fields| fields.field(piece));
                    }
                    unit.has_slices = true;
                    unit.key |= key;
                }
                Role::Suffix => {}
            }
            // No longer than what was gathered.
            unit.data.extend((piece.len() as u32).to_be_bytes());
            unit.data.extend_from_slice(piece);
        }
        self.close(unit, &mut units, out);
        units
    }

    fn close<'a>(&mut self, mut unit: Unit<'a>, units: &mut Vec<Unit<'a>>, out: &mut Out<'_>) {
        if !unit.has_slices {
            // Sets that came alone are of the pictures after them.
            unit.track = self.sets.adopt(&unit.sets, out);
            if unit.track.is_some() {
                units.push(unit);
            }
            return;
        }
        let is_other = |field: h264::Field, last: &Unit<'_>| {
            let other = h264::Field { bottom: !field.bottom, ..field };
            last.field == Some(other)
        };
        if let Some(field) = unit.field
            && unit.track.is_none()
            && let Some(last) = units.last_mut().filter(|last| is_other(field, last))
        {
            last.data.append(&mut unit.data);
            last.field = None;
            return;
        }
        units.push(unit);
    }

    fn give(&mut self, times: FrameTimes, units: Vec<Unit<'_>>, out: &mut Out<'_>) {
        if let Some((last, pictures)) = self.last {
            let span = times.dts.since(last);
            if (1..=INTERVAL_MAX_NS).contains(&(span / pictures.max(1))) {
                self.interval_ns = span / pictures.max(1);
            }
        }
        let mut pictures = 0;
        for unit in units {
            if let Some(track) = unit.track {
                out.items.push(Item::Track(track));
            }
            if !unit.has_slices {
                continue;
            }
            let after = pictures * self.interval_ns;
            pictures += 1;
            if !self.sets.are_whole() {
                self.sets.are_missing(out);
                continue;
            }
            out.items.push(Item::Frame(Frame {
                kind: TrackKind::Video,
                dts: times.dts + after,
                pts: times.pts + after,
                key: unit.key,
                data: Bytes::from(unit.data),
            }));
        }
        self.last = Some((times.dts, pictures));
    }
}
