//! Protocol machines: plain values fed with bytes and time; no I/O, no clock, no await.

pub mod http;
mod machine;
pub mod rtmp;
pub mod ts_udp;

pub use machine::Machine;
