//! Who may publish and play, as far as the configuration alone can say: addresses, the pages that
//! show a stream, and proofs (keys, signed URLs, tokens). Each core has its own of each app, made
//! anew with its [`Setup`](super::setup::Setup), and asks nobody.
//!
//! A reason names what would be right. What a client has shown is never repeated in it.

mod arrivals;
mod census;
mod cidr;
mod jwt;
mod keys;
mod referer;
pub mod signed;

use std::net::IpAddr;
use std::time::SystemTime;

pub use arrivals::Arrivals;
pub use census::Census;
pub(crate) use census::{Counted, Full};

use self::cidr::Rules;
use self::jwt::Tokens;
use self::keys::Keys;
use self::referer::Referers;
use self::signed::{Method, Request, Signer};
use super::verdict::{Action, Protocol, Question};
use crate::config::{App, Secret};
use crate::media::StreamKey;
use crate::proto::http::Query;

/// What one app asks of those who come.
#[derive(Debug)]
pub(crate) struct Access {
    rules: Rules,
    referers: Referers,
    keys: Option<Keys>,
    signer: Option<Signer>,
    sign_publish: bool,
    tokens: Option<Tokens>,
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// By address.
    #[error("{wish} {app} is not allowed from {from} (rules)")]
    Rule { wish: &'static str, app: String, from: IpAddr },
    /// By the page that shows it.
    #[error("expected a page of a host in referers, found {0}")]
    Referer(&'static str),
    /// It shows nothing of what is asked for.
    #[error("expected {0} in the URL, found none")]
    NoProof(String),
    /// It shows something wrong.
    #[error(transparent)]
    Proof(Wrong),
}

/// What a look for one kind of proof did not find.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unproven {
    /// There is none; this is how one looks.
    Missing(&'static str),
    /// There is one, but it does not prove anything.
    Wrong(Wrong),
}

/// What is wrong with a proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("expected a key that is one of publish_keys, found another")]
    Key,
    #[error("expected exp=UNIX and sig=HEX with 64 digits, found something else")]
    SignatureForm,
    #[error(
        "expected a URL that is still good, found that it was good until {until} (exp): sign a new one"
    )]
    SignatureExpired { until: u64 },
    #[error(
        "expected the signature of this method, stream, exp and address by sign_secret, found another: \
         sign the URL anew (`corecast sign`)"
    )]
    Signature,
    #[error("expected a token (JWT) of three parts in base64url with exp, found something else")]
    TokenForm,
    #[error(
        "expected a token signed with an algorithm in jwt_algorithms whose key is set, found {0}"
    )]
    TokenAlgorithm(String),
    #[error("expected a token signed by jwt_secret or for jwt_key_file, found another")]
    TokenSignature,
    #[error("expected a token with exp, so that it ends some day, found none")]
    TokenWithoutEnd,
    #[error("expected a token that is still good, found one that has expired (exp): get a new one")]
    TokenExpired,
    #[error("expected a token that is good already, found one for later (nbf): compare the clocks")]
    TokenTooEarly,
    #[error("expected a token whose publish and play are lists of patterns such as \"live/*\"")]
    TokenClaims,
    #[error(
        "expected a token whose claim {claim} has a pattern that fits {key}, found none that does"
    )]
    TokenPatterns { claim: Method, key: StreamKey },
}

impl Access {
    /// What `app` says.
    pub(crate) fn new(app: &App) -> Self {
        Self {
            rules: Rules::new(&app.rules),
            referers: Referers::new(&app.referers),
            keys: Keys::new(&app.publish_keys),
            signer: (!app.sign_secret.is_empty()).then(|| Signer::new(app.sign_secret.reveal())),
            sign_publish: app.sign_publish,
            tokens: Tokens::new(app),
        }
    }

    /// Whether `question` may go on to whoever else is asked. `bearer` is a token that stands beside
    /// its query.
    pub(crate) fn check(
        &self,
        question: &Question,
        bearer: Option<&Secret>,
        now: SystemTime,
    ) -> Result<(), Denied> {
        let from = question.peer.ip();
        let (method, key) = match &question.action {
            // Whoever may do one thing there may connect.
            Action::Connect { app } => {
                let one = [Method::Publish, Method::Play];
                let allowed = one.into_iter().any(|method| self.rules.allow(method, from));
                let wish = "connecting to";
                return allowed.then_some(()).ok_or_else(|| {
                    let app = app.split('/').next().unwrap_or_default().to_owned();
                    Denied::Rule { wish, app, from }
                });
            }
            Action::Publish(key) => (Method::Publish, key),
            Action::Play(key) => (Method::Play, key),
        };
        if !self.rules.allow(method, from) {
            let wish = match method {
                Method::Publish => "publishing to",
                Method::Play => "playing from",
            };
            return Err(Denied::Rule { wish, app: key.app().to_owned(), from });
        }
        if question.protocol == Protocol::Http && method == Method::Play {
            self.referers
                .check(question.http.as_ref().and_then(|http| http.referer.as_deref()))
                .map_err(Denied::Referer)?;
        }
        self.prove(question, bearer, (method, key), now)
    }

    /// Any proof is enough of those that count for `method`.
    fn prove(
        &self,
        question: &Question,
        bearer: Option<&Secret>,
        (method, key): (Method, &StreamKey),
        now: SystemTime,
    ) -> Result<(), Denied> {
        let query = Query::new(&question.query);
        let (mut missing, mut wrong) = (Vec::new(), None);
        let mut proves = |look: Result<(), Unproven>| {
            match look {
                Ok(()) => return true,
                Err(Unproven::Missing(what)) => missing.push(what),
                Err(Unproven::Wrong(what)) => drop(wrong.get_or_insert(what)),
            }
            false
        };
        let publishes = method == Method::Publish;
        if let Some(keys) = self.keys.as_ref().filter(|_| publishes)
            && proves(keys.check(&query))
        {
            return Ok(());
        }
        if let Some(signer) = self.signer.as_ref().filter(|_| !publishes || self.sign_publish) {
            let request = Request { method, key, address: question.peer.ip(), now };
            if proves(signer.check(&query, &request)) {
                return Ok(());
            }
        }
        if let Some(tokens) = &self.tokens
            && proves(tokens.check(&query, bearer, method, key))
        {
            return Ok(());
        }
        match wrong {
            Some(wrong) => Err(Denied::Proof(wrong)),
            None if missing.is_empty() => Ok(()),
            None => Err(Denied::NoProof(missing.join(" or "))),
        }
    }
}

#[cfg(test)]
mod tests;
