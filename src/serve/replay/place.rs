use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::{App, Config, RecordFormat, RecordPath};

/// Where replays are, on the port of HTTP.
pub(crate) const PREFIX: &str = "/rec/";
/// The longest path below a directory of recordings, and the longest part of one, in bytes.
const PATH_BYTES_MAX: usize = 1024;
const PART_BYTES_MAX: usize = 255;

/// A file of a recording, by its path below the `record_directory` of its app: `live/cam1/….ts`. It
/// leads nowhere else by itself; where links lead is for whoever opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: String,
    format: RecordFormat,
}

impl Place {
    /// The place of `path`, which came from outside.
    ///
    /// # Errors
    /// What was expected, if there cannot be one.
    pub(crate) fn parse(path: &str) -> Result<Self, &'static str> {
        if path.len() > PATH_BYTES_MAX {
            return Err("a path of at most 1024 bytes");
        }
        let odd = |part: &str| {
            part.is_empty()
                || part.starts_with('.')
                || part.len() > PART_BYTES_MAX
                || part.contains(|c: char| c == '\\' || c.is_control())
        };
        if path.split('/').any(odd) {
            return Err(
                "a path as recordings have them, without empty parts, dots and backslashes",
            );
        }
        match RecordFormat::of_file(path).filter(|_| path.contains('/')) {
            Some(format) => Ok(Self { path: path.to_owned(), format }),
            None => Err("APP/… and a name that ends in .flv, .ts or .mp4"),
        }
    }

    /// Below the directory, with slashes.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The last part of it.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// What the file holds.
    pub(crate) fn format(&self) -> RecordFormat {
        self.format
    }

    /// What holds for files there; none if there can be no such app, or its files lie nowhere.
    pub(crate) fn app<'a>(&self, config: &'a Config) -> Option<&'a App> {
        let dir = self.dir();
        let named = config.app.iter().find(|(name, _)| RecordPath::dir_of(name) == dir);
        let app = match named {
            Some((_, app)) => app,
            None if config.strict_apps => return None,
            None => &config.app_defaults,
        };
        (!app.record_directory.is_empty()).then_some(app)
    }

    /// True if it lies where files of the app `name` do.
    pub(crate) fn is_of(&self, name: &str) -> bool {
        RecordPath::dir_of(name) == self.dir()
    }

    /// The path of its URL.
    pub(crate) fn url(&self) -> String {
        let parts: Vec<_> = self.path.split('/').map(in_url).collect();
        format!("{PREFIX}{}", parts.join("/"))
    }

    fn dir(&self) -> &str {
        self.path.split('/').next().unwrap_or(&self.path)
    }
}

/// A part of a path as a URL has it.
pub(crate) fn in_url(part: &str) -> String {
    const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(part, &PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn paths_of_recordings_are_places_and_have_urls() {
        let place = Place::parse("live/a%2Fb/2026-01-31/23-59-59-0000.ts").expect("a place");
        assert_eq!((place.format(), place.file_name()), (RecordFormat::Ts, "23-59-59-0000.ts"));
        assert_eq!(place.url(), "/rec/live/a%252Fb/2026-01-31/23-59-59-0000.ts");
        assert!(place.is_of("live") && !place.is_of("live2"));
    }

    #[test]
    fn what_leads_elsewhere_is_no_place() {
        let long = format!("live/{}.ts", "a/".repeat(600));
        let wide = format!("live/{}.ts", "a".repeat(260));
        for path in [
            "",
            "a.ts",
            "/etc/a.ts",
            "live//a.ts",
            "live/../a.ts",
            "live/./a.ts",
            "../live/a.ts",
            "live/..",
            "live/.a.ts",
            "live/.ts",
            "live/a\\..\\b.ts",
            "live/a\0.ts",
            "live/a\n.ts",
            "live/a.ts/",
            "live/a.ts.json",
            "live/a.ts.part",
            "live/a.TS",
            "live/ats",
            &long,
            &wide,
        ] {
            assert!(Place::parse(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_place_belongs_to_the_app_whose_directory_it_lies_in() {
        let app = |dir: &str| Arc::new(App { record_directory: dir.to_owned(), ..App::default() });
        let mut config = Config { app_defaults: app("all"), ..Config::default() };
        config.app.insert("a b".to_owned(), app("own"));
        config.app.insert("bare".to_owned(), app(""));
        let of = |config: &Config, path: &str| {
            let app = Place::parse(path).expect("a place").app(config).cloned();
            app.map(|app| app.record_directory)
        };
        assert_eq!(of(&config, "a%20b/c/1.ts").as_deref(), Some("own"));
        assert_eq!(of(&config, "live/c/1.ts").as_deref(), Some("all"));
        assert_eq!(of(&config, "bare/c/1.ts"), None);
        config.strict_apps = true;
        assert_eq!(of(&config, "live/c/1.ts"), None);
    }
}
