//! `rtmp://host[:port]/app/name?query`, and the query wherever a client puts it.

use std::collections::HashSet;
use std::str::FromStr;

/// Where a client connects, and what it wants there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, 1935 unless given.
    pub port: u16,
    /// The first segment of the path.
    pub app: String,
    /// The rest of the path, slashes included; never empty.
    pub name: String,
    /// What stands after `?`, possibly empty.
    pub query: String,
}

/// Why a text is no RTMP URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rtmp/url: expected {expected}, found {found:?}")]
pub struct InvalidUrl {
    /// What was expected.
    pub expected: &'static str,
    /// What was found instead.
    pub found: String,
}

impl Url {
    /// The default port.
    pub const PORT: u16 = 1935;

    /// The URL up to the app, as `connect` names it (`tcUrl`).
    pub fn tc_url(&self) -> String {
        let Self { host, port, app, .. } = self;
        match host.contains(':') {
            true => format!("rtmp://[{host}]:{port}/{app}"),
            false => format!("rtmp://{host}:{port}/{app}"),
        }
    }

    /// Name and query, as `publish` and `play` carry them.
    pub fn play_path(&self) -> String {
        match self.query.as_str() {
            "" => self.name.clone(),
            query => format!("{}?{query}", self.name),
        }
    }
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = |expected, found: &str| InvalidUrl { expected, found: found.to_owned() };
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| invalid("rtmp://HOST/APP/NAME", text))?;
        if !scheme.eq_ignore_ascii_case("rtmp") {
            return Err(invalid("the scheme rtmp", scheme));
        }
        let (path, query) = split_query(rest);
        let (authority, path) =
            path.split_once('/').ok_or_else(|| invalid("rtmp://HOST/APP/NAME", text))?;
        let (app, name) = path.trim_matches('/').split_once('/').unwrap_or((path, ""));
        let (app, name) = (app.trim_matches('/'), name.trim_matches('/'));
        if app.is_empty() || name.is_empty() {
            return Err(invalid("an app and a stream name (/APP/NAME)", path));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                rest.split_once(']').ok_or_else(|| invalid("] after an IPv6 address", authority))?
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        if host.is_empty() || host.contains('@') {
            return Err(invalid("a host without user and password", authority));
        }
        let port = match port.strip_prefix(':') {
            Some(port) => match port.parse() {
                Ok(number @ 1..) => number,
                _ => return Err(invalid("a port from 1 to 65535", port)),
            },
            None if port.is_empty() => Self::PORT,
            None => return Err(invalid("a port after the host", port)),
        };
        let (host, app, name) = (host.to_owned(), app.to_owned(), name.to_owned());
        Ok(Self { host, port, app, name, query: query.to_owned() })
    }
}

/// Cuts `text` at its first `?`; the query may be empty.
pub(super) fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// One query of several. Clients repeat the same parameters in the app, in `tcUrl` and in the
/// name, so the first of a name counts.
pub(super) fn merge_queries<'a>(queries: impl IntoIterator<Item = &'a str>) -> String {
    let mut merged: Vec<&str> = Vec::new();
    // A set, because strangers choose how many names there are.
    let mut known: HashSet<&str> = HashSet::new();
    let name_of = |pair: &'a str| pair.split_once('=').map_or(pair, |(name, _)| name);
    for query in queries {
        // Repetition inside one query is the sender's meaning and stays.
        let earlier = merged.len();
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        merged.extend(pairs.filter(|pair| !known.contains(name_of(pair))));
        known.extend(merged[earlier..].iter().map(|pair| name_of(pair)));
    }
    merged.join("&")
}

/// True if the query holds `name=value`.
pub(super) fn query_has(query: &str, name: &str, value: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=') == Some((name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, port: u16, app: &str, name: &str, query: &str) -> Result<Url, InvalidUrl> {
        let [host, app, name, query] = [host, app, name, query].map(str::to_owned);
        Ok(Url { host, port, app, name, query })
    }

    #[test]
    fn a_url_has_host_port_app_name_and_query() {
        assert_eq!("rtmp://h/live/x".parse(), url("h", 1935, "live", "x", ""));
        assert_eq!("RTMP://h:19/live/a/b?k=v".parse(), url("h", 19, "live", "a/b", "k=v"));
        assert_eq!("rtmp://[::1]:19/live/x".parse(), url("::1", 19, "live", "x", ""));
        assert_eq!("rtmp://[::1]/live/x".parse(), url("::1", 1935, "live", "x", ""));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (text, expected) in [
            ("h/live/x", "rtmp://HOST/APP/NAME"),
            ("rtmps://h/live/x", "the scheme rtmp"),
            ("rtmp://h", "rtmp://HOST/APP/NAME"),
            ("rtmp://h/live", "an app and a stream name (/APP/NAME)"),
            ("rtmp://h/live/?k", "an app and a stream name (/APP/NAME)"),
            ("rtmp:///live/x", "a host without user and password"),
            ("rtmp://h:99999/live/x", "a port from 1 to 65535"),
            ("rtmp://h:0/live/x", "a port from 1 to 65535"),
            ("rtmp://[::1/live/x", "] after an IPv6 address"),
            ("rtmp://[::1]9/live/x", "a port after the host"),
        ] {
            assert_eq!(text.parse::<Url>().expect_err(text).expected, expected, "{text}");
        }
    }

    #[test]
    fn tc_url_puts_an_ipv6_address_into_brackets() {
        let url: Url = "rtmp://[::1]/live/x?k=v".parse().expect("valid");
        assert_eq!(url.tc_url(), "rtmp://[::1]:1935/live");
        assert_eq!(url.play_path(), "x?k=v");
    }

    #[test]
    fn the_first_query_that_names_a_parameter_counts() {
        assert_eq!(merge_queries(["a=1&a=2", "", "b&a=3&c=", "b=4"]), "a=1&a=2&b&c=");
        assert_eq!(merge_queries([]), "");
    }

    #[test]
    fn long_queries_are_merged_in_no_time() {
        // As long as a connect and a play before a publish can be. Pair by pair it would take
        // half a minute here.
        let [app, name] = ["a&", "b&"].map(|pair| pair.repeat(32 << 10));
        let start = std::time::Instant::now();
        let merged = merge_queries([name.as_str(), app.as_str()]);
        assert_eq!(merged.len(), name.len() + app.len() - 1);
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{:?}", start.elapsed());
    }
}
