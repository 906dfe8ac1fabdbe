//! A run as a file: `--json FILE`, read again by `corecast-load report FILE`.
//!
//! One object. `version` says what the rest means; within a version fields are only added, and who
//! reads should skip those that he does not know. `null` is what was not measured. Units are in
//! the names: `_s`, `_ms`, `_bytes`, `_mbit_s`, and `_percent` of one core.
//!
//! | field | |
//! |---|---|
//! | `version` | 1 |
//! | `about` | |
//! | `command` | the command line |
//! | `url` | what was watched; `{n}` is the number of the stream |
//! | `date` | when the run began, RFC 3339 in UTC |
//! | `machine`, `kernel` | of the generator's host |
//! | `generator_version` | of corecast-load |
//! | `server` | what the server calls itself |
//! | `window_begin_s`, `window_s` | begin (from the first connection) and length of the measured time |
//! | `cost` | of the measured time |
//! | `cpu_percent`, `cpu_percent_per_1000` | the server's, in all and per 1000 viewers that watched and received something |
//! | `rss_bytes`, `pss_bytes` | its memory at the end |
//! | `rss_per_viewer_bytes` | what it grew by, per viewer, with the stream's own buffers; `null` if it did not grow or for fewer than 100 viewers |
//! | `own_cpu_percent`, `own_lateness_ms` | the generator's, and how late it looked (a distribution) |
//! | `generator_was_the_limit` | the server may be better than the figures |
//! | `generator_was_starved` | it was the limit because other processes kept it from its core |
//! | `viewers` | of the whole run |
//! | `wanted`, `joined`, `refused`, `lost` | how many were asked for, let in, not let in, dropped |
//! | `left_and_rejoined` | times that one left on purpose and came back |
//! | `rejoined_after_loss` | times that one was dropped, or refused on its return, tried again and came back |
//! | `watching` | how many at once, mean over the measured time |
//! | `starved` | how many of these received nothing in it; cost is shared without them |
//! | `bytes`, `egress_mbit_s` | received by all in the measured time |
//! | `first_reasons` | why viewers were refused or lost |
//! | `inspected`, `slow` | what those saw that parse everything; the slow readers apart |
//! | `viewers`, `frames`, `marked` | how many looked, what came, how many pictures carried a mark |
//! | `missing`, `repeated`, `damaged` | frames, by the marks; means nothing where `marked` is 0 |
//! | `out_of_order`, `stalls` | frames with a dts below the last, times a player had run dry |
//! | `without_key` | stalls of viewers that came to no key frame at all |
//! | `fragments`, `fragments_missing`, `fragments_s` | of MP4: how many came, numbers left out between them, what they play |
//! | `join_ms`, `first_key_ms`, `frame_gap_ms`, `latency_ms` | distributions |
//! | `hls` | of viewers of HLS, in the measured time |
//! | `requests`, `requests_per_s` | that were answered |
//! | `playlists`, `unchanged`, `segments`, `parts` | media playlists, those with nothing new, media that came |
//! | `segments_missing`, `parts_missing` | gone before the viewer came to them, or listed and not given |
//! | `gaps`, `hints_withdrawn` | what the playlist calls gaps; parts asked for in advance and not given |
//! | `stalls`, `stalled_s` | times that playback would have had to wait, and how long in all |
//! | `errors`, `statuses` | answers other than 200, by `status`, so many `times` |
//! | `playlist_ms`, `media_ms` | from request to last byte of what need not wait (distributions) |
//! | `reload_spread_ms` | of blocking reloads of those who inspect, from the first one's answer for the part to each one's |
//! | `reload_ms` | of the same, from when the picture was sent that ends the part |
//! | `published` | by the same run |
//! | `publishers`, `frames`, `bytes`, `late_ms`, `own_late_ms`, `failed` | how many, what they sent, how late, how late not because of the server, how many failed |
//! | `samples` | one for each second of the whole run |
//! | `at_s`, `viewers` | its end, from the first connection, and who was in |
//! | `cpu_percent`, `own_cpu_percent`, `egress_mbit_s`, `rss_bytes` | as above, of that second |
//! | `latency_ms` | p50, p99 and largest of that second |
//! | `missing`, `joined`, `lost` | in that second; lost is dropped or refused |
//! | `refused` | how many of these were refused |
//! | `soak` | of `corecast-load soak` |
//! | `held` | what the server held: `at_s`, `viewers`, `rss_bytes`, `fds`, `threads` |
//! | `verdict` | of `judged_s`, with `viewers` of `wanted` (median) |
//! | `trends` | `what`, `unit`, `median`, and change `per_hour`, surely between `low_per_hour` and `high_per_hour`; more than `allowed_per_hour` is a leak |
//! | `judged` | by foreign programs |
//! | `kind`, `frames`, `agrees`, `finding` | program and protocol, what it counted, whether it is of one mind with us, in words |
//! | `warnings` | what to know before believing the figures |
//! | `failure` | why the run failed; what else is there was measured before that |
//!
//! A distribution has `count`, and `p50`, `p90`, `p99`, `p999` and `max` in milliseconds for people;
//! `hdr_us` is all of it, an HdrHistogram of microseconds (V2, base64).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::Report;

/// Of the file; a change that an old reader would misread makes it one more.
pub const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File<'a> {
    version: u32,
    #[serde(flatten)]
    report: Cow<'a, Report>,
}

/// Only what must be known before the rest can be understood.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// The file's text.
pub fn write(report: &Report) -> String {
    let file = File { version: VERSION, report: Cow::Borrowed(report) };
    let mut text = serde_json::to_string_pretty(&file).expect("plain data, with text for keys");
    text.push('\n');
    text
}

/// The run that a file's text tells.
///
/// # Errors
/// It is no JSON, of another version, or lacks a field; says where.
pub fn read(text: &str) -> Result<Report, String> {
    let expected = "expected a file that corecast-load --json wrote";
    let head: Head = serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
    if head.version != VERSION {
        let version = head.version;
        return Err(format!(
            "{expected} in version {VERSION}, found version {version} (cure: the corecast-load \
             that wrote it)"
        ));
    }
    let file: File<'_> =
        serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
    Ok(file.report.into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::samples::{bare, plausible, soaked};
    use super::super::{Hls, Judged, Status};
    use super::*;

    fn full() -> Report {
        let mut report = plausible(1);
        report.slow = report.inspected.clone();
        report.soak = Some(soaked());
        report.failure = Some("the server ended".into());
        let statuses = vec![Status { status: 404, times: 2 }];
        report.hls = Some(Hls { requests: 9, statuses, ..Hls::default() });
        report.judged = vec![Judged { kind: "ffmpeg".into(), ..Judged::default() }];
        report
    }

    #[test]
    fn a_run_is_the_same_after_the_file() {
        for report in [full(), bare(), Report::default()] {
            assert_eq!(read(&write(&report)), Ok(report));
        }
    }

    #[test]
    fn every_field_is_explained() {
        fn names(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                    into.push(name.clone());
                    names(value, into);
                }),
                Value::Array(values) => values.iter().for_each(|value| names(value, into)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        names(&serde_json::from_str(&write(&full())).expect("JSON"), &mut found);
        let doc: String =
            include_str!("json.rs").lines().filter(|line| line.starts_with("//!")).collect();
        for name in found {
            assert!(doc.contains(&format!("`{name}`")), "{name} is not explained");
        }
    }

    #[test]
    fn a_field_from_the_future_is_skipped_and_another_version_is_not_read() {
        let text = write(&plausible(1));
        let more = text.replacen("\"version\": 1,", "\"version\": 1, \"colour\": \"blue\",", 1);
        assert_eq!(read(&more), Ok(plausible(1)));
        let other = text.replacen("\"version\": 1,", "\"version\": 7,", 1);
        let error = read(&other).expect_err("of another version");
        assert!(error.contains("version 1, found version 7"), "{error}");
        for text in ["", "{}", "{\"version\": 1}"] {
            assert!(read(text).expect_err("no report").contains("--json"));
        }
    }
}
