use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// Where the files of recordings lie below their directory: a template such as
/// `{app}/{name}/{date}/{time}-{sequence}`, without an extension.
///
/// What clients choose, names of apps and streams, is written in letters that mean nothing to a
/// file system: whatever it is, it is one part of a path, never empty, never `.` or `..`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct RecordPath {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    App,
    Name,
    Date,
    Time,
    Sequence,
}

/// What a file is called after.
#[derive(Debug, Clone, Copy)]
pub struct Called<'a> {
    /// The app.
    pub app: &'a str,
    /// The stream's name in it.
    pub name: &'a str,
    /// Year, month and day.
    pub date: (i32, u8, u8),
    /// Hour, minute and second.
    pub time: (u8, u8, u8),
    /// Which file of its recording, from 0.
    pub sequence: u32,
}

impl RecordPath {
    /// The longest template, in bytes.
    const BYTES_MAX: usize = 200;

    /// The path of one file, relative, with slashes.
    pub fn of(&self, called: Called<'_>) -> String {
        let mut path = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::App => path.push_str(&escaped(called.app)),
                Part::Name => path.push_str(&escaped(called.name)),
                Part::Date => {
                    let (year, month, day) = called.date;
                    path.push_str(&format!("{year:04}-{month:02}-{day:02}"));
                }
                Part::Time => {
                    let (hour, minute, second) = called.time;
                    path.push_str(&format!("{hour:02}-{minute:02}-{second:02}"));
                }
                Part::Sequence => path.push_str(&format!("{:04}", called.sequence)),
            }
        }
        path
    }

    /// The first part of the paths of all files of `app`, and of no other app.
    pub fn dir_of(app: &str) -> String {
        escaped(app)
    }
}

impl Default for RecordPath {
    fn default() -> Self {
        let text = "{app}/{name}/{date}/{time}-{sequence}".to_owned();
        Self::try_from(text).expect("a test reads it")
    }
}

impl TryFrom<String> for RecordPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = parts(&text)?;
        let expect = |holds: bool, expected: &str| match holds {
            true => Ok(()),
            false => Err(format!("expected {expected}, found {text:?}")),
        };
        expect(text.len() <= Self::BYTES_MAX, "at most 200 bytes")?;
        expect(text.starts_with("{app}/"), "a path that begins with {app}/")?;
        let has = |part: &Part| parts.contains(part);
        expect(has(&Part::Name), "{name} in it")?;
        expect(has(&Part::Time) || has(&Part::Sequence), "{time} or {sequence} in it")?;
        let odd = |part: &str| part.is_empty() || part.starts_with('.');
        expect(!text.split('/').any(odd), "no empty part, and none that begins with a dot")?;
        let it = Self { text: text.clone(), parts };
        let long = "a".repeat(ESCAPED_MAX);
        let longest = it.of(Called { app: &long, name: &long, ..LATE });
        let fits = longest.split('/').all(|part| part.len() <= PART_MAX);
        expect(fits, "at most 230 bytes in each part, names of 100 bytes included")?;
        Ok(it)
    }
}

/// Takes as many letters as any time.
const LATE: Called<'static> =
    Called { app: "", name: "", date: (9999, 12, 31), time: (23, 59, 59), sequence: 999_999 };
/// Most file systems take 255 bytes for a part of a path; the rest is for what makes it the only one, and
/// extensions.
const PART_MAX: usize = 230;

fn parts(template: &str) -> Result<Vec<Part>, String> {
    const KNOWN: &str = "{app}, {name}, {date}, {time} and {sequence}";
    let (mut parts, mut rest) = (Vec::new(), template);
    while !rest.is_empty() {
        let (text, behind) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+@,/".contains(c);
        if let Some(odd) = text.chars().find(|c| !plain(*c)) {
            return Err(format!(
                "expected letters of ASCII, digits, -_.=+@,/ and {KNOWN}, found {odd:?}"
            ));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let Some(named) = behind.strip_prefix('{') else { break };
        let Some((name, behind)) = named.split_once('}') else {
            return Err(format!("expected a }} behind {{{named}"));
        };
        parts.push(match name {
            "app" => Part::App,
            "name" => Part::Name,
            "date" => Part::Date,
            "time" => Part::Time,
            "sequence" => Part::Sequence,
            _ => return Err(format!("expected {KNOWN}, found {{{name}}}")),
        });
        rest = behind;
    }
    Ok(parts)
}

/// Bytes of a name that is written out; of a longer one the rest is a digest.
const ESCAPED_MAX: usize = 100;

/// One part of a path, from which `text` follows: letters, digits and `-_.` stand for themselves,
/// but a dot in front does not, and every other byte is `%` and its number.
fn escaped(text: &str) -> String {
    let (mut out, mut cut) = (String::new(), 0);
    for (at, byte) in text.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if plain || (byte == b'.' && at > 0) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        if out.len() <= ESCAPED_MAX - 20 {
            cut = out.len();
        }
    }
    if out.len() > ESCAPED_MAX {
        out.truncate(cut);
        // No other name has this letter.
        out.push('~');
        for byte in &Sha256::digest(text)[..8] {
            out.push_str(&format!("{byte:02x}"));
        }
    }
    out
}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Serialize for RecordPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;

    fn called<'a>(app: &'a str, name: &'a str) -> Called<'a> {
        Called { app, name, date: (2026, 1, 2), time: (3, 4, 5), sequence: 6 }
    }

    #[test]
    fn a_file_is_called_after_its_stream_and_time() {
        let path = RecordPath::default().of(called("live", "cam1"));
        assert_eq!(path, "live/cam1/2026-01-02/03-04-05-0006");
    }

    #[test]
    fn templates_that_could_lead_elsewhere_are_refused() {
        for bad in [
            "",
            "{app}",
            "{name}/{app}-{time}",
            "{app}/{time}",
            "{app}/{name}",
            "/{app}/{name}-{time}",
            "{app}/../{name}-{time}",
            "{app}//{name}-{time}",
            "{app}/.{name}-{time}",
            "{app}/{name}-{time}/",
            "{app}/{name}-{hour}-{time}",
            "{app}/{name}-{time",
            "{app}/{name}\0{time}",
            "{app}/{name}\\{time}",
            "{app}/ä{name}{time}",
            "{app}/{name}/{name}-{name}-{name}-{time}",
        ] {
            assert!(RecordPath::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_part_may_hold_two_long_names() {
        let template = "{app}/{app}-{name}-{date}-{time}-{sequence}".to_owned();
        assert!(RecordPath::try_from(template).is_ok());
    }

    #[test]
    fn names_that_would_leave_the_directory_stay_in_it() {
        for (name, written) in [
            ("..", "%2E."),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a/../b", "a%2F..%2Fb"),
            (".hidden", "%2Ehidden"),
            ("a%2Fb", "a%252Fb"),
            ("a\\b\0c\n", "a%5Cb%00c%0A"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(escaped(name), written);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_leads_out_of_the_directory(app in ".+", name in ".+") {
            let path = RecordPath::default().of(called(&app, &name));
            let parts: Vec<_> = Path::new(&path).components().collect();
            proptest::prop_assert_eq!(parts.len(), 4);
            let plain = |part: &Component<'_>| matches!(part, Component::Normal(name) if name.len() < 255);
            proptest::prop_assert!(parts.iter().all(plain), "{}", path);
            let below = path.strip_prefix(&RecordPath::dir_of(&app));
            proptest::prop_assert!(below.is_some_and(|rest| rest.starts_with('/')), "{}", path);
        }

        #[test]
        fn two_names_are_two_paths(one in "[a./%~]{1,120}", other in "[a./%~]{1,120}") {
            proptest::prop_assert_eq!(escaped(&one) == escaped(&other), one == other);
        }
    }
}
