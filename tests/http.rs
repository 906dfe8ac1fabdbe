//! HTTP at the socket: what is answered, when, and what stays open.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::Write;
use std::time::{Duration, Instant};

use corecast::container::flv::{FileReader, Limits, TagKind};
use node::{Node, log};
use talk::Peer;
use web::{Answer, Watcher, Web, get};

/// Sends one request on a connection of its own, as it is.
#[track_caller]
fn ask(node: &Node, request: &str) -> (Answer, Web) {
    let mut web = Web::new(node.http);
    web.send(request);
    (web.answer(), web)
}

/// A publisher of `path` with one frame.
fn publish(node: &Node, path: &str) -> Peer {
    let mut publisher = Peer::publish(node.rtmp, path);
    publisher.push(1);
    publisher
}

#[test]
fn what_nobody_publishes_is_waited_for_and_then_not_found() {
    let node = Node::start("cores = 1\napp_defaults.wait_for_publisher = '400ms'", None);
    let asked = Instant::now();
    let (answer, mut web) = ask(&node, "GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
    assert_eq!(answer.status, 404);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let json = r#"{"error": "not found", "detail": "nobody publishes this stream"}"#;
    assert_eq!(answer.body.trim_end(), json);
    // The answer has a length, so the connection may ask for something else.
    assert_eq!(answer.field("connection"), Some("keep-alive"));
    web.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(web.answer().status, 200);
    web.expect_closed();
}

#[test]
fn who_waits_gets_the_stream_when_it_comes() {
    let node = Node::start("cores = 1", None);
    let mut watcher = Watcher::new(node.http, "live/later.flv");
    log().wait_for(&["placed", "stream=live/later "]);
    let mut publisher = publish(&node, "live/later");
    publisher.push(10);
    watcher.expect_frames(Some(0), 10);
}

#[test]
fn a_stream_has_the_right_head_and_flags_and_ends_with_the_connection() {
    let node = Node::start("cores = 1\napp_defaults.publisher_grace = '100ms'", None);
    let publisher = publish(&node, "live/head");
    for version in ["1.1", "1.0"] {
        let mut web = Web::new(node.http);
        web.send(&format!("GET /live/head.flv HTTP/{version}\r\nHost: test\r\n\r\n"));
        let (status, head) = web.head();
        assert_eq!(status, 200);
        let answer = Answer { status, head, body: String::new() };
        assert_eq!(answer.field("content-type"), Some("video/x-flv"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.field("x-accel-buffering"), Some("no"));
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.field("connection"), Some("close"));
        assert_eq!(answer.field("content-length").or(answer.field("transfer-encoding")), None);
        // Sound alone: flag 4.
        assert_eq!(web.take(9), b"FLV\x01\x04\0\0\0\x09");
    }
    let mut watcher = Watcher::new(node.http, "live/head.flv");
    watcher.expect_frames(None, 0);
    publisher.leave();
    watcher.web.expect_closed();
}

#[test]
fn a_body_is_chunked_if_the_configuration_says_so_and_the_client_can() {
    // In the grace viewers get what was published last, however busy the machine is.
    let node =
        Node::start("cores = 1\nhttp.body = 'chunked'\napp_defaults.publisher_grace = '4s'", None);
    let mut publisher = publish(&node, "live/chunked");
    let mut old = Watcher::on(node::connect(node.http), "live/chunked.flv?for=another");
    let mut web = Web::new(node.http);
    web.send("GET /live/chunked.flv HTTP/1.0\r\n\r\n");
    assert!(!web.head().1.to_ascii_lowercase().contains("chunked"), "not for HTTP/1.0");
    let mut web = Web::new(node.http);
    web.send("GET /live/chunked.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = web.head().1.to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    publisher.push(30);
    publisher.leave();
    web.expect_closed();
    old.web.expect_closed();
    // Chunks to the last, and nothing behind it.
    let (mut rest, mut body) = (&web.heard[..], Vec::new());
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").expect("a chunk's size");
        let size = std::str::from_utf8(&rest[..end]).expect("hex");
        let size = usize::from_str_radix(size.trim(), 16).expect("hex");
        let chunk = &rest[end + 2..];
        assert_eq!(&chunk[size..size + 2], b"\r\n");
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
        if size == 0 {
            break;
        }
    }
    assert!(rest.is_empty());
    let (mut file, mut input, mut frames) = (FileReader::new(Limits::default()), &body[..], 0);
    while let Some((kind, _, tag)) = file.read(&mut input).expect("an FLV file") {
        frames += i64::from(kind == TagKind::Audio && tag[1] == 1);
    }
    assert_eq!(frames, 31);
}

#[test]
fn head_tells_what_get_would_and_sends_nothing_else() {
    let node = Node::start("cores = 1\napp_defaults.wait_for_publisher = '2s'", None);
    let _publisher = publish(&node, "live/looked-at");
    for (path, status, length) in
        [("/live/looked-at.flv", 200, false), ("/live/nobody.flv", 404, true), ("/", 200, true)]
    {
        let mut web = Web::new(node.http);
        web.send(&format!("HEAD {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"));
        let (found, head) = web.head();
        assert_eq!(found, status, "{path}: {head}");
        assert_eq!(head.to_ascii_lowercase().contains("content-length: "), length, "{head}");
        web.expect_closed();
        assert!(web.heard.is_empty(), "{path}: no body");
    }
}

#[test]
fn pages_of_any_origin_may_ask() {
    let node = Node::start("cores = 1", None);
    let (answer, mut web) = ask(
        &node,
        "OPTIONS /live/x.flv HTTP/1.1\r\nHost: test\r\nOrigin: http://a\r\n\
         Access-Control-Request-Method: GET\r\n\r\n",
    );
    assert_eq!(answer.status, 204);
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.field("access-control-allow-methods"), Some("GET, HEAD, OPTIONS"));
    // The connection goes on: browsers ask right after it.
    web.send("GET / HTTP/1.1\r\nHost: test\r\nOrigin: http://a\r\n\r\n");
    let answer = web.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
}

#[test]
fn a_path_may_be_percent_encoded() {
    let node = Node::start("cores = 1", None);
    let _publisher = publish(&node, "live/caméra 1/a");
    for path in [
        "live/cam%C3%A9ra%201/a.flv",
        "live/cam%c3%a9ra%201%2Fa.flv?x=%20&gop=1",
        "%6Cive/cam%C3%A9ra%201/a.%66lv",
    ] {
        Watcher::new(node.http, path).expect_frames(None, 0);
    }
    for path in ["/live/%zz.flv", "/live/%ff.flv", "/live/a%00.flv", "/live/%4"] {
        assert_eq!(get(node.http, path).status, 400, "{path}");
    }
}

#[test]
fn files_of_the_pages_are_sent_once_to_who_names_what_it_has() {
    let node = Node::start("cores = 1", None);
    let request = |fields: &str| format!("GET /_/page.css HTTP/1.1\r\nHost: test\r\n{fields}\r\n");
    let (first, mut web) = ask(&node, &request(""));
    let tag = first.field("etag").expect("it has a name").to_owned();
    assert!(first.status == 200 && !first.body.is_empty());
    // All at once: each has its answer, in order.
    let known = request(&format!("If-None-Match: \"other\", W/{tag}\r\n"));
    web.send(&[known, request("If-None-Match: \"other\"\r\n")].concat());
    let (status, head) = web.head();
    assert_eq!((status, head.contains("Content-")), (304, false), "{head}");
    assert!(head.contains(&format!("ETag: {tag}\r\n")), "{head}");
    let again = web.answer();
    assert_eq!((again.status, again.body), (200, first.body));
}

#[test]
fn bad_requests_are_answered_by_their_number() {
    let node = Node::start("cores = 1\nlimits.log_violations_per_second = 1000", None);
    let host = "Host: test\r\n";
    let long = format!("GET /live/x.flv HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\n{host}{}\r\n", "A: b\r\n".repeat(100));
    let cases = [
        ("PATCH /live/x.flv HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", 405),
        ("DELETE / HTTP/1.1\r\nHost: test\r\n\r\n", 405),
        (&long, 431),
        (&many, 431),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello", 400),
        ("GET / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}", 400),
    ];
    for (request, status) in cases {
        let (answer, mut web) = ask(&node, request);
        assert_eq!(answer.status, status, "{request:?}: {}", answer.body);
        assert_eq!(answer.field("connection"), Some("close"));
        if status == 405 {
            assert_eq!(answer.field("allow"), Some("GET, HEAD, POST, PUT, OPTIONS"));
        }
        web.expect_closed();
        let peer = format!("peer={} ", web.address());
        log().wait_for(&["WARN", "closed: http/head: at byte 0: expected ", &peer]);
        assert_eq!(log().lines(&["WARN", &peer]).len(), 1);
    }
    for path in ["/live.flv", "/.flv", "/live/.flv", "/a/b.mkv"] {
        assert_eq!(get(node.http, path).status, 404, "{path}");
    }
}

#[test]
fn a_slow_head_is_given_up_and_an_idle_connection_closed() {
    // Time enough for a first byte, however busy the machine is: until then it says nothing at all.
    let node = Node::start("cores = 1\nhttp.head_timeout = '5s'\nhttp.keep_alive = '1500ms'", None);
    // One byte now and then does not help.
    let begun = Instant::now();
    let mut slow = Web::new(node.http);
    for byte in b"GET / HTTP" {
        let _ = slow.socket.write_all(&[*byte]);
        std::thread::sleep(Duration::from_millis(550));
    }
    let answer = slow.answer();
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() >= Duration::from_secs(5));
    log().wait_for(&["WARN", "expected a whole head within 5s", &slow.address().to_string()]);
    // Who says nothing at all is closed without a word.
    let mut silent = Web::new(node.http);
    silent.expect_closed();
    assert!(silent.heard.is_empty());
    assert!(log().lines(&["WARN", &format!("peer={} ", silent.address())]).is_empty());
    // And so is who says nothing more.
    let mut idle = Web::new(node.http);
    idle.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(idle.answer().status, 200);
    idle.expect_closed();
    assert!(idle.heard.is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    // The publisher says nothing while all the others are answered.
    let lines = "cores = 1\napp_defaults.wait_for_publisher = '100ms'\n\
                 limits.publisher_silence = '1h'";
    let node = Node::start(lines, None);
    let mut publisher = publish(&node, "live/last");
    let mut web = Web::new(node.http);
    let requests: String = [
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "OPTIONS / HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n",
        "\r\nGET /live/a/page HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /no HTTP/1.1\r\nHost: test\r\n\r\n",
    ]
    .concat();
    web.send(&requests.repeat(20));
    for _ in 0..20 {
        let statuses = [(); 5].map(|()| web.answer().status);
        assert_eq!(statuses, [200, 204, 404, 200, 404]);
    }
    // The last may be a stream.
    web.send(
        "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /live/last.flv HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    assert_eq!(web.answer().status, 200);
    assert_eq!(web.head().0, 200);
    publisher.push(3);
    assert_eq!(web.take(3), b"FLV");
}

/// One frame of a client, masked as RFC 6455 wants it.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let length = 0x80 | u8::try_from(payload.len()).expect("short");
    let body = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask);
    [first, length].into_iter().chain(mask).chain(body).collect()
}

/// The next frame of the server: its first byte and its payload.
#[track_caller]
fn ws_frame(web: &mut Web) -> (u8, Vec<u8>) {
    let head = web.take(2);
    assert_eq!(head[1] & 0x80, 0, "a server does not mask");
    let length = match head[1] {
        126 => u64::from(u16::from_be_bytes(web.take(2).try_into().expect("two"))),
        127 => u64::from_be_bytes(web.take(8).try_into().expect("eight")),
        short => u64::from(short),
    };
    (head[0], web.take(usize::try_from(length).expect("it fits")))
}

const UPGRADE: &str = "HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn websocket(node: &Node, path: &str) -> Web {
    let mut web = Web::new(node.http);
    web.send(&format!("GET {path} {UPGRADE}"));
    let (status, head) = web.head();
    assert_eq!(status, 101, "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    web
}

#[test]
fn a_websocket_carries_the_stream_and_answers_pings_between_blocks() {
    // In the grace viewers get what was published last, however busy the machine is.
    let node = Node::start("cores = 1\napp_defaults.publisher_grace = '4s'", None);
    let mut publisher = publish(&node, "live/ws");
    let mut web = websocket(&node, "/live/ws.flv?gop=1");
    let (mut flv, mut pongs) = (Vec::new(), Vec::new());
    let mut hear = |web: &mut Web, flv: &mut Vec<u8>| match ws_frame(web) {
        (0x82, block) => {
            flv.extend_from_slice(&block);
            None
        }
        (0x8a, payload) => {
            pongs.push(payload.clone());
            Some(payload)
        }
        other => panic!("expected a block or a pong, found {other:?}"),
    };
    for round in 0..20_u8 {
        web.socket.write_all(&masked(0x89, &[round; 7])).expect("the server reads");
        publisher.push(5);
        // A message in two fragments with a ping between them, which nobody cares about.
        let parts = [masked(0x01, b"hel"), masked(0x89, b"between"), masked(0x80, b"lo")];
        web.socket.write_all(&parts.concat()).expect("the server reads");
        while hear(&mut web, &mut flv).as_deref() != Some(&b"between"[..]) {}
    }
    // The latest of several pings that came at once is enough.
    assert!(pongs.len() >= 20, "{pongs:?}");
    publisher.leave();
    let (mut first, mut payload) = ws_frame(&mut web);
    while first == 0x82 {
        flv.extend_from_slice(&payload);
        (first, payload) = ws_frame(&mut web);
    }
    // The stream is over: 1000.
    assert_eq!((first, &payload[..2]), (0x88, &1000_u16.to_be_bytes()[..]));
    web.socket.write_all(&masked(0x88, &1000_u16.to_be_bytes())).expect("the server waits for it");
    web.expect_closed();

    let (mut file, mut input) = (FileReader::new(Limits::default()), &flv[..]);
    let mut next = 0;
    while let Some((kind, _, tag)) = file.read(&mut input).expect("an FLV file") {
        if kind == TagKind::Audio && tag[1] == 1 {
            assert_eq!(talk::number_of(&tag[2..]), next);
            next += 1;
        }
    }
    assert_eq!(next, 101);
}

#[test]
fn a_websocket_viewer_that_takes_leave_gets_the_same_back() {
    let node = Node::start("cores = 1", None);
    let _publisher = publish(&node, "live/ws-leave");
    let mut web = websocket(&node, "/live/ws-leave.flv");
    assert_eq!(ws_frame(&mut web).0, 0x82);
    web.socket.write_all(&masked(0x88, &1001_u16.to_be_bytes())).expect("the server reads");
    loop {
        match ws_frame(&mut web) {
            (0x82, _) => {}
            close => {
                assert_eq!(close, (0x88, 1001_u16.to_be_bytes().to_vec()));
                break;
            }
        }
    }
    web.expect_closed();
    log().wait_for(&[" close ", &format!("peer={} ", web.address())]);
}

#[test]
fn a_websocket_frame_that_breaks_the_rules_is_answered_by_its_code() {
    let node = Node::start("cores = 1\nlimits.log_violations_per_second = 1000", None);
    let mut publisher = publish(&node, "live/ws-bad");
    let mut watcher = Watcher::new(node.http, "live/ws-bad.flv");
    watcher.expect_frames(None, 0);
    let unmasked = vec![0x89, 1, 7];
    let reserved = masked(0xc2, b"x");
    let unfinished_control = masked(0x09, b"x");
    for bytes in [unmasked, reserved, unfinished_control] {
        let mut web = websocket(&node, "/live/ws-bad.flv");
        web.socket.write_all(&bytes).expect("the server reads");
        loop {
            match ws_frame(&mut web) {
                (0x82, _) => {}
                (first, payload) => {
                    assert_eq!((first, &payload[..2]), (0x88, &1002_u16.to_be_bytes()[..]));
                    break;
                }
            }
        }
        web.expect_closed();
        let peer = format!("peer={} ", web.address());
        let line = log().wait_for(&["WARN", "closed: http/websocket: at byte ", &peer]);
        assert!(line.contains("stream=live/ws-bad "), "{line}");
    }
    publisher.push(20);
    watcher.expect_frames(Some(1), 20);
}

#[test]
fn a_websocket_handshake_that_is_wrong_is_refused() {
    let node = Node::start("cores = 1", None);
    let upgrade = "Host: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (fields, status) in [
        (format!("{upgrade}{key}Sec-WebSocket-Version: 8\r\n"), 426),
        (format!("{upgrade}Sec-WebSocket-Version: 13\r\n"), 400),
        (format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n"), 400),
    ] {
        let (answer, _) = ask(&node, &format!("GET /live/x.flv HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(answer.status, status, "{fields}");
    }
}
