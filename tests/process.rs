//! The binary as a process: how it ends, and what it does when descriptors run out.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corecast::proto::rtmp::Goal;
use node::{PATIENCE, connect, eventually, free_port};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use talk::Peer;
use web::{Watcher, Web};

/// The binary, running. Dropped, it is killed.
struct Binary {
    child: Child,
    rtmp: u16,
    http: u16,
    dir: PathBuf,
}

impl Binary {
    /// Starts it with at most `open_files` descriptors.
    fn start(open_files: u32, lines: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("process-{}-{number}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&dir).expect("a scratch directory");
        let (rtmp, http) = (free_port(), free_port());
        let config = format!(
            "rtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\nadmin.enabled = false\n\
             app_defaults.merge_window = 0\napp_defaults.probe_timeout = '20ms'\n{lines}\n"
        );
        std::fs::write(dir.join("corecast.toml"), config).expect("room for it");
        let log = std::fs::File::create(dir.join("log")).expect("room for it");
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &open_files.to_string()])
            .args([env!("CARGO_BIN_EXE_corecast"), "run", "--config", "corecast.toml"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stderr(log);
        let child = command.spawn().expect("the binary was built");
        let mut this = Self { child, rtmp, http, dir };
        eventually("it listens", || {
            let end = this.child.try_wait().expect("our child");
            assert!(end.is_none(), "it ended: {}", this.log());
            [rtmp, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        this
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).expect("it is there")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Open descriptors.
    fn open_files(&self) -> usize {
        let dir = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(dir).expect("it runs").count()
    }

    /// Processor time used so far, in ticks of 10 ms.
    fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.expect("it runs");
        let fields = stat.rsplit(") ").next().expect("the name is in brackets").split(' ');
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }

    /// Fails if more than a tenth of one core is used while nothing is to be done.
    #[track_caller]
    fn expect_no_spin(&self) {
        let before = self.cpu_ticks();
        thread::sleep(Duration::from_secs(2));
        let used = self.cpu_ticks() - before;
        assert!(used < 20, "{used} ticks of 10 ms in 2 s");
    }

    fn terminate(&mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).expect("it runs");
        let mut end = None;
        eventually("it ends", || {
            end = self.child.try_wait().expect("our child");
            end.is_some()
        });
        assert!(!self.log().contains("panicked"), "{}", self.log());
        end.expect("ended")
    }
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
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A stream that is on, and viewers of it.
struct Stream {
    publisher: Peer,
    viewers: Vec<Watcher>,
    seen: i64,
}

impl Stream {
    fn start(binary: &Binary, viewers: usize) -> Self {
        let mut publisher = Peer::publish(binary.rtmp, "live/first");
        publisher.push(1);
        let watch = |_| {
            let mut watcher = Watcher::new(binary.http, "live/first.flv");
            watcher.expect_frames(None, 0);
            watcher
        };
        Self { publisher, viewers: (0..viewers).map(watch).collect(), seen: 0 }
    }

    /// More frames, and all of them arrive at all viewers.
    #[track_caller]
    fn go_on(&mut self) {
        self.publisher.push(10);
        let last = self.publisher.next() - 1;
        for viewer in &mut self.viewers {
            viewer.expect_frames(Some(self.seen + 1), last);
        }
        self.seen = last;
    }
}

const GET: &str = "GET /live/first.flv HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn sigterm_ends_it_in_order_with_viewers_attached() {
    let mut binary = Binary::start(1000, "cores = 2");
    let mut stream = Stream::start(&binary, 10);
    stream.go_on();
    let mut player = Peer::play(binary.rtmp, "live/first");
    player.start();
    let _waiting = Peer::play(binary.rtmp, "live/nobody");
    let mut waiting = Web::new(binary.http);
    waiting.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let told = Instant::now();
    let status = binary.terminate();
    assert_eq!(status.code(), Some(0), "{}", binary.log());
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    assert!(binary.log().contains("SIGTERM"));
    for viewer in &mut stream.viewers {
        viewer.web.expect_closed();
    }
}

#[test]
fn a_flood_is_refused_and_the_first_viewers_lose_nothing() {
    let mut binary = Binary::start(200, "cores = 2\nlimits.log_violations_per_second = 5");
    let mut stream = Stream::start(&binary, 8);
    let mut flood = Vec::new();
    for _ in 0..40 {
        for _ in 0..10 {
            let mut web = Web::new(binary.http);
            web.send(GET);
            flood.push(web);
        }
        stream.go_on();
    }
    eventually("some are refused", || binary.log().contains("refused: expected at most"));
    // Those of RTMP, who would be told why if they said anything, do not touch the reserve.
    let _silent: Vec<_> = (0..80).map(|_| connect(binary.rtmp)).collect();
    stream.go_on();
    // Each one was told, or let in: it has an answer.
    let (mut served, mut refused) = (0, 0);
    for web in &mut flood {
        match web.head().0 {
            200 => served += 1,
            503 => refused += 1,
            other => panic!("expected 200 or 503, found {other}"),
        }
    }
    assert!(served > 0 && refused > 200, "{served} served, {refused} refused");
    binary.expect_no_spin();
    assert!(binary.open_files() < 200 - 32, "{} descriptors, some in reserve", binary.open_files());
    stream.go_on();
    drop(flood);
    eventually("newcomers are served again", || {
        let mut web = Web::new(binary.http);
        web.send(GET);
        web.head().0 == 200
    });
    stream.go_on();
    assert_eq!(binary.terminate().code(), Some(0));
}

#[test]
fn without_descriptors_accepting_pauses_and_does_not_spin() {
    let mut binary = Binary::start(1000, "cores = 2");
    let mut stream = Stream::start(&binary, 8);
    // The limit is lowered from outside, below what the program reckons with.
    let pid = Some(binary.pid());
    let limit = |current: u64| {
        let limit = Rlimit { current: Some(current), maximum: Some(1000) };
        prlimit(pid, Resource::Nofile, limit).expect("our child")
    };
    limit(binary.open_files() as u64 + 4);
    let mut flood: Vec<Web> = Vec::new();
    for _ in 0..30 {
        let mut web = Web::on(connect(binary.http));
        web.send(GET);
        flood.push(web);
        stream.go_on();
    }
    eventually("it says so", || binary.log().contains("accepting pauses"));
    binary.expect_no_spin();
    stream.go_on();
    assert!(binary.log().matches("accepting pauses").count() < 100, "the lines are limited");
    // The listeners are alive: those who wait are served when there is room, and newcomers.
    limit(1000);
    let (mut served, begun) = (0, Instant::now());
    for web in &mut flood {
        // One that could not move to its owner was refused.
        let status = web.head().0;
        assert!(matches!(status, 200 | 503), "{status}");
        served += i32::from(status == 200);
    }
    assert!(served >= 20, "{served} of 30");
    assert!(begun.elapsed() < PATIENCE);
    for _ in 0..8 {
        let mut newcomer = Watcher::new(binary.http, "live/first.flv");
        stream.go_on();
        newcomer.expect_frames(None, stream.seen);
    }
    Peer::new(binary.rtmp, Goal::Publish, "live/second").start();
    assert_eq!(binary.terminate().code(), Some(0));
}

/// As most systems start it: no privilege, and a limit of locked memory that a huge page per ring
/// would exceed. Other processes of the same user count, so the user is one that nobody else is.
#[test]
fn a_user_without_privileges_needs_no_more_locked_memory_than_usual() {
    if !rustix::process::geteuid().is_root() {
        // Then every other test of this file shows it.
        return;
    }
    let dir = std::env::temp_dir().join(format!("corecast-unprivileged-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let binary = dir.join("corecast");
    std::fs::copy(env!("CARGO_BIN_EXE_corecast"), &binary).expect("room for it");
    let (rtmp, http) = (free_port(), free_port());
    let config = format!(
        "cores = 2\nrtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\nadmin.enabled = false\n"
    );
    std::fs::write(dir.join("corecast.toml"), config).expect("room for it");
    let user = (100_000 + std::process::id()).to_string();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -l 8192 && exec setpriv \"$@\"", "sh", "--clear-groups"])
        .args([format!("--reuid={user}"), format!("--regid={user}")])
        .args(["--bounding-set=-all", "./corecast", "--config", "corecast.toml"])
        .current_dir(&dir)
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell");
    eventually("it listens", || {
        let end = child.try_wait().expect("our child");
        assert!(end.is_none(), "it ended: {end:?}");
        [rtmp, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
    });
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("our child").code(), Some(0));
    std::fs::remove_dir_all(&dir).expect("ours");
}

#[test]
fn an_idle_node_tells_its_figures_once() {
    let binary =
        Binary::start(1000, "log.stats_interval = '1s'\napp_defaults.publisher_grace = '100ms'");
    let told = || binary.log().matches("node stats").count();
    let mut publisher = Peer::publish(binary.rtmp, "live/figures");
    publisher.push(1);
    let line = |binary: &Binary| {
        let log = binary.log();
        let line = log.lines().rfind(|line| line.contains("node stats"));
        line.map(str::to_owned)
    };
    let on = || line(&binary).is_some_and(|line| line.contains("streams=1"));
    publisher.go_on_until("a stream is told of", on);
    drop(publisher);
    eventually("nothing is left", || line(&binary).is_some_and(|line| line.contains("streams=0")));
    // One that still has bytes of before, and one that has not.
    let before = told();
    thread::sleep(Duration::from_millis(4500));
    assert!(told() <= before + 1, "{}", binary.log());
}
