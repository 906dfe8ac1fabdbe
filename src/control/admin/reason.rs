use std::fmt;

use serde::Deserialize;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// Why an operator does something, as it is told to whom it is done, and logged: on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Reason(String);

/// Characters at most.
const LENGTH_MAX: usize = 200;

impl TryFrom<String> for Reason {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = text.trim();
        match text.chars().count() > LENGTH_MAX || text.contains(char::is_control) {
            true => {
                Err(format!("expected at most {LENGTH_MAX} characters, and none that controls"))
            }
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            "" => f.write_str("by the operator"),
            reason => f.write_str(reason),
        }
    }
}

/// How it is described.
pub(super) fn schema() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).max_length(Some(LENGTH_MAX));
    text.pattern(Some(r"^[^\x00-\x1f\x7f-\x9f]*$")).build().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_stands_on_one_line_and_is_never_empty() {
        let reason =
            |text: &str| Reason::try_from(text.to_owned()).map(|reason| reason.to_string());
        assert_eq!(reason(" too loud "), Ok("too loud".to_owned()));
        assert_eq!(reason(" "), Ok("by the operator".to_owned()));
        assert!(reason(&"é".repeat(200)).is_ok() && reason(&"é".repeat(201)).is_err());
        assert!(reason("a\nb").is_err() && reason("a\u{85}b").is_err());
    }
}
