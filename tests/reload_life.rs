//! Reloads and drains that meet, that somebody gives up, that come to nothing or come twice.
//!
//! A reload is made to last by a named pipe in place of the file: it is read for as long as the test
//! likes.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use binary::Binary;
use corecast::proto::rtmp::Goal;
use node::{PATIENCE, eventually, free_port, listens};
use rustix::process::Signal;
use serde_json::Value;
use talk::{Peer, number_of_picture};
use web::{Answer, Watcher, Web, get};

/// Asks the API, and does not wait for what it says.
fn begin(port: u16, request: &str) -> Web {
    let mut web = Web::new(port);
    web.send(&format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    web
}

#[track_caller]
fn end(mut web: Web) -> (u16, Value) {
    let Answer { status, body, .. } = web.answer();
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[track_caller]
fn ask(port: u16, request: &str) -> (u16, Value) {
    end(begin(port, request))
}

fn state(port: u16) -> String {
    ask(port, "GET /api/v1/drain").1["state"].as_str().expect("a text").to_owned()
}

/// With the API on, and `lines`.
fn start(lines: &str) -> (Binary, String) {
    start_with(lines, &[])
}

fn start_with(lines: &str, env: &[(&str, &str)]) -> (Binary, String) {
    let admin = free_port();
    // A publisher of these tests says nothing while others do, however long they take.
    let lines = format!(
        "cores = 2\nlimits.publisher_silence = '1h'\nadmin.listen = ['127.0.0.1:{admin}']\n{lines}\n"
    );
    let mut binary = Binary::start_with(1000, &lines, env);
    binary.admin = admin;
    eventually("the API is there", || listens(admin));
    (binary, lines)
}

/// The configuration is a named pipe now. A reload that has begun waits for the first line.
struct Pipe<'a> {
    binary: &'a Binary,
}

impl<'a> Pipe<'a> {
    fn lay(binary: &'a Binary) -> Self {
        let pipe = binary.dir.join("pipe");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("a program of any host");
        assert!(made.success());
        fs::rename(pipe, binary.dir.join("corecast.toml")).expect("one directory");
        Self { binary }
    }

    /// Waits until the reload reads, and answers with where it reads from: the file is one with
    /// `lines` again.
    fn read_by_now(self, lines: &str) -> File {
        let path = self.binary.dir.join("corecast.toml");
        let end = OpenOptions::new().write(true).open(&path).expect("somebody reads");
        fs::remove_file(&path).expect("ours");
        self.binary.write(lines);
        end
    }
}

/// A stream without key frames and one who watches it, whom no drain can end before its time is over.
struct Show {
    publisher: Peer,
    watcher: Watcher,
}

impl Show {
    fn start(binary: &Binary) -> Self {
        let mut publisher = Peer::new(binary.rtmp, Goal::Publish, "live/long");
        publisher.try_start().expect("it is let in");
        publisher.announce_pictures();
        publisher.push_picture(true);
        let mut watcher = Watcher::new(binary.http, "live/long.flv");
        let first = watcher.frame().expect("it is on");
        assert_eq!(number_of_picture(&first.data), 0);
        Self { publisher, watcher }
    }

    /// What is published is seen, and nothing was missed since the last time.
    #[track_caller]
    fn goes_on(&mut self) {
        for number in self.publisher.next()..self.publisher.next() + 3 {
            self.publisher.push_picture(false);
            let frame = self.watcher.frame().expect("it is on");
            assert_eq!(number_of_picture(&frame.data), number);
        }
    }
}

/// What the service manager was told until `count` lines begin with `wanted`.
fn hear(socket: &UnixDatagram, wanted: &str, count: usize) -> Vec<String> {
    let mut heard: Vec<String> = Vec::new();
    while heard.iter().filter(|line| line.starts_with(wanted)).count() < count {
        let mut buffer = [0; 4096];
        let read = socket.recv(&mut buffer).expect("it says something");
        heard.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
    }
    heard
}

#[test]
fn a_reload_whose_client_hangs_up_is_done_to_its_end() {
    let path = std::env::temp_dir().join(format!("corecast-reload-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let env = [("NOTIFY_SOCKET", path.to_str().expect("ours is text"))];
    let (binary, lines) = start_with("", &env);
    hear(&manager, "READY=1", 1);
    let port = free_port();
    let pipe = Pipe::lay(&binary);
    let client = begin(binary.admin, "POST /api/v1/reload");
    let new = format!("{lines}rtmp.chunk_size = 4096\nhttp.listen = ['127.0.0.1:{port}']\n");
    let mut reads = pipe.read_by_now(&new);
    drop(client);
    eventually("it is noticed", || binary.log().contains("admin: asked, and hung up"));
    reads
        .write_all(fs::read(binary.dir.join("corecast.toml")).expect("ours").as_slice())
        .expect("read");
    drop(reads);
    eventually("the new doors are open", || listens(port) && !listens(binary.http));
    eventually("it says so", || binary.log().contains("reload: applied"));
    assert_eq!(ask(binary.admin, "GET /api/v1/config").1["rtmp"]["chunk_size"], Value::from(4096));
    let heard = hear(&manager, "READY=1", 1);
    assert!(heard.iter().any(|line| line.starts_with("RELOADING=1")), "{heard:?}");
    fs::remove_file(path).expect("ours");
}

#[test]
fn of_two_reloads_at_once_the_second_waits_for_the_first() {
    let (binary, lines) = start("");
    let with = |size: u32| format!("{lines}rtmp.chunk_size = {size}");
    let in_force = || {
        ask(binary.admin, "GET /api/v1/config").1["rtmp"]["chunk_size"].as_u64().expect("a size")
    };
    let pipe = Pipe::lay(&binary);
    let first = begin(binary.admin, "POST /api/v1/reload");
    let mut reads = pipe.read_by_now(&with(8192));
    let second = begin(binary.admin, "POST /api/v1/reload");
    // While the first reads, the API answers; nobody has overtaken it.
    for _ in 0..20 {
        assert_eq!(in_force(), 60_000);
    }
    reads.write_all(text_with(&binary, &with(4096)).as_bytes()).expect("it is read");
    drop(reads);
    for asked in [first, second] {
        let (status, reloaded) = end(asked);
        let applied = serde_json::json!(["rtmp.chunk_size"]);
        assert_eq!((status, &reloaded["applied"]), (200, &applied), "{reloaded}");
    }
    assert_eq!(in_force(), 8192);
}

#[test]
fn of_many_reloads_at_once_few_wait_and_the_others_are_refused() {
    let (binary, lines) = start("");
    let pipe = Pipe::lay(&binary);
    let first = begin(binary.admin, "POST /api/v1/reload");
    let mut reads = pipe.read_by_now(&lines);
    let others: Vec<_> = (0..24).map(|_| begin(binary.admin, "POST /api/v1/reload")).collect();
    eventually("all but a few are refused", || {
        binary.log().matches("wait already until the one before them is done").count() == 20
    });
    reads.write_all(text_with(&binary, &lines).as_bytes()).expect("it is read");
    drop(reads);
    assert_eq!(end(first).0, 200);
    let mut answers: Vec<_> = others.into_iter().map(|web| end(web).0).collect();
    answers.sort_unstable();
    assert_eq!(answers, [&[200; 4][..], &[409; 20]].concat());
}

/// The whole configuration with `lines`, as it would be in the file.
fn text_with(binary: &Binary, lines: &str) -> String {
    let path = binary.dir.join("corecast.toml");
    let kept = binary.dir.join("kept");
    fs::rename(&path, &kept).expect("one directory");
    binary.write(lines);
    let text = fs::read_to_string(&path).expect("just written");
    fs::rename(kept, path).expect("one directory");
    text
}

#[test]
fn a_reload_during_a_drain_holds_and_its_doors_open_when_it_is_undone() {
    let (binary, lines) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
    let mut show = Show::start(&binary);
    let port = free_port();
    ask(binary.admin, "POST /api/v1/drain");
    eventually("it waits for the viewer", || state(binary.admin) == "viewers");
    binary.write(&format!("{lines}http.listen = ['127.0.0.1:{port}']\nrtmp.chunk_size = 4096"));
    let (status, reloaded) = ask(binary.admin, "POST /api/v1/reload");
    let applied = serde_json::json!(["http.listen", "rtmp.chunk_size"]);
    assert_eq!((status, &reloaded["applied"]), (200, &applied), "{reloaded}");
    assert_eq!(state(binary.admin), "viewers");
    assert!(!listens(port) && !listens(binary.http) && !listens(binary.rtmp));
    show.goes_on();
    assert_eq!(ask(binary.admin, "DELETE /api/v1/drain").0, 200);
    assert!(listens(port) && listens(binary.rtmp) && !listens(binary.http));
    show.goes_on();
    let mut newcomer = Watcher::new(port, "live/long.flv");
    newcomer.frame().expect("it is let in");
    assert!(!binary.log().contains("ERROR"), "{}", binary.log());
}

#[test]
fn a_drain_that_cannot_be_undone_is_halted_and_begins_and_ends_again() {
    let (mut binary, _) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
    let mut show = Show::start(&binary);
    ask(binary.admin, "POST /api/v1/drain");
    eventually("it waits for the viewer", || state(binary.admin) == "viewers");
    let taken = TcpListener::bind(("127.0.0.1", binary.http)).expect("it is closed");
    let undo = || {
        let (status, problem) = ask(binary.admin, "DELETE /api/v1/drain");
        (status, problem["title"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(undo(), (409, "cannot listen".to_owned()));
    assert_eq!(state(binary.admin), "halted");
    assert_eq!(get(binary.admin, "/readyz").status, 503);
    assert!(!listens(binary.rtmp), "all or nothing");
    show.goes_on();
    // Once more out of service, and once more in vain.
    ask(binary.admin, "POST /api/v1/drain");
    eventually("it waits for the viewer", || state(binary.admin) == "viewers");
    assert_eq!(undo(), (409, "cannot listen".to_owned()));
    // Then it can.
    drop(taken);
    assert_eq!(undo().0, 200);
    assert_eq!(state(binary.admin), "serving");
    // A core that others keep off its CPU for a second makes the node unwell.
    eventually("it is ready", || get(binary.admin, "/readyz").status == 200);
    assert!(listens(binary.rtmp) && listens(binary.http));
    // And halted, it ends when it is told to.
    ask(binary.admin, "POST /api/v1/drain");
    eventually("it waits for the viewer", || state(binary.admin) == "viewers");
    let taken = TcpListener::bind(("127.0.0.1", binary.http)).expect("it is closed");
    assert_eq!(undo().0, 409);
    show.goes_on();
    binary.signal(Signal::TERM);
    eventually("it drains", || state(binary.admin) == "viewers");
    drop((show, taken));
    assert_eq!(binary.wait().code(), Some(0));
    let log = binary.log();
    assert!(log.contains("SIGTERM, and drained"), "{log}");
}

#[test]
fn a_process_that_was_told_to_end_is_not_taken_back() {
    for by_api_first in [false, true] {
        let (mut binary, _) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
        let mut show = Show::start(&binary);
        if by_api_first {
            ask(binary.admin, "POST /api/v1/drain");
            eventually("it waits for the viewer", || state(binary.admin) == "viewers");
        }
        binary.signal(Signal::TERM);
        eventually("it waits for the viewer", || {
            let (_, progress) = ask(binary.admin, "GET /api/v1/drain");
            progress["state"] == "viewers" && progress["then_stops"] == true
        });
        let (status, problem) = ask(binary.admin, "DELETE /api/v1/drain");
        assert_eq!(status, 409, "{problem}");
        assert!(problem["detail"].as_str().expect("a text").contains("SIGTERM"), "{problem}");
        assert_eq!(state(binary.admin), "viewers");
        assert!(!listens(binary.http) && get(binary.admin, "/readyz").status == 503);
        show.goes_on();
        drop(show);
        assert_eq!(binary.wait().code(), Some(0));
    }
}

#[test]
fn a_drain_goes_on_while_a_reload_waits_for_its_file_and_both_are_done() {
    let (mut binary, lines) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
    let show = Show::start(&binary);
    let new = format!("{lines}rtmp.chunk_size = 4096\nlog.stats_interval = '1h'");
    let pipe = Pipe::lay(&binary);
    binary.signal(Signal::HUP);
    let reads = pipe.read_by_now(&new);
    binary.signal(Signal::TERM);
    eventually("it drains", || state(binary.admin) == "viewers");
    assert!(!listens(binary.http));
    // It has come to nothing.
    drop(reads);
    eventually("it has reloaded", || binary.log().contains("reload: applied"));
    assert_eq!(ask(binary.admin, "GET /api/v1/config").1["rtmp"]["chunk_size"], Value::from(4096));
    assert!(!listens(binary.http) && state(binary.admin) == "viewers");
    drop(show);
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn a_reload_that_waits_for_ever_does_not_keep_it_from_ending() {
    let (mut binary, lines) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
    let pipe = Pipe::lay(&binary);
    let client = begin(binary.admin, "POST /api/v1/reload");
    let reads = pipe.read_by_now(&lines);
    assert_eq!(binary.terminate().code(), Some(0));
    drop((client, reads));
}

#[test]
fn an_undone_drain_whose_client_hangs_up_is_undone() {
    let (binary, _) = start("drain.delay = '10ms'\ndrain.timeout = '1h'");
    let mut show = Show::start(&binary);
    for round in 0..20 {
        ask(binary.admin, "POST /api/v1/drain");
        eventually("it waits for the viewer", || state(binary.admin) == "viewers");
        let client = begin(binary.admin, "DELETE /api/v1/drain");
        std::thread::sleep(Duration::from_micros(50 * round));
        drop(client);
        let heard = || binary.log().matches("method=DELETE").count() as u64;
        eventually("it is heard", || heard() == round + 1);
        eventually("it serves", || state(binary.admin) == "serving");
        assert!(listens(binary.http) && listens(binary.rtmp));
    }
    show.goes_on();
}
