//! Made-up runs, so that outputs can be tested and looked at without a run.

use std::time::Duration;

use crate::soak::{Held, Soak, Trend, Verdict};

use super::{About, Cost, Distribution, Inspected, Published, Report, Sample, Viewers};

/// A run of 1000 viewers for 30 s with everything measured. Runs of other seeds cost as many times
/// as much.
pub(super) fn plausible(seed: u64) -> Report {
    let mut noise = Noise(seed);
    let cost = seed as f64 * 4.5;
    let samples = (1..=38).map(|at| second(at, cost, &mut noise)).collect();
    let spread = |of: u64, least: f64, width: f64, noise: &mut Noise| {
        let mut distribution = Distribution::default();
        for _ in 0..of {
            let tail = if noise.next() < 0.002 { width * 0.4 * noise.next() } else { 0.0 };
            let ms = least + width * noise.next() + tail;
            distribution.record(Duration::from_secs_f64(ms * 1e-3));
        }
        distribution
    };
    Report {
        about: About {
            command: "corecast-load play --url http://127.0.0.1:8080/live/x.flv --viewers 1000 \
                      --inspect 2% --pid 4711"
                .into(),
            url: "http://127.0.0.1:8080/live/x.flv".into(),
            date: "2026-11-21T08:15:00Z".into(),
            machine: "Some CPU @ 2.6 GHz × 2".into(),
            kernel: "Linux 6.18.0".into(),
            generator_version: "0.1.0".into(),
            server: Some("corecast".into()),
            window_begin_s: 8.0,
            window_s: 30.0,
        },
        cost: Cost {
            cpu_percent: Some(cost),
            cpu_percent_per_1000: Some(cost),
            rss_bytes: Some(31_400_000),
            pss_bytes: Some(29_800_000),
            rss_per_viewer_bytes: Some(1850.0),
            own_cpu_percent: 17.2,
            own_lateness_ms: spread(1000, 0.0, 1.5, &mut noise),
            generator_was_the_limit: false,
            generator_was_starved: false,
        },
        viewers: Viewers {
            wanted: 1000,
            joined: 1000,
            watching: 1000.0,
            bytes: 7_650_000_000,
            egress_mbit_s: 2040.0,
            ..Viewers::default()
        },
        inspected: Some(Inspected {
            viewers: 20,
            frames: 43_100,
            marked: 15_000,
            join_ms: spread(20, 0.4, 3.0, &mut noise),
            first_key_ms: spread(20, 1.5, 9.0, &mut noise),
            frame_gap_ms: spread(1700, 348.0, 4.0, &mut noise),
            latency_ms: Some(spread(15_000, 3.0, 352.0, &mut noise)),
            ..Inspected::default()
        }),
        published: Some(Published {
            publishers: 1,
            frames: 2700,
            bytes: 9_500_000,
            late_ms: spread(2700, 0.0, 0.4, &mut noise),
            ..Published::default()
        }),
        samples,
        ..Report::default()
    }
}

/// A run that measured no more than it must.
pub(super) fn bare() -> Report {
    let mut report = plausible(1);
    report.cost = Cost { own_cpu_percent: 17.2, ..Cost::default() };
    (report.inspected, report.published, report.about.server) = (None, None, None);
    for sample in &mut report.samples {
        (sample.cpu_percent, sample.rss_bytes, sample.latency_ms) = (None, None, None);
    }
    report
}

/// What a soak holds beside a run.
pub(super) fn soaked() -> Soak {
    let held = |at: u32| Held {
        at_s: f64::from(at),
        viewers: 1000,
        rss_bytes: 31_400_000,
        fds: Some(1020),
        threads: Some(4),
    };
    let trend = Trend {
        what: "RSS".into(),
        unit: "MiB".into(),
        median: 30.5,
        per_hour: 0.25,
        low_per_hour: -0.5,
        high_per_hour: 1.5,
        allowed_per_hour: 1.0,
    };
    let verdict = Verdict { judged_s: 1800.0, viewers: 1000.0, wanted: 1000, trends: vec![trend] };
    Soak { held: (1..40).map(held).collect(), verdict }
}

fn second(at: u32, cost: f64, noise: &mut Noise) -> Sample {
    let share = f64::from(at.min(2)) / 2.0;
    let burst = if at == 3 { 1.4 } else { 1.0 };
    let load = share * burst * (0.97 + 0.06 * noise.next());
    Sample {
        at_s: f64::from(at),
        viewers: (1000.0 * share) as usize,
        cpu_percent: Some(cost * load),
        own_cpu_percent: 17.2 * load,
        egress_mbit_s: 2040.0 * load,
        rss_bytes: Some((29_500_000.0 + 1_900_000.0 * share) as u64),
        latency_ms: Some([
            178.0 + 6.0 * noise.next(),
            346.0 + 8.0 * noise.next(),
            356.0 + 30.0 * noise.next() * noise.next(),
        ]),
        missing: 0,
        joined: if at <= 2 { 500 } else { 0 },
        lost: 0,
        refused: 0,
    }
}

/// Numbers from 0 to 1 that are the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}
