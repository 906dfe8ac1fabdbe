//! What a run found out: the types that every output is made of, and that go between processes.
//!
//! Everything here is plain data with its units in the names; JSON is its lasting form. How it is
//! measured is the business of whoever fills it in, how it is shown that of whoever reads it.

pub mod axis;
mod distribution;
pub mod figures;
mod hls;
pub mod html;
pub mod json;
pub mod outputs;
pub mod plot;
#[cfg(test)]
mod samples;
mod series;
pub mod table;
pub mod thresholds;

use serde::{Deserialize, Serialize};

pub use distribution::Distribution;
pub use hls::{Hls, Status};

use crate::soak::Soak;

/// One run of `play`, alone or with publishers beside it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where, when and against what.
    pub about: About,
    /// What it cost both sides.
    pub cost: Cost,
    /// Who came, stayed and went.
    pub viewers: Viewers,
    /// What the viewers that looked at their bytes found, slow readers left out. None if none did.
    pub inspected: Option<Inspected>,
    /// The same of slow readers (`--slow`), which are meant to miss frames. None if none looked.
    pub slow: Option<Inspected>,
    /// What viewers of HLS asked for and were given. None if nobody asked.
    #[serde(default)]
    pub hls: Option<Hls>,
    /// What was published by the same run.
    pub published: Option<Published>,
    /// The run second by second, from the first connection on, in order of time.
    pub samples: Vec<Sample>,
    /// What `soak` found beside all this.
    #[serde(default)]
    pub soak: Option<Soak>,
    /// What foreign programs found.
    pub judged: Vec<Judged>,
    /// What a reader should know before he believes the figures.
    pub warnings: Vec<String>,
    /// Why the run failed. What else is here was measured before that.
    #[serde(default)]
    pub failure: Option<String>,
}

/// Where, when and against what a run was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// The command line, to repeat it.
    pub command: String,
    /// What was watched, `{n}` standing for the number of the stream.
    pub url: String,
    /// When the run began, RFC 3339 in UTC.
    pub date: String,
    /// CPU model × how many.
    pub machine: String,
    /// Name and release.
    pub kernel: String,
    /// Of this program.
    pub generator_version: String,
    /// What the server calls itself.
    pub server: Option<String>,
    /// From the first connection to the begin of the measured time.
    pub window_begin_s: f64,
    /// The measured time. Shorter than asked if the run was interrupted.
    pub window_s: f64,
}

/// CPU and memory in the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The server's CPU, per cent of one core. None if nobody said which process it is.
    pub cpu_percent: Option<f64>,
    /// The same, per 1000 viewers that watched and received something ([`Viewers::fed`]).
    pub cpu_percent_per_1000: Option<f64>,
    /// The server's resident memory at the end.
    pub rss_bytes: Option<u64>,
    /// Its proportional share of memory at the end.
    pub pss_bytes: Option<u64>,
    /// Growth of its resident memory from before the first viewer to the end, for each: with the
    /// stream's own buffers, which fill in the same time. None if it did not grow, because the server
    /// had been used before, or among fewer viewers than [`SHARING_MIN`].
    pub rss_per_viewer_bytes: Option<f64>,
    /// The generator's own CPU, all its processes, per cent of one core.
    pub own_cpu_percent: f64,
    /// How late the generator looked at its sockets. Latencies are too long by about as much.
    pub own_lateness_ms: Distribution,
    /// One of the generator's threads was busy for more than 80 % of the time, or it looked at its
    /// sockets or published late by its own fault: the server might have done better than these figures say.
    pub generator_was_the_limit: bool,
    /// It was the limit though it had time to spare: other processes kept it from its core.
    #[serde(default)]
    pub generator_was_starved: bool,
}

/// Who came, stayed and went. Counts are of the whole run, bytes of the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Viewers {
    /// Asked for.
    pub wanted: usize,
    /// Were let in.
    pub joined: usize,
    /// Were not: no connection, an answer other than yes, or none in time. They try again, which is
    /// not counted.
    pub refused: usize,
    /// Were let in and then dropped by the server, each time.
    pub lost: usize,
    /// Times that a viewer left on purpose (`--churn`) and was let in again.
    pub left_and_rejoined: usize,
    /// Times that one that had been in was lost, or refused on its return, tried again and was let
    /// in.
    #[serde(default)]
    pub rejoined_after_loss: usize,
    /// How many were in at once, mean over the measured time.
    pub watching: f64,
    /// Were in at both ends of the measured time and received nothing in it. They are among those
    /// that watched, and cost is shared without them.
    #[serde(default)]
    pub starved: usize,
    /// Received by all in the measured time, with all that protocols add above TCP.
    pub bytes: u64,
    /// The same per second.
    pub egress_mbit_s: f64,
    /// Why viewers were refused or lost: the first few different ones, in the server's words.
    pub first_reasons: Vec<String>,
}

/// What the viewers that parse everything (`--inspect`) found in the measured time.
///
/// `missing`, `repeated` and `damaged` are known only from the marks that `corecast-load publish`
/// puts into the stream: without one (`marked` is 0) they are 0 because nobody could look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// How many inspected.
    pub viewers: usize,
    /// Frames of both kinds they received.
    pub frames: u64,
    /// Pictures among them that carried a mark.
    pub marked: u64,
    /// Frames that were published between two that came, and did not come.
    pub missing: u64,
    /// Frames that came again.
    pub repeated: u64,
    /// Frames whose bytes are not those that were published.
    pub damaged: u64,
    /// Frames with a dts below that of the one before, of the same kind.
    pub out_of_order: u64,
    /// Times that no frame came for so long that a player would have run dry.
    pub stalls: u64,
    /// Viewers among those that had come to no key frame when they left or were dropped, or at the
    /// end.
    #[serde(default)]
    pub without_key: u64,
    /// Fragments of MP4 that came whole.
    #[serde(default)]
    pub fragments: u64,
    /// Numbers of fragments between two that came, and did not come.
    #[serde(default)]
    pub fragments_missing: u64,
    /// What those that came play, in all.
    #[serde(default)]
    pub fragments_s: f64,
    /// From when the viewer was to connect to the server's yes. Of the whole run: most join before the measured time.
    pub join_ms: Distribution,
    /// From the same moment to the last byte of the first key frame. Of the whole run.
    pub first_key_ms: Distribution,
    /// From one arrival of frames to the next; those that came in one read count as one.
    pub frame_gap_ms: Distribution,
    /// From the publisher's socket to the last byte of the picture, by the clock in the mark, of
    /// pictures that were sent after the viewer came. None without marks.
    pub latency_ms: Option<Distribution>,
}

/// What the run's own publishers did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// How many were asked for.
    pub publishers: usize,
    /// Frames they sent.
    pub frames: u64,
    /// Bytes of those, without what protocols add.
    pub bytes: u64,
    /// How far behind real time frames were sent.
    pub late_ms: Distribution,
    /// The same of those that did not wait for a server that did not read: what the generator itself
    /// was late.
    #[serde(default)]
    pub own_late_ms: Distribution,
    /// Publishers that were refused or dropped.
    pub failed: usize,
}

/// One second of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, seconds from the first connection.
    pub at_s: f64,
    /// Viewers that are in, at its end.
    pub viewers: usize,
    /// The server's CPU in it, per cent of one core.
    pub cpu_percent: Option<f64>,
    /// The generator's.
    pub own_cpu_percent: f64,
    /// Received by all in it.
    pub egress_mbit_s: f64,
    /// The server's resident memory at its end.
    pub rss_bytes: Option<u64>,
    /// p50, p99 and largest of the latencies in it, by the inspected viewers. Of several
    /// processes: the mean of p50 by their pictures, and the worst of the other two.
    pub latency_ms: Option<[f64; 3]>,
    /// Frames that inspected viewers found missing in it.
    pub missing: u64,
    /// Viewers let in during it, those that come back included.
    pub joined: usize,
    /// Viewers the server dropped or refused during it.
    pub lost: usize,
    /// How many of these it refused.
    #[serde(default)]
    pub refused: usize,
}

/// What a foreign program found in the same stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Program and protocol.
    pub kind: String,
    /// Frames it counted.
    pub frames: u64,
    /// It found what the inspected viewers found.
    pub agrees: bool,
    /// In a sentence.
    pub finding: String,
}

/// Among fewer viewers than these the growth of a server's memory is not shared out.
pub const SHARING_MIN: f64 = 100.0;
/// Different reasons that are kept; the rest are likely the same in other words.
pub const REASONS: usize = 5;

impl Report {
    /// Adds what another process found at the same time against the same server.
    ///
    /// Viewers and the generator's cost add up. The server is one, so its cost is taken from
    /// whichever report has it.
    pub fn merge(&mut self, other: Self) {
        self.about.server = self.about.server.take().or(other.about.server);
        self.about.window_begin_s = self.about.window_begin_s.max(other.about.window_begin_s);
        self.about.window_s = self.about.window_s.max(other.about.window_s);
        self.viewers.merge(other.viewers);
        self.cost.merge(&other.cost);
        self.cost.share_among(self.viewers.fed());
        merge_some(&mut self.inspected, other.inspected, Inspected::merge);
        merge_some(&mut self.slow, other.slow, Inspected::merge);
        merge_some(&mut self.hls, other.hls, |mine, other| mine.merge(&other));
        merge_some(&mut self.published, other.published, |mine, other| mine.merge(&other));
        merge_samples(&mut self.samples, other.samples);
        self.judged.extend(other.judged);
        self.failure = self.failure.take().or(other.failure);
        for warning in other.warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}

impl Cost {
    /// Sets the cost per 1000 of `fed` viewers. None of it if there are none.
    pub fn share_among(&mut self, fed: f64) {
        let per_1000 = self.cpu_percent.map(|percent| percent * 1000.0 / fed);
        self.cpu_percent_per_1000 = per_1000.filter(|percent| percent.is_finite());
    }

    fn merge(&mut self, other: &Self) {
        self.cpu_percent = self.cpu_percent.or(other.cpu_percent);
        self.rss_bytes = self.rss_bytes.or(other.rss_bytes);
        self.pss_bytes = self.pss_bytes.or(other.pss_bytes);
        self.rss_per_viewer_bytes = self.rss_per_viewer_bytes.or(other.rss_per_viewer_bytes);
        self.own_cpu_percent += other.own_cpu_percent;
        self.own_lateness_ms.merge(&other.own_lateness_ms);
        self.generator_was_the_limit |= other.generator_was_the_limit;
        self.generator_was_starved |= other.generator_was_starved;
    }
}

impl Viewers {
    /// How many watched at once, without those that received nothing.
    pub fn fed(&self) -> f64 {
        (self.watching - self.starved as f64).max(0.0)
    }

    /// Keeps `reason` if it is new and among the first.
    pub fn add_reason(&mut self, reason: String) {
        if self.first_reasons.len() < REASONS && !self.first_reasons.contains(&reason) {
            self.first_reasons.push(reason);
        }
    }

    fn merge(&mut self, other: Self) {
        self.wanted += other.wanted;
        self.joined += other.joined;
        self.refused += other.refused;
        self.lost += other.lost;
        self.left_and_rejoined += other.left_and_rejoined;
        self.rejoined_after_loss += other.rejoined_after_loss;
        self.watching += other.watching;
        self.starved += other.starved;
        self.bytes += other.bytes;
        self.egress_mbit_s += other.egress_mbit_s;
        other.first_reasons.into_iter().for_each(|reason| self.add_reason(reason));
    }
}

impl Inspected {
    /// Adds what other inspected viewers found.
    pub fn merge(&mut self, other: Self) {
        self.viewers += other.viewers;
        self.frames += other.frames;
        self.marked += other.marked;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.damaged += other.damaged;
        self.out_of_order += other.out_of_order;
        self.stalls += other.stalls;
        self.without_key += other.without_key;
        self.fragments += other.fragments;
        self.fragments_missing += other.fragments_missing;
        self.fragments_s += other.fragments_s;
        self.join_ms.merge(&other.join_ms);
        self.first_key_ms.merge(&other.first_key_ms);
        self.frame_gap_ms.merge(&other.frame_gap_ms);
        merge_some(&mut self.latency_ms, other.latency_ms, |mine, other| mine.merge(&other));
    }
}

impl Published {
    /// Adds what other publishers did.
    pub fn merge(&mut self, other: &Self) {
        self.publishers += other.publishers;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.late_ms.merge(&other.late_ms);
        self.own_late_ms.merge(&other.own_late_ms);
        self.failed += other.failed;
    }
}

fn merge_some<T>(mine: &mut Option<T>, other: Option<T>, merge: impl FnOnce(&mut T, T)) {
    match (mine.as_mut(), other) {
        (Some(mine), Some(other)) => merge(mine, other),
        (None, other) => *mine = other,
        (Some(_), None) => {}
    }
}

/// p50, p99 and the largest of two, each with its weight: the mean of p50, the worst of the rest.
pub(crate) fn latency_of_both(
    (mine, weight): (Option<[f64; 3]>, f64),
    (other, other_weight): (Option<[f64; 3]>, f64),
) -> Option<[f64; 3]> {
    let (Some(a), Some(b)) = (mine, other) else { return mine.or(other) };
    let share = other_weight / (weight + other_weight).max(f64::MIN_POSITIVE);
    Some([a[0] + (b[0] - a[0]) * share, a[1].max(b[1]), a[2].max(b[2])])
}

/// Seconds that are the same to half of one are the same second.
fn merge_samples(mine: &mut Vec<Sample>, other: Vec<Sample>) {
    for sample in other {
        match mine.iter_mut().find(|known| (known.at_s - sample.at_s).abs() < 0.5) {
            Some(known) => known.merge(&sample),
            None => mine.push(sample),
        }
    }
    mine.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
}

impl Sample {
    /// Adds what another process saw in the same second.
    pub fn merge(&mut self, other: &Self) {
        self.latency_ms = latency_of_both(
            (self.latency_ms, self.viewers as f64),
            (other.latency_ms, other.viewers as f64),
        );
        self.viewers += other.viewers;
        self.cpu_percent = self.cpu_percent.or(other.cpu_percent);
        self.own_cpu_percent += other.own_cpu_percent;
        self.egress_mbit_s += other.egress_mbit_s;
        self.rss_bytes = self.rss_bytes.or(other.rss_bytes);
        self.missing += other.missing;
        self.joined += other.joined;
        self.lost += other.lost;
        self.refused += other.refused;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(viewers: usize, latency_ms: u64) -> Report {
        let mut latency = Distribution::default();
        latency.record(Duration::from_millis(latency_ms));
        Report {
            viewers: Viewers {
                joined: viewers,
                watching: viewers as f64,
                first_reasons: vec!["404".to_owned()],
                ..Viewers::default()
            },
            cost: Cost { own_cpu_percent: 10.0, ..Cost::default() },
            inspected: Some(Inspected {
                viewers: 1,
                missing: 2,
                latency_ms: Some(latency),
                ..Inspected::default()
            }),
            samples: (1..=3)
                .map(|at| Sample {
                    at_s: f64::from(at) + latency_ms as f64 * 1e-3,
                    viewers,
                    latency_ms: Some([1.0, latency_ms as f64, 50.0]),
                    ..Sample::default()
                })
                .collect(),
            warnings: vec!["the same".to_owned()],
            ..Report::default()
        }
    }

    #[test]
    fn viewers_add_up_and_the_server_is_counted_once() {
        let mut all = Report::default();
        all.cost.cpu_percent = Some(6.0);
        all.merge(report(1000, 100));
        all.merge(report(2000, 300));
        assert_eq!((all.viewers.joined, all.viewers.watching), (3000, 3000.0));
        assert_eq!((all.cost.cpu_percent, all.cost.cpu_percent_per_1000), (Some(6.0), Some(2.0)));
        assert_eq!((all.cost.own_cpu_percent, all.viewers.first_reasons.len()), (20.0, 1));
        assert_eq!(all.warnings, ["the same"]);
        let mut hungry = report(1000, 100);
        hungry.viewers.starved = 1000;
        all.merge(hungry);
        assert_eq!((all.viewers.starved, all.cost.cpu_percent_per_1000), (1000, Some(2.0)));
        let inspected = all.inspected.expect("all have it");
        assert_eq!((inspected.viewers, inspected.missing), (3, 6));
        let latency = inspected.latency_ms.expect("all have it");
        assert_eq!((latency.count(), latency.value_at(1.0).map(f64::round)), (3, Some(300.0)));
    }

    #[test]
    fn seconds_of_two_processes_become_one() {
        let mut all = report(10, 100);
        all.merge(report(20, 300));
        assert_eq!(all.samples.iter().map(|sample| sample.viewers).collect::<Vec<_>>(), [30; 3]);
        assert_eq!(all.samples[0].latency_ms, Some([1.0, 300.0, 50.0]));
        let mut longer = report(5, 100);
        longer.samples.push(Sample { at_s: 9.0, viewers: 7, ..Sample::default() });
        all.merge(longer);
        assert_eq!(all.samples.last().map(|sample| sample.viewers), Some(7));
    }

    #[test]
    fn a_report_survives_json() {
        let before = report(10, 7);
        let text = serde_json::to_string_pretty(&before).expect("plain data");
        let after = serde_json::from_str::<Report>(&text).expect("its own form");
        assert_eq!(after, before);
        assert!(text.contains("\"p99\": 7.0"), "{text}");
    }
}
