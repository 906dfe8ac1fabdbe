/// The hosts whose pages may show the streams of an app.
#[derive(Debug)]
pub(super) struct Referers(Box<[Pattern]>);

#[derive(Debug)]
enum Pattern {
    /// `""`: no page is named.
    Nothing,
    /// `*`
    AnyHost,
    /// `example.org`
    Host(Box<str>),
    /// `*.example.org`, kept as `.example.org`.
    Below(Box<str>),
}

impl Referers {
    pub(super) fn new(patterns: &[String]) -> Self {
        let patterns = patterns.iter().map(|pattern| match pattern.to_ascii_lowercase().as_str() {
            "" => Pattern::Nothing,
            "*" => Pattern::AnyHost,
            pattern => match pattern.strip_prefix('*') {
                Some(below) => Pattern::Below(below.into()),
                None => Pattern::Host(pattern.into()),
            },
        });
        Self(patterns.collect())
    }

    /// `Err` says what was found.
    pub(super) fn check(&self, referer: Option<&str>) -> Result<(), &'static str> {
        if self.0.is_empty() {
            return Ok(());
        }
        let host = referer.map(host_of);
        let fits = |pattern: &Pattern| match (pattern, &host) {
            (Pattern::Nothing, host) => host.is_none(),
            (_, None | Some(None)) => false,
            (Pattern::AnyHost, Some(Some(_))) => true,
            (Pattern::Host(own), Some(Some(host))) => **own == *host,
            (Pattern::Below(own), Some(Some(host))) => {
                host.len() > own.len() && host.ends_with(&**own)
            }
        };
        match (self.0.iter().any(fits), host) {
            (true, _) => Ok(()),
            (false, None) => Err("none (no Referer and no Origin)"),
            (false, Some(_)) => Err("another"),
        }
    }
}

/// The host of a URL or an origin, in small letters. `None` if there is none: `null` is what a
/// browser says of a page that has no origin.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    // A browser takes a backslash for a slash there.
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.find(']') {
        Some(end) => &host[..=end],
        None => host.split(':').next().unwrap_or_default(),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(patterns: &[&str], referer: Option<&str>) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        Referers::new(&patterns).check(referer).is_ok()
    }

    #[test]
    fn no_list_allows_all_and_a_list_only_its_hosts() {
        assert!(allow(&[], None) && allow(&[], Some("https://a.example/")));
        let list = ["Example.org", "*.example.net", "[::1]"];
        for yes in [
            "https://example.org",
            "https://EXAMPLE.org:8443/page?x=https://evil.example/",
            "http://www.example.net/",
            "http://a.b.example.net./#x",
            "http://user:secret@example.org/",
            "http://[::1]:8080/page",
        ] {
            assert!(allow(&list, Some(yes)), "{yes}");
        }
        for no in [
            "https://example.net/",
            "https://badexample.net/",
            "https://example.org.evil.example/",
            "https://example.org@evil.example/",
            "https://evil.example\\@example.org/",
            "https://evil.example/https://example.org/",
            "https://www.example.org/",
            "example.org",
            "null",
            "https://",
            "",
        ] {
            assert!(!allow(&list, Some(no)), "{no}");
        }
        assert!(!allow(&list, None));
    }

    #[test]
    fn an_empty_pattern_stands_for_clients_that_name_no_page() {
        assert!(allow(&["", "example.org"], None));
        assert!(!allow(&[""], Some("https://example.org/")));
        assert!(!allow(&[""], Some("null")), "a page without origin is a page");
        assert!(allow(&["*"], Some("https://example.org/")) && !allow(&["*"], None));
    }

    proptest::proptest! {
        #[test]
        fn no_text_can_upset_it(text: String) {
            let _ = allow(&["", "*", "example.org", "*.example.org"], Some(&text));
        }
    }
}
