//! Saved runs and the exit status, by the program itself.

#![allow(missing_docs)]

mod support;

use std::process::{Command, Output};

use corecast_load::report::{About, Cost, Report, Viewers, json};
use support::RunDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_corecast-load");

fn report(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("report").args(arguments).output().expect("it was built")
}

fn saved(dir: &RunDir, name: &str, percent: f64) -> String {
    let path = dir.file(name);
    let report = Report {
        about: About { window_s: 30.0, ..About::default() },
        cost: Cost { cpu_percent_per_1000: Some(percent), ..Cost::default() },
        viewers: Viewers { wanted: 1000, joined: 1000, watching: 1000.0, ..Viewers::default() },
        ..Report::default()
    };
    std::fs::write(&path, json::write(&report)).expect("the run directory is ours");
    path.display().to_string()
}

#[test]
fn a_threshold_is_told_by_status_2_and_an_error_by_1() {
    let dir = RunDir::new("thresholds");
    let run = saved(&dir, "run.json", 4.5);
    let status = |arguments: &[&str]| report(arguments).status.code();
    assert_eq!(status(&[&run, "--fail-if", "cpu_per_1000=6,lost=0"]), Some(0));
    let failed = report(&[&run, "--fail-if", "cpu_per_1000=4,lost=0,missing=0"]);
    assert_eq!(failed.status.code(), Some(2));
    let lines = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(lines.starts_with("failed: cpu_per_1000: expected at most 4, found 4.5\n"), "{lines}");
    assert!(lines.contains("missing: expected at most 0, but nobody looked"), "{lines}");
    assert_eq!(status(&[&run, "--fail-if", "cups=6"]), Some(1));
    assert_eq!(status(&["no-such-file.json"]), Some(1));
    assert_eq!(status(&["--help"]), Some(0));
}

#[test]
fn saved_runs_are_shown_again_and_side_by_side() {
    let dir = RunDir::new("again");
    let runs = [saved(&dir, "floor.json", 4.0), saved(&dir, "server.json", 6.0)];
    let page = dir.file("page.html").display().to_string();
    let shown = report(&[&runs[0], &runs[1], "--html", &page]);
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    let table = String::from_utf8_lossy(&shown.stdout);
    assert!(table.contains("floor\n") && table.contains("6.00 % of one core"), "{table}");
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains("2 runs side by side") && page.contains("6.00 %, 1.50 ×"));
    let alone = report(&[&runs[0]]);
    assert!(String::from_utf8_lossy(&alone.stdout).contains("4.00 % of one core"));
}
