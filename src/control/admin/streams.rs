//! The streams of the node: all of them, filtered, sorted and in pages.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Admin;
use super::extract::Query;
use super::page::{Page, Paging};
use super::problem::Problem;
use crate::plane::{StreamSnapshot, StreamState};

/// Which streams, and in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those of this app only.
    app: Option<String>,
    /// Those only whose `app/name` holds this, in small letters or large.
    search: Option<String>,
    /// Those in this state only.
    state: Option<StreamState>,
    /// What they are sorted by: names from the first on, figures from the largest on.
    #[param(inline)]
    sort: Option<SortBy>,
    /// The other way round.
    #[param(default = false)]
    reverse: Option<bool>,
    /// As many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// So many are left out first.
    #[param(minimum = 0, maximum = 1_000_000_000)]
    offset: Option<usize>,
}

/// What streams are sorted by.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SortBy {
    /// `app/name`.
    #[default]
    Name,
    /// Those who watch.
    Viewers,
    /// What publishers send.
    Bitrate,
    /// What viewers are sent.
    Egress,
    /// What it costs.
    Cpu,
    /// The youngest first.
    Age,
}

/// A stream, and where it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stream {
    /// The core that owns it.
    pub(super) core: u16,
    #[serde(flatten)]
    pub(super) figures: StreamSnapshot,
}

/// Streams that are published or waited for
///
/// Figures are at most a second old; rates are of the time since somebody asked before.
#[utoipa::path(get, path = "/streams", tag = "streams", params(Wanted), responses(
    (status = 200, body = Page<Stream>)
))]
pub(super) async fn streams(
    State(admin): State<Arc<Admin>>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<Stream>>, Problem> {
    let paging = Paging::new(wanted.limit, wanted.offset)?;
    let seen = admin.view.latest().await;
    let search = wanted.search.as_deref().map(str::to_lowercase);
    let is_wanted = |stream: &StreamSnapshot| {
        wanted.app.as_deref().is_none_or(|app| stream.stream.app() == app)
            && wanted.state.is_none_or(|state| stream.state == state)
            && search
                .as_deref()
                .is_none_or(|text| stream.stream.as_str().to_lowercase().contains(text))
    };
    let all = seen.cores.iter().flat_map(|core| core.streams.iter().map(|it| (core.core, it)));
    let mut found: Vec<_> = all.filter(|(_, stream)| is_wanted(stream)).collect();
    let sort = wanted.sort.unwrap_or_default();
    found.sort_by(|(_, one), (_, other)| {
        sort.compare(one, other).then_with(|| one.stream.cmp(&other.stream))
    });
    if wanted.reverse == Some(true) {
        found.reverse();
    }
    let stream = |(core, stream): (u16, &StreamSnapshot)| Stream { core, figures: stream.clone() };
    Ok(Json(paging.page(found).map(stream)))
}

impl SortBy {
    fn compare(self, one: &StreamSnapshot, other: &StreamSnapshot) -> Ordering {
        match self {
            Self::Name => Ordering::Equal,
            Self::Viewers => other.viewers.cmp(&one.viewers),
            Self::Bitrate => other.rates.ingest_bit_s.total_cmp(&one.rates.ingest_bit_s),
            Self::Egress => other.rates.egress_bit_s.total_cmp(&one.rates.egress_bit_s),
            Self::Cpu => other.rates.cpu_percent.total_cmp(&one.rates.cpu_percent),
            Self::Age => one.age_s.total_cmp(&other.age_s),
        }
    }
}
