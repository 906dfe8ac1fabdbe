//! A run as plots: what each second cost, carried and felt, and how times are distributed.

use super::axis::{Axis, Scale, Unit, nines};
use super::figures::{bytes, mbit_s, millis, percent, seconds};
use super::plot::{Color, Line, Plot};
use super::{Distribution, Report, Sample};
use crate::soak::Held;

/// What can be drawn, and a sentence for each plot that cannot.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) plots: Vec<Plot>,
    pub(super) left_out: Vec<&'static str>,
}

/// More points than this are not to be told apart, and make the page large.
const POINTS_MAX: usize = 400;
/// Where values are so many times apart, equal steps would hide the small ones.
const DECADES_FROM: f64 = 30.0;

/// A column of samples.
type Column = (&'static str, Color, fn(&Sample) -> Option<f64>);

/// All plots of one run, those that belong together side by side.
pub(super) fn of(report: &Report) -> Series {
    let (samples, each) = thinned(&report.samples);
    let seconds = Seconds { report, samples, each };
    let joined = [seconds.cpu(), seconds.egress(), seconds.viewers()];
    let felt = [seconds.latency(), latency(report), seconds.memory(), joins(report)];
    let mut series = Series::default();
    for found in joined.into_iter().chain(felt).chain(held(report)) {
        match found {
            Ok(plot) => series.plots.push(plot),
            Err(why) if series.left_out.contains(&why) => {}
            Err(why) => series.left_out.push(why),
        }
    }
    series
}

const NO_SAMPLES: &str = "Plots over time: the run was too short, or kept no samples.";
const NO_LATENCY: &str = "Latency: it is measured at inspected viewers (--inspect 2%) by the marks \
                          that corecast-load publish puts into the stream.";
const NO_JOINS: &str = "Times to join: give --inspect 2%.";
const NO_MEMORY: &str = "The server's memory: give --pid PID of its process on this host.";

/// A plot, or how to have it.
type Found = Result<Plot, &'static str>;

/// The run second by second.
struct Seconds<'a> {
    report: &'a Report,
    samples: Vec<Sample>,
    /// So many of the run's are one here.
    each: usize,
}

impl Seconds<'_> {
    fn has(&self, wanted: fn(&Sample) -> bool) -> bool {
        self.samples.iter().any(wanted)
    }

    fn cpu(&self) -> Found {
        let generator: Column = ("generator", Color::Quiet, |sample| Some(sample.own_cpu_percent));
        let server: Column = ("server", Color::Rank(0), |sample| sample.cpu_percent);
        let (about, columns) = match self.has(|sample| sample.cpu_percent.is_some()) {
            true => {
                let mean = self.report.cost.cpu_percent.map(percent);
                let mean = mean.map(|mean| format!("The server's mean is {mean}."));
                (mean.unwrap_or_default(), vec![generator, server])
            }
            false => {
                let cure = "Of the server it was not measured: give --pid PID of its process on \
                            this host, or --metrics URL of one elsewhere.";
                (cure.to_owned(), vec![generator])
            }
        };
        self.plot("CPU, of one core", about, Unit::Percent, &columns)
    }

    fn egress(&self) -> Found {
        let mean = mbit_s(self.report.viewers.egress_mbit_s);
        self.plot(
            "Egress",
            format!("{mean} in the measured time, for all viewers."),
            Unit::MbitS,
            &[("egress", Color::Rank(0), |sample| Some(sample.egress_mbit_s))],
        )
    }

    fn viewers(&self) -> Found {
        let watching: Column = ("watching", Color::Rank(0), |sample| Some(sample.viewers as f64));
        let lost: Column = ("lost", Color::Rank(1), |sample| Some(sample.lost as f64));
        let (about, columns) = match self.has(|sample| sample.lost > 0) {
            true => ("Those lost or refused are of each second.", vec![watching, lost]),
            false => ("None was lost or refused.", vec![watching]),
        };
        self.plot("Viewers", about.to_owned(), Unit::Count, &columns)
    }

    fn latency(&self) -> Found {
        if !self.has(|sample| sample.latency_ms.is_some()) {
            return Err(NO_LATENCY);
        }
        self.plot(
            "Latency",
            "From the publisher's socket to the viewer's, in each second.".to_owned(),
            Unit::Millis,
            &[
                ("max", Color::Shade(2), |sample| Some(sample.latency_ms?[2])),
                ("p99", Color::Shade(1), |sample| Some(sample.latency_ms?[1])),
                ("p50", Color::Shade(0), |sample| Some(sample.latency_ms?[0])),
            ],
        )
    }

    fn memory(&self) -> Found {
        if !self.has(|sample| sample.rss_bytes.is_some()) {
            return Err(NO_MEMORY);
        }
        let each = self.report.cost.rss_per_viewer_bytes.map(bytes);
        let each = each.map(|each| {
            format!("It grew by {each} for each viewer, the stream's buffers included.")
        });
        let column: Column = ("resident", Color::Rank(0), |sample| Some(sample.rss_bytes? as f64));
        self.plot("Memory of the server", each.unwrap_or_default(), Unit::Bytes, &[column])
    }

    fn plot(&self, title: &str, about: String, unit: Unit, columns: &[Column]) -> Found {
        let end = self.samples.last().ok_or(NO_SAMPLES)?.at_s;
        let line = |(name, color, value): &Column| Line {
            name: (*name).to_owned(),
            color: *color,
            points: self.samples.iter().map(|sample| (sample.at_s, value(sample))).collect(),
        };
        let lines: Vec<_> = columns.iter().map(line).collect();
        let scale = if unit == Unit::Millis { scale(&lines) } else { Scale::Linear };
        let begin = self.report.about.window_begin_s;
        // A band that is nearly everything says nothing.
        let band = (begin > 0.02 * end && begin < end).then(|| {
            let until = (begin + self.report.about.window_s).min(end);
            (begin, until, "measured".to_owned())
        });
        let about = match self.each {
            1 => about,
            each => format!("{about} Each point stands for {each} samples."),
        };
        Ok(Plot {
            title: title.to_owned(),
            about,
            x: Axis::exact(Unit::Seconds, [0.0, end].into_iter()),
            y: Axis::round(unit, scale, values(&lines)),
            lines,
            band,
        })
    }
}

/// Descriptors and threads over time, of a soak.
fn held(report: &Report) -> impl Iterator<Item = Found> {
    type Value = fn(&Held) -> Option<u64>;
    let kinds: [(&str, &str, Value); 2] = [
        ("File descriptors of the server", "open", |held| held.fds),
        ("Threads of the server", "threads", |held| held.threads),
    ];
    let held = report.soak.as_ref().map_or(&[][..], |soak| &soak.held);
    let each = held.len().div_ceil(POINTS_MAX).max(1);
    kinds.into_iter().filter_map(move |(title, name, value)| {
        let points = held.iter().step_by(each);
        let points: Vec<_> =
            points.map(|held| (held.at_s, value(held).map(|value| value as f64))).collect();
        let lines = vec![Line { name: name.to_owned(), color: Color::Rank(0), points }];
        values(&lines).next()?;
        let times = lines[0].points.iter().map(|(x, _)| *x);
        Some(Ok(Plot {
            title: title.to_owned(),
            about: "Of the whole soak; the verdict is of the second half.".to_owned(),
            x: Axis::exact(Unit::Seconds, times.chain([0.0])),
            y: Axis::round(Unit::Count, Scale::Linear, values(&lines)),
            lines,
            band: None,
        }))
    })
}

fn latency(report: &Report) -> Found {
    let inspected = report.inspected.as_ref().ok_or(NO_LATENCY)?;
    let latency = inspected.latency_ms.as_ref().ok_or(NO_LATENCY)?;
    distribution("Latency, by share of pictures", &[("latency", Color::Rank(0), latency)])
        .ok_or(NO_LATENCY)
}

fn joins(report: &Report) -> Found {
    let inspected = report.inspected.as_ref().ok_or(NO_JOINS)?;
    let lines = [
        ("first key", Color::Rank(0), &inspected.first_key_ms),
        ("let in", Color::Rank(1), &inspected.join_ms),
    ];
    distribution("Times to join, by share of viewers", &lines).ok_or(NO_JOINS)
}

/// One plot of how several times are distributed. None if there are none.
pub(super) fn distribution(title: &str, of: &[(&str, Color, &Distribution)]) -> Option<Plot> {
    let full: Vec<_> = of.iter().filter(|(.., distribution)| !distribution.is_empty()).collect();
    if full.is_empty() {
        return None;
    }
    let line = |(name, color, distribution): &&(&str, Color, &Distribution)| Line {
        name: (*name).to_owned(),
        color: *color,
        points: percentiles(distribution),
    };
    let lines: Vec<_> = full.iter().map(line).collect();
    let about = full.iter().filter_map(|(name, _, distribution)| {
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|at| distribution.value_at(at).map(millis));
        let whose = if of.len() > 1 { format!("{name}: ") } else { String::new() };
        Some(format!("{whose}p50 {}, p99 {}, max {}", p50?, p99?, max?))
    });
    let about: Vec<_> = about.collect();
    // More would be a table, and there is one.
    let about = if about.len() > 2 { String::new() } else { format!("{}.", about.join("; ")) };
    let x = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    Some(Plot {
        title: title.to_owned(),
        about,
        x: Axis::exact(Unit::Nines, x),
        y: Axis::round(Unit::Millis, scale(&lines), values(&lines)),
        lines,
        band: None,
    })
}

/// From the least to the largest: each further nine takes as much room as the last.
fn percentiles(distribution: &Distribution) -> Vec<(f64, Option<f64>)> {
    const STEPS: u32 = 120;
    let end = nines(1.0 - 1.0 / (distribution.count().max(2) as f64)).min(6.0);
    let point = |step: u32| {
        let at = end * f64::from(step) / f64::from(STEPS);
        let quantile = if step == STEPS { 1.0 } else { 1.0 - 10f64.powf(-at) };
        (at, distribution.value_at(quantile))
    };
    (0..=STEPS).map(point).collect()
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y))
}

fn scale(lines: &[Line]) -> Scale {
    let most = values(lines).fold(0.0, f64::max);
    let middle = |line: &Line| {
        let mut values: Vec<_> = line.points.iter().filter_map(|(_, y)| *y).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let least = lines.iter().filter_map(middle).fold(f64::INFINITY, f64::min);
    if least > 0.0 && most > DECADES_FROM * least { Scale::Log } else { Scale::Linear }
}

/// At most [`POINTS_MAX`] samples, and how many of the run's each stands for: means of what is a
/// rate, the worst of what is a worst case, the last of what is a state.
fn thinned(samples: &[Sample]) -> (Vec<Sample>, usize) {
    let each = samples.len().div_ceil(POINTS_MAX).max(1);
    (samples.chunks(each).filter_map(one_of).collect(), each)
}

fn one_of(samples: &[Sample]) -> Option<Sample> {
    let mean = |value: fn(&Sample) -> Option<f64>| {
        let known: Vec<_> = samples.iter().filter_map(value).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    };
    let worst = |at: usize| {
        samples.iter().filter_map(|sample| Some(sample.latency_ms?[at])).reduce(f64::max)
    };
    let p50 = mean(|sample| Some(sample.latency_ms?[0]));
    let latency = || Some([p50?, worst(1)?, worst(2)?]);
    Some(Sample {
        cpu_percent: mean(|sample| sample.cpu_percent),
        own_cpu_percent: mean(|sample| Some(sample.own_cpu_percent))?,
        egress_mbit_s: mean(|sample| Some(sample.egress_mbit_s))?,
        latency_ms: latency(),
        missing: samples.iter().map(|sample| sample.missing).sum(),
        joined: samples.iter().map(|sample| sample.joined).sum(),
        lost: samples.iter().map(|sample| sample.lost).sum(),
        refused: samples.iter().map(|sample| sample.refused).sum(),
        ..samples.last()?.clone()
    })
}

/// Time as an axis of several runs that began at different times: from their begin on.
pub(super) fn cpu_of(runs: &[(String, Report)]) -> Option<Plot> {
    let line = |(at, (name, report)): (usize, &(String, Report))| Line {
        name: name.clone(),
        color: Color::Rank(at),
        points: thinned(&report.samples).0.iter().map(|s| (s.at_s, s.cpu_percent)).collect(),
    };
    let lines: Vec<_> = runs.iter().enumerate().map(line).collect();
    values(&lines).next()?;
    let lines: Vec<_> =
        lines.into_iter().filter(|line| line.points.iter().any(|p| p.1.is_some())).collect();
    let times = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    Some(Plot {
        title: "CPU of each server, of one core".to_owned(),
        about: format!("Over {}.", seconds(times.clone().fold(0.0, f64::max).round())),
        x: Axis::exact(Unit::Seconds, times.chain([0.0])),
        y: Axis::round(Unit::Percent, Scale::Linear, values(&lines)),
        lines,
        band: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{bare, plausible, soaked};
    use super::*;

    #[test]
    fn a_full_run_has_every_plot_and_a_bare_one_says_how_to_get_them() {
        let full = of(&plausible(1));
        assert_eq!((full.plots.len(), full.left_out.len()), (7, 0), "{:?}", full.left_out);
        let soaked = Report { soak: Some(soaked()), ..plausible(1) };
        assert_eq!(of(&soaked).plots.len(), 9);
        let bare = of(&bare());
        assert!(bare.plots[0].about.contains("--pid"), "{}", bare.plots[0].about);
        assert_eq!((bare.plots.len(), bare.left_out), (3, vec![NO_LATENCY, NO_MEMORY, NO_JOINS]));
        assert_eq!(of(&Report::default()).plots.len(), 0);
    }

    #[test]
    fn a_long_run_keeps_its_worst_seconds() {
        let mut report = plausible(1);
        let second = |at: u32| Sample {
            at_s: f64::from(at),
            viewers: 10,
            cpu_percent: Some(2.0),
            lost: usize::from(at == 777),
            latency_ms: (at != 5).then_some([1.0, 2.0, if at == 777 { 900.0 } else { 3.0 }]),
            ..Sample::default()
        };
        report.samples = (1..=3601).map(second).collect();
        let (samples, each) = thinned(&report.samples);
        assert!(samples.len() <= POINTS_MAX && each == 10, "{} of {each}", samples.len());
        assert_eq!(samples.iter().map(|sample| sample.lost).sum::<usize>(), 1);
        let worst = samples.iter().filter_map(|sample| Some(sample.latency_ms?[2]));
        assert_eq!(worst.fold(0.0, f64::max), 900.0);
        assert_eq!(samples.last().map(|sample| sample.at_s), Some(3601.0));
        assert!(of(&report).plots[0].about.contains("10 samples"));
    }

    #[test]
    fn values_of_many_sizes_are_shown_by_their_logarithm() {
        let line = |values: &[f64]| Line {
            name: String::new(),
            color: Color::Quiet,
            points: values.iter().map(|y| (0.0, Some(*y))).collect(),
        };
        assert_eq!(scale(&[line(&[175.0; 3]), line(&[360.0; 3])]), Scale::Linear);
        assert_eq!(scale(&[line(&[1.0; 3]), line(&[2.0, 2.0, 80.0])]), Scale::Log);
        assert_eq!(scale(&[line(&[0.0; 3])]), Scale::Linear);
    }

    #[test]
    fn a_percentile_plot_ends_at_the_largest_value() {
        let report = plausible(1);
        let latency = report.inspected.and_then(|inspected| inspected.latency_ms).expect("it has");
        let points = percentiles(&latency);
        assert_eq!(points.last().and_then(|(_, y)| *y), latency.value_at(1.0));
        assert!((points.last().expect("points").0 - 15_000f64.log10()).abs() < 1e-9);
    }
}
