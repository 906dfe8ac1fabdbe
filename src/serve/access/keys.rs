use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Unproven, Wrong};
use crate::config::Secret;
use crate::proto::http::Query;

/// The keys that publishers may have. Digests of them are compared, all of them each time, so that
/// the time it takes tells neither how much of a key is right nor which it is.
#[derive(Debug)]
pub(super) struct Keys(Box<[[u8; 32]]>);

impl Keys {
    pub(super) fn new(keys: &[Secret]) -> Option<Self> {
        let digests = keys.iter().map(|key| digest(key.reveal())).collect();
        (!keys.is_empty()).then_some(Self(digests))
    }

    pub(super) fn check(&self, query: &Query<'_>) -> Result<(), Unproven> {
        let Some(offered) = query.get("key") else {
            return Err(Unproven::Missing("key=KEY (publish_keys)"));
        };
        let offered = digest(&offered);
        let any = self.0.iter().fold(Choice::from(0), |any, key| any | key.ct_eq(&offered));
        bool::from(any).then_some(()).ok_or(Unproven::Wrong(Wrong::Key))
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
