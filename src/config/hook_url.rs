use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::secret::HIDDEN;

/// Where a hook is told or asked. Values of its query may be tokens and are never shown, not in a
/// log, not in the effective configuration. Empty for nowhere.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HookUrl(String);

impl HookUrl {
    /// All of it, to send to.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Values are hidden, and what stands there without a name may be one.
impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((place, query)) = self.0.split_once('?') else { return f.write_str(&self.0) };
        f.write_str(place)?;
        for (index, pair) in query.split('&').enumerate() {
            f.write_str(if index == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((name, _)) => write!(f, "{name}={HIDDEN}")?,
                None if pair.is_empty() => {}
                None => f.write_str(HIDDEN)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for HookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for HookUrl {
    type Error = String;

    /// What is shown in place of a value is none.
    fn try_from(text: String) -> Result<Self, String> {
        match text.contains(HIDDEN) {
            true => Err(format!(
                "expected the URL itself, found {HIDDEN} in it, which is shown in place of a value"
            )),
            false => Ok(Self(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_query_are_hidden_and_nothing_else_is() {
        for (text, shown) in [
            ("", ""),
            ("http://h:3000/a=b/c", "http://h:3000/a=b/c"),
            ("http://h/?", "http://h/?"),
            ("https://h/a?token=5ec2e7", "https://h/a?token=(hidden)"),
            ("https://h/a?token=5e=c2e7&to=b&", "https://h/a?token=(hidden)&to=(hidden)&"),
            ("https://h/a?5ec2e7", "https://h/a?(hidden)"),
            ("https://h/a?a=?5ec2e7", "https://h/a?a=(hidden)"),
        ] {
            let url = HookUrl::try_from(text.to_owned()).expect("one");
            assert_eq!((url.to_string(), url.reveal()), (shown.to_owned(), text));
            assert_eq!(format!("{url:?}"), format!("\"{shown}\""));
            assert_eq!(HookUrl::try_from(shown.to_owned()).is_ok(), text == shown, "{shown}");
        }
    }
}
