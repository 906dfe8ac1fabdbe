//! What the tests with foreign programs share: the server on free ports, programs that end with
//! the test, media clips made once, and the comparison of what went in with what came out.
//!
//! Everything runs on loopback, in a directory of its own below the target directory, and is
//! stopped by its own process id. A directory is kept when its test fails.

// Each test program uses a part.
#![allow(dead_code)]

pub(crate) mod balancer;
pub(crate) mod browser;
pub(crate) mod child;
pub(crate) mod clips;
pub(crate) mod cues;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod machine;
pub(crate) mod nginx;
pub(crate) mod players;
pub(crate) mod proxy;
pub(crate) mod returning;
pub(crate) mod rtmp;
pub(crate) mod server;
pub(crate) mod ts_check;
pub(crate) mod ws;
