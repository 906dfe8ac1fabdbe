use std::fmt;
use std::sync::Arc;

/// `app/name`, the name of a stream. A name may hold slashes; query parameters are not part of it.
///
/// The app always ends at the first slash, however the protocol cut the two apart: RTMP's app
/// `live/a` with name `b` and HTTP's path `live/a/b` are the same stream.
///
/// Cheap to clone, and safe to log: no control characters, at most [`StreamKey::MAX_BYTES`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    text: Arc<str>,
    app_len: u16,
}

/// Why a text cannot be a stream key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// The app is empty.
    #[error("stream key: expected an app (app/name), found none")]
    NoApp,
    /// The name is empty.
    #[error("stream key: expected a stream name (app/name), found none")]
    NoName,
    /// Longer than [`StreamKey::MAX_BYTES`].
    #[error("stream key: expected at most {max} bytes, found {found}")]
    TooLong {
        /// The limit.
        max: usize,
        /// Bytes found.
        found: usize,
    },
    /// A character that could forge a log line or escape a path.
    #[error(
        "stream key: expected no control character and no `.` or `..` between slashes, found {found:?}"
    )]
    Forbidden {
        /// What was found.
        found: String,
    },
}

impl StreamKey {
    /// The longest key, both parts and the slash between them.
    pub const MAX_BYTES: usize = 512;

    /// A key of its two parts. Slashes around `app` and `name` are cut off.
    pub fn new(app: &str, name: &str) -> Result<Self, InvalidKey> {
        let (app, name) = (app.trim_matches('/'), name.trim_matches('/'));
        if app.is_empty() {
            return Err(InvalidKey::NoApp);
        }
        if name.is_empty() {
            return Err(InvalidKey::NoName);
        }
        let found = app.len() + 1 + name.len();
        if found > Self::MAX_BYTES {
            return Err(InvalidKey::TooLong { max: Self::MAX_BYTES, found });
        }
        let forbidden = |part: &str| part == "." || part == ".." || part.contains(char::is_control);
        if let Some(part) = app.split('/').chain(name.split('/')).find(|part| forbidden(part)) {
            return Err(InvalidKey::Forbidden { found: part.to_owned() });
        }
        let app_len = app.find('/').unwrap_or(app.len());
        let app_len = u16::try_from(app_len).expect("at most MAX_BYTES");
        Ok(Self { text: format!("{app}/{name}").into(), app_len })
    }

    /// A key of a path `app/name`, split at its first slash.
    pub fn parse(path: &str) -> Result<Self, InvalidKey> {
        let path = path.trim_start_matches('/');
        let (app, name) = path.split_once('/').unwrap_or((path, ""));
        Self::new(app, name)
    }

    /// The app: what stands before the first slash.
    pub fn app(&self) -> &str {
        &self.text[..usize::from(self.app_len)]
    }

    /// The name: what stands after it.
    pub fn name(&self) -> &str {
        &self.text[usize::from(self.app_len) + 1..]
    }

    /// Both parts with a slash between.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_slashes() {
        let key = StreamKey::parse("/live/a/b").expect("valid");
        assert_eq!((key.app(), key.name(), key.as_str()), ("live", "a/b", "live/a/b"));
    }

    #[test]
    fn the_app_ends_at_the_first_slash_however_it_was_cut() {
        assert_eq!(StreamKey::new("live/a", "b"), StreamKey::new("live", "a/b"));
    }

    #[test]
    fn empty_parts_are_refused_by_name() {
        assert_eq!(StreamKey::parse("live"), Err(InvalidKey::NoName));
        assert_eq!(StreamKey::new("", "x"), Err(InvalidKey::NoApp));
        assert_eq!(StreamKey::new("live", "//"), Err(InvalidKey::NoName));
    }

    #[test]
    fn control_characters_and_dot_segments_are_refused() {
        for bad in ["live/a\nb", "live/..", "live/a/../b", "live/\u{85}"] {
            assert!(matches!(StreamKey::parse(bad), Err(InvalidKey::Forbidden { .. })), "{bad:?}");
        }
    }

    #[test]
    fn the_longest_key_fits_and_one_more_does_not() {
        let name = "n".repeat(StreamKey::MAX_BYTES - 2);
        assert!(StreamKey::new("a", &name).is_ok());
        assert!(matches!(StreamKey::new("ab", &name), Err(InvalidKey::TooLong { .. })));
    }
}
