//! Bounds at the socket: who breaks one is closed, with one line in the log that says where and
//! what, and nobody else notices.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use corecast::container::amf0::Value;
use corecast::control::ask::Answerer;
use corecast::proto::rtmp::{Goal, kind};
use corecast::serve::verdict::{Question, Verdict};
use node::{Node, connect, connect_from, eventually, field, log};
use talk::{Peer, Raw, message};
use web::{Watcher, Web, get};

/// A stream that is on, and who watches it: to see that it loses nothing.
struct Healthy {
    publisher: Peer,
    player: Peer,
    watcher: Watcher,
    seen: i64,
}

impl Healthy {
    fn start(node: &Node, name: &str) -> Self {
        let path = format!("live/{name}");
        let mut publisher = Peer::publish(node.rtmp, &path);
        publisher.push(1);
        let mut player = Peer::play(node.rtmp, &path);
        player.start();
        player.expect_frames(None, 0);
        let mut watcher = Watcher::new(node.http, &format!("{path}.flv"));
        watcher.expect_frames(None, 0);
        Self { publisher, player, watcher, seen: 0 }
    }

    /// More frames, and all that were pushed so far have arrived.
    #[track_caller]
    fn go_on(&mut self) {
        self.publisher.push(20);
        let last = self.publisher.next() - 1;
        self.player.expect_frames(Some(self.seen + 1), last);
        self.watcher.expect_frames(Some(self.seen + 1), last);
        self.seen = last;
    }
}

/// Waits until so many connections are open: one that has said how it ended counts for a moment yet,
/// in which another core may refuse the next.
#[track_caller]
fn wait_for_connections(node: &Node, count: usize) {
    let told = format!("\"connections\":{count},");
    eventually(&format!("{count} connections"), || {
        let mut web = Web::new(node.admin);
        web.send("GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n");
        web.answer().body.contains(&told)
    });
}

/// The one line about the violation of the connection from `peer`.
#[track_caller]
fn violation(peer: impl std::fmt::Display) -> String {
    let peer = format!("peer={peer} ");
    log().wait_for(&[" close ", &peer]);
    let mut lines = log().lines(&["WARN", "closed: ", &peer]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.swap_remove(0)
}

#[test]
fn each_rtmp_violation_closes_one_connection_with_one_line() {
    let node = Node::start(
        // The healthy one says nothing while all the others connect, and they wait for their turn.
        "cores = 1\nlimits.publisher_silence = '1h'\nlimits.first_frame_timeout = '1h'\n\
         limits.request_timeout = '1h'\n\
         limits.log_violations_per_second = 1000\nlimits.message_bytes = '64KiB'\n\
         limits.reassembly_bytes_before_publish = '8KiB'\nlimits.chunk_streams = 8\n\
         limits.amf_depth = 4\nlimits.amf_values = 64",
        None,
    );
    let mut healthy = Healthy::start(&node, "healthy");
    let publishing = |name: &str| {
        let mut raw = Raw::ready(node.rtmp, "live");
        raw.send(&talk::publish(name));
        assert_eq!(raw.status().0, "NetStream.Publish.Start");
        raw
    };
    let ready = || Raw::ready(node.rtmp, "live");
    let nested = (0..6).fold(Value::Null, |inner, _| Value::StrictArray(vec![inner]));
    // The first chunk of a message of 100 000 bytes on csid 4.
    let mut too_long = vec![4, 0, 0, 0, 1, 0x86, 0xa0, kind::VIDEO, 1, 0, 0, 0];
    too_long.resize(140, 0);
    let many_csids =
        (10..20).flat_map(|csid| message(kind::AUDIO, csid, 0, 1, &[0xaf, 1, 1])).collect();
    let cases: Vec<(&str, Raw, Vec<u8>, &str, &str)> = vec![
        (
            "a message above the limit",
            publishing("too-long"),
            too_long.clone(),
            "rtmp/chunk: csid 4: expected a message of at most 65536 bytes, found one of kind 9 \
             with 100000",
            "stream=live/too-long ",
        ),
        (
            "a long message before publish",
            ready(),
            too_long,
            "rtmp/chunk: csid 4: expected a message of at most 8192 bytes, found one of kind 9",
            "stream=- ",
        ),
        (
            "too many chunk streams",
            publishing("many-csids"),
            many_csids,
            "rtmp/chunk: expected at most 8 chunk streams, found one more: csid 1",
            "stream=live/many-csids ",
        ),
        (
            "AMF too deep",
            ready(),
            talk::call("x", 0.0, 0, &[nested]),
            "amf0/object: expected at most 4 levels, found more",
            "stream=- ",
        ),
        (
            "too many AMF values",
            ready(),
            talk::call("x", 0.0, 0, &vec![Value::Null; 80]),
            "amf0/message: expected at most 64 values, found more",
            "stream=- ",
        ),
        (
            "a chunk size of zero",
            ready(),
            message(kind::SET_CHUNK_SIZE, 2, 0, 0, &[0; 4]),
            "rtmp/control: expected a chunk size from 1 to 2147483647, found 0",
            "stream=- ",
        ),
        (
            "a continuation of nothing",
            ready(),
            vec![0xc9, 1, 2, 3],
            "rtmp/chunk: csid 9: expected fmt 0 or 1 on its first chunk, found fmt 3",
            "stream=- ",
        ),
        (
            "a message cut by another",
            ready(),
            [&[9, 0, 0, 0, 0, 2, 0, kind::AUDIO, 1, 0, 0, 0][..], &[0; 128], &[9; 12]].concat(),
            "rtmp/chunk: csid 9: expected fmt 3 after 128 of 512 bytes of a message, found fmt 0",
            "stream=- ",
        ),
    ];
    for (what, mut raw, bytes, expected, stream) in cases {
        raw.send(&bytes);
        raw.expect_closed();
        let line = violation(raw.address());
        assert!(line.contains(expected), "{what}: expected {expected:?} in {line}");
        assert!(line.contains(stream) && line.contains("protocol=rtmp"), "{what}: {line}");
        // The handshake takes 3073 bytes; the error lies behind it.
        let offset: u64 = field(&line, "offset").parse().expect("a number");
        assert!(offset > 3073, "{what}: {line}");
        healthy.go_on();
    }
}

#[test]
fn what_is_no_handshake_is_closed_with_one_line() {
    let node = Node::start("cores = 1\nlimits.log_violations_per_second = 1000", None);
    let mut healthy = Healthy::start(&node, "healthy-handshake");
    for (bytes, expected) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "rtmp/handshake: expected"),
        (&[6; 1537], "rtmp/handshake: expected"),
        (&[0x16, 3, 1], "rtmp/handshake: expected"),
    ] {
        let mut socket = connect(node.rtmp);
        socket.write_all(bytes).expect("the server reads");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        let line = violation(socket.local_addr().expect("connected"));
        assert!(line.contains(expected), "{line}");
    }
    healthy.go_on();
}

#[test]
fn each_wait_that_is_too_long_closes_one_connection_with_one_line() {
    let node = Node::start(
        // Each is longer than a busy machine holds up those that are not to be closed.
        "cores = 1\nlimits.log_violations_per_second = 1000\nlimits.handshake_timeout = '6s'\n\
         limits.request_timeout = '7s'\nlimits.first_frame_timeout = '8s'\n\
         limits.publisher_silence = '9s'",
        None,
    );
    let publish = |name: &str| {
        let mut raw = Raw::ready(node.rtmp, "live");
        raw.send(&talk::publish(name));
        assert_eq!(raw.status().0, "NetStream.Publish.Start");
        raw
    };
    let mut healthy = Healthy::start(&node, "healthy-waits");
    // A part of a handshake, then a byte now and then.
    let mut slow = connect(node.rtmp);
    slow.write_all(&[3; 100]).expect("the server reads");
    let idle = Raw::new(node.rtmp);
    let ready = Raw::ready(node.rtmp, "live");
    let no_frame = publish("no-frame");
    let mut silent = publish("silent");
    silent.send(&[talk::sound_message(), talk::frame_message(0)].concat());
    let cases = [
        (slow.local_addr().expect("connected"), "rtmp/handshake: expected a whole handshake", "-"),
        (idle.address(), "rtmp/request: expected connect, then publish or play, within 7s", "-"),
        (ready.address(), "rtmp/request: expected connect, then publish or play, within", "-"),
        (
            no_frame.address(),
            "rtmp/first frame: expected the first audio or video within 8s",
            "live/no-frame",
        ),
        (silent.address(), "rtmp/silence: expected audio or video within 9s", "live/silent"),
    ];
    for (peer, expected, stream) in cases {
        eventually("it is closed", || {
            healthy.go_on();
            let _ = slow.write(&[0]);
            !log().lines(&[" close ", &format!("peer={peer} ")]).is_empty()
        });
        let line = violation(peer);
        assert!(line.contains(expected), "expected {expected:?} in {line}");
        assert_eq!(field(&line, "stream"), stream, "{line}");
    }
}

#[test]
fn a_publisher_above_its_bitrate_is_closed_with_one_line() {
    let node = Node::start("cores = 2\napp.fast.publisher_bitrate_max = '1Mbps'", None);
    let mut healthy = Healthy::start(&node, "healthy-bitrate");
    let mut raw = Raw::ready(node.rtmp, "fast");
    raw.send(&talk::publish("x"));
    assert_eq!(raw.status().0, "NetStream.Publish.Start");
    let peer = raw.address();
    raw.send(&talk::sound_message());
    let mut body = vec![0; 60_000];
    body[..2].copy_from_slice(&[0xaf, 1]);
    let flood = message(kind::AUDIO, 4, 0, 1, &body);
    // Until it is closed; each message is half a second of what it may send.
    eventually("it is closed", || {
        let _ = raw.socket.write_all(&flood);
        !log().lines(&[" close ", &format!("peer={peer} ")]).is_empty()
    });
    let line = violation(peer);
    assert!(line.contains("publisher: expected at most 1000000 bit/s"), "{line}");
    healthy.go_on();
}

#[test]
fn a_publisher_above_its_bitrate_may_be_told_of_alone() {
    let node = Node::start(
        "cores = 2\napp.fast.publisher_bitrate_max = '1Mbps'\n\
         app.fast.publisher_bitrate_action = 'warn'",
        None,
    );
    let mut raw = Raw::ready(node.rtmp, "fast");
    raw.send(&talk::publish("warned"));
    assert_eq!(raw.status().0, "NetStream.Publish.Start");
    raw.send(&talk::sound_message());
    let mut body = vec![0; 60_000];
    body[..2].copy_from_slice(&[0xaf, 1]);
    let flood = message(kind::AUDIO, 4, 0, 1, &body);
    let told = ["WARN", "stream=fast/warned ", "publisher: expected at most 1000000 bit/s"];
    (0..20).for_each(|_| raw.send(&flood));
    log().wait_for(&told);
    raw.send(&talk::ping(7));
    raw.pong(7);
    // Of twenty messages ten are above it, and the log has a line now and then.
    assert!(log().lines(&told).len() < 5, "{:?}", log().lines(&told));
    assert!(log().lines(&[" close ", "stream=fast/warned "]).is_empty(), "it goes on");
}

#[test]
fn lines_about_violations_are_limited_and_say_how_many_were_left_out() {
    let node = Node::start("cores = 1\nlimits.log_violations_per_second = 2", None);
    let break_a_rule = || {
        let mut web = Web::new(node.http);
        web.send("FLOOD /x HTTP/1.1\r\nHost: test\r\n\r\n");
        web.expect_closed();
        web.address()
    };
    let closed = |peer| !log().lines(&[" close ", &format!("peer={peer} ")]).is_empty();
    let told = || log().lines(&["WARN", "closed: ", "found FLOOD "]);
    let start = Instant::now();
    let peers: Vec<_> = (0..30).map(|_| break_a_rule()).collect();
    eventually("all are closed", || peers.iter().all(|peer| closed(*peer)));
    let seconds = start.elapsed().as_secs() as usize + 1;
    assert!(told().len() <= 2 * seconds, "{} lines in {seconds} s", told().len());
    thread::sleep(Duration::from_millis(1100));
    break_a_rule();
    eventually("all are told of", || {
        let suppressed =
            |line: &String| field(line, "suppressed").parse::<usize>().expect("a number");
        told().iter().map(suppressed).sum::<usize>() + told().len() == 31
    });
}

#[test]
fn the_connection_above_the_limit_is_refused_and_the_others_go_on() {
    // Three of a healthy stream, and one more.
    let node = Node::start("cores = 2\nlimits.connections = 4", None);
    wait_for_connections(&node, 0);
    let mut healthy = Healthy::start(&node, "healthy-connections");
    let fourth = Raw::ready(node.rtmp, "live");
    for _ in 0..5 {
        let answer = get(node.http, "/live/healthy-connections.flv");
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("limits.connections"), "{}", answer.body);
        let mut refused = Peer::play(node.rtmp, "live/healthy-connections");
        let (code, reason) = refused.refusal();
        assert_eq!(code, "NetConnection.Connect.Rejected");
        assert!(reason.contains("at most 4 connections (limits.connections)"), "{reason}");
        assert!(reason.contains("try another server"), "{reason}");
        let peer = refused.address();
        log().wait_for(&["refused: expected at most 4 connections", &format!("peer={peer} ")]);
        healthy.go_on();
    }
    // One leaves, and one may come.
    let peer = fourth.address();
    drop(fourth);
    log().wait_for(&[" close ", &format!("peer={peer} ")]);
    wait_for_connections(&node, 3);
    let mut newcomer = Watcher::new(node.http, "live/healthy-connections.flv");
    healthy.go_on();
    newcomer.expect_frames(None, healthy.seen);
}

#[test]
fn so_many_rtmp_clients_are_on_their_way_to_hear_a_refusal_and_the_rest_is_closed() {
    let node =
        Node::start("cores = 1\nlimits.connections = 4\nlimits.handshake_timeout = '30s'", None);
    let mut healthy = Healthy::start(&node, "healthy-refusals");
    let _fourth = Raw::ready(node.rtmp, "live");
    // They never say what they want.
    let mut silent: Vec<_> = (0..64).map(|_| connect(node.rtmp)).collect();
    // A read that only took too long is no close.
    let closed = |socket: &mut TcpStream| match socket.read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    for _ in 0..10 {
        assert!(closed(&mut connect(node.rtmp)), "without a word");
        healthy.go_on();
    }
    for socket in &mut silent {
        socket.set_nonblocking(true).expect("a socket");
        let waits = socket.read(&mut [0]).expect_err("nothing was said");
        assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock, "it may still be told");
    }
    // One says what is no RTMP, one says too much: their places are free.
    silent[0].write_all(b"GET / HTTP/1.1\r\n\r\n").expect("the server reads");
    let _ = silent[1].write_all(&[&[3; 1537][..], &[0; 64 << 10]].concat());
    for socket in &mut silent[..2] {
        eventually("it is closed", || match socket.read(&mut [0; 4096]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        });
    }
    let mut told = [0; 2].map(|_| Peer::play(node.rtmp, "live/x"));
    for peer in &mut told {
        assert!(peer.refusal().1.contains("limits.connections"), "it is told why");
    }
    healthy.go_on();
}

#[test]
fn an_address_may_have_so_many_connections() {
    let node = Node::start("cores = 2\nlimits.connections_per_address = 2", None);
    let path = "live/healthy-addresses.flv";
    let mut healthy = Healthy::start(&node, "healthy-addresses");
    let mut two = [0, 1].map(|_| Watcher::on(connect_from([127, 2, 0, 1], node.http), path));
    healthy.go_on();
    two.iter_mut().for_each(|watcher| watcher.expect_frames(None, healthy.seen));
    let mut third = Web::on(connect_from([127, 2, 0, 1], node.http));
    third.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = third.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("limits.connections_per_address"), "{}", answer.body);
    let mut third = Peer::on(connect_from([127, 2, 0, 1], node.rtmp), Goal::Play, "live/x");
    let (_, reason) = third.refusal();
    assert!(reason.contains("limits.connections_per_address"), "{reason}");
    let mut other = Watcher::on(connect_from([127, 2, 0, 2], node.http), path);
    let first = healthy.seen + 1;
    healthy.go_on();
    other.expect_frames(None, healthy.seen);
    two.iter_mut().for_each(|watcher| watcher.expect_frames(Some(first), healthy.seen));
    // One leaves, and one may come.
    let [first, _second] = two;
    let peer = first.web.address();
    drop(first);
    log().wait_for(&[" close ", &format!("peer={peer} ")]);
    // Three of the healthy stream, the second, and the one from another address.
    wait_for_connections(&node, 5);
    let mut newcomer = Watcher::on(connect_from([127, 2, 0, 1], node.http), path);
    healthy.go_on();
    newcomer.expect_frames(None, healthy.seen);
}

#[test]
fn who_does_not_close_after_our_last_words_is_closed_all_the_same() {
    let node = Node::start("cores = 1\nlimits.connections_per_address = 5", None);
    let address = [127, 2, 0, 3];
    let mut stay: Vec<Web> = (0..5).map(|_| Web::on(connect_from(address, node.http))).collect();
    for web in &mut stay {
        web.send("BREW / HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(web.answer().status, 405);
    }
    eventually("their places are free", || {
        let mut newcomer = Web::on(connect_from(address, node.http));
        newcomer.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        newcomer.answer().status == 200
    });
}

#[test]
fn who_asks_and_does_not_read_is_closed_with_the_reason() {
    let node = Node::start("limits.reply_timeout = '300ms'", None);
    let socket = connect(node.http);
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 10).expect("a socket");
    let mut web = Web::on(socket);
    let peer = web.address();
    // More answers than all buffers on the way hold.
    web.send(&"GET /_/mpegts.js HTTP/1.1\r\nHost: test\r\n\r\n".repeat(100));
    let line = log().wait_for(&[" close ", &format!("peer={peer} ")]);
    assert!(line.contains("socket: timed out"), "{line}");
}

#[test]
fn a_burst_of_connections_waits_its_turn_and_a_running_stream_does_not() {
    // The last of them asks when all the others have been answered.
    let node = Node::start(
        "cores = 1\ntcp.accept_per_turn = 4\nhttp.head_timeout = '1h'\n\
         limits.publisher_silence = '1h'",
        None,
    );
    let mut healthy = Healthy::start(&node, "healthy-burst");
    let burst = thread::scope(|scope| {
        let port = node.http;
        let burst = scope.spawn(move || (0..400).map(|_| Web::new(port)).collect::<Vec<_>>());
        while !burst.is_finished() {
            healthy.go_on();
        }
        burst.join().expect("it only connects")
    });
    healthy.go_on();
    for mut web in burst {
        web.send("GET /nothing/here HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(web.answer().status, 200);
    }
}

#[test]
fn who_sends_nothings_without_end_outlasts_no_deadline() {
    let limits = "cores = 1\nhttp.head_timeout = '1s'\nlimits.request_timeout = '1s'";
    let node = Node::start(limits, None);
    let acknowledgement = [2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0];
    let floods = [
        ("http.head_timeout", connect(node.http), &b"\r\n"[..]),
        ("limits.request_timeout", Raw::new(node.rtmp).socket, &acknowledgement),
    ];
    for (limit, mut socket, nothing) in floods {
        let (flood, began) = (nothing.repeat(10_000), Instant::now());
        // Err: it is closed.
        while socket.write_all(&flood).is_ok() {
            assert!(began.elapsed() < Duration::from_secs(20), "{limit}: it goes on");
        }
    }
}

/// Says no to whoever has the token `no`.
#[derive(Debug)]
struct Tokens;

impl Answerer for Tokens {
    fn answer(
        &self,
        question: Arc<Question>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        let verdict = match question.query.contains("no-") {
            true => Verdict::Deny("that token is not valid".to_owned()),
            false => Verdict::Allow,
        };
        Box::pin(async move { verdict })
    }
}

#[test]
fn tokens_never_reach_the_log() {
    let node = Node::start(
        "cores = 1\nlimits.log_violations_per_second = 1000\n\
         app_defaults.wait_for_publisher = '10ms'",
        Some(Arc::new(Tokens)),
    );
    let mut publisher = Peer::publish(node.rtmp, "live/secrets?token=s3cret-1");
    publisher.push(1);
    let mut player = Peer::play(node.rtmp, "live/secrets?token=s3cret-2");
    player.start();
    let mut watcher = Watcher::new(node.http, "live/secrets.flv?token=s3cret-3");
    watcher.expect_frames(None, 0);
    Peer::new(node.rtmp, Goal::Publish, "live/secrets?token=s3cret-4").refusal();
    Peer::new(node.rtmp, Goal::Publish, "live/secrets?token=no-s3cret-5").refusal();
    Peer::new(node.rtmp, Goal::Play, "live/nobody?token=s3cret-6").refusal();
    assert_eq!(get(node.http, "/live/secrets.flv?token=no-s3cret-7").status, 403);
    assert_eq!(get(node.http, "/live/nobody.flv?token=s3cret-8").status, 404);
    // On the app and on tcUrl, where some encoders put it.
    let mut raw = Raw::ready(node.rtmp, "live?token=s3cret-9");
    raw.send(&talk::publish("on-app"));
    raw.status();
    // In what is refused for another reason.
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&talk::publish("?token=s3cret-10"));
    raw.status();
    let mut raw = Raw::ready(node.rtmp, "live");
    raw.send(&talk::call("s3cret-call?token=s3cret-11", 7.0, 1, &[Value::Null]));
    raw.reply(7.0);
    for request in [
        "GET /live/x.flv?token=s3cret-12#part HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /live/x.flv?token=s3cret-13 HTTP/7\r\nHost: test\r\n\r\n",
        "GET live/x.flv?token=s3cret-14 HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET /live/x.flv?token=s3cret-15\r\nHost test\r\n\r\n",
        "GET /live/x.flv?token=s3cret-16 HTTP/1.1\r\n\r\n",
    ] {
        let mut web = Web::new(node.http);
        web.send(request);
        assert_eq!(web.head().0, 400, "{request}");
        log().wait_for(&["WARN", "closed: ", &format!("peer={} ", web.address())]);
    }
    let peer = publisher.address();
    drop((publisher, player, watcher));
    log().wait_for(&[" close ", &format!("peer={peer} "), "stream=live/secrets "]);
    drop(node);
    let lines = log().lines(&["s3cret"]);
    assert!(lines.is_empty(), "{lines:#?}");
}
