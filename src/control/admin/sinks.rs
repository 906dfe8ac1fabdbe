//! The viewers of a stream, and each of them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::asking::{ask, find};
use super::client::{Client, protocol};
use super::extract::{Path, Query};
use super::page::{Page, Paging, Part};
use super::problem::Problem;
use super::stream::{Because, Named, no_such_stream, since};
use crate::plane::{SinkId, SinkSnapshot};
use crate::serve::order::Order;
use crate::shard::CoreId;

/// Which viewer.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Called {
    /// As it was told with the viewer.
    #[param(example = "0-3-141")]
    id: String,
}

/// A viewer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Viewer {
    /// Names it for as long as it is here.
    id: String,
    /// What it plays, or waits for.
    stream: String,
    /// By which protocol: `rtmp`, `http-flv`, `ws-flv`, `http-ts`, `ws-ts`, `http-fmp4` or
    /// `ws-fmp4`.
    plays_by: &'static str,
    /// None if it is no connection but the server itself.
    #[serde(flatten)]
    client: Option<Client>,
    /// Since when, in seconds since 1970.
    since: u64,
    #[serde(flatten)]
    figures: SinkSnapshot,
}

/// The core of a viewer, its place there, and whose place it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Id {
    core: u16,
    place: SinkId,
    serial: u64,
}

/// The viewers of a stream, waiting ones included
///
/// They stand in an order that stays while they are here; a newcomer may stand anywhere.
#[utoipa::path(get, path = "/streams/{app}/{name}/sinks", tag = "streams", params(Named, Part),
    responses((status = 200, body = Page<Viewer>)))]
pub(super) async fn sinks(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Named>,
    Query(part): Query<Part>,
) -> Result<Json<Page<Viewer>>, Problem> {
    let key = named.key()?;
    let Paging { limit, offset } = part.paging()?;
    let order = |asker| Order::Sinks { stream: key.clone(), page: (offset, limit), asker };
    let Some((core, (total, page))) = find(&admin.node, order).await? else {
        return Err(no_such_stream(&key));
    };
    let items = page.into_iter().map(|sink| Viewer::new(core, sink)).collect();
    Ok(Json(Page { total, items }))
}

/// A viewer
#[utoipa::path(get, path = "/sinks/{id}", tag = "sinks", params(Called), responses(
    (status = 200, body = Viewer)
))]
pub(super) async fn sink(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Called>,
) -> Result<Json<Viewer>, Problem> {
    let id = named.id(&admin)?;
    let order = |asker| Order::Sink(id.place, id.serial, asker);
    let found = ask(&admin.node, CoreId(id.core), order).await?;
    found.map(|sink| Json(Viewer::new(CoreId(id.core), sink))).ok_or_else(no_such_viewer)
}

/// Ends a viewer
///
/// It is told why in the way of its protocol, as far as that has one, and its connection closes.
#[utoipa::path(delete, path = "/sinks/{id}", operation_id = "end_sink", tag = "sinks",
    params(Called, Because), responses((status = 204)))]
pub(super) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Called>,
    Query(because): Query<Because>,
) -> Result<StatusCode, Problem> {
    let (id, reason) = (named.id(&admin)?, because.reason());
    let Id { core, place, serial } = id;
    let order = |asker| Order::EndSink { id: place, serial, reason, asker };
    match ask(&admin.node, CoreId(core), order).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_such_viewer()),
    }
}

fn no_such_viewer() -> Problem {
    Problem::not_found("there is no such viewer, or not any more")
}

impl Called {
    /// What can be none names no viewer.
    fn id(&self, admin: &Admin) -> Result<Id, Problem> {
        let id = self.id.parse().ok();
        let there = |id: &Id| usize::from(id.core) < admin.node.mesh.cores();
        id.filter(there).ok_or_else(no_such_viewer)
    }
}

impl Viewer {
    fn new(core: CoreId, sink: SinkSnapshot) -> Self {
        let id = Id { core: core.0, place: sink.id, serial: sink.serial };
        Self {
            id: id.to_string(),
            stream: sink.stream.to_string(),
            plays_by: protocol(sink.format, sink.framing),
            client: sink.tag.as_ref().and_then(Client::of_tag),
            since: since(Duration::from_secs(sink.age_s)),
            figures: sink,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.core, self.place, self.serial)
    }
}

impl FromStr for Id {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().filter(|part| part.bytes().all(|c| c.is_ascii_digit()));
        let core = part().and_then(|part| part.parse().ok()).ok_or(())?;
        let place = part().and_then(|part| part.parse().ok()).ok_or(())?;
        let serial = part().and_then(|part| part.parse().ok()).ok_or(())?;
        Ok(Self { core, place, serial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written_and_nothing_else_does() {
        let id = Id { core: 1, place: 20, serial: u64::MAX };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "1-2", "1-2-", "1-2-3-4", "-1-2-3", "+1-2-3", "70000-1-1", "a-b-c"] {
            assert_eq!(bad.parse::<Id>(), Err(()), "{bad:?}");
        }
    }
}
