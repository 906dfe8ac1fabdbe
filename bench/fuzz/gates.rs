//! What strangers say before anything is granted, and what a hook server says of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use corecast::config::{Config, Secret};
use corecast::control::{Opinion, Reply};
use corecast::media::StreamKey;
use corecast::proto::http::{ForwardedField, Query};
use corecast::serve::access::Access;
use corecast::serve::access::signed::{Method, Signer};
use corecast::serve::proxy_header::ProxyHeader;
use corecast::serve::verdict::{Action, ClientId, HttpClient, Protocol, Question};

use super::pieces;

/// What a balancer says before its client: the same however it arrives, and nothing is lost.
pub(crate) fn proxy_header(data: &[u8]) {
    let (data, size) = pieces(data);
    for required in [false, true] {
        let mut header = ProxyHeader::new(required);
        let mut came = 0;
        let cut = data.chunks(size).find_map(|piece| {
            came += piece.len();
            header.handle_input(piece).transpose()
        });
        let whole = ProxyHeader::new(required).handle_input(data).transpose();
        match (whole, cut) {
            (Some(Ok(whole)), Some(Ok(cut))) => {
                assert_eq!(whole.client, cut.client);
                assert_eq!(whole.rest, [&cut.rest, &data[came..]].concat());
                assert!(data.ends_with(&whole.rest));
                assert!(
                    whole.client.is_none_or(|client| client.ip() == client.ip().to_canonical())
                );
            }
            (whole, cut) => {
                // Of no bytes nothing can be said, and nobody asks.
                assert!(data.is_empty() || whole.map(|it| it.is_ok()) == cut.map(|it| it.is_ok()));
            }
        }
    }
}

/// A list of proxies. Whatever a client writes in front of what they saw, it changes nothing.
pub(crate) fn forwarded(data: &[u8]) {
    let list = String::from_utf8_lossy(data);
    let trusts = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    };
    let seen: SocketAddr = ([192, 0, 2, 7], 0).into();
    for (field, added) in [
        (ForwardedField::XForwardedFor, "192.0.2.7, 10.0.0.1"),
        (ForwardedField::Forwarded, "for=192.0.2.7;proto=https, for=\"[fd00::1]:80\""),
    ] {
        let said = field.client(&list, trusts);
        assert!(said.is_none_or(|said| said.ip() == said.ip().to_canonical()));
        assert_eq!(field.client(&format!("{list}, {added}"), trusts), Some(seen));
        let nearest = field.client(&list, |_| false);
        // Who trusts nobody believes the last entry, and so does who does not trust that one.
        assert!(nearest.is_none_or(|near| trusts(near.ip()) || said == Some(near)));
    }
}

const KEY: &str = "a key of the seeds";
const SECRET: &str = "a secret of the seeds";

/// Publishing and playing need a proof, and pages of one host alone may show the stream.
static ACCESS: LazyLock<Access> = LazyLock::new(|| {
    let text = format!(
        "[app_defaults]\nrules = ['deny all 198.51.100.0/24']\nreferers = ['', '*.example.org']\n\
         publish_keys = ['{KEY}']\nsign_secret = '{SECRET}'\nsign_publish = true\n\
         jwt_secret = '{SECRET}'"
    );
    let config = Config::load(&text, "the fuzz target", []);
    Access::new(&config.unwrap_or_else(|error| panic!("{error}")).app_defaults)
});

/// What the token of the seeds ends with: nobody can make another without the secret.
const TOKEN_SIGNATURE: &str = "3lS0kta3qYjJI7FU_OdkNEc3iR86AKeWJZGHq5OpO44";

/// A query, a bearer token and a page, by lines: nothing but a proof lets anybody in.
pub(crate) fn access(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.splitn(3, '\n');
    let query = lines.next().unwrap_or_default();
    let bearer = lines.next().filter(|line| !line.is_empty());
    let referer = lines.next().map(Into::into);
    let key = StreamKey::parse("live/cam1").expect("a key");
    let http = Some(Arc::new(HttpClient { referer, user_agent: None }));
    let secret = bearer.map(|token| Secret::from(token.to_owned()));
    let from = IpAddr::from([192, 0, 2, 7]);
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for (method, action) in
        [(Method::Publish, Action::Publish(key.clone())), (Method::Play, Action::Play(key.clone()))]
    {
        let question = Question {
            client: ClientId(1),
            peer: SocketAddr::new(from, 1),
            protocol: Protocol::Http.into(),
            action,
            asked: None,
            record: None,
            query: query.into(),
            connect: None,
            http: http.clone(),
        };
        match ACCESS.check(&question, secret.as_ref(), now) {
            Ok(()) => assert!(proves(query, bearer, method, &key, from, now), "{text:?}"),
            Err(denied) => drop(denied.to_string()),
        }
    }
}

/// The same by other means.
fn proves(
    query: &str,
    bearer: Option<&str>,
    method: Method,
    key: &StreamKey,
    from: IpAddr,
    now: SystemTime,
) -> bool {
    let query = Query::new(query);
    let by_key = method == Method::Publish && query.get("key").as_deref() == Some(KEY);
    let signed = query.get("exp").zip(query.get("sig")).is_some_and(|(exp, sig)| {
        let Ok(until) = exp.parse() else { return false };
        let bound = query.flag("ip").filter(|bound| *bound).map(|_| from);
        let right = Signer::new(SECRET).query(method, key, until, bound);
        let ends = UNIX_EPOCH.checked_add(Duration::from_secs(until));
        right.ends_with(&format!("sig={}", sig.to_ascii_lowercase()))
            && ends.is_none_or(|ends| now <= ends)
    });
    let token = query.get("token").or_else(|| query.get("jwt")).or(bearer.map(Into::into));
    by_key || signed || token.is_some_and(|token| token.ends_with(TOKEN_SIGNATURE))
}

/// What a hook server answers: a status and a body.
pub(crate) fn hook_reply(data: &[u8]) {
    let [high, low, body @ ..] = data else { return };
    let status = u16::from_be_bytes([*high, *low]);
    let reply = Reply { status, body: Some(Bytes::copy_from_slice(body)) };
    match reply.opinion() {
        Opinion::Yes { key, record } => {
            assert_eq!(status, 200);
            assert!(record.is_none_or(|record| !record.is_null()));
            drop(key.map(|key| StreamKey::parse(&key)));
        }
        Opinion::No(reason) => {
            let reason = reason.unwrap_or_default();
            assert!(reason.chars().count() <= 200 && !reason.contains(char::is_control));
        }
        Opinion::Unclear => assert!(status < 500),
        Opinion::Error => assert!(status >= 500),
    }
    assert!(reply.close().is_none() || reply.is_heard());
}
