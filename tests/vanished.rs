//! Viewers whose peer vanishes without a word, of a stream so small that the kernel would hold all of
//! it for minutes.
//!
//! The peer's own kernel is told to drop whatever comes for its socket, as if the cable were cut.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, log};
use socket2::{SockFilter, SockRef};
use talk::Peer;
use web::{Watcher, Web};

/// Cuts the cable.
fn cut(socket: &TcpStream) {
    // BPF: return 0 bytes of each packet, which is none of it.
    let nothing = SockFilter::new(0x06, 0, 0, 0);
    SockRef::from(socket).attach_filter(&[nothing]).expect("no rights are needed");
}

#[test]
fn a_viewer_that_vanished_is_ended_although_its_socket_takes_everything() {
    let node = Node::start("cores = 1\napp_defaults.stall_timeout = '1s'", None);
    let mut publisher = Peer::publish(node.rtmp, "live/small");
    publisher.push(1);
    let mut watcher = Watcher::new(node.http, "live/small.flv");
    watcher.expect_frames(None, 0);
    // It reads nothing, but its kernel has room for all of it.
    let mut lazy = Web::new(node.http);
    let mut vanishing = Web::new(node.http);
    for viewer in [&mut lazy, &mut vanishing] {
        viewer.send("GET /live/small.flv HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(viewer.head().0, 200);
    }
    cut(&vanishing.socket);
    let close = [" close ", &format!("peer={} ", vanishing.address())];
    let gives_up = Instant::now() + Duration::from_secs(60);
    while log().lines(&close).is_empty() {
        assert!(Instant::now() < gives_up, "nobody misses it");
        publisher.push(1);
        thread::sleep(Duration::from_millis(200));
    }
    let line = log().wait_for(&close);
    assert!(line.contains("stalled: the viewer took nothing for 1s"), "{line}");
    watcher.expect_frames(Some(1), publisher.next() - 1);
    assert!(log().lines(&[" close ", &format!("peer={} ", lazy.address())]).is_empty());
    assert!(lazy.hear(), "what it has not read waits for it");
}
