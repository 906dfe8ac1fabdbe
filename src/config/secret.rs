use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is never shown: not in a log, not in the effective configuration. Empty for none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, to compare with or to sign by.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { HIDDEN })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { HIDDEN })
    }
}

pub(super) const HIDDEN: &str = "(hidden)";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Its errors say nothing of what was found.
struct SecretVisitor;

impl SecretVisitor {
    fn not_text<T, E: Error>() -> Result<T, E> {
        Err(E::custom("expected a text in quotes, found something else"))
    }
}

impl Visitor<'_> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Secret, E> {
        if text == HIDDEN {
            // It is written in this very file, so everybody knows it.
            return Err(E::custom(format_args!(
                "expected the secret itself, found {HIDDEN}, which is shown in its place"
            )));
        }
        Ok(Secret(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Secret, E> {
        Self::not_text()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Secret, E> {
        Self::not_text()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Secret, E> {
        Self::not_text()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Secret, E> {
        Self::not_text()
    }
}
