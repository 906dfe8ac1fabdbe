//! HLS: against nginx that gives the same segments away as files, by parts, as requests, and in
//! memory.

use std::io;
use std::time::Duration;

use corecast_load::meter::Meter;
use corecast_load::report::{Hls, Report};
use corecast_load::server::{Recipe, Server};

use super::ratio::{cpu_percent, each};
use crate::child::Child;
use crate::figure::{Figure, median, range};
use crate::load::{Manner, Play, Publish};
use crate::mirror::{MULTIVARIANT, Mirror, Source};
use crate::suite::{Suite, WINDOW};
use crate::whole::egress_words;

const BITRATE: u64 = 2_000_000;
/// The window of a playlist: six segments, and the one that is being made.
const WINDOW_FULL: Duration = Duration::from_secs(16);

fn play(suite: &Suite, server: &Server, viewers: usize, manner: Manner) -> Play {
    Play {
        url: server.play["HLS"].clone(),
        streams: 1,
        viewers,
        ramp: 500.0,
        // Each begins with three segments at once, and all have gone on for two by then.
        settle: suite.seconds(6),
        duration: suite.measured(14),
        inspect_percent: 0.0,
        bitrate: Some(BITRATE),
        pid: Some(server.process.pid()),
        manner,
    }
}

fn publish(suite: &Suite, server: &Server, sound: bool) -> io::Result<Child> {
    let url = server.publish.clone();
    suite.load.publish(&Publish { url, streams: 1, bitrate: BITRATE, sound })
}

/// Has somebody watch until the playlist lists what it lists from then on: who comes first of all has
/// nothing in hand, and waits for each segment.
fn fill_window(suite: &Suite, server: &Server) -> io::Result<Source> {
    let source = Source::open(&server.play["HLS"].replace("{n}", "0"))?;
    for _ in 0..WINDOW_FULL.as_secs() {
        source.playlist()?;
        suite.sleep(Duration::from_secs(1))?;
    }
    Ok(source)
}

fn hls(report: &Report) -> io::Result<&Hls> {
    report.hls.as_ref().ok_or_else(|| io::Error::other("expected HLS in the report, found none"))
}

const VIEWERS: usize = 2000;
const ROUNDS: usize = 5;
const BOUND: f64 = 1.2;

/// The same players, the same segments, in turn.
pub(super) fn beside_nginx(suite: &Suite) -> io::Result<Vec<Figure>> {
    let viewers = if suite.quick { VIEWERS / 40 } else { VIEWERS };
    let what = format!("{viewers} × 2 Mbit/s, HLS, 2 s segments, beside nginx");
    let mut limits = 0;
    let rounds = suite.each_round(&what, ROUNDS, |round| {
        let theirs = suite.quietly(&what, || by_nginx(suite, viewers))?;
        let ours = suite.quietly(&what, || {
            let server = suite.corecast(WINDOW)?;
            let publisher = publish(suite, &server, true)?;
            fill_window(suite, &server)?;
            let play = play(suite, &server, viewers, Manner::Segments);
            let report = suite.load.play(&play)?;
            publisher.must_run()?;
            Ok((cpu_percent(&report, &play)?, report))
        })?;
        limits += [&ours, &theirs].iter().filter(|it| it.1.cost.generator_was_the_limit).count();
        eprintln!(
            "  {what}, round {round}: nginx {:.2} %, Corecast {:.2} %, generator {:.0} %",
            theirs.0.0, ours.0.0, ours.1.cost.own_cpu_percent
        );
        Ok([ours.0, theirs.0])
    })?;
    let ratios = rounds.iter().map(|[ours, theirs]| ours.0 / theirs.0).collect::<Vec<_>>();
    let cpu = |at: usize| median(&rounds.iter().map(|round| round[at].0).collect::<Vec<_>>());
    let mut notes = vec![
        format!("ratios of {} rounds {}", ratios.len(), each(&ratios)),
        format!(
            "sent {}, nginx {}",
            egress_words(rounds.iter().map(|[ours, _]| ours.1)),
            egress_words(rounds.iter().map(|[_, theirs]| theirs.1))
        ),
        nginx("").version().unwrap_or_default(),
    ];
    notes.extend((limits > 0).then(|| {
        format!("the generator was the limit in {limits} of {} measurements", 2 * rounds.len())
    }));
    Ok(vec![Figure {
        what,
        measured: format!("{:.2} × its CPU", median(&ratios)),
        details: format!("{:.2} % against {:.2} % of a core", cpu(0), cpu(1)),
        bound: format!("≤ {BOUND} ×"),
        shares: ratios.iter().map(|ratio| ratio / BOUND).collect(),
        notes,
        noise: None,
    }])
}

/// A server of ours on the generator's core makes the segments, and nginx on the measured one gives
/// them away.
fn by_nginx(suite: &Suite, viewers: usize) -> io::Result<((f64, f64), Report)> {
    let source = Recipe::corecast(&suite.server, "").start(&suite.load.cores)?;
    let publisher = publish(suite, &source, true)?;
    let url = source.play["HLS"].replace("{n}", "0");
    let mut mirror = Mirror::start(&url, 4, WINDOW_FULL * 2)?;
    let server = nginx(&mirror.path().to_string_lossy()).start(&[suite.core])?;
    let play = play(suite, &server, viewers, Manner::Segments);
    let report = suite.load.play(&play)?;
    publisher.must_run()?;
    mirror.must_follow()?;
    Ok((cpu_percent(&report, &play)?, report))
}

/// One worker that gives `dir` away as well as it can. A playlist is looked up each time, or viewers
/// would see that of a second ago.
fn nginx(dir: &str) -> Recipe {
    let play = format!("http://127.0.0.1:{{http_port}}/{MULTIVARIANT}");
    Recipe {
        name: "nginx".to_owned(),
        start: "/usr/sbin/nginx -p {dir} -c {config} -e stderr".to_owned(),
        config: Some(format!(
            "daemon off;\n\
             user root;\n\
             worker_processes 1;\n\
             pid {{dir}}/pid;\n\
             error_log stderr warn;\n\
             worker_rlimit_nofile 20000;\n\
             events {{ worker_connections 10000; }}\n\
             http {{\n\
             access_log off;\n\
             sendfile on;\n\
             sendfile_max_chunk 2m;\n\
             tcp_nopush on;\n\
             keepalive_timeout 300s;\n\
             keepalive_requests 1000000000;\n\
             open_file_cache max=1000 inactive=60s;\n\
             types {{ application/vnd.apple.mpegurl m3u8; video/mp4 mp4 m4s; video/mp2t ts; }}\n\
             server {{\n\
             listen 127.0.0.1:{{http_port}} backlog=4096;\n\
             root {dir};\n\
             location ~ \\.m3u8$ {{ open_file_cache off; }}\n\
             }}\n\
             }}\n"
        )),
        ready: Some("127.0.0.1:{http_port}".to_owned()),
        publish: String::new(),
        play: [("HLS".to_owned(), play)].into(),
        cores: None,
        version: Some("/usr/sbin/nginx -v 2>&1".to_owned()),
    }
}

const LOW_LATENCY_VIEWERS: usize = 1000;
const RELOAD_MS: f64 = 5.0;

/// One measurement of those who wait.
struct Waited {
    cpu: f64,
    requests: f64,
    /// Reloads after the part, p50 and p99, and after the first answer.
    times: [f64; 4],
    is_limited: bool,
}

/// Parts of 200 ms. Without sound, so that a picture ends each part and its mark says when; and with
/// each picture read when it comes: in a merge window of 350 ms a part is over up to so long before the
/// server reads what ends it.
pub(super) fn low_latency(suite: &Suite) -> io::Result<Vec<Figure>> {
    let viewers = if suite.quick { LOW_LATENCY_VIEWERS / 20 } else { LOW_LATENCY_VIEWERS };
    let what = format!("{viewers} × 2 Mbit/s, LL-HLS, parts of 200 ms, window 0 ms");
    let rounds = suite.each_round(&what, 3, |round| {
        let report = suite.quietly(&what, || {
            let server = suite.corecast(Duration::ZERO)?;
            let _publisher = publish(suite, &server, false)?;
            let play = play(suite, &server, viewers, Manner::LowLatency);
            suite.load.play(&Play { inspect_percent: 1.0, ..play })
        })?;
        let found = hls(&report)?;
        let at = |times: &corecast_load::report::Distribution, quantile| {
            times.value_at(quantile).ok_or_else(|| {
                io::Error::other("expected blocking reloads that were timed, found none")
            })
        };
        let cpu = report.cost.cpu_percent.unwrap_or(f64::NAN);
        let times = [
            at(&found.reload_ms, 0.5)?,
            at(&found.reload_ms, 0.99)?,
            at(&found.reload_spread_ms, 0.5)?,
            at(&found.reload_spread_ms, 0.99)?,
        ];
        eprintln!(
            "  {what}, round {round}: {cpu:.2} %, {:.0} requests a second, reload p50 {:.1}, p99 \
             {:.1} ms after the part, {:.1}, {:.1} ms after the first timed, generator {:.0} %",
            found.requests_per_s,
            times[0],
            times[1],
            times[2],
            times[3],
            report.cost.own_cpu_percent
        );
        let (requests, is_limited) = (found.requests_per_s, report.cost.generator_was_the_limit);
        Ok(Waited { cpu, requests, times, is_limited })
    })?;
    let of = |value: &dyn Fn(&Waited) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let cpus = of(&|round| round.cpu);
    let (cpu, requests) = (median(&cpus), median(&of(&|round| round.requests)));
    let [p50, p99, spread_p50, spread_p99] =
        [0, 1, 2, 3].map(|at| median(&of(&|round| round.times[at])));
    let limits = rounds.iter().filter(|round| round.is_limited).count();
    let mut notes = vec![format!("of {} rounds {}", rounds.len(), each(&cpus))];
    notes.extend((limits > 0).then(|| format!("the generator was the limit in {limits} of them")));
    Ok(vec![
        Figure {
            what: what.clone(),
            measured: format!("{cpu:.1} % of a core"),
            details: format!(
                "{requests:.0} requests a second, {:.0} for each whole core",
                requests / cpu * 100.0
            ),
            bound: String::new(),
            shares: cpus.iter().map(|percent| percent / 100.0).collect(),
            notes,
            noise: None,
        },
        Figure {
            what: format!("{what}: from the part to the answer of a blocking reload"),
            measured: format!("p50 {p50:.1}, p99 {p99:.1} ms"),
            details: format!("after the first that is timed {spread_p50:.1}, {spread_p99:.1} ms"),
            bound: "p99 ≤ 5 ms".to_owned(),
            shares: of(&|round| round.times[1] / RELOAD_MS),
            notes: vec![
                "from when the picture was sent that ends the part, by its mark, to the last byte \
                 of the answer, by the kernel's clock; one viewer in a hundred is timed, who asks for \
                 the part when it is listed"
                    .to_owned(),
            ],
            noise: None,
        },
    ])
}

const CONNECTIONS: usize = 32;
const REQUESTS_PER_CORE: f64 = 25_000.0;

/// The newest part and the playlist in turn, without a pause.
pub(super) fn requests(suite: &Suite) -> io::Result<Vec<Figure>> {
    let what = "requests for part and playlist, 2 Mbit/s, parts of 200 ms".to_owned();
    let rounds = suite.each_round(&what, ROUNDS, |round| {
        let report = suite.quietly(&what, || {
            let server = suite.corecast(WINDOW)?;
            let _publisher = publish(suite, &server, true)?;
            let play = play(suite, &server, CONNECTIONS, Manner::ClosedLoop);
            // Parts are there a while before they are many.
            suite.load.play(&Play { bitrate: None, duration: suite.measured(7), ..play })
        })?;
        let (rate, cpu) = (hls(&report)?.requests_per_s, report.cost.cpu_percent);
        let cpu = cpu.ok_or_else(|| io::Error::other("expected the server's CPU, found none"))?;
        let per_core = rate / cpu * 100.0;
        eprintln!(
            "  {what}, round {round}: {rate:.0} a second at {cpu:.0} % of a core, generator {:.0} %",
            report.cost.own_cpu_percent
        );
        Ok([per_core, rate, cpu, report.viewers.egress_mbit_s])
    })?;
    let of = |at: usize| rounds.iter().map(|round| round[at]).collect::<Vec<_>>();
    let per_core = of(0);
    let (least, most) = range(&per_core);
    Ok(vec![Figure {
        what,
        measured: format!("{:.0} a second and core", median(&per_core)),
        details: format!(
            "{:.0} a second at {:.0} % of a core, {:.1} Gbit/s",
            median(&of(1)),
            median(&of(2)),
            median(&of(3)) / 1000.0
        ),
        bound: format!("≥ {REQUESTS_PER_CORE:.0}"),
        shares: per_core.iter().map(|rate| REQUESTS_PER_CORE / rate).collect(),
        notes: vec![format!(
            "{CONNECTIONS} connections, one request at a time each; rounds {least:.0} to {most:.0}"
        )],
        noise: None,
    }])
}

const MEMORY_BOUND: f64 = 1.3;
const WATCHERS: usize = 500;

/// What a server holds more when its window is full, as a share of the window's bytes: with nobody but
/// who asks for the playlist now and then; and with many, and what as many by HTTP-FLV take.
pub(super) fn memory(suite: &Suite) -> io::Result<Vec<Figure>> {
    let rows = [0, if suite.quick { 50 } else { WATCHERS }].map(|viewers| {
        let what = format!("memory with HLS on, 6 × 2 s of 2 Mbit/s, {viewers} viewers");
        memory_row(suite, &what, viewers).unwrap_or_else(|error| Figure::failed(&what, &error))
    });
    Ok(rows.into())
}

fn memory_row(suite: &Suite, what: &str, viewers: usize) -> io::Result<Figure> {
    let rounds = suite.each_round(what, 3, |round| {
        let held = Held::measure(suite, viewers)?;
        eprintln!("  {what}, round {round}: {held:.0?}");
        Ok(held)
    })?;
    let of = |value: &dyn Fn(&Held) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    let ratios = of(&|held| held.by_hls / held.window);
    let mut notes = vec![format!("ratios of {} rounds {}", ratios.len(), each(&ratios))];
    notes.extend((viewers > 0).then(|| {
        let flv = of(&|held| held.by_flv / held.window);
        let each_flv = median(&of(&|held| held.by_flv)) / viewers as f64;
        format!("as many by HTTP-FLV take {:.2} ×, {each_flv:.0} bytes each", median(&flv))
    }));
    Ok(Figure {
        what: what.to_owned(),
        measured: format!("{:.2} × its bytes", median(&ratios)),
        details: format!(
            "{:.2} MB more than before, {:.2} MB listed",
            median(&of(&|held| held.by_hls)) * 1e-6,
            median(&of(&|held| held.window)) * 1e-6
        ),
        bound: format!("≤ {MEMORY_BOUND} ×"),
        shares: ratios.iter().map(|ratio| ratio / MEMORY_BOUND).collect(),
        notes,
        noise: None,
    })
}

/// Bytes of memory.
#[derive(Debug)]
struct Held {
    /// What a server holds more when it is watched by HLS than before.
    by_hls: f64,
    /// Of the segments that it lists then.
    window: f64,
    /// What another holds more when as many watch it by HTTP-FLV.
    by_flv: f64,
}

impl Held {
    fn measure(suite: &Suite, viewers: usize) -> io::Result<Self> {
        let (server, publisher, before) = unwatched(suite)?;
        fill_window(suite, &server)?;
        let by_hls = held_with(suite, &server, "HLS", viewers)? - before;
        // Who asked long ago is known no more.
        let window = Source::open(&server.play["HLS"].replace("{n}", "0"))?.bytes()? as f64;
        drop((publisher, server));
        if viewers == 0 {
            return Ok(Self { by_hls, window, by_flv: 0.0 });
        }
        let (server, _publisher, before) = unwatched(suite)?;
        let by_flv = held_with(suite, &server, "HTTP-FLV", viewers)? - before;
        Ok(Self { by_hls, window, by_flv })
    }
}

/// A server, its publisher, and what it holds before anybody watches.
fn unwatched(suite: &Suite) -> io::Result<(Server, Child, f64)> {
    let server = suite.corecast(WINDOW)?;
    let publisher = publish(suite, &server, true)?;
    // Its own buffers are full by then.
    suite.sleep(Duration::from_secs(8))?;
    let before = held(&server)?;
    Ok((server, publisher, before))
}

fn held(server: &Server) -> io::Result<f64> {
    let meter = Meter::of_process(server.process.pid())?;
    Ok((meter.read()?.rss_bytes + meter.files_bytes()?.unwrap_or(0)) as f64)
}

/// What a server holds while so many watch it.
fn held_with(suite: &Suite, server: &Server, protocol: &str, viewers: usize) -> io::Result<f64> {
    if viewers == 0 {
        return held(server);
    }
    let url = server.play[protocol].clone();
    let play = Play { url, ..play(suite, server, viewers, Manner::Segments) };
    let bytes = suite.load.play(&play)?.cost.rss_bytes;
    let bytes = bytes.ok_or_else(|| {
        io::Error::other("expected the memory of a process in the report, found none")
    })?;
    // The window is as full right after they have left; nobody is so slow as to have more of it.
    let files = Meter::of_process(server.process.pid())?.files_bytes()?;
    Ok((bytes + files.unwrap_or(0)) as f64)
}
