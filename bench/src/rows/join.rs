//! Many viewers at once: how soon each has a picture, and what those who watch already notice.
//!
//! The two are measured one after the other. Newcomers who look at all they get keep the
//! generator busy, and others would seem late because it is; so in the second part few of them
//! look.

use std::io;
use std::time::{Duration, Instant};

use corecast_load::report::Sample;
use corecast_load::server::Server;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Play, Publish};
use crate::suite::{Suite, WINDOW};

const NEWCOMERS: usize = 1000;
const OTHERS: usize = 500;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 3;
const FIRST_KEY_MS: f64 = 500.0;
const RISE_MS: f64 = 20.0;
/// The newcomers' first seconds, in which they could disturb.
const AFTER_S: f64 = 3.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = format!("{NEWCOMERS} join at once, 2 Mbit/s, HTTP-FLV");
    let (mut first_key, mut late, mut rise) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=suite.rounds(ROUNDS) {
        let (last_ms, late_ms) = suite.quietly(&what, || first_keys(suite))?;
        let others = suite.quietly(&what, || disturbance(suite))?;
        eprintln!(
            "  {what}, round {round}: first key frame after at most {last_ms:.0} ms, others' p99 \
             from {:.0} to {:.0} ms",
            others[0], others[1]
        );
        first_key.push(last_ms);
        late.push(late_ms);
        rise.push(others[1] - others[0]);
    }
    let (_, late) = range(&late);
    Ok(vec![
        Figure {
            what: format!("{what}: the last first key frame"),
            measured: format!("{:.2} s", median(&first_key) / 1000.0),
            details: String::new(),
            bound: "≤ 0.5 s".to_owned(),
            shares: first_key.iter().map(|ms| ms / FIRST_KEY_MS).collect(),
            notes: vec![format!("the generator itself looked up to {late:.0} ms late")],
            noise: None,
        },
        Figure {
            what: format!("{what}: rise of p99 of {OTHERS} others"),
            measured: format!("{:.0} ms", median(&rise)),
            details: String::new(),
            bound: "≤ 20 ms".to_owned(),
            shares: rise.iter().map(|ms| ms.max(0.0) / RISE_MS).collect(),
            notes: vec![format!("the worst second of {AFTER_S} s against the usual one")],
            noise: None,
        },
    ])
}

fn newcomers(server: &Server, inspect_percent: f64) -> Play {
    Play {
        url: By::HttpFlv.url(server),
        streams: 1,
        viewers: NEWCOMERS,
        // As fast as one thread can connect.
        ramp: 1e6,
        settle: Duration::from_secs(1),
        duration: Duration::from_secs(2),
        inspect_percent,
        pid: None,
    }
}

/// When the last newcomer had its first key frame whole, and how late the generator looked at its
/// sockets at worst.
fn first_keys(suite: &Suite) -> io::Result<(f64, f64)> {
    let server = suite.corecast(WINDOW)?;
    let publish = Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE };
    let _publisher = suite.load.publish(&publish)?;
    suite.sleep(suite.seconds(3))?;
    let report = suite.load.play(&newcomers(&server, 100.0))?;
    let late = report.cost.own_lateness_ms.value_at(1.0).unwrap_or_default();
    let first_key = report.inspected.map(|inspected| inspected.first_key_ms);
    let first_key = first_key.filter(|times| times.count() == NEWCOMERS as u64);
    let last = first_key.as_ref().and_then(|times| times.value_at(1.0));
    last.map(|last| (last, late)).ok_or_else(|| {
        let had = first_key.map_or(0, |times| times.count());
        io::Error::other(format!("expected {NEWCOMERS} first key frames, found {had}"))
    })
}

/// The others' p99 latency in a usual second, and in the worst one after the newcomers came.
fn disturbance(suite: &Suite) -> io::Result<[f64; 2]> {
    let server = suite.corecast(WINDOW)?;
    let publish = Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE };
    let _publisher = suite.load.publish(&publish)?;
    let (settle, before) = (suite.seconds(3), suite.seconds(8));
    let ramp = Duration::from_secs(1);
    let start = Instant::now();
    let others = suite.load.start(&Play {
        url: By::HttpFlv.url(&server),
        streams: 1,
        viewers: OTHERS,
        ramp: OTHERS as f64 / ramp.as_secs_f64(),
        settle,
        duration: before + Duration::from_secs(6),
        inspect_percent: 10.0,
        pid: Some(server.process.pid()),
    })?;
    suite.sleep(ramp + settle + before)?;
    // By the clock of the others' report, give or take the time a process needs to begin.
    let came_s = start.elapsed().as_secs_f64();
    suite.load.play(&newcomers(&server, 1.0))?;
    let report = others.wait()?;
    let begin = report.about.window_begin_s;
    let p99 = |from: f64, to: f64| {
        let within = move |sample: &&Sample| sample.at_s > from && sample.at_s <= to;
        let samples = report.samples.iter().filter(within);
        samples.filter_map(|sample| sample.latency_ms.map(|[_, p99, _]| p99)).collect::<Vec<_>>()
    };
    let usual = median(&p99(begin, came_s - 0.5));
    let (_, worst) = range(&p99(came_s - 0.5, came_s + AFTER_S));
    match usual.is_finite() && worst.is_finite() {
        true => Ok([usual, worst]),
        false => Err(io::Error::other("expected latencies of each second, found none")),
    }
}
