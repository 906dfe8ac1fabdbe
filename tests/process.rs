//! The binary as a process: how it ends, and what it does when descriptors run out.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use binary::Binary;
use corecast::proto::rtmp::Goal;
use node::{PATIENCE, connect, eventually, free_port};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use talk::Peer;
use web::{Watcher, Web};

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

/// A publisher says nothing while the test looks at others.
const QUIET: &str = "cores = 2\nlimits.publisher_silence = '1h'\n";
const GET: &str = "GET /live/first.flv HTTP/1.1\r\nHost: test\r\n\r\n";

#[test]
fn sigterm_ends_it_in_order_with_viewers_attached() {
    // No balancer has to notice it first; tests/drain.rs has more of how viewers leave.
    let mut binary = Binary::start(1000, "cores = 2\ndrain.delay = 0\ndrain.timeout = '1h'");
    let mut stream = Stream::start(&binary, 10);
    stream.go_on();
    let mut player = Peer::play(binary.rtmp, "live/first");
    player.start();
    let _waiting = Peer::play(binary.rtmp, "live/nobody");
    let mut waiting = Web::new(binary.http);
    waiting.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    // Nobody has to be waited for until drain.timeout, which would take longer than this is patient.
    let status = binary.terminate();
    assert_eq!(status.code(), Some(0), "{}", binary.log());
    assert!(binary.log().contains("SIGTERM"));
    for viewer in &mut stream.viewers {
        viewer.web.expect_closed();
    }
}

#[test]
fn a_flood_is_refused_and_the_first_viewers_lose_nothing() {
    let lines = format!("{QUIET}drain.delay = 0\nlimits.log_violations_per_second = 5");
    let mut binary = Binary::start(200, &lines);
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
    let lines = format!("{QUIET}drain.delay = 0\nlimits.log_violations_per_second = 5");
    let mut binary = Binary::start(1000, &lines);
    let mut stream = Stream::start(&binary, 8);
    let begun = Instant::now();
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
    let lines = binary.log().matches("accepting pauses").count() as u64;
    // Of each core five in a second, of which the first and the last are not whole.
    let most = 2 * 5 * (begun.elapsed().as_secs() + 2);
    assert!(lines <= most, "the lines are limited: {lines}, expected {most} at most");
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
    // By another process: what a thread of ours starts meanwhile would have the copy open for writing
    // until it runs, and nobody could run that.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_corecast")).arg(&binary).status();
    assert!(copied.expect("a program of any host").success());
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

#[test]
fn every_refusal_is_among_the_figures_though_nothing_else_happens() {
    let rules =
        "log.stats_interval = '1s'\napp_defaults.rules = ['deny publish any', 'deny play any']";
    let binary = Binary::start(1000, rules);
    let counted = || -> u64 {
        let log = binary.log();
        let lines = log.lines().filter(|line| line.contains("node stats"));
        let refused = lines.filter_map(|line| {
            let (_, rest) = line.split_once(" refused=")?;
            rest.split(' ').next()?.parse::<u64>().ok()
        });
        refused.sum()
    };
    // Each is refused once the line that says that the node is idle has been.
    eventually("it is idle", || binary.log().contains("node stats"));
    for number in 0..3 {
        Peer::new(binary.rtmp, Goal::Publish, &format!("live/{number}")).refusal();
    }
    assert_eq!(web::get(binary.http, "/live/x.flv").status, 403);
    eventually("all four are told", || counted() >= 4);
    assert_eq!(counted(), 4, "{}", binary.log());
}

#[test]
fn the_demo_clip_ends_with_a_drain_and_says_so() {
    let mut binary = Binary::demo("cores = 2\ndrain.delay = 0");
    let mut watcher = Watcher::new(binary.http, "live/demo.flv");
    watcher.frame().expect("it is on");
    drop(watcher);
    assert_eq!(binary.terminate().code(), Some(0));
    let log = binary.log();
    assert!(log.contains("the demo clip ends: this server is going out of service"), "{log}");
}

/// What a service manager hears.
struct Manager(std::os::unix::net::UnixDatagram);

impl Manager {
    /// Listens in `dir`.
    fn new(path: &std::path::Path) -> Self {
        let socket = std::os::unix::net::UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        Self(socket)
    }

    /// Hears what has been said so far.
    fn hear_all(&self) {
        self.0.set_nonblocking(true).expect("a socket");
        while self.0.recv(&mut [0; 4096]).is_ok() {}
        self.0.set_nonblocking(false).expect("a socket");
    }

    /// Hears until somebody says `line`, and tells all that came with it.
    #[track_caller]
    fn wait_for(&self, line: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let read = self.0.recv(&mut buffer);
            let read = read.unwrap_or_else(|error| panic!("expected {line}, found {error}"));
            let heard = String::from_utf8_lossy(&buffer[..read]).into_owned();
            if heard.lines().any(|heard| heard.starts_with(line)) {
                return heard;
            }
        }
    }
}

#[test]
fn a_service_manager_is_told_of_each_step() {
    let path = std::env::temp_dir().join(format!("corecast-manager-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let manager = Manager::new(&path);
    let address = path.to_str().expect("our names are text");
    let env = [("NOTIFY_SOCKET", address), ("WATCHDOG_USEC", "400000")];
    let lines = "cores = 2\ndrain.delay = '10ms'\ndrain.timeout = '7s'";
    let mut binary = Binary::start_with(1000, lines, &env);
    manager.wait_for("STATUS=serving, ");
    manager.wait_for("READY=1");
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
    binary.signal(Signal::HUP);
    let heard = manager.wait_for("RELOADING=1");
    let usec = heard.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|usec| usec > 0)), "{heard}");
    manager.wait_for("READY=1");
    // It keeps the process from its end for a while.
    let mut publisher = Peer::publish(binary.rtmp, "live/first");
    publisher.push(1);
    binary.signal(Signal::TERM);
    let heard = manager.wait_for("STOPPING=1");
    // As long as a drain may take, and some more.
    assert!(heard.contains("EXTEND_TIMEOUT_USEC=17000000"), "{heard}");
    // A manager hears to the end: the kernel keeps ten words, and who says the next waits.
    eventually("it ends", || {
        manager.hear_all();
        binary.child.try_wait().expect("our child").is_some()
    });
    assert_eq!(binary.wait().code(), Some(0));
    std::fs::remove_file(&path).expect("ours");
}

#[test]
fn the_unit_file_is_one_that_systemd_takes() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/config/corecast.service");
    let text = std::fs::read_to_string(unit).expect("it is shipped");
    assert!(text.contains("Type=notify") && text.contains("WatchdogSec="));
    let dir = std::env::temp_dir().join(format!("corecast-unit-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a scratch directory");
    let copy = dir.join("corecast.service");
    // The program is where the test has it.
    let text = text.replace("/usr/local/bin/corecast", env!("CARGO_BIN_EXE_corecast"));
    std::fs::write(&copy, text).expect("room for it");
    let checked = Command::new("systemd-analyze").arg("verify").arg(&copy).output();
    std::fs::remove_dir_all(&dir).expect("ours");
    // A host without systemd cannot tell.
    let Ok(checked) = checked else { return };
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    let about_us = said.lines().filter(|line| line.contains("corecast"));
    assert_eq!(about_us.collect::<Vec<_>>(), [""; 0], "{said}");
    assert!(checked.status.success(), "{said}");
}
