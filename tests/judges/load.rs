//! Crowds, small buffers, few descriptors. Each of these has the machine to itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};

use rustix::thread::CpuSet;

use crate::support::clips;
use crate::support::frames::{Expect, Recording};
use crate::support::http::{self, Crowd, get};
use crate::support::machine::{alone, eventually, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::{self, wait_for_viewers};

#[test]
fn a_reader_with_a_small_receive_buffer_misses_nothing() {
    let _machine = alone();
    let server = Server::with(&waiting::SETUP);
    let clip = clips::h264_aac();
    let path = server.dir.file("small.flv");
    let reader = http::record(server.http, "live/a.flv", Some(16 * 1024), &path);
    wait_for_viewers(&server, "live/a", 1);
    players::publish(&clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
    reader.join().expect("the reader is well");
    clip.sent().assert_came_out(&Recording::of_file(clip.tool, &path), Expect::WHOLE);
    server.stop();
}

#[test]
fn a_flood_of_viewers_beyond_the_descriptors_costs_the_first_ones_nothing() {
    let _machine = alone();
    let server = Server::with(&Setup { open_files: Some(1000), cores: 2, ..waiting::SETUP });
    let clip = clips::h264_aac();
    let first = [
        players::play(clip.tool, &server.rtmp("live/a"), &server.dir),
        players::play(clip.tool, &server.http("live/a.flv"), &server.dir),
        players::play_curl(clip.tool, &server.http("live/a.flv"), &server.dir),
    ];
    wait_for_viewers(&server, "live/a", 3);
    let mut publisher = players::publish(&clip, &server.rtmp("live/a"), &server.dir);
    first[0].plays(secs(20));
    let before = server.cpu_ticks();
    let crowd = Crowd::join(server.http, &get("live/a.flv"), 2000);
    sleep(secs(3));
    let served = eventually(secs(20), || crowd.present() > 300);
    let (present, files) = (crowd.present(), server.open_files());
    assert!(files < 1000, "{files} open files");
    assert!(served, "newcomers are served as long as there is room: {present}");
    publisher.succeed(secs(60));
    // Not a spin on accept: two cores for the whole time would be 2000 ticks and more.
    println!("flood: {present} present, {files} files, {} ticks", server.cpu_ticks() - before);
    for player in first {
        clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE);
    }
    crowd.leave();
    let left = eventually(secs(30), || server.open_files() < 100);
    assert!(left, "{} files are open when all have left", server.open_files());
    let again = Crowd::join(server.http, &get("live/a.flv"), 10);
    assert!(eventually(secs(20), || again.present() == 10), "it accepts again");
    again.leave();
    server.stop();
}

#[test]
fn viewers_that_come_and_go_leave_nothing_behind() {
    const ROUNDS: usize = 20;
    /// Allocator slack; 200 viewers at 2 KB are 0.4 MiB, twenty rounds of a leak are 8.
    const GROWTH_KIB: u64 = 4096;
    let _machine = alone();
    let server = Server::with(&Setup { cores: 2, ..Setup::default() });
    let clip = clips::h264_aac();
    let forever = ["-stream_loop", "-1"];
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(&clip, &url, &server.dir, &forever, &[]);
    let viewer = players::play_curl(clip.tool, &server.http("live/a.flv"), &server.dir);
    viewer.plays(secs(20));
    let round = || {
        let crowd = Crowd::join(server.http, &get("live/a.flv"), 200);
        assert!(eventually(secs(30), || crowd.bytes() > 200 * 50_000), "{} bytes", crowd.bytes());
        assert_eq!(crowd.present(), 200);
        crowd.leave();
    };
    for _ in 0..3 {
        round();
    }
    // The log and the GOP cache are as full as they get.
    sleep(secs(10));
    let (files, threads, memory) = (server.open_files(), server.threads(), server.resident_kib());
    for _ in 0..ROUNDS {
        round();
    }
    let back = eventually(secs(20), || server.open_files() <= files);
    assert!(back, "{files} files were open, now {}", server.open_files());
    // The kernel may have lent it some for what could not be done at once, for seconds.
    let back = eventually(secs(20), || server.threads() <= threads);
    assert!(back, "{threads} threads ran, now {}", server.threads());
    let bound = memory + GROWTH_KIB;
    let back = eventually(secs(20), || server.resident_kib() <= bound);
    assert!(back, "{memory} KiB were resident, now {}", server.resident_kib());
    drop((publisher, viewer));
    server.stop();
}

#[test]
fn keys_that_nobody_publishes_leave_nothing_behind() {
    let _machine = alone();
    let server = Server::with(&Setup { wait_for_publisher: "1s", cores: 2, ..Setup::default() });
    let round = |round: usize| {
        for i in 0..100 {
            let crowd = Crowd::join(server.http, &get(&format!("live/{round}-{i}.flv")), 1);
            drop(crowd);
        }
        for i in 0..20 {
            assert_eq!(
                http::exchange(server.http, &get(&format!("no/{round}-{i}.flv"))).status,
                404
            );
        }
    };
    round(0);
    let (files, memory) = (server.open_files(), server.resident_kib());
    (1..4).for_each(round);
    assert!(eventually(secs(30), || server.open_files() <= files), "{}", server.open_files());
    let back = eventually(secs(20), || server.resident_kib() <= memory + 2048);
    assert!(back, "{memory} KiB were resident, now {}", server.resident_kib());
    server.stop();
}

/// Others keep the server's only core busy, so that sweeps run late.
#[test]
fn under_pressure_the_merge_window_widens_first_and_viewers_lose_nothing() {
    let _machine = alone();
    let app = "merge_window = \"10ms\"\nmerge_window_max = \"1s\"";
    let server = Server::with(&Setup { app, ..waiting::SETUP });
    let clip = clips::h264_aac();
    let first = players::play(clip.tool, &server.http("live/a.flv"), &server.dir);
    wait_for_viewers(&server, "live/a", 1);
    let crowd = Crowd::join(server.http, &get("live/a.flv"), 500);
    sleep(secs(1));
    let spinning = Arc::new(AtomicBool::new(true));
    let spinners: Vec<_> = (0..48).map(|_| spinner(Arc::clone(&spinning))).collect();
    let mut publisher = players::publish(&clip, &server.rtmp("live/a"), &server.dir);
    let widened = eventually(secs(40), || server.log().contains("merge windows widened"));
    // Viewers are served so for a while.
    sleep(secs(2));
    spinning.store(false, Ordering::Relaxed);
    for spinner in spinners {
        spinner.join().expect("a spinner is well");
    }
    assert!(widened, "the windows stayed as narrow as they were");
    publisher.succeed(secs(60));
    assert_eq!(crowd.present(), 500, "nobody was sent away");
    clip.sent().assert_came_out(&first.finish(secs(20)), Expect::WHOLE);
    crowd.leave();
    server.stop();
}

/// A thread that takes all it can of the CPU the server has: the first this process may use.
fn spinner(spinning: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let allowed = rustix::thread::sched_getaffinity(None).expect("a thread may ask");
        let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("one is there");
        let mut only = CpuSet::new();
        only.set(first);
        rustix::thread::sched_setaffinity(None, &only).expect("one of those allowed");
        while spinning.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    })
}
