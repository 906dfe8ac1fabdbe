//! What happens, told as it happens (SSE, read by `fetch` so that the token is a header).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::sse::{self, Sse};
use futures_lite::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::Admin;
use super::client::Client;
use super::problem::Problem;
use crate::control::drain::{Progress, Step};
use crate::control::events::{Listener, News};
use crate::serve::event::{Event, GrantEnd, Recorded};
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
    /// How far it is, of a drain.
    #[serde(flatten)]
    drain: Option<Drain>,
    /// Of a recording.
    #[serde(flatten)]
    recording: Option<Recording>,
}

/// What is told of a recording, and of a file of it.
#[derive(Debug, Serialize, ToSchema)]
struct Recording {
    /// Its id.
    recording: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Files that were begun, of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u32>,
    /// Bytes that were written, of an end and of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The disk was full, broken or too slow; of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<bool>,
}

/// A step of the node's way out of service, or back.
#[derive(Debug, Serialize, ToSchema)]
struct Drain {
    /// Which.
    step: Step,
    #[serde(flatten)]
    progress: Progress,
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
/// `connected`, `disconnected`, `skipped`, `refused`, `not_found`, `idle`, `record_started`,
/// `record_ended`, `segment` and `drain`, and `data` says who and why. A `drain` event has a `step` (`started`, `progress`, `undone` or `drained`) beside what
/// GET `/drain` says. Who is turned away before it has asked to connect by RTMP, to publish or to play,
/// as it is blocked or there are too many connections, is in the log and in the metrics
/// (`corecast_refusals_total`), and no `refused`. `id` counts all events of the node, so a gap shows
/// what was missed; who reads too slowly is told how many in a `lost` event.
#[utoipa::path(get, path = "/events", tag = "node", responses(
    (status = 200, content_type = "text/event-stream", body = String),
    (status = 503, body = Problem, content_type = "application/problem+json",
        description = "as many listen as may"),
))]
pub(super) async fn events(
    State(admin): State<Arc<Admin>>,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    let place = Arc::clone(&admin.hearers).try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("as many listen to events as may"))?;
    let events = stream::unfold(admin.bulletin.listen(), next);
    // It is held for as long as there are events.
    let events = events.inspect(move |_| {
        let _held = &place;
    });
    Ok(Sse::new(events))
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
            Ok(Ok((number, news))) => {
                let Some((name, told)) = told(&news) else { continue };
                let data = serde_json::to_string(&told).expect("plain values");
                sse::Event::default().event(name).id(number.to_string()).data(data)
            }
        };
        return Some((Ok(event), listener));
    }
}

/// The name of an event, and what is told of it. What never came to anything is told by its
/// refusal alone.
fn told(news: &News) -> Option<(&'static str, Told)> {
    let event = match news {
        News::Event(event) => event,
        News::Drain(step, progress) => {
            let drain = Some(Drain { step: *step, progress: progress.clone() });
            return Some(("drain", Told { drain, ..Told::now() }));
        }
    };
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
        Event::RecordStarted(recording) => ("record_started", Told::of_recording(recording)),
        Event::RecordEnded { recording, end } => {
            let mut told = Told::of_recording(recording);
            told.reason = Some(end.reason.to_string());
            if let Some(recording) = &mut told.recording {
                recording.files = Some(end.files);
                recording.bytes = Some(end.bytes);
                recording.failed = Some(end.failed);
            }
            ("record_ended", told)
        }
        Event::Segment { recording, segment } => {
            let mut told = Told::of_recording(recording);
            if let Some(recording) = &mut told.recording {
                recording.file = Some(segment.file.clone());
                recording.bytes = Some(segment.bytes);
            }
            ("segment", told)
        }
    })
}

impl Told {
    fn now() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let (stream, client, end, reason, drain) = (None, None, None, None, None);
        let (skipped_ms, skipped_bytes, recording) = (None, None, None);
        Self { at, stream, client, end, reason, skipped_ms, skipped_bytes, drain, recording }
    }

    fn of_recording(recording: &Recorded) -> Self {
        let stream = Some(recording.key.to_string());
        let recording = Recording {
            recording: recording.id.clone(),
            file: None,
            files: None,
            bytes: None,
            failed: None,
        };
        Self { stream, recording: Some(recording), ..Self::now() }
    }

    fn of(question: &Question) -> Self {
        let stream = question.stream().map(ToString::to_string);
        Self { stream, client: Some(Client::of(question)), ..Self::now() }
    }
}
