//! The configuration: a typed tree with its defaults, read once.
//!
//! One TOML file and the environment make it ([`Config::load`]); unknown keys are refused, and
//! an error names the key, the place, what was found and what would be right. Each room gets its
//! own few numbers by value. `config/corecast.toml` documents every key.

mod app;
mod check;
mod diff;
mod env;
mod error;
mod hook_url;
mod hooks;
mod key_file;
mod load;
mod proxy;
mod record_path;
mod rule;
mod schema;
mod secret;
mod tree;
mod ts_udp;
mod units;

pub use app::{App, BitrateAction, HlsAudio, HlsContainer, JwtAlgorithm, OnConflict, RecordFormat};
pub(crate) use app::{NO_APP_REC, REPLAY_APP};
pub use check::check_log_level;
pub use error::{ConfigError, Origin, Problem};
pub use hook_url::HookUrl;
pub use hooks::{Hook, Hooks, OnError};
pub use key_file::KeyFile;
pub use proxy::{ClientField, Proxy, ProxyHeader};
pub use record_path::{Called, RecordPath};
pub use rule::{Effect, InvalidRule, Rule, RuleWish};
pub use secret::Secret;
pub use tree::{
    Admin, Body, Certificate, Config, Cores, Drain, Http, Limits, Log, LogFormat, Rotate, Rtmp,
    Tcp, Tls, TlsVersion, v6_only,
};
pub use ts_udp::TsUdp;
pub use units::parse_duration;
