//! The metrics of a running server: they move with what happens, they are well formed to a parser
//! that is not ours, and what may look at them is bounded and guarded.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/scrape.rs"]
mod scrape;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;

use corecast::control::ask::Answerer;
use corecast::proto::rtmp::Goal;
use corecast::serve::verdict::{Question, Verdict};
use node::{Node, connect_from, eventually, free_port, log};
use scrape::Scrape;
use talk::Peer;
use web::{Answer, Watcher, Web};

const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.9,*/*;q=0.1\r\n";

#[track_caller]
fn get(port: u16, path: &str, headers: &str) -> Answer {
    let mut web = Web::new(port);
    web.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    web.answer()
}

#[track_caller]
fn scrape(node: &Node) -> Scrape {
    let answer = get(node.admin, "/metrics", OPEN_METRICS);
    assert_eq!(answer.status, 200, "{}", answer.head);
    Scrape::parse(&answer.body)
}

/// Scrapes until `done`: what is told may be a second old.
#[track_caller]
fn scrape_until(node: &Node, what: &str, done: impl Fn(&Scrape) -> bool) -> Scrape {
    let mut latest = Scrape::default();
    eventually(what, || {
        latest = scrape(node);
        done(&latest)
    });
    latest
}

#[test]
fn figures_move_with_publishers_and_viewers_and_counters_outlast_them() {
    // Who waits must be seen to do so, and then hear in time that it has waited in vain.
    let lines = "cores = 2\nlimits.publisher_silence = '1h'\napp_defaults.publisher_grace = 0\n\
                 app_defaults.wait_for_publisher = '10s'";
    let node = Node::start(lines, None);
    let before = scrape(&node);
    assert_eq!(before.sum("corecast_viewers", &[]), 0.0);
    assert_eq!(before.of("corecast_cpu_per_1000_viewers", &[]).count(), 0, "nobody watches");

    let mut publisher = Peer::publish(node.rtmp, "live/moves");
    let mut player = Peer::play(node.rtmp, "live/moves");
    let mut watcher = Watcher::new(node.http, "live/moves.flv");
    publisher.push(10);
    player.start();
    player.expect_frames(None, 9);
    watcher.expect_frames(None, 9);
    let mut second = Peer::new(node.rtmp, Goal::Publish, "live/moves");
    let (_, reason) = second.refusal();
    assert!(reason.contains("being published"), "{reason}");

    let mut waits = Web::new(node.http);
    waits.send("GET /live/nobody.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    let during = scrape_until(&node, "all are counted", |now| {
        now.sum("corecast_viewers", &[]) == 2.0
            && now.sum("corecast_stream_waiting_viewers", &[]) == 1.0
            && now.of("corecast_cpu_per_1000_viewers", &[]).count() == 1
    });
    for (protocol, format) in [("rtmp", "rtmp"), ("http", "flv")] {
        let labels = [("protocol", protocol), ("format", format)];
        assert_eq!(during.sum("corecast_output_viewers", &labels), 1.0, "{protocol}");
        assert!(during.sum("corecast_output_egress_bytes_total", &labels) > 0.0, "{protocol}");
        let accepted = during.sum("corecast_accepted_connections_total", &labels[..1]);
        assert!(accepted >= 1.0, "{protocol}");
    }
    assert_eq!(during.sum("corecast_output_viewers", &[("protocol", "ws")]), 0.0);
    let stream = [("stream", "live/moves"), ("app", "live")];
    assert_eq!(during.sum("corecast_stream_viewers", &stream), 2.0);
    assert_eq!(during.sum("corecast_stream_frames_total", &stream), 10.0);
    assert_eq!(during.sum("corecast_stream_published", &stream), 1.0);
    assert_eq!(during.sum("corecast_streams", &[("state", "waiting")]), 1.0);
    assert_eq!(during.sum("corecast_sinks", &[]), 3.0);
    assert_eq!(during.sum("corecast_refusals_total", &[("reason", "conflict")]), 1.0);
    let of_cores = during.sum("corecast_egress_bytes_total", &[]);
    assert!(of_cores > 0.0 && of_cores == during.sum("corecast_output_egress_bytes_total", &[]));
    assert_eq!(during.sum("corecast_app_viewers", &[("app", "live")]), 2.0);
    assert_eq!(during.sum("corecast_app_egress_bytes_total", &[]), of_cores);
    assert!(during.sum("process_cpu_seconds_total", &[]) > 0.0);
    assert!(during.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(during.sum("process_open_fds", &[]) > 10.0);
    assert_eq!(during.of("corecast_build_info", &[]).count(), 1);

    publisher.leave();
    drop((player, watcher));
    assert_eq!(waits.answer().status, 404);
    let after = scrape_until(&node, "the stream is gone", |now| {
        now.of("corecast_stream_viewers", &stream).count() == 0
            && now.sum("corecast_not_found_total", &[]) == 1.0
    });
    let live = [("app", "live")];
    assert_eq!(after.sum("corecast_app_viewers", &live), 0.0);
    assert_eq!(after.sum("corecast_app_frames_total", &live), 10.0);
    assert!(after.sum("corecast_app_egress_bytes_total", &live) >= of_cores);
    assert!(after.sum("corecast_viewer_seconds_total", &[]) > 0.0);
    // What is less than a microsecond is cut off, of the stream and of the core.
    let watched = ["corecast_app_viewer_seconds_total", "corecast_viewer_seconds_total"];
    let [of_apps, of_cores] = watched.map(|name| after.sum(name, &[]));
    assert!((of_apps - of_cores).abs() < 0.001, "{of_apps} {of_cores}");
    for sample in &during.samples {
        let counts = during.family(&sample.name).map(|family| &*during.kinds[family]);
        if counts != Some("counter") || sample.name.starts_with("corecast_stream_") {
            continue;
        }
        let later =
            after.samples.iter().find(|now| now.name == sample.name && now.labels == sample.labels);
        let later = later.unwrap_or_else(|| panic!("{sample:?} has gone"));
        assert!(later.value >= sample.value, "{sample:?} fell to {}", later.value);
    }
}

/// Says no to each play of `denied`.
#[derive(Debug)]
struct Judge;

impl Answerer for Judge {
    fn answer(
        &self,
        question: Arc<Question>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        let denied = question.stream().is_some_and(|key| key.name() == "denied");
        let verdict = if denied { Verdict::Deny("no".to_owned()) } else { Verdict::Allow };
        Box::pin(async move { verdict })
    }
}

#[test]
fn who_is_refused_is_counted_by_what_refused() {
    let lines = "cores = 2\nlimits.connections_per_address = 30\nlimits.publishers = 3\n\
                 limits.viewers = 9\napp_defaults.wait_for_publisher = '1ms'\n\
                 app.rules.rules = ['deny play any']\napp.pages.referers = ['a.example']\n\
                 app.signed.sign_secret = '0123456789abcdef'\napp.closed.play = false\n\
                 app.one.viewers_max = 1\napp.one.wait_for_publisher = '1h'\n\
                 app.one.publishers_max = 1\n\
                 app.each.viewers_max_per_address = 1\napp.each.wait_for_publisher = '1h'\n\
                 app.stream.viewers_max_per_stream = 1\napp.stream.wait_for_publisher = '1h'";
    let node = Node::start(lines, Some(Arc::new(Judge)));
    let ask = |path: &str| {
        let mut web = Web::on(connect_from([127, 8, 0, 2], node.http));
        web.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        web
    };
    let status = |path: &str| ask(path).answer().status;
    for path in ["/rules/x", "/pages/x", "/signed/x", "/closed/x", "/live/denied"] {
        assert_eq!(status(&format!("{path}.flv")), 403, "{path}");
    }
    let mut waiting = Vec::new();
    for app in ["one", "each", "stream"] {
        waiting.push(ask(&format!("/{app}/x.flv")));
        scrape_until(&node, "it waits", |now| {
            now.sum("corecast_stream_waiting_viewers", &[]) == waiting.len() as f64
        });
        assert_eq!(status(&format!("/{app}/x.flv")), 503);
    }
    let refusal = |path: &str| Peer::new(node.rtmp, Goal::Publish, path).refusal();
    let _one = Peer::publish(node.rtmp, "one/a");
    refusal("one/b");
    let mut publisher = Peer::publish(node.rtmp, "live/a");
    publisher.push(1);
    refusal("live/a");
    let _third = Peer::publish(node.rtmp, "live/b");
    refusal("live/c");
    // With those who wait, as many as there may be.
    let _watchers = [(); 6].map(|()| {
        let mut watcher = Watcher::new(node.http, "live/a.flv");
        watcher.expect_frames(None, 0);
        watcher
    });
    assert_eq!(status("/live/a.flv"), 503);
    let crowd: Vec<_> = (0..30).map(|_| connect_from([127, 8, 0, 1], node.http)).collect();
    let once_each = [
        "rules",
        "referers",
        "proof",
        "app",
        "verdict",
        "viewers_max",
        "viewers_max_per_address",
        "viewers_max_per_stream",
        "publishers_max",
        "conflict",
        "publishers",
        "viewers",
    ];
    let now = scrape_until(&node, "the crowd is too large", |now| {
        drop(connect_from([127, 8, 0, 1], node.http));
        let count = |reason| now.sum("corecast_refusals_total", &[("reason", reason)]);
        count("connections_per_address") > 0.0 && count("viewers_max_per_stream") > 0.0
    });
    for reason in once_each {
        let count = now.sum("corecast_refusals_total", &[("reason", reason)]);
        assert_eq!(count, 1.0, "{reason}");
    }
    // All others are told as none, and none has another name.
    let mut names: Vec<_> =
        now.of("corecast_refusals_total", &[]).map(|it| it.labels["reason"].clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 24, "{names:?}");
    drop(crowd);
}

#[test]
fn who_wants_hls_without_a_track_is_told_that_it_has_all() {
    let node = Node::start("cores = 1", None);
    for query in ["audio=0", "video=0", "audio=0&video=0"] {
        let answer = get(node.http, &format!("/live/a.m3u8?{query}"), "");
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.body.contains("HLS has all tracks"), "{}", answer.body);
    }
}

/// Segments are the same for everyone: who asks for them does not say who it is.
#[test]
fn what_is_fetched_counts_to_its_stream_and_app_by_whichever_connection_it_goes() {
    let node = Node::start(
        "cores = 2\napp_defaults.hls_segment = '500ms'\napp_defaults.hls_window = '10s'\n\
         app_defaults.publisher_grace = 0\nlimits.publisher_silence = '1h'",
        None,
    );
    let mut publisher = Peer::publish(node.rtmp, "live/pieces");
    publisher.push(50);
    let mut player = Web::new(node.http);
    let ask = |path: &str| format!("GET /live/{path} HTTP/1.1\r\nHost: test\r\n\r\n");
    player.send(&ask("pieces.m3u8"));
    let hls = [("format", "hls")];
    scrape_until(&node, "it is let in", |now| now.sum("corecast_output_viewers", &hls) == 1.0);
    publisher.push(100);
    let multivariant = player.answer();
    let main = multivariant.body.lines().find(|line| !line.starts_with('#')).expect("an address");
    let (mut by_player, mut playlist) = (multivariant.body.len() as u64, String::new());
    eventually("there are segments", || {
        player.send(&ask(main));
        playlist = player.answer().body;
        by_player += playlist.len() as u64;
        playlist.matches("#EXTINF").count() >= 3
    });
    let segments: Vec<_> = playlist.lines().filter(|line| !line.starts_with('#')).collect();

    let fetch = |name: &str| {
        let mut web = Web::new(node.http);
        web.send(&ask(&format!("pieces.hls/{name}")));
        let (status, head) = web.head();
        let answer = Answer { status, head, body: String::new() };
        let length = answer.field("content-length").and_then(|length| length.parse().ok());
        assert_eq!(status, 200, "{}", answer.head);
        (web.take(length.expect("a length")).len() as u64, web.address())
    };
    // Each may reach another core.
    let fetched: Vec<_> = (0..8).map(|nth| fetch(segments[nth % 3])).collect();
    let all = by_player + fetched.iter().map(|(bytes, _)| bytes).sum::<u64>();
    for (_, peer) in fetched {
        let line = log().wait_for(&["corecast::access: close ", &format!("peer={peer} ")]);
        assert!(line.contains(" stream=live/pieces "), "{line}");
    }
    // The cores are not looked at in the same moment.
    let now = scrape_until(&node, "all is counted", |now| {
        ["corecast_egress_bytes_total", "corecast_stream_egress_bytes_total"]
            .iter()
            .all(|name| now.sum(name, &[]) >= all as f64)
    });
    for name in ["egress", "stream_egress", "app_egress"] {
        let name = format!("corecast_{name}_bytes_total");
        assert_eq!(now.sum(&name, &[]), all as f64, "{name}");
    }
    eventually("the viewer has what came by its own connection", || {
        let sinks = get(node.admin, "/api/v1/streams/live/pieces/sinks", "").body;
        sinks.contains(&format!("\"bytes\":{by_player},"))
    });

    // What is fetched behind the end is the app's still.
    publisher.leave();
    scrape_until(&node, "the stream is gone", |now| {
        now.of("corecast_stream_viewers", &[]).count() == 0
    });
    let all = all + fetch(segments[segments.len() - 1]).0;
    scrape_until(&node, "all is the app's", |now| {
        now.sum("corecast_app_egress_bytes_total", &[("app", "live")]) == all as f64
    });
    let now = scrape(&node);
    assert_eq!(now.sum("corecast_egress_bytes_total", &[]), all as f64);
}

#[test]
fn streams_beyond_the_cap_are_those_with_fewest_viewers_and_are_counted() {
    let lines = "cores = 2\nadmin.metrics_streams_max = 2\nlimits.publisher_silence = '1h'";
    let node = Node::start(lines, None);
    let names = ["one", "two", "three", "four"];
    let keys = names.map(|name| format!("live/{name}"));
    let _publishers = keys.each_ref().map(|key| {
        let mut publisher = Peer::publish(node.rtmp, key);
        publisher.push(3);
        publisher
    });
    let _viewers = [&keys[1], &keys[3], &keys[3]].map(|key| {
        let mut viewer = Watcher::new(node.http, &format!("{key}.flv"));
        viewer.expect_frames(None, 2);
        viewer
    });
    let now = scrape_until(&node, "three watch", |now| now.sum("corecast_viewers", &[]) == 3.0);
    assert_eq!(now.sum("corecast_metrics_streams_left_out", &[]), 2.0);
    for name in ["corecast_stream_viewers", "corecast_stream_egress_bytes_total"] {
        let told: Vec<_> = now.of(name, &[]).map(|sample| &*sample.labels["stream"]).collect();
        assert_eq!(told, ["live/four", "live/two"], "{name}");
    }
    assert_eq!(now.sum("corecast_app_streams", &[("app", "live")]), 4.0, "sums hold all");
}

#[test]
fn histograms_are_cumulative_and_end_with_all() {
    let node = Node::start("cores = 1", None);
    let mut publisher = Peer::publish(node.rtmp, "live/h");
    let mut viewer = Watcher::new(node.http, "live/h.flv");
    for last in [9, 19, 29] {
        publisher.push(10);
        viewer.expect_frames(None, last);
    }
    let name = "corecast_sweep_seconds";
    let now = scrape_until(&node, "there were sweeps, and a lag was noted", |now| {
        now.sum("corecast_sweep_seconds_count", &[]) > 1.0
            && now.sum("corecast_loop_lag_seconds_count", &[]) > 0.0
    });
    for name in [name, "corecast_loop_lag_seconds"] {
        assert_eq!(now.kinds[name], "histogram");
        let bucket = format!("{name}_bucket");
        let buckets: Vec<_> = now.of(&bucket, &[("core", "0")]).collect();
        let bound = |sample: &scrape::Sample| -> f64 {
            sample.labels["le"].replace("+Inf", "inf").parse().expect("a number")
        };
        assert_eq!(buckets.len(), 16);
        for two in buckets.windows(2) {
            assert!(bound(two[0]) < bound(two[1]) && two[0].value <= two[1].value, "{two:?}");
        }
        let all = buckets.last().expect("16 of them");
        assert_eq!(bound(all), f64::INFINITY);
        assert_eq!(all.value, now.sum(&format!("{name}_count"), &[]), "{name}");
        assert!(all.value > 0.0, "{name}");
        let sum = now.sum(&format!("{name}_sum"), &[]);
        assert!(sum > 0.0 && sum < 60.0, "{name} {sum}");
    }
    assert_eq!(now.sum("corecast_sweeps_total", &[]), now.sum("corecast_sweep_seconds_count", &[]));
}

#[test]
fn the_admin_port_asks_for_the_token_and_the_port_of_the_metrics_has_nothing_else() {
    let (token, port) = ("0123456789abcdef", free_port());
    let lines =
        format!("cores = 1\nadmin.token = '{token}'\nadmin.metrics_listen = ['127.0.0.1:{port}']");
    let node = Node::start(&lines, None);
    let guarded = get(node.admin, "/metrics", "");
    assert_eq!((guarded.status, guarded.field("www-authenticate")), (401, Some("Bearer")));
    let header = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(get(node.admin, "/metrics", &header).status, 200);

    let open = get(port, "/metrics", "");
    assert_eq!(open.status, 200);
    assert_eq!(open.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    eventually("it is well", || get(port, "/healthz", "").status == 200);
    assert!([200, 503].contains(&get(port, "/readyz", "").status));
    for path in ["/", "/api/v1/info", "/api/v1/cores", "/api/v1/log/level"] {
        for headers in ["", &header] {
            let answer = get(port, path, headers);
            assert_eq!(answer.status, 404, "{path}");
            assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        }
    }
}

#[test]
fn metrics_are_told_where_the_api_is_off() {
    let port = free_port();
    let lines =
        format!("cores = 1\nadmin.enabled = false\nadmin.metrics_listen = ['127.0.0.1:{port}']");
    let _node = Node::start(&lines, None);
    assert_eq!(get(port, "/metrics", "").status, 200);
}

/// A stream whose name needs escapes, so that parsers have something to do.
fn with_an_odd_stream(node: &Node) -> (Peer, Watcher) {
    let mut publisher = Peer::publish(node.rtmp, "live/a\"b\\c");
    let mut viewer = Watcher::new(node.http, "live/a%22b%5Cc.flv");
    publisher.push(3);
    viewer.expect_frames(None, 2);
    (publisher, viewer)
}

#[test]
fn the_parser_of_prometheus_reads_both_forms_and_every_metric_has_a_help_and_a_type() {
    let node = Node::start("cores = 2", None);
    let _playing = with_an_odd_stream(&node);
    scrape_until(&node, "somebody watches", |now| {
        now.sum("corecast_stream_viewers", &[("stream", "live/a\"b\\c")]) == 1.0
    });
    for (headers, parser) in [(OPEN_METRICS, "openmetrics."), ("", ""), ("Accept: */*\r\n", "")] {
        let answer = get(node.admin, "/metrics", headers);
        let told = answer.field("content-type").expect("told");
        assert_eq!(told.starts_with("application/openmetrics-text"), !parser.is_empty());
        let families = parsed_by_python(parser, &answer.body);
        let scrape = Scrape::parse(&answer.body);
        assert!(scrape.samples.len() > 150, "{}", scrape.samples.len());
        for sample in &scrape.samples {
            // The older form has no family but for the sample's own name, unless of a histogram.
            let family = scrape.family(&sample.name).expect(&sample.name);
            let kind = &*scrape.kinds[family];
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{family} is a {kind}");
            assert!(!scrape.helps.get(family).expect(family).is_empty(), "{family}");
            let known = families.lines().any(|line| line == format!("{} {kind}", sample.name));
            assert!(known, "the parser of Python read no {kind} {}", sample.name);
        }
        assert_eq!(families.lines().count(), scrape.samples.len());
    }
}

/// `NAME KIND` of each sample, by the reference parser of Prometheus's client for Python.
fn parsed_by_python(parser: &str, page: &str) -> String {
    const SCRIPT: &str = "import sys, importlib\n\
        parser = importlib.import_module('prometheus_client.' + sys.argv[1] + 'parser')\n\
        for family in parser.text_string_to_metric_families(sys.stdin.read()):\n\
        \x20   assert family.documentation, family.name\n\
        \x20   for sample in family.samples:\n\
        \x20       print(sample.name, family.type)\n";
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/.venv/bin/python");
    let mut child = Command::new(python)
        .args(["-c", SCRIPT, parser])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/install.sh makes .venv");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it cannot be parsed");
    String::from_utf8(output.stdout).expect("names")
}

#[test]
fn the_dashboard_names_only_metrics_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config/grafana.json");
    let text = std::fs::read_to_string(path).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<_> = targets.filter_map(|target| target["expr"].as_str()).collect();
    assert!(expressions.len() > 40, "{}", expressions.len());
    let ids: std::collections::BTreeSet<_> = panels.iter().map(|it| it["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each has an id of its own");

    let node = Node::start("cores = 1", None);
    let _playing = with_an_odd_stream(&node);
    let now = scrape_until(&node, "somebody watches", |now| {
        now.of("corecast_cpu_per_1000_viewers", &[]).count() == 1
    });
    let mut named = std::collections::BTreeSet::new();
    for expression in expressions {
        assert_eq!(expression.matches('(').count(), expression.matches(')').count());
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = expression.split(|c| !part(c));
        named.extend(
            words.filter(|word| word.starts_with("corecast_") || word.starts_with("process_")),
        );
    }
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(now.samples.iter().any(|sample| sample.name == name), "there is no {name}");
    }
}
