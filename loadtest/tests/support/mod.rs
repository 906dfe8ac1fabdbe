//! A real server for tests of the load generator: built if need be, on free loopback ports, ended
//! by its own process id.

// Each test program uses a part.
#![allow(dead_code)]

#[path = "../../../tests/support/child.rs"]
pub(crate) mod child;
#[path = "../../../tests/support/machine.rs"]
pub(crate) mod machine;
#[path = "../../../tests/support/nginx.rs"]
pub(crate) mod nginx;
#[path = "../../../tests/support/secure.rs"]
pub(crate) mod secure;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;

pub(crate) use child::Child;
use corecast_load::server::pin;
pub(crate) use machine::{RunDir, eventually, free_port, secs};

/// A running corecast. Killed when dropped.
pub(crate) struct Corecast {
    pub(crate) child: Child,
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    pub(crate) dir: RunDir,
}

impl Corecast {
    /// Starts it with `lines` added to its configuration, and waits until both ports accept.
    pub(crate) fn start(lines: &str) -> Self {
        Self::on(free_port(), free_port(), lines)
    }

    /// The same on given ports.
    pub(crate) fn on(rtmp: u16, http: u16, lines: &str) -> Self {
        Self::by(&mut Command::new(binary()), rtmp, http, lines)
    }

    /// On `core` alone, with at most `open_files` if that is given.
    pub(crate) fn confined(core: usize, open_files: Option<u32>, lines: &str) -> Self {
        let mut command = match open_files {
            None => Command::new(binary()),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()]);
                shell.arg(binary());
                shell
            }
        };
        // It inherits its core from the thread that starts it.
        let start = || {
            pin(&[core]).expect("one of those allowed");
            Self::by(&mut command, free_port(), free_port(), lines)
        };
        thread::scope(|scope| scope.spawn(start).join()).expect("it starts")
    }

    fn by(command: &mut Command, rtmp: u16, http: u16, lines: &str) -> Self {
        let dir = RunDir::new("corecast");
        let config = format!(
            "cores = 1\nrtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\nadmin.enabled = false\n{lines}\n"
        );
        let path = dir.file("corecast.toml");
        std::fs::write(&path, config).expect("the run directory is ours");
        command.args(["run", "--config"]).arg(&path).env("NO_COLOR", "1");
        let mut child = Child::start(command, &dir.file("log"));
        let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let up =
            eventually(secs(60), || child.ended().is_some() || (accepts(rtmp) && accepts(http)));
        assert!(up && child.ended().is_none(), "it does not start:\n{}", child.log_tail());
        Self { child, rtmp, http, dir }
    }

    pub(crate) fn rtmp(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{key}", self.rtmp)
    }

    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http)
    }
}

/// The server's binary, built like this test: cargo offers a package the programs of its own only.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a running program has a file");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/NAME");
        let release = profile.file_name().is_some_and(|name| name == "release");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package=corecast", "--bin=corecast"]);
        cargo.args(release.then_some("--release")).arg("--target-dir");
        cargo.arg(profile.parent().expect("target/PROFILE"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().expect("cargo runs this test").success(), "it does not build");
        profile.join("corecast")
    })
}

/// Standard output of a program that must succeed; what it complains of is returned too.
#[track_caller]
pub(crate) fn output(program: &str, arguments: &[&str]) -> (String, String) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} does not start ({error}); tests/install.sh installs what tests need")
    });
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{err}", output.status);
    (out, err)
}
