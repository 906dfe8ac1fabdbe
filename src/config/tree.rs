use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::app::App;
use super::hooks::Hooks;
use super::proxy::Proxy;
use super::secret::Secret;
use super::ts_udp::TsUdp;
use super::units::{addresses, duration, size};

/// The whole configuration. The default is what runs without a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The cores that carry streams, one pinned thread each.
    pub cores: Cores,
    /// Whether apps without an `[app.NAME]` are refused.
    pub strict_apps: bool,
    /// MPEG transport streams that come in datagrams.
    pub ts_udp: Vec<TsUdp>,
    /// RTMP.
    pub rtmp: Rtmp,
    /// Media over HTTP and WebSocket.
    pub http: Http,
    /// The proxies and balancers before this node.
    pub proxy: Proxy,
    /// The API, the metrics and the console.
    pub admin: Admin,
    /// Certificates.
    pub tls: Tls,
    /// Servers that are told what happens, or asked.
    pub hooks: Hooks,
    /// The log.
    pub log: Log,
    /// How the node goes out of service.
    pub drain: Drain,
    /// Every TCP socket.
    pub tcp: Tcp,
    /// Bounds of what the outside world can make us hold.
    pub limits: Limits,
    /// What holds for every app that does not say otherwise.
    pub app_defaults: Arc<App>,
    /// Apps by name, each with all its keys: its own, then those of `app_defaults`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub app: BTreeMap<String, Arc<App>>,
}

/// The cores that carry streams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Cores {
    /// Each that the process may run on.
    #[default]
    All,
    /// The first so many of those.
    Count(usize),
    /// Just these, by the kernel's number.
    List(Vec<usize>),
}

/// `[rtmp]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rtmp {
    /// Whether RTMP is served.
    pub enabled: bool,
    /// Where; `[::]` means IPv6 and IPv4.
    #[serde(with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Where RTMPS is served; empty for nowhere.
    #[serde(with = "addresses")]
    pub tls_listen: Vec<SocketAddr>,
    /// Bytes per chunk we send; 128 to 16777215.
    pub chunk_size: u32,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Whether media is served over HTTP.
    pub enabled: bool,
    /// Where; `[::]` means IPv6 and IPv4.
    #[serde(with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Where the same is served by HTTPS; empty for nowhere.
    #[serde(with = "addresses")]
    pub tls_listen: Vec<SocketAddr>,
    /// Whether clients may publish by POST and PUT.
    pub publish: bool,
    /// How an endless body ends.
    pub body: Body,
    /// The longest time from a connection's first byte, or the answer before, to the end of a
    /// request head.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// The largest request head, in bytes.
    #[serde(with = "size")]
    pub head_bytes: usize,
    /// How long a connection may idle between two requests.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
}

/// How an endless body of HTTP/1.1 is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// Until the connection closes.
    Close,
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// `[admin]`: what the control thread serves over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Whether it is served.
    pub enabled: bool,
    /// Where; addresses that other hosts reach need a token.
    #[serde(with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Where it is served over TLS, likewise.
    #[serde(with = "addresses")]
    pub tls_listen: Vec<SocketAddr>,
    /// What a client must send as `Authorization: Bearer …`; empty for nothing.
    pub token: Secret,
    /// A file with the token, read at the start and at a reload; empty for none.
    pub token_file: String,
    /// Origins whose pages may use the API (CORS).
    pub allow_origin: Vec<String>,
    /// Origins that the console may play from, beside the ports of `[http]`.
    pub media_origins: Vec<String>,
    /// Where the metrics, and nothing else, are told to anyone, whether `enabled` or not.
    #[serde(with = "addresses")]
    pub metrics_listen: Vec<SocketAddr>,
    /// Streams that the metrics tell of one by one, those with most viewers.
    pub metrics_streams_max: usize,
}

/// `[tls]`: what is shown to clients of RTMPS and HTTPS, those of the API among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates with their keys; the first is shown to whoever names no host or another.
    pub certificates: Vec<Certificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How often the files are looked at.
    #[serde(with = "duration")]
    pub watch: Duration,
}

/// A certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// A PEM file: the certificate, then those between it and the root.
    pub cert: String,
    /// A PEM file: its private key.
    pub key: String,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.2 (RFC 5246).
    #[serde(rename = "1.2")]
    Tls12,
    /// 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged: a level, or directives such as `info,corecast::proto=trace`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
    /// Where lines go; empty for standard error.
    pub file: String,
    /// The file begins anew before it is larger than this, in bytes; zero for any size.
    #[serde(with = "size")]
    pub rotate_bytes: usize,
    /// When it begins anew besides.
    pub rotate: Rotate,
    /// Earlier files that are kept.
    pub keep: usize,
    /// Lines that may wait for the output; more are dropped and counted.
    pub queue_lines: usize,
    /// How often the figures of the node and its cores are logged; zero for never.
    #[serde(with = "duration")]
    pub stats_interval: Duration,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

/// When a log file begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotate {
    /// With each day, by UTC.
    Daily,
    /// Only when it is large enough.
    Never,
}

/// `[drain]`: how the node goes out of service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drain {
    /// How long the listeners stay open when the node says that it is not ready; while nobody is
    /// connected, not at all.
    #[serde(with = "duration")]
    pub delay: Duration,
    /// Viewers ended per second, on all cores together; more if `timeout` leaves too little time.
    pub rate: u32,
    /// The longest it takes from the first signal on.
    #[serde(with = "duration")]
    pub timeout: Duration,
}

/// `[tcp]`: every TCP socket. TCP_NODELAY is always set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tcp {
    /// Idle time before the kernel probes whether the peer is there, whole seconds.
    #[serde(with = "duration")]
    pub keepalive: Duration,
    /// The longest time that sent bytes may stay unacknowledged (TCP_USER_TIMEOUT).
    #[serde(with = "duration")]
    pub user_timeout: Duration,
    /// Connections that the kernel holds for each core's listener until they are accepted.
    pub backlog: u32,
    /// Connections accepted before running streams get their turn again.
    pub accept_per_turn: usize,
}

/// `[limits]`: bounds of what the outside world can make us hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of the node; zero for as many as file descriptors allow.
    pub connections: usize,
    /// Connections of one address; zero for any number.
    pub connections_per_address: usize,
    /// New connections per second of one address; zero for any number.
    pub connects_per_second_per_address: u32,
    /// Viewers of the node; zero for any number.
    pub viewers: usize,
    /// Publishers of the node; zero for any number.
    pub publishers: usize,
    /// Files of recordings that are read at once for replays.
    pub replays: usize,
    /// File descriptors that connections never get.
    pub reserved_fds: usize,
    /// Viewers of one key that wait for its publisher.
    pub waiting_sinks_per_key: usize,
    /// Viewers of the node that wait for a publisher.
    pub waiting_sinks: usize,
    /// Viewers by HTTP Live Streaming on this node.
    pub hls_sessions: usize,
    /// Bytes of segments for HTTP Live Streaming that the node keeps.
    #[serde(with = "size")]
    pub hls_max_bytes: usize,
    /// One message of a publisher, in bytes.
    #[serde(with = "size")]
    pub message_bytes: usize,
    /// Unfinished messages of one connection in all, in bytes.
    #[serde(with = "size")]
    pub reassembly_bytes: usize,
    /// The same until publish is granted, in bytes.
    #[serde(with = "size")]
    pub reassembly_bytes_before_publish: usize,
    /// Chunk streams of one RTMP connection.
    pub chunk_streams: usize,
    /// Depth of nested AMF values.
    pub amf_depth: usize,
    /// AMF values of one message.
    pub amf_values: usize,
    /// Input of a connection that is kept unparsed while its question is open, in bytes.
    #[serde(with = "size")]
    pub held_input_bytes: usize,
    /// The longest RTMP handshake.
    #[serde(with = "duration")]
    pub handshake_timeout: Duration,
    /// The longest time from the handshake to publish or play.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// The longest time from Publish.Start to the first frame.
    #[serde(with = "duration")]
    pub first_frame_timeout: Duration,
    /// The longest silence of a publisher.
    #[serde(with = "duration")]
    pub publisher_silence: Duration,
    /// A peer that takes nothing of an answer for this long is closed.
    #[serde(with = "duration")]
    pub reply_timeout: Duration,
    /// The longest wait for a verdict on a publish or play.
    #[serde(with = "duration")]
    pub verdict_timeout: Duration,
    /// Messages that may wait on the way from one core to another.
    pub mesh_queue: usize,
    /// Log lines per second and core about connections that broke the rules.
    pub log_violations_per_second: u32,
}

impl Config {
    /// What holds for the streams of an app: its `[app.NAME]`, or `[app_defaults]` if there is
    /// none. `None` if the app is unknown and `strict_apps` is set.
    pub fn app(&self, name: &str) -> Option<&Arc<App>> {
        let unknown = || (!self.strict_apps).then_some(&self.app_defaults);
        self.app.get(name).or_else(unknown)
    }

    /// The effective configuration: every key with its value. Reads back as the same.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings, numbers and tables with string keys only")
    }
}

/// Whether the listener on `address` must leave IPv4 alone: it does if it names one IPv6 address,
/// or if another of `all` serves IPv4 on its port.
pub fn v6_only(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let SocketAddr::V6(v6) = address else { return false };
    *v6.ip() != Ipv6Addr::UNSPECIFIED
        || all.iter().any(|other| other.is_ipv4() && other.port() == v6.port())
}

impl Default for Rtmp {
    fn default() -> Self {
        Self { enabled: true, listen: everywhere(1935), tls_listen: Vec::new(), chunk_size: 60_000 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: everywhere(8080),
            tls_listen: Vec::new(),
            publish: true,
            body: Body::Close,
            head_timeout: Duration::from_secs(10),
            head_bytes: 8 << 10,
            keep_alive: Duration::from_secs(15),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))],
            tls_listen: Vec::new(),
            token: Secret::default(),
            token_file: String::new(),
            allow_origin: Vec::new(),
            media_origins: Vec::new(),
            metrics_listen: Vec::new(),
            metrics_streams_max: 1000,
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            min_version: TlsVersion::Tls12,
            watch: Duration::from_secs(10),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Pretty,
            file: String::new(),
            rotate_bytes: 100 << 20,
            rotate: Rotate::Daily,
            keep: 7,
            queue_lines: 8192,
            stats_interval: Duration::from_secs(60),
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        let (delay, timeout) = (Duration::from_secs(5), Duration::from_secs(25));
        Self { delay, rate: 500, timeout }
    }
}

impl Default for Tcp {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(30),
            user_timeout: Duration::from_secs(15),
            backlog: 1024,
            accept_per_turn: 64,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_address: 0,
            connects_per_second_per_address: 0,
            viewers: 0,
            publishers: 0,
            replays: 256,
            reserved_fds: 64,
            waiting_sinks_per_key: 1000,
            waiting_sinks: 10_000,
            hls_sessions: 100_000,
            hls_max_bytes: 1 << 30,
            message_bytes: 16 << 20,
            reassembly_bytes: 32 << 20,
            reassembly_bytes_before_publish: 64 << 10,
            chunk_streams: 64,
            amf_depth: 16,
            amf_values: 4096,
            held_input_bytes: 64 << 10,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(20),
            first_frame_timeout: Duration::from_secs(20),
            publisher_silence: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(10),
            verdict_timeout: Duration::from_secs(5),
            mesh_queue: 4096,
            log_violations_per_second: 10,
        }
    }
}

fn everywhere(port: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))]
}

impl Serialize for Cores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Count(count) => count.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Cores {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CoresVisitor)
    }
}

struct CoresVisitor;

impl<'de> serde::de::Visitor<'de> for CoresVisitor {
    type Value = Cores;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"all\", a count such as 2, or a list of cores such as [0, 1]")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cores, E> {
        match text {
            "all" => Ok(Cores::All),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Cores, E> {
        usize::try_from(count)
            .map(Cores::Count)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Cores, A::Error> {
        let mut list = Vec::new();
        while let Some(core) = seq.next_element()? {
            list.push(core);
        }
        Ok(Cores::List(list))
    }
}
