//! The rows of the table, by the names they are asked for.

mod cores;
mod flat;
mod foreign;
mod hls;
mod idle;
mod join;
mod latency;
mod memory;
mod publishers;
mod ratio;
mod tls;

use std::io;

use ratio::{By, Work};

use crate::figure::Figure;
use crate::suite::Suite;

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Row {
    /// 1000 viewers of 2 Mbit/s by HTTP-FLV.
    HttpFlv,
    /// The same by RTMP.
    Rtmp,
    /// The same by HTTP-TS.
    Ts,
    /// The same by HTTP in fragmented MP4.
    #[value(name = "fmp4")]
    Fmp4,
    /// HTTP-FLV and RTMP at a merge window of 100 ms.
    #[value(name = "window-100ms")]
    Window100ms,
    /// Both with each frame by itself.
    #[value(name = "window-0")]
    Window0,
    /// 5000 viewers of 500 kbit/s.
    #[value(name = "5000")]
    FiveThousand,
    /// 19 000 viewers of 250 kbit/s on one core.
    #[value(name = "19000")]
    NineteenThousand,
    /// Whether the ratio stays the same from 100 to 10 000 viewers.
    Flat,
    /// User memory of one more viewer.
    Memory,
    /// 1000 viewers at once.
    Join,
    /// 500 publishers with a viewer each.
    Publishers,
    /// Two streams on two cores, and on one.
    TwoCores,
    /// Connections that do nothing, and none.
    Idle,
    /// From publisher to viewer.
    Latency,
    /// nginx-rtmp beside it.
    Nginx,
    /// TLS beside none: CPU, and user memory of one more viewer.
    Tls,
    /// 2000 viewers of HLS, and nginx beside it with the same segments.
    Hls,
    /// 1000 viewers of low-latency HLS: CPU, requests, and how soon a blocking reload is answered.
    LlHls,
    /// Requests for part and playlist that one core answers.
    HlsRequests,
    /// Memory with HLS on, beyond that without.
    HlsMemory,
}

/// Measures `rows`, each once, in their own order, and hands over each figure when it is there.
/// A row that fails is a figure without a value. Stopped, it hands over what the row in hand has
/// brought, if that is a figure, and returns.
pub fn measure(suite: &Suite, rows: &[Row], mut on_figure: impl FnMut(Figure)) {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let mut at_350ms = rows.clone();
    at_350ms.retain(|row| matches!(row, Row::HttpFlv | Row::Rtmp));
    for row in rows {
        // The two share the rounds of the floor.
        let together = match row {
            Row::HttpFlv | Row::Rtmp => std::mem::take(&mut at_350ms),
            row => vec![row],
        };
        if together.is_empty() {
            continue;
        }
        let mut figures = measure_one(suite, &together).unwrap_or_else(|error| {
            eprintln!("  {together:?}: {error}");
            vec![Figure::failed(&names(&together), &error)]
        });
        if suite.is_stopped() {
            figures.retain(|figure| !figure.shares.is_empty());
        }
        let (noise, failed, unfinished) =
            (suite.noise(), suite.failed.take(), suite.unfinished.take());
        for mut figure in figures {
            figure.noise.clone_from(&noise);
            // One that has no value says why itself.
            if !figure.shares.is_empty() {
                figure.notes.extend(notes(&figure.what, &failed, &unfinished));
            }
            on_figure(figure);
        }
        if suite.is_stopped() {
            return;
        }
    }
}

/// What a reader of figure `what` should know of its rounds.
fn notes(what: &str, failed: &[[String; 2]], unfinished: &[String]) -> Vec<String> {
    let failed = failed.iter().filter(|[begin, _]| what.starts_with(begin));
    let failed = failed.map(|[_, why]| format!("**a round failed**: {why}"));
    let unfinished = unfinished.iter().any(|begin| what.starts_with(begin));
    let stopped = unfinished.then(|| "**stopped before all rounds were done**".to_owned());
    failed.chain(stopped).collect()
}

fn measure_one(suite: &Suite, rows: &[Row]) -> io::Result<Vec<Figure>> {
    const BOTH: [By; 2] = [By::HttpFlv, By::Rtmp];
    match rows[0] {
        Row::HttpFlv | Row::Rtmp => {
            let work = Work { rounds: 9, ..Work::new(1000, 2_000_000, 350) };
            let by = |row: &Row| if *row == Row::Rtmp { By::Rtmp } else { By::HttpFlv };
            ratio::rows(suite, &work, &rows.iter().map(by).collect::<Vec<_>>(), 1.15)
        }
        Row::Ts => {
            let work = Work { rounds: 9, inspect_percent: 2.0, ..Work::new(1000, 2_000_000, 350) };
            ratio::rows(suite, &work, &[By::HttpTs], 1.2)
        }
        Row::Fmp4 => {
            let work = Work { rounds: 9, inspect_percent: 2.0, ..Work::new(1000, 2_000_000, 350) };
            ratio::rows(suite, &work, &[By::HttpMp4], 1.2)
        }
        Row::Window100ms => ratio::rows(suite, &Work::new(1000, 2_000_000, 100), &BOTH, 1.2),
        Row::Window0 => {
            // Who looks tells how often the server writes.
            let work = Work { inspect_percent: 2.0, ..Work::new(1000, 2_000_000, 0) };
            ratio::rows(suite, &work, &BOTH, 1.2)
        }
        Row::FiveThousand => {
            let work = Work { ramp: 2000.0, ..Work::new(5000, 500_000, 350) };
            ratio::rows(suite, &work, &[By::HttpFlv], 1.2)
        }
        Row::NineteenThousand => {
            let work = Work {
                ramp: 2000.0,
                inspect_percent: 0.2,
                rounds: 3,
                ..Work::new(19_000, 250_000, 350)
            };
            ratio::rows(suite, &work, &[By::HttpFlv], 1.2)
        }
        Row::Flat => flat::rows(suite),
        Row::Memory => memory::rows(suite),
        Row::Join => join::rows(suite),
        Row::Publishers => publishers::rows(suite),
        Row::TwoCores => cores::rows(suite),
        Row::Idle => idle::rows(suite),
        Row::Latency => latency::rows(suite),
        Row::Nginx => foreign::rows(suite),
        Row::Tls => tls::rows(suite),
        Row::Hls => hls::beside_nginx(suite),
        Row::LlHls => hls::low_latency(suite),
        Row::HlsRequests => hls::requests(suite),
        Row::HlsMemory => hls::memory(suite),
    }
}

fn names(rows: &[Row]) -> String {
    use clap::ValueEnum;
    let name = |row: &Row| row.to_possible_value().map(|value| value.get_name().to_owned());
    rows.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_stopped_says_so() {
        let failed = [["one viewer".to_owned(), "no port".to_owned()]];
        let unfinished = ["1000 viewers, RTMP".to_owned()];
        let of = |what| notes(what, &failed, &unfinished);
        assert!(of("1000 viewers, HTTP-FLV").is_empty());
        assert_eq!(of("1000 viewers, RTMP"), ["**stopped before all rounds were done**"]);
        assert_eq!(of("one viewer, RTMP"), ["**a round failed**: no port"]);
    }
}
