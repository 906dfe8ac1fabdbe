//! Commands over AMF0 (RTMP 7.2): calls as they come, the ones the server knows, and replies.

use bytes::{Bytes, BytesMut};

use super::{kind, url};
use crate::container::amf0::{self, Value};

/// One command message: a name, a transaction id and what follows them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call {
    /// The command's name; `_result`, `_error` and `onStatus` are replies.
    pub(super) name: String,
    /// What the reply must carry; 0 asks for none.
    pub(super) transaction: f64,
    /// The command object (often null), then the arguments.
    pub(super) arguments: Vec<Value>,
}

impl Call {
    /// Reads the body of a message of kind 20, or of kind 17 with AMF0 inside. A missing
    /// transaction id counts as 0.
    pub(super) fn decode(kind: u8, body: &[u8], limits: amf0::Limits) -> Result<Self, NotACall> {
        let mut values = amf0::decode(amf0_of(kind, body), limits)?.into_iter();
        let name = match values.next() {
            Some(Value::String(name)) => name,
            Some(other) => return Err(NotACall::Name { found: type_name(&other) }),
            None => return Err(NotACall::Name { found: "an empty message" }),
        };
        let transaction = values.next().and_then(|id| id.as_f64()).unwrap_or(0.0);
        Ok(Self { name, transaction, arguments: values.collect() })
    }

    /// Argument number `index`, the command object being 0.
    pub(super) fn argument(&self, index: usize) -> Option<&Value> {
        self.arguments.get(index)
    }

    fn text(&self, index: usize) -> String {
        self.argument(index).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn number(&self, index: usize) -> Option<f64> {
        self.argument(index).and_then(Value::as_f64)
    }

    /// A flag, which some senders write as a number.
    fn flag(&self, index: usize) -> Option<bool> {
        let value = self.argument(index)?;
        value.as_bool().or_else(|| value.as_f64().map(|number| number != 0.0))
    }
}

/// Why a command message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NotACall {
    /// The body is not AMF0.
    #[error(transparent)]
    Amf(#[from] amf0::Error),
    /// The first value is not the command's name.
    #[error("rtmp/command: expected the command's name, found {found}")]
    Name {
        /// What stood there.
        found: &'static str,
    },
}

/// The AMF0 part of a message that may be wrapped for AMF3 (kinds 15 and 17): those begin with a
/// format selector of 0. Senders that leave it out are understood, because no AMF0 command or
/// data message begins with a number.
pub(super) fn amf0_of(kind: u8, body: &[u8]) -> &[u8] {
    match (kind, body) {
        (kind::COMMAND_AMF3 | kind::DATA_AMF3, [0, rest @ ..]) => rest,
        _ => body,
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "a number",
        Value::Boolean(_) => "a boolean",
        Value::Object(_) | Value::Typed { .. } | Value::EcmaArray(_) => "an object",
        Value::Null | Value::Undefined => "null",
        _ => "another value",
    }
}

/// A call the server knows, its arguments read. Absent arguments have their documented default.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Connect(Box<Connect>),
    CreateStream,
    ReleaseStream,
    FcPublish,
    FcUnpublish,
    FcSubscribe {
        name: String,
    },
    Publish {
        name: String,
        kind: PublishKind,
    },
    Play {
        name: String,
        start: f64,
        duration: f64,
        reset: bool,
    },
    Pause {
        pause: bool,
    },
    Seek,
    ReceiveAudio(bool),
    ReceiveVideo(bool),
    CloseStream,
    DeleteStream {
        /// `None` if it was not said.
        stream_id: Option<u32>,
    },
    GetStreamLength,
    CheckBandwidth,
    /// An answer to something; nothing we ask needs one.
    Reply,
    Unknown,
}

impl Command {
    pub(super) fn of(call: &Call) -> Self {
        match call.name.as_str() {
            "connect" => Self::Connect(Box::new(Connect::of(call))),
            "createStream" => Self::CreateStream,
            "releaseStream" => Self::ReleaseStream,
            "FCPublish" => Self::FcPublish,
            "FCUnpublish" => Self::FcUnpublish,
            "FCSubscribe" => Self::FcSubscribe { name: call.text(1) },
            "publish" => Self::Publish { name: call.text(1), kind: PublishKind::of(&call.text(2)) },
            // A player of the Flash API stops by `play(false)`.
            "play" if call.argument(1) == Some(&Value::Boolean(false)) => Self::CloseStream,
            "play" => Self::Play {
                name: call.text(1),
                start: call.number(2).unwrap_or(-2.0),
                duration: call.number(3).unwrap_or(-1.0),
                reset: call.flag(4).unwrap_or(true),
            },
            "pause" | "pauseRaw" => Self::Pause { pause: call.flag(1).unwrap_or(true) },
            "seek" => Self::Seek,
            "receiveAudio" => Self::ReceiveAudio(call.flag(1).unwrap_or(true)),
            "receiveVideo" => Self::ReceiveVideo(call.flag(1).unwrap_or(true)),
            "closeStream" => Self::CloseStream,
            "deleteStream" => {
                // A number out of range saturates, and names no stream of ours.
                Self::DeleteStream { stream_id: call.number(1).map(|id| id as u32) }
            }
            "getStreamLength" => Self::GetStreamLength,
            "_checkbw" => Self::CheckBandwidth,
            "_result" | "_error" | "onStatus" => Self::Reply,
            _ => Self::Unknown,
        }
    }
}

/// What the publisher asked the server to do with the stream. All three are routed live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishKind {
    /// `live`, or anything unknown.
    Live,
    /// `record`.
    Record,
    /// `append`.
    Append,
}

impl PublishKind {
    fn of(text: &str) -> Self {
        match text {
            "record" => Self::Record,
            "append" => Self::Append,
            _ => Self::Live,
        }
    }
}

/// What a client said of itself in `connect`, as it came. The texts may hold anything.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Connect {
    pub(super) transaction: f64,
    /// The app without its query.
    pub app: String,
    /// `tcUrl`, query included.
    pub tc_url: String,
    /// `flashVer`: the client's name.
    pub flash_ver: String,
    /// `pageUrl`: the page a player is on.
    pub page_url: String,
    /// `swfUrl`.
    pub swf_url: String,
    /// `fourCcList` of Enhanced RTMP: codecs the client can handle; `*` is all. `None` if it sent
    /// no list.
    pub four_cc_list: Option<Vec<String>>,
    /// `videoFourCcInfoMap`: codec and a mask of 1 decode, 2 encode, 4 forward.
    pub video_four_cc_info: Vec<(String, u32)>,
    /// `audioFourCcInfoMap`, likewise.
    pub audio_four_cc_info: Vec<(String, u32)>,
    /// `capsEx` of Enhanced RTMP.
    pub caps_ex: Option<u32>,
    /// `objectEncoding`: 0 is AMF0, 3 is AMF3.
    pub object_encoding: u32,
    /// Query parameters of the app and of `tcUrl`, merged, without `?`.
    pub query: String,
}

impl Connect {
    fn of(call: &Call) -> Self {
        let object = call.argument(0).unwrap_or(&Value::Null);
        let text = |name| object.get(name).and_then(Value::as_str).unwrap_or_default();
        let number = |name| object.get(name).and_then(Value::as_f64);
        let (app, app_query) = url::split_query(text("app"));
        let (_, url_query) = url::split_query(text("tcUrl"));
        let four_cc_list = match object.get("fourCcList") {
            Some(Value::StrictArray(list)) => {
                let names = list.iter().filter_map(|name| name.as_str().map(str::to_owned));
                Some(names.take(FOUR_CCS_MAX).collect())
            }
            // A list with named places is a list.
            Some(Value::EcmaArray(fields) | Value::Object(fields)) => {
                let names = fields.iter().filter_map(|(_, name)| name.as_str().map(str::to_owned));
                Some(names.take(FOUR_CCS_MAX).collect())
            }
            _ => None,
        };
        Self {
            transaction: call.transaction,
            app: app.trim_matches('/').to_owned(),
            tc_url: text("tcUrl").to_owned(),
            flash_ver: text("flashVer").to_owned(),
            page_url: text("pageUrl").to_owned(),
            swf_url: text("swfUrl").to_owned(),
            four_cc_list,
            video_four_cc_info: info_map(object.get("videoFourCcInfoMap")),
            audio_four_cc_info: info_map(object.get("audioFourCcInfoMap")),
            caps_ex: number("capsEx").map(|caps| caps as u32),
            object_encoding: number("objectEncoding").unwrap_or(0.0) as u32,
            query: url::merge_queries([app_query, url_query]),
        }
    }

    /// True if the client spoke of Enhanced RTMP at all.
    pub fn is_enhanced(&self) -> bool {
        self.four_cc_list.is_some() || self.caps_ex.is_some() || self.has_info_maps()
    }

    pub(super) fn has_info_maps(&self) -> bool {
        !self.video_four_cc_info.is_empty() || !self.audio_four_cc_info.is_empty()
    }

    /// True if the client listed the video codecs it can handle and `four_cc` is not among them.
    pub fn lacks_video(&self, four_cc: &str) -> bool {
        let listed = self.four_cc_list.iter().flatten().map(String::as_str);
        let mapped = self.video_four_cc_info.iter().map(|(name, _)| name.as_str());
        let lists = self.four_cc_list.is_some() || !self.video_four_cc_info.is_empty();
        lists && !listed.chain(mapped).any(|name| name == four_cc || name == "*")
    }
}

fn info_map(value: Option<&Value>) -> Vec<(String, u32)> {
    match value {
        Some(Value::Object(fields) | Value::EcmaArray(fields)) => {
            let number = |value: &Value| value.as_f64().unwrap_or(0.0) as u32;
            let masks = fields.iter().map(|(name, mask)| (name.clone(), number(mask)));
            masks.take(FOUR_CCS_MAX).collect()
        }
        _ => Vec::new(),
    }
}

/// Codecs kept of each list of a client, which lives as long as its connection. The rest is left
/// out: there are not half as many.
const FOUR_CCS_MAX: usize = 64;

/// The body of a command message.
pub(super) fn encode(name: &str, transaction: f64, arguments: &[Value]) -> Bytes {
    let mut body = BytesMut::new();
    amf0::encode(&mut body, &Value::String(name.to_owned()));
    amf0::encode(&mut body, &Value::Number(transaction));
    for argument in arguments {
        amf0::encode(&mut body, argument);
    }
    body.freeze()
}

/// An AMF0 object of its fields.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
}

/// An AMF0 string.
pub(super) fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}

/// The information object of a status, RTMP 7.2.2.
pub(super) fn status(level: Level, code: &str, description: &str) -> Value {
    let level = match level {
        Level::Status => "status",
        Level::Error => "error",
    };
    object([("level", text(level)), ("code", text(code)), ("description", text(description))])
}

/// What this program handles of Enhanced RTMP, for both ends' side of connect.
pub(super) fn enhanced_offer() -> [(String, Value); 2] {
    let names = VIDEO_FOUR_CCS.iter().chain(&AUDIO_FOUR_CCS).map(|&name| text(name));
    [
        ("fourCcList".to_owned(), Value::StrictArray(names.collect())),
        ("capsEx".to_owned(), Value::Number(f64::from(CAPS_EX))),
    ]
}

/// The same as a server's answer to `client`: nothing to a client that knows nothing of it, and
/// maps to one that sent maps.
pub(super) fn enhanced_answer(client: &Connect) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    if client.is_enhanced() {
        fields.extend(enhanced_offer());
    }
    if client.has_info_maps() {
        for (name, codecs) in [
            ("videoFourCcInfoMap", &VIDEO_FOUR_CCS[..]),
            ("audioFourCcInfoMap", &AUDIO_FOUR_CCS[..]),
        ] {
            let masks = codecs.iter().map(|&codec| (codec.to_owned(), Value::Number(CAN_FORWARD)));
            fields.push((name.to_owned(), Value::Object(masks.collect())));
        }
    }
    fields
}

const VIDEO_FOUR_CCS: [&str; 4] = ["hvc1", "av01", "vp09", "avc1"];
const AUDIO_FOUR_CCS: [&str; 5] = ["mp4a", "Opus", "ac-3", ".mp3", "fLaC"];

/// ModEx and its nanosecond offset. Not multitrack, of which only track 0 is routed, and not
/// reconnect.
const CAPS_EX: u32 = 0x04 | 0x08;

/// The mask of a codec that is neither decoded nor encoded here.
const CAN_FORWARD: f64 = 4.0;

/// How bad a status is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Status,
    Error,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(name: &str, transaction: f64, arguments: &[Value]) -> Call {
        let body = encode(name, transaction, arguments);
        Call::decode(kind::COMMAND, &body, amf0::Limits::default()).expect("our own encoding")
    }

    #[test]
    fn a_call_comes_back_as_it_went() {
        let arguments = [Value::Null, text("x"), Value::Number(-2.0)];
        let call = round_trip("play", 4.0, &arguments);
        assert_eq!(
            call,
            Call { name: "play".into(), transaction: 4.0, arguments: arguments.into() }
        );
    }

    #[test]
    fn connect_keeps_every_field() {
        let call = round_trip(
            "connect",
            1.0,
            &[object([
                ("app", text("live/?a=1")),
                ("tcUrl", text("rtmp://h/live?a=2&b=3")),
                ("flashVer", text("OBS")),
                ("pageUrl", text("http://page")),
                ("swfUrl", text("http://swf")),
                ("fourCcList", Value::StrictArray(vec![text("av01"), text("hvc1")])),
                ("videoFourCcInfoMap", object([("*", Value::Number(7.0))])),
                ("capsEx", Value::Number(4.0)),
                ("objectEncoding", Value::Number(3.0)),
            ])],
        );
        let Command::Connect(connect) = Command::of(&call) else { panic!("not connect") };
        let expected = Connect {
            transaction: 1.0,
            app: "live".into(),
            tc_url: "rtmp://h/live?a=2&b=3".into(),
            flash_ver: "OBS".into(),
            page_url: "http://page".into(),
            swf_url: "http://swf".into(),
            four_cc_list: Some(vec!["av01".into(), "hvc1".into()]),
            video_four_cc_info: vec![("*".into(), 7)],
            audio_four_cc_info: vec![],
            caps_ex: Some(4),
            object_encoding: 3,
            query: "a=1&b=3".into(),
        };
        assert_eq!(*connect, expected);
    }

    #[test]
    fn a_list_without_hvc1_lacks_it_and_a_star_lacks_nothing() {
        let with = |list: &[&str]| Connect {
            four_cc_list: Some(list.iter().map(|&name| name.to_owned()).collect()),
            ..Connect::default()
        };
        assert!(!Connect::default().lacks_video("hvc1"));
        assert!(with(&["av01"]).lacks_video("hvc1"));
        assert!(!with(&["av01", "hvc1"]).lacks_video("hvc1"));
        assert!(!with(&["*"]).lacks_video("hvc1"));
    }

    #[test]
    fn an_endless_list_of_codecs_is_not_kept() {
        let map =
            || Value::Object((0..1000).map(|n| (n.to_string(), Value::Number(1.0))).collect());
        let fields = object([
            ("fourCcList", Value::StrictArray(vec![text("av01"); 1000])),
            ("videoFourCcInfoMap", map()),
            ("audioFourCcInfoMap", map()),
        ]);
        let Command::Connect(connect) = Command::of(&round_trip("connect", 1.0, &[fields])) else {
            panic!("not connect")
        };
        assert_eq!(connect.four_cc_list.as_deref().map(<[_]>::len), Some(FOUR_CCS_MAX));
        let maps = [connect.video_four_cc_info, connect.audio_four_cc_info];
        assert_eq!(maps.map(|map| map.len()), [FOUR_CCS_MAX; 2]);
    }

    #[test]
    fn absent_arguments_of_play_have_their_defaults() {
        let call = round_trip("play", 0.0, &[Value::Null, text("x")]);
        let play = Command::Play { name: "x".into(), start: -2.0, duration: -1.0, reset: true };
        assert_eq!(Command::of(&call), play);
    }

    #[test]
    fn record_and_append_and_anything_else_are_read() {
        assert_eq!(PublishKind::of("record"), PublishKind::Record);
        assert_eq!(PublishKind::of("append"), PublishKind::Append);
        assert_eq!(PublishKind::of("LIVE"), PublishKind::Live);
    }

    #[test]
    fn an_amf3_wrapped_call_is_read_with_and_without_its_selector() {
        let body = encode("createStream", 2.0, &[Value::Null]);
        let wrapped = [&[0], &body[..]].concat();
        for body in [&wrapped[..], &body[..]] {
            let call = Call::decode(kind::COMMAND_AMF3, body, amf0::Limits::default());
            assert_eq!(call.expect("a call").name, "createStream");
        }
    }

    #[test]
    fn an_amf3_object_is_refused_by_name() {
        let mut body = encode("connect", 1.0, &[]).to_vec();
        body.extend([0x11, 0x0a, 0x0b, 0x01]);
        let error = Call::decode(kind::COMMAND_AMF3, &body, amf0::Limits::default());
        let error = error.expect_err("AMF3 inside").to_string();
        assert!(error.contains("AMF3"), "{error}");
    }

    #[test]
    fn a_body_without_a_name_is_refused() {
        let mut body = BytesMut::new();
        amf0::encode(&mut body, &Value::Number(1.0));
        for body in [&body[..], &[]] {
            let error = Call::decode(kind::COMMAND, body, amf0::Limits::default());
            assert!(matches!(error, Err(NotACall::Name { .. })));
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(body: Vec<u8>) {
            for kind in [kind::COMMAND, kind::COMMAND_AMF3] {
                if let Ok(call) = Call::decode(kind, &body, amf0::Limits::default()) {
                    let _ = Command::of(&call);
                }
            }
        }
    }
}
