use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::key_file::KeyFile;
use super::record_path::RecordPath;
use super::rule::Rule;
use super::secret::Secret;
use super::units::{age, bitrate, duration, size};

/// No app has this name: `/rec/…` is where recordings are played from.
pub(crate) const REPLAY_APP: &str = "rec";

/// What whoever wants it is told.
pub(crate) const NO_APP_REC: &str =
    "expected an app of another name: /rec/ is where recordings are played from";

/// What holds for the streams of one app: `[app_defaults]`, overridden key by key by `[app.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// Whether streams may be published to this app at all.
    pub publish: bool,
    /// Whether streams of this app may be played at all.
    pub play: bool,
    /// Who may, by address: the first that fits counts, and who fits none passes.
    pub rules: Vec<Rule>,
    /// Hosts whose pages may show streams by HTTP; empty for any. An empty one stands for clients
    /// that name no page.
    pub referers: Vec<String>,
    /// Keys of which a publisher must have one, `?key=…`; empty for none.
    pub publish_keys: Vec<Secret>,
    /// What URLs are signed by; empty for no signatures.
    pub sign_secret: Secret,
    /// Whether publishers need a signature too, not only viewers.
    pub sign_publish: bool,
    /// What tokens (JWT) are signed by with HS256; empty for no such tokens.
    pub jwt_secret: Secret,
    /// The public key of those that are signed with RS256 or ES256; empty for no such tokens.
    pub jwt_key_file: KeyFile,
    /// Of those, the algorithms that are taken.
    pub jwt_algorithms: Vec<JwtAlgorithm>,
    /// Viewers of one stream; zero for any number.
    pub viewers_max_per_stream: usize,
    /// Viewers of the app's streams from one address; zero for any number.
    pub viewers_max_per_address: usize,
    /// Viewers of the app's streams; zero for any number.
    pub viewers_max: usize,
    /// Publishers of the app's streams; zero for any number.
    pub publishers_max: usize,
    /// What becomes of a second publisher of one stream key.
    pub on_conflict: OnConflict,
    /// Wall-clock time from the arrival of the first unflushed frame to the flush, at most; zero reads
    /// and flushes as it comes.
    #[serde(with = "duration")]
    pub merge_window: Duration,
    /// How wide the window may grow under pressure.
    #[serde(with = "duration")]
    pub merge_window_max: Duration,
    /// Whether viewers start at the last key frame at once, or wait for the next one.
    pub gop_cache: bool,
    /// The longest group of pictures kept for a fast start, in media time.
    #[serde(with = "duration")]
    pub gop_cache_max: Duration,
    /// The largest group of pictures kept for a fast start, in bytes.
    #[serde(with = "size")]
    pub gop_cache_bytes: usize,
    /// How long a viewer without a cached key frame waits for the next one before it starts at
    /// the head anyway.
    #[serde(with = "duration")]
    pub key_wait: Duration,
    /// How far back viewers start where there is no video to start at.
    #[serde(with = "duration")]
    pub audio_start_back: Duration,
    /// Silence of the video after which the stream is treated as audio only.
    #[serde(with = "duration")]
    pub video_stall: Duration,
    /// How far a viewer may lag behind the head, in media time, before it skips.
    #[serde(with = "duration")]
    pub max_lag: Duration,
    /// The most bytes a block log keeps for viewers that lag; per trans stream.
    #[serde(with = "size")]
    pub log_max_bytes: usize,
    /// An open block is sealed at this size, or at one message if that is larger.
    #[serde(with = "size")]
    pub block_bytes: usize,
    /// The least time between two seals made only for newcomers.
    #[serde(with = "duration")]
    pub newcomer_seal: Duration,
    /// The most bytes of blocks that slow viewers may hold beyond the log; per trans stream.
    #[serde(with = "size")]
    pub pinned_max_bytes: usize,
    /// A viewer that takes no byte for this long while bytes wait is closed.
    #[serde(with = "duration")]
    pub stall_timeout: Duration,
    /// How long a viewer of a key nobody publishes waits before it is told "not found".
    #[serde(with = "duration")]
    pub wait_for_publisher: Duration,
    /// How long viewers are kept when the publisher leaves.
    #[serde(with = "duration")]
    pub publisher_grace: Duration,
    /// The longest wait for all announced tracks before the stream starts with those seen.
    #[serde(with = "duration")]
    pub probe_timeout: Duration,
    /// Timestamps that go back further than this are a jump, and are bridged.
    #[serde(with = "duration")]
    pub jump_back: Duration,
    /// Timestamps that go forward further than this are a jump, and are bridged.
    #[serde(with = "duration")]
    pub jump_forward: Duration,
    /// The most a publisher may send, in bits per second; zero for any.
    #[serde(with = "bitrate")]
    pub publisher_bitrate_max: u64,
    /// What becomes of a publisher that sends more.
    pub publisher_bitrate_action: BitrateAction,
    /// How long nobody watches a published stream before that is told; zero for never.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Whether streams may be played by HTTP Live Streaming.
    pub hls: bool,
    /// What its segments are muxed as.
    pub hls_container: HlsContainer,
    /// Whether sound lies in the segments of the pictures.
    pub hls_audio: HlsAudio,
    /// A segment ends at the first key frame after about this long.
    #[serde(with = "duration")]
    pub hls_segment: Duration,
    /// How long a part of a segment is.
    #[serde(with = "duration")]
    pub hls_part: Duration,
    /// How much a playlist lists.
    #[serde(with = "duration")]
    pub hls_window: Duration,
    /// The most bytes kept of one stream's segments.
    #[serde(with = "size")]
    pub hls_max_bytes: usize,
    /// How long a viewer that asks for nothing counts as one.
    #[serde(with = "duration")]
    pub hls_session_idle: Duration,
    /// Whether each stream is recorded from its beginning.
    pub record: bool,
    /// What recordings are muxed as.
    pub record_format: RecordFormat,
    /// Where their files lie; empty for nowhere, and then nothing can be recorded.
    pub record_directory: String,
    /// What files are called there.
    pub record_path: RecordPath,
    /// A file ends at the next key frame when it is so long, in media time; zero for any length.
    #[serde(with = "duration")]
    pub record_rotate: Duration,
    /// The same by its bytes; zero for any number.
    #[serde(with = "size")]
    pub record_rotate_bytes: usize,
    /// Files of the app that are older are removed; zero for never.
    #[serde(with = "age")]
    pub record_keep: Duration,
    /// The oldest files of the app are removed while all of them hold more; zero for never.
    #[serde(with = "size")]
    pub record_keep_bytes: usize,
    /// How often what has come is written and made durable.
    #[serde(with = "duration")]
    pub record_sync: Duration,
    /// What may wait to be written, of one recording; over this it ends.
    #[serde(with = "size")]
    pub record_buffer: usize,
    /// Whether files of its recordings are served by HTTP to whoever may play the stream.
    pub record_replay: bool,
}

/// What segments of HTTP Live Streaming are muxed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HlsContainer {
    /// Fragmented MP4.
    Fmp4,
    /// MPEG-2 transport packets.
    Ts,
}

/// Where sound lies in HTTP Live Streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HlsAudio {
    /// Beside the pictures, in the same segments.
    Muxed,
    /// In segments of its own, which a playlist of its own lists.
    Separate,
}

/// What a recording is muxed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordFormat {
    /// FLV tags.
    Flv,
    /// MPEG-2 transport packets.
    Ts,
    /// Fragments of MP4.
    Fmp4,
}

impl RecordFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flv, Self::Ts, Self::Fmp4];

    /// As it is written in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Fmp4 => "fmp4",
        }
    }

    /// How the names of such files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Flv => "flv",
            Self::Ts => "ts",
            Self::Fmp4 => "mp4",
        }
    }

    /// What a file of this name holds, by how it ends.
    pub fn of_file(name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())?;
        let is_it = |format: &Self| format.extension() == extension && !stem.ends_with('/');
        Self::ALL.into_iter().find(is_it)
    }
}

/// How a token is signed (RFC 7518 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256, by `jwt_secret`.
    #[serde(rename = "HS256")]
    Hs256,
    /// RSA PKCS #1 v1.5 with SHA-256, by the key of `jwt_key_file`.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256, by the key of `jwt_key_file`.
    #[serde(rename = "ES256")]
    Es256,
}

/// What becomes of a publisher that sends more than `publisher_bitrate_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BitrateAction {
    /// It is closed.
    Cut,
    /// The log has a line about it, every few seconds.
    Warn,
}

/// What becomes of a second publisher of one stream key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// It is refused, and told that the name is in use.
    Refuse,
    /// It takes the stream over; the first is closed, its viewers stay.
    TakeOver,
}

impl Default for App {
    fn default() -> Self {
        Self {
            publish: true,
            play: true,
            rules: vec![],
            referers: vec![],
            publish_keys: vec![],
            sign_secret: Secret::default(),
            sign_publish: false,
            jwt_secret: Secret::default(),
            jwt_key_file: KeyFile::default(),
            jwt_algorithms: vec![JwtAlgorithm::Hs256, JwtAlgorithm::Rs256, JwtAlgorithm::Es256],
            viewers_max_per_stream: 0,
            viewers_max_per_address: 0,
            viewers_max: 0,
            publishers_max: 0,
            on_conflict: OnConflict::Refuse,
            merge_window: Duration::from_millis(350),
            merge_window_max: Duration::from_secs(1),
            gop_cache: true,
            gop_cache_max: Duration::from_secs(15),
            gop_cache_bytes: 32 << 20,
            key_wait: Duration::from_secs(10),
            audio_start_back: Duration::from_secs(1),
            video_stall: Duration::from_secs(1),
            max_lag: Duration::from_secs(8),
            log_max_bytes: 48 << 20,
            block_bytes: 1 << 20,
            newcomer_seal: Duration::from_millis(50),
            pinned_max_bytes: 64 << 20,
            stall_timeout: Duration::from_secs(10),
            wait_for_publisher: Duration::from_secs(15),
            publisher_grace: Duration::from_secs(15),
            probe_timeout: Duration::from_secs(2),
            jump_back: Duration::from_secs(1),
            jump_forward: Duration::from_secs(10),
            publisher_bitrate_max: 0,
            publisher_bitrate_action: BitrateAction::Cut,
            idle_timeout: Duration::from_secs(60),
            hls: true,
            hls_container: HlsContainer::Fmp4,
            hls_audio: HlsAudio::Muxed,
            hls_segment: Duration::from_secs(2),
            hls_part: Duration::from_millis(200),
            hls_window: Duration::from_secs(12),
            hls_max_bytes: 64 << 20,
            hls_session_idle: Duration::from_secs(15),
            record: false,
            record_format: RecordFormat::Flv,
            record_directory: String::new(),
            record_path: RecordPath::default(),
            record_rotate: Duration::from_secs(3600),
            record_rotate_bytes: 0,
            record_keep: Duration::ZERO,
            record_keep_bytes: 0,
            record_sync: Duration::from_secs(1),
            record_buffer: 16 << 20,
            record_replay: false,
        }
    }
}
