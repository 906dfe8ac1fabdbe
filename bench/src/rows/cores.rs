//! Two streams on two cores against the same two on one.
//!
//! The generator may use both cores in both cases, so that it takes as much of the caches.

use std::collections::BTreeMap;
use std::io;

use corecast_load::server::Server;
use procfs::process::Process;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Load, Play, Publish};
use crate::suite::{Suite, WINDOW};

const STREAMS: usize = 2;
const VIEWERS: usize = 4000;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 3;
const BOUND: f64 = 0.95;
/// Where the comparison is made: beyond it cores wait for memory and for each other.
const BUSY_MAX_PERCENT: f64 = 35.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let viewers = if suite.quick { VIEWERS / 4 } else { VIEWERS };
    let what = format!("2 streams × {} × 2 Mbit/s, HTTP-FLV, two cores", viewers / STREAMS);
    let both = [vec![suite.core], suite.load.cores.clone()].concat();
    let (mut ratios, mut busiest, mut notes) = (Vec::new(), 0.0_f64, Vec::new());
    for round in 1..=suite.rounds(ROUNDS) {
        let one = suite.quietly(&what, || measure(suite, &[suite.core], &both, viewers))?;
        let two = suite.quietly(&what, || measure(suite, &both, &both, viewers))?;
        let ratio = one.server / two.server;
        eprintln!(
            "  {what}, round {round}: {:.2} % on one, {:.2} % on two, {ratio:.2} × as many viewers",
            one.server, two.server
        );
        if two.smaller_share < 0.3 {
            let percent = two.smaller_share * 100.0;
            notes
                .push(format!("**in round {round} one core had only {percent:.0} % of the work**"));
        }
        busiest = busiest.max((two.server + two.generator) / both.len() as f64);
        ratios.push(ratio);
    }
    let (least, most) = range(&ratios);
    notes.push(format!(
        "rounds {least:.2} to {most:.2}; a core was {busiest:.0} % busy, generator included"
    ));
    if busiest > BUSY_MAX_PERCENT {
        notes.push(format!("**more than the {BUSY_MAX_PERCENT} % of the comparison**"));
    }
    Ok(vec![Figure {
        what,
        measured: format!("{:.2} × as many per CPU second as on one", median(&ratios)),
        details: String::new(),
        bound: format!("≥ {BOUND} ×"),
        shares: ratios.iter().map(|ratio| BOUND / ratio).collect(),
        notes,
        noise: None,
    }])
}

struct Used {
    /// Per cent of one core.
    server: f64,
    generator: f64,
    /// Of the server's work, what the core did that did less.
    smaller_share: f64,
}

fn measure(suite: &Suite, cores: &[usize], both: &[usize], viewers: usize) -> io::Result<Used> {
    let server = suite.corecast_with(cores, WINDOW, "")?;
    let load = Load { cores: both.to_vec(), ..suite.load.clone() };
    let publish = Publish { url: server.publish.clone(), streams: STREAMS, bitrate: BITRATE };
    let _publishers = load.publish(&publish)?;
    let report = load.play(&Play {
        url: By::HttpFlv.url(&server),
        streams: STREAMS,
        viewers,
        ramp: 1000.0,
        settle: suite.seconds(4),
        duration: suite.seconds(15),
        inspect_percent: 0.0,
        pid: Some(server.process.pid()),
    })?;
    let nominal = BITRATE as f64 * 1e-6 * viewers as f64;
    let cpu = report.cost.cpu_percent.ok_or_else(|| {
        io::Error::other("expected the CPU of a process in the report, found none")
    })?;
    Ok(Used {
        server: cpu * nominal / report.viewers.egress_mbit_s,
        generator: report.cost.own_cpu_percent,
        smaller_share: smaller_share(&server)?,
    })
}

/// Since its start, by the names of its threads; a core may have several.
fn smaller_share(server: &Server) -> io::Result<f64> {
    let pid = i32::try_from(server.process.pid()).expect("the kernel's own number");
    let tasks = Process::new(pid).and_then(|it| it.tasks()).map_err(io::Error::other)?;
    let mut ticks = BTreeMap::<String, u64>::new();
    for stat in tasks.flatten().filter_map(|task| task.stat().ok()) {
        if stat.comm.starts_with("core-") {
            *ticks.entry(stat.comm).or_default() += stat.utime + stat.stime;
        }
    }
    let least = ticks.values().min().copied().unwrap_or_default();
    Ok(least as f64 / ticks.values().sum::<u64>().max(1) as f64)
}
