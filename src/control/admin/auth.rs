//! Who may use the API: whoever knows the token.

use std::net::IpAddr;
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

/// Shorter ones can be guessed.
const LENGTH_MIN: usize = 16;

impl Token {
    /// A token that can be sent in a header and not be guessed.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(token: &Secret) -> Result<Self, String> {
        let token = token.reveal();
        if token.len() < LENGTH_MIN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "expected {LENGTH_MIN} or more visible ASCII characters and no blanks; \
                 `openssl rand -hex 24` makes a token"
            ));
        }
        Ok(Self(digest(token.as_bytes())))
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
        (None, _) if !is_of_this_host(&request) => {
            let detail = "without admin.token, expected a request to 127.0.0.1 or localhost, not by \
                          another name or from another site's page: set a token";
            Problem::new(403, "forbidden", detail).into_response()
        }
        (None, _) => next.run(request).await,
        (Some(token), Some(offered)) if token.is(offered) => next.run(request).await,
        (Some(_), _) => {
            let detail = "expected the header `Authorization: Bearer TOKEN`, with admin.token";
            Problem::new(401, "unauthorized", detail).into_response()
        }
    }
}

/// A page of another site may have its own name point to this host, and then its requests come from
/// here. They still tell that name, or the page they come from.
fn is_of_this_host(request: &Request) -> bool {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let host = header(header::HOST);
    let origin = header(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |o| o.1));
    host.is_some_and(is_loopback) && origin.is_none_or(is_loopback)
}

/// `host` may have a port.
fn is_loopback(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = without_port.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().map_or(address == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_by_name_and_by_number() {
        for host in ["127.0.0.1", "127.0.0.1:8081", "localhost:8081", "[::1]:8081", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "127.0.0.1.example.org", "localhost.example.org:8081"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn tokens_that_could_be_guessed_or_never_match_are_refused() {
        let token = |text: &str| Token::new(&Secret::from(text.to_owned()));
        assert!(token("0123456789abcdef").is_ok());
        for text in ["", "short", "0123456789 abcdef", "0123456789abcdéf"] {
            assert!(token(text).is_err(), "{text}");
        }
    }
}
