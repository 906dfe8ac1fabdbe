//! Publishers and viewers that come and go, for hours, and a verdict on what the server holds:
//! does its memory, its descriptors, its threads grow?
//!
//! Only the second half of the measured time is judged: caches, pools and allocators fill up in the
//! first. What may grow by how much, per hour:
//!
//! | | allowed | because |
//! |---|---|---|
//! | resident memory | 1 % of it, at least 1 MiB | what doubles it in four days will be noticed; less is how allocators settle |
//! | descriptors beside those of viewers | 4 | of 180 000 viewers that change over in an hour at 5 %/s of 1000, one in 45 000 |
//! | threads | 1 | a pool that is still filling up |

mod trend;

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};

pub use trend::Trend;

use crate::meter::Meter;
use crate::play;
use crate::progress::Progress;
use crate::report::figures::seconds;
use crate::report::{Report, Sample};

/// What a soak found, beside what any run finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Soak {
    /// What the server held, in order of time.
    pub held: Vec<Held>,
    /// What that means.
    pub verdict: Verdict,
}

/// What the server held at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// Viewers that were in.
    pub viewers: usize,
    /// Resident memory, and what a local server holds as files in memory.
    pub rss_bytes: u64,
    /// File descriptors, if they are known.
    pub fds: Option<u64>,
    /// Threads, if they are known.
    pub threads: Option<u64>,
}

/// What grew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The time that was judged.
    pub judged_s: f64,
    /// How many viewers watched in that time, median.
    pub viewers: f64,
    /// How many were wanted.
    pub wanted: usize,
    /// Of everything that is known. Empty if the time was too short, or the viewers too few.
    pub trends: Vec<Trend>,
}

/// Less than this says more about allocators than about leaks.
const JUDGED_MIN_S: f64 = 600.0;
/// A server that has lost more of its viewers than this leaves carries another load.
const VIEWERS_MIN: f64 = 0.9;
const MIB: f64 = 1024.0 * 1024.0;

impl Verdict {
    /// Of the second half of the time from `begin_s` to the end of `held`, for which `wanted`
    /// viewers were to watch.
    fn of(held: &[Held], begin_s: f64, wanted: usize) -> Self {
        let end_s = held.last().map_or(begin_s, |last| last.at_s);
        let middle_s = f64::midpoint(begin_s, end_s);
        let judged = held.iter().filter(|held| held.at_s >= middle_s).collect::<Vec<_>>();
        let judged_s = end_s - middle_s;
        let viewers = judged.iter().map(|held| held.viewers as f64).collect::<Vec<_>>();
        let viewers = crate::compare::median(&viewers).unwrap_or(0.0);
        let none = Self { judged_s, viewers, wanted, trends: Vec::new() };
        if judged_s < JUDGED_MIN_S || none.lacks_viewers() {
            return none;
        }
        let samples = |value: &dyn Fn(&Held) -> Option<f64>| {
            let values = judged.iter().filter_map(|held| Some((held.at_s, value(held)?)));
            values.collect::<Vec<_>>()
        };
        let rss = samples(&|held| Some(held.rss_bytes as f64 / MIB));
        // Viewers come and go; what is theirs goes with them.
        let fds = samples(&|held| Some(held.fds? as f64 - held.viewers as f64));
        let threads = samples(&|held| Some(held.threads? as f64));
        let rss_values = rss.iter().map(|(_, mib)| *mib).collect::<Vec<_>>();
        let rss_allowed = crate::compare::median(&rss_values).unwrap_or(0.0) * 0.01;
        let trends = [
            Trend::of("RSS", "MiB", rss_allowed.max(1.0), &rss),
            Trend::of("fds", "", 4.0, &fds),
            Trend::of("threads", "", 1.0, &threads),
        ];
        Self { trends: trends.into_iter().flatten().collect(), ..none }
    }

    fn lacks_viewers(&self) -> bool {
        self.viewers < VIEWERS_MIN * self.wanted as f64
    }

    /// What grew by more than is allowed.
    pub fn leaks(&self) -> impl Iterator<Item = &Trend> {
        self.trends.iter().filter(|trend| trend.grew())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.judged_s / 60.0;
        if self.lacks_viewers() {
            return write!(
                f,
                "no verdict on leaks: in the second half {} viewers watched (median), expected at \
                 least {:.0} % of {} (the report says why they were lost)",
                self.viewers,
                100.0 * VIEWERS_MIN,
                self.wanted
            );
        }
        if self.trends.is_empty() {
            return write!(
                f,
                "no verdict on leaks: the second half was {minutes:.1} min, expected at least {:.0} \
                 (--duration 20m)",
                JUDGED_MIN_S / 60.0
            );
        }
        writeln!(f, "the last {minutes:.0} min:")?;
        for trend in &self.trends {
            writeln!(f, "  {trend}")?;
        }
        let names = self.leaks().map(|trend| trend.what.as_str()).collect::<Vec<_>>();
        match names[..] {
            [] => write!(f, "verdict: nothing grew"),
            _ => write!(f, "verdict: {} grew", names.join(" and ")),
        }
    }
}

/// Runs `options` as [`play::run_to_report`] does, and looks at what the server holds meanwhile: that
/// is in [`Report::soak`].
///
/// # Errors
/// As [`play::run_to_report`], or nobody said which server it is.
pub fn run(options: &play::Options, on_sample: &mut dyn FnMut(&Sample)) -> io::Result<Report> {
    let meter = match (options.pid, &options.metrics) {
        (Some(pid), _) => Meter::of_process(pid)?,
        (None, Some(url)) => Meter::of_metrics(url)?,
        (None, None) => {
            return Err(io::Error::other(
                "soak: expected to be told which server it is\n  cure: --pid, or --metrics",
            ));
        }
    };
    let viewers = Arc::new(AtomicUsize::new(0));
    let (stop, stopped) = mpsc::channel::<()>();
    let seen = Arc::clone(&viewers);
    let period = (options.duration / 720).clamp(Duration::from_secs(1), Duration::from_secs(10));
    let watch = move || watch(&meter, &seen, period, &stopped);
    let watching = thread::Builder::new().name("soak".to_owned()).spawn(watch)?;
    let report = play::run_to_report(options, &mut |sample| {
        viewers.store(sample.viewers, Ordering::Relaxed);
        on_sample(sample);
    });
    drop(stop);
    let held = watching.join().expect("it has nothing to panic of");
    let mut report = report?;
    let verdict = Verdict::of(&held, report.about.window_begin_s, options.viewers);
    let leaks = verdict.leaks().map(|trend| format!("the server leaks: {trend}"));
    report.warnings.extend(leaks);
    report.soak = Some(Soak { held, verdict });
    Ok(report)
}

/// Looks once per `period` until nobody wants to know any more, or the server has ended.
fn watch(
    meter: &Meter,
    viewers: &AtomicUsize,
    period: Duration,
    stopped: &Receiver<()>,
) -> Vec<Held> {
    let begin = Instant::now();
    let mut held = Vec::new();
    loop {
        let viewers = viewers.load(Ordering::Relaxed);
        let look = || Ok::<_, io::Error>((meter.read()?, meter.files_bytes()?, meter.handles()?));
        let Ok((reading, files_bytes, handles)) = look() else { return held };
        held.push(Held {
            at_s: begin.elapsed().as_secs_f64(),
            viewers,
            rss_bytes: reading.rss_bytes + files_bytes.unwrap_or(0),
            fds: handles.fds,
            threads: handles.threads,
        });
        if stopped.recv_timeout(period) != Err(RecvTimeoutError::Timeout) {
            return held;
        }
    }
}

/// The options of `soak`: those of `play`, for longer.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(
    mut_arg("duration", |arg| arg.default_value("60m")),
    mut_arg("churn", |arg| arg.default_value("5%/s")),
    mut_arg("inspect", |arg| arg.default_value("1%")),
    after_help = EXAMPLES
)]
pub struct Args {
    /// Who watches what.
    #[command(flatten)]
    pub play: play::Args,
}

const EXAMPLES: &str = "\
Examples:
  Against a server on this host:
    corecast-load soak --publish rtmp://127.0.0.1/live/x{n} --streams 10 --bitrate 500k \\
      --url http://127.0.0.1:8080/live/x{n}.flv --viewers 1000 --pid $(pidof corecast)
  For a night against one elsewhere, whose streams others publish:
    corecast-load soak --url http://edge.example/live/x.flv --duration 8h \\
      --metrics http://edge.example:9090/metrics --html night.html

It must know its server: --pid or --metrics. Viewers are those of `play` (see its --help): they come
and go by --churn, and try again when the server drops them. Ctrl-C ends the run early.

At the end there is a verdict on what the server holds: resident memory, descriptors beside those of
viewers, and threads. Of the second half of the time a straight line is taken (Theil and Sen), and
what certainly (95 %) grew by more than is allowed is named; then the exit status is 1. Allowed per
hour are 1 % of the memory (at least 1 MiB), 4 descriptors, 1 thread. At least 20 minutes are needed,
and 90 % of the viewers.";

/// Runs, prints what was found, and the verdict.
///
/// # Errors
/// As [`run`], a file cannot be written, and if something grew.
pub fn run_command(args: &Args) -> io::Result<ExitCode> {
    let options = args.play.options()?;
    for signal in [SIGINT, SIGTERM] {
        let stop: &Arc<AtomicBool> = &options.stop;
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(stop))?;
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    args.play.outputs.check()?;
    if let Some(why) = too_short(options.duration) {
        eprintln!("corecast-load: {why}");
    }
    let mut progress = Progress::of(&options);
    let report = run(&options, &mut |sample| progress.show(sample));
    progress.end();
    let report = report?;
    let status = args.play.outputs.deliver(&report);
    match report.soak.iter().flat_map(|soak| soak.verdict.leaks()).next() {
        None => Ok(status),
        Some(_) => Err(io::Error::other("the server leaks")),
    }
}

/// What is to be told of a soak that will have no verdict.
fn too_short(duration: Duration) -> Option<String> {
    (duration.as_secs_f64() / 2.0 < JUDGED_MIN_S).then(|| {
        format!(
            "--duration {} is too short for a verdict on leaks; it runs all the same (cure: \
             --duration {:.0}m or more)",
            seconds(duration.as_secs_f64()),
            2.0 * JUDGED_MIN_S / 60.0,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, each ten seconds, of a server as it should be, with `change` by the hour.
    fn held(change: impl Fn(&mut Held, f64)) -> Vec<Held> {
        let sample = |at: usize| {
            let viewers = 1000 - at % 50;
            let mut held = Held {
                at_s: at as f64 * 10.0,
                viewers,
                rss_bytes: 50 << 20,
                fds: Some(viewers as u64 + 20),
                threads: Some(5),
            };
            change(&mut held, at as f64 / 360.0);
            held
        };
        (0..=360).map(sample).collect()
    }

    fn leaks(held: &[Held]) -> Vec<String> {
        Verdict::of(held, 0.0, 1000).leaks().map(|trend| trend.what.clone()).collect()
    }

    #[test]
    fn a_server_that_warms_up_and_then_holds_still_does_not_leak() {
        let warm = held(|held, hours| {
            held.rss_bytes += ((hours.min(0.4)) * 100.0 * MIB) as u64;
            held.threads = Some(if hours < 0.3 { 5 } else { 9 });
        });
        let verdict = Verdict::of(&warm, 0.0, 1000);
        assert_eq!(verdict.leaks().count(), 0, "{verdict}");
        assert_eq!(verdict.trends.len(), 3);
        assert!(verdict.to_string().ends_with("verdict: nothing grew"), "{verdict}");
    }

    #[test]
    fn what_grew_is_named() {
        let memory = held(|held, hours| held.rss_bytes += (hours * 3.0 * MIB) as u64);
        assert_eq!(leaks(&memory), ["RSS"]);
        let fds = held(|held, hours| held.fds = held.fds.map(|fds| fds + (hours * 20.0) as u64));
        assert_eq!(leaks(&fds), ["fds"]);
        let both = held(|held, hours| {
            held.threads = Some(5 + (hours * 8.0) as u64);
            held.rss_bytes += (hours * 64.0 * MIB) as u64;
        });
        let verdict = Verdict::of(&both, 0.0, 1000);
        assert!(verdict.to_string().ends_with("verdict: RSS and threads grew"), "{verdict}");
        assert!(verdict.to_string().contains("GREW"), "{verdict}");
    }

    #[test]
    fn what_a_remote_server_does_not_tell_is_not_judged() {
        let remote = held(|held, _| (held.fds, held.threads) = (None, None));
        assert_eq!(Verdict::of(&remote, 0.0, 1000).trends.len(), 1);
    }

    #[test]
    fn a_short_time_gives_no_verdict() {
        let verdict = Verdict::of(&held(|_, _| {})[..100], 0.0, 1000);
        assert!(verdict.trends.is_empty());
        assert!(verdict.to_string().starts_with("no verdict"), "{verdict}");
        let told = too_short(Duration::from_secs(300)).expect("too short");
        assert!(told.contains("--duration 5 min") && told.contains("--duration 20m"), "{told}");
        assert_eq!(too_short(Duration::from_secs(1200)), None);
    }

    #[test]
    fn a_server_that_has_lost_its_viewers_gets_no_verdict() {
        let lost = |left: usize| {
            let held = held(|held, hours| held.viewers = if hours < 0.4 { 1000 } else { left });
            Verdict::of(&held, 0.0, 1000)
        };
        for left in [0, 899] {
            let verdict = lost(left);
            assert!(verdict.trends.is_empty());
            let text = verdict.to_string();
            let expected = format!("no verdict on leaks: in the second half {left} viewers");
            assert!(text.starts_with(&expected), "{text}");
        }
        assert!(!lost(900).trends.is_empty());
    }

    #[test]
    fn a_soak_must_know_its_server() {
        let error = run(&play::Options::default(), &mut |_| {}).expect_err("no pid");
        assert!(error.to_string().contains("--pid"), "{error}");
    }
}
