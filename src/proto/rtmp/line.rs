//! What both ends do alike below the commands: messages in, messages out, acknowledgements
//! (RTMP 5.4.3, 5.4.4), pings (RTMP 7.1.7).

use bytes::{Bytes, BytesMut};

use super::chunk_read::{ChunkLimits, ChunkReader};
use super::chunk_write::ChunkWriter;
use super::command::{self, Level};
use super::message::{Message, UserControl};
use super::{Error, kind};
use crate::bytes::{Chain, Reader};
use crate::container::amf0::Value;

/// Chunk streams of what is not media; media has its own (see [`super::csid`]).
const CONTROL: u32 = 2;
const COMMAND: u32 = 3;

/// The two directions of a connection after its handshake.
pub(super) struct Line {
    reader: ChunkReader,
    writer: ChunkWriter,
    out: BytesMut,
    /// Bytes received since the connection began, the handshake included.
    received: u64,
    acknowledged: u64,
    /// We acknowledge after this many received bytes: what the peer announced, or our default.
    window_bytes: u32,
    /// The window we announced; 0 before we did.
    announced_bytes: u32,
}

impl Line {
    pub(super) fn new(limits: ChunkLimits, window_bytes: u32) -> Self {
        Self {
            reader: ChunkReader::new(limits),
            writer: ChunkWriter::default(),
            out: BytesMut::new(),
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
        if acknowledge && self.received - self.acknowledged >= u64::from(self.window_bytes) {
            self.acknowledged = self.received;
            // The sequence number wraps (RTMP 5.4.3).
            self.control_u32(kind::ACK, self.received as u32);
        }
    }

    /// The next message that is not about the line itself.
    pub(super) fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        while let Some(message) = self.reader.read(input)? {
            match message.kind {
                // The reader has obeyed these.
                kind::SET_CHUNK_SIZE | kind::ABORT => {}
                // We never wait for the peer's acknowledgement: TCP paces the writes.
                kind::ACK => {}
                kind::WINDOW_ACK_SIZE => {
                    let window_bytes = control_value(&message, "window acknowledgement size")?;
                    self.window_bytes = window_bytes.max(1);
                }
                kind::SET_PEER_BANDWIDTH => {
                    let window_bytes = control_value(&message, "peer bandwidth")?;
                    if window_bytes != self.announced_bytes {
                        self.announce_window(window_bytes);
                    }
                }
                kind::USER_CONTROL => {
                    if let UserControl::Ping(time) = UserControl::decode(&message.payload)? {
                        self.user_control(UserControl::Pong(time));
                    }
                }
                _ => return Ok(Some(message)),
            }
        }
        Ok(None)
    }

    /// Window Acknowledgement Size: the peer is asked to acknowledge after so many bytes.
    pub(super) fn announce_window(&mut self, window_bytes: u32) {
        self.announced_bytes = window_bytes;
        self.control_u32(kind::WINDOW_ACK_SIZE, window_bytes);
    }

    /// Set Peer Bandwidth, limit type "dynamic".
    pub(super) fn limit_peer(&mut self, window_bytes: u32) {
        let [a, b, c, d] = window_bytes.to_be_bytes();
        self.control(kind::SET_PEER_BANDWIDTH, &[a, b, c, d, 2]);
    }

    /// Set Chunk Size, in force for everything written after it.
    pub(super) fn set_chunk_size(&mut self, chunk_size_bytes: u32) {
        self.control_u32(kind::SET_CHUNK_SIZE, chunk_size_bytes);
        self.writer.set_chunk_size(chunk_size_bytes);
    }

    pub(super) fn user_control(&mut self, event: UserControl) {
        let body = event.encode();
        self.control(kind::USER_CONTROL, &body);
    }

    fn control_u32(&mut self, kind: u8, value: u32) {
        self.control(kind, &value.to_be_bytes());
    }

    fn control(&mut self, kind: u8, body: &[u8]) {
        self.write(CONTROL, kind, 0, 0, &[], body);
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

    /// One message whose body is `head` and `payload` in a row.
    pub(super) fn write(
        &mut self,
        csid: u32,
        kind: u8,
        timestamp_ms: u32,
        stream_id: u32,
        head: &[u8],
        payload: &[u8],
    ) {
        self.writer.write(&mut self.out, csid, kind, timestamp_ms, stream_id, head, payload);
    }

    /// Everything written so far; the line keeps no memory for it.
    pub(super) fn take_out(&mut self) -> Bytes {
        std::mem::take(&mut self.out).freeze()
    }

    pub(super) fn poll_transmit(&mut self, out: &mut Chain) -> bool {
        let any = !self.out.is_empty();
        if any {
            out.push(self.take_out());
        }
        any
    }
}

fn control_value(message: &Message, what: &'static str) -> Result<u32, Error> {
    Reader::new(&message.payload)
        .u32(what)
        .map_err(|short| Error::unexpected("control", "a control message's value", short.to_string()))
}
