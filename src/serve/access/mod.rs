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
mod network;
mod referer;
pub mod signed;

use std::net::IpAddr;
use std::time::SystemTime;

pub use arrivals::Arrivals;
pub use census::Census;
pub(crate) use census::{Counted, Full};
pub use network::Network;

use self::cidr::Rules;
use self::jwt::Tokens;
use self::keys::Keys;
use self::referer::Referers;
use self::signed::{Method, Request, Signer};
use super::refusals::Reason;
use super::verdict::{Action, Protocol, Question};
use crate::config::{App, Secret};
use crate::media::StreamKey;
use crate::proto::http::Query;

/// What one app asks of those who come.
#[derive(Debug)]
pub struct Access {
    rules: Rules,
    referers: Referers,
    keys: Option<Keys>,
    signer: Option<Signer>,
    sign_publish: bool,
    tokens: Option<Tokens>,
}

/// Why somebody may not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// By address. RTMP clients name any app at their connect, line breaks included.
    #[error("{wish} {} is not allowed from {from} (rules)", .app.escape_debug())]
    Rule {
        /// What it wanted.
        wish: &'static str,
        /// Where.
        app: String,
        /// Its address.
        from: IpAddr,
    },
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

impl Denied {
    /// What it is counted as.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Rule { .. } => Reason::Rules,
            Self::Referer(_) => Reason::Referers,
            Self::NoProof(_) | Self::Proof(_) => Reason::Proof,
        }
    }
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
pub enum Wrong {
    /// No key of the app.
    #[error("expected a key that is one of publish_keys, found another")]
    Key,
    /// A signature that cannot be one.
    #[error("expected exp=UNIX and sig=HEX with 64 digits, found something else")]
    SignatureForm,
    /// A right signature of the past.
    #[error(
        "expected a URL that is still good, found that it was good until {until} (exp): sign a new one"
    )]
    SignatureExpired {
        /// Seconds after 1970.
        until: u64,
    },
    /// A signature of something else, or by somebody else.
    #[error(
        "expected the signature by sign_secret of {method}, {key}, this exp and this address, found \
         another: sign the URL of {key} anew (`corecast sign`)"
    )]
    Signature {
        /// What it would have to allow.
        method: Method,
        /// What is asked for.
        key: StreamKey,
    },
    /// A token that cannot be one.
    #[error(
        "expected a token (JWT) of three parts in base64url, with a known alg in its head and with exp, \
         found something else"
    )]
    TokenForm,
    /// A token of an algorithm that counts for nothing here.
    #[error(
        "expected a token signed with an algorithm in jwt_algorithms whose key is set, found {0}"
    )]
    TokenAlgorithm(String),
    /// A token of somebody else.
    #[error("expected a token signed by jwt_secret or for jwt_key_file, found another")]
    TokenSignature,
    /// A right token that would be good for ever.
    #[error("expected a token with exp, so that it ends some day, found none")]
    TokenWithoutEnd,
    /// A right token of the past.
    #[error("expected a token that is still good, found one that has expired (exp): get a new one")]
    TokenExpired,
    /// A right token of the future.
    #[error("expected a token that is good already, found one for later (nbf): compare the clocks")]
    TokenTooEarly,
    /// A right token that says what it is for as no token does.
    #[error("expected a token whose publish and play are lists of patterns such as \"live/*\"")]
    TokenClaims,
    /// A right token for something else.
    #[error(
        "expected a token whose claim {claim} has a pattern that fits {key}, found none that does"
    )]
    TokenPatterns {
        /// Where it would have to say it.
        claim: Method,
        /// What is asked for.
        key: StreamKey,
    },
}

impl Access {
    /// What `app` says.
    pub fn new(app: &App) -> Self {
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
    pub fn check(
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
        if question.protocol == Protocol::Http.into() && method == Method::Play {
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
