//! RTMP, server and client side.

mod chunk_read;
mod chunk_write;
pub mod handshake;
mod message;

pub use chunk_read::{ChunkError, ChunkLimits, ChunkReader};
pub use chunk_write::ChunkWriter;
pub use message::{
    BandwidthLimit, Control, ControlError, MAX_BODY_BYTES, MAX_CHUNK_SIZE, Message, UserControl,
    kind,
};
