//! Signed URLs: `?exp=UNIX&sig=HEX`, and `&ip=1` if they are for one address alone.
//!
//! ```text
//! sig = HMAC-SHA256(sign_secret, METHOD \n KEY \n exp \n ADDRESS)
//! ```
//! No part can hold a line feed, so two different requests never give the same text.

use std::fmt;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Unproven, Wrong};
use crate::media::StreamKey;
use crate::proto::http::Query;

/// What a signature or a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// To publish.
    Publish,
    /// To play.
    Play,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "publish",
            Self::Play => "play",
        })
    }
}

/// Makes and checks signatures by one secret.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

/// Who wants what, and when.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    pub(super) key: &'a StreamKey,
    pub(super) address: IpAddr,
    pub(super) now: SystemTime,
}

impl Signer {
    /// Signs by `secret`.
    pub fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length"))
    }

    /// The query that lets `method` be done with `key` up to second `exp` after 1970, from
    /// `address` alone if there is one.
    pub fn query(
        &self,
        method: Method,
        key: &StreamKey,
        exp: u64,
        address: Option<IpAddr>,
    ) -> String {
        let bound = if address.is_some() { "&ip=1" } else { "" };
        format!("exp={exp}{bound}&sig={}", self.signature(method, key, exp, address))
    }

    fn signature(
        &self,
        method: Method,
        key: &StreamKey,
        exp: u64,
        address: Option<IpAddr>,
    ) -> String {
        let address = address.map(|address| address.to_canonical().to_string());
        let address = address.unwrap_or_default();
        let mut mac = self.0.clone();
        mac.update(format!("{method}\n{key}\n{exp}\n{address}").as_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn check(&self, query: &Query<'_>, request: &Request<'_>) -> Result<(), Unproven> {
        let Request { method, key, address, now } = *request;
        let (exp, sig) = match (query.get("exp"), query.get("sig")) {
            (Some(exp), Some(sig)) => (exp, sig),
            (None, None) => return Err(Unproven::Missing("exp=UNIX&sig=HEX (sign_secret)")),
            _ => return Err(Unproven::Wrong(Wrong::SignatureForm)),
        };
        let digits = !exp.is_empty() && exp.bytes().all(|byte| byte.is_ascii_digit());
        let (Some(until), 64) = (exp.parse::<u64>().ok().filter(|_| digits), sig.len()) else {
            return Err(Unproven::Wrong(Wrong::SignatureForm));
        };
        let address = (query.flag("ip") == Some(true)).then_some(address);
        let expected = self.signature(method, key, until, address);
        // The signature first: the time of one that is made up is worth no answer.
        if !bool::from(expected.as_bytes().ct_eq(sig.to_ascii_lowercase().as_bytes())) {
            return Err(Unproven::Wrong(Wrong::Signature { method, key: key.clone() }));
        }
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        if now > until {
            return Err(Unproven::Wrong(Wrong::SignatureExpired { until }));
        }
        Ok(())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn key(path: &str) -> StreamKey {
        StreamKey::parse(path).expect("a key")
    }

    fn check(
        query: &str,
        method: Method,
        path: &str,
        from: IpAddr,
        now: u64,
    ) -> Result<(), Unproven> {
        let now = UNIX_EPOCH + Duration::from_secs(now);
        let key = key(path);
        let request = Request { method, key: &key, address: from, now };
        Signer::new("a secret of the test").check(&Query::new(query), &request)
    }

    fn wrong(method: Method, path: &str) -> Result<(), Unproven> {
        Err(Unproven::Wrong(Wrong::Signature { method, key: key(path) }))
    }

    fn sign(method: Method, path: &str, exp: u64, address: Option<IpAddr>) -> String {
        Signer::new("a secret of the test").query(method, &key(path), exp, address)
    }

    #[test]
    fn a_signature_is_what_openssl_makes_of_the_documented_text() {
        // printf 'play\nlive/cam1\n1893456000\n' | openssl dgst -sha256 -hmac 'a secret of the test'
        let expected =
            "exp=1893456000&sig=ff8c47862ac0be909e7608501437779952a18c50b4ccc60bc85ba645841ddf0d";
        assert_eq!(sign(Method::Play, "live/cam1", 1_893_456_000, None), expected);
        // printf 'publish\nlive/cam1\n1893456000\n192.0.2.7' | openssl dgst -sha256 -hmac '…'
        let expected = "exp=1893456000&ip=1&sig=8b29eef1ecca45b10265e2d74514fe3c969965d05573eb52b79377d1ef3569e0";
        let mapped = "::ffff:192.0.2.7".parse().expect("an address");
        assert_eq!(sign(Method::Publish, "live/cam1", 1_893_456_000, Some(mapped)), expected);
    }

    #[test]
    fn a_signature_is_good_for_what_it_says_and_for_nothing_else() {
        let play = sign(Method::Play, "live/a", 1000, None);
        let check = |query: &str, method, path, now| check(query, method, path, ADDRESS, now);
        assert_eq!(check(&play, Method::Play, "live/a", 1000), Ok(()));
        assert_eq!(
            check(
                &play.to_ascii_uppercase().replace("EXP", "exp").replace("SIG", "sig"),
                Method::Play,
                "live/a",
                1000
            ),
            Ok(())
        );
        let publish = check(&play, Method::Publish, "live/a", 1000);
        assert_eq!(publish, wrong(Method::Publish, "live/a"));
        assert_eq!(check(&play, Method::Play, "live/b", 1000), wrong(Method::Play, "live/b"));
        let wrong = wrong(Method::Play, "live/a");
        assert_eq!(check(&play.replace("1000", "1001"), Method::Play, "live/a", 1000), wrong);
        assert_eq!(check(&format!("{play}&ip=1"), Method::Play, "live/a", 1000), wrong);
        let late = Err(Unproven::Wrong(Wrong::SignatureExpired { until: 1000 }));
        assert_eq!(check(&play, Method::Play, "live/a", 1001), late);
    }

    #[test]
    fn a_bound_signature_is_good_from_its_address_alone() {
        let other = "2001:db8::1".parse().expect("an address");
        for (own, other) in [(ADDRESS, other), (other, ADDRESS)] {
            let bound = sign(Method::Play, "live/a", 1000, Some(own));
            let check = |query: &str, from| check(query, Method::Play, "live/a", from, 0);
            assert_eq!(check(&bound, own), Ok(()));
            let wrong = wrong(Method::Play, "live/a");
            assert_eq!(check(&bound, other), wrong);
            assert_eq!(check(&bound.replace("&ip=1", ""), own), wrong);
            assert_eq!(check(&bound.replace("ip=1", "ip=0"), other), wrong);
        }
    }

    #[test]
    fn what_is_no_signature_is_told_from_none() {
        let check = |query: &str| check(query, Method::Play, "live/a", ADDRESS, 0);
        assert!(matches!(check(""), Err(Unproven::Missing(_))));
        assert!(matches!(check("key=1&token=2"), Err(Unproven::Missing(_))));
        let sig = "0".repeat(64);
        for bad in [
            "exp=1000".to_owned(),
            format!("sig={sig}"),
            format!("exp=&sig={sig}"),
            format!("exp=-1&sig={sig}"),
            format!("exp=+1&sig={sig}"),
            format!("exp=1e9&sig={sig}"),
            format!("exp=99999999999999999999999&sig={sig}"),
            format!("exp=1&sig={sig}0"),
            "exp=1&sig=".to_owned(),
        ] {
            assert_eq!(check(&bad), Err(Unproven::Wrong(Wrong::SignatureForm)), "{bad}");
        }
    }
}
