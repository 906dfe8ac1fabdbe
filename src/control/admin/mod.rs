//! What operators see and do, over HTTP: the API now, and what is built on it.
//!
//! All of it lives on the control thread and asks the cores by message. A client that is slow,
//! silent or rude costs one of [`CONNECTIONS_MAX`] places and nothing else.

mod auth;
mod info;
mod problem;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

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

/// Connections to the API at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
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
    pub(crate) fn new(admin: Arc<Admin>, token: watch::Receiver<Option<Arc<Token>>>) -> Self {
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

fn router(admin: Arc<Admin>, token: watch::Receiver<Option<Arc<Token>>>) -> Router {
    let api = Router::new()
        .route("/info", get(info::info))
        .route("/cores", get(info::cores))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::middleware::from_fn_with_state(token, auth::check))
        .with_state(admin);
    Router::new().nest("/api/v1", api).fallback(no_such_path)
}

async fn no_such_path() -> Problem {
    Problem::not_found("there is nothing at this path; /api/v1/openapi.json lists what there is")
}

async fn wrong_method() -> Problem {
    Problem::new(405, "method not allowed", "this path knows other methods")
}
