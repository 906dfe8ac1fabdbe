//! Frames to the bytes of one format, block by block.

use bytes::{Bytes, BytesMut};

use super::{Format, Selection, flv, rtmp};
use crate::container::flv::HevcForm;
use crate::container::{fmp4, ts};
use crate::media::Frame;
use crate::plane::Tracks;
use crate::plane::block::Start;
use crate::plane::hls::Container;
use crate::time::Timestamp;

/// Writes the blocks of one trans stream, one after the other: [`Self::begin`], [`Self::push`] for
/// each frame, [`Self::end`]. What a format counts or gathers from frame to frame is kept here.
#[derive(Debug)]
pub enum Muxer {
    /// RTMP chunks.
    Rtmp {
        /// Bytes a chunk carries at most.
        chunk_size: u32,
        /// How H.265 is written.
        hevc: HevcForm,
    },
    /// FLV tags.
    Flv {
        /// How H.265 is written.
        hevc: HevcForm,
    },
    /// MPEG-2 transport packets.
    Ts(Box<ts::Mux>),
    /// Fragments of MP4, one for each block.
    Fmp4(Box<fmp4::Fragmenter>),
}

impl Format {
    /// A writer at the beginning of a stream.
    pub fn muxer(self) -> Muxer {
        match self {
            Self::Rtmp { chunk_size, hevc } => Muxer::Rtmp { chunk_size, hevc },
            Self::Flv { hevc } => Muxer::Flv { hevc },
            Self::Ts | Self::Hls(Container::Ts) => Muxer::Ts(Box::default()),
            Self::Fmp4 | Self::Hls(Container::Fmp4) => Muxer::Fmp4(Box::default()),
        }
    }
}

impl Muxer {
    /// What precedes everything else of this format, once per viewer.
    pub(super) fn preamble(&self, tracks: &Tracks, selection: Selection) -> Bytes {
        match self {
            Self::Rtmp { .. } | Self::Ts(_) | Self::Fmp4(_) => Bytes::new(),
            Self::Flv { .. } => flv::preamble(tracks, selection),
        }
    }

    /// What a viewer must have been sent before the blocks from `at` on.
    ///
    /// Where that stands in the blocks themselves, it is nothing.
    pub(super) fn init(&mut self, tracks: &Tracks, selection: Selection, at: Timestamp) -> Bytes {
        let video = tracks.video.as_ref().filter(|_| selection.video);
        let audio = tracks.audio.as_ref().filter(|_| selection.audio);
        match self {
            Self::Rtmp { chunk_size, hevc } => {
                rtmp::init(tracks, selection, at, *chunk_size, *hevc)
            }
            Self::Flv { hevc } => flv::init(tracks, selection, at, *hevc),
            Self::Ts(mux) => {
                mux.set_tracks(video, audio);
                mux.set_private_streams(&tracks.private);
                Bytes::new()
            }
            Self::Fmp4(fragmenter) => {
                fragmenter.set_tracks(video, audio);
                fmp4::init(video, audio)
            }
        }
    }

    /// A block begins. Answers what a viewer must be sent before it that was not sent the block before.
    pub fn begin(&mut self, out: &mut BytesMut, start: Start, at: Timestamp) -> Bytes {
        match self {
            Self::Rtmp { .. } | Self::Flv { .. } => Bytes::new(),
            Self::Ts(mux) => {
                let rejoin = mux.rejoin();
                if start != Start::No {
                    mux.tables(out, at);
                }
                rejoin
            }
            Self::Fmp4(fragmenter) => {
                if start == Start::Picture {
                    fragmenter.start_at_next_picture();
                }
                Bytes::new()
            }
        }
    }

    /// Adds one frame to the block. A frame whose track is not in `tracks` cannot be labelled and adds
    /// nothing; nor does one longer than a message can be.
    pub fn push(&mut self, out: &mut BytesMut, tracks: &Tracks, frame: &Frame) {
        match self {
            Self::Rtmp { chunk_size, hevc } => rtmp::frame(out, tracks, frame, *chunk_size, *hevc),
            Self::Flv { hevc } => flv::frame(out, tracks, frame, *hevc),
            Self::Ts(mux) => mux.push(out, frame),
            Self::Fmp4(fragmenter) => fragmenter.push(frame),
        }
    }

    /// True if nothing is written of the tracks that the last block began with.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Rtmp { .. } | Self::Flv { .. } => false,
            Self::Ts(mux) => mux.is_empty(),
            Self::Fmp4(fragmenter) => fragmenter.is_empty(),
        }
    }

    /// Bytes that were added and are not in `out` yet.
    pub fn gathered(&self) -> usize {
        match self {
            Self::Rtmp { .. } | Self::Flv { .. } => 0,
            Self::Ts(mux) => mux.gathered(),
            Self::Fmp4(fragmenter) => fragmenter.gathered(),
        }
    }

    /// The block ends: all of it is in `out` now.
    pub fn end(&mut self, out: &mut BytesMut) {
        match self {
            Self::Rtmp { .. } | Self::Flv { .. } => {}
            Self::Ts(mux) => mux.flush(out),
            Self::Fmp4(fragmenter) => fragmenter.flush(out),
        }
    }
}
