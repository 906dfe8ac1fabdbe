//! The admin API over real sockets: who may use it, and what it says.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::BTreeSet;
use std::io::Read;
use std::time::Instant;

use corecast::proto::rtmp::client::Event;
use node::{Node, PATIENCE, eventually, log};
use serde_json::{Value, json};
use talk::Peer;
use web::{Watcher, Web};

/// What a GET of `path` with these header lines is answered.
#[track_caller]
fn get(node: &Node, path: &str, headers: &str) -> (web::Answer, Value) {
    call(node, "GET", path, headers, "")
}

/// What a request is answered.
#[track_caller]
fn call(node: &Node, method: &str, path: &str, headers: &str, body: &str) -> (web::Answer, Value) {
    let mut web = Web::new(node.admin);
    let length = body.len();
    web.send(&format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ));
    let answer = web.answer();
    let body = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    (answer, body)
}

/// The answer of a GET that is done.
#[track_caller]
fn see(node: &Node, path: &str) -> Value {
    let mut seen = Value::Null;
    eventually("the cores answer", || {
        let (answer, body) = get(node, &format!("/api/v1/{path}"), "");
        if answer.is_late() {
            return false;
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        seen = body;
        true
    });
    seen
}

/// What a request for a change is answered by cores that are in time, and whether one was late
/// before: it obeys as soon as it can, so the change may be there already.
#[track_caller]
fn change(
    node: &Node,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (web::Answer, Value, bool) {
    let (mut told, mut was_late) = (None, false);
    eventually("the cores answer", || {
        let (answer, value) = call(node, method, path, headers, body);
        match answer.is_late() {
            true => was_late = true,
            false => told = Some((answer, value)),
        }
        told.is_some()
    });
    let (answer, value) = told.expect("waited for");
    (answer, value, was_late)
}

/// Has what is at `path` end.
#[track_caller]
fn end(node: &Node, path: &str) {
    let (answer, _, was_late) = change(node, "DELETE", path, "", "");
    let is_done = answer.status == 204 || (was_late && answer.status == 404);
    assert!(is_done, "{path}: {answer:?}");
}

/// All cores say that there is no such thing.
#[track_caller]
fn expect_none(node: &Node, method: &str, path: &str) {
    let (answer, ..) = change(node, method, path, "", "");
    assert_eq!(answer.status, 404, "{path}: {}", answer.body);
}

/// A publisher and its viewers by RTMP and by HTTP, all of whom have begun.
#[track_caller]
fn running(node: &Node, path: &str) -> (Peer, Peer, Watcher) {
    let mut publisher = Peer::publish(node.rtmp, path);
    publisher.push(50);
    let mut player = Peer::play(node.rtmp, path);
    player.start();
    let mut watcher = Watcher::new(node.http, &format!("{path}.flv"));
    publisher.push(50);
    player.expect_frames(None, 99);
    watcher.expect_frames(None, 99);
    (publisher, player, watcher)
}

/// The viewers of a stream, by protocol.
#[track_caller]
fn viewer_by(node: &Node, path: &str, protocol: &str) -> Value {
    let page = see(node, &format!("streams/{path}/sinks"));
    let items = page["items"].as_array().expect("a list");
    let found = items.iter().find(|sink| sink["plays_by"] == protocol);
    found.unwrap_or_else(|| panic!("expected one by {protocol} in {page}")).clone()
}

#[test]
fn whoever_knows_the_token_may_ask_and_nobody_else() {
    let token = "0123456789abcdef";
    let node = Node::start(&format!("cores = 1\nadmin.token = '{token}'"), None);
    let wrong = ["", "Authorization: Bearer x\r\n", "Authorization: Basic 0123456789abcdef\r\n"];
    for headers in wrong {
        let (answer, body) = get(&node, "/api/v1/info", headers);
        assert_eq!((answer.status, &body["status"]), (401, &Value::from(401)), "{headers}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    }
    let (answer, _) = get(&node, &format!("/api/v1/info?token={token}"), "");
    assert_eq!(answer.status, 401, "a token in a URL is none");
    for scheme in ["Bearer", "bearer"] {
        let headers = format!("Authorization: {scheme} {token}\r\n");
        let (answer, body) = get(&node, "/api/v1/info", &headers);
        assert_eq!((answer.status, body["version"].is_string()), (200, true), "{body}");
    }
}

#[test]
fn without_a_token_this_host_may_ask_and_paths_that_are_none_are_named_as_such() {
    let node = Node::start("cores = 2", None);
    let (answer, body) = get(&node, "/api/v1/cores", "");
    assert_eq!((answer.status, body.as_array().map(Vec::len)), (200, Some(2)), "{body}");
    for path in ["/api/v1/nothing", "/api/v2/info", "/_/nothing"] {
        let (answer, body) = get(&node, path, "");
        assert_eq!((answer.status, &body["title"]), (404, &Value::from("not found")), "{path}");
    }
}

#[test]
fn a_stream_is_told_with_its_tracks_its_publisher_and_its_viewers_by_protocol() {
    let node = Node::start("cores = 2", None);
    let (publisher, player, _watcher) = running(&node, "live/told");
    let told = see(&node, "streams/live/told");
    assert_eq!((&told["stream"], &told["state"]), (&json!("live/told"), &json!("live")));
    let track = &told["tracks"][0];
    assert_eq!((&track["kind"], &track["codec"]), (&json!("audio"), &json!("aac")), "{told}");
    assert_eq!((&track["profile"], &track["sample_rate_hz"]), (&json!("LC"), &json!(44_100)));
    assert!(track["bit_s"].as_f64().is_some_and(|rate| rate > 50_000.0), "{track}");
    assert_eq!(told["viewers_by_protocol"], json!({ "rtmp": 1, "http-flv": 1 }));
    assert_eq!(told["publisher"]["address"], json!(publisher.address().to_string()));
    assert_eq!(told["outputs"].as_array().map(Vec::len), Some(2));
    assert!(told["outputs"][0]["log_bytes"].as_u64() > Some(0), "{told}");

    let viewer = viewer_by(&node, "live/told", "rtmp");
    assert_eq!(viewer["address"], json!(player.address().to_string()));
    assert!(viewer["bytes"].as_u64() > Some(10_000), "{viewer}");
    let id = viewer["id"].as_str().expect("a text");
    let same = see(&node, &format!("sinks/{id}"));
    assert_eq!((&same["client"], &same["stream"]), (&viewer["client"], &json!("live/told")));
}

#[test]
fn streams_are_filtered_sorted_and_told_in_pages() {
    let node = Node::start("cores = 2", None);
    let mut peers = Vec::new();
    for path in ["live/a", "live/b", "other/b%20c"] {
        peers.push(Peer::publish(node.rtmp, &path.replace("%20", " ")));
    }
    let _watched = running(&node, "live/much/watched");
    let names = |query: &str| {
        let page = see(&node, &format!("streams{query}"));
        let items = page["items"].as_array().expect("a list").clone();
        let name = |item: &Value| item["stream"].as_str().expect("a text").to_owned();
        (page["total"].as_u64(), items.iter().map(name).collect::<Vec<_>>())
    };
    let all = ["live/a", "live/b", "live/much/watched", "other/b c"].map(str::to_owned);
    eventually("all are seen", || names("") == (Some(4), all.to_vec()));
    assert_eq!(names("?limit=2&offset=1"), (Some(4), all[1..3].to_vec()));
    assert_eq!(names("?app=other"), (Some(1), vec![all[3].clone()]));
    assert_eq!(names("?search=B"), (Some(2), vec![all[1].clone(), all[3].clone()]));
    assert_eq!(names("?sort=viewers&limit=1"), (Some(4), vec![all[2].clone()]));
    assert_eq!(names("?state=grace"), (Some(0), vec![]));
    assert_eq!(see(&node, "streams/live/much%2Fwatched")["viewers"], 2);
    for bad in ["?limit=0", "?limit=1001", "?limit=x", "?state=dead", "?what=1", "?offset=-1"] {
        let (answer, body) = get(&node, &format!("/api/v1/streams{bad}"), "");
        assert_eq!((answer.status, &body["title"]), (400, &json!("bad request")), "{bad}");
    }
}

#[test]
fn a_viewer_is_ended_with_a_reason_that_it_and_the_log_are_told() {
    let node = Node::start("cores = 2", None);
    let (mut publisher, mut player, mut watcher) = running(&node, "live/kick");
    for (protocol, peer) in [("rtmp", player.address()), ("http-flv", watcher.web.address())] {
        let viewer = viewer_by(&node, "live/kick", protocol);
        let path =
            format!("/api/v1/sinks/{}?reason=too%20loud", viewer["id"].as_str().expect("one"));
        end(&node, &path);
        expect_none(&node, "DELETE", &path);
        let line = log().wait_for(&[" close ", &format!("peer={peer} ")]);
        assert!(line.contains("reason=\"kicked: too loud\""), "{line}");
    }
    watcher.web.expect_closed();
    assert_eq!(told_end(&mut player), "kicked: too loud");
    assert!(hears_end(&mut player));
    eventually("nobody watches", || see(&node, "streams/live/kick")["viewers"] == 0);
    publisher.push(1);
}

/// What the server says at its end.
#[track_caller]
fn told_end(peer: &mut Peer) -> String {
    loop {
        if let Event::Ended { description, .. } = peer.event() {
            return description;
        }
    }
}

/// True if the server closes, whatever it says before.
fn hears_end(peer: &mut Peer) -> bool {
    peer.socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
    std::io::copy(&mut peer.socket.by_ref(), &mut std::io::sink()).is_ok()
}

#[test]
fn a_viewer_that_waits_is_ended_before_it_was_greeted() {
    let node = Node::start("cores = 1", None);
    let mut web = Web::new(node.http);
    web.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let mut id = String::new();
    eventually("it waits", || {
        let (answer, page) = get(&node, "/api/v1/streams/live/nobody/sinks", "");
        let found = page["items"][0]["id"].as_str().map(str::to_owned);
        id = found.unwrap_or_default();
        answer.status == 200 && !id.is_empty()
    });
    assert_eq!(see(&node, &format!("sinks/{id}"))["state"], "waiting");
    end(&node, &format!("/api/v1/sinks/{id}"));
    let answer = web.answer();
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(answer.body.contains("kicked: by the operator"), "{}", answer.body);
}

#[test]
fn a_publisher_is_ended_with_a_reason_and_another_may_go_on_for_its_viewers() {
    let node = Node::start("cores = 2", None);
    let (mut publisher, mut player, _watcher) = running(&node, "live/out");
    let path = "/api/v1/streams/live/out?reason=wrong%20camera";
    end(&node, path);
    assert_eq!(told_end(&mut publisher), "kicked: wrong camera");
    let peer = format!("peer={} ", publisher.address());
    let line = log().wait_for(&[" close ", &peer]);
    assert!(line.contains("reason=\"kicked: wrong camera\""), "{line}");
    expect_none(&node, "DELETE", path);
    assert_eq!(see(&node, "streams/live/out")["state"], "grace");
    let mut other = Peer::publish(node.rtmp, "live/out");
    other.push(20);
    player.expect_frames(Some(0), 19);
}

#[test]
fn a_blocked_address_is_ended_and_stays_away_until_it_is_let_in_again() {
    let node = Node::start("cores = 2", None);
    let (mut publisher, mut player, watcher) = running(&node, "live/block");
    let bad = player.address().ip();
    let body = json!({ "address": bad, "for_s": 60, "reason": "rude" }).to_string();
    let json = "Content-Type: application/json\r\n";
    let (answer, blocked, was_late) = change(&node, "POST", "/api/v1/block", json, &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    // One that was late may have ended it before, or not yet.
    let ended = blocked["ended"].as_u64();
    assert!(ended == Some(1) || (was_late && ended == Some(0)), "{}", answer.body);
    let line = log().wait_for(&[" close ", &format!("peer={} ", player.address())]);
    assert!(line.contains("reason=\"blocked: rude\""), "{line}");
    assert!(hears_end(&mut player));

    let std::net::IpAddr::V4(v4) = bad else { panic!("IPv4") };
    let mut again = node::connect_from(v4.octets(), node.http);
    again.set_read_timeout(Some(PATIENCE)).expect("not zero");
    assert!(matches!(again.read(&mut [0; 64]), Ok(0) | Err(_)), "closed without a word");
    log().wait_for(&["refused: blocked: rude", &format!("peer={bad}:")]);
    assert_eq!(see(&node, "block")["items"][0]["address"], json!(bad));

    let path = format!("/api/v1/block/{bad}");
    end(&node, &path);
    expect_none(&node, "DELETE", &path);
    // That asks no core. One that answers this has heard of all that came before it.
    expect_none(&node, "GET", "/api/v1/streams/live/nobody");
    let mut back = Watcher::on(node::connect_from(v4.octets(), node.http), "live/block.flv");
    publisher.push(10);
    back.expect_frames(None, 109);
    drop(watcher);
}

#[test]
fn what_cannot_be_blocked_is_a_problem_of_whoever_asks() {
    let node = Node::start("cores = 1", None);
    let json = "Content-Type: application/json\r\n";
    for (status, headers, body) in [
        (400, json, "{"),
        (422, json, "{}"),
        (422, json, r#"{"address":"10.0.0.0/8","for_s":1}"#),
        (422, json, r#"{"address":"10.0.0.1","for_s":0}"#),
        (422, json, r#"{"address":"10.0.0.1","for_s":1,"reason":"a\nb"}"#),
        (422, json, r#"{"address":"10.0.0.1","for_s":1,"more":1}"#),
        (415, "", r#"{"address":"10.0.0.1","for_s":1}"#),
        (413, json, &format!("\"{}\"", "x".repeat(70_000))),
    ] {
        let (answer, told) = call(&node, "POST", "/api/v1/block", headers, body);
        assert_eq!((answer.status, &told["status"]), (status, &json!(status)), "{body:.50}");
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    }
    let network = r#"{"address":"10.0.0.0/8","for_s":1}"#;
    let (answer, _) = call(&node, "POST", "/api/v1/block", json, network);
    assert!(answer.body.contains("networks are kept out by `rules`"), "{}", answer.body);
    let (answer, _) = call(&node, "PUT", "/api/v1/block", json, "");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET,HEAD,POST")));
    let (answer, _) = get(&node, "/api/v1/streams/live/%ff", "");
    assert_eq!(answer.status, 400, "{}", answer.body);
}

/// Waits for an event with all of `texts`.
#[track_caller]
fn seen(web: &mut Web, texts: &[&str]) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&web.heard).into_owned();
        // What has not come whole yet has no end.
        let whole = text.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
        if let Some(event) =
            whole.split("\n\n").find(|event| texts.iter().all(|text| event.contains(text)))
        {
            return event.to_owned();
        }
        assert!(Instant::now() < end && web.hear(), "expected {texts:?} in {text}");
    }
}

#[test]
fn what_is_refused_for_how_it_was_asked_is_an_event_too() {
    let node = Node::start("cores = 1", None);
    let mut web = Web::new(node.admin);
    web.send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(web.head().0, 200);
    let mut nothing = Peer::play(node.rtmp, "live/nothing?audio=0&video=0");
    let (_, reason) = nothing.refusal();
    let event = seen(&mut web, &["event: refused", "\"stream\":\"live/nothing\""]);
    assert!(event.contains(&reason), "{event}");
    let mut long = Web::new(node.http);
    long.send(&format!("GET /live/long.flv?{} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(5000)));
    assert_eq!(long.answer().status, 403);
    let event = seen(&mut web, &["event: refused", "\"stream\":\"live/long\""]);
    assert!(event.contains("expected a query of at most"), "{event}");
}

#[test]
fn events_tell_who_publishes_who_joins_and_who_leaves_and_why() {
    let node = Node::start("cores = 2", None);
    let mut web = Web::new(node.admin);
    web.send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (status, head) = web.head();
    assert!(status == 200 && head.contains("text/event-stream"), "{head}");
    let (publisher, player, watcher) = running(&node, "live/events");
    let peer = |address: std::net::SocketAddr| format!("\"address\":\"{address}\"");
    let published = seen(&mut web, &["event: published", &peer(publisher.address())]);
    let joined = seen(&mut web, &["event: joined", &peer(player.address())]);
    let number = |event: &str| {
        let id = event.lines().find_map(|line| line.strip_prefix("id: "));
        id.expect("a number").parse::<u64>().expect("a number")
    };
    assert!(number(&published) < number(&joined));
    assert!(joined.contains("\"stream\":\"live/events\""), "{joined}");
    drop(watcher);
    seen(&mut web, &["event: left", "the peer closed"]);
    let viewer = viewer_by(&node, "live/events", "rtmp");
    let path = format!("/api/v1/sinks/{}?reason=seen", viewer["id"].as_str().expect("one"));
    end(&node, &path);
    let left = seen(&mut web, &["event: left", &peer(player.address())]);
    assert!(left.contains("\"reason\":\"kicked: seen\"") && left.contains("sent_bytes"), "{left}");
    publisher.leave();
    seen(&mut web, &["event: unpublished", "\"stream\":\"live/events\""]);
}

#[test]
fn pages_of_allowed_origins_may_ask_and_others_may_not() {
    let token = "0123456789abcdef";
    let lines =
        format!("cores = 1\nadmin.token = '{token}'\nadmin.allow_origin = ['https://ops.example']");
    let node = Node::start(&lines, None);
    let preflight = "Access-Control-Request-Method: DELETE\r\n";
    let allowed = "Origin: https://ops.example\r\n";
    let asked = format!("{allowed}{preflight}");
    let (answer, _) = call(&node, "OPTIONS", "/api/v1/sinks/0-1-2", &asked, "");
    assert_eq!(answer.status, 204, "{}", answer.body);
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://ops.example"));
    assert!(
        answer.field("access-control-allow-headers").is_some_and(|h| h.contains("Authorization"))
    );
    let with_token = format!("{allowed}Authorization: Bearer {token}\r\n");
    let (answer, _) = get(&node, "/api/v1/info", &with_token);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("access-control-allow-origin"), Some("https://ops.example"));
    assert_eq!(get(&node, "/api/v1/info", allowed).0.status, 401, "the token is wanted still");

    for origin in ["https://evil.example", "null", "https://ops.example.evil"] {
        let headers = format!("Origin: {origin}\r\nAuthorization: Bearer {token}\r\n");
        let (answer, body) = get(&node, "/api/v1/info", &headers);
        assert_eq!((answer.status, &body["title"]), (403, &json!("forbidden")), "{origin}");
        assert_eq!(answer.field("access-control-allow-origin"), None);
        let (answer, _) =
            call(&node, "OPTIONS", "/api/v1/info", &format!("{headers}{preflight}"), "");
        assert_eq!(answer.status, 403, "{origin}");
    }
    // The page of the server itself.
    let own = format!("Origin: http://localhost\r\nAuthorization: Bearer {token}\r\n");
    assert_eq!(get(&node, "/api/v1/info", &own).0.status, 200);
}

#[test]
fn the_configuration_is_told_without_its_secrets() {
    // Each is another, and all have the same in them.
    let secret = |name: &str| format!("5ec2e7-5ec2e7-5ec2e7-{name}");
    let app = |name: &str| {
        format!(
            "{name}.publish_keys = ['{}', '{}']\n{name}.sign_secret = '{}'\n{name}.jwt_secret = '{}'\n",
            secret("key"),
            secret("other"),
            secret("sign"),
            secret("jwt")
        )
    };
    let lines = format!(
        "cores = 1\nadmin.token = '{}'\nhooks.secret = '{}'\n\
         hooks.on_idle = 'http://127.0.0.1:9/idle?a={}&b={}'\nhooks.on_close = 'http://127.0.0.1:9/?{}'\n{}{}",
        secret("token"),
        secret("hooks"),
        secret("a"),
        secret("b"),
        secret("bare"),
        app("app_defaults"),
        app("app.a"),
    );
    let node = Node::start(&lines, None);
    let headers = format!("Authorization: Bearer {}\r\n", secret("token"));
    let (answer, config) = get(&node, "/api/v1/config", &headers);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("5ec2e7"), "{}", answer.body);
    let hidden = json!("(hidden)");
    assert_eq!((&config["admin"]["token"], &config["hooks"]["secret"]), (&hidden, &hidden));
    assert_eq!(config["hooks"]["on_idle"], "http://127.0.0.1:9/idle?a=(hidden)&b=(hidden)");
    assert_eq!(config["hooks"]["on_close"], "http://127.0.0.1:9/?(hidden)");
    for app in [&config["app_defaults"], &config["app"]["a"]] {
        assert_eq!(app["publish_keys"], json!([hidden, hidden]));
        assert_eq!((&app["sign_secret"], &app["jwt_secret"]), (&hidden, &hidden));
        assert_eq!(app["merge_window"], "0");
    }
}

#[test]
fn the_description_names_every_path_with_its_answers_and_problems() {
    let node = Node::start("cores = 1", None);
    let document = see(&node, "openapi.json");
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let paths = document["paths"].as_object().expect("paths");
    for path in [
        "/info",
        "/cores",
        "/config",
        "/events",
        "/streams",
        "/streams/{app}/{name}",
        "/streams/{app}/{name}/sinks",
        "/sinks/{id}",
        "/block",
        "/block/{address}",
    ] {
        let item = paths.get(path).unwrap_or_else(|| panic!("expected {path}"));
        for (method, operation) in item.as_object().expect("methods") {
            let answers = operation["responses"].as_object().expect("answers");
            assert!(answers.contains_key("503"), "{method} {path}");
            assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
        }
    }
    let mut names = BTreeSet::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("methods") {
            // OpenAPI 3.1: operationId "MUST be unique among all operations", description REQUIRED.
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name), "{method} {path}: {name} twice");
            for (status, answer) in operation["responses"].as_object().expect("answers") {
                let described = answer["description"].as_str().is_some_and(|text| !text.is_empty());
                assert!(described || answer["$ref"].is_string(), "{method} {path}: {status}");
            }
            // "Each template expression in the path MUST correspond to a path parameter".
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let of_path = parameters.filter(|parameter| parameter["in"] == "path");
            let declared: BTreeSet<_> = of_path
                .inspect(|parameter| assert_eq!(parameter["required"], true, "{method} {path}"))
                .map(|parameter| parameter["name"].as_str().expect("a name"))
                .collect();
            let segments = path.split('/');
            let used: BTreeSet<_> = segments
                .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(declared, used, "{method} {path}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("its end");
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not there");
    }
    let problem = &document["paths"]["/sinks/{id}"]["get"]["responses"]["404"]["content"];
    let shape = &problem["application/problem+json"]["schema"]["$ref"];
    assert_eq!(shape, "#/components/schemas/Problem");
    assert!(document["components"]["schemas"]["Problem"]["properties"]["detail"].is_object());
}

#[test]
fn without_a_token_no_other_site_has_a_way_in() {
    let node = Node::start("cores = 1", None);
    let ask = |headers: &str| {
        let mut web = Web::new(node.admin);
        web.send(&format!("GET /api/v1/info HTTP/1.1\r\n{headers}\r\n"));
        web.answer().status
    };
    assert_eq!(ask("Host: evil.example:8081\r\n"), 403, "a name that points here");
    assert_eq!(ask("Host: localhost\r\nOrigin: https://evil.example\r\n"), 403);
    assert_eq!(ask("Host: [::1]:8081\r\nOrigin: http://[::1]:8081\r\n"), 200);
}
