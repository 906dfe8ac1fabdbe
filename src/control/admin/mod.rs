//! What operators see and do, over HTTP: the API now, and what is built on it.
//!
//! All of it lives on the control thread and asks the cores by message. A client that is slow,
//! silent or rude costs one of [`CONNECTIONS_MAX`] places and nothing else.

mod asking;
mod audit;
mod auth;
mod block;
mod client;
mod events;
mod extract;
mod health;
mod info;
mod level;
mod metrics;
mod node;
mod openapi;
mod origin;
mod page;
mod problem;
mod reason;
mod recordings;
mod seats;
mod secure;
mod service;
mod sinks;
mod stream;
mod streams;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::TcpKeepalive;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::audit::{Caller, Paced};
pub use self::auth::BadToken;
pub(crate) use self::auth::Token;
use self::problem::Problem;
use self::seats::Seats;
use self::secure::Certificates;
use super::console;
use super::drain::Drain;
use super::events::Bulletin;
use super::log;
use super::metrics::Metrics;
use super::reload::Reload;
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
    /// The way to another.
    pub(crate) reload: Arc<Reload>,
    /// The way out of service.
    pub(crate) drain: Arc<Drain>,
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
    /// Places for those who listen to events.
    pub(crate) hearers: Arc<Semaphore>,
}

/// The token that clients must bring, now; none if none is asked for.
type Tokens = watch::Receiver<Option<Arc<Token>>>;

/// Connections to the API at once; more wait to be accepted. Their descriptors are set aside.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// So many of them may listen to events, which they do for as long as they like.
pub(crate) const HEARERS_MAX: usize = CONNECTIONS_MAX / 2;
/// The largest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;
/// The same where the metrics alone are served.
pub(crate) const SCRAPES_MAX: usize = 16;
/// The longest a request's head may take, and the longest between two requests; and the longest a TLS
/// handshake may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a client may take nothing of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// After the host ran out of descriptors, nothing is accepted for this long.
const BACK_OFF: Duration = Duration::from_millis(200);

/// Where the API is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Over TLS.
    pub(crate) secure: bool,
}

impl Place {
    /// The key of the configuration that names it.
    pub(crate) fn key(self) -> &'static str {
        if self.secure { "admin.tls_listen" } else { "admin.listen" }
    }
}

/// What is served, on as many listeners as there are.
#[derive(Debug)]
pub(crate) struct Server {
    router: Router,
    seats: Seats,
    certificates: Option<Certificates>,
}

impl Server {
    /// While `token` holds none, nobody is asked for one.
    pub(crate) fn new(admin: Arc<Admin>, token: Tokens, certificates: Certificates) -> Self {
        let (router, seats) = (router(admin, token), Seats::new(CONNECTIONS_MAX));
        Self { router, seats, certificates: Some(certificates) }
    }

    /// The metrics, and how the node is, to anyone.
    pub(crate) fn of_metrics(admin: Arc<Admin>) -> Self {
        let router = Router::new()
            .route("/metrics", get(metrics::metrics))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .fallback(only_metrics)
            .with_state(admin);
        Self { router, seats: Seats::new(SCRAPES_MAX), certificates: None }
    }

    /// Serves on `listener` until the task is aborted; then who has asked is answered still, and who has
    /// not is closed. Inside a runtime. `secure`: over TLS.
    pub(crate) fn serve(&self, listener: TcpListener, secure: bool) -> JoinHandle<()> {
        let certificates = self.certificates.clone().filter(|_| secure);
        tokio::spawn(accept(listener, self.router.clone(), self.seats.clone(), certificates))
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    seats: Seats,
    certificates: Option<Certificates>,
) {
    // Dropped with this task.
    let (_open, closed) = watch::channel(());
    loop {
        let place = seats.free().await;
        match listener.accept().await {
            Ok((socket, peer)) => {
                let Some(seat) = seats.take(place, peer) else { continue };
                let local = match bound(&socket).and_then(|()| socket.local_addr()) {
                    Ok(local) => local,
                    Err(error) => {
                        tracing::debug!(%error, "admin: a connection broke");
                        continue;
                    }
                };
                let end = End { caller: Caller { peer, local }, closed: closed.clone() };
                let (router, certificates) = (router.clone(), certificates.clone());
                tokio::spawn(async move {
                    match certificates {
                        None => answer(socket, end, router).await,
                        Some(certificates) => {
                            secure::answer(socket, end, &certificates, router).await;
                        }
                    }
                    drop(seat);
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
fn bound(socket: &TcpStream) -> std::io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(PATIENCE))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(PATIENCE).with_interval(PATIENCE / 3))
}

/// Our end of a connection.
struct End {
    caller: Caller,
    /// Ends with the listener it came by.
    closed: watch::Receiver<()>,
}

async fn answer(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    End { caller, mut closed }: End,
    router: Router,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller);
        router.call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(socket), service);
    let mut served = pin!(served);
    let served = tokio::select! {
        served = served.as_mut() => served,
        _ = closed.changed() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "admin: a connection broke");
    }
}

fn router(admin: Arc<Admin>, token: Tokens) -> Router {
    // Without a token: supervisors and balancers have none.
    let health = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .with_state(Arc::clone(&admin));
    let (api, document) = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(info::info))
        .routes(routes!(info::cores))
        .routes(routes!(node::node))
        .routes(routes!(info::config))
        .routes(routes!(level::level, level::set_level))
        .routes(routes!(service::reload))
        .routes(routes!(service::drained, service::drain, service::undrain))
        .routes(routes!(events::events))
        .routes(routes!(streams::streams))
        .routes(routes!(stream::stream, stream::end))
        .routes(routes!(recordings::recordings))
        .routes(routes!(recordings::record, recordings::end))
        .routes(routes!(recordings::files, recordings::remove))
        .routes(routes!(sinks::sinks))
        .routes(routes!(sinks::sink, sinks::end))
        .routes(routes!(block::blocks, block::block))
        .routes(routes!(block::unblock))
        .split_for_parts();
    let documents = [false, true].map(|with_token| {
        let mut document = document.clone();
        openapi::complete(&mut document, with_token);
        Bytes::from(document.to_json().expect("plain values"))
    });
    let tokens = token.clone();
    let described = move || async move {
        let [without, with] = documents;
        let document = if tokens.borrow().is_some() { with } else { without };
        ([(CONTENT_TYPE, "application/json")], document)
    };
    let guard = from_fn_with_state(token, auth::check);
    let api = api
        .route("/openapi.json", get(described))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(guard.clone())
        .layer(from_fn_with_state(Arc::clone(&admin), origin::check))
        .with_state(Arc::clone(&admin));
    // Without a token: its files are no secret, and the page asks for it.
    let console = console::router(admin.config.clone());
    let metrics = Router::new().route("/metrics", get(metrics::metrics)).with_state(admin);
    Router::new()
        .nest("/api/v1", api)
        .merge(metrics.layer(guard))
        .merge(health)
        .merge(console)
        .fallback(no_such_path)
        .layer(from_fn_with_state(Paced::default(), audit::tell))
}

pub(super) async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path")
}

async fn only_metrics() -> Problem {
    Problem::not_found("the metrics are at /metrics; all else is on the admin port")
}

async fn wrong_method() -> Problem {
    Problem::new(405, "method not allowed", "this path knows other methods")
}
