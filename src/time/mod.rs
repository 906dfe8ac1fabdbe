//! Media time and its wrap.
//!
//! Inside the program a timestamp is nanoseconds in an `i64` ([`Timestamp`]). Wire ticks (32-bit
//! milliseconds, 33-bit 90 kHz) become one at the machine that read them, by [`Unwrap`].

mod timestamp;
mod unwrap;

pub use timestamp::Timestamp;
pub use unwrap::Unwrap;
