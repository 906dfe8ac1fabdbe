use std::fmt;

use super::{Comparison, Row};

/// Markdown: for people, and for bench/RESULTS.md.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.load)?;
        let about = &self.about;
        let (date, machine, kernel) = (&about.date, &about.machine, &about.kernel);
        writeln!(f, "{date}, {machine}, {kernel}. {}\n", self.how)?;
        for row in self.rows.iter().filter(|row| row.is_first_of_server) {
            let version = row.version.as_deref().unwrap_or("version not asked");
            writeln!(f, "- {}: {version}", row.server)?;
        }
        writeln!(
            f,
            "\n| server | CPU, % of one core | per 1000 viewers | rounds | × floor | × {} | KB per \
             viewer | missing | lost | latency p50, p99 ms |\n|---|---|---|---|---|---|---|---|---|---|",
            self.rows.first().map_or("first", |row| row.server.as_str())
        )?;
        writeln!(f, "{}", self.floor)?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for row in &self.rows {
            for why in &row.failures {
                writeln!(f, "\n{} {} failed: {why}", row.server, row.protocol)?;
            }
        }
        for warning in &self.warnings {
            writeln!(f, "\n{warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let rounds = self.cpu_percent.iter().map(|cpu| format!("{cpu:.2}")).collect::<Vec<_>>();
        let latency = self.latency_ms.map(|[p50, p99]| format!("{p50:.0}, {p99:.0}"));
        write!(
            f,
            "| {} {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.server,
            self.protocol,
            number(self.median_percent, 2),
            number(self.per_1000_percent, 2),
            rounds.join(", "),
            number(self.ratio_to_floor, 2),
            number(self.ratio_to_first, 2),
            number(self.rss_per_viewer_bytes.map(|bytes| bytes / 1024.0), 1),
            self.missing.map_or("–".to_owned(), |missing| missing.to_string()),
            self.lost,
            latency.unwrap_or_else(|| "–".to_owned()),
        )
    }
}
