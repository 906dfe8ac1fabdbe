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

/// Two rows: with what the stream itself costs, which does not grow with its viewers and so weighs
/// more on few, and without it.
pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    let alone = Work { seconds: 15, ..Work::new(1, BITRATE, 350) };
    let alone = suite.quietly("one viewer", || alone.server(suite, By::HttpFlv))?;
    let mut notes = Vec::new();
    let mut ratios = [Vec::new(), Vec::new()];
    for (viewers, ramp, seconds) in COUNTS {
        let work = Work { ramp, seconds, ..Work::new(viewers, BITRATE, 350) };
        let compared = &compare(suite, &work, &[By::HttpFlv])?[0];
        let of_rounds = compared.ratios();
        let (least, most) = range(&of_rounds);
        notes.push(format!("ratios of the rounds at {viewers} {least:.2} to {most:.2}"));
        notes.extend(compared.notes());
        let floor = median(&compared.floor.iter().map(|round| round.cpu).collect::<Vec<_>>());
        ratios[0].push(median(&of_rounds));
        ratios[1].push(median(&of_rounds) - alone.cpu / floor);
    }
    let figure = |what: &str, ratios: &[f64], notes: Vec<String>| {
        let (least, most) = range(ratios);
        let each = ratios.iter().map(|ratio| format!("{ratio:.2}"));
        Figure {
            what: format!("100, 1000, 10 000 × 250 kbit/s{what}"),
            measured: format!("{} × floor", each.collect::<Vec<_>>().join(", ")),
            details: String::new(),
            bound: format!("within {:.0} %", BOUND * 100.0),
            shares: vec![(most / least - 1.0) / BOUND],
            notes,
            noise: None,
        }
    };
    let stream = format!("with one viewer it costs {:.2} % of a core", alone.cpu);
    Ok(vec![
        figure("", &ratios[0], notes),
        figure(", beyond the stream itself", &ratios[1], vec![stream]),
    ])
}
