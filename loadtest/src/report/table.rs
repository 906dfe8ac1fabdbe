//! What a run found out, in words and a table of 80 columns: the cost of a viewer first, then what
//! one asks next who has to buy hosts. What was not measured says how to have it measured.

use textwrap::{Options, WordSplitter};

use super::figures::{GLUE, bytes, count, glued, many, mbit_s, millis, number, percent, seconds};
use super::{Distribution, Hls, Inspected, Report, SHARING_MIN};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// What it is.
    pub(super) label: String,
    /// The figure, with its unit.
    pub(super) value: String,
    /// What belongs to it.
    pub(super) note: String,
}

/// One line of the table of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Times {
    /// What it is.
    pub(super) label: &'static str,
    /// p50, p90, p99 and the largest, or what to do to have them.
    pub(super) values: Result<[String; 4], &'static str>,
    /// Of how many.
    pub(super) count: u64,
}

/// Fits everywhere.
const WIDTH: usize = 80;
const LABEL: usize = 23;
const VALUE: usize = 25;
/// A time with its unit.
const TIME: usize = 11;

/// How to have the server's CPU and memory measured.
pub(super) const GIVE_PID: &str = "not measured: give --pid PID, or --metrics URL";
const GIVE_INSPECT: &str = "not measured: give --inspect 2%";
const GIVE_MARKS: &str = "not known: needs the marks of corecast-load publish";
/// Of a generator that was late with time to spare.
pub(super) const STARVED: &str = "starved by other processes";
const NOTHING: &str = "nothing came to be measured";
/// A core that is busier than this has no air for newcomers.
const BUSY_PERCENT: f64 = 70.0;

/// The whole: verdict, table, times, warnings; no line is longer than 80 columns.
pub fn text(report: &Report) -> String {
    let mut text = wrapped(&verdict(report), "", "");
    text.push_str("\n\n");
    for Row { label, value, note } in rows(report) {
        let label = format!("{label:LABEL$}");
        let line = match value.chars().count() < VALUE {
            true if note.is_empty() => format!("{label}{value}"),
            true => wrapped(&note, &format!("{label}{value:VALUE$}"), &" ".repeat(LABEL + VALUE)),
            false => wrapped(&format!("{value} {note}"), &label, &" ".repeat(LABEL)),
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&format!("{:LABEL$}", "times"));
    ["p50", "p90", "p99", "max"].iter().for_each(|name| text.push_str(&format!("{name:>TIME$}")));
    text.push('\n');
    for Times { label, values, .. } in times(report) {
        text.push_str(&format!("{label:LABEL$}"));
        match values {
            Ok(values) => values.iter().for_each(|time| text.push_str(&format!("{time:>TIME$}"))),
            Err(why) => text.push_str(why),
        }
        text.push('\n');
    }
    for warning in &report.warnings {
        text.push('\n');
        text.push_str(&wrapped(warning, "warning: ", "         "));
    }
    if let Some(soak) = &report.soak {
        text.push('\n');
        for line in soak.verdict.to_string().lines() {
            let indent = " ".repeat(line.len() - line.trim_start().len());
            text.push('\n');
            text.push_str(&wrapped(line.trim_start(), &indent, &format!("{indent}  ")));
        }
    }
    text.trim_end().to_owned()
}

fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let options = Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(rest)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(&glued(text), options).replace(GLUE, " ")
}

/// A paragraph for those who read no further.
pub fn verdict(report: &Report) -> String {
    let Report { about, cost, viewers, .. } = report;
    // Those that received nothing have cost nothing.
    let watching = viewers.fed().round() as u64;
    let each = viewers.egress_mbit_s / viewers.fed();
    let each = if each > 0.0 && each.is_finite() {
        format!(" of {} each", mbit_s(each))
    } else {
        String::new()
    };
    let mut sentences = Vec::new();
    if let Some(why) = &report.failure {
        let why = why.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        sentences.push(format!("The run failed: {why}. This was measured before."));
    }
    sentences.push(match cost.cpu_percent_per_1000 {
        _ if about.window_s <= 0.0 => {
            "The run ended before the time that was to be measured.".to_owned()
        }
        Some(percent) => format!(
            "{}{each} cost {} {} % of one core per 1000, measured over {}.",
            many(watching, "viewer", "viewers"),
            about.server.as_deref().unwrap_or("the server"),
            number(percent),
            seconds(about.window_s),
        ),
        None => format!(
            "{}{each} watched for {}. What they cost the server was not measured: give --pid PID of its \
             process on this host, or --metrics URL of one elsewhere.",
            many(watching, "viewer", "viewers"),
            seconds(about.window_s),
        ),
    });
    match &report.inspected {
        None => sentences.push(
            "No viewer looked at what it received (--inspect 2% has some look), so nothing is \
             said about the stream itself."
                .to_owned(),
        ),
        Some(inspected) => sentences.push(quality(inspected)),
    }
    let (refused, lost) = (viewers.refused as u64, viewers.lost as u64);
    sentences.push(match refused + lost {
        0 => "No viewer was refused or lost.".to_owned(),
        _ => format!("{} refused and {} lost.", many(refused, "viewer", "viewers"), count(lost)),
    });
    if viewers.rejoined_after_loss > 0 {
        let times = many(viewers.rejoined_after_loss as u64, "time", "times");
        sentences.push(format!("Who was lost, or refused on returning, came back {times}."));
    }
    for judged in &report.judged {
        sentences.push(match judged.agrees {
            true => format!("The judge ({}) agrees.", judged.kind),
            false => format!("The judge ({}) disagrees: {}.", judged.kind, judged.finding),
        });
    }
    if let Some(carried) = carried(report) {
        sentences.push(format!(
            "If the cost grows in proportion, one core busy to {BUSY_PERCENT} % carries about {} \
             such viewers.",
            count(carried)
        ));
    }
    if cost.generator_was_the_limit {
        let why = match cost.generator_was_starved {
            true => "was kept from its core by other processes",
            false => "was the limit",
        };
        sentences.push(format!(
            "The generator {why}, so the server may be better than this says (the warning tells \
             the cure)."
        ));
    }
    sentences.join(" ")
}

fn quality(inspected: &Inspected) -> String {
    let who = many(inspected.viewers as u64, "inspected viewer", "inspected viewers");
    let frames = many(inspected.frames, "frame", "frames");
    if inspected.marked == 0 {
        return format!(
            "{who} received {frames}; whether any are missing is not known, as the stream carries \
             no marks (corecast-load publish puts them in)."
        );
    }
    let faults = [
        (inspected.missing, "missing"),
        (inspected.repeated, "repeated"),
        (inspected.damaged, "damaged"),
    ];
    let found: Vec<_> = faults.iter().filter(|(times, _)| *times > 0).collect();
    let faults = match found.is_empty() {
        true => "none is missing, repeated or damaged".to_owned(),
        false => {
            let found = found.iter().map(|(times, what)| format!("{} {what}", count(*times)));
            format!("beside {}", found.collect::<Vec<_>>().join(", "))
        }
    };
    let latency = inspected.latency_ms.as_ref().and_then(|latency| latency.value_at(0.99));
    let latency = latency.map(|p99| format!("; 99 % of pictures came within {}", millis(p99)));
    format!("{who} received {frames}, {faults}{}.", latency.unwrap_or_default())
}

/// How many viewers a busy core carries, to two digits: more would be a lie.
fn carried(report: &Report) -> Option<u64> {
    let per_1000 = report.cost.cpu_percent_per_1000.filter(|percent| *percent > 0.0)?;
    let viewers = 1000.0 * BUSY_PERCENT / per_1000;
    let digit = 10f64.powf(viewers.log10().floor() - 1.0).max(1.0);
    Some(((viewers / digit).floor() * digit) as u64)
}

/// The figures, most wanted first.
pub(super) fn rows(report: &Report) -> Vec<Row> {
    let Report { about, cost, viewers, .. } = report;
    let row = |label: &str, value: String, note: String| Row { label: label.into(), value, note };
    let window = seconds(about.window_s);
    let mut rows = vec![match cost.cpu_percent_per_1000 {
        Some(per_1000) => row(
            "CPU per 1000 viewers",
            format!("{} of one core", percent(per_1000)),
            match cost.cpu_percent {
                Some(all) => format!("{} in all over {window}", percent(all)),
                None => format!("over {window}"),
            },
        ),
        None => row("CPU per 1000 viewers", GIVE_PID.to_owned(), String::new()),
    }];
    rows.push(row(
        "viewers",
        format!("{} of {} joined", count(viewers.joined as u64), count(viewers.wanted as u64)),
        format!(
            "{} refused, {} lost, {} watching",
            count(viewers.refused as u64),
            count(viewers.lost as u64),
            number(viewers.watching.round()),
        ),
    ));
    if viewers.left_and_rejoined > 0 {
        rows.push(row(
            "left and came back",
            many(viewers.left_and_rejoined as u64, "time", "times"),
            String::new(),
        ));
    }
    if viewers.rejoined_after_loss > 0 {
        rows.push(row(
            "back by a new try",
            many(viewers.rejoined_after_loss as u64, "time", "times"),
            String::new(),
        ));
    }
    if viewers.starved > 0 {
        rows.push(row(
            "received nothing",
            many(viewers.starved as u64, "viewer", "viewers"),
            "left out of the cost of each".to_owned(),
        ));
    }
    let each = viewers.egress_mbit_s / viewers.fed().max(1.0);
    rows.push(row("egress", mbit_s(viewers.egress_mbit_s), format!("{} each", mbit_s(each))));
    if let Some(hls) = &report.hls {
        rows.extend(fetched(hls));
    }
    match &report.inspected {
        Some(inspected) => rows.extend(faults("", inspected)),
        None => rows.push(row("missing frames", GIVE_INSPECT.to_owned(), String::new())),
    }
    if let Some(slow) = &report.slow {
        rows.extend(faults("slow: ", slow));
    }
    rows.push(match (cost.rss_per_viewer_bytes, cost.rss_bytes) {
        (Some(each), rss) => row(
            "memory per viewer",
            bytes(each),
            format!("with the stream's buffers; {}", memory(rss, cost.pss_bytes)),
        ),
        (None, Some(rss)) => row(
            "memory per viewer",
            unshared(report).to_owned(),
            format!("({})", memory(Some(rss), cost.pss_bytes)),
        ),
        (None, None) => row("memory per viewer", GIVE_PID.to_owned(), String::new()),
    });
    let late = cost.own_lateness_ms.value_at(0.99);
    rows.push(row(
        "the generator's CPU",
        format!("{} of one core", percent(cost.own_cpu_percent)),
        match (cost.generator_was_the_limit, late) {
            (true, _) if cost.generator_was_starved => STARVED.to_owned(),
            (true, _) => "it was the limit".to_owned(),
            (false, Some(late)) => format!("not the limit; p99 {} late", millis(late)),
            (false, None) => "not the limit".to_owned(),
        },
    ));
    if let Some(published) = &report.published {
        let failed = match published.failed {
            0 => String::new(),
            failed => format!("; {} of them failed", count(failed as u64)),
        };
        let late = published.late_ms.value_at(0.99).map(|ms| format!(", p99 {} late", millis(ms)));
        rows.push(row(
            "published",
            many(published.publishers as u64, "stream", "streams"),
            format!("{} frames{}{failed}", count(published.frames), late.unwrap_or_default()),
        ));
    }
    for judged in &report.judged {
        let verdict = if judged.agrees { "agrees" } else { "DISAGREES" };
        let label = format!("judge {}", judged.kind);
        rows.push(row(&label, verdict.to_owned(), judged.finding.clone()));
    }
    for reason in &viewers.first_reasons {
        rows.push(row("reason given", String::new(), reason.clone()));
    }
    rows
}

/// Why the memory of each viewer is not known of a server whose memory is.
pub(super) fn unshared(report: &Report) -> &'static str {
    match report.viewers.watching < SHARING_MIN {
        true => "not measurable with fewer than 100 viewers",
        false => "not measurable: the server had been used before",
    }
}

fn memory(rss: Option<u64>, pss: Option<u64>) -> String {
    let parts = [rss.map(|rss| (rss, "RSS")), pss.map(|pss| (pss, "PSS"))];
    let parts =
        parts.into_iter().flatten().map(|(size, name)| format!("{} {name}", bytes(size as f64)));
    parts.collect::<Vec<_>>().join(", ")
}

/// What viewers of HLS asked for and were given.
fn fetched(hls: &Hls) -> Vec<Row> {
    let row = |label: &str, value: String, note: String| Row { label: label.into(), value, note };
    let mut given = vec![
        many(hls.playlists, "playlist", "playlists"),
        many(hls.segments, "segment", "segments"),
        many(hls.parts, "part", "parts"),
    ];
    if hls.hints_withdrawn > 0 {
        given.push(many(hls.hints_withdrawn, "hint withdrawn", "hints withdrawn"));
    }
    let missing = hls.segments_missing + hls.parts_missing;
    let mut rows = vec![
        row(
            "requests",
            format!("{} a second", number(hls.requests_per_s.round())),
            given.join(", "),
        ),
        row(
            "missing media",
            many(missing, "segment or part", "segments or parts"),
            format!("{} called gaps by the playlist", count(hls.gaps)),
        ),
        row(
            "playback waited",
            many(hls.stalls, "time", "times"),
            format!("{} in all", seconds(hls.stalled_s)),
        ),
    ];
    let statuses = hls.statuses.iter().map(|it| format!("{} × {}", count(it.times), it.status));
    if hls.errors > 0 {
        let statuses = statuses.collect::<Vec<_>>().join(", ");
        rows.push(row("other statuses than 200", count(hls.errors), statuses));
    }
    rows
}

fn faults(whose: &str, inspected: &Inspected) -> [Row; 2] {
    let frames = many(inspected.frames, "frame", "frames");
    let who = many(inspected.viewers as u64, "viewer", "viewers");
    let missing = match inspected.marked {
        0 => Row {
            label: format!("{whose}missing frames"),
            value: GIVE_MARKS.to_owned(),
            note: String::new(),
        },
        _ => Row {
            label: format!("{whose}missing frames"),
            value: count(inspected.missing),
            note: format!(
                "{} repeated, {} damaged",
                count(inspected.repeated),
                count(inspected.damaged)
            ),
        },
    };
    let order = inspected.out_of_order;
    let no_key = match inspected.without_key {
        0 => String::new(),
        viewers => format!("; {} without a key frame", count(viewers)),
    };
    let fragments = match (inspected.fragments, inspected.fragments_missing) {
        (0, _) => String::new(),
        (came, 0) => format!("; {} fragments", count(came)),
        (came, missing) => format!("; {} fragments, {} left out", count(came), count(missing)),
    };
    let order = if order > 0 { format!("; {} out of order", count(order)) } else { String::new() };
    [
        missing,
        Row {
            label: format!("{whose}stalls"),
            value: count(inspected.stalls),
            note: format!("in {frames} at {who}{order}{no_key}{fragments}"),
        },
    ]
}

/// The distributions, most wanted first.
pub(super) fn times(report: &Report) -> Vec<Times> {
    let inspected = report.inspected.as_ref();
    let of = |label, distribution: Option<&Distribution>, why| {
        let distribution = distribution.filter(|distribution| !distribution.is_empty());
        let value =
            |of: &Distribution, quantile| of.value_at(quantile).map_or_else(String::new, millis);
        let values =
            distribution.map(|of| [0.5, 0.9, 0.99, 1.0].map(|quantile| value(of, quantile)));
        let count = distribution.map_or(0, Distribution::count);
        Times { label, values: values.ok_or(why), count }
    };
    let why = if inspected.is_some() { NOTHING } else { GIVE_INSPECT };
    let latency = inspected.and_then(|inspected| inspected.latency_ms.as_ref());
    let why_latency = if inspected.is_some() { GIVE_MARKS } else { GIVE_INSPECT };
    let mut times = vec![
        of("latency", latency, why_latency),
        of("join", inspected.map(|inspected| &inspected.join_ms), why),
        of("first key frame", inspected.map(|inspected| &inspected.first_key_ms), why),
        of("between frames", inspected.map(|inspected| &inspected.frame_gap_ms), why),
    ];
    if let Some(hls) = &report.hls {
        for (label, distribution) in [
            ("playlist", &hls.playlist_ms),
            ("segment or part", &hls.media_ms),
            ("reload after the first", &hls.reload_spread_ms),
            ("reload after the part", &hls.reload_ms),
        ] {
            times
                .extend((!distribution.is_empty()).then(|| of(label, Some(distribution), NOTHING)));
        }
    }
    if let Some(slow) = &report.slow {
        times.push(of("slow: latency", slow.latency_ms.as_ref(), GIVE_MARKS));
        times.push(of("slow: between frames", Some(&slow.frame_gap_ms), NOTHING));
    }
    times
}

#[cfg(test)]
mod tests {
    use super::super::samples::{bare, plausible, soaked};
    use super::super::{Cost, Judged};
    use super::*;

    #[test]
    fn no_line_is_longer_than_80_columns_and_the_cost_comes_first() {
        let mut report = plausible(1);
        report.viewers.left_and_rejoined = 3;
        report.viewers.rejoined_after_loss = 3;
        report.viewers.starved = 2;
        report.warnings = vec!["word ".repeat(60)];
        report.judged = vec![Judged {
            kind: "ffmpeg http-flv".into(),
            finding: "long ".repeat(50),
            ..Judged::default()
        }];
        report.viewers.first_reasons = vec!["expected the status, found another ".repeat(5)];
        for report in [report, bare()] {
            let text = text(&report);
            let longest = text.lines().max_by_key(|line| line.chars().count()).expect("lines");
            assert!(longest.chars().count() <= WIDTH, "{longest}\n\n{text}");
            assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
            for Row { label, .. } in rows(&report) {
                assert!(text.contains(&format!("\n{label}  ")), "{label} in\n{text}");
            }
            let table = text.split("\n\n").nth(1).expect("a table after the verdict");
            assert!(table.starts_with("CPU per 1000 viewers"), "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_says_how_to_have_it_measured() {
        let text = text(&bare());
        for cure in ["not measured: give --pid PID", "not measured: give --inspect 2%"] {
            assert!(text.contains(cure), "{text}");
        }
        let mut report = plausible(1);
        if let Some(inspected) = &mut report.inspected {
            (inspected.marked, inspected.latency_ms) = (0, None);
        }
        assert!(super::text(&report).contains("not known: needs the marks"));
        assert!(verdict(&report).contains("whether any are missing is not known"));
    }

    #[test]
    fn the_verdict_tells_faults_and_whose_limit_was_met() {
        let mut report = plausible(1);
        assert!(verdict(&report).contains("none is missing, repeated or damaged"));
        assert!(!verdict(&report).contains("the limit"));
        if let Some(inspected) = &mut report.inspected {
            (inspected.missing, inspected.damaged) = (3, 1);
        }
        (report.viewers.lost, report.viewers.rejoined_after_loss) = (2, 1);
        report.judged = vec![Judged { kind: "ffmpeg rtmp".into(), ..Judged::default() }];
        report.cost.generator_was_the_limit = true;
        let starved = Cost { generator_was_starved: true, ..report.cost.clone() };
        let starved = Report { cost: starved, ..report.clone() };
        assert!(super::verdict(&starved).contains("kept from its core by other processes"));
        assert!(text(&starved).contains(STARVED) && !text(&report).contains(STARVED));
        let verdict = verdict(&report);
        for part in [
            "3 missing, 1 damaged",
            "0 viewers refused and 2 lost",
            "came back 1 time.",
            "rtmp) disagrees",
            "was the limit",
        ] {
            assert!(verdict.contains(part), "{verdict}");
        }
    }

    #[test]
    fn memory_that_cannot_be_shared_out_says_why() {
        let mut report = plausible(1);
        assert!(text(&report).contains("with the stream's"), "{}", text(&report));
        report.cost.rss_per_viewer_bytes = None;
        assert!(text(&report).contains("not measurable: the server had been used before"));
        report.viewers.watching = 20.0;
        assert!(text(&report).contains("not measurable with fewer than 100 viewers"));
    }

    #[test]
    fn slow_readers_have_times_of_their_own() {
        let mut report = plausible(1);
        assert!(!text(&report).contains("slow: latency"));
        report.slow = report.inspected.clone();
        let text = text(&report);
        let latency = |label: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(label)).expect(label);
            line.trim().to_owned()
        };
        assert_eq!(latency("slow: latency"), latency("latency"));
    }

    #[test]
    fn a_failure_comes_first_and_the_cost_names_the_bitrate() {
        let mut report = plausible(1);
        let verdict = super::verdict(&report);
        assert!(verdict.starts_with("1 000 viewers of 2.04 Mbit/s each cost corecast 4.50 %"));
        report.failure = Some("the server's process 7 has ended".into());
        let verdict = super::verdict(&report);
        let words = "The run failed: the server's process 7 has ended. This was measured before.";
        assert!(verdict.starts_with(words), "{verdict}");
    }

    #[test]
    fn a_soak_ends_with_its_verdict() {
        let mut report = plausible(1);
        report.soak = Some(soaked());
        let text = text(&report);
        assert!(text.ends_with("verdict: nothing grew") && text.contains("RSS"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn a_run_that_ended_before_it_was_measured_says_so() {
        let verdict = verdict(&Report::default());
        assert!(verdict.starts_with("The run ended before"), "{verdict}");
    }

    #[test]
    fn what_a_core_carries_is_rounded_down_to_two_digits() {
        let of = |percent| {
            let cost = Cost { cpu_percent_per_1000: Some(percent), ..Cost::default() };
            carried(&Report { cost, ..Report::default() })
        };
        assert_eq!([of(4.53), of(33.0), of(0.0)], [Some(15_000), Some(2_100), None]);
    }
}
