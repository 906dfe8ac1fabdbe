//! The binary as a process, on free loopback ports, with a configuration file of its own that may
//! change while it runs.

// Each test program uses a part.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::node::{eventually, free_port, listens};

/// The binary, running. Dropped, it is killed.
pub(crate) struct Binary {
    pub(crate) child: Child,
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    /// Where the API may be served, if the configuration says so.
    pub(crate) admin: u16,
    pub(crate) dir: PathBuf,
    /// Connections that were made and closed to see that it listens.
    pub(crate) tried: usize,
}

impl Binary {
    /// Starts it with at most `open_files` descriptors, and `lines` in its configuration.
    pub(crate) fn start(open_files: u32, lines: &str) -> Self {
        Self::start_with(open_files, lines, &[])
    }

    /// The same with variables in its environment. `DIR` in their values is its directory.
    pub(crate) fn start_with(open_files: u32, lines: &str, env: &[(&str, &str)]) -> Self {
        Self::start_as("run", open_files, lines, env)
    }

    /// `corecast demo`.
    pub(crate) fn demo(lines: &str) -> Self {
        Self::start_as("demo", 1000, lines, &[])
    }

    fn start_as(what: &str, open_files: u32, lines: &str, env: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("binary-{}-{number}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).expect("a scratch directory");
        let [rtmp, http, admin] = [(); 3].map(|()| free_port());
        let log = fs::File::create(dir.join("log")).expect("room for it");
        let mut command = Command::new("sh");
        let env = env.iter().map(|(name, value)| {
            (name, value.replace("DIR", dir.to_str().expect("our names are text")))
        });
        command
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &open_files.to_string()])
            .args([env!("CARGO_BIN_EXE_corecast"), what, "--config", "corecast.toml"])
            .current_dir(&dir)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        fs::write(dir.join("corecast.toml"), config(rtmp, http, lines)).expect("room for it");
        let child = command.spawn().expect("the binary was built");
        let mut this = Self { child, rtmp, http, admin, dir, tried: 0 };
        eventually("it listens", || {
            let end = this.child.try_wait().expect("our child");
            assert!(end.is_none(), "it ended: {}", this.log());
            [rtmp, http].into_iter().all(|port| {
                let listens = listens(port);
                this.tried += usize::from(listens);
                listens
            })
        });
        this
    }

    /// Other `lines` in its configuration, which it has not read yet.
    pub(crate) fn write(&self, lines: &str) {
        let text = config(self.rtmp, self.http, lines);
        fs::write(self.dir.join("corecast.toml"), text).expect("room for it");
    }

    /// Has it read `lines`, and waits until it has said what came of them.
    #[track_caller]
    pub(crate) fn reload(&self, lines: &str) {
        let said = || {
            let ends = ["reload: applied", "reload: nothing"];
            ends.iter().map(|end| self.log().matches(end).count()).sum::<usize>()
        };
        let before = said();
        self.write(lines);
        self.signal(Signal::HUP);
        eventually("it has reloaded", || said() > before);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).expect("it is there")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Open descriptors.
    pub(crate) fn open_files(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(dir).expect("it runs").count()
    }

    /// Processor time used so far, in ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        let fields = stat.rsplit(") ").next().expect("the name is in brackets").split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Fails if more than a tenth of one core is used while nothing is to be done.
    #[track_caller]
    pub(crate) fn expect_no_spin(&self) {
        let before = self.cpu_ticks();
        thread::sleep(Duration::from_secs(2));
        let used = self.cpu_ticks() - before;
        assert!(used < 20, "{used} ticks of 10 ms in 2 s");
    }

    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits for its end, which must be one in order.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut end = None;
        eventually("it ends", || {
            end = self.child.try_wait().expect("our child");
            end.is_some()
        });
        assert!(!self.log().contains("panicked"), "{}", self.log());
        end.expect("ended")
    }
}

fn config(rtmp: u16, http: u16, lines: &str) -> String {
    let listens = |key: &str, port| match lines.contains(key) {
        true => String::new(),
        false => format!("{key} = ['127.0.0.1:{port}']\n"),
    };
    let (rtmp, http) = (listens("rtmp.listen", rtmp), listens("http.listen", http));
    let admin = if lines.contains("admin.") { "" } else { "admin.enabled = false\n" };
    format!(
        "{rtmp}{http}{admin}app_defaults.probe_timeout = '20ms'\n{}\n{lines}\n",
        if lines.contains("app_defaults.merge_window") {
            ""
        } else {
            "app_defaults.merge_window = 0"
        }
    )
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
