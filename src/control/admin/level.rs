use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::extract::Json;
use super::{Admin, Problem};

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    /// A level, or directives such as `info,corecast::proto=trace`.
    #[schema(example = "info")]
    level: String,
}

/// What is logged
#[utoipa::path(get, path = "/log/level", tag = "node", responses((status = 200, body = Level)))]
pub(super) async fn level(State(admin): State<Arc<Admin>>) -> axum::Json<Level> {
    axum::Json(Level { level: admin.log.level() })
}

/// Changes what is logged
///
/// Until the next start, or the next reload that changes `log.level`.
#[utoipa::path(put, path = "/log/level", tag = "node", request_body = Level, responses(
    (status = 200, body = Level)
))]
pub(super) async fn set_level(
    State(admin): State<Arc<Admin>>,
    Json(level): Json<Level>,
) -> Result<axum::Json<Level>, Problem> {
    admin.log.set_level(&level.level).map_err(Problem::bad_request)?;
    tracing::info!(level = level.level, "log: what is logged was changed");
    Ok(axum::Json(level))
}
