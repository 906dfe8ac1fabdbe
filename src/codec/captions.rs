//! Captions inside pictures: CEA-608 and CEA-708 in SEI messages (ATSC A/53 part 4, 6.2.3).

use super::{h264, nal};
use crate::media::{Codec, Track, VideoCodec};

/// Channels of captions, each seen or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptionChannels {
    /// CC1 to CC4 of CEA-608, from the lowest bit on.
    pub cc: u8,
    /// Services 1 to 6 of CEA-708, likewise.
    pub services: u8,
}

impl CaptionChannels {
    /// Those of `other`, too.
    pub fn add(&mut self, other: Self) {
        self.cc |= other.cc;
        self.services |= other.services;
    }

    /// None was seen.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The names that HLS has for them (RFC 8216 4.3.4.1, INSTREAM-ID). Services as well as channels are
    /// the same captions in two forms: then it is the channels, which more players show.
    pub fn names(self) -> impl Iterator<Item = String> {
        let (kind, seen) = match self.cc {
            0 => ("SERVICE", self.services),
            cc => ("CC", cc),
        };
        (0..8).filter(move |bit| seen >> bit & 1 == 1).map(move |bit| format!("{kind}{}", bit + 1))
    }

    /// Three bytes of `cc_data` (CTA-708-E 4.4): what they are, and a pair of data. Channels are told by
    /// their commands: text alone does not name its own.
    fn see(&mut self, [what, first, second]: [u8; 3]) {
        const VALID: u8 = 4;
        let is_command = matches!(first & 0x7f, 0x10..=0x1f);
        match (what & VALID, what & 3) {
            // CTA-608-E 8.4: the second channel of a field has bit 3 set.
            (VALID, field @ (0 | 1)) if is_command => {
                self.cc |= 1 << (field * 2 + (first >> 3 & 1));
            }
            // A packet begins: its head, then that of its first service block (CTA-708-E 5, 6.2).
            (VALID, 3) if second & 0x1f > 0 && matches!(second >> 5, 1..=6) => {
                self.services |= 1 << ((second >> 5) - 1);
            }
            _ => {}
        }
    }
}

/// The channels of captions that `frame` of that track has commands for; none if there is no place for
/// captions in it. Asks no further than the first slice: SEI comes before it.
pub fn captions(track: &Track, frame: &[u8]) -> Option<CaptionChannels> {
    match track.codec {
        Codec::Video(VideoCodec::H264) => {
            let bytes = h264::nal_length_bytes(&track.config)?;
            in_units(frame, bytes, |unit| unit[0] & 0x1f, 1, 1..=5, &[6])
        }
        Codec::Video(VideoCodec::H265) => {
            let bytes = (track.config.get(21)? & 3) + 1;
            in_units(frame, bytes, |unit| unit[0] >> 1 & 0x3f, 2, 0..=31, &[39])
        }
        _ => None,
    }
}

fn in_units(
    frame: &[u8],
    length_bytes: u8,
    kind: impl Fn(&[u8]) -> u8,
    header_bytes: usize,
    slices: std::ops::RangeInclusive<u8>,
    sei: &[u8],
) -> Option<CaptionChannels> {
    nal::length_prefixed(frame, length_bytes)
        .take_while(|unit| !slices.contains(&kind(unit)))
        .filter(|unit| sei.contains(&kind(unit)))
        .find_map(|unit| in_sei(unit.get(header_bytes..)?))
}

/// Walks the messages of one SEI NAL unit, after its header (H.264 7.3.2.3).
fn in_sei(sei: &[u8]) -> Option<CaptionChannels> {
    let mut bytes = nal::rbsp(sei);
    loop {
        let (kind, size) = (number(&mut bytes)?, number(&mut bytes)?);
        let mut message = bytes.by_ref().take(size);
        if kind == USER_DATA_REGISTERED && CAPTIONS.iter().all(|byte| message.next() == Some(*byte))
        {
            return Some(in_cc_data(message));
        }
        // On to the next.
        message.for_each(drop);
    }
}

/// `cc_data` (CTA-708-E 4.4): how many triples, a byte without meaning, the triples.
fn in_cc_data(mut bytes: impl Iterator<Item = u8>) -> CaptionChannels {
    const COUNT: u8 = 0x1f;
    let mut seen = CaptionChannels::default();
    let count = bytes.next().map_or(0, |byte| byte & COUNT);
    bytes.next();
    for _ in 0..count {
        let triple = [bytes.next(), bytes.next(), bytes.next()];
        let [Some(what), Some(first), Some(second)] = triple else { break };
        seen.see([what, first, second]);
    }
    seen
}

/// The sum of its bytes; all but the last are 255.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut sum = 0;
    loop {
        let byte = bytes.next()?;
        sum += usize::from(byte);
        if byte != 255 {
            return Some(sum);
        }
    }
}

const USER_DATA_REGISTERED: usize = 4;
/// Country 181 (USA), provider 49 (ATSC), `GA94`, `cc_data`.
const CAPTIONS: [u8; 8] = [0xb5, 0, 0x31, b'G', b'A', b'9', b'4', 3];

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn track(codec: VideoCodec) -> Track {
        let mut config = vec![0; 23];
        (config[4], config[21]) = (0xff, 3);
        let (codec, config) = (Codec::Video(codec), Bytes::from(config));
        Track { codec, config, hdr: None, video: None, audio: None }
    }

    fn frame(units: &[&[u8]]) -> Vec<u8> {
        let length = |unit: &[u8]| u32::try_from(unit.len()).expect("short").to_be_bytes();
        units.iter().flat_map(|unit| [&length(unit)[..], unit].concat()).collect()
    }

    /// A message of another kind, then captions: a command for CC1.
    const SEI: &[u8] = &[
        6, 1, 2, 9, 9, 4, 14, 0xb5, 0, 0x31, b'G', b'A', b'9', b'4', 3, 0x41, 0xff, 0xfc, 0x94,
        0x20, 0xff,
    ];

    fn names(channels: CaptionChannels) -> Vec<String> {
        channels.names().collect()
    }

    #[test]
    fn captions_are_found_before_the_first_slice_and_not_behind_it() {
        let h264 = track(VideoCodec::H264);
        let found = captions(&h264, &frame(&[&[9, 0xf0], SEI, &[0x65, 1]]));
        assert_eq!(found.map(names), Some(vec!["CC1".to_owned()]));
        assert_eq!(captions(&h264, &frame(&[&[0x65, 1], SEI])), None);
        assert_eq!(captions(&h264, &frame(&[&SEI[..12]])), None);
        assert_eq!(captions(&h264, &frame(&[&[6, 4, 3, 0xb5, 0, 0x31]])), None);
        let h265 = track(VideoCodec::H265);
        let sei = [&[39 << 1, 1], &SEI[1..]].concat();
        assert_eq!(captions(&h265, &frame(&[&sei, &[0x26, 1]])), found);
        assert_eq!(captions(&track(VideoCodec::Av1), &frame(&[SEI])), None);
    }

    #[test]
    fn channels_are_told_by_their_commands_and_services_by_their_packets() {
        let seen = |triples: &[[u8; 3]]| {
            let count = 0x40 | u8::try_from(triples.len()).expect("few");
            in_cc_data([count, 0xff].into_iter().chain(triples.iter().flatten().copied()))
        };
        let (cc2, cc3) = ([0xfc, 0x1c, 0x20], [0xfd, 0x94, 0x20]);
        assert_eq!(names(seen(&[cc2, cc3])), ["CC2", "CC3"]);
        // Padding, text alone, and what is not valid.
        assert!(seen(&[[0xfc, 0x80, 0x80], [0xfc, b'A', b'B'], [0xf8, 0x94, 0x20]]).is_empty());
        // Services 1 and 6; an empty block, and a service that has a longer number.
        let (first, sixth) = ([0xff, 0x02, 1 << 5 | 2], [0xff, 0x42, 6 << 5 | 2]);
        let both = seen(&[first, sixth, [0xff, 0x02, 2 << 5], [0xff, 0x02, 7 << 5 | 2]]);
        assert_eq!(names(both), ["SERVICE1", "SERVICE6"]);
        assert_eq!(names(seen(&[cc2, first])), ["CC2"]);
        assert_eq!(in_cc_data([0x43, 0xff, 0xfc, 0x94].into_iter()), CaptionChannels::default());
    }

    proptest! {
        #[test]
        fn random_frames_never_panic(frame: Vec<u8>) {
            captions(&track(VideoCodec::H264), &frame);
            captions(&track(VideoCodec::H265), &frame);
            in_sei(&frame);
        }
    }
}
