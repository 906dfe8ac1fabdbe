//! The meter against threads and processes that come and go.

#![allow(missing_docs)]

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
