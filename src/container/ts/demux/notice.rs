use std::fmt;

use crate::media::{Codec, TrackKind};

/// Something in the input that is not routed, or was mended. The stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Bytes that are no packets were skipped.
    LostSync,
    /// Packets are missing, and with them what they were parts of.
    LostPackets {
        /// Their PID.
        pid: u16,
    },
    /// A unit, packet or table that could not be read was dropped.
    Damaged {
        /// Its PID.
        pid: u16,
    },
    /// A unit was longer than its limit and was dropped.
    TooLong {
        /// Its PID.
        pid: u16,
    },
    /// The program's clock jumped; the stream's goes on.
    ClockJump,
    /// Encrypted packets are dropped.
    Scrambled {
        /// Their PID.
        pid: u16,
    },
    /// Only one program is routed; this is the first other one.
    OtherProgram {
        /// Its number.
        number: u16,
    },
    /// Only one stream of each kind is routed; this is another one.
    OtherStream {
        /// Its kind.
        kind: TrackKind,
        /// Its PID.
        pid: u16,
    },
    /// A stream that is not carried.
    UnsupportedStream {
        /// Its PID.
        pid: u16,
        /// Its type in the table of streams.
        stream_type: u8,
        /// The format it is registered as, if it says so.
        registered: Option<[u8; 4]>,
    },
    /// More streams in a program than are looked at.
    TooManyStreams,
    /// A form of a codec that is not carried: its frames are dropped.
    UnsupportedForm(&'static str),
    /// Frames that came before the parameter sets they cannot be decoded without are dropped.
    FrameBeforeConfig(Codec),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LostSync => f.write_str("bytes that are no packets: skipped"),
            Self::LostPackets { pid } => {
                write!(f, "packets of PID {pid:#x} are missing: what they were parts of is dropped")
            }
            Self::Damaged { pid } => write!(f, "damage on PID {pid:#x}: what it hit is dropped"),
            Self::TooLong { pid } => {
                write!(f, "a unit on PID {pid:#x} is longer than allowed: dropped")
            }
            Self::ClockJump => f.write_str("the program's clock jumped: times go on without"),
            Self::Scrambled { pid } => write!(f, "packets of PID {pid:#x} are scrambled: dropped"),
            Self::OtherProgram { number } => {
                write!(f, "program {number}: only one program is routed")
            }
            Self::OtherStream { kind, pid } => {
                write!(f, "{kind:?} on PID {pid:#x}: only one stream of each kind is routed")
            }
            Self::UnsupportedStream { pid, stream_type, registered } => {
                write!(f, "stream type {stream_type:#04x}")?;
                if let Some(format) = registered {
                    write!(f, " \"{}\"", format.escape_ascii())?;
                }
                write!(f, " on PID {pid:#x} is not carried: dropped")
            }
            Self::TooManyStreams => f.write_str("more streams than are looked at: left out"),
            Self::UnsupportedForm(form) => write!(f, "{form} is not carried: dropped"),
            Self::FrameBeforeConfig(codec) => {
                write!(f, "{codec} frames before their parameter sets: dropped")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_named() {
        let named = |stream_type, registered| {
            Notice::UnsupportedStream { pid: 257, stream_type, registered }.to_string()
        };
        assert_eq!(named(2, None), "stream type 0x02 on PID 0x101 is not carried: dropped");
        assert!(named(6, Some(*b"\0V01")).starts_with("stream type 0x06 \"\\x00V01\" on"));
    }
}
