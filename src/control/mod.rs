//! The control thread: everything that is not media.

pub(crate) mod admin;
pub mod ask;
pub(crate) mod console;
pub(crate) mod cores;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod hooks;
pub(crate) mod inputs;
pub(crate) mod listeners;
/// The log: a bounded queue, a writer thread, and a count of dropped lines.
pub mod log;
pub(crate) mod metrics;
pub(crate) mod notify;
pub(crate) mod recordings;
pub(crate) mod recovery;
pub mod reload;
pub(crate) mod retention;
pub mod start_checks;
pub mod stats;
pub mod tls;
pub(crate) mod view;

pub use self::admin::BadToken;
pub use self::hooks::reply::{Opinion, Reply};
