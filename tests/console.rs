//! The console: how its files are served, and what an operator sees and does there, in a browser.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
mod support;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use node::Node;
use support::machine::beside_others;
use support::{browser, clips};
use web::{Answer, Web};

const TOKEN: &str = "0123456789abcdef";

#[track_caller]
fn get(node: &Node, path: &str, headers: &str) -> Answer {
    let mut web = Web::new(node.admin);
    web.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    web.answer()
}

#[test]
fn an_operator_sees_a_stream_appear_plays_it_and_kicks_a_viewer() {
    let _machine = beside_others();
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console-recordings");
    let _ = fs::remove_dir_all(&files);
    let lines = format!(
        "cores = 2\napp.locked.rules = ['deny play any']\napp.flv.record_format = 'flv'\n\
         app_defaults.record_directory = {files:?}\napp_defaults.record_format = 'ts'\n\
         app_defaults.record_replay = true\n"
    );
    let node = Node::start(&format!("{lines}admin.token = '{TOKEN}'"), None);
    let clip = clips::h264_aac();
    let at = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
    let (rtmp, http) = (at("rtmp", node.rtmp), at("http", node.http));
    let options: [&OsStr; 8] = [
        "--token".as_ref(),
        TOKEN.as_ref(),
        "--rtmp".as_ref(),
        rtmp.as_ref(),
        "--http".as_ref(),
        http.as_ref(),
        "--clip".as_ref(),
        clip.path.as_ref(),
    ];
    let seen = browser::run("console.py", &format!("{}/", at("http", node.admin)), &options);
    println!("{seen}");
    let _ = fs::remove_dir_all(&files);
}

#[test]
fn its_files_need_no_token_and_may_not_be_framed_sniffed_or_fed_from_elsewhere() {
    let lines = "cores = 1\nadmin.media_origins = ['https://media.example:8443']\n";
    let node = Node::start(&format!("{lines}admin.token = '{TOKEN}'"), None);
    let page = get(&node, "/", "");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.field("content-security-policy").expect("the page has a policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
        &format!("connect-src 'self' http://*:{} https://media.example:8443;", node.http),
    ] {
        assert!(policy.contains(part), "expected {part} in {policy}");
    }
    let shared = ["/_/mpegts.js", "/_/hls.js", "/_/ways.js", "/_/page.css"];
    for path in ["/", "/_/main.js", "/_/console.css", "/_/uplot.js"].into_iter().chain(shared) {
        let file = get(&node, path, "");
        assert_eq!(file.status, 200, "{path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(file.field(name), Some(value), "{path}");
        }
        assert!(file.field("content-security-policy").is_some(), "{path}");
        assert!(!file.head.contains("access-control-allow-origin"), "{path}: {}", file.head);
    }
    for path in ["/_/nothing.js", "/_/", "/_/..%2fmod.rs", "/_/index.html", "/nothing"] {
        assert_eq!(get(&node, path, "").status, 404, "{path}");
    }
    // What it shows is not told to who has no token.
    for path in ["node", "streams", "drain", "events"] {
        assert_eq!(get(&node, &format!("/api/v1/{path}"), "").status, 401, "{path}");
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let node = Node::start("cores = 1", None);
    let first = get(&node, "/_/main.js", "");
    let tag = first.field("etag").expect("files have tags").to_owned();
    assert!(first.body.contains("import"), "{}", first.body);
    let again = get(&node, "/_/main.js", &format!("If-None-Match: \"other\", W/{tag}\r\n"));
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    assert_eq!(again.field("etag"), Some(tag.as_str()));
    let other = get(&node, "/_/main.js", "If-None-Match: \"other\"\r\n");
    assert_eq!((other.status, other.body), (200, first.body));
    assert_ne!(get(&node, "/_/api.js", "").field("etag"), Some(tag.as_str()));
}

#[test]
fn the_figures_of_the_node_come_without_its_streams() {
    // Neither has to say more than it does while it is looked at.
    let lines = "limits.publisher_silence = '1h'\nlimits.first_frame_timeout = '1h'";
    let node = Node::start(&format!("cores = 2\nadmin.enabled = true\n{lines}"), None);
    let mut publisher = talk::Peer::publish(node.rtmp, "live/counted");
    publisher.push(50);
    let read = || -> serde_json::Value {
        serde_json::from_str(&get(&node, "/api/v1/node", "").body).expect("JSON")
    };
    node::eventually("its stream is counted", || read()["streams"]["live"] == 1);
    let seen = read();
    assert_eq!(seen["cores"].as_array().map(Vec::len), Some(2), "{seen}");
    assert!(seen["cores"][0].get("streams").is_none(), "{seen}");
    assert_eq!(seen["refused"]["rules"], 0, "{seen}");
    assert!(seen["connections"].as_u64() >= Some(1) && seen["rates"]["cpu_percent"].is_number());
    // Sorted the other way round, the same streams.
    let _second = talk::Peer::publish(node.rtmp, "live/another");
    let names = |query: &str| -> Vec<String> {
        let page: serde_json::Value =
            serde_json::from_str(&get(&node, &format!("/api/v1/streams?{query}"), "").body)
                .expect("JSON");
        let items = page["items"].as_array().expect("a list").iter();
        items.map(|it| it["stream"].as_str().expect("a name").to_owned()).collect()
    };
    node::eventually("both are there", || names("sort=name").len() == 2);
    assert_eq!(names("sort=name"), ["live/another", "live/counted"]);
    assert_eq!(names("sort=name&reverse=true"), ["live/counted", "live/another"]);
}
