//! The same load against several servers, one after the other, and the floor between them.
//!
//! Everything is alternated and repeated, because a machine is not the same from minute to minute;
//! what counts are ratios of medians. A server that sends less than it was given must not look
//! cheaper for it: figures are scaled to the nominal bitrate.

mod page;
mod plan;
pub mod saved;
mod table;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};

pub use plan::{Load, Plan};

use crate::floor;
use crate::play;
use crate::publish;
use crate::report::figures::many;
use crate::report::{About, Distribution, Report, outputs};
use crate::server::{self, Server};
use crate::stream::Material;

/// What a comparison found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// Where and when.
    pub about: About,
    /// The load in a line.
    pub load: String,
    /// How it was measured, in a line.
    pub how: String,
    /// The bare cost.
    pub floor: Row,
    /// Each server by each protocol.
    pub rows: Vec<Row>,
    /// What a reader should know before he believes the figures.
    pub warnings: Vec<String>,
    /// Why it ended before its time.
    #[serde(default)]
    pub failure: Option<String>,
    /// The last run of each, the floor first; as measured, not scaled.
    #[serde(skip)]
    pub last: Vec<(String, Report)>,
}

/// One server by one protocol over all rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub server: String,
    /// How it was played.
    pub protocol: String,
    /// What the server says it is.
    pub version: Option<String>,
    /// The first row of its server.
    pub is_first_of_server: bool,
    /// CPU of each round, per cent of one core, scaled to the nominal bitrate.
    pub cpu_percent: Vec<f64>,
    /// Their median.
    pub median_percent: Option<f64>,
    /// The same per 1000 viewers.
    pub per_1000_percent: Option<f64>,
    /// Ratio of the medians.
    pub ratio_to_floor: Option<f64>,
    /// The same to the first server by the same protocol, or by its first one.
    pub ratio_to_first: Option<f64>,
    /// Growth of resident memory for each viewer, median.
    pub rss_per_viewer_bytes: Option<f64>,
    /// Received per cent of what was published for all viewers, the least of all rounds.
    pub egress_percent: Option<f64>,
    /// Frames that inspected viewers missed, in all rounds. None if none inspected a marked
    /// stream.
    pub missing: Option<u64>,
    /// Viewers refused or dropped, in all rounds.
    pub lost: usize,
    /// p50 and p99 of all rounds, from the publisher to inspected viewers.
    pub latency_ms: Option<[f64; 2]>,
    /// Why rounds failed.
    pub failures: Vec<String>,
    #[serde(skip)]
    rss: Vec<f64>,
    #[serde(skip)]
    latency: Distribution,
}

/// Measures everything in `plan`, and tells `on_line` how it goes. With `stop` set it ends soon,
/// with what there is.
///
/// # Errors
/// The load cannot be made, or the floor not be measured. A server that fails is told in its row.
pub fn run(
    plan: &Plan,
    stop: &Arc<AtomicBool>,
    on_line: &mut dyn FnMut(&str),
) -> io::Result<Comparison> {
    let load = &plan.load;
    server::pin(&load.load_cores)?;
    let material = load.material()?;
    let bitrate = material.bitrate();
    let nominal = Nominal { bitrate, viewers: load.viewers };
    let mut comparison = Comparison::begin(plan, &material);
    'rounds: for round in 1..=plan.rounds {
        let mut row = 0;
        for recipe in &plan.servers {
            let report = match measure_floor(load, bitrate, stop) {
                Ok(report) => report,
                Err(error) if comparison.floor.cpu_percent.is_empty() => return Err(error),
                // What was measured before is not lost.
                Err(error) => {
                    comparison.failure = Some(format!("the floor, in round {round}: {error}"));
                    break 'rounds;
                }
            };
            // What was cut off is no measurement.
            if stop.load(Ordering::Relaxed) {
                break 'rounds;
            }
            comparison.about = About { url: String::new(), server: None, ..report.about.clone() };
            comparison.floor.add(&report, nominal);
            on_line(&line(round, "floor", &report, nominal));
            comparison.keep("floor", report);
            for protocol in recipe.play.keys() {
                let name = format!("{} {protocol}", recipe.name);
                let cores = recipe.cores.as_ref().unwrap_or(&load.server_cores);
                let report = recipe.start(cores).and_then(|server| {
                    let report = measure(&server, protocol, load, &material, stop);
                    server.stop()?;
                    report
                });
                if stop.load(Ordering::Relaxed) {
                    break 'rounds;
                }
                match report {
                    Ok(report) => {
                        on_line(&line(round, &name, &report, nominal));
                        comparison.add_warnings(&name, &report);
                        comparison.rows[row].add(&report, nominal);
                        comparison.keep(&name, report);
                    }
                    Err(error) => {
                        on_line(&format!("round {round}  {name}: {error}"));
                        comparison.rows[row].fail(&error);
                    }
                }
                row += 1;
            }
        }
    }
    comparison.finish(load.viewers);
    Ok(comparison)
}

/// `load` against a server that runs, played by `protocol`.
///
/// # Errors
/// As [`play::run`], or the server does not play this protocol.
pub fn measure(
    server: &Server,
    protocol: &str,
    load: &Load,
    material: &Material,
    stop: &Arc<AtomicBool>,
) -> io::Result<Report> {
    let url = server.play.get(protocol).ok_or_else(|| {
        io::Error::other(format!("expected a URL to play by {protocol}, found none"))
    })?;
    let publish = publish::Options {
        url: server.publish.clone(),
        publishers: load.streams,
        material: material.clone(),
        reconnect: false,
    };
    let options = play::Options {
        url: url.clone(),
        streams: load.streams,
        inspect: load.inspect,
        pid: Some(server.process.pid()),
        publish: Some(publish),
        ..viewers(load, stop)
    };
    play::run(&options, &mut |_| {})
}

/// The floor of `load`: as many viewers of `bitrate` each.
///
/// # Errors
/// As [`play::run`] and [`floor::start`].
pub fn measure_floor(load: &Load, bitrate: u64, stop: &Arc<AtomicBool>) -> io::Result<Report> {
    let bare = floor::Load { viewers: load.viewers, bitrate, window: load.window };
    let bare = load.writes_per_second.map_or(bare, |writes| bare.with_writes(writes));
    let ramp = Duration::from_secs_f64(load.viewers as f64 / load.ramp);
    let at_most = ramp + load.settle + load.duration + Duration::from_secs(120);
    let (sender, address) = floor::start(&load.server_cores, bare, at_most)?;
    let url = format!("http://{address}/floor");
    let options = play::Options { url, pid: Some(sender.pid()), ..viewers(load, stop) };
    let report = play::run(&options, &mut |_| {});
    sender.stop()?;
    report
}

fn viewers(load: &Load, stop: &Arc<AtomicBool>) -> play::Options {
    play::Options {
        viewers: load.viewers,
        ramp: load.ramp,
        settle: load.settle,
        duration: load.duration,
        stop: Arc::clone(stop),
        ..play::Options::default()
    }
}

/// What all viewers together should receive.
#[derive(Debug, Clone, Copy)]
struct Nominal {
    bitrate: u64,
    viewers: usize,
}

impl Nominal {
    /// The share of it that was received. Protocols add about one in a hundred.
    fn share(self, report: &Report) -> Option<f64> {
        let mbit_s = self.bitrate as f64 * 1e-6 * self.viewers as f64;
        Some(report.viewers.egress_mbit_s / mbit_s).filter(|share| *share > 0.0)
    }

    /// CPU for the nominal bitrate: scaled up to it, and never down, as what is sent again to those
    /// who come back is no merit.
    fn cpu_percent(self, report: &Report) -> Option<f64> {
        Some(report.cost.cpu_percent? / self.share(report)?.min(1.0))
    }
}

/// One measurement for whoever waits.
fn line(round: usize, name: &str, report: &Report, nominal: Nominal) -> String {
    let cpu = nominal.cpu_percent(report).unwrap_or_default();
    let viewers = &report.viewers;
    format!(
        "round {round}  {name:<24} {cpu:6.2} % of a core, {:7.1} Mbit/s, generator {:.1} %, {} lost",
        viewers.egress_mbit_s,
        report.cost.own_cpu_percent,
        viewers.lost + viewers.refused,
    )
}

impl Comparison {
    fn begin(plan: &Plan, material: &Material) -> Self {
        let load = &plan.load;
        let mbit_s = material.bitrate() as f64 * 1e-6;
        let streams = match load.streams {
            1 => "one stream".to_owned(),
            streams => format!("{streams} streams"),
        };
        let mut rows = Vec::new();
        for recipe in &plan.servers {
            let version = recipe.version();
            for protocol in recipe.play.keys() {
                rows.push(Row {
                    server: recipe.name.clone(),
                    protocol: protocol.clone(),
                    version: version.clone(),
                    is_first_of_server: recipe.play.keys().next() == Some(protocol),
                    ..Row::default()
                });
            }
        }
        let writes = match load.writes_per_second {
            Some(writes) => format!("{writes} writes a second"),
            None => format!("a window of {} ms", load.window.as_millis()),
        };
        let cores = |cores: &[usize]| match cores {
            [] => "any core".to_owned(),
            cores => format!(
                "core {}",
                cores.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        Self {
            load: format!("{} viewers of {streams} of {mbit_s} Mbit/s", load.viewers),
            how: format!(
                "Servers and floor on {}, publishers and viewers on {}; {} of {} s in turn; \
                 floor with {writes}. CPU of whoever sends less than the nominal bitrate is scaled up to it.",
                cores(&load.server_cores),
                cores(&load.load_cores),
                many(plan.rounds as u64, "round", "rounds"),
                load.duration.as_secs(),
            ),
            floor: Row { server: "floor".to_owned(), ..Row::default() },
            rows,
            ..Self::default()
        }
    }

    fn add_warnings(&mut self, name: &str, report: &Report) {
        for warning in &report.warnings {
            let warning = format!("{name}: {warning}");
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    fn keep(&mut self, name: &str, report: Report) {
        match self.last.iter_mut().find(|(known, _)| known == name) {
            Some((_, last)) => *last = report,
            None => self.last.push((name.to_owned(), report)),
        }
    }

    fn finish(&mut self, viewers: usize) {
        self.floor.finish(viewers);
        let floor = self.floor.median_percent;
        self.floor.ratio_to_floor = floor.map(|_| 1.0);
        let mut firsts = Vec::new();
        for row in &mut self.rows {
            row.finish(viewers);
            row.ratio_to_floor = ratio(row.median_percent, floor);
            firsts.push((row.server.clone(), row.protocol.clone(), row.median_percent));
        }
        let Some(first) = firsts.first().map(|(server, ..)| server.clone()) else { return };
        firsts.retain(|(server, ..)| *server == first);
        for row in &mut self.rows {
            let same = firsts.iter().find(|(_, protocol, _)| *protocol == row.protocol);
            let percent = same.or(firsts.first()).and_then(|(.., percent)| *percent);
            row.ratio_to_first = ratio(row.median_percent, percent);
        }
    }
}

impl Row {
    fn add(&mut self, report: &Report, nominal: Nominal) {
        self.cpu_percent.extend(nominal.cpu_percent(report));
        let share = nominal.share(report).map(|share| share * 100.0);
        self.egress_percent = self.egress_percent.into_iter().chain(share).reduce(f64::min);
        self.rss.extend(report.cost.rss_per_viewer_bytes);
        self.lost += report.viewers.lost + report.viewers.refused;
        if let Some(inspected) = report.inspected.as_ref().filter(|found| found.marked > 0) {
            *self.missing.get_or_insert(0) += inspected.missing;
            if let Some(latency) = &inspected.latency_ms {
                self.latency.merge(latency);
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        let why = error.to_string();
        if !self.failures.contains(&why) {
            self.failures.push(why);
        }
    }

    fn finish(&mut self, viewers: usize) {
        self.median_percent = median(&self.cpu_percent);
        self.per_1000_percent = self.median_percent.map(|cpu| cpu * 1000.0 / viewers as f64);
        self.rss_per_viewer_bytes = median(&self.rss);
        let percentiles = self.latency.value_at(0.5).zip(self.latency.value_at(0.99));
        self.latency_ms = percentiles.map(|(p50, p99)| [p50, p99]);
    }
}

fn ratio(value: Option<f64>, to: Option<f64>) -> Option<f64> {
    value.zip(to).map(|(value, to)| value / to).filter(|ratio| ratio.is_finite())
}

/// The middle one, or the mean of the two. None of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (middle, is_odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
    let upper = *sorted.get(middle)?;
    Some(if is_odd { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// The options of `compare`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLE)]
pub struct Args {
    /// Which servers, and the load that each of them gets.
    #[arg(value_name = "FILE.toml")]
    pub plan: PathBuf,
    /// Only servers of these names, separated by commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub only: Vec<String>,
    /// How often everything is measured, instead of what the file says; medians are taken.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// How many viewers, instead of what the file says.
    #[arg(long)]
    pub viewers: Option<usize>,
    /// How long each measurement takes (15s), instead of what the file says.
    #[arg(long, value_parser = crate::units::some_time)]
    pub duration: Option<Duration>,
    /// Where to write everything as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where to write a page: the table, and the last run of each.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

const EXAMPLE: &str = "\
Example:
  corecast-load compare servers.toml --only one --rounds 1

A file with one server, which is compared with the floor alone (`corecast-load floor --help`):
  rounds = 3
  [load]
  viewers = 500
  bitrate = \"2M\"
  [[server]]
  name = \"one\"
  start = \"corecast run --config {config}\"
  config = \"rtmp.listen = ['127.0.0.1:{rtmp_port}']\\nhttp.listen = ['127.0.0.1:{http_port}']\"
  publish = \"rtmp://127.0.0.1:{rtmp_port}/live/x\"
  play.RTMP = \"rtmp://127.0.0.1:{rtmp_port}/live/x\"
  play.HTTP-FLV = \"http://127.0.0.1:{http_port}/live/x.flv\"
bench/compare.toml in the sources has all that can be said, and more servers. Unless the file says
others, servers run on core 0 and the load on core 1. It takes about half a minute for each round,
server and protocol.";

/// Compares, and prints a table in Markdown.
///
/// # Errors
/// As [`run`], and if a server failed in all rounds.
pub fn run_command(args: &Args) -> io::Result<ExitCode> {
    let mut plan = Plan::read(&args.plan)?;
    if !args.only.is_empty() {
        plan.servers.retain(|server| args.only.contains(&server.name));
        if plan.servers.len() < args.only.len() {
            let why =
                format!("--only: expected names of servers in the file, found {:?}", args.only);
            return Err(io::Error::other(why));
        }
    }
    plan.rounds = args.rounds.unwrap_or(plan.rounds).max(1);
    plan.load.viewers = args.viewers.unwrap_or(plan.load.viewers).max(1);
    plan.load.duration = args.duration.unwrap_or(plan.load.duration);
    outputs::check(&[&args.json, &args.html])?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let comparison = run(&plan, &stop, &mut |line| eprintln!("{line}"))?;
    outputs::print(&comparison.to_string());
    let saved = || saved::write(&comparison);
    let page = || comparison.page();
    let written = outputs::deliver(&[(&args.json, &saved), (&args.html, &page)]);
    if let Some(why) = comparison.failure {
        return Err(io::Error::other(why));
    }
    let failed = comparison.rows.iter().filter(|row| row.median_percent.is_none());
    match failed.map(|row| row.server.as_str()).collect::<Vec<_>>()[..] {
        [] if written => Ok(ExitCode::SUCCESS),
        [] => Ok(ExitCode::FAILURE),
        ref names => Err(io::Error::other(format!("not measured: {}", names.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Cost, Viewers};

    fn report(cpu_percent: f64, egress_mbit_s: f64) -> Report {
        Report {
            cost: Cost { cpu_percent: Some(cpu_percent), ..Cost::default() },
            viewers: Viewers { egress_mbit_s, lost: 1, ..Viewers::default() },
            ..Report::default()
        }
    }

    #[test]
    fn who_sends_less_does_not_look_cheaper_and_medians_are_compared() {
        let nominal = Nominal { bitrate: 2_000_000, viewers: 1000 };
        let row = |server: &str, protocol: &str, rounds: &[(f64, f64)]| {
            let mut row =
                Row { server: server.to_owned(), protocol: protocol.to_owned(), ..Row::default() };
            rounds.iter().for_each(|&(cpu, egress)| row.add(&report(cpu, egress), nominal));
            row
        };
        let mut comparison = Comparison {
            floor: row("floor", "", &[(4.0, 2000.0), (9.0, 2000.0), (5.0, 2000.0)]),
            rows: vec![
                row("a", "RTMP", &[(6.0, 2000.0), (5.0, 2000.0)]),
                row("a", "FLV", &[(5.0, 2000.0)]),
                row("b", "RTMP", &[(5.5, 1000.0)]),
                row("b", "TS", &[(11.0, 2000.0)]),
                row("b", "none", &[]),
            ],
            ..Comparison::default()
        };
        comparison.finish(1000);
        let floors = comparison.rows.iter().map(|row| row.ratio_to_floor).collect::<Vec<_>>();
        assert_eq!(floors, [Some(1.1), Some(1.0), Some(2.2), Some(2.2), None]);
        let firsts = comparison.rows.iter().map(|row| row.ratio_to_first).collect::<Vec<_>>();
        assert_eq!(firsts, [Some(1.0), Some(1.0), Some(2.0), Some(2.0), None]);
        assert_eq!(comparison.rows[2].egress_percent, Some(50.0));
        assert_eq!(comparison.rows[0].lost, 2);
        let text = comparison.to_string();
        assert!(text.contains("| a RTMP | 5.50 | 5.50 | 6.00, 5.00 | 1.10 | 1.00 |"), "{text}");
        assert!(text.contains("| b none | – | – |"), "{text}");
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
