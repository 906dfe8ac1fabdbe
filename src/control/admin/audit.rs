//! Who used the API: a line of the log for each request that may change something, and for those that
//! were turned away, at a pace that strangers cannot fill the log by.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

/// The two ends of the connection a request comes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// Who asks.
    pub(super) peer: SocketAddr,
    /// Where it asks.
    pub(super) local: SocketAddr,
}

impl Caller {
    /// None if `request` does not say.
    pub(super) fn of(request: &Request) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// It has come to an address that no other host can reach.
    pub(super) fn is_of_this_host(self) -> bool {
        self.local.ip().to_canonical().is_loopback()
    }
}

/// Whether the guard has let a request through: the others are strangers'.
#[derive(Debug, Clone, Default)]
pub(super) struct LetIn(Arc<AtomicBool>);

impl LetIn {
    /// The guard lets `request` through.
    pub(super) fn note(request: &Request) {
        if let Some(Self(is_let_in)) = request.extensions().get() {
            is_let_in.store(true, Ordering::Relaxed);
        }
    }

    fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Of a path, as much is shown.
const SHOWN_BYTES: usize = 200;
/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets a line through now and then.
#[derive(Debug, Default, Clone)]
pub(super) struct Paced(Arc<Mutex<Pace>>);

#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    left_out: u64,
}

impl Paced {
    /// If there may be a line now: how many were left out since the last one.
    pub(super) fn line(&self) -> Option<u64> {
        let mut pace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pace.last.is_some_and(|last| last.elapsed() < PAUSE) {
            pace.left_out += 1;
            return None;
        }
        pace.last = Some(Instant::now());
        Some(std::mem::take(&mut pace.left_out))
    }
}

/// One request, told when it is over. Dropped without an answer, its client has hung up.
struct Asked {
    by: String,
    method: Method,
    path: String,
    status: Option<StatusCode>,
    let_in: LetIn,
    refusals: Paced,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Self { by, method, path, status, let_in, refusals } = self;
        let is_refused =
            |status| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        match *status {
            Some(status) if is_refused(status) => {
                if let Some(left_out) = refusals.line() {
                    let status = status.as_u16();
                    tracing::warn!(client = %by, %method, ?path, status, left_out, "admin: refused");
                }
            }
            // What changes nothing.
            _ if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => {}
            // Strangers', where nothing is: nobody is kept out there.
            _ if !let_in.is_so() => {}
            Some(status) => {
                let status = status.as_u16();
                tracing::info!(client = %by, %method, ?path, status, "admin: asked");
            }
            None => tracing::info!(client = %by, %method, ?path, "admin: asked, and hung up"),
        }
    }
}

/// Tells of what is to be told.
pub(super) async fn tell(
    State(refusals): State<Paced>,
    mut request: Request,
    next: Next,
) -> Response {
    let by = Caller::of(&request).map_or_else(String::new, |caller| caller.peer.to_string());
    let (method, path) = (request.method().clone(), request.uri().path());
    let path = path[..path.floor_char_boundary(SHOWN_BYTES)].to_owned();
    let let_in = LetIn::default();
    request.extensions_mut().insert(let_in.clone());
    let mut asked = Asked { by, method, path, status: None, let_in, refusals };
    let response = next.run(request).await;
    asked.status = Some(response.status());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_at_once_one_is_written() {
        let paced = Paced::default();
        assert_eq!(paced.line(), Some(0));
        // At once, however long this thread waits for a core.
        let last = paced.0.lock().expect("ours").last.expect("it was just now");
        paced.0.lock().expect("ours").last = Some(last + 60 * PAUSE);
        assert_eq!((paced.line(), paced.line()), (None, None));
        paced.0.lock().expect("ours").last = Instant::now().checked_sub(PAUSE);
        assert_eq!(paced.line(), Some(2));
    }
}
