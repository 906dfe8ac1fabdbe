//! A run as plots: what each second cost, carried and felt, and how times are distributed.

use super::axis::{Axis, Scale, Unit, nines};
use super::figures::{bytes, many, mbit_s, millis, percent, seconds};
use super::plot::{Color, Line, Plot};
use super::{Distribution, Report, Sample};

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

/// All plots of one run.
pub(super) fn of(report: &Report) -> Series {
    let (samples, each) = thinned(&report.samples);
    let mut series = Series::default();
    if samples.is_empty() {
        series.left_out.push("Plots over time: the run kept no samples.");
    } else {
        over_time(report, &samples, each, &mut series);
    }
    let inspected = report.inspected.as_ref();
    let latency = inspected.and_then(|inspected| inspected.latency_ms.as_ref());
    match latency
        .map(|latency| distribution("Latency, by share of pictures", &[("latency", latency)]))
    {
        Some(Some(plot)) => series.plots.push(plot),
        _ => series.left_out.push(
            "Latency: it is measured at inspected viewers (--inspect 2%) by the marks that \
             corecast-load publish puts into the stream.",
        ),
    }
    let joins = inspected.and_then(|inspected| {
        let lines = [("first key", &inspected.first_key_ms), ("let in", &inspected.join_ms)];
        distribution("Times to join, by share of viewers", &lines)
    });
    match joins {
        Some(plot) => series.plots.push(plot),
        None => series.left_out.push("Times to join: give --inspect 2%."),
    }
    series
}

fn over_time(report: &Report, samples: &[Sample], each: usize, series: &mut Series) {
    let cost = &report.cost;
    let plot = |title: &str, about: String, unit, columns: &[Column]| {
        let about = match each {
            1 => about,
            _ => {
                format!("{about} Each point stands for {}.", many(each as u64, "sample", "samples"))
            }
        };
        time_plot(report, samples, title.to_owned(), about, unit, columns)
    };
    let has = |column: fn(&Sample) -> bool| samples.iter().any(column);

    let about = match cost.cpu_percent {
        Some(cpu) => format!("The server's mean is {}.", percent(cpu)),
        None => "The server's was not measured.".to_owned(),
    };
    let mut columns: Vec<Column> =
        vec![("generator", Color::Quiet, |sample| Some(sample.own_cpu_percent))];
    match has(|sample| sample.cpu_percent.is_some()) {
        true => columns.push(("server", Color::Rank(0), |sample| sample.cpu_percent)),
        false => series.left_out.push(
            "The server's CPU: give --pid PID of its process on this host, or --metrics URL of a \
             Corecast elsewhere.",
        ),
    }
    series.plots.push(plot("CPU, of one core", about, Unit::Percent, &columns));

    series.plots.push(plot(
        "Egress",
        format!("{} in the measured time, for all viewers.", mbit_s(report.viewers.egress_mbit_s)),
        Unit::MbitS,
        &[("egress", Color::Rank(0), |sample| Some(sample.egress_mbit_s))],
    ));

    let lost = has(|sample| sample.lost > 0);
    let mut columns: Vec<Column> = vec![("watching", Color::Rank(0), |s| Some(s.viewers as f64))];
    if lost {
        columns.push(("lost", Color::Rank(1), |sample| Some(sample.lost as f64)));
    }
    let about = if lost { "Lost: in each second." } else { "None was lost or refused." };
    series.plots.push(plot("Viewers", about.to_owned(), Unit::Count, &columns));

    if has(|sample| sample.latency_ms.is_some()) {
        series.plots.push(plot(
            "Latency",
            "From the publisher's socket to the viewer's, in each second.".to_owned(),
            Unit::Millis,
            &[
                ("max", Color::Shade(2), |sample| Some(sample.latency_ms?[2])),
                ("p99", Color::Shade(1), |sample| Some(sample.latency_ms?[1])),
                ("p50", Color::Shade(0), |sample| Some(sample.latency_ms?[0])),
            ],
        ));
    }

    match has(|sample| sample.rss_bytes.is_some()) {
        true => series.plots.push(plot(
            "Memory of the server",
            match cost.rss_per_viewer_bytes {
                Some(each) => format!("Resident; {} for each viewer.", bytes(each)),
                None => "Resident.".to_owned(),
            },
            Unit::Bytes,
            &[("resident", Color::Rank(0), |sample| Some(sample.rss_bytes? as f64))],
        )),
        false => series.left_out.push("The server's memory: give --pid PID, as for its CPU."),
    }
}

fn time_plot(
    report: &Report,
    samples: &[Sample],
    title: String,
    about: String,
    unit: Unit,
    columns: &[Column],
) -> Plot {
    let line = |(name, color, value): &Column| Line {
        name: (*name).to_owned(),
        color: *color,
        points: samples.iter().map(|sample| (sample.at_s, value(sample))).collect(),
    };
    let lines: Vec<_> = columns.iter().map(line).collect();
    let end = samples.last().map_or(0.0, |sample| sample.at_s);
    let scale = if unit == Unit::Millis { scale(&lines) } else { Scale::Linear };
    let measured =
        (report.about.window_begin_s, report.about.window_begin_s + report.about.window_s);
    // A band that is nearly everything says nothing.
    let band = (measured.0 > 0.02 * end && measured.0 < end)
        .then(|| (measured.0, measured.1.min(end), "measured".to_owned()));
    Plot {
        title,
        about,
        x: Axis::exact(Unit::Seconds, [0.0, end].into_iter()),
        y: Axis::round(unit, scale, values(&lines)),
        lines,
        band,
    }
}

/// One plot of how several times are distributed. None if there are none.
pub(super) fn distribution(title: &str, of: &[(&str, &Distribution)]) -> Option<Plot> {
    let colors: &[Color] = &[
        Color::Rank(0),
        Color::Rank(1),
        Color::Rank(2),
        Color::Rank(3),
        Color::Rank(4),
        Color::Rank(5),
    ];
    let line = |((name, distribution), color): (&(&str, &Distribution), &Color)| Line {
        name: (*name).to_owned(),
        color: *color,
        points: percentiles(distribution),
    };
    let full = of.iter().filter(|(_, distribution)| !distribution.is_empty());
    let lines: Vec<_> = full.zip(colors.iter().cycle()).map(line).collect();
    let about: Vec<_> = lines
        .iter()
        .zip(of.iter().filter(|(_, distribution)| !distribution.is_empty()))
        .filter_map(|(line, (_, distribution))| {
            let [p50, p99, max] = [0.5, 0.99, 1.0].map(|at| distribution.value_at(at));
            let whose = if of.len() > 1 { format!("{}: ", line.name) } else { String::new() };
            Some(format!("{whose}p50 {}, p99 {}, max {}", millis(p50?), millis(p99?), millis(max?)))
        })
        .collect();
    let x = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    Some(Plot {
        title: title.to_owned(),
        about: format!("{}.", (!about.is_empty()).then(|| about.join("; "))?),
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
        joined: samples.iter().map(|sample| sample.joined).sum(),
        lost: samples.iter().map(|sample| sample.lost).sum(),
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
        about: format!("Over {}.", seconds(times.clone().fold(0.0, f64::max))),
        x: Axis::exact(Unit::Seconds, times.chain([0.0])),
        y: Axis::round(Unit::Percent, Scale::Linear, values(&lines)),
        lines,
        band: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples::{bare, plausible};
    use super::*;

    #[test]
    fn a_full_run_has_every_plot_and_a_bare_one_says_how_to_get_them() {
        let full = of(&plausible(1));
        assert_eq!((full.plots.len(), full.left_out.len()), (7, 0), "{:?}", full.left_out);
        let bare = of(&bare());
        assert_eq!(bare.plots.len() + bare.left_out.len(), 7, "{:?}", bare.left_out);
        for cure in ["--pid", "--inspect"] {
            assert!(bare.left_out.iter().any(|sentence| sentence.contains(cure)), "{cure}");
        }
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
