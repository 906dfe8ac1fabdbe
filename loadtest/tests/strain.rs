//! The server under strain, with the load generator as judge: `make strain`.
//!
//! The server has one core and the generator another, if there are two; both are release builds.
//! No test takes more than a minute and a half, and they run one after the other. Each prints what
//! it measured. The one time that is asserted is a difference between medians of many seconds, so
//! that what else the machine does does not decide. What becomes of viewers while others take the
//! server's CPU is tested in `tests/pressure.rs`.

#![allow(missing_docs)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use corecast_load::play::{self, Options, Slow, SmallBuffer};
use corecast_load::publish::{self, Fleet};
use corecast_load::report::{Report, Sample};
use corecast_load::server::pin;
use corecast_load::stream::{Material, Shape};
use rustix::thread::{CpuSet, sched_getaffinity};
use support::{Corecast, eventually, secs};

/// The server's core and the generator's: the first and the last of this program's.
fn cores() -> [usize; 2] {
    static CORES: OnceLock<[usize; 2]> = OnceLock::new();
    *CORES.get_or_init(|| {
        let allowed = sched_getaffinity(None).expect("a thread may ask");
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        let first = cores.next().expect("this runs on one");
        [first, cores.next_back().unwrap_or(first)]
    })
}

/// A server on its core; from now on this thread, and what it starts, is on the other.
fn server(open_files: Option<u32>, lines: &str) -> Corecast {
    let [servers, ours] = cores();
    let server = Corecast::confined(servers, open_files, lines);
    pin(&[ours]).expect("one of those allowed");
    server
}

/// A stream of 2 Mbit/s with a key frame each second.
fn publish(server: &Corecast, reconnect: bool) -> Fleet {
    let shape = Shape { bitrate: 2_000_000, fps: 25, gop: secs(1), sound: Some(48_000), seed: 1 };
    let material = Material::made_up(shape).expect("enough bits");
    let url = server.rtmp("live/x");
    let options = publish::Options { url, publishers: 1, material, reconnect };
    Fleet::start(&options).expect("it is let in")
}

/// A tenth of them look at every byte.
fn viewers(server: &Corecast, url: &str, viewers: usize, duration: Duration) -> Options {
    let (url, pid) = (url.to_owned(), Some(server.child.pid()));
    Options { url, viewers, duration, settle: secs(2), inspect: 0.1, pid, ..Options::default() }
}

fn watch(options: &Options) -> Report {
    play::run(options, &mut |_| {}).expect("the run succeeds")
}

/// Nobody was refused or dropped, and nobody who looked found a fault. Says what it measured.
#[track_caller]
fn assert_unharmed(what: &str, report: &Report) {
    let viewers = &report.viewers;
    println!("{what}: {}", measured(report));
    let counts = (viewers.joined, viewers.refused, viewers.lost);
    assert_eq!(counts, (viewers.wanted, 0, 0), "{:?}", viewers.first_reasons);
    let found = report.inspected.as_ref().expect("some inspect");
    assert_eq!(faults(report), [0; 4], "{found:?}");
    // 25 pictures a second for each, but for the time when nobody publishes.
    let pictures = report.about.window_s * 25.0 * found.viewers as f64;
    assert!(found.marked as f64 > 0.5 * pictures, "{} of {pictures}", found.marked);
}

/// Missing, repeated, damaged, out of order.
fn faults(report: &Report) -> [u64; 4] {
    let found = report.inspected.as_ref().expect("some inspect");
    [found.missing, found.repeated, found.damaged, found.out_of_order]
}

fn measured(report: &Report) -> String {
    let found = report.inspected.clone().unwrap_or_default();
    let latency = |q| found.latency_ms.as_ref().and_then(|all| all.value_at(q)).unwrap_or(0.0);
    format!(
        "{:.0} s, {} viewers joined, {} refused, {} lost; {} inspected {} frames: {} missing, \
         {} repeated, {} damaged, {} out of order, {} stalls; latency p50 {:.0} ms, p99 {:.0} ms; \
         server {:.1} % of a core",
        report.about.window_s,
        report.viewers.joined,
        report.viewers.refused,
        report.viewers.lost,
        found.viewers,
        found.frames,
        found.missing,
        found.repeated,
        found.damaged,
        found.out_of_order,
        found.stalls,
        latency(0.5),
        latency(0.99),
        report.cost.cpu_percent.unwrap_or_default(),
    )
}

/// Of `of` viewers, by HTTP-FLV and then by RTMP, the sockets of a share hold 16 KiB, and a share
/// looks at every byte.
#[track_caller]
fn assert_small_buffers_miss_nothing(share: f64, of: usize, inspect: f64, duration: Duration) {
    let server = server(None, "");
    let _fleet = publish(&server, false);
    let small_buffer = Some(SmallBuffer { share, bytes: 16 << 10 });
    for url in [server.http("live/x.flv"), server.rtmp("live/x")] {
        let options = viewers(&server, &url, of, duration);
        assert_unharmed(&url, &watch(&Options { inspect, small_buffer, ..options }));
    }
}

#[test]
fn a_reader_with_a_small_receive_buffer_misses_nothing() {
    assert_small_buffers_miss_nothing(1.0, 1, 1.0, secs(15));
}

#[test]
fn two_hundred_readers_with_small_receive_buffers_beside_eight_hundred_miss_nothing() {
    assert_small_buffers_miss_nothing(0.2, 1000, 0.1, secs(20));
}

#[test]
fn slow_readers_stay_and_skip_and_good_ones_beside_them_do_not_notice() {
    const MIB: u64 = 1 << 20;
    let lines = "app_defaults.max_lag = '4s'\napp_defaults.log_max_bytes = '2MiB'\n\
                 app_defaults.pinned_max_bytes = '2MiB'";
    let server = server(None, lines);
    let _fleet = publish(&server, false);
    let url = server.http("live/x.flv");
    let good = viewers(&server, &url, 800, secs(10));
    let slow = Some(Slow { share: 0.2, bitrate: 200_000 });
    let beside_slow = Options { slow, ..viewers(&server, &url, 1000, secs(30)) };
    // Before and after, so that what the machine does meanwhile is seen too.
    let [before, beside, after] = [&good, &beside_slow, &good].map(watch);
    for (what, report) in [("before", &before), ("beside slow ones", &beside), ("after", &after)] {
        assert_unharmed(what, report);
    }

    // Medians of seconds: that somebody else has taken one must not decide.
    let without = median([p99s(&before), p99s(&after)].concat());
    let with = median(p99s(&beside));
    println!(
        "p99 latency, median of all seconds: {without:.0} ms without slow ones, {with:.0} with"
    );
    assert!(with < without + 20.0, "{:?} {:?} {:?}", p99s(&before), p99s(&beside), p99s(&after));

    // Both bounds, and a viewer's own 2 KB.
    let rss = |report: &Report| report.samples.iter().filter_map(|s| s.rss_bytes).max();
    let [small, large] = [rss(&before), rss(&beside)].map(|rss| rss.expect("it was told the pid"));
    println!("memory: {:.1} MiB, then {:.1}", small as f64 / MIB as f64, large as f64 / MIB as f64);
    assert!(large < small + 4 * MIB + 200 * 2048, "{small} bytes, then {large}");

    let slow = beside.slow.expect("some of them inspect");
    println!("slow ones: {} inspected, {} frames missing", slow.viewers, slow.missing);
    assert!(slow.missing > 0, "the kernel keeps for them what they do not read: {slow:?}");
    assert_eq!((slow.repeated, slow.damaged, slow.out_of_order), (0, 0, 0), "{slow:?}");
    let log = server.child.log();
    let skips = log.lines().filter(|line| line.contains("moved to the newest key block"));
    let skips = skips.map(|line| [field(line, "skipped_ms"), field(line, "skipped_bytes")]);
    let skips = skips.collect::<Vec<_>>();
    let [ms, bytes] = [0, 1].map(|what| skips.iter().map(|skip| skip[what]).sum::<u64>());
    println!("skips: {} of {ms} ms and {bytes} bytes in all, for 200 viewers", skips.len());
    assert!(skips.len() >= 200 && skips.iter().flatten().all(|value| *value > 0), "{skips:?}");
    // What was skipped is so much of a stream of 2 Mbit/s.
    let kbit_s = bytes * 8 / ms;
    assert!((1700..2300).contains(&kbit_s), "{kbit_s} kbit/s");
}

#[test]
fn who_waits_for_a_slow_hook_server_delays_nobody_who_watches() {
    const TAKES: Duration = secs(10);
    const ASKERS: usize = 200;
    let hooks = SlowHooks::start(TAKES);
    let lines = format!(
        "limits.verdict_timeout = '13s'\nhooks.timeout = '12s'\nhooks.on_play = '{}'",
        hooks.url
    );
    let server = server(None, &lines);
    let _fleet = publish(&server, false);
    let url = server.http("live/x.flv");
    let alone = viewers(&server, &url, 300, secs(10));
    let beside_askers = Options { duration: secs(30), ..alone.clone() };
    // Before and after, so that what the machine does meanwhile is seen too.
    let before = watch(&alone);
    let (beside, came) = thread::scope(|scope| {
        let asked = hooks.at_once.load(Ordering::Relaxed);
        let watching = scope.spawn(|| watch(&beside_askers));
        // Those who watch ask the same server, and are to be in before it is busy.
        let all_in = || hooks.at_once.load(Ordering::Relaxed) == asked + 300;
        assert!(eventually(secs(60), all_in), "{:?}", hooks.at_once);
        let mut askers = Vec::new();
        while !watching.is_finished() {
            let come = |number| ask(&server, &format!("live/asked-{number}.flv"));
            askers.extend((askers.len()..askers.len() + ASKERS).map(come));
            let next = || watching.is_finished();
            eventually(secs(5), next);
        }
        (watching.join().expect("the run succeeds"), askers.len())
    });
    // Who is still asked about has left.
    thread::sleep(TAKES);
    let after = watch(&alone);
    let heard = hooks.late.load(Ordering::Relaxed);
    println!(
        "{came} askers came, {ASKERS} every 5 s; the hook server took 10 s for each of {heard}"
    );
    for (what, report) in [("before", &before), ("beside askers", &beside), ("after", &after)] {
        assert_unharmed(what, report);
    }
    // The hook server takes 64 at once.
    assert!(came >= 5 * ASKERS && heard >= 3 * 64, "{came} {heard}");
    let without = median([p99s(&before), p99s(&after)].concat());
    let with = median(p99s(&beside));
    println!("p99 latency, median of all seconds: {without:.0} ms without askers, {with:.0} with");
    assert!(with < without + 20.0, "{:?} {:?} {:?}", p99s(&before), p99s(&beside), p99s(&after));
}

/// A viewer by HTTP who is asked about, and who does not read the answer.
fn ask(server: &Corecast, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(("127.0.0.1", server.http)).expect("it listens");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    socket
}

/// A hook server that says yes: at once about `live/x`, late about everything else. It ends with
/// the test.
struct SlowHooks {
    url: String,
    at_once: Arc<AtomicUsize>,
    late: Arc<AtomicUsize>,
}

impl SlowHooks {
    fn start(takes: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let [at_once, late] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let counts = [&at_once, &late].map(Arc::clone);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let counts = counts.each_ref().map(Arc::clone);
                // None: the server has closed, as those do who wait no longer.
                thread::spawn(move || answer(&socket, takes, &counts));
            }
        });
        Self { url, at_once, late }
    }
}

/// Answers requests until there are no more.
fn answer(
    mut socket: &TcpStream,
    takes: Duration,
    [at_once, late]: &[Arc<AtomicUsize>; 2],
) -> Option<()> {
    let mut reader = BufReader::new(socket);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                if line == "\r\n" {
                    break;
                }
                continue;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().expect("a number");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let quick = b"\"key\":\"live/x\"";
        if body.windows(quick.len()).any(|part| part == quick) {
            at_once.fetch_add(1, Ordering::Relaxed);
        } else {
            late.fetch_add(1, Ordering::Relaxed);
            thread::sleep(takes);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0").ok()?;
    }
}

/// Of each second of the measured time, in milliseconds.
fn p99s(report: &Report) -> Vec<f64> {
    let begin = report.about.window_begin_s + 1.0;
    let measured = report.samples.iter().filter(|sample| sample.at_s >= begin);
    measured.filter_map(|Sample { latency_ms, .. }| Some(latency_ms.as_ref()?[1])).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().expect("some were measured")
}

/// The value of `name` in a line of the log.
#[track_caller]
fn field(line: &str, name: &str) -> u64 {
    let mut values = line.split_whitespace().filter_map(|word| word.split_once('='));
    let value = values.find(|(key, _)| *key == name).and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("expected {name}= in {line}"))
}

#[test]
fn a_flood_beyond_the_descriptors_is_refused_in_words_and_costs_running_viewers_nothing() {
    let server = server(Some(1000), "");
    let _fleet = publish(&server, false);
    let url = server.http("live/x.flv");
    let ws = url.replace("http", "ws");
    let running = viewers(&server, &url, 300, secs(25));
    let flood = |url: String| {
        let flood = viewers(&server, &url, 2000, secs(3));
        let report = watch(&Options { ramp: 1e4, settle: secs(1), ..flood });
        println!("{url}: {}", measured(&report));
        let viewers = &report.viewers;
        println!("  {:?}", viewers.first_reasons);
        // There is room for some, each time anew: those before have left.
        // Who was refused may find some by a further try.
        assert!(viewers.joined + viewers.refused >= 2000, "{viewers:?}");
        assert!(viewers.joined > 300 && viewers.refused > 1000, "{viewers:?}");
        assert_eq!(viewers.lost, 0, "{viewers:?}");
        assert_eq!(faults(&report), [0; 4], "{:?}", report.inspected);
        report.viewers.first_reasons
    };
    thread::scope(|scope| {
        let running = scope.spawn(|| watch(&running));
        thread::sleep(secs(5));
        for url in [url, ws] {
            let [reason] = &flood(url)[..] else { panic!("expected one reason") };
            assert!(reason.contains("503"), "{reason}");
            assert!(reason.contains("expected at most") && reason.contains("ulimit"), "{reason}");
        }
        // RTMP can say no only after a handshake, for which there is no room: it hangs up.
        flood(server.rtmp("live/x"));
        assert!(!running.is_finished(), "it saw all of them");
        assert_unharmed("running", &running.join().expect("the run succeeds"));
    });
}

#[test]
fn a_publisher_that_dies_twenty_times_costs_no_viewer_and_dts_never_goes_back() {
    const DEATHS: usize = 20;
    let server = server(None, "");
    let fleet = publish(&server, true);
    let end = End(Arc::default());
    let watching = [server.http("live/x.flv"), server.rtmp("live/x")].map(|url| {
        // Until it is stopped.
        let options = viewers(&server, &url, 250, secs(600));
        let options = Options { stop: Arc::clone(&end.0), ..options };
        (url, thread::spawn(move || watch(&options)))
    });
    thread::sleep(secs(4));
    for _ in 0..DEATHS {
        let before = fleet.progress().broken;
        fleet.interrupt();
        let again = || fleet.progress().broken > before && fleet.progress().publishing == 1;
        assert!(eventually(secs(30), again), "{:?} {:?}", fleet.progress(), fleet.reasons());
        thread::sleep(Duration::from_millis(1500));
    }
    drop(end);
    for (url, report) in watching {
        assert_unharmed(&url, &report.join().expect("the run succeeds"));
    }
    let (log, tries) = (server.child.log(), fleet.progress().broken);
    let publishes = log.lines().filter(|line| line.contains(" publish client=")).count();
    println!(
        "the publisher was let in {publishes} times; {} times it was too soon",
        tries - DEATHS
    );
    assert_eq!(publishes, 1 + DEATHS);
}

/// Dropped, it ends the runs that have it.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
