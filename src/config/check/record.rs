use std::path::Path;
use std::time::Duration;

use super::{DAY, SECOND, Section};
use crate::config::units::size;
use crate::config::{App, Config};

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

/// In the directory of recordings each folder is an app's: one of others in it would be taken for that, and
/// what is in there listed, and removed, as recordings of that app.
pub(super) fn check_places(config: &Config, at: &mut Section<'_>) {
    let places = || {
        let own = config.app.values().map(|app| &app.record_directory);
        own.chain([&config.app_defaults.record_directory]).filter(|place| !place.is_empty())
    };
    let outer = |place: &str| {
        let lies_in = |other: &&String| {
            Path::new(place) != Path::new(*other) && Path::new(place).starts_with(other)
        };
        places().find(lies_in)
    };
    let check = |app: &App, at: &mut Section<'_>| {
        if let Some(outer) = outer(&app.record_directory) {
            let found = &app.record_directory;
            at.require(false, "record_directory", || {
                format!("expected a path that does not lie in that of another app ({outer:?}), found {found:?}")
            });
        }
    };
    check(&config.app_defaults, &mut at.section("app_defaults"));
    for (name, app) in &config.app {
        if app.record_directory != config.app_defaults.record_directory {
            check(app, &mut at.section("app").section(name));
        }
    }
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
    fn a_directory_of_recordings_lies_in_no_other() {
        assert_eq!(complaints("/rec", "/rec/archive"), ["app.legal.record_directory"]);
        assert_eq!(complaints("/rec/all", "/rec/"), ["app_defaults.record_directory"]);
        for (defaults, own) in
            [("/rec", "/rec/"), ("/rec", "/recordings"), ("", "/rec"), ("/rec", "")]
        {
            assert!(complaints(defaults, own).is_empty(), "{defaults:?} {own:?}");
        }
    }
}
