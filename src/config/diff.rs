use toml::{Table, Value};

use super::app::App;
use super::hooks::Hook;
use super::load::{set, show};
use super::schema::KeyPath;
use super::tree::Config;

impl Config {
    /// The keys whose values are others in `new`, in the order of their names. An app that comes or
    /// goes is named as a whole. A file of keys that holds another one counts as another value.
    pub fn changed(&self, new: &Self) -> Vec<String> {
        if self == new {
            return Vec::new();
        }
        let mut found = Vec::new();
        compare(&revealed(self), &revealed(new), &mut Vec::new(), &mut found);
        found.sort();
        found.iter().map(|key| show(key)).collect()
    }
}

/// Every key with its value, those that are never shown included: to compare, and for nobody's eyes.
fn revealed(config: &Config) -> Table {
    let mut table =
        Table::try_from(config).expect("strings, numbers and tables with string keys only");
    let mut put = |at: &[&str], key: &str, value: Value| {
        let key: KeyPath = at.iter().chain([&key]).map(|name| (*name).to_owned()).collect();
        set(&mut table, &key, value);
    };
    put(&["admin"], "token", config.admin.token.reveal().into());
    put(&["hooks"], "secret", config.hooks.secret.reveal().into());
    for hook in Hook::ALL {
        put(&["hooks"], hook.key(), config.hooks.url(hook).unwrap_or_default().into());
    }
    let mut put_app = |at: &[&str], app: &App| {
        let keys: Vec<&str> = app.publish_keys.iter().map(|key| key.reveal()).collect();
        put(at, "publish_keys", keys.into());
        put(at, "sign_secret", app.sign_secret.reveal().into());
        put(at, "jwt_secret", app.jwt_secret.reveal().into());
        let file = &app.jwt_key_file;
        put(at, "jwt_key_file", vec![file.path(), file.text()].into());
    };
    put_app(&["app_defaults"], &config.app_defaults);
    for (name, app) in &config.app {
        put_app(&["app", name], app);
    }
    table
}

fn compare(before: &Table, after: &Table, at: &mut KeyPath, found: &mut Vec<KeyPath>) {
    let added = after.keys().filter(|name| !before.contains_key(*name));
    for name in before.keys().chain(added) {
        at.push(name.clone());
        match (before.get(name), after.get(name)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => {
                compare(before, after, at, found);
            }
            // No app at all is no table: the apps of the other are named one by one.
            (Some(Value::Table(apps)), None) | (None, Some(Value::Table(apps)))
                if at.len() == 1 =>
            {
                found.extend(apps.keys().map(|app| vec![name.clone(), app.clone()]));
            }
            (before, after) if before == after => {}
            _ => found.push(at.clone()),
        }
        at.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &str, after: &str) -> Vec<String> {
        let [before, after] =
            [before, after].map(|text| Config::load(text, "test", []).expect("valid"));
        before.changed(&after)
    }

    #[test]
    fn keys_are_named_and_apps_that_come_and_go() {
        assert!(changed("", "rtmp.chunk_size = 60000").is_empty());
        assert_eq!(
            changed(
                "log.level = 'warn'\napp.a.gop_cache = false\napp.'b c'.publish = false",
                "cores = 1\nhttp.listen = ['127.0.0.1:9']\napp.a.gop_cache = true\napp.d.play = true"
            ),
            ["app.a.gop_cache", "app.\"b c\"", "app.d", "cores", "http.listen", "log.level"]
        );
        assert_eq!(changed("", "app.a.play = true"), ["app.a"]);
        let inherited = changed(
            "app.a.merge_window = '50ms'\napp.b.play = true",
            "app_defaults.merge_window = '10ms'\napp.a.merge_window = '50ms'\napp.b.play = true",
        );
        assert_eq!(inherited, ["app.b.merge_window", "app_defaults.merge_window"]);
    }

    #[test]
    fn a_secret_that_changes_is_named_and_no_other() {
        const ONE: &str = "0123456789abcdef";
        const OTHER: &str = "fedcba9876543210";
        let secrets = [
            ("admin.token", "'SECRET'"),
            ("app.a.jwt_secret", "'SECRET'"),
            ("app.a.publish_keys", "['SECRET', 'a key that stays']"),
            ("app.a.sign_secret", "'SECRET'"),
            ("app_defaults.jwt_secret", "'SECRET'"),
            ("app_defaults.publish_keys", "['SECRET']"),
            ("app_defaults.sign_secret", "'SECRET'"),
            ("hooks.on_publish", "'http://127.0.0.1/?token=SECRET'"),
            ("hooks.secret", "'SECRET'"),
        ];
        // All are set, and beside one another key is changed as well.
        let text = |other: Option<&str>, level: &str| {
            let lines = secrets.iter().map(|(key, value)| {
                let secret = if Some(*key) == other { OTHER } else { ONE };
                format!("{key} = {}\n", value.replace("SECRET", secret))
            });
            format!("log.level = '{level}'\n{}", lines.collect::<String>())
        };
        let before = text(None, "info");
        assert!(changed(&before, &before).is_empty());
        for (key, _) in secrets {
            assert_eq!(changed(&before, &text(Some(key), "info")), [key]);
            let mut both = [key, "log.level"];
            both.sort_unstable();
            assert_eq!(changed(&before, &text(Some(key), "warn")), both);
            assert!(changed("", &text(Some(key), "info")).contains(&app_of(key)), "{key}");
        }
    }

    /// An app that comes is named as a whole.
    fn app_of(key: &str) -> String {
        if key.starts_with("app.a.") { "app.a".to_owned() } else { key.to_owned() }
    }

    /// Of each key that takes any text, so that none which is hidden is forgotten.
    #[test]
    fn no_text_changes_unnoticed() {
        let mut noticed = Vec::new();
        for (section, keys) in Table::try_from(Config::default()).expect("a table") {
            for key in keys.as_table().into_iter().flat_map(Table::keys) {
                let key = format!("{section}.{key}");
                for value in ["'TEXT'", "['TEXT']", "'http://127.0.0.1/?token=TEXT'"] {
                    let [before, after] = ["a-text-of-the-test", "another-of-the-test"]
                        .map(|text| format!("{key} = {}", value.replace("TEXT", text)))
                        .map(|text| Config::load(&text, "test", []));
                    if let (Ok(before), Ok(after)) = (before, after) {
                        assert_eq!(before.changed(&after), [key.as_str()], "{value}");
                        noticed.push(key.clone());
                    }
                }
            }
        }
        for key in ["admin.token", "app_defaults.publish_keys", "hooks.on_stats", "hooks.secret"] {
            assert!(noticed.iter().any(|noticed| noticed == key), "{key} of {noticed:?}");
        }
    }

    #[test]
    fn another_key_in_the_same_file_is_a_change() {
        let file = std::env::temp_dir().join(format!("corecast-diff-{}.pem", std::process::id()));
        let line = format!("app.a.jwt_key_file = {:?}", file.to_str().expect("text"));
        let [before, after] = ["rsa", "ec"].map(|kind| {
            let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys");
            std::fs::copy(format!("{keys}/{kind}.pub.pem"), &file).expect("room for it");
            Config::load(&line, "test", []).expect("a key")
        });
        std::fs::remove_file(&file).expect("ours");
        assert_eq!(before.changed(&after), ["app.a.jwt_key_file"]);
    }
}
