//! The pages of the media port: `GET /` and the watch page of every stream, `GET /APP/NAME`.
//!
//! Both are the same bytes for everyone. What differs by stream comes from the browser's address
//! bar and is put in by the page's script as text, so nothing here can be injected into. Scripts
//! and styles are files of their own under `/_/`, which lets the pages forbid all inline script.
//! `/_/mpegts.js` is mpegts.js 1.8.2 (Apache License 2.0), see `mpegts.js.LICENSE`.

use bytes::Bytes;

/// Content-Type of [`watch`] and [`landing`].
pub const CONTENT_TYPE: &str = "text/html; charset=utf-8";

/// The watch page. It plays the path it was asked by, with `.flv` appended, over HTTP or
/// WebSocket, and gives RTMP addresses with `rtmp_port`. Made once and shared.
pub fn watch(rtmp_port: u16) -> Bytes {
    fill(include_str!("watch.html"), rtmp_port)
}

/// The page of the root path: what this is, a way to a watch page, how to publish.
pub fn landing(rtmp_port: u16) -> Bytes {
    fill(include_str!("landing.html"), rtmp_port)
}

/// What the pages refer to: content type and bytes of a path under `/_/`.
pub fn asset(path: &str) -> Option<(&'static str, &'static [u8])> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    match path {
        "/_/mpegts.js" => Some((SCRIPT, include_bytes!("mpegts.js"))),
        "/_/mpegts.js.LICENSE" => {
            Some(("text/plain; charset=utf-8", include_bytes!("mpegts.js.LICENSE")))
        }
        "/_/page.css" => Some(("text/css; charset=utf-8", include_bytes!("page.css"))),
        "/_/rows.js" => Some((SCRIPT, include_bytes!("rows.js"))),
        "/_/watch.js" => Some((SCRIPT, include_bytes!("watch.js"))),
        "/_/landing.js" => Some((SCRIPT, include_bytes!("landing.js"))),
        _ => None,
    }
}

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

    #[test]
    fn everything_the_pages_refer_to_is_there() {
        for page in [watch(1935), landing(1935)] {
            let referred = text(&page).split('"').filter(|part| part.starts_with("/_/"));
            let missing: Vec<_> = referred.filter(|path| asset(path).is_none()).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
        assert_eq!(asset("/_/../mod.rs"), None);
    }

    #[test]
    fn scripts_write_text_and_never_markup() {
        for path in ["/_/rows.js", "/_/watch.js", "/_/landing.js"] {
            let (_, script) = asset(path).expect("listed above");
            let script = std::str::from_utf8(script).expect("UTF-8");
            for word in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
                assert!(!script.contains(word), "{path}: {word}");
            }
        }
    }
}
