//! User memory of one more viewer: how much more a server holds with many than with few.

use std::io;

use corecast_load::server::Server;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::{Manner, Play};
use crate::suite::{Suite, WINDOW};

const BITRATE: u64 = 250_000;
const BOUND_BYTES: f64 = 2048.0;
/// It depends on nobody else, and is a mean of thousands.
const ROUNDS: usize = 1;
const RAMP: f64 = 2000.0;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let row = |by: By| {
        let what = format!("user memory per further viewer, {}", by.name());
        row(suite, &what, by).unwrap_or_else(|error| Figure::failed(&what, &error))
    };
    Ok([By::HttpFlv, By::WsFlv, By::Rtmp].into_iter().map(row).collect())
}

fn row(suite: &Suite, what: &str, by: By) -> io::Result<Figure> {
    let (few, many) = few_and_many(suite);
    let per_viewer = suite.each_round(what, ROUNDS, |round| {
        let each = bytes_each(suite, by, RAMP, || suite.corecast(WINDOW))?;
        eprintln!("  {what}, round {round}: {each:.0} bytes");
        Ok(each)
    })?;
    let (least, most) = range(&per_viewer);
    Ok(Figure {
        what: what.to_owned(),
        measured: format!("{:.0} bytes", median(&per_viewer)),
        details: String::new(),
        bound: "≤ 2 KB".to_owned(),
        shares: per_viewer.iter().map(|bytes| bytes / BOUND_BYTES).collect(),
        notes: vec![format!(
            "from {few} to {many} viewers of 250 kbit/s; rounds {least:.0} to {most:.0}"
        )],
        noise: None,
    })
}

/// Viewers between which memory is compared.
pub(super) fn few_and_many(suite: &Suite) -> (usize, usize) {
    if suite.quick { (100, 600) } else { (1000, 9000) }
}

/// Bytes of one more viewer of a server that `start` starts. `ramp`: viewers that come per second.
pub(super) fn bytes_each(
    suite: &Suite,
    by: By,
    ramp: f64,
    start: impl Fn() -> io::Result<Server>,
) -> io::Result<f64> {
    let (few, many) = few_and_many(suite);
    let least = rss_bytes(suite, by, ramp, few, &start()?)?;
    let most = rss_bytes(suite, by, ramp, many, &start()?)?;
    Ok((most - least) / (many - few) as f64)
}

fn rss_bytes(suite: &Suite, by: By, ramp: f64, viewers: usize, server: &Server) -> io::Result<f64> {
    let play = Play {
        url: by.url(server),
        streams: 1,
        viewers,
        ramp,
        settle: suite.seconds(6),
        duration: suite.seconds(4),
        inspect_percent: 0.0,
        bitrate: Some(BITRATE),
        pid: Some(server.process.pid()),
        manner: Manner::Segments,
    };
    let report = suite.load.watch(server, &play)?;
    report.cost.rss_bytes.map(|bytes| bytes as f64).ok_or_else(|| {
        io::Error::other("expected the memory of a process in the report, found none")
    })
}
