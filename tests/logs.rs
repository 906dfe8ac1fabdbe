//! The log of a server: the line that every connection has at its end, the file it may go to, and
//! its level while it runs.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use corecast::proto::rtmp::Goal;
use node::{Node, eventually, field, free_port, log};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use talk::{Peer, Raw};
use web::{Watcher, Web};

const QUIET: &str = "cores = 2\nadmin.enabled = false";

/// The last line of the connection from there.
#[track_caller]
fn end_of(peer: std::net::SocketAddr) -> String {
    log().wait_for(&[" corecast::access: close ", &format!("peer={peer} ")])
}

#[test]
fn viewers_and_publishers_end_with_a_line_that_says_who_what_and_how_much() {
    let node = Node::start(QUIET, None);
    let mut publisher = Peer::publish(node.rtmp, "live/a?key=secret");
    publisher.push(10);
    let mut player = Peer::play(node.rtmp, "live/a?token=secret");
    player.start();
    let mut watcher = Web::new(node.http);
    watcher
        .send("GET /live/a.flv?token=secret HTTP/1.1\r\nHost: test\r\nUser-Agent: a \"b\"\r\n\r\n");
    assert_eq!(watcher.head().0, 200);
    // Who leaves with less lags behind.
    let last = talk::frame(9).data;
    while !watcher.heard.windows(last.len()).any(|bytes| bytes == &last[..]) {
        assert!(watcher.hear(), "the server stays");
    }
    player.expect_frames(None, 9);
    let addresses = [publisher.address(), player.address(), watcher.address()];
    // The line counts milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(2));
    drop(watcher);
    player.leave();
    publisher.leave();
    let [publisher, player, watcher] = addresses.map(end_of);
    for line in [&publisher, &player, &watcher] {
        assert_eq!(field(line, "stream"), "live/a");
        let number = |name| field(line, name).parse::<f64>().expect("a number");
        for name in ["seconds", "received", "sent"] {
            assert!(number(name) > 0.0, "{name}: {line}");
        }
        for name in ["skips", "skipped_ms", "skipped_bytes", "lag_ms", "lag_bytes"] {
            assert_eq!(field(line, name), "0", "{name}");
        }
        assert!(line.contains(" reason=\""), "{line}");
        assert!(!line.contains("path=") && !line.contains("method="), "{line}");
    }
    assert!(publisher.contains(" agent=\"") && player.contains(" agent=\""), "{publisher}{player}");
    assert!(watcher.contains(r#" agent="a \"b\"" "#), "{watcher}");
    assert_eq!(field(&watcher, "status"), "200");
    assert!(log().lines(&["secret"]).is_empty(), "keys and tokens are in no line");
}

#[test]
fn requests_for_no_stream_end_with_their_method_path_and_status() {
    let node = Node::start(QUIET, None);
    let end = |request: &str, fields: &str| {
        let mut web = Web::new(node.http);
        web.send(&format!("{request} HTTP/1.1\r\nHost: test\r\n{fields}Connection: close\r\n\r\n"));
        web.head();
        web.expect_closed();
        end_of(web.address())
    };
    let page = end("GET /live/x?token=secret&plain", "User-Agent: browser\r\n");
    let shown = [("method", "\"GET\""), ("path", "\"/live/x?token=***&***\""), ("status", "200")];
    for (name, value) in shown {
        assert_eq!(field(&page, name), value, "{page}");
    }
    assert!(page.contains(" stream=- ") && page.contains(" agent=\"browser\" "), "{page}");
    assert!(field(&page, "sent").parse::<u64>().expect("a number") > 1000, "{page}");
    let nothing = end("HEAD /nothing.xyz", "");
    assert_eq!((field(&nothing, "method"), field(&nothing, "status")), ("\"HEAD\"", "404"));
    assert!(!nothing.contains("agent="), "{nothing}");
    let refused = end("GET /live/x.flv?audio=0&video=0", "");
    assert_eq!((field(&refused, "status"), field(&refused, "stream")), ("400", "-"), "{refused}");
}

#[test]
fn whoever_asks_only_how_the_node_is_has_no_line_and_nobody_else() {
    let node = Node::start(QUIET, None);
    let ask = |web: &mut Web, path: &str| {
        web.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        web.answer().status
    };
    // A core that others keep off its CPU for a second makes the node unwell.
    let is_well = |web: &mut Web| eventually("it is well", || ask(web, "/healthz") == 200);
    let mut checks = Web::new(node.http);
    for path in ["/healthz", "/readyz", "/healthz"] {
        ask(&mut checks, path);
    }
    let address = checks.address();
    drop(checks);
    let line = log().wait_for(&[" close ", &format!("peer={address} ")]);
    assert!(line.contains("DEBUG") && !line.contains("corecast::access"), "{line}");
    // A check does not hide what was asked for before,
    let mut hides = Web::new(node.http);
    assert_eq!(ask(&mut hides, "/nothing.xyz"), 404);
    is_well(&mut hides);
    // nor what comes behind it and is no request.
    let mut breaks = Web::new(node.http);
    is_well(&mut breaks);
    breaks.send("no request\r\n\r\n");
    breaks.expect_closed();
    for web in [hides, breaks] {
        let address = web.address();
        drop(web);
        end_of(address);
    }
}

#[test]
fn when_the_server_ends_each_connection_has_its_line_whatever_it_does() {
    // None ends before it by itself, however long the others take to come.
    let lines = "cores = 2\nlimits.publisher_silence = '1h'\nhttp.head_timeout = '1h'\n\
                 http.keep_alive = '1h'";
    let node = Node::start(lines, None);
    let mut publisher = Peer::publish(node.rtmp, "live/stop");
    publisher.push(1);
    let mut player = Peer::play(node.rtmp, "live/stop");
    player.start();
    let connected = Raw::ready(node.rtmp, "live");
    let mut page = Web::new(node.http);
    page.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(page.answer().status, 200);
    let mut waits = Web::new(node.http);
    waits.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let silent = Web::new(node.http);
    let webs = [&page, &waits, &silent].map(Web::address);
    let rtmp = [publisher.address(), player.address(), connected.address()];
    for address in webs {
        log().wait_for(&[" open ", &format!("peer={address} ")]);
    }
    // One on its way to a core that has stopped would have no line.
    eventually("it waits for a publisher", || {
        let mut web = Web::new(node.admin);
        web.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let page = web.answer().body;
        let mut lines = page.lines();
        lines.any(|line| {
            line.starts_with("corecast_stream_waiting_viewers{")
                && line.contains("stream=\"live/nobody\"")
                && line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) == Some(1.0)
        })
    });
    drop(node);
    for address in rtmp.into_iter().chain(webs) {
        let texts = [" corecast::access: close ", &format!("peer={address} ")];
        let lines = log().lines(&texts);
        assert_eq!(lines.len(), 1, "{address}: {lines:?}");
        assert!(lines[0].contains("going out of service"), "{}", lines[0]);
    }
}

#[test]
fn a_viewer_that_was_not_let_in_has_its_status_and_one_that_stalled_its_lag() {
    let lines = format!(
        "{QUIET}\napp_defaults.wait_for_publisher = 0\napp_defaults.stall_timeout = '1s'\n\
         app_defaults.max_lag = '24h'"
    );
    let node = Node::start(&lines, None);
    let mut nobody = Web::new(node.http);
    nobody.send("GET /live/none.flv HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(nobody.answer().status, 404);
    nobody.expect_closed();
    let line = end_of(nobody.address());
    assert_eq!((field(&line, "status"), field(&line, "stream")), ("404", "live/none"), "{line}");

    let mut publisher = Peer::publish(node.rtmp, "live/slow");
    publisher.push(10);
    let mut viewer = Watcher::new(node.http, "live/slow.flv");
    viewer.expect_frames(None, 9);
    let address = viewer.web.address();
    let ended = || !log().lines(&[" close ", &format!("peer={address} ")]).is_empty();
    // It takes nothing more, so that what the kernel holds for it is full at last.
    eventually("it stalls", || {
        if publisher.next() < 100_000 {
            publisher.push(500);
        }
        ended()
    });
    let line = end_of(address);
    assert!(line.contains("stalled"), "{line}");
    assert!(field(&line, "lag_ms").parse::<u64>().expect("a number") > 0, "{line}");
    assert!(field(&line, "lag_bytes").parse::<u64>().expect("a number") > 0, "{line}");
}

/// The binary with its log in a file. Dropped, it is killed.
struct Binary {
    child: Child,
    http: u16,
    admin: u16,
    dir: PathBuf,
}

impl Binary {
    fn start(name: &str, lines: &str) -> Self {
        let name = format!("logs-{name}-{}", std::process::id());
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&dir).expect("a scratch directory");
        let [rtmp, http, admin] = [(); 3].map(|()| free_port());
        let config = format!(
            "cores = 1\nrtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\n\
             admin.listen = ['127.0.0.1:{admin}']\nlog.file = 'corecast.log'\n{lines}\n"
        );
        fs::write(dir.join("corecast.toml"), config).expect("room for it");
        let child = Command::new(env!("CARGO_BIN_EXE_corecast"))
            .args(["run", "--config", "corecast.toml"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.join("stderr")).expect("room for it"))
            .spawn()
            .expect("the binary was built");
        let this = Self { child, http, admin, dir };
        eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", http)).is_ok());
        this
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    /// A request, and the answer's status and body.
    fn ask(&self, request: &str, body: &str) -> (u16, Value) {
        let mut web = Web::new(self.admin);
        let length = body.len();
        web.send(&format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        let answer = web.answer();
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// A request for a page, whose connection then ends.
    fn visit(&self) {
        let mut web = Web::new(self.http);
        web.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        web.expect_closed();
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

#[test]
fn the_level_changes_while_it_runs_and_nonsense_changes_nothing() {
    let server = Binary::start("level", "log.level = 'warn'\nlog.format = 'json'");
    let (get, put) = ("GET /api/v1/log/level", "PUT /api/v1/log/level");
    assert_eq!(server.ask(get, ""), (200, serde_json::json!({"level": "warn"})));
    server.visit();
    for body in ["", "[]", "{\"level\": 7}", "{}", "{\"level\": \"loud\"}", "{\"level\":\"x=y\"}"] {
        let (status, problem) = server.ask(put, body);
        assert!([400, 422].contains(&status) && problem["status"] == status, "{body}: {problem}");
        assert!(problem["detail"].is_string(), "{body}");
    }
    assert_eq!(server.ask(get, "").1["level"], "warn");
    assert!(!server.read("corecast.log").contains("corecast::access"), "warn is all there is");

    let level = "warn,corecast::access=info";
    let body = serde_json::json!({"level": level}).to_string();
    assert_eq!(server.ask(put, &body), (200, serde_json::json!({"level": level})));
    server.visit();
    let mut line = Value::Null;
    eventually("its line", || {
        let text = server.read("corecast.log");
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        // Others may stand around it: warnings of a busy machine, or who looked whether it listens.
        let is_visit = |it: &Value| it["target"] == "corecast::access" && it["path"] == "/";
        line = lines.find(is_visit).unwrap_or_default();
        !line.is_null()
    });
    let told = ["message", "protocol", "method", "path", "stream"].map(|name| &line[name]);
    assert_eq!(told, ["close", "http", "GET", "/", "-"], "{line}");
    assert!(line["status"] == 200 && line["seconds"].is_f64() && line["sent"].is_u64(), "{line}");
    assert_eq!(server.read("stderr"), "", "all goes to the file");
}

#[test]
fn a_full_file_is_kept_under_another_name_and_the_oldest_goes() {
    let server = Binary::start("file", "log.rotate_bytes = '64KiB'\nlog.keep = 2");
    let path = format!("/live/{}.html", "x".repeat(200));
    let names = ["corecast.log", "corecast.log.1", "corecast.log.2", "corecast.log.3"];
    eventually("it is full three times", || {
        let mut last = String::new();
        for _ in 0..40 {
            let mut web = Web::new(server.http);
            let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            web.send(&request);
            web.expect_closed();
            last = format!("peer={} ", web.address());
        }
        // The log has a thread of its own: no file has its place before the last line has.
        let is_there = |name: &&str| server.read(name).contains(&last);
        eventually("the last line is there", || names[..2].iter().any(is_there));
        server.dir.join(names[2]).exists()
    });
    let sizes = names.map(|name| fs::metadata(server.dir.join(name)).map_or(0, |it| it.len()));
    assert!(sizes[0] > 0 && sizes.iter().all(|size| *size <= 64 << 10), "{sizes:?}");
    assert!(sizes[1] > 60_000 && sizes[2] > 60_000 && sizes[3] == 0, "{sizes:?}");
    for name in &names[..3] {
        assert!(server.read(name).ends_with('\n'), "whole lines");
    }
}

#[test]
fn lines_go_to_standard_output_if_the_file_is_a_dash() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_corecast"))
        .arg("run")
        .envs(["RTMP", "HTTP", "ADMIN"].map(|it| (format!("CORECAST_{it}__ENABLED"), "false")))
        .env("CORECAST_LOG__FILE", "-")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let output = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let found = lines.any(|line| line.contains("listening"));
    child.kill().expect("ours");
    let rest = child.wait_with_output().expect("it ends");
    assert!(found, "{}", String::from_utf8_lossy(&rest.stderr));
    assert_eq!(String::from_utf8_lossy(&rest.stderr), "");
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_starts() {
    let output = Command::new(env!("CARGO_BIN_EXE_corecast"))
        .env("CORECAST_LOG__FILE", "/nowhere/at/all/corecast.log")
        .env("CORECAST_ADMIN__ENABLED", "false")
        .output()
        .expect("the binary was built");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("log.file: /nowhere/at/all/corecast.log: "), "{complaint}");
}

#[test]
fn a_connection_without_a_request_ends_with_a_line_too() {
    let node = Node::start(QUIET, None);
    let silent = Web::new(node.http);
    let address = silent.address();
    drop(silent);
    let line = end_of(address);
    assert_eq!((field(&line, "stream"), field(&line, "received")), ("-", "0"), "{line}");
    let player = Peer::new(node.rtmp, Goal::Play, "live/x");
    let address = player.address();
    drop(player);
    assert!(end_of(address).contains("protocol=rtmp "));
}
