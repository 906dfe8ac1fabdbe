//! Hook servers that move, are renewed, or are asked by many at once.

#![allow(missing_docs)]

#[path = "support/binary.rs"]
mod binary;
#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
#[path = "support/secure.rs"]
mod secure;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::time::Duration;

use binary::Binary;
use corecast::proto::rtmp::Goal;
use hook_server::{Answer, HookServer, after, say, say_yes_securely, yes};
use node::{Node, PATIENCE, eventually, free_port, log};
use secure::Certificate;
use talk::Peer;
use web::Web;

/// Whoever asks waits longer than any of these tests lets it.
const PATIENT: &str = "hooks.timeout = '30s'\nlimits.verdict_timeout = '40s'";

/// The page of figures.
fn metrics(node: &Node) -> String {
    let mut web = Web::new(node.admin);
    web.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    web.answer().body
}

#[test]
fn an_answer_that_is_not_a_hook_servers_is_a_no_that_is_logged_and_counted() {
    let server = HookServer::start(|heard| match &heard.path[..] {
        "/on_publish" => Answer::Say(404, "<html>\n<h1>no such page</h1>".to_owned()),
        "/on_play" => say("{\"code\":1}"),
        _ => Answer::Say(404, String::new()),
    });
    let lines = server.lines(&["on_publish", "on_play", "on_not_found"]);
    let lines = format!("cores = 1\nhooks.retry_for = 0\n{PATIENT}\n{lines}");
    let node = Node::start(&lines, None);
    let (_, reason) = Peer::new(node.rtmp, Goal::Publish, "live/moved").refusal();
    assert_eq!(reason, "denied (hooks.on_publish)", "the rest is not the client's to know");
    log().wait_for(&["neither yes nor no", "on_publish", "404", "<html>\\n<h1>no such page"]);
    assert_eq!(web::get(node.http, "/live/denied.flv").status, 403);
    let failures =
        |hook: &str, count| format!("corecast_hook_failures_total{{hook=\"{hook}\"}} {count}\n");
    let page = metrics(&node);
    assert!(page.contains(&failures("on_publish", 1)), "{page}");
    assert!(page.contains(&failures("on_play", 0)), "a no in so many words is none: {page}");
}

#[test]
fn publishers_that_fall_silent_together_are_all_asked_about() {
    let server = HookServer::start(|_| after(300, say("{\"code\":0,\"close\":false}")));
    let lines = server.lines(&["on_publish_timeout"]);
    // So long again is the time for all the answers.
    let lines = format!(
        "cores = 2\nlimits.publisher_silence = '5s'\nhooks.retry_for = 0\n{PATIENT}\n{lines}"
    );
    let node = Node::start(&lines, None);
    // More than are told at once.
    let mut site: Vec<_> =
        (0..50).map(|number| Peer::publish(node.rtmp, &format!("site/{number}"))).collect();
    site.iter_mut().for_each(|publisher| publisher.push(1));
    let asked_about = || {
        let asked = server.of("on_publish_timeout").into_iter();
        let answered = asked.filter(|heard| heard.answered.is_some());
        answered.map(|heard| heard.said["stream"].to_string()).collect::<HashSet<_>>()
    };
    eventually("a question about each", || asked_about().len() == site.len());
    let page = metrics(&node);
    let none_lost = "corecast_hook_lost_total{hook=\"on_publish_timeout\"} 0\n";
    assert!(page.contains(none_lost), "{page}");
    site.iter_mut().for_each(|publisher| publisher.push(1));
    let mut viewer = Peer::play(node.rtmp, "site/49");
    viewer.start();
    viewer.expect_frames(None, 0);
}

#[test]
fn authorities_are_read_again_at_a_reload_and_must_be_readable_at_the_start() {
    let [server, other] = [1, 2].map(|number| Certificate::new(number, &["localhost"]));
    let port = say_yes_securely(server.server());
    let file = std::env::temp_dir().join(format!("corecast-authority-{}", std::process::id()));
    let name = file.to_string_lossy().into_owned();
    let lines = format!(
        "cores = 1\nadmin.enabled = false\nhooks.ca_file = '{name}'\n{PATIENT}\n\
         hooks.on_publish = 'https://localhost:{port}/'"
    );
    fs::copy(other.cert(), &file).expect("room for it");
    let node = Binary::start(256, &lines);
    let publishes = || Peer::new(node.rtmp, Goal::Publish, "live/secure").try_start().is_ok();
    assert!(!publishes());
    fs::copy(server.cert(), &file).expect("room for it");
    node.reload(&lines);
    eventually("the new authority is trusted", publishes);
    // A file that is none is refused, and who was trusted is.
    fs::write(&file, "no certificate").expect("room for it");
    node.reload(&lines);
    assert!(node.log().contains("hooks.ca_file: "), "{}", node.log());
    assert!(node.log().contains("reload: nothing was changed"), "{}", node.log());
    assert!(publishes());
    // Whoever is no longer named is not.
    fs::copy(other.cert(), &file).expect("room for it");
    node.reload(&lines);
    eventually("the old authority is not trusted", || !publishes());
    drop(node);

    fs::write(&file, "no certificate").expect("room for it");
    let config = file.with_extension("toml");
    let [rtmp, http] = [(); 2].map(|()| free_port());
    let listen =
        format!("rtmp.listen = ['127.0.0.1:{rtmp}']\nhttp.listen = ['127.0.0.1:{http}']\n");
    fs::write(&config, listen + &lines).expect("room for it");
    let run = Command::new(env!("CARGO_BIN_EXE_corecast")).arg("--config").arg(&config).output();
    let run = run.expect("the binary was built");
    let told = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{told}");
    assert!(told.contains(&format!("hooks.ca_file: {name}")), "{told}");
}

#[test]
fn figures_are_told_however_often_the_configuration_is_read_again() {
    let server = HookServer::start(|_| yes());
    let lines = format!(
        "cores = 1\nadmin.enabled = false\nhooks.stats_interval = '3s'\n{}",
        server.lines(&["on_stats"])
    );
    let node = Binary::start(256, &lines);
    let until = std::time::Instant::now() + PATIENCE;
    while server.of("on_stats").is_empty() {
        assert!(std::time::Instant::now() < until, "expected on_stats");
        node.reload(&lines);
        std::thread::sleep(Duration::from_millis(100));
    }
}
