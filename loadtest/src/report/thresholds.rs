//! What a run must not exceed, to be a step of somebody's tests: `--fail-if missing=0,lost=0`.

use std::str::FromStr;

use super::{Distribution, Hls, Inspected, Published, Report};

/// The most that some figures may be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Thresholds(Vec<Threshold>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Threshold {
    figure: Figure,
    most: f64,
}

/// The exit status of a run that worked and exceeded a threshold. An error is 1.
pub const EXIT_STATUS: u8 = 2;

/// Names a figure of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Figure {
    /// Its place in [`COUNTS`].
    Count(usize),
    /// Places in [`TIMES`] and [`QUANTILES`].
    Time(usize, usize),
}

/// A figure, or what to do to have it.
type Found<T> = Result<T, &'static str>;
type Count = (&'static str, fn(&Report) -> Found<f64>);
type Time = (&'static str, fn(&Report) -> Found<Option<&Distribution>>, &'static str);

/// Figures by name. None of them is measured unless it is known to be.
const COUNTS: &[Count] = &[
    ("cpu_per_1000", |report| report.cost.cpu_percent_per_1000.ok_or(GIVE_PID)),
    ("cpu", |report| report.cost.cpu_percent.ok_or(GIVE_PID)),
    ("own_cpu", |report| Ok(report.cost.own_cpu_percent)),
    ("rss_mb", |report| Ok(report.cost.rss_bytes.ok_or(GIVE_PID)? as f64 * 1e-6)),
    ("rss_per_viewer_kb", |report| {
        match (report.cost.rss_per_viewer_bytes, report.cost.rss_bytes) {
            (Some(bytes), _) => Ok(bytes * 1e-3),
            (None, Some(_)) => Err(NOT_SHARED),
            (None, None) => Err(GIVE_PID),
        }
    }),
    ("refused", |report| Ok(report.viewers.refused as f64)),
    ("lost", |report| Ok(report.viewers.lost as f64)),
    ("starved", |report| Ok(report.viewers.starved as f64)),
    ("missing", |report| Ok(marked(report)?.missing as f64)),
    ("repeated", |report| Ok(marked(report)?.repeated as f64)),
    ("damaged", |report| Ok(marked(report)?.damaged as f64)),
    ("out_of_order", |report| Ok(inspected(report)?.out_of_order as f64)),
    ("stalls", |report| Ok(inspected(report)?.stalls as f64)),
    ("without_key", |report| Ok(looked(report)?.without_key as f64)),
    ("hls_missing", |report| {
        let hls = hls(report)?;
        Ok((hls.segments_missing + hls.parts_missing) as f64)
    }),
    ("hls_stalls", |report| Ok(hls(report)?.stalls as f64)),
    ("hls_errors", |report| Ok(hls(report)?.errors as f64)),
    ("disagreeing", |report| match report.judged.is_empty() {
        true => Err("no judge was asked; give --judge ffmpeg"),
        false => Ok(report.judged.iter().filter(|judged| !judged.agrees).count() as f64),
    }),
];
const TIMES: &[Time] = &[
    ("latency", |report| Ok(looked(report)?.latency_ms.as_ref()), GIVE_MARKS),
    ("join", |report| Ok(Some(&looked(report)?.join_ms)), NO_FRAME),
    ("first_key", |report| Ok(Some(&looked(report)?.first_key_ms)), NO_FRAME),
    ("gap", |report| Ok(Some(&looked(report)?.frame_gap_ms)), NO_FRAME),
    ("playlist", |report| Ok(Some(&hls(report)?.playlist_ms)), NO_ANSWER),
    ("media", |report| Ok(Some(&hls(report)?.media_ms)), NO_ANSWER),
    ("reload_spread", |report| Ok(Some(&hls(report)?.reload_spread_ms)), NO_RELOAD),
    ("reload", |report| Ok(Some(&hls(report)?.reload_ms)), NO_RELOAD),
    ("publish_late", |report| Ok(Some(&published(report)?.late_ms)), NO_FRAME_SENT),
];
const QUANTILES: &[(&str, f64)] =
    &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

const GIVE_PID: &str = "it was not measured; give --pid PID or --metrics URL";
const NOT_SHARED: &str =
    "it is not measurable; give --viewers 100 or more, and a server that is freshly started";
const GIVE_INSPECT: &str = "nobody looked; give --inspect 2%";
const GIVE_PUBLISH: &str = "the run published nothing; give --publish URL";
const GIVE_HLS: &str = "nobody watched HLS; give --url http://HOST/APP/NAME.m3u8";
const NO_ANSWER: &str = "none was answered";
const NO_RELOAD: &str = "no blocking reload was timed; give --low-latency and --inspect 1%, and for \
                         those from the picture that ends a part a stream of corecast-load publish";
const NO_FRAME_SENT: &str = "no frame was published";
const NO_FRAME: &str = "no inspected viewer received a frame";
const GIVE_MARKS: &str =
    "the stream carried no marks to tell it by; publish it with corecast-load publish";

fn looked(report: &Report) -> Found<&Inspected> {
    report.inspected.as_ref().ok_or(GIVE_INSPECT)
}

fn hls(report: &Report) -> Found<&Hls> {
    report.hls.as_ref().ok_or(GIVE_HLS)
}

fn published(report: &Report) -> Found<&Published> {
    report.published.as_ref().ok_or(GIVE_PUBLISH)
}

fn inspected(report: &Report) -> Found<&Inspected> {
    let inspected = looked(report)?;
    if inspected.frames == 0 { Err(NO_FRAME) } else { Ok(inspected) }
}

fn marked(report: &Report) -> Found<&Inspected> {
    let inspected = inspected(report)?;
    if inspected.marked == 0 { Err(GIVE_MARKS) } else { Ok(inspected) }
}

impl Thresholds {
    /// One line for each figure that is above its threshold, or is not known.
    pub fn exceeded(&self, report: &Report) -> Vec<String> {
        let line = |Threshold { figure, most }: &Threshold| match figure.of(report) {
            Ok(found) if found <= *most => None,
            Ok(found) => {
                // As exact as it takes to see that it is more.
                let found = (found * 1e4).round() / 1e4;
                Some(format!("{}: expected at most {most}, found {found}", figure.name()))
            }
            Err(why) => Some(format!("{}: expected at most {most}, but {why}", figure.name())),
        };
        self.0.iter().filter_map(line).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected NAME=MOST, found {text:?}; {}", Figure::names());
        let (name, most) = text.split_once('=').ok_or_else(expected)?;
        let figure = Figure::named(name.trim()).ok_or_else(expected)?;
        let most = most.trim().parse().ok().filter(|most: &f64| most.is_finite() && *most >= 0.0);
        let most = most.ok_or_else(|| {
            format!("expected a number without a unit after {name}=, found {text:?}")
        })?;
        Ok(Self { figure, most })
    }
}

impl Figure {
    fn named(name: &str) -> Option<Self> {
        let count = COUNTS.iter().position(|(known, _)| *known == name).map(Self::Count);
        count.or_else(|| {
            let (what, quantile) = name.strip_suffix("_ms")?.rsplit_once('_')?;
            let what = TIMES.iter().position(|(known, ..)| *known == what)?;
            let quantile = QUANTILES.iter().position(|(known, _)| *known == quantile)?;
            Some(Self::Time(what, quantile))
        })
    }

    fn name(self) -> String {
        match self {
            Self::Count(at) => COUNTS[at].0.to_owned(),
            Self::Time(what, quantile) => format!("{}_{}_ms", TIMES[what].0, QUANTILES[quantile].0),
        }
    }

    fn names() -> String {
        let list = |names: Vec<&str>| names.join(", ");
        format!(
            "the names are {}, and WHAT_SHARE_ms of WHAT {} and SHARE {}",
            list(COUNTS.iter().map(|(name, _)| *name).collect()),
            list(TIMES.iter().map(|(name, ..)| *name).collect()),
            list(QUANTILES.iter().map(|(name, _)| *name).collect()),
        )
    }

    fn of(self, report: &Report) -> Found<f64> {
        match self {
            Self::Count(at) => COUNTS[at].1(report),
            Self::Time(what, quantile) => {
                let (_, distribution, why) = TIMES[what];
                let distribution = distribution(report)?.ok_or(why)?;
                distribution.value_at(QUANTILES[quantile].1).ok_or(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{bare, plausible};
    use super::*;

    fn exceeded(text: &str, report: &Report) -> Vec<String> {
        text.parse::<Thresholds>().expect("known names").exceeded(report)
    }

    #[test]
    fn a_figure_may_be_as_much_as_its_threshold_and_no_more() {
        let report = plausible(1);
        assert!(
            exceeded("cpu_per_1000=4.5,missing=0, lost=0,latency_p99_ms=400", &report).is_empty()
        );
        let lines = exceeded("cpu_per_1000=4.4,rss_per_viewer_kb=1,lost=0", &report);
        assert_eq!(
            lines,
            [
                "cpu_per_1000: expected at most 4.4, found 4.5",
                "rss_per_viewer_kb: expected at most 1, found 1.85",
            ]
        );
        let mut hungry = plausible(1);
        hungry.viewers.starved = 3;
        if let Some(inspected) = &mut hungry.inspected {
            (inspected.frames, inspected.without_key) = (0, 4);
        }
        let lines = exceeded("without_key=3", &hungry);
        assert_eq!(lines, ["without_key: expected at most 3, found 4"]);
        let lines = exceeded("starved=2", &hungry);
        assert_eq!(lines, ["starved: expected at most 2, found 3"]);
        assert!(exceeded("publish_late_p99_ms=1", &report).is_empty());
        assert_eq!(exceeded("publish_late_p99_ms=0.1", &report).len(), 1);
        assert!(exceeded("publish_late_p99_ms=1", &bare())[0].contains("--publish"));
        let lines = exceeded("latency_max_ms=3,join_p50_ms=0.1,gap_p999_ms=1000", &report);
        assert_eq!(lines.len(), 2, "{lines:?}");
    }

    #[test]
    fn what_was_not_measured_is_not_below_a_threshold() {
        let lines = exceeded("cpu_per_1000=6,missing=0,first_key_p99_ms=9,disagreeing=0", &bare());
        for (line, cure) in lines.iter().zip(["--pid", "--inspect", "--inspect", "--judge"]) {
            assert!(line.contains(cure), "{line}");
        }
        assert_eq!(lines.len(), 4);
        let mut report = plausible(1);
        if let Some(inspected) = &mut report.inspected {
            (inspected.marked, inspected.latency_ms) = (0, None);
        }
        for line in exceeded("missing=0,latency_p50_ms=1", &report) {
            assert!(line.contains("no marks"), "{line}");
        }
        if let Some(inspected) = &mut report.inspected {
            inspected.frames = 0;
        }
        assert_eq!(exceeded("stalls=0", &report).len(), 1);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for text in ["cpu", "cpus=1", "latency_p98_ms=3", "latency_p99=3", ""] {
            let error = text.parse::<Thresholds>().expect_err("no such threshold");
            assert!(error.contains("cpu_per_1000, cpu, own_cpu"), "{error}");
            assert!(error.contains("p999"), "{error}");
        }
        for text in ["cpu=6%", "cpu=", "missing=-1", "lost=NaN"] {
            let error = text.parse::<Thresholds>().expect_err("no such number");
            assert!(error.contains("without a unit"), "{error}");
        }
    }

    #[test]
    fn every_figure_is_found_by_its_own_name() {
        let times = (0..TIMES.len()).flat_map(|what| {
            (0..QUANTILES.len()).map(move |quantile| Figure::Time(what, quantile))
        });
        for figure in (0..COUNTS.len()).map(Figure::Count).chain(times) {
            assert_eq!(Figure::named(&figure.name()), Some(figure));
        }
    }
}
