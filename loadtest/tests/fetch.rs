//! Viewers of HLS against the real server, and against one of files.

#![allow(missing_docs)]

mod support;

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use corecast_load::play::{self, Manner, Options, Slow};
use corecast_load::publish::{self, Fleet};
use corecast_load::report::{Hls, Report};
use corecast_load::stream::{Material, Shape};
use support::{Child, Corecast, RunDir, eventually, free_port, secs};

/// Publishers with a key frame each second.
fn publish(url: String, publishers: usize, sound: Option<u64>) -> Fleet {
    let shape = Shape { bitrate: 400_000, fps: 25, gop: secs(1), sound, seed: 1 };
    let material = Material::made_up(shape).expect("enough bits");
    let options = publish::Options { url, publishers, material, reconnect: false };
    Fleet::start(&options).expect("they are let in")
}

/// For long enough that enough comes though one of the threads between publisher and viewer has to
/// wait for a core for two seconds.
fn options(url: String, manner: Manner) -> Options {
    Options {
        url,
        manner,
        viewers: 12,
        settle: secs(2),
        duration: secs(8),
        inspect: 0.5,
        ..Options::default()
    }
}

fn run(options: &Options) -> (Report, Hls) {
    let mut report = play::run(options, &mut |_| {}).expect("the run succeeds");
    let hls = report.hls.take().expect("they watched HLS");
    let viewers = &report.viewers;
    let all = (options.viewers, 0, 0);
    assert_eq!((viewers.joined, viewers.refused, viewers.lost), all, "{viewers:?}");
    let lacks = [hls.segments_missing, hls.parts_missing, hls.gaps, hls.errors];
    assert_eq!(lacks, [0; 4], "{hls:?}");
    (report, hls)
}

/// What those found that looked inside.
fn must_be_whole(report: &Report, viewers: usize) {
    let found = report.inspected.as_ref().expect("some looked");
    let faults = [found.missing, found.repeated, found.damaged, found.out_of_order];
    assert_eq!((found.viewers, faults, found.fragments_missing), (viewers, [0; 4], 0), "{found:?}");
    assert!(found.marked > viewers as u64 * 25 && found.fragments > 0, "{found:?}");
    assert!(found.latency_ms.as_ref().is_some_and(|latency| latency.count() > 0), "{found:?}");
}

#[test]
fn players_of_segments_get_all_of_them() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x{n}"), 2, Some(32_000));
    let url = server.http("live/x{n}.m3u8");
    let options = Options { streams: 2, procs: 1, ..options(url, Manner::Segments) };
    let (report, hls) = run(&options);
    must_be_whole(&report, 6);
    // A segment every two seconds for each, give or take some: who was late gets several at once.
    let most = 12.0 * (report.about.window_s / 2.0 + 4.0);
    assert!(hls.segments >= 12 && hls.segments as f64 <= most, "at most {most}: {hls:?}");
    // The playlists that told of the first ones may have come before the measured time.
    assert!(hls.playlists + 48 >= hls.segments && hls.parts == 0, "{hls:?}");
    assert!(hls.media_ms.count() >= hls.segments, "{hls:?}");
    assert_eq!(hls.reload_spread_ms.count(), 0);
    // Of 400 kbit/s, two seconds each.
    let each = report.viewers.bytes as f64 * 8e-6 / hls.segments as f64;
    assert!((0.4..1.8).contains(&each), "{each} Mbit each");
}

#[test]
fn players_of_parts_are_answered_when_they_are_there() {
    // Each picture is read when it comes, so that parts end when they are over.
    let server = Corecast::start("app_defaults.merge_window = '0ms'");
    let _fleet = publish(server.rtmp("live/x"), 1, None);
    let (report, hls) = run(&options(server.http("live/x.m3u8"), Manner::LowLatency));
    must_be_whole(&report, 6);
    // Five a second, and as many playlists but for the first ones.
    let most = 12.0 * (report.about.window_s * 5.0 + 10.0);
    assert!(hls.parts >= 12 * 15 && hls.parts as f64 <= most, "at most {most}: {hls:?}");
    assert!(hls.playlists > 12 * 5 && hls.playlists <= hls.parts + 48, "{hls:?}");
    // Those who look. Whoever asks too late is answered at once and counts, too.
    assert!(hls.reload_spread_ms.count() > 6 * 5, "{hls:?}");
    assert!(hls.reload_ms.count() > 0, "{hls:?}");
}

#[test]
fn a_closed_loop_does_not_wait() {
    let server = Corecast::start("");
    let _fleet = publish(server.rtmp("live/x"), 1, Some(32_000));
    let url = server.http("live/x.m3u8");
    let options = options(url, Manner::ClosedLoop);
    let options = Options { viewers: 1, inspect: 0.0, duration: secs(5), ..options };
    let (report, hls) = run(&options);
    // A player of parts asks ten times a second, and this one hundreds of times.
    assert!(hls.requests as f64 > 20.0 * report.about.window_s, "{hls:?}");
    assert!(hls.playlists.abs_diff(hls.parts) <= 2, "{hls:?}");
    let why = |options: Options| play::run(&options, &mut |_| {}).expect_err("no").to_string();
    let looks = Options { inspect: 0.5, ..options.clone() };
    assert!(why(looks).contains("closed loop"));
    let slow = Some(Slow { share: 0.5, bitrate: 100_000 });
    assert!(why(Options { slow, ..options }).contains("slow"));
}

#[test]
fn a_server_of_files_will_do() {
    let dir = RunDir::new("hls");
    let (port, path) = (free_port(), dir.path().display().to_string());
    let file = |name: &str| dir.path().join(name);
    let mut made = Command::new("ffmpeg");
    made.args(["-hide_banner", "-loglevel", "error", "-re", "-f", "lavfi", "-i"]);
    made.args([
        "testsrc2=size=160x120:rate=25",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "300k",
    ]);
    made.args(["-g", "25", "-t", "60", "-f", "hls", "-hls_time", "2", "-hls_segment_type", "fmp4"]);
    made.args(["-hls_flags", "delete_segments+temp_file", "-master_pl_name", "x.m3u8"]);
    made.arg(file("main.m3u8"));
    let _made = Child::start(&mut made, &dir.file("ffmpeg.log"));
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log stderr warn;\n\
         events {{ worker_connections 100; }}\n\
         http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {path}; }} }}\n"
    );
    fs::write(file("nginx.conf"), config).expect("the run directory is ours");
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx.arg("-p").arg(dir.path()).arg("-c").arg(file("nginx.conf")).args(["-e", "stderr"]);
    let nginx = Child::start(&mut nginx, &dir.file("nginx.log"));
    let is_up = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let count = |name, tag| fs::read_to_string(file(name)).unwrap_or_default().matches(tag).count();
    let is_made = || count("main.m3u8", "#EXTINF") >= 3 && count("x.m3u8", "#EXT-X-STREAM-INF") > 0;
    let up = eventually(secs(60), || is_up() && is_made());
    assert!(up, "no stream:\n{}", nginx.log_tail());
    let url = format!("http://127.0.0.1:{port}/x.m3u8");
    for manner in [Manner::Segments, Manner::LowLatency] {
        // It blocks nobody, so both are the same to it.
        let (report, hls) = run(&options(url.clone(), manner));
        let found = report.inspected.expect("some looked");
        assert!(found.frames > 0 && found.fragments_missing == 0, "{found:?}");
        assert!(hls.segments >= 12 && hls.parts == 0, "{hls:?}");
        assert!(report.about.server.is_some_and(|server| server.starts_with("nginx")));
    }
}
