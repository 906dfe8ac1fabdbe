use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;

use super::error::Error;
use super::head::Upgrade;
use crate::bytes::{Chain, Slice};

/// How blocks travel to one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// As they are, until the connection closes.
    Close,
    /// Each as one chunk: [its head](super::chunk::head), block, [its tail](super::chunk::TAIL).
    Chunked,
    /// Each as one message: [its header](super::ws::header), block.
    WebSocket,
}

/// An answer with a length.
///
/// Beside what stands here each answer allows any origin, is not to be buffered by proxies
/// (`X-Accel-Buffering: no`) and says whether the connection goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Content-Type; none is written if it is empty.
    pub content_type: &'static str,
    /// Cache-Control; `no-store` unless changed.
    pub cache_control: &'static str,
    /// The body, in parts that follow each other. Shared, not copied.
    pub parts: Vec<Slice>,
    /// ETag, quotes included: names these very bytes, or those of which a part was wanted that is not
    /// there. Who says in If-None-Match that it has them is answered with 304 instead (RFC 9110
    /// 13.1.2, before any Range by 13.2.2).
    pub etag: Option<Cow<'static, str>>,
    /// Further fields. Control characters in values are left away.
    pub headers: Vec<(&'static str, String)>,
}

/// How a stream begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The head, to be sent right before the first block.
    pub bytes: Bytes,
    /// How blocks are to be framed. None after HEAD: nothing follows, do not attach a viewer.
    pub framing: Option<Framing>,
}

impl Response {
    /// A response with `body`.
    pub fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self::of_parts(status, content_type, vec![Slice::from(body.into())])
    }

    /// A response whose body lies in pieces.
    pub fn of_parts(status: u16, content_type: &'static str, parts: Vec<Slice>) -> Self {
        let (cache_control, headers) = ("no-store", Vec::new());
        Self { status, content_type, cache_control, parts, etag: None, headers }
    }

    /// `{"error": ..., "detail": ...}`: what it is in a few words, and what was expected and found.
    pub fn json_error(status: u16, error: &str, detail: &str) -> Self {
        let mut body = String::with_capacity(32 + error.len() + detail.len());
        body.push_str("{\"error\": ");
        push_json(&mut body, error);
        body.push_str(", \"detail\": ");
        push_json(&mut body, detail);
        body.push_str("}\n");
        Self::new(status, "application/json", body)
    }

    /// The same, to be kept by caches as `rule` says.
    #[must_use]
    pub fn with_cache_control(mut self, rule: &'static str) -> Self {
        self.cache_control = rule;
        self
    }

    /// Head and body for a connection that closes after it.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Chain::default();
        self.write(false, true, &mut out);
        out.into_bytes()
    }

    /// The same with one more field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with an ETag, quotes included.
    #[must_use]
    pub fn with_etag(mut self, etag: impl Into<Cow<'static, str>>) -> Self {
        self.etag = Some(etag.into());
        self
    }

    /// What to say to one that has what `known` names, the value of its If-None-Match: the same
    /// without the body if that is it.
    pub(super) fn is_known(&self, known: &str) -> bool {
        // Whether it is the same in every bit does not matter there, so weak tags count.
        let fits =
            |tag: &str| tag == "*" || Some(tag.trim_start_matches("W/")) == self.etag.as_deref();
        matches!(self.status, 200 | 206 | 416)
            && self.etag.is_some()
            && known.split(',').map(str::trim).any(fits)
    }

    /// What one is told that has it already, RFC 9110 15.4.5.
    pub(super) fn not_modified(&self) -> Self {
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| *name != "Content-Range");
        Self { status: 304, content_type: "", parts: Vec::new(), headers, ..self.clone() }
    }

    /// Appends head and, unless it is left away, body to `out`.
    pub(super) fn write(&self, keep_alive: bool, with_body: bool, out: &mut Chain) {
        out.push(self.head(keep_alive));
        if with_body {
            self.parts.iter().for_each(|part| out.push_slice(part.clone()));
        }
    }

    /// What tells the peer of `error`; None if no HTTP response can any more.
    pub(super) fn of_error(error: &Error) -> Option<Self> {
        let status = error.status();
        let response = Self::json_error(status, reason(status), &error.to_string());
        Some(match error {
            Error::WebSocket { .. } | Error::TooMuchInput { .. } => return None,
            Error::Method { .. } => response.with_header("Allow", METHODS),
            Error::WebSocketVersion { .. } => response
                .with_header("Sec-WebSocket-Version", "13")
                .with_header("Upgrade", "websocket"),
            _ => response,
        })
    }

    /// The answer to OPTIONS. Any origin may read what anyone may fetch.
    pub(super) fn preflight() -> Self {
        // `*` does not cover Authorization (Fetch standard), and old browsers do not know it.
        Self::new(204, "", Bytes::new())
            .with_header("Allow", METHODS)
            .with_header("Access-Control-Allow-Methods", METHODS_OF_PAGES)
            .with_header("Access-Control-Allow-Headers", "*, Authorization, Content-Type, Range")
            .with_header("Access-Control-Max-Age", "86400")
    }

    /// Everything before the body.
    pub(super) fn head(&self, keep_alive: bool) -> Bytes {
        self.head_of(keep_alive, self.body_bytes())
    }

    /// How long the body is.
    pub(super) fn body_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// The same before a body of so many bytes, wherever it lies.
    pub(super) fn head_of(&self, keep_alive: bool, length: u64) -> Bytes {
        let mut head = status_line(self.status);
        if !self.content_type.is_empty() {
            field(&mut head, "Content-Type", self.content_type);
        }
        // RFC 9110 8.6: never with 1xx and 204, and with 304 it would be that of the 200.
        if self.status >= 200 && !matches!(self.status, 204 | 304) {
            field(&mut head, "Content-Length", itoa::Buffer::new().format(length));
        }
        field(&mut head, "Connection", if keep_alive { "keep-alive" } else { "close" });
        shared_fields(&mut head, self.cache_control);
        if let Some(etag) = &self.etag {
            field(&mut head, "ETag", etag);
        }
        for (name, value) in &self.headers {
            field(&mut head, name, value);
        }
        head.push_str("\r\n");
        head.into()
    }
}

/// The head of a body without known length. The connection never outlives it.
pub(super) fn stream_head(content_type: &str, framing: Framing) -> Bytes {
    let mut head = status_line(200);
    field(&mut head, "Content-Type", content_type);
    if framing == Framing::Chunked {
        field(&mut head, "Transfer-Encoding", "chunked");
    }
    field(&mut head, "Connection", "close");
    shared_fields(&mut head, "no-store");
    head.push_str("\r\n");
    head.into()
}

/// RFC 6455 4.2.2.
pub(super) fn websocket_head(upgrade: &Upgrade) -> Bytes {
    let mut head = status_line(101);
    field(&mut head, "Upgrade", "websocket");
    field(&mut head, "Connection", "Upgrade");
    field(&mut head, "Sec-WebSocket-Accept", &upgrade.accept);
    if let Some(protocol) = &upgrade.protocol {
        field(&mut head, "Sec-WebSocket-Protocol", protocol);
    }
    head.push_str("\r\n");
    head.into()
}

/// Our own version, whatever the client's was: RFC 9110 2.5.
fn status_line(status: u16) -> String {
    let mut line = String::with_capacity(256);
    line.push_str("HTTP/1.1 ");
    line.push_str(itoa::Buffer::new().format(status));
    line.push(' ');
    line.push_str(reason(status));
    line.push_str("\r\n");
    line
}

fn shared_fields(head: &mut String, cache_control: &str) {
    field(head, "Cache-Control", cache_control);
    field(head, "X-Accel-Buffering", "no");
    field(head, "Access-Control-Allow-Origin", "*");
}

fn field(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.extend(value.chars().filter(|character| !character.is_control()));
    head.push_str("\r\n");
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        // RFC 9112 4: may be empty.
        _ => "",
    }
}

/// Appends `text` as a JSON string, RFC 8259 section 7.
fn push_json(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\u{0}'..='\u{1f}' => {
                write!(out, "\\u{:04x}", u32::from(character)).expect("a String takes all");
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

const METHODS: &str = "GET, HEAD, POST, PUT, OPTIONS";
/// What pages of other sites may do: watch, and not publish.
const METHODS_OF_PAGES: &str = "GET, HEAD, OPTIONS";

/// RFC 9110 15.2.1: the body may come.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped() {
        let response = Response::json_error(400, "a \"b\"", "c:\\d\r\n\u{1}é");
        let expected = r#"{"error": "a \"b\"", "detail": "c:\\d\u000d\n\u0001é"}"#;
        assert_eq!(std::str::from_utf8(&response.parts[0]).map(str::trim_end), Ok(expected));
    }

    #[test]
    fn a_value_cannot_begin_a_new_field() {
        let response =
            Response::new(302, "", "").with_header("Location", "/a\r\nSet-Cookie: x\u{85}");
        let head = response.head(true);
        let head = std::str::from_utf8(&head).expect("text");
        assert!(head.contains("\r\nLocation: /aSet-Cookie: x\r\n"), "{head}");
    }

    #[test]
    fn head_of_a_response_is_whole() {
        let head = Response::new(200, "text/html", "body").head(false);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 4\r\n\
            Connection: close\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\n\
            Access-Control-Allow-Origin: *\r\n\r\n";
        assert_eq!(head, expected);
    }

    #[test]
    fn who_names_the_bytes_it_has_is_known() {
        let response = Response::new(200, "text/css", "body").with_etag("\"v1\"");
        for known in ["\"v1\"", "W/\"v1\"", "*", "\"a,b\", \"v1\""] {
            assert!(response.is_known(known), "{known}");
        }
        for unknown in ["", "v1", "\"v2\"", "\"v1", "\"V1\"", "\"\""] {
            assert!(!response.is_known(unknown), "{unknown}");
        }
        let error = Response { status: 404, ..response.clone() };
        assert!(!error.is_known("\"v1\""));
        assert!(!Response::new(200, "", "").is_known("*"), "it has no name");
        let head = response.with_cache_control("no-cache").not_modified().head(true);
        let head = std::str::from_utf8(&head).expect("text");
        assert!(head.starts_with("HTTP/1.1 304 Not Modified\r\nConnection: keep-alive\r\n"));
        assert!(head.contains("Cache-Control: no-cache\r\n") && head.contains("ETag: \"v1\"\r\n"));
    }

    #[test]
    fn a_body_in_parts_is_shared_and_as_long_as_they_are_together() {
        let parts =
            ["one", "", "three"].map(|part| Slice::from(Bytes::from(part.as_bytes().to_vec())));
        let response = Response::of_parts(200, "", parts.to_vec());
        let mut out = Chain::default();
        response.write(true, true, &mut out);
        let slices: Vec<_> = out.slices().skip(1).map(<[u8]>::as_ptr).collect();
        assert_eq!(slices, [parts[0].as_ptr(), parts[2].as_ptr()]);
        assert!(response.to_bytes().ends_with(b"\r\n\r\nonethree"));
        let head = response.head(true);
        assert!(std::str::from_utf8(&head).expect("text").contains("Content-Length: 8\r\n"));
    }

    #[test]
    fn preflight_has_no_length() {
        let head = Response::preflight().head(true);
        let head = std::str::from_utf8(&head).expect("text");
        assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"));
        assert!(!head.contains("Content-Length"));
        assert!(head.contains("Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"));
    }
}
