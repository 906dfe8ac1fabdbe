//! Who may publish and play: what is wrong with the keys about that.

use jsonwebtoken::DecodingKey;

use super::super::app::{App, JwtAlgorithm};
use super::super::key_file::KeyFile;
use super::Section;

pub(super) fn check(app: &App, at: &mut Section<'_>) {
    let empty = app.publish_keys.iter().any(|key| key.is_empty());
    at.require(!empty, "publish_keys", || {
        "expected keys of at least one character, found an empty one".to_owned()
    });
    for (key, secret) in [("sign_secret", &app.sign_secret), ("jwt_secret", &app.jwt_secret)] {
        let found = secret.reveal().len();
        at.require(secret.is_empty() || found >= SECRET_BYTES, key, || {
            format!(
                "expected at least {SECRET_BYTES} characters, found {found}; \
                 `openssl rand -hex 32` makes a secret"
            )
        });
    }
    let signs = !app.sign_publish || !app.sign_secret.is_empty();
    at.agree(signs, &["sign_publish", "sign_secret"], || {
        "expected a sign_secret to sign by, found none".to_owned()
    });
    tokens(app, at);
    if let Some(bad) = app.referers.iter().find(|pattern| !is_host_pattern(pattern)) {
        at.require(false, "referers", || {
            format!(
                "expected hosts such as \"example.org\" or \"*.example.org\", without scheme, port \
                 and path, or \"\" for clients that name no page, found {bad:?}"
            )
        });
    }
}

/// Shorter secrets can be guessed.
const SECRET_BYTES: usize = 16;

fn tokens(app: &App, at: &mut Section<'_>) {
    let mut possible = Vec::new();
    if !app.jwt_secret.is_empty() {
        possible.push(JwtAlgorithm::Hs256);
    }
    if !app.jwt_key_file.is_empty() {
        let kind = algorithm_of(&app.jwt_key_file);
        at.require(kind.is_some(), "jwt_key_file", || {
            format!(
                "expected {} to hold one public key in PEM (-----BEGIN PUBLIC KEY-----), of RSA for \
                 RS256 or on the curve P-256 for ES256; `openssl pkey -in PRIVATE.pem -pubout` makes \
                 it of a private one",
                app.jwt_key_file.path()
            )
        });
        possible.extend(kind);
    }
    let fits = possible.iter().any(|one| app.jwt_algorithms.contains(one));
    at.agree(possible.is_empty() || fits, &["jwt_algorithms", "jwt_key_file", "jwt_secret"], || {
        format!(
            "expected one that the key is for ({possible:?}), found {:?}: no token would be taken",
            app.jwt_algorithms
        )
    });
}

/// What the key of a file is for.
fn algorithm_of(file: &KeyFile) -> Option<JwtAlgorithm> {
    let text = file.text();
    // The crate takes private keys and certificates for public keys, and then no token is right.
    if !text.contains("PUBLIC KEY-----") {
        return None;
    }
    if DecodingKey::from_rsa_pem(text.as_bytes()).is_ok() {
        return Some(JwtAlgorithm::Rs256);
    }
    let on_p256 = text.contains(P256) && DecodingKey::from_ec_pem(text.as_bytes()).is_ok();
    on_p256.then_some(JwtAlgorithm::Es256)
}

/// How ecPublicKey and secp256r1 (RFC 5480 2.1.1) look in base64 where they stand in a public key.
const P256: &str = "EwYHKoZIzj0CAQYIKoZIzj0DAQcD";

/// `example.org`, `*.example.org`, `*`, or nothing.
fn is_host_pattern(pattern: &str) -> bool {
    let host = pattern.strip_prefix("*.").unwrap_or(pattern);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host == "*" || host.chars().all(plain) && !(host.is_empty() && pattern != host),
    }
}
