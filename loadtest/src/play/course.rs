//! The course of a run, and the server beside it second by second.
//!
//! ```text
//! joining ─> settling ─> measured ─> over
//!     └──────────┴── stopped by hand ──^
//! ```

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Audience, Options};
use crate::crowd::{News, Second};
use crate::judge::Judge;
use crate::meter::{Meter, Reading};
use crate::report::figures::many;
use crate::report::{Report, SHARING_MIN, Sample, Viewers};

/// Nothing for anybody in this time: the stream is dead.
const SILENCE: Duration = Duration::from_secs(10);
/// A run at whose end nobody has watched for this long has no figures to tell.
const DESERTED: Duration = Duration::from_secs(3);
/// Nobody watches for this long, in which all have tried again a few times: the server is gone, and
/// the run ends.
const HOPELESS: Duration = Duration::from_secs(60);
/// A crowd tells something each second. One that does not for so long has hung.
const HUNG: Duration = Duration::from_secs(60);
/// A stop by hand is looked for as often.
const PATIENCE: Duration = Duration::from_millis(100);

/// Leads `audience` through a run. One that fails on its way says so in its report.
pub(super) fn run(
    options: &Options,
    audience: Box<dyn Audience>,
    on_sample: &mut dyn FnMut(&Sample),
) -> io::Result<Report> {
    let server = Server::of(options)?;
    let mut course = Course {
        options,
        audience,
        on_sample,
        server,
        last: Second::default(),
        last_bytes: Instant::now(),
        longest_silence: Duration::ZERO,
        last_watched: Instant::now(),
        samples: Vec::new(),
        failure: None,
    };
    let (mut window, mut judge) = (None, None);
    if course.join()? {
        judge = options.judge.map(|program| Judge::start(program, &options.url)).transpose()?;
        if course.stay(options.settle, true)? {
            window = course.measure()?;
        }
    }
    let judged = judge.map(Judge::finish);
    let mut report = course.finish(window)?;
    report.judged.extend(judged);
    Ok(report)
}

struct Course<'a> {
    options: &'a Options,
    audience: Box<dyn Audience>,
    on_sample: &'a mut dyn FnMut(&Sample),
    server: Option<Server>,
    last: Second,
    last_bytes: Instant,
    longest_silence: Duration,
    last_watched: Instant,
    samples: Vec<Sample>,
    /// Why the run ends before its time.
    failure: Option<String>,
}

/// What the server spent in the measured time.
#[derive(Debug, Clone, Copy)]
struct Window {
    cpu_percent: Option<f64>,
    went_back: bool,
}

impl Course<'_> {
    /// Until everybody has come. False if nobody was let in, or it was stopped.
    fn join(&mut self) -> io::Result<bool> {
        let mut heard = Instant::now();
        loop {
            match self.audience.wait(PATIENCE)? {
                Some(News::AllIn(0)) => return Ok(false),
                Some(News::AllIn(_)) => break,
                Some(news) => {
                    heard = Instant::now();
                    self.note(&news);
                }
                None if heard.elapsed() > HUNG => return Err(hung()),
                None => {}
            }
            if self.is_over() {
                return Ok(false);
            }
        }
        self.last_bytes = Instant::now();
        self.last_watched = self.last_bytes;
        Ok(true)
    }

    /// For `time`. False if it was stopped or has failed, or nobody watches any more.
    fn stay(&mut self, time: Duration, silence_ends: bool) -> io::Result<bool> {
        let (start, mut heard) = (Instant::now(), Instant::now());
        while let Some(left) = time.checked_sub(start.elapsed()) {
            match self.audience.wait(left.min(PATIENCE))? {
                Some(news) => {
                    heard = Instant::now();
                    self.note(&news);
                }
                None if heard.elapsed() > HUNG => return Err(hung()),
                None => {}
            }
            let is_empty = self.last.watching + self.last.coming == 0;
            if silence_ends && !is_empty && self.last_bytes.elapsed() > SILENCE {
                self.failure = Some(silent(SILENCE));
            }
            if self.is_over() {
                return Ok(false);
            }
            if is_empty && self.last_watched.elapsed() > HOPELESS {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn measure(&mut self) -> io::Result<Option<Window>> {
        self.audience.begin();
        let asked = Instant::now();
        loop {
            match self.audience.wait(PATIENCE)? {
                Some(News::Begun) => break,
                Some(news) => self.note(&news),
                None if asked.elapsed() > HUNG => return Err(hung()),
                None => {}
            }
        }
        let before = self.read();
        if let Some(server) = &mut self.server {
            server.went_back = false;
        }
        self.last_bytes = Instant::now();
        self.longest_silence = Duration::ZERO;
        self.stay(self.options.duration, false)?;
        let after = self.read();
        let pair = after.zip(before);
        let went_back = self.server.as_ref().is_some_and(|server| server.went_back)
            || pair.is_some_and(|(after, before)| after.went_back_since(&before));
        let cpu_percent = pair.and_then(|(after, before)| after.cpu_percent_since(&before));
        Ok(Some(Window { cpu_percent: cpu_percent.filter(|_| !went_back), went_back }))
    }

    fn is_over(&self) -> bool {
        self.failure.is_some() || self.options.stop.load(Ordering::Relaxed)
    }

    /// What the server has spent; of one that has ended, what was read last.
    fn read(&mut self) -> Option<Reading> {
        let server = self.server.as_ref()?;
        let read = server.meter.read();
        let last = server.last;
        Some(read.unwrap_or_else(|error| {
            self.fail(&error);
            last
        }))
    }

    /// The server cannot be measured any more. What was measured before holds.
    fn fail(&mut self, error: &io::Error) {
        self.failure.get_or_insert_with(|| format!("the run ended before its time: {error}"));
    }

    fn note(&mut self, news: &News) {
        let News::Second(second) = *news else { return };
        if second.count.bytes > self.last.count.bytes {
            self.last_bytes = Instant::now();
        }
        if second.watching + second.coming > 0 {
            self.last_watched = Instant::now();
        }
        self.longest_silence = self.longest_silence.max(self.last_bytes.elapsed());
        let last = std::mem::replace(&mut self.last, second);
        let seconds = second.at.saturating_sub(last.at).as_secs_f64().max(1e-3);
        let since = |now: usize, before: usize| now.saturating_sub(before);
        let (now, before) = (second.count, last.count);
        let bytes = now.bytes.saturating_sub(before.bytes);
        let cpu_percent = match self.server.as_mut().map(Server::percent) {
            Some(Ok(percent)) => percent,
            Some(Err(error)) => {
                self.fail(&error);
                None
            }
            None => None,
        };
        let sample = Sample {
            at_s: second.at.as_secs_f64(),
            viewers: second.watching,
            cpu_percent,
            own_cpu_percent: 100.0 * second.cpu.saturating_sub(last.cpu).as_secs_f64() / seconds,
            egress_mbit_s: bytes as f64 * 8e-6 / seconds,
            rss_bytes: self.server.as_ref().map(|server| server.last.rss_bytes),
            latency_ms: second.latency_ms,
            // Counters begin anew with the measured time.
            missing: second.missing.checked_sub(last.missing).unwrap_or(second.missing),
            joined: since(now.let_in(), before.let_in()),
            lost: since(now.lost + now.refused, before.lost + before.refused),
            refused: since(now.refused, before.refused),
        };
        (self.on_sample)(&sample);
        self.samples.push(sample);
    }

    fn finish(mut self, window: Option<Window>) -> io::Result<Report> {
        // While the viewers are there.
        let memory = self.server.as_ref().map(|server| {
            let rss_bytes = server.meter.read().unwrap_or(server.last).rss_bytes;
            (rss_bytes, server.meter.pss_bytes().ok().flatten(), server.first.rss_bytes)
        });
        let stopped = self.options.stop.load(Ordering::Relaxed);
        let is_deserted = self.last.watching == 0 && self.last_watched.elapsed() > DESERTED;
        let mut report = self.audience.stop()?;
        let viewers = &report.viewers;
        if viewers.joined == 0 && !stopped && self.failure.is_none() {
            let why = viewers.first_reasons.first().map_or("nobody answered", String::as_str);
            let wanted = viewers.wanted;
            return Err(io::Error::other(format!(
                "expected {wanted} viewers to join, found none that did; the first reason: {why}"
            )));
        }
        if !stopped && self.failure.is_none() {
            self.failure = match viewers.first_reasons.first() {
                _ if window.is_some() && viewers.bytes == 0 && !is_deserted => {
                    Some(silent(self.options.duration))
                }
                why if is_deserted => Some(deserted(viewers, why)),
                why if window.is_some() && saw_nothing(&report) => Some(unreadable(&report, why)),
                _ => None,
            };
        }
        let viewers = &report.viewers;
        let watching = viewers.watching;
        report.cost.cpu_percent = window.and_then(|window| window.cpu_percent);
        report.cost.share_among(viewers.fed());
        if viewers.starved > 0 {
            let starved = many(viewers.starved as u64, "viewer was", "viewers were");
            report.warnings.push(format!(
                "{starved} let in and received nothing in the measured time: the cost is that of \
                 the others (cure: see that every stream is published, and why the server does not \
                 send)"
            ));
        }
        report.cost.rss_bytes = memory.map(|(rss_bytes, ..)| rss_bytes);
        report.cost.pss_bytes = memory.and_then(|(_, pss_bytes, _)| pss_bytes);
        report.cost.rss_per_viewer_bytes =
            memory.and_then(|(after, _, before)| rss_per_viewer(before, after, watching));
        report.samples = self.samples;
        report.failure = self.failure;
        if stopped {
            report.warnings.push(format!(
                "the run was stopped by hand after {:.1} s of measured time, {:.1} s were wanted",
                report.about.window_s,
                self.options.duration.as_secs_f64()
            ));
        }
        if window.is_some_and(|window| window.went_back) {
            report.warnings.push(
                "the server's counter of CPU time went back in the measured time, so its cost is \
                 not known (cure: see whether it was started anew, and measure again)"
                    .to_owned(),
            );
        }
        if self.longest_silence > SILENCE {
            report.warnings.push(format!(
                "for {} s nobody received anything: was the stream published all the time?",
                self.longest_silence.as_secs()
            ));
        }
        Ok(report)
    }
}

fn silent(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    format!(
        "expected bytes for the viewers, found none for {seconds:.0} s: is the stream published?"
    )
}

fn deserted(viewers: &Viewers, why: Option<&String>) -> String {
    let Viewers { joined, lost, refused, .. } = viewers;
    let why = why.map_or("all have left", String::as_str);
    format!(
        "expected viewers, found that nobody watches any more: {joined} had joined, {lost} were \
         lost and {refused} refused; the first reason: {why}"
    )
}

/// Whether some looked at every byte, and none of them found a frame.
fn saw_nothing(report: &Report) -> bool {
    let mut looked = report.inspected.iter().chain(&report.slow).peekable();
    looked.peek().is_some() && looked.all(|found| found.frames == 0 && found.viewers > 0)
}

fn unreadable(report: &Report, why: Option<&String>) -> String {
    let looked = report.inspected.iter().chain(&report.slow).map(|found| found.viewers);
    let why = why.map_or("what came holds none", String::as_str);
    format!(
        "expected frames, found none at any of the {} that looked; the first reason: {why}",
        many(looked.sum::<usize>() as u64, "viewer", "viewers")
    )
}

/// What the server's resident memory grew by for each viewer. None where that says nothing of a
/// viewer: among fewer than [`SHARING_MIN`] the stream's own buffers, which grow in the same time,
/// are most of it, and a server that has been used before takes from what it has freed.
fn rss_per_viewer(before: u64, after: u64, watching: f64) -> Option<f64> {
    let grown = after.checked_sub(before).filter(|grown| *grown > 0)?;
    (watching >= SHARING_MIN).then(|| grown as f64 / watching)
}

fn hung() -> io::Error {
    io::Error::other("the viewers' thread or process has hung")
}

/// The server, here or elsewhere.
struct Server {
    meter: Meter,
    first: Reading,
    last: Reading,
    /// Its counter of CPU time was seen to go back.
    went_back: bool,
}

impl Server {
    /// None if nobody said which it is.
    fn of(options: &Options) -> io::Result<Option<Self>> {
        let meter = match (options.pid, &options.metrics) {
            (Some(pid), _) => Meter::of_process(pid)?,
            (None, Some(url)) => Meter::of_metrics(url)?,
            (None, None) => return Ok(None),
        };
        let first = meter.read()?;
        Ok(Some(Self { meter, first, last: first, went_back: false }))
    }

    /// Of one core, since the last call. None where it has said nothing new since.
    fn percent(&mut self) -> io::Result<Option<f64>> {
        let now = self.meter.read()?;
        let before = std::mem::replace(&mut self.last, now);
        self.went_back |= now.went_back_since(&before);
        Ok(now.cpu_percent_since(&before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_only_where_it_says_something_of_a_viewer() {
        assert_eq!(rss_per_viewer(1_000_000, 3_000_000, 1000.0), Some(2000.0));
        assert_eq!(rss_per_viewer(3_000_000, 1_000_000, 1000.0), None, "it was used before");
        assert_eq!(rss_per_viewer(1_000_000, 1_000_000, 1000.0), None);
        assert_eq!(rss_per_viewer(1_000_000, 9_000_000, 99.0), None, "the stream's own buffers");
    }
}
