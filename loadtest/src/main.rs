//! `corecast-load`: publishers and viewers of any live media server, and what they cost it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use corecast_load::report::outputs;
use corecast_load::{compare, floor, play, procs, publish};

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
    /// Watch streams many times by HTTP-FLV, WS-FLV or RTMP, and measure the server.
    Play(Box<play::Args>),
    /// Give the same load to several servers in turn, and say what each costs.
    Compare(compare::Args),
    /// Show saved runs (--json) again, one alone or several side by side.
    Report(outputs::Again),
    /// Send to viewers as the barest server could: what all others are measured by.
    Floor(floor::Args),
    /// The viewers of one process of --procs.
    #[command(name = procs::COMMAND, hide = true)]
    Part {
        /// What to do, as JSON.
        part: String,
    },
}

const EXAMPLES: &str = "\
A measurement takes two shells, the server's own and one more:
  corecast
  corecast-load play --publish rtmp://127.0.0.1/live/x --url http://127.0.0.1:8080/live/x.flv \\
    --viewers 1000 --inspect 2% --pid $(pidof corecast)

or three, when the stream is to be published from elsewhere:
  corecast-load publish --url rtmp://127.0.0.1/live/x
  corecast-load play --url rtmp://127.0.0.1/live/x --viewers 1000 --pid $(pidof corecast)

Give the server and the generator cores of their own (taskset -c), or they take each other's
cache and time. `corecast-load play --help` has more examples.";

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            let failed = error.print().is_err() || error.use_stderr();
            // Not clap's 2, which says that a threshold was exceeded.
            return if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let result = match command {
        Command::Publish(arguments) => publish::run(&arguments).map(done),
        Command::Play(arguments) => play::run_command(&arguments),
        Command::Compare(arguments) => compare::run_command(&arguments).map(done),
        Command::Floor(arguments) => floor::run(&arguments).map(done),
        Command::Report(arguments) => arguments.run(),
        Command::Part { part } => procs::serve(&part).map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("corecast-load: {error}");
        ExitCode::FAILURE
    })
}
