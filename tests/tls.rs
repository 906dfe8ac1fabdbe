//! RTMPS, HTTPS and WSS over real sockets, with clients of rustls and of OpenSSL.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use corecast::proto::rtmp::Goal;
use node::{Node, PATIENCE, connect, eventually, free_port, log};
use secure::Certificate;
use talk::Peer;
use web::Watcher;

struct Secure {
    node: Node,
    rtmps: u16,
    https: u16,
}

fn start(certificates: &[&Certificate], lines: &str) -> Secure {
    let [rtmps, https] = [free_port(), free_port()];
    let certificates: Vec<_> = certificates.iter().map(|it| it.toml()).collect();
    let lines = format!(
        "rtmp.tls_listen = ['127.0.0.1:{rtmps}']\nhttp.tls_listen = ['127.0.0.1:{https}']\n\
         tls.certificates = [{}]\ntls.watch = '1s'\napp_defaults.max_lag = '24h'\n{lines}",
        certificates.join(", ")
    );
    let node = Node::start(&lines, None);
    eventually("the cores have the certificates", || s_client(https, &[]).contains("BEGIN CERT"));
    Secure { node, rtmps, https }
}

/// What OpenSSL's client says of a connection.
fn s_client(port: u16, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is there");
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    child.wait().expect("it ends");
    said
}

#[test]
fn every_frame_comes_once_whichever_core_and_whichever_door() {
    let certificate = Certificate::new(1, &["media.test"]);
    let Secure { node, rtmps, https } = start(&[&certificate], "cores = 2");
    for round in 0..4 {
        let path = format!("live/secure-{round}");
        let publisher = certificate.connect(&connect(rtmps), "media.test");
        let mut publisher = Peer::on(publisher, Goal::Publish, &path);
        publisher.start();
        let flv = format!("{path}.flv");
        let mut secure = Watcher::on(certificate.connect(&connect(https), "media.test"), &flv);
        let player = certificate.connect(&connect(rtmps), "media.test");
        let mut player = Peer::on(player, Goal::Play, &path);
        let mut open = Watcher::new(node.http, &flv);
        publisher.push(1);
        player.start();
        secure.expect_frames(None, 0);
        open.expect_frames(None, 0);
        player.expect_frames(None, 0);
        for _ in 0..50 {
            publisher.push(200);
        }
        let last = publisher.next() - 1;
        secure.expect_frames(Some(1), last);
        open.expect_frames(Some(1), last);
        player.expect_frames(Some(1), last);
    }
}

#[test]
fn a_slow_reader_gets_each_byte_in_its_place() {
    let certificate = Certificate::new(2, &["media.test"]);
    let Secure { node, https, .. } = start(&[&certificate], "cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/slow");
    let socket = connect(https);
    let narrow = socket2::SockRef::from(&socket);
    narrow.set_recv_buffer_size(128 << 10).expect("TCP");
    let mut watcher = Watcher::on(certificate.connect(&socket, "media.test"), "live/slow.flv");
    publisher.push(1);
    watcher.expect_frames(None, 0);
    // What the socket does not take is encrypted already, and waits before it.
    for _ in 0..200 {
        publisher.push(200);
    }
    watcher.expect_frames(Some(1), publisher.next() - 1);
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate() {
    let one = Certificate::new(3, &["one.test"]);
    let two = Certificate::new(4, &["two.test", "*.wild.test"]);
    let Secure { node: _node, https, rtmps } = start(&[&one, &two], "cores = 1");
    let subject = |name: &str| {
        let said = s_client(https, &["-servername", name]);
        let shown = |it: &Certificate| {
            let pem = std::fs::read_to_string(it.cert()).expect("written");
            said.contains(pem.lines().nth(1).expect("base64"))
        };
        (shown(&one), shown(&two))
    };
    assert_eq!(subject("one.test"), (true, false));
    assert_eq!(subject("two.test"), (false, true));
    assert_eq!(subject("ONE.test"), (true, false));
    assert_eq!(subject("a.wild.test"), (false, true));
    assert_eq!(subject("a.b.wild.test"), (true, false), "one label only");
    assert_eq!(subject("other.test"), (true, false), "the first is for everybody else");
    let said = s_client(https, &["-alpn", "h2,http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(s_client(rtmps, &[version]).contains("BEGIN CERTIFICATE"), "{version}");
    }
}

#[test]
fn old_versions_are_refused_if_the_operator_wants_it_so() {
    let certificate = Certificate::new(5, &["media.test"]);
    let Secure { node: _node, https, .. } =
        start(&[&certificate], "cores = 1\ntls.min_version = '1.3'");
    assert!(s_client(https, &["-tls1_3"]).contains("BEGIN CERTIFICATE"));
    let said = s_client(https, &["-tls1_2"]);
    assert!(said.contains("alert protocol version"), "{said}");
}

#[test]
fn a_new_certificate_is_shown_to_newcomers_and_nobody_is_dropped() {
    let certificate = Certificate::new(6, &["media.test"]);
    let Secure { node, https, .. } = start(&[&certificate], "cores = 2");
    let mut publisher = Peer::publish(node.rtmp, "live/renewed");
    let socket = certificate.connect(&connect(https), "media.test");
    let mut watcher = Watcher::on(socket, "live/renewed.flv");
    publisher.push(1);
    watcher.expect_frames(None, 0);
    certificate.renew(&["media.test"]);
    let new = std::fs::read_to_string(certificate.cert()).expect("written");
    let new = new.lines().nth(1).expect("base64").to_owned();
    eventually("the new certificate", || s_client(https, &[]).contains(&new));
    publisher.push(500);
    watcher.expect_frames(Some(1), 500);
    // One that is broken changes nothing.
    std::fs::write(certificate.cert(), "no certificate").expect("ours");
    log().wait_for(&["the certificates stay as they were", &certificate.cert()]);
    assert!(s_client(https, &[]).contains(&new));
}

#[test]
fn what_is_no_tls_is_closed_and_nobody_else_notices() {
    let certificate = Certificate::new(7, &["media.test"]);
    let Secure { node, rtmps, https } = start(&[&certificate], "cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/calm");
    let socket = certificate.connect(&connect(https), "media.test");
    let mut watcher = Watcher::on(socket, "live/calm.flv");
    publisher.push(1);
    watcher.expect_frames(None, 0);
    let record_without_end = [&[22, 3, 1, 255, 255][..], &[0; 70_000]].concat();
    for nonsense in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[3; 1537], &record_without_end] {
        for port in [rtmps, https] {
            let mut socket = connect(port);
            socket.set_read_timeout(Some(PATIENCE)).expect("TCP");
            // Err: it was closed before all of it was sent.
            let _ = socket.write_all(nonsense);
            let mut said = Vec::new();
            // An alert at most, and then the end.
            let _ = socket.read_to_end(&mut said);
            assert!(said.len() < 64, "{said:?}");
        }
    }
    publisher.push(100);
    watcher.expect_frames(Some(1), 100);
}
