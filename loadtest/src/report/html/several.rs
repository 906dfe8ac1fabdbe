//! Several runs on one page: what compares them, then each for itself.

use maud::{Markup, html};

use super::super::figures::{bytes, count, mbit_s, millis, number, percent};
use super::super::plot::{Bar, Bars, Color};
use super::super::{Report, series};
use super::{document, folded, prose, warnings};

/// What stands above several runs that were measured together, instead of what compares them.
pub(crate) struct Lead {
    pub(crate) title: String,
    /// Where and when.
    pub(crate) facts: Vec<String>,
    pub(crate) paragraphs: Vec<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) bars: Vec<Bars>,
    pub(crate) columns: Vec<String>,
    /// As many cells each as there are columns.
    pub(crate) rows: Vec<Vec<String>>,
}

/// A page of a `lead`, and of each run for itself.
pub(crate) fn led(lead: &Lead, runs: &[(String, Report)]) -> String {
    let content = html! {
        header {
            h1 { (lead.title) }
            p.facts { @for fact in &lead.facts { span { (fact) } " " } }
            @for paragraph in &lead.paragraphs { p { (prose(paragraph)) } }
        }
        (warnings(&lead.warnings))
        section.plots { @for bars in &lead.bars { (bars.figure()) } }
        section {
            h2 { "All figures" }
            div.scroll { table.runs {
                tr { @for name in &lead.columns { th scope="col" { (name) } } }
                @for row in &lead.rows {
                    tr {
                        @for (at, cell) in row.iter().enumerate() {
                            @if at == 0 { th scope="row" { (cell) } }
                            @else { td.figure { (cell) } }
                        }
                    }
                }
            } }
        }
        @for (name, report) in runs { (folded(name, report)) }
    };
    document(&lead.title, &content)
}

/// A figure by which runs are compared: less is better.
type Measure = (&'static str, fn(&Report) -> Option<f64>, fn(f64) -> String);

const MEASURES: &[Measure] = &[
    ("CPU per 1000 viewers, of one core", |run| run.cost.cpu_percent_per_1000, percent),
    ("Memory per viewer", |run| run.cost.rss_per_viewer_bytes, bytes),
    ("Latency, p99", |run| run.inspected.as_ref()?.latency_ms.as_ref()?.value_at(0.99), millis),
    ("First key frame, p99", |run| run.inspected.as_ref()?.first_key_ms.value_at(0.99), millis),
];

pub(super) fn side_by_side<'a>(runs: &'a [(String, Report)]) -> Markup {
    // Each run has one colour throughout.
    let latency = |(at, (name, run)): (usize, &'a (String, Report))| {
        Some((name.as_str(), Color::Rank(at), run.inspected.as_ref()?.latency_ms.as_ref()?))
    };
    let latencies: Vec<_> = runs.iter().enumerate().filter_map(latency).collect();
    let latency = series::distribution("Latency, by share of pictures", &latencies);
    html! {
        section.plots {
            @for measure in MEASURES {
                @if let Some(bars) = bars(runs, measure) { (bars.figure()) }
            }
            @for plot in [series::cpu_of(runs), latency].iter().flatten() { (plot.figure()) }
        }
        section {
            h2 { "All figures" }
            div.scroll { table.runs {
                tr {
                    th scope="col" { "run" }
                    @for name in ["CPU / 1000", "viewers", "lost", "egress", "missing", "latency p50", "p99", "memory / viewer"] {
                        th scope="col" { (name) }
                    }
                }
                @for (name, run) in runs {
                    @let inspected = run.inspected.as_ref();
                    @let latency = inspected.and_then(|i| i.latency_ms.as_ref());
                    @let at = |quantile| latency.and_then(|l| l.value_at(quantile)).map_or("-".to_owned(), millis);
                    tr {
                        th scope="row" { (name) }
                        td.figure { (run.cost.cpu_percent_per_1000.map_or("-".to_owned(), percent)) }
                        td.figure { (count(run.viewers.watching.round() as u64)) }
                        td.figure { (count((run.viewers.lost + run.viewers.refused) as u64)) }
                        td.figure { (mbit_s(run.viewers.egress_mbit_s)) }
                        td.figure { (inspected.filter(|i| i.marked > 0).map_or("-".to_owned(), |i| count(i.missing))) }
                        td.figure { (at(0.5)) }
                        td.figure { (at(0.99)) }
                        td.figure { (run.cost.rss_per_viewer_bytes.map_or("-".to_owned(), bytes)) }
                    }
                }
            } }
        }
    }
}

/// None if fewer than two runs have it: there is nothing to compare.
fn bars(runs: &[(String, Report)], (title, value, text): &Measure) -> Option<Bars> {
    let first = value(&runs.first()?.1).filter(|value| *value > 0.0);
    let bar = |(at, (name, run)): (usize, &(String, Report))| Bar {
        name: name.clone(),
        value: value(run),
        limit: None,
        text: match (value(run), first) {
            (None, _) => "not measured".to_owned(),
            (Some(value), Some(first)) if at > 0 => {
                format!("{}, {} ×", text(value), number(value / first))
            }
            (Some(value), _) => text(value),
        },
        color: Color::Rank(at),
    };
    let bars: Vec<_> = runs.iter().enumerate().map(bar).collect();
    let known = bars.iter().filter(|bar| bar.value.is_some()).count();
    let about = format!("Less is better; × is in proportion to {}.", runs.first()?.0);
    (known > 1).then(|| Bars { title: (*title).to_owned(), about, bars })
}

#[cfg(test)]
mod tests {
    use super::super::super::samples::plausible;
    use super::super::page;
    use super::*;

    #[test]
    fn runs_are_compared_with_the_first() {
        let runs = [("floor", 1), ("one", 2), ("another", 4)]
            .map(|(name, seed)| (name.to_owned(), plausible(seed)));
        let bars = bars(&runs, &MEASURES[0]).expect("all have it");
        let texts: Vec<_> = bars.bars.iter().map(|bar| bar.text.as_str()).collect();
        assert_eq!(texts, ["4.50 %", "9.00 %, 2.00 ×", "18.0 %, 4.00 ×"]);
        let page = page(&runs);
        assert!(page.contains("3 runs side by side") && page.contains("<summary>another"));
    }
}
