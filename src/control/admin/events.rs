//! What happens, told as it happens (SSE, read by `fetch` so that the token is a header).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::sse::{self, Sse};
use futures_lite::{Stream, stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Admin;
use super::client::Client;
use crate::control::events::Listener;
use crate::serve::event::{Event, GrantEnd};
use crate::serve::verdict::{Action, Question};

/// One thing that happened.
#[derive(Debug, Serialize, ToSchema)]
struct Told {
    /// When it was heard of, in seconds since 1970.
    at: f64,
    /// The stream; none of what is no stream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Who did it.
    #[serde(flatten)]
    client: Option<Client>,
    /// How it went, of an end.
    #[serde(flatten)]
    end: Option<End>,
    /// Why, of an end and of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Stream time left out, of a skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped_ms: Option<u64>,
    /// Bytes left out, of a skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped_bytes: Option<u64>,
}

/// How it went.
#[derive(Debug, Serialize, ToSchema)]
struct End {
    /// How long it lasted.
    seconds: f64,
    /// Bytes received from it.
    received_bytes: u64,
    /// Bytes sent to it.
    sent_bytes: u64,
    /// Times it was moved forward because it lagged.
    skips: u32,
}

/// A line that says nothing is sent after so much silence, so that nobody in between hangs up.
const SILENCE: Duration = Duration::from_secs(15);

/// What happens on the node, from now on
///
/// Server-sent events. `event` is one of `published`, `unpublished`, `joined`, `left`,
/// `connected`, `disconnected`, `skipped`, `refused`, `not_found` and `idle`, and `data` says who
/// and why. `id` counts all events of the node, so a gap shows what was missed; who reads too
/// slowly is told how many in a `lost` event.
#[utoipa::path(get, path = "/events", tag = "node", responses(
    (status = 200, content_type = "text/event-stream", body = String)
))]
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    Sse::new(stream::unfold(admin.bulletin.listen_numbered(), next))
}

async fn next(mut listener: Listener) -> Option<(Result<sse::Event, Infallible>, Listener)> {
    loop {
        let event = match timeout(SILENCE, listener.hear()).await {
            Err(_) => sse::Event::default().comment(""),
            Ok(Err(RecvError::Closed)) => return None,
            Ok(Err(RecvError::Lagged(count))) => {
                let data = serde_json::json!({ "count": count });
                sse::Event::default().event("lost").data(data.to_string())
            }
            Ok(Ok((number, event))) => {
                let Some((name, told)) = told(&event) else { continue };
                let data = serde_json::to_string(&told).expect("plain values");
                sse::Event::default().event(name).id(number.to_string()).data(data)
            }
        };
        return Some((Ok(event), listener));
    }
}

/// The name of an event, and what is told of it. What never came to anything is told by its
/// refusal alone.
fn told(event: &Event) -> Option<(&'static str, Told)> {
    Some(match event {
        Event::Started(question) => {
            let name = match question.action {
                Action::Connect { .. } => "connected",
                Action::Publish(_) => "published",
                Action::Play(_) => "joined",
            };
            (name, Told::of(question))
        }
        Event::Ended { end, .. } if !end.started => return None,
        Event::Ended { question, end } => {
            let name = match question.action {
                Action::Connect { .. } => "disconnected",
                Action::Publish(_) => "unpublished",
                Action::Play(_) => "left",
            };
            let GrantEnd { lasted, received, sent, reason, .. } = end;
            let end = End {
                seconds: lasted.as_secs_f64(),
                received_bytes: *received,
                sent_bytes: sent.bytes,
                skips: sent.skips,
            };
            let reason = Some(reason.to_string());
            (name, Told { end: Some(end), reason, ..Told::of(question) })
        }
        Event::Refused { question, reason } => {
            ("refused", Told { reason: Some(reason.clone()), ..Told::of(question) })
        }
        Event::NotFound(question) => ("not_found", Told::of(question)),
        Event::Skipped { question, ms, bytes } => {
            let (skipped_ms, skipped_bytes) = (Some(*ms), Some(*bytes));
            ("skipped", Told { skipped_ms, skipped_bytes, ..Told::of(question) })
        }
        Event::Idle(stream) => ("idle", Told { stream: Some(stream.to_string()), ..Told::now() }),
    })
}

impl Told {
    fn now() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (stream, client, end, reason) = (None, None, None, None);
        Self { at, stream, client, end, reason, skipped_ms: None, skipped_bytes: None }
    }

    fn of(question: &Question) -> Self {
        let stream = question.stream().map(ToString::to_string);
        Self { stream, client: Some(Client::of(question)), ..Self::now() }
    }
}
