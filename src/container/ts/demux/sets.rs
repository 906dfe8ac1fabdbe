//! Parameter sets that come with the pictures, and the records made of them.

use bytes::Bytes;

use super::Notice;
use super::report::Out;
use crate::codec::{self, h264, h265};
use crate::media::{Codec, Track, VideoCodec};

/// The sets in force, and the track they make.
#[derive(Debug)]
pub(super) struct Sets {
    codec: VideoCodec,
    kept: Vec<Set>,
    track: Option<Track>,
    fields: Option<h264::FieldSyntax>,
    /// So often they may still become others, between two times of a PES packet.
    changes_left: usize,
}

/// Sets are told anew at a key frame, of which few come at once. Each time costs as much as all of them
/// together, however short the one is that is new. Beyond it pictures go on with those before, which is
/// damage to whoever tells other ones at each of many pictures without a time.
const CHANGES_MAX: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    kind: Kind,
    id: u32,
    unit: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of the layers of H.265.
    Video,
    Sequence,
    Picture,
}

impl Sets {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self { codec, kept: Vec::new(), track: None, fields: None, changes_left: CHANGES_MAX }
    }

    /// The pictures from one time to the next come.
    pub(super) fn begin(&mut self) {
        self.changes_left = CHANGES_MAX;
    }

    /// True if pictures can be decoded.
    pub(super) fn are_whole(&self) -> bool {
        self.track.is_some()
    }

    /// How slices tell fields, if they may be of fields.
    pub(super) fn fields(&self) -> Option<h264::FieldSyntax> {
        self.fields
    }

    /// Takes the sets that come with a picture. The track, if it is another one now.
    pub(super) fn adopt(&mut self, units: &[&[u8]], out: &mut Out<'_>) -> Option<Track> {
        let mut came = Vec::new();
        for unit in units {
            match Set::read(self.codec, unit) {
                Some(set) if !self.kept.contains(&set) => came.push(set),
                Some(_) => {}
                None => out.damaged(),
            }
        }
        if came.is_empty() {
            return None;
        }
        let Some(left) = self.changes_left.checked_sub(1) else {
            out.too_long();
            return None;
        };
        self.changes_left = left;
        let replaces = |set: &Set| {
            set.kind == Kind::Sequence && self.kept.iter().any(|kept| kept.is_same(set))
        };
        let mut next = self.kept.clone();
        // What belonged to a sequence that is over goes with it, if the new one is whole.
        if came.iter().any(replaces) && came.iter().any(|set| set.kind == Kind::Picture) {
            next.clear();
            came = units.iter().filter_map(|unit| Set::read(self.codec, unit)).collect();
        }
        for set in came {
            match next.iter_mut().find(|kept| kept.is_same(&set)) {
                Some(kept) => *kept = set,
                None => next.push(set),
            }
        }
        let bytes: usize = next.iter().map(|set| set.unit.len()).sum();
        if next.len() > out.limits.parameter_sets || bytes > out.limits.config_bytes {
            out.too_long();
            return None;
        }
        self.keep(next, out)
    }

    fn keep(&mut self, next: Vec<Set>, out: &mut Out<'_>) -> Option<Track> {
        let of = |kind: Kind| -> Vec<&[u8]> {
            next.iter().filter(|set| set.kind == kind).map(|set| &set.unit[..]).collect()
        };
        let [vps, sps, pps] = [Kind::Video, Kind::Sequence, Kind::Picture].map(of);
        if sps.is_empty() || pps.is_empty() || (vps.is_empty() && self.codec == VideoCodec::H265) {
            self.kept = next;
            return None;
        }
        let record = match self.codec {
            VideoCodec::H265 => h265::hvcc(&vps, &sps, &pps),
            _ => h264::avcc(&sps, &pps),
        };
        let codec = Codec::Video(self.codec);
        let video = record.as_ref().and_then(|record| codec::describe(codec, record).ok()?.video);
        let (Some(record), Some(video)) = (record, video) else {
            // With what was before, pictures may go on.
            out.damaged();
            return None;
        };
        self.fields = match self.codec {
            VideoCodec::H265 => None,
            _ => h264::FieldSyntax::of_sps(sps[0]),
        };
        self.kept = next;
        let config = Bytes::from(record);
        let track = Track { codec, config, hdr: None, video: Some(video), audio: None };
        let is_new = self.track.as_ref() != Some(&track);
        self.track = Some(track);
        self.track.clone().filter(|_| is_new)
    }

    /// Tells that pictures are dropped for want of sets.
    pub(super) fn are_missing(&self, out: &mut Out<'_>) {
        out.note(Notice::FrameBeforeConfig(Codec::Video(self.codec)));
    }
}

impl Set {
    /// None if it is damaged.
    fn read(codec: VideoCodec, unit: &[u8]) -> Option<Self> {
        let (kind, id) = match codec {
            VideoCodec::H265 => {
                let kind = match unit.first()? >> 1 & 0x3f {
                    32 => Kind::Video,
                    33 => Kind::Sequence,
                    _ => Kind::Picture,
                };
                (kind, h265::set_id(unit)?)
            }
            _ => match unit.first()? & 0x1f {
                7 => (Kind::Sequence, h264::sps_id(unit)?),
                _ => (Kind::Picture, h264::pps_id(unit)?),
            },
        };
        Some(Self { kind, id, unit: unit.to_vec() })
    }

    /// True if one takes the place of the other.
    fn is_same(&self, other: &Self) -> bool {
        (self.kind, self.id) == (other.kind, other.id)
    }
}
