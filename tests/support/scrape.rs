//! A page of metrics, read as Prometheus reads it.

// Each test program uses a part.
#![allow(dead_code)]

use std::collections::BTreeMap;

/// What a page said.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) samples: Vec<Sample>,
    /// Kinds by the names of families.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) helps: BTreeMap<String, String>,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    /// Reads `page`, in either form.
    #[track_caller]
    pub(crate) fn parse(page: &str) -> Self {
        let mut scrape = Self::default();
        for line in page.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("#"), Some(what), Some(name)) => {
                    let rest = words.next().unwrap_or_default().to_owned();
                    let old = match what {
                        "HELP" => scrape.helps.insert(name.to_owned(), rest),
                        "TYPE" => scrape.kinds.insert(name.to_owned(), rest),
                        "UNIT" => None,
                        other => panic!("expected HELP, TYPE or UNIT, found {other}"),
                    };
                    assert_eq!(old, None, "{name} twice");
                }
                (Some("#"), Some("EOF"), None) => {}
                _ => scrape.samples.push(Sample::parse(line)),
            }
        }
        scrape
    }

    /// The samples of `name` with all these labels.
    pub(crate) fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        let has = |sample: &Sample, (key, value): &(&str, &str)| {
            sample.labels.get(*key).is_some_and(|found| found == value)
        };
        self.samples.iter().filter(move |sample| {
            sample.name == name && labels.iter().all(|label| has(sample, label))
        })
    }

    /// Their sum; zero of none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|sample| sample.value).sum()
    }

    /// The family of a sample: its name without what its kind adds.
    pub(crate) fn family<'a>(&self, sample: &'a str) -> Option<&'a str> {
        let suffixes = ["", "_total", "_bucket", "_sum", "_count"];
        let mut names = suffixes.iter().filter_map(|suffix| sample.strip_suffix(suffix));
        names.find(|name| self.kinds.contains_key(*name))
    }
}

impl Sample {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let name_end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no value: {line}"));
        let (name, mut rest) = line.split_at(name_end);
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            while !rest.starts_with('}') {
                let (key, after) = rest.split_once("=\"").expect("a label has a value");
                let (value, after) = quoted(after);
                labels.insert(key.to_owned(), value);
                rest = after.strip_prefix(',').unwrap_or(after);
            }
            rest = &rest[1..];
        }
        let value = rest.trim().replace("+Inf", "inf");
        let value = value.parse().unwrap_or_else(|_| panic!("expected a number: {line}"));
        Self { name: name.to_owned(), labels, value }
    }
}

/// A value up to its closing quote, and what follows that.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().expect("an escape is two characters").1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    panic!("a value without an end: {text}");
}
