//! The load generator: publishers and viewers of any live media server, and what they cost it.
//!
//! Publishers ([`publish`]) send a clip or a [`stream`] made up, in real time, by RTMP, and
//! [`mark`] each picture. Viewers ([`play`]) are as cheap as they can be, so that thousands fit
//! beside the server under test: one thread, and bytes that the kernel throws away; a
//! share of them looks at every byte. What the server spends is read from the kernel
//! ([`meter`]), so any server will do. `bench/` uses the same viewers for its floor.

pub mod compare;
mod crowd;
pub mod fds;
pub mod floor;
mod inspect;
pub mod judge;
pub mod mark;
pub mod meter;
pub mod play;
pub mod procs;
pub mod progress;
pub mod publish;
pub mod report;
pub mod server;
pub mod soak;
pub mod stream;
pub mod units;
mod viewer;
