use bytes::{Bytes, BytesMut};

use super::header::{self, Packet, SoundFlags, codec_of, frame_type, legacy_packet, sound};
use super::{CodecTag, Error, Item, Limits, Notice, TagKind};
use crate::bytes::Reader;
use crate::codec;
use crate::container::amf0;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, TrackKind, VideoCodec};
use crate::time::Timestamp;

/// Turns tag bodies into tracks and frames. Frames share the memory of the body they came in, if
/// they are most of it.
#[derive(Debug)]
pub struct Demux {
    limits: Limits,
    video: Option<Track>,
    audio: Option<Track>,
    /// HDR metadata in force and the codec it was sent for; it may come before the track does.
    hdr: Option<(Codec, Bytes)>,
    /// Each notice so far; those from `told` on have not been polled.
    notices: Vec<Notice>,
    told: usize,
    other_track_packets: u64,
}

/// What is known of a frame before its payload is reached.
#[derive(Clone, Copy)]
struct Head {
    time: Timestamp,
    /// Nanoseconds after `time`, by ModEx.
    nanos: i64,
    key: bool,
}

impl Demux {
    /// A demultiplexer that has seen nothing.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            video: None,
            audio: None,
            hdr: None,
            notices: Vec::new(),
            told: 0,
            other_track_packets: 0,
        }
    }

    /// Takes one tag body at its absolute time and appends what it held to `items`. An empty body
    /// holds nothing.
    ///
    /// # Errors
    /// The body is malformed, or over a limit. What it held before the fault is in `items`.
    pub fn push(
        &mut self,
        kind: TagKind,
        time: Timestamp,
        body: Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let body_bytes = body.len();
        within("tag body", self.limits.tag_bytes, body_bytes)?;
        let first = items.len();
        let result = match kind {
            // An empty audio message is Flash's silence, an empty one of any kind a keep-alive.
            _ if body.is_empty() => Ok(()),
            TagKind::Audio => self.on_audio(time, &body, items),
            TagKind::Video => self.on_video(time, &body, items),
            TagKind::Script => self.on_script(time, body, items),
        };
        items[first..].iter_mut().for_each(|item| let_go(item, body_bytes));
        result
    }

    /// The next notice. Each is told once, however often its cause comes.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = *self.notices.get(self.told)?;
        self.told += 1;
        Some(notice)
    }

    /// Packets of multitrack tracks other than 0 that were not routed.
    pub fn other_track_packets(&self) -> u64 {
        self.other_track_packets
    }

    fn on_audio(
        &mut self,
        time: Timestamp,
        body: &Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(body);
        let flags = SoundFlags(reader.u8("audio tag header")?);
        let head = Head { time, nanos: 0, key: false };
        let codec = match flags.format() {
            header::SOUND_IS_ENHANCED => {
                let packet = Packet::from_wire(TrackKind::Audio, flags.0 & 0x0f);
                return self.on_enhanced(TrackKind::Audio, packet, head, body, reader, items);
            }
            sound::AAC => {
                let payload = |reader: &Reader<'_>| body.slice_ref(reader.rest());
                let codec = Codec::Audio(AudioCodec::Aac);
                return match reader.u8("AACPacketType")? {
                    legacy_packet::CONFIG => self.on_config(codec, &payload(&reader), items),
                    legacy_packet::FRAME => {
                        self.on_frame(codec, head, 0, None, payload(&reader), items);
                        Ok(())
                    }
                    packet => self.unknown(TrackKind::Audio, packet),
                };
            }
            sound::MP3 | sound::MP3_8K => AudioCodec::Mp3,
            sound::G711_A => AudioCodec::G711A,
            sound::G711_U => AudioCodec::G711U,
            format => return self.unsupported(CodecTag::Sound(format)),
        };
        let payload = body.slice_ref(reader.rest());
        let format = Some(flags.audio_format());
        self.on_frame(Codec::Audio(codec), head, 0, format, payload, items);
        Ok(())
    }

    fn on_video(
        &mut self,
        time: Timestamp,
        body: &Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(body);
        let first = reader.u8("video tag header")?;
        let frame_type = first >> 4 & 7;
        let key = matches!(frame_type, frame_type::KEY | frame_type::GENERATED_KEY);
        let head = Head { time, nanos: 0, key };
        if first & header::VIDEO_IS_ENHANCED != 0 {
            let packet = Packet::from_wire(TrackKind::Video, first & 0x0f);
            // Of a command frame only HDR metadata matters, whose frame type says nothing.
            if frame_type == frame_type::COMMAND && !matches!(packet, Packet::Metadata) {
                return Ok(());
            }
            return self.on_enhanced(TrackKind::Video, packet, head, body, reader, items);
        }
        if frame_type == frame_type::COMMAND {
            return Ok(());
        }
        let codec = match first & 0x0f {
            header::picture::H264 => Codec::Video(VideoCodec::H264),
            header::picture::H265 => Codec::Video(VideoCodec::H265),
            id => return self.unsupported(CodecTag::Picture(id)),
        };
        let packet = reader.u8("AVCPacketType")?;
        if packet == legacy_packet::END {
            items.push(Item::EndOfSequence(TrackKind::Video));
            return Ok(());
        }
        let cts_ms = reader.i24("CompositionTime")?;
        let payload = body.slice_ref(reader.rest());
        match packet {
            legacy_packet::CONFIG => return self.on_config(codec, &payload, items),
            legacy_packet::FRAME => self.on_frame(codec, head, cts_ms, None, payload, items),
            packet => return self.unknown(TrackKind::Video, packet),
        }
        Ok(())
    }

    /// ExAudioTagHeader and ExVideoTagHeader after their first byte, which named `packet`.
    fn on_enhanced(
        &mut self,
        kind: TrackKind,
        mut packet: Packet,
        mut head: Head,
        body: &Bytes,
        mut reader: Reader<'_>,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        while packet == Packet::ModEx {
            packet = read_mod_ex(kind, &mut reader, &mut head)?;
        }
        match packet {
            Packet::Multitrack => return self.on_multitrack(kind, head, body, reader, items),
            // Without this, the four bytes after an unknown type would be taken for a FourCC.
            Packet::Unknown(packet) => return self.unknown(kind, packet),
            _ => {}
        }
        let four_cc = reader.array("FourCC")?;
        self.on_packet(kind, packet, four_cc, head, body.slice_ref(reader.rest()), items)
    }

    fn on_multitrack(
        &mut self,
        kind: TrackKind,
        head: Head,
        body: &Bytes,
        mut reader: Reader<'_>,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let byte = reader.u8("multitrack type")?;
        let packet = Packet::from_wire(kind, byte & 0x0f);
        let (one_track, shared) = match byte >> 4 {
            0 => (true, Some(reader.array("FourCC")?)),
            1 => (false, Some(reader.array("FourCC")?)),
            2 => (false, None),
            found => return Err(Error::MultitrackType { found }),
        };
        for count in 0.. {
            if count == self.limits.tracks {
                return Err(Error::TooManyTracks { max: self.limits.tracks });
            }
            let four_cc = match shared {
                Some(four_cc) => four_cc,
                None => reader.array("FourCC")?,
            };
            let id = reader.u8("track id")?;
            let len = match one_track {
                true => reader.left(),
                false => reader.u24("track size")? as usize,
            };
            let payload = body.slice_ref(reader.take("track", len)?);
            if id == 0 {
                self.on_packet(kind, packet, four_cc, head, payload, items)?;
            } else {
                self.on_other_track(kind, id);
            }
            if reader.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// One Enhanced RTMP packet of the routed track.
    fn on_packet(
        &mut self,
        kind: TrackKind,
        packet: Packet,
        four_cc: [u8; 4],
        head: Head,
        payload: Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let Some(codec) = codec_of(kind, four_cc) else {
            return self.unsupported(CodecTag::FourCc(four_cc));
        };
        match packet {
            Packet::SequenceStart => return self.on_config(codec, &payload, items),
            Packet::CodedFrames if has_composition_time(codec) => {
                let mut reader = Reader::new(&payload);
                let cts_ms = reader.i24("compositionTimeOffset")?;
                let payload = payload.slice_ref(reader.rest());
                self.on_frame(codec, head, cts_ms, None, payload, items);
            }
            Packet::CodedFrames | Packet::CodedFramesX => {
                self.on_frame(codec, head, 0, None, payload, items);
            }
            Packet::SequenceEnd => items.push(Item::EndOfSequence(kind)),
            Packet::Metadata => return self.on_hdr(codec, &payload, items),
            // Every codec carried here tells its own channels, so this adds nothing.
            Packet::MultichannelConfig => {}
            Packet::MpegTsSequenceStart => return Err(Error::MpegTs),
            Packet::Multitrack => return self.unknown(kind, MULTITRACK_INSIDE),
            Packet::ModEx => return self.unknown(kind, MOD_EX_INSIDE),
            Packet::Unknown(packet) => return self.unknown(kind, packet),
        }
        Ok(())
    }

    fn on_config(
        &mut self,
        codec: Codec,
        config: &Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        within("sequence start", self.limits.config_bytes, config.len())?;
        // ffmpeg announces an AAC stream it copies by an empty one; the real one follows.
        if !has_config(codec) || config.is_empty() {
            return Ok(());
        }
        let last = self.track(codec.kind());
        if last.as_ref().is_some_and(|last| last.codec == codec && last.config == *config) {
            return Ok(());
        }
        let description = codec::describe(codec, config)?;
        let track = Track {
            codec,
            config: own_config(codec, config),
            hdr: self.hdr_of(codec),
            video: description.video,
            audio: description.audio,
        };
        self.set_track(track, items);
        Ok(())
    }

    fn on_hdr(
        &mut self,
        codec: Codec,
        metadata: &Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        within("video metadata", self.limits.config_bytes, metadata.len())?;
        if metadata.is_empty() {
            return Ok(());
        }
        self.hdr = Some((codec, Bytes::copy_from_slice(metadata)));
        if let Some(track) = self.video.clone().filter(|track| track.codec == codec) {
            self.set_track(Track { hdr: self.hdr_of(codec), ..track }, items);
        }
        Ok(())
    }

    /// `format` is what the container says of the sound, which yields to what the frame says.
    fn on_frame(
        &mut self,
        codec: Codec,
        head: Head,
        cts_ms: i32,
        format: Option<AudioFormat>,
        data: Bytes,
        items: &mut Vec<Item>,
    ) {
        if data.is_empty() {
            return;
        }
        if self.track(codec.kind()).as_ref().is_none_or(|track| track.codec != codec) {
            if codec.needs_config() {
                self.note(Notice::FrameBeforeConfig(codec));
                return;
            }
            let told = codec::describe_frame(codec, &data);
            let (video, audio) = (told.video, told.audio.or(format));
            let hdr = self.hdr_of(codec);
            self.set_track(Track { codec, config: Bytes::new(), hdr, video, audio }, items);
        }
        if head.key {
            self.complete(codec, &data, items);
        }
        let kind = codec.kind();
        let (dts, pts) = match kind {
            // Decoding times stay those of the tags, which only go up; see ModEx in the spec.
            TrackKind::Video => (head.time, head.time + i64::from(cts_ms) * 1_000_000 + head.nanos),
            _ => (head.time + head.nanos, head.time + head.nanos),
        };
        items.push(Item::Frame(Frame { kind, dts, pts, key: head.key, data }));
    }

    /// VP9's record has no size; its key frames have.
    fn complete(&mut self, codec: Codec, data: &[u8], items: &mut Vec<Item>) {
        let sizeless = |track: &&Track| track.video.is_none();
        if codec == Codec::Video(VideoCodec::Vp9)
            && let Some(track) = self.video.as_ref().filter(sizeless).cloned()
        {
            let video = codec::describe_frame(codec, data).video;
            self.set_track(Track { video, ..track }, items);
        }
    }

    fn on_script(
        &mut self,
        time: Timestamp,
        mut body: Bytes,
        items: &mut Vec<Item>,
    ) -> Result<(), Error> {
        let mut name = script_name(&body);
        if name == Some(b"@setDataFrame") {
            body = body.slice(SET_DATA_FRAME_BYTES..);
            name = script_name(&body);
        }
        match name {
            Some(_) if holds_amf3(&body) => self.note(Notice::Amf3Script),
            Some(b"onMetaData") => {
                within("onMetaData", self.limits.config_bytes, body.len())?;
                items.push(Item::Metadata(body));
            }
            // It takes back metadata, which nobody downstream can unsee.
            Some(b"@clearDataFrame") => {}
            Some(_) => {
                let kind = TrackKind::Data;
                let frame = Frame { kind, dts: time, pts: time, key: false, data: body };
                items.push(Item::Frame(frame));
            }
            None => self.note(Notice::UnnamedScript),
        }
        Ok(())
    }

    fn on_other_track(&mut self, kind: TrackKind, id: u8) {
        self.other_track_packets += 1;
        let told = |notice: &Notice| matches!(notice, Notice::OtherTrack { kind: other, .. } if *other == kind);
        if !self.notices.iter().any(told) {
            self.note(Notice::OtherTrack { kind, id });
        }
    }

    fn unsupported(&mut self, tag: CodecTag) -> Result<(), Error> {
        self.note(Notice::UnsupportedCodec(tag));
        Ok(())
    }

    fn unknown(&mut self, kind: TrackKind, packet: u8) -> Result<(), Error> {
        self.note(Notice::UnknownPacket { kind, packet });
        Ok(())
    }

    fn note(&mut self, notice: Notice) {
        if self.notices.len() < self.limits.notices && !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }

    fn track(&mut self, kind: TrackKind) -> &mut Option<Track> {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
            TrackKind::Data | TrackKind::Private => {
                unreachable!("data has no codec, and codecs ask for tracks")
            }
        }
    }

    fn set_track(&mut self, track: Track, items: &mut Vec<Item>) {
        let last = self.track(track.kind());
        if last.as_ref() != Some(&track) {
            *last = Some(track.clone());
            items.push(Item::Track(track));
        }
    }

    fn hdr_of(&self, codec: Codec) -> Option<Bytes> {
        self.hdr.as_ref().filter(|(of, _)| *of == codec).map(|(_, metadata)| metadata.clone())
    }
}

/// Copies a frame that is the smaller part of its body: who keeps it for its few bytes would keep
/// the others too (the other tracks of a multitrack), and no bound would count them.
fn let_go(item: &mut Item, body_bytes: usize) {
    if let Item::Frame(frame) = item
        && frame.data.len() < body_bytes / 2
    {
        frame.data = Bytes::copy_from_slice(&frame.data);
    }
}

/// One ModEx: its effect goes to `head`, the packet type after it is returned.
fn read_mod_ex(kind: TrackKind, reader: &mut Reader<'_>, head: &mut Head) -> Result<Packet, Error> {
    let mut len = usize::from(reader.u8("modExDataSize")?) + 1;
    if len == 256 {
        len = usize::from(reader.u16("modExDataSize")?) + 1;
    }
    let data = reader.take("modExData", len)?;
    let next = reader.u8("modExType")?;
    if next >> 4 == TIMESTAMP_OFFSET_NANO {
        head.nanos += i64::from(Reader::new(data).u24("timestampOffsetNano")?);
    }
    Ok(Packet::from_wire(kind, next & 0x0f))
}

fn has_composition_time(codec: Codec) -> bool {
    matches!(codec, Codec::Video(VideoCodec::H264 | VideoCodec::H265))
}

fn has_config(codec: Codec) -> bool {
    use AudioCodec::{Ac3, G711A, G711U, Mp3};
    !matches!(codec, Codec::Audio(Ac3 | Mp3 | G711A | G711U))
}

/// A copy of a configuration, which outlives the body it came in. FLAC's is brought to the form of
/// the specification: ffmpeg sends the STREAMINFO block bare.
fn own_config(codec: Codec, config: &[u8]) -> Bytes {
    if codec != Codec::Audio(AudioCodec::Flac) || config.starts_with(b"fLaC") {
        return Bytes::copy_from_slice(config);
    }
    let mut whole = BytesMut::with_capacity(FLAC_HEAD.len() + config.len());
    whole.extend_from_slice(&FLAC_HEAD);
    whole.extend_from_slice(config);
    whole.freeze()
}

/// The string script data begins with.
fn script_name(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body.strip_prefix(&[AMF0_STRING])?);
    let len = reader.u16("name length").ok()?;
    reader.take("name", len.into()).ok()
}

/// True if script data switches to AMF3. That it is AMF0 otherwise is not checked.
fn holds_amf3(body: &[u8]) -> bool {
    matches!(amf0::decode(body, amf0::Limits::default()), Err(amf0::Error::Amf3 { .. }))
}

fn within(what: &'static str, max: usize, found: usize) -> Result<(), Error> {
    if found > max { Err(Error::TooLong { what, max, found }) } else { Ok(()) }
}

const AMF0_STRING: u8 = 2;
const SET_DATA_FRAME_BYTES: usize = 3 + b"@setDataFrame".len();
const TIMESTAMP_OFFSET_NANO: u8 = 0;
const MULTITRACK_INSIDE: u8 = 6;
const MOD_EX_INSIDE: u8 = 7;
/// Magic, and the header of the last metadata block: STREAMINFO of 34 bytes (RFC 9639 8.1).
const FLAC_HEAD: [u8; 8] = *b"fLaC\x80\0\0\x22";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::media::VideoFormat;

    const H264: Codec = Codec::Video(VideoCodec::H264);
    const H265: Codec = Codec::Video(VideoCodec::H265);
    /// Profile, level and length size only: there is no SPS in it.
    const AVCC: &[u8] = &[1, 100, 0, 12, 0xff, 0xe0, 0];
    const ASC: &[u8] = &[0x12, 0x10];

    fn demux() -> Demux {
        Demux::new(Limits::default())
    }

    fn push(demux: &mut Demux, kind: TagKind, parts: &[&[u8]]) -> Result<Vec<Item>, Error> {
        let mut items = Vec::new();
        let time = Timestamp::from_millis(1000);
        demux.push(kind, time, Bytes::from(parts.concat()), &mut items)?;
        Ok(items)
    }

    fn video(demux: &mut Demux, parts: &[&[u8]]) -> Vec<Item> {
        push(demux, TagKind::Video, parts).unwrap()
    }

    fn audio(demux: &mut Demux, parts: &[&[u8]]) -> Vec<Item> {
        push(demux, TagKind::Audio, parts).unwrap()
    }

    fn only_track(items: &[Item]) -> &Track {
        match items {
            [Item::Track(track)] => track,
            other => panic!("expected one track, found {other:?}"),
        }
    }

    fn only_frame(items: &[Item]) -> &Frame {
        match items {
            [Item::Frame(frame)] => frame,
            other => panic!("expected one frame, found {other:?}"),
        }
    }

    /// A demultiplexer that knows an H.264 and an AAC track.
    fn begun() -> Demux {
        let mut demux = demux();
        video(&mut demux, &[&[0x17, 0, 0, 0, 0], AVCC]);
        audio(&mut demux, &[&[0xaf, 0], ASC]);
        demux
    }

    #[test]
    fn avc_configuration_makes_a_track_and_a_repeat_does_not() {
        let mut demux = demux();
        let items = video(&mut demux, &[&[0x17, 0, 0, 0, 0], AVCC]);
        let track = only_track(&items);
        assert_eq!((track.codec, &track.config[..], track.video), (H264, AVCC, None));
        assert_eq!(video(&mut demux, &[&[0x17, 0, 0, 0, 0], AVCC]), []);
        // In the other form it is the same track, too.
        assert_eq!(video(&mut demux, &[b"\x90avc1", AVCC]), []);
        let other = [1, 77, 0, 12, 0xff, 0xe0, 0];
        let items = video(&mut demux, &[&[0x17, 0, 0, 0, 0], &other]);
        assert_eq!(only_track(&items).config, other[..]);
    }

    #[test]
    fn composition_time_is_signed() {
        let mut demux = begun();
        for (cts, pts_ms) in [([0, 0, 80], 1080), ([0xff, 0xff, 0xd8], 960)] {
            let items = video(&mut demux, &[&[0x27, 1], &cts, b"nal"]);
            let frame = only_frame(&items);
            assert_eq!((frame.dts, frame.key), (Timestamp::from_millis(1000), false));
            assert_eq!(frame.pts, Timestamp::from_millis(pts_ms));
            assert_eq!(frame.data, "nal");
        }
    }

    #[test]
    fn frame_types_1_and_4_are_key_and_5_is_ignored() {
        let mut demux = begun();
        for (first, key) in [(0x17, true), (0x27, false), (0x37, false), (0x47, true)] {
            let items = video(&mut demux, &[&[first, 1, 0, 0, 0, 9]]);
            assert_eq!(only_frame(&items).key, key);
        }
        assert_eq!(video(&mut demux, &[&[0x57, 0]]), []);
        assert_eq!(video(&mut demux, &[b"\xd1avc1\0"]), []);
    }

    #[test]
    fn an_empty_configuration_holds_nothing_and_a_cut_one_is_an_error() {
        let mut demux = demux();
        assert_eq!(audio(&mut demux, &[&[0xaf, 0]]), []);
        assert_eq!(video(&mut demux, &[&[0x17, 0, 0, 0, 0]]), []);
        only_track(&audio(&mut demux, &[&[0xaf, 0], ASC]));
        let error = push(&mut demux, TagKind::Video, &[&[0x17, 0, 0, 0, 0, 1]]).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{error}");
    }

    #[test]
    fn empty_bodies_and_empty_frames_hold_nothing() {
        let mut demux = begun();
        for kind in [TagKind::Audio, TagKind::Video, TagKind::Script] {
            assert_eq!(push(&mut demux, kind, &[]), Ok(vec![]));
        }
        assert_eq!(audio(&mut demux, &[&[0xaf, 1]]), []);
        assert_eq!(video(&mut demux, &[&[0x27, 1, 0, 0, 0]]), []);
        assert_eq!(demux.poll_notice(), None);
    }

    #[test]
    fn ends_of_sequence_are_told() {
        let mut demux = begun();
        let end = [Item::EndOfSequence(TrackKind::Video)];
        assert_eq!(video(&mut demux, &[&[0x17, 2, 0, 0, 0]]), end);
        assert_eq!(video(&mut demux, &[b"\x92avc1"]), end);
        assert_eq!(audio(&mut demux, &[b"\x92mp4a"]), [Item::EndOfSequence(TrackKind::Audio)]);
    }

    #[test]
    fn frames_before_their_configuration_are_dropped_and_told_once() {
        let mut demux = demux();
        for _ in 0..3 {
            assert_eq!(video(&mut demux, &[&[0x17, 1, 0, 0, 0, 9]]), []);
        }
        assert_eq!(demux.poll_notice(), Some(Notice::FrameBeforeConfig(H264)));
        assert_eq!(demux.poll_notice(), None);
    }

    #[test]
    fn sound_without_configuration_begins_with_its_first_frame() {
        for (body, codec, rate, channels) in [
            (&[0x2f, 0xff, 0xfb, 0x94, 0x64][..], AudioCodec::Mp3, 48_000, 2),
            (&[0x2e, 0, 0], AudioCodec::Mp3, 44_100, 1),
            (&[0xe2, 0, 0], AudioCodec::Mp3, 8_000, 1),
            (&[0x72, 0xd5], AudioCodec::G711A, 8_000, 1),
            (&[0x83, 0xd5], AudioCodec::G711U, 8_000, 2),
            (b"\x91ac-3\x0b\x77\x0d\xce\x5e\x40\xeb", AudioCodec::Ac3, 44_100, 6),
        ] {
            let mut demux = demux();
            let items = audio(&mut demux, &[body]);
            let [Item::Track(track), Item::Frame(_)] = &items[..] else {
                panic!("{codec:?}: {items:?}");
            };
            let format = AudioFormat { sample_rate_hz: rate, channels };
            assert_eq!((track.codec, track.audio), (Codec::Audio(codec), Some(format)));
            only_frame(&audio(&mut demux, &[body]));
        }
    }

    #[test]
    fn unsupported_codecs_are_named_once() {
        let mut demux = demux();
        for _ in 0..2 {
            assert_eq!(video(&mut demux, &[&[0x14, 1]]), []);
            assert_eq!(audio(&mut demux, &[&[0xb2, 1]]), []);
            assert_eq!(video(&mut demux, &[b"\x91vvc1\0\0\0x"]), []);
        }
        let names = std::iter::from_fn(|| demux.poll_notice()).map(|notice| notice.to_string());
        let names: String = names.collect();
        assert!(names.contains("VP6") && names.contains("Speex") && names.contains("vvc1"));
        assert_eq!(names.matches("dropped").count(), 3);
    }

    #[test]
    fn notices_are_bounded() {
        let mut demux = demux();
        for n in 0..100 {
            video(&mut demux, &[&[0x91], &[n; 4]]);
        }
        assert_eq!(std::iter::from_fn(|| demux.poll_notice()).count(), 16);
    }

    #[test]
    fn coded_frames_have_a_composition_time_only_where_pictures_are_reordered() {
        let mut demux = demux();
        let av1c = [0x81, 0, 0x0c, 0];
        video(&mut demux, &[b"\x90hvc1", &[1; 23]]);
        let items = video(&mut demux, &[b"\x91hvc1\0\0\x28data"]);
        assert_eq!(only_frame(&items).pts, Timestamp::from_millis(1040));
        assert!(only_frame(&items).key);
        let items = video(&mut demux, &[b"\xa3hvc1data"]);
        assert_eq!(only_frame(&items).pts, Timestamp::from_millis(1000));
        assert_eq!(only_frame(&items).data, "data");
        video(&mut demux, &[b"\x90av01", &av1c]);
        let items = video(&mut demux, &[b"\xa1av01data"]);
        assert_eq!(only_frame(&items).data, "data");
    }

    #[test]
    fn av1_temporal_delimiters_stay_as_they_came() {
        let mut demux = demux();
        video(&mut demux, &[b"\x90av01", &[0x81, 0, 0x0c, 0]]);
        let items = video(&mut demux, &[b"\x91av01\x12\0data"]);
        assert_eq!(only_frame(&items).data, b"\x12\0data"[..]);
    }

    #[test]
    fn vp9_gets_its_size_from_a_key_frame() {
        let mut demux = demux();
        video(&mut demux, &[b"\x90vp09", &[1, 0, 0, 0, 0, 11, 0x82, 2, 2, 2, 0, 0]]);
        let frame = [0x82, 0x49, 0x83, 0x42, 0x00, 0x13, 0xf0, 0x0b, 0x36];
        let items = video(&mut demux, &[b"\x91vp09", &frame]);
        let [Item::Track(track), Item::Frame(_)] = &items[..] else { panic!("{items:?}") };
        let size = VideoFormat { width: 320, height: 180, profile: 0, level: 0 };
        assert_eq!(track.video, Some(size));
        only_frame(&video(&mut demux, &[b"\x91vp09", &frame]));
    }

    #[test]
    fn opus_configuration_may_come_late() {
        let mut demux = demux();
        assert!(matches!(audio(&mut demux, &[b"\x91Opusx"])[..], [Item::Track(_), Item::Frame(_)]));
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        let items = audio(&mut demux, &[b"\x90Opus", head]);
        let format = AudioFormat { sample_rate_hz: 48_000, channels: 2 };
        assert_eq!(only_track(&items).audio, Some(format));
        // ffmpeg sends this for every codec.
        assert_eq!(audio(&mut demux, &[b"\x94Opus\x01\x02\0\0\0\x03"]), []);
        assert_eq!(demux.poll_notice(), None);
    }

    #[test]
    fn flac_configuration_is_brought_to_one_form() {
        let mut demux = demux();
        let items = audio(&mut demux, &[b"\x90fLaC", &[1; 34]]);
        assert_eq!(only_track(&items).config, [&FLAC_HEAD[..], &[1; 34]].concat());
        assert_eq!(audio(&mut demux, &[b"\x90fLaC", &FLAC_HEAD, &[1; 34]]), []);
    }

    #[test]
    fn mod_ex_moves_the_presentation_time() {
        let mut demux = begun();
        // 0x000102 ns, then an unknown modifier of 300 bytes, then 5 ns; then CodedFramesX.
        let long = [&[0x07, 0xff, 0x01, 0x2b][..], &[0; 300], &[0x17]].concat();
        let parts: [&[u8]; 4] =
            [&[0x97, 2, 0, 1, 2], &long, &[3, 0, 0, 5, 0xff, 0x03], b"avc1data"];
        let items = video(&mut demux, &parts);
        let frame = only_frame(&items);
        assert_eq!(frame.dts, Timestamp::from_millis(1000));
        assert_eq!(frame.pts.since(frame.dts), 0x102 + 5);
        let items = audio(&mut demux, &[&[0x97, 2, 0, 0, 7, 0x01], b"mp4adata"]);
        let frame = only_frame(&items);
        assert_eq!(frame.pts.as_nanos(), 1_000_000_007);
        assert_eq!(frame.dts, frame.pts);
    }

    #[test]
    fn mpeg_ts_sequence_start_is_refused_by_name() {
        let error = push(&mut demux(), TagKind::Video, &[b"\x95av01\0"]).unwrap_err();
        assert_eq!(error, Error::MpegTs);
        assert!(error.to_string().contains("MPEG2TSSequenceStart"));
    }

    #[test]
    fn of_a_multitrack_track_0_is_routed_and_the_others_are_told_once() {
        let mut demux = begun();
        // OneTrack.
        let items = video(&mut demux, &[b"\x96\x01avc1\0\0\0\x05one"]);
        assert_eq!(only_frame(&items).data, "one");
        assert_eq!(only_frame(&items).pts, Timestamp::from_millis(1005));
        assert_eq!(video(&mut demux, &[b"\x96\x01avc1\x03\0\0\0x"]), []);
        // ManyTracks.
        let items = video(&mut demux, &[b"\x96\x13avc1\x02\0\0\x01x\0\0\0\x04many"]);
        assert_eq!(only_frame(&items).data, "many");
        // ManyTracksManyCodecs.
        let items = audio(&mut demux, &[b"\x95\x21", b"Opus\x01\0\0\x01x", b"mp4a\0\0\0\x03aac"]);
        assert_eq!(only_frame(&items).data, "aac");
        let notices: Vec<_> = std::iter::from_fn(|| demux.poll_notice()).collect();
        let (video, audio) = (TrackKind::Video, TrackKind::Audio);
        let told = |kind, id| Notice::OtherTrack { kind, id };
        assert_eq!(notices, [told(video, 3), told(audio, 1)]);
        assert_eq!(demux.other_track_packets(), 3);
    }

    #[test]
    fn a_frame_shares_its_body_unless_it_is_the_smaller_part() {
        let shares = |body: Bytes| {
            let mut items = Vec::new();
            begun().push(TagKind::Video, Timestamp::ZERO, body.clone(), &mut items).unwrap();
            body.as_ptr_range().contains(&only_frame(&items).data.as_ptr())
        };
        assert!(shares(Bytes::from([&[0x27, 1, 0, 0, 0][..], &[1; 9]].concat())));
        let track_0 = b"\x96\x13avc1\0\0\0\x02me\x01\0\0\x40";
        assert!(!shares(Bytes::from([&track_0[..], &[1; 64]].concat())));
    }

    #[test]
    fn a_multitrack_that_cannot_be_right_is_refused() {
        let refused = |body: &[u8]| push(&mut begun(), TagKind::Video, &[body]).unwrap_err();
        assert_eq!(refused(b"\x96\x31avc1"), Error::MultitrackType { found: 3 });
        assert!(matches!(refused(b"\x96\x11avc1\0\0\0\x09x"), Error::Short(_)));
        let bomb = [b"\x96\x11avc1", &[1_u8, 0, 0, 0].repeat(300)[..]].concat();
        assert_eq!(refused(&bomb), Error::TooManyTracks { max: 256 });
    }

    #[test]
    fn packets_of_unknown_type_are_dropped_and_told() {
        let mut demux = begun();
        assert_eq!(video(&mut demux, &[&[0x98]]), []);
        assert_eq!(audio(&mut demux, &[&[0xaf, 7, 1]]), []);
        let kinds = [(TrackKind::Video, 8), (TrackKind::Audio, 7)];
        for (kind, packet) in kinds {
            assert_eq!(demux.poll_notice(), Some(Notice::UnknownPacket { kind, packet }));
        }
    }

    #[test]
    fn hdr_metadata_changes_the_track_and_outlives_a_new_configuration() {
        let mut demux = begun();
        let hdr = b"\x02\0\x09colorInfo\x03\0\0\x09";
        assert_eq!(video(&mut demux, &[b"\xd4hvc1", hdr]), [], "no H.265 track yet");
        let items = video(&mut demux, &[b"\x90hvc1", &[1; 23]]);
        assert_eq!(only_track(&items).hdr.as_deref(), Some(&hdr[..]));
        assert_eq!(video(&mut demux, &[b"\x94hvc1", hdr]), [], "no change");
        let items = video(&mut demux, &[b"\xd4hvc1", b"\x02\0\x09colorInfo\x06"]);
        assert_eq!(only_track(&items).codec, H265);
        let items = video(&mut demux, &[&[0x17, 0, 0, 0, 0], AVCC]);
        assert_eq!(only_track(&items).hdr, None);
    }

    #[test]
    fn metadata_loses_its_set_data_frame() {
        let on_metadata = b"\x02\0\x0aonMetaData\x08\0\0\0\0\0\0\x09";
        let want = [Item::Metadata(Bytes::from_static(on_metadata))];
        let mut demux = demux();
        assert_eq!(push(&mut demux, TagKind::Script, &[on_metadata]).unwrap(), want);
        let parts: [&[u8]; 2] = [b"\x02\0\x0d@setDataFrame", on_metadata];
        assert_eq!(push(&mut demux, TagKind::Script, &parts).unwrap(), want);
    }

    #[test]
    fn other_script_data_is_a_frame_as_it_came() {
        let mut demux = demux();
        let cue = b"\x02\0\x0aonCuePoint\x05";
        let items = push(&mut demux, TagKind::Script, &[cue]).unwrap();
        let frame = only_frame(&items);
        assert_eq!((frame.kind, &frame.data[..]), (TrackKind::Data, &cue[..]));
        let clear = b"\x02\0\x0f@clearDataFrame\x05";
        assert_eq!(push(&mut demux, TagKind::Script, &[clear]).unwrap(), []);
        assert_eq!(push(&mut demux, TagKind::Script, &[&[5, 5]]).unwrap(), []);
        assert_eq!(demux.poll_notice(), Some(Notice::UnnamedScript));
    }

    #[test]
    fn what_lives_as_long_as_the_stream_is_bounded() {
        let limits = Limits { config_bytes: 8, tag_bytes: 32, ..Limits::default() };
        let mut demux = Demux::new(limits);
        let long = push(&mut demux, TagKind::Video, &[&[0x17, 0, 0, 0, 0], &[1; 9]]);
        let what = "sequence start";
        assert_eq!(long, Err(Error::TooLong { what, max: 8, found: 9 }));
        let long = push(&mut demux, TagKind::Audio, &[&[0; 33]]);
        assert_eq!(long, Err(Error::TooLong { what: "tag body", max: 32, found: 33 }));
    }

    #[test]
    fn cut_at_every_byte_never_panics() {
        let bodies: [(TagKind, &[u8]); 7] = [
            (TagKind::Video, b"\x17\x01\0\0\x05data"),
            (TagKind::Video, b"\x97\x02\0\x01\x02\x01avc1\0\0\x05data"),
            (TagKind::Video, b"\x96\x11avc1\x02\0\0\x01x\0\0\0\x07\0\0\0many"),
            (TagKind::Audio, b"\x95\x21Opus\x01\0\0\x01xmp4a\0\0\0\x03aac"),
            (TagKind::Audio, b"\xaf\0\x12\x10"),
            (TagKind::Audio, b"\x90Opus"),
            (TagKind::Script, b"\x02\0\x0d@setDataFrame\x02\0\x0aonMetaData\x03\0\0\x09"),
        ];
        for (kind, body) in bodies {
            for end in 0..=body.len() {
                let _ = push(&mut begun(), kind, &[&body[..end]]);
            }
        }
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(
            bodies in vec((0_usize..3, any::<u8>(), 0_usize..12, vec(any::<u8>(), 0..80)), 1..20),
        ) {
            let mut demux = begun();
            let mut items = Vec::new();
            for (kind, first, name, rest) in bodies {
                let kind = [TagKind::Audio, TagKind::Video, TagKind::Script][kind];
                let names = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", "ac-3", ".mp3", "fLaC"];
                let name = names.get(name).map_or(&b""[..], |name| name.as_bytes());
                let body = [&[first], name, &rest].concat();
                let _ = demux.push(kind, Timestamp::ZERO, body.into(), &mut items);
                while demux.poll_notice().is_some() {}
            }
        }
    }
}
