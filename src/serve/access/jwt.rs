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
        // Each may be for somebody else, as for the hook server: the one that proves it will do.
        let bearer = bearer.map(|token| Cow::from(token.reveal()));
        let mut why = Unproven::Missing("token=TOKEN (a JWT)");
        for token in [bearer, query.get("token"), query.get("jwt")].into_iter().flatten() {
            match self.check_one(&token, method, key) {
                Ok(()) => return Ok(()),
                Err(wrong) => match &why {
                    // What is no token at all was hardly meant to be one.
                    Unproven::Missing(_) | Unproven::Wrong(Wrong::TokenForm) => {
                        why = Unproven::Wrong(wrong);
                    }
                    Unproven::Wrong(_) => {}
                },
            }
        }
        Err(why)
    }

    fn check_one(&self, token: &str, method: Method, key: &StreamKey) -> Result<(), Wrong> {
        let claims = self.claims(token)?;
        let patterns = match method {
            Method::Publish => claims.publish,
            Method::Play => claims.play,
        };
        if patterns.iter().any(|pattern| fits(pattern, key.as_str())) {
            return Ok(());
        }
        Err(Wrong::TokenPatterns { claim: method, key: key.clone() })
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

    #[test]
    fn a_token_that_is_for_somebody_else_is_no_harm_beside_a_right_one() {
        let app = App { jwt_secret: Secret::from("0123456789abcdef".to_owned()), ..App::default() };
        let tokens = Tokens::new(&app).expect("there is a secret");
        let token = |play: &str| {
            let claims = serde_json::json!({"exp": 4_102_444_800_u64, "play": [play]});
            let key = jsonwebtoken::EncodingKey::from_secret(b"0123456789abcdef");
            jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a JWT")
        };
        let (right, other) = (token("live/*"), token("other/*"));
        let key = StreamKey::parse("live/x").expect("a key");
        let check = |query: &str, bearer: Option<&str>| {
            let bearer = bearer.map(|token| Secret::from(token.to_owned()));
            tokens.check(&Query::new(query), bearer.as_ref(), Method::Play, &key)
        };
        for (query, bearer) in [
            ("token=of-the-hook-server", Some(&*right)),
            (&*format!("token={other}"), Some(&*right)),
            (&*format!("token={right}"), Some("of-the-balancer")),
            (&*format!("token={right}"), Some(&*other)),
            (&*format!("token=of-the-hook-server&jwt={right}"), None),
        ] {
            assert_eq!(check(query, bearer), Ok(()), "{query} {bearer:?}");
        }
        // Of several that are wrong, the one that is a token at all says why.
        let pattern = Wrong::TokenPatterns { claim: Method::Play, key: key.clone() };
        let wrong = check(&format!("token={other}"), Some("of-the-balancer"));
        assert_eq!(wrong, Err(Unproven::Wrong(pattern)));
        let wrong = check("token=of-the-hook-server", None);
        assert_eq!(wrong, Err(Unproven::Wrong(Wrong::TokenForm)));
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
