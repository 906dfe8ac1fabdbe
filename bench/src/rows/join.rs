//! Many viewers at once: how soon each has a picture, and what those who watch already notice.
//!
//! The two are measured one after the other. Newcomers who look at all they get keep the
//! generator busy, and others would seem late because it is; so in the second part few of them
//! look.

use std::io;
use std::time::{Duration, Instant};

use corecast_load::report::{Report, Sample};
use corecast_load::server::Server;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Manner, Play, Publish};
use crate::suite::{Suite, WINDOW};

const NEWCOMERS: usize = 1000;
const OTHERS: usize = 500;
const BITRATE: u64 = 2_000_000;
const ROUNDS: usize = 3;
const FIRST_KEY_MS: f64 = 500.0;
const RISE_MS: f64 = 20.0;
/// From the last one's joining to the measurement.
const NEWCOMERS_SETTLE: Duration = Duration::from_secs(1);
/// The newcomers' first seconds, in which they could disturb.
const AFTER_S: f64 = 3.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = format!("{NEWCOMERS} join at once, 2 Mbit/s, HTTP-FLV");
    let rounds = suite.each_round(&what, ROUNDS, |round| {
        let (last_ms, late_ms) = suite.quietly(&what, || first_keys(suite))?;
        let others = suite.quietly(&what, || disturbance(suite))?;
        eprintln!(
            "  {what}, round {round}: first key frame after at most {last_ms:.0} ms, others' p99 \
             from {:.0} to {:.0} ms",
            others[0], others[1]
        );
        Ok([last_ms, late_ms, others[1] - others[0]])
    })?;
    let [first_key, late, rise] =
        [0, 1, 2].map(|at| rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    let (_, late) = range(&late);
    Ok(vec![
        Figure {
            what: format!("{what}: the last first key frame"),
            measured: format!("{:.2} s", median(&first_key) / 1000.0),
            details: String::new(),
            bound: "≤ 0.5 s".to_owned(),
            shares: first_key.iter().map(|ms| ms / FIRST_KEY_MS).collect(),
            notes: vec![format!(
                "at most, counted from the first connect; the generator itself looked up to \
                 {late:.0} ms late"
            )],
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
        settle: NEWCOMERS_SETTLE,
        duration: Duration::from_secs(2),
        inspect_percent,
        // They are sent the past at once.
        bitrate: None,
        pid: None,
        manner: Manner::Segments,
    }
}

/// When the last newcomer had its first key frame whole, at most, from the moment on at which the
/// first of them began to connect, which is when all were to come; and how late the generator
/// looked at its sockets at worst. In milliseconds.
fn first_keys(suite: &Suite) -> io::Result<(f64, f64)> {
    let server = suite.corecast(WINDOW)?;
    let publish =
        Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE, sound: true };
    let _publisher = suite.load.publish(&publish)?;
    suite.sleep(suite.seconds(3))?;
    let report = suite.load.play(&newcomers(&server, 100.0))?;
    let late = report.cost.own_lateness_ms.value_at(1.0).unwrap_or_default();
    Ok((last_first_key_ms(&report).map_err(io::Error::other)?, late))
}

/// The report counts each newcomer's time from that one's own connect. The last connect came no
/// later than all had joined, less the shortest way from a connect to having joined; so what is
/// answered here is too late by the time that the latest first key frame was not the last
/// connection's, and by two looks of the generator.
fn last_first_key_ms(report: &Report) -> Result<f64, String> {
    let Some(inspected) = &report.inspected else {
        return Err("expected newcomers that look at what they get, found none".to_owned());
    };
    let had = inspected.first_key_ms.count();
    if had != NEWCOMERS as u64 {
        return Err(format!("expected {NEWCOMERS} first key frames, found {had}"));
    }
    let all_in_ms = (report.about.window_begin_s - NEWCOMERS_SETTLE.as_secs_f64()) * 1000.0;
    let shortest_join_ms = inspected.join_ms.value_at(0.0).unwrap_or_default();
    let last_connect_ms = (all_in_ms - shortest_join_ms).max(0.0);
    let longest_ms = inspected.first_key_ms.value_at(1.0).expect("it has values");
    Ok(last_connect_ms + longest_ms)
}

/// The others' p99 latency in a usual second, and in the worst one after the newcomers came.
fn disturbance(suite: &Suite) -> io::Result<[f64; 2]> {
    let server = suite.corecast(WINDOW)?;
    let publish =
        Publish { url: server.publish.clone(), streams: 1, bitrate: BITRATE, sound: true };
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
        bitrate: Some(BITRATE),
        pid: Some(server.process.pid()),
        manner: Manner::Segments,
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

#[cfg(test)]
mod tests {
    use super::*;
    use corecast_load::report::{About, Inspected};

    /// Newcomers that began to connect within 200 ms, joined after 50 to 60 ms of their own, and had
    /// a key frame after at most 300 ms.
    fn report(newcomers: usize) -> Report {
        let about = About { window_begin_s: 1.25, ..About::default() };
        let mut inspected = Inspected::default();
        for number in 0..newcomers {
            let (join, key) = if number == 0 { (50, 300) } else { (60, 100) };
            inspected.join_ms.record(Duration::from_millis(join));
            inspected.first_key_ms.record(Duration::from_millis(key));
        }
        Report { about, inspected: Some(inspected), ..Report::default() }
    }

    #[test]
    fn the_last_first_key_frame_is_counted_from_the_first_connect() {
        let last = last_first_key_ms(&report(NEWCOMERS)).expect("all have one");
        assert!((last - 500.0).abs() < 2.0, "{last}");
    }

    #[test]
    fn who_had_no_key_frame_is_told_by_number() {
        let why = last_first_key_ms(&report(NEWCOMERS - 3)).expect_err("three have none");
        assert!(why.contains("found 997"), "{why}");
    }
}
