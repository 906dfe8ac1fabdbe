//! SIGTERM: load balancers are told, viewers are ended where they can go on elsewhere, a few at a
//! time and in their protocol's way, then publishers, then the process.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use binary::Binary;
use corecast::proto::rtmp::Goal;
use corecast::proto::rtmp::client::Event;
use node::{Node, PATIENCE, connect, eventually, free_port, listens};
use rustix::process::Signal;
use secure::Certificate;
use serde_json::Value;
use talk::{Peer, number_of_picture};
use web::{Watcher, Web, get};

/// Publishes pictures, a key frame every `gop`, until it is told to stop or the server ends it; then
/// it answers with the code and the words of that.
struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Option<(String, String)>>,
}

impl Publisher {
    fn start(port: u16, path: &str, gop: i64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut peer = Peer::new(port, Goal::Publish, path);
        peer.try_start().expect("it is let in");
        peer.announce_pictures();
        let told = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                peer.push_picture(peer.next() % gop == 0);
                match peer.event_within(Duration::from_millis(20)) {
                    None => {}
                    Some(Event::Ended { code, description }) => return Some((code, description)),
                    Some(other) => panic!("expected an end, found {other:?}"),
                }
            }
            None
        });
        Self { stop, thread }
    }

    fn end(self) -> Option<(String, String)> {
        self.thread.join().expect("it publishes to its end")
    }
}

/// The picture a player of RTMP got last, and the code by which it was ended.
#[track_caller]
fn last_of_player(player: &mut Peer) -> (i64, String) {
    let mut last = None;
    loop {
        match player.event() {
            Event::Frame(frame) => {
                let number = number_of_picture(&frame.data);
                assert!(last.is_none_or(|last| last + 1 == number), "{number} after {last:?}");
                last = Some(number);
            }
            Event::Ended { code, .. } => return (last.expect("it saw something"), code),
            Event::Track(_) | Event::Metadata(_) => {}
            other => panic!("expected frames, found {other:?}"),
        }
    }
}

/// The picture a viewer of HTTP-FLV got last, before the connection was closed behind a whole tag.
#[track_caller]
fn last_of_watcher(watcher: &mut Watcher) -> i64 {
    let mut last = None;
    while let Some(frame) = watcher.frame() {
        let number = number_of_picture(&frame.data);
        assert!(last.is_none_or(|last| last + 1 == number), "{number} after {last:?}");
        last = Some(number);
    }
    last.expect("it saw something")
}

#[test]
fn two_hundred_viewers_leave_before_a_key_frame_a_few_at_a_time_and_publishers_last() {
    const GOP: i64 = 10;
    let (https, certificate) = (free_port(), Certificate::new(0, &["edge.example"]));
    let mut binary = Binary::start(
        4000,
        &format!(
            // Who connects before the others goes on with its handshake after them.
            "cores = 2\napp_defaults.merge_window = '50ms'\n\
             limits.handshake_timeout = '60s'\nlimits.request_timeout = '60s'\n\
             http.tls_listen = ['127.0.0.1:{https}']\ntls.certificates = [{}]\n\
             drain.delay = '8s'\ndrain.rate = 40\ndrain.timeout = '60s'\n\
             app_defaults.wait_for_publisher = '60s'",
            certificate.toml()
        ),
    );
    let streams = ["live/one", "live/two"];
    let publishers = streams.map(|path| Publisher::start(binary.rtmp, path, GOP));
    let mut players: Vec<_> = (0..100).map(|at| Peer::play(binary.rtmp, streams[at % 2])).collect();
    let mut watchers: Vec<_> =
        (0..80).map(|at| Watcher::new(binary.http, &format!("{}.flv", streams[at % 2]))).collect();
    let secure = (0..20).map(|at| {
        let socket = certificate.connect(&connect(https), "edge.example");
        Watcher::on(socket, &format!("{}.flv", streams[at % 2]))
    });
    watchers.extend(secure);
    players.iter_mut().for_each(|player| player.try_start().expect("it is let in"));
    watchers.iter_mut().for_each(|watcher| drop(watcher.frame().expect("it is on")));
    let mut socket = Web::new(binary.http);
    socket.send(
        "GET /live/one.flv HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(socket.head().0, 101);
    let mut waiting = Web::new(binary.http);
    waiting.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");

    binary.signal(Signal::TERM);
    eventually("it drains", || binary.log().contains("not ready any more"));
    // For as long as a balancer may send somebody, newcomers are served.
    assert_eq!(get(binary.http, "/readyz").status, 503);
    // On a busy machine a core may be late for a moment.
    eventually("it is well", || get(binary.http, "/healthz").status == 200);
    let mut late = Watcher::new(binary.http, "live/one.flv");
    late.frame().expect("it is on");
    eventually("the doors are closed", || !listens(binary.rtmp) && !listens(binary.http));
    watchers.push(late);

    let mut ends: BTreeSet<i64> = BTreeSet::new();
    for watcher in &mut watchers {
        ends.insert(last_of_watcher(watcher));
    }
    for player in &mut players {
        let (last, code) = last_of_player(player);
        assert_eq!(code, "NetStream.Play.UnpublishNotify");
        ends.insert(last);
    }
    assert!(ends.iter().all(|last| (last + 1) % GOP == 0), "before a key frame: {ends:?}");
    // Forty per second, and a key frame several times a second: not all at one, even if what has been
    // held up for two seconds is made up for at once.
    assert!(ends.len() >= 3, "paced: {ends:?}");
    socket.expect_closed();
    let words = b"this server is going out of service: try another";
    let frame = &socket.heard[socket.heard.len() - 2 - 2 - words.len()..];
    assert_eq!((frame[0], &frame[2..4]), (0x88, &[0x03, 0xe9][..]), "1001, going away");
    assert_eq!(&frame[4..], words);
    let answer = waiting.answer();
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("going out of service"), "{}", answer.body);

    for publisher in publishers {
        let (code, words) = publisher.end().expect("the server ends it");
        assert_eq!(code, "NetStream.Failed");
        assert!(words.contains("going out of service"), "{words}");
    }
    assert_eq!(binary.wait().code(), Some(0));
    let log = binary.log();
    let lines: Vec<&str> = log.lines().collect();
    let at = |text: &str| lines.iter().rposition(|line| line.contains(text)).expect("it is said");
    let publishers_begin = at("drain: publishers are ended");
    let viewer = |line: &&&str| line.contains(" play client=");
    let played = lines.iter().filter(viewer).count();
    assert_eq!(played, 202, "{log}");
    let ended = lines[..publishers_begin]
        .iter()
        .filter(|line| line.contains("going out of service") && !line.contains(" close "));
    assert_eq!(ended.count(), 202, "all viewers before the first publisher: {log}");
}

#[test]
fn a_second_sigterm_and_a_sigint_stop_it_at_once() {
    for second in [Signal::TERM, Signal::INT] {
        let mut binary = Binary::start(1000, "cores = 2\ndrain.delay = 0\ndrain.timeout = '1h'");
        // No key frame will come that a viewer could leave before.
        let publisher = Publisher::start(binary.rtmp, "live/long", i64::MAX);
        let mut watcher = Watcher::new(binary.http, "live/long.flv");
        watcher.frame().expect("it is on");
        binary.signal(Signal::TERM);
        eventually("it drains", || binary.log().contains("viewers are ended"));
        watcher.frame().expect("it is still on");
        publisher.stop.store(true, Ordering::Relaxed);
        binary.signal(second);
        assert_eq!(binary.wait().code(), Some(0));
        drop(publisher.thread);
    }
    // The first SIGINT too.
    let mut binary = Binary::start(1000, "cores = 2\ndrain.timeout = '2h'\ndrain.delay = '1h'");
    let mut peer = Peer::publish(binary.rtmp, "live/int");
    peer.push(1);
    binary.signal(Signal::INT);
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn publishers_without_viewers_are_told_of_a_stop_at_once_too() {
    let lines = "cores = 1\nlimits.first_frame_timeout = '60s'\nlimits.publisher_silence = '60s'";
    let mut binary = Binary::start(1000, lines);
    let publisher = |n| Peer::publish(binary.rtmp, &format!("live/{n}"));
    let mut publishers: Vec<_> = (0..200).map(publisher).collect();
    binary.signal(Signal::INT);
    for (n, publisher) in publishers.iter_mut().enumerate() {
        match publisher.event() {
            Event::Ended { code, .. } => assert_eq!(code, "NetStream.Failed"),
            other => panic!("publisher {n} heard {other:?}"),
        }
    }
    assert_eq!(binary.wait().code(), Some(0));
}

#[test]
fn when_the_time_is_over_who_is_left_is_told_and_ended() {
    // Time enough for the core to say who is here: who has not been counted is not waited for.
    let mut binary = Binary::start(1000, "cores = 1\ndrain.delay = '10ms'\ndrain.timeout = '6s'");
    let publisher = Publisher::start(binary.rtmp, "live/long", i64::MAX);
    let mut player = Peer::play(binary.rtmp, "live/long");
    player.try_start().expect("it is let in");
    let mut watcher = Watcher::new(binary.http, "live/long.flv");
    watcher.frame().expect("it is on");
    binary.signal(Signal::TERM);
    assert_eq!(last_of_player(&mut player).1, "NetStream.Play.UnpublishNotify");
    last_of_watcher(&mut watcher);
    assert_eq!(publisher.end().expect("the server ends it").0, "NetStream.Failed");
    assert_eq!(binary.wait().code(), Some(0));
    assert!(binary.log().contains("drain.timeout is over"), "{}", binary.log());
}

#[test]
fn with_nobody_there_no_balancer_is_waited_for() {
    let admin = free_port();
    let lines = format!(
        "cores = 2\ndrain.timeout = '2h'\ndrain.delay = '1h'\nadmin.listen = ['127.0.0.1:{admin}']"
    );
    let mut binary = Binary::start(1000, &lines);
    // The connections of the harness are closed soon, and each counts for a moment beyond its last line.
    eventually("their last lines are there", || {
        let log = binary.log();
        log.matches("close client").count() >= binary.tried
    });
    eventually("nobody is there", || {
        let mut web = Web::new(admin);
        web.send("GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n");
        web.answer().body.contains("\"connections\":0,")
    });
    assert_eq!(binary.terminate().code(), Some(0));
}

#[test]
fn by_the_api_it_drains_and_comes_back() {
    // The one key frame is kept for newcomers, however long they take to come.
    let lines = "cores = 2\ndrain.delay = '20ms'\ndrain.timeout = '20s'\n\
                 app_defaults.gop_cache_max = '1h'";
    let node = Node::start(lines, None);
    let ask = |method: &str| -> Value {
        let mut web = Web::new(node.admin);
        web.send(&format!("{method} /api/v1/drain HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = web.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("JSON")
    };
    let state = || ask("GET")["state"].as_str().expect("a text").to_owned();
    assert_eq!(state(), "serving");
    let ready = || get(node.admin, "/readyz").status;
    eventually("it is ready", || ready() == 200);
    // No key frame comes: it hangs on one viewer, and is undone.
    let publisher = Publisher::start(node.rtmp, "live/api", i64::MAX);
    let mut watcher = Watcher::new(node.http, "live/api.flv");
    watcher.frame().expect("it is on");
    // Who waits until nobody is left is not told so because nobody was counted yet. A core that does
    // not answer for a second is not waited for: then it is asked anew.
    eventually("all cores answer in time", || {
        let asked = Instant::now();
        let twice = [(); 2].map(|()| ask("POST"));
        if asked.elapsed() >= Duration::from_secs(1) {
            ask("DELETE");
            return false;
        }
        for told in twice {
            assert_ne!(told["state"], "serving");
            let left = (&told["viewers_left"], &told["publishers_left"]);
            assert_eq!(left, (&1.into(), &1.into()), "{told}");
        }
        true
    });
    assert!(ask("GET")["since"].as_u64().is_some_and(|since| since > 0));
    eventually("it waits for the viewer", || state() == "viewers");
    let progress = ask("GET");
    assert_eq!((&progress["viewers_left"], &progress["publishers_left"]), (&1.into(), &1.into()));
    assert!(!listens(node.http) && !listens(node.rtmp) && listens(node.admin));
    assert_eq!(ready(), 503);
    assert_eq!(ask("DELETE")["state"], "serving");
    // On a busy machine a core may be late for a moment.
    eventually("it is ready again", || ready() == 200);
    assert!(listens(node.http) && listens(node.rtmp));
    watcher.frame().expect("it stays");
    let mut newcomer = Watcher::new(node.http, "live/api.flv");
    newcomer.frame().expect("it is let in");

    // With key frames it drains to the end, stays, and comes back empty.
    publisher.stop.store(true, Ordering::Relaxed);
    assert_eq!(publisher.end(), None);
    ask("POST");
    eventually("nobody is left", || state() == "drained");
    for viewer in [&mut watcher, &mut newcomer] {
        while viewer.frame().is_some() {}
    }
    assert!(!listens(node.http));
    assert_eq!(ask("DELETE")["state"], "serving");
    assert_eq!(get(node.http, "/live/x.txt").status, 404);
    let mut again = Peer::publish(node.rtmp, "live/again");
    again.push(3);
    let mut viewer = Peer::play(node.rtmp, "live/again");
    viewer.start();
    viewer.expect_frames(None, 2);
}

/// What a listener to the API's events is told of the drain, in order, up to `last` of `step`.
#[track_caller]
fn drain_events(web: &mut Web, last: &str) -> Vec<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&web.heard).into_owned();
        let events = text.split("\n\n").filter(|event| event.contains("event: drain"));
        let data = |event: &str| {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            serde_json::from_str::<Value>(data.expect("it has data")).expect("JSON")
        };
        // What has not come whole yet has no end.
        let whole =
            text.rsplit_once("\n\n").map_or(0, |(whole, _)| whole.matches("event: drain").count());
        let told: Vec<_> = events.take(whole).map(data).collect();
        if told.last().is_some_and(|told| told["step"] == last) {
            web.heard.clear();
            return told;
        }
        assert!(Instant::now() < end && web.hear(), "expected {last} in {text}");
    }
}

#[test]
fn who_listens_to_events_is_told_how_a_drain_goes() {
    let node = Node::start("cores = 2\ndrain.delay = '20ms'\ndrain.timeout = '20s'", None);
    let ask = |method: &str| -> Value {
        let mut web = Web::new(node.admin);
        web.send(&format!("{method} /api/v1/drain HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = web.answer();
        assert_eq!(answer.status, 200);
        serde_json::from_str(&answer.body).expect("JSON")
    };
    let mut events = Web::new(node.admin);
    events.send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(events.head().0, 200);
    let publisher = Publisher::start(node.rtmp, "live/told", i64::MAX);
    let mut watcher = Watcher::new(node.http, "live/told.flv");
    watcher.frame().expect("it is on");
    ask("POST");
    eventually("its viewers are to end", || ask("GET")["state"] == "viewers");
    ask("DELETE");
    let told = drain_events(&mut events, "undone");
    assert_eq!((&told[0]["step"], &told[0]["state"]), (&"started".into(), &"announced".into()));
    assert!(told[0]["since"].as_u64().is_some() && told[0]["at"].as_f64().is_some(), "{told:?}");
    let one_left =
        |told: &&Value| (&told["viewers_left"], &told["publishers_left"]) == (&1.into(), &1.into());
    let progress = |told: &&Value| told["step"] == "progress";
    assert!(told.iter().filter(progress).any(|told| one_left(&told)), "{told:?}");
    assert!(told.iter().any(|told| told["state"] == "viewers"), "{told:?}");
    assert_eq!(told.last().expect("some")["state"], "serving");

    // And to its end.
    publisher.stop.store(true, Ordering::Relaxed);
    assert_eq!(publisher.end(), None);
    ask("POST");
    while watcher.frame().is_some() {}
    let told = drain_events(&mut events, "drained");
    let steps: Vec<_> = told.iter().map(|told| told["step"].as_str().expect("a text")).collect();
    assert_eq!(steps.iter().filter(|step| **step == "started").count(), 1, "{steps:?}");
    assert_eq!(steps[0], "started");
    let last = told.last().expect("some");
    assert_eq!((&last["state"], &last["viewers_left"]), (&"drained".into(), &0.into()));
    let states: Vec<_> = told.iter().map(|told| told["state"].as_str().expect("a text")).collect();
    let mut in_order = states.clone();
    in_order.dedup();
    assert_eq!(in_order, ["announced", "viewers", "publishers", "drained"]);
}
