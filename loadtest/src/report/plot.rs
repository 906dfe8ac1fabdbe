//! Plots as SVG: of a page, where they are as wide as it is, or as a file of their own.
//!
//! Places along x are per cents of the width, places along y are pixels, and lines keep their
//! thickness, so that text stays as large on a telephone as on a wide screen. Colours are CSS
//! variables ([`STYLE`]), told apart by those who see no red or green, with others for the dark.

use maud::{Markup, PreEscaped, html};

use super::axis::Axis;

/// Lines over a common axis.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What is shown, and in what.
    pub title: String,
    /// A sentence on how to read it, or what it says.
    pub about: String,
    /// From left to right.
    pub x: Axis,
    /// From below to above.
    pub y: Axis,
    /// What is shown; later ones lie above.
    pub lines: Vec<Line>,
    /// A range of x that is set off, and its name: the measured time.
    pub band: Option<(f64, f64, String)>,
}

/// One line of a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// Stands at its right end; a word or two.
    pub name: String,
    /// Its colour.
    pub color: Color,
    /// By rising x. The line has a hole where there is no value.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Values side by side, each of its own name.
#[derive(Debug, Clone)]
pub struct Bars {
    /// What is shown, and in what.
    pub title: String,
    /// A sentence on how to read it.
    pub about: String,
    /// From above to below.
    pub bars: Vec<Bar>,
}

/// One value of [`Bars`].
#[derive(Debug, Clone)]
pub struct Bar {
    /// Stands above it.
    pub name: String,
    /// Its length, in proportion to the others'. Nothing is drawn for None.
    pub value: Option<f64>,
    /// What it should not exceed, as a mark across it.
    pub limit: Option<f64>,
    /// Stands above its end: the value with its unit.
    pub text: String,
    /// Its colour.
    pub color: Color,
}

/// Colours of lines and bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Things of equal rank, told apart: the first is the server under test.
    Rank(usize),
    /// One thing in three strengths, the strongest first: percentiles.
    Shade(usize),
    /// What is there to compare with.
    Quiet,
}

/// The colours of light, dark and paper, for a page with plots.
pub const STYLE: &str = include_str!("plot.css");

const HEIGHT: f64 = 200.0;
const BAR_ROW: f64 = 44.0;
/// Two labels closer than this would touch.
const LABEL_HEIGHT: f64 = 15.0;
/// Letters of a line's name.
const NAME_MAX: usize = 18;
/// A file's own width; it grows and shrinks as a whole.
const FILE_WIDTH: f64 = 820.0;

impl Color {
    /// The CSS variable.
    fn variable(self) -> String {
        match self {
            Self::Rank(at) => format!("var(--rank-{})", at % 6),
            Self::Shade(at) => format!("var(--shade-{})", at.min(2)),
            Self::Quiet => "var(--quiet)".to_owned(),
        }
    }
}

impl Plot {
    /// As a part of a page that has [`STYLE`].
    pub fn figure(&self) -> Markup {
        html! {
            figure.plot {
                figcaption { strong { (self.title) } " " span { (self.about) } }
                div.canvas style={ "height:" (HEIGHT) "px;--letters:" (self.letters()) } {
                    svg role="img" aria-label=(self.title) width="100%" height=(HEIGHT) { (self.inner()) }
                }
                (self.read_out())
            }
        }
    }

    /// Of the longest name that stands at the right.
    fn letters(&self) -> usize {
        let lengths = self.lines.iter().map(|line| shortened(&line.name).chars().count());
        // Plots of the same width can be read one below the other.
        lengths.max().unwrap_or(0).max(9)
    }

    /// As a file, light or dark as its reader is.
    pub fn svg(&self) -> String {
        file(&self.title, &self.about, HEIGHT, [64.0, 142.0], &self.inner())
    }

    fn inner(&self) -> Markup {
        let down = |value| HEIGHT * (1.0 - self.y.place(value));
        let across = |value| 100.0 * self.x.place(value);
        let filled = self.lines.len() == 1;
        html! {
            @if let Some((from, to, name)) = &self.band {
                rect.band x=(percent(across(*from))) y="0" height=(HEIGHT)
                    width=(percent(across(*to) - across(*from))) {}
                text.tick x=(percent(across(*from))) dx="6" y=(HEIGHT - 7.0) { (name) }
            }
            @for (value, label) in self.y.ticks() {
                line.grid x1="0" x2="100%" y1=(down(value)) y2=(down(value)) {}
                text.tick.before x="0" dx="-8" y=(down(value)) dy=".32em" { (label) }
            }
            @for (value, label) in self.x.ticks() {
                line.grid x1=(percent(across(value))) x2=(percent(across(value))) y1=(HEIGHT) y2=(HEIGHT + 4.0) {}
                text.tick.below x=(percent(across(value))) y=(HEIGHT + 18.0) { (label) }
            }
            svg.lines viewBox={ "0 0 1000 " (HEIGHT) } preserveAspectRatio="none" width="100%" height=(HEIGHT) {
                @for line in &self.lines {
                    @if filled { path.area d=(self.area(line)) style={ "fill:" (line.color.variable()) } {} }
                    path d=(self.path(line)) style={ "stroke:" (line.color.variable()) } {}
                }
            }
            @for (line, y) in self.lines.iter().zip(self.label_places()) {
                text.name x="100%" dx="8" y=(one_digit(y)) dy=".32em" style={ "fill:" (line.color.variable()) } {
                    (shortened(&line.name))
                }
            }
        }
    }

    fn at(&self, x: f64, y: f64) -> String {
        let across = one_digit(1000.0 * self.x.place(x));
        format!("{across} {}", one_digit(HEIGHT * (1.0 - self.y.place(y))))
    }

    fn path(&self, line: &Line) -> String {
        let mut path = String::new();
        let mut command = 'M';
        for (x, y) in &line.points {
            let Some(y) = y.filter(|y| y.is_finite()) else {
                command = 'M';
                continue;
            };
            path.push(command);
            path.push_str(&self.at(*x, y));
            // A point alone is drawn as well: by its round ends.
            if command == 'M' {
                path.push_str("h0");
            }
            command = 'L';
        }
        path
    }

    fn area(&self, line: &Line) -> String {
        let known: Vec<_> = line.points.iter().filter_map(|(x, y)| Some((*x, (*y)?))).collect();
        let (Some(first), Some(last)) = (known.first(), known.last()) else {
            return String::new();
        };
        let along = known.iter().map(|(x, y)| format!("L{}", self.at(*x, *y)));
        let ground = f64::NEG_INFINITY;
        let (begin, end) = (self.at(first.0, ground), self.at(last.0, ground));
        format!("M{begin}{}L{end}Z", along.collect::<String>())
    }

    /// Each name beside the end of its line, moved as far as it takes to read them all.
    fn label_places(&self) -> Vec<f64> {
        let last = |line: &Line| line.points.iter().rev().find_map(|(_, y)| *y);
        let wanted = |line| HEIGHT * (1.0 - self.y.place(last(line).unwrap_or(0.0)));
        let mut places: Vec<_> = self.lines.iter().map(wanted).enumerate().collect();
        places.sort_by(|a, b| a.1.total_cmp(&b.1));
        for at in 1..places.len() {
            places[at].1 = places[at].1.max(places[at - 1].1 + LABEL_HEIGHT);
        }
        let mut lowest = HEIGHT;
        for (_, place) in places.iter_mut().rev() {
            *place = place.min(lowest);
            lowest = *place - LABEL_HEIGHT;
        }
        places.sort_by_key(|(line, _)| *line);
        places.into_iter().map(|(_, place)| place).collect()
    }

    /// What the page's script shows beside the pointer: places, and the texts there.
    fn read_out(&self) -> Markup {
        let Some(longest) = self.lines.iter().max_by_key(|line| line.points.len()) else {
            return html! {};
        };
        let xs: Vec<_> = longest.points.iter().map(|(x, _)| *x).collect();
        let at: Vec<_> = xs.iter().map(|x| (self.x.place(*x) * 1e4).round() / 1e4).collect();
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|line| {
                let text = |x: &f64| {
                    let near = |point: &&(f64, Option<f64>)| (point.0 - x).abs() < 1e-9;
                    let y = line.points.iter().find(near).and_then(|(_, y)| *y);
                    y.map(|y| self.y.unit().text(y))
                };
                let texts: Vec<_> = xs.iter().map(text).collect();
                serde_json::json!({ "name": line.name, "color": line.color.variable(), "y": texts })
            })
            .collect();
        let x: Vec<_> = xs.iter().map(|x| self.x.unit().text(*x)).collect();
        let data = serde_json::json!({ "at": at, "x": x, "lines": lines }).to_string();
        // Nothing in it may end the element.
        let data = data.replace('<', "\\u003c");
        html! { script type="application/json" { (PreEscaped(data)) } }
    }
}

impl Bars {
    /// As a part of a page that has [`STYLE`].
    pub fn figure(&self) -> Markup {
        html! {
            figure.bars {
                figcaption { strong { (self.title) } " " span { (self.about) } }
                svg role="img" aria-label=(self.title) width="100%" height=(self.height()) { (self.inner()) }
            }
        }
    }

    /// As a file, light or dark as its reader is.
    pub fn svg(&self) -> String {
        file(&self.title, &self.about, self.height(), [16.0, 16.0], &self.inner())
    }

    fn height(&self) -> f64 {
        BAR_ROW * self.bars.len() as f64
    }

    fn inner(&self) -> Markup {
        let values = self.bars.iter().flat_map(|bar| [bar.value, bar.limit]).flatten();
        let most = values.filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
        let length = |value: f64| percent(100.0 * (value / most).clamp(0.0, 1.0));
        html! {
            @for (at, bar) in self.bars.iter().enumerate() {
                @let y = at as f64 * BAR_ROW;
                text x="0" y=(y + 12.0) { (bar.name) }
                text.value x="100%" y=(y + 12.0) { (bar.text) }
                rect.rest x="0" y=(y + 18.0) rx="2" height="14" width="100%" {}
                @if let Some(value) = bar.value {
                    rect x="0" y=(y + 18.0) rx="2" height="14" width=(length(value))
                        style={ "fill:" (bar.color.variable()) } {}
                }
                @if let Some(limit) = bar.limit {
                    line.limit x1=(length(limit)) x2=(length(limit)) y1=(y + 15.0) y2=(y + 35.0) {}
                }
            }
        }
    }
}

/// As much of a name as there is room for.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME_MAX) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME_MAX - 1).chain(['…']).collect(),
    }
}

/// A file that is as wide as its reader likes, the plot within its margins.
fn file(title: &str, about: &str, height: f64, margins: [f64; 2], inner: &Markup) -> String {
    let (top, width) = (64.0, FILE_WIDTH - margins[0] - margins[1]);
    let whole = top + height + 32.0;
    let picture = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (FILE_WIDTH) " " (whole) } width=(FILE_WIDTH) {
            title { (title) }
            style { (PreEscaped(STYLE)) }
            rect.paper width="100%" height="100%" {}
            text.title x="16" y="26" { (title) }
            text.about x="16" y="46" { (about) }
            svg.canvas x=(margins[0]) y=(top) width=(width) height=(height) { (inner) }
        }
    };
    picture.into_string()
}

fn percent(value: f64) -> String {
    format!("{}%", (value * 100.0).round() / 100.0)
}

fn one_digit(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::super::axis::{Scale, Unit};
    use super::*;

    fn plot(lines: &[Line]) -> Plot {
        let values =
            || lines.iter().flat_map(|line| line.points.iter().filter_map(|point| point.1));
        Plot {
            title: "CPU".into(),
            about: "<b>".into(),
            x: Axis::exact(Unit::Seconds, [0.0, 10.0].into_iter()),
            y: Axis::round(Unit::Percent, Scale::Linear, values()),
            lines: lines.to_vec(),
            band: None,
        }
    }

    fn line(name: &str, points: &[(f64, Option<f64>)]) -> Line {
        Line { name: name.into(), color: Color::Rank(0), points: points.to_vec() }
    }

    #[test]
    fn a_line_has_a_hole_where_there_is_no_value() {
        let line =
            line("x", &[(0.0, Some(0.0)), (5.0, Some(5.0)), (7.0, None), (10.0, Some(10.0))]);
        assert_eq!(plot(std::slice::from_ref(&line)).path(&line), "M0 200h0L500 100M1000 0h0");
    }

    #[test]
    fn names_of_lines_that_end_together_stand_apart_and_inside() {
        let lines = ["a", "b", "c"].map(|name| line(name, &[(10.0, Some(0.0))]));
        let mut places = plot(&lines).label_places();
        places.sort_by(f64::total_cmp);
        assert_eq!(places, [HEIGHT - 2.0 * LABEL_HEIGHT, HEIGHT - LABEL_HEIGHT, HEIGHT]);
    }

    #[test]
    fn names_cannot_become_markup() {
        let evil = line("</script><script>alert(1)</script>", &[(0.0, Some(1.0))]);
        let plot = plot(&[evil]);
        let figure = plot.figure().into_string();
        assert!(!figure.contains("<script>alert"), "{figure}");
        assert!(figure.contains("&lt;b&gt;"), "{figure}");
        assert!(!plot.svg().contains("<script"));
    }

    #[test]
    fn a_file_is_whole_by_itself_in_light_and_dark() {
        let file = plot(&[line("a", &[(0.0, Some(1.0)), (10.0, Some(2.0))])]).svg();
        assert!(file.starts_with("<svg xmlns="), "{file}");
        assert!(file.contains("prefers-color-scheme: dark"));
        for variable in file.split("var(--").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(file.contains(&format!("--{variable}:")), "{variable} is not defined");
        }
    }

    #[test]
    fn bars_are_in_proportion_and_what_is_not_known_has_none() {
        let bar = |value| Bar {
            name: "x".into(),
            value,
            limit: Some(2.0),
            text: "t".into(),
            color: Color::Quiet,
        };
        let bars = Bars {
            title: "t".into(),
            about: String::new(),
            bars: vec![bar(Some(1.0)), bar(Some(4.0)), bar(None)],
        };
        let inner = bars.inner().into_string();
        let drawn: Vec<_> = inner.split("<rect").filter(|rect| rect.contains("fill:")).collect();
        assert_eq!(drawn.len(), 2, "{inner}");
        assert!(drawn[0].contains("width=\"25%\"") && drawn[1].contains("width=\"100%\""));
        assert_eq!(inner.matches("x1=\"50%\"").count(), 3);
    }
}
