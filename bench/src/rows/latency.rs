//! From the publisher's socket to the viewer's, by the clock in the stream.

use std::io;
use std::time::Duration;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Play, Publish};
use crate::suite::Suite;

const VIEWERS: usize = 500;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 2;
/// The merge window, and what p50 and p99 may be, in milliseconds.
const BOUNDS: [(u64, [f64; 2]); 2] = [(0, [5.0, 20.0]), (350, [200.0, 400.0])];

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    BOUNDS.into_iter().map(|(window_ms, bounds)| row(suite, window_ms, bounds)).collect()
}

fn row(suite: &Suite, window_ms: u64, bounds: [f64; 2]) -> io::Result<Figure> {
    let what = format!("latency, window {window_ms} ms, {VIEWERS} × 2 Mbit/s, HTTP-FLV");
    let mut rounds = Vec::new();
    for _ in 0..suite.rounds(ROUNDS) {
        let percentiles = suite.quietly(&what, || percentiles(suite, window_ms))?;
        eprintln!("  {what}: p50 {:.1} ms, p99 {:.1} ms", percentiles[0], percentiles[1]);
        rounds.push(percentiles);
    }
    let of = |at: usize| rounds.iter().map(|round: &[f64; 3]| round[at]).collect::<Vec<_>>();
    let (_, late) = range(&of(2));
    // Both must hold, so the worse of the two counts.
    let share = |round: &[f64; 3]| (round[0] / bounds[0]).max(round[1] / bounds[1]);
    Ok(Figure {
        what,
        measured: format!("p50 {:.1}, p99 {:.1} ms", median(&of(0)), median(&of(1))),
        details: String::new(),
        bound: format!("≤ {}, {} ms", bounds[0], bounds[1]),
        shares: rounds.iter().map(share).collect(),
        notes: vec![format!("the generator itself looked up to {late:.1} ms late (p99)")],
        noise: None,
    })
}

/// p50 and p99 of the latency, and p99 of the generator's own lateness, which is in both.
fn percentiles(suite: &Suite, window_ms: u64) -> io::Result<[f64; 3]> {
    let server = suite.corecast(Duration::from_millis(window_ms))?;
    let publish = Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE };
    let _publisher = suite.load.publish(&publish)?;
    let report = suite.load.play(&Play {
        url: By::HttpFlv.url(&server),
        streams: 1,
        viewers: VIEWERS,
        ramp: 500.0,
        settle: suite.seconds(4),
        duration: suite.seconds(15),
        inspect_percent: 10.0,
        pid: Some(server.process.pid()),
    })?;
    let latency = report.inspected.and_then(|inspected| inspected.latency_ms);
    let at = |q| latency.as_ref().and_then(|latency| latency.value_at(q));
    let late = report.cost.own_lateness_ms.value_at(0.99).unwrap_or_default();
    match (at(0.5), at(0.99)) {
        (Some(p50), Some(p99)) => Ok([p50, p99, late]),
        _ => Err(io::Error::other("expected latencies in the report, found none")),
    }
}
