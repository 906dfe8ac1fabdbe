//! The control thread: everything that is not media.

pub mod ask;
/// The log: a bounded queue, a writer thread, and a count of dropped lines.
pub mod log;
pub mod start_checks;
pub mod stats;
