//! Bytes in and out: a checked reader, a bit reader, a list of shared slices, random numbers.
//!
//! Nothing here panics on short input, and nothing copies media: [`Reader`] borrows, [`Chain`]
//! shares by count.

mod bits;
mod chain;
mod reader;
mod slice;
mod unguessable;

pub use bits::{BitReader, unescape_rbsp};
pub use chain::Chain;
pub use reader::{PutU24, Reader, Short};
pub use slice::{Place, Slice};
pub use unguessable::unguessable;
