//! User memory of one more viewer: how much more a server holds with many than with few.

use std::io;

use super::ratio::By;
use crate::figure::{Figure, median, range};
use crate::load::Play;
use crate::suite::{Suite, WINDOW};

const BITRATE: u64 = 250_000;
const BOUND_BYTES: f64 = 2048.0;
/// It depends on nobody else, and is a mean of thousands.
const ROUNDS: usize = 1;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let row = |by: By| {
        let what = format!("user memory per further viewer, {}", by.name());
        row(suite, &what, by).unwrap_or_else(|error| Figure::failed(&what, &error))
    };
    Ok([By::HttpFlv, By::WsFlv, By::Rtmp].into_iter().map(row).collect())
}

fn row(suite: &Suite, what: &str, by: By) -> io::Result<Figure> {
    let (few, many) = if suite.quick { (100, 600) } else { (1000, 9000) };
    let per_viewer = suite.each_round(what, ROUNDS, |round| {
        let (least, most) = (rss_bytes(suite, by, few)?, rss_bytes(suite, by, many)?);
        let each = (most - least) / (many - few) as f64;
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

fn rss_bytes(suite: &Suite, by: By, viewers: usize) -> io::Result<f64> {
    let server = suite.corecast(WINDOW)?;
    let play = Play {
        url: by.url(&server),
        streams: 1,
        viewers,
        ramp: 2000.0,
        settle: suite.seconds(6),
        duration: suite.seconds(4),
        inspect_percent: 0.0,
        bitrate: Some(BITRATE),
        pid: Some(server.process.pid()),
    };
    let report = suite.load.watch(&server, &play)?;
    report.cost.rss_bytes.map(|bytes| bytes as f64).ok_or_else(|| {
        io::Error::other("expected the memory of a process in the report, found none")
    })
}
