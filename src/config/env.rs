use toml::{Table, Value};

use super::schema::KeyPath;

/// The key that a variable overrides; `None` for a variable that is none of ours.
///
/// Variables have capitals only, so an app is found among `apps` whatever its case.
pub(super) fn key(name: &str, apps: Option<&Value>) -> Option<KeyPath> {
    let name = name.strip_prefix("CORECAST_")?;
    if is_service_link(name) {
        return None;
    }
    let mut key: KeyPath = name.to_lowercase().split("__").map(str::to_owned).collect();
    if let [app, name, ..] = &mut key[..]
        && app == "app"
        && let Some(Value::Table(apps)) = apps
        && let Some(known) = apps.keys().find(|known| known.to_lowercase() == *name)
    {
        name.clone_from(known);
    }
    Some(key)
}

/// Kubernetes sets CORECAST_SERVICE_HOST, CORECAST_PORT_1935_TCP and the like in every pod beside
/// a service called "corecast…". They are no keys, and must not keep us from starting.
fn is_service_link(name: &str) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let service =
        words.windows(2).any(|two| two == ["SERVICE", "HOST"] || two == ["SERVICE", "PORT"]);
    !name.contains("__") && (service || words.contains(&"PORT"))
}

/// A variable's text as a value for a key whose default is `like`: as TOML if it is that, else a
/// list with commas, else plain text.
pub(super) fn value(text: &str, like: &Value) -> Value {
    let toml = |text: &str| {
        let mut table = format!("value = {text}").parse::<Table>().ok()?;
        table.remove("value").filter(|_| table.is_empty())
    };
    if let Some(value) = toml(text)
        && (like.is_array() <= value.is_array())
    {
        return value;
    }
    if like.is_array() {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        return parts.map(|part| Value::String(part.to_owned())).collect::<Vec<_>>().into();
    }
    toml(&format!("[{text}]"))
        .filter(|_| text.contains(','))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Value {
        Value::String(String::new())
    }

    #[test]
    fn two_underscores_are_a_dot() {
        let path = key("CORECAST_APP_DEFAULTS__MERGE_WINDOW", None).expect("ours");
        assert_eq!(path, ["app_defaults", "merge_window"]);
    }

    #[test]
    fn foreign_variables_and_service_links_are_ignored() {
        for name in [
            "PATH",
            "CORECAST_SERVICE_HOST",
            "CORECAST_SERVICE_PORT_RTMP",
            "CORECAST_PORT",
            "CORECAST_PORT_1935_TCP_ADDR",
            "CORECAST_MEDIA_SERVICE_HOST",
            "CORECAST_MEDIA_PORT",
        ] {
            assert_eq!(key(name, None), None, "{name}");
        }
    }

    #[test]
    fn values_need_no_quotes_and_lists_no_brackets() {
        assert_eq!(value("100ms", &text()), Value::String("100ms".into()));
        assert_eq!(value("\"100ms\"", &text()), Value::String("100ms".into()));
        assert_eq!(value("4096", &text()), Value::Integer(4096));
        assert_eq!(value("0, 2", &text()), Value::from(vec![0, 2]));
        assert_eq!(
            value("info,corecast=debug", &text()),
            Value::String("info,corecast=debug".into())
        );
        let list = Value::from(vec!["x"]);
        let both = Value::from(vec!["0.0.0.0:1935", "[::]:1935"]);
        assert_eq!(value("0.0.0.0:1935, [::]:1935", &list), both);
        assert_eq!(value(r#"["0.0.0.0:1935", "[::]:1935"]"#, &list), both);
    }

    #[test]
    fn a_value_cannot_bring_other_keys() {
        let smuggled = value("1\nlevel = 2", &text());
        assert_eq!(smuggled, Value::String("1\nlevel = 2".into()));
    }
}
