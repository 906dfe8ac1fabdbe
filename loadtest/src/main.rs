//! `corecast-load`: publishers and viewers of any live media server, and what they cost it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use corecast::proto::rtmp::Url;
use corecast_load::publish::Publisher;
use corecast_load::stream::{Shape, Stream};
use corecast_load::{play, units};

/// Publishers and viewers of any live media server, and what they cost it.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish one stream by RTMP, in real time.
    Publish(Publish),
    /// Watch one stream many times by HTTP-FLV or RTMP, and measure the server.
    Play(Play),
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
struct Publish {
    /// Where to.
    #[arg(long, value_name = "rtmp://HOST/APP/NAME")]
    url: Url,
    /// An FLV file to send in a loop, instead of a made-up stream.
    #[arg(long, value_name = "FILE.flv", conflicts_with_all = ["bitrate", "fps", "gop"])]
    clip: Option<PathBuf>,
    /// Bits per second of the made-up stream, sound (48 kbit/s) included.
    #[arg(long, default_value = "2M", value_parser = units::bitrate)]
    bitrate: u64,
    /// Its pictures per second.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    fps: u32,
    /// From one key frame to the next.
    #[arg(long, default_value = "2s", value_parser = units::duration)]
    gop: Duration,
    /// Makes the bytes of the made-up stream.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ends after this; else when it is stopped or the server ends it.
    #[arg(long, value_parser = units::duration)]
    duration: Option<Duration>,
}

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
        Command::Publish(arguments) => publish(&arguments),
        Command::Play(arguments) => watch(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corecast-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn publish(arguments: &Publish) -> std::io::Result<()> {
    let mut stream = match &arguments.clip {
        Some(path) => Stream::clip(path)?,
        None => {
            let Publish { bitrate, fps, gop, seed, .. } = *arguments;
            Stream::synthetic(Shape { bitrate, fps, gop, seed })
        }
    };
    let publisher = Publisher::connect(&arguments.url)?;
    println!("publishing {}", stream.describe());
    let until = arguments.duration.map(|time| Instant::now() + time);
    let sent = publisher.send(&mut stream, until, &Arc::default())?;
    println!("sent {} frames, {} bytes, at most {:?} late", sent.frames, sent.bytes, sent.late);
    Ok(())
}

fn watch(arguments: Play) -> std::io::Result<()> {
    let Play { url, viewers, ramp, settle, duration, pid } = arguments;
    let report = play::run(&play::Options { url, viewers, ramp, settle, duration, pid })?;
    println!("{report}");
    Ok(())
}
