//! One run of viewers: they join, settle, are measured, and a [`Report`] tells how it was.
//!
//! The viewers are on a thread ([`crate::crowd`]) or in processes ([`crate::procs`]) of their own;
//! what watches them here, and the server beside them, sleeps most of the time.

pub mod about;
mod args;
mod course;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::crowd::{Slow, SmallBuffer, Spread};
pub use args::{Args, run_command};

use crate::crowd::{self, News, Outcome, Plan, Running};
use crate::fds::{self, KernelTrouble};
use crate::judge;
use crate::procs;
use crate::publish::{self, Fleet};
use crate::report::{About, Cost, Published, Report, Sample, Viewers};
pub use crate::viewer::{Manner, Trust};
use crate::viewer::{Target, Watched};

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Options {
    /// `http://HOST/x.flv` (any endless HTTP answer), `http://HOST/x.m3u8` (HLS), `ws://HOST/x.flv` or
    /// `rtmp://HOST/APP/NAME`, or, but for HLS, over TLS `https`, `wss` or `rtmps`; `{n}` becomes the number of the stream, from 0.
    pub url: String,
    /// Which servers are believed over TLS.
    pub trust: Trust,
    /// How HLS is watched.
    pub manner: Manner,
    /// How many streams.
    pub streams: usize,
    /// How viewers are spread over them.
    pub spread: Spread,
    /// How many viewers.
    pub viewers: usize,
    /// How many of them join per second.
    pub ramp: f64,
    /// Wait after the last has joined: what a newcomer is sent at once is not steady.
    pub settle: Duration,
    /// The steady time that is measured.
    pub duration: Duration,
    /// The share of the viewers that leave and rejoin each second, once all have joined.
    pub churn: f64,
    /// Those that read slowly.
    pub slow: Option<Slow>,
    /// Those whose sockets hold little.
    pub small_buffer: Option<SmallBuffer>,
    /// The share of the viewers that look at every byte, slow ones included.
    pub inspect: f64,
    /// How often each of the others says a word to the server, so that it is not taken for dead; not
    /// zero. Its default suits servers that ask once a minute.
    pub sign_of_life: Duration,
    /// Processes that share the viewers.
    pub procs: usize,
    /// The server's process, on this host.
    pub pid: Option<u32>,
    /// Where the server shows its metrics, if it is on another host: `http://HOST/PATH`.
    pub metrics: Option<String>,
    /// Who watches beside the viewers, to judge our parser.
    #[serde(skip)]
    pub judge: Option<judge::Program>,
    /// Publishers that work beside the viewers, in this process.
    #[serde(skip)]
    pub publish: Option<publish::Options>,
    /// Set, it ends the run with what there is.
    #[serde(skip)]
    pub stop: Arc<AtomicBool>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: String::new(),
            trust: Trust::default(),
            manner: Manner::default(),
            streams: 1,
            spread: Spread::Even,
            viewers: 1000,
            ramp: 500.0,
            settle: Duration::from_secs(3),
            duration: Duration::from_secs(30),
            churn: 0.0,
            slow: None,
            small_buffer: None,
            inspect: 0.0,
            sign_of_life: crowd::SIGN_OF_LIFE,
            procs: 1,
            pid: None,
            metrics: None,
            judge: None,
            publish: None,
            stop: Arc::default(),
        }
    }
}

/// Viewers, wherever they are.
pub(crate) trait Audience {
    /// The next that happens. None if nothing does within `patience`.
    ///
    /// # Errors
    /// What has ended the viewers.
    fn wait(&mut self, patience: Duration) -> io::Result<Option<News>>;

    /// Begins the measured time; [`News::Begun`] tells when.
    fn begin(&mut self);

    /// Sends everybody home, and says what they found.
    ///
    /// # Errors
    /// What has ended the viewers before.
    fn stop(self: Box<Self>) -> io::Result<Report>;
}

/// Joins, waits, measures. `on_sample` is told each second.
///
/// # Errors
/// As [`run_to_report`], and what that leaves in [`Report::failure`].
pub fn run(options: &Options, on_sample: &mut dyn FnMut(&Sample)) -> io::Result<Report> {
    let report = run_to_report(options, on_sample)?;
    match report.failure {
        Some(why) => Err(io::Error::other(why)),
        None => Ok(report),
    }
}

/// The same, for whoever wants what was measured before a run failed: nobody watches any more or
/// received anything, the stream stopped before the measurement, or the server's process ended.
///
/// # Errors
/// The URL, nobody could join (with the first reason), or a limit of this host.
pub fn run_to_report(options: &Options, on_sample: &mut dyn FnMut(&Sample)) -> io::Result<Report> {
    let about = about::of(options);
    let trouble = KernelTrouble::now();
    // All need descriptors of this process, and it is better to know before anybody comes.
    let publishers = options.publish.as_ref().map_or(0, |publish| publish.publishers);
    let viewers = if options.procs <= 1 { options.viewers } else { 0 };
    fds::allow(viewers + publishers)?;
    let fleet = options.publish.as_ref().map(Fleet::start).transpose()?;
    let audience: Box<dyn Audience> = match options.procs {
        0 | 1 => Box::new(start(options, 0, 0)?),
        _ => Box::new(procs::start(options)?),
    };
    let result = course::run(options, audience, on_sample);
    let dropped = fleet.as_ref().map(Fleet::reasons).unwrap_or_default();
    let published = fleet.map(Fleet::stop);
    // Why the publisher failed explains why the viewers did.
    let publisher = dropped.first().map(|why| format!("a publisher was dropped: {why}"));
    let mut report = match (result, publisher) {
        (Ok(report), _) => report,
        (Err(error), None) => return Err(error),
        (Err(error), Some(why)) => return Err(io::Error::other(format!("{why}\n  {error}"))),
    };
    report.published = published;
    report.failure = report.failure.map(|failure| match dropped.first() {
        Some(why) => format!("a publisher was dropped: {why}\n  {failure}"),
        None => failure,
    });
    if let Some(warning) = report.published.as_ref().and_then(own_lateness) {
        report.cost.generator_was_the_limit = true;
        report.warnings.push(warning);
    }
    report.warnings.extend(dropped.iter().map(|why| format!("a publisher was dropped: {why}")));
    report.warnings.extend(KernelTrouble::now().since(trouble));
    let About { server, window_begin_s, window_s, .. } = report.about;
    report.about = About { server, window_begin_s, window_s, ..about };
    Ok(report)
}

/// The viewers from number `first` on, as part `part` of a run: in this process.
pub(crate) fn start(options: &Options, first: usize, part: usize) -> io::Result<Local> {
    let Options { spread, viewers, ramp, churn, slow, small_buffer, inspect, sign_of_life, .. } =
        *options;
    if viewers == 0 || options.streams == 0 || ramp <= 0.0 {
        let why = "expected at least one viewer, one stream and a ramp above 0";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let targets = Target::all(&options.url, options.streams, &options.trust, options.manner)?;
    let is_hls = targets.iter().any(|target| matches!(target.watched, Watched::Hls(_)));
    let why = match () {
        () if is_hls && slow.is_some() => {
            "expected readers of an endless stream to be slow, found HLS"
        }
        () if options.manner == Manner::ClosedLoop && inspect > 0.0 => {
            "expected nobody to look in a closed loop, found --inspect"
        }
        () => "",
    };
    if !why.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let plan = Plan {
        targets,
        spread,
        viewers,
        ramp,
        churn,
        slow,
        small_buffer,
        inspect,
        sign_of_life,
        first,
        part,
    };
    Ok(Local { running: crowd::start(plan)?, viewers, inspect })
}

/// Viewers in this process.
pub(crate) struct Local {
    running: Running,
    viewers: usize,
    inspect: f64,
}

impl Audience for Local {
    fn wait(&mut self, patience: Duration) -> io::Result<Option<News>> {
        self.running.wait(patience)
    }

    fn begin(&mut self) {
        self.running.begin();
    }

    fn stop(self: Box<Self>) -> io::Result<Report> {
        Ok(report_of(self.running.stop()?, self.viewers, self.inspect))
    }
}

/// A thread that works for a larger share than this has no time left for bursts.
const BUSY_MAX: f64 = 0.8;
/// One that works for less than this and is late was kept from its core.
const IDLE_MAX: f64 = 0.5;
/// Sockets may be looked at so late, but for one in a hundred times.
const LATE_MAX_MS: f64 = 20.0;

/// What is to be told of a thread that was busy for `share` of the time and looked `late_ms` late:
/// one that had time to spare and was late all the same did not get its core.
fn limit_met(share: f64, late_ms: f64) -> String {
    let percent = 100.0 * share;
    let late = format!("looked at its sockets {late_ms:.0} ms late (p99)");
    match share > IDLE_MAX {
        true => format!(
            "the generator was the limit: saturated, its thread was busy for {percent:.0} % of the \
             time and {late}; cure: --procs, less --inspect, a core of its own (taskset -c), or \
             another host"
        ),
        false => format!(
            "the generator was the limit: starved by other processes, its thread was busy for only \
             {percent:.0} % of the time, and still {late}; cure: a core that nothing else uses (taskset -c \
             for it, for the server and for whatever else runs), not --procs"
        ),
    }
}

/// What is to be told of publishers that were late by their own fault, not the server's.
fn own_lateness(published: &Published) -> Option<String> {
    let late = published.own_late_ms.value_at(0.99).filter(|late| *late > LATE_MAX_MS)?;
    Some(format!(
        "the generator was the limit: its publishers sent frames {late:.0} ms late (p99) though the \
         server would have taken them; cure: a core of its own (taskset -c), or publishers on \
         another host"
    ))
}

/// What a process can tell of its own viewers.
fn report_of(outcome: Outcome, wanted: usize, inspect: f64) -> Report {
    let mut warnings = Vec::new();
    let window_s = outcome.window.as_secs_f64().max(1e-3);
    let [inspected, slow] = outcome
        .found
        .map(|(viewers, findings)| (viewers > 0).then(|| findings.finish(viewers, &mut warnings)));
    let looked = inspected.iter().chain(&slow);
    if inspect > 0.0 && looked.clone().any(|found| found.frames > 0 && found.marked == 0) {
        warnings.push(
            "no picture carried a mark: what is missing, repeated or damaged, and latency, are not \
             known (cure: publish H.264 by `corecast-load publish` or --publish)"
                .to_owned(),
        );
    }
    let late = [&outcome.busy.late, &outcome.busy.patient_late];
    let late = late.map(|late| late.value_at(0.99).unwrap_or_default());
    let late = late[0].max(late[1]);
    let share = outcome.busy.share;
    let limit = share > BUSY_MAX || late > LATE_MAX_MS;
    warnings.extend(limit.then(|| limit_met(share, late)));
    let viewers = Viewers {
        wanted,
        joined: outcome.count.joined,
        refused: outcome.count.refused,
        lost: outcome.count.lost,
        left_and_rejoined: outcome.count.rejoined,
        rejoined_after_loss: outcome.count.rejoined_after_loss,
        watching: outcome.watching,
        starved: outcome.starved,
        bytes: outcome.bytes,
        egress_mbit_s: outcome.bytes as f64 * 8e-6 / window_s,
        first_reasons: outcome.reasons,
    };
    let cost = Cost {
        own_cpu_percent: 100.0 * outcome.cpu.as_secs_f64() / window_s,
        own_lateness_ms: outcome.busy.late,
        generator_was_the_limit: limit,
        generator_was_starved: limit && share <= IDLE_MAX,
        ..Cost::default()
    };
    let about = About {
        server: outcome.server,
        window_begin_s: outcome.begin.unwrap_or_default().as_secs_f64(),
        window_s: outcome.begin.map_or(0.0, |_| window_s),
        ..About::default()
    };
    let hls = outcome.hls.finish(window_s);
    Report { about, cost, viewers, inspected, slow, hls, warnings, ..Report::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::Busy;
    use crate::inspect::Findings;
    use crate::report::Distribution;

    #[test]
    fn a_generator_that_was_the_limit_says_so() {
        let outcome = |share, late_ms| {
            let mut late = Distribution::default();
            (0..100).for_each(|_| late.record(Duration::from_millis(late_ms)));
            let window = Duration::from_secs(10);
            let patient_late = Distribution::default();
            Outcome { busy: Busy { share, late, patient_late }, window, ..Outcome::default() }
        };
        for (share, late_ms, limit) in [(0.5, 2, false), (0.9, 2, true), (0.1, 40, true)] {
            let report = report_of(outcome(share, late_ms), 1, 0.0);
            assert_eq!(report.cost.generator_was_the_limit, limit, "{share} {late_ms}");
            let told = report.warnings.iter().any(|warning| warning.contains("was the limit"));
            assert_eq!(told, limit, "{:?}", report.warnings);
        }
        let told = |share| report_of(outcome(share, 40), 1, 0.0).warnings.concat();
        assert!(told(0.01).contains("starved by other processes"), "{}", told(0.01));
        assert!(!told(0.01).contains("cure: --procs"), "{}", told(0.01));
        assert!(told(0.9).contains("saturated") && told(0.9).contains("cure: --procs"));
    }

    #[test]
    fn publishers_that_wait_for_the_server_do_not_make_the_generator_the_limit() {
        let mut late = Distribution::default();
        late.record(Duration::from_millis(300));
        let held_up = Published { late_ms: late.clone(), ..Published::default() };
        assert_eq!(own_lateness(&held_up), None);
        let slow = Published { own_late_ms: late, ..held_up };
        assert!(own_lateness(&slow).is_some_and(|warning| warning.contains("was the limit")));
    }

    #[test]
    fn what_cannot_be_known_without_marks_is_told() {
        let mut findings = Findings::default();
        findings.counts.frames = 100;
        let found = [(2, findings), (0, Findings::default())];
        let report = report_of(Outcome { found, ..Outcome::default() }, 2, 1.0);
        assert_eq!(report.inspected.map(|found| found.viewers), Some(2));
        assert_eq!(report.slow, None);
        assert!(report.warnings[0].contains("carried a mark"), "{:?}", report.warnings);
    }

    #[test]
    fn a_crowd_of_nobody_is_refused() {
        for options in [
            Options { viewers: 0, ..Options::default() },
            Options { streams: 0, ..Options::default() },
            Options { ramp: 0.0, ..Options::default() },
        ] {
            let options = Options { url: "rtmp://127.0.0.1/live/x".to_owned(), ..options };
            let error = run(&options, &mut |_| {}).expect_err("there is nothing to do");
            assert!(error.to_string().contains("at least one viewer"), "{error}");
        }
    }
}
