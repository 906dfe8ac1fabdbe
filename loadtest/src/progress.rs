//! What is seen of a run while it goes on: a line on a terminal that is written anew each second,
//! a line every five seconds for whoever keeps them.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::play;
use crate::report::Sample;
use crate::report::figures::{count, many, mbit_s, millis, percent, seconds};

/// Of one run, on standard error.
pub struct Progress {
    wanted: usize,
    /// From the first connection, as far as is known before.
    total: Duration,
    missing: u64,
    lost: u64,
    refused: u64,
    shown: Shown,
}

/// Where it is seen.
enum Shown {
    Terminal(ProgressBar),
    Lines { next_s: f64 },
}

/// Seconds between two lines where nobody sees one change.
const PACE_S: f64 = 5.0;

impl Progress {
    /// Of a run with these options, that is about to begin.
    pub fn of(options: &play::Options) -> Self {
        let ramp = Duration::from_secs_f64(options.viewers as f64 / options.ramp);
        let total = ramp + options.settle + options.duration;
        let bar = ProgressBar::new_spinner();
        let style = ProgressStyle::with_template("{wide_msg}");
        bar.set_style(style.expect("a template without mistakes"));
        let shown = match bar.is_hidden() {
            true => Shown::Lines { next_s: 0.0 },
            false => Shown::Terminal(bar),
        };
        Self { wanted: options.viewers, total, missing: 0, lost: 0, refused: 0, shown }
    }

    /// Another second has passed.
    pub fn show(&mut self, sample: &Sample) {
        self.missing += sample.missing;
        self.lost += sample.lost.saturating_sub(sample.refused) as u64;
        self.refused += sample.refused as u64;
        let line = self.line(sample);
        match &mut self.shown {
            // It draws no more often than it must.
            Shown::Terminal(bar) => bar.set_message(line),
            Shown::Lines { next_s } if sample.at_s >= *next_s => {
                *next_s = sample.at_s - sample.at_s.rem_euclid(PACE_S) + PACE_S;
                eprintln!("{:>4.0} s  {line}", sample.at_s);
            }
            Shown::Lines { .. } => {}
        }
    }

    /// The run is over: the line gives way to the table.
    pub fn end(self) {
        if let Shown::Terminal(bar) = self.shown {
            bar.finish_and_clear();
        }
    }

    /// What is wanted most comes first: a narrow terminal cuts the rest off.
    fn line(&self, sample: &Sample) -> String {
        let mut parts = Vec::new();
        let left = (self.total.as_secs_f64() - sample.at_s).round();
        if left > 0.0 {
            parts.push(format!("{} left", seconds(left)));
        }
        let viewers = sample.viewers as u64;
        parts.push(match viewers == self.wanted as u64 {
            true => many(viewers, "viewer", "viewers"),
            false => format!("{} of {} viewers", count(viewers), count(self.wanted as u64)),
        });
        parts.push(mbit_s(sample.egress_mbit_s));
        parts.extend(sample.cpu_percent.map(|cpu| format!("server {}", percent(cpu))));
        parts.extend(sample.latency_ms.map(|[p50, ..]| format!("p50 {}", millis(p50))));
        // Without latency there are no marks, and so nobody who would miss anything.
        if sample.latency_ms.is_some() || self.missing > 0 {
            parts.push(format!("{} missing", count(self.missing)));
        }
        if self.refused > 0 {
            parts.push(format!("{} refused", count(self.refused)));
        }
        if self.lost > 0 {
            parts.push(format!("{} lost", count(self.lost)));
        }
        parts.push(format!("generator {}", percent(sample.own_cpu_percent)));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress() -> Progress {
        let options = play::Options { viewers: 1000, ..play::Options::default() };
        let mut progress = Progress::of(&options);
        progress.shown = Shown::Lines { next_s: 99.0 };
        progress
    }

    #[test]
    fn the_line_tells_who_is_there_what_it_costs_and_how_long_it_takes() {
        let mut progress = progress();
        let sample = Sample {
            at_s: 14.02,
            viewers: 1000,
            cpu_percent: Some(4.53),
            own_cpu_percent: 17.2,
            egress_mbit_s: 2040.0,
            latency_ms: Some([178.0, 350.0, 360.0]),
            ..Sample::default()
        };
        let line = "21 s left, 1 000 viewers, 2.04 Gbit/s, server 4.53 %, p50 178 ms, 0 missing, \
                    generator 17.2 %";
        assert_eq!(progress.line(&sample), line);
        progress.show(&Sample { lost: 7, refused: 4, missing: 12, ..Sample::default() });
        assert!(progress.line(&sample).contains("12 missing, 4 refused, 3 lost"));
    }

    #[test]
    fn what_is_not_measured_is_left_out_and_late_is_not_negative() {
        let line = progress().line(&Sample { at_s: 99.0, viewers: 400, ..Sample::default() });
        assert_eq!(line, "400 of 1 000 viewers, 0 Mbit/s, generator 0 %");
    }
}
