//! Events of the API beside those of streams and viewers that come and go: who was refused, who
//! lagged and was moved, who waits in vain, and what nobody watches.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::Read;
use std::time::Instant;

use corecast::proto::rtmp::Goal;
use node::{Node, PATIENCE, connect_from, eventually};
use serde_json::Value;
use talk::Peer;
use web::{Watcher, Web};

/// One who listens to the events of a node.
struct Listener(Web);

impl Listener {
    fn new(node: &Node) -> Self {
        let mut web = Web::new(node.admin);
        web.send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(web.head().0, 200);
        Self(web)
    }

    /// All that were heard whole, of this name.
    fn of(&self, name: &str) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.0.heard);
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        let named = |event: &&str| event.lines().any(|line| line == format!("event: {name}"));
        let data = |event: &str| {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            serde_json::from_str(data.expect("it has data")).expect("JSON")
        };
        whole.split("\n\n").filter(named).map(data).collect()
    }

    /// Waits for one of this name for which `wanted`.
    #[track_caller]
    fn wait_for(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.of(name).into_iter().find(|event| wanted(event)) {
                return event;
            }
            assert!(Instant::now() < end && self.0.hear(), "no such {name}: {:?}", self.of(name));
        }
    }
}

#[test]
fn who_is_refused_is_told_with_the_reason_that_the_client_is_told() {
    let node = Node::start(
        "cores = 2\napp_defaults.wait_for_publisher = '1ms'\n\
         app.rules.rules = ['deny play 127.9.0.0/16']\napp.small.viewers_max = 1\n\
         app.small.wait_for_publisher = '1h'",
        None,
    );
    let mut listener = Listener::new(&node);
    let ask = |path: &str| {
        let mut web = Web::on(connect_from([127, 9, 0, 1], node.http));
        web.send(&format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        web
    };
    let mut denied = ask("rules/x.flv");
    let peer = denied.address().to_string();
    assert_eq!(denied.answer().status, 403);
    let told = listener.wait_for("refused", |told| told["stream"] == "rules/x");
    let reason = "playing from rules is not allowed from 127.9.0.1 (rules)";
    assert_eq!((&told["reason"], &told["address"]), (&reason.into(), &peer.into()), "{told}");

    let _waits = ask("small/x.flv");
    listener.wait_for("not_found", |told| told["stream"] == "small/x");
    let answer = ask("small/x.flv").answer();
    assert_eq!(answer.status, 503);
    let told = listener.wait_for("refused", |told| told["stream"] == "small/x");
    let reason = told["reason"].as_str().expect("a text");
    assert!(reason.contains("(viewers_max)") && answer.body.contains(reason), "{told}");

    let _publisher = Peer::publish(node.rtmp, "live/taken");
    let mut second = Peer::new(node.rtmp, Goal::Publish, "live/taken");
    let (_, reason) = second.refusal();
    let told = listener.wait_for("refused", |told| told["stream"] == "live/taken");
    assert_eq!(told["reason"], reason.as_str());
    assert_eq!(listener.of("refused").len(), 3, "each once: {:?}", listener.of("refused"));
}

#[test]
fn who_lags_and_is_moved_is_told_with_what_was_left_out() {
    let node = Node::start("cores = 2\napp_defaults.stall_timeout = '1h'", None);
    let mut listener = Listener::new(&node);
    let mut publisher = Peer::publish(node.rtmp, "live/lags");
    publisher.push(10);
    let mut viewer = Watcher::new(node.http, "live/lags.flv");
    viewer.expect_frames(None, 9);
    let peer = viewer.web.address().to_string();
    // It takes less than comes: a tenth, once what the kernel holds for it is full.
    let at_hand = |web: &Web| {
        web.socket.set_nonblocking(true).expect("a socket");
        let waits = web.socket.peek(&mut [0]).is_ok();
        web.socket.set_nonblocking(false).expect("a socket");
        waits
    };
    eventually("it is moved", || {
        publisher.push(500);
        if at_hand(&viewer.web) {
            let _ = viewer.web.socket.read(&mut [0; 16 << 10]).expect("the server sends");
        }
        if at_hand(&listener.0) {
            listener.0.hear();
        }
        !listener.of("skipped").is_empty()
    });
    let told = listener.wait_for("skipped", |_| true);
    assert_eq!((&told["stream"], &told["address"]), (&"live/lags".into(), &peer.into()), "{told}");
    for name in ["skipped_ms", "skipped_bytes"] {
        assert!(told[name].as_u64() > Some(0), "{told}");
    }
}

#[test]
fn what_nobody_watches_is_told() {
    let node = Node::start("cores = 2\napp_defaults.idle_timeout = '300ms'", None);
    let mut listener = Listener::new(&node);
    let mut publisher = Peer::publish(node.rtmp, "live/unwatched");
    publisher.push(1);
    listener.wait_for("idle", |told| told["stream"] == "live/unwatched");
}
