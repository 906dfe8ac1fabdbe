use std::fmt::{self, Write};

/// A query (`a=1&token=x`) or a URL as the log may show it: names, but no values, as those may be
/// keys and tokens. Control characters are escaped, and a long text is cut.
///
/// ```
/// # use corecast::media::Redacted;
/// assert_eq!(Redacted("token=abc&gop=0").to_string(), "token=***&gop=***");
/// assert_eq!(Redacted("rtmp://u:p@host/live?key=x").to_string(), "rtmp://***@host/live?key=***");
/// ```
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

/// Bytes of the original that are shown at most.
const SHOWN_BYTES: usize = 512;

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.floor_char_boundary(SHOWN_BYTES)];
        let (url, query) = match shown.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None if shown.contains("://") => (shown, None),
            None => ("", Some(shown)),
        };
        match url.split_once("://") {
            Some((scheme, rest)) => {
                escaped(scheme, f)?;
                f.write_str("://")?;
                let authority = rest.find('/').unwrap_or(rest.len());
                let at = rest[..authority].rfind('@');
                if at.is_some() {
                    f.write_str("***")?;
                }
                escaped(&rest[at.unwrap_or(0)..], f)?;
            }
            None => escaped(url, f)?,
        }
        if let Some(query) = query {
            if shown.contains('?') {
                f.write_char('?')?;
            }
            pairs(query, f)?;
        }
        if shown.len() < self.0.len() {
            f.write_char('…')?;
        }
        Ok(())
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn pairs(query: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            f.write_char('&')?;
        }
        match pair.split_once('=') {
            Some((name, _)) => {
                escaped(name, f)?;
                f.write_str("=***")?;
            }
            // A value without a name is as likely a key.
            None if !pair.is_empty() => f.write_str("***")?,
            None => {}
        }
    }
    Ok(())
}

fn escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for c in text.chars() {
        match c.is_control() {
            true => write!(f, "{}", c.escape_default())?,
            false => f.write_char(c)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_values_are_not() {
        assert_eq!(Redacted("token=abc&b=&=c&d==e").to_string(), "token=***&b=***&=***&d=***");
    }

    #[test]
    fn a_value_without_a_name_is_not_shown() {
        assert_eq!(Redacted("s3cret").to_string(), "***");
        assert_eq!(Redacted("live?s3cret").to_string(), "live?***");
        assert_eq!(Redacted("").to_string(), "");
    }

    #[test]
    fn a_url_loses_its_user_and_its_values() {
        let shown = |text| Redacted(text).to_string();
        assert_eq!(shown("rtmp://host/live/a@b"), "rtmp://host/live/a@b");
        assert_eq!(shown("rtmp://u:p@host:1935/live"), "rtmp://***@host:1935/live");
        assert_eq!(shown("rtmp://u:p@x@host"), "rtmp://***@host");
        assert_eq!(shown("http://h/a?x=rtmp://u:p@h/b?c=d"), "http://h/a?x=***");
    }

    #[test]
    fn a_log_line_cannot_be_forged() {
        assert_eq!(Redacted("a\nb=1").to_string(), "a\\nb=***");
    }

    #[test]
    fn a_long_text_is_cut() {
        let text = format!("{}=1", "ü".repeat(SHOWN_BYTES));
        assert!(Redacted(&text).to_string().len() <= SHOWN_BYTES + "…".len());
    }

    proptest::proptest! {
        #[test]
        fn no_value_is_ever_shown(names in proptest::collection::vec("[a-z]{0,4}", 1..5)) {
            let query: Vec<String> = names.iter().map(|name| format!("{name}=SECRET")).collect();
            let shown = Redacted(&query.join("&")).to_string();
            proptest::prop_assert!(!shown.contains("SECRET"));
        }

        #[test]
        fn any_text_can_be_shown(text: String) {
            let _ = Redacted(&text).to_string();
        }
    }
}
