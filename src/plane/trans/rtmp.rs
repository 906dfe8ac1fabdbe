//! RTMP: whole messages, chunked once for all players. That can be shared because every player
//! has message stream 1, fixed chunk stream ids, fmt 0 per message and one chunk size.

use bytes::{Bytes, BytesMut};

use super::Selection;
use crate::container::flv::{self, HevcForm};
use crate::media::{Frame, TrackKind};
use crate::plane::Tracks;
use crate::proto::rtmp::{ChunkWriter, PLAY_STREAM_ID, csid, kind};
use crate::time::Timestamp;

pub(super) fn frame(
    out: &mut BytesMut,
    tracks: &Tracks,
    frame: &Frame,
    chunk_size: u32,
    hevc: HevcForm,
) {
    let Some(head) = super::body_head(tracks, frame, hevc) else { return };
    let (csid, kind) = channel(frame.kind);
    let writer = ChunkWriter::new(chunk_size);
    let at = wire_ms(super::wire_time(frame));
    writer.write(out, csid, kind, at, PLAY_STREAM_ID, &head, &frame.data);
}

pub(super) fn init(
    tracks: &Tracks,
    selection: Selection,
    at: Timestamp,
    chunk_size: u32,
    hevc: HevcForm,
) -> Bytes {
    let mut out = BytesMut::new();
    let writer = ChunkWriter::new(chunk_size);
    let mut message = |of: TrackKind, at: Timestamp, body: &[u8]| {
        let (csid, kind) = channel(of);
        writer.write(&mut out, csid, kind, wire_ms(at), PLAY_STREAM_ID, &[], body);
    };
    if let Some(metadata) = &tracks.metadata {
        let metadata = flv::metadata_of(metadata, selection.audio, selection.video);
        message(TrackKind::Data, super::METADATA_TIME, &metadata);
    }
    for track in selection.of(tracks) {
        for body in
            [flv::sequence_start(track, hevc), flv::hdr_body(track, hevc)].into_iter().flatten()
        {
            message(track.kind(), at, &body);
        }
    }
    out.freeze()
}

fn channel(of: TrackKind) -> (u32, u8) {
    match of {
        TrackKind::Audio => (csid::AUDIO, kind::AUDIO),
        TrackKind::Data | TrackKind::Private => (csid::DATA, kind::DATA),
        TrackKind::Video => (csid::VIDEO, kind::VIDEO),
    }
}

/// The 32-bit wire clock: it wraps, as RTMP 5.3.1 says it does.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn wire_ms(at: Timestamp) -> u32 {
    at.as_millis() as u32
}
