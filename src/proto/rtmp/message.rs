use bytes::{BufMut, Bytes};

use crate::bytes::{Reader, Short};

/// One whole RTMP message, as the chunk layer gives it up (RTMP 1.0, 6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Message type id, one of [`kind`].
    pub kind: u8,
    /// Absolute wire time in milliseconds. It wraps at 32 bits; deltas are already added up.
    pub timestamp_ms: u32,
    /// Message stream id; 0 is the connection itself.
    pub stream_id: u32,
    /// The body, without chunk headers.
    pub payload: Bytes,
}

/// Message type ids (RTMP 1.0, 5.4 and 7.1).
pub mod kind {
    /// Set Chunk Size, 5.4.1.
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Abort Message, 5.4.2.
    pub const ABORT: u8 = 2;
    /// Acknowledgement, 5.4.3.
    pub const ACK: u8 = 3;
    /// User Control, 6.2.
    pub const USER_CONTROL: u8 = 4;
    /// Window Acknowledgement Size, 5.4.4.
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Set Peer Bandwidth, 5.4.5.
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio, 7.1.4.
    pub const AUDIO: u8 = 8;
    /// Video, 7.1.5.
    pub const VIDEO: u8 = 9;
    /// Data in AMF3, 7.1.2.
    pub const DATA_AMF3: u8 = 15;
    /// Command in AMF3, 7.1.1.
    pub const COMMAND_AMF3: u8 = 17;
    /// Data in AMF0, 7.1.2.
    pub const DATA: u8 = 18;
    /// Command in AMF0, 7.1.1.
    pub const COMMAND: u8 = 20;
    /// Aggregate, 7.1.6.
    pub const AGGREGATE: u8 = 22;
}

/// Longest message body in bytes: the length field has 24 bits.
pub const MAX_BODY_BYTES: usize = 0xff_ffff;

/// Largest chunk size in bytes. More makes no difference, as no message is longer (5.4.1).
pub const MAX_CHUNK_SIZE: u32 = 0xff_ffff;

/// A control message: what the two ends of a connection say about the connection (RTMP 1.0, 5.4
/// and 6.2). It travels on chunk stream 2 and message stream 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// From now on the sender's chunks hold up to this many bytes (1 to [`MAX_CHUNK_SIZE`]).
    SetChunkSize(u32),
    /// The message begun on this chunk stream will not be finished.
    Abort(u32),
    /// So many bytes were received since the start, modulo 2^32.
    Ack(u32),
    /// The sender expects an [`Control::Ack`] after each such number of bytes.
    WindowAckSize(u32),
    /// The receiver should have at most so many unacknowledged bytes under way.
    SetPeerBandwidth {
        /// The window in bytes.
        window_bytes: u32,
        /// How firmly it is meant.
        limit: BandwidthLimit,
    },
    /// Stream events and pings.
    User(UserControl),
}

/// The limit type of Set Peer Bandwidth, 5.4.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BandwidthLimit {
    /// Use exactly this window.
    Hard = 0,
    /// Use this window or the one in force, whichever is smaller.
    Soft = 1,
    /// Hard if the previous one was hard, otherwise to be ignored.
    Dynamic = 2,
}

/// A control message that cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The body ends inside a field.
    #[error("rtmp/control: {0}")]
    Short(#[from] Short),
    /// Set Chunk Size with a size no chunk can have.
    #[error("rtmp/control: expected a chunk size from 1 to 2147483647, found {found}")]
    ChunkSize {
        /// The size as sent, in bytes.
        found: u32,
    },
}

impl Control {
    /// Reads a message of kind 1 to 6; None for all other kinds. Bytes after the known fields are
    /// ignored. A chunk size above [`MAX_CHUNK_SIZE`] becomes that: the two mean the same.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, ControlError> {
        let mut reader = Reader::new(body);
        Ok(Some(match kind {
            kind::SET_CHUNK_SIZE => match reader.u32("chunk size")? {
                found @ (0 | 0x8000_0000..) => return Err(ControlError::ChunkSize { found }),
                size => Self::SetChunkSize(size.min(MAX_CHUNK_SIZE)),
            },
            kind::ABORT => Self::Abort(reader.u32("aborted chunk stream id")?),
            kind::ACK => Self::Ack(reader.u32("acknowledged bytes")?),
            kind::USER_CONTROL => Self::User(UserControl::decode(body)?),
            kind::WINDOW_ACK_SIZE => Self::WindowAckSize(reader.u32("window size")?),
            kind::SET_PEER_BANDWIDTH => Self::SetPeerBandwidth {
                window_bytes: reader.u32("window size")?,
                // Some senders leave the type out; dynamic is the one that asks for least.
                limit: match reader.u8("limit type") {
                    Ok(0) => BandwidthLimit::Hard,
                    Ok(1) => BandwidthLimit::Soft,
                    _ => BandwidthLimit::Dynamic,
                },
            },
            _ => return Ok(None),
        }))
    }

    /// The message type id that goes with [`Self::encode`].
    pub fn kind(&self) -> u8 {
        match self {
            Self::SetChunkSize(_) => kind::SET_CHUNK_SIZE,
            Self::Abort(_) => kind::ABORT,
            Self::Ack(_) => kind::ACK,
            Self::WindowAckSize(_) => kind::WINDOW_ACK_SIZE,
            Self::SetPeerBandwidth { .. } => kind::SET_PEER_BANDWIDTH,
            Self::User(_) => kind::USER_CONTROL,
        }
    }

    /// Appends the body, at most [`Self::BODY_BYTES_MAX`] bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        match *self {
            Self::SetChunkSize(value)
            | Self::Abort(value)
            | Self::Ack(value)
            | Self::WindowAckSize(value) => out.put_u32(value),
            Self::SetPeerBandwidth { window_bytes, limit } => {
                out.put_u32(window_bytes);
                out.put_u8(limit as u8);
            }
            Self::User(event) => event.encode(out),
        }
    }

    /// The longest body in bytes: that of Set Buffer Length.
    pub const BODY_BYTES_MAX: usize = 10;
}

/// A User Control event (RTMP 1.0, 7.1.7). Stream numbers are message stream ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserControl {
    /// The stream can be used.
    StreamBegin(u32),
    /// Playback of the stream is over.
    StreamEof(u32),
    /// The stream has no data for now.
    StreamDry(u32),
    /// The client's buffer for a stream.
    SetBufferLength {
        /// The stream it is about.
        stream: u32,
        /// Length in milliseconds.
        ms: u32,
    },
    /// The stream is a recording.
    StreamIsRecorded(u32),
    /// Ping Request, with the sender's time in milliseconds, to be returned in a pong.
    Ping(u32),
    /// Ping Response.
    Pong(u32),
    /// An event this program does not know, by its number; its data is dropped.
    Unknown(u16),
}

impl UserControl {
    /// Reads the body of a User Control message. Bytes after the known fields are ignored.
    pub fn decode(body: &[u8]) -> Result<Self, Short> {
        let mut reader = Reader::new(body);
        let event = reader.u16("event type")?;
        let mut value = || reader.u32("event data");
        Ok(match event {
            0 => Self::StreamBegin(value()?),
            1 => Self::StreamEof(value()?),
            2 => Self::StreamDry(value()?),
            3 => Self::SetBufferLength { stream: value()?, ms: value()? },
            4 => Self::StreamIsRecorded(value()?),
            6 => Self::Ping(value()?),
            7 => Self::Pong(value()?),
            _ => Self::Unknown(event),
        })
    }

    /// Appends the body of a User Control message. An unknown event is its number alone.
    pub fn encode(&self, out: &mut impl BufMut) {
        let (event, values) = match *self {
            Self::StreamBegin(stream) => (0, [Some(stream), None]),
            Self::StreamEof(stream) => (1, [Some(stream), None]),
            Self::StreamDry(stream) => (2, [Some(stream), None]),
            Self::SetBufferLength { stream, ms } => (3, [Some(stream), Some(ms)]),
            Self::StreamIsRecorded(stream) => (4, [Some(stream), None]),
            Self::Ping(time_ms) => (6, [Some(time_ms), None]),
            Self::Pong(time_ms) => (7, [Some(time_ms), None]),
            Self::Unknown(event) => (event, [None, None]),
        };
        out.put_u16(event);
        values.into_iter().flatten().for_each(|value| out.put_u32(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERY_CONTROL: [Control; 15] = [
        Control::SetChunkSize(1),
        Control::SetChunkSize(MAX_CHUNK_SIZE),
        Control::Abort(65599),
        Control::Ack(u32::MAX),
        Control::WindowAckSize(2_500_000),
        Control::SetPeerBandwidth { window_bytes: 7, limit: BandwidthLimit::Hard },
        Control::SetPeerBandwidth { window_bytes: 7, limit: BandwidthLimit::Soft },
        Control::SetPeerBandwidth { window_bytes: 7, limit: BandwidthLimit::Dynamic },
        Control::User(UserControl::StreamBegin(1)),
        Control::User(UserControl::StreamEof(2)),
        Control::User(UserControl::StreamDry(3)),
        Control::User(UserControl::SetBufferLength { stream: 1, ms: 3000 }),
        Control::User(UserControl::StreamIsRecorded(4)),
        Control::User(UserControl::Ping(5)),
        Control::User(UserControl::Pong(6)),
    ];

    fn body(control: Control) -> Vec<u8> {
        let mut body = Vec::new();
        control.encode(&mut body);
        body
    }

    #[test]
    fn every_control_message_survives_a_round_trip() {
        for control in EVERY_CONTROL {
            assert!(body(control).len() <= Control::BODY_BYTES_MAX);
            assert_eq!(Control::decode(control.kind(), &body(control)), Ok(Some(control)));
        }
        let unknown = Control::User(UserControl::Unknown(31));
        assert_eq!(Control::decode(kind::USER_CONTROL, &body(unknown)), Ok(Some(unknown)));
    }

    #[test]
    fn a_control_message_cut_short_is_an_error_and_a_longer_one_is_not() {
        for control in EVERY_CONTROL {
            let mut body = body(control);
            let fields_end = body.len().min(if control.kind() == 6 { 4 } else { 10 });
            for cut in 0..fields_end {
                assert!(Control::decode(control.kind(), &body[..cut]).is_err(), "{control:?}");
            }
            body.push(0xaa);
            assert_eq!(Control::decode(control.kind(), &body), Ok(Some(control)));
        }
    }

    #[test]
    fn bandwidth_without_a_limit_type_is_dynamic() {
        let expected =
            Control::SetPeerBandwidth { window_bytes: 9, limit: BandwidthLimit::Dynamic };
        assert_eq!(Control::decode(6, &[0, 0, 0, 9]), Ok(Some(expected)));
    }

    #[test]
    fn chunk_size_zero_or_with_the_top_bit_is_refused_and_a_huge_one_is_the_largest() {
        let size = |size: u32| Control::decode(kind::SET_CHUNK_SIZE, &size.to_be_bytes());
        assert_eq!(size(0), Err(ControlError::ChunkSize { found: 0 }));
        assert_eq!(size(0x8000_0001), Err(ControlError::ChunkSize { found: 0x8000_0001 }));
        assert_eq!(size(0x7fff_ffff), Ok(Some(Control::SetChunkSize(MAX_CHUNK_SIZE))));
    }

    proptest! {
        #[test]
        fn random_bodies_never_panic(kind: u8, body: Vec<u8>) {
            let _ = Control::decode(kind, &body);
        }
    }
}
