//! Whether the cost of a viewer depends on how many there are.

use std::io;

use super::ratio::{By, Compared, Work, cpu, each};
use crate::figure::{Figure, median, range};
use crate::suite::Suite;

/// Viewers, how many come per second, and how long is measured. A hundred cost some 0.3 % of a
/// core, so that one window more or less must not count, nor a key frame: 14 s are 40 windows of
/// 350 ms and 7 of the stream's groups of 2 s.
const COUNTS: [(usize, f64, u64); 3] = [(100, 200.0, 14), (1000, 1000.0, 7), (10_000, 2000.0, 7)];
const BITRATE: u64 = 250_000;
const WHAT: &str = "100, 1000, 10 000 × 250 kbit/s";
const ROUNDS: usize = 4;
/// Largest ratio to smallest, less one.
const BOUND: f64 = 0.1;

/// Two rows: with what the stream itself costs, which does not grow with its viewers and so weighs
/// more on few, and without it.
pub(super) fn rows(suite: &Suite) -> io::Result<Vec<Figure>> {
    // All counts in each round: their ratios are compared, so they should have the same weather.
    let rounds = suite.each_round(WHAT, ROUNDS, |number| {
        let work = Work { seconds: 14, ..Work::new(1, BITRATE, 350) };
        let alone = suite.quietly("one viewer", || work.server(suite, By::HttpFlv))?;
        eprintln!("  one viewer, round {number}: {:.3} %", alone.cpu);
        let mut pairs = Vec::new();
        for (viewers, ramp, seconds) in COUNTS {
            let work = Work { ramp, seconds, ..Work::new(viewers, BITRATE, 350) };
            pairs.extend(work.round(suite, &[By::HttpFlv], number)?);
        }
        Ok((alone, pairs))
    })?;
    let alone = rounds.iter().map(|(alone, _)| *alone).collect::<Vec<_>>();
    let compared = (0..COUNTS.len()).map(|at| {
        let (floor, server) = rounds.iter().map(|(_, pairs)| pairs[at]).unzip();
        Compared { by: By::HttpFlv, floor, server }
    });
    let compared = compared.collect::<Vec<_>>();
    let percents = alone.iter().map(|round| round.cpu).collect::<Vec<_>>();
    let with = compared.iter().map(Compared::ratios).collect::<Vec<_>>();
    let beyond = compared.iter().map(|it| it.ratios_beyond(&percents)).collect::<Vec<_>>();
    let stream = format!("with one viewer it costs {} % of a core", each(&percents));
    let mut notes = vec![];
    for ((viewers, ..), compared) in COUNTS.iter().zip(&compared) {
        notes.push(format!("at {viewers}: {}", compared.notes().join(", ")));
    }
    Ok(vec![
        figure("", &with, &compared, notes),
        figure(", beyond the stream itself", &beyond, &compared, vec![stream]),
    ])
}

/// Of the ratios of all rounds, at each count. The medians are compared: the extremes of a round
/// differ by chance, and the more so the more counts there are.
fn figure(what: &str, ratios: &[Vec<f64>], of: &[Compared], mut notes: Vec<String>) -> Figure {
    let medians = ratios.iter().map(|ratios| median(ratios)).collect::<Vec<_>>();
    let (least, most) = range(&medians);
    let words = |all: Vec<String>| all.join(", ");
    let percents =
        of.iter().map(|of| format!("{:.2} against {:.2}", cpu(&of.server), cpu(&of.floor)));
    let rounds = COUNTS.iter().zip(ratios);
    let rounds = rounds.map(|((viewers, ..), ratios)| format!("at {viewers} {}", each(ratios)));
    notes.insert(0, format!("ratios of the rounds {}", words(rounds.collect())));
    Figure {
        what: format!("{WHAT}{what}"),
        measured: format!(
            "{} × floor",
            words(medians.iter().map(|it| format!("{it:.2}")).collect())
        ),
        details: format!("{} % of a core", words(percents.collect())),
        bound: format!("within {:.0} %", BOUND * 100.0),
        shares: vec![(most / least - 1.0) / BOUND],
        notes,
        noise: None,
    }
}
