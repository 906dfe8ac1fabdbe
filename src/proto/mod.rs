//! Protocol machines: plain values fed with bytes and time; no I/O, no clock, no await.

pub mod http;
pub mod rtmp;
