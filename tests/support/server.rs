//! The server under test: started on free loopback ports with a configuration of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::child::Child;
use super::machine::{RunDir, eventually, free_port, secs};

/// What differs from test to test. Short waits by default, so that players end soon.
pub(crate) struct Setup {
    pub(crate) cores: u32,
    /// Lines of `[app_defaults]`.
    pub(crate) app: &'static str,
    /// How long viewers stay when the publisher is gone.
    pub(crate) publisher_grace: &'static str,
    /// How long viewers wait for a publisher.
    pub(crate) wait_for_publisher: &'static str,
    /// How long a publisher may send sound alone before it is taken for one that has nothing else: long,
    /// for those that a busy machine holds up.
    pub(crate) video_stall: &'static str,
    /// How long its listeners stay open when it drains, and the longest that takes in all.
    pub(crate) drain: [&'static str; 2],
    /// More of the configuration: whole tables.
    pub(crate) tables: &'static str,
    /// The limit of open files, soft and hard.
    pub(crate) open_files: Option<u32>,
    /// Whether the API is served.
    pub(crate) admin: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            cores: 1,
            app: "",
            publisher_grace: "1s",
            wait_for_publisher: "15s",
            video_stall: "20s",
            drain: ["0s", "3s"],
            tables: "",
            open_files: None,
            admin: false,
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    /// Of the API, if [`Setup::admin`] asks for it.
    pub(crate) admin: u16,
    pub(crate) dir: RunDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&Setup::default())
    }

    /// Starts it and waits until both ports accept. Tries again when a port was taken meanwhile.
    pub(crate) fn with(setup: &Setup) -> Self {
        let mut last = String::new();
        for _ in 0..3 {
            match Self::try_start(setup) {
                Ok(server) => return server,
                Err(log) => last = log,
            }
        }
        panic!("the server did not start:\n{last}");
    }

    fn try_start(setup: &Setup) -> Result<Self, String> {
        let (rtmp, http, admin) = (free_port(), free_port(), free_port());
        let dir = RunDir::new("server");
        let mut config = String::new();
        let Setup { cores, app, publisher_grace, wait_for_publisher, .. } = setup;
        let Setup { video_stall, tables, .. } = setup;
        let [delay, timeout] = setup.drain;
        let api = match setup.admin {
            true => format!("admin.listen = [\"127.0.0.1:{admin}\"]"),
            false => "admin.enabled = false".to_owned(),
        };
        write!(
            config,
            "cores = {cores}\n\
             {api}\ndrain.delay = \"{delay}\"\ndrain.timeout = \"{timeout}\"\n[rtmp]\nlisten = [\"127.0.0.1:{rtmp}\"]\n\
             [http]\nlisten = [\"127.0.0.1:{http}\"]\n\
             [app_defaults]\n\
             publisher_grace = \"{publisher_grace}\"\n\
             wait_for_publisher = \"{wait_for_publisher}\"\n\
             video_stall = \"{video_stall}\"\n\
             {app}\n{tables}\n"
        )
        .expect("a string takes it");
        let path = dir.file("corecast.toml");
        fs::write(&path, config).expect("the run directory is ours");

        let binary = env!("CARGO_BIN_EXE_corecast");
        let mut command = match setup.open_files {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string(), binary]);
                shell
            }
        };
        command.args(["run", "--config"]).arg(&path).current_dir(dir.path());
        command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1");
        let log = dir.file("server.log");
        let mut child = Child::start(&mut command, &log);
        let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
        let all = || accepts(rtmp) && accepts(http) && (!setup.admin || accepts(admin));
        let up = eventually(secs(15), || child.ended().is_some() || all());
        if !up || child.ended().is_some() {
            return Err(child.log());
        }
        Ok(Self { child, rtmp, http, admin, dir })
    }

    /// `rtmp://…/KEY`.
    pub(crate) fn rtmp(&self, key: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{key}", self.rtmp)
    }

    /// `http://…/PATH`.
    pub(crate) fn http(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http)
    }

    /// `ws://…/PATH`.
    pub(crate) fn ws(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}/{path}", self.http)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(crate) fn log(&self) -> String {
        self.child.log()
    }

    /// Waits until the log holds `text`, at most `within`.
    #[track_caller]
    pub(crate) fn expect_log(&self, text: &str, within: Duration) {
        let found = eventually(within, || self.log().contains(text));
        assert!(found, "expected {text:?} in the log of the server:\n{}", self.child.log_tail());
    }

    /// Open file descriptors.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the server runs").count()
    }

    /// Threads.
    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the server runs").count()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("a running process has VmRSS").parse().expect("a number")
    }

    /// Processor time used so far, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("the server runs");
        let fields = stat.rsplit(") ").next().expect("the name is in brackets");
        let ticks = fields.split(' ').skip(11).take(2).map(|n| n.parse::<u64>().expect("ticks"));
        ticks.sum()
    }

    /// Has it drain, and then end.
    pub(crate) fn drain(&mut self) {
        self.child.signal(Signal::TERM);
    }

    /// Checks that it ends in order after [`Self::drain`].
    #[track_caller]
    pub(crate) fn drained(mut self) {
        self.child.succeed(secs(30));
        let log = self.log();
        assert!(!log.contains("panicked at"), "something panicked:\n{}", self.child.log_tail());
    }

    /// Asks it to end and checks that it does so in order: exit code 0, nothing panicked.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        assert!(self.child.ended().is_none(), "the server ended:\n{}", self.child.log_tail());
        self.drain();
        self.drained();
    }
}
