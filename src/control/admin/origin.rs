//! Which pages may use the API: its own, and those of the origins in `admin.allow_origin` (CORS).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::{Admin, Tokens};

/// What is looked at before a token is.
#[derive(Debug, Clone)]
pub(super) struct Gate {
    admin: Arc<Admin>,
    token: Tokens,
}

impl Gate {
    pub(super) fn new(admin: Arc<Admin>, token: Tokens) -> Self {
        Self { admin, token }
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let config = self.admin.config.borrow();
        config.admin.allow_origin.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    }
}

/// How long a browser need not ask again, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Tells browsers which pages may read the answers, and keeps pages of others from doing anything:
/// without a token a browser on this host could be made to ask by any page that is open in it.
pub(super) async fn check(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if gate.token.borrow().is_none() && !is_named_by_this_host(headers) {
        let detail = "without admin.token, expected an address or `localhost` in the header Host";
        return Problem::new(403, "forbidden", detail).into_response();
    }
    let Some(origin) = headers.get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let allowed = gate.allows(&origin);
    if !allowed && !is_own(&origin, headers) {
        let detail = "expected a page of an origin in admin.allow_origin";
        return Problem::new(403, "forbidden", detail).into_response();
    }
    let preflight = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match allowed && preflight && request.method() == Method::OPTIONS {
        true => preflight_answer(),
        false => next.run(request).await,
    };
    if allowed {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    response
}

fn preflight_answer() -> Response {
    let answer = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    (StatusCode::NO_CONTENT, answer).into_response()
}

/// The page was served here: by whatever name, it is the one that is asked now.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, origin))) if host.eq_ignore_ascii_case(origin))
}

/// A name with dots may be another's who has it point here (DNS rebinding).
fn is_named_by_this_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok() || !name.contains('.') || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &'static str) -> HeaderMap {
        [(header::HOST, HeaderValue::from_static(host))].into_iter().collect()
    }

    #[test]
    fn a_name_that_another_may_point_here_is_told_from_an_address() {
        for own in
            ["127.0.0.1:8081", "[::1]:8081", "[::1]", "localhost:8081", "edge7", "a.localhost"]
        {
            assert!(is_named_by_this_host(&host(own)), "{own}");
        }
        for foreign in ["rebound.example:8081", "rebound.example", "1.2.3.4.example", "a.b:c"] {
            assert!(!is_named_by_this_host(&host(foreign)), "{foreign}");
        }
    }

    #[test]
    fn a_page_served_here_is_told_from_a_page_served_elsewhere() {
        let own = |origin: &'static str| {
            is_own(&HeaderValue::from_static(origin), &host("edge.example:8081"))
        };
        assert!(own("http://edge.example:8081") && own("https://Edge.example:8081"));
        assert!(!own("http://edge.example") && !own("null") && !own("http://evil.example:8081"));
    }
}
