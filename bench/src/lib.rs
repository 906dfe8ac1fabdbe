//! What Corecast costs, as a ratio to the floor: the bare cost of the same bytes to the same
//! viewers on the same machine, measured in the same run.
//!
//! Floor and server are both processes of their own, and the viewers are those of
//! `corecast-load`: on loopback a part of the receiver's work is charged to the sender, and so it
//! is the same part for both.
