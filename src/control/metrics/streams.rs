use std::cmp::Reverse;
use std::fmt;

use super::page::{Labels, Page};
use crate::control::stats::NodeSnapshot;
use crate::plane::{StreamSnapshot, StreamState};

/// The streams one by one: of those with most viewers at most `most`.
///
/// With the core that owns it, so that no two samples meet while a stream moves.
pub(super) fn write(page: &mut Page<'_>, node: &NodeSnapshot, most: usize) -> fmt::Result {
    let of_cores =
        node.cores.iter().flat_map(|core| core.streams.iter().map(|stream| (core.core, stream)));
    let mut all: Vec<_> = of_cores.collect();
    let rank = |stream: &StreamSnapshot| Reverse((stream.viewers, stream.waiting, stream.serial));
    all.sort_by_key(|(_, stream)| rank(stream));
    let left_out = all.len().saturating_sub(most);
    all.truncate(most);
    let labelled: Vec<_> = all.into_iter().map(|(core, it)| (labels(core, it), it)).collect();

    let help = "Streams beyond admin.metrics_streams_max, which have no metrics of their own.";
    page.gauge("metrics_streams_left_out", help, [(&[] as &Labels, left_out)])?;
    for (name, help, of) in COUNTS {
        page.counter(name, help, labelled.iter().map(|(labels, it)| (&labels[..], of(it))))?;
    }
    for (name, help, of) in TIMES {
        page.counter(name, help, labelled.iter().map(|(labels, it)| (&labels[..], of(it))))?;
    }
    for (name, help, of) in NOW {
        page.gauge(name, help, labelled.iter().map(|(labels, it)| (&labels[..], of(it))))?;
    }
    let per_1000 = labelled
        .iter()
        .filter_map(|(labels, it)| Some((&labels[..], it.rates.cpu_per_1000_viewers_percent?)));
    let help = "CPU that the stream costs for a thousand viewers, in per cent of one core.";
    page.gauge("stream_cpu_per_1000_viewers", help, per_1000)
}

fn labels(core: u16, stream: &StreamSnapshot) -> [(&'static str, String); 3] {
    let (key, app) = (stream.stream.as_str().to_owned(), stream.stream.app().to_owned());
    [("app", app), ("stream", key), ("core", core.to_string())]
}

type Of<V> = fn(&StreamSnapshot) -> V;

const COUNTS: [(&str, &str, Of<u64>); 5] = [
    ("stream_ingest_bytes", "Bytes its publishers sent.", |it| it.ingest_bytes),
    ("stream_egress_bytes", "Bytes its viewers' sockets took.", |it| it.egress_bytes),
    ("stream_frames", "Frames its publishers sent.", |it| it.frames),
    ("stream_frames_dropped", "Frames of an unknown track, or before the first key frame.", |it| {
        it.frames_dropped
    }),
    ("stream_skips", "Times a viewer was moved forward because it lagged.", |it| it.skips),
];

const TIMES: [(&str, &str, Of<f64>); 3] = [
    ("stream_viewer_seconds", "Time that viewers watched, all of them together.", |it| {
        it.viewer_us as f64 / 1e6
    }),
    ("stream_ingest_turn_seconds", "Time of its publishers' turns, by the clock.", |it| {
        it.ingest_ns as f64 / 1e9
    }),
    ("stream_flush_turn_seconds", "Time of its viewers' turns, by the clock.", |it| {
        it.flush_ns as f64 / 1e9
    }),
];

const NOW: [(&str, &str, Of<f64>); 5] = [
    ("stream_viewers", "Viewers, those not counted who wait for a publisher.", |it| {
        it.viewers as f64
    }),
    ("stream_waiting_viewers", "Viewers who wait for a publisher.", |it| it.waiting as f64),
    ("stream_published", "1 while somebody publishes it.", |it| {
        f64::from(u8::from(matches!(it.state, StreamState::Live | StreamState::Probing)))
    }),
    ("stream_merge_window_seconds", "The merge window in force.", |it| it.window_ms / 1e3),
    ("stream_busy_ratio", "CPU that the stream costs, of one core.", |it| {
        it.rates.cpu_percent / 100.0
    }),
];
