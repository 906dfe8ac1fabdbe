use percent_encoding::percent_decode_str;

use super::body::Length;
use super::error::Error;
use super::forwarded::ForwardedField;
use super::ws;
use crate::config::Secret;
use crate::media::Redacted;

/// Names a request within its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AskId(pub u64);

/// What a client asks for. Texts are lossily UTF-8 where the bytes were not; they may be logged
/// when quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// To be given back with the answer.
    pub ask: AskId,
    /// A HEAD is answered like the GET; the machine leaves the body away.
    pub method: Method,
    /// How long its body is; none if it has none, or an empty one. Only POST and PUT have one.
    pub body: Option<Length>,
    /// The path, percent-decoded: begins with a slash, holds no control characters. An escaped
    /// slash (`%2F`) is a slash like any other.
    pub path: String,
    /// What follows the `?`, as it came. See [`Query`](super::Query).
    pub query: String,
    /// The client's version.
    pub version: Version,
    /// True when the client asks to go on as WebSocket. Such a request may still be answered with
    /// a plain response.
    pub websocket: bool,
    /// Host, or the authority of an absolute request target.
    pub host: Option<String>,
    /// Origin: the site whose page asks.
    pub origin: Option<String>,
    /// Referer: the page that asks.
    pub referer: Option<String>,
    /// The token of `Authorization: Bearer …` (RFC 6750 2.1).
    pub bearer: Option<Secret>,
    /// It takes a body that is compressed by gzip (RFC 9110 12.5.3).
    pub accepts_gzip: bool,
    /// User-Agent.
    pub user_agent: Option<String>,
    /// Range: the part of it that is wanted; of several such fields the first.
    pub range: Option<Box<str>>,
    /// If-Range: what the client has a part of already.
    pub if_range: Option<Box<str>>,
    /// What proxies say of whom it is for: each [`Config::client_field`](super::Config), in their
    /// order, joined by commas; and which field that is.
    pub forwarded: Option<(ForwardedField, Box<str>)>,
}

/// What is wanted of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Head and body.
    Get,
    /// The head that a GET would have.
    Head,
    /// To publish what the body holds.
    Post,
    /// The same.
    Put,
}

impl Method {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }

    /// Whether it brings something instead of asking for it.
    pub fn is_upload(self) -> bool {
        matches!(self, Self::Post | Self::Put)
    }
}

/// The client's protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0: no chunks, closes unless asked to keep alive.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// A whole, valid head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) keep_alive: bool,
    /// It sends its body when it was told to continue.
    pub(super) waits_for_continue: bool,
    /// If-None-Match, of GET and HEAD: what it names the client has.
    pub(super) known: Option<Box<str>>,
    /// None for OPTIONS, of whatever path.
    pub(super) request: Option<(Request, Option<Upgrade>)>,
}

/// What the 101 answer needs.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Sec-WebSocket-Accept.
    pub(super) accept: String,
    /// The first protocol offered. We speak none, and whatever the client means by it is its own
    /// affair, but browsers hang up when they offer some and none is chosen.
    pub(super) protocol: Option<String>,
}

/// What a balancer says before its client does is no HTTP.
const PROXY_HINT: &str = " (a PROXY protocol header? proxy.trusted names those who may send one)";

/// The most header fields of a head; more are answered with 431.
pub(super) const HEADERS_MAX: usize = 64;

/// Where the head ends in `bytes` (the offset after its empty line), looking only at lines that
/// end at `from` or later.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    // RFC 9112 2.2: a lone LF may end a line.
    let ends_empty_line =
        |at: usize| bytes[..at].ends_with(b"\n\n") || bytes[..at].ends_with(b"\n\r\n");
    (from + 1..=bytes.len()).find(|&at| bytes[at - 1] == b'\n' && ends_empty_line(at))
}

/// Refuses what is not HTTP/1.x by its first byte: other protocols may never send an empty line.
pub(super) fn check_first_byte(byte: u8, at: u64) -> Result<(), Error> {
    let expected = "a method in plain HTTP/1.x";
    match byte {
        0x16 => Err(Error::Malformed { at, expected, found: "a TLS handshake".to_owned() }),
        // Of PROXY protocol version 2, after line ends that are taken for empty lines.
        0 => Err(Error::Malformed { at, expected, found: format!("byte 0x00{PROXY_HINT}") }),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => Ok(()),
        _ if b"!#$%&'*+-.^_`|~".contains(&byte) => Ok(()),
        _ => Err(Error::Malformed { at, expected, found: format!("byte 0x{byte:02x}") }),
    }
}

/// Reads a head that ends with its empty line. `at` is where it begins, `ask` the request's id;
/// `client_field` is kept if it is asked for.
pub(super) fn parse(
    bytes: &[u8],
    at: u64,
    ask: AskId,
    client_field: Option<ForwardedField>,
) -> Result<Head, Error> {
    let malformed =
        |expected, found: &str| Err(Error::Malformed { at, expected, found: shorten(found) });
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
        return malformed("HTTP/1.0 or 1.1", "HTTP/2 with prior knowledge");
    }
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return malformed("a request line", "an empty line"),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Error::HeadTooLong { at, limit: HEADERS_MAX, unit: "fields" });
        }
        Err(error) => {
            let expected = match error {
                httparse::Error::HeaderName => "a field name",
                httparse::Error::HeaderValue => "a field value",
                httparse::Error::Version => "HTTP/1.0 or HTTP/1.1",
                _ => "METHOD TARGET HTTP/1.1",
            };
            let hint = if bytes.starts_with(b"PROXY ") { PROXY_HINT } else { "" };
            let found = format!("{}{hint}", shorten(&quote(bytes)));
            return Err(Error::Malformed { at, expected, found });
        }
    }
    let fields = Fields(head.headers);
    let name = head.method.unwrap_or_default();
    let method = match name {
        "GET" => Some(Method::Get),
        "HEAD" => Some(Method::Head),
        "POST" => Some(Method::Post),
        "PUT" => Some(Method::Put),
        "OPTIONS" => None,
        other => return Err(Error::Method { at, found: shorten(other) }),
    };
    let version = if head.version == Some(0) { Version::Http10 } else { Version::Http11 };

    let body = match body_length(&fields, version) {
        Ok(body) => body,
        Err((expected, found)) => return malformed(expected, &found),
    };
    if body.is_some() && !method.is_some_and(Method::is_upload) {
        return malformed("a request without body", "one with a body");
    }
    // RFC 9110 10.1.1: of HTTP/1.0 it is to be ignored.
    let mut expectations = fields.all("expect").filter(|_| version == Version::Http11);
    let waits_for_continue = match expectations.next() {
        Some(first) if first.eq_ignore_ascii_case("100-continue") => true,
        Some(first) => return Err(Error::Expectation { at, found: shorten(&first) }),
        None => false,
    };
    let keep_alive = match version {
        Version::Http11 => !fields.has_token("connection", "close"),
        Version::Http10 => {
            fields.has_token("connection", "keep-alive") && !fields.has_token("connection", "close")
        }
    };
    // RFC 9112 3.2.
    let mut hosts = fields.all("host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return malformed("one Host", "several");
    }
    if version == Version::Http11 && host.is_none() {
        return malformed("Host, as HTTP/1.1 requires", "none");
    }

    let target = head.path.unwrap_or_default();
    let Some(method) = method else {
        return Ok(Head { keep_alive, waits_for_continue, known: None, request: None });
    };
    let (authority, path, query) = match split_target(target) {
        Ok(parts) => parts,
        Err(expected) => return malformed(expected, target),
    };
    let path = match decode_path(path) {
        Ok(path) => path,
        Err(expected) => return malformed(expected, path),
    };
    let upgrade = parse_upgrade(&fields, method, version, at)?;
    let request = Request {
        ask,
        method,
        body,
        path,
        query: query.to_owned(),
        version,
        websocket: upgrade.is_some(),
        host: authority.map(str::to_owned).or(host),
        origin: fields.first("origin"),
        referer: fields.first("referer"),
        bearer: fields.first("authorization").as_deref().and_then(bearer),
        accepts_gzip: fields.tokens("accept-encoding").any(|coding| is_gzip(&coding)),
        user_agent: fields.first("user-agent"),
        // RFC 9110 14.2: of any other method it is to be ignored.
        range: fields.first("range").filter(|_| method == Method::Get).map(Into::into),
        if_range: fields.first("if-range").map(Into::into),
        forwarded: client_field
            .and_then(|field| joined(fields.all(field.name())).map(|all| (field, all))),
    };
    let known = (!method.is_upload()).then(|| joined(fields.all("if-none-match"))).flatten();
    Ok(Head { keep_alive, waits_for_continue, known, request: Some((request, upgrade)) })
}

/// How long the body is, RFC 9112 6.3; or what was expected and found. A body that we did not find
/// would be taken for the next request, and one that others see the end of elsewhere would hide one:
/// what can be read in two ways is refused, even if both were the same.
fn body_length(
    fields: &Fields<'_>,
    version: Version,
) -> Result<Option<Length>, (&'static str, String)> {
    let mut codings = fields.all("transfer-encoding");
    let mut lengths = fields.all("content-length");
    match (codings.next(), lengths.next()) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(("either Transfer-Encoding or Content-Length", "both".to_owned()))
        }
        (Some(_), None) if version == Version::Http10 => {
            Err(("HTTP/1.1 with Transfer-Encoding", "HTTP/1.0".to_owned()))
        }
        (Some(_), None) if codings.next().is_some() => {
            Err(("one Transfer-Encoding", "several".to_owned()))
        }
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Length::Chunked)),
        (Some(coding), None) => Err(("Transfer-Encoding: chunked", coding)),
        (None, Some(_)) if lengths.next().is_some() => {
            Err(("one Content-Length", "several".to_owned()))
        }
        (None, Some(length)) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            match length.parse::<u64>() {
                Ok(0) if is_number => Ok(None),
                Ok(bytes) if is_number => Ok(Some(Length::Known(bytes))),
                _ => Err(("Content-Length in decimal digits, below 2^64", length)),
            }
        }
    }
}

/// Whether `coding`, of Accept-Encoding, is gzip with a weight that is not zero.
fn is_gzip(coding: &str) -> bool {
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
    name.trim().eq_ignore_ascii_case("gzip") && weight.is_none_or(|weight| weight > 0.0)
}

fn bearer(credentials: &str) -> Option<Secret> {
    let (scheme, token) = credentials.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned().into())
}

/// Authority (of the absolute form), path and query, RFC 9112 3.2.
fn split_target(target: &str) -> Result<(Option<&str>, &str, &str), &'static str> {
    let (whole, query) = target.split_once('?').unwrap_or((target, ""));
    if target.contains('#') {
        return Err("a request target without fragment");
    }
    if whole.starts_with('/') {
        return Ok((None, whole, query));
    }
    let (scheme, rest) = whole.split_once("://").ok_or("a path from the root, /APP/NAME")?;
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("a target with scheme http");
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err("a target with a host");
    }
    Ok((Some(authority), if path.is_empty() { "/" } else { path }, query))
}

fn decode_path(raw: &str) -> Result<String, &'static str> {
    let mut escapes = raw.split('%');
    escapes.next();
    let is_hex = |escape: &str| {
        escape.len() >= 2 && escape.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit)
    };
    if !escapes.all(is_hex) {
        return Err("two hex digits after each % of the path");
    }
    let path = percent_decode_str(raw).decode_utf8().map_err(|_| "a path in UTF-8")?;
    if path.contains(char::is_control) {
        return Err("a path without control characters");
    }
    Ok(path.into_owned())
}

/// RFC 6455 4.2.1. None when no WebSocket is asked for; Upgrade to anything else is ignored.
fn parse_upgrade(
    fields: &Fields<'_>,
    method: Method,
    version: Version,
    at: u64,
) -> Result<Option<Upgrade>, Error> {
    if !fields.has_token("upgrade", "websocket") {
        return Ok(None);
    }
    let malformed =
        |expected, found: &str| Err(Error::Malformed { at, expected, found: shorten(found) });
    if method != Method::Get || version != Version::Http11 {
        return malformed("a WebSocket handshake by GET and HTTP/1.1", "another method or version");
    }
    if !fields.has_token("connection", "upgrade") {
        let found = fields.first("connection").unwrap_or_else(|| "none".to_owned());
        return malformed("Connection: Upgrade beside Upgrade: websocket", &found);
    }
    let asked = fields.first("sec-websocket-version").unwrap_or_else(|| "none".to_owned());
    if asked != "13" {
        return Err(Error::WebSocketVersion { at, found: shorten(&asked) });
    }
    let key = fields.first("sec-websocket-key").unwrap_or_default();
    // 16 bytes in base64: 22 digits, of which the last holds two bits, and two pads.
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = key.strip_suffix("==").unwrap_or_default();
    if digits.len() != 22 || !digits.as_bytes().iter().all(is_digit) {
        return malformed("Sec-WebSocket-Key of 16 bytes in base64", &key);
    }
    let protocol = fields.tokens("sec-websocket-protocol").next().filter(|protocol| {
        protocol.len() <= 64 && protocol.bytes().all(|byte| byte.is_ascii_graphic())
    });
    Ok(Some(Upgrade { accept: ws::accept_value(&key), protocol }))
}

/// The header fields, by name.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl Fields<'_> {
    fn all(&self, name: &str) -> impl Iterator<Item = String> {
        let named = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| String::from_utf8_lossy(field.value.trim_ascii()).into_owned())
    }

    fn first(&self, name: &str) -> Option<String> {
        self.all(name).next()
    }

    /// The members of a comma-separated list, which may stand in several fields.
    fn tokens(&self, name: &str) -> impl Iterator<Item = String> {
        self.all(name).flat_map(|list| {
            let tokens: Vec<_> = list.split(',').map(|token| token.trim().to_owned()).collect();
            tokens.into_iter().filter(|token| !token.is_empty())
        })
    }

    fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|found| found.eq_ignore_ascii_case(token))
    }
}

/// Fields of one name mean what they mean as one, RFC 9110 5.3.
fn joined(all: impl Iterator<Item = String>) -> Option<Box<str>> {
    let all: Vec<_> = all.collect();
    (!all.is_empty()).then(|| all.join(",").into())
}

/// The first line, for an error text.
fn quote(bytes: &[u8]) -> String {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

/// At most 80 characters, no control characters and no values of a query, which may be secrets,
/// so that an error fits on a line of the log.
fn shorten(text: &str) -> String {
    let text = text.trim_end();
    let redacted = text.contains('?').then(|| Redacted(text).to_string());
    let text = redacted.as_deref().unwrap_or(text);
    let mut short: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str) -> Result<Request, Error> {
        let head = parse(head.as_bytes(), 0, AskId(1), Some(ForwardedField::XForwardedFor))?;
        Ok(head.request.expect("not OPTIONS").0)
    }

    fn keeps_alive(head: &str) -> bool {
        parse(head.as_bytes(), 0, AskId(1), Some(ForwardedField::XForwardedFor))
            .expect("valid")
            .keep_alive
    }

    fn get(target: &str) -> Result<Request, Error> {
        request(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"))
    }

    fn expected_of(result: Result<Request, Error>) -> &'static str {
        match result {
            Err(Error::Malformed { expected, .. }) => expected,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_field_lands_where_it_belongs() {
        let head = "GET /live/a%20b.flv?token=%41&gop=0 HTTP/1.1\r\nHOST: example.org:8080\r\n\
            Origin: https://site\r\nReferer: https://site/page\r\nUser-Agent:  VLC/3 \r\n\
            Authorization: bearer  abc \r\n\
            X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\nForwarded: for=1.2.3.4\r\n\
            x-forwarded-for: 10.0.0.2\r\n\r\n";
        let expected = Request {
            range: None,
            if_range: None,
            ask: AskId(1),
            method: Method::Get,
            body: None,
            path: "/live/a b.flv".into(),
            query: "token=%41&gop=0".into(),
            version: Version::Http11,
            websocket: false,
            host: Some("example.org:8080".into()),
            origin: Some("https://site".into()),
            referer: Some("https://site/page".into()),
            bearer: Some("abc".to_owned().into()),
            accepts_gzip: false,
            user_agent: Some("VLC/3".into()),
            forwarded: Some((ForwardedField::XForwardedFor, "192.0.2.7, 10.0.0.1,10.0.0.2".into())),
        };
        assert_eq!(request(head), Ok(expected));
    }

    #[test]
    fn absolute_form_gives_the_host() {
        let request = get("http://cdn.example/live/a.flv?x=1").expect("valid");
        assert_eq!((&*request.path, &*request.query), ("/live/a.flv", "x=1"));
        assert_eq!(request.host.as_deref(), Some("cdn.example"));
        assert_eq!(get("HTTP://cdn.example?x").expect("valid").path, "/");
        assert_eq!(expected_of(get("http:///live")), "a target with a host");
        assert_eq!(expected_of(get("rtmp://h/live")), "a target with scheme http");
    }

    #[test]
    fn other_forms_of_target_are_refused() {
        assert_eq!(expected_of(get("*")), "a path from the root, /APP/NAME");
        assert_eq!(expected_of(get("live/a.flv")), "a path from the root, /APP/NAME");
        assert_eq!(expected_of(get("/live/a.flv#x")), "a request target without fragment");
    }

    #[test]
    fn path_is_decoded_once_and_strictly() {
        assert_eq!(get("/a/%E4%BD%A0%2541+").expect("valid").path, "/a/你%41+");
        assert_eq!(get("/a%2Fb").expect("valid").path, "/a/b");
        for bad in ["/%", "/%4", "/%4g", "/%%41", "/a%é"] {
            assert_eq!(expected_of(get(bad)), "two hex digits after each % of the path", "{bad}");
        }
        assert_eq!(expected_of(get("/%ff")), "a path in UTF-8");
        for bad in ["/%00", "/a%0d%0ab", "/%7f", "/%C2%85"] {
            assert_eq!(expected_of(get(bad)), "a path without control characters", "{bad}");
        }
    }

    #[test]
    fn host_is_required_of_1_1_only_and_only_once() {
        assert!(request("GET / HTTP/1.0\r\n\r\n").is_ok());
        assert_eq!(expected_of(request("GET / HTTP/1.1\r\n\r\n")), "Host, as HTTP/1.1 requires");
        let twice = "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
        assert_eq!(expected_of(request(twice)), "one Host");
    }

    #[test]
    fn who_asks_for_something_has_no_body() {
        let with = |field: &str| request(&format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n"));
        assert!(with("Content-Length: 0").is_ok());
        for field in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
            assert_eq!(expected_of(with(field)), "a request without body");
        }
        let options = "OPTIONS * HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n";
        let error = parse(options.as_bytes(), 0, AskId(1), None).expect_err("a body");
        assert_eq!(error.status(), 400);
    }

    #[test]
    fn a_body_has_one_length_that_nobody_can_read_otherwise() {
        let of = |method: &str, version: &str, fields: &str| {
            request(&format!("{method} / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"))
        };
        let post = |fields: &str| of("POST", "1.1", fields);
        let body = |request: Result<Request, Error>| request.expect("valid").body;
        assert_eq!(body(post("")), None);
        assert_eq!(body(post("Content-Length: 000\r\n")), None);
        assert_eq!(body(of("PUT", "1.0", "content-length:\t17 \r\n")), Some(Length::Known(17)));
        let most = Some(Length::Known(u64::MAX));
        assert_eq!(body(post("Content-Length: 18446744073709551615\r\n")), most);
        assert_eq!(body(post("Transfer-Encoding: Chunked\r\n")), Some(Length::Chunked));

        for length in
            ["", "+5", "-5", "0x5", "5, 5", "5,", "5 5", "18446744073709551616", "5\u{e9}"]
        {
            let found = expected_of(post(&format!("Content-Length: {length}\r\n")));
            assert_eq!(found, "Content-Length in decimal digits, below 2^64", "{length}");
        }
        for coding in ["", "gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "xchunked"] {
            let found = expected_of(post(&format!("Transfer-Encoding: {coding}\r\n")));
            assert_eq!(found, "Transfer-Encoding: chunked", "{coding}");
        }
        let twice = |field: &str| expected_of(post(&field.repeat(2)));
        assert_eq!(twice("Content-Length: 5\r\n"), "one Content-Length");
        assert_eq!(twice("Transfer-Encoding: chunked\r\n"), "one Transfer-Encoding");
        let both = ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"];
        for fields in [both.concat(), [both[1], both[0]].concat()] {
            assert_eq!(expected_of(post(&fields)), "either Transfer-Encoding or Content-Length");
        }
        let old = of("POST", "1.0", "Transfer-Encoding: chunked\r\n");
        assert_eq!(expected_of(old), "HTTP/1.1 with Transfer-Encoding");
        assert!(post("Content-Length : 5\r\n").is_err(), "RFC 9112 5.1");
        assert!(post("X: y\r\n Content-Length: 5\r\n").is_err(), "RFC 9112 5.2");
    }

    #[test]
    fn nothing_but_100_continue_can_be_expected() {
        let with = |version: &str, value: &str| {
            let head = format!(
                "PUT / HTTP/{version}\r\nHost: h\r\nContent-Length: 5\r\nExpect: {value}\r\n\r\n"
            );
            parse(head.as_bytes(), 0, AskId(1), None).map(|head| head.waits_for_continue)
        };
        assert_eq!(with("1.1", "100-Continue"), Ok(true));
        assert_eq!(with("1.0", "100-continue"), Ok(false));
        assert_eq!(with("1.0", "wonders"), Ok(false));
        assert_eq!(with("1.1", "wonders").expect_err("unknown").status(), 417);
    }

    #[test]
    fn keep_alive_follows_the_version() {
        assert!(keeps_alive("GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(!keeps_alive("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n"));
        assert!(!keeps_alive("GET / HTTP/1.0\r\n\r\n"));
        assert!(keeps_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
    }

    #[test]
    fn other_protocols_are_refused_by_name() {
        assert_eq!(expected_of(request("PRI * HTTP/2.0\r\n\r\n")), "HTTP/1.0 or 1.1");
        assert_eq!(expected_of(request("GET / HTTP/3.0\r\n\r\n")), "HTTP/1.0 or HTTP/1.1");
        assert!(check_first_byte(0x16, 0).expect_err("TLS").to_string().contains("TLS"));
        assert!(check_first_byte(3, 0).expect_err("RTMP").to_string().contains("0x03"));
        assert_eq!(check_first_byte(b'G', 0), Ok(()));
    }

    #[test]
    fn methods_of_later_are_named() {
        let error = request("PATCH /api HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(error, Err(Error::Method { at: 0, found: "PATCH".into() }));
    }

    #[test]
    fn too_many_fields_are_too_long_a_head() {
        let head = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        let error = request(&head).expect_err("too many");
        assert_eq!(error.status(), 431);
    }

    #[test]
    fn websocket_handshake_is_checked_field_by_field() {
        let fields = [
            "Connection: keep-alive, Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let with = |fields: &[&str]| {
            let fields = fields.join("\r\n");
            let head = format!(
                "GET /a/b.flv HTTP/1.1\r\nHost: h\r\nUpgrade: WebSocket\r\n{fields}\r\n\r\n"
            );
            parse(head.as_bytes(), 0, AskId(1), Some(ForwardedField::XForwardedFor))
        };
        let offer = ["Sec-WebSocket-Protocol: flv, other"];
        let head = with(&[&fields[..], &offer].concat()).expect("valid");
        let (request, upgrade) = head.request.expect("not OPTIONS");
        let upgrade = upgrade.expect("asked for");
        assert!(request.websocket);
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.protocol.as_deref(), Some("flv"));
        let status = |fields: &[&str]| with(fields).expect_err("incomplete").status();
        assert_eq!(status(&fields[1..]), 400);
        assert_eq!(status(&[fields[0], fields[2]]), 426);
        assert_eq!(status(&fields[..2]), 400);
        assert_eq!(status(&[fields[0], fields[1], "Sec-WebSocket-Key: c2hvcnQ="]), 400);
    }

    #[test]
    fn upgrade_to_something_else_is_ignored() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
        assert!(!request(head).expect("valid").websocket);
    }

    #[test]
    fn the_end_is_found_wherever_the_search_begins() {
        let head = b"GET / HTTP/1.1\r\na: b\n\r\nrest";
        let whole = head.len() - 4;
        for from in 0..whole {
            assert_eq!(end(head, from), Some(whole));
        }
        assert_eq!(end(&head[..whole - 1], 0), None);
        assert_eq!(end(b"a\n\nb", 0), Some(3));
    }

    #[test]
    fn error_texts_stay_on_one_line() {
        assert_eq!(shorten("a\r\nb\u{1}"), "a\\r\\nb\\u{1}");
        assert_eq!(shorten(&"x".repeat(81)).chars().count(), 81);
    }
}
