use std::fmt;
use std::io::Read;

use serde::{Deserialize, Serialize, Serializer};

/// The path of a file with a public key, and what the file held when the configuration was read.
/// A reload reads it anew; a file that has changed makes a configuration that has changed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct KeyFile {
    path: String,
    text: String,
}

impl KeyFile {
    /// Empty for none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it held.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.path.is_empty()
    }

    /// Reads the file.
    pub(super) fn read(&mut self) -> std::io::Result<()> {
        self.text.clear();
        let file = std::fs::File::open(&self.path)?;
        file.take(BYTES_MAX).read_to_string(&mut self.text)?;
        Ok(())
    }
}

/// A key is some hundred bytes; what is longer is none.
const BYTES_MAX: u64 = 64 << 10;

impl From<String> for KeyFile {
    fn from(path: String) -> Self {
        Self { path, text: String::new() }
    }
}

impl Serialize for KeyFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.path)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}
