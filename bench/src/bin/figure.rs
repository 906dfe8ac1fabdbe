//! `figure`: every figure that the project promises, measured on this machine.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, ValueEnum, value_parser};
use corecast_bench::figure::{line, note, notes, table};
use corecast_bench::load::Load;
use corecast_bench::rows::{self, Row};
use corecast_bench::suite::Suite;
use corecast_bench::{machine, plot, quiet};
use corecast_load::server::beside;
use corecast_load::units;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// Every figure that the project promises, measured on this machine: rounds of floor and server in
/// turn, and their medians. Prints a section for bench/RESULTS.md.
///
/// Needs release builds beside it:
/// cargo build --release -p corecast -p corecast-load -p corecast-bench
///
/// It takes some 50 minutes, and what --repeat-for says. Let the machine do nothing else: a
/// measurement in which others use more than 5 % of a core is done again. Each figure is told as
/// soon as it is there; Ctrl-C ends with those.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Only these rows of the table.
    #[arg(long, value_delimiter = ',', value_name = "ROW,...")]
    only: Vec<Row>,
    /// Short rounds, one of each: to see that it works, not how much it costs.
    #[arg(long)]
    quick: bool,
    /// So many rounds of each row, instead of its own 1 to 9.
    #[arg(long, value_parser = value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Measures so many seconds each time, instead of 7 or 14; not for `join` and `memory`. Best are
    /// multiples of 7, which hold whole windows.
    #[arg(long, value_parser = value_parser!(u64).range(1..=120))]
    seconds: Option<u64>,
    /// The core of the server, and of the floor.
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// The core of the publishers and the viewers.
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// The server, if not the one beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// So much time at most may go into doing noisy measurements again.
    #[arg(long, default_value = "5m", value_parser = units::duration)]
    repeat_for: Duration,
    /// Also draws the figures.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        // Some row could not be measured.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("figure: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What was done otherwise than the table is meant to be.
fn shortened(cli: &Cli) -> String {
    let mut words = String::new();
    if cli.quick {
        words += " Short rounds: no figures, only a trial.";
    }
    if let Some(rounds) = cli.rounds {
        words += &format!(" Rounds of each row: {rounds}.");
    }
    if let Some(seconds) = cli.seconds {
        words += &format!(" Rounds of {seconds} s, but for join and memory.");
    }
    words
}

fn run(cli: &Cli) -> io::Result<bool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        // Whatever was started has its own process group: it is ended here, not by the terminal.
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let suite = Suite {
        server: cli.server.clone().map_or_else(|| beside("corecast"), Ok)?,
        core: cli.core,
        load: Load {
            program: beside("corecast-load")?,
            cores: vec![cli.load_core],
            stop: Arc::clone(&stop),
        },
        quick: cli.quick,
        rounds: cli.rounds.map(usize::from),
        seconds: cli.seconds,
        repeats_left: Cell::new(cli.repeat_for),
        others: RefCell::default(),
        failed: RefCell::default(),
        unfinished: RefCell::default(),
    };
    let rows = if cli.only.is_empty() { Row::value_variants() } else { &cli.only };
    let about = machine::describe(&suite.server);
    eprintln!("{about}");
    if quiet::load_average() > 1.0 {
        eprintln!("the machine is not quiet: wait until it is, or take these figures for less");
    }
    let mut figures = Vec::new();
    rows::measure(&suite, rows, |figure| {
        // All of it: if this program is killed, that is what is left.
        eprint!("{}{}", line(&figure), note(&figure).unwrap_or_default());
        figures.push(figure);
    });
    let short = shortened(cli);
    println!(
        "## Figures\n\n{about}. Loopback; server and floor on core {}, publishers and viewers on \
         core {}.{short}\n\n{}\n{}",
        cli.core,
        cli.load_core,
        table(&figures),
        notes(&figures)
    );
    if let Some(path) = &cli.plot {
        std::fs::write(path, plot::svg(&figures))?;
    }
    Ok(!suite.is_stopped() && figures.iter().all(|figure| !figure.shares.is_empty()))
}
