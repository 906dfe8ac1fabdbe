//! Who may use the API: whoever knows the token.

use std::io;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Tokens;
use super::problem::Problem;
use crate::config;

/// The digest of the one token. Digests are compared, in a time that does not depend on how much
/// of them is the same, so that neither the token nor its length can be found out by the clock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

/// The file with the token cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "admin.token_file: {path}: {error}\n  cure: write one line of 16 characters or more into it"
)]
pub struct TokenFile {
    /// Which.
    path: String,
    /// Why.
    error: io::Error,
}

impl Token {
    /// The token of the configuration, or of the file that it names.
    ///
    /// # Errors
    /// There is no token in that file.
    pub(crate) fn of(admin: &config::Admin) -> Result<Option<Self>, TokenFile> {
        if admin.token_file.is_empty() {
            let token = admin.token.reveal();
            return Ok((!token.is_empty()).then(|| Self(digest(token.as_bytes()))));
        }
        let told = |error| TokenFile { path: admin.token_file.clone(), error };
        let token = std::fs::read_to_string(&admin.token_file).map_err(told)?;
        match token.trim() {
            "" => Err(told(io::Error::other("it is empty"))),
            token => Ok(Some(Self(digest(token.as_bytes())))),
        }
    }

    fn is(&self, offered: &str) -> bool {
        digest(offered.as_bytes()).ct_eq(&self.0).into()
    }
}

fn digest(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Lets a request through that brings the token, and every request if there is none.
pub(crate) async fn check(State(token): State<Tokens>, request: Request, next: Next) -> Response {
    let token = token.borrow().clone();
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
