//! The configuration: a typed tree with its defaults, read once.
//!
//! One TOML file and the environment make it ([`Config::load`]); unknown keys are refused, and
//! an error names the key, the place, what was found and what would be right. Each room gets its
//! own few numbers by value. `config/corecast.toml` documents every key.

mod app;
mod check;
mod env;
mod error;
mod load;
mod schema;
mod secret;
mod tree;
mod units;

pub use app::{App, OnConflict};
pub use error::{ConfigError, Origin, Problem};
pub use secret::Secret;
pub use tree::{
    Admin, Body, Certificate, Config, Cores, Http, Limits, Log, LogFormat, Rtmp, Tcp, Tls,
    TlsVersion, v6_only,
};
