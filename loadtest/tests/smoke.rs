//! Half a minute of the program itself against the real server, with thresholds and ffmpeg beside:
//! a part of `make judges`.

#![allow(missing_docs)]

mod support;

use std::process::Command;

use support::{Child, Corecast, eventually, secs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_corecast-load");
const THRESHOLDS: &str = "missing=0,repeated=0,damaged=0,out_of_order=0,lost=0,refused=0";

/// A server and a publisher that is a program too.
fn stage() -> (Corecast, Child) {
    let server = Corecast::start("");
    let mut publish = Command::new(PROGRAM);
    publish.args(["publish", "--bitrate", "500k", "--gop", "1s", "--url", &server.rtmp("live/x")]);
    let publisher = Child::start(&mut publish, &server.dir.file("publish.log"));
    let publishes = || server.child.log().contains(" publish client=");
    assert!(eventually(secs(60), publishes), "{}", publisher.log());
    (server, publisher)
}

fn play(server: &Corecast, url: &str, arguments: &[&str]) -> Child {
    let mut play = Command::new(PROGRAM);
    play.args(["play", "--url", url, "--settle", "1s"]).args(arguments);
    Child::start(&mut play, &server.dir.file("play.log"))
}

/// The exit status, and what was printed.
#[track_caller]
fn end(mut child: Child) -> (Option<i32>, String) {
    let status = child.wait(secs(90)).expect("it ends in time");
    (status.code(), child.log())
}

#[test]
fn viewers_of_all_protocols_and_ffmpeg_beside_them_find_nothing_missing() {
    let (server, _publisher) = stage();
    let http = server.http("live/x.flv");
    let (ws, judged) = (http.replace("http", "ws"), format!("{THRESHOLDS},disagreeing=0"));
    let judge = ["--judge", "ffmpeg", "--fail-if", &judged];
    let runs = [
        (http, &judge[..]),
        (server.rtmp("live/x"), &judge[..]),
        (ws, &["--fail-if", THRESHOLDS][..]),
    ];
    let runs = runs.map(|(url, arguments)| {
        let crowd = ["--viewers", "100", "--inspect", "20%", "--duration", "25s"];
        (play(&server, &url, &[&crowd, arguments].concat()), url)
    });
    for (child, url) in runs {
        let (status, said) = end(child);
        println!("{url}:\n{said}");
        assert_eq!(status, Some(0), "{url}");
        assert!(said.contains("100 of 100 joined"), "{url}");
    }
}

#[test]
fn a_threshold_that_nothing_can_keep_is_told_by_the_exit_status() {
    let (server, _publisher) = stage();
    let thresholds = format!("{THRESHOLDS},latency_max_ms=0");
    let crowd = ["--viewers", "5", "--inspect", "100%", "--duration", "5s"];
    let arguments = [&crowd[..], &["--fail-if", &thresholds]].concat();
    let (status, said) = end(play(&server, &server.http("live/x.flv"), &arguments));
    assert_eq!(status, Some(2), "{said}");
    let failed = said.lines().filter(|line| line.starts_with("failed: ")).collect::<Vec<_>>();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].starts_with("failed: latency_max_ms: expected at most 0, "), "{failed:?}");
}
