use arrayvec::ArrayVec;
use bytes::{BufMut, BytesMut};

use super::message::{Control, MAX_BODY_BYTES, MAX_CHUNK_SIZE};
use crate::bytes::PutU24;

/// Cuts messages into chunks (RTMP 1.0, 5.3.1).
///
/// Each message starts with a full header (fmt 0) and goes on with fmt 3, so that what is written
/// depends on nothing written before: one muxing serves every viewer, wherever he starts. An
/// extended timestamp is repeated on each fmt 3, as 5.3.1.3 demands.
///
/// It only appends, and it reserves the whole message at once: in a buffer with that much spare
/// capacity nothing moves, and a body byte is copied once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkWriter {
    chunk_size: u32,
}

impl ChunkWriter {
    /// A writer of chunks with up to `chunk_size` bytes of body, taken into the range from 1 to
    /// [`MAX_CHUNK_SIZE`]. The peer must have been told the size, unless it is
    /// [`Self::INITIAL_CHUNK_SIZE`].
    pub fn new(chunk_size: u32) -> Self {
        Self { chunk_size: chunk_size.clamp(1, MAX_CHUNK_SIZE) }
    }

    /// Chunk size in bytes until a Set Chunk Size, both ways.
    pub const INITIAL_CHUNK_SIZE: u32 = 128;

    /// Chunk size in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Appends one message whose body is `head` and then `payload`. `csid` is a chunk stream id
    /// from 2 to 65599.
    ///
    /// Answers false, and writes nothing, if the body is longer than [`MAX_BODY_BYTES`]: no RTMP
    /// message can hold it.
    #[allow(clippy::too_many_arguments)] // the fields of one header, in the order of the wire
    pub fn write(
        &self,
        out: &mut BytesMut,
        csid: u32,
        kind: u8,
        timestamp_ms: u32,
        stream_id: u32,
        head: &[u8],
        payload: &[u8],
    ) -> bool {
        let body_bytes = head.len() + payload.len();
        if body_bytes > MAX_BODY_BYTES {
            return false;
        }
        out.reserve(self.wire_bytes(csid, timestamp_ms, body_bytes));

        let extended = timestamp_ms >= EXTENDED;
        out.put_slice(&basic_header(0, csid));
        out.put_u24(timestamp_ms.min(EXTENDED));
        out.put_u24(body_bytes as u32); // at most MAX_BODY_BYTES
        out.put_u8(kind);
        out.put_u32_le(stream_id);
        let mut continuation: ArrayVec<u8, 7> = basic_header(3, csid).into_iter().collect();
        if extended {
            out.put_u32(timestamp_ms);
            continuation.extend(timestamp_ms.to_be_bytes());
        }

        let mut room = self.chunk_size as usize;
        for mut part in [head, payload] {
            while !part.is_empty() {
                if room == 0 {
                    out.put_slice(&continuation);
                    room = self.chunk_size as usize;
                }
                let (now, later) = part.split_at(room.min(part.len()));
                out.put_slice(now);
                room -= now.len();
                part = later;
            }
        }
        true
    }

    /// Appends a control message, where the spec wants it: chunk stream 2, message stream 0.
    pub fn write_control(&self, out: &mut BytesMut, control: Control) {
        let mut body = [0; Control::BODY_BYTES_MAX];
        let mut unused = &mut body[..];
        control.encode(&mut unused);
        let len = Control::BODY_BYTES_MAX - unused.len();
        self.write(out, 2, control.kind(), 0, 0, &[], &body[..len]);
    }

    /// How many bytes [`Self::write`] appends for a body of `body_bytes`.
    pub fn wire_bytes(&self, csid: u32, timestamp_ms: u32, body_bytes: usize) -> usize {
        let basic = basic_header(0, csid).len();
        let extended = if timestamp_ms >= EXTENDED { 4 } else { 0 };
        let chunks = body_bytes.div_ceil(self.chunk_size as usize).max(1);
        11 + body_bytes + chunks * (basic + extended)
    }
}

/// The 24-bit timestamp field's value that says: the time follows in 32 bits (5.3.1.3).
pub(super) const EXTENDED: u32 = 0xff_ffff;

/// The basic header, 5.3.1.1: one, two or three bytes, the shortest that holds `csid`.
fn basic_header(fmt: u8, csid: u32) -> ArrayVec<u8, 3> {
    debug_assert!((2..=65599).contains(&csid), "chunk stream id {csid}");
    let fmt = fmt << 6;
    match csid {
        0..=63 => ArrayVec::from_iter([fmt | csid as u8]),
        64..=319 => ArrayVec::from_iter([fmt, (csid - 64) as u8]),
        _ => {
            let [low, high, ..] = (csid - 64).to_le_bytes();
            ArrayVec::from([fmt | 1, low, high])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::rtmp::kind;

    fn written(writer: ChunkWriter, csid: u32, timestamp_ms: u32, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        assert!(writer.write(&mut out, csid, kind::VIDEO, timestamp_ms, 0x0102_0304, &[], body));
        assert_eq!(out.len(), writer.wire_bytes(csid, timestamp_ms, body.len()));
        out
    }

    #[test]
    fn a_message_of_three_chunks_has_one_full_header_and_two_short_ones() {
        let out = written(ChunkWriter::new(2), 6, 0x0a0b0c, &[1, 2, 3, 4, 5]);
        let head = [6, 0x0a, 0x0b, 0x0c, 0, 0, 5, 9, 4, 3, 2, 1];
        assert_eq!(out[..12], head);
        assert_eq!(out[12..], [1, 2, 0xc6, 3, 4, 0xc6, 5]);
    }

    #[test]
    fn an_extended_timestamp_is_repeated_on_every_continuation() {
        let out = written(ChunkWriter::new(2), 6, 0x00ff_ffff, &[1, 2, 3]);
        assert_eq!(out[1..4], [0xff; 3]);
        assert_eq!(out[12..], [0, 0xff, 0xff, 0xff, 1, 2, 0xc6, 0, 0xff, 0xff, 0xff, 3]);
        assert_eq!(written(ChunkWriter::new(2), 6, 0x00ff_fffe, &[1])[1..4], [0xff, 0xff, 0xfe]);
    }

    #[test]
    fn chunk_stream_ids_take_the_shortest_form() {
        let head = |csid| written(ChunkWriter::new(9), csid, 0, &[])[..].to_vec();
        assert_eq!(head(63)[..1], [63]);
        assert_eq!(head(64)[..2], [0, 0]);
        assert_eq!(head(319)[..2], [0, 255]);
        assert_eq!(head(320)[..3], [1, 0, 1]);
        assert_eq!(head(65599)[..3], [1, 255, 255]);
    }

    #[test]
    fn head_and_payload_are_cut_as_one_body() {
        let writer = ChunkWriter::new(4);
        let (mut parted, mut whole) = (BytesMut::new(), BytesMut::new());
        writer.write(&mut parted, 4, kind::AUDIO, 5, 1, b"head: ", b"payload");
        writer.write(&mut whole, 4, kind::AUDIO, 5, 1, b"", b"head: payload");
        assert_eq!(parted, whole);
    }

    #[test]
    fn a_body_longer_than_the_length_field_is_not_written() {
        let mut out = BytesMut::new();
        let payload = vec![0; MAX_BODY_BYTES];
        assert!(!ChunkWriter::new(60000).write(&mut out, 6, kind::VIDEO, 0, 1, &[0], &payload));
        assert!(out.is_empty());
    }

    #[test]
    fn writing_into_an_open_block_moves_nothing() {
        let mut block = BytesMut::with_capacity(1000);
        let start = block.as_ptr();
        for _ in 0..10 {
            ChunkWriter::new(30).write(&mut block, 6, kind::VIDEO, 0, 1, &[1; 5], &[2; 60]);
        }
        assert_eq!(block.as_ptr(), start);
    }
}
