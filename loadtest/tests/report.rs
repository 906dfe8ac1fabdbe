//! Saved runs and the exit status, by the program itself.

#![allow(missing_docs)]

mod support;

use std::process::{Command, Output};

use corecast_load::compare::{Comparison, Row, saved as comparisons};
use corecast_load::report::{About, Cost, Report, Viewers, json};
use support::RunDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_corecast-load");

fn report(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).arg("report").args(arguments).output().expect("it was built")
}

fn saved(dir: &RunDir, name: &str, percent: f64) -> String {
    let path = dir.file(name);
    let report = Report {
        about: About {
            window_s: 30.0,
            url: "http://h/x.flv".to_owned(),
            date: "2026-11-21T08:15:00Z".to_owned(),
            command: "corecast-load play --url http://h/x.flv".to_owned(),
            ..About::default()
        },
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
    let alone = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.contains("4.00 % of one core"));
    let about = "http://h/x.flv, 2026-11-21T08:15:00Z\ncorecast-load play --url http://h/x.flv\n";
    assert!(alone.starts_with(about), "{alone}");
}

#[test]
fn a_saved_comparison_is_shown_again_alone() {
    let dir = RunDir::new("comparison");
    let [file, page] = ["all.json", "all.html"].map(|name| dir.file(name).display().to_string());
    let mut row = Row::default();
    (row.server, row.median_percent) = ("one".to_owned(), Some(4.5));
    let comparison = Comparison { rows: vec![row], ..Comparison::default() };
    std::fs::write(&file, comparisons::write(&comparison)).expect("the run directory is ours");
    let shown = report(&[&file, "--html", &page]);
    assert_eq!(shown.status.code(), Some(0), "{}", String::from_utf8_lossy(&shown.stderr));
    assert_eq!(String::from_utf8_lossy(&shown.stdout), comparison.to_string());
    assert!(std::fs::read_to_string(page).expect("it was written").contains(">4.50<"));
    let run = saved(&dir, "run.json", 4.5);
    for arguments in [[&run, &file], [&file, &run]] {
        let mixed = report(&arguments.map(String::as_str));
        assert_eq!(mixed.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&mixed.stderr).contains("all.json: it is a comparison"));
    }
}
