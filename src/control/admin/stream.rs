//! One stream: all there is to know of it, and its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::asking::{ask_all, find};
use super::client::{Client, protocol};
use super::extract::{Path, Query};
use super::problem::Problem;
use super::reason::{self, Reason};
use crate::media::StreamKey;
use crate::plane::{Framing, OutputSnapshot, PublisherSnapshot, StreamDetails, TrackSnapshot};
use crate::plane::{Rates, StreamSnapshot};
use crate::serve::order::Order;

/// Which stream.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct Named {
    /// Its app.
    #[param(example = "live")]
    app: String,
    /// Its name; slashes in it are written as `%2F`.
    #[param(example = "demo")]
    name: String,
}

/// Why.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Because {
    /// For whoever is ended, for the log and for hooks.
    #[param(schema_with = reason::schema)]
    reason: Option<Reason>,
}

/// All there is to know of a stream but its viewers one by one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamInFull {
    /// The core that owns it.
    core: u16,
    #[serde(flatten)]
    figures: StreamSnapshot,
    /// Who publishes it now; none while its viewers wait.
    publisher: Option<Publisher>,
    /// What it carries, or carried last.
    tracks: Vec<TrackSnapshot>,
    /// What it is muxed as, and the logs its viewers read.
    outputs: Vec<OutputSnapshot>,
    /// Viewers by protocol, those not counted who wait.
    viewers_by_protocol: BTreeMap<&'static str, u64>,
    /// Bytes kept for newcomers.
    gop_bytes: usize,
}

/// Who publishes.
#[derive(Debug, Serialize, ToSchema)]
struct Publisher {
    /// None if it is no connection but the server itself.
    #[serde(flatten)]
    client: Option<Client>,
    /// Since when, in seconds since 1970.
    since: u64,
}

/// A stream, with its publisher, tracks and outputs
#[utoipa::path(get, path = "/streams/{app}/{name}", tag = "streams", params(Named), responses(
    (status = 200, body = StreamInFull)
))]
pub(super) async fn stream(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Named>,
) -> Result<Json<StreamInFull>, Problem> {
    let key = named.key()?;
    let asked = |asker| Order::Stream(key.clone(), asker);
    let Some((core, details)) = find(&admin.node, asked).await? else {
        return Err(no_such_stream(&key));
    };
    let StreamDetails { mut figures, publisher, tracks, outputs, gop_bytes } = *details;
    let seen = admin.view.latest().await;
    let streams = seen.cores.iter().filter(|seen| seen.core == core.0).flat_map(|it| &it.streams);
    let seen = streams.into_iter().find(|stream| stream.serial == figures.serial);
    figures.rates = seen.map_or_else(Rates::default, |stream| stream.rates);
    let mut viewers_by_protocol = BTreeMap::new();
    for output in &outputs {
        for (framing, viewers) in [
            (Framing::Raw, output.viewers_raw),
            (Framing::Chunked, output.viewers_chunked),
            (Framing::WebSocket, output.viewers_websocket),
        ] {
            let name = protocol(output.format, framing);
            *viewers_by_protocol.entry(name).or_default() += u64::from(viewers);
        }
    }
    viewers_by_protocol.retain(|_, viewers| *viewers > 0);
    let publisher = publisher.map(|publisher| Publisher::of(&publisher));
    let core = core.0;
    let it =
        StreamInFull { core, figures, publisher, tracks, outputs, viewers_by_protocol, gop_bytes };
    Ok(Json(it))
}

/// Ends the publisher of a stream
///
/// It is told why and closed. Its viewers stay for `publisher_grace`, in which another publisher,
/// or the same, may go on; to keep one away, block its address.
#[utoipa::path(delete, path = "/streams/{app}/{name}", operation_id = "end_publisher",
    tag = "streams", params(Named, Because), responses((status = 204)))]
pub(super) async fn end(
    State(admin): State<Arc<Admin>>,
    Path(named): Path<Named>,
    Query(because): Query<Because>,
) -> Result<StatusCode, Problem> {
    let (key, reason) = (named.key()?, because.reason());
    let order = |asker| {
        let (stream, reason) = (key.clone(), reason.clone());
        Order::EndPublisher { stream, reason, asker }
    };
    match ask_all(&admin.node, order).await?.into_iter().any(|ended| ended) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found(format!("nobody publishes {key}"))),
    }
}

impl Named {
    /// The key. What can be none names no stream.
    pub(super) fn key(&self) -> Result<StreamKey, Problem> {
        let key = StreamKey::new(&self.app, &self.name);
        key.map_err(|error| Problem::not_found(error.to_string()))
    }
}

impl Because {
    /// As it is told and logged.
    pub(super) fn reason(&self) -> String {
        format!("kicked: {}", self.reason.clone().unwrap_or_default())
    }
}

pub(super) fn no_such_stream(key: &StreamKey) -> Problem {
    Problem::not_found(format!("nobody publishes {key} or waits for it"))
}

impl Publisher {
    fn of(publisher: &PublisherSnapshot) -> Self {
        let client = publisher.tag.as_ref().and_then(Client::of_tag);
        Self { client, since: since(Duration::from_secs_f64(publisher.age_s)) }
    }
}

/// So long ago, in seconds since 1970.
pub(super) fn since(age: Duration) -> u64 {
    let then = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
    then.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
