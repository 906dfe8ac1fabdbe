//! What the node is and how its cores are.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Admin;
use crate::plane::CoreSnapshot;

/// What this server is.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    /// Its version.
    version: &'static str,
    /// Seconds since it started.
    uptime_s: f64,
    /// When it started, in seconds since 1970.
    since: u64,
    /// The CPUs that its cores are pinned to.
    cpus: Vec<usize>,
    /// Connections that may be open at once.
    connections_max: usize,
}

/// GET /info
pub(super) async fn info(State(admin): State<Arc<Admin>>) -> Json<Info> {
    let since = admin.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: admin.since.elapsed().unwrap_or_default().as_secs_f64(),
        since: since.as_secs(),
        cpus: admin.host.cores.clone(),
        connections_max: admin.host.connections,
    })
}

/// GET /cores
pub(super) async fn cores(State(admin): State<Arc<Admin>>) -> Json<Vec<CoreSnapshot>> {
    Json(admin.view.latest().await.cores.clone())
}
