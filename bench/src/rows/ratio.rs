//! Rows that are ratios: the server's CPU to that of the floor, which sends the same bytes to as
//! many viewers, in turn.

use std::io;
use std::time::Duration;

use corecast_load::floor;
use corecast_load::report::Report;
use corecast_load::server::Server;

use crate::figure::{Figure, median};
use crate::load::{Manner, Play};
use crate::suite::Suite;
use crate::whole::{at_nominal, egress_share, egress_words};

/// How a stream is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// HTTP-FLV.
    HttpFlv,
    /// RTMP.
    Rtmp,
    /// FLV over WebSocket.
    WsFlv,
    /// HTTP-TS.
    HttpTs,
    /// Fragmented MP4 by HTTP.
    HttpMp4,
    /// HTTP-FLV over TLS.
    HttpsFlv,
    /// RTMP over TLS.
    Rtmps,
}

impl By {
    /// As in tables, and as servers name their URLs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HttpFlv => "HTTP-FLV",
            Self::Rtmp => "RTMP",
            Self::WsFlv => "WS-FLV",
            Self::HttpTs => "HTTP-TS",
            Self::HttpMp4 => "HTTP-fMP4",
            Self::HttpsFlv => "HTTPS-FLV",
            Self::Rtmps => "RTMPS",
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
    /// How long each measurement takes. A multiple of 7, and it holds as many windows of 350 and of
    /// 100 ms of the floor as of the server, whenever it begins: 20 and 70. With 8 s one may have
    /// 22 and the other 23, which is 4 % of what is compared.
    ///
    /// Short, and more rounds: what a virtual machine's neighbours do lasts for seconds or minutes.
    /// In a long measurement it hits either floor or server, in a short round both; and what hits
    /// one spoils one ratio of many, which the median leaves out.
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
            ramp: 1000.0,
            inspect_percent: 0.0,
            rounds: 5,
            seconds: 7,
        }
    }

    pub(crate) fn title(&self) -> String {
        let (viewers, window) = (self.viewers, self.window.as_millis());
        format!("{viewers} × {}, window {window} ms", bits(self.bitrate))
    }

    fn play(&self, suite: &Suite, url: String, pid: u32, inspect_percent: f64) -> Play {
        Play {
            url,
            streams: 1,
            viewers: self.viewers,
            ramp: self.ramp,
            settle: suite.seconds(3),
            duration: suite.measured(self.seconds),
            inspect_percent,
            bitrate: Some(self.bitrate),
            pid: Some(pid),
            manner: Manner::Segments,
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
        Round::of(&suite.load.play(&play)?, &play)
    }

    /// Floor and server in turn: for each way to watch, what both used.
    pub(crate) fn round(
        &self,
        suite: &Suite,
        by: &[By],
        number: usize,
    ) -> io::Result<Vec<(Round, Round)>> {
        let title = self.title();
        let floor = |writes| {
            let floor = suite.quietly(&title, || self.floor(suite, writes))?;
            eprintln!("  {title}, round {number}: floor {:.2} %", floor.cpu);
            Ok::<_, io::Error>(floor)
        };
        let shared = if self.each_frame { None } else { Some(floor(None)?) };
        let pair = |&by: &By| {
            let server = suite.quietly(&title, || self.server(suite, by))?;
            let floor = match shared {
                Some(floor) => floor,
                None => floor(Some(server.writes()?))?,
            };
            eprintln!(
                "  {title}, round {number}: {} {:.2} %, {:.2} × floor, generator {:.0} %",
                by.name(),
                server.cpu,
                server.cpu / floor.cpu,
                server.generator,
            );
            Ok((floor, server))
        };
        by.iter().map(pair).collect()
    }

    /// The server's CPU.
    pub(crate) fn server(&self, suite: &Suite, by: By) -> io::Result<Round> {
        self.watch(suite, by, &suite.corecast(self.window)?)
    }

    /// The CPU of any server.
    pub(crate) fn watch(&self, suite: &Suite, by: By, server: &Server) -> io::Result<Round> {
        let (url, pid) = (by.url(server), server.process.pid());
        let play = self.play(suite, url, pid, self.inspect_percent);
        let report = suite.load.watch(server, &play);
        // One of two that share a round, so say which.
        let report = report.map_err(|why| io::Error::other(format!("{}: {why}", by.name())))?;
        Round::of(&report, &play)
    }
}

/// No round takes longer.
const FLOOR_AT_MOST: Duration = Duration::from_secs(300);

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Per cent of a core, for at least the nominal bytes.
    pub(crate) cpu: f64,
    /// Of the nominal bytes, what was sent.
    pub(crate) egress: f64,
    /// Times a second that frames came to a viewer, by those that looked: what one write brought
    /// counts as one.
    arrivals: Option<f64>,
    inspected: usize,
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

    /// The same for what the server used beyond `percents` of a core, one for each round.
    pub(crate) fn ratios_beyond(&self, percents: &[f64]) -> Vec<f64> {
        let rounds = self.server.iter().zip(&self.floor).zip(percents);
        rounds.map(|((server, floor), percent)| (server.cpu - percent) / floor.cpu).collect()
    }

    /// How many bytes were sent, and what weakens the figure.
    pub(crate) fn notes(&self) -> Vec<String> {
        let egress = |rounds: &[Round]| egress_words(rounds.iter().map(|round| round.egress));
        let sent = format!("sent {}, floor {}", egress(&self.server), egress(&self.floor));
        let mut notes = vec![sent];
        let rounds = || self.server.iter().chain(&self.floor);
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

/// The middle one's CPU, per cent of a core.
pub(crate) fn cpu(rounds: &[Round]) -> f64 {
    median(&rounds.iter().map(|round| round.cpu).collect::<Vec<_>>())
}

/// The server's CPU, per cent of a core, for at least the nominal bytes; and the share of them that
/// was sent.
pub(crate) fn cpu_percent(report: &Report, play: &Play) -> io::Result<(f64, f64)> {
    let egress = egress_share(report, play);
    let (cpu, egress) = report.cost.cpu_percent.zip(egress).ok_or_else(|| {
        io::Error::other("expected the CPU of a process in the report, found none")
    })?;
    Ok((at_nominal(cpu, egress), egress))
}

/// Rounds of floor and server in turn.
fn compare(suite: &Suite, work: &Work, by: &[By]) -> io::Result<Vec<Compared>> {
    let what = match by {
        [by] => format!("{}, {}", work.title(), by.name()),
        _ => work.title(),
    };
    let done = suite.each_round(&what, work.rounds, |number| work.round(suite, by, number))?;
    let compared = |(at, by): (usize, &By)| {
        let (floor, server) = done.iter().map(|pairs| pairs[at]).unzip();
        Compared { by: *by, floor, server }
    };
    Ok(by.iter().enumerate().map(compared).collect())
}

impl Round {
    fn of(report: &Report, play: &Play) -> io::Result<Self> {
        let (cpu, egress) = cpu_percent(report, play)?;
        let inspected = report.inspected.as_ref();
        let arrivals = inspected.map(|inspected| {
            let gaps = inspected.frame_gap_ms.count() as f64;
            gaps / inspected.viewers as f64 / report.about.window_s
        });
        Ok(Self {
            cpu,
            egress,
            arrivals,
            inspected: inspected.map_or(0, |inspected| inspected.viewers),
            generator: report.cost.own_cpu_percent,
            generator_was_the_limit: report.cost.generator_was_the_limit,
        })
    }

    /// Writes a second to each viewer, as far as viewers can tell.
    fn writes(&self) -> io::Result<f64> {
        self.arrivals.filter(|rate| *rate > 0.0).ok_or_else(|| {
            io::Error::other("expected viewers that looked when frames came, found none")
        })
    }
}

/// A row for each way to watch: at most `bound` times the floor.
pub(crate) fn rows(suite: &Suite, work: &Work, by: &[By], bound: f64) -> io::Result<Vec<Figure>> {
    let compared = match compare(suite, work, by) {
        // They share the floor's rounds; by itself one of them may go well.
        Err(_) if by.len() > 1 && !suite.is_stopped() => {
            let each = by.iter().map(|by| {
                let what = format!("{}, {}", work.title(), by.name());
                let rows = rows(suite, work, &[*by], bound);
                rows.unwrap_or_else(|error| vec![Figure::failed(&what, &error)])
            });
            return Ok(each.flatten().collect());
        }
        compared => compared?,
    };
    let broken = |by: By| suite.failed.borrow().iter().any(|[_, why]| why.starts_with(by.name()));
    let figure = |compared: &Compared| {
        let ratios = compared.ratios();
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
        let mut shares = ratios.iter().map(|ratio| ratio / bound).collect();
        if work.inspect_percent > 0.0 {
            // A round with any missing has failed, and no other makes up for it.
            let looked = compared.server.iter().map(|round| round.inspected).sum::<usize>();
            if broken(compared.by) {
                measured += ", not whole in each round";
                shares = vec![f64::INFINITY];
            } else {
                measured += ", 0 missing";
            }
            details += &format!(", {looked} viewers looked");
            bound_in_words += ", 0 missing";
        }
        let mut notes = vec![format!("ratios of {} rounds {}", ratios.len(), each(&ratios))];
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
    Ok(compared.iter().map(figure).collect())
}

/// From the smallest to the largest: `"1.02, 1.10, 1.30"`.
pub(crate) fn each(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ")
}

/// `"2 Mbit/s"`, `"250 kbit/s"`.
pub(crate) fn bits(per_second: u64) -> String {
    match per_second {
        whole if whole.is_multiple_of(1_000_000) => format!("{} Mbit/s", whole / 1_000_000),
        other => format!("{} kbit/s", other / 1000),
    }
}
