//! What a hook server answers.

use bytes::Bytes;
use serde_json::Value;

/// An answer as it came.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Cut off if it was longer than may be read.
    pub(super) body: Option<Bytes>,
}

/// What an answer to a question says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opinion {
    /// Yes, and perhaps to another stream.
    Yes {
        /// `data.key`.
        key: Option<String>,
    },
    /// No, and why, if it says so.
    No(Option<String>),
    /// The server is not well.
    Error,
}

/// Characters of a reason that a client is told.
const REASON_CHARS: usize = 200;

impl Reply {
    /// It has been heard.
    pub(super) fn is_heard(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Yes is status 200 and an empty body, `0`, or an object with `code` 0.
    pub(super) fn opinion(&self) -> Opinion {
        if self.status >= 500 {
            return Opinion::Error;
        }
        let Some(body) = &self.body else { return Opinion::No(None) };
        if self.status == 200 && body.trim_ascii().is_empty() {
            return Opinion::Yes { key: None };
        }
        let Ok(said) = serde_json::from_slice::<Value>(body) else { return Opinion::No(None) };
        let code = said.get("code").unwrap_or(&said).as_i64();
        if self.status == 200 && code == Some(0) {
            let key = said.pointer("/data/key").and_then(Value::as_str);
            return Opinion::Yes { key: key.map(str::to_owned) };
        }
        let reason = ["msg", "reason"].iter().find_map(|name| said.get(name)?.as_str());
        Opinion::No(reason.map(clean))
    }

    /// Whether it wants a publish to be closed.
    pub(super) fn close(&self) -> Option<bool> {
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
            assert_eq!(opinion(200, body), Opinion::Yes { key: None }, "{body:?}");
        }
        let other =
            ["1", "ok", "{}", "[]", "null", "{\"code\":1}", "{\"code\":\"0\"}", "{\"code\":0"];
        for body in
            other.into_iter().chain(["<html>", "0.0", "-0x", "{\"data\":{\"key\":\"a/b\"}}"])
        {
            assert_eq!(opinion(200, body), Opinion::No(None), "{body:?}");
        }
        for status in [201, 204, 302, 400, 404] {
            assert_eq!(opinion(status, "0"), Opinion::No(None), "{status}");
        }
        assert_eq!(opinion(503, "0"), Opinion::Error);
        assert_eq!(Reply { status: 200, body: None }.opinion(), Opinion::No(None));
    }

    #[test]
    fn another_stream_and_reasons_are_heard() {
        let key = Some("app/other".to_owned());
        let body = "{\"code\":0,\"data\":{\"key\":\"app/other\"}}";
        assert_eq!(opinion(200, body), Opinion::Yes { key });
        assert_eq!(opinion(200, "{\"code\":7,\"msg\":\"not paid\"}"), no("not paid"));
        assert_eq!(opinion(403, "{\"reason\":\"go\\naway\"}"), no("go away"));
        let long = format!("{{\"msg\":\"{}\"}}", "x".repeat(1000));
        let reply = Reply { status: 401, body: Some(long.into()) };
        assert_eq!(reply.opinion(), no(&"x".repeat(REASON_CHARS)));
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
