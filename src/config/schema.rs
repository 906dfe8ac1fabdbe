use toml::{Table, Value};

use super::tree::Config;

/// A key's path: its names from the root on.
pub(super) type KeyPath = Vec<String>;

/// Which keys there are: the default tree, as every key has a default.
pub(super) struct Schema(Table);

impl Default for Schema {
    fn default() -> Self {
        let mut table = Table::try_from(Config::default()).expect("a tree of plain values");
        table.insert("app".to_owned(), Value::Table(Table::new()));
        Self(table)
    }
}

impl Schema {
    /// The default of a key, or why there is no such key.
    pub(super) fn leaf(&self, key: &[String]) -> Result<&Value, String> {
        let mut table = &self.0;
        for (depth, name) in key.iter().enumerate() {
            if depth == 0 && name == "app" {
                return match key {
                    [_, _, rest @ ..] if !rest.is_empty() => {
                        self.leaf(&[&["app_defaults".to_owned()], rest].concat())
                    }
                    _ => Err("expected a key of an app, app.NAME.KEY".to_owned()),
                };
            }
            match table.get(name) {
                None => return Err(self.advice(name, table, depth + 1 < key.len())),
                Some(Value::Table(inner)) => table = inner,
                Some(leaf) if depth + 1 == key.len() => return Ok(leaf),
                Some(_) => return Err(format!("{name} is one value, with no keys below")),
            }
        }
        Err(format!("expected one of its keys: {}", names(table)))
    }

    /// The keys of `table` that there are not, each with what would be right.
    pub(super) fn unknown(
        &self,
        table: &Table,
        at: &mut KeyPath,
        found: &mut Vec<(KeyPath, String)>,
    ) {
        for (name, value) in table {
            at.push(name.clone());
            let app = (at[0] == "app").then_some(at.len());
            let like = match app {
                Some(1 | 2) => Some(&self.0["app_defaults"]),
                _ => self.siblings(at).get(name),
            };
            match (like, value) {
                (None, _) => {
                    let advice = self.advice(name, self.siblings(at), value.is_table());
                    found.push((at.clone(), advice));
                }
                (Some(Value::Table(_)), Value::Table(inner)) => match app {
                    Some(2) if !is_app_name(name) => found.push((
                        at.clone(),
                        "expected an app's name without slashes, control characters, `.` or `..`"
                            .to_owned(),
                    )),
                    _ => self.unknown(inner, at, found),
                },
                (Some(Value::Table(_)), other) => {
                    let kind = other.type_str();
                    found.push((at.clone(), format!("expected a table, found {kind} {other}")));
                }
                (Some(_), _) => {}
            }
            at.pop();
        }
    }

    /// The table in which the last name of `key` must stand.
    fn siblings(&self, key: &[String]) -> &Table {
        let table = match key {
            [app, _, _] if app == "app" => self.0.get("app_defaults"),
            [section, _] => self.0.get(section),
            _ => None,
        };
        table.and_then(Value::as_table).unwrap_or(&self.0)
    }

    /// `is_section`: keys stand below it.
    fn advice(&self, name: &str, siblings: &Table, is_section: bool) -> String {
        // Not each group of settings is a section: [hls] is app_defaults.hls_….
        let prefix = format!("{name}_");
        let own = self.0["app_defaults"].as_table();
        let own = own.into_iter().flat_map(Table::keys).filter(|key| key.starts_with(&prefix));
        let own: Vec<_> = own.map(String::as_str).collect();
        if is_section && !own.is_empty() {
            return format!("no such section; in [app_defaults] there are {}", own.join(", "));
        }
        let has = |section: &Value| section.as_table().is_some_and(|keys| keys.contains_key(name));
        if let Some((section, _)) = self.0.iter().find(|(_, section)| has(section)) {
            return format!("unknown key here; it belongs in [{section}]");
        }
        let near = |known: &&String| strsim::damerau_levenshtein(known, name) <= 1 + name.len() / 4;
        let nearest = siblings
            .keys()
            .filter(near)
            .min_by_key(|known| strsim::damerau_levenshtein(known, name));
        if let Some(nearest) = nearest {
            return format!("unknown key; did you mean {nearest}?");
        }
        format!("unknown key; expected one of {}", names(siblings))
    }
}

fn names(table: &Table) -> String {
    table.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Whether a stream key could start with it.
fn is_app_name(name: &str) -> bool {
    !name.is_empty()
        && name != "."
        && name != ".."
        && name.len() <= 256
        && !name.contains(|c: char| c == '/' || c.is_control())
}
