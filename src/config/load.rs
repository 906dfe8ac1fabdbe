use std::collections::HashMap;
use std::sync::Arc;

use serde_path_to_error::Segment;
use toml::de::{DeArray, DeTable, DeValue};
use toml::{Table, Value};

use super::check::check;
use super::env;
use super::error::{ConfigError, Origin, Problem};
use super::schema::{KeyPath, Schema};
use super::tree::Config;

impl Config {
    /// Reads a configuration from the text of a TOML file, overridden by `CORECAST_…` variables of
    /// `env`, and checks it. `path` is the file's name in errors; other variables are ignored.
    ///
    /// The files with keys that it names are read too.
    ///
    /// A variable names a key in capitals, with two underscores where the file has a dot:
    /// `CORECAST_RTMP__CHUNK_SIZE=4096`. Its value is written as in the file; quotes around text
    /// may be left out, and a list may be written with commas.
    ///
    /// # Errors
    /// All problems found, each with its place.
    pub fn load(
        text: &str,
        path: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut reading = Reading { path, ..Reading::default() };
        reading.parse(text)?;
        reading.override_by(env);
        reading.refuse_unknown();
        let config = reading.deserialize();
        if reading.problems.is_empty() {
            let mut config = config.expect("there is a problem if there is no tree");
            reading.read_key_files(&mut config);
            if reading.problems.is_empty() {
                check(&config, |keys, message| reading.complain_value(keys, message));
            }
            if reading.problems.is_empty() {
                return Ok(config);
            }
        }
        let mut problems = reading.problems;
        problems.sort_by_key(|problem| match problem.origin {
            Some(Origin::File { line, column, .. }) => (line, column),
            _ => (usize::MAX, 0),
        });
        Err(ConfigError { problems })
    }
}

#[derive(Default)]
struct Reading<'a> {
    path: &'a str,
    table: Table,
    places: HashMap<KeyPath, Place>,
    schema: Schema,
    problems: Vec<Problem>,
}

/// Where a key and its value stand.
struct Place {
    key: Origin,
    value: Origin,
}

impl Reading<'_> {
    fn parse(&mut self, text: &str) -> Result<(), ConfigError> {
        let syntax = |error: &toml::de::Error| {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().replace('\n', ", ");
            let origin = Some(place(self.path, text, offset));
            ConfigError { problems: vec![Problem { origin, key: String::new(), message }] }
        };
        let document = DeTable::parse(text).map_err(|error| syntax(&error))?;
        self.table = text.parse().map_err(|error| syntax(&error))?;
        self.note_places(text, document.get_ref(), &mut Vec::new());
        Ok(())
    }

    fn note_places(&mut self, text: &str, table: &DeTable<'_>, at: &mut KeyPath) {
        for (key, value) in table {
            at.push(key.get_ref().to_string());
            let place = Place {
                key: place(self.path, text, key.span().start),
                value: place(self.path, text, value.span().start),
            };
            self.places.insert(at.clone(), place);
            match value.get_ref() {
                DeValue::Table(table) => self.note_places(text, table, at),
                DeValue::Array(list) => self.note_places_of_list(text, list, at),
                _ => {}
            }
            at.pop();
        }
    }

    /// Tables in a list stand at its key and their number, from 0 on.
    fn note_places_of_list(&mut self, text: &str, list: &DeArray<'_>, at: &mut KeyPath) {
        for (number, entry) in list.iter().enumerate() {
            let DeValue::Table(table) = entry.get_ref() else { continue };
            at.push(number.to_string());
            let origin = place(self.path, text, entry.span().start);
            self.places.insert(at.clone(), Place { key: origin.clone(), value: origin });
            self.note_places(text, table, at);
            at.pop();
        }
    }

    fn override_by(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in env {
            let Some(key) = env::key(&name, self.table.get("app")) else { continue };
            let origin = Origin::Variable(name);
            match self.schema.leaf(&key) {
                Ok(like) => {
                    set(&mut self.table, &key, env::value(&text, like));
                    // What stood below it in the file is no more.
                    self.places.retain(|known, _| !known.starts_with(&key));
                    self.places.insert(key, Place { key: origin.clone(), value: origin });
                }
                Err(message) => {
                    let key = show(&key);
                    self.problems.push(Problem { origin: Some(origin), key, message });
                }
            }
        }
    }

    /// Takes out of the table what the schema does not have.
    fn refuse_unknown(&mut self) {
        let mut unknown = Vec::new();
        self.schema.unknown(&self.table, &mut Vec::new(), &mut unknown);
        for (key, message) in unknown {
            remove(&mut self.table, &key);
            let origin = self.places.get(&key).map(|place| place.key.clone());
            self.problems.push(Problem { origin, key: show(&key), message });
        }
    }

    /// The typed tree. Each value that does not fit is noted and taken out of the table, so that
    /// all of them are found.
    fn deserialize(&mut self) -> Option<Config> {
        loop {
            let error = match typed(&self.table) {
                Ok(_) => break,
                Err(error) => error,
            };
            let names = error.path().iter().filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                _ => None,
            });
            let key: KeyPath = names.collect();
            let places = error.path().iter().filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                _ => None,
            });
            let place: KeyPath = places.collect();
            let mut message = reword(error.inner().message());
            if let Ok(default) = self.schema.leaf(&key).map(ToString::to_string)
                && !message.starts_with("missing field")
            {
                message = format!("{message} (the default is {default})");
            }
            let of_table = place[..place.len().saturating_sub(1)].to_vec();
            self.complain_value(&[key.clone(), place, of_table], message);
            if !remove(&mut self.table, &key) {
                return None;
            }
        }
        let defaults = self.table.get("app_defaults").and_then(Value::as_table).cloned();
        if let Some(Value::Table(apps)) = self.table.get_mut("app") {
            for app in apps.iter_mut().filter_map(|(_, app)| app.as_table_mut()) {
                for (key, value) in defaults.iter().flatten() {
                    app.entry(key.as_str()).or_insert_with(|| value.clone());
                }
            }
        }
        typed(&self.table).ok()
    }

    fn read_key_files(&mut self, config: &mut Config) {
        let defaults = (vec!["app_defaults".to_owned()], &mut config.app_defaults);
        let apps = config.app.iter_mut();
        let apps = apps.map(|(name, app)| (vec!["app".to_owned(), name.clone()], app));
        for (mut key, app) in std::iter::once(defaults).chain(apps) {
            if app.jwt_key_file.is_empty() {
                continue;
            }
            if let Err(error) = Arc::make_mut(app).jwt_key_file.read() {
                key.push("jwt_key_file".to_owned());
                let path = app.jwt_key_file.path();
                let message = format!("expected a file that can be read, found {path}: {error}");
                self.complain_value(&[key], message);
            }
        }
    }

    /// Notes a problem with the value of `keys[0]`, at the first of `keys` that was set: two values
    /// that disagree may both be of the file, or one be a default.
    fn complain_value(&mut self, keys: &[KeyPath], message: String) {
        let key = show(&keys[0]);
        let inherited = keys.iter().filter_map(inherited).collect::<Vec<_>>();
        let said = inherited.first().map(|key| show(key));
        let known =
            |problem: &Problem| problem.message == message && Some(&problem.key) == said.as_ref();
        if self.problems.iter().any(known) {
            return;
        }
        // A list of tables has one place.
        let lists = keys.iter().map(|key| key[..key.len().saturating_sub(1)].to_vec());
        let lists: Vec<_> =
            lists.filter(|key| matches!(self.schema.leaf(key), Ok(Value::Array(_)))).collect();
        let mut known = keys.iter().chain(&inherited).chain(&lists);
        let place = known.find_map(|key| self.places.get(key));
        let origin = place.map(|place| place.value.clone());
        self.problems.push(Problem { origin, key, message });
    }
}

/// Where an app has a key from that it does not set itself.
fn inherited(key: &KeyPath) -> Option<KeyPath> {
    match &key[..] {
        [app, _, rest @ ..] if app == "app" => Some([&["app_defaults".to_owned()], rest].concat()),
        _ => None,
    }
}

fn typed(table: &Table) -> Result<Config, serde_path_to_error::Error<toml::de::Error>> {
    serde_path_to_error::deserialize(Value::Table(table.clone()))
}

/// serde's words in our order: what is expected, then what was found.
fn reword(message: &str) -> String {
    let found = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .or_else(|| message.strip_prefix("unknown variant "));
    let Some((found, expected)) = found.and_then(|rest| rest.split_once(", expected ")) else {
        return message.to_owned();
    };
    let expected = match expected {
        "u32" | "u64" | "usize" => "a whole number, not negative",
        "a boolean" => "true or false",
        other => other,
    };
    format!("expected {expected}, found {found}")
}

fn place(path: &str, text: &str, offset: usize) -> Origin {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Origin::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// A path as the file would write it.
pub(super) fn show(key: &[String]) -> String {
    let bare = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        !name.is_empty() && name.chars().all(plain)
    };
    let names = key.iter().map(|name| match bare(name) {
        true => name.clone(),
        false => format!("{name:?}"),
    });
    names.collect::<Vec<_>>().join(".")
}

pub(super) fn set(table: &mut Table, key: &[String], value: Value) {
    match key {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.as_str()).or_insert_with(|| Value::Table(Table::new()));
            // Something else in a table's place is an error of its own, of the file.
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn remove(table: &mut Table, key: &[String]) -> bool {
    match key {
        [] => false,
        [last] => table.remove(last).is_some(),
        [first, rest @ ..] => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove(inner, rest),
            _ => false,
        },
    }
}
