//! What a viewer needs of a playlist (RFC 8216bis section 4). Nothing is copied out of the text.
//!
//! Who wrote it is judged elsewhere, by parsers that know every tag: here others are skipped.

use std::ops::Range;
use std::time::Duration;

/// A playlist of either kind.
#[derive(Debug)]
pub(super) enum Playlist<'a> {
    /// The media playlist of its first variant.
    Multivariant(&'a str),
    Media(Media<'a>),
}

/// A media playlist.
#[derive(Debug, Default)]
pub(super) struct Media<'a> {
    pub(super) target: Duration,
    /// How far from the end viewers begin, at parts and at segments.
    pub(super) part_hold_back: Duration,
    pub(super) hold_back: Duration,
    /// The server answers when what is asked for is there.
    pub(super) blocks: bool,
    /// It leaves out what is known, if asked to.
    pub(super) skips: bool,
    /// Media sequence number of the first segment that is listed, or was left out.
    pub(super) first: u64,
    pub(super) skipped: u64,
    /// Those that are listed; the last may be still without its name.
    pub(super) segments: Vec<Segment<'a>>,
    /// Of all of them.
    pub(super) parts: Vec<Part<'a>>,
    /// The part that comes next.
    pub(super) hint: Option<&'a str>,
    pub(super) ended: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Segment<'a> {
    /// None while it is being made.
    pub(super) uri: Option<&'a str>,
    pub(super) lasts: Duration,
    pub(super) gap: bool,
    pub(super) map: Option<&'a str>,
    /// Places in [`Media::parts`].
    pub(super) parts: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    pub(super) uri: &'a str,
    pub(super) lasts: Duration,
    pub(super) independent: bool,
    pub(super) gap: bool,
}

/// No segment lasts longer; what is given in seconds is that at most.
const SECONDS_MAX: f64 = 1e6;

impl<'a> Playlist<'a> {
    /// Reads `text`.
    ///
    /// # Errors
    /// It is no playlist, or one that cannot be followed.
    pub(super) fn read(text: &'a str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim_end);
        if lines.next() != Some("#EXTM3U") {
            let begin = text.chars().take(40).collect::<String>();
            return Err(format!("expected a playlist, found {begin:?}"));
        }
        let mut media = Media::default();
        let (mut open, mut is_variant, mut map) = (Segment::default(), false, None);
        let (mut part_target, mut hold_back, mut part_hold_back) = (None, None, None);
        for line in lines {
            let Some(tag) = line.strip_prefix('#') else {
                if line.is_empty() {
                    continue;
                }
                if is_variant {
                    return Ok(Self::Multivariant(line));
                }
                (open.uri, open.map, open.parts.end) = (Some(line), map, media.parts.len());
                media.segments.push(std::mem::take(&mut open));
                open.parts.start = media.parts.len();
                continue;
            };
            let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
            match name {
                "EXTINF" => open.lasts = seconds(value.split(',').next().unwrap_or(value))?,
                "EXT-X-PART" => media.parts.push(Part {
                    uri: uri(value)?,
                    lasts: seconds(attribute(value, "DURATION").unwrap_or(""))?,
                    independent: attribute(value, "INDEPENDENT") == Some("YES"),
                    gap: attribute(value, "GAP") == Some("YES"),
                }),
                "EXT-X-PRELOAD-HINT" if attribute(value, "TYPE") == Some("PART") => {
                    media.hint = Some(uri(value)?);
                }
                "EXT-X-MAP" => map = Some(uri(value)?),
                "EXT-X-GAP" => open.gap = true,
                "EXT-X-TARGETDURATION" => media.target = seconds(value)?,
                "EXT-X-MEDIA-SEQUENCE" => media.first = number(value)?,
                "EXT-X-SKIP" => {
                    media.skipped = number(attribute(value, "SKIPPED-SEGMENTS").unwrap_or(""))?;
                }
                "EXT-X-PART-INF" => {
                    part_target = attribute(value, "PART-TARGET").map(seconds).transpose()?;
                }
                "EXT-X-SERVER-CONTROL" => {
                    media.blocks = attribute(value, "CAN-BLOCK-RELOAD") == Some("YES");
                    media.skips = attribute(value, "CAN-SKIP-UNTIL").is_some();
                    hold_back = attribute(value, "HOLD-BACK").map(seconds).transpose()?;
                    part_hold_back = attribute(value, "PART-HOLD-BACK").map(seconds).transpose()?;
                }
                "EXT-X-ENDLIST" => media.ended = true,
                "EXT-X-STREAM-INF" => is_variant = true,
                "EXT-X-BYTERANGE" => {
                    return Err("expected segments that are whole files, found ranges".to_owned());
                }
                _ => {}
            }
        }
        if media.target.is_zero() {
            return Err("expected variants or a target duration, found none".to_owned());
        }
        // Parts without a name for the whole yet.
        if open.parts.start < media.parts.len() {
            (open.map, open.parts.end) = (map, media.parts.len());
            media.segments.push(open);
        }
        media.hold_back = hold_back.unwrap_or(media.target * 3);
        media.part_hold_back =
            part_hold_back.or(part_target.map(|target| target * 3)).unwrap_or(media.hold_back);
        Ok(Self::Media(media))
    }
}

/// An attribute's value, without its quotes (4.2).
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = list;
    loop {
        let (found, value) = rest.split_once('=')?;
        let (value, behind) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(',').unwrap_or(value.len())),
        };
        if found.trim_start_matches([',', ' ']) == name {
            return Some(value);
        }
        rest = behind;
    }
}

fn uri(list: &str) -> Result<&str, String> {
    if attribute(list, "BYTERANGE").or_else(|| attribute(list, "BYTERANGE-START")).is_some() {
        return Err("expected parts that are whole files, found ranges".to_owned());
    }
    attribute(list, "URI").ok_or_else(|| format!("expected a URI in {list:?}, found none"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("expected a number in a playlist, found {text:?}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|found| (0.0..=SECONDS_MAX).contains(found));
    let seconds = seconds.map(Duration::from_secs_f64);
    seconds.ok_or_else(|| format!("expected seconds in a playlist, found {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW_LATENCY: &str = include_str!("testdata/low-latency.m3u8");

    fn media(text: &str) -> Media<'_> {
        match Playlist::read(text) {
            Ok(Playlist::Media(media)) => media,
            other => panic!("no media playlist: {other:?}"),
        }
    }

    #[test]
    fn the_first_variant_is_watched() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x=1,y\",URI=\"a.m3u8\"\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a\"\nx.hls/main.m3u8?session=7\n\
                    #EXT-X-STREAM-INF:BANDWIDTH=2\nother.m3u8\n";
        let found = Playlist::read(text).expect("a playlist");
        assert!(matches!(found, Playlist::Multivariant("x.hls/main.m3u8?session=7")), "{found:?}");
    }

    #[test]
    fn segments_parts_and_the_hint_are_found() {
        let media = media(LOW_LATENCY);
        assert_eq!((media.first, media.skipped, media.segments.len()), (41, 2, 3));
        assert_eq!(media.target, Duration::from_secs(2));
        assert_eq!(media.part_hold_back, Duration::from_millis(600));
        assert!(media.blocks && media.skips && !media.ended);
        let [whole, gap, open] = &media.segments[..] else { panic!("{:?}", media.segments) };
        assert_eq!((whole.uri, whole.map), (Some("main-43.m4s"), Some("main-init1.mp4")));
        assert_eq!((whole.lasts, whole.parts.clone()), (Duration::from_millis(1960), 0..2));
        assert_eq!((gap.gap, gap.parts.len(), open.uri), (true, 0, None));
        assert_eq!(media.parts[open.parts.clone()].len(), 3);
        assert!(media.parts[2].independent && !media.parts[3].independent);
        assert_eq!(media.hint, Some("main-45.3.m4s"));
    }

    #[test]
    fn without_low_latency_all_is_three_target_durations_from_the_end() {
        let text = "#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXTINF:2.000000,\r\nx0.m4s\r\n\r\n#EXT-X-ENDLIST\r\n";
        let media = media(text);
        assert_eq!(
            (media.hold_back, media.blocks, media.ended),
            (Duration::from_secs(6), false, true)
        );
        assert_eq!(media.segments[0].uri, Some("x0.m4s"));
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        for (text, words) in [
            ("<html>", "expected a playlist"),
            ("#EXTM3U\n", "a target duration"),
            ("#EXTM3U\n#EXTINF:x,\n", "expected seconds"),
            ("#EXTM3U\n#EXTINF:1e99,\n", "expected seconds"),
            ("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:-1\n", "expected a number"),
            ("#EXTM3U\n#EXT-X-PART:DURATION=0.2\n", "expected a URI"),
            ("#EXTM3U\n#EXT-X-BYTERANGE:1@2\n", "whole files"),
            ("#EXTM3U\n#EXT-X-MAP:URI=\"x\",BYTERANGE=\"1@2\"\n", "whole files"),
        ] {
            let error = Playlist::read(text).expect_err(words);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_playlist_may_be_cut_anywhere() {
        for cut in (0..LOW_LATENCY.len()).filter(|cut| LOW_LATENCY.is_char_boundary(*cut)) {
            // Whatever it says, it says it.
            let _ = Playlist::read(&LOW_LATENCY[..cut]);
        }
    }
}
