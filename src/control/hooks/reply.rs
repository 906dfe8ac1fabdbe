//! What a hook server answers.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::config::Hook;

/// An answer as it came.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// Cut off if it was longer than may be read.
    pub body: Option<Bytes>,
}

/// What an answer to a question says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opinion {
    /// Yes, and perhaps to another stream.
    Yes {
        /// `data.key`.
        key: Option<String>,
        /// `record`, or `data.record`; null is none.
        record: Option<Value>,
    },
    /// No, and why, if it says so.
    No(Option<String>),
    /// Neither yes nor no in words of ours. It counts as no, but may come from somebody else than the
    /// hook server: a path that has moved, a proxy on the way.
    Unclear,
    /// The server is not well.
    Error,
}

/// Characters of a reason that a client is told.
const REASON_CHARS: usize = 200;
/// Bytes of an unclear answer that are logged.
const EXCERPT_BYTES: usize = 80;

impl Reply {
    /// It has been heard.
    pub fn is_heard(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// An answer such as one who is asked or told by `hook` gives.
    pub(super) fn is_well(&self, hook: Hook) -> bool {
        match hook {
            Hook::Connect | Hook::Publish | Hook::Play => {
                !matches!(self.opinion(), Opinion::Unclear | Opinion::Error)
            }
            _ => self.is_heard(),
        }
    }

    /// How it begins, for a field of the log, which is escaped there.
    pub(super) fn excerpt(&self) -> Cow<'_, str> {
        match &self.body {
            Some(body) => String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]),
            None => "(endless)".into(),
        }
    }

    /// Yes is status 200 and an empty body, `0`, or an object with `code` 0.
    pub fn opinion(&self) -> Opinion {
        if self.status >= 500 {
            return Opinion::Error;
        }
        let Some(body) = &self.body else { return Opinion::Unclear };
        // HTTP's own word for no.
        if self.status == 403 && body.trim_ascii().is_empty() {
            return Opinion::No(None);
        }
        if self.status == 200 && body.trim_ascii().is_empty() {
            return Opinion::Yes { key: None, record: None };
        }
        let Ok(said) = serde_json::from_slice::<Value>(body) else { return Opinion::Unclear };
        let code = said.get("code").unwrap_or(&said).as_i64();
        if self.status == 200 && code == Some(0) {
            let key = said.pointer("/data/key").and_then(Value::as_str);
            let record = said.get("record").or_else(|| said.pointer("/data/record"));
            let record = record.filter(|record| !record.is_null()).cloned();
            return Opinion::Yes { key: key.map(str::to_owned), record };
        }
        let reason = ["msg", "reason"].iter().find_map(|name| said.get(name)?.as_str());
        match (reason, code) {
            (None, None | Some(0)) => Opinion::Unclear,
            (reason, _) => Opinion::No(reason.map(clean)),
        }
    }

    /// Whether it wants a publish to be closed.
    pub fn close(&self) -> Option<bool> {
        let said = serde_json::from_slice::<Value>(self.body.as_ref()?).ok()?;
        let close = said.get("close").or_else(|| said.pointer("/data/close"));
        close.and_then(Value::as_bool).filter(|_| self.is_heard())
    }
}

/// Fit for a client and a line of the log.
fn clean(text: &str) -> String {
    let text = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(status: u16, body: &'static str) -> Opinion {
        Reply { status, body: Some(Bytes::from_static(body.as_bytes())) }.opinion()
    }

    fn no(reason: &str) -> Opinion {
        Opinion::No(Some(reason.to_owned()))
    }

    #[test]
    fn yes_is_said_in_a_few_ways_and_everything_else_is_no() {
        for body in ["", " \n", "0", "0\n", "{\"code\":0}", "{\"code\":0,\"data\":null}"] {
            assert_eq!(opinion(200, body), Opinion::Yes { key: None, record: None }, "{body:?}");
        }
        for (status, body) in
            [(200, "1"), (200, "{\"code\":1}"), (404, "{\"code\":1}"), (403, ""), (401, "-1")]
        {
            assert_eq!(opinion(status, body), Opinion::No(None), "{status} {body:?}");
        }
        assert_eq!(opinion(503, "0"), Opinion::Error);
    }

    #[test]
    fn an_answer_of_somebody_else_is_unclear_and_its_beginning_is_shown() {
        let bodies = ["ok", "{}", "[]", "null", "{\"code\":\"0\"}", "{\"code\":0", "<html>", "0.0"];
        for body in bodies.into_iter().chain(["-0x", "{\"data\":{\"key\":\"a/b\"}}"]) {
            assert_eq!(opinion(200, body), Opinion::Unclear, "{body:?}");
        }
        for status in [201, 204, 302, 400, 401, 404] {
            assert_eq!(opinion(status, "0"), Opinion::Unclear, "{status}");
        }
        assert_eq!(
            (opinion(401, ""), opinion(403, "<html>")),
            (Opinion::Unclear, Opinion::Unclear)
        );
        assert_eq!(Reply { status: 200, body: None }.opinion(), Opinion::Unclear);
        let page = format!("<html>\n\"{}", "x".repeat(100));
        let reply = Reply { status: 404, body: Some(page.into()) };
        assert!(!reply.is_well(Hook::Play) && !reply.is_well(Hook::PlayDone));
        assert_eq!(reply.excerpt(), format!("<html>\n\"{}", "x".repeat(72)));
    }

    #[test]
    fn another_stream_and_reasons_are_heard() {
        let key = Some("app/other".to_owned());
        let body = "{\"code\":0,\"data\":{\"key\":\"app/other\"}}";
        assert_eq!(opinion(200, body), Opinion::Yes { key, record: None });
        assert_eq!(opinion(200, "{\"code\":7,\"msg\":\"not paid\"}"), no("not paid"));
        assert_eq!(opinion(403, "{\"reason\":\"go\\naway\"}"), no("go away"));
        let long = format!("{{\"msg\":\"{}\"}}", "x".repeat(1000));
        let reply = Reply { status: 401, body: Some(long.into()) };
        assert_eq!(reply.opinion(), no(&"x".repeat(REASON_CHARS)));
    }

    #[test]
    fn whether_to_record_is_heard_at_both_places() {
        for body in ["{\"code\":0,\"record\":\"ts\"}", "{\"code\":0,\"data\":{\"record\":\"ts\"}}"]
        {
            let record = Some(Value::from("ts"));
            assert_eq!(opinion(200, body), Opinion::Yes { key: None, record });
        }
        let body = "{\"code\":0,\"record\":null}";
        assert_eq!(opinion(200, body), Opinion::Yes { key: None, record: None });
    }

    #[test]
    fn closing_is_only_what_was_said_in_so_many_words() {
        let close = |status, body: &'static str| {
            Reply { status, body: Some(Bytes::from_static(body.as_bytes())) }.close()
        };
        assert_eq!(close(200, "{\"code\":0,\"close\":true}"), Some(true));
        assert_eq!(close(200, "{\"close\":false}"), Some(false));
        assert_eq!(close(200, "{\"code\":0,\"data\":{\"close\":true}}"), Some(true));
        for (status, body) in
            [(200, ""), (200, "0"), (500, "{\"close\":true}"), (200, "{\"close\":1}")]
        {
            assert_eq!(close(status, body), None, "{status} {body}");
        }
    }
}
