use bytes::BytesMut;

use super::conn::{About, InputWaits};
use super::{http, rtmp};
use crate::bytes::Chain;
use crate::media::StreamKey;
use crate::net::Moved;
use crate::plane::SinkStats;
use crate::shard::Place;

/// A connection on its way to the core that owns its stream: one value, without handles.
pub struct HandOver {
    pub(crate) socket: Moved,
    pub(crate) about: About,
    pub(crate) unread: Option<Box<BytesMut>>,
    pub(crate) unsent: Chain,
    pub(crate) input_waits: InputWaits,
    pub(crate) received: u64,
    pub(crate) sent: Option<Box<SinkStats>>,
    pub(crate) key: StreamKey,
    pub(crate) place: Place,
    pub(crate) driver: Driver,
}

/// The machine, and what it asked for.
pub(crate) enum Driver {
    Rtmp(Box<(rtmp::Rtmp, rtmp::Wish)>),
    Http(Box<(http::Http, http::Wish)>),
}

impl std::fmt::Debug for HandOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandOver").field("about", &self.about).field("key", &self.key).finish()
    }
}
