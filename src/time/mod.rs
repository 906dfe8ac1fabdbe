//! Media time and its wrap, and what happens per second.
//!
//! Inside the program a timestamp is nanoseconds in an `i64` ([`Timestamp`]). Wire ticks (32-bit
//! milliseconds, 33-bit 90 kHz) become one at the machine that read them, by [`Unwrap`].

mod rate_limit;
mod timestamp;
mod unwrap;

pub use rate_limit::RateLimit;
pub use timestamp::Timestamp;
pub use unwrap::Unwrap;
