use bytes::{Bytes, BytesMut};

use super::header::{self, Packet, SoundFlags, codec_of, frame_type, legacy_packet, sound};
use super::{CodecTag, Error, Item, Limits, Notice, TagKind};
use crate::bytes::Reader;
use crate::codec;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, Track, TrackKind, VideoCodec};
use crate::time::Timestamp;

/// Turns tag bodies into tracks and frames. Frames share the memory of the body they came in.
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
        within("tag body", self.limits.tag_bytes, body.len())?;
        match kind {
            // An empty audio message is Flash's silence, an empty one of any kind a keep-alive.
            _ if body.is_empty() => Ok(()),
            TagKind::Audio => self.on_audio(time, &body, items),
            TagKind::Video => self.on_video(time, &body, items),
            TagKind::Script => self.on_script(time, body, items),
        }
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
        if !has_config(codec) || (config.is_empty() && !codec.needs_config()) {
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
        let data = without_temporal_delimiter(codec, data);
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
            TrackKind::Data => unreachable!("script data has no codec, and codecs ask for tracks"),
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

/// AV1 temporal units are routed without their delimiter, as in MP4 (AV1-ISOBMFF 2.4).
fn without_temporal_delimiter(codec: Codec, data: Bytes) -> Bytes {
    match codec {
        Codec::Video(VideoCodec::Av1) if data.starts_with(&[0x12, 0x00]) => data.slice(2..),
        _ => data,
    }
}

/// The string script data begins with.
fn script_name(body: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(body.strip_prefix(&[AMF0_STRING])?);
    let len = reader.u16("name length").ok()?;
    reader.take("name", len.into()).ok()
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
