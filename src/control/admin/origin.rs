//! Which pages may use the API: its own, and those of the origins in `admin.allow_origin` (CORS).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Admin;
use super::problem::Problem;

/// How long a browser need not ask again, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Tells browsers which pages may read the answers, and keeps pages of others from doing anything,
/// before anyone looks at a token.
pub(super) async fn check(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let Some(origin) = headers.get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let allowed = is_allowed(&admin, &origin);
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
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, POST, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type"),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ];
    (StatusCode::NO_CONTENT, answer).into_response()
}

fn is_allowed(admin: &Admin, origin: &HeaderValue) -> bool {
    let config = admin.config.borrow();
    config.admin.allow_origin.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
}

/// The page was served here: by whatever name, it is the one that is asked now.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    matches!((host, origin), (Some(host), Some((_, origin))) if host.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &'static str) -> HeaderMap {
        [(header::HOST, HeaderValue::from_static(host))].into_iter().collect()
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
