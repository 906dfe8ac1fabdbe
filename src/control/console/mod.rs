//! The console: a page for operators, on the admin port.
//!
//! Its files are the same bytes for everyone and hold nothing secret, so they are served without a
//! token; what the page shows comes from the API, which asks for one. The page keeps it in a variable
//! of its script and nowhere else. It writes text into elements that it makes, never markup: names
//! and agents that strangers chose stay text.
//!
//! `page/uplot.js` and `page/uplot.css` are uPlot 1.6.32 (MIT), see `page/uplot.LICENSE`; mpegts.js,
//! hls.js, what plays by them and the palette are those of the [watch page](crate::serve::page).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::config::Config;
use crate::serve::page;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// The page itself.
const PAGE: &[u8] = include_bytes!("page/index.html");

/// What it is made of, served under `/_/`: name, content type, bytes.
const FILES: [(&str, &str, &[u8]); 30] = [
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("blocks.js", SCRIPT, include_bytes!("page/blocks.js")),
    ("client.js", SCRIPT, include_bytes!("page/client.js")),
    ("console.css", STYLE, include_bytes!("page/console.css")),
    ("cores.js", SCRIPT, include_bytes!("page/cores.js")),
    ("dialog.js", SCRIPT, include_bytes!("page/dialog.js")),
    ("dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("drain.js", SCRIPT, include_bytes!("page/drain.js")),
    ("events.js", SCRIPT, include_bytes!("page/events.js")),
    ("format.js", SCRIPT, include_bytes!("page/format.js")),
    ("happenings.js", SCRIPT, include_bytes!("page/happenings.js")),
    ("history.js", SCRIPT, include_bytes!("page/history.js")),
    ("login.js", SCRIPT, include_bytes!("page/login.js")),
    ("main.js", SCRIPT, include_bytes!("page/main.js")),
    ("media.js", SCRIPT, include_bytes!("page/media.js")),
    ("overview.js", SCRIPT, include_bytes!("page/overview.js")),
    ("pager.js", SCRIPT, include_bytes!("page/pager.js")),
    ("player.js", SCRIPT, include_bytes!("page/player.js")),
    ("plots.js", SCRIPT, include_bytes!("page/plots.js")),
    ("record.js", SCRIPT, include_bytes!("page/record.js")),
    ("recordings.js", SCRIPT, include_bytes!("page/recordings.js")),
    ("service.js", SCRIPT, include_bytes!("page/service.js")),
    ("stream.js", SCRIPT, include_bytes!("page/stream.js")),
    ("streams.js", SCRIPT, include_bytes!("page/streams.js")),
    ("table.js", SCRIPT, include_bytes!("page/table.js")),
    ("uplot.LICENSE", PLAIN, include_bytes!("page/uplot.LICENSE")),
    ("uplot.css", STYLE, include_bytes!("page/uplot.css")),
    ("uplot.js", SCRIPT, include_bytes!("page/uplot.js")),
    ("viewers.js", SCRIPT, include_bytes!("page/viewers.js")),
    ("waiting.js", SCRIPT, include_bytes!("page/waiting.js")),
];

/// What it shares with the watch page.
const SHARED: [&str; 15] = [
    "hls.js",
    "hls.js.LICENSE",
    "library.js",
    "loader.js",
    "meter.js",
    "mp4_boxes.js",
    "mpegts.js",
    "mpegts.js.LICENSE",
    "page.css",
    "play_hls.js",
    "play_mp4.js",
    "play_mpegts.js",
    "refusal.js",
    "rows.js",
    "ways.js",
];

/// A file, as it is answered.
#[derive(Debug)]
struct File {
    kind: &'static str,
    bytes: &'static [u8],
    /// Names these bytes: who has them need not get them again.
    tag: HeaderValue,
}

/// All files under `/_/`, by name.
static BY_NAME: LazyLock<HashMap<&'static str, File>> = LazyLock::new(|| {
    let shared = SHARED.iter().filter_map(|name| {
        let (kind, bytes) = page::asset(&format!("/_/{name}"))?;
        Some((*name, kind, bytes))
    });
    let all = FILES.into_iter().chain(shared);
    all.map(|(name, kind, bytes)| (name, File::new(kind, bytes, ""))).collect()
});

type InForce = watch::Receiver<Arc<Config>>;

/// The console at `/`, and its files under `/_/`. Which ports it may play from, `config` says.
pub(crate) fn router(config: InForce) -> Router {
    Router::new().route("/", get(index)).route("/_/{name}", get(file)).with_state(config)
}

async fn index(State(config): State<InForce>, headers: HeaderMap) -> Response {
    let policy = policy(&config.borrow());
    // A browser may keep the policy with the bytes, so it has its part in the tag.
    let mut response = File::new(page::CONTENT_TYPE, PAGE, &policy).answer(&headers);
    // Of numbers, checked origins and fixed text, so it is a value.
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match BY_NAME.get(&*name) {
        Some(file) => file.answer(&headers),
        None => super::admin::no_such_path().await.into_response(),
    }
}

impl File {
    /// `beside` is what is answered with the bytes and may differ.
    fn new(kind: &'static str, bytes: &'static [u8], beside: &str) -> Self {
        let digest = Sha256::new().chain_update(bytes).chain_update(beside).finalize();
        let mut tag = String::from('"');
        for byte in &digest[..12] {
            // Err: never, of a string.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Self { kind, bytes, tag: HeaderValue::from_str(&tag).expect("hexadecimal digits") }
    }

    /// The file, or that the browser has it. It asks each time, so that after an update no old file
    /// goes with new ones.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter();
        let known = known.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
        let is_known =
            known.map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| self.tag == tag);
        let mut response = match is_known {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => Body::from(self.bytes).into_response(),
        };
        let fields = response.headers_mut();
        fields.insert(header::ETAG, self.tag.clone());
        if !is_known {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        }
        for (name, value) in GUARDS {
            fields.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// What every file is answered with.
const GUARDS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// What the page may load: its own files, and media from the ports that media is served on, of any
/// host, since it is reached by other names than this node knows of itself; and from where the
/// configuration says that it is, as behind a balancer.
fn policy(config: &Config) -> String {
    let mut media = String::new();
    let http = &config.http;
    for (scheme, listen) in [("http", &http.listen), ("https", &http.tls_listen)] {
        for port in ports(listen).filter(|_| http.enabled) {
            // Err: never, of a string.
            let _ = write!(media, " {scheme}://*:{port}");
        }
    }
    for origin in &config.admin.media_origins {
        media.push(' ');
        media.push_str(origin);
    }
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'{media}; \
         media-src blob:{media}; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn ports(listen: &[SocketAddr]) -> impl Iterator<Item = u16> {
    listen.iter().map(SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &'static [u8]) -> &'static str {
        std::str::from_utf8(bytes).expect("the page's own files are UTF-8")
    }

    /// Those that were written here.
    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let own =
            FILES.into_iter().filter(|(name, kind, _)| *kind == SCRIPT && *name != "uplot.js");
        own.map(|(name, _, bytes)| (name, text(bytes)))
    }

    #[test]
    fn everything_the_page_and_its_modules_refer_to_is_there() {
        assert_eq!(BY_NAME.len(), FILES.len() + SHARED.len());
        let of_page = text(PAGE).split('"').filter_map(|part| part.strip_prefix("_/"));
        let of_modules = scripts().flat_map(|(_, script)| {
            let parts = script.split('"').filter_map(|part| part.strip_prefix("./"));
            parts.chain(script.split('"').filter_map(|part| part.strip_prefix("_/")))
        });
        let all: Vec<_> = of_page.chain(of_modules).collect();
        assert!(all.len() > 20, "{all:?}");
        let missing: Vec<_> = all.iter().filter(|name| !BY_NAME.contains_key(*name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn scripts_write_text_and_never_markup_and_keep_nothing() {
        let forbidden = [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
            "Function(",
            "DOMParser",
            "createContextualFragment",
            "localStorage",
            "sessionStorage",
            "indexedDB",
            "document.cookie",
        ];
        for (name, script) in scripts() {
            for word in forbidden {
                assert!(!script.contains(word), "{name}: {word}");
            }
        }
    }

    #[test]
    fn the_page_may_play_from_the_ports_of_media_and_load_from_nowhere_else() {
        let at = |texts: &[&str]| texts.iter().map(|it| it.parse().expect("an address")).collect();
        let mut config = Config::default();
        config.http.listen = at(&["127.0.0.1:8080", "[::1]:80"]);
        config.http.tls_listen = at(&["[::]:8443"]);
        let on = policy(&config);
        config.http.enabled = false;
        let off = policy(&config);
        config.admin.media_origins = vec!["https://media.example:8443".to_owned()];
        let elsewhere = policy(&config);
        let media = "connect-src 'self' http://*:8080 http://*:80 https://*:8443; ";
        assert!(on.contains(media), "{on}");
        assert!(off.contains("connect-src 'self'; "), "{off}");
        assert!(
            elsewhere.contains("connect-src 'self' https://media.example:8443; "),
            "{elsewhere}"
        );
        assert!(!on.contains("unsafe"), "{on}");
        let tag = |policy: &str| File::new(page::CONTENT_TYPE, PAGE, policy).tag;
        assert_ne!(tag(&on), tag(&off));
    }
}
