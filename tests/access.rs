//! Who may publish and play, over real sockets: addresses, pages, keys, signed URLs and tokens.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::future::Future;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use corecast::control::ask::Answerer;
use corecast::media::StreamKey;
use corecast::proto::rtmp::Goal;
use corecast::serve::access::signed::{Method, Signer};
use corecast::serve::verdict::{Question, Verdict};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use node::{Node, connect, connect_from, log};
use serde_json::json;
use talk::Peer;
use web::{Answer, Web};

const SECRET: &str = "0123456789abcdef-of-the-test";
/// A publish or play is refused by 403, or by this.
const DENIED: &str = "NetStream.Publish.Denied";
const FAILED: &str = "NetStream.Play.Failed";
/// Who may do nothing there hears it at once.
const REJECTED: &str = "NetConnection.Connect.Rejected";

/// A server without API whose app `live` has `lines`.
fn start(lines: &str) -> Node {
    // Who may play is then told that nobody publishes.
    let text = "admin.enabled = false\napp_defaults.wait_for_publisher = '1ms'\n\
                limits.log_violations_per_second = 1000\n[app.live]\n";
    Node::start(&format!("{text}{lines}"), None)
}

/// What comes of a publish: nothing if it was let in, else the reason.
#[track_caller]
fn publish_from(socket: TcpStream, path: &str) -> Result<(), String> {
    let mut peer = Peer::on(socket, Goal::Publish, path);
    let result = peer.try_start();
    if result.is_ok() {
        peer.leave();
    }
    result.map_err(|(code, reason)| {
        assert!([DENIED, REJECTED].contains(&&*code), "{code}: {reason}");
        reason
    })
}

/// The same of a play: who is let in hears that nobody publishes.
#[track_caller]
fn play_from(socket: TcpStream, path: &str) -> Result<(), String> {
    let (code, reason) = Peer::on(socket, Goal::Play, path).refusal();
    match code.as_str() {
        "NetStream.Play.StreamNotFound" => Ok(()),
        code => {
            assert!([FAILED, REJECTED].contains(&code), "{code}: {reason}");
            Err(reason)
        }
    }
}

/// The same by HTTP, with more fields of the head.
#[track_caller]
fn get_from(socket: TcpStream, path: &str, fields: &str) -> Result<(), String> {
    let mut web = Web::on(socket);
    web.send(&format!("GET /{path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    let Answer { status, body, .. } = web.answer();
    match status {
        404 => Ok(()),
        status => {
            assert_eq!(status, 403, "{body}");
            Err(body)
        }
    }
}

/// The formats a stream is sent in by HTTP.
const BY_HTTP: [&str; 4] = ["flv", "ts", "mp4", "m3u8"];

/// What comes of a GET of `live/NAME` in each of them, with `query` behind it: the same.
#[track_caller]
fn get_all_from(at: [u8; 4], node: &Node, name: &str, query: &str) -> Result<(), String> {
    let [first, others @ ..] = BY_HTTP.map(|format| {
        get_from(connect_from(at, node.http), &format!("live/{name}.{format}{query}"), "")
    });
    for (other, format) in others.iter().zip(&BY_HTTP[1..]) {
        assert_eq!(*other, first, "{format}");
    }
    first
}

/// What comes of `query` behind a publish, a play and each GET of `live/NAME`, each by itself.
#[track_caller]
fn all_with(node: &Node, name: &str, query: &str) -> [Result<(), String>; 3] {
    let path = format!("live/{name}?{query}");
    [
        publish_from(connect(node.rtmp), &path),
        play_from(connect(node.rtmp), &path),
        get_all_from([127, 0, 0, 1], node, name, &format!("?{query}")),
    ]
}

#[track_caller]
fn denied(result: Result<(), String>, why: &str) {
    let reason = result.expect_err("it is denied");
    assert!(reason.contains(why), "expected {why:?} in {reason:?}");
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn assert_never_logged(secret: &str) {
    let lines = log().lines(&[secret]);
    assert!(lines.is_empty(), "{lines:#?}");
}

#[test]
fn the_first_rule_that_fits_an_address_counts() {
    let node = start(
        "rules = ['deny all 127.6.0.7', 'allow publish 127.6.0.0/24', 'deny publish any', \
         'deny play 127.6.1.0/24']",
    );
    let addresses = [[127, 6, 0, 7], [127, 6, 0, 8], [127, 6, 1, 1], [127, 6, 2, 1]];
    let may = [[false, false], [true, true], [false, false], [false, true]];
    for (at, [publish, play]) in addresses.into_iter().zip(may) {
        let path = "live/rules";
        let published = publish_from(connect_from(at, node.rtmp), path);
        assert_eq!(published.is_ok(), publish, "{at:?}");
        assert_eq!(play_from(connect_from(at, node.rtmp), path).is_ok(), play, "{at:?}");
        let got = get_all_from(at, &node, "rules", "");
        assert_eq!(got.is_ok(), play, "{at:?}");
        if let Err(reason) = got {
            let address = IpAddr::from(at);
            let expected = format!("playing from live is not allowed from {address} (rules)");
            assert!(reason.contains(&expected), "{reason}");
        }
    }
    // Another app has no rules.
    let other = publish_from(connect_from([127, 6, 0, 7], node.rtmp), "other/rules");
    assert_eq!(other, Ok(()));
}

#[test]
fn who_may_neither_publish_nor_play_is_refused_at_connect() {
    let node = start("rules = ['deny all 127.6.0.0/16']");
    let mut peer = Peer::on(connect_from([127, 6, 0, 9], node.rtmp), Goal::Play, "live/x");
    let (code, reason) = peer.refusal();
    assert_eq!(code, REJECTED);
    assert_eq!(reason, "connecting to live is not allowed from 127.6.0.9 (rules)");
}

#[test]
fn rules_know_ipv6_and_ipv4_on_one_listener() {
    let lines = "admin.enabled = false\napp_defaults.wait_for_publisher = '1ms'\n\
                 app.six.rules = ['allow all ::1', 'deny all any']\n\
                 app.four.rules = ['allow all 127.0.0.0/8', 'deny all any']\n\
                 app.none.rules = ['deny play ::/0', 'deny play 0.0.0.0/0']";
    let node = Node::start_on("[::]", lines, None);
    let six = || TcpStream::connect(("::1", node.http)).expect("the host has IPv6");
    let four = || connect(node.http);
    for (app, by_six, by_four) in
        [("six", true, false), ("four", false, true), ("none", false, false)]
    {
        let path = format!("{app}/x.flv");
        assert_eq!(get_from(six(), &path, "").is_ok(), by_six, "{app}");
        assert_eq!(get_from(four(), &path, "").is_ok(), by_four, "{app}");
    }
}

#[test]
fn a_publisher_needs_one_of_the_keys_and_a_viewer_needs_none() {
    let node = start("publish_keys = ['k3y-of-a', 'k3y-of-b%&=']");
    for right in ["key=k3y-of-a", "x=1&key=k3y-of-b%25%26%3D"] {
        assert_eq!(all_with(&node, "keys", right), [Ok(()), Ok(()), Ok(())]);
    }
    for (wrong, why) in [
        ("", "expected key=KEY (publish_keys) in the URL, found none"),
        ("key=", "expected a key that is one of publish_keys, found another"),
        ("key=k3y-of-", "found another"),
        ("key=k3y-of-ab", "found another"),
        ("key=k3y-of-c&key=k3y-of-a", "found another"),
    ] {
        let [publish, play, get] = all_with(&node, "keys", wrong);
        denied(publish, why);
        assert_eq!((play, get), (Ok(()), Ok(())));
    }
    // On the app, where some encoders put it.
    assert_eq!(publish_from(connect(node.rtmp), "live/keys?key=k3y-of-a"), Ok(()));
    drop(node);
    assert_never_logged("k3y-of");
}

#[test]
fn a_signed_url_is_good_for_what_it_says_and_for_nothing_else() {
    let node = start(&format!("sign_secret = '{SECRET}'\nsign_publish = true"));
    let key = StreamKey::parse("live/signed").expect("a key");
    let sign = |method, exp, address| Signer::new(SECRET).query(method, &key, exp, address);
    let (good, past) = (now() + 3600, now() - 10);
    let play = sign(Method::Play, good, None);
    let [published, played, got] = all_with(&node, "signed", &play);
    denied(published, "expected the signature by sign_secret of publish, ");
    assert_eq!((played, got), (Ok(()), Ok(())));
    let publish = sign(Method::Publish, good, None);
    let [published, played, got] = all_with(&node, "signed", &publish);
    assert_eq!(published, Ok(()));
    denied(played, "expected the signature");
    denied(got, "expected the signature");
    let mut tampered = play.clone();
    let last = if tampered.ends_with('0') { '1' } else { '0' };
    tampered.pop();
    tampered.push(last);
    for (query, why) in [
        (String::new(), "expected exp=UNIX&sig=HEX (sign_secret) in the URL, found none"),
        (sign(Method::Play, past, None), "sign a new one"),
        (tampered, "expected the signature"),
        (play.replace(&good.to_string(), &(good + 1).to_string()), "expected the signature"),
        (play.replace("&sig", "&six"), "expected exp=UNIX and sig=HEX"),
        (format!("{play}0"), "expected exp=UNIX and sig=HEX"),
        (Signer::new("another secret").query(Method::Play, &key, good, None), "expected the sig"),
    ] {
        let [_, played, got] = all_with(&node, "signed", &query);
        denied(played, why);
        denied(got, why);
    }
    let [_, other, _] = all_with(&node, "other", &play);
    denied(other, "expected the signature by sign_secret of play, live/other, ");
    drop(node);
    let sig = play.split_once("sig=").expect("signed").1;
    assert_never_logged(sig);
    assert_never_logged(SECRET);
}

#[test]
fn a_url_signed_for_an_address_is_good_from_there_alone() {
    let node = start(&format!("sign_secret = '{SECRET}'"));
    let key = StreamKey::parse("live/bound").expect("a key");
    let (own, other) = ([127, 6, 3, 1], [127, 6, 3, 2]);
    let query = Signer::new(SECRET).query(Method::Play, &key, now() + 3600, Some(own.into()));
    let get = |at, query: &str| get_all_from(at, &node, "bound", &format!("?{query}"));
    assert_eq!(get(own, &query), Ok(()));
    assert_eq!(play_from(connect_from(own, node.rtmp), &format!("live/bound?{query}")), Ok(()));
    denied(get(other, &query), "expected the signature");
    denied(get(own, &query.replace("&ip=1", "")), "expected the signature");
    let free = Signer::new(SECRET).query(Method::Play, &key, now() + 3600, None);
    denied(get(own, &format!("{free}&ip=1")), "expected the signature");
}

#[test]
fn what_the_command_line_signs_the_server_takes() {
    let node = start(&format!("sign_secret = '{SECRET}'"));
    let sign = |key: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
        command.args(["sign", key, "--expires", "1h", "--secret-env", "THE_SECRET"]).args(more);
        let output = command.env("THE_SECRET", SECRET).output().expect("the binary was built");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a query").trim_end().to_owned()
    };
    let path = format!("live/a/b.flv?{}", sign("live/a/b", &[]));
    assert_eq!(get_from(connect(node.http), &path, ""), Ok(()));
    let bound = sign("live/a/b", &["--address", "127.6.4.1", "--url", "live/a/b.flv?gop=0"]);
    assert_eq!(get_from(connect_from([127, 6, 4, 1], node.http), &bound, ""), Ok(()));
    denied(get_from(connect(node.http), &bound, ""), "expected the signature");
}

/// A signer of tokens: its algorithm and key, and the lines that make the server take them.
struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    lines: String,
}

fn issuers() -> [Issuer; 3] {
    let path = |name: &str| format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let file = |name: &str| format!("jwt_key_file = '{}'", path(name));
    let pem = |name: &str| std::fs::read(path(name)).expect("a key of the test");
    let rsa = EncodingKey::from_rsa_pem(&pem("rsa.pem")).expect("a key");
    let ec = EncodingKey::from_ec_pem(&pem("ec.pem")).expect("a key");
    [
        (Algorithm::HS256, hmac(SECRET), format!("jwt_secret = '{SECRET}'")),
        (Algorithm::RS256, rsa, file("rsa.pub.pem")),
        (Algorithm::ES256, ec, file("ec.pub.pem")),
    ]
    .map(|(algorithm, key, lines)| Issuer { algorithm, key, lines })
}

fn hmac(secret: &str) -> EncodingKey {
    EncodingKey::from_secret(secret.as_bytes())
}

impl Issuer {
    fn token(&self, claims: &serde_json::Value) -> String {
        encode(&Header::new(self.algorithm), claims, &self.key).expect("it signs")
    }
}

#[test]
fn tokens_of_all_three_algorithms_say_what_is_allowed() {
    let [a, b, c] = issuers();
    // The secret and one file go together.
    for issuer in [&a, &b, &c] {
        let node = start(&issuer.lines);
        let exp = now() + 3600;
        let both = json!({"publish": ["live/cam*"], "play": ["live/*"], "exp": exp});
        let token = issuer.token(&both);
        for query in [format!("token={token}"), format!("jwt={token}")] {
            assert_eq!(all_with(&node, "cam1", &query), [Ok(()), Ok(()), Ok(())]);
            let [publish, play, get] = all_with(&node, "dam1", &query);
            denied(
                publish,
                "expected a token whose claim publish has a pattern that fits live/dam1",
            );
            assert_eq!((play, get), (Ok(()), Ok(())));
        }
        let field = format!("Authorization: Bearer {token}\r\n");
        assert_eq!(get_from(connect(node.http), "live/cam1.flv", &field), Ok(()));
        let (head, signature) = token.rsplit_once('.').expect("three parts");
        let (first, rest) = signature.split_at(1);
        let tampered = format!("{head}.{}{rest}", if first == "A" { "B" } else { "A" });
        let other = encode(&Header::default(), &both, &hmac("another secret of the test"));
        let other = other.expect("it signs");
        let of_other = match issuer.algorithm {
            Algorithm::HS256 => "expected a token signed by jwt_secret",
            _ => "whose key is set, found HS256",
        };
        for (query, why) in [
            (String::new(), "expected token=TOKEN (a JWT) in the URL, found none"),
            (format!("token={tampered}"), "expected a token signed by jwt_secret or for jwt_key"),
            (format!("token={other}"), of_other),
            (format!("token={}", &token[..40]), "expected a token (JWT) of three parts"),
            (format!("token={}", without_signature(&token)), "expected a token (JWT)"),
            (issued(issuer, &json!({"play": ["live/*"], "exp": now() - 60})), "has expired (exp)"),
            (
                issued(issuer, &json!({"play": ["live/*"], "exp": exp, "nbf": now() + 600})),
                "found one for later (nbf)",
            ),
            (issued(issuer, &json!({"play": ["live/*"]})), "expected a token with exp"),
            (issued(issuer, &json!({"play": "live/*", "exp": exp})), "are lists of patterns"),
            (issued(issuer, &json!({"exp": exp})), "whose claim play has a pattern"),
            (issued(issuer, &json!({"publish": ["*"], "exp": exp})), "whose claim play has"),
        ] {
            let [_, play, get] = all_with(&node, "cam1", &query);
            denied(play, why);
            denied(get, why);
        }
        drop(node);
        assert_never_logged(signature);
    }
}

fn issued(issuer: &Issuer, claims: &serde_json::Value) -> String {
    format!("token={}", issuer.token(claims))
}

/// The token as one of algorithm `none`.
fn without_signature(token: &str) -> String {
    // {"alg":"none","typ":"JWT"}
    let claims = token.split('.').nth(1).expect("three parts");
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
}

#[test]
fn a_public_key_is_no_secret_to_sign_by() {
    let [_, rsa, _] = issuers();
    let node = start(&rsa.lines);
    let pem = include_str!("keys/rsa.pub.pem");
    let claims = json!({"play": ["*"], "exp": now() + 3600});
    let forged = encode(&Header::default(), &claims, &hmac(pem)).expect("it signs");
    let [_, play, _] = all_with(&node, "x", &format!("token={forged}"));
    denied(play, "whose key is set, found HS256");
}

#[test]
fn only_the_listed_algorithms_are_taken() {
    let [hs, _, es] = issuers();
    let lines = format!("{}\n{}\njwt_algorithms = ['ES256']", hs.lines, es.lines);
    let node = start(&lines);
    let claims = json!({"play": ["*"], "exp": now() + 3600});
    let [_, play, _] = all_with(&node, "x", &issued(&es, &claims));
    assert_eq!(play, Ok(()));
    let [_, play, _] = all_with(&node, "x", &issued(&hs, &claims));
    denied(play, "jwt_algorithms whose key is set, found HS256");
}

#[test]
fn pages_of_listed_hosts_show_streams_and_others_do_not() {
    let node = start("referers = ['a.example', '*.b.example']");
    let get = |fields: &str| get_from(connect(node.http), "live/x.flv", fields);
    assert_eq!(get("Referer: https://a.example/page\r\n"), Ok(()));
    assert_eq!(get("Origin: https://www.b.example:8443\r\n"), Ok(()));
    // The page is better known by the Referer than by the Origin.
    assert_eq!(get("Referer: http://A.example\r\nOrigin: null\r\n"), Ok(()));
    denied(get(""), "expected a page of a host in referers, found none");
    for other in ["Referer: https://b.example/", "Origin: null", "Referer: https://a.example.evil/"]
    {
        denied(
            get(&format!("{other}\r\n")),
            "expected a page of a host in referers, found another",
        );
    }
    // Players of RTMP have no pages.
    assert_eq!(play_from(connect(node.rtmp), "live/x"), Ok(()));
    let node = start("referers = ['a.example', '']");
    assert_eq!(get_from(connect(node.http), "live/x.flv", ""), Ok(()));
}

#[test]
fn head_and_web_socket_are_asked_the_same() {
    let node = start(&format!("sign_secret = '{SECRET}'"));
    let mut web = Web::new(node.http);
    web.send("HEAD /live/x.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(web.head().0, 403);
    let mut web = Web::new(node.http);
    web.send(
        "GET /live/x.flv HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(web.answer().status, 403);
}

/// Says yes to all, and remembers whom it was asked about.
#[derive(Debug, Default)]
struct Agreeable(Mutex<Vec<SocketAddr>>);

impl Answerer for Agreeable {
    fn answer(
        &self,
        question: Arc<Question>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        if question.stream().is_some() {
            self.0.lock().expect("nobody panics with it").push(question.peer);
        }
        Box::pin(async { Verdict::Allow })
    }
}

#[test]
fn nobody_else_is_asked_about_those_who_are_denied_here() {
    let answerer = Arc::new(Agreeable::default());
    let lines = "admin.enabled = false\napp_defaults.wait_for_publisher = '1ms'\n\
                 app.live.rules = ['deny play 127.6.5.0/24']\napp.live.publish_keys = ['k3y-asked']";
    let node = Node::start(lines, Some(Arc::clone(&answerer) as Arc<dyn Answerer>));
    let (own, other) = ([127, 6, 5, 1], [127, 6, 6, 1]);
    denied(play_from(connect_from(own, node.rtmp), "live/asked"), "(rules)");
    denied(get_from(connect_from(own, node.http), "live/asked.flv", ""), "(rules)");
    denied(publish_from(connect_from(own, node.rtmp), "live/asked"), "publish_keys");
    let asked = || answerer.0.lock().expect("nobody panics with it").clone();
    assert_eq!(asked(), []);
    let with_key = "live/asked?key=k3y-asked";
    assert_eq!(publish_from(connect_from(own, node.rtmp), with_key), Ok(()));
    assert_eq!(get_from(connect_from(other, node.http), "live/asked2.flv", ""), Ok(()));
    let from: Vec<_> = asked().iter().map(SocketAddr::ip).collect();
    assert_eq!(from, [IpAddr::from(own), IpAddr::from(other)]);
    assert!(log().lines(&["stream=live/asked ", "k3y-asked"]).is_empty());
}
