//! What operators see and do, over HTTP: the API now, and what is built on it.
//!
//! All of it lives on the control thread and asks the cores by message. A client that is slow,
//! silent or rude costs one of [`CONNECTIONS_MAX`] places and nothing else.

mod auth;
mod client;
mod events;
mod extract;
mod info;
mod openapi;
mod origin;
mod page;
mod problem;
mod service;
mod streams;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use bytes::Bytes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::auth::Token;
pub use self::auth::TokenFile;
use self::problem::Problem;
use super::drain::Drain;
use super::events::Bulletin;
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
    /// What it runs on.
    pub(crate) host: Host,
    /// When the process began.
    pub(crate) since: SystemTime,
}

/// The token that clients must bring, now; none if none is asked for.
type Tokens = watch::Receiver<Option<Arc<Token>>>;

/// Connections to the API at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// The largest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;
/// The longest a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After the host ran out of descriptors, nothing is accepted for this long.
const BACK_OFF: Duration = Duration::from_millis(200);

/// What is served, on as many listeners as there are.
#[derive(Debug)]
pub(crate) struct Server {
    router: Router,
    places: Arc<Semaphore>,
}

impl Server {
    /// While `token` holds none, nobody is asked for one.
    pub(crate) fn new(admin: Arc<Admin>, token: Tokens) -> Self {
        Self { router: router(admin, token), places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }

    /// Serves on `listener` until the task is aborted; who is connected then stays. Inside a runtime.
    pub(crate) fn serve(&self, listener: TcpListener) -> JoinHandle<()> {
        tokio::spawn(accept(listener, self.router.clone(), Arc::clone(&self.places)))
    }
}

async fn accept(listener: TcpListener, router: Router, places: Arc<Semaphore>) {
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((socket, _)) => {
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

fn router(admin: Arc<Admin>, token: Tokens) -> Router {
    let (api, document) = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(info::info))
        .routes(routes!(info::cores))
        .routes(routes!(info::config))
        .routes(routes!(service::reload))
        .routes(routes!(service::drained, service::drain, service::undrain))
        .routes(routes!(events::events))
        .routes(routes!(streams::streams))
        .split_for_parts();
    let gate = origin::Gate::new(Arc::clone(&admin), token.clone());
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
    let api = api
        .route("/openapi.json", get(described))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(token, auth::check))
        .layer(from_fn_with_state(gate, origin::check))
        .with_state(admin);
    Router::new().nest("/api/v1", api).fallback(no_such_path)
}

async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path; /api/v1/openapi.json lists what there is")
}

async fn wrong_method() -> Problem {
    Problem::new(405, "method not allowed", "this path knows other methods")
}
