//! Corecast, a live media router: publishers push a stream in by one protocol, any number of
//! viewers pull it out by any other.
//!
//! Each stream is pinned to one core, whose single event loop owns the source and all its sinks.
//! The modules are rooms in a fixed order; a room imports only rooms above it in this list, and a
//! test (`tests/tidy.rs`) holds it to that. Parsers and protocol state are plain values fed with
//! bytes and time; only [`net`], [`shard`], [`serve`] and [`control`] touch sockets.

// 0: no room below these
pub mod bytes;
pub mod config;
pub mod time;
// 1
pub mod media;
// 2
pub mod codec;
// 3
pub mod container;
// 4
pub mod proto;
// 5
pub mod plane;
// 6
pub mod net;
pub mod shard;
// 7
pub mod serve;
// 8
pub mod control;
// 9
pub mod app;

#[cfg(test)]
pub(crate) mod testkit;
