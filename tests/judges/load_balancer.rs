//! Behind HAProxy and nginx, as our examples configure them.

use std::thread::sleep;

use crate::support::balancer::{Balancer, SOURCE};
use crate::support::child::Child;
use crate::support::clips::{self, Clip};
use crate::support::http;
use crate::support::machine::{alone, beside_others, eventually, secs};
use crate::support::players;
use crate::support::returning::Returning;
use crate::support::server::{Server, Setup};

/// A node whose trusted proxies send a header, or do not.
fn node(http: &'static str) -> Server {
    Server::with(&Setup { tables: http, cores: 2, ..Setup::default() })
}

const WITH_HEADER: &str = "[proxy]\ntrusted = ['127.0.0.9']\nrtmp = 'required'\nhttp = 'required'";
const WITHOUT_HEADER: &str = "[proxy]\ntrusted = ['127.0.0.9']";

/// The clip again and again, to both.
fn publish(clip: &Clip, nodes: [&Server; 2]) -> [Child; 2] {
    let again = ["-stream_loop", "-1"];
    nodes.map(|node| players::publish_with(clip, &node.rtmp("live/a"), &node.dir, &again, &[]))
}

/// How often a viewer's connection was logged to begin to play.
fn plays(node: &Server) -> usize {
    node.log().lines().filter(|line| line.contains(" play ")).count()
}

/// How often each of `nodes` logged that a viewer plays, once one of them did `count` times: the other
/// did never.
#[track_caller]
fn at_one(nodes: [&Server; 2], count: usize) -> [usize; 2] {
    eventually(secs(20), || nodes.map(plays).into_iter().any(|plays| plays >= count));
    let [a, b] = nodes.map(plays);
    assert!(a.min(b) == 0 && a.max(b) >= count, "{a} plays at one, {b} at the other");
    [a, b]
}

#[test]
fn viewers_of_a_drained_node_play_on_at_the_other_within_three_seconds() {
    const VIEWERS: u16 = 200;
    let _machine = alone();
    // Longer than HAProxy, and who looks into its log, take to notice.
    let drain = ["10s", "16s"];
    let node = || Server::with(&Setup { tables: WITH_HEADER, cores: 2, drain, ..Setup::default() });
    let nodes = [node(), node()];
    let clip = clips::h264_aac();
    let publishers = publish(&clip, nodes.each_ref());
    let balancer = Balancer::haproxy(nodes.each_ref());
    sleep(secs(2));
    let viewers = Returning::join(balancer.http, "live/a.flv", VIEWERS);
    let all = usize::from(VIEWERS);
    let play = eventually(secs(20), || viewers.playing(1) == all);
    assert!(play, "{} play: {:?}", viewers.playing(1), viewers.complaints());
    // All of them at one node, by the stream; and the other is as good.
    let [a, b] = at_one(nodes.each_ref(), all);
    let [first, second] = nodes;
    let (mut drained, other) = if a > b { (first, second) } else { (second, first) };
    // The log has the viewers' own addresses.
    for number in 1..=VIEWERS {
        drained.expect_log(&format!("peer={}:", Returning::address(number)), secs(20));
    }
    assert!(!drained.log().contains(&format!("peer={SOURCE}:")), "the balancer is no viewer");
    let gap_before = viewers.longest_gap();
    assert_eq!(http::exchange(drained.http, &http::get("readyz")).status, 200);
    drained.drain();
    // As soon as it says that it drains, with its listeners still open and its viewers still there.
    drained.expect_log("drain: not ready any more", secs(20));
    let ready = http::exchange(drained.http, &http::get("readyz"));
    assert_eq!((ready.status, &*ready.text()), (503, "draining\n"));
    assert_eq!(http::exchange(drained.http, &http::get("healthz")).status, 200);
    assert_eq!(viewers.playing(2), 0, "nobody has been ended");
    let told = eventually(secs(20), || balancer.log().contains("code: 503"));
    assert!(told, "HAProxy has not noticed:\n{}", balancer.log());
    assert!(!drained.log().contains("listens no more"), "it was noticed before the doors closed");
    drained.drained();
    let play = eventually(secs(20), || viewers.playing(2) == all);
    assert!(play, "{} play again: {:?}", viewers.playing(2), viewers.complaints());
    let gap = viewers.longest_gap();
    println!("the longest gap was {gap_before:?} before and {gap:?} with the change of nodes");
    assert!(
        gap < secs(3),
        "somebody waited {gap:?}: {:?}\n{}",
        viewers.complaints(),
        balancer.log()
    );
    viewers.leave();
    // It waits for them, too.
    drop(publishers);
    other.stop();
}

/// An RTMP player and one of HTTP play through `balancer`, and a node logs where they really are.
fn both_play_through(balancer: &Balancer, nodes: [&Server; 2]) {
    let clip = clips::h264_aac();
    let _publishers = publish(&clip, nodes);
    sleep(secs(2));
    let dir = &nodes[0].dir;
    let rtmp = format!("rtmp://127.0.0.1:{}/live/a", balancer.rtmp);
    let rtmp = players::play(clip.tool, &rtmp, dir);
    rtmp.plays(secs(15));
    let viewers = Returning::join(balancer.http, "live/a.flv", 3);
    let play = eventually(secs(15), || viewers.playing(1) == 3);
    assert!(play, "{:?}\n{}", viewers.complaints(), balancer.log());
    viewers.leave();
    let logs = || nodes.map(Server::log).concat();
    for number in 1..=3 {
        let peer = format!("peer={}:", Returning::address(number));
        assert!(eventually(secs(20), || logs().contains(&peer)), "{peer}");
    }
    let log = logs();
    let players = log.lines().filter(|line| line.contains(" play ") && line.contains("=rtmp"));
    assert!(players.into_iter().any(|line| line.contains("peer=127.0.0.1:")), "{log}");
    assert!(!log.contains(&format!("peer={SOURCE}:")), "{log}");
}

#[test]
fn rtmp_and_http_play_through_haproxy() {
    let _machine = beside_others();
    let nodes = [node(WITH_HEADER), node(WITH_HEADER)];
    let balancer = Balancer::haproxy(nodes.each_ref());
    both_play_through(&balancer, nodes.each_ref());
    assert_eq!(http::exchange(balancer.http, &http::get("balancer")).status, 200);
    drop(balancer);
    nodes.into_iter().for_each(Server::stop);
}

#[test]
fn rtmp_and_http_play_through_nginx_as_tcp() {
    let _machine = beside_others();
    let nodes = [node(WITH_HEADER), node(WITH_HEADER)];
    let balancer = Balancer::nginx_stream(nodes.each_ref());
    both_play_through(&balancer, nodes.each_ref());
    drop(balancer);
    nodes.into_iter().for_each(Server::stop);
}

#[test]
fn viewers_play_through_nginx_as_a_reverse_proxy_and_on_when_their_node_goes() {
    let _machine = beside_others();
    let nodes = [node(WITHOUT_HEADER), node(WITHOUT_HEADER)];
    let balancer = Balancer::nginx_http(nodes.each_ref());
    let clip = clips::h264_aac();
    let _publishers = publish(&clip, nodes.each_ref());
    sleep(secs(2));
    let viewers = Returning::join(balancer.http, "live/a.flv", 5);
    let play = eventually(secs(15), || viewers.playing(1) == 5);
    assert!(play, "{:?}\n{}", viewers.complaints(), balancer.log());
    let ws = format!("ws://127.0.0.1:{}/live/a.flv", balancer.http);
    let (_socket, _) = tungstenite::connect(&ws).expect("WebSocket goes through");
    let [a, b] = at_one(nodes.each_ref(), 5);
    let [first, second] = nodes;
    let (drained, other) = if a > b { (first, second) } else { (second, first) };
    for number in 1..=5 {
        drained.expect_log(&format!("peer={}:0 ", Returning::address(number)), secs(20));
    }
    drained.stop();
    let play = eventually(secs(20), || viewers.playing(2) == 5);
    assert!(play, "{:?}\n{}", viewers.complaints(), balancer.log());
    viewers.leave();
    drop(balancer);
    other.stop();
}
