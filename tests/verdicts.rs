//! The way of a question: asked by id, answered whenever there is an answer, while the core goes
//! on; and what a client may do meanwhile.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corecast::control::ask::Answerer;
use corecast::proto::rtmp::Goal;
use corecast::serve::verdict::{Action, Question, Verdict};
use node::{Node, eventually, log};
use talk::{Peer, Raw};
use tokio::sync::watch;
use web::{Watcher, get};

/// Answers by the name of what is asked for: `gate…` when the test says so, `deny…` by no,
/// `panic…` never; everything else by yes, at once.
#[derive(Debug, Default)]
struct Judge {
    gates: Mutex<HashMap<String, watch::Sender<Option<Verdict>>>>,
    /// The gates that were asked for, even if nobody waits any more.
    asked: Mutex<HashSet<String>>,
}

impl Judge {
    fn gate(&self, name: &str) -> watch::Sender<Option<Verdict>> {
        let mut gates = self.gates.lock().expect("nobody panics with it");
        gates.entry(name.to_owned()).or_insert_with(|| watch::channel(None).0).clone()
    }

    /// Waits until somebody waits for an answer.
    #[track_caller]
    fn wait_until_asked(&self, name: &str) {
        eventually("the question", || self.is_asked(name));
    }

    fn is_asked(&self, name: &str) -> bool {
        self.gate(name).receiver_count() > 0
    }

    fn was_asked(&self, name: &str) -> bool {
        self.asked.lock().expect("nobody panics with it").contains(name)
    }

    /// Answers all who ask for `name`, now and later.
    fn answer(&self, name: &str, verdict: Verdict) {
        self.gate(name).send_replace(Some(verdict));
    }
}

impl Answerer for Judge {
    fn answer(
        &self,
        question: Arc<Question>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        let name = match &question.action {
            Action::Connect { app } => app.clone(),
            Action::Publish(key) | Action::Play(key) => key.name().to_owned(),
        };
        Box::pin(async move {
            if name.starts_with("gate") {
                self.asked.lock().expect("nobody panics with it").insert(name.clone());
                let mut gate = self.gate(&name).subscribe();
                let answer = gate.wait_for(Option::is_some).await.expect("the judge keeps it");
                return answer.clone().expect("waited for");
            }
            assert!(!name.starts_with("panic"), "as the test wants it");
            if name.starts_with("deny") {
                return Verdict::Deny("the house is full".to_owned());
            }
            Verdict::Allow
        })
    }
}

fn start(lines: &str) -> (Node, Arc<Judge>) {
    let judge = Arc::new(Judge::default());
    // Else the judge has more time than any of these tests takes.
    let patient = match lines.contains("limits.verdict_timeout") {
        true => "",
        false => "limits.verdict_timeout = '60s'",
    };
    let lines = format!("cores = 1\n{patient}\n{lines}");
    (Node::start(&lines, Some(Arc::clone(&judge) as _)), judge)
}

/// A stream that is on, its viewer, and the number of the frame that comes next: its publisher has
/// left, and the judge waits with the next. Viewers that start with a stream get its last second
/// only; this one gets all of what comes.
fn viewer_between_two_publishers(node: &Node, judge: &Judge, name: &str) -> (Peer, i64) {
    judge.answer(name, Verdict::Allow);
    let path = format!("live/{name}");
    let mut publisher = Peer::publish(node.rtmp, &path);
    publisher.push(1);
    let mut viewer = Peer::play(node.rtmp, &path);
    viewer.start();
    viewer.expect_frames(None, 0);
    let next = publisher.next();
    judge.gate(name).send_replace(None);
    publisher.leave();
    (viewer, next)
}

/// The connection from `peer` has ended, for the reason `why`.
fn wait_for_close(peer: SocketAddr, why: &str) {
    log().wait_for(&[" close ", &format!("peer={peer} "), why]);
}

#[test]
fn media_pipelined_behind_publish_is_all_there_after_three_seconds() {
    let (node, judge) = start("");
    let (mut viewer, first) = viewer_between_two_publishers(&node, &judge, "gate-pipelined");
    let mut raw = Raw::ready(node.rtmp, "live");
    let asked = Instant::now();
    raw.send(&[talk::publish("gate-pipelined"), talk::sound_message()].concat());
    (first..50).for_each(|number| raw.send(&talk::frame_message(number)));
    raw.send(&talk::ping(77));
    (50..100).for_each(|number| raw.send(&talk::frame_message(number)));
    judge.wait_until_asked("gate-pipelined");
    std::thread::sleep(Duration::from_secs(3));
    judge.answer("gate-pipelined", Verdict::Allow);
    let (code, _) = raw.status();
    assert_eq!(code, "NetStream.Publish.Start");
    assert!(asked.elapsed() >= Duration::from_secs(3), "only after the verdict");
    raw.pong(77);
    viewer.expect_frames(Some(first), 99);
}

#[test]
fn publish_start_is_not_sent_before_the_verdict() {
    let (node, judge) = start("");
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&talk::publish("gate-start"));
    judge.wait_until_asked("gate-start");
    raw.send(&talk::ping(5));
    assert!(!raw.hears_within(Duration::from_millis(300)), "no word before the verdict");
    judge.answer("gate-start", Verdict::Allow);
    assert_eq!(raw.status().0, "NetStream.Publish.Start");
    raw.pong(5);
}

/// Bytes that wait in the kernel for the server to read them, and those not yet sent.
fn bytes_in_the_kernel(client: SocketAddr, server: SocketAddr) -> u64 {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port())
        }
        SocketAddr::V6(_) => panic!("the tests use IPv4"),
    };
    let (client, server) = (hex(client), hex(server));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let queues = |local: &str, remote: &str| {
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = row.into_iter().find(|row| row[1] == local && row[2] == remote);
        let (tx, rx) = row.as_ref().expect("both ends are here")[4].split_once(':').expect("two");
        [tx, rx].map(|hex| u64::from_str_radix(hex, 16).expect("hex"))
    };
    queues(&client, &server)[0] + queues(&server, &client)[1]
}

#[test]
fn reads_stop_at_the_limit_while_a_question_is_open_and_nothing_is_lost() {
    const HELD: u64 = 64 << 10;
    /// What is read at once.
    const READ: u64 = 64 << 10;
    const LAST: i64 = 3999;
    let (node, judge) = start("app_defaults.max_lag = '1h'");
    let (mut viewer, first) = viewer_between_two_publishers(&node, &judge, "gate-held");
    let mut raw = Raw::ready(node.rtmp, "live");
    socket2::SockRef::from(&raw.socket).set_send_buffer_size(16 << 10).expect("a socket");
    raw.send(&[talk::publish("gate-held"), talk::sound_message()].concat());
    let mut media = Vec::new();
    (first..=LAST).for_each(|number| media.extend(talk::frame_message(number)));
    let (client, server) = (raw.address(), raw.socket.peer_addr().expect("connected"));
    // As much as goes in, until nothing has moved for half a second.
    raw.socket.set_nonblocking(true).expect("a socket");
    let (mut written, mut moved) = (0, Instant::now());
    while moved.elapsed() < Duration::from_millis(500) && written < media.len() {
        match raw.socket.write(&media[written..]) {
            Ok(count) => (written, moved) = (written + count, Instant::now()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    let mut taken = 0;
    eventually("all that is read was read", || {
        // What has arrived and is not yet acknowledged counts at both ends.
        taken = (written as u64).saturating_sub(bytes_in_the_kernel(client, server));
        taken >= HELD - READ.min(4096)
    });
    assert!(taken <= HELD + READ, "{taken} bytes were taken");

    judge.answer("gate-held", Verdict::Allow);
    raw.socket.set_nonblocking(false).expect("a socket");
    let mut socket = raw.socket.try_clone().expect("descriptors are left");
    let rest = std::thread::spawn(move || socket.write_all(&media[written..]));
    assert_eq!(raw.status().0, "NetStream.Publish.Start");
    viewer.expect_frames(Some(first), LAST);
    rest.join().expect("it only writes").expect("the server reads again");
}

#[test]
fn a_client_that_leaves_while_it_is_asked_leaves_nothing() {
    let (node, judge) = start("");
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&[talk::publish("gate-left"), talk::sound_message()].concat());
    judge.wait_until_asked("gate-left");
    let mut player = Peer::play(node.rtmp, "live/gate-left");
    player.go_on_until("two questions", || judge.gate("gate-left").receiver_count() == 2);
    let watcher = Watcher::new(node.http, "live/gate-left.flv");
    eventually("three questions", || judge.gate("gate-left").receiver_count() == 3);
    let peers = [raw.address(), player.address(), watcher.web.address()];
    drop((raw, player, watcher));
    peers.into_iter().for_each(|peer| wait_for_close(peer, "the peer closed"));
    judge.answer("gate-left", Verdict::Allow);
    // Those who ask now are answered after those who left.
    let publisher = Peer::publish(node.rtmp, "live/after-gate-left");
    publisher.leave();
    let of_key = log().lines(&["stream=live/gate-left ", "placed"]);
    assert!(of_key.is_empty(), "a late yes to those who left: {of_key:?}");
    let mut publisher = Peer::publish(node.rtmp, "live/gate-left");
    publisher.push(1);
    log().wait_for(&["stream=live/gate-left ", "publish"]);
}

#[test]
fn a_denial_reaches_each_kind_of_client_with_its_reason() {
    let (node, _) = start("");
    let why = "the house is full".to_owned();
    let refusal = |goal, path| Peer::new(node.rtmp, goal, path).refusal();
    let denied = |code: &str| (code.to_owned(), why.clone());
    assert_eq!(refusal(Goal::Publish, "live/deny"), denied("NetStream.Publish.Denied"));
    assert_eq!(refusal(Goal::Play, "live/deny"), denied("NetStream.Play.Failed"));
    assert_eq!(refusal(Goal::Play, "deny/x"), denied("NetConnection.Connect.Rejected"));
    let answer = get(node.http, "/live/deny.flv");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert!(answer.body.contains(&why), "{}", answer.body);
    let mut web = web::Web::new(node.http);
    web.send(
        "GET /live/deny.flv HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(web.answer().status, 403);
}

#[test]
fn media_behind_a_publish_that_is_denied_does_not_destroy_the_reason() {
    let (node, judge) = start("");
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&[talk::publish("gate-denied"), talk::sound_message()].concat());
    judge.wait_until_asked("gate-denied");
    (0..500).for_each(|number| raw.send(&talk::frame_message(number)));
    judge.answer("gate-denied", Verdict::Deny("not today".to_owned()));
    assert_eq!(raw.status(), ("NetStream.Publish.Denied".to_owned(), "not today".to_owned()));
    raw.expect_closed();
}

#[test]
fn a_verdict_after_the_timeout_is_ignored() {
    // What the judge answers at once, even to connect, has to come within it.
    let (node, judge) = start("limits.verdict_timeout = '4s'");
    let mut publisher = Peer::new(node.rtmp, Goal::Publish, "live/gate-late");
    let (code, reason) = publisher.refusal();
    assert_eq!(code, "NetStream.Publish.Denied");
    assert_eq!(reason, "expected a verdict within 4s (limits.verdict_timeout), found none");
    let answer = get(node.http, "/live/gate-late.flv");
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("limits.verdict_timeout"), "{}", answer.body);
    // The next question of this connection must not get the answer to the one before.
    let mut next = Raw::ready(node.rtmp, "live");
    judge.answer("gate-late", Verdict::Allow);
    next.send(&talk::publish("gate-next"));
    assert_eq!(next.status().0, "NetStream.Publish.Denied");
    eventually("the question was put", || judge.was_asked("gate-next"));
    assert!(log().lines(&["stream=live/gate-late ", "placed"]).is_empty());
    assert!(log().lines(&["stream=live/gate-next ", "placed"]).is_empty());
}

#[test]
fn an_answerer_that_panics_is_one_that_does_not_answer() {
    // Long enough for the answers beside that one.
    let (node, _) = start("limits.verdict_timeout = '4s'");
    let (code, reason) = Peer::new(node.rtmp, Goal::Publish, "live/panic").refusal();
    assert_eq!(code, "NetStream.Publish.Denied");
    assert!(reason.contains("limits.verdict_timeout"), "{reason}");
    Peer::publish(node.rtmp, "live/after-panic").leave();
}

#[test]
fn other_streams_go_on_while_a_question_is_open() {
    let (node, judge) = start("");
    let mut publisher = Peer::publish(node.rtmp, "live/others");
    publisher.push(1);
    let mut player = Peer::play(node.rtmp, "live/others");
    player.start();
    let mut watcher = Watcher::new(node.http, "live/others.flv");
    let mut asking = Peer::new(node.rtmp, Goal::Publish, "live/gate-others");
    asking.go_on_until("the question", || judge.is_asked("gate-others"));
    for round in 0..50 {
        publisher.push(2);
        player.expect_frames((round > 0).then_some(round * 2 + 1), round * 2 + 2);
        watcher.expect_frames((round > 0).then_some(round * 2 + 1), round * 2 + 2);
    }
    // All of that while the question was open.
    judge.answer("gate-others", Verdict::Allow);
    asking.start();
}
