//! Where a run's results go, the same for every subcommand that has any.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::thresholds::{EXIT_STATUS, Thresholds};
use super::{Report, html, json, table};

/// The flags for it.
#[derive(Debug, Clone, Default, Args)]
pub struct Outputs {
    /// Write the results to a file that `corecast-load report` and other programs read.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page with plots: one file, which needs no other and no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with status 2 if a figure is above what is given for it: cpu_per_1000=6,missing=0,
    /// lost=0,latency_p99_ms=400. An unknown name is answered with all names.
    #[arg(long, value_name = "NAME=MOST,...")]
    pub fail_if: Option<Thresholds>,
}

/// Shows saved runs again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Again {
    /// What `--json` wrote. Several are shown side by side, compared with the first.
    #[arg(required = true, value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Write a page with plots: one file, which needs no other and no network.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Exit with status 2 if a figure of any file is above what is given for it: names as for `play`.
    #[arg(long, value_name = "NAME=MOST,...")]
    pub fail_if: Option<Thresholds>,
}

const EXAMPLES: &str = "\
Examples:
  corecast-load report run.json
  corecast-load report before.json after.json --html both.html
  corecast-load report run.json --fail-if missing=0,lost=0";

impl Outputs {
    /// Prints the table and writes the files. The status says whether a threshold was exceeded.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn deliver(&self, report: &Report) -> io::Result<ExitCode> {
        if let Some(path) = &self.json {
            write(path, &json::write(report))?;
        }
        if let Some(path) = &self.html {
            write(path, &html::page(&[(report.about.url.clone(), report.clone())]))?;
        }
        println!("{}", table::text(report));
        Ok(judge(self.fail_if.as_ref(), "", report))
    }
}

impl Again {
    /// Reads, prints and writes.
    ///
    /// # Errors
    /// A file cannot be read or written, or is not a report.
    pub fn run(&self) -> io::Result<ExitCode> {
        let runs = self.files.iter().map(|path| read(path)).collect::<io::Result<Vec<_>>>()?;
        if let Some(path) = &self.html {
            write(path, &html::page(&runs))?;
        }
        let mut status = ExitCode::SUCCESS;
        for (name, report) in &runs {
            let mut prefix = String::new();
            if runs.len() > 1 {
                println!("== {name}");
                prefix = format!("{name}: ");
            }
            println!("{}\n", table::text(report));
            let found = judge(self.fail_if.as_ref(), &prefix, report);
            if found != ExitCode::SUCCESS {
                status = found;
            }
        }
        Ok(status)
    }
}

fn judge(thresholds: Option<&Thresholds>, prefix: &str, report: &Report) -> ExitCode {
    let exceeded = thresholds.map(|thresholds| thresholds.exceeded(report)).unwrap_or_default();
    exceeded.iter().for_each(|line| eprintln!("failed: {prefix}{line}"));
    match exceeded.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(EXIT_STATUS),
    }
}

fn read(path: &Path) -> io::Result<(String, Report)> {
    let text = fs::read_to_string(path).map_err(|error| named(path, &error))?;
    let report = json::read(&text)
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, report))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
