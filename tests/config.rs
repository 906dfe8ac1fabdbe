//! The configuration as users meet it: the shipped file, and what an error says.

#![allow(missing_docs)]

use std::time::Duration;

use corecast::config::{Config, Cores, Origin};

const REFERENCE: &str = include_str!("../config/corecast.toml");

fn load(text: &str) -> Result<Config, String> {
    load_with(text, &[])
}

fn load_with(text: &str, env: &[(&str, &str)]) -> Result<Config, String> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::load(text, "c.toml", env).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = load(text).expect_err("must be refused");
    assert_eq!(error, expected);
}

#[test]
fn keys_and_names_in_the_wrong_place_are_told_where_they_belong() {
    refused("hls = true", "c.toml:1:1: hls: unknown key here; it belongs in [app_defaults]");
    refused(
        "[record]\npath = 'a'",
        "c.toml:1:2: record: no such section; in [app_defaults] there are record_buffer, record_directory, \
         record_format, record_keep, record_keep_bytes, record_path, record_replay, record_rotate, \
         record_rotate_bytes, record_sync",
    );
    refused(
        "[app.rec]\nplay = true",
        "c.toml:1:1: app.rec: expected an app of another name: /rec/ is where recordings are \
         played from",
    );
    refused(
        "app_defaults.hls_max_bytes = '1B'",
        "c.toml:1:30: app_defaults.hls_max_bytes: expected at least 1MiB, found 1B",
    );
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(load("").expect("valid"), Config::default());
}

#[test]
fn the_shipped_file_says_the_defaults() {
    assert_eq!(load(REFERENCE).expect("valid"), Config::default());
}

#[test]
fn the_shipped_file_names_every_key() {
    fn keys(table: &toml::Table, prefix: &str, out: &mut Vec<String>) {
        for (name, value) in table {
            match value {
                toml::Value::Table(inner) => keys(inner, &format!("{prefix}{name}."), out),
                _ => out.push(format!("{prefix}{name}")),
            }
        }
    }
    let (mut shipped, mut code) = (Vec::new(), Vec::new());
    keys(&REFERENCE.parse().expect("TOML"), "", &mut shipped);
    keys(&toml::Table::try_from(Config::default()).expect("a table"), "", &mut code);
    assert_eq!(shipped, code);
}

#[test]
fn each_key_in_the_shipped_file_stands_below_words_of_its_own_or_of_its_neighbours() {
    let mut explained = false;
    for line in REFERENCE.lines() {
        match line.bytes().next() {
            Some(b'#') => explained = true,
            // The head of a table, or the end of a group.
            None | Some(b'[') => explained = false,
            Some(_) => assert!(explained, "{line}"),
        }
    }
}

#[test]
fn the_example_app_in_the_shipped_file_is_valid() {
    let example = REFERENCE.split_once("# [app.lowlatency]").expect("there").1;
    let text = format!("[app.lowlatency]{}", example.replace("\n# ", "\n"));
    let config = load(&text).expect("valid");
    assert_eq!(config.app["lowlatency"].merge_window, Duration::from_millis(40));
}

#[test]
fn the_effective_configuration_reads_back_as_the_same() {
    let text = "cores = [0, 1]\n[app.a]\nmerge_window = 0\n[app.\"b c\"]\nplay = false\n";
    let config = load(text).expect("valid");
    assert_eq!(load(&config.to_toml()).expect("valid"), config);
    assert!(config.to_toml().contains("merge_window = \"350ms\""), "{}", config.to_toml());
}

#[test]
fn an_app_overrides_the_defaults_key_by_key() {
    let text = "
        [app_defaults]
        merge_window = '200ms'
        max_lag = '4s'
        [app.live]
        max_lag = '20s'
    ";
    let config = load(text).expect("valid");
    let live = config.app("live").expect("known");
    assert_eq!(live.max_lag, Duration::from_secs(20));
    assert_eq!(live.merge_window, Duration::from_millis(200));
    assert_eq!(live.key_wait, Duration::from_secs(10));
    let other = config.app("other").expect("not strict");
    assert_eq!(other.max_lag, Duration::from_secs(4));
}

#[test]
fn strict_apps_know_no_others() {
    let config = load("strict_apps = true\n[app.live]\n").expect("valid");
    assert!(config.app("live").is_some());
    assert!(config.app("other").is_none());
}

#[test]
fn cores_are_all_a_count_or_a_list() {
    assert_eq!(load("cores = 'all'").expect("valid").cores, Cores::All);
    assert_eq!(load("cores = 2").expect("valid").cores, Cores::Count(2));
    assert_eq!(load("cores = [0, 3]").expect("valid").cores, Cores::List(vec![0, 3]));
    let expected = r#"c.toml:1:9: cores: expected "all", a count such as 2, or a list of cores such as [0, 1], found string "some" (the default is "all")"#;
    refused("cores = 'some'", expected);
    let expected = r#"c.toml:1:9: cores: expected "all", a count from 1 on, or a list of different cores, found a core twice"#;
    refused("cores = [1, 1]", expected);
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_known() {
    let text = "[app.live]\n  merge_windw = '1s'\n";
    refused(text, "c.toml:2:3: app.live.merge_windw: unknown key; did you mean merge_window?");
    refused("[rmtp]\n", "c.toml:1:2: rmtp: unknown key; did you mean rtmp?");
}

#[test]
fn a_key_in_the_wrong_section_is_told_the_right_one() {
    let expected = "c.toml:2:1: rtmp.merge_window: unknown key here; it belongs in [app_defaults]";
    refused("[rtmp]\nmerge_window = '1s'", expected);
}

#[test]
fn a_key_like_no_other_gets_the_list() {
    let expected = "c.toml:1:5: log.x: unknown key; expected one of file, format, keep, level, queue_lines, rotate, rotate_bytes, stats_interval";
    refused("log.x = 1", expected);
}

#[test]
fn a_bad_duration_says_how_one_looks() {
    let expected = concat!(
        "c.toml:2:14: app_defaults.max_lag: expected a duration with its unit ",
        "(ns, us, ms, s, m, h) such as \"350ms\", \"15s\" or \"2m\", found \"8 parsecs\" ",
        "(the default is \"8s\")"
    );
    refused("[app_defaults]\n   max_lag = '8 parsecs'", expected);
    let expected = concat!(
        "c.toml:1:24: app_defaults.max_lag: expected a duration with its unit ",
        "(ns, us, ms, s, m, h) such as \"350ms\", \"15s\" or \"2m\", found 8 without one ",
        "(the default is \"8s\")"
    );
    refused("app_defaults.max_lag = 8", expected);
}

#[test]
fn a_wrong_type_says_the_right_one() {
    let expected = concat!(
        "c.toml:1:19: rtmp.chunk_size: expected a whole number, not negative, ",
        "found string \"60k\" (the default is 60000)"
    );
    refused("rtmp.chunk_size = '60k'", expected);
    let expected = "c.toml:1:8: rtmp: expected a table, found integer 1935";
    refused("rtmp = 1935", expected.replace(":8:", ":1:").as_str());
}

#[test]
fn an_origin_that_no_browser_sends_is_named() {
    for bad in ["https://ops.example/", "*", "ops.example", "https://Ops.example", "null"] {
        let text = format!("admin.allow_origin = ['https://a.example:8443', '{bad}']");
        let error = Config::load(&text, "c.toml", []).expect_err(bad).to_string();
        assert!(error.contains("allow_origin") && error.contains(bad), "{error}");
    }
}

#[test]
fn an_origin_that_the_policy_of_a_page_cannot_hold_is_named() {
    let good = "admin.media_origins = ['https://a.example:8443', 'http://192.0.2.7:80']";
    Config::load(good, "c.toml", []).expect("origins");
    for bad in [
        "https://a.example/",
        "https://a.example;default-src *",
        "https://a.example;",
        "https://a.example,x",
        "https://*",
        "https://*.example",
        "https://[::1]:80",
        "https://A.example",
        "https://a.example:https",
        "https://a.example:70000",
        "https://a.example:+80",
        "https://:80",
        "ftp://a.example",
        "a.example",
        "",
    ] {
        let text = format!("admin.media_origins = ['https://a.example:8443', '{bad}']");
        let error = Config::load(&text, "c.toml", []).expect_err(bad).to_string();
        assert!(error.contains("media_origins") && error.contains(bad), "{error}");
    }
}

#[test]
fn a_bad_address_is_named() {
    let expected = concat!(
        "c.toml:1:15: rtmp.listen: expected an IP address and a port such as \"[::]:1935\", ",
        "found \":1935\" (the default is [\"[::]:1935\"])"
    );
    refused("rtmp.listen = [':1935']", expected);
}

#[test]
fn one_port_for_two_protocols_is_refused() {
    let expected = "c.toml:1:15: http.listen: 127.0.0.1:1935 meets [::]:1935 of rtmp.listen; choose another port";
    refused("http.listen = ['127.0.0.1:1935']", expected);
    load("http.listen = ['0.0.0.0:80', '[::]:80']").expect("each has a family of its own");
    load("http.listen = ['[::1]:0']\nrtmp.listen = ['[::]:0']").expect("the kernel chooses");
}

#[test]
fn broken_toml_names_its_place() {
    let error = load("[rtmp]\nenabled = maybe\n").expect_err("must be refused");
    assert!(error.starts_with("c.toml:2:11: "), "{error}");
    let error = load("[rtmp]\nenabled = true\nenabled = true\n").expect_err("must be refused");
    assert!(error.starts_with("c.toml:3:1: "), "{error}");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = "cors = 1\n[rtmp]\nchunk_size = true\n[app.x]\nplay = 1\n[app.'a/b']\n";
    let error = load(text).expect_err("must be refused");
    let starts: Vec<&str> =
        error.lines().map(|line| &line[..line.find(": ").expect("one")]).collect();
    assert_eq!(starts, ["c.toml:1:1", "c.toml:3:14", "c.toml:5:8", "c.toml:6:6"], "{error}");
}

#[test]
fn values_must_agree() {
    let expected = concat!(
        "c.toml:1:29: app_defaults.merge_window: ",
        "expected at most merge_window_max (1s), found 2s"
    );
    refused("app_defaults.merge_window = '2s'", expected);
    // The app's own maximum meets a window that it has from the defaults.
    let expected = concat!(
        "c.toml:2:20: app.a.merge_window: ",
        "expected at most merge_window_max (100ms), found 350ms"
    );
    refused("[app.a]\nmerge_window_max = '100ms'", expected);
}

#[test]
fn a_wrong_default_is_told_once_not_for_each_app() {
    let text = "[app_defaults]\nmax_lag = 0\n[app.a]\n[app.b]\n";
    let error = load(text).expect_err("must be refused");
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.lines().all(|line| line.starts_with("c.toml:2:11: app_defaults.max_lag: ")));
}

#[test]
fn ranges_are_checked() {
    for (text, key) in [
        ("rtmp.chunk_size = 127", "rtmp.chunk_size"),
        ("rtmp.chunk_size = 16777216", "rtmp.chunk_size"),
        ("rtmp.listen = []", "rtmp.listen"),
        ("http.head_bytes = 0", "http.head_bytes"),
        ("log.level = 'loud=very'", "log.level"),
        ("log.queue_lines = 0", "log.queue_lines"),
        ("log.rotate_bytes = 1000", "log.rotate_bytes"),
        ("log.rotate = 'hourly'", "log.rotate"),
        ("log.keep = 1001", "log.keep"),
        ("admin.metrics_streams_max = 2000000", "admin.metrics_streams_max"),
        ("admin.metrics_listen = ['0.0.0.0:8080']", "admin.metrics_listen"),
        ("admin.listen = []", "admin.listen"),
        ("admin.tls_listen = ['127.0.0.1:8444']", "admin.tls_listen"),
        ("admin.tls_listen = ['127.0.0.1:8081']", "admin.tls_listen"),
        ("log.stats_interval = '1ms'", "log.stats_interval"),
        ("tcp.keepalive = '10h'", "tcp.keepalive"),
        ("limits.message_bytes = '17MiB'", "limits.message_bytes"),
        ("limits.reassembly_bytes = '1MiB'", "limits.reassembly_bytes"),
        ("limits.amf_depth = 1000", "limits.amf_depth"),
        ("app_defaults.stall_timeout = '25h'", "app_defaults.stall_timeout"),
        ("app.x.block_bytes = '1GiB'", "app.x.block_bytes"),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.contains(&format!(" {key}: ")), "{error}");
    }
}

#[test]
fn without_a_token_the_api_is_for_this_host_alone() {
    let certificates = "tls.certificates = [{ cert = 'a.pem', key = 'a.key' }]";
    for (key, lines) in [("listen", ""), ("tls_listen", certificates)] {
        for address in ["[::]:9000", "0.0.0.0:9000", "192.0.2.1:9000"] {
            let text = format!("admin.{key} = ['{address}']\n{lines}\n");
            let error = load(&text).expect_err(&text);
            let expected = format!(" admin.{key}: {address} can be reached from other hosts");
            assert!(error.contains(&expected), "{error}");
            for with in ["admin.token = '0123456789abcdef'", "admin.token_file = 'token'"] {
                load(&format!("{text}{with}")).expect("guarded");
            }
        }
        load(&format!("admin.{key} = ['127.0.0.1:9000', '[::1]:9000']\n{lines}")).expect("here");
    }
    // Either kind will do by itself.
    let alone = "admin.listen = []\nadmin.tls_listen = ['127.0.0.1:9000']\n";
    load(&format!("{alone}{certificates}")).expect("it is served");
}

#[test]
fn who_may_come_in_is_checked() {
    for (line, key, what) in [
        ("rules = ['deny play 10.0.0.0/40']", "rules", "no address"),
        ("rules = ['deny']", "rules", "not three words"),
        ("referers = ['https://a.example']", "referers", "without scheme, port and path"),
        ("referers = ['a.example/x']", "referers", "without scheme, port and path"),
        ("referers = ['*.']", "referers", "without scheme, port and path"),
        ("publish_keys = ['']", "publish_keys", "found an empty one"),
        ("sign_secret = 'short'", "sign_secret", "at least 16 characters, found 5"),
        ("sign_publish = true", "sign_publish", "expected a sign_secret"),
        ("jwt_secret = 'short'", "jwt_secret", "at least 16 characters, found 5"),
        ("jwt_key_file = 'no/such/file'", "jwt_key_file", "found no/such/file: "),
        ("jwt_key_file = 'Cargo.toml'", "jwt_key_file", "openssl pkey"),
        ("jwt_algorithms = ['none']", "jwt_algorithms", "`HS256`"),
        (
            "jwt_secret = '0123456789abcdef'\njwt_algorithms = ['ES256']",
            "jwt_algorithms",
            "([Hs256])",
        ),
        ("publisher_bitrate_action = 'shout'", "publisher_bitrate_action", "`cut`"),
    ] {
        let error = load(&format!("[app.x]\n{line}")).expect_err(line);
        assert!(error.contains(&format!(" app.x.{key}: ")) && error.contains(what), "{error}");
    }
    let fine = "[app.x]\nreferers = ['', '*', 'a.example', '*.a.example', '[::1]', '10.0.0.1']\n\
                rules = ['deny play 2001:db8::/32']\nsign_secret = '0123456789abcdef'";
    let config = load(fine).expect("valid");
    assert!(config.to_toml().contains("rules = [\"deny play 2001:db8::/32\"]"));
}

#[test]
fn no_secret_is_in_an_error_or_shown() {
    for line in ["sign_secret = 5318008", "publish_keys = [5318008]", "sign_secret = '5318008'"] {
        let error = load(&format!("[app.x]\n{line}")).expect_err(line);
        assert!(!error.contains("5318008"), "{error}");
    }
    let error = load("app.x.publish_keys = ['(hidden)']").expect_err("what is shown is no secret");
    assert!(error.contains("expected the secret itself"), "{error}");
    let secret = "0123456789abcdef";
    let text = format!(
        "[app.x]\nsign_secret = '{secret}'\njwt_secret = '{secret}'\npublish_keys = ['{secret}']"
    );
    let config = load(&text).expect("valid");
    assert!(!config.to_toml().contains(secret) && !format!("{config:?}").contains(secret));
}

#[test]
fn the_environment_overrides_the_file() {
    let text = "[rtmp]\nchunk_size = 128\n[app.Live]\nmax_lag = '4s'\n";
    let env = [
        ("CORECAST_RTMP__CHUNK_SIZE", "4096"),
        ("CORECAST_CORES", "2"),
        ("CORECAST_HTTP__LISTEN", "127.0.0.1:8080,[::1]:8080"),
        ("CORECAST_HTTP__BODY", "chunked"),
        ("CORECAST_APP_DEFAULTS__MERGE_WINDOW", "100ms"),
        ("CORECAST_APP__LIVE__MAX_LAG", "5s"),
        ("CORECAST_STRICT_APPS", "true"),
        ("HOME", "/nowhere"),
    ];
    let config = load_with(text, &env).expect("valid");
    assert_eq!(config.rtmp.chunk_size, 4096);
    assert_eq!(config.cores, Cores::Count(2));
    assert_eq!(config.http.listen.len(), 2);
    assert_eq!(config.app["Live"].max_lag, Duration::from_secs(5));
    assert_eq!(config.app["Live"].merge_window, Duration::from_millis(100));
    assert!(config.strict_apps);
}

#[test]
fn an_error_of_the_environment_names_the_variable() {
    let error = load_with("", &[("CORECAST_RTMP__CHUNK_SIZ", "1")]).expect_err("unknown");
    let expected =
        "CORECAST_RTMP__CHUNK_SIZ: rtmp.chunk_siz: unknown key; did you mean chunk_size?";
    assert_eq!(error, expected);
    let error = load_with("", &[("CORECAST_RTMP__CHUNK_SIZE", "1")]).expect_err("range");
    let expected = "CORECAST_RTMP__CHUNK_SIZE: rtmp.chunk_size: expected 128 to 16777215, found 1";
    assert_eq!(error, expected);
    let error = load_with("", &[("CORECAST_RTMP", "{}")]).expect_err("a section");
    let expected =
        "CORECAST_RTMP: rtmp: expected one of its keys: chunk_size, enabled, listen, tls_listen";
    assert_eq!(error, expected);
}

#[test]
fn the_url_of_a_hook_is_one_that_can_be_asked_and_is_not_shown_if_it_is_not() {
    let expected = "expected http://HOST[:PORT]/PATH, or https://";
    let invalid = format!("{expected}: invalid uri character");
    for (url, expected) in [
        ("http://user:s3cret@hooks.example/", "expected no user and password: set hooks.secret"),
        ("rtmp://hooks.example/s3cret", expected),
        ("hooks.example/s3cret", expected),
        ("/s3cret", expected),
        ("http://bad host/s3cret", &invalid),
    ] {
        let error = load(&format!("hooks.on_play = '{url}'")).expect_err("must be refused");
        let found = error.strip_prefix("c.toml:1:17: hooks.on_play: ").expect("its key and place");
        assert!(found.starts_with(expected) && !found.contains("s3cret"), "{error}");
    }
    for url in ["http://[::1]:8085/hooks?token=x", "https://hooks.example/"] {
        assert!(load(&format!("hooks.on_play = '{url}'")).is_ok());
    }
}

#[test]
fn who_asks_waits_for_longer_than_the_hook_may_take() {
    let text = "hooks.timeout = '5s'";
    assert!(load(text).is_ok(), "nobody is asked");
    let text = format!("{text}\nhooks.on_connect = 'http://h/'");
    let expected =
        "c.toml:1:17: hooks.timeout: expected less than limits.verdict_timeout (5s), found 5s";
    refused(&text, expected);
    assert!(load(&format!("{text}\nlimits.verdict_timeout = '6s'")).is_ok());
}

#[test]
fn an_error_can_be_taken_apart() {
    let error = Config::load("a = 1", "c.toml", []).expect_err("unknown");
    let origin = Origin::File { path: "c.toml".into(), line: 1, column: 1 };
    assert_eq!(error.problems[0].origin, Some(origin));
    assert_eq!(error.problems[0].key, "a");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[a-z_.\\[\\]='\" \n0-9é]{0,80}") {
        let _ = load(&text);
    }

    #[test]
    fn any_value_of_any_key_is_read_or_refused(
        at in 0usize..1000,
        value in proptest::sample::select(vec![
            "0", "-1", "9223372036854775807", "1.5", "nan", "true", "''", "'18446744073709551615h'",
            "'99999999999GiB'", "[]", "[[]]", "{}", "1979-05-27", "'[::]:99999'", "[1, 1]",
        ]),
    ) {
        let lines: Vec<&str> = REFERENCE.lines().collect();
        let keys: Vec<usize> = (0..lines.len()).filter(|&line| is_key(lines[line])).collect();
        let line = keys[at % keys.len()];
        let name = lines[line].split_once(' ').expect("a key").0;
        let changed = format!("{name} = {value}");
        let mut text = lines.clone();
        text[line] = &changed;
        if let Err(error) = load(&text.join("\n")) {
            // It may disagree with another key, but must be named.
            proptest::prop_assert!(error.contains(name), "{}: {}", changed, error);
        }
    }
}

fn is_key(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_lowercase())
}

#[test]
fn trusted_proxies_are_networks_and_never_everyone() {
    let config = load("proxy.trusted = ['10.0.0.0/8', '192.0.2.7', 'fd00::/8']").expect("valid");
    for (address, trusted) in
        [("10.1.2.3", true), ("192.0.2.7", true), ("192.0.2.8", false), ("fd12::1", true)]
    {
        let address = address.parse().expect("an address");
        assert_eq!(config.proxy.trusts(address), trusted, "{address}");
    }
    let error = load("proxy.trusted = ['10.0.0.0/33']").expect_err("must be refused");
    assert!(error.contains(r#"expected a network such as "10.0.0.0/8""#), "{error}");
    let error = load("proxy.trusted = ['::/0']").expect_err("must be refused");
    assert!(error.contains("found every address there is"), "{error}");
}
