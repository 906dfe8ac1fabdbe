use arrayvec::ArrayVec;
use bytes::Bytes;

use super::chunk_write::{ChunkWriter, EXTENDED};
use super::message::{Control, ControlError, Message};
use crate::bytes::{Reader, Short};

/// Puts messages together from chunks (RTMP 1.0, 5.3).
///
/// It applies Set Chunk Size and Abort itself and does not give them up. Where the spec and the
/// world differ, it reads like this:
///
/// - **Extended timestamp on a continuing fmt 3.** Some senders repeat it, as 5.3.1.3 demands, some
///   do not. Four bytes equal to the timestamp field of the message's header, or to its absolute
///   time, are taken for a repetition, all else for payload. The first byte that differs decides.
/// - **A new message with fmt 3** repeats the last header. After fmt 1 or 2 the same delta is added
///   again. After fmt 0 the delta is that header's timestamp (5.3.1.2.4), as libavformat both
///   writes and reads it. If that timestamp was extended, though, the four bytes, which must be
///   there, are the new message's absolute time: no one means a step of 4.6 hours.
/// - **fmt 1 opening a chunk stream** is taken, with message stream 0 and a start at time zero:
///   librtmp sends its first ping so. fmt 2 and 3 lack a length there and are refused.
/// - **fmt 0, 1 or 2 in the middle of a message** is refused. Abort is the way to give one up.
///
/// Memory follows the bytes received, not the announced lengths, and a finished message takes its
/// memory along: between messages there are only the last headers, 48 bytes per chunk stream.
#[derive(Debug)]
pub struct ChunkReader {
    state: State,
    limits: ChunkLimits,
    chunk_size: u32,
    channels: Vec<Channel>,
    /// Capacity of all partial messages, in bytes; never above `limits.reassembly_bytes`, unless
    /// that was lowered since.
    reserved: u32,
    /// The beginning of a header that is not whole yet. When four bytes after a fmt 3 were kept to
    /// compare and turned out to be no timestamp, they are payload, and read from here first.
    /// Boxed, and None when empty: players have none, and there are many players.
    kept: Option<Box<Kept>>,
    offset: u64,
}

type Kept = ArrayVec<u8, HEADER_BYTES_MAX>;

/// Bounds of a [`ChunkReader`]. Whoever goes beyond one gets an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Longest message body, in bytes. Default 16 MiB.
    pub message_bytes: u32,
    /// Memory for all messages that are not whole yet, in bytes. Default 32 MiB.
    pub reassembly_bytes: u32,
    /// Number of chunk streams. Default 64.
    pub csids: u32,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self { message_bytes: 16 << 20, reassembly_bytes: 32 << 20, csids: 64 }
    }
}

/// Chunks that can never become messages, or not within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The first chunk of a chunk stream leaves the message's length out.
    #[error("rtmp/chunk: csid {csid}: expected fmt 0 or 1 on its first chunk, found fmt {fmt}")]
    NothingToRepeat {
        /// Chunk stream id.
        csid: u32,
        /// The chunk's header format.
        fmt: u8,
    },
    /// A new header came before the last message was whole.
    #[error(
        "rtmp/chunk: csid {csid}: expected fmt 3 after {received} of {length} bytes of a message, \
         found fmt {fmt}"
    )]
    Interrupted {
        /// Chunk stream id.
        csid: u32,
        /// The chunk's header format.
        fmt: u8,
        /// Bytes of the unfinished message so far.
        received: usize,
        /// Its announced length in bytes.
        length: usize,
    },
    /// One more chunk stream than allowed.
    #[error("rtmp/chunk: expected at most {limit} chunk streams, found one more: csid {csid}")]
    TooManyChunkStreams {
        /// Chunk stream id.
        csid: u32,
        /// [`ChunkLimits::csids`].
        limit: usize,
    },
    /// The announced length is beyond the limit.
    #[error(
        "rtmp/chunk: csid {csid}: expected a message of at most {limit} bytes, found one of kind \
         {kind} with {length}"
    )]
    MessageTooLong {
        /// Chunk stream id.
        csid: u32,
        /// Message type id.
        kind: u8,
        /// Announced length in bytes.
        length: usize,
        /// The smaller of [`ChunkLimits::message_bytes`] and [`ChunkLimits::reassembly_bytes`].
        limit: usize,
    },
    /// The unfinished messages together need more memory than allowed.
    #[error(
        "rtmp/chunk: csid {csid}: expected at most {limit} bytes in unfinished messages, found \
         {needed}"
    )]
    ReassemblyFull {
        /// The chunk stream that asked for more.
        csid: u32,
        /// Bytes needed with it.
        needed: usize,
        /// [`ChunkLimits::reassembly_bytes`].
        limit: usize,
    },
    /// A Set Chunk Size or Abort that cannot be understood.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Where the next byte belongs.
#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// `left` more bytes of the chunk in `channels[index]`.
    Payload {
        index: u32,
        left: u32,
    },
}

/// One chunk stream: its last header and what has come of its message.
#[derive(Debug)]
struct Channel {
    csid: u32,
    header: Header,
    /// Empty exactly when the next header starts a new message.
    partial: Vec<u8>,
}

/// A message header, 5.3.1.2, with what fmt 1 to 3 leave out filled in.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    /// Absolute time of the message in milliseconds.
    timestamp_ms: u32,
    /// The timestamp as sent: a time after fmt 0, a delta after fmt 1 and 2; 32 bits if extended.
    field_ms: u32,
    extended: bool,
    /// The last full header was fmt 0.
    absolute: bool,
    kind: u8,
    /// At most 24 bits.
    length: u32,
    stream_id: u32,
}

impl ChunkReader {
    /// A reader at the first chunk after the handshake.
    pub fn new(limits: ChunkLimits) -> Self {
        Self {
            state: State::Header,
            limits,
            chunk_size: ChunkWriter::INITIAL_CHUNK_SIZE,
            channels: Vec::new(),
            reserved: 0,
            kept: None,
            offset: 0,
        }
    }

    /// Takes bytes from the front of `input` until a message is whole, or the input used up: then
    /// the answer is None. To be called until it is None; a message may be finished by bytes that
    /// were taken before.
    ///
    /// After an error the connection is lost: [`Self::offset`] is where the offending chunk, or
    /// the part of it in `input`, begins.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            let State::Payload { index, left } = self.state else {
                match self.read_header(input)? {
                    Some(chunk) => self.begin(&chunk),
                    None => return Ok(None),
                }
                continue;
            };
            let place = index as usize;
            let left = self.read_payload(place, left, input)?;
            if left > 0 {
                self.state = State::Payload { index, left };
                return Ok(None);
            }
            self.state = State::Header;
            let channel = &self.channels[place];
            if channel.partial.len() == channel.header.length as usize
                && let Some(message) = self.finish(place)?
            {
                return Ok(Some(message));
            }
        }
    }

    /// Puts other limits into force. Memory already in use is not given up for them.
    pub fn set_limits(&mut self, limits: ChunkLimits) {
        self.limits = limits;
    }

    /// Bytes taken since the start; what Acknowledgement counts, without the handshake.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The size of incoming chunks now in force, in bytes.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// The next chunk's header, once it is whole.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<Option<Chunk>, ChunkError> {
        let chunk = match &self.kept {
            None => self.parse(input)?,
            Some(kept) => {
                let mut joined = kept.clone();
                let missing = joined.remaining_capacity().min(input.len());
                joined.extend(input[..missing].iter().copied());
                self.parse(&joined)?
            }
        };
        let Some(chunk) = chunk else {
            if !input.is_empty() {
                // Never more than fits: a header is known after HEADER_BYTES_MAX at the latest.
                self.kept.get_or_insert_default().extend(input.iter().copied());
                self.take(input, input.len());
            }
            return Ok(None);
        };
        let kept = self.take_kept(chunk.header_bytes).len();
        self.take(input, chunk.header_bytes - kept);
        Ok(Some(chunk))
    }

    /// The first of what was kept, so many bytes at most.
    fn take_kept(&mut self, most: usize) -> Kept {
        let Some(kept) = &mut self.kept else { return Kept::new() };
        let count = most.min(kept.len());
        let first = kept.drain(..count).collect();
        if kept.is_empty() {
            self.kept = None;
        }
        first
    }

    fn parse(&self, bytes: &[u8]) -> Result<Option<Chunk>, ChunkError> {
        let mut reader = Reader::new(bytes);
        let Ok((fmt, csid)) = basic_header(&mut reader) else { return Ok(None) };
        let index = self.channels.iter().position(|channel| channel.csid == csid);
        let prior = match index.map(|index| &self.channels[index]) {
            Some(Channel { header, partial, .. }) if !partial.is_empty() => {
                let (received, length) = (partial.len(), header.length as usize);
                if fmt != 3 {
                    return Err(ChunkError::Interrupted { csid, fmt, received, length });
                }
                let repetition = header.repetition_bytes(reader.rest());
                return Ok(repetition.map(|repetition| {
                    let header_bytes = reader.position() + repetition;
                    Chunk { csid, index, header: *header, header_bytes }
                }));
            }
            Some(channel) => channel.header,
            None if fmt > 1 => return Err(ChunkError::NothingToRepeat { csid, fmt }),
            None if self.channels.len() >= self.limits.csids as usize => {
                let limit = self.limits.csids as usize;
                return Err(ChunkError::TooManyChunkStreams { csid, limit });
            }
            None => Header::default(),
        };
        let Ok(header) = prior.next(fmt, &mut reader) else { return Ok(None) };

        let length = header.length as usize;
        let limit = self.limits.message_bytes.min(self.limits.reassembly_bytes) as usize;
        if length > limit {
            return Err(ChunkError::MessageTooLong { csid, kind: header.kind, length, limit });
        }
        Ok(Some(Chunk { csid, index, header, header_bytes: reader.position() }))
    }

    /// Makes `chunk` the one whose payload comes next.
    fn begin(&mut self, chunk: &Chunk) {
        let &Chunk { csid, header, index, .. } = chunk;
        let index = index.unwrap_or_else(|| {
            // Three or four will be all, and there are many readers.
            self.channels.reserve_exact(1);
            self.channels.push(Channel { csid, header, partial: Vec::new() });
            self.channels.len() - 1
        });
        let channel = &mut self.channels[index];
        channel.header = header;
        let missing = header.length - channel.partial.len() as u32;
        self.state = State::Payload { index: index as u32, left: missing.min(self.chunk_size) };
    }

    /// Copies up to `left` bytes of payload, and answers how many are missing then.
    fn read_payload(
        &mut self,
        index: usize,
        left: u32,
        input: &mut &[u8],
    ) -> Result<u32, ChunkError> {
        let mut left = left as usize;
        if self.kept.is_some() {
            let kept = self.take_kept(left);
            self.make_room(index, kept.len())?;
            self.channels[index].partial.extend_from_slice(&kept);
            left -= kept.len();
        }
        let count = left.min(input.len());
        self.make_room(index, count)?;
        self.channels[index].partial.extend_from_slice(&input[..count]);
        self.take(input, count);
        Ok((left - count) as u32)
    }

    /// Sees to it that `count` bytes can be appended. Most messages fit into the first piece of
    /// memory, which is then just as long as they are; what comes after is at most four times of
    /// what was received.
    fn make_room(&mut self, index: usize, count: usize) -> Result<(), ChunkError> {
        let Channel { csid, header, partial } = &mut self.channels[index];
        let (capacity, needed) = (partial.capacity(), partial.len() + count);
        if needed <= capacity {
            return Ok(());
        }
        let limit = self.limits.reassembly_bytes as usize;
        let others = self.reserved as usize - capacity;
        if needed + others > limit {
            return Err(ChunkError::ReassemblyFull { csid: *csid, needed: needed + others, limit });
        }
        // With every chunk stream's first piece all of the limit is shared out at most.
        let first = FIRST_PIECE_BYTES.min(limit / self.limits.csids.max(1) as usize);
        let wanted = first.max(capacity * 4).min(header.length as usize).min(limit - others);
        partial.reserve_exact(needed.max(wanted) - partial.len());
        self.reserved = (others + partial.capacity()) as u32;
        Ok(())
    }

    /// Gives up a whole message, unless it was meant for this reader.
    fn finish(&mut self, index: usize) -> Result<Option<Message>, ChunkError> {
        let payload = self.release(index);
        let Header { kind, timestamp_ms, stream_id, .. } = self.channels[index].header;
        match kind {
            super::kind::SET_CHUNK_SIZE | super::kind::ABORT => {
                self.on_control(Control::decode(kind, &payload)?);
                Ok(None)
            }
            _ => {
                let payload = Bytes::from(payload);
                Ok(Some(Message { kind, timestamp_ms, stream_id, payload }))
            }
        }
    }

    fn on_control(&mut self, control: Option<Control>) {
        match control {
            Some(Control::SetChunkSize(size)) => self.chunk_size = size,
            Some(Control::Abort(csid)) => {
                if let Some(index) = self.channels.iter().position(|channel| channel.csid == csid) {
                    drop(self.release(index));
                }
            }
            _ => {}
        }
    }

    /// What has come of a channel's message, with its memory.
    fn release(&mut self, index: usize) -> Vec<u8> {
        let partial = std::mem::take(&mut self.channels[index].partial);
        self.reserved -= partial.capacity() as u32;
        partial
    }

    fn take(&mut self, input: &mut &[u8], count: usize) {
        *input = &input[count..];
        self.offset += count as u64;
    }
}

/// A chunk header, read.
struct Chunk {
    csid: u32,
    /// Its place among the channels, unless it is new.
    index: Option<usize>,
    header: Header,
    header_bytes: usize,
}

impl Header {
    /// The header that follows `self` on its chunk stream and starts a new message.
    fn next(self, fmt: u8, reader: &mut Reader<'_>) -> Result<Self, Short> {
        let mut next = self;
        if fmt < 3 {
            next.field_ms = reader.u24("timestamp")?;
            next.extended = next.field_ms == EXTENDED;
            next.absolute = fmt == 0;
        }
        if fmt < 2 {
            next.length = reader.u24("message length")?;
            next.kind = reader.u8("message type id")?;
        }
        if fmt == 0 {
            next.stream_id = reader.u32_le("message stream id")?;
        }
        if next.extended {
            next.field_ms = reader.u32("extended timestamp")?;
        }
        let is_time = fmt == 0 || (fmt == 3 && next.absolute && next.extended);
        let base = if is_time { 0 } else { self.timestamp_ms };
        next.timestamp_ms = base.wrapping_add(next.field_ms);
        Ok(next)
    }

    /// How many of the bytes after a continuing fmt 3 are a repeated extended timestamp: 4 or 0;
    /// None while that cannot be told.
    fn repetition_bytes(&self, bytes: &[u8]) -> Option<usize> {
        if !self.extended {
            return Some(0);
        }
        let seen = &bytes[..bytes.len().min(4)];
        let values = [self.field_ms, self.timestamp_ms].map(u32::to_be_bytes);
        match (values.iter().any(|value| value.starts_with(seen)), seen.len()) {
            (true, 4) => Some(4),
            (true, _) => None,
            (false, _) => Some(0),
        }
    }
}

/// The format and the chunk stream id, 5.3.1.1.
fn basic_header(reader: &mut Reader<'_>) -> Result<(u8, u32), Short> {
    let first = reader.u8("basic header")?;
    let csid = match first & 0x3f {
        0 => 64 + u32::from(reader.u8("chunk stream id")?),
        1 => 64 + u32::from(u16::from_le_bytes(reader.array("chunk stream id")?)),
        csid => u32::from(csid),
    };
    Ok((first >> 6, csid))
}

/// Basic header, message header, extended timestamp.
const HEADER_BYTES_MAX: usize = 3 + 11 + 4;

/// A message no longer than this gets its memory in one piece.
const FIRST_PIECE_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
