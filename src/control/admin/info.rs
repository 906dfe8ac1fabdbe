//! What the node is and how its cores are.

use std::sync::Arc;

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
    /// The CPUs that its cores are pinned to.
    cpus: Vec<usize>,
    /// Connections that may be open at once.
    connections_max: usize,
}

/// GET /info
pub(super) async fn info(State(admin): State<Arc<Admin>>) -> Json<Info> {
    Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: admin.since.elapsed().as_secs_f64(),
        cpus: admin.host.cores.clone(),
        connections_max: admin.host.connections,
    })
}

/// GET /cores
pub(super) async fn cores(State(admin): State<Arc<Admin>>) -> Json<Vec<CoreSnapshot>> {
    Json(admin.view.latest().await.cores.clone())
}
