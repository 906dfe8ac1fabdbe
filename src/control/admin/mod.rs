//! What operators see and do, over HTTP: the API now, and what is built on it.
//!
//! All of it lives on the control thread and asks the cores by message. A client that is slow,
//! silent or rude costs one of [`CONNECTIONS_MAX`] places and nothing else.

mod asking;
mod auth;
mod block;
mod client;
mod events;
mod extract;
mod health;
mod info;
mod level;
mod metrics;
mod openapi;
mod origin;
mod page;
mod problem;
mod reason;
mod sinks;
mod stream;
mod streams;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use bytes::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::TcpKeepalive;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::auth::Token;
use self::problem::Problem;
use super::events::Bulletin;
use super::log;
use super::metrics::Metrics;
use super::start_checks::Host;
use super::view::View;
use crate::config::Config;
use crate::serve::core::Node;

/// What the API knows.
#[derive(Debug)]
pub(crate) struct Admin {
    /// The node, to ask its cores.
    pub(crate) node: Arc<Node>,
    /// Its figures.
    pub(crate) view: View,
    /// The configuration in force.
    pub(crate) config: watch::Receiver<Arc<Config>>,
    /// What happens on it.
    pub(crate) bulletin: Bulletin,
    /// Who may not connect.
    pub(crate) blocks: block::List,
    /// What it runs on.
    pub(crate) host: Host,
    /// Its log.
    pub(crate) log: log::Handle,
    /// Its metrics, those aside that are in the figures.
    pub(crate) metrics: Arc<Metrics>,
    /// When the process began.
    pub(crate) since: Instant,
}

/// Connections to the API at once; more wait to be accepted. Their descriptors are set aside.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// The largest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;
/// The same where the metrics alone are served.
pub(crate) const SCRAPES_MAX: usize = 16;
/// The longest a request's head may take, and the longest between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a client may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the host ran out of descriptors, nothing is accepted for this long.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Serves on `sockets`, which listen already, for as long as the runtime runs. Without a token
/// nobody is asked for one.
///
/// # Errors
/// A socket is none that can be waited on.
pub(crate) fn serve(
    sockets: Vec<OwnedFd>,
    admin: Arc<Admin>,
    token: Option<Token>,
) -> io::Result<()> {
    serve_by(&router(admin, token), sockets, CONNECTIONS_MAX)
}

/// Serves the metrics on `sockets`, and how the node is, to anyone.
///
/// # Errors
/// As [`serve`].
pub(crate) fn serve_metrics(sockets: Vec<OwnedFd>, admin: Arc<Admin>) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(only_metrics)
        .with_state(admin);
    serve_by(&router, sockets, SCRAPES_MAX)
}

fn serve_by(router: &Router, sockets: Vec<OwnedFd>, connections: usize) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(connections));
    for socket in sockets {
        let listener = std::net::TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        tokio::spawn(accept(listener, router.clone(), Arc::clone(&places)));
    }
    Ok(())
}

async fn accept(listener: TcpListener, router: Router, places: Arc<Semaphore>) {
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((socket, _)) => {
                if let Err(error) = bound(&socket) {
                    tracing::debug!(%error, "admin: a connection broke");
                    continue;
                }
                let router = router.clone();
                tokio::spawn(async move {
                    answer(socket, router).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin: not accepted");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Somebody who reads nothing must not hold a place for ever: the kernel ends the connection when
/// what was sent is not taken in this time, and asks after silent ones.
fn bound(socket: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(PATIENCE))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PATIENCE).with_interval(PATIENCE / 3))
}

async fn answer(socket: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "admin: a connection broke");
    }
}

fn router(admin: Arc<Admin>, token: Option<Token>) -> Router {
    // Without a token: supervisors and balancers have none.
    let health = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(Arc::clone(&admin));
    let (api, mut document) = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(info::info))
        .routes(routes!(info::cores))
        .routes(routes!(info::config))
        .routes(routes!(level::level, level::set_level))
        .routes(routes!(events::events))
        .routes(routes!(streams::streams))
        .routes(routes!(stream::stream, stream::end))
        .routes(routes!(sinks::sinks))
        .routes(routes!(sinks::sink, sinks::end))
        .routes(routes!(block::blocks, block::block))
        .routes(routes!(block::unblock))
        .split_for_parts();
    openapi::complete(&mut document, token.is_some());
    let document = Bytes::from(document.to_json().expect("plain values"));
    let described = move || async move { ([(CONTENT_TYPE, "application/json")], document) };
    let guard = from_fn_with_state(token.map(Arc::new), auth::check);
    let api = api
        .route("/openapi.json", get(described))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(guard.clone())
        .layer(from_fn_with_state(Arc::clone(&admin), origin::check))
        .with_state(Arc::clone(&admin));
    let metrics = Router::new().route("/metrics", get(metrics::metrics)).with_state(admin);
    Router::new()
        .nest("/api/v1", api)
        .merge(metrics.layer(guard))
        .merge(health)
        .fallback(no_such_path)
}

async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path")
}

async fn only_metrics() -> Problem {
    Problem::not_found("the metrics are at /metrics; all else is on the admin port")
}

async fn wrong_method() -> Problem {
    Problem::new(405, "method not allowed", "this path knows other methods")
}
