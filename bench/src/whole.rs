//! Whether a run was whole: only of a server that served everybody everything it is worth saying
//! what that cost.

use std::time::Duration;

use corecast_load::report::Report;

use crate::figure::range;
use crate::load::{Manner, Play};

/// So much less than nominal may be received.
const LESS_MAX: f64 = 0.05;
/// So much more, beside headers.
const MORE_MAX: f64 = 0.05;
/// HTTP-FLV, RTMP and FLV over WebSocket add about as much to a stream, in bits per second.
const HEADERS_BITRATE: f64 = 10_000.0;
/// HTTP-TS adds a header to each 184 bytes, and fills up the last packet of each frame.
const TS_HEADERS_BITRATE: f64 = 120_000.0;
/// HLS adds playlists: by parts, five a second.
const HLS_HEADERS_BITRATE: f64 = 250_000.0;
/// Of a measurement this much, at its begin and end, may hold a write too many or too few.
const EDGES: Duration = Duration::from_millis(500);
/// The same where a write is a whole segment.
const SEGMENT_EDGES: Duration = Duration::from_secs(2);

/// Whether all that `play` asked for was there: its viewers, their frames and their bytes.
///
/// # Errors
/// All that was not, in words.
pub fn must_be_whole(report: &Report, play: &Play) -> Result<(), String> {
    let viewers = &report.viewers;
    let mut found = Vec::new();
    if viewers.joined != play.viewers {
        found.push(format!("{} of {} viewers joined", viewers.joined, play.viewers));
    }
    for (count, how) in [(viewers.lost, "lost"), (viewers.refused, "refused")] {
        if count > 0 {
            found.push(format!("{count} viewers {how}"));
        }
    }
    found.extend(frames(report, play));
    found.extend(fetched(report));
    found.extend(egress(report, play));
    if found.is_empty() {
        return Ok(());
    }
    found.extend(viewers.first_reasons.iter().cloned());
    Err(format!("not whole: {}", found.join("; ")))
}

/// What those who looked at all they got found wrong with it.
fn frames(report: &Report, play: &Play) -> Option<String> {
    if play.inspect_percent == 0.0 {
        return None;
    }
    let Some(inspected) = &report.inspected else {
        return Some("nobody looked at frames".to_owned());
    };
    if inspected.marked == 0 {
        return Some("no frame had a mark, so that none could be missed".to_owned());
    }
    let (missing, damaged) = (inspected.missing, inspected.damaged);
    (missing + damaged > 0).then(|| format!("{missing} frames missing, {damaged} damaged"))
}

/// What players of HLS did not get, or got too late.
fn fetched(report: &Report) -> Option<String> {
    let hls = report.hls.as_ref()?;
    let missing = hls.segments_missing + hls.parts_missing;
    let (errors, stalls) = (hls.errors, hls.stalls);
    (missing + errors + stalls > 0).then(|| {
        format!(
            "{missing} segments or parts missing, {errors} answers other than 200, playback waited \
             {stalls} times"
        )
    })
}

fn egress(report: &Report, play: &Play) -> Option<String> {
    let (share, bitrate) = (egress_share(report, play)?, play.bitrate? as f64);
    let is_hls = play.url.ends_with(".m3u8");
    let by_segments = is_hls && play.manner == Manner::Segments;
    let edges = if by_segments { SEGMENT_EDGES } else { EDGES };
    let edges = edges.as_secs_f64() / play.duration.as_secs_f64();
    let least = 1.0 - edges.max(LESS_MAX);
    let headers = match () {
        () if is_hls => HLS_HEADERS_BITRATE,
        () if play.url.ends_with(".ts") => TS_HEADERS_BITRATE,
        () => HEADERS_BITRATE,
    };
    let most = 1.0 + edges.max(MORE_MAX) + headers / bitrate;
    // NaN is not.
    let within = (least..=most).contains(&share);
    (!within).then(|| {
        format!(
            "egress {:.1} % of nominal (expected {:.0} to {:.0} %)",
            share * 100.0,
            least * 100.0,
            most * 100.0
        )
    })
}

/// Received bits to those of the stream itself, if it is known how many they should be.
pub fn egress_share(report: &Report, play: &Play) -> Option<f64> {
    let nominal_mbit_s = play.bitrate? as f64 * 1e-6 * play.viewers as f64;
    Some(report.viewers.egress_mbit_s / nominal_mbit_s)
}

/// CPU of somebody who sent `egress` times nominal, as far as nominal is concerned: who sends less
/// must not look cheaper for it. Who sends more has spent what was measured.
pub fn at_nominal(cpu_percent: f64, egress: f64) -> f64 {
    cpu_percent / egress.min(1.0)
}

/// `"100.1 to 101.2 % of nominal"`.
pub fn egress_words(shares: impl Iterator<Item = f64>) -> String {
    let (least, most) = range(&shares.map(|share| share * 100.0).collect::<Vec<_>>());
    format!("{least:.1} to {most:.1} % of nominal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use corecast_load::report::{Hls, Inspected, Viewers};

    fn play() -> Play {
        Play {
            url: String::new(),
            streams: 1,
            viewers: 100,
            ramp: 100.0,
            settle: Duration::from_secs(1),
            duration: Duration::from_secs(15),
            inspect_percent: 10.0,
            bitrate: Some(2_000_000),
            pid: None,
            manner: Manner::Segments,
        }
    }

    fn whole() -> Report {
        let viewers = Viewers { joined: 100, egress_mbit_s: 202.0, ..Viewers::default() };
        let inspected = Inspected { viewers: 10, marked: 5000, ..Inspected::default() };
        Report { viewers, inspected: Some(inspected), ..Report::default() }
    }

    fn why(change: impl FnOnce(&mut Report)) -> String {
        let mut report = whole();
        change(&mut report);
        must_be_whole(&report, &play()).expect_err("it is not whole")
    }

    #[test]
    fn who_serves_all_is_whole() {
        must_be_whole(&whole(), &play()).expect("all were served");
    }

    #[test]
    fn who_serves_only_some_is_not_whole() {
        assert!(why(|it| it.viewers.joined = 99).contains("99 of 100 viewers joined"));
        assert!(why(|it| it.viewers.lost = 1).contains("1 viewers lost"));
        assert!(why(|it| it.viewers.refused = 2).contains("2 viewers refused"));
        assert!(why(|it| it.viewers.egress_mbit_s = 180.0).contains("egress 90.0 %"));
        assert!(why(|it| it.viewers.egress_mbit_s = 230.0).contains("egress 115.0 %"));
        assert!(why(|it| it.viewers.egress_mbit_s = f64::NAN).contains("egress"));
    }

    #[test]
    fn players_that_had_to_wait_or_missed_something_were_not_served() {
        let with = |hls: Hls| why(move |it| it.hls = Some(hls));
        assert!(with(Hls { stalls: 1, ..Hls::default() }).contains("waited 1 times"));
        assert!(with(Hls { parts_missing: 2, ..Hls::default() }).contains("2 segments or parts"));
        assert!(with(Hls { errors: 3, ..Hls::default() }).contains("3 answers other than 200"));
        let mut good = whole();
        good.hls = Some(Hls { requests: 9, ..Hls::default() });
        must_be_whole(&good, &play()).expect("all were served");
    }

    #[test]
    fn what_could_not_be_inspected_is_not_whole() {
        assert!(why(|it| it.inspected = None).contains("nobody looked"));
        let inspected = |it: &mut Report, change: fn(&mut Inspected)| {
            it.inspected.as_mut().into_iter().for_each(change);
        };
        assert!(why(|it| inspected(it, |found| found.marked = 0)).contains("no frame had a mark"));
        assert!(why(|it| inspected(it, |found| found.missing = 3)).contains("3 frames missing"));
        assert!(why(|it| inspected(it, |found| found.damaged = 1)).contains("1 damaged"));
        let mut blind = whole();
        blind.inspected = None;
        must_be_whole(&blind, &Play { inspect_percent: 0.0, ..play() })
            .expect("nobody was to look");
    }

    #[test]
    fn cpu_is_scaled_up_for_less_and_not_down_for_more() {
        assert_eq!(at_nominal(5.0, 0.5), 10.0);
        assert_eq!(at_nominal(5.0, 1.25), 5.0);
        assert_eq!(egress_words([1.01, 0.998].into_iter()), "99.8 to 101.0 % of nominal");
    }

    #[test]
    fn without_a_nominal_bitrate_egress_may_be_any() {
        let mut report = whole();
        report.viewers.egress_mbit_s = 900.0;
        must_be_whole(&report, &Play { bitrate: None, ..play() }).expect("all were served");
    }
}
