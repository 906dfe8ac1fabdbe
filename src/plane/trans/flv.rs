//! FLV tags, for HTTP and WebSocket viewers.

use bytes::{BufMut, Bytes, BytesMut};

use super::Selection;
use crate::container::flv::{self, HevcForm, TagKind};
use crate::media::{Frame, TrackKind};
use crate::plane::Tracks;
use crate::time::Timestamp;

pub(super) fn frame(out: &mut BytesMut, tracks: &Tracks, frame: &Frame, hevc: HevcForm) {
    if let Some(head) = super::body_head(tracks, frame, hevc) {
        tag(out, tag_kind(frame.kind), super::wire_time(frame), &head, &frame.data);
    }
}

pub(super) fn init(tracks: &Tracks, selection: Selection, at: Timestamp, hevc: HevcForm) -> Bytes {
    let mut out = BytesMut::new();
    if let Some(metadata) = &tracks.metadata {
        let metadata = flv::metadata_of(metadata, selection.audio, selection.video);
        tag(&mut out, TagKind::Script, super::METADATA_TIME, &[], &metadata);
    }
    for track in selection.of(tracks) {
        // mpegts.js gives up at the packet, so browsers see it only where it says something.
        let hdr = flv::hdr_body(track, hevc).filter(|_| flv::is_hdr(track));
        for body in [flv::sequence_start(track, hevc), hdr].into_iter().flatten() {
            tag(&mut out, tag_kind(track.kind()), at, &[], &body);
        }
    }
    out.freeze()
}

/// The file header. Its flags are what the viewer will get, not what it might.
pub(super) fn preamble(tracks: &Tracks, selection: Selection) -> Bytes {
    let audio = selection.audio && tracks.audio.is_some();
    let video = selection.video && tracks.video.is_some();
    Bytes::copy_from_slice(&flv::file_header(audio, video))
}

fn tag(out: &mut BytesMut, kind: TagKind, at: Timestamp, head: &[u8], payload: &[u8]) {
    let body_len = head.len() + payload.len();
    if body_len > TAG_BYTES_MAX {
        return;
    }
    let header = flv::tag_header(kind, body_len, at.as_millis());
    out.reserve(header.len() + body_len + 4);
    out.put_slice(&header);
    out.put_slice(head);
    out.put_slice(payload);
    out.put_slice(&flv::previous_tag_size(body_len));
}

/// No tag can hold more: its length has 24 bits. RTMP refuses the same.
const TAG_BYTES_MAX: usize = (1 << 24) - 1;

fn tag_kind(of: TrackKind) -> TagKind {
    match of {
        TrackKind::Audio => TagKind::Audio,
        TrackKind::Video => TagKind::Video,
        TrackKind::Data | TrackKind::Private => TagKind::Script,
    }
}
