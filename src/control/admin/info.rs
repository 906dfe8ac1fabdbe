//! What the node is and how its cores are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Admin;
use crate::config::Config;
use crate::plane::CoreSnapshot;

/// What this server is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Info {
    /// Its version.
    version: &'static str,
    /// Seconds since it started.
    uptime_s: f64,
    /// The CPUs that its cores are pinned to.
    cpus: Vec<usize>,
    /// Connections that are open.
    connections: usize,
    /// Connections that may be open at once.
    connections_max: usize,
    /// Where RTMP is served.
    rtmp: Vec<String>,
    /// Where media is served over HTTP.
    http: Vec<String>,
    /// Where media is served over HTTPS.
    https: Vec<String>,
}

/// What this server is
#[utoipa::path(get, path = "/info", tag = "node", responses((status = 200, body = Info)))]
pub(super) async fn info(State(admin): State<Arc<Admin>>) -> Json<Info> {
    let config = Arc::clone(&admin.config.borrow());
    let of = |enabled: bool, listen| if enabled { texts(listen) } else { Vec::new() };
    Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: admin.since.elapsed().as_secs_f64(),
        cpus: admin.host.cores.clone(),
        connections: admin.node.counters.connections.load(Ordering::Relaxed),
        connections_max: admin.host.connections,
        rtmp: of(config.rtmp.enabled, &config.rtmp.listen),
        http: of(config.http.enabled, &config.http.listen),
        https: of(config.http.enabled, &config.http.tls_listen),
    })
}

/// Its cores, each with its streams
///
/// Figures are at most a second old; rates are of the time since somebody asked before.
#[utoipa::path(get, path = "/cores", tag = "node", responses(
    (status = 200, body = Vec<CoreSnapshot>)
))]
pub(super) async fn cores(State(admin): State<Arc<Admin>>) -> Json<Vec<CoreSnapshot>> {
    Json(admin.view.latest().await.cores.clone())
}

fn texts(addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(SocketAddr::to_string).collect()
}

/// The configuration in force
///
/// Every key with its value, in the form of the file: its sections are objects. Secrets are hidden.
#[utoipa::path(get, path = "/config", tag = "node", responses((status = 200, body = Object)))]
pub(super) async fn config(State(admin): State<Arc<Admin>>) -> Json<Arc<Config>> {
    Json(Arc::clone(&admin.config.borrow()))
}
