//! Who may use the API: whoever knows the token.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Tokens;
use super::audit::{Caller, LetIn};
use super::problem::Problem;
use crate::config;

/// The digest of the one token. Digests are compared, in a time that does not depend on how much
/// of them is the same, so that neither the token nor its length can be found out by the clock.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

/// The token of the API cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("admin.{key}: {cause}")]
pub struct BadToken {
    /// Where it stands.
    key: &'static str,
    /// What is wrong with it.
    cause: String,
}

/// Shorter ones can be guessed.
const LENGTH_MIN: usize = 16;

impl Token {
    /// The token of the configuration, or of the file that it names. None if none is wanted.
    ///
    /// # Errors
    /// It cannot be read, or is not one to be used.
    pub(crate) fn of(admin: &config::Admin) -> Result<Option<Self>, BadToken> {
        if !admin.enabled || (admin.token.is_empty() && admin.token_file.is_empty()) {
            return Ok(None);
        }
        if admin.token_file.is_empty() {
            let wrong = |cause| BadToken { key: "token", cause };
            return Self::new(admin.token.reveal()).map(Some).map_err(wrong);
        }
        let wrong = |cause: String| BadToken {
            key: "token_file",
            cause: format!("{}: {cause}", admin.token_file),
        };
        let text = std::fs::read_to_string(&admin.token_file);
        let text = text.map_err(|error| wrong(error.to_string()))?;
        Self::new(text.trim()).map(Some).map_err(wrong)
    }

    /// A token that can be sent in a header and not be guessed.
    fn new(token: &str) -> Result<Self, String> {
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
pub(crate) async fn check(State(token): State<Tokens>, request: Request, next: Next) -> Response {
    let token = token.borrow().clone();
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
        (None, _) => let_in(request, next).await,
        (Some(token), Some(offered)) if token.is(offered) => let_in(request, next).await,
        (Some(_), _) => {
            let detail = "expected the header `Authorization: Bearer TOKEN`, with the token of \
                          admin.token or admin.token_file";
            Problem::new(401, "unauthorized", detail).into_response()
        }
    }
}

async fn let_in(request: Request, next: Next) -> Response {
    LetIn::note(&request);
    next.run(request).await
}

/// Without a token we listen where no other host comes. A connection may be older than that.
///
/// A page of another site may have its own name point to this host, and then its requests come from
/// here. They still tell that name, or the page they come from.
fn is_of_this_host(request: &Request) -> bool {
    if !Caller::of(request).is_some_and(Caller::is_of_this_host) {
        return false;
    }
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
        let token = Token::new;
        assert!(token("0123456789abcdef").is_ok());
        for text in ["", "short", "0123456789 abcdef", "0123456789abcdéf"] {
            assert!(token(text).is_err(), "{text}");
        }
    }
}
