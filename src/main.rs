//! Corecast, the binary: reads the command line and the configuration, and runs the library.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand};
use corecast::app::sign::Sign;
use corecast::app::{self, Options, files};
use corecast::config::{Config, ConfigError};
use corecast::control::reload;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A live media router: publishers push a stream in by one protocol, any number of viewers pull
/// it out by any other.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Source,
}

#[derive(Subcommand)]
enum Command {
    /// Run the router (what `corecast` alone does).
    Run(Source),
    /// Say what is wrong with the configuration and the files it names, or print the effective one.
    Check(Source),
    /// Make the query of a signed URL, for apps with a sign_secret.
    Sign(Sign),
    /// Run the router, and publish a built-in clip in a loop to try players with, until Ctrl-C.
    Demo(Source),
}

/// Where the configuration comes from.
#[derive(Args, Clone)]
struct Source {
    /// The configuration, a TOML file. Without one, the defaults run.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  corecast demo                       watch at once: ffplay http://127.0.0.1:8080/live/demo.flv
  corecast                            run with the defaults: RTMP on 1935, HTTP on 8080
  corecast --config corecast.toml     run with a configuration
  corecast check                      print every key with its default
  CORECAST_RTMP__CHUNK_SIZE=4096 CORECAST_APP_DEFAULTS__MERGE_WINDOW=100ms corecast
                                      override keys by the environment; __ stands for a dot

Publish:  ffmpeg -re -i clip.mp4 -c copy -f flv rtmp://127.0.0.1/live/NAME
Watch:    rtmp://127.0.0.1/live/NAME, http://127.0.0.1:8080/live/NAME.flv, .ts or .mp4, ws:// likewise;
          http://127.0.0.1:8080/live/NAME.m3u8 for HLS

Exit codes: 0 stopped as told, 1 failed while running, 2 not started (configuration or host).";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => run(&cli.run, Options::default()),
        Some(Command::Run(source)) => run(&source, Options::default()),
        Some(Command::Demo(source)) => run(&source, Options { demo: true, ..Options::default() }),
        Some(Command::Check(source)) => check(&source),
        Some(Command::Sign(what)) => sign(&what),
    }
}

fn run(source: &Source, options: Options) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let again = source.clone();
    let read = move || match again.read() {
        Ok(config) => Ok(config),
        Err(Unread::File(error)) => Err(vec![error]),
        Err(Unread::Config(error)) => Err(error.problems.iter().map(ToString::to_string).collect()),
    };
    let source = source.config.is_some().then(|| reload::Source::new(read));
    match app::run(&config, Options { source, ..options }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(
            error @ (app::Error::Start(_)
            | app::Error::Launch(_)
            | app::Error::Bind { .. }
            | app::Error::LogFile { .. }
            | app::Error::Token(_)
            | app::Error::Tls(_)
            | app::Error::Authorities(_)),
        ) => {
            eprintln!("corecast: cannot start:\n{error}");
            NOT_STARTED.into()
        }
        Err(error) => {
            eprintln!("corecast: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(source: &Source) -> ExitCode {
    let config = match source.load() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match files::check(&config) {
        Ok(()) => {
            print!("{}", config.to_toml());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("corecast: it could not do its work with this:\n{}", problems.join("\n"));
            NOT_STARTED.into()
        }
    }
}

fn sign(what: &Sign) -> ExitCode {
    let source = what.config().map(|path| Source { config: Some(path.clone()) });
    let config = match source.map(|source| source.load()).transpose() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match what.run(config.as_ref(), SystemTime::now()) {
        Ok(signed) => {
            println!("{signed}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("corecast: {error}");
            NOT_STARTED.into()
        }
    }
}

const NOT_STARTED: u8 = 2;

/// Why there is no configuration.
enum Unread {
    /// The file was not read.
    File(String),
    /// What it says is wrong.
    Config(ConfigError),
}

impl Source {
    /// Reads it, or says why not.
    fn load(&self) -> Result<Config, ExitCode> {
        self.read().map_err(|error| {
            match error {
                Unread::File(error) => eprintln!("corecast: {error}"),
                Unread::Config(error) => {
                    eprintln!("corecast: the configuration is wrong:\n{error}");
                }
            }
            NOT_STARTED.into()
        })
    }

    fn read(&self) -> Result<Config, Unread> {
        let path = self.config.as_deref().unwrap_or(Path::new(""));
        let text = match &self.config {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let path = path.display();
                Unread::File(format!("cannot read the configuration {path}: {error}"))
            })?,
        };
        let env = std::env::vars_os().map(|(name, value)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        });
        Config::load(&text, &path.to_string_lossy(), env).map_err(Unread::Config)
    }
}
