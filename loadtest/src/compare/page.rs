//! A comparison as a page: the figures of the table, in the same digits, then the last run of each.

use super::{Comparison, Row};
use crate::report::html::{self, Lead};
use crate::report::plot::{Bar, Bars, Color};

impl Comparison {
    /// One file, which needs no other and no network.
    pub fn page(&self) -> String {
        html::led(&self.lead(), &self.last)
    }

    fn lead(&self) -> Lead {
        let about = &self.about;
        let facts = [&about.date, &about.machine, &about.kernel].map(String::clone);
        let mut paragraphs = vec![self.how.clone()];
        paragraphs.extend(self.versions());
        paragraphs.extend(self.failures());
        if !self.last.is_empty() {
            paragraphs.push(
                "Below the table is the last round of each server, as it was measured: not scaled, \
                 and one round, not the median."
                    .to_owned(),
            );
        }
        Lead {
            title: self.load.clone(),
            facts: facts.to_vec(),
            paragraphs,
            warnings: self.warnings.clone(),
            bars: self.bars(),
            columns: self.columns(),
            rows: self.all().map(Row::cells).collect(),
        }
    }

    /// What the table begins with, to be seen at a glance.
    fn bars(&self) -> Vec<Bars> {
        let bar = |(at, row): (usize, &Row)| Bar {
            name: row.name(),
            value: row.per_1000_percent,
            limit: None,
            text: row
                .per_1000_percent
                .map_or("not measured".to_owned(), |cpu| format!("{cpu:.2} %")),
            color: Color::Rank(at),
        };
        vec![Bars {
            title: "CPU per 1000 viewers, of one core".to_owned(),
            about: "Medians of all rounds, scaled to the nominal bitrate. Less is better."
                .to_owned(),
            bars: self.all().enumerate().map(bar).collect(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::About;

    #[test]
    fn page_and_table_give_the_same_figures_with_date_machine_and_warnings() {
        let row = |server: &str, cpu: f64| Row {
            server: server.to_owned(),
            cpu_percent: vec![cpu],
            median_percent: Some(cpu),
            per_1000_percent: Some(cpu * 2.0),
            rss_per_viewer_bytes: Some(18_500.0),
            latency_ms: Some([181.0, 352.0]),
            ..Row::default()
        };
        let comparison = Comparison {
            about: About {
                date: "2026-11-21T08:15:00Z".to_owned(),
                machine: "Some CPU".to_owned(),
                ..About::default()
            },
            load: "500 viewers of one stream of 2 Mbit/s".to_owned(),
            how: "3 rounds of 15 s in turn.".to_owned(),
            floor: row("floor", 4.123),
            rows: vec![row("a", 5.678)],
            warnings: vec!["a: beware of the dog".to_owned()],
            ..Comparison::default()
        };
        let page = comparison.page().replace('\u{a0}', " ");
        let table = comparison.to_string();
        for cell in comparison.all().flat_map(Row::cells).filter(|cell| !cell.is_empty()) {
            assert!(table.contains(&format!(" {cell} |")), "{cell} in {table}");
            assert!(page.contains(&format!(">{cell}</t")), "{cell}");
        }
        assert!(table.contains("| 18.5 |"), "KB are a thousand bytes: {table}");
        for words in ["08:15:00", "Some CPU", "3 rounds", "2 Mbit/s", "beware of the dog"] {
            assert!(page.contains(words) && table.contains(words), "{words}");
        }
    }
}
