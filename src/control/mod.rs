//! The control thread: everything that is not media.

pub(crate) mod admin;
pub mod ask;
pub(crate) mod events;
/// The log: a bounded queue, a writer thread, and a count of dropped lines.
pub mod log;
pub mod start_checks;
pub mod stats;
pub mod tls;
pub(crate) mod view;
