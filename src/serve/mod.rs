//! Drivers: they move bytes between sockets, machines and the plane, and parse nothing.
//!
//! Every driver is one task per connection with one loop: wait, feed, drain, flush. What a
//! machine asks (may this one publish, may that one play) is settled by an [`admit::Admission`]:
//! rules, then a verdict from outside, then the owner of the stream; if that is another core the
//! whole connection moves there as one value and goes on.

pub mod accept;
pub mod access;
pub mod admit;
#[cfg(test)]
mod alone;
pub mod blocks;
mod conn;
pub mod core;
pub mod doors;
mod end_line;
pub mod event;
pub mod grant;
mod guard;
mod hand_over;
pub mod health;
pub mod hls;
mod http;
mod http_ingest;
pub mod load;
pub mod order;
mod pace;
pub mod page;
mod playing;
mod proxied;
pub mod proxy_header;
mod publishing;
pub mod record;
pub mod refusals;
mod refused;
pub(crate) mod replay;
mod reply;
mod rtmp;
mod scheduled;
mod session;
mod sessions;
mod setup;
mod tally;
pub mod ts_udp;
mod turn_away;
pub mod verdict;

pub use hand_over::HandOver;
pub use tally::Tally;

/// The way between the cores of a node.
pub type Mesh = crate::shard::Mesh<HandOver, order::Order>;
type Post = crate::shard::Post<HandOver, order::Order>;
type Tell = crate::shard::Tell<HandOver, order::Order>;
