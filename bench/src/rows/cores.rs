//! Two streams on two cores against the same two on one.
//!
//! The generator may use both cores in both cases, so that it takes as much of the caches.

use std::collections::BTreeMap;
use std::io;

use corecast_load::server::Server;
use procfs::process::Process;

use super::ratio::{By, cpu_percent};
use crate::figure::{Figure, median, range};
use crate::load::{Load, Manner, Play};
use crate::suite::{Suite, WINDOW};
use crate::whole::egress_words;

const STREAMS: usize = 2;
const VIEWERS: usize = 4000;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 5;
const BOUND: f64 = 0.95;
/// Where the comparison is made: beyond it cores wait for memory and for each other.
const BUSY_MAX_PERCENT: f64 = 35.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let viewers = if suite.quick { VIEWERS / 4 } else { VIEWERS };
    let what = format!("2 streams × {} × 2 Mbit/s, HTTP-FLV, two cores", viewers / STREAMS);
    let both = [vec![suite.core], suite.load.cores.clone()].concat();
    let (mut busiest, mut notes, mut egress) = (0.0_f64, Vec::new(), Vec::new());
    let ratios = suite.each_round(&what, ROUNDS, |round| {
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
        egress.extend([one.egress, two.egress]);
        Ok(ratio)
    })?;
    let (least, most) = range(&ratios);
    notes.push(format!(
        "rounds {least:.2} to {most:.2}; a core was {busiest:.0} % busy, generator included"
    ));
    notes.push(format!("sent {}", egress_words(egress.into_iter())));
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
    /// Of the nominal bytes, what was sent.
    egress: f64,
    generator: f64,
    /// Of the server's work, what the core did that did less.
    smaller_share: f64,
}

fn measure(suite: &Suite, cores: &[usize], both: &[usize], viewers: usize) -> io::Result<Used> {
    let server = suite.corecast_with(cores, WINDOW, "")?;
    let load = Load { cores: both.to_vec(), ..suite.load.clone() };
    let play = Play {
        url: By::HttpFlv.url(&server),
        streams: STREAMS,
        viewers,
        ramp: 2000.0,
        settle: suite.seconds(3),
        duration: suite.measured(7),
        inspect_percent: 0.0,
        bitrate: Some(BITRATE),
        pid: Some(server.process.pid()),
        manner: Manner::Segments,
    };
    let report = load.watch(&server, &play)?;
    let (cpu, egress) = cpu_percent(&report, &play)?;
    Ok(Used {
        server: cpu,
        egress,
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
