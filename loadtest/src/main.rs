//! `corecast-load`: publishers and viewers of any live media server, and what they cost it.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use corecast_load::{floor, play, publish, units};

/// Publishers and viewers of any live media server, and what they cost it.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish streams by RTMP, in real time.
    Publish(publish::Args),
    /// Watch one stream many times by HTTP-FLV or RTMP, and measure the server.
    Play(Play),
    /// Send to viewers as the barest server could: what all others are measured by.
    Floor(floor::Args),
}

const EXAMPLES: &str = "\
A measurement takes three shells, or two and the server's own:
  corecast
  corecast-load publish --url rtmp://127.0.0.1/live/x
  corecast-load play --url http://127.0.0.1:8080/live/x.flv --viewers 1000 --pid $(pidof corecast)

Give the server and the generator cores of their own (taskset -c), or they take each other's
cache and time. Viewers parse nothing: the kernel throws their bytes away, so this tells what a
server spends, not whether the stream is good. RTMP viewers say nothing after play has started.";

#[derive(Args)]
struct Play {
    /// What to watch: http://HOST/x.flv or rtmp://HOST/APP/NAME.
    #[arg(long)]
    url: String,
    /// How many viewers.
    #[arg(long, default_value_t = 1000)]
    viewers: usize,
    /// How many of them join per second.
    #[arg(long, default_value = "500/s", value_parser = units::rate)]
    ramp: f64,
    /// Wait after the last has joined, before the measurement.
    #[arg(long, default_value = "3s", value_parser = units::duration)]
    settle: Duration,
    /// How long to measure.
    #[arg(long, default_value = "30s", value_parser = units::duration)]
    duration: Duration,
    /// The server's process on this host: tells its CPU, nanoseconds of all threads.
    #[arg(long)]
    pid: Option<u32>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Publish(arguments) => publish::run(&arguments),
        Command::Play(arguments) => watch(arguments),
        Command::Floor(arguments) => floor::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corecast-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(arguments: Play) -> std::io::Result<()> {
    let Play { url, viewers, ramp, settle, duration, pid } = arguments;
    let report = play::run(&play::Options { url, viewers, ramp, settle, duration, pid })?;
    println!("{report}");
    Ok(())
}
