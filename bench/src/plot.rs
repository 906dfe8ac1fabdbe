//! All figures in one picture: each as a share of its bound.

use std::fmt::Write;

use crate::figure::Figure;

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 16.0;
const HEAD: f64 = 64.0;
const ROW: f64 = 44.0;
/// Where the bound is.
const BOUND_X: f64 = 640.0;
/// A bar ends here whatever it stands for.
const SHARE_MAX: f64 = 1.45;

/// An SVG page; it reads in light and in dark.
pub fn svg(title: &str, figures: &[Figure]) -> String {
    let height = HEAD + ROW * figures.len() as f64 + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n{STYLE}\
         <rect width=\"{WIDTH}\" height=\"{height}\" class=\"paper\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"16\" font-weight=\"600\">{}</text>\n",
        escaped(title)
    );
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<text x=\"{MARGIN}\" y=\"46\" class=\"quiet\">bar: median of the rounds; dots: the \
         rounds; line: the most it may be</text>\n\
         <text x=\"{BOUND_X}\" y=\"46\" text-anchor=\"middle\" class=\"quiet\">100 %</text>\n\
         <line x1=\"{BOUND_X}\" x2=\"{BOUND_X}\" y1=\"52\" y2=\"{}\" class=\"bound\"/>\n",
        height - MARGIN
    );
    for (number, figure) in figures.iter().enumerate() {
        row(&mut svg, HEAD + ROW * number as f64, figure);
    }
    svg += "</svg>\n";
    svg
}

fn row(svg: &mut String, y: f64, figure: &Figure) {
    let what = escaped(&figure.what);
    let measured = escaped(&format!("{}; at most {}", figure.measured, figure.bound));
    let share = figure.share();
    let _ = write!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{}\">{what}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\" class=\"quiet\">{measured}</text>\n",
        y + 14.0,
        WIDTH - MARGIN,
        y + 14.0,
    );
    if share.is_nan() {
        return;
    }
    let class = if figure.is_met() { "met" } else { "missed" };
    let _ = writeln!(
        svg,
        "<rect x=\"{MARGIN}\" y=\"{}\" width=\"{}\" height=\"12\" rx=\"2\" class=\"{class}\"/>",
        y + 21.0,
        x(share) - MARGIN,
    );
    for share in &figure.shares {
        let (x, y) = (x(*share), y + 27.0);
        let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y}\" r=\"3.5\" class=\"round\"/>");
    }
}

fn x(share: f64) -> f64 {
    MARGIN + (BOUND_X - MARGIN) * share.clamp(0.002, SHARE_MAX)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace("**", "")
}

const STYLE: &str = "<style>
  text { fill: #1c1e21 } .quiet { fill: #5b6168 } .paper { fill: #ffffff }
  .met { fill: #4c9a6a } .missed { fill: #c9553d } .round { fill: #1c1e21; fill-opacity: .55 }
  .bound { stroke: #1c1e21; stroke-width: 1.5; stroke-dasharray: 5 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e8ea } .quiet { fill: #9aa1a9 } .paper { fill: #16181b }
    .met { fill: #3f8a5c } .missed { fill: #d0624a } .round { fill: #e6e8ea }
    .bound { stroke: #e6e8ea }
  }
</style>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_value_has_words_but_no_bar() {
        let figure = |shares: &[f64]| Figure {
            what: "a < b".to_owned(),
            measured: "failed".to_owned(),
            bound: "1".to_owned(),
            shares: shares.to_vec(),
            notes: vec![],
            noise: None,
        };
        let svg = svg("title", &[figure(&[]), figure(&[0.5, 0.7, 3.0])]);
        assert_eq!(svg.matches("a &lt; b").count(), 2);
        assert_eq!(svg.matches("class=\"met\"").count(), 1);
        assert_eq!(svg.matches("<circle").count(), 3);
    }
}
