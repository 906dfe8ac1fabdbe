//! A run, or several side by side, as one page that needs nothing from elsewhere: its plots are SVG
//! within it, light or dark as its reader is, and its script only adds values beside the pointer.

mod several;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::figures::{bytes, count, glued, many, mbit_s, millis, percent, seconds};
use super::plot::STYLE;
use super::table::{self, GIVE_PID, Row, Times};
use super::{Inspected, Report, series};
pub(crate) use several::{Lead, led};

const PAGE_STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. Of several runs each has its name, and all are compared with the first.
pub fn page(runs: &[(String, Report)]) -> String {
    let title = match runs {
        [(_, report)] => format!("Load on {}", whom(report)),
        _ => format!("{} side by side", many(runs.len() as u64, "run", "runs")),
    };
    let content = html! {
        @match runs {
            [(_, report)] => { (head(&title, report)) (body(report)) }
            _ => {
                header { h1 { (title) } }
                (several::side_by_side(runs))
                @for (name, report) in runs { (folded(name, report)) }
            }
        }
    };
    document(&title, &content)
}

fn document(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(PAGE_STYLE)) }
            }
            body {
                main { (content) (notes()) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn folded(name: &str, report: &Report) -> Markup {
    html! {
        details.run {
            summary { (name) }
            (head(name, report)) (body(report))
        }
    }
}

fn whom(report: &Report) -> &str {
    report.about.server.as_deref().unwrap_or(&report.about.url)
}

fn head(title: &str, report: &Report) -> Markup {
    html! {
        header {
            h1 { (title) }
            p.facts {
                span { (report.about.url) } " "
                span { (report.about.date.replace('T', " ").replace('Z', " UTC")) } " "
                span { (report.about.machine) } " "
                span { (report.about.kernel) }
            }
            p.verdict { (prose(&table::verdict(report))) }
        }
        (warnings(&report.warnings))
    }
}

fn warnings(warnings: &[String]) -> Markup {
    html! {
        @if !warnings.is_empty() {
            aside {
                strong { (many(warnings.len() as u64, "warning", "warnings")) }
                ul { @for warning in warnings { li { (prose(warning)) } } }
            }
        }
    }
}

/// Words in which no line ends between a number and its unit, or within a flag.
fn prose(text: &str) -> Markup {
    html! {
        @for word in glued(text).split_inclusive(' ') {
            @if word.contains("--") { span.flag { (word.trim_end()) } " " } @else { (word) }
        }
    }
}

fn body(report: &Report) -> Markup {
    let series = series::of(report);
    html! {
        @if let Some(soak) = &report.soak {
            section { h2 { "What the server held" } pre { (soak.verdict) } }
        }
        section.tiles { @for tile in tiles(report) { (tile.show()) } }
        section.plots { @for plot in &series.plots { (plot.figure()) } }
        @if !series.left_out.is_empty() {
            section.left-out {
                h2 { "Not shown" }
                ul { @for sentence in &series.left_out { li { (prose(sentence)) } } }
            }
        }
        section {
            h2 { "All figures" }
            div.tables { (figures(report)) (times(report)) }
        }
        section {
            h2 { "To repeat it" }
            pre { @for word in report.about.command.split(' ') { span.word { (word) } " " } }
            dl {
                dt { "begun" } dd { (report.about.date) }
                dt { "measured" } dd {
                    (seconds(report.about.window_s)) ", from " (seconds(report.about.window_begin_s))
                    " after the first connection"
                }
                dt { "machine" } dd { (report.about.machine) }
                dt { "kernel" } dd { (report.about.kernel) }
                dt { "server" } dd { (report.about.server.as_deref().unwrap_or("it does not say what it is")) }
                dt { "generator" } dd { "corecast-load " (report.about.generator_version) }
            }
        }
    }
}

/// A headline figure.
struct Tile {
    label: &'static str,
    /// Or what to do to have it.
    value: Result<String, &'static str>,
    note: String,
    /// It tells of a fault.
    bad: bool,
}

impl Tile {
    fn show(&self) -> Markup {
        html! {
            div.tile.bad[self.bad].absent[self.value.is_err()] {
                div.label { (self.label) }
                @match &self.value {
                    Ok(value) => {
                        // The unit is smaller than its number.
                        @let (figure, unit) = split_unit(value);
                        div.value { (figure) @if !unit.is_empty() { " " small { (unit) } } }
                    }
                    Err(cure) => div.value { (prose(cure)) },
                }
                div.note { (self.note) }
            }
        }
    }
}

/// `"2.03 Gbit/s"` is `2.03` and `Gbit/s`.
fn split_unit(value: &str) -> (&str, &str) {
    match value.rsplit_once(' ') {
        Some((figure, unit)) if !unit.starts_with(|first: char| first.is_ascii_digit()) => {
            (figure, unit)
        }
        _ => (value, ""),
    }
}

fn tiles(report: &Report) -> Vec<Tile> {
    let Report { cost, viewers, inspected, .. } = report;
    let tile = |label, value, note| Tile { label, value, note, bad: false };
    let inspected = inspected.as_ref();
    let look = "not measured: give --inspect 2%";
    let marks = "not known: the stream has no marks";
    let marked = inspected.ok_or(look).and_then(|i| if i.marked > 0 { Ok(i) } else { Err(marks) });
    let latency = marked.and_then(|inspected| inspected.latency_ms.as_ref().ok_or(marks));
    let quantile = |of: &super::Distribution, at| of.value_at(at).map(millis).unwrap_or_default();
    let gone = viewers.lost + viewers.refused;
    let per_1000 = cost.cpu_percent_per_1000;
    let in_all = cost.cpu_percent.map(|all| format!("of one core; {} in all", percent(all)));
    let faults = marked.map(|i| (i.missing + i.repeated + i.damaged, i));
    vec![
        tile(
            "CPU per 1000 viewers",
            per_1000.map(percent).ok_or(GIVE_PID),
            in_all.unwrap_or_default(),
        ),
        Tile {
            bad: gone > 0,
            ..tile(
                "viewers",
                Ok(count(viewers.watching.round() as u64)),
                match viewers.rejoined_after_loss {
                    0 => format!("{} refused, {} lost", viewers.refused, viewers.lost),
                    back => format!(
                        "{} refused, {} lost, {back} back by a new try",
                        viewers.refused, viewers.lost
                    ),
                },
            )
        },
        tile("egress", Ok(mbit_s(viewers.egress_mbit_s)), {
            format!("{} each", mbit_s(viewers.egress_mbit_s / viewers.fed().max(1.0)))
        }),
        Tile {
            bad: faults.is_ok_and(|(faults, _)| faults > 0),
            ..tile(
                "missing frames",
                faults.map(|(_, inspected)| count(inspected.missing)),
                faults.map_or_else(|_| String::new(), |(_, i)| faults_note(i)),
            )
        },
        tile(
            "latency, p99",
            latency.map(|latency| quantile(latency, 0.99)),
            latency.map_or_else(
                |_| String::new(),
                |of| format!("p50 {}, max {}", quantile(of, 0.5), quantile(of, 1.0)),
            ),
        ),
        tile(
            "first key frame, p99",
            inspected.ok_or(look).map(|inspected| quantile(&inspected.first_key_ms, 0.99)),
            inspected.map_or_else(String::new, |i| {
                format!("from connecting; p50 {}", quantile(&i.first_key_ms, 0.5))
            }),
        ),
        tile(
            "memory per viewer",
            cost.rss_per_viewer_bytes
                .map(bytes)
                .ok_or(cost.rss_bytes.map_or(GIVE_PID, |_| table::unshared(report))),
            cost.rss_bytes
                .map(|rss| format!("{} resident in all", bytes(rss as f64)))
                .unwrap_or_default(),
        ),
        Tile {
            bad: cost.generator_was_the_limit,
            ..tile("the generator's CPU", Ok(percent(cost.own_cpu_percent)), {
                let limit = match (cost.generator_was_the_limit, cost.generator_was_starved) {
                    (true, true) => table::STARVED,
                    (true, false) => "it was the limit",
                    (false, _) => "not the limit",
                };
                format!("of one core; {limit}")
            })
        },
    ]
}

fn faults_note(inspected: &Inspected) -> String {
    let Inspected { repeated, damaged, frames, .. } = inspected;
    format!("of {}; {repeated} repeated, {damaged} damaged", count(*frames))
}

fn figures(report: &Report) -> Markup {
    html! {
        div.scroll { table.figures {
            @for Row { label, value, note } in table::rows(report) {
                tr {
                    th scope="row" { (label) }
                    @if note.is_empty() { td.alone colspan="2" { (prose(&value)) } }
                    @else { td.figure { (value) } td { (prose(&note)) } }
                }
            }
        } }
    }
}

fn times(report: &Report) -> Markup {
    html! {
        div.scroll { table.times {
            tr { th scope="col" { "times" } @for name in ["p50", "p90", "p99", "max", "of"] { th scope="col" { (name) } } }
            @for Times { label, values, count: of } in table::times(report) {
                tr {
                    th scope="row" { (label) }
                    @match values {
                        Ok(values) => {
                            @for value in &values { td.figure { (value) } }
                            td.figure { (count(of)) }
                        }
                        Err(why) => td colspan="5" { (why) },
                    }
                }
            }
        } }
    }
}

/// What the words mean; the same under each page.
fn notes() -> Markup {
    html! {
        footer {
            p {
                "CPU is what the server's process, all its threads and its children had from the kernel, in per cent "
                "of one core. Missing, repeated and damaged frames, and latency, are told by marks that the publisher "
                "puts into the stream: its clock, a number and a hash for each frame. p99 is the value that 99 % do "
                "not exceed. Egress counts all bytes above TCP. Memory per viewer is what the server's resident memory grew by "
                "from before the first viewer to the end, shared among them, so it holds the stream's own buffers too; "
                "bench/RESULTS.md gives what each further viewer takes, which is less."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{bare, plausible, soaked};
    use super::*;

    fn runs() -> Vec<(String, Report)> {
        [("floor", 1), ("one", 2), ("another", 4)]
            .map(|(name, seed)| (name.into(), plausible(seed)))
            .to_vec()
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        for runs in [vec![("x".into(), plausible(1))], vec![("x".into(), bare())], runs()] {
            let page = page(&runs);
            for reference in
                [" src=", " href=", "url(", "@import", "<link", "<iframe", "fetch(", "import("]
            {
                assert!(!page.contains(reference), "{reference}");
            }
        }
    }

    #[test]
    fn what_a_server_or_a_user_says_cannot_become_markup() {
        let evil = "</title></script><script>alert('x')</script>&\"";
        let mut report = plausible(1);
        for text in [
            &mut report.about.command,
            &mut report.about.url,
            &mut report.about.date,
            &mut report.about.machine,
            &mut report.about.kernel,
            &mut report.about.generator_version,
        ] {
            *text = evil.to_owned();
        }
        report.about.server = Some(evil.to_owned());
        report.warnings = vec![evil.to_owned()];
        report.viewers.first_reasons = vec![evil.to_owned()];
        for runs in [vec![(evil.to_owned(), report.clone())], vec![(evil.to_owned(), report); 2]] {
            let page = page(&runs);
            assert!(!page.contains("<script>alert"), "unescaped");
            assert!(page.contains("&lt;script&gt;alert"), "shown all the same");
        }
    }

    #[test]
    fn the_cost_is_the_first_tile_and_faults_are_seen() {
        let mut report = plausible(1);
        let tiles = tiles(&report);
        assert_eq!(tiles[0].label, "CPU per 1000 viewers");
        assert_eq!(tiles[0].value, Ok("4.50 %".to_owned()));
        assert!(tiles.iter().all(|tile| !tile.bad));
        report.viewers.lost = 1;
        if let Some(inspected) = &mut report.inspected {
            inspected.damaged = 1;
        }
        let bad: Vec<_> =
            super::tiles(&report).iter().filter(|tile| tile.bad).map(|tile| tile.label).collect();
        assert_eq!(bad, ["viewers", "missing frames"]);
        assert!(super::tiles(&bare())[0].value.is_err());
        let soaked = Report { soak: Some(soaked()), ..plausible(1) };
        let page = page(&[("x".into(), soaked)]);
        for words in ["verdict: nothing grew", "Threads of the server", "File descriptors"] {
            assert!(page.contains(words), "{words}");
        }
    }

    #[test]
    fn lines_end_neither_in_a_number_nor_in_a_flag() {
        let prose = prose("2 040 <b> cost: give --pid PID, now").into_string();
        let expected =
            "2\u{a0}040\u{a0}&lt;b&gt; cost: give <span class=\"flag\">--pid</span> PID, now";
        assert_eq!(prose, expected);
    }

    #[test]
    fn a_unit_is_split_from_its_number() {
        let split = ["2 031 viewers", "19 000", "4.5 %", "3"].map(split_unit);
        assert_eq!(split, [("2 031", "viewers"), ("19 000", ""), ("4.5", "%"), ("3", "")]);
    }
}
