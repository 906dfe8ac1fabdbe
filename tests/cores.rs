//! Two cores and the way between them: who owns a key, how connections move, and what happens
//! when a core stalls or dies.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use corecast::config::Config;
use corecast::control::stats::{self, NodeSnapshot};
use corecast::media::StreamKey;
use corecast::net::{self, rt};
use corecast::plane::{PressureSnapshot, StreamState, Totals};
use corecast::proto::rtmp::Goal;
use corecast::serve::Mesh;
use corecast::serve::core::{Core, Node as CoreNode};
use corecast::serve::doors::{Door, Place};
use corecast::serve::load::SOURCE_LOAD;
use corecast::serve::order::Order;
use corecast::serve::verdict::Protocol;
use corecast::shard::{self, CoreEnded, CoreId, Tell};
use node::{Node, connect, eventually, field, free_port, listens, log};
use talk::{Peer, Raw};
use web::{Answer, Watcher, Web, get};

/// A connection that core `core` accepted. The kernel chooses the core by the ports, so this
/// connects until it is the right one.
fn connect_to(port: u16, core: u16) -> TcpStream {
    for _ in 0..200 {
        let socket = connect(port);
        if log().core_of(socket.local_addr().expect("connected")) == core {
            return socket;
        }
    }
    panic!("200 connections, and none came to core {core}");
}

/// Where the connection from `peer` moved to, if it did.
fn moved_to(peer: SocketAddr) -> Option<u16> {
    let lines = log().lines(&["moved here", &format!("peer={peer} ")]);
    assert!(lines.len() <= 1, "at most once per request: {lines:?}");
    lines.first().map(|line| field(line, "core").parse().expect("a number"))
}

#[test]
fn of_two_publishers_on_two_cores_exactly_one_is_told_start() {
    let node = Node::start("cores = 2", None);
    for round in 0..50 {
        let mut two = [0, 1].map(|core| {
            let mut raw = Raw::on(connect_to(node.rtmp, core));
            raw.make_ready("live");
            raw
        });
        let (start, name) = (Barrier::new(2), format!("race-{round}"));
        let codes: Vec<String> = thread::scope(|scope| {
            let race = |raw: &mut Raw| {
                let publish = talk::publish(&name);
                start.wait();
                raw.send(&publish);
                raw.status().0
            };
            let threads: Vec<_> =
                two.iter_mut().map(|raw| scope.spawn(move || race(raw))).collect();
            threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
        });
        let winner = codes.iter().position(|code| code == "NetStream.Publish.Start");
        let winner = winner.unwrap_or_else(|| panic!("nobody was told Start: {codes:?}"));
        assert_eq!(codes[1 - winner], "NetStream.Publish.BadName", "{codes:?}");
        two[1 - winner].expect_closed();
    }
}

#[test]
fn publishers_and_viewers_of_any_core_meet_at_the_owner() {
    // A publisher says nothing until its viewers have come to the core that they are to come to.
    let node = Node::start("cores = 2\nlimits.publisher_silence = '1h'", None);
    // Who moved where: publisher, RTMP player, HTTP viewer.
    let mut seen = HashSet::new();
    let all = 3 * 2;
    for round in 0..200 {
        if seen.len() == all {
            break;
        }
        let (of_publisher, of_viewers) = (round % 2, round / 2 % 2);
        let path = format!("live/meet-{round}");
        let mut publisher = Peer::on(connect_to(node.rtmp, of_publisher), Goal::Publish, &path);
        publisher.start();
        publisher.push(3);
        let mut player = Peer::on(connect_to(node.rtmp, of_viewers), Goal::Play, &path);
        player.start();
        let mut watcher = Watcher::on(connect_to(node.http, of_viewers), &format!("{path}.flv"));
        player.expect_frames(None, 2);
        watcher.expect_frames(None, 2);
        publisher.push(30);
        player.expect_frames(Some(3), 32);
        watcher.expect_frames(Some(3), 32);
        let line = log().wait_for(&["publish ", &format!("stream={path} ")]);
        let owner: u16 = field(&line, "core").parse().expect("a number");
        let expected = |from| (from != owner).then_some(owner);
        let peers = [publisher.address(), player.address(), watcher.web.address()];
        for (who, (peer, from)) in
            peers.into_iter().zip([of_publisher, of_viewers, of_viewers]).enumerate()
        {
            assert_eq!(moved_to(peer), expected(from));
            seen.extend(moved_to(peer).map(|to| (who, to)));
        }
    }
    assert_eq!(seen.len(), all, "every kind of client moved both ways: {seen:?}");
}

#[test]
fn what_was_sent_ahead_moves_along() {
    let node = Node::start("cores = 2", None);
    let mut moved = HashSet::new();
    for round in 0..200 {
        if moved.len() == 2 {
            break;
        }
        let name = format!("ahead-{round}");
        let mut raw = Raw::on(connect_to(node.rtmp, round % 2));
        // All of it at once, from connect on; less than the second that a viewer starts back.
        let mut all = talk::connect_call("live");
        all.extend(talk::call("createStream", 2.0, 0, &[corecast::container::amf0::Value::Null]));
        all.extend(talk::publish(&name));
        all.extend(talk::sound_message());
        (0..30).for_each(|number| all.extend(talk::frame_message(number)));
        all.extend(talk::ping(9));
        raw.send(&all);
        assert_eq!(raw.status().0, "NetStream.Publish.Start");
        raw.pong(9);
        let mut viewer = Peer::play(node.rtmp, &format!("live/{name}"));
        viewer.start();
        viewer.expect_frames(Some(0), 29);
        moved.extend(moved_to(raw.address()));
    }
    assert_eq!(moved.len(), 2, "both ways");
}

#[test]
fn answers_to_what_was_sent_ahead_do_not_wait_for_a_publisher() {
    let node = Node::start("cores = 2\napp_defaults.wait_for_publisher = '1s'", None);
    let create = talk::call("createStream", 2.0, 0, &[corecast::container::amf0::Value::Null]);
    let mut moved = HashSet::new();
    for number in 0..20 {
        let mut raw = Raw::new(node.rtmp);
        let play = talk::play(&format!("nobody-{number}"));
        raw.send(&[talk::connect_call("live"), create.clone(), play].concat());
        // Before the publisher is given up, and even though no greeting is ever sent.
        raw.reply(2.0);
        assert_eq!(raw.status().0, "NetStream.Play.StreamNotFound");
        moved.insert(moved_to(raw.address()).is_some());
        if moved.len() == 2 {
            return;
        }
    }
    panic!("all of them moved, or none");
}

#[test]
fn a_viewer_asks_for_another_stream_on_another_core_and_moves_again() {
    let lines = "cores = 2\napp_defaults.wait_for_publisher = '50ms'\n\
                 limits.publisher_silence = '1h'";
    let node = Node::start(lines, None);
    // Four streams lie on both cores: each new one goes to the less loaded.
    let names = ["again-a", "again-b", "again-c", "again-d"];
    let publishers = names.map(|name| {
        let mut publisher = Peer::publish(node.rtmp, &format!("live/{name}"));
        publisher.push(5);
        publisher
    });
    let owners = names.map(|name| {
        let line = log().wait_for(&["publish ", &format!("stream=live/{name} ")]);
        field(&line, "core").to_owned()
    });
    assert!(owners.iter().any(|owner| *owner != owners[0]), "{owners:?}");
    // A stream nobody publishes, then the four, on one connection.
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&talk::play("again-nobody"));
    assert_eq!(raw.status().0, "NetStream.Play.StreamNotFound");
    for name in names {
        raw.send(&talk::play(name));
        while raw.status().0 != "NetStream.Play.Start" {}
        while raw.message().expect("the server stays").kind != corecast::proto::rtmp::kind::AUDIO {}
        let close = [corecast::container::amf0::Value::Null];
        raw.send(&talk::call("closeStream", 0.0, 1, &close));
        raw.send(&talk::ping(1));
        raw.pong(1);
    }
    drop(publishers);
}

#[test]
fn a_key_nobody_uses_any_more_leaves_no_trace() {
    let node = Node::start(
        "cores = 2\napp_defaults.wait_for_publisher = '200ms'\n\
         app_defaults.publisher_grace = '100ms'",
        None,
    );
    for round in 0..20 {
        let path = format!("live/trace-{round}");
        match round % 4 {
            // Waited for in vain.
            0 => {
                assert_eq!(get(node.http, &format!("/{path}.flv")).status, 404);
                let (code, _) = Peer::play(node.rtmp, &path).refusal();
                assert_eq!(code, "NetStream.Play.StreamNotFound");
            }
            // Published, watched, and left by both; and one that was refused.
            1 => {
                let mut publisher = Peer::publish(node.rtmp, &path);
                publisher.push(1);
                let mut viewer = Watcher::new(node.http, &format!("{path}.flv"));
                viewer.expect_frames(None, 0);
                let (code, _) = Peer::new(node.rtmp, Goal::Publish, &path).refusal();
                assert_eq!(code, "NetStream.Publish.BadName");
                publisher.leave();
            }
            // Hung up on at once, wherever the question was.
            2 => {
                for _ in 0..10 {
                    let mut raw = Raw::ready(node.rtmp, "live");
                    raw.send(&talk::publish(&format!("trace-{round}")));
                    Web::new(node.http).send(&format!("GET /{path}.flv HTTP/1.1\r\n\r\n"));
                }
            }
            // Looked at by HEAD alone.
            _ => {
                let mut web = Web::new(node.http);
                web.send(&format!("HEAD /{path}.flv HTTP/1.1\r\nHost: test\r\n\r\n"));
                assert_eq!(web.head().0, 404);
            }
        }
    }
    let keys = |what| {
        let id =
            |line: &String| (field(line, "stream").to_owned(), field(line, "epoch").to_owned());
        log().lines(&[what, "stream=live/trace-"]).iter().map(id).collect::<HashSet<_>>()
    };
    eventually("every key that was placed is forgotten", || keys("placed") == keys("forgotten"));
    let names: HashSet<_> = keys("placed").into_iter().map(|(name, _)| name).collect();
    assert!(names.len() >= 15, "{names:?}");
}

/// A node put together by hand, so that its second core can be held up.
struct HalfNode {
    core_node: Arc<CoreNode>,
    rtmp: u16,
    http: u16,
    go: Arc<AtomicBool>,
    /// While true, core 0 takes itself to be busy all the time.
    busy: Arc<AtomicBool>,
    ends: mpsc::Receiver<CoreEnded>,
    /// While it is there, somebody looks at the cores' alarms, as the control thread does.
    _watch: mpsc::Sender<()>,
}

/// Core 0 serves; core 1 does not begin until it is let.
fn start_with_a_stalled_core() -> HalfNode {
    log();
    let (rtmp, http) = (free_port(), free_port());
    let text = "app_defaults.merge_window = 0\napp_defaults.probe_timeout = '20ms'\n\
                app_defaults.wait_for_publisher = '300ms'\n\
                app_defaults.publisher_grace = '100ms'\nlimits.mesh_queue = 16\n\
                limits.publisher_silence = '60s'";
    let config = Config::load(text, "test", []).expect("valid");
    let mesh = Mesh::new(2, config.limits.mesh_queue);
    let core_node =
        Arc::new(CoreNode { connections_max: 1000, rtmp_port: rtmp.into(), ..CoreNode::new(mesh) });
    let config = Arc::new(config);
    let [go, busy] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (ended, ends) = mpsc::channel();
    let (node, let_go, let_be_busy) = (Arc::clone(&core_node), Arc::clone(&go), Arc::clone(&busy));
    let main = move |id: CoreId| {
        let (node, config) = (Arc::clone(&node), Arc::clone(&config));
        let go = Arc::clone(&let_go);
        let busy = Arc::clone(&let_be_busy);
        async move {
            let core = Core::new(id, node, config);
            if id == CoreId(1) {
                while !go.load(Ordering::Relaxed) {
                    rt::sleep(Duration::from_millis(5)).await;
                }
                core.start();
                return core.stopped().await;
            }
            core.start();
            for (port, protocol) in [(rtmp, Protocol::Rtmp), (http, Protocol::Http)] {
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                let socket = net::bind(address, false, 128).expect("free");
                core.open(Door { place: Place { address, protocol, secure: false }, socket });
            }
            let hub = std::rc::Rc::clone(core.hub());
            rt::spawn(async move {
                loop {
                    if busy.load(Ordering::Relaxed) {
                        hub.borrow_mut().second(1.0, Duration::ZERO);
                    }
                    rt::sleep(Duration::from_millis(5)).await;
                }
            });
            core.stopped().await;
        }
    };
    let ended = move |end| ended.send(end).expect("the test waits");
    shard::launch(&[0, 1], core_node.health.alarms(), ended, main).expect("two cores");
    let node = Arc::clone(&core_node);
    let (watch, over) = mpsc::channel();
    thread::spawn(move || {
        while over.recv_timeout(Duration::from_secs(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
            node.health.ring(Instant::now());
        }
    });
    eventually("it listens", || listens(rtmp) && listens(http));
    HalfNode { core_node, rtmp, http, go, busy, ends, _watch: watch }
}

impl HalfNode {
    fn measure(&self, earlier: Option<&NodeSnapshot>) -> NodeSnapshot {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(stats::measure(&self.core_node, earlier))
    }

    /// Both cores end, and well.
    fn stop(self) {
        self.go.store(true, Ordering::Relaxed);
        for core in 0..2 {
            self.core_node.mesh.try_tell(CoreId(core), Tell::Order(Order::Stop)).expect("room");
        }
        for _ in 0..2 {
            let end = self.ends.recv_timeout(node::PATIENCE).expect("it stops");
            assert!(!end.panicked, "{end:?}");
        }
    }

    /// A name in the app live whose home is core 0.
    fn name_at_home_on_core_0(&self, like: &str) -> String {
        let names = (0..).map(|n| format!("{like}-{n}"));
        let at_home = |name: &String| {
            let key = StreamKey::new("live", name).expect("valid");
            self.core_node.mesh.home(&key) == CoreId(0)
        };
        names.into_iter().find(at_home).expect("every other one")
    }
}

#[test]
fn a_core_with_a_full_inbox_refuses_newcomers_and_nobody_else_loses_a_byte() {
    let node = start_with_a_stalled_core();
    let healthy = node.name_at_home_on_core_0("healthy");
    let mut publisher = Peer::publish(node.rtmp, &format!("live/{healthy}"));
    publisher.push(1);
    let mut viewer = Watcher::new(node.http, &format!("live/{healthy}.flv"));
    viewer.expect_frames(None, 0);

    // The next key goes to the core with nothing to do, which is the one that does nothing.
    node.core_node.loads[0].fetch_add(SOURCE_LOAD, Ordering::Relaxed);
    let crowded = node.name_at_home_on_core_0("crowded");
    let path = format!("GET /live/{crowded}.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut crowd: Vec<Web> = (0..20).map(|_| Web::new(node.http)).collect();
    for web in &mut crowd {
        web.send(&path);
        publisher.push(10);
    }
    // Half of the inbox is for connections: eight wait there, all others are told.
    let mut refused = Vec::new();
    let answers = |crowd: &mut Vec<Web>| {
        crowd
            .extract_if(.., |web| {
                web.socket.set_nonblocking(true).expect("a socket");
                let has_answer = web.socket.peek(&mut [0]).is_ok();
                web.socket.set_nonblocking(false).expect("a socket");
                has_answer
            })
            .collect::<Vec<_>>()
    };
    eventually("twelve answers", || {
        refused.extend(answers(&mut crowd));
        refused.len() >= 12
    });
    for web in &mut refused {
        let answer = web.answer();
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("too busy"), "{}", answer.body);
        web.expect_closed();
    }
    let path = format!("live/{crowded}");
    let (code, reason) = Peer::play(node.rtmp, &path).refusal();
    assert_eq!(code, "NetStream.Play.Failed");
    assert!(reason.contains("too busy"), "{reason}");
    let (code, reason) = Peer::new(node.rtmp, Goal::Publish, &path).refusal();
    assert_eq!(code, "NetStream.Publish.Denied");
    assert!(reason.contains("too busy"), "{reason}");
    publisher.push(10);
    viewer.expect_frames(Some(1), publisher.next() - 1);
    let refused = &node.core_node.counters.refused_hand_overs;
    assert_eq!(refused.load(Ordering::Relaxed), 14);

    // When the core goes on, those who wait are served, and the key is forgotten.
    assert_eq!(crowd.len(), 8);
    node.go.store(true, Ordering::Relaxed);
    for web in &mut crowd {
        assert_eq!(web.answer().status, 404);
    }
    assert_eq!(get(node.http, &format!("/{path}.flv")).status, 404);
    log().wait_for(&["forgotten", &format!("stream={path} ")]);
    publisher.push(10);
    viewer.expect_frames(Some(publisher.next() - 10), publisher.next() - 1);
    node.stop();
}

#[test]
fn newcomers_of_an_overloaded_core_are_sent_elsewhere_and_running_viewers_go_on() {
    let node = start_with_a_stalled_core();
    let path = format!("live/{}", node.name_at_home_on_core_0("overloaded"));
    let mut publisher = Peer::publish(node.rtmp, &path);
    publisher.push(1);
    let mut viewer = Watcher::new(node.http, &format!("{path}.flv"));
    viewer.expect_frames(None, 0);

    node.busy.store(true, Ordering::Relaxed);
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in ["", upgrade] {
        // It takes nine of its seconds; and at the end of a real one it sees that there is air.
        eventually("refused", || {
            let mut web = Web::new(node.http);
            web.send(&format!("GET /{path}.flv HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
            let (status, head) = web.head();
            if status != 503 {
                return false;
            }
            let mut answer = Answer { status, head, body: String::new() };
            let length = answer.field("content-length").expect("a length").parse();
            answer.body = String::from_utf8(web.take(length.expect("a number"))).expect("text");
            assert_eq!(answer.field("retry-after"), Some("5"));
            assert_eq!(answer.field("content-type"), Some("application/json"));
            let json = r#"{"error": "no room", "detail": "this server is overloaded: try another, or this one again later"}"#;
            assert_eq!(answer.body.trim_end(), json);
            true
        });
    }
    eventually("refused", || {
        let Err((code, reason)) = Peer::play(node.rtmp, &path).try_start() else { return false };
        assert_eq!(code, "NetStream.Play.Failed");
        assert_eq!(reason, "this server is overloaded: try another, or this one again later");
        true
    });
    log().wait_for(&["WARN", "newcomers are refused"]);
    node.go.store(true, Ordering::Relaxed);
    eventually("the figures say so", || {
        let NodeSnapshot { totals, cores, .. } = node.measure(None);
        let PressureSnapshot { step, widest_step, refuses_newcomers } = cores[0].pressure;
        assert!(totals.refused_overloaded >= 3, "{totals:?}");
        refuses_newcomers && step == widest_step && cores[0].streams[0].window_ms == 1000.0
    });
    publisher.push(10);
    viewer.expect_frames(Some(1), publisher.next() - 1);

    node.busy.store(false, Ordering::Relaxed);
    eventually("they are let in again", || {
        let mut web = Web::new(node.http);
        web.send(&format!("GET /{path}.flv HTTP/1.1\r\nHost: test\r\n\r\n"));
        web.head().0 == 200
    });
    // With its last stream a core forgets what there was, and says so, at once: to narrow step by
    // step would take it a second each.
    drop((publisher, viewer));
    eventually("it is told", || {
        let narrowed = log().lines(&["INFO", "merge windows narrowed", "step=0 "]);
        narrowed.iter().any(|line| !line.contains("busy="))
    });
    node.stop();
}

#[test]
fn who_stands_at_a_door_that_closes_comes_in_and_nobody_after() {
    let node = start_with_a_stalled_core();
    let port = free_port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = net::bind(address, false, 128).expect("free");
    let place = Place { address, protocol: Protocol::Http, secure: false };
    let door = Door { place, socket };
    let tell = |order| node.core_node.mesh.try_tell(CoreId(1), Tell::Order(order)).expect("room");
    tell(Order::Open(vec![door], tokio::sync::oneshot::channel().0));
    tell(Order::Close(vec![address], tokio::sync::oneshot::channel().0));
    // The kernel lets them in; the core, which does nothing yet, will close before it accepts.
    let mut waiting: Vec<Web> = (0..20).map(|_| Web::new(port)).collect();
    for web in &mut waiting {
        web.send("GET /live/x.txt HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    node.go.store(true, Ordering::Relaxed);
    for web in &mut waiting {
        assert_eq!(web.answer().status, 404);
    }
    assert!(TcpStream::connect(address).is_err());
    drop(waiting);
    node.stop();
}

#[test]
fn a_node_is_measured_by_message_and_a_core_that_hangs_is_told() {
    let node = start_with_a_stalled_core();
    let path = format!("live/{}", node.name_at_home_on_core_0("measured"));
    let mut publisher = Peer::publish(node.rtmp, &path);
    publisher.push(1);
    let mut viewers = [0, 1].map(|_| Watcher::new(node.http, &format!("{path}.flv")));
    viewers.iter_mut().for_each(|viewer| viewer.expect_frames(None, 0));
    let first = node.measure(None);
    assert_eq!((first.silent_cores, first.cores.len()), (1, 1));
    assert_eq!(first.connections, 3);

    node.go.store(true, Ordering::Relaxed);
    publisher.push(40);
    viewers.iter_mut().for_each(|viewer| viewer.expect_frames(Some(1), 40));
    let now = node.measure(Some(&first));
    assert_eq!((now.silent_cores, now.cores.len()), (0, 2));
    let core = &now.cores[0];
    let [stream] = &core.streams[..] else { panic!("{now:?}") };
    assert_eq!((stream.stream.as_str(), stream.state), (path.as_str(), StreamState::Live));
    assert_eq!((stream.viewers, stream.frames), (2, 41));
    assert_eq!(stream.egress_bytes, core.totals.egress_bytes);
    let Totals { writes, sweeps, ingest_ns, flush_ns, .. } = core.totals;
    assert!(writes > 0 && sweeps > 0 && ingest_ns > 0 && flush_ns > 0, "{now:?}");
    // The one stream of its core is all that the core does. Each is by its own look at the clock: what
    // holds up the core between the two counts the less, the longer it is since the first of them.
    eventually("what the stream takes is what its core takes", || {
        let now = node.measure(Some(&first));
        let core = &now.cores[0];
        let (of_stream, of_core) = (core.streams[0].rates.cpu_percent, core.rates.cpu_percent);
        of_core > 0.0 && (of_stream - of_core).abs() <= of_core * 0.5
    });
    assert!(stream.rates.cpu_per_1000_viewers_percent.is_some_and(|percent| percent > 0.0));
    assert!(core.sweep.count > 0 && core.sweep.count < core.totals.sweeps + 1, "{now:?}");
    assert_eq!(now.cores[1].totals.sources, 0);
    node.stop();
}

#[test]
fn a_core_that_dies_is_noticed() {
    let (ended, ends) = mpsc::channel();
    let ended = move |end| ended.send(end).expect("the test waits");
    let main = |id: CoreId| async move {
        if id == CoreId(1) {
            // Not in its main task: in one beside it.
            rt::spawn(async { panic!("as the test wants it") });
        }
        rt::sleep(Duration::from_millis(100)).await;
        if id == CoreId(2) {
            panic!("as the test wants it");
        }
    };
    let alarms = [(); 3].map(|()| Arc::default());
    shard::launch(&[0, 0, 0], &alarms, ended, main).expect("three threads on one core");
    let mut all: Vec<CoreEnded> = Vec::new();
    eventually("each ends", || {
        // One that others keep off its CPU may sleep through what wakes it, until its alarm rings.
        for alarm in &alarms {
            alarm.ring(Instant::now());
        }
        all.extend(ends.try_iter());
        all.len() == 3
    });
    all.sort_by_key(|end| end.core.0);
    assert_eq!(all.iter().map(|end| end.panicked).collect::<Vec<_>>(), [false, true, true]);
}
