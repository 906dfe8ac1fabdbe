use arrayvec::ArrayVec;
use bytes::{BufMut, Bytes, BytesMut};

use super::TagKind;
use super::header::{self, SoundFlags, four_cc_of, frame_type, legacy_packet, picture, sound};
use crate::container::amf0::{self, Value};
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
    if matches!(frame.kind, TrackKind::Data | TrackKind::Private) {
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

/// True if `track` says that its picture has a high dynamic range (PQ or HLG). Encoders describe
/// ordinary colours in the same way, which nobody needs to be told.
pub fn is_hdr(track: &Track) -> bool {
    let Some(hdr) = &track.hdr else { return false };
    let values = amf0::decode(hdr, amf0::Limits::default()).unwrap_or_default();
    let config = values.get(1).and_then(|info| info.get("colorConfig"));
    let transfer = config.and_then(|config| config.get("transferCharacteristics"));
    // ISO/IEC 23091-4: 16 is SMPTE ST 2084, 18 is ARIB STD-B67.
    transfer.and_then(Value::as_f64).is_some_and(|code| code == 16.0 || code == 18.0)
}

/// `onMetaData` without what it says of a kind of track that is left out: players wait for what
/// is announced. What cannot be read stays as it is.
pub fn metadata_of(metadata: &Bytes, audio: bool, video: bool) -> Bytes {
    if audio && video {
        return metadata.clone();
    }
    let Ok(mut values) = amf0::decode(metadata, amf0::Limits::default()) else {
        return metadata.clone();
    };
    let stays = |name: &str| {
        (video || !VIDEO_METADATA.contains(&name)) && (audio || !AUDIO_METADATA.contains(&name))
    };
    for value in &mut values {
        if let Value::Object(fields) | Value::EcmaArray(fields) = value {
            fields.retain(|(name, _)| stays(name));
        }
    }
    let mut out = BytesMut::new();
    for value in &values {
        amf0::encode(&mut out, value);
    }
    out.freeze()
}

const VIDEO_METADATA: [&str; 7] =
    ["width", "height", "videodatarate", "framerate", "fps", "videocodecid", "hasVideo"];
const AUDIO_METADATA: [&str; 7] = [
    "audiodatarate",
    "audiosamplerate",
    "audiosamplesize",
    "audiochannels",
    "stereo",
    "audiocodecid",
    "hasAudio",
];

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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod metadata_tests {
    use super::*;

    fn encoded(values: &[Value]) -> Bytes {
        let mut out = BytesMut::new();
        values.iter().for_each(|value| amf0::encode(&mut out, value));
        out.freeze()
    }

    fn number(name: &str, value: f64) -> (String, Value) {
        (name.to_owned(), value.into())
    }

    #[test]
    fn metadata_says_nothing_of_a_kind_that_is_left_out() {
        let fields = vec![number("width", 1.0), number("audiocodecid", 10.0), number("x", 3.0)];
        let metadata = encoded(&["onMetaData".into(), Value::EcmaArray(fields)]);
        assert_eq!(metadata_of(&metadata, true, true), metadata);
        let sound = amf0::decode(&metadata_of(&metadata, true, false), Default::default()).unwrap();
        let rest = vec![number("audiocodecid", 10.0), number("x", 3.0)];
        assert_eq!(sound, ["onMetaData".into(), Value::EcmaArray(rest)]);
        let junk = Bytes::from_static(b"junk");
        assert_eq!(metadata_of(&junk, false, true), junk);
    }

    #[test]
    fn only_pq_and_hlg_are_high_dynamic_range() {
        let track = |transfer: f64| {
            let config = Value::Object(vec![number("transferCharacteristics", transfer)]);
            let info = Value::Object(vec![("colorConfig".to_owned(), config)]);
            let hdr = Some(encoded(&["colorInfo".into(), info]));
            let codec = Codec::Video(VideoCodec::H265);
            Track { codec, config: Bytes::new(), hdr, video: None, audio: None }
        };
        assert_eq!([1.0, 16.0, 18.0].map(|code| is_hdr(&track(code))), [false, true, true]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Demux, Item, Limits};
    use super::*;
    use crate::media::AudioFormat;
    use crate::time::Timestamp;

    fn track(codec: Codec, config: &[u8]) -> Track {
        let config = Bytes::copy_from_slice(config);
        Track { codec, config, hdr: None, video: None, audio: None }
    }

    /// One track of each codec with a record that passes, in the form the demultiplexer gives it.
    fn tracks() -> Vec<Track> {
        use AudioCodec::{Aac, Ac3, Flac, G711A, G711U, Mp3, Opus};
        use VideoCodec::{Av1, H264, H265, Vp9};
        let video = [(H264, 7), (H265, 23), (Av1, 4), (Vp9, 12)];
        let audio = [(Aac, 2), (Opus, 19), (Ac3, 0), (Mp3, 0), (G711A, 0), (G711U, 0)];
        let mut tracks: Vec<_> =
            video.map(|(codec, len)| track(Codec::Video(codec), &vec![1; len])).into();
        tracks.extend(audio.map(|(codec, len)| track(Codec::Audio(codec), &vec![1; len])));
        tracks.push(track(Codec::Audio(Flac), &[&b"fLaC\x80\0\0\x22"[..], &[1; 34]].concat()));
        tracks
    }

    fn frame(codec: Codec, dts_ms: i64, cts_ms: i64, key: bool, data: &[u8]) -> Frame {
        let (kind, dts) = (codec.kind(), Timestamp::from_millis(dts_ms));
        let pts = Timestamp::from_millis(dts_ms + cts_ms);
        Frame { kind, dts, pts, key, data: Bytes::copy_from_slice(data) }
    }

    fn body(frame: &Frame, track: &Track, form: HevcForm) -> Bytes {
        [&frame_head(frame, track, form)[..], &frame.data].concat().into()
    }

    #[test]
    fn legacy_codecs_are_written_as_encoders_write_them() {
        let h264 = track(Codec::Video(VideoCodec::H264), b"avcC");
        let frame_of = |cts_ms, key| frame(h264.codec, 0, cts_ms, key, b"nal");
        let form = HevcForm::Enhanced;
        assert_eq!(sequence_start(&h264, form).unwrap(), &b"\x17\0\0\0\0avcC"[..]);
        assert_eq!(body(&frame_of(80, true), &h264, form), &b"\x17\x01\0\0\x50nal"[..]);
        assert_eq!(body(&frame_of(-1, false), &h264, form), &b"\x27\x01\xff\xff\xffnal"[..]);
        let aac = track(Codec::Audio(AudioCodec::Aac), b"\x12\x10");
        assert_eq!(sequence_start(&aac, form).unwrap(), &b"\xaf\0\x12\x10"[..]);
        let aac_frame = frame(aac.codec, 0, 0, false, b"x");
        assert_eq!(body(&aac_frame, &aac, form), &b"\xaf\x01x"[..]);
    }

    #[test]
    fn h265_is_written_in_either_form() {
        let h265 = track(Codec::Video(VideoCodec::H265), b"hvcC");
        let frame = frame(h265.codec, 0, 2, true, b"nal");
        let (new, old) = (HevcForm::Enhanced, HevcForm::Legacy);
        assert_eq!(body(&frame, &h265, new), &b"\x91hvc1\0\0\x02nal"[..]);
        assert_eq!(body(&frame, &h265, old), &b"\x1c\x01\0\0\x02nal"[..]);
        assert_eq!(sequence_start(&h265, new).unwrap(), &b"\x90hvc1hvcC"[..]);
        assert_eq!(sequence_start(&h265, old).unwrap(), &b"\x1c\0\0\0\0hvcC"[..]);
        let hdr = Track { hdr: Some(Bytes::from_static(b"amf")), ..h265 };
        assert_eq!(hdr_body(&hdr, new).unwrap(), &b"\xd4hvc1amf"[..]);
        assert_eq!(hdr_body(&hdr, old), None);
    }

    #[test]
    fn sound_flags_follow_the_track() {
        let flags = |codec, format: Option<(u32, u8)>| {
            let audio =
                format.map(|(sample_rate_hz, channels)| AudioFormat { sample_rate_hz, channels });
            let track = Track { audio, ..track(Codec::Audio(codec), b"") };
            let frame = frame(track.codec, 0, 0, false, b"x");
            frame_head(&frame, &track, HevcForm::Enhanced)[..].to_vec()
        };
        assert_eq!(flags(AudioCodec::Mp3, None), [0x2f]);
        assert_eq!(flags(AudioCodec::Mp3, Some((48_000, 2))), [0x2f]);
        assert_eq!(flags(AudioCodec::Mp3, Some((24_000, 1))), [0x2a]);
        assert_eq!(flags(AudioCodec::Mp3, Some((11_025, 1))), [0x26]);
        assert_eq!(flags(AudioCodec::Mp3, Some((8_000, 1))), [0xe2]);
        assert_eq!(flags(AudioCodec::G711A, None), [0x72]);
        assert_eq!(flags(AudioCodec::G711U, Some((8_000, 2))), [0x83]);
    }

    #[test]
    fn script_data_has_no_head() {
        let h264 = track(Codec::Video(VideoCodec::H264), b"avcC");
        let script = Frame { kind: TrackKind::Data, ..frame(h264.codec, 0, 0, false, b"amf") };
        assert!(frame_head(&script, &h264, HevcForm::Enhanced).is_empty());
    }

    #[test]
    fn a_composition_time_beyond_24_bits_is_clamped() {
        let h264 = track(Codec::Video(VideoCodec::H264), b"avcC");
        let far = frame(h264.codec, 0, i64::from(u32::MAX), false, b"x");
        assert_eq!(frame_head(&far, &h264, HevcForm::Enhanced)[2..], [0x7f, 0xff, 0xff]);
    }

    #[test]
    fn tag_headers_split_the_time_and_let_it_wrap() {
        let header = tag_header(TagKind::Video, 0x0001_0203, 0x0a_0b0c_0d0e);
        assert_eq!(header, [9, 1, 2, 3, 0x0c, 0x0d, 0x0e, 0x0b, 0, 0, 0]);
        assert_eq!(tag_header(TagKind::Audio, 0, -1)[4..8], [0xff; 4]);
        assert_eq!(previous_tag_size(1), [0, 0, 0, 12]);
        assert_eq!(file_header(true, false)[..], *b"FLV\x01\x04\0\0\0\x09\0\0\0\0");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            index in 0_usize..11,
            legacy: bool,
            dts_ms in -1_000_000_i64..1_000_000_000_000,
            cts_ms in -8_000_000_i64..8_000_000,
            key: bool,
            hdr: bool,
            data in proptest::collection::vec(any::<u8>(), 1..64),
        ) {
            let mut track = tracks().swap_remove(index);
            let form = if legacy { HevcForm::Legacy } else { HevcForm::Enhanced };
            let video = track.kind() == TrackKind::Video;
            if hdr && video {
                track.hdr = Some(Bytes::from_static(b"\x02\0\x09colorInfo\x06"));
            }
            // A first byte that AV1 takes for data.
            let data = [&[0x0a], &data[..]].concat();
            let (cts_ms, key) = if has_cts(track.codec) { (cts_ms, key) } else { (0, key && video) };
            let frame = frame(track.codec, dts_ms, cts_ms, key, &data);

            let mut demux = Demux::new(Limits::default());
            let mut items = Vec::new();
            let bodies = [hdr_body(&track, form), sequence_start(&track, form)];
            let bodies = bodies.into_iter().flatten().chain([body(&frame, &track, form)]);
            for body in bodies {
                demux.push(track.kind().into(), frame.dts, body, &mut items).unwrap();
            }
            let [Item::Track(first), .., Item::Frame(last)] = &items[..] else {
                panic!("{items:?}");
            };
            prop_assert_eq!((first.codec, &first.config), (track.codec, &track.config));
            if hdr_body(&track, form).is_some() {
                prop_assert_eq!(&first.hdr, &track.hdr);
            }
            prop_assert_eq!(last, &frame);
        }
    }

    fn has_cts(codec: Codec) -> bool {
        matches!(codec, Codec::Video(VideoCodec::H264 | VideoCodec::H265))
    }
}
