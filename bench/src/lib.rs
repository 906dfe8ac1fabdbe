//! What Corecast costs, as a ratio to the floor: the bare cost of the same bytes to the same
//! viewers on the same machine, measured in the same run.
//!
//! Floor, server and load generator ([`load`]) are processes of their own, on cores of their own:
//! on loopback a part of the receiver's work is charged to the sender, and so it is the same part
//! for both. [`rows`] holds what is measured, a [`figure::Figure`] what came out.

pub mod child;
pub mod clients;
pub mod figure;
pub mod load;
pub mod machine;
pub mod mirror;
pub mod plot;
pub mod quiet;
pub mod rows;
pub mod suite;
pub mod whole;
