//! The admin API over TLS, with curl, OpenSSL's client and clients of rustls.

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

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use binary::Binary;
use node::{Node, PATIENCE, connect, eventually, free_port};
use secure::Certificate;
use serde_json::Value;
use talk::Peer;
use web::Web;

const TOKEN: &str = "0123456789abcdef";

/// A node whose API is served over TLS besides, with a token, and its port.
fn start(certificates: &[&Certificate], lines: &str) -> (Node, u16) {
    let port = free_port();
    let certificates: Vec<_> = certificates.iter().map(|it| it.toml()).collect();
    let lines = format!(
        "cores = 1\nadmin.tls_listen = ['127.0.0.1:{port}']\nadmin.token = '{TOKEN}'\n\
         tls.certificates = [{}]\ntls.watch = '1s'\n{lines}",
        certificates.join(", ")
    );
    (Node::start(&lines, None), port)
}

fn run(program: &mut Command) -> (bool, String) {
    let output = program.stdin(Stdio::null()).output().expect("it is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What OpenSSL's client says of a connection.
fn s_client(port: u16, arguments: &[&str]) -> String {
    let at = format!("127.0.0.1:{port}");
    run(Command::new("openssl").args(["s_client", "-connect", &at]).args(arguments)).1
}

/// What curl gets, trusting `certificate` alone, whose name is media.test.
fn curl(certificate: &Certificate, port: u16, arguments: &[&str], path: &str) -> (bool, String) {
    run(Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "20"])
        .args(["--cacert", &certificate.cert()])
        .args(["--resolve", &format!("media.test:{port}:127.0.0.1")])
        .args(arguments)
        .arg(format!("https://media.test:{port}{path}")))
}

fn shows(said: &str, certificate: &Certificate) -> bool {
    let pem = std::fs::read_to_string(certificate.cert()).expect("written");
    said.contains(pem.lines().nth(1).expect("base64"))
}

/// Events of the node, over TLS, from now on.
fn events(certificate: &Certificate, port: u16) -> Web {
    let mut web = Web::on(certificate.connect(&connect(port), "media.test"));
    web.send(&format!(
        "GET /api/v1/events HTTP/1.1\r\nHost: media.test\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ));
    assert_eq!(web.head().0, 200);
    web
}

#[track_caller]
fn expect(events: &mut Web, text: &str) {
    while !String::from_utf8_lossy(&events.heard).contains(text) {
        assert!(events.hear(), "it ended before {text}");
    }
}

#[test]
fn curl_asks_the_api_with_the_token_and_not_without() {
    let certificate = Certificate::new(1, &["media.test"]);
    let (_node, port) = start(&[&certificate], "");
    let token = format!("Authorization: Bearer {TOKEN}");
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let version = version.split('=').collect::<Vec<_>>();
        let with = [&version[..], &["--header", &token]].concat();
        let (done, said) = curl(&certificate, port, &with, "/api/v1/info");
        assert!(done && said.starts_with("HTTP/1.1 200") && said.contains("\"version\""), "{said}");
        let (done, said) = curl(&certificate, port, &version, "/api/v1/info");
        assert!(done && said.starts_with("HTTP/1.1 401"), "{said}");
    }
    let (done, said) = curl(&certificate, port, &["--header", &token], "/metrics");
    assert!(done && said.contains("corecast_"), "{said}");
    let other = Certificate::new(2, &["media.test"]);
    let (done, said) = curl(&other, port, &[], "/healthz");
    assert!(!done && said.contains("certificate"), "{said}");
}

#[test]
fn names_versions_and_alpn_are_as_for_media() {
    let one = Certificate::new(3, &["one.test"]);
    let two = Certificate::new(4, &["two.test"]);
    let (_node, port) = start(&[&one, &two], "");
    let by_name = |name: &str| {
        let said = s_client(port, &["-servername", name]);
        (shows(&said, &one), shows(&said, &two))
    };
    assert_eq!(by_name("one.test"), (true, false));
    assert_eq!(by_name("two.test"), (false, true));
    assert_eq!(by_name("other.test"), (true, false), "the first is for everybody else");
    for (version, name) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")] {
        let said = s_client(port, &[version, "-alpn", "h2,http/1.1"]);
        assert!(said.contains(&format!("New, {name}")), "{said}");
        assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    }
}

#[test]
fn a_new_certificate_is_shown_to_newcomers_and_an_open_event_stream_goes_on() {
    let certificate = Certificate::new(5, &["media.test"]);
    let (node, port) = start(&[&certificate], "");
    let mut events = events(&certificate, port);
    let _before = Peer::publish(node.rtmp, "live/before");
    expect(&mut events, "live/before");
    certificate.renew(&["media.test"]);
    eventually("the new certificate", || shows(&s_client(port, &[]), &certificate));
    let _after = Peer::publish(node.rtmp, "live/after");
    expect(&mut events, "live/after");
    // One that is broken changes nothing.
    let good = std::fs::read_to_string(certificate.cert()).expect("written");
    std::fs::write(certificate.cert(), "no certificate").expect("ours");
    node::log().wait_for(&["the certificates stay as they were", &certificate.cert()]);
    std::fs::write(certificate.cert(), good).expect("ours");
    assert!(shows(&s_client(port, &[]), &certificate));
    let _at_last = Peer::publish(node.rtmp, "live/at-last");
    expect(&mut events, "live/at-last");
}

#[test]
fn plain_http_is_told_to_come_by_https_and_nonsense_is_closed() {
    let certificate = Certificate::new(6, &["media.test"]);
    let (node, port) = start(&[&certificate], "");
    let mut events = events(&certificate, port);
    let mut web = Web::new(port);
    let body = "x".repeat(100);
    web.send(&format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: media.test\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 100\r\n\r\n{body}"
    ));
    let answer = web.answer();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    let problem: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("https://")), "{problem}");
    web.expect_closed();
    let record_without_end = [&[22, 3, 1, 255, 255][..], &[0; 70_000]].concat();
    for nonsense in [&b"\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaa"[..], &[0; 1537], &record_without_end] {
        let mut socket = connect(port);
        socket.set_read_timeout(Some(PATIENCE)).expect("TCP");
        // Err: it was closed before all of it was sent.
        let _ = socket.write_all(nonsense);
        let mut said = Vec::new();
        // An alert at most, and then the end.
        let _ = socket.read_to_end(&mut said);
        assert!(said.len() < 64, "{said:?}");
    }
    // And TLS to the port without it.
    assert!(!s_client(node.admin, &[]).contains("BEGIN CERTIFICATE"));
    let _publisher = Peer::publish(node.rtmp, "live/calm");
    expect(&mut events, "live/calm");
}

#[test]
fn whoever_dawdles_at_the_handshake_holds_up_nobody_and_is_closed() {
    let certificate = Certificate::new(7, &["media.test"]);
    let (_node, port) = start(&[&certificate], "");
    let silent: Vec<_> = (0..100).map(|_| connect(port)).collect();
    let halfway: Vec<_> = (0..100).map(|_| connect(port)).collect();
    for mut socket in &halfway {
        // A record that is not whole.
        socket.write_all(&[22, 3, 1, 0, 200, 1, 0, 0]).expect("the server reads");
    }
    // Not by its health, which a core that is late on a busy machine spoils.
    let (done, said) = curl(&certificate, port, &[], "/");
    assert!(done && said.starts_with("HTTP/1.1 200"), "{said}");
    let is_open = |mut socket: &TcpStream| {
        socket.set_nonblocking(true).expect("TCP");
        let read = socket.read(&mut [0; 64]);
        matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(silent.iter().chain(&halfway).all(is_open), "they were not closed to let others in");
    for mut socket in silent.iter().chain(&halfway) {
        socket.set_nonblocking(false).expect("TCP");
        socket.set_read_timeout(Some(PATIENCE)).expect("TCP");
        let read = socket.read_to_end(&mut Vec::new());
        assert!(read.is_ok(), "it is closed in time: {read:?}");
    }
}

#[test]
fn it_begins_and_ends_with_a_reload_and_takes_over_a_port() {
    let certificate = Certificate::new(8, &["media.test"]);
    let port = free_port();
    let binary = Binary::start(1000, &format!("cores = 1\nadmin.listen = ['127.0.0.1:{port}']"));
    eventually("the API is there", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    // Not by its health, which a core that is late on a busy machine spoils.
    assert_eq!(web::get(port, "/").status, 200);
    // The same port, over TLS from now on, and no other.
    binary.reload(&format!(
        "cores = 1\nadmin.listen = []\nadmin.tls_listen = ['127.0.0.1:{port}']\n\
         tls.certificates = [{}]",
        certificate.toml()
    ));
    eventually("TLS is spoken there", || s_client(port, &[]).contains("BEGIN CERTIFICATE"));
    let (done, said) = curl(&certificate, port, &[], "/");
    assert!(done && said.starts_with("HTTP/1.1 200"), "{said}");
    assert_eq!(web::get(port, "/").status, 400);
    binary.reload(&format!("cores = 1\nadmin.listen = ['127.0.0.1:{port}']"));
    eventually("it is plain again", || web::get(port, "/healthz").status == 200);
}

#[test]
fn a_reload_takes_no_certificate_that_has_ended_but_goes_on_with_the_one_that_is_shown() {
    let port = free_port();
    let [old, other] = [9, 10].map(|number| {
        let certificate = Certificate::new(number, &["media.test"]);
        certificate.renew_for(&["media.test"], "-3 days", "-1 day");
        certificate
    });
    let lines = |certificate: &Certificate, chunk_size: u32| {
        format!(
            "cores = 1\nadmin.listen = []\nadmin.tls_listen = ['127.0.0.1:{port}']\n\
             tls.certificates = [{}]\nrtmp.chunk_size = {chunk_size}",
            certificate.toml()
        )
    };
    let binary = Binary::start(1000, &lines(&old, 4096));
    eventually("it is shown", || shows(&s_client(port, &[]), &old));
    binary.reload(&lines(&old, 8192));
    assert!(binary.log().contains("reload: applied"), "{}", binary.log());
    binary.reload(&lines(&other, 9000));
    let log = binary.log();
    let problem = format!("reload: tls.certificates: {}: the certificate has ended", other.cert());
    assert!(log.contains(&problem) && log.contains("reload: nothing was changed"), "{log}");
    assert!(shows(&s_client(port, &[]), &old));
}
