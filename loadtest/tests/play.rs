//! Viewers against the real server, and against one that does wrong.

#![allow(missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use corecast_load::play::{self, Options, Slow, Trust};
use corecast_load::publish::{self, Fleet};
use corecast_load::report::{Inspected, Report, Viewers};
use corecast_load::stream::{Material, Shape};
use rustix::process::Signal;
use support::secure::Certificate;
use support::{Child, Corecast, eventually, free_port, secs};

const PROGRAM: &str = env!("CARGO_BIN_EXE_corecast-load");

/// Publishers of `bitrate`, with a key frame each second.
fn publish(url: String, publishers: usize, bitrate: u64) -> Fleet {
    let shape = Shape { bitrate, fps: 25, gop: secs(1), sound: Some(32_000), seed: 1 };
    let material = Material::made_up(shape).expect("enough bits");
    let options = publish::Options { url, publishers, material, reconnect: false };
    Fleet::start(&options).expect("they are let in")
}

/// A few viewers that all look at every byte, for long enough that some come though one of the
/// threads between publisher and viewer has to wait for a core for two seconds.
fn options(url: String) -> Options {
    Options {
        url,
        viewers: 20,
        settle: secs(1),
        duration: secs(4),
        inspect: 1.0,
        ..Options::default()
    }
}

fn run(options: &Options) -> Report {
    play::run(options, &mut |_| {}).expect("the run succeeds")
}

/// The same until all have been in for a second in which something came.
fn run_until_fed(options: &Options) -> std::io::Result<Report> {
    let (stop, mut seconds) = (Arc::new(AtomicBool::new(false)), 0);
    let told = Arc::clone(&stop);
    let options = Options { duration: secs(60), stop, ..options.clone() };
    let report = play::run(&options, &mut |sample| {
        // In the first of them they may have had no more than answers.
        seconds += usize::from(sample.viewers == options.viewers && sample.egress_mbit_s > 0.0);
        told.store(seconds >= 2, Ordering::Relaxed);
    });
    assert!(report.is_err() || seconds >= 2, "they were fed for {seconds} seconds: {report:?}");
    report
}

/// What each viewer got of a second of the stream, by the pictures of those that looked: what a
/// publisher that was late makes up for, or owes at the end, is no matter.
fn mbit_s(viewers: &Viewers, found: &Inspected) -> f64 {
    let seconds = found.marked as f64 / (25 * found.viewers) as f64;
    viewers.bytes as f64 * 8e-6 / viewers.watching / seconds
}

/// Missing, repeated, damaged, out of order.
fn faults(found: &Inspected) -> [u64; 4] {
    [found.missing, found.repeated, found.damaged, found.out_of_order]
}

#[test]
fn viewers_of_all_protocols_join_and_miss_nothing() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x{n}"), 2, 400_000);
    let by_http = ["flv", "ts", "mp4"].map(|kind| server.http(&format!("live/x{{n}}.{kind}")));
    let by_ws = by_http.clone().map(|url| url.replace("http", "ws"));
    for url in [server.rtmp("live/x{n}")].into_iter().chain(by_http).chain(by_ws) {
        let mut seconds = 0;
        let options = Options { streams: 2, pid: Some(server.child.pid()), ..options(url.clone()) };
        let report = play::run(&options, &mut |_| seconds += 1).expect("the run succeeds");
        let viewers = &report.viewers;
        assert_eq!((viewers.joined, viewers.refused, viewers.lost), (20, 0, 0), "{url}");
        assert_eq!(viewers.watching, 20.0, "{url}");
        let found = report.inspected.expect("all inspect");
        assert_eq!((found.viewers, faults(&found)), (20, [0; 4]), "{url}");
        // 25 pictures a second each; the sounds make it more.
        assert!(found.marked > 20 * 25 && found.frames > found.marked, "{url}: {found:?}");
        assert_eq!((found.join_ms.count(), found.first_key_ms.count()), (20, 20), "{url}");
        let latencies = found.latency_ms.as_ref().map(|latency| latency.count());
        assert_eq!(latencies, Some(found.marked), "{url}");
        assert!(report.cost.cpu_percent_per_1000.is_some_and(|cost| cost > 0.0), "{url}");
        assert_eq!(seconds, report.samples.len(), "{url}");
        assert!(seconds > 0, "{url}");
        let fragments = (found.fragments > 0, found.fragments_missing);
        assert_eq!(fragments, (url.ends_with(".mp4"), 0), "{url}");
    }
}

/// A server that shows `certificate` too, and its URLs over TLS.
fn start_secure(certificate: &Certificate) -> (Corecast, [String; 3]) {
    let [rtmps, https] = [free_port(), free_port()];
    let server = Corecast::start(&format!(
        "rtmp.tls_listen = ['127.0.0.1:{rtmps}']\nhttp.tls_listen = ['127.0.0.1:{https}']\n\
         tls.certificates = [{}]",
        certificate.toml()
    ));
    // It is up when its other ports are, and may bind these a moment later.
    let accepts = |port| TcpStream::connect(("127.0.0.1", port)).is_ok();
    let up = eventually(secs(30), || accepts(rtmps) && accepts(https));
    assert!(up, "it does not listen:\n{}", server.child.log_tail());
    let url = |scheme, port, path| format!("{scheme}://127.0.0.1:{port}/live/{path}");
    let urls = [url("rtmps", rtmps, "x"), url("https", https, "x.flv"), url("wss", https, "x.flv")];
    (server, urls)
}

#[test]
fn viewers_over_tls_miss_nothing_and_those_that_discard_still_show_that_they_live() {
    let certificate = Certificate::new(1, &["127.0.0.1"]);
    let (server, urls) = start_secure(&certificate);
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    for (url, procs) in urls.into_iter().zip([1, 2, 1]) {
        let trust = Trust { ca: Some(certificate.cert().into()), insecure: false };
        // A word that the server cannot decrypt would be the end of that viewer.
        let sign_of_life = Duration::from_millis(200);
        let options = Options { trust, procs, inspect: 0.5, sign_of_life, ..options(url.clone()) };
        let report = run(&Options { pid: Some(server.child.pid()), ..options });
        let viewers = &report.viewers;
        let all = (viewers.joined, viewers.refused, viewers.lost);
        assert_eq!(all, (20, 0, 0), "{url}: {viewers:?}");
        let found = report.inspected.expect("some inspect");
        assert_eq!((found.viewers, faults(&found)), (10, [0; 4]), "{url}");
        assert!(found.marked > 10 * 25, "{url}: {found:?}");
        let latency = found.latency_ms.as_ref();
        assert!(latency.is_some_and(|latency| latency.count() > 0), "{url}");
        let each = mbit_s(viewers, &found);
        assert!((0.2..0.8).contains(&each), "{url}: {each} Mbit/s each");
    }
}

#[test]
fn over_tls_nobody_is_believed_unasked() {
    let certificate = Certificate::new(2, &["127.0.0.1"]);
    let other = Certificate::new(3, &["127.0.0.1"]);
    let unnamed = Certificate::new(4, &["other.test"]);
    let (server, [_, https, _]) = start_secure(&certificate);
    let (_unnamed, [_, of_another_name, _]) = start_secure(&unnamed);
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    let watch = |url: &str, trust: Trust| {
        let options = Options { trust, viewers: 2, ..options(url.to_owned()) };
        run_until_fed(&options).map_err(|error| error.to_string())
    };
    let by =
        |certificate: &Certificate| Trust { ca: Some(certificate.cert().into()), insecure: false };
    let refused = watch(&https, by(&other)).expect_err("signed by nobody we know");
    assert!(refused.contains("invalid peer certificate") && refused.contains("--ca"), "{refused}");
    let refused = watch(&of_another_name, by(&unnamed)).expect_err("it is for another name");
    assert!(refused.contains("not valid for name"), "{refused}");
    let plain = https.replace(&https[..https.rfind("/live").expect("a path")], "https://127.0.0.1");
    let plain = plain.replace("127.0.0.1", &format!("127.0.0.1:{}", server.http));
    let refused = watch(&plain, by(&certificate)).expect_err("no TLS there");
    assert!(refused.contains("does this port speak TLS?"), "{refused}");
    let report = watch(&https, Trust { ca: None, insecure: true }).expect("whoever it is");
    assert_eq!(report.viewers.joined, 2);
    // The options of the program say the same.
    let play = |more: &[&str]| {
        let mut program = Command::new(PROGRAM);
        program.args(["play", "--url", &https, "--viewers", "2", "--settle", "0s"]);
        program.args(["--duration", "4s"]).args(more).stdin(Stdio::null());
        program.output().expect("it runs").status.success()
    };
    assert!(play(&["--insecure"]) && play(&["--ca", &certificate.cert()]));
    assert!(!play(&["--ca", &other.cert()]) && !play(&[]));
}

#[test]
fn viewers_that_discard_are_told_apart_from_those_that_look() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    for url in [server.rtmp("live/x"), server.http("live/x.flv")] {
        let options = Options { viewers: 60, ramp: 1e6, inspect: 0.1, ..options(url) };
        let report = run(&options);
        assert_eq!((report.viewers.joined, report.viewers.lost), (60, 0));
        let found = report.inspected.expect("some inspect");
        assert_eq!((found.viewers, faults(&found)), (6, [0; 4]));
        // What the others threw away counts: 400 kbit/s in all.
        let each = mbit_s(&report.viewers, &found);
        assert!((0.2..0.8).contains(&each), "{each} Mbit/s each");
        let blind = run_until_fed(&Options { inspect: 0.0, ..options });
        let blind = blind.expect("the run succeeds");
        assert_eq!((blind.viewers.joined, blind.inspected), (60, None));
    }
}

#[test]
fn a_slow_viewer_is_seen_to_miss_frames() {
    // The kernel's send buffer holds up to 4 MiB, which is a second of this. The good ones share a
    // thread with the slow ones, and may have to wait for a core.
    let server = Corecast::start("app_defaults.max_lag = '3s'");
    let _fleet = publish(server.rtmp("live/x"), 1, 32_000_000);
    let slow = Some(Slow { share: 0.5, bitrate: 8_000_000 });
    let options = options(server.http("live/x.flv"));
    // What they miss they notice when they have read what the kernel held by then: some ten seconds.
    let report = run(&Options { viewers: 4, slow, duration: secs(16), ..options });
    let [good, slow] = [report.inspected, report.slow].map(|found| found.expect("all inspect"));
    assert_eq!((good.viewers, faults(&good)), (2, [0; 4]));
    assert_eq!((slow.viewers, slow.damaged, slow.repeated), (2, 0, 0));
    assert!(slow.missing > 25, "{slow:?}");
    let share = slow.frames as f64 / good.frames as f64;
    assert!(share < 0.6, "slow readers got {share} of all frames");
}

#[test]
fn churned_viewers_come_back() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    for url in [server.rtmp("live/x"), server.http("live/x.flv")] {
        let report = run(&Options { churn: 0.2, duration: secs(5), ..options(url) });
        let viewers = &report.viewers;
        assert_eq!((viewers.joined, viewers.refused, viewers.lost), (20, 0, 0));
        // Four a second, for the five seconds and the one before, and for as long as both took.
        let most = 4.0 * (report.about.window_begin_s + report.about.window_s) + 2.0;
        let left = viewers.left_and_rejoined;
        assert!(left >= 10 && left as f64 <= most, "at most {most}: {viewers:?}");
        assert!(viewers.watching > 15.0, "{viewers:?}");
        let found = report.inspected.expect("all inspect");
        assert_eq!(faults(&found), [0; 4]);
        // The last to come back may not have its key frame yet.
        let whole = 20 + viewers.left_and_rejoined as u64 - found.first_key_ms.count();
        assert!(whole <= 1, "{whole} came back to no key frame");
    }
}

#[test]
fn processes_share_the_viewers_and_make_one_report() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x{n}"), 3, 400_000);
    let mut samples = Vec::new();
    let options = Options {
        streams: 3,
        procs: 3,
        pid: Some(server.child.pid()),
        ..options(server.http("live/x{n}.flv"))
    };
    let report = play::run(&options, &mut |sample| samples.push(sample.clone()));
    let report = report.expect("the run succeeds");
    assert_eq!((report.viewers.wanted, report.viewers.joined), (20, 20));
    assert_eq!(report.viewers.watching, 20.0);
    let found = report.inspected.expect("all inspect");
    assert_eq!((found.viewers, faults(&found)), (20, [0; 4]));
    assert!(report.cost.cpu_percent.is_some_and(|cpu| cpu > 0.0));
    assert_eq!(report.samples, samples);
    assert_eq!(samples.last().map(|sample| sample.viewers), Some(20));
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let server = Corecast::start("app_defaults.wait_for_publisher = '0s'");
    for (url, words) in [
        (server.http("live/nobody.flv"), "404 Not Found"),
        (server.http("live/nobody.flv").replace("http", "ws"), "404 Not Found"),
        (server.rtmp("live/nobody"), "NetStream.Play.StreamNotFound"),
        ("http://127.0.0.1:9/live/x.flv".to_owned(), "refused"),
    ] {
        for procs in [1, 2] {
            let options = Options { viewers: 4, procs, ..options(url.clone()) };
            let error = play::run(&options, &mut |_| {}).expect_err("nobody is let in");
            let error = error.to_string();
            assert!(error.contains("found none") && error.contains(words), "{error}");
        }
    }
}

#[test]
fn some_that_are_refused_do_not_end_the_run_of_the_others() {
    let server = Corecast::start("app_defaults.wait_for_publisher = '0s'");
    let _fleet = publish(server.rtmp("live/x0"), 1, 400_000);
    let report = run(&Options { streams: 2, ..options(server.http("live/x{n}.flv")) });
    let viewers = &report.viewers;
    assert_eq!((viewers.joined, viewers.refused, viewers.first_reasons.len()), (10, 10, 1));
    assert!(viewers.first_reasons[0].contains("404"), "{viewers:?}");
}

/// Waits until a run has said so often that all its viewers are in: each five seconds, from the
/// first on.
#[track_caller]
fn wait_for_all(run: &Child, viewers: usize, times: usize) {
    let words = format!(" left, {viewers} viewers, ");
    let told = || run.log().matches(&words).count();
    assert!(eventually(secs(60), || told() >= times), "{} of {times}:\n{}", told(), run.log());
}

#[test]
fn a_run_that_is_stopped_by_hand_reports_what_there_was() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    let url = server.http("live/x.flv");
    let runs = [("100h", "1", Signal::TERM), ("0", "1", Signal::INT), ("0", "2", Signal::INT)];
    for (settle, procs, signal) in runs {
        let json = server.dir.file("report.json");
        let mut program = Command::new(PROGRAM);
        program
            .args(["play", "--url", &url, "--viewers", "10", "--inspect", "50%"])
            .args(["--settle", settle, "--duration", "100h", "--procs", procs])
            .arg("--json")
            .arg(&json);
        let mut program = Child::start(&mut program, &server.dir.file("play.log"));
        wait_for_all(&program, 10, 1);
        program.signal(signal);
        program.succeed(secs(60));
        let text = std::fs::read_to_string(&json).expect("it was written");
        assert!(text.contains("stopped by hand") && text.contains("\"joined\": 10"), "{text}");
    }
}

#[test]
fn an_address_may_have_few_ports_and_viewers_of_processes_do_not_meet() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    // Each process has addresses of its own: 127.0.0.x, 127.0.1.x.
    let report = run_until_fed(&Options { procs: 2, ..options(server.http("live/x.flv")) });
    report.expect("the run succeeds");
    for peer in ["peer=127.0.0.1:", "peer=127.0.1.1:"] {
        let plays = || {
            let log = server.child.log();
            log.lines().filter(|line| line.contains(" play ") && line.contains(peer)).count()
        };
        // The log has a thread of its own.
        eventually(secs(30), || plays() >= 10);
        assert_eq!(plays(), 10, "{peer}");
    }
}

/// What a server in between does to the picture tags, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Drop,
    Repeat,
    Alter,
}

/// A server between the viewer and `upstream` that does `fault` to one picture and one sound of
/// each second, and hangs up on the first `short_lived` viewers after three seconds.
fn proxy(upstream: SocketAddr, fault: Fault, short_lived: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for (number, viewer) in listener.incoming().map_while(Result::ok).enumerate() {
            let server = TcpStream::connect(upstream).expect("the server listens");
            let life = (number < short_lived).then_some(secs(3));
            thread::spawn(move || forward(viewer, server, fault, life));
        }
    });
    address
}

/// Ends with an error when either side does.
fn forward(
    mut viewer: TcpStream,
    mut server: TcpStream,
    fault: Fault,
    life: Option<Duration>,
) -> std::io::Result<()> {
    let start = Instant::now();
    let mut request = [0; 4096];
    let count = viewer.read(&mut request)?;
    server.write_all(&request[..count])?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        server.read_exact(&mut byte)?;
        head.extend(byte);
    }
    // The file header and the first PreviousTagSize.
    let mut flv = [0; 13];
    server.read_exact(&mut flv)?;
    viewer.write_all(&[&head[..], &flv].concat())?;
    let mut counts = [0; 32];
    while life.is_none_or(|life| start.elapsed() < life) {
        let mut tag = vec![0; 11];
        server.read_exact(&mut tag)?;
        let length = u32::from_be_bytes([0, tag[1], tag[2], tag[3]]) as usize;
        tag.resize(11 + length + 4, 0);
        server.read_exact(&mut tag[11..])?;
        let count = &mut counts[usize::from(tag[0] & 0x1f)];
        *count += 1;
        // Never a key frame or a configuration: those come 1st, 2nd, 27th, 52nd.
        match fault {
            Fault::Drop if *count % 25 == 20 => continue,
            Fault::Repeat if *count % 25 == 20 => viewer.write_all(&tag)?,
            Fault::Alter if *count % 25 == 20 => tag[11 + length - 1] ^= 0x55,
            _ => {}
        }
        viewer.write_all(&tag)?;
    }
    Ok(())
}

#[test]
fn a_server_that_drops_repeats_or_alters_frames_is_found_out() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    let upstream = SocketAddr::from(([127, 0, 0, 1], server.http));
    for fault in [Fault::None, Fault::Drop, Fault::Repeat, Fault::Alter] {
        let url = format!("http://{}/live/x.flv", proxy(upstream, fault, 0));
        let report = run(&Options { viewers: 2, ..options(url) });
        assert_eq!(report.viewers.lost, 0, "{:?}", report.viewers);
        let found = report.inspected.expect("all inspect");
        // One of 25 frames of both kinds, for two viewers, give or take one each at either end. How
        // many came in the three seconds is a matter of who was late.
        let expected = |count: u64| count > 0 && count.abs_diff(found.frames / 25) <= 6;
        let faults = faults(&found);
        let right = match fault {
            Fault::None => faults == [0; 4],
            Fault::Drop => expected(faults[0]) && faults[1..] == [0; 3],
            Fault::Repeat => expected(faults[1]) && faults[0] == 0 && faults[2..] == [0; 2],
            Fault::Alter => expected(faults[2]) && faults[..2] == [0; 2] && faults[3] == 0,
        };
        assert!(right, "{fault:?}: {found:?}");
    }
}

#[test]
fn viewers_that_the_server_drops_are_lost_and_come_back() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    let upstream = SocketAddr::from(([127, 0, 0, 1], server.http));
    // Those that have come back stay, however late it is noticed that all have.
    let url = format!("http://{}/live/x.flv", proxy(upstream, Fault::None, 5));
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let options = Options { viewers: 5, inspect: 0.5, duration: secs(60), stop, ..options(url) };
    let mut joined = 0;
    let report = play::run(&options, &mut |sample| {
        joined += sample.joined;
        if joined >= 10 {
            told.store(true, Ordering::Relaxed);
        }
    });
    let viewers = report.expect("they had joined").viewers;
    assert_eq!((viewers.joined, viewers.lost, viewers.refused), (5, 5, 0), "{viewers:?}");
    assert_eq!((viewers.rejoined_after_loss, viewers.left_and_rejoined), (5, 0), "{viewers:?}");
    assert!(viewers.first_reasons[0].contains("hung up"), "{viewers:?}");
}

#[test]
fn a_run_whose_viewers_are_all_gone_ends_with_the_reason() {
    for procs in [1, 2] {
        let server = Corecast::start("");
        let fleet = publish(server.rtmp("live/x"), 1, 400_000);
        let url = server.http("live/x.flv");
        let options = Options { viewers: 5, procs, duration: secs(9), ..options(url) };
        // Until all have been seen to be in for two seconds.
        let (mut up, mut seen) = (Some((server, fleet)), 0);
        let report = play::run(&options, &mut |sample| {
            seen += usize::from(sample.viewers == 5);
            if seen == 2 {
                drop(up.take());
            }
        });
        let error = report.expect_err("they are dropped").to_string();
        let words = "nobody watches any more: 5 had joined, 5 were lost and 0 refused";
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_viewer_that_is_refused_tries_again_until_the_stream_is_there() {
    let server = Corecast::start("app_defaults.wait_for_publisher = '0s'");
    let _fleet = publish(server.rtmp("live/x0"), 1, 400_000);
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let options = options(server.http("live/x{n}.flv"));
    let options = Options { streams: 2, duration: secs(60), stop, ..options };
    let (mut later, mut refused, mut joined) = (None, 0, 0);
    let report = play::run(&options, &mut |sample| {
        refused += sample.refused;
        joined += sample.joined;
        if refused == 10 && later.is_none() {
            later = Some(publish(server.rtmp("live/x1"), 1, 400_000));
        }
        if joined == 20 {
            told.store(true, Ordering::Relaxed);
        }
    });
    let viewers = report.expect("the run succeeds").viewers;
    assert_eq!((viewers.joined, viewers.refused, viewers.lost), (20, 10, 0), "{viewers:?}");
    assert_eq!(viewers.rejoined_after_loss, 0, "they had not been in: {viewers:?}");
}

#[test]
fn viewers_that_receive_nothing_do_not_make_the_others_cheaper() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/x.flv", listener.local_addr().expect("it is bound"));
    thread::spawn(move || {
        for (number, viewer) in listener.incoming().map_while(Result::ok).enumerate() {
            let feeds = AtomicBool::new(number % 2 == 0);
            thread::spawn(move || feed(viewer, &feeds));
        }
    });
    let pid = Some(std::process::id());
    let options = Options { viewers: 6, inspect: 0.0, pid, ..options(url) };
    let Report { viewers, cost, warnings, .. } = run(&options);
    assert_eq!((viewers.joined, viewers.watching, viewers.starved), (6, 6.0, 3));
    assert!(warnings.iter().any(|warning| warning.contains("received nothing")), "{warnings:?}");
    let (cpu, per_1000) = (cost.cpu_percent, cost.cpu_percent_per_1000);
    assert_eq!(per_1000, cpu.map(|cpu| cpu * 1000.0 / 3.0));
}

/// Lets a viewer in and sends some bytes now and then while it is to feed.
fn feed(mut viewer: TcpStream, feeds: &AtomicBool) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if viewer.read(&mut request)? == 0 {
        return Ok(());
    }
    viewer.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    loop {
        thread::sleep(Duration::from_millis(100));
        if feeds.load(Ordering::Relaxed) {
            viewer.write_all(&[0; 1000])?;
        }
    }
}

/// The program's exit status, what it printed and what it complained of.
fn program(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        Command::new(PROGRAM).args(arguments).output().expect("it is built with this test");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_the_run() {
    let me = std::process::id().to_string();
    let play = ["--url", "rtmp://127.0.0.1:9/live/x", "--pid", &me];
    for (command, arguments) in
        [("play", &play[..]), ("soak", &play[..]), ("compare", &["../bench/compare.toml"][..])]
    {
        for file in ["--json", "--html"] {
            let arguments = [&[command, file, "/no/such/place"][..], arguments].concat();
            let (status, said, complaint) = program(&arguments);
            assert_eq!((status, said.as_str()), (Some(1), ""), "{arguments:?}");
            assert!(complaint.contains("/no/such/place"), "{arguments:?}: {complaint}");
        }
    }
}

#[test]
fn a_server_that_dies_leaves_the_report_of_what_was_before() {
    for command in ["play", "soak"] {
        let mut server = Corecast::start("");
        let [json, page] = ["run.json", "run.html"].map(|name| server.dir.file(name));
        let pid = server.child.pid();
        let mut run = Command::new(PROGRAM);
        run.args([command, "--publish", &server.rtmp("live/x"), "--url"])
            .args([&server.http("live/x.flv"), "--pid", &pid.to_string(), "--viewers", "5"])
            .args(["--settle", "1s", "--duration", "10m", "--inspect", "100%"])
            .args(["--bitrate", "300k", "--churn", "0", "--html"])
            .arg(&page)
            .arg("--json")
            .arg(&json);
        let printed = server.dir.file("table");
        let mut run = Child::start_to(&mut run, &printed, &server.dir.file("run.log"));
        // Some seconds lie between, of which it measures all but the first.
        wait_for_all(&run, 5, 2);
        server.child.signal(Signal::KILL);
        server.child.wait(secs(30)).expect("it is dead");
        let status = run.wait(secs(60)).expect("it ends");
        let table = std::fs::read_to_string(&printed).expect("it was made");
        let complaint = run.log();
        let ended = format!("the server's process {pid} has ended");
        assert_eq!(status.code(), Some(1), "{command}: {table}\n{complaint}");
        assert!(complaint.contains(&ended), "{command}: {complaint}");
        assert!(table.contains("5 of 5 joined"), "{command}: {table}");
        let saved = std::fs::read_to_string(&json).expect("it was written");
        let saved = corecast_load::report::json::read(&saved).expect("a report");
        assert!(saved.failure.is_some_and(|why| why.contains(&ended)), "{command}");
        assert!(saved.about.window_s > 0.5, "{command}: {:?}", saved.about);
        assert!(saved.cost.cpu_percent.is_some(), "{command}: {:?}", saved.cost);
        assert!(saved.inspected.is_some_and(|found| found.frames > 25), "{command}");
        assert_eq!(saved.soak.is_some(), command == "soak");
        let page = std::fs::read_to_string(&page).expect("it was written");
        assert!(page.contains("The run failed"), "{command}");
    }
}

#[test]
fn what_is_no_stream_fails_with_what_was_meant() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, 400_000);
    for (page, meant, inspect) in [
        (server.http("live/x"), server.http("live/x.flv"), 0.0),
        (server.http("live/x"), server.http("live/x.flv"), 1.0),
        (server.http("live/x").replace("http", "ws"), server.http("live/x.flv"), 1.0),
    ] {
        let error = play::run(&Options { inspect, ..options(page.clone()) }, &mut |_| {});
        let error = error.expect_err("a page").to_string();
        let words = "the answer is text/html, no stream: did you mean ";
        let meant = if page.starts_with("ws") { meant.replace("http", "ws") } else { meant };
        assert!(error.contains(&format!("{words}{meant}?")), "{page}: {error}");
    }
}

#[test]
fn bytes_that_are_no_frames_for_anybody_fail_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/x.flv", listener.local_addr().expect("it is bound"));
    // Once all are in: no frames right behind the answer would be a refusal.
    let feeds = Arc::new(AtomicBool::new(false));
    let all_in = Arc::clone(&feeds);
    thread::spawn(move || {
        for viewer in listener.incoming().map_while(Result::ok) {
            let feeds = Arc::clone(&feeds);
            thread::spawn(move || feed(viewer, &feeds));
        }
    });
    let options = Options { viewers: 6, inspect: 0.5, ..options(url) };
    let report = play::run_to_report(&options, &mut |sample| {
        all_in.fetch_or(sample.viewers == 6, Ordering::Relaxed);
    });
    let report = report.expect("some bytes came");
    let failure = report.failure.expect("nobody saw a frame");
    assert!(failure.contains("found none at any of the 3 viewers that looked"), "{failure}");
    assert!(!failure.contains("what came holds none"), "it has a reason: {failure}");
}
