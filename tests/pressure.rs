//! A core whose CPU others take: merge windows widen, running viewers lose nothing, and when there
//! is air again the windows shrink. It loads the machine, so it is a program of its own.

#![allow(missing_docs)]

#[path = "support/node.rs"]
mod node;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use node::{Node, field, log};
use rustix::thread::CpuSet;
use talk::Peer;
use web::{Watcher, Web};

/// Viewers beside the inspected ones, for sweeps that take a while.
const CROWD: usize = 300;
/// Threads that may want the server's CPU.
const SPINNERS_MAX: usize = 256;
/// Each step takes a second, and a machine may be slow.
const HANG: Duration = Duration::from_secs(120);
const PATH: &str = "live/strained";

#[test]
fn under_strain_windows_widen_and_shrink_again_and_running_viewers_lose_nothing() {
    // The publisher waits until the crowd is there.
    let lines = "cores = 1\nlog.stats_interval = '1s'\nlimits.publisher_silence = '1h'";
    let node = Node::start(lines, None);
    let mut publisher = Peer::publish(node.rtmp, PATH);
    publisher.push(1);
    let mut player = Peer::play(node.rtmp, PATH);
    player.start();
    let mut watchers = [0, 1].map(|_| Watcher::new(node.http, &format!("{PATH}.flv")));
    // They are on before there is more: who comes late begins with the last second.
    player.expect_frames(None, 0);
    watchers.iter_mut().for_each(|watcher| watcher.expect_frames(None, 0));
    let crowd = (0..CROWD).map(|_| {
        let mut web = Web::new(node.http);
        web.send(&format!("GET /{PATH}.flv HTTP/1.1\r\nHost: test\r\n\r\n"));
        web
    });
    let mut crowd: Vec<Web> = crowd.collect();
    let (airy, ends) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let last = &AtomicI64::new(i64::MAX);
    thread::scope(|scope| {
        // Whatever fails, the threads below end, and the test with them.
        let end = End(ends);
        scope.spawn(|| {
            let begun = Instant::now();
            while !ends.load(Ordering::Relaxed) {
                publisher.push(1);
                let at = Duration::from_millis(23 * u64::try_from(publisher.next()).expect("> 0"));
                thread::sleep((begun + at).saturating_duration_since(Instant::now()));
            }
            last.store(publisher.next(), Ordering::Relaxed);
            publisher.push(1);
        });
        scope.spawn(|| expect_all(last, |first, last| player.expect_frames(first, last)));
        for watcher in &mut watchers {
            scope.spawn(|| expect_all(last, |first, last| watcher.expect_frames(first, last)));
        }
        scope.spawn(|| drain(&mut crowd, ends));

        // What else runs on this machine may strain it too, for a while.
        until("there is air", || {
            stats(|line| line.contains(" viewers=303 ") && !line.contains("window_ms=")).is_some()
        });
        let widened = || log().lines(&["merge windows widened"]).len();
        let before = widened();
        // As many as it takes: what the server still gets of its CPU must be less than it needs.
        let (mut spinners, mut next) = (0, Instant::now());
        until("the windows widen", || {
            if Instant::now() >= next && spinners < SPINNERS_MAX {
                (0..16).for_each(|_| drop(scope.spawn(|| spin(ends, airy))));
                (spinners, next) = (spinners + 16, Instant::now() + Duration::from_secs(2));
            }
            widened() > before
        });
        // Viewers are visited then too, and take what there is. In the first such second it may have
        // been before the windows widened.
        let swept = |line: &String| {
            let some = |name| field(line, name).parse::<f64>().expect("a number") > 0.0;
            some("sweep_p99_ms") && some("egress_mbit_s")
        };
        let line = until_some("the figures say so", || {
            log().lines(&["node stats", "window_ms="]).into_iter().skip(2).find(swept)
        });
        assert_ne!(field(&line, "pressure_step"), "0", "{line}");

        airy.store(true, Ordering::Relaxed);
        until("the windows shrink to what is configured", || {
            let newest = log().lines(&["merge windows"]).pop().expect("they widened");
            newest.contains("narrowed") && field(&newest, "step") == "0"
        });
        until("the figures say so", || stats(|line| !line.contains("window_ms=")).is_some());
        drop(end);
    });
    for web in &crowd {
        let gone = matches!(web.socket.peek(&mut [0]), Ok(0));
        assert!(!gone, "nobody was sent away");
    }
    for skips in log().lines(&["node stats"]).iter().map(|line| field(line, "skips").to_owned()) {
        assert_eq!(skips, "0");
    }
}

/// Expects each frame behind the first once, one after the other, until `last` was there.
fn expect_all(last: &AtomicI64, mut expect: impl FnMut(Option<i64>, i64)) {
    let mut next = 1;
    while next <= last.load(Ordering::Relaxed) {
        expect(Some(next), next);
        next += 1;
    }
}

/// Dropped, it says so.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The newest line of figures, if it is as `wanted`.
fn stats(wanted: impl Fn(&str) -> bool) -> Option<String> {
    log().lines(&["node stats"]).pop().filter(|line| wanted(line))
}

#[track_caller]
fn until(what: &str, mut done: impl FnMut() -> bool) {
    until_some(what, || done().then_some(()));
}

#[track_caller]
fn until_some<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + HANG;
    loop {
        if let Some(found) = found() {
            return found;
        }
        let told = || log().lines(&["stats"]).join("\n");
        assert!(Instant::now() < end, "in vain: {what}\n{}", told());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Reads all that comes, so that nobody falls behind for its own sake.
fn drain(crowd: &mut [Web], ends: &AtomicBool) {
    let mut buffer = vec![0; 64 << 10];
    crowd.iter().for_each(|web| web.socket.set_nonblocking(true).expect("a socket"));
    while !ends.load(Ordering::Relaxed) {
        for web in &mut *crowd {
            while web.socket.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Takes all it can of the CPU that the server's core has, the first that this process may use,
/// until one of the two is true.
fn spin(ends: &AtomicBool, airy: &AtomicBool) {
    let allowed = rustix::thread::sched_getaffinity(None).expect("a thread may ask");
    let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).expect("one is there");
    let mut only = CpuSet::new();
    only.set(first);
    rustix::thread::sched_setaffinity(None, &only).expect("one of those allowed");
    while !ends.load(Ordering::Relaxed) && !airy.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}
