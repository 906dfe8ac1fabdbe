//! One core's streams: sources, trans streams, block logs and sinks.
//!
//! Everything here runs to completion on its core: no await, no lock, no socket. Drivers hold a
//! [`Publisher`] or a [`Viewer`]; the flush loop asks the [`Hub`] which sink to visit, which
//! slices lie between its cursor and the head, and tells it how much the socket took. The socket
//! is a number to the plane.

mod apps;
mod block;
mod drain;
mod fetching;
mod flow;
mod gop;
mod handles;
pub mod hls;
mod hub;
mod idle;
mod kick;
mod listing;
mod outputs;
mod pressure;
mod publishers;
mod settings;
mod sink;
mod source;
mod stats;
mod tag;
mod tap;
mod timeline;
mod timings;
mod tracks;
mod trans;
mod trans_streams;
mod turns;
mod vanished;
mod viewers;
mod visit;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use apps::{APPS_MAX, AppSnapshot};
pub use block::{Block, BlockLog, Init, Start};
pub use drain::Left;
pub use handles::{Publisher, Viewer};
pub use hub::{Hub, HubEvent, NodeCounters};
pub use listing::{
    OutputSnapshot, PublisherSnapshot, SinkSnapshot, SinkState, StreamDetails, TrackSnapshot,
};
pub use outputs::OutputTotals;
pub use publishers::{PublishRefused, PublishRequest};
pub use settings::{BitrateAction, OnConflict, Settings};
pub use sink::{Framing, SinkEnd, SinkEvent, SinkStats};
pub use source::{PublisherEnd, PushError};
pub use stats::{
    CoreSnapshot, CoreTimes, PressureSnapshot, Rates, StreamSnapshot, StreamState, Totals,
};
pub use tag::Tag;
pub use tap::{Piece, Tap, TapEnd};
pub use timings::{Quantiles, Timings};
pub use tracks::Tracks;
pub use trans::{Format, Muxer, Selection};
pub use vanished::Delivery;
pub use viewers::{NO_SOCKET, PlayRefused, PlayRequest};
pub use visit::{Outcome, Slices};

/// A sink's place in its core's slab.
pub type SinkId = usize;
type SourceId = usize;
type TransId = usize;
