//! Replay: files of recordings by HTTP, whole or in part, and as HLS that a playlist cuts out of them.
//!
//! Who may play the stream may see its recordings, if its app has `record_replay`: each request is a
//! question like that of a viewer, with the same rules, hooks and places, but a connection that goes
//! on with the same stream and the same credentials is asked once. The disk is asked on a thread beside
//! the core. A body is read piece by piece, the next when the one before is written, so a slow reader
//! holds one piece.

mod look;
mod place;
mod playlist;
mod seat;

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use self::look::{Found, Sought, What};
pub(crate) use self::place::{PREFIX, Place};
use self::seat::Seat;
use super::conn::End;
use super::grant::Grant;
use super::http::{Fetches, Http, Wish, no_room};
use super::refusals::Reason;
use super::session::{Doing, Session, Stop};
use super::verdict::{Action, Question};
use crate::config::{RecordFormat, Secret};
use crate::net::{ReadFile, rt};
use crate::proto::http::{AskId, Query, Request, Response, Wanted};

/// So much of a body is read at once.
const PIECE_BYTES: usize = 128 << 10;
/// Of the query behind the name of a playlist: it stands there at each of the parts, too.
const QUERY_MAX: usize = 1 << 10;

/// What a connection waits for that replays.
pub(crate) struct Replay(Pin<Box<dyn Future<Output = News>>>);

/// What has come of it.
pub(crate) enum News {
    /// The disk has answered.
    Looked(Box<Request>, io::Result<Option<Found>>),
    /// A piece of a body.
    Read(Body, io::Result<Bytes>),
}

/// What is left of a body.
pub(crate) struct Body {
    from: From,
    at: u64,
    left: u64,
    seat: Seat,
}

/// Where a body is.
enum From {
    File(ReadFile),
    /// A playlist.
    Text(Bytes),
}

/// A file that was found for a request, while it is asked whether it may be seen.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) ask: AskId,
    found: Found,
    range: Option<Box<str>>,
    if_range: Option<Box<str>>,
    bearer: Option<Secret>,
    /// What it is to be called, if it is to be kept and not shown.
    download: Option<Box<str>>,
}

/// What a connection was let see, and may see again.
#[derive(Debug)]
pub(crate) struct Seen {
    bearer: Option<Secret>,
    /// Bytes of it that it was sent, heads aside.
    pub(super) sent: u64,
}

impl Replay {
    fn look(request: Box<Request>, sought: Sought) -> Box<Self> {
        Box::new(Self(Box::pin(async move {
            let looked = rt::blocking(move || sought.look()).await;
            News::Looked(request, looked)
        })))
    }

    fn read(body: Body) -> Box<Self> {
        Box::new(Self(Box::pin(async move {
            let most = usize::try_from(body.left).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let read = body.from.read_at(body.at, most).await;
            News::Read(body, read)
        })))
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        self.0.as_mut().poll(cx)
    }
}

impl From {
    /// At most so many bytes from there on; none behind its end.
    async fn read_at(&self, at: u64, most: usize) -> io::Result<Bytes> {
        match self {
            Self::File(file) => file.read_at(at, most).await,
            Self::Text(text) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
                // Copied, as a file is: a part of it would hold all of it, without a seat.
                Ok(Bytes::copy_from_slice(&text[at..text.len().min(at.saturating_add(most))]))
            }
        }
    }
}

impl Session<Http> {
    /// Looks for what is asked for, if there may be such a thing.
    pub(super) fn wish_to_replay(&mut self, request: Request, now: Instant) {
        match self.sought(&request) {
            Ok(sought) => self.doing = Doing::Replaying(Replay::look(Box::new(request), sought)),
            Err(response) => self.protocol.respond(request.ask, &response, now),
        }
    }

    fn sought(&self, request: &Request) -> Result<Sought, Response> {
        let path = request.path.strip_prefix(PREFIX).unwrap_or_default();
        let (path, is_playlist) = match path.strip_suffix(".m3u8") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let place = Place::parse(path)
            .map_err(|expected| not_there(&format!("expected {PREFIX} and {expected}")))?;
        let setup = self.conn.core.setup();
        let app = place.app(&setup.config).filter(|app| app.record_replay);
        let off = "recordings of this app are not replayed (record_replay)";
        let app = app.ok_or_else(|| not_there(off))?;
        if is_playlist && place.format() == RecordFormat::Flv {
            let why = "expected a recording as TS or MP4: FLV has no HLS, but plays by itself, without .m3u8";
            return Err(not_there(why));
        }
        if is_playlist && request.query.len() > QUERY_MAX {
            let found = request.query.len();
            let why = format!("expected a query of at most {QUERY_MAX} bytes, found {found}");
            return Err(Response::json_error(400, "bad request", &why));
        }
        let (node, most) = (&self.conn.core.node, setup.config.limits.replays);
        let seat = Seat::take(node, most).ok_or_else(|| {
            node.refused.count(Reason::Replays);
            let why = format!("expected at most {most} replays at once (limits.replays)");
            self.log_sparingly(&format!("refused: {why}"));
            no_room(&why)
        })?;
        let directory = app.record_directory.clone().into();
        let playlist = is_playlist.then(|| request.query.clone());
        Ok(Sought { directory, place, playlist, seat })
    }

    /// Goes on with what the disk has said.
    pub(super) fn go_on_replaying(&mut self, news: News, now: Instant) -> Result<(), Stop<Wish>> {
        self.doing = Doing::Nothing;
        match news {
            News::Looked(request, Ok(Some(found))) => self.ask_to_replay(*request, found, now),
            News::Looked(request, Ok(None)) => {
                let response = not_there("there is no such recording that is whole");
                self.protocol.respond(request.ask, &response, now);
                Ok(())
            }
            News::Looked(request, Err(error))
                if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
            {
                self.log_sparingly(&format!("replay: {}: its sidecar: {error}", request.path));
                let response = not_there("the sidecar of this recording is damaged");
                self.protocol.respond(request.ask, &response, now);
                Ok(())
            }
            News::Looked(request, Err(error)) => {
                self.log_sparingly(&format!("replay: {}: {error}", request.path));
                let response = Response::json_error(500, "failed", "the disk has failed");
                self.protocol.respond(request.ask, &response, now);
                Ok(())
            }
            News::Read(_, Err(error)) => Err(broken(&error)),
            News::Read(_, Ok(piece)) if piece.is_empty() => {
                Err(broken(&ErrorKind::UnexpectedEof.into()))
            }
            News::Read(body, Ok(piece)) => {
                if let Some(reason) = self.conn.core.blocked(self.conn.about.peer.ip(), now) {
                    return Err(Stop::End(End::Blocked(reason.to_string())));
                }
                self.send_piece(body, piece, now);
                Ok(())
            }
        }
    }

    fn ask_to_replay(
        &mut self,
        request: Request,
        found: Found,
        now: Instant,
    ) -> Result<(), Stop<Wish>> {
        let download = Query::new(&request.query).flag("download") == Some(true);
        let download = download.then(|| called(&request.path));
        let (ask, range, if_range) = (request.ask, request.range.clone(), request.if_range.clone());
        // Unlike a viewer of a stream, it asks for something that only its path names.
        let page = self.protocol.page.take();
        let (question, bearer) = self.question(Action::Play(found.key.clone()), request);
        self.protocol.page = page;
        let open = Open { ask, found, range, if_range, bearer, download };
        if self.was_seen(&question, open.bearer.as_ref()) {
            self.replay(open, now);
            return Ok(());
        }
        let bearer = open.bearer.clone();
        self.ask(question, bearer.as_ref(), Wish::Replay(Box::new(open)), now)
    }

    /// True if it is granted already, to the same client with the same credentials.
    fn was_seen(&mut self, question: &Question, bearer: Option<&Secret>) -> bool {
        let granted = self.conn.about.granted.as_ref().map(Grant::question);
        self.protocol.seen().zip(granted).is_some_and(|(seen, granted)| {
            seen.bearer.as_ref() == bearer
                && granted.action == question.action
                && granted.query == question.query
                && granted.peer == question.peer
                && granted.http == question.http
        })
    }

    /// It may. The grant lasts until the connection asks for something else, or ends.
    pub(super) fn begin_replay(&mut self, open: Box<Open>, now: Instant) {
        let granted = self.conn.about.granted.as_ref().map(|grant| Arc::clone(grant.question()));
        if granted.is_some_and(|granted| granted.stream() != Some(&open.found.key)) {
            let why = "another stream was given instead, which has other recordings".to_owned();
            let refused = super::refused::Refused::Denied(Reason::Verdict, why);
            self.refuse(&Wish::Replay(open), &refused, now);
            return;
        }
        let seen = Seen { bearer: open.bearer.clone(), sent: 0 };
        self.protocol.fetches = Some(Box::new(Fetches::Replay(seen)));
        self.has_started();
        self.log("replay");
        self.replay(*open, now);
    }

    fn replay(&mut self, open: Open, now: Instant) {
        let Open { ask, found: Found { etag, what, seat, .. }, range, if_range, download, .. } =
            open;
        let (file, bytes, format) = match what {
            What::Playlist(text) => {
                let response = Response::new(200, "application/vnd.apple.mpegurl", Bytes::new());
                let response = response.with_cache_control("no-cache").with_etag(etag);
                let left = text.len() as u64;
                // Piece by piece, too: who reads slowly has its seat for as long as it holds the text.
                if self.protocol.respond_in_pieces(ask, &response, left, now) {
                    let body = Body { from: From::Text(text.into()), at: 0, left, seat };
                    self.doing = Doing::Replaying(Replay::read(body));
                }
                return;
            }
            What::NoIndex => {
                let why = "a crash has left this recording without an index: it plays by itself, without .m3u8";
                return self.protocol.respond(ask, &not_there(why), now);
            }
            What::File { file, bytes, format } => (file, bytes, format),
        };
        let of = |status| {
            let response = Response::new(status, content_type(format), Bytes::new())
                .with_cache_control("no-cache")
                .with_header("Accept-Ranges", "bytes");
            match &download {
                Some(name) => {
                    let kept = format!("attachment; filename=\"{name}\"");
                    response.with_header("Content-Disposition", kept)
                }
                None => response,
            }
        };
        let (response, at, left) =
            match Wanted::of(range.as_deref(), if_range.as_deref(), &etag, bytes) {
                Wanted::Beyond => {
                    let detail = format!("expected a range of {bytes} bytes");
                    let response = Response::json_error(416, "range not satisfiable", &detail)
                        .with_header("Content-Range", format!("bytes */{bytes}"))
                        .with_cache_control("no-cache")
                        .with_etag(etag);
                    return self.protocol.respond(ask, &response, now);
                }
                Wanted::Whole => (of(200), 0, bytes),
                Wanted::Part { first, length } => {
                    let last = first + length - 1;
                    let part = of(206)
                        .with_header("Content-Range", format!("bytes {first}-{last}/{bytes}"))
                        .with_header("Access-Control-Expose-Headers", "Content-Range");
                    (part, first, length)
                }
            };
        let response = response.with_etag(etag);
        if self.protocol.respond_in_pieces(ask, &response, left, now) {
            let from = From::File(ReadFile::new(file));
            self.doing = Doing::Replaying(Replay::read(Body { from, at, left, seat }));
        }
    }

    fn send_piece(&mut self, body: Body, piece: Bytes, now: Instant) {
        let Body { from, at, left, seat } = body;
        let length = piece.len() as u64;
        if let Some(seen) = self.protocol.seen() {
            seen.sent += length;
        }
        self.protocol.push_body(piece, now);
        if let Some(left) = left.checked_sub(length).filter(|left| *left > 0) {
            let rest = Body { from, at: at + length, left, seat };
            self.doing = Doing::Replaying(Replay::read(rest));
        }
    }
}

/// What is kept is called after stream and date too, which its path tells.
fn called(path: &str) -> Box<str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=+@,".contains(c);
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    path.chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

fn not_there(detail: &str) -> Response {
    Response::json_error(404, "not found", detail)
}

fn broken(error: &io::Error) -> Stop<Wish> {
    // What was announced cannot be had: the connection ends before it, which says so.
    Stop::End(End::Finished(format!("replay: {error}")))
}

fn content_type(format: RecordFormat) -> &'static str {
    match format {
        RecordFormat::Flv => "video/x-flv",
        RecordFormat::Ts => "video/mp2t",
        RecordFormat::Fmp4 => "video/mp4",
    }
}
