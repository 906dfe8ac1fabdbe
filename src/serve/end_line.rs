use std::time::Duration;

use super::conn::{About, Conn, End};
use super::verdict::Question;
use crate::media::{Redacted, StreamKey};
use crate::plane::SinkStats;

/// What the one line that every connection has at its end tells beside what the connection itself
/// knows: the access log. Its keys are the same for all protocols, and are explained in
/// `config/corecast.toml`.
#[derive(Debug, Default)]
pub(crate) struct EndLine<'a> {
    /// The last question, for the client's own words about itself.
    pub(crate) question: Option<&'a Question>,
    /// The last stream it asked for.
    pub(crate) stream: Option<&'a StreamKey>,
    /// The last request, if the protocol has such a thing.
    pub(crate) request: Option<RequestLine<'a>>,
    /// Bytes its machine took: where in the connection an error lies.
    pub(crate) offset: u64,
    /// Bytes received.
    pub(crate) received: u64,
    /// What it was sent as a viewer.
    pub(crate) sent: SinkStats,
    /// It only asked how the node is.
    pub(crate) is_check: bool,
}

/// The last request of a connection, and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLine<'a> {
    /// Left out if it was for a stream.
    pub(crate) page: Option<&'a PageRequest>,
    /// Of its answer; none if there was none.
    pub(crate) status: Option<u16>,
}

/// A request that is for no stream.
#[derive(Debug)]
pub(crate) struct PageRequest {
    pub(crate) method: &'static str,
    /// With its query, but no values of it.
    path: Box<str>,
    agent: Option<Box<str>>,
}

impl PageRequest {
    pub(crate) fn new(
        method: &'static str,
        (path, query): (&str, &str),
        agent: Option<&str>,
    ) -> Self {
        let path = match query {
            "" => path.to_owned(),
            // The values of a query may be keys and tokens.
            query => format!("{path}?{}", Redacted(query)),
        };
        Self { method, path: cut(&path).into(), agent: agent.map(|agent| cut(agent).into()) }
    }
}

impl EndLine<'_> {
    /// Writes it, and one more before it for a violation.
    pub(crate) fn write(&self, conn: &Conn, end: &End) {
        let Self { question, stream, request, offset, received, sent, is_check } = self;
        let About { client, peer, protocol, opened, answered, .. } = &conn.about;
        let stream = stream.map_or("-", StreamKey::as_str);
        if let End::Violation(what) = end {
            let allowed = conn.core.violations.borrow_mut().allow(std::time::Instant::now());
            if let Some(suppressed) = allowed {
                tracing::warn!(%client, %peer, %protocol, %stream, offset, suppressed,
                    "closed: {what}");
            }
        }
        if *is_check && !matches!(end, End::Violation(_)) {
            return tracing::debug!(%client, %peer, %protocol, reason = end.to_string(), "close");
        }
        let page = request.and_then(|request| request.page);
        let agent = match page {
            Some(page) => page.agent.as_deref(),
            None => question.and_then(Question::agent).map(cut),
        };
        let SinkStats { bytes, skips, skipped_ms, skipped_bytes, lag_ms, lag_bytes } = sent;
        tracing::info!(target: "corecast::access", %client, %peer, %protocol, agent, %stream,
            method = page.map(|page| page.method), path = page.map(|page| &*page.path),
            status = request.and_then(|request| request.status),
            seconds = seconds(opened.elapsed()),
            received, sent = bytes + answered, skips, skipped_ms, skipped_bytes, lag_ms, lag_bytes,
            reason = end.to_string(), "close");
    }
}

/// To the millisecond.
pub(super) fn seconds(lasted: Duration) -> f64 {
    (lasted.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Long enough to tell clients apart; they may send kilobytes.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}

const SHOWN_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_without_the_values_of_its_query_and_in_bounded_length() {
        let request = |path, query, agent| PageRequest::new("GET", (path, query), agent);
        let plain = request("/live/a", "", None);
        assert_eq!((&*plain.path, plain.agent.as_deref()), ("/live/a", None));
        assert_eq!(&*request("/a=b", "token=abc&x", None).path, "/a=b?token=***&***");
        let long = request(&"ä".repeat(1000), "", Some(&"b".repeat(1000)));
        assert_eq!((long.path.len(), long.agent.expect("told").len()), (256, 256));
    }
}
