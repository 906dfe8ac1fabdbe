//! A soak against the real server, far too short for a verdict.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use corecast_load::stream::{Material, Shape};
use corecast_load::{play, publish, soak};
use support::Corecast;

#[test]
fn a_soak_looks_at_what_the_server_holds_while_viewers_come_and_go() {
    let server = Corecast::start("");
    let shape = Shape {
        bitrate: 200_000,
        fps: 25,
        gop: Duration::from_secs(1),
        sound: Some(32_000),
        seed: 1,
    };
    let publish = publish::Options {
        url: server.rtmp("live/x{n}"),
        publishers: 2,
        material: Material::made_up(shape).expect("enough bits"),
        reconnect: true,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let options = play::Options {
        url: server.http("live/x{n}.flv"),
        streams: 2,
        viewers: 20,
        settle: Duration::from_millis(500),
        duration: Duration::from_secs(60),
        churn: 0.2,
        inspect: 0.5,
        pid: Some(server.child.pid()),
        publish: Some(publish),
        stop: Arc::clone(&stop),
        ..play::Options::default()
    };
    let mut seconds = 0;
    // Seconds are told late, or two as one, where a thread has to wait for a core.
    let found = soak::run(&options, &mut |_| {
        seconds += 1;
        stop.store(seconds >= 6, Ordering::Relaxed);
    });
    let found = found.expect("it runs");
    assert!(seconds >= 3, "{seconds}");
    let report = &found;
    assert!(report.viewers.left_and_rejoined > 0, "{:?}", report.viewers);
    assert_eq!(report.viewers.lost, 0, "{:?}", report.viewers);
    let found = found.soak.as_ref().expect("it is a soak");
    assert!(found.held.len() >= 4, "{:?}", found.held);
    let last = found.held.last().expect("some");
    assert!(last.rss_bytes > 1 << 20 && last.threads >= Some(1), "{last:?}");
    let most = found.held.iter().filter_map(|held| held.fds).max();
    assert!(most >= Some(20), "one for each viewer: {:?}", found.held);
    assert!(found.verdict.trends.is_empty());
    assert!(found.verdict.to_string().starts_with("no verdict"), "{}", found.verdict);
}
