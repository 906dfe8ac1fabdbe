//! Recordings: those that are being written, their beginning and end; and the files that are whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::asking::{ask_all, find};
use super::extract::{Path, Perhaps, Query};
use super::page::{Page, Paging, Part};
use super::problem::Problem;
use super::stream::Named;
use crate::config::RecordFormat;
use crate::control::recordings::{self, FileSnapshot, NotRemoved, Wanted};
use crate::serve::order::Order;
use crate::serve::record::RecordingSnapshot;

/// A recording that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Recording {
    /// The core that writes it.
    core: u16,
    #[serde(flatten)]
    recording: RecordingSnapshot,
}

/// Recordings that are being written
#[utoipa::path(get, path = "/recordings", tag = "recordings", params(Part), responses(
    (status = 200, body = Page<Recording>)
))]
pub(super) async fn recordings(
    State(admin): State<Arc<Admin>>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Recording>>, Problem> {
    let paging = part.paging()?;
    let cores = ask_all(&admin.node, Order::Recordings).await?;
    let of_core = |(core, all): (u16, Vec<RecordingSnapshot>)| {
        all.into_iter().map(move |recording| Recording { core, recording })
    };
    let mut all: Vec<_> = (0..).zip(cores).flat_map(of_core).collect();
    all.sort_by(|one, other| one.recording.stream.cmp(&other.recording.stream));
    Ok(Json(paging.page(all)))
}

/// How a stream is to be recorded.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ToRecord {
    /// What it is muxed as: `flv`, `ts` or `fmp4`; without it, by `record_format` of its app.
    #[schema(value_type = Option<String>, pattern = "^(flv|ts|fmp4)$", example = "fmp4")]
    format: Option<RecordFormat>,
}

/// Begins to record a stream
///
/// From its newest key frame on, by the settings of its app, whether `record` is set or not; until its
/// publisher leaves or the recording is ended. The body may be left out.
#[utoipa::path(post, path = "/streams/{app}/{name}/recording", tag = "recordings", params(Named),
    request_body = Option<ToRecord>, responses(
        (status = 201, body = Recording),
        (status = 409, body = Problem, content_type = "application/problem+json",
            description = "it is being recorded already, or its app has no record_directory"),
    ))]
pub(super) async fn record(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Named>,
    Perhaps(wanted): Perhaps<ToRecord>,
) -> Result<(StatusCode, Json<Recording>), Problem> {
    let (key, wanted) = (named.key()?, wanted.unwrap_or_default());
    let order = |asker| Order::Record { key: key.clone(), format: wanted.format, asker };
    match find(&admin.node, order).await? {
        Some((core, Ok(recording))) => {
            Ok((StatusCode::CREATED, Json(Recording { core: core.0, recording })))
        }
        Some((_, Err(refused))) => Err(Problem::new(409, "conflict", refused.to_string())),
        None => Err(Problem::not_found(format!("nobody publishes {key}"))),
    }
}

/// Ends the recording of a stream
///
/// Its last file is whole a moment later, which is told by a `segment` event. A stream whose app has
/// `record` set is recorded again when it is next published.
#[utoipa::path(delete, path = "/streams/{app}/{name}/recording", operation_id = "end_recording",
    tag = "recordings", params(Named), responses((status = 204)))]
pub(super) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Named>,
) -> Result<StatusCode, Problem> {
    let key = named.key()?;
    let order = |asker| Order::EndRecording(key.clone(), asker);
    match ask_all(&admin.node, order).await?.into_iter().any(|ended| ended) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("{key} is not being recorded"))),
    }
}

/// Which files are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Of this app alone.
    app: Option<String>,
    /// Of streams of this name alone.
    name: Option<String>,
    /// As many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// So many are left out first.
    #[param(minimum = 0, maximum = 100_000)]
    offset: Option<usize>,
}

/// Which file.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct One {
    /// Its path below the `record_directory` of its app, as the list has it.
    file: String,
}

/// Of those that are kept in mind while others are looked at.
const FILES_OFFSET_MAX: usize = 100_000;
/// Walks through the directories at once; more wait.
static WALKS: Semaphore = Semaphore::const_new(1);

/// Files of recordings that are whole
///
/// The newest first, by when they were last written to. Files that are being written are not among
/// them; what a crash has left is, from the next start on. The list is read from the disk each time, with
/// the beginning of each sidecar: ask for an app if there are many.
#[utoipa::path(get, path = "/recordings/files", operation_id = "recording_files", tag = "recordings",
    params(Asked), responses((status = 200, body = Page<FileSnapshot>)))]
pub(super) async fn files(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Page<FileSnapshot>>, Problem> {
    let Paging { limit, offset } = Paging::new(asked.limit, asked.offset)?;
    if offset > FILES_OFFSET_MAX {
        let detail = format!("offset: expected at most {FILES_OFFSET_MAX}, found {offset}");
        return Err(Problem::bad_request(detail));
    }
    let wanted = Wanted { app: asked.app, name: asked.name, page: (offset, limit) };
    let config = Arc::clone(&admin.config.borrow());
    let (total, items) = walk(move || recordings::list(&config, &wanted)).await?;
    Ok(Json(Page { total, items }))
}

/// Removes a file of a recording
///
/// With its sidecar. It must be whole: what is being written ends with its recording. Whoever is being
/// sent it gets the rest.
#[utoipa::path(delete, path = "/recordings/files", operation_id = "remove_recording_file",
    tag = "recordings", params(One), responses(
        (status = 204),
        (status = 404, body = Problem, content_type = "application/problem+json",
            description = "there is no such file, or it is not whole"),
    ))]
pub(super) async fn remove(
    State(admin): State<Arc<Admin>>,
    Query(One { file }): Query<One>,
) -> Result<StatusCode, Problem> {
    let config = Arc::clone(&admin.config.borrow());
    let named = file.clone();
    match walk(move || recordings::remove(&config, &named)).await? {
        Ok(()) => {
            tracing::info!(file, "recording: removed by the operator");
            Ok(StatusCode::NO_CONTENT)
        }
        Err(why @ NotRemoved::NotThere) => Err(Problem::not_found(why.to_string())),
        Err(why @ NotRemoved::Failed(_)) => Err(Problem::unavailable(why.to_string())),
    }
}

/// Does `work` on a thread that may wait for the disk.
async fn walk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    // Err: it is never closed. It goes along: who asked may leave before the walk ends.
    let one = WALKS.acquire().await;
    let walk = move || {
        let done = work();
        drop(one);
        done
    };
    let done = tokio::task::spawn_blocking(walk).await;
    done.map_err(|panic| Problem::unavailable(panic.to_string()))
}
