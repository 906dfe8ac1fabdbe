//! The meter against threads and processes that come and go.

#![allow(missing_docs)]

mod support;

use std::time::Duration;

use corecast_load::meter::Meter;
use rustix::time::{ClockId, clock_gettime};

/// Uses `cpu` of this thread's own time.
fn burn(cpu: Duration) {
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
    };
    let begin = used();
    while used() - begin < cpu {
        std::hint::black_box([1_u64; 64].iter().sum::<u64>());
    }
}

#[test]
fn the_meter_counts_threads_that_have_ended() {
    let meter = Meter::of_process(std::process::id()).expect("it runs");
    let before = meter.read().expect("it runs");
    // Shorter than the time between two looks, so none is seen alive but by chance.
    for _ in 0..8 {
        std::thread::spawn(|| burn(Duration::from_millis(25))).join().expect("it ends");
    }
    let after = meter.read().expect("it runs");
    assert!(after.cpu - before.cpu >= Duration::from_millis(200), "{before:?} {after:?}");
    assert!(after.cpu_percent_since(&before).is_some_and(|percent| percent > 0.0));
}

#[test]
fn a_corecast_tells_in_its_metrics_what_the_kernel_says_of_it() {
    let port = support::free_port();
    let lines = format!("admin.metrics_listen = ['127.0.0.1:{port}']");
    let server = support::Corecast::start(&lines);
    let url = format!("http://127.0.0.1:{port}/metrics");
    let (told, seen) = (Meter::of_metrics(&url), Meter::of_process(server.child.pid()));
    let (told, seen) = (told.expect("it answers"), seen.expect("it runs"));
    let (told_of, seen_of) = (told.read().expect("it answered"), seen.read().expect("it runs"));
    let apart = told_of.cpu.abs_diff(seen_of.cpu);
    assert!(apart < Duration::from_millis(500), "{told_of:?} {seen_of:?}");
    let ratio = told_of.rss_bytes as f64 / seen_of.rss_bytes as f64;
    assert!((0.5..2.0).contains(&ratio), "{told_of:?} {seen_of:?}");
    let (told, seen) = (told.handles().expect("it answered"), seen.handles().expect("it runs"));
    let fds = told.fds.zip(seen.fds).map(|(told, seen)| told.abs_diff(seen));
    // The connection that asks is one.
    assert!(fds.is_some_and(|apart| apart <= 4), "{told:?} {seen:?}");
    assert_eq!(told.threads, seen.threads);
}
