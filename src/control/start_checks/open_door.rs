//! Whether strangers may publish, of which a user should know.

use std::net::SocketAddr;

use super::Host;
use crate::config::{App, Config, Effect, Hook, Rule, RuleWish};

/// What to say if anyone may publish: other hosts reach us, and nothing keeps them from it.
pub(super) fn warning(config: &Config, host: &Host) -> Option<String> {
    let reached = |address: &&SocketAddr| !address.ip().is_loopback();
    // Where a hook is asked, it is its to decide. Whoever publishes by HTTP connects to no app first.
    let asks = |hook| config.hooks.has(hook);
    let rtmp = host.rtmp.iter().chain(&host.rtmps).filter(|_| !asks(Hook::Connect));
    let http = host.http.iter().chain(&host.https).filter(|_| config.http.publish);
    let address = rtmp.chain(http).find(reached).filter(|_| !asks(Hook::Publish))?;
    let apps = |open| -> Vec<&str> {
        let apps = config.app.iter().filter(|(_, app)| is_open(app) == open);
        apps.map(|(name, _)| name.as_str()).collect()
    };
    let others = !config.strict_apps && is_open(&config.app_defaults);
    let where_to = match (others, &apps(!others)[..]) {
        (true, []) => "any app".to_owned(),
        (true, closed) => format!("any app but {}", closed.join(", ")),
        (false, []) => return None,
        (false, open) => format!("the apps {}", open.join(", ")),
    };
    Some(format!(
        "publish: anyone who reaches {address} may publish to {where_to}; to change it, set rules (\"deny \
         publish any\" behind those who may), publish_keys or publish = false in [app_defaults] or \
         [app.NAME], or have a server of yours asked (hooks.on_publish), or listen on 127.0.0.1 \
         (rtmp.listen, http.listen), or leave HTTP to viewers (http.publish = false)"
    ))
}

/// Whether a stranger may publish to `app` without showing anything.
fn is_open(app: &App) -> bool {
    let signed = app.sign_publish && !app.sign_secret.is_empty();
    let tokens = !app.jwt_secret.is_empty() || !app.jwt_key_file.is_empty();
    let proof = signed || tokens || !app.publish_keys.is_empty();
    app.publish && !proof && !keep_strangers_out(&app.rules)
}

/// Whether whoever is not named by a narrower rule may not publish, by IPv4 and by IPv6.
fn keep_strangers_out(rules: &[Rule]) -> bool {
    let first = |of_ipv4: bool| {
        let is_about = |rule: &&Rule| {
            let all = rule.from.is_none_or(|network| {
                network.prefix_len() == 0 && network.addr().is_ipv4() == of_ipv4
            });
            all && rule.wish != RuleWish::Play
        };
        rules.iter().find(is_about).map(|rule| rule.effect)
    };
    [true, false].map(first) == [Some(Effect::Deny); 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, rtmp: &str) -> Option<String> {
        told_of(text, rtmp, "127.0.0.1:8080")
    }

    fn told_of(text: &str, rtmp: &str, http: &str) -> Option<String> {
        let host = Host {
            cores: vec![0],
            rtmp: vec![rtmp.parse().expect("an address")],
            rtmps: vec![],
            http: vec![http.parse().expect("an address")],
            https: vec![],
            admin: vec![],
            admin_tls: vec![],
            metrics: vec![],
            connections: 1,
            refusals: 0,
        };
        warning(&Config::load(text, "c.toml", []).expect("valid"), &host)
    }

    const PUBLIC: &str = "[::]:1935";

    #[test]
    fn an_open_door_is_told_with_its_apps() {
        for (text, apps) in [
            ("", "any app"),
            ("app.a.publish = false\napp.b.play = false", "any app but a"),
            ("strict_apps = true\n[app.a]\n[app.b]", "the apps a, b"),
            ("app_defaults.publish = false\napp.a.publish = true", "the apps a"),
            ("app_defaults.publish_keys = ['x']\napp.a.publish_keys = []", "the apps a"),
            // None of these is about publishing, or about all.
            ("app_defaults.sign_secret = '0123456789abcdef'", "any app"),
            ("app_defaults.rules = ['deny play any']", "any app"),
            ("app_defaults.rules = ['allow publish 10.0.0.0/8']", "any app"),
            ("app_defaults.rules = ['deny publish 192.0.2.0/24']", "any app"),
            ("app_defaults.rules = ['deny publish 0.0.0.0/0']", "any app"),
            ("app_defaults.rules = ['deny publish ::/0', 'allow all any']", "any app"),
            ("app_defaults.rules = ['allow publish any', 'deny all any']", "any app"),
            ("hooks.on_play = 'http://127.0.0.1/'", "any app"),
        ] {
            let told = told(text, PUBLIC).unwrap_or_else(|| panic!("{text}: it is open"));
            assert!(told.contains(&format!("may publish to {apps};")), "{text}: {told}");
        }
    }

    #[test]
    fn the_port_of_viewers_is_a_door_too() {
        let http = |text| told_of(text, "127.0.0.1:1935", "[::]:8080");
        for text in ["", "hooks.on_connect = 'http://127.0.0.1/'"] {
            let told = http(text).unwrap_or_else(|| panic!("{text}: it is open"));
            assert!(told.contains("reaches [::]:8080 may publish to any app;"), "{text}: {told}");
        }
        for text in
            ["http.publish = false", "hooks.on_publish = 'http://127.0.0.1/'", "strict_apps = true"]
        {
            assert_eq!(http(text), None, "{text}");
        }
    }

    #[test]
    fn a_closed_door_is_not_told() {
        assert_eq!(told("", "127.0.0.1:1935"), None);
        for text in [
            "app_defaults.publish = false",
            "strict_apps = true",
            "hooks.on_publish = 'http://127.0.0.1/'",
            "hooks.on_connect = 'http://127.0.0.1/'",
            "app_defaults.publish_keys = ['x']",
            "app_defaults.sign_secret = '0123456789abcdef'\napp_defaults.sign_publish = true",
            "app_defaults.jwt_secret = '0123456789abcdef'",
            concat!(
                "app_defaults.jwt_key_file = '",
                env!("CARGO_MANIFEST_DIR"),
                "/tests/keys/ec.pub.pem'"
            ),
            "app_defaults.rules = ['allow publish 10.0.0.0/8', 'deny publish any']",
            "app_defaults.rules = ['allow play any', 'deny all any', 'allow publish any']",
            "app_defaults.rules = ['deny all ::/0', 'deny publish 0.0.0.0/0']",
        ] {
            assert_eq!(told(text, PUBLIC), None, "{text}");
        }
    }
}
