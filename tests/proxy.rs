//! Behind proxies and balancers, over real sockets: whom a connection counts for, and how the node
//! says that it is well.

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

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use binary::Binary;
use corecast::proto::rtmp::Goal;
use node::{Node, connect, connect_from, eventually, field, log};
use proxy_header::{ProxiedAddress, ProxyHeader};
use secure::Certificate;
use talk::Peer;
use web::{Watcher, Web};

/// The balancers of these tests; other addresses are strangers.
const BALANCER: [u8; 4] = [127, 77, 0, 1];
const CONFIG: &str = "proxy.trusted = ['127.77.0.0/16', 'fd00::/8']\n\
    proxy.header_timeout = '15s'\nlimits.handshake_timeout = '15s'\n\
    limits.publisher_silence = '1h'\n\
    limits.log_violations_per_second = 1000\n";

fn start(lines: &str) -> Node {
    Node::start(&format!("{CONFIG}{lines}"), None)
}

/// A connection that begins with `header`.
fn proxied(port: u16, header: &[u8]) -> TcpStream {
    let mut socket = connect_from(BALANCER, port);
    socket.write_all(header).expect("the server reads");
    socket
}

fn addresses(client: &str) -> ProxiedAddress {
    let client: SocketAddr = client.parse().expect("an address");
    let own = if client.is_ipv4() { "10.0.0.1:80" } else { "[fd00::1]:80" };
    ProxiedAddress::stream(client, own.parse().expect("an address"))
}

fn v1(client: &str) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    let header = ProxyHeader::with_address(addresses(client));
    let length = header.encode_to_slice_v1(&mut bytes).expect("room");
    bytes.truncate(length);
    bytes
}

fn v2(client: &str) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    let header = ProxyHeader::with_address(addresses(client));
    let length = header.encode_to_slice_v2(&mut bytes).expect("room");
    bytes.truncate(length);
    bytes
}

const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Asks for a page that is there.
fn ask(web: &mut Web, headers: &str) -> u16 {
    web.send(&format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n"));
    web.answer().status
}

/// The last line of the connection that came from `peer`.
#[track_caller]
fn close_of(peer: impl std::fmt::Display) -> String {
    log().wait_for(&[" close ", &format!("peer={peer} ")])
}

#[test]
fn each_version_and_family_tells_whose_connection_it_is_to_both_protocols() {
    let node = start("cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/versions");
    publisher.push(1);
    for (n, header) in [(1, v1 as fn(&str) -> Vec<u8>), (2, v2)] {
        for family in ["192.0.2", "2001:db8:"] {
            let client = |port| match family.contains(':') {
                true => format!("[{family}:{n}]:{port}"),
                false => format!("{family}.{n}:{port}"),
            };
            let web = proxied(node.http, &header(&client(1001)));
            let mut watcher = Watcher::on(web, "live/versions.flv");
            let rtmp = proxied(node.rtmp, &header(&client(1002)));
            let mut player = Peer::on(rtmp, Goal::Play, "live/versions");
            player.start();
            watcher.expect_frames(None, 0);
            player.expect_frames(None, 0);
            drop((watcher, player));
            for port in [1001, 1002] {
                let line = close_of(client(port));
                assert!(line.contains("stream=live/versions "), "{line}");
            }
        }
    }
}

#[test]
fn a_header_may_be_cut_at_every_byte() {
    let node = start("cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/cut");
    publisher.push(1);
    for header in [v1("192.0.2.3:1"), v2("[2001:db8::3]:1")] {
        let cuts = 1..header.len();
        thread::scope(|scope| {
            for cut in cuts {
                let (header, node) = (&header, &node);
                scope.spawn(move || {
                    let both = [node.http, node.rtmp].map(|port| {
                        let mut socket = connect_from(BALANCER, port);
                        socket.set_nodelay(true).expect("TCP");
                        socket.write_all(&header[..cut]).expect("the server reads");
                        socket
                    });
                    // Long enough that they come in two reads.
                    thread::sleep(Duration::from_millis(20));
                    let [web, mut rtmp] = both;
                    let mut web = Web::on(web);
                    // With what follows, in one segment.
                    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
                    let rest = [&header[cut..], request].concat();
                    web.socket.write_all(&rest).expect("the server reads");
                    assert_eq!(web.answer().status, 200, "{cut}");
                    rtmp.write_all(&header[cut..]).expect("the server reads");
                    let mut player = Peer::on(rtmp, Goal::Play, "live/cut");
                    player.start();
                    player.expect_frames(None, 0);
                });
            }
        });
    }
}

#[test]
fn a_balancer_that_speaks_for_itself_keeps_its_address() {
    let node = start("cores = 1");
    for header in [LOCAL, b"PROXY UNKNOWN\r\n", b""] {
        let mut web = Web::on(proxied(node.http, header));
        assert_eq!(ask(&mut web, ""), 200);
        let own = web.address();
        drop(web);
        close_of(own);
    }
}

#[test]
fn a_header_of_a_stranger_is_no_header() {
    let node = start("cores = 1");
    for header in [v1("192.0.2.66:1"), v2("192.0.2.66:2")] {
        let mut web = Web::new(node.http);
        web.socket.write_all(&header).expect("the server reads");
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = web.answer();
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("proxy.trusted"), "{}", answer.body);
        close_of(web.address());
        let mut rtmp = Web::new(node.rtmp);
        rtmp.socket.write_all(&header).expect("the server reads");
        rtmp.expect_closed();
        let line = log().wait_for(&["WARN", "closed: ", &format!("peer={} ", rtmp.address())]);
        assert!(line.contains("expected version 3"), "{line}");
        assert!(line.contains("proxy.trusted"), "{line}");
    }
    let lines = log().lines(&["peer=192.0.2.66"]);
    assert!(lines.is_empty(), "{lines:?}");
}

#[test]
fn what_begins_as_a_header_and_is_none_is_closed_with_the_reason() {
    let node = start("cores = 1");
    let bad: [&[u8]; 3] = [
        b"PROXY TCP4 999.0.2.7 10.0.0.1 51234 1935\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\x01\x02\x03\x04",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ];
    for header in bad {
        let mut web = Web::on(proxied(node.http, header));
        let answer = web.answer();
        assert_eq!(answer.status, 400);
        assert!(answer.body.contains("expected a PROXY protocol header"), "{}", answer.body);
        let mut rtmp = Web::on(proxied(node.rtmp, header));
        rtmp.expect_closed();
        for peer in [web.address(), rtmp.address()] {
            let line = log().wait_for(&["WARN", "closed: proxy: ", &format!("peer={peer} ")]);
            assert!(line.contains("expected a PROXY protocol header of "), "{line}");
        }
    }
}

#[test]
fn where_a_header_is_required_whoever_brings_none_is_closed_with_the_reason() {
    let node = start("cores = 1\nproxy.http = 'required'\nproxy.rtmp = 'required'");
    let mut web = Web::on(proxied(node.http, b""));
    web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = web.answer();
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("as from every trusted proxy"), "{}", answer.body);
    let mut rtmp = Web::on(proxied(node.rtmp, &[3, 0, 0, 0]));
    rtmp.expect_closed();
    let line = log().wait_for(&["WARN", "closed: proxy: ", &format!("peer={} ", rtmp.address())]);
    assert!(line.contains("found \"\\x03"), "{line}");
    let mut web = Web::on(proxied(node.http, b""));
    web.send("GET /x.flv?key=SECRET HTTP/1.1\r\nHost: test\r\n\r\n");
    let answer = web.answer();
    assert!(answer.status == 400 && !answer.body.contains("SECRET"), "{}", answer.body);
    // Of others none is required.
    assert_eq!(ask(&mut Web::new(node.http), ""), 200);
    assert_eq!(ask(&mut Web::on(proxied(node.http, &v2("192.0.2.4:1"))), ""), 200);
}

#[test]
fn a_header_that_does_not_come_in_time_is_not_waited_for() {
    let lines = CONFIG.replace("header_timeout = '15s'", "header_timeout = '100ms'");
    let node = Node::start(&format!("{lines}cores = 1"), None);
    for part in [b"".as_slice(), b"PROXY TCP4 192."] {
        let mut rtmp = Web::on(proxied(node.rtmp, part));
        rtmp.expect_closed();
        let line = log().wait_for(&["WARN", "closed: ", &format!("peer={} ", rtmp.address())]);
        assert!(line.contains("proxy.header_timeout"), "{line}");
    }
}

#[test]
fn where_headers_are_off_they_are_bytes_like_any() {
    let node = start("cores = 1\nproxy.http = 'off'");
    let mut web = Web::on(proxied(node.http, &v1("192.0.2.5:1")));
    web.send("\r\n");
    assert_eq!(web.head().0, 400);
    assert_eq!(ask(&mut Web::on(proxied(node.http, b"")), ""), 200);
}

#[test]
fn connections_count_for_the_client_and_not_for_the_balancer() {
    let node = start("cores = 2\nlimits.connections_per_address = 2");
    let mut publisher = Peer::publish(node.rtmp, "live/counted");
    publisher.push(1);
    let watch = |client: &str| Watcher::on(proxied(node.http, &v2(client)), "live/counted.flv");
    let mut two = [watch("192.0.2.10:1"), watch("192.0.2.10:2")];
    two.iter_mut().for_each(|watcher| watcher.expect_frames(None, 0));
    // As many of the balancer itself as it likes.
    let mut own: Vec<_> = (0..5).map(|_| Web::on(proxied(node.http, LOCAL))).collect();
    own.iter_mut().for_each(|web| assert_eq!(ask(web, ""), 200));
    // The third of one client is told why, by both protocols.
    let mut third = Web::on(proxied(node.http, &v1("192.0.2.10:3")));
    let answer = third.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("limits.connections_per_address"), "{}", answer.body);
    let third = proxied(node.rtmp, &v1("192.0.2.10:4"));
    let (_, reason) = Peer::on(third, Goal::Play, "live/counted").refusal();
    assert!(reason.contains("limits.connections_per_address"), "{reason}");
    watch("192.0.2.11:1").expect_frames(None, 0);
    // One leaves, and one may come.
    let [first, _second] = two;
    drop(first);
    close_of("192.0.2.10:1");
    // That line is written a moment before the place is free.
    eventually("it may come", || {
        let mut web = Web::on(proxied(node.http, &v2("192.0.2.10:5")));
        web.send("GET /live/counted.flv HTTP/1.1\r\nHost: test\r\n\r\n");
        web.head().0 == 200
    });
}

#[test]
fn rules_and_arrivals_go_by_the_client() {
    let node = start(
        "cores = 1\nlimits.connects_per_second_per_address = 3\n\
         app.live.rules = ['deny play 192.0.2.15']",
    );
    let mut publisher = Peer::publish(node.rtmp, "live/rules");
    publisher.push(1);
    let path = "live/rules.flv";
    let play = |header: &[u8], fields: &str| {
        let mut web = Web::on(proxied(node.http, header));
        web.send(&format!("GET /{path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        web.answer()
    };
    for (header, fields) in
        [(v2("192.0.2.15:1"), ""), (Vec::new(), "X-Forwarded-For: 192.0.2.15\r\n")]
    {
        let answer = play(&header, fields);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("192.0.2.15"), "{}", answer.body);
    }
    let mut refused = Peer::on(proxied(node.rtmp, &v1("192.0.2.15:2")), Goal::Play, "live/rules");
    let (_, reason) = refused.refusal();
    assert!(reason.contains("192.0.2.15"), "{reason}");
    // Many of different clients come at once, and too many of one do not.
    for client in 16..26 {
        let header = v2(&format!("192.0.2.{client}:1"));
        Watcher::on(proxied(node.http, &header), path).expect_frames(None, 0);
    }
    let crowd = (1..=50).map(|port| {
        let mut web = Web::on(proxied(node.http, &v2(&format!("192.0.2.27:{port}"))));
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        web
    });
    let mut crowd: Vec<_> = crowd.collect();
    assert!(crowd.iter_mut().any(|web| web.answer().status == 503), "fifty at once are too many");
}

#[test]
fn a_node_that_is_full_tells_so_to_who_comes_through_a_balancer() {
    let node = start("cores = 1\nlimits.connections = 10");
    let mut ten = [(); 10].map(|()| Web::on(proxied(node.http, &v2("192.0.2.20:1"))));
    ten.iter_mut().for_each(|web| assert_eq!(ask(web, ""), 200));
    let newcomer = proxied(node.rtmp, &v2("192.0.2.21:1"));
    let (_, reason) = Peer::on(newcomer, Goal::Play, "live/x").refusal();
    assert!(reason.contains("limits.connections"), "{reason}");
}

#[test]
fn a_full_node_makes_no_handshake_to_say_so() {
    let certificate = Certificate::new(2, &["localhost"]);
    let rtmps = node::free_port();
    let node = start(&format!(
        "cores = 1\nlimits.connections = 10\nrtmp.tls_listen = ['127.0.0.1:{rtmps}']\n\
         tls.certificates = [{}]",
        certificate.toml()
    ));
    certificates_are_shown(rtmps);
    let mut ten = [(); 10].map(|()| Web::on(proxied(node.http, &v2("192.0.2.22:1"))));
    ten.iter_mut().for_each(|web| assert_eq!(ask(web, ""), 200));
    let mut newcomer = Web::on(proxied(rtmps, &v2("192.0.2.23:1")));
    // Err: it is closed already.
    let _ = newcomer.socket.write_all(&certificate.hello("localhost"));
    newcomer.expect_closed();
    assert_eq!(newcomer.heard, b"");
    log().wait_for(&["refused: expected at most 10 connections (limits.connections)"]);
}

#[test]
fn the_client_stays_the_same_when_its_connection_moves_to_another_core() {
    let node = start("cores = 2");
    let mut publisher = Peer::publish(node.rtmp, "live/moves");
    publisher.push(1);
    let mut moved = 0;
    for port in 1..=40 {
        let client = format!("192.0.2.30:{port}");
        let mut watcher = Watcher::on(proxied(node.http, &v2(&client)), "live/moves.flv");
        watcher.expect_frames(None, 0);
        drop(watcher);
        let close = close_of(&client);
        assert!(close.contains("stream=live/moves "), "{close}");
        let here = format!("client={} ", field(&close, "client"));
        moved += log().lines(&["moved here", &here, &format!("peer={client} ")]).len();
    }
    assert!(moved > 0, "with two cores some of forty connections move");
}

#[test]
fn a_request_is_whose_a_trusted_proxy_says_it_is() {
    let node = start("cores = 2\nlimits.connections_per_address = 2");
    let mut publisher = Peer::publish(node.rtmp, "live/forwarded");
    publisher.push(1);
    let watch = |list: &str| {
        let mut watcher = Web::on(proxied(node.http, b""));
        watcher.send(&format!(
            "GET /live/forwarded.flv HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: {list}\r\n\
             Forwarded: for=198.51.100.1\r\n\r\n"
        ));
        watcher
    };
    // What the client made up stands in front.
    let mut two = [watch("203.0.113.9, 192.0.2.40"), watch("192.0.2.40, 127.77.0.2")];
    two.iter_mut().for_each(|watcher| assert_eq!(watcher.head().0, 200));
    let mut third = watch("192.0.2.40");
    assert_eq!(third.head().0, 503);
    drop(two);
    let line = close_of("192.0.2.40:0");
    assert!(line.contains("stream=live/forwarded "), "{line}");
    // Of a stranger's list nothing is believed.
    let mut stranger = Web::new(node.http);
    assert_eq!(ask(&mut stranger, "X-Forwarded-For: 192.0.2.41\r\n"), 200);
    let own = stranger.address();
    drop(stranger);
    close_of(own);
}

#[test]
fn requests_of_several_clients_may_share_a_connection_and_count_one_by_one() {
    let node = start("cores = 1\nlimits.connections_per_address = 1");
    let list = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let mut shared = Web::on(proxied(node.http, b""));
    let mut other = Web::on(proxied(node.http, b""));
    assert_eq!(ask(&mut shared, &list("192.0.2.50")), 200);
    assert_eq!(ask(&mut shared, &list("192.0.2.50")), 200, "it is the same connection");
    assert_eq!(ask(&mut other, &list("192.0.2.50")), 503, "the address has one");
    assert_eq!(ask(&mut shared, &list("192.0.2.51")), 200);
    assert_eq!(ask(&mut other, &list("192.0.2.50")), 200, "it was given back");
    assert_eq!(ask(&mut shared, ""), 200);
    assert_eq!(ask(&mut other, &list("192.0.2.51")), 200, "it was given back");
    let own = shared.address();
    drop(shared);
    close_of(own);
}

#[test]
fn the_field_that_is_configured_is_the_one_that_is_believed() {
    let node = start("cores = 1\nproxy.client_field = 'forwarded'");
    let mut web = Web::on(proxied(node.http, b""));
    let fields = "X-Forwarded-For: 198.51.100.1\r\n\
        Forwarded: for=198.51.100.2, for=\"[2001:db8::60]:7\";proto=https\r\nForwarded: for=127.77.0.9\r\n";
    assert_eq!(ask(&mut web, fields), 200);
    drop(web);
    close_of("[2001:db8::60]:7");
}

#[test]
fn a_header_names_the_proxy_and_its_request_the_client() {
    let node = start("cores = 1");
    let mut web = Web::on(proxied(node.http, &v2("[fd00::70]:1")));
    assert_eq!(ask(&mut web, "X-Forwarded-For: 192.0.2.70\r\n"), 200);
    drop(web);
    close_of("192.0.2.70:0");
    // A client that comes through a balancer cannot say that it is another.
    let mut web = Web::on(proxied(node.http, &v2("192.0.2.71:1")));
    assert_eq!(ask(&mut web, "X-Forwarded-For: 192.0.2.72\r\n"), 200);
    drop(web);
    close_of("192.0.2.71:1");
}

#[test]
fn a_connection_from_before_a_reload_goes_on_by_the_field_that_it_began_with() {
    let lines = |field| format!("cores = 1\n{CONFIG}proxy.client_field = '{field}'");
    let binary = Binary::start(1000, &lines("x-forwarded-for"));
    let mut early = Web::on(proxied(binary.http, b""));
    let fields = "X-Forwarded-For: 192.0.2.90\r\nForwarded: for=192.0.2.91\r\n";
    assert_eq!(ask(&mut early, fields), 200);
    binary.reload(&lines("forwarded"));
    assert_eq!(ask(&mut early, fields), 200);
    let mut late = Web::on(proxied(binary.http, b""));
    assert_eq!(ask(&mut late, fields), 200);
    drop((early, late));
    for peer in ["192.0.2.90", "192.0.2.91"] {
        let line = format!("peer={peer}:0 ");
        let is_told = |text: &str| text.contains(" close ") && text.contains(&line);
        eventually(&format!("the end of {peer}"), || binary.log().lines().any(is_told));
    }
}

/// Has the API block `address`.
#[track_caller]
fn block(node: &Node, address: &str) {
    let body = format!("{{\"address\":\"{address}\",\"for_s\":60,\"reason\":\"rude\"}}");
    let mut web = Web::new(node.admin);
    web.send(&format!(
        "POST /api/v1/block HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = web.answer();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

#[test]
fn a_block_holds_for_each_request_of_the_blocked_and_for_no_other_of_their_proxy() {
    let node = start("cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/blocked");
    publisher.push(1);
    let list = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let mut shared = Web::on(proxied(node.http, b""));
    assert_eq!(ask(&mut shared, &list("192.0.2.95")), 200);
    block(&node, "192.0.2.95");
    // The connection is the proxy's, and this request another's.
    assert_eq!(ask(&mut shared, &list("192.0.2.96")), 200);
    for path in ["/", "/", "/live/blocked.flv", "/nothing.xyz"] {
        let fields = list("192.0.2.95");
        shared.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
        let answer = shared.answer();
        assert_eq!(answer.status, 403, "{path}: {}", answer.body);
        assert!(answer.body.contains("blocked: rude"), "{}", answer.body);
    }
    assert_eq!(ask(&mut shared, &list("192.0.2.96")), 200);
    // Who has the whole connection is closed as ever.
    let mut own = Web::on(proxied(node.http, &v2("192.0.2.95:1")));
    own.expect_closed();
    assert!(own.heard.is_empty());
    // Of IPv6 it holds for the network, of which a host has all addresses.
    let mut watcher =
        Watcher::on(proxied(node.http, &v2("[2001:db8:9:1::7]:1")), "live/blocked.flv");
    watcher.expect_frames(None, 0);
    block(&node, "2001:db8:9:1::1");
    assert!(close_of("[2001:db8:9:1::7]:1").contains("blocked: rude"));
    assert_eq!(ask(&mut shared, &list("2001:db8:9:1::2")), 403);
    assert_eq!(ask(&mut shared, &list("2001:db8:9:2::1")), 200);
    // The proxy itself may not be here, whoever it asks for.
    block(&node, "127.77.0.1");
    shared.send(&format!("GET / HTTP/1.1\r\nHost: test\r\n{}\r\n", list("192.0.2.96")));
    shared.expect_closed();
    assert!(shared.heard.is_empty());
}

/// Waits until each core has its certificate: then it answers nonsense by an alert.
fn certificates_are_shown(port: u16) {
    let answers = || {
        let mut web = Web::new(port);
        web.send("GET / HTTP/1.1\r\n\r\n");
        web.expect_closed();
        let answered = !web.heard.is_empty();
        if answered {
            // Its place is free again.
            close_of(web.address());
        }
        answered
    };
    eventually("the cores have the certificate", || (0..8).all(|_| answers()));
}

#[test]
fn over_tls_the_header_comes_first_and_in_plain() {
    let certificate = Certificate::new(1, &["localhost"]);
    let [rtmps, https] = [node::free_port(), node::free_port()];
    let node = start(&format!(
        "cores = 2\nlimits.connections_per_address = 1\nrtmp.tls_listen = ['127.0.0.1:{rtmps}']\n\
         http.tls_listen = ['127.0.0.1:{https}']\ntls.certificates = [{}]",
        certificate.toml()
    ));
    let mut publisher = Peer::publish(node.rtmp, "live/secure");
    publisher.push(1);
    let through = |port, header: &[u8]| certificate.connect(&proxied(port, header), "localhost");
    certificates_are_shown(https);
    // Each is another client: the place of the first is free a moment after its last line only.
    for (header, client) in [(v1 as fn(&str) -> Vec<u8>, "192.0.2.80"), (v2, "192.0.2.83")] {
        let header = header(&format!("{client}:1"));
        let mut watcher = Watcher::on(through(https, &header), "live/secure.flv");
        watcher.expect_frames(None, 0);
        // A second one of the same client is not worth a handshake.
        let mut second = Web::on(proxied(rtmps, &v2(&format!("{client}:3"))));
        // Err: it is closed already.
        let _ = second.socket.write_all(&certificate.hello("localhost"));
        second.expect_closed();
        assert_eq!(second.heard, b"");
        let peer = format!("peer={client}:3 ");
        log().wait_for(&["refused: ", "limits.connections_per_address", &peer]);
        drop(watcher);
        close_of(format!("{client}:1"));
    }
    let mut player = Peer::on(through(rtmps, &v2("192.0.2.81:1")), Goal::Play, "live/secure");
    player.start();
    player.expect_frames(None, 0);
    drop(player);
    close_of("192.0.2.81:1");
    // Header and handshake in one segment, which then is read at once.
    let corked = connect_from(BALANCER, https);
    socket2::SockRef::from(&corked).set_tcp_cork(true).expect("TCP");
    (&corked).write_all(&v2("192.0.2.84:1")).expect("the server reads");
    let socket = certificate.connect(&corked, "localhost");
    Watcher::on(socket, "live/secure.flv").expect_frames(None, 0);
    let mut garbage =
        Web::on(proxied(https, &[&v2("192.0.2.82:1")[..], b"no TLS at all"].concat()));
    garbage.expect_closed();
    close_of("192.0.2.82:1");
}

#[test]
fn health_is_told_on_the_media_port_and_without_a_token_on_the_admin_port() {
    let node = start("cores = 2\nadmin.token = '0123456789abcdef'");
    for port in [node.http, node.admin] {
        for path in ["/healthz", "/readyz"] {
            // This very answer: a moment later a core may be late, and the node unwell.
            let mut answer = None;
            eventually("the node is well", || {
                answer = Some(web::get(port, path)).filter(|answer| answer.status == 200);
                answer.is_some()
            });
            let answer = answer.expect("waited for");
            assert_eq!(answer.body, "ok\n");
            assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        }
    }
    drop(connect(node.http));
}
