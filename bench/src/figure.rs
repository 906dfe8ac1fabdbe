//! One figure: what was measured, what it may be at most, and how the two compare.

/// A row of the table.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was done.
    pub what: String,
    /// What came out, in few words.
    pub measured: String,
    /// More of that; may be empty.
    pub details: String,
    /// What it may be: `"≤ 1.15 × floor"`. Empty: there is none, it is compared with something.
    pub bound: String,
    /// The measured value of each round as a share of the bound: 1 is just met. Without a bound, of
    /// what it is compared with.
    pub shares: Vec<f64>,
    /// What a reader should know beside it.
    pub notes: Vec<String>,
    /// How much others did meanwhile, if it was too much.
    pub noise: Option<String>,
}

impl Figure {
    /// One that could not be measured.
    pub fn failed(what: &str, error: &std::io::Error) -> Self {
        Self {
            what: what.to_owned(),
            measured: "failed".to_owned(),
            details: String::new(),
            bound: String::new(),
            shares: Vec::new(),
            notes: vec![in_a_line(error)],
            noise: None,
        }
    }

    /// The middle one of the rounds.
    pub fn share(&self) -> f64 {
        median(&self.shares)
    }

    /// There is something that it may be at most, or at least.
    pub fn has_bound(&self) -> bool {
        !self.bound.is_empty()
    }

    /// The bound is kept.
    pub fn is_met(&self) -> bool {
        self.share() <= 1.0
    }
}

/// The middle one; of an even number the mean of the two in the middle. NaN of none.
pub fn median(values: &[f64]) -> f64 {
    corecast_load::compare::median(values).unwrap_or(f64::NAN)
}

/// Smallest and largest.
pub fn range(values: &[f64]) -> (f64, f64) {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    (smallest, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// What went wrong, for a list of notes.
pub fn in_a_line(error: &std::io::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The table, in Markdown.
pub fn table(figures: &[Figure]) -> String {
    let head = "| work | measured | bound | of the bound |\n|---|---|---|---|\n".to_owned();
    head + &figures.iter().map(line).collect::<String>()
}

/// One line of the table.
pub fn line(figure: &Figure) -> String {
    let share = match figure.share() {
        share if share.is_finite() && !figure.has_bound() => "–".to_owned(),
        share if share.is_finite() && figure.is_met() => format!("{:.0} %", share * 100.0),
        share if share.is_finite() => format!("**{:.0} %**", share * 100.0),
        share if share.is_nan() => "**not measured**".to_owned(),
        _ => "**missed**".to_owned(),
    };
    let Figure { what, measured, details, bound, noise, .. } = figure;
    let details = if details.is_empty() { details } else { &format!(" ({details})") };
    let noisy = if noise.is_some() { " (noisy)" } else { "" };
    format!("| {what} | {measured}{details} | {bound} | {share}{noisy} |\n")
}

/// The notes of all figures, in Markdown.
pub fn notes(figures: &[Figure]) -> String {
    let of_all = "- CPU of whoever sent less than the nominal bytes is scaled up to them; nobody's is \
                  scaled down for more\n";
    figures.iter().filter_map(note).chain([of_all.to_owned()]).collect()
}

/// The notes of one figure, in a line.
pub fn note(figure: &Figure) -> Option<String> {
    let notes = figure.notes.iter().chain(&figure.noise).cloned().collect::<Vec<_>>();
    (!notes.is_empty()).then(|| format!("- {}: {}\n", figure.what, notes.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(shares: &[f64]) -> Figure {
        Figure {
            what: "work".to_owned(),
            measured: "1.2 × floor".to_owned(),
            details: "6 %".to_owned(),
            bound: "≤ 1.15 × floor".to_owned(),
            shares: shares.to_vec(),
            notes: vec![],
            noise: None,
        }
    }

    #[test]
    fn the_median_round_decides() {
        assert!(figure(&[0.9, 1.4, 0.8]).is_met());
        assert!(!figure(&[0.9, 1.4, 1.1]).is_met());
        assert_eq!(range(&[4.0, 1.0, 2.0]), (1.0, 4.0));
    }

    #[test]
    fn what_has_no_bound_is_neither_met_nor_missed() {
        let free = Figure { bound: String::new(), ..figure(&[2.5]) };
        assert!(line(&free).ends_with("|  | – |\n"), "{}", line(&free));
        assert!(line(&Figure { shares: vec![], ..free }).contains("**not measured**"));
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        assert!(!figure(&[]).is_met());
        assert!(table(&[figure(&[])]).contains("**not measured**"));
        assert!(table(&[figure(&[f64::INFINITY])]).contains("**missed**"));
        assert!(
            table(&[figure(&[1.04])])
                .contains("| 1.2 × floor (6 %) | ≤ 1.15 × floor | **104 %** |")
        );
    }
}
