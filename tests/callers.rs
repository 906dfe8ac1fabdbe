//! Who uses the API, as far as its connections go: who is named in the log, who takes how many places,
//! who is closed with the listener it came by, and who is told apart behind a proxy.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::{Read, Write};
use std::net::TcpStream;

use binary::Binary;
use node::{Node, PATIENCE, connect, connect_from, eventually, free_port, log};
use web::{Web, get};

const TOKEN: &str = "Authorization: Bearer 0123456789abcdef\r\n";

/// Asks on `web`, which stays open.
#[track_caller]
fn ask(web: &mut Web, request: &str, headers: &str) -> u16 {
    web.send(&format!("{request} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    web.answer().status
}

#[test]
fn who_changes_something_is_named_and_who_has_no_token_now_and_then() {
    let node = Node::start("cores = 1\nadmin.token = '0123456789abcdef'", None);
    let mut web = Web::new(node.admin);
    let by = format!("client={} ", web.address());
    assert_eq!(ask(&mut web, "GET /api/v1/info", TOKEN), 200);
    assert_eq!(ask(&mut web, "DELETE /api/v1/block/192.0.2.1?why=secret", TOKEN), 404);
    let line = log().wait_for(&["admin: asked", &by]);
    assert!(line.contains("method=DELETE path=\"/api/v1/block/192.0.2.1\" status=404"), "{line}");
    assert_eq!(log().lines(&["admin: asked", &by]).len(), 1, "what reads is not told");
    // A stranger cannot fill the log.
    let mut stranger = Web::new(node.admin);
    let by = format!("client={} ", stranger.address());
    for _ in 0..200 {
        assert_eq!(ask(&mut stranger, "POST /api/v1/reload", ""), 401);
    }
    let line = log().wait_for(&["admin: refused", &by]);
    assert!(line.contains("method=POST path=\"/api/v1/reload\" status=401"), "{line}");
    // Nor where nothing is, nor by long words.
    for _ in 0..200 {
        assert_eq!(ask(&mut stranger, "POST /api/x", ""), 404);
    }
    let long = "x".repeat(8000);
    let request = format!("POST /api/v1/{long}");
    let told = || log().lines(&["admin: refused", &by, "xxx"]);
    eventually("it is told", || {
        assert_eq!(ask(&mut stranger, &request, ""), 401);
        !told().is_empty()
    });
    assert_eq!(ask(&mut stranger, "DELETE /api/v1/block/192.0.2.1", TOKEN), 404);
    log().wait_for(&["admin: asked", &by]);
    let lines = log().lines(&[&by]);
    assert!(lines.len() < 100, "{}", lines.len());
    assert!(lines.iter().all(|line| line.len() < 500), "{lines:?}");
}

#[test]
fn one_address_does_not_take_all_places() {
    let node = Node::start("cores = 1", None);
    let greedy = [127, 88, 0, 1];
    let idle: Vec<_> = (0..64).map(|_| Web::on(connect_from(greedy, node.admin))).collect();
    let mut one_more = connect_from(greedy, node.admin);
    one_more.set_read_timeout(Some(PATIENCE)).expect("not zero");
    assert_eq!(one_more.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    log().wait_for(&["admin: closed: 64 are connected from there", "client=127.88.0.1:"]);
    // Not by its health, which a core that is late on a busy machine spoils.
    assert_eq!(get(node.admin, "/").status, 200);
    drop(idle);
    eventually("its places are free again", || {
        let mut socket = connect_from(greedy, node.admin);
        socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let mut byte = [0];
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").is_ok()
            && socket.read(&mut byte).is_ok_and(|read| read == 1)
    });
}

#[test]
fn who_listens_to_events_leaves_places_for_others() {
    let node = Node::start("cores = 1", None);
    let hear = || {
        let mut web = Web::new(node.admin);
        web.send("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (status, _) = web.head();
        (web, status)
    };
    let mut hearers: Vec<_> = (0..128).map(|_| hear()).collect();
    assert!(hearers.iter().all(|(_, status)| *status == 200));
    assert_eq!(hear().1, 503);
    assert_eq!(get(node.admin, "/").status, 200);
    hearers.pop();
    eventually("its place is free", || hear().1 == 200);
}

#[test]
fn with_its_listener_a_connection_that_waits_is_closed_and_an_answer_goes_on() {
    let [first, second] = [(); 2].map(|()| free_port());
    let lines = |port: u16| {
        format!("cores = 1\nadmin.listen = ['127.0.0.1:{port}']\nadmin.token = '0123456789abcdef'")
    };
    let binary = Binary::start(1000, &lines(first));
    eventually("the API is there", || TcpStream::connect(("127.0.0.1", first)).is_ok());
    let is_served = |socket: &mut TcpStream, token: &str| {
        let request = format!("GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\n{token}\r\n");
        socket.write_all(request.as_bytes()).is_ok()
            && socket.read(&mut [0; 64 << 10]).is_ok_and(|read| read > 0)
    };
    let mut kept = connect(first);
    kept.set_read_timeout(Some(PATIENCE)).expect("not zero");
    assert!(is_served(&mut kept, TOKEN));
    let mut hearer = Web::new(first);
    hearer.send(&format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n{TOKEN}\r\n"));
    assert_eq!(hearer.head().0, 200);
    binary.reload(&lines(second));
    eventually("it is closed", || !is_served(&mut kept, TOKEN));
    // What is under way is told to its end.
    let mut peer = talk::Peer::publish(binary.rtmp, "live/told");
    peer.push(1);
    eventually("the event comes", || {
        assert!(hearer.hear(), "it is on");
        String::from_utf8_lossy(&hearer.heard).contains("live/told")
    });
    // Without the API nobody who was connected needs no token.
    let mut kept = connect(second);
    kept.set_read_timeout(Some(PATIENCE)).expect("not zero");
    assert!(is_served(&mut kept, TOKEN));
    binary.reload("cores = 1");
    eventually("it is closed", || !is_served(&mut kept, TOKEN));
}

#[test]
fn a_client_that_is_blocked_does_not_take_those_along_who_share_its_proxy() {
    let node = Node::start("cores = 1\nproxy.trusted = ['127.77.0.0/16']", None);
    let mut shared = Web::on(connect_from([127, 77, 0, 9], node.http));
    let mut ask_for =
        |client: &str| ask(&mut shared, "GET /", &format!("X-Forwarded-For: {client}\r\n"));
    assert_eq!((ask_for("192.0.2.80"), ask_for("192.0.2.81")), (200, 200));
    let mut api = Web::new(node.admin);
    let mut block = |address: &str| {
        let body = format!("{{\"address\":\"{address}\",\"for_s\":3600,\"reason\":\"rude\"}}");
        let headers = "Content-Type: application/json\r\nContent-Length";
        eventually("the core answers", || {
            api.send(&format!(
                "POST /api/v1/block HTTP/1.1\r\nHost: localhost\r\n{headers}: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = api.answer();
            // One that is late on a busy machine is to be asked again.
            if answer.is_late() {
                return false;
            }
            assert_eq!(answer.status, 200, "{}", answer.body);
            true
        });
    };
    // It was the last to ask.
    block("192.0.2.81");
    assert_eq!(ask_for("192.0.2.80"), 200);
    assert_eq!(
        (ask_for("192.0.2.81"), ask_for("192.0.2.81"), ask_for("192.0.2.80")),
        (403, 403, 200)
    );
    // The proxy itself is another matter.
    block("127.77.0.9");
    shared.send("GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.80\r\n\r\n");
    shared.expect_closed();
    assert!(shared.heard.is_empty());
}
