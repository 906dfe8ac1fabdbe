//! What is answered.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::path::SUFFIX;
use super::playback::Playback;
use super::stream::Stream;
use crate::media::StreamKey;
use crate::plane::hls::{Found, Rendition, Resource, Snapshot};
use crate::proto::http::Response;

/// The media playlists of one snapshot, as they were last asked for: thousands ask for the same.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Of which snapshot: its next part, and whether it is the last.
    of: Option<((u64, u32), bool)>,
    /// By rendition, and whether something is left out.
    made: [[Option<Text>; 2]; 2],
}

#[derive(Debug, Clone)]
struct Text {
    plain: Bytes,
    gzip: Option<Bytes>,
}

/// What the name of a media playlist ends with: `session=…`.
pub(super) const SESSION: &str = "session";
const M3U8: &str = "application/vnd.apple.mpegurl";
/// Of media, which never change.
const FOREVER: &str = "public, max-age=3600, immutable";
/// Of a playlist that was waited for: whoever asks for the same later has no use for an older one.
const WAITED_FOR: &str = "public, max-age=6";
/// Of any other: a part is younger than that.
const FRESH: &str = "public, max-age=1";
/// What need not be escaped in a name (RFC 3986 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A playlist is a few kilobytes; more than the first level takes costs more time than bytes.
const LEVEL: u32 = 1;

/// The multivariant playlist for one viewer. `asked`: the stream that it asked for, if it was given
/// another.
pub(super) fn multivariant(
    snapshot: &Snapshot,
    asked: Option<&StreamKey>,
    playback: &Playback,
    gzip: bool,
) -> Response {
    let dir = match asked {
        // Beside the playlist, whatever path proxies have for it.
        None => format!("{}{SUFFIX}/", file_name(playback.key())),
        Some(_) => format!("/{}{SUFFIX}/", escaped(playback.key())),
    };
    let text = snapshot.multivariant(&dir, &query(playback));
    // It names its viewer.
    playlist_of(Text::new(text).body(gzip)).with_cache_control("no-store")
}

/// A media playlist for one viewer.
pub(super) fn media_playlist(
    stream: &Stream,
    snapshot: &Snapshot,
    (rendition, skip, waited_for): (Rendition, bool, bool),
    playback: &Playback,
    gzip: bool,
) -> Response {
    let (msn, part) = snapshot.next_part();
    let mut texts = stream.texts.borrow_mut();
    let of = ((msn, part), snapshot.is_ended());
    if texts.of != Some(of) {
        *texts = Texts { of: Some(of), made: Default::default() };
    }
    let slot = &mut texts.made[rendition as usize][usize::from(skip)];
    let (body, compressed) = if snapshot.has_separate_audio() {
        // It names the other one, and its viewer with it.
        Text::new(snapshot.playlist(rendition, skip, &query(playback))).body(gzip)
    } else {
        let make = || Text::new(snapshot.playlist(rendition, skip, ""));
        slot.get_or_insert_with(make).body(gzip)
    };
    // Quotes belong to it (RFC 9110 8.8.3).
    let etag = format!(
        "\"{:08x}-{msn}.{part}-{}{}{}{}\"",
        snapshot.next_dir() >> 96,
        rendition as u8,
        if skip { "s" } else { "" },
        if snapshot.is_ended() { "e" } else { "" },
        if compressed { "z" } else { "" },
    );
    let rule = if waited_for { WAITED_FOR } else { FRESH };
    playlist_of((body, compressed)).with_cache_control(rule).with_etag(etag)
}

/// A segment, a part or an init; none if it is not there (yet).
pub(super) fn media(
    snapshot: &Snapshot,
    dir: u128,
    resource: &Resource,
) -> Result<Response, Found> {
    match snapshot.find(dir, resource) {
        Found::Here(parts) => {
            let content_type = snapshot.container().content_type();
            Ok(Response::of_parts(200, content_type, parts).with_cache_control(FOREVER))
        }
        not_here => Err(not_here),
    }
}

/// The last part of the key as it stands in a path.
pub(super) fn file_name(key: &StreamKey) -> String {
    let name = key.name().rsplit('/').next().unwrap_or_default();
    utf8_percent_encode(name, ESCAPED).to_string()
}

/// The key as it stands in a path.
fn escaped(key: &StreamKey) -> String {
    let names = key.as_str().split('/').map(|name| utf8_percent_encode(name, ESCAPED).to_string());
    names.collect::<Vec<_>>().join("/")
}

pub(super) fn query(playback: &Playback) -> String {
    format!("{SESSION}={:032x}", playback.id())
}

fn playlist_of((body, compressed): (Bytes, bool)) -> Response {
    let response = Response::new(200, M3U8, body).with_header("Vary", "Accept-Encoding");
    match compressed {
        true => response.with_header("Content-Encoding", "gzip"),
        false => response,
    }
}

impl Text {
    fn new(plain: String) -> Self {
        Self { plain: plain.into(), gzip: None }
    }

    /// Its bytes, compressed if `gzip`, and whether they are.
    fn body(&mut self, gzip: bool) -> (Bytes, bool) {
        if gzip && self.gzip.is_none() {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
            let written = encoder.write_all(&self.plain).and_then(|()| encoder.finish());
            self.gzip = written.ok().map(Bytes::from);
        }
        match self.gzip.as_ref().filter(|_| gzip) {
            Some(compressed) => (compressed.clone(), true),
            None => (self.plain.clone(), false),
        }
    }
}
