//! The pages of the media port: `GET /` and the watch page of every stream, `GET /APP/NAME`.
//!
//! Both are the same bytes for everyone. What differs by stream comes from the browser's address
//! bar and is put in by the page's script as text, so nothing here can be injected into. Scripts
//! and styles are files of their own under `/_/`, which lets the pages forbid all inline script.
//! `/_/mpegts.js` is mpegts.js 1.8.2 and `/_/hls.js` is hls.js 1.7.4 (both Apache License 2.0), see
//! `mpegts.js.LICENSE` and `hls.js.LICENSE`; a page loads either when it first plays by it.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Content-Type of [`watch`] and [`landing`].
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The watch page. It plays the path it was asked by, with `.flv` or what `?as=` stands for appended,
/// and gives RTMP addresses with `rtmp_port`. Made once and shared.
pub fn watch(rtmp_port: u16) -> Bytes {
    fill(include_str!("watch.html"), rtmp_port)
}

/// The page of the root path: what this is, a way to a watch page, how to publish.
pub fn landing(rtmp_port: u16) -> Bytes {
    fill(include_str!("landing.html"), rtmp_port)
}

/// What the pages refer to: content type and bytes of a path under `/_/`.
pub fn asset(path: &str) -> Option<(&'static str, &'static [u8])> {
    let asset = ASSETS.iter().find(|(known, ..)| *known == path)?;
    Some((asset.1, asset.2))
}

/// The ETag of an [`asset`]: who has these bytes need not get them again.
pub fn etag(path: &str) -> Option<&'static str> {
    static TAGS: LazyLock<HashMap<&str, String>> = LazyLock::new(|| {
        let tag = |bytes| {
            let digest = Sha256::digest(bytes);
            let digits: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
            format!("\"{digits}\"")
        };
        ASSETS.iter().map(|(path, _, bytes)| (*path, tag(bytes))).collect()
    });
    TAGS.get(path).map(String::as_str)
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

const PLAIN: &str = "text/plain; charset=utf-8";

const ASSETS: [(&str, &str, &[u8]); 17] = [
    ("/_/hls.js", SCRIPT, include_bytes!("hls.js")),
    ("/_/hls.js.LICENSE", PLAIN, include_bytes!("hls.js.LICENSE")),
    ("/_/landing.js", SCRIPT, include_bytes!("landing.js")),
    ("/_/library.js", SCRIPT, include_bytes!("library.js")),
    ("/_/loader.js", SCRIPT, include_bytes!("loader.js")),
    ("/_/meter.js", SCRIPT, include_bytes!("meter.js")),
    ("/_/mp4_boxes.js", SCRIPT, include_bytes!("mp4_boxes.js")),
    ("/_/mpegts.js", SCRIPT, include_bytes!("mpegts.js")),
    ("/_/mpegts.js.LICENSE", PLAIN, include_bytes!("mpegts.js.LICENSE")),
    ("/_/page.css", "text/css; charset=utf-8", include_bytes!("page.css")),
    ("/_/play_hls.js", SCRIPT, include_bytes!("play_hls.js")),
    ("/_/play_mp4.js", SCRIPT, include_bytes!("play_mp4.js")),
    ("/_/play_mpegts.js", SCRIPT, include_bytes!("play_mpegts.js")),
    ("/_/refusal.js", SCRIPT, include_bytes!("refusal.js")),
    ("/_/rows.js", SCRIPT, include_bytes!("rows.js")),
    ("/_/ways.js", SCRIPT, include_bytes!("ways.js")),
    ("/_/watch.js", SCRIPT, include_bytes!("watch.js")),
];

fn fill(page: &str, rtmp_port: u16) -> Bytes {
    page.replace("{{rtmp_port}}", itoa::Buffer::new().format(rtmp_port)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(page: &Bytes) -> &str {
        std::str::from_utf8(page).expect("the pages are UTF-8")
    }

    #[test]
    fn pages_carry_the_port_and_no_place_is_left_unfilled() {
        for page in [watch(19350), landing(19350)] {
            assert!(text(&page).contains("data-rtmp-port=\"19350\""));
            assert!(!text(&page).contains("{{"));
        }
    }

    /// Those that were written here.
    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        let vendored = ["/_/hls.js", "/_/mpegts.js"];
        let own = ASSETS
            .into_iter()
            .filter(move |(path, kind, _)| *kind == SCRIPT && !vendored.contains(path));
        own.map(|(path, _, bytes)| (path, std::str::from_utf8(bytes).expect("UTF-8")))
    }

    #[test]
    fn everything_the_pages_and_their_modules_refer_to_is_there() {
        for page in [watch(1935), landing(1935)] {
            let referred = text(&page).split('"').filter(|part| part.starts_with("/_/"));
            let missing: Vec<_> = referred.filter(|path| asset(path).is_none()).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
        let parts = scripts().flat_map(|(_, script)| script.split('"'));
        let imported: Vec<_> = parts.filter_map(|part| part.strip_prefix("./")).collect();
        assert!(imported.len() > 10, "{imported:?}");
        for name in imported {
            assert!(asset(&format!("/_/{name}")).is_some(), "{name}");
        }
        assert_eq!((asset("/_/../mod.rs"), etag("/_/../mod.rs")), (None, None));
        let tags: std::collections::HashSet<_> = ASSETS.map(|(path, ..)| etag(path)).into();
        assert_eq!(tags.len(), ASSETS.len());
    }

    #[test]
    fn scripts_write_text_and_never_markup() {
        for (path, script) in scripts() {
            for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
                assert!(!script.contains(word), "{path}: {word}");
            }
        }
    }
}
