//! Where a run's results go, the same for every subcommand that has any.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::thresholds::{EXIT_STATUS, Thresholds};
use super::{About, Report, html, json, table};
use crate::compare::{Comparison, saved};

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
    /// What `--json` of play, soak or compare wrote. Several runs are shown side by side, compared with the first.
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
  corecast-load report run.json --fail-if missing=0,lost=0
  corecast-load report comparison.json --html comparison.html";

impl Outputs {
    /// Whether the files can be written: to be known before the run, not after it.
    ///
    /// # Errors
    /// One cannot be, with its name.
    pub fn check(&self) -> io::Result<()> {
        check(&[&self.json, &self.html])
    }

    /// Prints the table and writes the files. The status says whether all of it was written, the
    /// run worked and no threshold was exceeded. What cannot be written costs nothing else.
    pub fn deliver(&self, report: &Report) -> ExitCode {
        print(&format!("{}\n", table::text(report)));
        let page = || html::page(&[(report.about.url.clone(), report.clone())]);
        let written = deliver(&[(&self.json, &|| json::write(report)), (&self.html, &page)]);
        let status = judge(self.fail_if.as_ref(), "", report);
        if let Some(why) = &report.failure {
            eprintln!("corecast-load: {why}");
        }
        if report.failure.is_some() || !written { ExitCode::FAILURE } else { status }
    }
}

impl Again {
    /// Reads, prints and writes.
    ///
    /// # Errors
    /// A file cannot be read or written, or is not a report.
    pub fn run(&self) -> io::Result<ExitCode> {
        if let [path] = &self.files[..]
            && let Some(comparison) = saved::read(&text_of(path)?)
        {
            return self.show(&comparison.map_err(|why| unread(path, &why))?);
        }
        let runs = self.files.iter().map(|path| read(path)).collect::<io::Result<Vec<_>>>()?;
        let mut status = ExitCode::SUCCESS;
        for (name, report) in &runs {
            let mut prefix = String::new();
            if runs.len() > 1 {
                print(&format!("== {name}\n"));
                prefix = format!("{name}: ");
            }
            let About { url, date, command, .. } = &report.about;
            print(&format!("{url}, {date}\n{command}\n\n"));
            print(&format!("{}\n\n", table::text(report)));
            let found = judge(self.fail_if.as_ref(), &prefix, report);
            if found != ExitCode::SUCCESS {
                status = found;
            }
        }
        let written = deliver(&[(&self.html, &|| html::page(&runs))]);
        Ok(if written { status } else { ExitCode::FAILURE })
    }

    fn show(&self, comparison: &Comparison) -> io::Result<ExitCode> {
        if self.fail_if.is_some() {
            let why = "--fail-if: expected runs, found a comparison (cure: leave --fail-if out)";
            return Err(io::Error::other(why));
        }
        print(&comparison.to_string());
        let written = deliver(&[(&self.html, &|| comparison.page())]);
        Ok(if written { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Says `text` on standard output. Who does not listen to the end, as `head`, must not cost the
/// files.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Whether files can be written where these paths lead. None is left behind, and none changed.
///
/// # Errors
/// One cannot be, with its name.
pub(crate) fn check(paths: &[&Option<PathBuf>]) -> io::Result<()> {
    for (at, path) in paths.iter().copied().flatten().enumerate() {
        if paths.iter().copied().flatten().take(at).any(|other| other == path) {
            let why = "expected a file for each of --json and --html, found the same for both";
            return Err(io::Error::other(format!("{}: {why}", path.display())));
        }
        let was_there = path.symlink_metadata().is_ok();
        let opened = fs::OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| named(path, &error))?;
        if !was_there {
            fs::remove_file(path).map_err(|error| named(path, &error))?;
        }
    }
    Ok(())
}

/// A path, if one was given, and what makes the text of its file.
pub(crate) type File<'a> = (&'a Option<PathBuf>, &'a dyn Fn() -> String);

/// Writes files. False if one could not be, which has been told then.
pub(crate) fn deliver(files: &[File<'_>]) -> bool {
    let mut all = true;
    for (path, text) in files {
        if let Some(path) = path
            && let Err(error) = fs::write(path, text())
        {
            eprintln!("corecast-load: {}", named(path, &error));
            all = false;
        }
    }
    all
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
    let text = text_of(path)?;
    if saved::read(&text).is_some() {
        let why = "it is a comparison, which is shown alone\n  cure: corecast-load report with this \
                   file only";
        return Err(unread(path, why));
    }
    let report = json::read(&text).map_err(|why| unread(path, &why))?;
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, report))
}

fn text_of(path: &Path) -> io::Result<String> {
    fs::read_to_string(path).map_err(|error| named(path, &error))
}

fn unread(path: &Path, why: &str) -> io::Error {
    io::Error::other(format!("{}: {why}", path.display()))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::samples::plausible;
    use super::*;
    use crate::server::Directory;

    #[test]
    fn a_file_that_cannot_be_written_costs_nothing_else() {
        let directory = Directory::new().expect("there is room");
        let page = directory.path().join("run.html");
        let nowhere = Some(directory.path().join("no/such/run.json"));
        let outputs = Outputs { json: nowhere, html: Some(page.clone()), fail_if: None };
        let error = outputs.check().expect_err("there is no such directory").to_string();
        assert!(error.contains("no/such/run.json"), "{error}");
        assert_eq!(outputs.deliver(&plausible(1)), ExitCode::FAILURE);
        assert!(page.exists(), "the other is written all the same");
        let outputs = Outputs { json: None, ..outputs };
        assert_eq!(outputs.deliver(&plausible(1)), ExitCode::SUCCESS);
        let failed = Report { failure: Some("the server ended".into()), ..plausible(1) };
        assert_eq!(outputs.deliver(&failed), ExitCode::FAILURE);
    }

    #[test]
    fn a_check_leaves_no_file_behind_and_changes_none() {
        let directory = Directory::new().expect("there is room");
        let [old, new] = ["old", "new"].map(|name| directory.path().join(name));
        fs::write(&old, "kept").expect("the directory is ours");
        check(&[&Some(old.clone()), &Some(new.clone()), &None]).expect("both can be");
        assert_eq!(fs::read_to_string(old).expect("it is there"), "kept");
        assert!(!new.exists());
        assert!(check(&[&Some(new.clone()), &Some(new)]).is_err(), "one would replace the other");
    }
}
