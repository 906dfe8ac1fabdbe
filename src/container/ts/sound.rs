//! Sound as a transport stream has it: AAC behind ADTS headers (ISO/IEC 14496-3 1.A.2.2), Opus behind
//! control headers (ETSI TS 103 491), MP3 and AC-3 as they are.

use bytes::{BufMut, BytesMut};

use super::psi::Descriptors;
use crate::codec::AudioSpecificConfig;
use crate::media::{AudioCodec, Codec, Track};

/// How the frames of a track are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sound {
    Aac { object_type: u8, rate_index: u8, channels: u8 },
    Opus { channels: u8 },
    Mp3 { is_mpeg_1: bool },
    Ac3,
}

impl Sound {
    /// None if its codec has no place in a transport stream, or its record cannot be read.
    pub(super) fn of(track: &Track) -> Option<Self> {
        let Codec::Audio(codec) = track.codec else { return None };
        match codec {
            AudioCodec::Aac => {
                let config = AudioSpecificConfig::parse(&track.config)?;
                // Two bits are for the object type: Main, LC, SSR and LTP.
                let object_type = config.object_type.checked_sub(1).filter(|kind| *kind < 4)?;
                let rate_index = config.core_rate_index()?;
                let channels = match config.channels {
                    8 => 7,
                    channels @ 1..=6 => channels,
                    _ => return None,
                };
                Some(Self::Aac { object_type, rate_index, channels })
            }
            AudioCodec::Opus => Some(Self::Opus { channels: track.audio?.channels }),
            AudioCodec::Mp3 => {
                let is_mpeg_1 = track.audio.is_none_or(|audio| audio.sample_rate_hz >= 32_000);
                Some(Self::Mp3 { is_mpeg_1 })
            }
            AudioCodec::Ac3 => Some(Self::Ac3),
            AudioCodec::Flac | AudioCodec::G711A | AudioCodec::G711U => None,
        }
    }

    /// As the program's table tells of it (2.4.4.9).
    pub(super) fn stream_type(self) -> u8 {
        match self {
            Self::Aac { .. } => 0x0f,
            Self::Opus { .. } => 0x06,
            Self::Mp3 { is_mpeg_1: true } => 0x03,
            Self::Mp3 { is_mpeg_1: false } => 0x04,
            Self::Ac3 => 0x81,
        }
    }

    pub(super) fn descriptors(self) -> Descriptors<'static> {
        match self {
            Self::Opus { channels } => Descriptors::Opus(channels),
            Self::Ac3 => Descriptors::Registered(*b"AC-3"),
            Self::Aac { .. } | Self::Mp3 { .. } => Descriptors::None,
        }
    }

    /// The kind of PES packet it goes in (2.4.3.7): sound, or a private stream.
    pub(super) fn stream_id(self) -> u8 {
        match self {
            Self::Aac { .. } | Self::Mp3 { .. } => 0xc0,
            Self::Opus { .. } | Self::Ac3 => 0xbd,
        }
    }

    /// Appends one frame.
    pub(super) fn write(self, out: &mut BytesMut, frame: &[u8]) {
        match self {
            Self::Aac { object_type, rate_index, channels } => {
                const HEADER_BYTES: usize = 7;
                let length = HEADER_BYTES + frame.len();
                if length > 0x1fff {
                    return;
                }
                let length = length as u32;
                // MPEG-4, no CRC; one raw data block, of a variable bitrate.
                out.put_u16(0xfff1);
                out.put_u8(object_type << 6 | rate_index << 2 | channels >> 2);
                out.put_u8((channels & 3) << 6 | (length >> 11) as u8);
                out.put_u8((length >> 3) as u8);
                out.put_u16(((length & 7) as u16) << 13 | 0x1ffc);
                out.put_slice(frame);
            }
            Self::Opus { .. } => {
                // The prefix of eleven bits, and no trimming; then the length in steps of 255.
                out.put_u16(0x7fe0);
                out.put_bytes(0xff, frame.len() / 255);
                out.put_u8((frame.len() % 255) as u8);
                out.put_slice(frame);
            }
            Self::Mp3 { .. } | Self::Ac3 => out.put_slice(frame),
        }
    }
}
