//! The first bytes of a tag body: codec names, frame types, packet types, sound flags.

use crate::media::{AudioCodec, AudioFormat, Codec, TrackKind, VideoCodec};

/// Frame types, FLV E.4.3.1. Key pictures are 1 and, made by a server, 4.
pub(super) mod frame_type {
    pub(in super::super) const KEY: u8 = 1;
    pub(in super::super) const INTER: u8 = 2;
    pub(in super::super) const GENERATED_KEY: u8 = 4;
    pub(in super::super) const COMMAND: u8 = 5;
}

/// AVCPacketType and AACPacketType, FLV E.4.3.1 and E.4.2.1.
pub(super) mod legacy_packet {
    pub(in super::super) const CONFIG: u8 = 0;
    pub(in super::super) const FRAME: u8 = 1;
    pub(in super::super) const END: u8 = 2;
}

/// The bit of a video tag's first byte that makes the rest of it Enhanced RTMP.
pub(super) const VIDEO_IS_ENHANCED: u8 = 0x80;
/// The sound format that makes the rest of an audio tag Enhanced RTMP.
pub(super) const SOUND_IS_ENHANCED: u8 = 9;

/// A packet type of Enhanced RTMP, the same for sound and pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packet {
    SequenceStart,
    CodedFrames,
    SequenceEnd,
    /// Pictures without a composition time: it is 0.
    CodedFramesX,
    /// Pictures: HDR.
    Metadata,
    /// Sound: which channel is which.
    MultichannelConfig,
    MpegTsSequenceStart,
    Multitrack,
    ModEx,
    Unknown(u8),
}

impl Packet {
    pub(super) fn from_wire(kind: TrackKind, packet: u8) -> Self {
        match (packet, kind) {
            (0, _) => Self::SequenceStart,
            (1, _) => Self::CodedFrames,
            (2, _) => Self::SequenceEnd,
            (3, TrackKind::Video) => Self::CodedFramesX,
            (4, TrackKind::Video) => Self::Metadata,
            (4, TrackKind::Audio) => Self::MultichannelConfig,
            (5, TrackKind::Video) => Self::MpegTsSequenceStart,
            (5, TrackKind::Audio) | (6, TrackKind::Video) => Self::Multitrack,
            (7, _) => Self::ModEx,
            _ => Self::Unknown(packet),
        }
    }
}

/// The codec of an Enhanced RTMP FourCC.
pub(super) fn codec_of(kind: TrackKind, four_cc: [u8; 4]) -> Option<Codec> {
    let known = CODECS.iter().find(|(name, codec)| *name == four_cc && codec.kind() == kind);
    known.map(|(_, codec)| *codec)
}

/// The FourCC of a codec. G.711 has none.
pub(super) fn four_cc_of(codec: Codec) -> Option<[u8; 4]> {
    CODECS.iter().find(|(_, known)| *known == codec).map(|(name, _)| *name)
}

const CODECS: [([u8; 4], Codec); 9] = [
    (*b"avc1", Codec::Video(VideoCodec::H264)),
    (*b"hvc1", Codec::Video(VideoCodec::H265)),
    (*b"av01", Codec::Video(VideoCodec::Av1)),
    (*b"vp09", Codec::Video(VideoCodec::Vp9)),
    (*b"mp4a", Codec::Audio(AudioCodec::Aac)),
    (*b"Opus", Codec::Audio(AudioCodec::Opus)),
    (*b"ac-3", Codec::Audio(AudioCodec::Ac3)),
    (*b".mp3", Codec::Audio(AudioCodec::Mp3)),
    (*b"fLaC", Codec::Audio(AudioCodec::Flac)),
];

/// The first byte of a legacy audio tag: format, rate, size, channels (FLV E.4.2.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct SoundFlags(pub(super) u8);

impl SoundFlags {
    /// Those of AAC, which the specification fixes whatever the stream is: 44 kHz, 16 bit, stereo.
    pub(super) const AAC: Self = Self(0xaf);

    pub(super) fn format(self) -> u8 {
        self.0 >> 4
    }

    /// What the flags say of the sound; for G.711 and MP3 at 8 kHz the rate is the format's.
    pub(super) fn audio_format(self) -> AudioFormat {
        let sample_rate_hz = match (self.format(), self.0 >> 2 & 3) {
            (sound::G711_A | sound::G711_U | sound::MP3_8K, _) => 8_000,
            (_, 0) => 5_512,
            (_, 1) => 11_025,
            (_, 2) => 22_050,
            _ => 44_100,
        };
        AudioFormat { sample_rate_hz, channels: (self.0 & 1) + 1 }
    }

    /// The flags of MP3. A rate the two bits cannot name is rounded: decoders read the frame.
    pub(super) fn mp3(format: Option<AudioFormat>) -> Self {
        let AudioFormat { sample_rate_hz, channels } =
            format.unwrap_or(AudioFormat { sample_rate_hz: 44_100, channels: 2 });
        let (format, rate) = match sample_rate_hz {
            8_000 => (sound::MP3_8K, 0),
            ..8_000 | 8_001..11_000 => (sound::MP3, 0),
            11_000..16_000 => (sound::MP3, 1),
            16_000..32_000 => (sound::MP3, 2),
            32_000.. => (sound::MP3, 3),
        };
        Self(format << 4 | rate << 2 | SIXTEEN_BIT | u8::from(channels > 1))
    }

    /// The flags of G.711: 8 kHz, for which the two bits have no value but the lowest.
    pub(super) fn g711(sound_format: u8, format: Option<AudioFormat>) -> Self {
        let stereo = format.is_some_and(|format| format.channels > 1);
        Self(sound_format << 4 | SIXTEEN_BIT | u8::from(stereo))
    }
}

const SIXTEEN_BIT: u8 = 2;

/// SoundFormat, FLV E.4.2.1, of the codecs that are carried.
pub(super) mod sound {
    pub(in super::super) const MP3: u8 = 2;
    pub(in super::super) const G711_A: u8 = 7;
    pub(in super::super) const G711_U: u8 = 8;
    pub(in super::super) const AAC: u8 = 10;
    pub(in super::super) const MP3_8K: u8 = 14;
}

/// CodecID, FLV E.4.3.1. 12 is H.265's by a custom older than Enhanced RTMP.
pub(super) mod picture {
    pub(in super::super) const H264: u8 = 7;
    pub(in super::super) const H265: u8 = 12;
}
