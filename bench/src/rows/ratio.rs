//! Rows that are ratios: the server's CPU to that of the floor, which sends the same bytes to as
//! many viewers, in turn.

use std::io;
use std::time::Duration;

use corecast_load::floor;
use corecast_load::report::Report;
use corecast_load::server::Server;

use crate::figure::{Figure, median, range};
use crate::load::{Play, Publish};
use crate::suite::Suite;

/// How a stream is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// HTTP-FLV.
    HttpFlv,
    /// RTMP.
    Rtmp,
    /// FLV over WebSocket.
    WsFlv,
}

impl By {
    /// As in tables, and as servers name their URLs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpFlv => "HTTP-FLV",
            Self::Rtmp => "RTMP",
            Self::WsFlv => "WS-FLV",
        }
    }

    /// Where `server` gives its streams.
    pub(crate) fn url(self, server: &Server) -> String {
        server.play[self.name()].clone()
    }
}

/// One stream to many viewers.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub(crate) viewers: usize,
    pub(crate) bitrate: u64,
    pub(crate) window: Duration,
    /// Nothing is merged: the floor writes as often as the server was seen to.
    pub(crate) each_frame: bool,
    /// Viewers that come per second.
    pub(crate) ramp: f64,
    pub(crate) inspect_percent: f64,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
}

impl Work {
    pub(crate) fn new(viewers: usize, bitrate: u64, window_ms: u64) -> Self {
        let window = Duration::from_millis(window_ms);
        Self {
            viewers,
            bitrate,
            window,
            each_frame: window.is_zero(),
            ramp: 500.0,
            inspect_percent: 0.0,
            rounds: 3,
            seconds: 12,
        }
    }

    fn title(&self) -> String {
        let (viewers, window) = (self.viewers, self.window.as_millis());
        format!("{viewers} × {}, window {window} ms", bits(self.bitrate))
    }

    fn play(&self, suite: &Suite, url: String, pid: u32, inspect_percent: f64) -> Play {
        Play {
            url,
            streams: 1,
            viewers: self.viewers,
            ramp: self.ramp,
            settle: suite.seconds(4),
            duration: suite.seconds(self.seconds),
            inspect_percent,
            pid: Some(pid),
        }
    }

    /// The floor's CPU. `writes` a second to each viewer, if not one per window.
    fn floor(&self, suite: &Suite, writes: Option<f64>) -> io::Result<Round> {
        let Self { viewers, bitrate, window, .. } = *self;
        let load = floor::Load { viewers, bitrate, window };
        let load = writes.map_or(load, |per_second| load.with_writes(per_second));
        let (process, address) = floor::start(&[suite.core], load, FLOOR_AT_MOST)?;
        // Its bytes are no stream: there is nothing to inspect.
        let play = self.play(suite, format!("http://{address}/floor"), process.pid(), 0.0);
        self.round(&suite.load.play(&play)?)
    }

    /// The server's CPU.
    pub(crate) fn server(&self, suite: &Suite, by: By) -> io::Result<Round> {
        self.watch(suite, by, &suite.corecast(self.window)?)
    }

    /// The CPU of any server.
    pub(crate) fn watch(&self, suite: &Suite, by: By, server: &Server) -> io::Result<Round> {
        let publish = Publish { url: server.publish.clone(), streams: 1, bitrate: self.bitrate };
        let publisher = suite.load.publish(&publish)?;
        let (url, pid) = (by.url(server), server.process.pid());
        let report = suite.load.play(&self.play(suite, url, pid, self.inspect_percent))?;
        publisher.must_run()?;
        self.round(&report)
    }

    fn round(&self, report: &Report) -> io::Result<Round> {
        let cpu = report.cost.cpu_percent.ok_or_else(|| {
            io::Error::other("expected the CPU of a process in the report, found none")
        })?;
        // Who sends less must not look cheaper for it, nor dearer who adds headers.
        let nominal = self.bitrate as f64 * 1e-6 * self.viewers as f64;
        let inspected = report.inspected.as_ref();
        let arrivals = inspected.map(|inspected| {
            let gaps = inspected.frame_gap_ms.count() as f64;
            gaps / inspected.viewers as f64 / report.about.window_s
        });
        Ok(Round {
            arrivals,
            cpu: cpu * nominal / report.viewers.egress_mbit_s,
            lost: report.viewers.lost + report.viewers.refused,
            inspected: inspected.map_or(0, |inspected| inspected.viewers),
            missing: inspected.map_or(0, |inspected| inspected.missing + inspected.damaged),
            generator: report.cost.own_cpu_percent,
            generator_was_the_limit: report.cost.generator_was_the_limit,
        })
    }
}

/// No round takes longer.
const FLOOR_AT_MOST: Duration = Duration::from_secs(300);

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Per cent of a core, for exactly the nominal bytes.
    pub(crate) cpu: f64,
    /// Times a second that frames came to a viewer, by those that looked: what one write brought
    /// counts as one.
    arrivals: Option<f64>,
    lost: usize,
    inspected: usize,
    missing: u64,
    generator: f64,
    generator_was_the_limit: bool,
}

/// All rounds of one work, watched in some way.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) by: By,
    pub(crate) floor: Vec<Round>,
    pub(crate) server: Vec<Round>,
}

impl Compared {
    /// Of each round, server to floor.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        self.server.iter().zip(&self.floor).map(|(server, floor)| server.cpu / floor.cpu).collect()
    }

    /// Missing frames and lost viewers, if any, and whatever else weakens the figure.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let rounds = || self.server.iter().chain(&self.floor);
        let lost = rounds().map(|round| round.lost).sum::<usize>();
        if lost > 0 {
            notes.push(format!("**{lost} viewers lost or refused**"));
        }
        let missing = self.server.iter().map(|round| round.missing).sum::<u64>();
        if missing > 0 {
            notes.push(format!("**{missing} frames missing or damaged**"));
        }
        let limited = rounds().filter(|round| round.generator_was_the_limit).count();
        if limited > 0 {
            let most = rounds().map(|round| round.generator).fold(0.0, f64::max);
            notes.push(format!(
                "the generator was the limit in {limited} of {} measurements (at most {most:.0} % \
                 of its core)",
                rounds().count()
            ));
        }
        notes
    }
}

/// Rounds of floor and server in turn.
pub(crate) fn compare(suite: &Suite, work: &Work, by: &[By]) -> io::Result<Vec<Compared>> {
    let title = work.title();
    let mut all = by
        .iter()
        .map(|by| Compared { by: *by, floor: Vec::new(), server: Vec::new() })
        .collect::<Vec<_>>();
    for round in 1..=suite.rounds(work.rounds) {
        let floor = |writes| {
            let floor = suite.quietly(&title, || work.floor(suite, writes))?;
            eprintln!("  {title}, round {round}: floor {:.2} %", floor.cpu);
            Ok::<_, io::Error>(floor)
        };
        let shared = if work.each_frame { None } else { Some(floor(None)?) };
        for compared in &mut all {
            let by = compared.by;
            let server = suite.quietly(&title, || work.server(suite, by))?;
            let floor = match shared {
                Some(floor) => floor,
                None => floor(Some(server.writes()?))?,
            };
            eprintln!(
                "  {title}, round {round}: {} {:.2} %, {:.2} × floor, generator {:.0} %",
                by.name(),
                server.cpu,
                server.cpu / floor.cpu,
                server.generator,
            );
            compared.floor.push(floor);
            compared.server.push(server);
        }
    }
    Ok(all)
}

impl Round {
    /// Writes a second to each viewer, as far as viewers can tell.
    fn writes(&self) -> io::Result<f64> {
        self.arrivals.filter(|rate| *rate > 0.0).ok_or_else(|| {
            io::Error::other("expected viewers that looked when frames came, found none")
        })
    }
}

/// A row for each way to watch: at most `bound` times the floor.
pub(crate) fn rows(suite: &Suite, work: &Work, by: &[By], bound: f64) -> io::Result<Vec<Figure>> {
    let figure = |compared: &Compared| {
        let ratios = compared.ratios();
        let cpu = |rounds: &[Round]| median(&rounds.iter().map(|it| it.cpu).collect::<Vec<_>>());
        let mut details = format!(
            "{:.2} % against {:.2} % of a core",
            cpu(&compared.server),
            cpu(&compared.floor)
        );
        if work.each_frame {
            let writes = compared.server.iter().filter_map(|round| round.arrivals);
            let writes = median(&writes.collect::<Vec<_>>());
            details += &format!(", {writes:.0} writes a second to each viewer");
        }
        let mut measured = format!("{:.2} × floor", median(&ratios));
        let mut bound_in_words = format!("≤ {bound} × floor");
        let mut shares = ratios.iter().map(|ratio| ratio / bound).collect::<Vec<_>>();
        if work.inspect_percent > 0.0 {
            let missing = compared.server.iter().map(|round| round.missing).sum::<u64>();
            let looked = compared.server.iter().map(|round| round.inspected).sum::<usize>();
            measured += &format!(", {missing} missing");
            details += &format!(", {looked} viewers looked");
            bound_in_words += ", 0 missing";
            if missing > 0 || looked == 0 {
                shares = vec![f64::INFINITY];
            }
        }
        let (least, most) = range(&ratios);
        let mut notes = vec![format!("ratios of the rounds {least:.2} to {most:.2}")];
        notes.extend(compared.notes());
        Figure {
            what: format!("{}, {}", work.title(), compared.by.name()),
            measured,
            details,
            bound: bound_in_words,
            shares,
            notes,
            noise: None,
        }
    };
    Ok(compare(suite, work, by)?.iter().map(figure).collect())
}

/// `"2 Mbit/s"`, `"250 kbit/s"`.
pub(crate) fn bits(per_second: u64) -> String {
    match per_second {
        whole if whole.is_multiple_of(1_000_000) => format!("{} Mbit/s", whole / 1_000_000),
        other => format!("{} kbit/s", other / 1000),
    }
}
