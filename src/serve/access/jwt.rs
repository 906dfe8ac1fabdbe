use std::borrow::Cow;

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::signed::Method;
use super::{Unproven, Wrong};
use crate::config::{App, JwtAlgorithm, Secret};
use crate::media::StreamKey;
use crate::proto::http::Query;

/// The tokens (JWT, RFC 7519) that an app takes. Each algorithm has its own key, so that none can be
/// checked by the key of another.
#[derive(Debug)]
pub(super) struct Tokens(Vec<Taken>);

#[derive(Debug)]
struct Taken {
    key: DecodingKey,
    validation: Validation,
}

/// What a token allows: patterns of stream keys.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    publish: Vec<String>,
    #[serde(default)]
    play: Vec<String>,
}

/// The clocks of who signs and of who checks may differ by so much.
const CLOCKS_DIFFER_S: u64 = 10;

impl Tokens {
    /// `None` if the app has no key to check them by.
    pub(super) fn new(app: &App) -> Option<Self> {
        if app.jwt_secret.is_empty() && app.jwt_key_file.is_empty() {
            return None;
        }
        let pem = app.jwt_key_file.text().as_bytes();
        let key = |algorithm| match algorithm {
            JwtAlgorithm::Hs256 if app.jwt_secret.is_empty() => None,
            JwtAlgorithm::Hs256 => {
                Some(DecodingKey::from_secret(app.jwt_secret.reveal().as_bytes()))
            }
            // Err: it is a key of the other kind. That it is one of them was seen when it was read.
            JwtAlgorithm::Rs256 => DecodingKey::from_rsa_pem(pem).ok(),
            JwtAlgorithm::Es256 => DecodingKey::from_ec_pem(pem).ok(),
        };
        let taken = app.jwt_algorithms.iter().filter_map(|&algorithm| {
            Some(Taken { key: key(algorithm)?, validation: validation(algorithm) })
        });
        Some(Self(taken.collect()))
    }

    pub(super) fn check(
        &self,
        query: &Query<'_>,
        bearer: Option<&Secret>,
        method: Method,
        key: &StreamKey,
    ) -> Result<(), Unproven> {
        let token = query.get("token").or_else(|| query.get("jwt"));
        let Some(token) = token.or_else(|| bearer.map(|token| Cow::from(token.reveal()))) else {
            return Err(Unproven::Missing("token=TOKEN (a JWT)"));
        };
        let claims = self.claims(&token).map_err(Unproven::Wrong)?;
        let patterns = match method {
            Method::Publish => claims.publish,
            Method::Play => claims.play,
        };
        if patterns.iter().any(|pattern| fits(pattern, key.as_str())) {
            return Ok(());
        }
        Err(Unproven::Wrong(Wrong::TokenPatterns { claim: method, key: key.clone() }))
    }

    fn claims(&self, token: &str) -> Result<Claims, Wrong> {
        let algorithm = decode_header(token).map_err(|_| Wrong::TokenForm)?.alg;
        let taken = self.0.iter().find(|taken| taken.validation.algorithms.contains(&algorithm));
        let Some(Taken { key, validation }) = taken else {
            return Err(Wrong::TokenAlgorithm(format!("{algorithm:?}")));
        };
        let decoded = decode::<Claims>(token, key, validation);
        decoded.map(|decoded| decoded.claims).map_err(|error| wrong(&error))
    }
}

fn validation(algorithm: JwtAlgorithm) -> Validation {
    let mut validation = Validation::new(match algorithm {
        JwtAlgorithm::Hs256 => Algorithm::HS256,
        JwtAlgorithm::Rs256 => Algorithm::RS256,
        JwtAlgorithm::Es256 => Algorithm::ES256,
    });
    validation.leeway = CLOCKS_DIFFER_S;
    validation.validate_nbf = true;
    // What a token is for, it says by its patterns.
    validation.validate_aud = false;
    validation
}

fn wrong(error: &Error) -> Wrong {
    match error.kind() {
        ErrorKind::InvalidSignature => Wrong::TokenSignature,
        ErrorKind::ExpiredSignature => Wrong::TokenExpired,
        ErrorKind::ImmatureSignature => Wrong::TokenTooEarly,
        ErrorKind::MissingRequiredClaim(_) => Wrong::TokenWithoutEnd,
        // The signature was right by then.
        ErrorKind::Json(_) => Wrong::TokenClaims,
        _ => Wrong::TokenForm,
    }
}

/// Whether `text` is `pattern`, in which each `*` stands for anything, also for nothing.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut p) = (0, 0);
    // Behind the latest star, and how far the text goes that it stands for.
    let mut star = None;
    while at < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                star = Some((p, at));
            }
            Some(byte) if *byte == text[at] => (p, at) = (p + 1, at + 1),
            _ => match &mut star {
                Some((behind, end)) => {
                    *end += 1;
                    (p, at) = (*behind, *end);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_for_nothing() {
        for (pattern, text, expected) in [
            ("live/a", "live/a", true),
            ("live/a", "live/ab", false),
            ("live/a", "live/", false),
            ("live/cam*", "live/cam", true),
            ("live/cam*", "live/cam1/x", true),
            ("live/cam*", "live/dam1", false),
            ("*", "live/a", true),
            ("", "live/a", false),
            ("*/a", "live/a", true),
            ("*/a", "live/a/a", true),
            ("*/a", "live/ab", false),
            ("l*e/*b*", "live/abc", true),
            ("l*e/*b*", "live/ac", false),
            ("**", "x", true),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// The plainest way to say the same.
    fn fits_plainly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([b'*', pattern @ ..], _) => {
                (0..=text.len()).any(|from| fits_plainly(pattern, &text[from..]))
            }
            ([byte, pattern @ ..], [first, text @ ..]) => {
                byte == first && fits_plainly(pattern, text)
            }
            ([], text) => text.is_empty(),
            _ => false,
        }
    }

    proptest::proptest! {
        #[test]
        fn patterns_fit_as_the_plainest_matcher_says(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            let plainly = fits_plainly(pattern.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(fits(&pattern, &text), plainly);
        }
    }
}
