use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};

use super::TagKind;
use super::header::{self, SoundFlags, four_cc_of, frame_type, legacy_packet, picture, sound};
use crate::media::{AudioCodec, Codec, Frame, Track, TrackKind, VideoCodec};

/// How H.265 is written. Everything else has one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HevcForm {
    /// Enhanced RTMP, FourCC `hvc1`.
    #[default]
    Enhanced,
    /// Codec id 12 in the manner of H.264, for players that know nothing newer.
    Legacy,
}

/// What precedes `frame.data` in the body of its tag. `track` is the one the frame belongs to.
/// Script data needs nothing.
///
/// The composition time is the difference of the rounded times, so that a player that adds it to
/// the tag's time gets `pts` rounded.
pub fn frame_head(frame: &Frame, track: &Track, form: HevcForm) -> ArrayVec<u8, 24> {
    let mut head = ArrayVec::new();
    if frame.kind == TrackKind::Data {
        return head;
    }
    let kind = if frame.key { frame_type::KEY } else { frame_type::INTER };
    let cts_ms =
        frame.pts.as_millis().saturating_sub(frame.dts.as_millis()).clamp(-MAX_CTS, MAX_CTS);
    let [.., a, b, c] = cts_ms.to_be_bytes();
    match (Body::of(track.codec, form), track.codec) {
        (Body::Avc(id), _) => head.extend([kind << 4 | id, legacy_packet::FRAME, a, b, c]),
        (Body::Aac, _) => head.extend([SoundFlags::AAC.0, legacy_packet::FRAME]),
        (Body::Plain(format), _) => head.push(plain_flags(format, track).0),
        (Body::Enhanced(four_cc), codec) => {
            head.push(enhanced_byte(codec, kind, CODED_FRAMES));
            head.extend(four_cc);
            if codec == Codec::Video(VideoCodec::H265) {
                head.extend([a, b, c]);
            }
        }
    }
    head
}

/// The whole body of the tag that carries `track`'s configuration; none if it has none.
pub fn sequence_start(track: &Track, form: HevcForm) -> Option<Bytes> {
    if track.config.is_empty() {
        return None;
    }
    let mut body = BytesMut::with_capacity(8 + track.config.len());
    match Body::of(track.codec, form) {
        Body::Avc(id) => {
            body.put_slice(&[frame_type::KEY << 4 | id, legacy_packet::CONFIG, 0, 0, 0]);
        }
        Body::Aac => body.put_slice(&[SoundFlags::AAC.0, legacy_packet::CONFIG]),
        Body::Plain(_) => return None,
        Body::Enhanced(four_cc) => {
            body.put_u8(enhanced_byte(track.codec, frame_type::KEY, SEQUENCE_START));
            body.put_slice(&four_cc);
        }
    }
    body.put_slice(&track.config);
    Some(body.freeze())
}

/// The whole body of an Enhanced RTMP Metadata packet (HDR); none if `track` has no such data or
/// is written in a legacy form, whose players would not know it.
pub fn hdr_body(track: &Track, form: HevcForm) -> Option<Bytes> {
    let hdr = track.hdr.as_ref()?;
    let Body::Enhanced(four_cc) = Body::of(track.codec, form) else {
        return None;
    };
    let mut body = BytesMut::with_capacity(5 + hdr.len());
    // Marked as a command frame, so that what does not know the packet does not decode it.
    body.put_u8(enhanced_byte(track.codec, frame_type::COMMAND, METADATA));
    body.put_slice(&four_cc);
    body.put_slice(hdr);
    Some(body.freeze())
}

/// The header of an FLV tag whose body has `body_len` bytes (less than 2^24). Times wrap at 32
/// bits.
pub fn tag_header(kind: TagKind, body_len: usize, time_ms: i64) -> [u8; 11] {
    debug_assert!(body_len < 1 << 24);
    let [.., l0, l1, l2] = body_len.to_be_bytes();
    let [.., extended, t0, t1, t2] = time_ms.to_be_bytes();
    [kind as u8, l0, l1, l2, t0, t1, t2, extended, 0, 0, 0]
}

/// What follows the body of an FLV tag: the size of the tag it ends.
pub fn previous_tag_size(body_len: usize) -> [u8; 4] {
    let [.., a, b, c, d] = (body_len + 11).to_be_bytes();
    [a, b, c, d]
}

/// The header of an FLV file and the first PreviousTagSize, which is 0.
pub fn file_header(audio: bool, video: bool) -> [u8; 13] {
    let flags = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, flags, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// The four shapes of a body.
enum Body {
    /// Codec id, then AVCPacketType and composition time.
    Avc(u8),
    /// Sound flags, then AACPacketType.
    Aac,
    /// Sound flags, of this format.
    Plain(u8),
    /// FourCC.
    Enhanced([u8; 4]),
}

impl Body {
    fn of(codec: Codec, form: HevcForm) -> Self {
        match codec {
            Codec::Video(VideoCodec::H264) => Self::Avc(picture::H264),
            Codec::Video(VideoCodec::H265) if form == HevcForm::Legacy => Self::Avc(picture::H265),
            Codec::Audio(AudioCodec::Aac) => Self::Aac,
            Codec::Audio(AudioCodec::Mp3) => Self::Plain(sound::MP3),
            Codec::Audio(AudioCodec::G711A) => Self::Plain(sound::G711_A),
            Codec::Audio(AudioCodec::G711U) => Self::Plain(sound::G711_U),
            codec => Self::Enhanced(four_cc_of(codec).expect("only G.711 has none")),
        }
    }
}

fn plain_flags(format: u8, track: &Track) -> SoundFlags {
    match format {
        sound::MP3 => SoundFlags::mp3(track.audio),
        format => SoundFlags::g711(format, track.audio),
    }
}

fn enhanced_byte(codec: Codec, frame_type: u8, packet: u8) -> u8 {
    match codec.kind() {
        TrackKind::Audio => header::SOUND_IS_ENHANCED << 4 | packet,
        _ => header::VIDEO_IS_ENHANCED | frame_type << 4 | packet,
    }
}

/// The largest composition time 24 bits can hold in either direction, in milliseconds.
const MAX_CTS: i64 = (1 << 23) - 1;
const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const METADATA: u8 = 4;
