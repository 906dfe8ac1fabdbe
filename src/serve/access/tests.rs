use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::super::verdict::{ClientId, HttpClient};
use super::*;
use crate::config::Config;
use crate::proto::http::Query;

/// A question of somebody at 192.0.2.7 for `live/x`.
fn question(wish: fn(StreamKey) -> Action, query: &str) -> Question {
    Question {
        client: ClientId(1),
        peer: ([192, 0, 2, 7], 1).into(),
        protocol: Protocol::Http.into(),
        action: wish(StreamKey::parse("live/x").expect("a key")),
        asked: None,
        record: None,
        query: query.into(),
        connect: None,
        http: None,
    }
}

/// The access of an app with `lines`.
fn access(lines: &str) -> Access {
    let text = format!("[app_defaults]\n{lines}");
    let config = Config::load(&text, "test", []).unwrap_or_else(|error| panic!("{error}"));
    Access::new(&config.app_defaults)
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Which of publish and play are allowed with `query`.
fn may(access: &Access, query: &str) -> [bool; 2] {
    let ask = |wish| access.check(&question(wish, query), None, at(1000)).is_ok();
    [ask(Action::Publish), ask(Action::Play)]
}

const SECRET: &str = "0123456789abcdef";

#[test]
fn what_is_set_decides_who_needs_what() {
    let signer = Signer::new(SECRET);
    let key = StreamKey::parse("live/x").expect("a key");
    let [publish, play] =
        [Method::Publish, Method::Play].map(|m| signer.query(m, &key, 2000, None));
    let key = "key=one";
    let sign = format!("sign_secret = '{SECRET}'");
    for (lines, query, expected) in [
        ("", "", [true, true]),
        ("publish_keys = ['one', 'two']", "", [false, true]),
        ("publish_keys = ['one', 'two']", "key=two", [true, true]),
        ("publish_keys = ['one', 'two']", "key=three", [false, true]),
        ("publish_keys = ['one', 'two']", "key=", [false, true]),
        (&sign, "", [true, false]),
        (&sign, &play, [true, true]),
        (&format!("{sign}\nsign_publish = true"), &play, [false, true]),
        (&format!("{sign}\nsign_publish = true"), &publish, [true, false]),
        (&format!("{sign}\npublish_keys = ['one']"), key, [true, false]),
        (&format!("{sign}\npublish_keys = ['one']"), &publish, [false, false]),
        // A wrong proof is no harm beside a right one.
        (
            &format!("{sign}\nsign_publish = true\npublish_keys = ['one']"),
            &format!("key=wrong&{publish}"),
            [true, false],
        ),
    ] {
        assert_eq!(may(&access(lines), query), expected, "{lines} {query}");
    }
}

#[test]
fn a_reason_names_all_that_would_do_and_no_secret() {
    let lines = format!(
        "sign_secret = '{SECRET}'\nsign_publish = true\njwt_secret = '{SECRET}'\npublish_keys = ['one']"
    );
    let access = access(&lines);
    let reason = |query: &str| {
        let denied = access.check(&question(Action::Publish, query), None, at(1000));
        denied.expect_err("it is denied").to_string()
    };
    let expected = "expected key=KEY (publish_keys) or exp=UNIX&sig=HEX (sign_secret) or \
                    token=TOKEN (a JWT) in the URL, found none";
    assert_eq!(reason(""), expected);
    let sig = "5ec2e7".repeat(11);
    for query in ["key=5ec2e7", &format!("exp=1&sig={}", &sig[..64]), "token=5ec2e7.5ec2e7.5ec2e7"]
    {
        let reason = reason(query);
        assert!(!reason.contains("5ec2e7"), "{reason}");
    }
    assert!(!format!("{access:?}").contains(SECRET), "{access:?}");
}

#[test]
fn who_may_do_one_thing_may_connect() {
    let connect = |lines| {
        let mut question = question(Action::Play, "");
        question.action = Action::Connect { app: "live/x".to_owned() };
        access(lines).check(&question, None, at(0)).map_err(|denied| denied.to_string())
    };
    assert_eq!(connect("publish_keys = ['one']\nreferers = ['a.example']"), Ok(()));
    assert_eq!(connect("rules = ['deny play any']"), Ok(()));
    let expected = "connecting to live is not allowed from 192.0.2.7 (rules)";
    assert_eq!(connect("rules = ['deny all any']"), Err(expected.to_owned()));
    assert_eq!(
        connect("rules = ['deny play any', 'deny publish 192.0.2.0/24']"),
        Err(expected.to_owned())
    );
}

#[test]
fn an_app_of_several_lines_is_refused_in_one() {
    let mut question = question(Action::Play, "");
    question.action =
        Action::Connect { app: "x\n\u{1b}[31m2026-01-01 ERROR all is lost".to_owned() };
    let denied = access("rules = ['deny all any']").check(&question, None, at(0));
    let reason = denied.expect_err("it is denied").to_string();
    assert!(reason.starts_with(r"connecting to x\n\u{1b}[31m2026-01-01 ERROR"), "{reason}");
    assert!(!reason.contains(char::is_control), "{reason:?}");
}

#[test]
fn the_page_counts_for_viewers_by_http_alone() {
    let access = access("referers = ['a.example']");
    let mut play = question(Action::Play, "");
    assert!(access.check(&play, None, at(0)).is_err());
    let referer = Some("https://a.example/page".into());
    play.http = Some(Arc::new(HttpClient { referer, user_agent: None }));
    assert_eq!(access.check(&play, None, at(0)), Ok(()));
    play.http = None;
    play.protocol = Protocol::Rtmp.into();
    assert_eq!(access.check(&play, None, at(0)), Ok(()));
}

proptest::proptest! {
    /// Anything may stand in a query, and nothing but a proof lets in.
    #[test]
    fn no_query_can_upset_it_or_get_in(query in "(([a-z]{1,5}|key|exp|sig|ip|token|jwt)=?[^&]{0,90}&?){0,6}", any: String) {
        let access = access(&format!(
            "sign_secret = '{SECRET}'\nsign_publish = true\njwt_secret = '{SECRET}'\npublish_keys = ['{SECRET}']"
        ));
        proptest::prop_assert_eq!(may(&access, &query), [false, false]);
        proptest::prop_assert_eq!(may(&access, &any), [false, false]);
        let _ = Query::new(&any).get("key");
    }

    /// Whatever is changed of a right token or signature, it is wrong.
    #[test]
    fn a_signature_that_was_changed_is_wrong(at_byte in 0usize..200, to in 0u8..=255) {
        let access = access(&format!("sign_secret = '{SECRET}'"));
        let key = StreamKey::parse("live/x").expect("a key");
        let right = Signer::new(SECRET).query(Method::Play, &key, 2000, None);
        let mut changed = right.clone().into_bytes();
        let at_byte = at_byte % changed.len();
        changed[at_byte] = to;
        let changed = String::from_utf8_lossy(&changed).into_owned();
        // Small letters and capitals are the same hex.
        let sames = changed.get(..13) == right.get(..13) && changed.eq_ignore_ascii_case(&right);
        proptest::prop_assert_eq!(may(&access, &changed)[1], sames);
    }
}
