//! What both ends do alike below the commands: messages in, messages out, acknowledgements
//! (RTMP 5.4.3, 5.4.4), pings (RTMP 7.1.7).

use bytes::{Bytes, BytesMut};

use super::command::{self, Level};
use super::{ChunkLimits, ChunkReader, ChunkWriter, Control, Error, Message, UserControl, kind};
use crate::bytes::Chain;
use crate::container::amf0::Value;

/// The chunk stream of commands. Control messages have 2, media see [`super::csid`].
const COMMAND: u32 = 3;

/// The two directions of a connection after its handshake.
pub(super) struct Line {
    reader: ChunkReader,
    writer: ChunkWriter,
    /// Boxed: it is there for moments.
    out: Option<Box<BytesMut>>,
    /// Bytes received since the connection began, the handshake included.
    received: u64,
    /// The last sequence number that we acknowledged, which wraps (RTMP 5.4.3).
    acknowledged: u32,
    /// We acknowledge after this many received bytes: what the peer announced, or our default.
    window_bytes: u32,
    /// The window we announced; 0 before we did.
    announced_bytes: u32,
}

impl Line {
    pub(super) fn new(limits: ChunkLimits, window_bytes: u32) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            writer: ChunkWriter::new(ChunkWriter::INITIAL_CHUNK_SIZE),
            out: None,
            received: 0,
            acknowledged: 0,
            window_bytes,
            announced_bytes: 0,
        }
    }

    /// Bytes received since the connection began.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    pub(super) fn set_limits(&mut self, limits: ChunkLimits) {
        self.reader.set_limits(limits);
    }

    /// Counts received bytes, and acknowledges them once they fill the window: at most once per
    /// call, so that a tiny window costs the peer more than us.
    pub(super) fn count(&mut self, bytes: usize, acknowledge: bool) {
        self.received += bytes as u64;
        let sequence = self.received as u32;
        if acknowledge && sequence.wrapping_sub(self.acknowledged) >= self.window_bytes {
            self.acknowledged = sequence;
            self.control(Control::Ack(sequence));
        }
    }

    /// The next message that is not about the line itself. The reader obeys Set Chunk Size and
    /// Abort without telling.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while let Some(message) = self.reader.read(input)? {
            match Control::decode(message.kind, &message.payload)? {
                None => return Ok(Some(message)),
                Some(control) => self.on_control(control),
            }
        }
        Ok(None)
    }

    fn on_control(&mut self, control: Control) {
        match control {
            Control::WindowAckSize(window_bytes) => self.window_bytes = window_bytes.max(1),
            // The spec's answer to a window that is not the one we announced (RTMP 5.4.5).
            Control::SetPeerBandwidth { window_bytes, .. }
                if window_bytes != self.announced_bytes =>
            {
                self.announce_window(window_bytes);
            }
            Control::User(UserControl::Ping(time_ms)) => {
                self.user_control(UserControl::Pong(time_ms));
            }
            // We never wait for acknowledgements (TCP paces the writes), and a player's buffer is
            // its own affair.
            _ => {}
        }
    }

    /// Window Acknowledgement Size: the peer is asked to acknowledge after so many bytes.
    pub(super) fn announce_window(&mut self, window_bytes: u32) {
        self.announced_bytes = window_bytes;
        self.control(Control::WindowAckSize(window_bytes));
    }

    /// Set Chunk Size, in force for everything written after it.
    pub(super) fn set_chunk_size(&mut self, chunk_size_bytes: u32) {
        self.control(Control::SetChunkSize(chunk_size_bytes));
        self.writer = ChunkWriter::new(chunk_size_bytes);
    }

    pub(super) fn user_control(&mut self, event: UserControl) {
        self.control(Control::User(event));
    }

    pub(super) fn control(&mut self, control: Control) {
        self.writer.write_control(self.out.get_or_insert_default(), control);
    }

    /// Bytes that are not messages: the end of a handshake.
    pub(super) fn write_raw(&mut self, bytes: Chain) {
        self.out.get_or_insert_default().extend_from_slice(&bytes.into_bytes());
    }

    /// A command message: a call or a reply.
    pub(super) fn call(&mut self, stream_id: u32, name: &str, id: f64, arguments: &[Value]) {
        let body = command::encode(name, id, arguments);
        self.write(COMMAND, kind::COMMAND, 0, stream_id, &[], &body);
    }

    /// `_result` to the call with transaction `id`, unless it wanted no reply.
    pub(super) fn result(&mut self, id: f64, value: Value) {
        if id != 0.0 {
            self.call(0, "_result", id, &[Value::Null, value]);
        }
    }

    /// `_error` to the call with transaction `id`, unless it wanted no reply.
    pub(super) fn error(&mut self, id: f64, code: &str, description: &str) {
        if id != 0.0 {
            let status = command::status(Level::Error, code, description);
            self.call(0, "_error", id, &[Value::Null, status]);
        }
    }

    /// `onStatus` on a message stream.
    pub(super) fn status(&mut self, stream_id: u32, level: Level, code: &str, description: &str) {
        let status = command::status(level, code, description);
        self.call(stream_id, "onStatus", 0.0, &[Value::Null, status]);
    }

    /// One message whose body is `head` and `payload` in a row; false if no message can hold them.
    pub(super) fn write(
        &mut self,
        csid: u32,
        kind: u8,
        timestamp_ms: u32,
        stream_id: u32,
        head: &[u8],
        payload: &[u8],
    ) -> bool {
        let out = self.out.get_or_insert_default();
        self.writer.write(out, csid, kind, timestamp_ms, stream_id, head, payload)
    }

    /// Everything written so far; the line keeps no memory for it.
    pub(super) fn take_out(&mut self) -> Bytes {
        self.out.take().map_or_else(Bytes::new, |out| out.freeze())
    }

    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len())
    }

    pub(super) fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        let any = self.unsent_bytes() > 0;
        if any {
            out.push(self.take_out());
        }
        any
    }
}
