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
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use corecast::container::flv::{Demux, FileReader, Item, Limits};
use corecast::proto::rtmp::{Goal, kind};
use corecast::time::Timestamp;
use node::{Node, PATIENCE, connect, connect_from, eventually, free_port, log};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConnection};
use secure::Certificate;
use talk::{Peer, Raw, frame, number_of, ping, play};
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
         tls.certificates = [{}]\ntls.watch = '1s'\napp_defaults.max_lag = '24h'\n\
         app_defaults.stall_timeout = '1h'\nlimits.publisher_silence = '1h'\n\
         limits.handshake_timeout = '15s'\n{lines}",
        certificates.join(", ")
    );
    Secure { node: Node::start(&lines, None), rtmps, https }
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
fn who_comes_over_tls_while_the_server_starts_is_served() {
    let certificate = Certificate::new(12, &["media.test"]);
    let [rtmps, https] = [free_port(), free_port()];
    let (config, ends) = (certificate.client(ALL_VERSIONS), AtomicBool::new(false));
    let come = |port: u16| {
        let mut served = 0;
        while served == 0 || !ends.load(Ordering::Relaxed) {
            // Err: it does not listen yet.
            let Ok(mut socket) = TcpStream::connect(("127.0.0.1", port)) else { continue };
            socket.set_read_timeout(Some(PATIENCE)).expect("TCP");
            let name = ServerName::try_from("media.test").expect("a name");
            let mut client = ClientConnection::new(Arc::clone(&config), name).expect("it is good");
            while client.is_handshaking() {
                client.complete_io(&mut socket).expect("it is served from the first moment on");
            }
            served += 1;
        }
    };
    thread::scope(|scope| {
        let come = &come;
        let comers = [rtmps, https, rtmps, https].map(|port| scope.spawn(move || come(port)));
        let lines = format!(
            "cores = 2\nlimits.handshake_timeout = '30s'\nhttp.head_timeout = '30s'\n\
             rtmp.tls_listen = ['127.0.0.1:{rtmps}']\n\
             http.tls_listen = ['127.0.0.1:{https}']\ntls.certificates = [{}]",
            certificate.toml()
        );
        let _node = Node::start(&lines, None);
        ends.store(true, Ordering::Relaxed);
        comers.into_iter().for_each(|comer| comer.join().expect("none was sent away"));
    });
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
fn each_version_carries_every_frame() {
    let certificate = Certificate::new(8, &["media.test"]);
    let Secure { node: _node, https, rtmps } = start(&[&certificate], "cores = 1");
    for (version, path) in [(&TLS12, "live/old"), (&TLS13, "live/new")] {
        let connect = |port| certificate.connect_by(&[version], &connect(port), "media.test");
        let mut publisher = Peer::on(connect(rtmps), Goal::Publish, path);
        publisher.start();
        let mut watcher = Watcher::on(connect(https), &format!("{path}.flv"));
        let mut player = Peer::on(connect(rtmps), Goal::Play, path);
        publisher.push(1);
        player.start();
        watcher.expect_frames(None, 0);
        player.expect_frames(None, 0);
        for _ in 0..20 {
            publisher.push(200);
        }
        let last = publisher.next() - 1;
        watcher.expect_frames(Some(1), last);
        player.expect_frames(Some(1), last);
    }
}

#[test]
fn a_websocket_over_tls_carries_the_stream() {
    let certificate = Certificate::new(9, &["media.test"]);
    let Secure { node, https, .. } = start(&[&certificate], "cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/ws");
    publisher.push(1);
    let socket = certificate.connect(&connect(https), "media.test");
    let (mut socket, answer) =
        tungstenite::client("ws://media.test/live/ws.flv", socket).expect("it is upgraded");
    assert_eq!(answer.status(), 101);
    publisher.push(2000);
    let (mut file, mut demux) = (FileReader::new(Limits::default()), Demux::new(Limits::default()));
    let (mut bytes, mut items, mut next) = (Vec::new(), Vec::new(), None);
    while next != Some(2001) {
        bytes.extend(socket.read().expect("the server stays").into_data());
        let mut input = &bytes[..];
        while let Some((kind, ms, body)) = file.read(&mut input).expect("an FLV file") {
            let time = Timestamp::from_millis(ms.into());
            demux.push(kind, time, body, &mut items).expect("a tag");
        }
        bytes = input.to_vec();
        for item in items.drain(..) {
            if let Item::Frame(got) = item {
                let number = number_of(&got.data);
                assert_eq!(number, next.unwrap_or(number), "a frame is missing or twice");
                next = Some(number + 1);
            }
        }
    }
}

#[test]
fn a_skip_waits_for_what_is_encrypted_already() {
    let certificate = Certificate::new(10, &["media.test"]);
    let Secure { node, https, .. } = start(&[&certificate], "cores = 1\napp.skips.max_lag = '2s'");
    let mut publisher = Peer::publish(node.rtmp, "skips/a");
    let socket = connect(https);
    socket2::SockRef::from(&socket).set_recv_buffer_size(32 << 10).expect("TCP");
    let mut watcher = Watcher::on(certificate.connect(&socket, "media.test"), "skips/a.flv");
    publisher.push(1);
    watcher.expect_frames(None, 0);
    let skipped = || log().lines(&["viewer lagged past", "skips/a"]).len();
    // It skips only when its socket takes something again; nobody reads meanwhile.
    for _ in 0..200 {
        publisher.push(200);
    }
    let (mut last, mut gaps) = (0, 0);
    while last < publisher.next() - 1 {
        // Whole tags, each the very frame that it says it is.
        let got = watcher.frame().expect("the server stays");
        let number = number_of(&got.data);
        assert!(number > last, "{number} behind {last}");
        assert_eq!(got.data, frame(number).data);
        gaps += usize::from(number > last + 1);
        last = number;
    }
    assert!(gaps > 0 && skipped() > 0, "it was to lag: {gaps} gaps, {} skips", skipped());
}

#[test]
fn replies_wait_for_what_is_encrypted_already() {
    const PINGS: u32 = 50;
    let certificate = Certificate::new(11, &["media.test"]);
    let Secure { node, rtmps, .. } = start(&[&certificate], "cores = 1");
    let mut publisher = Peer::publish(node.rtmp, "live/replies");
    let socket = connect(rtmps);
    socket2::SockRef::from(&socket).set_recv_buffer_size(32 << 10).expect("TCP");
    let mut player = Raw::on(certificate.connect(&socket, "media.test"));
    player.make_ready("live");
    player.send(&play("replies"));
    publisher.push(1);
    assert_eq!(player.status().0, "NetStream.Play.Reset");
    assert_eq!(player.status().0, "NetStream.Play.Start");
    // More than socket buffers hold, so that a part of a batch lies between.
    for _ in 0..150 {
        publisher.push(200);
    }
    (1..=PINGS).for_each(|number| player.send(&ping(number)));
    let (mut frames, mut pongs) = (None, 0);
    while pongs < PINGS || frames != Some(publisher.next()) {
        let message = player.message().expect("the server stays");
        match message.kind {
            kind::AUDIO if message.payload[1] == 1 => {
                let data = &message.payload[2..];
                let number = number_of(data);
                assert_eq!(number, frames.unwrap_or(number), "a frame is missing or twice");
                assert_eq!(data, &frame(number).data[..]);
                frames = Some(number + 1);
            }
            kind::USER_CONTROL if message.payload[..2] == [0, 7] => {
                pongs += 1;
                assert_eq!(message.payload[2..6], pongs.to_be_bytes());
            }
            _ => {}
        }
    }
}

#[test]
fn who_comes_too_often_over_tls_gets_no_handshake() {
    let certificate = Certificate::new(13, &["media.test"]);
    let lines = "cores = 1\nlimits.connections_per_address = 1";
    let Secure { node: _node, rtmps, https } = start(&[&certificate], lines);
    for (port, address) in [(rtmps, [127, 3, 0, 1]), (https, [127, 3, 0, 2])] {
        let first = connect_from(address, port);
        let _first = certificate.connect(&first, "media.test");
        let mut second = connect_from(address, port);
        second.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let peer = second.local_addr().expect("connected");
        let mut said = Vec::new();
        // Err: it was closed before all of this had come.
        let _ = second
            .write_all(&certificate.hello("media.test"))
            .and_then(|()| second.read_to_end(&mut said));
        assert_eq!(said, b"", "nothing, not even an alert");
        log().wait_for(&["refused: ", "connections_per_address", &format!("peer={peer} ")]);
    }
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

/// The certificate that is shown there, as PEM has its first line.
fn shown(https: u16, certificate: &Certificate) -> bool {
    let pem = std::fs::read_to_string(certificate.cert()).expect("written");
    s_client(https, &[]).contains(pem.lines().nth(1).expect("base64"))
}

#[test]
fn one_that_has_ended_does_not_replace_one_that_is_good_and_the_end_of_each_is_told() {
    let certificate = Certificate::new(23, &["ends.test"]);
    certificate.renew_for(&["ends.test", "www.ends.test"], "-1 day", "+60 days");
    let Secure { node, https, .. } = start(&[&certificate], "cores = 1");
    let names = "names=[\"ends.test\", \"www.ends.test\"]";
    log().wait_for(&["INFO", "certificate: shown to newcomers", names, "until=\"20"]);
    let end = || {
        let mut web = web::Web::new(node.admin);
        web.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let page = web.answer().body;
        let name = "corecast_tls_certificate_not_after_timestamp_seconds{";
        let lines = page.lines().filter(|line| line.starts_with(name));
        let lines: Vec<_> = lines.filter(|line| line.contains("name=\"www.ends.test\"")).collect();
        assert_eq!(lines.len(), 1, "{page}");
        let value = lines[0].rsplit(' ').next().expect("a value");
        value.parse::<f64>().expect("a number") - now()
    };
    const DAY: f64 = 86_400.0;
    assert!((59.9 * DAY..=60.0 * DAY).contains(&end()), "{}", end());

    let good = std::fs::read_to_string(certificate.cert()).expect("written");
    for (from, until, cause) in [
        ("-3 days", "-1 day", "the certificate has ended on 2"),
        ("+1 day", "+3 days", "the certificate is good from 2"),
    ] {
        certificate.renew_for(&["ends.test"], from, until);
        log().wait_for(&["WARN", "the certificates stay as they were", cause, &certificate.cert()]);
        let shown = s_client(https, &[]);
        assert!(shown.contains(good.lines().nth(1).expect("base64")), "{shown}");
    }
    assert!(end() > 59.0 * DAY, "{}", end());

    certificate.renew_for(&["ends.test", "www.ends.test"], "-1 day", "+3 days");
    eventually("the new one is shown", || shown(https, &certificate));
    log().wait_for(&["WARN", "certificate: it ends soon", names, "days_left=2"]);
    assert!(end() < 3.1 * DAY, "{}", end());
}

#[test]
fn one_that_is_not_good_yet_is_shown_when_it_is() {
    let certificate = Certificate::new(24, &["later.test"]);
    let Secure { node: _node, https, .. } = start(&[&certificate], "cores = 1");
    certificate.renew_for(&["later.test"], "+8 seconds", "+3 days");
    log().wait_for(&["WARN", "the certificates stay as they were", &certificate.cert()]);
    // Its file has not changed since.
    eventually("its time has come", || shown(https, &certificate));
}

#[test]
fn a_node_whose_certificate_has_ended_starts_and_says_so() {
    let certificate = Certificate::new(25, &["late.test"]);
    certificate.renew_for(&["late.test"], "-3 days", "-1 day");
    let Secure { node: _node, https, .. } = start(&[&certificate], "cores = 1");
    log().wait_for(&["ERROR", "certificate: it has ended", "late.test", &certificate.cert()]);
    assert!(shown(https, &certificate));
}

fn now() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_secs_f64()
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
