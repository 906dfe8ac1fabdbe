//! One source cut into parts and segments for HTTP Live Streaming (RFC 8216bis).
//!
//! The [`Packager`] is a machine: frames in, and after each part a [`Snapshot`], from which any core
//! writes playlists ([`Snapshot::playlist`]), says whether a request must wait for what it asks
//! ([`Snapshot::readiness`]), and takes bodies ([`Snapshot::find`]). Media is in memory once, where a
//! [`Store`] keeps it: a part is one piece of it, a segment the list of its parts, and both are shared by
//! count.
//!
//! Where the cuts lie is decided by the clock of the media alone. Parts have a fixed length; only the
//! last of a segment may be shorter, or a little longer if that spares a part without frames. A
//! segment ends at the first key frame once it is long enough. The target duration may never change
//! (4.4.3.1), so unless it is configured it is that of the first segment, and nothing is published
//! before. Should key frames fail to come in time later, segments end without them.

mod channel;
mod cutting;
mod lane;
mod lengths;
mod muxer;
mod packager;
mod program;
mod request;
mod resource;
mod segment;
mod settings;
mod shelf;
mod snapshot;
mod store;

pub use channel::Channel;
pub use muxer::Container;
pub use packager::{Counters, Packager};
pub use request::{BadRequest, Readiness, Request};
pub use resource::{Rendition, Resource, What};
pub use settings::Settings;
pub use snapshot::{Found, Snapshot};
pub use store::{Heap, Store};
