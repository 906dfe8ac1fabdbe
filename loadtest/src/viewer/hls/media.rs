//! What a media playlist makes a viewer do next.

use std::time::Duration;

use super::Position;
use super::playlist::{Media, Segment};

/// Something to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// With the query.
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) at: Position,
    /// The one before it, where that is known.
    pub(super) after: Option<Position>,
    pub(super) lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Init,
    Segment,
    Part,
}

/// Where a viewer stands in a stream.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// What it fetches next; none before it has begun.
    next: Option<Position>,
    /// What it fetched last.
    last: Option<Position>,
    /// The init that it has.
    map: Option<String>,
    /// Behind the last of the playlist.
    pub(super) end: Option<Position>,
}

/// What was in a playlist for a viewer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    pub(super) items: Vec<Item>,
    pub(super) is_changed: bool,
    /// Segments that have gone before the viewer came to them.
    pub(super) missing: u64,
    pub(super) gaps: u64,
    /// It needs what was left out because it was thought to be known.
    pub(super) needs_all: bool,
}

impl Course {
    /// Takes what is new. `resolve` makes paths of what stands in the playlist.
    pub(super) fn follow(
        &mut self,
        media: &Media<'_>,
        by_parts: bool,
        resolve: impl Fn(&str) -> Result<String, String>,
    ) -> Result<News, String> {
        let first = media.first + media.skipped;
        let end = end(media, by_parts);
        let mut news = News { is_changed: self.end.replace(end) != Some(end), ..News::default() };
        let mut next = self.next.unwrap_or_else(|| start(media, by_parts));
        if next.msn < first {
            if next.msn >= media.first {
                news.needs_all = true;
                return Ok(news);
            }
            news.missing = first - next.msn;
            (next, self.last) = (Position { msn: first, part: 0 }, None);
        }
        let behind = usize::try_from(next.msn - first).unwrap_or(usize::MAX);
        for segment in media.segments.iter().skip(behind) {
            let parts = media.parts.get(segment.parts.clone()).unwrap_or_default();
            let new = parts.get(next.part as usize..).unwrap_or_default();
            // A segment whose parts are not listed any more is taken whole, even if some were had.
            if !by_parts || parts.is_empty() {
                let Some(uri) = segment.uri else { break };
                self.init(segment, next, &resolve, &mut news)?;
                self.take(segment.gap, &mut news, || {
                    let (at, lasts) = (Position { part: 0, ..next }, segment.lasts);
                    Ok((Kind::Segment, resolve(uri)?, at, lasts))
                })?;
            } else if !new.is_empty() {
                self.init(segment, next, &resolve, &mut news)?;
                for (part, number) in new.iter().zip(next.part..) {
                    let gap = part.gap || segment.gap;
                    self.take(gap, &mut news, || {
                        let at = Position { part: number, ..next };
                        Ok((Kind::Part, resolve(part.uri)?, at, part.lasts))
                    })?;
                }
                next.part += new.len() as u32;
            }
            if segment.uri.is_none() {
                break;
            }
            next = Position { msn: next.msn + 1, part: 0 };
        }
        self.next = Some(next);
        Ok(news)
    }

    fn init(
        &mut self,
        segment: &Segment<'_>,
        at: Position,
        resolve: impl Fn(&str) -> Result<String, String>,
        news: &mut News,
    ) -> Result<(), String> {
        let Some(map) = segment.map.filter(|map| self.map.as_deref() != Some(*map)) else {
            return Ok(());
        };
        self.map = Some(map.to_owned());
        let (path, lasts) = (resolve(map)?, Duration::ZERO);
        news.items.push(Item { path, kind: Kind::Init, at, after: None, lasts });
        Ok(())
    }

    fn take(
        &mut self,
        is_gap: bool,
        news: &mut News,
        item: impl FnOnce() -> Result<(Kind, String, Position, Duration), String>,
    ) -> Result<(), String> {
        let (kind, path, at, lasts) = item()?;
        match is_gap {
            true => news.gaps += 1,
            false => news.items.push(Item { path, kind, at, after: self.last, lasts }),
        }
        self.last = Some(at);
        Ok(())
    }
}

/// Behind the last part, or segment, that is listed.
fn end(media: &Media<'_>, by_parts: bool) -> Position {
    let first = media.first + media.skipped;
    let whole = media.segments.iter().filter(|segment| segment.uri.is_some()).count() as u64;
    let open = media.segments.last().filter(|segment| by_parts && segment.uri.is_none());
    let part = open.map_or(0, |segment| segment.parts.len() as u32);
    Position { msn: first + whole, part }
}

/// The latest place to begin that is far enough from the end (6.3.3), or else the first.
fn start(media: &Media<'_>, by_parts: bool) -> Position {
    let hold_back = if by_parts { media.part_hold_back } else { media.hold_back };
    let first = media.first + media.skipped;
    let (mut found, mut from_end) = (Position { msn: first, part: 0 }, Duration::ZERO);
    for (index, segment) in media.segments.iter().enumerate().rev() {
        let msn = first + index as u64;
        let parts = media.parts.get(segment.parts.clone()).filter(|_| by_parts);
        let parts = parts.unwrap_or_default();
        if parts.is_empty() && segment.uri.is_some() {
            from_end += segment.lasts;
            found = Position { msn, part: 0 };
            if from_end >= hold_back {
                break;
            }
        }
        for (number, part) in parts.iter().enumerate().rev() {
            from_end += part.lasts;
            if part.independent {
                found = Position { msn, part: number as u32 };
                if from_end >= hold_back {
                    return found;
                }
            }
        }
    }
    found
}

/// The last part that is listed, or segment if there is none.
pub(super) fn newest<'a>(media: &Media<'a>) -> Option<(Kind, &'a str)> {
    let part = media.parts.last().map(|part| (Kind::Part, part.uri));
    let segment = || media.segments.iter().rev().find_map(|segment| segment.uri);
    part.or_else(|| segment().map(|uri| (Kind::Segment, uri)))
}

#[cfg(test)]
mod tests {
    use super::super::playlist::Playlist;
    use super::*;

    /// A live playlist of 2 s segments, the last of them with `parts` so far.
    fn text(first: u64, whole: u64, parts: u32) -> String {
        let mut text = format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-PART-INF:PART-TARGET=0.2\n\
             #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n\
             #EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-MAP:URI=\"i.mp4\"\n"
        );
        for msn in first..first + whole {
            if msn + 1 == first + whole {
                for part in 0..10 {
                    let key = if part == 0 { ",INDEPENDENT=YES" } else { "" };
                    text += &format!("#EXT-X-PART:URI=\"{msn}.{part}\",DURATION=0.2{key}\n");
                }
            }
            text += &format!("#EXTINF:2.0,\n{msn}\n");
        }
        for part in 0..parts {
            let key = if part == 0 { ",INDEPENDENT=YES" } else { "" };
            let msn = first + whole;
            text += &format!("#EXT-X-PART:URI=\"{msn}.{part}\",DURATION=0.2{key}\n");
        }
        text
    }

    fn follow(course: &mut Course, text: &str, by_parts: bool) -> (Vec<String>, News) {
        let Ok(Playlist::Media(media)) = Playlist::read(text) else { panic!("no playlist") };
        let news = course.follow(&media, by_parts, |uri| Ok(uri.to_owned())).expect("it leads on");
        (news.items.iter().map(|item| item.path.clone()).collect(), news)
    }

    #[test]
    fn by_segments_a_viewer_begins_three_target_durations_before_the_end() {
        let mut course = Course::default();
        let (paths, _) = follow(&mut course, &text(10, 6, 3), false);
        assert_eq!(paths, ["i.mp4", "13", "14", "15"]);
        let (paths, news) = follow(&mut course, &text(10, 6, 7), false);
        assert!(paths.is_empty() && !news.is_changed);
        let (paths, news) = follow(&mut course, &text(11, 6, 0), false);
        assert_eq!((paths, news.is_changed, news.missing), (vec!["16".to_owned()], true, 0));
        let (paths, news) = follow(&mut course, &text(20, 3, 0), false);
        assert_eq!((paths.len(), news.missing), (3, 3));
        // Of a stream that has just begun, all.
        assert_eq!(follow(&mut Course::default(), &text(0, 2, 0), false).0, ["i.mp4", "0", "1"]);
    }

    #[test]
    fn by_parts_a_viewer_begins_at_a_key_frame_and_takes_each_part_once() {
        let mut course = Course::default();
        let (paths, news) = follow(&mut course, &text(10, 6, 4), true);
        assert_eq!(paths, ["i.mp4", "16.0", "16.1", "16.2", "16.3"]);
        assert_eq!(news.items[1].after, None);
        assert_eq!(news.items[2].after, Some(Position { msn: 16, part: 0 }));
        assert_eq!(course.end, Some(Position { msn: 16, part: 4 }));
        let (paths, _) = follow(&mut course, &text(10, 6, 5), true);
        assert_eq!(paths, ["16.4"]);
        // The segment has ended meanwhile, and the next has begun.
        let (paths, news) = follow(&mut course, &text(11, 6, 1), true);
        assert_eq!(paths, ["16.5", "16.6", "16.7", "16.8", "16.9", "17.0"]);
        let after = news.items.last().and_then(|item| item.after);
        assert_eq!(after, Some(Position { msn: 16, part: 9 }));
        // Too short a distance: from the key frame before.
        let (paths, _) = follow(&mut Course::default(), &text(10, 6, 2), true);
        assert_eq!((paths[1].as_str(), paths.len()), ("15.0", 13));
    }

    #[test]
    fn what_was_left_out_is_asked_for_if_it_is_needed() {
        let mut course = Course::default();
        follow(&mut course, &text(10, 3, 0), true);
        let skipped =
            text(10, 2, 1).replace("SEQUENCE:10", "SEQUENCE:10\n#EXT-X-SKIP:SKIPPED-SEGMENTS=5");
        let (paths, news) = follow(&mut course, &skipped, true);
        assert!(paths.is_empty() && news.needs_all && news.missing == 0);
        let (paths, news) = follow(&mut course, &skipped.replace("=5", "=3"), true);
        assert!(!news.needs_all && paths.first().is_some_and(|path| path == "10"), "{paths:?}");
    }

    #[test]
    fn gaps_are_counted_and_not_fetched() {
        let with_gap = text(0, 2, 0).replace("#EXTINF:2.0,\n1", "#EXT-X-GAP\n#EXTINF:2.0,\n1");
        let (paths, news) = follow(&mut Course::default(), &with_gap, false);
        assert_eq!((paths, news.gaps), (vec!["i.mp4".to_owned(), "0".to_owned()], 1));
    }

    #[test]
    fn the_newest_is_a_part_if_there_are_parts() {
        let of = |text: &str| match Playlist::read(text) {
            Ok(Playlist::Media(media)) => newest(&media).map(|(kind, uri)| (kind, uri.to_owned())),
            other => panic!("{other:?}"),
        };
        assert_eq!(of(&text(0, 2, 3)), Some((Kind::Part, "2.2".to_owned())));
        let plain = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na\n#EXTINF:2,\nb\n";
        assert_eq!(of(plain), Some((Kind::Segment, "b".to_owned())));
        assert_eq!(of("#EXTM3U\n#EXT-X-TARGETDURATION:2\n"), None);
    }
}
