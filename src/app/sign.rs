//! `corecast sign`: makes the query of a signed URL.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, ValueEnum};
use percent_encoding::percent_decode_str;

use crate::config::{self, Config};
use crate::media::{InvalidKey, StreamKey};
use crate::serve::access::signed::{Method, Signer};

/// What is to be signed, by what.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("secret").required(true), after_help = EXAMPLES)]
pub struct Sign {
    /// The stream, APP/NAME; without the `.flv`, `.ts`, `.mp4` or `.m3u8` that its HTTP address
    /// ends with.
    #[arg(value_name = "KEY")]
    key: String,
    /// How long it is good, such as 90m, 2h or 720h.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Duration,
    /// What it lets be done.
    #[arg(long, default_value = "play")]
    method: Method,
    /// The one address it is good from, as the server sees it; any without.
    #[arg(long, value_name = "IP")]
    address: Option<IpAddr>,
    /// A URL of the stream, to put it behind; without, the query alone is printed.
    #[arg(long)]
    url: Option<String>,
    /// A configuration, whose sign_secret of the app signs.
    #[arg(long, value_name = "CONFIG", group = "secret")]
    secret_from: Option<PathBuf>,
    /// A file that holds the secret.
    #[arg(long, value_name = "FILE", group = "secret")]
    secret_file: Option<PathBuf>,
    /// The environment variable that holds the secret.
    #[arg(long, value_name = "NAME", group = "secret")]
    secret_env: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  corecast sign live/cam1 --expires 2h --secret-from corecast.toml
  corecast sign live/cam1 --expires 2h --secret-file secret --address 192.0.2.7 \\
      --url http://127.0.0.1:8080/live/cam1.flv
  ffmpeg ... -f flv \"rtmp://127.0.0.1/live/cam1?$(corecast sign live/cam1 --method publish \\
      --expires 720h --secret-env SIGN_SECRET)\"

The secret is no argument of its own: other users of the host can see those.";

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No stream can have this name.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// What HTTP addresses end with is no part of the name.
    #[error(
        "expected the name of a stream without extension, {name}, found {name}{extension}; if the \
         stream has that very name by RTMP, give its --url"
    )]
    Extension {
        /// The name without it.
        name: String,
        /// What it ends with.
        extension: &'static str,
    },
    /// The URL would be refused.
    #[error("--url: expected the address of {key}, whose path ends with {}, found {url}", paths(.key))]
    AnotherStream {
        /// What would be signed.
        key: StreamKey,
        /// The URL, up to its query.
        url: String,
    },
    /// The configuration has no such app.
    #[error("expected an app of the configuration (strict_apps), found {0:?}")]
    NoApp(String),
    /// The app does not ask for signatures.
    #[error("expected {0} to have a sign_secret in the configuration, found none")]
    NoSecret(String),
    /// The file with the secret cannot be read.
    #[error("--secret-file: {path}: {error}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The variable with the secret is not set.
    #[error("--secret-env: {0} is not set, or is no text")]
    Variable(String),
    /// What is there is empty.
    #[error("expected a secret, found an empty text")]
    Empty,
    /// It would end after the end of time.
    #[error("expected a shorter --expires")]
    TooLong,
}

impl Sign {
    /// The configuration that [`Self::run`] needs, if it does.
    pub fn config(&self) -> Option<&PathBuf> {
        self.secret_from.as_ref()
    }

    /// What is to be printed.
    ///
    /// # Errors
    /// There is no secret, or no such stream.
    pub fn run(&self, config: Option<&Config>, now: SystemTime) -> Result<String, Error> {
        let key = StreamKey::parse(&self.key)?;
        self.check_name(&key)?;
        let secret = self.secret(&key, config)?;
        if secret.is_empty() {
            return Err(Error::Empty);
        }
        let exp = now.checked_add(self.expires).ok_or(Error::TooLong)?;
        let exp = exp.duration_since(UNIX_EPOCH).map_or(0, |exp| exp.as_secs());
        let query = Signer::new(&secret).query(self.method, &key, exp, self.address);
        Ok(match &self.url {
            None => query,
            Some(url) if url.contains('?') => format!("{url}&{query}"),
            Some(url) => format!("{url}?{query}"),
        })
    }

    /// Whether a server looks for a signature of `key` where this one will be shown. What stands
    /// before it in the path may be a proxy's.
    fn check_name(&self, key: &StreamKey) -> Result<(), Error> {
        let Some(url) = &self.url else {
            return match extension_of(key.as_str()) {
                Some((name, extension)) => {
                    Err(Error::Extension { name: name.to_owned(), extension })
                }
                None => Ok(()),
            };
        };
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let (scheme, path) = match url.split_once("://") {
            Some((scheme, rest)) => (scheme, rest.find('/').map_or("", |at| &rest[at..])),
            // For a page to put its host before it.
            None => ("", url),
        };
        let by_rtmp = scheme.to_ascii_lowercase().starts_with("rtmp");
        let path = match by_rtmp {
            true => Cow::Borrowed(path),
            false => percent_decode_str(path).decode_utf8_lossy(),
        };
        let path = path.trim_end_matches('/');
        // As a server does: by RTMP a name is what it is, by HTTP the rest is a page or a stream.
        let named = match extension_of(path) {
            Some((named, _)) if !by_rtmp => named,
            _ => path,
        };
        let before = named.strip_suffix(key.as_str());
        match before.is_some_and(|before| before.is_empty() || before.ends_with('/')) {
            true => Ok(()),
            false => Err(Error::AnotherStream { key: key.clone(), url: url.to_owned() }),
        }
    }

    fn secret(&self, key: &StreamKey, config: Option<&Config>) -> Result<String, Error> {
        if let Some(path) = &self.secret_file {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|error| Error::File { path: path.clone(), error })?;
            return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
        }
        if let Some(name) = &self.secret_env {
            return std::env::var(name).map_err(|_| Error::Variable(name.clone()));
        }
        let name = || key.app().to_owned();
        let app = config.and_then(|config| config.app(key.app()));
        let secret = &app.ok_or_else(|| Error::NoApp(name()))?.sign_secret;
        if secret.is_empty() {
            return Err(Error::NoSecret(name()));
        }
        Ok(secret.reveal().to_owned())
    }
}

/// What the address of a stream by HTTP or WebSocket may end with.
const EXTENSIONS: [&str; 4] = [".flv", ".ts", ".mp4", ".m3u8"];

/// What is before the extension, and that.
fn extension_of(path: &str) -> Option<(&str, &'static str)> {
    EXTENSIONS.into_iter().find_map(|extension| Some((path.strip_suffix(extension)?, extension)))
}

fn paths(key: &StreamKey) -> String {
    let [known @ .., last] = EXTENSIONS;
    let known = known.join(", ");
    format!("/{key} (rtmp, or a page) or /{key} with {known} or {last} (http, ws)")
}

impl ValueEnum for Method {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Play, Self::Publish]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Play => "play",
            Self::Publish => "publish",
        }))
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let found = config::parse_duration(text).filter(|duration| !duration.is_zero());
    found.ok_or_else(|| "expected a duration with its unit (s, m, h) such as 2h".to_owned())
}
