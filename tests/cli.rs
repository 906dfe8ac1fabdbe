//! The command line, as a user meets it.

#![allow(missing_docs)]

#[path = "support/secure.rs"]
mod secure;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use corecast::media::StreamKey;
use corecast::serve::access::signed::{Method, Signer};
use secure::Certificate;

/// A configuration file of its own for one test, gone when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.toml"));
        let mut file = std::fs::File::create(&path).expect("a scratch directory");
        file.write_all(text.as_bytes()).expect("room for it");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn corecast(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corecast"));
    command.args(arguments).envs(env.iter().copied());
    command.output().expect("the binary was built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_unknown_key_exits_2_with_its_place() {
    let file = File::new("unknown_key", "[app.live]\nmerge_windw = '1s'\n");
    for arguments in [
        &["--config", file.path()][..],
        &["run", "--config", file.path()],
        &["check", "--config", file.path()],
        &["demo", "-c", file.path()],
    ] {
        let output = corecast(arguments, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        let expected = format!(
            "{}:2:1: app.live.merge_windw: unknown key; did you mean merge_window?",
            file.path()
        );
        assert!(error.contains(&expected), "{arguments:?}: {error}");
    }
}

#[test]
fn a_file_that_is_not_there_exits_2_with_its_name() {
    let output = corecast(&["check", "--config", "no/such/file.toml"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no/such/file.toml"));
}

#[test]
fn a_port_in_use_exits_2_and_names_the_key() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound");
    let file = File::new(
        "port_in_use",
        &format!("rtmp.listen = ['{address}']\nhttp.enabled = false\nadmin.enabled = false\n"),
    );
    let output = corecast(&["run", "--config", file.path()], &[]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("rtmp.listen: {address} is in use")), "{error}");
}

#[test]
fn check_prints_the_effective_configuration() {
    let file = File::new("effective", "[app.live]\nmerge_window = 0\n");
    let env = [("CORECAST_RTMP__CHUNK_SIZE", "4096")];
    let output = corecast(&["check", "--config", file.path()], &env);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    let config = corecast::config::Config::load(&printed, "printed", []).expect("valid");
    assert_eq!(config.rtmp.chunk_size, 4096);
    assert!(config.app["live"].merge_window.is_zero());
}

#[test]
fn check_reads_the_files_that_the_configuration_names() {
    let [one, other] = [0, 1].map(|number| Certificate::new(number, &["one.example"]));
    let short = File::new("short_token", "too short\n");
    let (certificate, key) = (one.cert(), other.key());
    for (name, lines, expected) in [
        ("token", "admin.token = '8 only..'", vec!["admin.token: expected 16 or more"]),
        ("no_token", "admin.token_file = 'no/token'", vec!["admin.token_file: no/token: "]),
        (
            "a_token",
            &format!("admin.token_file = '{}'", short.path()),
            vec!["admin.token_file: ", "expected 16 or more"],
        ),
        (
            "no_certificate",
            "tls.certificates = [{ cert = 'no/cert.pem', key = 'no/key.pem' }]",
            vec!["tls.certificates: no/cert.pem: ", "cure: name a readable PEM file"],
        ),
        (
            "another_key",
            &format!("tls.certificates = [{{ cert = '{certificate}', key = '{key}' }}]"),
            vec![&key, "cure: name the key of that certificate"],
        ),
        ("no_authority", "hooks.ca_file = '/dev/null'", vec!["hooks.ca_file: /dev/null: expected"]),
        (
            "no_place_for_recordings",
            "app.live.record_directory = '/dev/null/rec'",
            vec!["app.live.record_directory: /dev/null/rec: ", "cure: name a directory"],
        ),
        (
            "all",
            "admin.token = 'short'\nhooks.ca_file = 'no/ca.pem'\n\
             tls.certificates = [{ cert = 'no/cert.pem', key = 'no/key.pem' }]",
            vec!["admin.token: ", "tls.certificates: ", "hooks.ca_file: no/ca.pem"],
        ),
    ] {
        let file = File::new(&format!("check_{name}"), lines);
        let output = corecast(&["check", "--config", file.path()], &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert_eq!(text(&output.stdout), "", "{name}");
        assert!(expected.iter().all(|expected| error.contains(expected)), "{name}: {error}");
    }
    // And what is right is printed.
    let token = File::new("good_token", "0123456789abcdef\n");
    let lines = format!(
        "admin.token_file = '{}'\ntls.certificates = [{}]\nhooks.ca_file = '{certificate}'",
        token.path(),
        one.toml()
    );
    let file = File::new("check_good", &lines);
    let output = corecast(&["check", "--config", file.path()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains(&certificate));
}

#[test]
fn a_directory_that_recordings_cannot_be_written_to_is_told_before_anything_starts() {
    // There even root can make no folder. It would not start for its cores either.
    let env =
        [("CORECAST_APP_DEFAULTS__RECORD_DIRECTORY", "/proc/rec"), ("CORECAST_CORES", "99999")];
    let output = corecast(&[], &env);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("app_defaults.record_directory: /proc/rec: "), "{error}");
}

#[test]
fn check_refuses_a_certificate_that_no_client_takes() {
    let certificate = Certificate::new(2, &["one.example"]);
    let lines = format!("tls.certificates = [{}]", certificate.toml());
    let file = File::new("check_dates", &lines);
    let check = || corecast(&["check", "--config", file.path()], &[]);
    for (from, until, expected) in [
        ("-3 days", "-1 day", ["the certificate has ended on 2", "cure: renew the certificate"]),
        ("+1 day", "+3 days", ["the certificate is good from 2", "set the clock of this host"]),
    ] {
        certificate.renew_for(&["one.example"], from, until);
        let output = check();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{from}: {error}");
        let place = format!("tls.certificates: {}: ", certificate.cert());
        assert!(error.contains(&place), "{from}: {error}");
        assert!(expected.iter().all(|expected| error.contains(expected)), "{from}: {error}");
    }
    certificate.renew_for(&["one.example"], "-1 day", "+1 day");
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn check_leaves_addresses_and_the_log_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound");
    let lines = format!("rtmp.listen = ['{address}']\nlog.file = 'no/such/directory/log'");
    let file = File::new("check_in_use", &lines);
    let output = corecast(&["check", "--config", file.path()], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_wrong_variable_exits_2_with_its_name() {
    let output = corecast(&["check"], &[("CORECAST_CORS", "1")]);
    assert_eq!(output.status.code(), Some(2));
    let expected = "CORECAST_CORS: cors: unknown key; did you mean cores?";
    assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
}

#[test]
fn a_signature_is_that_of_the_secret_wherever_it_stands() {
    const SECRET: &str = "a secret of the test";
    let config = File::new("sign", &format!("[app.live]\nsign_secret = '{SECRET}'\n"));
    let secret = File::new("sign_secret", &format!("{SECRET}\n"));
    let sources = [
        ["--secret-from", config.path()],
        ["--secret-file", secret.path()],
        ["--secret-env", "THE_SECRET"],
    ];
    for source in sources {
        let url = "http://h/live/cam1.flv?gop=0";
        let arguments = ["sign", "live/cam1", "--expires", "2h", "--address", "::1", "--url", url];
        let output = corecast(&[&arguments[..], &source].concat(), &[("THE_SECRET", SECRET)]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let printed = text(&output.stdout);
        let rest = printed.strip_prefix("http://h/live/cam1.flv?gop=0&exp=").expect("the URL");
        let (exp, sig) = rest.trim_end().split_once("&ip=1&sig=").expect("bound");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let exp: u64 = exp.parse().expect("a number");
        assert!((now + 7000..=now + 7200).contains(&exp), "{exp} at {now}");
        let key = StreamKey::parse("live/cam1").expect("a key");
        let address = "::1".parse().expect("an address");
        let query = Signer::new(SECRET).query(Method::Play, &key, exp, Some(address));
        assert!(query.ends_with(sig), "{query} {sig}");
    }
}

#[test]
fn a_url_of_the_stream_is_signed_whatever_its_protocol_and_whoever_stands_before_the_node() {
    for (key, url) in [
        ("live/x", "http://h:8080/live/x.flv"),
        ("live/x", "wss://h/live/x.flv"),
        ("live/x", "http://h:8080/live/x.ts"),
        ("live/x", "wss://h/live/x.mp4"),
        ("live/x", "https://h/live/x.m3u8"),
        ("live/x.mp4", "rtmp://h/live/x.mp4"),
        ("live/x", "https://h/live/x"),
        ("live/x", "https://cdn.example/edge/live/x.flv"),
        ("live/a b", "http://h/live/a%20b.flv"),
        ("live/a/b", "rtmps://h/live/a/b"),
        ("live/x.flv", "rtmp://h/live/x.flv"),
    ] {
        let arguments = ["sign", key, "--expires", "2h", "--secret-env", "PATH", "--url", url];
        let output = corecast(&arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{key} {url}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains("sig="), "{key} {url}");
    }
}

#[test]
fn what_cannot_be_signed_exits_2_and_says_why() {
    let config = File::new("sign_nothing", "strict_apps = true\n[app.live]\n");
    let from = ["--secret-from", config.path()];
    for (key, source, why) in [
        ("live", from, "expected a stream name"),
        ("live/x", from, "expected live to have a sign_secret in the configuration"),
        ("other/x", from, "expected an app of the configuration (strict_apps), found \"other\""),
        ("live/x", ["--secret-from", "no/such/file"], "no/such/file"),
        ("live/x", ["--secret-file", "no/such/file"], "no/such/file"),
        ("live/x", ["--secret-env", "NOT_SET"], "NOT_SET is not set"),
        ("live/x", ["--expires", "0"], "expected a duration with its unit"),
        ("live/x", ["--method", "watch"], "possible values: play, publish"),
        ("live/x.flv", from, "expected the name of a stream without extension, live/x, found"),
        (
            "live/x.ts",
            from,
            "expected the name of a stream without extension, live/x, found live/x.ts",
        ),
        ("live/x.mp4", from, "without extension, live/x, found live/x.mp4"),
        ("live/x.m3u8", from, "without extension, live/x, found live/x.m3u8"),
        (
            "live/x.mp4",
            ["--url", "http://h/live/x.mp4"],
            "whose path ends with /live/x.mp4 (rtmp, ",
        ),
        ("live/x", ["--url", "http://h/live/y.flv?a=/live/x"], "expected the address of live/x, "),
        ("live/x", ["--url", "http://h/live/xx.flv"], "found http://h/live/xx.flv"),
        ("live/x", ["--url", "http://h/alive/x/y"], "expected the address of live/x, "),
        ("live/x", ["--url", "http://h/lalive/x"], "expected the address of live/x, "),
        ("live/x", ["--url", "http://h"], "whose path ends with /live/x (rtmp"),
        ("live/x", ["--url", "rtmp://h/live/x.flv"], "expected the address of live/x, "),
        ("live/x.flv", ["--url", "http://h/live/x.flv"], "expected the address of live/x.flv, "),
    ] {
        let mut arguments = vec!["sign", key];
        arguments.extend(source);
        if source[0] == "--url" {
            arguments.extend(["--secret-env", "PATH"]);
        }
        if source[0] != "--expires" {
            arguments.extend(["--expires", "2h"]);
        }
        let output = corecast(&arguments, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
    let output = corecast(&["sign", "live/x", "--expires", "2h"], &[]);
    assert_eq!(output.status.code(), Some(2), "one of the sources is needed");
}

#[test]
fn help_shows_how_to_begin() {
    let output = corecast(&["--help"], &[]);
    let printed = text(&output.stdout);
    for word in ["demo", "check", "--config", "CORECAST_", "ffmpeg"] {
        assert!(printed.contains(word), "{word} in {printed}");
    }
}
