//! What viewers by HTTP and WebSocket share: the URL, and the head of the answer.

use std::io;

use super::{SECURE_PORT, WORDS_MAX, words};

/// `http://HOST[:PORT]/PATH`, or another scheme of that form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// In small letters.
    pub(super) scheme: String,
    /// Host name or address; an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// With the query; never empty.
    pub(super) path: String,
}

impl Url {
    /// `url`, whose scheme is known to be right.
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let invalid = |what: &str| format!("expected {what} in the URL, found {url:?}");
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(|| invalid("] after an IPv6 address"))?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| invalid("a port from 1 to 65535"))?,
            None if port.is_empty() => match scheme.as_str() {
                "https" | "wss" => SECURE_PORT,
                _ => 80,
            },
            None => return Err(invalid("a port after the host")),
        };
        if host.is_empty() || host.contains('@') {
            return Err(invalid("a host without user and password"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { scheme, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }

    /// `error`, and what was probably meant if it is that a page came from a path without an extension.
    pub(super) fn explain(&self, error: io::Error) -> io::Error {
        let (path, query) = self.path.split_at(self.path.find('?').unwrap_or(self.path.len()));
        let is_page = error.get_ref().is_some_and(|error| error.is::<NotMedia>());
        if !is_page || self.extension().is_some() {
            return error;
        }
        let path = path.trim_end_matches('/');
        let meant = format!("{}://{}{path}.flv{query}", self.scheme, self.authority);
        io::Error::other(format!("{error}: did you mean {}?", words(&meant)))
    }

    /// How the last part of the path ends, if it is one that servers have for streams.
    pub(super) fn extension(&self) -> Option<&str> {
        let path = self.path.split('?').next()?;
        let (_, extension) = path.rsplit('/').next()?.rsplit_once('.')?;
        ["flv", "m3u8", "mp4", "ts"].contains(&extension).then_some(extension)
    }

    /// A GET with `fields`, each ending with a line break.
    pub(super) fn request(&self, fields: &str) -> String {
        let Self { path, authority, .. } = self;
        format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: corecast-load\r\n{fields}\r\n"
        )
    }
}

/// The head of an answer, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Head(Vec<u8>);

/// What a head said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The `Server` field.
    pub(super) server: Option<String>,
    /// The body is in chunks.
    pub(super) chunked: bool,
    /// The `Content-Type` field, without parameters, in lower case.
    pub(super) kind: Option<String>,
    /// The `Sec-WebSocket-Accept` field.
    pub(super) accept: Option<String>,
}

/// No head is longer.
const HEAD_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;

impl Head {
    /// Takes the head from the front of `input`; none while it is not whole.
    ///
    /// # Errors
    /// It is no HTTP, or its status is not `expected`: with the line, where it points to, and the
    /// first words of a text that came along.
    pub(super) fn read(&mut self, expected: u16, input: &mut &[u8]) -> io::Result<Option<Answer>> {
        let before = self.0.len();
        self.0.extend_from_slice(input);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&self.0).map_err(|error| {
            let begin = &self.0[..self.0.len().min(40)];
            let begin = begin.escape_ascii();
            io::Error::other(format!("expected an HTTP answer, found \"{begin}\" ({error})"))
        })?;
        let httparse::Status::Complete(length) = parsed else {
            if self.0.len() > HEAD_MAX {
                let why = format!("expected an HTTP head of at most {HEAD_MAX} bytes, found more");
                return Err(io::Error::other(why));
            }
            *input = &[];
            return Ok(None);
        };
        let status = response.code.unwrap_or_default();
        let field = |name: &str| {
            let field = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.map(|field| String::from_utf8_lossy(field.value).trim().to_owned())
        };
        if status != expected {
            // A page is no word of a server to a viewer.
            if let Some(kind) = field("Content-Type").map(|kind| plain(&kind))
                && status == 200
                && is_text(&kind)
            {
                return Err(io::Error::other(NotMedia(kind)));
            }
            let body = &self.0[length..];
            let announced = field("Content-Length").and_then(|length| length.parse().ok());
            if body.len() < announced.unwrap_or(0).min(WORDS_MAX) {
                *input = &[];
                return Ok(None);
            }
            let said = [field("Location").map(|to| format!("Location: {to}")), words_of(body)];
            let said = said.into_iter().flatten().map(|said| format!(": {}", words(&said)));
            let (reason, said) =
                (words(response.reason.unwrap_or_default()), said.collect::<String>());
            let why = format!("expected the status {expected}, found {status} {reason}{said}");
            return Err(io::Error::other(why));
        }
        let coding = field("Transfer-Encoding").unwrap_or_default();
        let answer = Answer {
            status,
            server: field("Server").map(|server| words(&server)),
            kind: field("Content-Type").map(|kind| plain(&kind)),
            chunked: coding.to_ascii_lowercase().ends_with("chunked"),
            accept: field("Sec-WebSocket-Accept"),
        };
        *input = &input[length - before..];
        self.0 = Vec::new();
        Ok(Some(answer))
    }
}

/// A media type, without parameters.
fn plain(kind: &str) -> String {
    let kind = kind.split(';').next().unwrap_or_default();
    words(&kind.trim().to_ascii_lowercase())
}

/// Whether an answer of this type is for people or programs that read, not for a player of a stream.
pub(super) fn is_text(kind: &str) -> bool {
    let (family, what) = kind.split_once('/').unwrap_or((kind, ""));
    let texts = ["json", "xml", "xhtml+xml", "javascript", "vnd.apple.mpegurl", "x-mpegurl"];
    family == "text"
        || family == "image"
        || family == "application" && texts.contains(&what)
        || family == "audio" && what.ends_with("mpegurl")
}

/// The type of a body without one that begins like this, if that is no stream.
pub(super) fn text_type(body: &[u8]) -> Option<&'static str> {
    match body.trim_ascii_start().first()? {
        b'<' => Some("text/html"),
        b'{' => Some("application/json"),
        _ if body.starts_with(b"#EXT") => Some("a playlist"),
        _ => None,
    }
}

/// The server answered with something that is no stream: its type.
#[derive(Debug)]
pub(super) struct NotMedia(pub(super) String);

impl std::error::Error for NotMedia {}

impl std::fmt::Display for NotMedia {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the answer is {}, no stream", self.0)
    }
}

/// The first line of a text that is not a page.
fn words_of(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    (!line.starts_with('<')).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_host_port_and_path() {
        let url = |text| Url::parse(text).expect(text);
        let plain = url("http://h/live/x.flv?k=v");
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.path.as_str()),
            ("h", 80, "/live/x.flv?k=v")
        );
        let six = url("ws://[::1]:8080");
        assert_eq!((six.host.as_str(), six.port, six.path.as_str()), ("::1", 8080, "/"));
        assert!(six.request("").contains("Host: [::1]:8080\r\n"));
        assert_eq!(url("http://h?k").path, "/?k");
        for text in ["http://", "http://h:x/", "http://[::1/", "http://u@h/", "http://[::1]x/"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let answer = b"HTTP/1.1 200 OK\r\nserver: some/1\r\nTransfer-Encoding: chunked\r\n\r\nbody";
        for cut in 0..=answer.len() {
            let mut head = Head::default();
            let mut found = None;
            let mut rest = Vec::new();
            for mut part in [&answer[..cut], &answer[cut..]] {
                if found.is_none() {
                    found = head.read(200, &mut part).expect("a good answer");
                }
                rest.extend_from_slice(part);
            }
            let found = found.expect("it is whole");
            assert_eq!((found.server.as_deref(), found.chunked), (Some("some/1"), true));
            assert_eq!(rest, b"body", "cut at {cut}");
        }
    }

    #[test]
    fn a_refusal_carries_the_servers_words() {
        let refused = |answer: &str| {
            let error = Head::default().read(200, &mut answer.as_bytes()).expect_err("not 200");
            error.to_string()
        };
        let words = refused("HTTP/1.1 404 Not Found\r\n\r\n{\"error\": \"no such stream\"}\n");
        assert!(words.contains("404 Not Found") && words.contains("no such stream"), "{words}");
        let mut head = Head::default();
        let mut part = &b"HTTP/1.1 403 No\r\nContent-Length: 7\r\n\r\n"[..];
        assert_eq!(head.read(200, &mut part).expect("words are to follow"), None);
        let error = head.read(200, &mut &b"because"[..]).expect_err("all is there");
        assert!(error.to_string().ends_with("403 No: because"), "{error}");
        assert!(!refused("HTTP/1.1 404 Not Found\r\n\r\n<html>\r\n").contains('<'));
        assert!(
            refused("HTTP/1.1 302 Found\r\nLocation: http://b/x\r\n\r\n").contains("http://b/x")
        );
        assert!(refused("RTMP\x03").contains("expected an HTTP answer"));
    }
}
