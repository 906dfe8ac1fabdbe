use std::time::Duration;

use super::{DAY, SECOND, Section};
use crate::config::units::size;
use crate::config::{App, Config, RecordPath};

/// What recordings go by.
pub(super) fn check(app: &App, at: &mut Section<'_>) {
    let place = !app.record_directory.is_empty();
    at.agree(place || !app.record, &["record", "record_directory"], || {
        "expected a record_directory, found none".to_owned()
    });
    at.require(!app.record_directory.contains('\0'), "record_directory", || {
        "expected a path, found a zero byte".to_owned()
    });
    if !app.record_rotate.is_zero() {
        at.time("record_rotate", app.record_rotate, SECOND, DAY);
    }
    if app.record_rotate_bytes > 0 {
        at.bytes("record_rotate_bytes", app.record_rotate_bytes, 64 << 10, usize::MAX);
    }
    if !app.record_keep.is_zero() {
        at.time("record_keep", app.record_keep, SECOND, Duration::MAX);
    }
    if app.record_keep_bytes > 0 {
        at.bytes("record_keep_bytes", app.record_keep_bytes, 64 << 10, usize::MAX);
    }
    at.time("record_sync", app.record_sync, Duration::from_millis(100), Duration::from_secs(60));
    at.bytes("record_buffer", app.record_buffer, 1 << 20, 1 << 30);
    let holds = !app.record || app.record_buffer >= app.block_bytes;
    at.agree(holds, &["record_buffer", "block_bytes"], || {
        let (least, found) = (size::show(app.block_bytes), size::show(app.record_buffer));
        format!("expected at least block_bytes ({least}), found {found}")
    });
}

/// In a directory of recordings each folder is an app's. What others keep in such a folder would be listed,
/// and removed, as recordings of that app.
pub(super) fn check_places(config: &Config, at: &mut Section<'_>) {
    let defaults = &config.app_defaults.record_directory;
    let own = config.app.iter().map(|(name, app)| (Some(name), &app.record_directory));
    let places: Vec<_> = [(None, defaults)].into_iter().chain(own).collect();
    let is_configured =
        |folder: &str| config.app.keys().any(|app| RecordPath::dir_of(app) == folder);
    // Whether recordings of `app` in `outer`, or of apps without settings, lie where `inner` is.
    let holds = |(app, outer): (Option<&String>, &str), inner: &str| {
        let folder = folder_towards(inner, outer);
        folder.is_some_and(|folder| match app {
            Some(app) => RecordPath::dir_of(app) == folder,
            None => !config.strict_apps && !is_configured(&folder),
        })
    };
    for (name, inner) in &places {
        let inherits = name.is_some() && *inner == defaults;
        let held = places.iter().find(|(app, outer)| holds((*app, outer), inner));
        let Some((app, outer)) = held.filter(|_| !inherits) else { continue };
        let whose = app.map_or("apps without settings".to_owned(), |app| format!("the app {app}"));
        let says = || {
            format!(
                "expected a path outside of the recordings of {whose} in {outer:?}, found {inner:?}"
            )
        };
        match name {
            None => at.section("app_defaults").require(false, "record_directory", says),
            Some(name) => at.section("app").section(name).require(false, "record_directory", says),
        }
    }
}

/// The folder of `outer` in which `inner` lies, if it lies there.
fn folder_towards(inner: &str, outer: &str) -> Option<String> {
    // Err: an empty path, which is none.
    let [inner, outer] = [inner, outer].map(|place| std::path::absolute(place).ok());
    let below = inner?.strip_prefix(outer?).ok()?.components().next()?.as_os_str().to_owned();
    below.into_string().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::check::check as check_all;

    fn complaints(defaults: &str, own: &str) -> Vec<String> {
        let app =
            |place: &str| Arc::new(App { record_directory: place.to_owned(), ..App::default() });
        let mut config = Config { app_defaults: app(defaults), ..Config::default() };
        config.app.insert("legal".to_owned(), app(own));
        let mut found = Vec::new();
        check_all(&config, |keys, _| found.extend(keys.iter().map(|key| key.join("."))));
        found
    }

    #[test]
    fn a_directory_of_recordings_lies_where_no_other_app_has_its_own() {
        assert_eq!(complaints("/rec", "/rec/archive"), ["app.legal.record_directory"]);
        assert_eq!(complaints("rec", "./rec/archive"), ["app.legal.record_directory"]);
        assert_eq!(complaints("/rec/legal/x", "/rec"), ["app_defaults.record_directory"]);
        for (defaults, own) in [
            ("/rec", "/rec/"),
            ("/rec", "/rec/legal"),
            ("/rec/all", "/rec"),
            ("/rec", "/recordings"),
            ("", "/rec"),
            ("/rec", ""),
        ] {
            assert!(complaints(defaults, own).is_empty(), "{defaults:?} {own:?}");
        }
    }
}
