//! Schemathesis asks the API all that its description allows, and what it does not, and compares
//! the answers with the description.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, PATIENCE};

/// Schemathesis shrinks what it has found within this, too.
const SECONDS: &str = "30";

#[test]
fn the_api_does_what_its_description_says() {
    let token = "0123456789abcdef";
    let recordings = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis-recordings");
    let lines = format!(
        "cores = 2\nadmin.token = '{token}'\napp_defaults.record_directory = {:?}",
        recordings.to_str().expect("our names are text")
    );
    let node = Node::start(&lines, None);
    let stop = AtomicBool::new(false);
    let (found, succeeded) = thread::scope(|scope| {
        // The description's examples name this stream, so that more is answered than 404.
        scope.spawn(|| keep_on(&stop, || publish(node.rtmp, "demo", &stop)));
        scope.spawn(|| keep_on(&stop, || watch(node.http, "live/demo.flv", &stop)));
        let api = format!("http://127.0.0.1:{}/api/v1", node.admin);
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/schemathesis");
        let run = Command::new(program)
            .args(["run", &format!("{api}/openapi.json"), "--url", &api])
            .args(["--header", &format!("Authorization: Bearer {token}")])
            .args(["--checks", "all", "--max-examples", "20", "--max-time", SECONDS])
            // Its answer has no end; tests/admin.rs reads it.
            .args(["--exclude-path", "/events"])
            // The log of a server inside a test is the test's own; tests/logs.rs changes a server's.
            .args(["--exclude-path", "/log/level"])
            .args(["--generation-deterministic", "--no-color"])
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stdin(Stdio::null())
            .output();
        stop.store(true, Ordering::Relaxed);
        let run = run.expect("tests/install.sh has installed it");
        let said = [run.stdout, run.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), run.status.success())
    });
    drop(node);
    // Err: none was asked for.
    let _ = fs::remove_dir_all(recordings);
    assert!(succeeded, "{found}");
    assert!(found.contains("Operations:"), "it has found the operations\n{found}");
}

/// Does it again and again: operators end publishers and viewers, which come back.
fn keep_on(stop: &AtomicBool, one: impl Fn() -> io::Result<()>) {
    while !stop.load(Ordering::Relaxed) {
        // Err: it was ended.
        let _ = one();
        thread::sleep(Duration::from_millis(50));
    }
}

/// Publishes sound at `live/NAME` until it is put out.
fn publish(port: u16, name: &str, stop: &AtomicBool) -> io::Result<()> {
    let mut socket = connect(port)?;
    let mut hello = vec![0; 1537];
    hello[0] = 3;
    socket.write_all(&hello)?;
    let mut answer = vec![0; 3073];
    socket.read_exact(&mut answer)?;
    socket.write_all(&answer[1..1537])?;
    socket.write_all(&talk::connect_call("live"))?;
    let none = [corecast::container::amf0::Value::Null];
    socket.write_all(&talk::call("createStream", 2.0, 0, &none))?;
    socket.write_all(&talk::publish(name))?;
    socket.write_all(&talk::sound_message())?;
    socket.set_nonblocking(true)?;
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if matches!(socket.read(&mut answer), Ok(0)) {
            return Ok(());
        }
        socket.write_all(&talk::frame_message(number))?;
        number += 1;
        thread::sleep(Duration::from_millis(23));
    }
    Ok(())
}

/// Watches until it is ended.
fn watch(port: u16, path: &str, stop: &AtomicBool) -> io::Result<()> {
    let mut socket = connect(port)?;
    write!(socket, "GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let (mut buffer, end) = ([0; 4096], Instant::now() + PATIENCE);
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        match socket.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(1..) => {}
            _ => break,
        }
    }
    Ok(())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    Ok(socket)
}
