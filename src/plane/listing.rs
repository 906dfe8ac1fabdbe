//! Who is there: one stream in all its parts, and its viewers one by one, for whoever asks.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::fetching::HlsOutput;
use super::flow::Flow;
use super::sink::{Position, Sink};
use super::trans::Trans;
use super::{Format, Framing, Hub, Selection, SinkId, SinkStats, SourceId, StreamSnapshot, Tag};
use crate::codec;
use crate::container::flv::HevcForm;
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
    /// `rtmp`, `flv`, `ts`, `fmp4` or `hls`.
    pub format: &'static str,
    /// How H.265 is written in RTMP and FLV: `enhanced`, or `legacy` for players that know nothing
    /// newer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hevc: Option<&'static str>,
    /// Bytes that a chunk of RTMP carries at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u32>,
    /// Which of its tracks.
    pub selection: Selection,
    /// Viewers whose blocks stand bare on the wire; those of `hls`, who fetch them.
    pub viewers_raw: u32,
    /// Viewers who are sent each block as a chunk of HTTP.
    pub viewers_chunked: u32,
    /// Viewers who are sent each block as a message of WebSocket.
    pub viewers_websocket: u32,
    /// Blocks in its log; segments in its playlist.
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
    /// As that of [`OutputSnapshot`].
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
    /// Bytes that its socket took. By HLS: those of the connections that also fetch its playlists, as
    /// media are the same for everyone; its stream has them all.
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
            outputs: source
                .transes
                .iter()
                .map(|id| output(&self.transes[*id]))
                .chain(source.hls.as_deref().map(hls_output))
                .collect(),
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
        let fetching = source.hls.iter().flat_map(|hls| &hls.sinks);
        seated.chain(fetching).chain(&source.waiting).copied().collect()
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
                Position::AwaitingKey { .. } | Position::Fetching { awaits: Some(_) } => {
                    SinkState::Starting
                }
                Position::Fetching { awaits: None } => SinkState::Playing,
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

impl TrackSnapshot {
    /// What is known of `track` by itself.
    pub fn of(track: &Track) -> Self {
        let is_video = track.kind() == TrackKind::Video;
        Self {
            kind: if is_video { "video" } else { "audio" },
            codec: track.codec.to_string(),
            profile: codec::profile(track),
            level: codec::level(track),
            width: track.video.map(|video| video.width),
            height: track.video.map(|video| video.height),
            fps: None,
            sample_rate_hz: track.audio.map(|audio| audio.sample_rate_hz),
            channels: track.audio.map(|audio| audio.channels),
            bit_s: None,
        }
    }
}

fn track_snapshot(track: &Track, flow: &Flow) -> TrackSnapshot {
    let rate = flow.rate();
    let fps = rate.filter(|_| track.kind() == TrackKind::Video).map(|rate| rate.frames_s);
    TrackSnapshot { fps, bit_s: rate.map(|rate| rate.bit_s), ..TrackSnapshot::of(track) }
}

fn output(trans: &Trans) -> OutputSnapshot {
    let log = &trans.log;
    let span = log.oldest().map(|oldest| oldest.start).zip(log.end());
    let of = |framing: Framing| trans.framings[framing as usize];
    OutputSnapshot {
        format: trans.format.name(),
        hevc: trans.format.hevc().map(|hevc| match hevc {
            HevcForm::Enhanced => "enhanced",
            HevcForm::Legacy => "legacy",
        }),
        chunk_size: trans.format.chunk_size(),
        selection: trans.selection,
        viewers_raw: of(Framing::Raw),
        viewers_chunked: of(Framing::Chunked),
        viewers_websocket: of(Framing::WebSocket),
        log_blocks: log.blocks(),
        log_bytes: log.bytes(),
        log_ms: span.map_or(0, |(start, end)| millis_between(start, end)),
    }
}

fn hls_output(hls: &HlsOutput) -> OutputSnapshot {
    let listed = hls.packager.snapshot().map(|snapshot| snapshot.listed());
    let (segments, span) = listed.unwrap_or_default();
    OutputSnapshot {
        format: Format::Hls(hls.packager.container()).name(),
        hevc: None,
        chunk_size: None,
        selection: Selection::ALL,
        viewers_raw: u32::try_from(hls.sinks.len()).unwrap_or(u32::MAX),
        viewers_chunked: 0,
        viewers_websocket: 0,
        log_blocks: segments,
        log_bytes: hls.packager.bytes(),
        log_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
    }
}
