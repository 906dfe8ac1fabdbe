//! What is told: SRS's fields under SRS's names, and ours besides.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::config::{Hook, Secret};
use crate::serve::event::GrantEnd;
use crate::serve::verdict::{Action, ClientId, Protocol, Question, Way};

/// One request's body, made once: whoever is told twice is told the same.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) hook: Hook,
    pub(super) event_id: String,
    /// The connection that it is about, for the log.
    pub(super) client: Option<ClientId>,
    pub(super) body: Bytes,
}

/// Who tells.
#[derive(Debug)]
pub(super) struct Teller {
    /// The host's name.
    server_id: String,
    /// This run of the program.
    service_id: String,
    events: AtomicU64,
}

/// What a message is about.
#[derive(Debug, Default)]
pub(super) struct About<'a> {
    pub(super) question: Option<&'a Question>,
    pub(super) end: Option<&'a GrantEnd>,
    /// More fields: an object.
    pub(super) more: Option<Value>,
}

#[derive(Serialize)]
struct Payload<'a> {
    event_id: &'a str,
    /// Seconds since 1970.
    time: f64,
    action: &'static str,
    server_id: &'a str,
    service_id: &'a str,
    #[serde(flatten)]
    client: Option<Client<'a>>,
    #[serde(flatten)]
    end: Option<End<'a>>,
    #[serde(flatten)]
    more: Option<Value>,
}

#[derive(Serialize)]
struct Client<'a> {
    client_id: String,
    ip: String,
    port: u16,
    vhost: &'static str,
    app: &'a str,
    #[serde(rename = "tcUrl")]
    tc_url: Cow<'a, str>,
    #[serde(rename = "pageUrl")]
    page_url: &'a str,
    param: String,
    protocol: String,
    user_agent: &'a str,
    /// Empty if it is about none.
    stream: &'a str,
    #[serde(flatten)]
    more: Option<Stream<'a>>,
}

#[derive(Serialize)]
struct Stream<'a> {
    stream_url: String,
    stream_id: String,
    /// The one in use, which may be another than was asked for.
    key: &'a str,
}

#[derive(Serialize)]
struct End<'a> {
    reason: &'a str,
    started: bool,
    duration_s: f64,
    send_bytes: u64,
    recv_bytes: u64,
}

/// SRS's name for the one there is.
const VHOST: &str = "__defaultVhost__";

impl Teller {
    /// Of this host, with a number of its own.
    pub(super) fn new() -> Self {
        let server_id = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // The hasher's keys are random.
        let service_id = format!("{:016x}", RandomState::new().build_hasher().finish());
        Self { server_id, service_id, events: AtomicU64::new(0) }
    }

    /// What `hook` is told of `about`, now.
    pub(super) fn message(&self, hook: Hook, about: About<'_>) -> Message {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let event_id = format!("{}-{number:x}", self.service_id);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let payload = Payload {
            event_id: &event_id,
            time: (time.as_secs_f64() * 1000.0).round() / 1000.0,
            action: action(hook),
            server_id: &self.server_id,
            service_id: &self.service_id,
            client: about.question.map(client),
            end: about.end.map(end),
            more: about.more,
        };
        let body = serde_json::to_vec(&payload).expect("plain values under names").into();
        let client = about.question.map(|question| question.client);
        Message { hook, event_id, client, body }
    }
}

impl Message {
    /// The value of the header that proves who sent it; `None` without a secret.
    pub(super) fn signature(&self, secret: &Secret) -> Option<String> {
        if secret.is_empty() {
            return None;
        }
        let key = secret.reveal().as_bytes();
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        mac.update(&self.body);
        Some(format!("sha256={}", hex(&mac.finalize().into_bytes())))
    }
}

/// SRS's names where it has the event.
fn action(hook: Hook) -> &'static str {
    match hook {
        Hook::PublishDone => "on_unpublish",
        Hook::PlayDone => "on_stop",
        hook => hook.key(),
    }
}

fn client(question: &Question) -> Client<'_> {
    let connect = question.connect.as_deref();
    let (app, stream, more) = match &question.action {
        Action::Connect { app } => {
            // As it is part of a stream key.
            (app.trim_matches('/').split('/').next().unwrap_or_default(), "", None)
        }
        Action::Publish(key) | Action::Play(key) => {
            let asked = question.asked.as_ref().unwrap_or(key);
            let more = Stream {
                stream_url: format!("/{asked}"),
                stream_id: stream_id(asked.as_str()),
                key: key.as_str(),
            };
            (asked.app(), asked.name(), Some(more))
        }
    };
    // SRS makes one up for those who have none.
    let tc_url = match question.protocol {
        Way::Connection(Protocol::Rtmp) => connect.map_or("", |connect| &connect.tc_url).into(),
        _ => format!("rtmp://{VHOST}/{app}").into(),
    };
    Client {
        client_id: question.client.to_string(),
        ip: question.peer.ip().to_canonical().to_string(),
        port: question.peer.port(),
        vhost: VHOST,
        app,
        tc_url,
        page_url: question.page().unwrap_or_default(),
        param: match &*question.query {
            "" => String::new(),
            query => format!("?{query}"),
        },
        protocol: question.protocol.to_string(),
        user_agent: question.agent().unwrap_or_default(),
        stream,
        more,
    }
}

fn end(end: &GrantEnd) -> End<'_> {
    End {
        reason: &end.reason,
        started: end.started,
        duration_s: (end.lasted.as_secs_f64() * 1000.0).round() / 1000.0,
        send_bytes: end.sent.bytes,
        recv_bytes: end.received,
    }
}

/// The same for a stream on every server and after each start.
fn stream_id(key: &str) -> String {
    format!("vid-{}", hex(&Sha256::digest(key)[..8]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::media::StreamKey;
    use crate::serve::verdict::{ClientId, HttpClient};

    fn question() -> Question {
        Question {
            client: ClientId(42),
            peer: "[::ffff:192.0.2.7]:4711".parse().expect("valid"),
            protocol: Protocol::Rtmp.into(),
            action: Action::Publish(StreamKey::parse("live/a/b").expect("valid")),
            asked: None,
            record: None,
            query: "token=x".into(),
            connect: None,
            http: Some(Arc::new(HttpClient {
                referer: Some("http://page/".into()),
                user_agent: None,
            })),
        }
    }

    fn told(about: About<'_>) -> Value {
        serde_json::from_slice(&Teller::new().message(Hook::PublishDone, about).body).expect("JSON")
    }

    #[test]
    fn a_message_has_the_fields_that_callback_servers_look_for() {
        let question = question();
        let told = told(About { question: Some(&question), ..About::default() });
        let expected = [
            ("action", "on_unpublish"),
            ("client_id", "2a"),
            ("ip", "192.0.2.7"),
            ("vhost", "__defaultVhost__"),
            ("app", "live"),
            ("stream", "a/b"),
            ("param", "?token=x"),
            ("tcUrl", ""),
            ("pageUrl", "http://page/"),
            ("stream_url", "/live/a/b"),
            ("protocol", "rtmp"),
            ("key", "live/a/b"),
        ];
        for (name, value) in expected {
            assert_eq!(told[name], value, "{name} in {told}");
        }
        assert!(told["stream_id"].as_str().is_some_and(|id| id.starts_with("vid-")), "{told}");
        assert!(told["time"].as_f64().is_some_and(|time| time > 1.7e9), "{told}");
        assert!(told["server_id"].is_string() && told.get("reason").is_none(), "{told}");
    }

    #[test]
    fn an_app_ends_at_the_first_slash_and_who_has_no_stream_or_tc_url_is_given_one_as_by_srs() {
        let action = Action::Connect { app: "live/a".to_owned() };
        let connect = Question { action, ..question() };
        let connected = told(About { question: Some(&connect), ..About::default() });
        let published = told(About { question: Some(&question()), ..About::default() });
        assert_eq!((&connected["app"], &connected["stream"]), (&"live".into(), &"".into()));
        assert_eq!(connected["app"], published["app"]);
        assert!(connected.get("stream_url").is_none(), "{connected}");
        let viewer = Question { protocol: Protocol::Http.into(), ..question() };
        let viewer = told(About { question: Some(&viewer), ..About::default() });
        assert_eq!(viewer["tcUrl"], "rtmp://__defaultVhost__/live");
    }

    #[test]
    fn what_was_asked_for_stays_and_the_stream_given_instead_is_the_key() {
        let renamed = question().renamed(StreamKey::parse("other/c").expect("valid"));
        let told = told(About { question: Some(&renamed), ..About::default() });
        assert_eq!((&told["app"], &told["stream"]), (&"live".into(), &"a/b".into()));
        assert_eq!(told["key"], "other/c");
    }

    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        let body = Bytes::from_static(b"what do ya want for nothing?");
        let message = Message { hook: Hook::Play, event_id: String::new(), client: None, body };
        // RFC 4231 4.3.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let secret = Secret::from("Jefe".to_owned());
        assert_eq!(message.signature(&secret).as_deref(), Some(expected));
        assert_eq!(message.signature(&Secret::default()), None);
    }
}
