//! Two streams on two cores against the same two on one.
//!
//! The generator may use both cores in both cases, so that it takes as much of the caches.

use std::io;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Load, Play, Publish};
use crate::suite::{Suite, WINDOW};

const STREAMS: usize = 2;
const VIEWERS: usize = 1000;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 3;
const BOUND: f64 = 0.95;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = "2 streams × 500 viewers × 2 Mbit/s on two cores".to_owned();
    let both = [vec![suite.core], suite.load.cores.clone()].concat();
    let (mut ratios, mut busiest) = (Vec::new(), 0.0_f64);
    for round in 1..=suite.rounds(ROUNDS) {
        let one = suite.quietly(&what, || measure(suite, &[suite.core], &both))?;
        let two = suite.quietly(&what, || measure(suite, &both, &both))?;
        let ratio = one.server / two.server;
        eprintln!(
            "  {what}, round {round}: {:.2} % on one, {:.2} % on two, {ratio:.2} × as many viewers",
            one.server, two.server
        );
        busiest = busiest.max((two.server + two.generator) / both.len() as f64);
        ratios.push(ratio);
    }
    let (least, most) = range(&ratios);
    Ok(vec![Figure {
        what,
        measured: format!("{:.2} × the viewers per CPU second of one core", median(&ratios)),
        bound: format!("(at least) {BOUND} ×"),
        shares: ratios.iter().map(|ratio| BOUND / ratio).collect(),
        notes: vec![format!(
            "rounds {least:.2} to {most:.2}; each core {busiest:.0} % busy on the average, \
             generator included"
        )],
    }])
}

/// Per cent of one core.
struct Cpu {
    server: f64,
    generator: f64,
}

fn measure(suite: &Suite, cores: &[usize], both: &[usize]) -> io::Result<Cpu> {
    let server = suite.corecast_with(cores, WINDOW, "")?;
    let load = Load { cores: both.to_vec(), ..suite.load.clone() };
    let publish = Publish { url: server.publish.clone(), streams: STREAMS, bitrate: BITRATE };
    let _publishers = load.publish(&publish)?;
    let report = load.play(&Play {
        url: By::HttpFlv.url(&server),
        streams: STREAMS,
        viewers: VIEWERS,
        ramp: 500.0,
        settle: suite.seconds(4),
        duration: suite.seconds(15),
        inspect_percent: 0.0,
        pid: Some(server.process.pid()),
    })?;
    let nominal = BITRATE as f64 * 1e-6 * VIEWERS as f64;
    let server = report.cost.cpu_percent.ok_or_else(|| {
        io::Error::other("expected the CPU of a process in the report, found none")
    })?;
    Ok(Cpu {
        server: server * nominal / report.viewers.egress_mbit_s,
        generator: report.cost.own_cpu_percent,
    })
}
