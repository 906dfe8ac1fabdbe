use std::fmt;

use super::{Comparison, Row};

/// Markdown: for people, and for bench/RESULTS.md.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.load)?;
        let about = &self.about;
        let (date, machine, kernel) = (&about.date, &about.machine, &about.kernel);
        writeln!(f, "{date}, {machine}, {kernel}. {}\n", self.how)?;
        for version in self.versions() {
            writeln!(f, "- {version}")?;
        }
        let columns = self.columns();
        writeln!(f, "\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))?;
        for row in self.all() {
            writeln!(f, "| {} |", row.cells().join(" | "))?;
        }
        for why in self.failures() {
            writeln!(f, "\n{why}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "\n{warning}")?;
        }
        Ok(())
    }
}

impl Comparison {
    /// The floor, and each server by each protocol.
    pub(super) fn all(&self) -> impl Iterator<Item = &Row> {
        std::iter::once(&self.floor).chain(&self.rows)
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter(|row| row.is_first_of_server).map(|row| {
            let version = row.version.as_deref().unwrap_or("version not asked");
            format!("{}: {version}", row.server)
        })
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let failed = self
            .rows
            .iter()
            .flat_map(|row| row.failures.iter().map(|why| format!("{} failed: {why}", row.name())));
        failed.chain(self.failure.clone())
    }

    pub(super) fn columns(&self) -> Vec<String> {
        let first = self.rows.first().map_or("first", |row| row.server.as_str());
        let first = format!("× {first}");
        let columns = [
            "server",
            "CPU, % of one core",
            "per 1000 viewers",
            "rounds",
            "× floor",
            &first,
            "KB per viewer",
            "missing",
            "lost",
            "latency p50, p99 ms",
        ];
        columns.map(str::to_owned).to_vec()
    }
}

impl Row {
    /// Server and protocol.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.server, self.protocol).trim_end().to_owned()
    }

    /// In the order of [`Comparison::columns`].
    pub(super) fn cells(&self) -> Vec<String> {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or("–".to_owned(), |value| format!("{value:.digits$}"))
        };
        let rounds = self.cpu_percent.iter().map(|cpu| format!("{cpu:.2}")).collect::<Vec<_>>();
        let latency = self.latency_ms.map(|[p50, p99]| format!("{p50:.0}, {p99:.0}"));
        vec![
            self.name(),
            number(self.median_percent, 2),
            number(self.per_1000_percent, 2),
            rounds.join(", "),
            number(self.ratio_to_floor, 2),
            number(self.ratio_to_first, 2),
            number(self.rss_per_viewer_bytes.map(|bytes| bytes / 1000.0), 1),
            self.missing.map_or("–".to_owned(), |missing| missing.to_string()),
            self.lost.to_string(),
            latency.unwrap_or_else(|| "–".to_owned()),
        ]
    }
}
