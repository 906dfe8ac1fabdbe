//! One viewer: answers in, requests and a deadline out.
//!
//! ```text
//! multivariant ─> media playlist ─> what is new in it ─┐
//!                      ^────────── (when due) ─────────┘
//! ```

use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use corecast::media::TrackKind;

use super::answers::{Answers, Piece};
use super::media::{self, Course, Item, Kind};
use super::playlist::{Media, Playlist};
use super::{Manner, Position, Source, Tally};
use crate::inspect::Moment;
use crate::mark::Mark;
use crate::viewer::Event;
use crate::viewer::body::Body;

/// A viewer's end of its connection.
pub(crate) struct Player {
    source: Arc<Source>,
    answers: Answers,
    /// In the order of their answers.
    asked: VecDeque<Asked>,
    /// The status of the answer that comes, once it is known.
    status: Option<u16>,
    /// A playlist, as far as it has come.
    text: Vec<u8>,
    /// Path and query of the media playlist, once it is known.
    media: Option<String>,
    course: Course,
    /// To be asked for, one after the other.
    queue: VecDeque<Item>,
    /// When the playlist is due again.
    reload: Option<Instant>,
    /// The part that was asked for in advance last, if it has come already.
    hint_done: Option<String>,
    playback: Option<Playback>,
    /// It has had a media playlist.
    has_joined: bool,
    /// What the server calls itself, until that is told.
    server: Option<String>,
    /// Of whoever looks at every byte.
    body: Option<Body>,
    events: VecDeque<Event>,
    looks: bool,
    out: String,
}

struct Asked {
    what: What,
    since: Moment,
}

enum What {
    Multivariant,
    /// A media playlist; if it blocks, until this part is there.
    Playlist {
        waits_for: Option<Position>,
    },
    Item(Item),
    /// A part that was not listed when it was asked for.
    Hint(String),
}

/// How far what was fetched reaches, and how far what was played.
struct Playback {
    since: Instant,
    fetched: Duration,
    stalled: Duration,
}

/// No playlist is longer.
const TEXT_MAX: usize = 4 << 20;

impl Player {
    /// Of a viewer that is about to connect. One that `looks` reads what it fetches.
    pub(crate) fn new(source: Arc<Source>, looks: bool, now: Moment) -> Self {
        let mut this = Self {
            answers: Answers::default(),
            asked: VecDeque::new(),
            status: None,
            text: Vec::new(),
            media: None,
            course: Course::default(),
            queue: VecDeque::new(),
            reload: None,
            hint_done: None,
            playback: None,
            has_joined: false,
            server: None,
            body: None,
            events: VecDeque::new(),
            looks,
            out: String::new(),
            source,
        };
        let path = this.source.url.path.clone();
        this.ask(&path, What::Multivariant, now);
        this
    }

    /// Whether it matters when it reads: it has no pause in which to wait, or looks.
    pub(crate) fn hurries(&self) -> bool {
        self.looks || self.source.manner == Manner::ClosedLoop
    }

    /// Whether the kernel is to tell when an answer came. It can where nothing comes right behind that, and
    /// who fetches segments has time.
    pub(crate) fn is_timed(&self) -> bool {
        match self.source.manner {
            Manner::Segments => false,
            Manner::LowLatency => self.looks,
            Manner::ClosedLoop => true,
        }
    }

    /// What is to be written now; empty if nothing is.
    pub(crate) fn poll_transmit(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// A frame, or a fragment, of what was fetched by one that looks; that it is in, by any.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        // The playlist is one thing at a time; parts in advance may wait as long as they like.
        let is_hint = |asked: &Asked| matches!(asked.what, What::Hint(_));
        self.reload.filter(|_| self.queue.is_empty() && self.asked.iter().all(is_hint))
    }

    /// The playlist may be due.
    pub(crate) fn handle_timeout(&mut self, now: Moment) {
        if self.poll_timeout().is_some_and(|due| due <= now.at) {
            self.ask_playlist(None, false, now);
        }
    }

    /// How many of the next bytes nobody here wants to see.
    pub(crate) fn skippable(&self) -> u64 {
        let is_media =
            matches!(self.asked.front(), Some(Asked { what: What::Item(_) | What::Hint(_), .. }));
        let is_wanted = self.looks && self.status == Some(200);
        if is_media && !is_wanted { self.answers.skippable() } else { 0 }
    }

    /// So many of them are gone, the last at `read`.
    ///
    /// # Errors
    /// As [`Self::handle_input`].
    pub(crate) fn skip(&mut self, count: usize, read: Moment, tally: &mut Tally) -> io::Result<()> {
        match self.answers.skip(count) {
            true => self.handle_input(&[], read, tally),
            false => Ok(()),
        }
    }

    /// Takes `input`, whose last byte came at `read`.
    ///
    /// # Errors
    /// The server lets nobody in, has ended the stream, or its answers cannot be read.
    pub(crate) fn handle_input(
        &mut self,
        mut input: &[u8],
        read: Moment,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let names_server = !self.has_joined;
        while let Some(piece) = self.answers.next(&mut input, names_server)? {
            let Some(asked) = self.asked.front() else {
                return Err(io::Error::other(
                    "expected no answer that nobody asked for, found one",
                ));
            };
            match piece {
                Piece::Head { status, server } => {
                    self.status = Some(status);
                    self.server = self.server.take().or(server);
                }
                Piece::Data(data) if self.status == Some(200) => match asked.what {
                    What::Multivariant | What::Playlist { .. } => {
                        if self.text.len() + data.len() > TEXT_MAX {
                            let why = format!("expected a playlist of at most {TEXT_MAX} bytes");
                            return Err(io::Error::other(why));
                        }
                        self.text.extend_from_slice(data);
                    }
                    What::Item(_) | What::Hint(_) => self.look(data, tally)?,
                },
                Piece::Data(_) => {}
                Piece::End => {
                    let asked = self.asked.pop_front().expect("it was there a moment ago");
                    let status = self.status.take().unwrap_or_default();
                    self.answered(asked, status, read, tally)?;
                }
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        asked: Asked,
        status: u16,
        read: Moment,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let found = &mut tally.found;
        found.requests += 1;
        let took = Duration::from_nanos(read.clock_ns.saturating_sub(asked.since.clock_ns));
        if status != 200 && !matches!(asked.what, What::Hint(_)) {
            found.add_errors(status, 1);
        }
        match asked.what {
            What::Multivariant | What::Playlist { .. } if status != 200 => {
                // A server that is busy is asked again, one that has no such stream is not.
                if status < 500 || !self.has_joined {
                    let path = self.media.as_deref().unwrap_or(&self.source.url.path);
                    return Err(io::Error::other(format!(
                        "expected the status 200 for {path}, found {status}"
                    )));
                }
                self.reload = Some(read.at + RETRY);
                Ok(())
            }
            What::Multivariant => self.read_playlist(None, asked.since, read, tally),
            What::Playlist { waits_for } => {
                found.playlists += 1;
                match waits_for {
                    Some(part) if self.looks => {
                        tally.reloaded(self.source.stream, part, asked.since, read);
                    }
                    Some(_) => {}
                    None => found.playlist_ms.record(took),
                }
                self.read_playlist(waits_for, asked.since, read, tally)
            }
            What::Item(item) => {
                if status == 200 {
                    found.media_ms.record(took);
                }
                self.fetched(&item, status, read, tally);
                self.go_on(read);
                Ok(())
            }
            What::Hint(path) => {
                match status {
                    200 => self.hint_done = Some(path),
                    _ => tally.found.hints_withdrawn += 1,
                }
                Ok(())
            }
        }
    }

    /// An item was given, or not.
    fn fetched(&mut self, item: &Item, status: u16, read: Moment, tally: &mut Tally) {
        let found = &mut tally.found;
        let (count, missing) = match item.kind {
            Kind::Init => return,
            Kind::Segment => (&mut found.segments, &mut found.segments_missing),
            Kind::Part => (&mut found.parts, &mut found.parts_missing),
        };
        if status != 200 {
            *missing += 1;
            return;
        }
        *count += 1;
        if self.source.manner == Manner::ClosedLoop {
            return;
        }
        let Some(playback) = &mut self.playback else {
            let (since, stalled) = (read.at, Duration::ZERO);
            self.playback = Some(Playback { since, fetched: item.lasts, stalled });
            return;
        };
        let played = read.at.saturating_duration_since(playback.since + playback.stalled);
        let late = played.saturating_sub(playback.fetched);
        if !late.is_zero() {
            found.stalls += 1;
            found.stalled_s += late.as_secs_f64();
            playback.stalled += late;
        }
        playback.fetched += item.lasts;
    }

    /// Reads what is in [`Self::text`], and asks for what follows from it.
    fn read_playlist(
        &mut self,
        waited_for: Option<Position>,
        asked: Moment,
        read: Moment,
        tally: &mut Tally,
    ) -> io::Result<()> {
        let text = std::mem::take(&mut self.text);
        let playlist = str::from_utf8(&text).map_err(io::Error::other)?;
        let result = match Playlist::read(playlist) {
            Ok(Playlist::Multivariant(uri)) if self.media.is_none() => {
                let path = resolve(&self.source, &self.source.url.path, uri);
                path.map(|path| {
                    self.media = Some(path);
                    self.ask_playlist(None, false, read);
                })
            }
            Ok(Playlist::Multivariant(_)) => {
                Err("expected a media playlist, found variants".into())
            }
            Ok(Playlist::Media(media)) => {
                // A stream without variants may be named by its media playlist.
                self.media.get_or_insert_with(|| self.source.url.path.clone());
                if !std::mem::replace(&mut self.has_joined, true) {
                    self.events.push_back(Event::Joined { server: self.server.take() });
                }
                self.follow(&media, waited_for, asked, read, tally)
            }
            Err(why) => Err(why),
        };
        self.text = text;
        self.text.clear();
        result.map_err(io::Error::other)
    }

    fn follow(
        &mut self,
        media: &Media<'_>,
        waited_for: Option<Position>,
        asked: Moment,
        read: Moment,
        tally: &mut Tally,
    ) -> Result<(), String> {
        if self.source.manner == Manner::ClosedLoop {
            return self.ask_newest(media, read);
        }
        let by_parts = self.source.manner == Manner::LowLatency && media.blocks;
        let (source, base) = (Arc::clone(&self.source), self.media.clone().unwrap_or_default());
        let news = self.course.follow(media, by_parts, |uri| resolve(&source, &base, uri))?;
        let found = &mut tally.found;
        found.segments_missing += news.missing;
        found.gaps += news.gaps;
        found.unchanged += u64::from(!news.is_changed);
        if self.looks && self.body.is_none() {
            let is_ts =
                |item: &Item| item.path.split('?').next().is_some_and(|path| path.ends_with(".ts"));
            let body = |item| if is_ts(item) { Body::ts() } else { Body::mp4() };
            self.body = news.items.first().map(body);
        }
        if media.ended && news.items.is_empty() && self.queue.is_empty() {
            return Err("the server ended the stream".to_owned());
        }
        if news.needs_all {
            self.ask_playlist(None, false, read);
            return Ok(());
        }
        if by_parts {
            for item in news.items {
                self.ask_part(item, read, tally);
            }
            if let (Some(end), false) = (self.course.end, media.ended) {
                // A server that answers at once with nothing new does not block.
                let is_idle = waited_for.is_some() && !news.is_changed;
                match is_idle {
                    true => self.reload = Some(asked.at + media.target / 2),
                    false => self.ask_playlist(Some(end), media.skips, read),
                }
            }
            // Behind the answer that is timed nothing may come at once: the kernel has one time for both.
            if let Some(hint) = media.hint.filter(|_| !self.is_timed()) {
                self.ask_hint(&resolve(&source, &base, hint)?, read);
            }
            return Ok(());
        }
        self.queue.extend(news.items);
        let pause = if news.is_changed { media.target } else { media.target / 2 };
        self.reload = Some(asked.at + pause);
        self.go_on(read);
        Ok(())
    }

    /// The next of the queue, when nothing is awaited any more; in a closed loop the playlist.
    fn go_on(&mut self, now: Moment) {
        if !self.asked.is_empty() {
            return;
        }
        if self.source.manner == Manner::ClosedLoop {
            return self.ask_playlist(None, false, now);
        }
        match self.queue.pop_front() {
            Some(item) => {
                let path = item.path.clone();
                self.ask(&path, What::Item(item), now);
            }
            None => self.handle_timeout(now),
        }
    }

    fn ask_newest(&mut self, media: &Media<'_>, now: Moment) -> Result<(), String> {
        let Some((kind, uri)) = media::newest(media) else {
            self.ask_playlist(None, false, now);
            return Ok(());
        };
        let base = self.media.clone().unwrap_or_default();
        let path = resolve(&self.source, &base, uri)?;
        let at = Position { msn: media.first, part: 0 };
        let item = Item { path: path.clone(), kind, at, after: None, lasts: Duration::ZERO };
        self.ask(&path, What::Item(item), now);
        Ok(())
    }

    /// A part that is listed: it may have been asked for in advance, or have come.
    fn ask_part(&mut self, item: Item, now: Moment, tally: &mut Tally) {
        if self.hint_done.take_if(|path| *path == item.path).is_some() {
            return self.fetched(&item, 200, now, tally);
        }
        let hinted =
            |asked: &&mut Asked| matches!(&asked.what, What::Hint(path) if *path == item.path);
        match self.asked.iter_mut().find(hinted) {
            Some(asked) => {
                // From now on it is there.
                *asked = Asked { what: What::Item(item), since: now };
            }
            None => {
                let path = item.path.clone();
                self.ask(&path, What::Item(item), now);
            }
        }
    }

    fn ask_hint(&mut self, path: &str, now: Moment) {
        let is_asked = self.asked.iter().any(|asked| match &asked.what {
            What::Hint(known) => known == path,
            What::Item(item) => item.path == path,
            What::Multivariant | What::Playlist { .. } => false,
        });
        if !is_asked && self.hint_done.as_deref() != Some(path) {
            self.ask(path, What::Hint(path.to_owned()), now);
        }
    }

    fn ask_playlist(&mut self, waits_for: Option<Position>, skips: bool, now: Moment) {
        let mut path = self.media.clone().unwrap_or_default();
        if let Some(Position { msn, part }) = waits_for {
            let first = if path.contains('?') { '&' } else { '?' };
            let skip = if skips { "&_HLS_skip=YES" } else { "" };
            write!(path, "{first}_HLS_msn={msn}&_HLS_part={part}{skip}")
                .expect("a String takes all");
        }
        self.reload = None;
        self.ask(&path, What::Playlist { waits_for }, now);
    }

    fn ask(&mut self, path: &str, what: What, now: Moment) {
        let host = &self.source.url.authority;
        write!(
            self.out,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: corecast-load\r\n\r\n"
        )
        .expect("a String takes all");
        self.asked.push_back(Asked { what, since: now });
    }

    /// Reads bytes of media.
    fn look(&mut self, mut data: &[u8], tally: &mut Tally) -> io::Result<()> {
        let Some(body) = &mut self.body else { return Ok(()) };
        while !data.is_empty() {
            let count = data.len();
            body.read(&mut data, count)?;
            while let Some(event) = body.poll_event() {
                if let Event::Frame(frame) = &event
                    && frame.kind == TrackKind::Video
                    && let Some(Asked { what: What::Item(item), .. }) = self.asked.front_mut()
                    && let Some(before) = item.after.take()
                    && let Some(mark) = Mark::find(&frame.data)
                {
                    // The first picture of a part is what ended the one before.
                    tally.sealed(self.source.stream, before, mark.clock_ns);
                }
                self.events.push_back(event);
            }
        }
        Ok(())
    }
}

/// Before a server that was busy is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The path, with query, that `uri` names in a playlist at `base` (RFC 3986 5.2), on the same server.
fn resolve(source: &Source, base: &str, uri: &str) -> Result<String, String> {
    let elsewhere = || {
        Err(format!(
            "expected all of a stream on one server ({}), found {uri:?}",
            source.url.authority
        ))
    };
    if uri.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return Err(format!("expected a URI in a playlist, found {uri:?}"));
    }
    let uri = uri.split('#').next().unwrap_or_default();
    if let Some((scheme, rest)) =
        uri.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?']))
    {
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        return match (scheme, authority == source.url.authority) {
            ("http", true) if path.starts_with('/') => Ok(path.to_owned()),
            ("http", true) => Ok(format!("/{path}")),
            _ => elsewhere(),
        };
    }
    if uri.starts_with("//") {
        return elsewhere();
    }
    if uri.starts_with('/') {
        return Ok(uri.to_owned());
    }
    let path = base.split('?').next().unwrap_or_default();
    let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
    Ok(format!("{directory}{uri}"))
}
