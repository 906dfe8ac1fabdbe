//! Many small streams: publishers with one viewer each.

use std::io;

use super::ratio::By;
use crate::figure::{Figure, median};
use crate::load::{Play, Publish};
use crate::suite::{Suite, WINDOW};

const PUBLISHERS: usize = 500;
const BITRATE: u64 = 500_000;
const ROUNDS: usize = 2;
const CPU_PERCENT: f64 = 60.0;
/// One merge window of 350 ms, and 20 ms.
const P99_MS: f64 = 370.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = format!("{PUBLISHERS} publishers × 500 kbit/s, a viewer each");
    let (mut cpu, mut p99, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=suite.rounds(ROUNDS) {
        let found = suite.quietly(&what, || measure(suite))?;
        eprintln!("  {what}, round {round}: {:.1} %, p99 {:.1} ms", found.cpu, found.p99_ms);
        cpu.push(found.cpu);
        p99.push(found.p99_ms);
        notes.extend(found.note);
    }
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

struct Found {
    cpu: f64,
    p99_ms: f64,
    note: Option<String>,
}

fn measure(suite: &Suite) -> io::Result<Found> {
    let server = suite.corecast(WINDOW)?;
    let url = server.publish.clone();
    let publish = Publish { url, streams: PUBLISHERS, bitrate: BITRATE };
    let publishers = suite.load.publish(&publish)?;
    let report = suite.load.play(&Play {
        url: By::HttpFlv.url(&server),
        streams: PUBLISHERS,
        viewers: PUBLISHERS,
        ramp: 250.0,
        settle: suite.seconds(4),
        duration: suite.seconds(15),
        inspect_percent: 10.0,
        pid: Some(server.process.pid()),
    })?;
    publishers.must_run()?;
    let latency = report.inspected.and_then(|inspected| inspected.latency_ms);
    let p99_ms = latency.and_then(|latency| latency.value_at(0.99));
    match (report.cost.cpu_percent, p99_ms) {
        (Some(cpu), Some(p99_ms)) => Ok(Found {
            cpu,
            p99_ms,
            note: report.cost.generator_was_the_limit.then(|| {
                let own = report.cost.own_cpu_percent;
                format!("the generator was the limit ({own:.0} % of its core)")
            }),
        }),
        _ => Err(io::Error::other("expected CPU and latencies in the report, found none")),
    }
}
