//! Who may use the API: whoever knows the token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::Secret;

/// The digest of the one token. Digests are compared, in a time that does not depend on how much
/// of them is the same, so that neither the token nor its length can be found out by the clock.
#[derive(Debug)]
pub(crate) struct Token([u8; 32]);

impl Token {
    /// The token of the configuration.
    pub(crate) fn new(token: &Secret) -> Self {
        Self(digest(token.reveal().as_bytes()))
    }

    fn is(&self, offered: &str) -> bool {
        digest(offered.as_bytes()).ct_eq(&self.0).into()
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Lets a request through that brings the token, and every request if there is none.
pub(crate) async fn check(
    State(token): State<Option<Arc<Token>>>,
    request: Request,
    next: Next,
) -> Response {
    let offered = request.headers().get(header::AUTHORIZATION);
    let offered = offered.and_then(|value| value.to_str().ok());
    let offered = offered.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    match (&token, offered) {
        (None, _) => next.run(request).await,
        (Some(token), Some(offered)) if token.is(offered) => next.run(request).await,
        (Some(_), _) => {
            let detail = "expected the header `Authorization: Bearer TOKEN`, with admin.token";
            Problem::new(401, "unauthorized", detail).into_response()
        }
    }
}
