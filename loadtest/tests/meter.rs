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
    let process = Meter::of_process(server.child.pid()).expect("it runs");
    let mut last = None;
    let agree = || {
        let told = Meter::of_metrics(&url).expect("it answers");
        let told = (told.read().expect("it answered"), told.handles().expect("it answered"));
        let seen = (process.read().expect("it runs"), process.handles().expect("it runs"));
        last = Some((told, seen));
        let fds = told.1.fds.zip(seen.1.fds).map(|(told, seen)| told.abs_diff(seen));
        // The connection that asks is one.
        fds.is_some_and(|apart| apart <= 4) && told.1.threads == seen.1.threads
    };
    // It listens before all of its threads are there, and one that has nothing to do may end between
    // both looks.
    let agreed = support::eventually(support::secs(30), agree);
    assert!(agreed, "{last:?}");
    let ((told, _), (seen, _)) = last.expect("both have looked");
    let apart = told.cpu.abs_diff(seen.cpu);
    assert!(apart < Duration::from_millis(500), "{told:?} {seen:?}");
    let ratio = told.rss_bytes as f64 / seen.rss_bytes as f64;
    assert!((0.5..2.0).contains(&ratio), "{told:?} {seen:?}");
}
