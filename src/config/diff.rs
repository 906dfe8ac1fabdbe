use toml::{Table, Value};

use super::load::{KeyPath, show};
use super::secret::HIDDEN;
use super::tree::Config;

impl Config {
    /// The keys whose values are others in `new`, in the order of their names. An app that comes or
    /// goes is named as a whole.
    ///
    /// Of secrets nobody is shown more than that they changed; if several could have, all are named.
    pub fn changed(&self, new: &Self) -> Vec<String> {
        if self == new {
            return Vec::new();
        }
        let [before, after] = [self, new].map(|config| {
            Table::try_from(config).expect("strings, numbers and tables with string keys only")
        });
        let mut found = Found::default();
        found.compare(&before, &after, &mut Vec::new());
        let secret_of = |key: &KeyPath| match &key[..] {
            [section, _] if section == "admin" => self.admin.token != new.admin.token,
            [section, name, ..] if section == "app" => {
                self.app.get(name) != new.app.get(name) && !found.within(&key[..2])
            }
            [section, ..] => !found.within(std::slice::from_ref(section)) && found.keys.is_empty(),
            [] => false,
        };
        let secrets = found.hidden.iter().filter(|key| secret_of(key)).cloned();
        let mut keys: Vec<KeyPath> = found.keys.iter().cloned().chain(secrets).collect();
        keys.sort();
        keys.iter().map(|key| show(key)).collect()
    }
}

#[derive(Default)]
struct Found {
    keys: Vec<KeyPath>,
    /// Set in both; whether they are the same is not to be seen.
    hidden: Vec<KeyPath>,
}

impl Found {
    fn compare(&mut self, before: &Table, after: &Table, at: &mut KeyPath) {
        let added = after.keys().filter(|name| !before.contains_key(*name));
        for name in before.keys().chain(added) {
            at.push(name.clone());
            match (before.get(name), after.get(name)) {
                (Some(Value::Table(before)), Some(Value::Table(after))) => {
                    self.compare(before, after, at);
                }
                // No app at all is no table: the apps of the other are named one by one.
                (Some(Value::Table(apps)), None) | (None, Some(Value::Table(apps)))
                    if at.len() == 1 =>
                {
                    self.keys.extend(apps.keys().map(|app| vec![name.clone(), app.clone()]));
                }
                (Some(before), Some(after)) if before == after => {
                    if before.as_str() == Some(HIDDEN) {
                        self.hidden.push(at.clone());
                    }
                }
                _ => self.keys.push(at.clone()),
            }
            at.pop();
        }
    }

    fn within(&self, path: &[String]) -> bool {
        self.keys.iter().any(|key| key.starts_with(path))
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
    fn a_secret_that_changes_is_named_and_not_shown() {
        let token = |token: &str| format!("admin.token = '{token}'\nadmin.allow_origin = []");
        let (one, other) = (token("0123456789abcdef"), token("abcdef0123456789"));
        assert_eq!(changed(&one, &other), ["admin.token"]);
        assert!(changed(&one, &one).is_empty());
        let and_more = other.replace("[]", "['https://a.example']");
        assert_eq!(changed(&one, &and_more), ["admin.allow_origin", "admin.token"]);
        assert_eq!(changed("", &one), ["admin.token"]);
    }
}
