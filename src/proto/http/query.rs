use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A raw query, `token=abc&gop=0`, read on demand.
///
/// Names and values are percent-decoded when they are looked at. Bytes that are not UTF-8 become
/// U+FFFD and a `%` without two hex digits stays as it is: a query is mostly tokens that only
/// others understand, so there is nothing to refuse. `+` stays `+`, because these are not forms and
/// tokens are often base64. A decoded value may hold any character, so quote it in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Reads `raw`, with or without a leading `?`.
    pub fn new(raw: &'a str) -> Self {
        Self(raw.strip_prefix('?').unwrap_or(raw))
    }

    /// The value of the first parameter called `name`; empty if it has none (`?name`).
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// A parameter that says yes or no: `0`, `false`, `no` and `off` are no; `1`, `true`, `yes`,
    /// `on` and the name alone are yes. None if it is absent or says something else.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match &*self.get(name)?.to_ascii_lowercase() {
            "0" | "false" | "no" | "off" => Some(false),
            "1" | "true" | "yes" | "on" | "" => Some(true),
            _ => None,
        }
    }

    /// All parameters in order, decoded.
    pub fn pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        self.0.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text| percent_decode_str(text).decode_utf8_lossy();
            (decode(name), decode(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_of_two_equal_names_counts() {
        let query = Query::new("?a=1&b=2&a=3&&c");
        assert_eq!(query.get("a").as_deref(), Some("1"));
        assert_eq!(query.get("c").as_deref(), Some(""));
        assert_eq!(query.get("d"), None);
        assert_eq!(query.pairs().count(), 4);
    }

    #[test]
    fn values_are_decoded_and_tokens_survive() {
        let query = Query::new("token=a%2Bb+c=%26&bad=%zz%4&na%6De=x&latin=%ff");
        assert_eq!(query.get("token").as_deref(), Some("a+b+c=&"));
        assert_eq!(query.get("bad").as_deref(), Some("%zz%4"));
        assert_eq!(query.get("name").as_deref(), Some("x"));
        assert_eq!(query.get("latin").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn flags_say_yes_no_or_nothing() {
        let query = Query::new("gop=0&audio=FALSE&video&x=maybe&y=on");
        let flags = ["gop", "audio", "video", "x", "y", "z"].map(|name| query.flag(name));
        assert_eq!(flags, [Some(false), Some(false), Some(true), None, Some(true), None]);
    }

    proptest! {
        #[test]
        fn any_text_can_be_asked(raw in ".*", name in ".{0,3}") {
            let query = Query::new(&raw);
            query.get(&name);
            query.flag(&name);
        }
    }
}
