//! `corecast-load`: publishers and viewers of any live media server, and what they cost it.

use std::process::ExitCode;

use clap::builder::{Resettable, StyledStr};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use corecast_load::report::outputs;
use corecast_load::{compare, floor, play, procs, publish, soak};

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
    /// Watch streams many times by HTTP (FLV, TS, fMP4, HLS), WebSocket or RTMP, and measure the server.
    Play(Box<play::Args>),
    /// Publish and play for hours, and say whether the server leaks.
    Soak(Box<soak::Args>),
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
    let matches = with_braces(Cli::command()).try_get_matches();
    let command = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command,
        Err(error) => {
            let failed = error.print().is_err() || error.use_stderr();
            // Not clap's 2, which says that a threshold was exceeded.
            return if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let done = |()| ExitCode::SUCCESS;
    let result = match command {
        Command::Publish(arguments) => publish::run(&arguments).map(done),
        Command::Play(arguments) => play::run_command(&arguments),
        Command::Soak(arguments) => soak::run_command(&arguments),
        Command::Compare(arguments) => compare::run_command(&arguments),
        Command::Floor(arguments) => floor::run(&arguments).map(done),
        Command::Report(arguments) => arguments.run(),
        Command::Part { part } => procs::serve(&part).map(done),
    };
    result.unwrap_or_else(|error| {
        eprintln!("corecast-load: {error}");
        ExitCode::FAILURE
    })
}

/// Lets `{n}` stand in help: clap would begin a new line there. A sequence that styles nothing keeps
/// it from being recognised, and is not seen.
fn with_braces(command: clap::Command) -> clap::Command {
    let text = |help: Option<&StyledStr>| match help {
        Some(help) => Resettable::Value(help.to_string().replace("{n}", "{\u{1b}[0mn}").into()),
        None => Resettable::Reset,
    };
    let after = text(command.get_after_help());
    command
        .after_help(after)
        .mut_args(|arg| {
            let (short, long) = (text(arg.get_help()), text(arg.get_long_help()));
            arg.help(short).long_help(long)
        })
        .mut_subcommands(with_braces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_the_number_of_a_stream() {
        let mut command = with_braces(Cli::command());
        for name in ["play", "publish", "soak"] {
            let command = command.find_subcommand_mut(name).expect("there is one");
            let help = command.render_long_help().to_string();
            assert!(help.contains("{n} becomes"), "{help}");
        }
    }

    #[test]
    fn examples_in_help_are_commands() {
        let command = Cli::command();
        let pages = std::iter::once(&command).chain(command.get_subcommands());
        let mut count = 0;
        for page in pages.filter_map(clap::Command::get_after_help) {
            let text = page.to_string().replace("\\\n", " ").replace("$(pidof corecast)", "1");
            for line in text.lines() {
                let mut words = line.trim_end_matches(" &").split_whitespace().peekable();
                let pinned = words.next_if_eq(&"taskset").is_some();
                let mut words = words.skip(if pinned { 2 } else { 0 }).peekable();
                if words.peek() != Some(&"corecast-load") {
                    continue;
                }
                let line = words.map(|word| word.replace("$!", "1")).collect::<Vec<_>>();
                let matches = Cli::command().try_get_matches_from(&line);
                matches.and_then(|matches| Cli::from_arg_matches(&matches)).expect("an example");
                count += 1;
            }
        }
        assert!(count >= 15, "{count}");
    }

    #[test]
    fn what_cannot_have_an_effect_is_refused() {
        let parse = |line: &str| {
            let words = ["corecast-load", "play", "--url", "rtmp://h/live/x"].into_iter();
            Cli::command().try_get_matches_from(words.chain(line.split_whitespace()))
        };
        let made_up = ["--bitrate 2M", "--bitrate 2M --fps 50", "--clip x.flv"];
        for line in made_up.iter().chain(&["--fps 50", "--gop 1s", "--seed 3", "--audio none"]) {
            let error = parse(line).expect_err(line).to_string();
            assert!(error.contains("--publish") || error.contains("--bitrate"), "{line}: {error}");
        }
        parse("--bitrate 2M --fps 50 --publish rtmp://h/live/x").expect("it has an effect");
        assert!(parse("--duration 0s").expect_err("no time").to_string().contains("above 0"));
        parse("--pid 1 2 3").expect("as pidof has them");
    }

    #[test]
    fn thresholds_that_can_never_be_kept_are_found_before_the_run() {
        let options = |line: &str| {
            let words = ["corecast-load", "play", "--url", "rtmp://h/live/x"].into_iter();
            let cli = Cli::try_parse_from(words.chain(line.split_whitespace()));
            match cli.expect("known options").command {
                Command::Play(arguments) => arguments.options().map(|_| ()),
                _ => unreachable!("it is play"),
            }
        };
        for (line, cure) in [
            ("--fail-if cpu=5", "--pid"),
            ("--fail-if missing=0", "--inspect"),
            ("--fail-if latency_p99_ms=4", "--inspect"),
            ("--fail-if publish_late_p99_ms=4", "--publish"),
            ("--fail-if disagreeing=0", "--judge"),
            ("--viewers 99 --pid 1 --fail-if rss_per_viewer_kb=9", "--viewers 100"),
        ] {
            let error = options(line).expect_err(line).to_string();
            assert!(error.contains(cure), "{line}: {error}");
        }
        options("--pid 1 --inspect 1% --fail-if cpu=0,missing=0,latency_max_ms=9").expect("may be");
    }

    #[test]
    fn options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
