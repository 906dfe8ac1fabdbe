//! The files for containers: hadolint reads the Dockerfile, and the server runs under the seccomp
//! profile, loaded as an engine would.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::support::child::Child;
use crate::support::clips;
use crate::support::frames::Expect;
use crate::support::machine::{RunDir, beside_others, eventually, free_port, root, secs};
use crate::support::players;

const SERVER: &str = env!("CARGO_BIN_EXE_corecast");

/// The server under our profile, without some of its system calls.
fn under_profile(without: Option<&str>) -> Command {
    let mut command = Command::new(root().join(".venv/bin/python"));
    command.arg(root().join("tests/container/under_profile.py"));
    if let Some(names) = without {
        command.args(["--without", names]);
    }
    command.arg(root().join("config/seccomp.json")).arg(SERVER);
    command.env("NO_COLOR", "1");
    command
}

fn configuration(dir: &RunDir, rtmp: u16, http: u16) -> std::path::PathBuf {
    let path = dir.file("corecast.toml");
    let text = format!(
        "admin.enabled = false\nrtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\n\
         app_defaults.publisher_grace = '1s'\n"
    );
    fs::write(&path, text).expect("the run directory is ours");
    path
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let hadolint: &Path = &root().join(".venv/bin/hadolint");
    let Output { status, stdout, .. } = Command::new(hadolint)
        .arg(root().join("Dockerfile"))
        .output()
        .expect("tests/install.sh makes .venv");
    assert!(status.success() && stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
}

#[test]
fn under_the_seccomp_profile_a_stream_comes_out_as_it_went_in() {
    let _machine = beside_others();
    let dir = RunDir::new("profile");
    let (rtmp, http) = (free_port(), free_port());
    let mut command = under_profile(None);
    command.args(["run", "--config"]).arg(configuration(&dir, rtmp, http)).current_dir(dir.path());
    let mut server = Child::start(&mut command, &dir.file("server.log"));
    let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
    let up = eventually(secs(30), || accepts(rtmp) && accepts(http));
    assert!(up, "it does not start:\n{}", server.log_tail());
    let clip = clips::h264_aac();
    let url = format!("rtmp://127.0.0.1:{rtmp}/live/a");
    let flv = format!("http://127.0.0.1:{http}/live/a.flv");
    let player = players::play(clip.tool, &flv, &dir);
    eventually(secs(1), || false);
    players::publish(&clip, &url, &dir).succeed(secs(40));
    clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE);
    server.signal(Signal::TERM);
    server.succeed(secs(20));
}

#[test]
fn without_the_calls_of_io_uring_the_server_says_what_is_missing() {
    let _machine = beside_others();
    let dir = RunDir::new("profile");
    let config = configuration(&dir, free_port(), free_port());
    for name in ["io_uring_setup", "io_uring_register"] {
        let mut command = under_profile(Some(name));
        let output = command.args(["run", "--config"]).arg(&config).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("io_uring_setup, io_uring_enter and io_uring_register"), "{said}");
    }
}
