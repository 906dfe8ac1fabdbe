use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};

use super::{Admin, Problem};

/// What is logged.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    /// A level, or directives such as `info,corecast::proto=trace`.
    level: String,
}

/// GET /log/level
pub(super) async fn level(State(admin): State<Arc<Admin>>) -> Json<Level> {
    Json(Level { level: admin.log.level() })
}

/// PUT /log/level: until the next start, or the next reload that changes `log.level`.
pub(super) async fn set_level(
    State(admin): State<Arc<Admin>>,
    level: Result<Json<Level>, JsonRejection>,
) -> Result<Json<Level>, Problem> {
    let bad = |why: String| Problem::new(400, "bad request", why);
    let Json(level) = level.map_err(|rejection| bad(rejection.body_text()))?;
    admin.log.set_level(&level.level).map_err(bad)?;
    tracing::info!(level = level.level, "log: what is logged was changed");
    Ok(Json(level))
}
