//! How many may publish and watch: each limit holds on two cores while fifty come at once, says its
//! name, and has all its places again when they have left, in whatever way.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::Write;
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use corecast::container::amf0::Value;
use corecast::proto::rtmp::Goal;
use node::{Node, connect, connect_from, eventually, log};
use talk::{Peer, Raw};
use web::{Web, get};

/// Who come at once.
const COMERS: usize = 50;

/// One who was let in, and stays for as long as this lives.
#[allow(clippy::large_enum_variant)] // There are a handful.
enum Inside {
    Rtmp(Box<Peer>),
    Http(Web),
}

/// What a newcomer came to: inside, or why not.
type Came = Result<Inside, String>;

impl Inside {
    /// Whoever it is, the server has noticed that it has left.
    fn leave(self) {
        let peer = match &self {
            Self::Rtmp(peer) => peer.address(),
            Self::Http(web) => web.address(),
        };
        drop(self);
        log().wait_for(&[" close ", &format!("peer={peer} ")]);
    }
}

fn start(lines: &str) -> Node {
    let text = "cores = 2\nadmin.enabled = false\nlimits.publisher_silence = '1h'\n\
                limits.first_frame_timeout = '1h'\nlimits.request_timeout = '1h'\n\
                limits.handshake_timeout = '15s'\nproxy.header_timeout = '15s'";
    Node::start(&format!("{text}\n{lines}"), None)
}

/// A stream that is on.
fn on_air(node: &Node, path: &str) -> Peer {
    let mut publisher = Peer::publish(node.rtmp, path);
    publisher.push(1);
    publisher
}

fn publish(node: &Node, path: &str) -> Came {
    let mut peer = Peer::new(node.rtmp, Goal::Publish, path);
    let started = peer.try_start();
    started.map(|()| Inside::Rtmp(Box::new(peer))).map_err(|(code, reason)| {
        assert_eq!(code, "NetStream.Publish.Denied", "{reason}");
        reason
    })
}

fn play(node: &Node, path: &str) -> Came {
    let mut peer = Peer::play(node.rtmp, path);
    let started = peer.try_start();
    started.map(|()| Inside::Rtmp(Box::new(peer))).map_err(|(code, reason)| {
        assert_eq!(code, "NetStream.Play.Failed", "{reason}");
        reason
    })
}

fn watch(node: &Node, path: &str) -> Came {
    watch_on(Web::new(node.http), path)
}

fn watch_on(mut web: Web, path: &str) -> Came {
    web.send(&format!("GET /{path}.flv HTTP/1.1\r\nHost: test\r\n\r\n"));
    let (status, head) = web.head();
    if status == 200 {
        return Ok(Inside::Http(web));
    }
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("Retry-After"), "{head}");
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let length = length.expect("it has a length").parse().expect("a number");
    Err(String::from_utf8(web.take(length)).expect("a text"))
}

/// `most` of those who come at once are let in at most, and as many in all, however often; the
/// others are told `key`.
#[track_caller]
fn holds(most: usize, key: &str, come: impl Fn(usize) -> Came + Sync) {
    for _ in 0..2 {
        let start = Barrier::new(COMERS);
        let came: Vec<Came> = thread::scope(|scope| {
            let comers = (0..COMERS).map(|number| {
                let (start, come) = (&start, &come);
                scope.spawn(move || {
                    start.wait();
                    come(number)
                })
            });
            let comers: Vec<_> = comers.collect();
            comers.into_iter().map(|comer| comer.join().expect("it came")).collect()
        });
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for came in came {
            match came {
                Ok(one) => inside.push(one),
                Err(reason) => outside.push(reason),
            }
        }
        assert!(inside.len() <= most, "{} inside", inside.len());
        for reason in outside {
            assert!(reason.contains(&format!("at most {most} ")), "{reason}");
            assert!(reason.contains(&format!("({key})")), "{reason}");
        }
        // One by one it is exact.
        let mut number = COMERS;
        while inside.len() < most {
            inside.push(come(number).unwrap_or_else(|why| panic!("{}: {why}", inside.len())));
            number += 1;
        }
        assert!(come(number).is_err(), "one more than {most}");
        inside.into_iter().for_each(Inside::leave);
    }
}

/// By RTMP and HTTP in turn.
fn view(node: &Node, number: usize, path: &str) -> Came {
    if number.is_multiple_of(2) { play(node, path) } else { watch(node, path) }
}

#[test]
fn a_stream_has_so_many_viewers() {
    let node = start("app.live.viewers_max_per_stream = 7");
    let _publishers = [on_air(&node, "live/full"), on_air(&node, "live/other")];
    holds(7, "viewers_max_per_stream", |number| view(&node, number, "live/full"));
    // Those who wait for a publisher count too, and another stream has its own.
    let full = play(&node, "live/full").unwrap_or_else(|why| panic!("{why}"));
    holds(7, "viewers_max_per_stream", |number| view(&node, number, "live/other"));
    full.leave();
    let mut eight: Vec<_> = (0..8).map(|_| Web::new(node.http)).collect();
    for web in &mut eight {
        web.send("GET /live/nobody-yet.flv HTTP/1.1\r\nHost: test\r\n\r\n");
        web.socket.set_nonblocking(true).expect("a socket");
    }
    let mut answer = [0; 12];
    eventually("one of them has no place to wait", || {
        eight.iter().any(|web| web.socket.peek(&mut answer).is_ok())
    });
    assert_eq!(&answer, b"HTTP/1.1 503");
    let waits = |web: &&Web| web.socket.peek(&mut [0]).is_err();
    assert_eq!(eight.iter().filter(waits).count(), 7);
}

#[test]
fn an_app_has_so_many_viewers() {
    let node = start("app.live.viewers_max = 9");
    let _publishers = ["live/a", "live/b", "other/a"].map(|path| on_air(&node, path));
    let other: Vec<_> = (0..12).map(|number| view(&node, number, "other/a")).collect();
    assert!(other.iter().all(Result::is_ok), "it is another app");
    holds(9, "viewers_max", |number| {
        view(&node, number, if number % 3 == 0 { "live/a" } else { "live/b" })
    });
}

#[test]
fn an_app_has_so_many_viewers_from_one_address() {
    let node = start("app.live.viewers_max_per_address = 5");
    let _publisher = on_air(&node, "live/a");
    let own = |path: &str| watch_on(Web::on(connect_from([127, 7, 0, 1], node.http)), path);
    holds(5, "viewers_max_per_address", |_| own("live/a"));
    let inside: Vec<_> = (0..5).map(|_| own("live/a")).collect();
    assert!(inside.iter().all(Result::is_ok) && own("live/a").is_err());
    let mut peer = Peer::on(connect_from([127, 7, 0, 1], node.rtmp), Goal::Play, "live/a");
    let (code, reason) = peer.refusal();
    assert_eq!(code, "NetStream.Play.Failed");
    assert!(reason.contains("(viewers_max_per_address)"), "{reason}");
    // Every other address has its own.
    assert!((0..20).all(|_| watch(&node, "live/a").is_ok()));
}

#[test]
fn the_node_has_so_many_viewers() {
    let node = start("limits.viewers = 11");
    let _publishers = ["live/a", "other/a"].map(|path| on_air(&node, path));
    holds(11, "limits.viewers", |number| {
        view(&node, number, if number % 4 < 2 { "live/a" } else { "other/a" })
    });
}

#[test]
fn an_app_has_so_many_publishers() {
    let node = start("app.live.publishers_max = 6");
    holds(6, "publishers_max", |number| publish(&node, &format!("live/p{number}")));
    let six: Vec<_> = (0..6).map(|number| publish(&node, &format!("live/p{number}"))).collect();
    assert!(six.iter().all(Result::is_ok));
    assert!(publish(&node, "other/p").is_ok(), "it is another app");
}

#[test]
fn the_node_has_so_many_publishers() {
    let node = start("limits.publishers = 8");
    holds(8, "limits.publishers", |number| {
        publish(&node, &format!("{}/p{number}", if number % 2 == 0 { "live" } else { "other" }))
    });
}

#[test]
fn an_address_connects_so_often_in_a_second() {
    let node = start("limits.connects_per_second_per_address = 10");
    let comers = Barrier::new(COMERS);
    let begun = Instant::now();
    let status = |number: u8| {
        let mut web = Web::on(connect_from([127, 7, 1, number], node.http));
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = web.answer();
        let named = answer.body.contains("(limits.connects_per_second_per_address)");
        assert_eq!(answer.status == 503, named, "{}", answer.body);
        answer.status
    };
    let let_in = thread::scope(|scope| {
        let come = || {
            comers.wait();
            usize::from(status(1) == 200)
        };
        let comers: Vec<_> = (0..COMERS).map(|_| scope.spawn(come)).collect();
        comers.into_iter().map(|comer| comer.join().expect("it came")).sum::<usize>()
    });
    let later = begun.elapsed().as_millis() as usize / 100 + 1;
    assert!(let_in >= 1 && let_in <= 10 + later, "{let_in}");
    assert!((0..10).all(|_| status(2) == 200), "each address has its own");
    eventually("it may come again", || status(1) == 200);
    // By RTMP it is told in the answer to its connect. Ten have come just before it, however slow the
    // machine is, and who was let in publishes under a name of its own, so that nobody is in its way.
    let mut number = 0;
    eventually("it is told", || {
        number += 1;
        let connect = || connect_from([127, 7, 1, 3], node.rtmp);
        let _before = [(); 10].map(|()| connect());
        let mut peer = Peer::on(connect(), Goal::Publish, &format!("live/often-{number}"));
        match peer.try_start() {
            Ok(()) => false,
            Err((code, reason)) => {
                assert_eq!(code, "NetConnection.Connect.Rejected");
                reason.contains("at most 10 new connections per second from one address")
            }
        }
    });
}

/// A connection whose client is at `address` of IPv6, as a proxy says.
fn six(port: u16, address: &str) -> TcpStream {
    let mut socket = connect_from([127, 7, 2, 1], port);
    let header = format!("PROXY TCP6 {address} 2001:db8::80 4711 80\r\n");
    socket.write_all(header.as_bytes()).expect("the server reads");
    socket
}

#[test]
fn hosts_of_one_network_of_ipv6_count_as_one_address() {
    let node = start(
        "proxy.trusted = ['127.7.2.0/24']\napp.live.viewers_max_per_address = 2\n\
         limits.connections_per_address = 6\nlimits.connects_per_second_per_address = 1000",
    );
    let _publisher = on_air(&node, "live/a");
    let host = |number: usize| format!("2001:db8:1:2:{number:x}::{number:x}");
    let view = |address: &str| watch_on(Web::on(six(node.http, address)), "live/a");
    let inside: Vec<_> = (1..=2).map(|number| view(&host(number))).collect();
    assert!(inside.iter().all(Result::is_ok));
    let reason = view(&host(3)).err().expect("a third of the network");
    assert!(reason.contains("at most 2 viewers of this app from one network (/64)"), "{reason}");
    assert!(view("2001:db8:1:3::1").is_ok(), "the next network has its own");
    // Its connections, too. Who was refused may hold its place for a moment yet.
    let mut more = Vec::new();
    eventually("six of the network are connected", || {
        let mut web = Web::on(six(node.http, &host(10 + more.len())));
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        if web.answer().status == 200 {
            more.push(web);
        }
        more.len() == 4
    });
    eventually("all places are taken", || {
        let mut web = Web::on(six(node.http, &host(99)));
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let answer = web.answer();
        answer.status == 503 && answer.body.contains("at most 6 connections from one network (/64)")
    });
    let mut other = Web::on(six(node.http, "2001:db8:1:3::2"));
    other.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(other.answer().status, 200);
    drop((inside, more));
    eventually("its places are free", || view(&host(4)).is_ok());
}

#[test]
fn hosts_of_one_network_of_ipv6_connect_as_often_as_one_address() {
    let node =
        start("proxy.trusted = ['127.7.2.0/24']\nlimits.connects_per_second_per_address = 10");
    let status = |address: String| {
        let mut web = Web::on(six(node.http, &address));
        web.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        web.answer().status
    };
    let begun = Instant::now();
    let came: Vec<_> = (1..=50).map(|host| status(format!("2001:db8:1:4::{host:x}"))).collect();
    let let_in = came.iter().filter(|status| **status == 200).count();
    let later = begun.elapsed().as_millis() as usize / 100 + 1;
    assert!(let_in >= 10 && let_in <= 10 + later, "{let_in}");
    assert!((1..=10).all(|network| status(format!("2001:db8:1:1{network:x}::1")) == 200));
}

#[test]
fn every_way_to_end_gives_the_place_back() {
    let node = start(
        "limits.viewers = 1\nlimits.publishers = 2\napp_defaults.publisher_grace = 0\n\
         app_defaults.wait_for_publisher = '20ms'",
    );
    let publisher = on_air(&node, "live/ends");
    let free = |what: &str| {
        eventually(what, || watch(&node, "live/ends").map(Inside::leave).is_ok());
    };
    // A second publisher of the same name is refused when it has been counted.
    for _ in 0..3 {
        let (code, reason) = Peer::new(node.rtmp, Goal::Publish, "live/ends").refusal();
        assert_eq!(code, "NetStream.Publish.BadName", "{reason}");
    }
    let second = publish(&node, "live/second");
    assert!(second.is_ok() && publish(&node, "live/third").is_err());
    // A HEAD, a wait in vain, and a viewer that stops and plays again on its connection.
    let mut web = Web::new(node.http);
    for _ in 0..3 {
        web.send("HEAD /live/ends.flv HTTP/1.1\r\nHost: test\r\n\r\n");
        let (status, head) = web.head();
        if status == 200 {
            web = Web::new(node.http);
        }
        assert!([200, 503].contains(&status), "{head}");
        free("a HEAD was answered");
    }
    assert_eq!(get(node.http, "/live/nobody.flv").status, 404);
    free("nobody came");
    let mut raw = Raw::ready(node.rtmp, "live");
    for _ in 0..3 {
        raw.send(&talk::play("ends"));
        while raw.status().0 != "NetStream.Play.Start" {}
        assert!(watch(&node, "live/ends").is_err(), "it plays");
        raw.send(&talk::call("closeStream", 0.0, 1, &[Value::Null]));
        free("it stopped");
    }
    // The publisher leaves; who watched is told so, and stays connected.
    raw.send(&talk::play("ends"));
    while raw.status().0 != "NetStream.Play.Start" {}
    publisher.leave();
    while raw.status().0 != "NetStream.Play.Stop" {}
    let _again = on_air(&node, "live/ends");
    free("its publisher left");
    // One that only hangs up.
    drop(connect(node.http));
    free("it hung up");
}
