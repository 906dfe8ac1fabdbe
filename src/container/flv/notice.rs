use std::fmt;

use crate::media::{Codec, TrackKind};

/// Something in the input that is not routed. The stream goes on without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Frames of a codec that is not carried are dropped.
    UnsupportedCodec(CodecTag),
    /// Of a multitrack only track 0 is routed; this is the first other one of its kind.
    OtherTrack {
        /// Its kind.
        kind: TrackKind,
        /// Its number, not 0.
        id: u8,
    },
    /// Frames that came before the configuration they cannot be decoded without are dropped.
    FrameBeforeConfig(Codec),
    /// Packets of a type that is not defined are dropped.
    UnknownPacket {
        /// Kind of the tag.
        kind: TrackKind,
        /// The packet type.
        packet: u8,
    },
    /// Script data that does not begin with a name is dropped.
    UnnamedScript,
    /// Script data with an AMF3 object in it, which few players can read, is dropped.
    Amf3Script,
}

/// The name of a codec on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecTag {
    /// The four bits of a legacy audio tag.
    Sound(u8),
    /// The four bits of a legacy video tag.
    Picture(u8),
    /// An Enhanced RTMP FourCC.
    FourCc([u8; 4]),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnsupportedCodec(codec) => write!(f, "codec {codec} is not carried: dropped"),
            Self::OtherTrack { kind, id } => {
                write!(f, "{kind:?} track {id} of a multitrack: only track 0 is routed")
            }
            Self::FrameBeforeConfig(codec) => {
                write!(f, "{codec} frames before their configuration: dropped")
            }
            Self::UnknownPacket { kind, packet } => {
                write!(f, "{kind:?} packet type {packet} is not known: dropped")
            }
            Self::UnnamedScript => f.write_str("script data without a name: dropped"),
            Self::Amf3Script => f.write_str("script data with an AMF3 object (0x11): dropped"),
        }
    }
}

impl fmt::Display for CodecTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, id) = match *self {
            Self::FourCc(four_cc) => return write!(f, "\"{}\"", four_cc.escape_ascii()),
            Self::Sound(id) => (sound_name(id), id),
            Self::Picture(id) => (picture_name(id), id),
        };
        write!(f, "{name} ({id})")
    }
}

/// SoundFormat, FLV E.4.2.1.
fn sound_name(id: u8) -> &'static str {
    match id {
        0 => "linear PCM, platform endian",
        1 => "ADPCM",
        3 => "linear PCM, little endian",
        4 => "Nellymoser 16 kHz",
        5 => "Nellymoser 8 kHz",
        6 => "Nellymoser",
        11 => "Speex",
        15 => "device-specific sound",
        _ => "reserved sound format",
    }
}

/// CodecID, FLV E.4.3.1.
fn picture_name(id: u8) -> &'static str {
    match id {
        2 => "Sorenson H.263",
        3 => "screen video",
        4 => "On2 VP6",
        5 => "On2 VP6 with alpha",
        6 => "screen video 2",
        _ => "reserved video codec",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_named() {
        let named = |tag| Notice::UnsupportedCodec(tag).to_string();
        assert_eq!(named(CodecTag::Picture(4)), "codec On2 VP6 (4) is not carried: dropped");
        assert_eq!(named(CodecTag::FourCc(*b"vvc1")), "codec \"vvc1\" is not carried: dropped");
        assert_eq!(named(CodecTag::FourCc([0; 4])).matches("\\x00").count(), 4);
    }
}
