//! A comparison as a file: `--json FILE`, shown again by `corecast-load report FILE`.
//!
//! One object: `version` (1), `kind` ("comparison") and the fields of [`Comparison`], whose last runs
//! are left out. Within a version fields are only added.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::Comparison;

const KIND: &str = "comparison";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct File<'a> {
    #[serde(default = "first")]
    version: u32,
    #[serde(default)]
    kind: Cow<'a, str>,
    #[serde(flatten)]
    comparison: Cow<'a, Comparison>,
}

/// What tells it from a run. The first files had no kind.
#[derive(Deserialize)]
struct Head {
    kind: Option<String>,
    floor: Option<IgnoredAny>,
}

/// The file's text.
pub fn write(comparison: &Comparison) -> String {
    let comparison = Cow::Borrowed(comparison);
    let file = File { version: VERSION, kind: KIND.into(), comparison };
    serde_json::to_string_pretty(&file).expect("plain data, with text for keys") + "\n"
}

/// The comparison that a file's text tells. None if it is none.
///
/// # Errors
/// It is of another version, or lacks a field; says where.
pub fn read(text: &str) -> Option<Result<Comparison, String>> {
    let head: Head = serde_json::from_str(text).ok()?;
    let is_one = head.kind.as_deref() == Some(KIND) || head.kind.is_none() && head.floor.is_some();
    is_one.then(|| {
        let expected = "expected a file that corecast-load compare --json wrote";
        let file: File<'_> =
            serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
        match file.version {
            VERSION => Ok(file.comparison.into_owned()),
            version => Err(format!(
                "{expected} in version {VERSION}, found version {version} (cure: the corecast-load \
                 that wrote it)"
            )),
        }
    })
}

fn first() -> u32 {
    VERSION
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;
    use crate::report::{Report, json};

    #[test]
    fn a_comparison_reads_the_same_after_the_file_and_a_run_is_none() {
        let row = |server: &str| Row {
            server: server.to_owned(),
            cpu_percent: vec![4.25, 5.5],
            median_percent: Some(4.875),
            latency_ms: Some([180.0, 350.0]),
            ..Row::default()
        };
        let comparison = Comparison {
            load: "10 viewers".to_owned(),
            floor: row("floor"),
            rows: vec![row("a")],
            warnings: vec!["a: beware".to_owned()],
            ..Comparison::default()
        };
        let text = write(&comparison);
        let again = read(&text).expect("it is one").expect("of this version");
        assert_eq!(again.to_string(), comparison.to_string());
        // The first files said neither version nor kind.
        let old = serde_json::to_string(&comparison).expect("plain data");
        assert!(read(&old).expect("it is one").is_ok());
        let other = text.replacen("\"version\": 1,", "\"version\": 7,", 1);
        assert!(read(&other).expect("it is one").expect_err("too new").contains("version 7"));
        assert!(read(&json::write(&Report::default())).is_none() && read("[]").is_none());
    }
}
