//! From the publisher's socket to the viewer's, by the clock in the stream.

use std::io;
use std::time::Duration;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Manner, Play};
use crate::suite::Suite;

const VIEWERS: usize = 500;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 2;
/// The merge window, and what p50 and p99 may be, in milliseconds.
const BOUNDS: [(u64, [f64; 2]); 2] = [(0, [5.0, 20.0]), (350, [200.0, 400.0])];

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let row = |(window_ms, bounds)| {
        let what = format!("latency, window {window_ms} ms, {VIEWERS} × 2 Mbit/s, HTTP-FLV");
        row(suite, &what, window_ms, bounds).unwrap_or_else(|error| Figure::failed(&what, &error))
    };
    Ok(BOUNDS.into_iter().map(row).collect())
}

fn row(suite: &Suite, what: &str, window_ms: u64, bounds: [f64; 2]) -> io::Result<Figure> {
    let rounds = suite.each_round(what, ROUNDS, |round| {
        let watched = Watched { window_ms, streams: 1, viewers: VIEWERS, bitrate: BITRATE };
        let looked = suite.quietly(what, || watched.look(suite))?;
        let Looked { p50_ms, p99_ms, .. } = looked;
        eprintln!("  {what}, round {round}: p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms");
        Ok(looked)
    })?;
    let of = |value: fn(&Looked) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let (_, late) = range(&of(|round| round.late_ms));
    // Both must hold, so the worse of the two counts.
    let share = |round: &Looked| (round.p50_ms / bounds[0]).max(round.p99_ms / bounds[1]);
    let (p50, p99) = (median(&of(|round| round.p50_ms)), median(&of(|round| round.p99_ms)));
    Ok(Figure {
        what: what.to_owned(),
        measured: format!("p50 {p50:.1}, p99 {p99:.1} ms"),
        details: String::new(),
        bound: format!("≤ {}, {} ms", bounds[0], bounds[1]),
        shares: rounds.iter().map(share).collect(),
        notes: vec![format!("the generator itself looked up to {late:.1} ms late (p99)")],
        noise: None,
    })
}

/// Streams of which some viewers look at all they get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watched {
    pub(super) window_ms: u64,
    pub(super) streams: usize,
    /// Of all streams together.
    pub(super) viewers: usize,
    /// Of each stream, in bits per second.
    pub(super) bitrate: u64,
}

/// What they saw.
pub(super) struct Looked {
    /// The server's, per cent of a core.
    pub(super) cpu: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// p99 of the generator's own lateness, which is in both.
    pub(super) late_ms: f64,
    /// The generator's CPU, per cent of its core, if it was the limit.
    pub(super) limit: Option<f64>,
}

impl Watched {
    pub(super) fn look(self, suite: &Suite) -> io::Result<Looked> {
        let server = suite.corecast(Duration::from_millis(self.window_ms))?;
        let play = Play {
            url: By::HttpFlv.url(&server),
            streams: self.streams,
            viewers: self.viewers,
            ramp: 500.0,
            settle: suite.seconds(3),
            duration: suite.measured(14),
            inspect_percent: 10.0,
            bitrate: Some(self.bitrate),
            pid: Some(server.process.pid()),
            manner: Manner::Segments,
        };
        let report = suite.load.watch(&server, &play)?;
        let cost = report.cost;
        let latency = report.inspected.and_then(|inspected| inspected.latency_ms);
        let at = |q| latency.as_ref().and_then(|latency| latency.value_at(q));
        match (cost.cpu_percent, at(0.5), at(0.99)) {
            (Some(cpu), Some(p50_ms), Some(p99_ms)) => Ok(Looked {
                cpu,
                p50_ms,
                p99_ms,
                late_ms: cost.own_lateness_ms.value_at(0.99).unwrap_or_default(),
                limit: cost.generator_was_the_limit.then_some(cost.own_cpu_percent),
            }),
            _ => Err(io::Error::other("expected CPU and latencies in the report, found none")),
        }
    }
}
