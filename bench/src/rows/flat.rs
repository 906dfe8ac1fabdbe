//! Whether the cost of a viewer depends on how many there are.

use std::io;

use super::ratio::{By, Work, compare};
use crate::figure::{Figure, median, range};
use crate::suite::Suite;

/// Viewers, how many come per second, and how long is measured: few viewers cost little, so that
/// it takes longer to tell how much.
const COUNTS: [(usize, f64, u64); 3] = [(100, 200.0, 15), (1000, 500.0, 12), (10_000, 2000.0, 12)];
const BITRATE: u64 = 250_000;
/// Largest ratio to smallest, less one.
const BOUND: f64 = 0.1;

pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let mut ratios = Vec::new();
    let (mut measured, mut notes) = (Vec::new(), Vec::new());
    for (viewers, ramp, seconds) in COUNTS {
        let work = Work { ramp, seconds, ..Work::new(viewers, BITRATE, 350) };
        let compared = compare(suite, &work, &[By::HttpFlv])?;
        let of_rounds = compared[0].ratios();
        measured.push(format!("{viewers}: {:.2}", median(&of_rounds)));
        let (least, most) = range(&of_rounds);
        notes.push(format!("ratios of the rounds at {viewers} {least:.2} to {most:.2}"));
        notes.extend(compared[0].notes());
        ratios.push(median(&of_rounds));
    }
    // What the publisher costs is there with one viewer too, and does not grow with them.
    let alone = Work { seconds: 15, ..Work::new(1, BITRATE, 350) };
    let alone = suite.quietly("one viewer", || alone.server(suite, By::HttpFlv))?;
    notes.push(format!("the stream with one viewer costs {:.2} % of a core", alone.cpu));
    let (least, most) = range(&ratios);
    Ok(vec![Figure {
        what: "100, 1000, 10 000 × 250 kbit/s, HTTP-FLV".to_owned(),
        measured: format!("{} × floor", measured.join(", ")),
        bound: format!("within {:.0} % of each other", BOUND * 100.0),
        shares: vec![(most / least - 1.0) / BOUND],
        notes,
        noise: None,
    }])
}
