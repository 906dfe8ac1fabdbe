//! Many small streams: publishers with one viewer each.

use std::io;

use super::latency::{Looked, Watched};
use crate::figure::{Figure, median};
use crate::suite::Suite;

const PUBLISHERS: usize = 500;
/// With one viewer each.
const WATCHED: Watched =
    Watched { window_ms: 350, streams: PUBLISHERS, viewers: PUBLISHERS, bitrate: 500_000 };
const ROUNDS: usize = 2;
const CPU_PERCENT: f64 = 60.0;
/// One merge window, and 20 ms.
const P99_MS: f64 = 370.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = format!("{PUBLISHERS} publishers × 500 kbit/s, a viewer each");
    let rounds = suite.each_round(&what, ROUNDS, |round| {
        let looked = suite.quietly(&what, || WATCHED.look(suite))?;
        let Looked { cpu, p99_ms, .. } = looked;
        eprintln!("  {what}, round {round}: {cpu:.1} %, p99 {p99_ms:.1} ms");
        Ok(looked)
    })?;
    let cpu = rounds.iter().map(|round| round.cpu).collect::<Vec<_>>();
    let p99 = rounds.iter().map(|round| round.p99_ms).collect::<Vec<_>>();
    let limits = rounds.iter().filter_map(|round| round.limit);
    let notes = limits
        .map(|own| format!("the generator was the limit ({own:.0} % of its core)"))
        .collect::<Vec<_>>();
    let figure = |what: String, measured: String, bound: &str, shares: Vec<f64>| Figure {
        what,
        measured,
        details: String::new(),
        bound: bound.to_owned(),
        shares,
        notes: notes.clone(),
        noise: None,
    };
    Ok(vec![
        figure(
            what.clone(),
            format!("{:.1} % of a core", median(&cpu)),
            "≤ 60 %",
            cpu.iter().map(|percent| percent / CPU_PERCENT).collect(),
        ),
        figure(
            format!("{what}: added latency, window 350 ms"),
            format!("p99 {:.0} ms", median(&p99)),
            "≤ 370 ms",
            p99.iter().map(|ms| ms / P99_MS).collect(),
        ),
    ])
}
