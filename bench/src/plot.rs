//! All figures in one picture: each as a share of its bound.

use corecast_load::report::plot::{Bar, Bars, Color};

use crate::figure::Figure;

/// An SVG page, light or dark as its reader is.
pub fn svg(figures: &[Figure]) -> String {
    let plot = Bars {
        title: "What was measured, as a share of what it may be".to_owned(),
        about: "The medians of the rounds. A bar should end before its mark, the bound.".to_owned(),
        bars: figures.iter().filter(|figure| figure.has_bound()).map(bar).collect(),
    };
    plot.svg()
}

fn bar(figure: &Figure) -> Bar {
    let Figure { what, measured, bound, .. } = figure;
    let share = Some(figure.share()).filter(|share| share.is_finite());
    // One that is far beyond would make all others too short to be read.
    let value = share.map(|share| share.min(SHARE_MAX) * 100.0);
    Bar {
        name: what.clone(),
        value,
        limit: Some(100.0),
        text: format!("{measured} ({bound})"),
        color: if figure.is_met() { Color::Rank(0) } else { Color::Rank(1) },
    }
}

const SHARE_MAX: f64 = 1.5;

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(shares: &[f64]) -> Figure {
        Figure {
            what: "work".to_owned(),
            measured: "much".to_owned(),
            details: String::new(),
            bound: "≤ more".to_owned(),
            shares: shares.to_vec(),
            notes: vec![],
            noise: None,
        }
    }

    #[test]
    fn only_what_was_measured_has_a_bar_and_none_is_endless() {
        assert_eq!(bar(&figure(&[])).value, None);
        assert_eq!(bar(&figure(&[f64::INFINITY])).value, None);
        assert_eq!(bar(&figure(&[0.5])).value, Some(50.0));
        assert_eq!(bar(&figure(&[7.0])).value, Some(150.0));
        assert!(svg(&[figure(&[0.5])]).contains("much (≤ more)"));
    }
}
