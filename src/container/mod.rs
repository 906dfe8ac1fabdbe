//! Containers: what stands around frames on a wire or in a file.

pub mod amf0;
pub mod flv;
pub mod fmp4;
mod item;
pub mod m3u8;
pub mod rtp;
pub mod ts;

pub use item::Item;
