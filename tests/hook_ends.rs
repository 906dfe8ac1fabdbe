//! What hook servers hear when the server itself ends.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use binary::Binary;
use hook_server::{HookServer, once, yes};
use node::{Node, eventually, free_port, log};
use rustix::process::Signal;
use talk::{Peer, Raw};

#[test]
fn a_yes_that_is_said_to_a_server_that_stops_has_its_end() {
    let stops = Arc::new(AtomicBool::new(false));
    let it_stops = Arc::clone(&stops);
    let server = HookServer::start(move |heard| match heard.said["action"].as_str() {
        Some("on_publish") => once(&it_stops, yes()),
        _ => yes(),
    });
    let hooks = server.lines(&["on_publish", "on_publish_done"]);
    // Or else what is heard late is told again.
    let patient = "hooks.timeout = '30s'\nlimits.verdict_timeout = '40s'";
    let lines = format!("cores = 2\nadmin.enabled = false\n{patient}\n{hooks}");
    let node = Node::start(&lines, None);
    let mut asks = Raw::ready(node.rtmp, "live");
    asks.send(&talk::publish("late"));
    server.wait_for("on_publish", 1);
    let peer = format!("peer={} ", asks.address());
    let answers = thread::spawn(move || {
        log().wait_for(&[" close ", &peer]);
        stops.store(true, Ordering::Relaxed);
    });
    drop(node);
    answers.join().expect("the connection ends with the server");
    let (starts, ends) = (server.of("on_publish"), server.of("on_unpublish"));
    assert_eq!((starts.len(), ends.len()), (1, 1), "{:?}", server.heard());
    let (start, end) = (&starts[0], &ends[0]);
    assert!(start.answered.expect("it was answered") < end.heard, "after the yes");
    assert_eq!(end.said["stream"], "late");
    assert_eq!(end.said["started"], false);
    assert_eq!(end.said["client_id"], start.said["client_id"]);
}

#[test]
fn for_a_hook_server_that_is_gone_a_stop_waits_and_says_so_until_it_is_told_again() {
    let gone = free_port();
    let lines = format!(
        "cores = 2\ndrain.timeout = '2h'\ndrain.delay = '1h'\n\
         hooks.on_publish_done = 'http://127.0.0.1:{gone}/'"
    );
    let mut binary = Binary::start(1000, &lines);
    let mut peer = Peer::publish(binary.rtmp, "live/unheard");
    peer.push(1);
    binary.signal(Signal::TERM);
    eventually("it drains", || binary.log().contains("SIGTERM: drains"));
    binary.signal(Signal::TERM);
    eventually("it says what it waits for", || binary.log().contains("hooks: waits"));
    binary.signal(Signal::INT);
    assert_eq!(binary.wait().code(), Some(0));
    let log = binary.log();
    let cut = "hooks: told to stop once more, although not all was heard lost=1";
    assert!(log.contains(cut), "{log}");
}
