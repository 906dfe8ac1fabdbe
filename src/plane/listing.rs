//! Who is there: one stream in all its parts, and its viewers one by one, for whoever asks.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::flow::Flow;
use super::sink::{Position, Sink};
use super::trans::Trans;
use super::{Framing, Hub, Selection, SinkId, SinkStats, SourceId, StreamSnapshot, Tag};
use crate::codec;
use crate::media::{StreamKey, Track, TrackKind};
use crate::time::Timestamp;

/// One stream in all its parts.
#[derive(Debug, Clone)]
pub struct StreamDetails {
    /// Its figures, without rates.
    pub figures: StreamSnapshot,
    /// Who publishes it now.
    pub publisher: Option<PublisherSnapshot>,
    /// What it carries, or carried last.
    pub tracks: Vec<TrackSnapshot>,
    /// What it is muxed as.
    pub outputs: Vec<OutputSnapshot>,
    /// Bytes kept for newcomers.
    pub gop_bytes: usize,
}

/// Who publishes.
#[derive(Debug, Clone)]
pub struct PublisherSnapshot {
    /// As its driver knows it.
    pub tag: Option<Tag>,
    /// Since it took the slot.
    pub age_s: f64,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TrackSnapshot {
    /// `video` or `audio`.
    pub kind: &'static str,
    /// The codec.
    pub codec: String,
    /// Its profile, in the words of its specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Its level, as `4.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Pixels, after cropping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels, after cropping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Pictures per second, over some seconds of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Samples per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_rate_hz: Option<u32>,
    /// Channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// Bits per second, over some seconds of the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit_s: Option<f64>,
}

/// One muxing of a stream, and the log its viewers read.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputSnapshot {
    /// `rtmp` or `flv`.
    pub format: &'static str,
    /// Which of its tracks.
    pub selection: Selection,
    /// Viewers whose blocks stand bare on the wire.
    pub viewers_raw: u32,
    /// Viewers who are sent each block as a chunk of HTTP.
    pub viewers_chunked: u32,
    /// Viewers who are sent each block as a message of WebSocket.
    pub viewers_websocket: u32,
    /// Blocks in its log.
    pub log_blocks: usize,
    /// Bytes they hold, and what they cost beside.
    pub log_bytes: usize,
    /// Stream time they span, in milliseconds.
    pub log_ms: u64,
}

/// One viewer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SinkSnapshot {
    /// Its place on its core.
    #[serde(skip)]
    pub id: SinkId,
    /// Distinguishes it from others who had that place.
    #[serde(skip)]
    pub serial: u64,
    /// As its driver knows it.
    #[serde(skip)]
    pub tag: Option<Tag>,
    /// What it plays, or waits for.
    #[serde(skip)]
    pub stream: StreamKey,
    /// Where it stands.
    pub state: SinkState,
    /// `rtmp` or `flv`.
    pub format: &'static str,
    /// What stands around a block on its wire.
    pub framing: Framing,
    /// Which tracks it is sent.
    pub selection: Selection,
    /// Since it came, in whole seconds.
    pub age_s: u64,
    /// Stream time between the oldest block it has not been sent whole and the newest, in
    /// milliseconds.
    pub lag_ms: u32,
    /// Bytes of that, without framing.
    pub lag_bytes: u64,
    /// Bytes that its socket took.
    pub bytes: u64,
    /// Times it was moved forward because it lagged.
    pub skips: u32,
    /// Stream time those skips left out, in milliseconds.
    pub skipped_ms: u64,
    /// Bytes they left out, without framing.
    pub skipped_bytes: u64,
}

/// Where a viewer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SinkState {
    /// Nobody publishes yet.
    Waiting,
    /// It waits for a key frame.
    Starting,
    /// It is sent the stream.
    Playing,
    /// It asked for a pause.
    Paused,
    /// It gets no more.
    Ended,
}

impl Hub {
    /// Everything about a stream but its viewers. `None` if nobody publishes it or waits for it
    /// here.
    pub fn stream(&self, key: &StreamKey, now: Instant) -> Option<StreamDetails> {
        let id = *self.by_key.get(key)?;
        let source = &self.sources[id];
        let tracks = [&source.tracks.video, &source.tracks.audio];
        Some(StreamDetails {
            figures: self.stream_snapshot(id, now),
            publisher: source.publisher.as_ref().map(|slot| PublisherSnapshot {
                tag: slot.tag.clone(),
                age_s: now.saturating_duration_since(slot.since).as_secs_f64(),
            }),
            tracks: tracks
                .into_iter()
                .flatten()
                .map(|track| track_snapshot(track, source.flow(track.kind())))
                .collect(),
            outputs: source.transes.iter().map(|id| output(&self.transes[*id])).collect(),
            gop_bytes: source.gop.bytes(),
        })
    }

    /// How many viewers `key` has, waiting ones included, and at most `limit` of them from number
    /// `offset` on, in an order that stays. `None` if there is no such stream here.
    pub fn viewers_of(
        &self,
        key: &StreamKey,
        (offset, limit): (usize, usize),
        now: Instant,
    ) -> Option<(usize, Vec<SinkSnapshot>)> {
        let mut ids = self.sinks_of(*self.by_key.get(key)?);
        ids.sort_unstable();
        let page = ids.iter().skip(offset).take(limit);
        let page = page.map(|id| self.sink_snapshot(*id, &self.sinks[*id], now)).collect();
        Some((ids.len(), page))
    }

    /// One viewer.
    pub fn viewer(&self, id: SinkId, serial: u64, now: Instant) -> Option<SinkSnapshot> {
        let sink = self.sinks.get(id).filter(|sink| sink.serial == serial)?;
        (sink.position != Position::Ended).then(|| self.sink_snapshot(id, sink, now))
    }

    /// Every sink of a source that has not ended, in no order.
    pub(super) fn sinks_of(&self, source: SourceId) -> Vec<SinkId> {
        let source = &self.sources[source];
        let seated = source.transes.iter().flat_map(|trans| &self.transes[*trans].sinks);
        seated.chain(&source.waiting).copied().collect()
    }

    fn sink_snapshot(&self, id: SinkId, sink: &Sink, now: Instant) -> SinkSnapshot {
        let SinkStats { bytes, skips, skipped_ms, skipped_bytes, lag_ms, lag_bytes } =
            self.sink_stats(id);
        SinkSnapshot {
            id,
            serial: sink.serial,
            tag: sink.tag.clone(),
            stream: self.sources[sink.source].key.clone(),
            state: match sink.position {
                Position::Waiting => SinkState::Waiting,
                Position::AwaitingKey { .. } => SinkState::Starting,
                Position::At { .. } if sink.paused => SinkState::Paused,
                Position::At { .. } => SinkState::Playing,
                Position::Ended => SinkState::Ended,
            },
            format: sink.format.name(),
            framing: sink.framing,
            selection: sink.selection,
            age_s: self.age_s(now).saturating_sub(sink.since_s.into()),
            lag_ms,
            lag_bytes,
            bytes,
            skips,
            skipped_ms,
            skipped_bytes,
        }
    }
}

fn millis_between(from: Timestamp, to: Timestamp) -> u64 {
    to.since(from).max(0).unsigned_abs() / 1_000_000
}

fn track_snapshot(track: &Track, flow: &Flow) -> TrackSnapshot {
    let is_video = track.kind() == TrackKind::Video;
    let rate = flow.rate();
    TrackSnapshot {
        kind: if is_video { "video" } else { "audio" },
        codec: track.codec.to_string(),
        profile: codec::profile(track),
        level: codec::level(track),
        width: track.video.map(|video| video.width),
        height: track.video.map(|video| video.height),
        fps: rate.filter(|_| is_video).map(|rate| rate.frames_s),
        sample_rate_hz: track.audio.map(|audio| audio.sample_rate_hz),
        channels: track.audio.map(|audio| audio.channels),
        bit_s: rate.map(|rate| rate.bit_s),
    }
}

fn output(trans: &Trans) -> OutputSnapshot {
    let log = &trans.log;
    let span = log.oldest().map(|oldest| oldest.start).zip(log.end());
    let of = |framing: Framing| trans.framings[framing as usize];
    OutputSnapshot {
        format: trans.format.name(),
        selection: trans.selection,
        viewers_raw: of(Framing::Raw),
        viewers_chunked: of(Framing::Chunked),
        viewers_websocket: of(Framing::WebSocket),
        log_blocks: log.blocks(),
        log_bytes: log.bytes(),
        log_ms: span.map_or(0, |(start, end)| millis_between(start, end)),
    }
}
