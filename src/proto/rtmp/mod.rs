//! RTMP, server and client side.
mod chunk_write;
mod message;
pub use chunk_write::ChunkWriter;
pub use message::*;
