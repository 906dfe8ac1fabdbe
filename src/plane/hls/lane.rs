use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Store;
use super::muxer::Muxer;
use super::segment::{Init, Piece};
use crate::media::Track;
use crate::time::Timestamp;

/// One rendition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) muxer: Muxer,
    store: Box<dyn Store>,
    /// The part that is made.
    pub(super) out: BytesMut,
    pub(super) independent: bool,
    /// Bytes of the parts of this segment.
    of_segment: usize,
    pub(super) init: Option<Arc<Init>>,
}

impl Lane {
    pub(super) fn new(muxer: Muxer, store: Box<dyn Store>) -> Self {
        let out = BytesMut::new();
        Self { muxer, store, out, independent: false, of_segment: 0, init: None }
    }

    /// It will be about as large as the one before.
    pub(super) fn begin_segment(&mut self) {
        let before = std::mem::take(&mut self.of_segment);
        self.store.begin_segment(before + before / 16);
    }

    pub(super) fn set_tracks(
        &mut self,
        video: Option<&Track>,
        audio: Option<&Track>,
        (next_init, dir): (&mut u32, u128),
    ) {
        let data = self.muxer.set_tracks(video, audio);
        if self.init.as_ref().map_or(&Bytes::new(), |init| &init.data) == &data {
            return;
        }
        self.init = (!data.is_empty()).then(|| Arc::new(Init { number: *next_init, dir, data }));
        *next_init = next_init.wrapping_add(1);
    }

    pub(super) fn begin_part(&mut self, at: Timestamp) {
        self.out.clear();
        self.independent = false;
        if !self.muxer.is_empty() {
            self.muxer.begin_part(&mut self.out, at);
        }
    }

    /// What was made; nothing while there are no tracks.
    pub(super) fn end_part(&mut self) -> Piece {
        if self.muxer.is_empty() {
            return Piece::default();
        }
        self.muxer.end_part(&mut self.out);
        let data = self.store.keep(&self.out);
        // The room is for the next part, unless that is another kind of part: one with a key frame is
        // many times as long.
        if self.out.capacity() / 4 > data.len() {
            self.out = BytesMut::with_capacity(data.len() + data.len() / 4);
        }
        self.of_segment += data.len();
        Piece { data, independent: self.independent }
    }
}
