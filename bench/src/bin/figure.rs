//! `figure`: the server's CPU as a ratio to the floor's, in alternating rounds.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use corecast_load::floor::{self, Load};
use corecast_load::play;
use corecast_load::publish::{self, Fleet};
use corecast_load::report::Report;
use corecast_load::server::{self, Recipe};
use corecast_load::stream::{Material, Shape};
use corecast_load::units;

/// The server's CPU as a ratio to the bare cost of the same bytes to the same viewers: rounds of
/// floor, HTTP-FLV and RTMP in turn, and their medians. Prints a section for bench/RESULTS.md.
///
/// Needs a release build of the server beside it:
/// cargo build --release -p corecast -p corecast-bench
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// How many viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Bits per second of the stream.
    #[arg(long, default_value = "2M", value_parser = units::bitrate)]
    bitrate: u64,
    /// The merge window.
    #[arg(long, default_value = "350ms", value_parser = units::duration)]
    window: Duration,
    /// How long each round measures.
    #[arg(long, default_value = "15s", value_parser = units::duration)]
    duration: Duration,
    /// How many rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The server's core, and the floor's.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// The core of the publisher and the viewers.
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
    /// The server, if not the one beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Floor,
    HttpFlv,
    Rtmp,
}

impl Work {
    const ALL: [Self; 3] = [Self::Floor, Self::HttpFlv, Self::Rtmp];

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::HttpFlv => "HTTP-FLV",
            Self::Rtmp => "RTMP",
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let program = match &cli.server {
        Some(path) => path.clone(),
        None => server::beside("corecast")?,
    };
    server::pin(&[cli.load_cpu])?;
    let mut figures = Work::ALL.map(|_| Vec::new());
    for round in 1..=cli.rounds {
        for (work, figures) in Work::ALL.into_iter().zip(&mut figures) {
            let report = match work {
                Work::Floor => bare(cli)?,
                Work::HttpFlv | Work::Rtmp => corecast(cli, &program, work)?,
            };
            let cpu = report.cost.cpu_percent.expect("its process was given");
            let viewers = &report.viewers;
            let (egress, lost) = (viewers.egress_mbit_s, viewers.lost + viewers.refused);
            eprintln!(
                "round {round} {:<9} {cpu:6.2} % of a core, {egress:7.1} Mbit/s, \
                 generator {:.1} %, {lost} lost",
                work.name(),
                report.cost.own_cpu_percent,
            );
            // A server that sends less must not look cheaper for it.
            figures.push(cpu * (cli.bitrate as f64 * 1e-6 * cli.viewers as f64) / egress);
        }
    }
    print(cli, &program, &figures);
    Ok(())
}

fn bare(cli: &Cli) -> io::Result<Report> {
    let load = Load { viewers: cli.viewers, bitrate: cli.bitrate, window: cli.window };
    let at_most = cli.duration + Duration::from_secs(60);
    let (sender, address) = floor::start(&[cli.cpu], load, at_most)?;
    watch(cli, format!("http://{address}/floor"), sender.pid())
}

fn corecast(cli: &Cli, program: &std::path::Path, work: Work) -> io::Result<Report> {
    let window = format!("app_defaults.merge_window = \"{}ms\"", cli.window.as_millis());
    let server = Recipe::corecast(program, &window).start(&[cli.cpu])?;
    let sound = Some(48_000);
    let gop = Duration::from_secs(2);
    let material = Material::made_up(Shape { bitrate: cli.bitrate, fps: 25, gop, sound, seed: 1 })?;
    let url = server.publish.clone();
    let fleet = Fleet::start(&publish::Options { url, publishers: 1, material, reconnect: false })?;
    let url = server.play[work.name()].replace("{n}", "0");
    let report = watch(cli, url, server.process.pid());
    // Why the publisher failed explains why the viewers did.
    match fleet.reasons().first() {
        None => report,
        Some(why) => Err(io::Error::other(why.clone())),
    }
}

fn watch(cli: &Cli, url: String, pid: u32) -> io::Result<Report> {
    let options = play::Options {
        url,
        viewers: cli.viewers,
        settle: Duration::from_secs(4),
        duration: cli.duration,
        pid: Some(pid),
        ..play::Options::default()
    };
    play::run(&options, &mut |_| {})
}

fn print(cli: &Cli, program: &std::path::Path, figures: &[Vec<f64>; 3]) {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    };
    let version = output(&program.to_string_lossy(), &["--version"]);
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = cpus.lines().filter_map(|line| line.strip_prefix("model name")).collect::<Vec<_>>();
    let machine = names.first().map_or("unknown", |name| name.trim_start_matches(['\t', ' ', ':']));
    let (date, kernel) = (output("date", &["-u", "+%F"]), output("uname", &["-sr"]));
    println!(
        "## {} viewers of one stream of {} Mbit/s, merge window {} ms\n\n\
         {date}, {version}, {} × {machine}, {kernel}, loopback. Server on core {}, publisher and \
         viewers on core {}; {} rounds of {} s in turn.\n",
        cli.viewers,
        cli.bitrate as f64 * 1e-6,
        cli.window.as_millis(),
        names.len(),
        cli.cpu,
        cli.load_cpu,
        cli.rounds,
        cli.duration.as_secs(),
    );
    println!(
        "| | % of one core, median | rounds | ratio of medians | median of the rounds' ratios |\n\
         |---|---|---|---|---|"
    );
    let floor = &figures[0];
    for (work, figures) in Work::ALL.into_iter().zip(figures) {
        let rounds = figures.iter().map(|figure| format!("{figure:.2}")).collect::<Vec<_>>();
        let ratios = figures.iter().zip(floor).map(|(figure, floor)| figure / floor);
        println!(
            "| {} | {:.2} | {} | {:.2} | {:.2} |",
            work.name(),
            median(figures),
            rounds.join(", "),
            median(figures) / median(floor),
            median(&ratios.collect::<Vec<_>>()),
        );
    }
}

/// Of at least one figure.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
