//! The rules of RFC 8216bis for playlists of live streams, as a checker that knows nothing of how
//! they were made: what each playlist has to be by itself, and what one may be after another.

use std::collections::HashMap;

/// A media playlist, read strictly.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Playlist {
    pub(crate) version: u64,
    pub(crate) target_s: u64,
    pub(crate) media_sequence: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) server_control: Attributes,
    pub(crate) part_target: f64,
    pub(crate) skipped: u64,
    /// Whole segments.
    pub(crate) segments: Vec<Segment>,
    /// What stands behind the last of them.
    pub(crate) open: Segment,
    pub(crate) hint: Option<String>,
    pub(crate) reports: Vec<Attributes>,
    pub(crate) ended: bool,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Segment {
    pub(crate) duration: f64,
    pub(crate) uri: String,
    pub(crate) discontinuity: bool,
    pub(crate) gap: bool,
    pub(crate) map: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) date_time: Option<i64>,
    pub(crate) parts: Vec<Part>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Part {
    pub(crate) uri: String,
    pub(crate) duration: f64,
    pub(crate) independent: bool,
    pub(crate) gap: bool,
}

pub(crate) type Attributes = HashMap<String, String>;

/// Exact to the microsecond, as written.
const EXACT: f64 = 0.000_002;

impl Playlist {
    /// Reads `text`; every rule it breaks goes to `broken`.
    pub(crate) fn read(text: &str, broken: &mut Vec<String>) -> Self {
        let mut reader =
            Reader { playlist: Self::default(), next: Segment::default(), once: vec![], broken };
        reader.read(text);
        let playlist = reader.playlist;
        playlist.check(broken);
        playlist
    }

    /// The number and the index of the part behind the last.
    pub(crate) fn next_part(&self) -> (u64, usize) {
        let segments = self.skipped + self.segments.len() as u64;
        (self.media_sequence + segments, self.open.parts.len())
    }

    pub(crate) fn duration(&self) -> f64 {
        self.segments.iter().map(|segment| segment.duration).sum()
    }

    fn check(&self, broken: &mut Vec<String>) {
        let mut must = |holds: bool, rule: String| {
            if !holds {
                broken.push(rule);
            }
        };
        let target = self.target_s as f64;
        must(self.target_s > 0, "4.4.3.1: a target duration is required".into());
        let all = || self.segments.iter().chain([&self.open]);
        for segment in &self.segments {
            let rule =
                format!("4.4.3.1: {} is longer than {target} s: {}", segment.uri, segment.duration);
            must(segment.duration.round() <= target, rule);
            let of_parts: f64 = segment.parts.iter().map(|part| part.duration).sum();
            let rule = format!("{} lasts {}, its parts {of_parts}", segment.uri, segment.duration);
            must(segment.parts.is_empty() || (of_parts - segment.duration).abs() < EXACT, rule);
        }
        let has_parts = all().any(|segment| !segment.parts.is_empty());
        must(!has_parts || self.part_target > 0.0, "4.4.3.7: parts need EXT-X-PART-INF".into());
        for segment in all() {
            for part in &segment.parts {
                let rule =
                    format!("4.4.4.9: {} is longer than a part: {}", part.uri, part.duration);
                must(part.duration <= self.part_target + EXACT, rule);
            }
            let but_last = segment.parts.len().saturating_sub(1);
            for part in &segment.parts[..but_last] {
                let rule =
                    format!("4.4.4.9: {} has under 85 % of a part: {}", part.uri, part.duration);
                must(part.duration >= self.part_target * 0.85 - EXACT, rule);
            }
        }
        let seconds =
            |name: &str| self.server_control.get(name).map(|value| value.parse().unwrap_or(0.0));
        if self.part_target > 0.0 {
            let held = seconds("PART-HOLD-BACK").unwrap_or(0.0_f64);
            must(
                held >= 3.0 * self.part_target - EXACT,
                format!("4.4.3.8: PART-HOLD-BACK is {held}"),
            );
        }
        if let Some(until) = seconds("CAN-SKIP-UNTIL") {
            must(until >= 6.0 * target, format!("4.4.3.8: CAN-SKIP-UNTIL is {until}"));
        }
        if let Some(held) = seconds("HOLD-BACK") {
            must(held >= 3.0 * target, format!("4.4.3.8: HOLD-BACK is {held}"));
        }
        must(
            self.skipped == 0 || seconds("CAN-SKIP-UNTIL").is_some(),
            "4.4.5.2: no delta was offered".into(),
        );
        must(self.skipped == 0 || !self.ended, "6.2.5.1: a delta of what has ended".into());
        let needed = match (self.skipped > 0, all().any(|segment| segment.map.is_some())) {
            (true, _) => 9,
            (false, true) => 6,
            (false, false) => 3,
        };
        must(self.version >= needed, format!("8: version {} is below {needed}", self.version));
        let mut uris: Vec<&String> =
            all().flat_map(|segment| segment.parts.iter().map(|part| &part.uri)).collect();
        uris.extend(self.segments.iter().map(|segment| &segment.uri).chain(&self.hint));
        let count = uris.len();
        uris.sort();
        uris.dedup();
        must(uris.len() == count, "an address names two things".into());
        for pair in self
            .segments
            .windows(2)
            .chain([&[self.segments.last().cloned().unwrap_or_default(), self.open.clone()][..]])
        {
            let (Some(before), Some(at)) = (pair[0].date_time, pair[1].date_time) else { continue };
            let off = at as f64 - before as f64 - pair[0].duration * 1000.0;
            let rule = format!("4.4.4.6: {} is {off} ms off the time before", pair[1].uri);
            // What does not go on from there may come later, but not before it.
            must(off.abs() <= 2.0 || (pair[1].discontinuity && off > 0.0), rule);
        }
        let mut in_force: Option<&String> = None;
        for segment in all().filter(|segment| !segment.uri.is_empty() || !segment.parts.is_empty())
        {
            let changes = segment
                .map
                .as_ref()
                .is_some_and(|map| in_force.replace(map).is_some_and(|before| before != map));
            let rule = format!("4.4.4.3: {} has another map and no discontinuity", segment.uri);
            must(!changes || segment.discontinuity, rule);
            let uri = segment.parts.first().map_or(&segment.uri, |part| &part.uri);
            let needs_map = uri.split('?').next().is_some_and(|path| path.ends_with(".m4s"));
            let is_gap = segment.gap || segment.parts.first().is_some_and(|part| part.gap);
            let has_map = in_force.is_some() || self.skipped > 0 || is_gap;
            must(!needs_map || has_map, format!("3.1.2: {uri} comes before a map"));
        }
        let mut from_end =
            self.duration() + self.open.parts.iter().map(|part| part.duration).sum::<f64>();
        for segment in &self.segments {
            let rule =
                format!("4.4.4.9: {} lists its parts {from_end} s from the end", segment.uri);
            must(segment.parts.is_empty() || from_end <= 3.0 * target + EXACT, rule);
            let rule = format!("{} lists no parts {from_end} s from the end", segment.uri);
            must(!segment.parts.is_empty() || segment.gap || from_end > 3.0 * target - EXACT, rule);
            from_end -= segment.duration;
        }
        if self.part_target > 0.0 {
            let blocks = self.server_control.get("CAN-BLOCK-RELOAD").is_some_and(|is| is == "YES");
            must(blocks, "B.1: a playlist of parts cannot be waited for".into());
            must(self.ended || self.hint.is_some(), "B.1: no hint of the next part".into());
            let dated = all().all(|segment| {
                segment.date_time.is_some() || (segment.uri.is_empty() && segment.parts.is_empty())
            });
            must(dated, "B.1: a segment without a date".into());
        }
        if self.ended {
            must(self.hint.is_none(), "4.4.5.3: a hint behind the end".into());
            must(self.open.parts.is_empty(), "parts without a segment behind the end".into());
        }
        must(
            self.skipped > 0 || !self.segments.is_empty() || has_parts,
            "there is nothing in it".into(),
        );
        for report in &self.reports {
            let named =
                ["URI", "LAST-MSN", "LAST-PART"].iter().all(|name| report.contains_key(*name));
            must(named, "4.4.5.4: a report lacks an attribute".into());
            let number = |name| report.get(name).is_none_or(|value| value.parse::<u64>().is_ok());
            must(number("LAST-MSN") && number("LAST-PART"), "4.4.5.4: no number".into());
            let relative = report.get("URI").is_none_or(|uri| !uri.contains("://"));
            must(relative, "4.4.5.4: a report of an address that is not relative".into());
        }
    }
}

struct Reader<'a> {
    playlist: Playlist,
    /// What is said of the segment to come.
    next: Segment,
    /// Tags that may be there once.
    once: Vec<String>,
    broken: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) {
        let mut lines = text.lines();
        self.must(lines.next() == Some("#EXTM3U"), "4.4.1.1: the first line is not #EXTM3U");
        self.must(text.ends_with('\n') && !text.contains('\r'), "a line has no end");
        let mut duration = None;
        for line in lines {
            self.must(!self.playlist.ended, "a line behind EXT-X-ENDLIST");
            let Some(tag) = line.strip_prefix('#') else {
                self.must(
                    !line.is_empty() && !line.contains(char::is_whitespace),
                    "4.1: a blank in an address",
                );
                match duration.take() {
                    Some(duration) => self.segment(line, duration),
                    None => self.must(false, "4.4.4.1: an address without EXTINF"),
                }
                continue;
            };
            let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
            self.must(duration.is_none(), "a tag between EXTINF and its address");
            if name == "EXTINF" {
                duration = value.split(',').next().and_then(|value| value.parse().ok());
                self.must(
                    duration.is_some() && value.contains(','),
                    "4.4.4.1: EXTINF without a number",
                );
                continue;
            }
            self.tag(name, value);
        }
        self.must(duration.is_none(), "EXTINF without an address");
        self.playlist.open = std::mem::take(&mut self.next);
        let open = &self.playlist.open;
        let dangling =
            open.parts.is_empty() && (open.discontinuity || open.date_time.is_some() || open.gap);
        self.must(!dangling, "tags of a segment of which there is nothing");
    }

    fn tag(&mut self, name: &str, value: &str) {
        let of_playlist = matches!(
            name,
            "EXT-X-VERSION"
                | "EXT-X-TARGETDURATION"
                | "EXT-X-MEDIA-SEQUENCE"
                | "EXT-X-SERVER-CONTROL"
                | "EXT-X-DISCONTINUITY-SEQUENCE"
                | "EXT-X-PART-INF"
                | "EXT-X-SKIP"
                | "EXT-X-ENDLIST"
        );
        if of_playlist {
            self.must(!self.once.iter().any(|seen| seen == name), &format!("4.4.3: {name} twice"));
            self.once.push(name.into());
            let first = self.playlist.segments.is_empty() && self.next == Segment::default();
            self.must(first || name == "EXT-X-ENDLIST", &format!("4.4.3: {name} behind a segment"));
        }
        let tail =
            ["EXT-X-PRELOAD-HINT", "EXT-X-RENDITION-REPORT", "EXT-X-ENDLIST"].contains(&name);
        let in_tail = self.playlist.hint.is_some() || !self.playlist.reports.is_empty();
        self.must(tail || !in_tail, "a segment's tag behind what stands at the end");
        let attributes = attributes(value);
        let number = || value.parse::<u64>().ok();
        let required = |name: &str| attributes.as_ref().and_then(|all| all.get(name)).cloned();
        let mut ok = true;
        match name {
            "EXT-X-VERSION" => self.playlist.version = number().unwrap_or(0),
            "EXT-X-TARGETDURATION" => self.playlist.target_s = number().unwrap_or(0),
            "EXT-X-MEDIA-SEQUENCE" => match number() {
                Some(number) => self.playlist.media_sequence = number,
                None => ok = false,
            },
            "EXT-X-DISCONTINUITY-SEQUENCE" => match number() {
                Some(number) => self.playlist.discontinuity_sequence = number,
                None => ok = false,
            },
            "EXT-X-SERVER-CONTROL" => self.playlist.server_control = attributes.unwrap_or_default(),
            "EXT-X-PART-INF" => {
                let target = required("PART-TARGET").and_then(|value| value.parse().ok());
                ok = target.is_some();
                self.playlist.part_target = target.unwrap_or_default();
            }
            "EXT-X-SKIP" => {
                let count = required("SKIPPED-SEGMENTS").and_then(|value| value.parse().ok());
                ok = count.is_some_and(|count: u64| count > 0);
                self.playlist.skipped = count.unwrap_or_default();
            }
            "EXT-X-DISCONTINUITY" => self.next.discontinuity = true,
            "EXT-X-GAP" => self.next.gap = true,
            "EXT-X-MAP" => {
                self.next.map = required("URI");
                ok = self.next.map.is_some();
            }
            "EXT-X-PROGRAM-DATE-TIME" => {
                self.next.date_time = millis(value);
                ok = self.next.date_time.is_some();
            }
            "EXT-X-PART" => {
                let duration = required("DURATION").and_then(|value| value.parse().ok());
                let uri = required("URI");
                ok = uri.is_some() && duration.is_some();
                let independent = required("INDEPENDENT").is_some_and(|value| value == "YES");
                let (uri, duration) = (uri.unwrap_or_default(), duration.unwrap_or_default());
                let gap = required("GAP").is_some_and(|value| value == "YES");
                ok &= !(gap && independent);
                self.next.parts.push(Part { uri, duration, independent, gap });
            }
            "EXT-X-PRELOAD-HINT" => {
                ok = required("TYPE").as_deref() == Some("PART") && self.playlist.hint.is_none();
                self.playlist.hint = required("URI");
                ok &= self.playlist.hint.is_some();
            }
            "EXT-X-RENDITION-REPORT" => self.playlist.reports.push(attributes.unwrap_or_default()),
            "EXT-X-ENDLIST" => self.playlist.ended = true,
            _ => ok = false,
        }
        self.must(ok, &format!("#{name}:{value} is none that we know, or not right"));
    }

    fn segment(&mut self, uri: &str, duration: f64) {
        let next = std::mem::take(&mut self.next);
        self.playlist.segments.push(Segment { uri: uri.into(), duration, ..next });
    }

    fn must(&mut self, holds: bool, rule: &str) {
        if !holds {
            self.broken.push(rule.into());
        }
    }
}

/// 4.2: names and values, quotes taken off.
pub(crate) fn attributes(list: &str) -> Option<Attributes> {
    let (mut found, mut rest) = (Attributes::new(), list);
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if found.insert(name.into(), value.into()).is_some() {
            return None;
        }
        rest = match after.strip_prefix(',') {
            Some(rest) => rest,
            None if after.is_empty() => "",
            None => return None,
        };
    }
    Some(found)
}

/// `2023-11-14T22:13:20.123Z` since 1970.
fn millis(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<Vec<i64>> {
        text.split(by).map(|n| n.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, time.split_once('.')?);
    let (clock, thousandths) = (numbers(time.0, ':')?, time.1.parse::<i64>().ok()?);
    let ([year, month, day], [hour, minute, second]) = (&date[..], &clock[..]) else { return None };
    // Days from civil: years begin in March.
    let (year, month) = if *month <= 2 { (year - 1, month + 9) } else { (*year, month - 3) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + thousandths)
}

/// One player that loads a media playlist again and again.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    pub(crate) last: Option<Playlist>,
    /// What was said of each segment, by its number, and how many discontinuities come before its end.
    known: HashMap<u64, (Segment, u64)>,
    /// What each address is the address of.
    addresses: HashMap<String, (u64, Option<usize>)>,
    first_sequence: Option<u64>,
}

impl Follower {
    /// Reads the playlist as it is now; answers the rules that are broken.
    pub(crate) fn load(&mut self, text: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let playlist = Playlist::read(text, &mut broken);
        broken.extend(self.take(playlist));
        broken
    }

    /// The same of a playlist that is right by itself.
    pub(crate) fn take(&mut self, playlist: Playlist) -> Vec<String> {
        let mut broken = Vec::new();
        if let Some(last) = &self.last {
            after(last, &playlist, &mut broken);
        }
        self.remember(&playlist, &mut broken);
        let first = *self.first_sequence.get_or_insert(playlist.media_sequence);
        let live = playlist.media_sequence > first && !playlist.ended;
        if live && playlist.duration() < 3.0 * playlist.target_s as f64 - EXACT {
            broken.push(format!(
                "6.2.2: segments were removed, and {} s are left",
                playlist.duration()
            ));
        }
        self.last = Some(playlist);
        broken
    }

    fn remember(&mut self, playlist: &Playlist, broken: &mut Vec<String>) {
        let mut discontinuities = playlist.discontinuity_sequence;
        let mut map = None;
        for (segment, msn) in playlist.segments.iter().zip(playlist.media_sequence..) {
            discontinuities += u64::from(segment.discontinuity);
            map = segment.map.clone().or(map);
            let mut said = Segment { map: map.clone(), parts: Vec::new(), ..segment.clone() };
            let (before, count) =
                self.known.entry(msn).or_insert_with(|| (said.clone(), discontinuities));
            // The first of a playlist says it again.
            said.map = before.map.clone();
            if *before != said {
                broken.push(format!("6.2.1: {before:?} has become {said:?}"));
            }
            if *count != discontinuities {
                broken.push(format!(
                    "6.2.2: {msn} is behind {discontinuities} discontinuities, was behind {count}"
                ));
            }
            self.address(&segment.uri, (msn, None), broken);
            for (part, at) in segment.parts.iter().zip(0..) {
                self.address(&part.uri, (msn, Some(at)), broken);
            }
        }
        let (msn, _) = playlist.next_part();
        for (part, at) in playlist.open.parts.iter().zip(0..) {
            self.address(&part.uri, (msn, Some(at)), broken);
        }
    }

    fn address(&mut self, uri: &str, of: (u64, Option<usize>), broken: &mut Vec<String>) {
        let before = *self.addresses.entry(uri.into()).or_insert(of);
        if before != of {
            broken.push(format!("{uri} was the address of {before:?} and is that of {of:?}"));
        }
    }
}

/// What one playlist may be after another (6.2.1).
fn after(last: &Playlist, now: &Playlist, broken: &mut Vec<String>) {
    let mut must = |holds: bool, rule: String| {
        if !holds {
            broken.push(rule);
        }
    };
    must(now.version == last.version, "the version has changed".into());
    must(now.target_s == last.target_s, "4.4.3.1: the target duration has changed".into());
    must((now.part_target - last.part_target).abs() < EXACT, "the part target has changed".into());
    must(now.server_control == last.server_control, "what the server can do has changed".into());
    must(now.media_sequence >= last.media_sequence, "4.4.3.2: the media sequence goes back".into());
    must(
        now.discontinuity_sequence >= last.discontinuity_sequence,
        "4.4.3.3: the discontinuity sequence goes back".into(),
    );
    must(
        now.next_part() >= last.next_part(),
        format!("{:?} is behind {:?}", now.next_part(), last.next_part()),
    );
    must(!last.ended || now.ended, "6.2.1: it goes on behind its end".into());
    must(
        !last.ended || now.next_part() == last.next_part(),
        "6.2.1: something new behind its end".into(),
    );
    // What was hinted is what came, if it came (6.2.6).
    let (msn, part) = last.next_part();
    let came = usize::try_from(msn.saturating_sub(now.media_sequence + now.skipped))
        .ok()
        .and_then(|at| now.segments.iter().chain([&now.open]).nth(at))
        .filter(|_| msn >= now.media_sequence + now.skipped)
        .and_then(|segment| segment.parts.get(part));
    if let (Some(hint), Some(came)) = (&last.hint, came) {
        must(*hint == came.uri, format!("4.4.5.3: {hint} was hinted, {} came", came.uri));
    }
    // The parts that were there of the open segment are its parts still.
    let open = last.next_part().0;
    let at = usize::try_from(open.saturating_sub(now.media_sequence)).unwrap_or(usize::MAX);
    let same = now.segments.get(at).unwrap_or(&now.open);
    if open >= now.media_sequence && at <= now.segments.len() && !last.open.parts.is_empty() {
        let removed = at < now.segments.len() && same.parts.is_empty() && !same.gap;
        must(
            removed || same.parts.starts_with(&last.open.parts),
            format!("parts of {open} have changed"),
        );
        must(
            last.open.discontinuity == same.discontinuity && last.open.date_time == same.date_time,
            format!("what was said of {open} has changed"),
        );
    }
}

/// The segments of a playlist of which `delta` came, and which was `full` when last loaded whole.
pub(crate) fn expanded(delta: &Playlist, full: &Playlist) -> Vec<Segment> {
    let from =
        usize::try_from(delta.media_sequence - full.media_sequence).expect("it never goes back");
    let kept = usize::try_from(delta.skipped).expect("as many as there are");
    full.segments[from..from + kept].iter().chain(&delta.segments).cloned().collect()
}

/// The rules a multivariant playlist breaks.
pub(crate) fn multivariant(text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut groups: Vec<(String, String)> = Vec::new();
    let mut variants = 0;
    let mut stream: Option<Attributes> = None;
    let mut lines = text.lines();
    if lines.next() != Some("#EXTM3U") {
        broken.push("4.4.1.1: the first line is not #EXTM3U".to_owned());
    }
    for line in lines {
        let Some(tag) = line.strip_prefix('#') else {
            match stream.take() {
                Some(_) => variants += 1,
                None => broken.push("4.4.6.2: an address without EXT-X-STREAM-INF".into()),
            }
            continue;
        };
        if stream.is_some() {
            broken.push("4.4.6.2: EXT-X-STREAM-INF without an address".into());
        }
        let (name, value) = tag.split_once(':').unwrap_or((tag, ""));
        let Some(found) =
            (if name == "EXT-X-VERSION" { Some(Attributes::new()) } else { attributes(value) })
        else {
            broken.push(format!("4.2: {value} is no attribute list"));
            continue;
        };
        let mut need = |names: &[&str]| {
            for lacks in names.iter().filter(|attribute| !found.contains_key(**attribute)) {
                broken.push(format!("{name}: {lacks} is required"));
            }
        };
        match name {
            "EXT-X-VERSION" => {}
            "EXT-X-MEDIA" => {
                need(&["TYPE", "GROUP-ID", "NAME"]);
                let captions = found.get("TYPE").is_some_and(|kind| kind == "CLOSED-CAPTIONS");
                need(if captions { &["INSTREAM-ID"] } else { &["URI"] });
                if captions && found.contains_key("URI") {
                    broken.push("4.4.6.1: captions are in the pictures, not at an address".into());
                }
                let of = |name: &str| found.get(name).cloned().unwrap_or_default();
                groups.push((of("TYPE"), of("GROUP-ID")));
            }
            "EXT-X-STREAM-INF" => {
                need(&["BANDWIDTH", "CODECS"]);
                for kind in ["AUDIO", "CLOSED-CAPTIONS"] {
                    let group = found.get(kind).filter(|group| *group != "NONE");
                    let is_there =
                        |group: &String| groups.contains(&(kind.to_owned(), group.clone()));
                    if group.is_some_and(|group| !is_there(group)) {
                        broken.push(format!("4.4.6.2: no group {group:?} of {kind}"));
                    }
                }
                stream = Some(found);
            }
            _ => broken.push(format!("#{name} is none that we know")),
        }
    }
    if variants == 0 {
        broken.push("there is nothing to play".into());
    }
    broken
}
