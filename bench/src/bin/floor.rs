//! `floor`: the bare cost of live streaming on this machine.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use corecast_load::{floor, play, server, units};

/// The bare cost of live streaming on this machine: one thread, one `send` per viewer and window.
/// The viewers are those of corecast-load, in a process of their own.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// How many viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// Bits per second for each.
    #[arg(long, default_value = "2M", value_parser = units::bitrate)]
    bitrate: u64,
    /// Each gets its bytes once per window.
    #[arg(long, default_value = "350ms", value_parser = units::duration)]
    window: Duration,
    /// How long to measure.
    #[arg(long, default_value = "20s", value_parser = units::duration)]
    duration: Duration,
    /// The sender's core.
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// The viewers' core.
    #[arg(long, default_value_t = 1)]
    viewers_cpu: usize,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let load = floor::Load { viewers: cli.viewers, bitrate: cli.bitrate, window: cli.window };
    server::pin(&[cli.viewers_cpu])?;
    let at_most = cli.duration + Duration::from_secs(60);
    let (sender, address) = floor::start(&[cli.cpu], load, at_most)?;
    let options = play::Options {
        url: format!("http://{address}/floor"),
        viewers: cli.viewers,
        duration: cli.duration,
        pid: Some(sender.pid()),
        ..play::Options::default()
    };
    let report = play::run(&options, &mut |_| {})?;
    println!(
        "{:.2} % of a core for {} viewers, {:.1} Mbit/s; {} lost, viewers' own CPU {:.1} %",
        report.cost.cpu_percent.unwrap_or_default(),
        report.viewers.joined,
        report.viewers.egress_mbit_s,
        report.viewers.lost,
        report.cost.own_cpu_percent,
    );
    Ok(())
}
