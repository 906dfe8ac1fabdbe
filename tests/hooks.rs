//! Hooks over real sockets, with servers that are quick, slow, ill, or gone.

#![allow(missing_docs)]

#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use corecast::proto::rtmp::Goal;
use hmac::{Hmac, KeyInit, Mac};
use hook_server::{Answer, Heard, HookServer, after, once, say, say_yes_securely, yes};
use node::{Node, eventually, free_port, log};
use secure::Certificate;
use serde_json::Value;
use sha2::Sha256;
use talk::{Peer, Raw};
use web::{Watcher, Web, get};

const STARTS: [&str; 3] = ["on_connect", "on_publish", "on_play"];
const ENDS: [&str; 3] = ["on_close", "on_unpublish", "on_stop"];
const ALL: [&str; 6] =
    ["on_connect", "on_close", "on_publish", "on_publish_done", "on_play", "on_play_done"];

/// Whoever asks waits longer than any of these tests lets it.
const PATIENT: &str = "hooks.timeout = '30s'\nlimits.verdict_timeout = '40s'";

/// On two cores: what is asked on one goes on at the other. Patient, unless `lines` say how long it
/// is, with publishers too: they say nothing while others have their turn.
fn start(server: &HookServer, hooks: &[&str], lines: &str) -> Node {
    let patient = if lines.contains("hooks.timeout") { "" } else { PATIENT };
    let silence = match lines.contains("limits.publisher_silence") {
        true => "",
        false => "limits.publisher_silence = '60s'",
    };
    let hooks = server.lines(hooks);
    let lines = format!("cores = 2\nadmin.enabled = false\n{patient}\n{silence}\n{hooks}{lines}");
    Node::start(&lines, None)
}

fn text<'a>(heard: &'a Heard, name: &str) -> &'a str {
    heard.said[name].as_str().unwrap_or_else(|| panic!("expected {name} in {}", heard.said))
}

/// What a start and its end have in common: which kind, and whose.
fn subject(heard: &Heard) -> (usize, String) {
    let action = text(heard, "action");
    let kind =
        STARTS.iter().chain(&ENDS).position(|name| *name == action).expect("one of them") % 3;
    (kind, text(heard, "client_id").to_owned())
}

/// Waits until each yes has an end, and makes sure that none has two, that none came before its
/// yes was said, and that nothing ended which had not begun.
#[track_caller]
fn expect_one_end_per_start(server: &HookServer) {
    let of = |names: &[&str; 3]| {
        let heard = server.heard().into_iter();
        heard.filter(|heard| names.contains(&text(heard, "action"))).collect::<Vec<_>>()
    };
    eventually("an end for each start", || of(&ENDS).len() >= of(&STARTS).len());
    let (mut starts, mut ends) = (of(&STARTS), of(&ENDS));
    let by_subject = |heard: &Heard| (subject(heard), heard.heard);
    starts.sort_by_key(by_subject);
    ends.sort_by_key(by_subject);
    let subjects = |all: &[Heard]| all.iter().map(subject).collect::<Vec<_>>();
    assert_eq!(subjects(&starts), subjects(&ends));
    for (start, end) in starts.iter().zip(&ends) {
        let said = start.answered.expect("all were answered");
        assert!(said < end.heard, "{} came before the answer to {}", end.said, start.said);
    }
}

fn publish_and_play(node: &Node, name: &str) -> (Peer, Peer) {
    let path = format!("live/{name}");
    let mut publisher = Peer::publish(node.rtmp, &path);
    publisher.push(1);
    let mut player = Peer::play(node.rtmp, &path);
    player.start();
    player.expect_frames(None, 0);
    (publisher, player)
}

/// A client that asks, and does not wait for the answer.
fn ask(node: &Node, what: &[u8]) -> Raw {
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(what);
    raw
}

#[test]
fn each_start_has_one_end_however_it_comes_to_it() {
    let server = HookServer::start(|_| yes());
    let lines = "app_defaults.wait_for_publisher = '100ms'\n[app.take]\non_conflict = 'take_over'";
    let node = start(&server, &ALL, lines);

    // By hanging up, and by taking leave.
    let (publisher, player) = publish_and_play(&node, "ends");
    let mut watcher = Watcher::new(node.http, "live/ends.flv");
    watcher.expect_frames(None, 0);
    drop((player, watcher));
    publisher.leave();
    // By a conflict that shows after the yes.
    let mut first = Peer::publish(node.rtmp, "live/conflict");
    let (_, reason) = Peer::new(node.rtmp, Goal::Publish, "live/conflict").refusal();
    let refused = || server.of("on_unpublish").into_iter().find(|it| it.said["started"] == false);
    eventually("the end of a publish that met a conflict", || refused().is_some());
    assert_eq!(text(&refused().expect("waited for"), "reason"), reason);
    first.push(1);
    drop(first);
    // By being put out.
    let first = Peer::publish(node.rtmp, "take/x");
    let second = Peer::publish(node.rtmp, "take/x");
    log().wait_for(&["another publisher took over take/x", " close "]);
    drop((first, second));
    // By waiting in vain, by only asking for the head.
    assert_eq!(get(node.http, "/live/nobody.flv").status, 404);
    let mut head = Web::new(node.http);
    head.send("HEAD /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(head.head().0, 404);
    drop(head);
    // By asking for another stream on the same connection.
    let mut twice = Raw::ready(node.rtmp, "live");
    for name in ["no-one", "no-two"] {
        twice.send(&talk::play(name));
        assert_eq!(twice.status().0, "NetStream.Play.StreamNotFound");
    }
    drop(twice);
    expect_one_end_per_start(&server);

    // By the end of the server.
    let (publisher, player) = publish_and_play(&node, "stop");
    let before = server.of("on_stop").len();
    drop(node);
    drop((publisher, player));
    assert_eq!(server.of("on_stop").len(), before + 1, "told before it was gone");
    expect_one_end_per_start(&server);
    let in_one_go: Vec<_> =
        server.heard().iter().map(|heard| text(heard, "event_id").to_owned()).collect();
    let mut ids = in_one_go.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), in_one_go.len(), "each event is told once, to a server that is well");
}

#[test]
fn a_yes_that_meets_a_limit_a_kick_or_a_drain_has_its_end_with_that_reason() {
    let server = HookServer::start(|_| yes());
    // Whoever publishes is silent until it is ended.
    let lines = "cores = 2\ndrain.delay = 0\ndrain.timeout = '5s'\napp.small.viewers_max = 1\n\
                 limits.publisher_silence = '60s'";
    let node = Node::start(&format!("{}{PATIENT}\n{lines}", server.lines(&ALL)), None);
    let api = |method: &str, path: &str| {
        let mut web = Web::new(node.admin);
        web.send(&format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = web.answer();
        // A core that is late on a busy machine obeys as soon as it can.
        let is_done = (200..300).contains(&answer.status);
        assert!(is_done || answer.is_late(), "{method} {path}: {answer:?}");
    };
    let end_of = |action: &str, stream: &str, started: bool| {
        let of_it = |it: &Heard| it.said["stream"] == stream && it.said["started"] == started;
        eventually("its end", || server.of(action).iter().any(of_it));
        let end = server.of(action).into_iter().find(of_it).expect("waited for");
        text(&end, "reason").to_owned()
    };
    let mut publisher = Peer::publish(node.rtmp, "small/x");
    publisher.push(1);
    let mut inside = Watcher::new(node.http, "small/x.flv");
    inside.expect_frames(None, 0);
    assert_eq!(get(node.http, "/small/x.flv").status, 503);
    assert!(end_of("on_stop", "x", false).contains("(viewers_max)"));

    let kicked = Peer::publish(node.rtmp, "live/kicked");
    api("DELETE", "streams/live/kicked?reason=enough");
    assert_eq!(end_of("on_unpublish", "kicked", true), "kicked: enough");
    drop(kicked);

    api("POST", "drain");
    let reason = end_of("on_stop", "x", true);
    assert!(reason.contains("going out of service"), "{reason}");
    let reason = end_of("on_unpublish", "x", true);
    assert!(reason.contains("going out of service"), "{reason}");
    drop((publisher, inside));
    expect_one_end_per_start(&server);
}

#[test]
fn what_is_told_of_a_connection_has_one_client_id_and_what_it_moved() {
    let server = HookServer::start(|_| yes());
    let node = start(&server, &ALL, "");
    let mut publisher = Peer::publish(node.rtmp, "live/told?token=abc");
    publisher.push(20);
    let address = publisher.address();
    let mut watcher = Watcher::new(node.http, "live/told.flv?a=1");
    watcher.expect_frames(None, 19);
    drop(watcher);
    let stop = server.wait_for("on_stop", 1).remove(0);
    drop(publisher);
    let close = server.wait_for("on_close", 1).remove(0);
    let of = |action| server.of(action).remove(0);
    let (connect, publish, unpublish) = (of("on_connect"), of("on_publish"), of("on_unpublish"));
    for told in [&connect, &publish, &unpublish, &close] {
        assert_eq!(text(told, "client_id"), text(&connect, "client_id"));
        assert_eq!(text(told, "ip"), address.ip().to_string());
        assert_eq!((text(told, "app"), text(told, "vhost")), ("live", "__defaultVhost__"));
        assert_eq!(text(told, "protocol"), "rtmp");
        assert!(text(told, "tcUrl").starts_with("rtmp://127.0.0.1"), "{}", told.said);
    }
    assert!(unpublish.heard < close.heard, "in the order in which it happened");
    assert_eq!((text(&publish, "stream"), text(&publish, "param")), ("told", "?token=abc"));
    assert_eq!((text(&unpublish, "stream"), text(&unpublish, "key")), ("told", "live/told"));
    assert!(unpublish.said["recv_bytes"].as_u64() > Some(2000), "{}", unpublish.said);
    assert!(unpublish.said["duration_s"].as_f64() >= Some(0.0), "{}", unpublish.said);
    assert_eq!(unpublish.said["started"], true);
    assert_eq!((text(&stop, "protocol"), text(&stop, "param")), ("http", "?a=1"));
    assert!(stop.said["send_bytes"].as_u64() > Some(2000), "{}", stop.said);
    assert_eq!(text(&stop, "reason"), "the peer closed");
}

#[test]
fn a_viewer_of_hls_is_asked_about_once_and_has_its_end_when_it_asks_no_more() {
    let server = HookServer::start(|_| yes());
    // Longer than this test is between two requests. Nor is its publisher to end before the session.
    let lines = "app_defaults.hls_session_idle = '6s'\nlimits.publisher_silence = '60s'";
    let node = start(&server, &ALL, lines);
    let mut publisher = Peer::publish(node.rtmp, "live/cut");
    publisher.push(1);
    let mut web = Web::new(node.http);
    web.send("GET /live/cut.m3u8?a=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    let play = server.wait_for("on_play", 1).remove(0);
    assert_eq!((text(&play, "stream"), text(&play, "param")), ("cut", "?a=1"));
    assert_eq!(text(&play, "protocol"), "http");
    assert_eq!(text(&play, "ip"), web.address().ip().to_string());
    // Five seconds of sound: two segments and more.
    publisher.push(220);
    let answer = web.answer();
    assert_eq!(answer.status, 200, "{}", answer.body);
    let address = |playlist: &str| {
        let address = playlist.lines().find(|line| !line.starts_with('#'));
        address.map(str::to_owned)
    };
    let media = address(&answer.body).expect("a media playlist");
    let mut playlist = String::new();
    eventually("a segment is whole", || {
        // What came before it was let in may be in none. As much again: who asks for a playlist
        // without segments waits as long as its session may be idle.
        publisher.push(220);
        web.send(&format!("GET /live/{media} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let answer = web.answer();
        assert_eq!(answer.status, 200, "{}", answer.body);
        playlist = answer.body;
        address(&playlist).is_some()
    });
    let dir = media.rsplit_once('/').expect("a directory").0;
    let segment = address(&playlist).expect("it is whole");
    web.send(&format!("GET /live/{dir}/{segment} HTTP/1.1\r\nHost: test\r\n\r\n"));
    let (status, head) = web.head();
    assert_eq!(status, 200, "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length = length.expect("it has one").parse().expect("a number");
    web.take(length);

    // The connection stays: the session is what ends.
    let stop = server.wait_for("on_stop", 1).remove(0);
    assert_eq!(text(&stop, "client_id"), text(&play, "client_id"));
    let bytes = (length + playlist.len()) as u64;
    assert!(stop.said["send_bytes"].as_u64() > Some(bytes), "{bytes}: {}", stop.said);
    assert_eq!(stop.said["started"], true);
    assert!(text(&stop, "reason").contains("(hls_session_idle)"), "{}", stop.said);
    let sent = format!(" sent={} ", stop.said["send_bytes"]);
    log().wait_for(&[" corecast::access: stop ", " protocol=hls ", " stream=live/cut ", &sent]);
    drop((web, publisher));
    expect_one_end_per_start(&server);
    assert_eq!(server.of("on_play").len(), 1, "not about each request");
}

#[test]
fn a_no_reaches_the_client_with_its_reason_and_has_no_end() {
    let server = HookServer::start(|heard| match text(heard, "stream") {
        "unpaid" => say("{\"code\":402,\"msg\":\"not paid\"}"),
        "status" => Answer::Say(403, "{\"reason\":\"go away\"}".to_owned()),
        "garbage" => say("<html>what?</html>"),
        "ill" => Answer::Say(500, "0".to_owned()),
        // Its end is heard: or else that would be told again.
        "dies" if text(heard, "action") == "on_publish" => Answer::HangUp,
        "endless" => Answer::Endless,
        _ => yes(),
    });
    let hooks = ["on_publish", "on_play", "on_publish_done", "on_play_done"];
    let node = start(&server, &hooks, "");
    let no_verdict = "no verdict, try again later (hooks.on_publish)";
    let denied = "denied (hooks.on_publish)";
    let expected = [
        ("unpaid", "not paid"),
        ("status", "go away"),
        ("garbage", denied),
        ("endless", denied),
        ("ill", no_verdict),
        ("dies", no_verdict),
    ];
    for (name, reason) in expected {
        let path = format!("live/{name}");
        let refusal = Peer::new(node.rtmp, Goal::Publish, &path).refusal();
        assert_eq!(refusal, ("NetStream.Publish.Denied".to_owned(), reason.to_owned()), "{name}");
    }
    for format in ["flv", "ts", "mp4", "m3u8"] {
        let answer = get(node.http, &format!("/live/unpaid.{format}"));
        assert_eq!(answer.status, 403, "{format}");
        assert!(answer.body.contains("not paid"), "{format}: {}", answer.body);
    }
    // The one that may have said yes unheard is over, for all it knows.
    let ends = server.wait_for("on_unpublish", 1);
    let ends: Vec<_> = ends.iter().map(|end| (text(end, "stream"), text(end, "reason"))).collect();
    assert_eq!(ends, [("dies", "its verdict was not heard")]);
    assert!(server.of("on_stop").is_empty());
}

#[test]
fn a_verdict_that_comes_too_late_is_a_no_and_a_late_yes_has_its_end() {
    // After a time, it could still come first: the server may be kept off its CPU, too.
    let refused = Arc::new(AtomicBool::new(false));
    let is_refused = Arc::clone(&refused);
    let server =
        HookServer::start(move |heard| match (text(heard, "action"), text(heard, "stream")) {
            ("on_publish", "late-yes") => once(&is_refused, yes()),
            ("on_publish", "late-no") => once(&is_refused, say("1")),
            _ => yes(),
        });
    // The core waits longer than the hook.
    let lines = "hooks.timeout = '300ms'\nlimits.verdict_timeout = '40s'";
    let node = start(&server, &["on_publish", "on_publish_done"], lines);
    for name in ["late-yes", "late-no"] {
        let path = format!("live/{name}");
        let (_, reason) = Peer::new(node.rtmp, Goal::Publish, &path).refusal();
        assert_eq!(reason, "no verdict, try again later (hooks.on_publish)");
    }
    refused.store(true, Ordering::Relaxed);
    let end = server.wait_for("on_unpublish", 1).remove(0);
    assert_eq!(text(&end, "stream"), "late-yes");
    assert_eq!(text(&end, "reason"), "its verdict came too late (hooks.timeout)");
    assert_eq!(end.said["started"], false);
    let starts = server.of("on_publish");
    let yes = starts.iter().find(|heard| text(heard, "stream") == "late-yes").expect("asked");
    assert!(yes.answered < Some(end.heard), "after the yes");
    assert_eq!(text(yes, "client_id"), text(&end, "client_id"));
    // Whoever stops waits for what is late, too.
    refused.store(false, Ordering::Relaxed);
    let mut last = Peer::new(node.rtmp, Goal::Publish, "live/late-yes");
    last.refusal();
    let answers = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        refused.store(true, Ordering::Relaxed);
    });
    drop(node);
    answers.join().expect("it only waits");
    // One that was heard too late is told again.
    let ends = server.of("on_unpublish");
    let ends: HashSet<_> = ends.iter().map(|end| text(end, "event_id")).collect();
    assert_eq!(ends.len(), 2);
}

#[test]
fn whoever_leaves_while_it_is_asked_has_its_end_after_the_yes() {
    let gone = Arc::new(AtomicBool::new(false));
    let have_gone = Arc::clone(&gone);
    let server = HookServer::start(move |heard| match text(heard, "action") {
        "on_publish" | "on_play" => once(&have_gone, yes()),
        _ => yes(),
    });
    let node = start(&server, &ALL, PATIENT);
    let publishers = ["gone-a", "gone-b"].map(|name| ask(&node, &talk::publish(name)));
    let watchers =
        ["gone-a", "gone-c"].map(|name| Watcher::new(node.http, &format!("live/{name}.flv")));
    let asked = |action| server.of(action).len() == 2;
    eventually("all questions", || asked("on_publish") && asked("on_play"));
    let peers = publishers.each_ref().map(Raw::address).into_iter();
    let peers: Vec<_> = peers.chain(watchers.each_ref().map(|it| it.web.address())).collect();
    drop((publishers, watchers));
    for peer in peers {
        log().wait_for(&[" close ", &format!("peer={peer} ")]);
    }
    gone.store(true, Ordering::Relaxed);
    let ends = server.wait_for("on_unpublish", 2);
    assert!(ends.iter().all(|end| text(end, "reason") == "its client had stopped waiting"));
    server.wait_for("on_stop", 2);
    expect_one_end_per_start(&server);
}

#[test]
fn an_answer_may_give_another_stream() {
    let server = HookServer::start(|heard| match text(heard, "stream") {
        "a" => say("{\"code\":0,\"data\":{\"key\":\"other/b\"}}"),
        "bad" => say("{\"code\":0,\"data\":{\"key\":\"../b\"}}"),
        "closed" => say("{\"code\":0,\"data\":{\"key\":\"closed/b\"}}"),
        _ => yes(),
    });
    let hooks = ["on_publish", "on_publish_done", "on_play", "on_play_done"];
    let node = start(&server, &hooks, "app.closed.publish = false");
    let mut publisher = Peer::publish(node.rtmp, "live/a");
    publisher.push(1);
    let mut named = Watcher::new(node.http, "other/b.flv");
    named.expect_frames(None, 0);
    let mut renamed = Peer::play(node.rtmp, "live/a");
    renamed.start();
    renamed.expect_frames(None, 0);
    log().wait_for(&["stream=other/b ", "given instead of live/a"]);
    drop((publisher, named, renamed));
    let end = server.wait_for("on_unpublish", 1).remove(0);
    assert_eq!((text(&end, "app"), text(&end, "stream")), ("live", "a"));
    assert_eq!(text(&end, "key"), "other/b");
    server.wait_for("on_stop", 2);
    // A yes that cannot be carried out has an end, too.
    let refused =
        |name: &str| Peer::new(node.rtmp, Goal::Publish, &format!("live/{name}")).refusal().1;
    assert_eq!(refused("bad"), "no verdict, try again later (hooks.on_publish)");
    // What is told of two connections may come in any order.
    server.wait_for("on_unpublish", 2);
    assert_eq!(refused("closed"), "publishing to closed is not allowed");
    let ends = server.wait_for("on_unpublish", 3);
    let reasons: Vec<_> = ends[1..].iter().map(|end| text(end, "reason")).collect();
    assert_eq!(
        reasons,
        ["the stream it named cannot be one", "publishing to closed is not allowed"]
    );
}

#[test]
fn what_is_told_is_signed_and_tried_until_it_is_heard() {
    let server = HookServer::start(|heard| match text(heard, "action") {
        "on_unpublish" if heard.heard < 5 => Answer::Say(503, String::new()),
        _ => yes(),
    });
    let node = start(&server, &["on_publish", "on_publish_done"], "hooks.secret = 'open sesame'");
    Peer::publish(node.rtmp, "live/signed").leave();
    // Asked, answered, told, answered, told again at 4, answered at 5, told at 6.
    let told = server.wait_for("on_unpublish", 3);
    assert_eq!(told.len(), 3);
    for heard in server.heard() {
        let field = |name| &heard.fields.iter().find(|(field, _)| field == name).expect(name).1;
        let mut mac = Hmac::<Sha256>::new_from_slice(b"open sesame").expect("any key");
        mac.update(&heard.body);
        let hex: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(*field("x-corecast-signature"), format!("sha256={hex}"));
        assert_eq!(*field("x-corecast-event"), heard.said["event_id"]);
        assert_eq!(*field("content-type"), "application/json");
    }
    assert!(told.iter().all(|heard| heard.body == told[0].body), "the same each time");
    assert_eq!(server.connections(), 1, "kept alive");
}

#[test]
fn a_server_that_is_gone_hears_of_it_when_it_is_back_or_it_is_logged_as_lost() {
    let hooks = |port: u16| {
        format!(
            "cores = 2\nadmin.enabled = false\nhooks.on_publish_done = 'http://127.0.0.1:{port}/'\n\
             hooks.on_play = 'http://127.0.0.1:{port}/'\nhooks.on_play_error = 'allow'\n{PATIENT}\n"
        )
    };
    let port = free_port();
    let node = Node::start(&hooks(port), None);
    let (publisher, player) = publish_and_play(&node, "outage");
    drop((publisher, player));
    log().wait_for(&["no verdict", "hook=\"on_play\"", "on_error=Allow"]);
    // Long before it is lost.
    log().wait_for(&["WARN", "not heard, and tried again", "hook=\"on_publish_done\""]);
    let server = HookServer::on(port, |_| yes());
    let told = server.wait_for("on_unpublish", 1);
    assert_eq!((told.len(), text(&told[0], "stream")), (1, "outage"));
    drop((node, server));

    // Another port: a program that another test starts just now may have a copy of that listener.
    let port = free_port();
    let node = Node::start(&format!("{}hooks.retry_for = '100ms'", hooks(port)), None);
    Peer::publish(node.rtmp, "live/lost").leave();
    log().wait_for(&["lost, as nobody heard it", "Connection refused"]);
    let server = HookServer::on(port, |_| yes());
    drop(node);
    assert!(server.of("on_unpublish").is_empty());
}

#[test]
fn a_server_is_asked_by_tls_if_it_can_be_trusted() {
    let [trusted, other] = [1, 2].map(|number| Certificate::new(number, &["localhost"]));
    let port = say_yes_securely(trusted.server());
    let refusal = |ca: &Certificate| {
        let lines = format!(
            "cores = 1\nadmin.enabled = false\nhooks.ca_file = '{}'\n{PATIENT}\n\
             hooks.on_publish = 'https://localhost:{port}/'",
            ca.cert()
        );
        let node = Node::start(&lines, None);
        Peer::new(node.rtmp, Goal::Publish, "live/secure").try_start()
    };
    refusal(&trusted).expect("it is trusted");
    refusal(&other).expect_err("it is not");
    log().wait_for(&["no verdict", "invalid peer certificate"]);
}

#[test]
fn a_full_queue_loses_what_comes_and_says_so() {
    let lost = Arc::new(AtomicBool::new(false));
    let is_lost = Arc::clone(&lost);
    let server = HookServer::start(move |_| once(&is_lost, yes()));
    let hooks = server.lines(&["on_publish_done"]);
    let lines = format!("cores = 2\nhooks.queue = 1\n{hooks}{PATIENT}");
    let node = Node::start(&lines, None);
    for name in ["full-one", "full-two"] {
        Peer::publish(node.rtmp, &format!("live/{name}")).leave();
    }
    log().wait_for(&["lost, as nobody heard it", "hooks.queue"]);
    let mut web = Web::new(node.admin);
    web.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let page = web.answer().body;
    assert!(page.contains("corecast_hook_lost_total{hook=\"on_publish_done\"} 1\n"), "{page}");
    lost.store(true, Ordering::Relaxed);
    drop(node);
    assert_eq!(server.of("on_unpublish").len(), 1);
}

#[test]
fn a_slow_server_delays_only_those_who_ask() {
    let server = HookServer::start(|heard| match text(heard, "stream") {
        "slow" => after(60_000, yes()),
        _ => yes(),
    });
    let hooks = ["on_publish", "on_play", "on_play_done"];
    let lines = "hooks.timeout = '50s'\nlimits.verdict_timeout = '60s'";
    let node = start(&server, &hooks, lines);
    let (mut publisher, mut player) = publish_and_play(&node, "quick");
    // More than it answers at once.
    let _askers: Vec<_> = (0..80).map(|_| ask(&node, &talk::play("slow"))).collect();
    eventually("slow questions", || server.of("on_play").len() > 60);
    for round in 0..20 {
        publisher.push(2);
        player.expect_frames(Some(round * 2 + 1), round * 2 + 2);
    }
    // By another hook of the same server, too.
    Peer::publish(node.rtmp, "live/meanwhile").leave();
    let waiting = server.of("on_play").into_iter().filter(|heard| heard.answered.is_none());
    assert!(waiting.count() > 60, "all of that while they wait");
    assert!(server.of("on_stop").is_empty());
}

#[test]
fn a_stream_that_nobody_watches_is_told_and_closed_if_that_is_the_answer() {
    let server = HookServer::start(|heard| match text(heard, "stream") {
        "unwatched" => say("{\"code\":0,\"close\":true}"),
        _ => yes(),
    });
    let lines = "app_defaults.idle_timeout = '300ms'";
    let node = start(&server, &["on_idle", "on_publish_done"], lines);
    let mut kept = Peer::publish(node.rtmp, "live/kept");
    let mut unwatched = Peer::publish(node.rtmp, "live/unwatched");
    unwatched.go_on_until("its end", || !server.of("on_unpublish").is_empty());
    let end = server.of("on_unpublish").remove(0);
    assert_eq!(text(&end, "reason"), "nobody watches live/unwatched (hooks.on_idle)");
    let told = server.wait_for("on_idle", 2);
    let of_it = told.iter().find(|told| text(told, "stream") == "unwatched").expect("told");
    assert_eq!(text(of_it, "client_id"), text(&end, "client_id"));
    kept.push(3);
    let mut player = Peer::play(node.rtmp, "live/kept");
    player.start();
    player.expect_frames(None, 2);
    assert_eq!(server.of("on_idle").len(), 2, "once until somebody watches");
}

#[test]
fn a_late_word_that_nobody_watches_ends_no_stream_that_somebody_has_come_to() {
    let come = Arc::new(AtomicBool::new(false));
    let has_come = Arc::clone(&come);
    let server = HookServer::start(move |heard| match text(heard, "action") {
        "on_idle" => once(&has_come, say("{\"code\":0,\"close\":true}")),
        _ => yes(),
    });
    let lines = format!("app_defaults.idle_timeout = '200ms'\n{PATIENT}");
    let node = start(&server, &["on_idle", "on_publish_done"], &lines);
    let mut watched = Peer::publish(node.rtmp, "live/watched");
    watched.go_on_until("a question about it", || !server.of("on_idle").is_empty());
    let mut player = Peer::play(node.rtmp, "live/watched");
    watched.push(1);
    player.start();
    come.store(true, Ordering::Relaxed);
    // What was asked about later, and is watched by nobody, ends: the answer of before has come.
    let mut left = Peer::publish(node.rtmp, "live/left");
    left.go_on_until("its end", || {
        server.of("on_unpublish").iter().any(|end| text(end, "stream") == "left")
    });
    watched.push(2);
    player.expect_frames(None, 2);
    assert_eq!(server.of("on_unpublish").len(), 1);
    // When nobody is there any more, that is asked anew.
    drop(player);
    watched.go_on_until("its end", || server.of("on_unpublish").len() == 2);
}

#[test]
fn a_silent_publisher_is_kept_for_as_long_as_the_answer_says_so() {
    let (spoken, is_first) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(true));
    let has_spoken = Arc::clone(&spoken);
    let server = HookServer::start(move |heard| match text(heard, "stream") {
        "patience" if heard.heard < 6 => say("{\"code\":0,\"close\":false}"),
        "speaks" if is_first.swap(false, Ordering::Relaxed) => {
            once(&has_spoken, say("{\"code\":0,\"close\":true}"))
        }
        "speaks" => say("{\"code\":0,\"close\":false}"),
        _ => yes(),
    });
    // The answer has to come within as long again, and so has the word of who speaks.
    let lines = "limits.publisher_silence = '2s'\nlimits.first_frame_timeout = '2s'";
    let node = start(&server, &["on_publish_timeout"], lines);
    let silent = Peer::publish(node.rtmp, "live/patience");
    let address = silent.address();
    server.wait_for("on_publish_timeout", 3);
    log().wait_for(&[" close ", &format!("peer={address} "), "expected audio or video"]);
    assert_eq!(server.of("on_publish_timeout").len(), 4, "three times kept");
    // Who speaks while it is asked about goes on. It may be asked about as soon as it is let in.
    let asked = server.of("on_publish_timeout").len();
    let mut speaks = Peer::publish(node.rtmp, "live/speaks");
    speaks.go_on_until("a question about it", || server.of("on_publish_timeout").len() > asked);
    speaks.push(1);
    let mut player = Peer::play(node.rtmp, "live/speaks");
    player.start();
    player.expect_frames(None, 0);
    spoken.store(true, Ordering::Relaxed);
    eventually("the answer", || server.of("on_publish_timeout")[asked].answered.is_some());
    thread::sleep(Duration::from_millis(250));
    speaks.push(1);
    player.expect_frames(Some(1), 1);
}

#[test]
fn the_start_the_figures_and_those_who_wait_in_vain_are_told() {
    let server = HookServer::start(|_| yes());
    let hooks = ["on_server_started", "on_stats", "on_not_found", "on_close"];
    let node = start(&server, &hooks, "hooks.stats_interval = '1s'");
    let publisher = Peer::publish(node.rtmp, "live/there");
    let waits = Watcher::new(node.http, "live/wanted.flv");
    let told = server.wait_for("on_not_found", 1).remove(0);
    assert_eq!((text(&told, "stream"), text(&told, "protocol")), ("wanted", "http"));
    // Those of the next second may have been told before.
    let mut figures = Value::Null;
    eventually("the figures of all that", || {
        figures = server.of("on_stats").pop().map_or(Value::Null, |told| told.said);
        figures["sources"] == 2 && figures["hooks"]["on_not_found"]["answered"] == 1
    });
    assert_eq!((&figures["cores"], &figures["connections"]), (&Value::Null, &Value::from(2)));
    drop(publisher);
    assert_eq!(text(&server.wait_for("on_close", 1)[0], "reason"), "the peer closed");
    drop((waits, node));
    let started = server.of("on_server_started");
    assert_eq!(started.len(), 1);
    assert_eq!(text(&started[0], "version"), env!("CARGO_PKG_VERSION"));
    assert!(!text(&started[0], "server_id").is_empty());
}
