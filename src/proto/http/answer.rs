use std::fmt::Write;

use bytes::Bytes;

use super::error::Error;
use super::head::Upgrade;
use super::server::Framing;

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
    /// The body. Shared, not copied.
    pub body: Bytes,
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
        let (cache_control, headers) = ("no-store", Vec::new());
        Self { status, content_type, cache_control, body: body.into(), headers }
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
        [&self.head(false)[..], &self.body].concat().into()
    }

    /// The same with one more field.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
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
            .with_header("Access-Control-Allow-Methods", METHODS)
            .with_header("Access-Control-Allow-Headers", "*, Authorization, Content-Type, Range")
            .with_header("Access-Control-Max-Age", "86400")
    }

    /// Everything before the body.
    pub(super) fn head(&self, keep_alive: bool) -> Bytes {
        let mut head = status_line(self.status);
        if !self.content_type.is_empty() {
            field(&mut head, "Content-Type", self.content_type);
        }
        // RFC 9110 8.6: never with 1xx and 204.
        if self.status >= 200 && self.status != 204 {
            field(&mut head, "Content-Length", itoa::Buffer::new().format(self.body.len()));
        }
        field(&mut head, "Connection", if keep_alive { "keep-alive" } else { "close" });
        shared_fields(&mut head, self.cache_control);
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

const METHODS: &str = "GET, HEAD, OPTIONS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_escaped() {
        let response = Response::json_error(400, "a \"b\"", "c:\\d\r\n\u{1}é");
        let expected = r#"{"error": "a \"b\"", "detail": "c:\\d\u000d\n\u0001é"}"#;
        assert_eq!(std::str::from_utf8(&response.body).map(str::trim_end), Ok(expected));
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
    fn preflight_has_no_length() {
        let head = Response::preflight().head(true);
        let head = std::str::from_utf8(&head).expect("text");
        assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"));
        assert!(!head.contains("Content-Length"));
        assert!(head.contains("Access-Control-Allow-Methods: GET, HEAD, OPTIONS\r\n"));
    }
}
