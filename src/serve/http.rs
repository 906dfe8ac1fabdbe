//! HTTP connections: pages, and streams by HTTP and by WebSocket. What clients publish is in
//! [`http_ingest`](super::http_ingest).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::accept;
use super::admit::Ticket;
use super::conn::Conn;
use super::end_line::{PageRequest, RequestLine};
use super::hand_over::Driver;
use super::hls::{Fetched, Form, Path, Playback};
use super::page;
use super::playing::NOT_FOUND;
use super::refusals::Reason;
use super::refused::Refused;
use super::replay::{self, Seen};
use super::session::{Arrival, Protocol, Session, Stop};
use super::verdict::{Action, HttpClient, Question};
use crate::config::{Body, Secret};
use crate::container::flv::HevcForm;
use crate::media::StreamKey;
use crate::net::TcpStream;
use crate::plane::{
    Format, Framing, PlayRequest, PublishRefused, PublisherEnd, Selection, SinkEnd, SinkStats,
};
use crate::proto::http::{self, AskId, Container, End, Event, Query, Request, Response, Server};

/// The machine, and the stream it is about to send or sends.
pub(crate) struct Http {
    machine: Server,
    playing: Option<(AskId, http::Framing)>,
    /// The last request, if it was for no stream.
    pub(super) page: Option<Box<PageRequest>>,
    /// What the last request was answered.
    status: Option<u16>,
    /// It has asked for something else than how the node is.
    asks_more: bool,
    /// What it fetches, piece by piece.
    // Boxed: most viewers fetch nothing.
    pub(super) fetches: Option<Box<Fetches>>,
}

/// What is fetched by request after request.
#[derive(Debug)]
pub(super) enum Fetches {
    /// A stream, and who watches it: media do not say whom they are for.
    Live(Arc<Playback>),
    /// Media of a stream, and no playlist.
    Media(StreamKey),
    /// A recording, while what was granted is that.
    Replay(Seen),
}

/// A request for a stream, or with one.
#[derive(Debug)]
pub(crate) enum Wish {
    Play(AskId, Play),
    Publish(AskId, Container),
    /// To watch by fetching.
    Fetch(AskId, Form),
    Replay(Box<replay::Open>),
}

/// How a stream is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Play {
    head_only: bool,
    selection: Selection,
    from_cache: bool,
    format: Format,
}

/// Where balancers and supervisors ask how this node is.
const HEALTHY: &str = "/healthz";
const READY: &str = "/readyz";
const FORBIDDEN: &str = "forbidden";

/// A new connection.
pub(crate) fn session(conn: Conn) -> Box<Session<Http>> {
    let machine = Server::new(Arc::clone(&conn.core.setup().http), Instant::now());
    let (playing, page, status, fetches) = (None, None, None, None);
    Session::new(conn, Http { machine, playing, page, status, asks_more: false, fetches })
}

/// Tells a peer that there is no room, before it has a driver or a place.
pub(super) fn refuse_at_the_door(socket: &TcpStream, reason: &str) {
    let head = no_room(reason).to_bytes();
    // Whether it is heard or not, the connection closes.
    let _ = crate::net::fd::send(socket.fd(), &[std::io::IoSlice::new(&head)]);
    let _ = socket.shutdown_write();
}

/// Tells a peer that what it began is nothing that is served here.
pub(super) fn bad_request(detail: &str) -> Bytes {
    Response::json_error(400, "bad request", detail).to_bytes()
}

/// Try elsewhere. A player that only knows this place, and a balancer that sends it here, is told
/// when it may look again: pressure is measured anew each second, and a crowd that was refused
/// should not be back before it has had time to fall.
pub(super) fn no_room(detail: &str) -> Response {
    Response::json_error(503, "no room", detail).with_header("Retry-After", "5")
}

/// No, by its status.
fn refusal(status: u16, detail: &str) -> Response {
    let error = match status {
        // RFC 9110 15.5.2: it names a way.
        401 => {
            let response = Response::json_error(status, "unauthorized", detail);
            return response.with_header("WWW-Authenticate", "Bearer");
        }
        403 => FORBIDDEN,
        404 => "not found",
        409 => "in use",
        415 => "not in this format",
        500 => "failed",
        _ => return no_room(detail),
    };
    Response::json_error(status, error, detail)
}

impl Protocol for Http {
    type Machine = Server;
    type Wish = Wish;

    fn machine(&mut self) -> &mut Server {
        &mut self.machine
    }

    fn apply(session: &mut Session<Self>, now: Instant) -> Result<bool, Stop<Wish>> {
        match session.protocol.machine.poll_event() {
            None => return Ok(false),
            Some(Event::Request(request)) => session.route(*request, now)?,
            Some(Event::Media(item)) => session.take_media(item, now),
            Some(Event::Notice(notice)) => session.log(&notice.to_string()),
            Some(Event::PublishEnded { ask }) => session.publish_is_over(ask, now),
            Some(Event::Closed { code }) => {
                session.stop_playing("the viewer left");
                let code = code.map_or("none".to_owned(), |code| code.to_string());
                session.log(&format!("the viewer left (WebSocket close code {code})"));
            }
        }
        Ok(true)
    }

    fn connected(&mut self, _: Wish, _: Instant) {}

    fn granted(
        session: &mut Session<Self>,
        ticket: Ticket,
        wish: Wish,
        now: Instant,
    ) -> Option<(Ticket, Wish)> {
        match wish {
            Wish::Fetch(ask, form) => {
                session.open(ticket, (ask, form));
                None
            }
            Wish::Replay(open) => {
                session.begin_replay(open, now);
                None
            }
            wish => Some((ticket, wish)),
        }
    }

    fn replayed(
        session: &mut Session<Self>,
        news: replay::News,
        now: Instant,
    ) -> Result<(), Stop<Wish>> {
        session.go_on_replaying(news, now)
    }

    fn take_sent(&mut self) -> u64 {
        let sent = self.seen().map_or(0, |seen| seen.sent);
        self.fetches.take_if(|fetches| matches!(**fetches, Fetches::Replay(_)));
        sent
    }

    fn arrive(session: &mut Session<Self>, at: Arrival, wish: Wish) {
        let now = at.now;
        let refused = match wish {
            Wish::Play(ask, play) => session.start_play(at, ask, play),
            // It has begun when it was granted.
            Wish::Fetch(..) | Wish::Replay(_) => Ok(()),
            Wish::Publish(ask, container) => {
                let published = session.publish(&at);
                if published.is_ok() {
                    session.protocol.machine.accept_publish(now, ask, container);
                }
                published
            }
        };
        if let Err(refused) = refused {
            session.refuse(&wish, &refused, now);
        }
    }

    fn fetched(session: &mut Session<Self>, fetched: Fetched, now: Instant) {
        session.fetched(fetched, now);
    }

    fn refuse(&mut self, wish: &Wish, why: &Refused, now: Instant) {
        let ask = match wish {
            Wish::Play(ask, _) | Wish::Publish(ask, _) | Wish::Fetch(ask, _) => ask,
            Wish::Replay(open) => &open.ask,
        };
        let status = match (why, wish) {
            // Encoders that hold a token may show it then.
            (Refused::Denied(Reason::Proof, _), Wish::Publish(..)) => 401,
            (Refused::Denied(..), _) => 403,
            (Refused::Publish(PublishRefused::InUse { .. }), _) => 409,
            (
                Refused::Publish(PublishRefused::Draining)
                | Refused::Play(_)
                | Refused::NoRoom(_)
                | Refused::NoDescriptor(_)
                | Refused::OwnerIsBusy,
                _,
            ) => 503,
        };
        self.answer(*ask, status, &why.to_string(), now);
    }

    fn started(&mut self) {
        if let Some((ask, framing)) = self.playing {
            self.status = Some(if framing == http::Framing::WebSocket { 101 } else { 200 });
            self.machine.accept_stream(ask, framing);
        }
    }

    fn not_found(&mut self, reason: &str, now: Instant) {
        if let Some((ask, _)) = self.playing.take() {
            self.answer(ask, 404, reason, now);
        }
    }

    fn not_carried(&mut self, reason: &str, now: Instant) {
        if let Some((ask, _)) = self.playing.take() {
            self.answer(ask, 415, reason, now);
        }
    }

    fn turned_away(&mut self, reason: &str, now: Instant) {
        if let Some((ask, _)) = self.playing.take() {
            self.machine.respond(now, ask, &no_room(reason));
        }
    }

    fn viewer_ended(&mut self, end: &SinkEnd, now: Instant) {
        let why = match end {
            SinkEnd::PublisherGone => End::Over,
            SinkEnd::Draining => End::GoingAway,
            _ => End::Policy,
        };
        self.machine.end_stream(now, why, &end.to_string());
    }

    fn kicked(&mut self, started: bool, reason: &str, now: Instant) {
        match self.playing.take().filter(|_| !started) {
            Some((ask, _)) => self.answer(ask, 403, reason, now),
            None => self.machine.end_stream(now, End::Policy, reason),
        }
    }

    fn extend_silence(&mut self, now: Instant) -> Option<Instant> {
        self.machine.extend_silence(now)
    }

    fn publisher_ended(&mut self, end: &PublisherEnd) {
        let status = match end {
            PublisherEnd::TakenOver(_) => 409,
            PublisherEnd::SourceFailed(_) => 500,
            PublisherEnd::Draining => 503,
            PublisherEnd::Kicked { .. } | PublisherEnd::Idle(_) => 403,
        };
        self.end_publish(status, &end.to_string());
    }

    fn last_request(&self) -> Option<RequestLine<'_>> {
        Some(RequestLine { page: self.page.as_deref(), status: self.status })
    }

    fn fetched_stream(&self) -> Option<&StreamKey> {
        match self.fetches.as_deref()? {
            Fetches::Live(playback) => Some(playback.key()),
            Fetches::Media(key) => Some(key),
            Fetches::Replay(_) => None,
        }
    }

    fn pack(self, wish: Wish) -> Driver {
        Driver::Http(Box::new((self, wish)))
    }

    fn unpack(driver: Driver) -> Option<(Self, Wish)> {
        match driver {
            Driver::Http(packed) => Some(*packed),
            Driver::Rtmp(_) => None,
        }
    }
}

impl Http {
    /// The replay that was granted.
    pub(super) fn seen(&mut self) -> Option<&mut Seen> {
        match self.fetches.as_deref_mut() {
            Some(Fetches::Replay(seen)) => Some(seen),
            Some(Fetches::Live(_) | Fetches::Media(_)) | None => None,
        }
    }

    pub(super) fn answer(&mut self, ask: AskId, status: u16, detail: &str, now: Instant) {
        self.respond(ask, &refusal(status, detail), now);
    }

    /// A publisher hears why it is over, instead of "ok".
    pub(super) fn end_publish(&mut self, status: u16, detail: &str) {
        self.status = Some(status);
        self.machine.end_publish(&refusal(status, detail));
    }

    /// The head of `response`, before so many bytes. True if they are to be sent.
    pub(super) fn respond_in_pieces(
        &mut self,
        ask: AskId,
        response: &Response,
        length: u64,
        now: Instant,
    ) -> bool {
        self.status = Some(response.status);
        self.machine.respond_in_pieces(now, ask, response, length)
    }

    /// The next of them.
    pub(super) fn push_body(&mut self, piece: Bytes, now: Instant) {
        self.machine.push_body(now, piece);
    }

    pub(super) fn respond(&mut self, ask: AskId, response: &Response, now: Instant) {
        self.send(ask, response, now);
    }

    /// The same; says how many bytes of the body are sent.
    pub(super) fn send(&mut self, ask: AskId, response: &Response, now: Instant) -> u64 {
        self.status = Some(response.status);
        self.machine.respond(now, ask, response)
    }
}

impl Session<Http> {
    fn route(&mut self, request: Request, now: Instant) -> Result<(), Stop<Wish>> {
        let method = request.method.name();
        let (target, agent) = ((&*request.path, &*request.query), request.user_agent.as_deref());
        self.protocol.page = Some(Box::new(PageRequest::new(method, target, agent)));
        self.protocol.status = None;
        let (ask, path) = (request.ask, request.path.as_str());
        // One check must not hide all that was asked for before it.
        self.protocol.asks_more |= ![HEALTHY, READY].contains(&path);
        self.is_check = !self.protocol.asks_more;
        if let Err(refused) = self.find_requester(&request, now) {
            self.protocol.respond(ask, &refused, now);
            return Ok(());
        }
        if request.method.is_upload() {
            return self.upload(request, now);
        }
        // First: a replay has playlists, too.
        if path.starts_with(replay::PREFIX) {
            self.wish_to_replay(request, now);
            return Ok(());
        }
        if let Some(wanted) = Path::parse(path) {
            return self.fetch(&wanted, &request, now);
        }
        let port = self.conn.core.node.rtmp_port.load(Ordering::Relaxed);
        let response = if let Some((path, format)) = stream_path(path, &request.query) {
            match StreamKey::parse(path) {
                Ok(key) => return self.wish_to_play(key, format, request, now),
                Err(error) => Response::json_error(404, "not found", &error.to_string()),
            }
        } else if let Some(response) = self.health(path) {
            response
        } else if path == "/" {
            Response::new(200, page::CONTENT_TYPE, page::landing(port))
        } else if let Some((content_type, bytes)) = page::asset(path) {
            let asset = Response::new(200, content_type, bytes);
            let asset = asset.with_cache_control("public, max-age=3600");
            match page::etag(path) {
                Some(tag) => asset.with_etag(tag),
                None => asset,
            }
        } else if is_watch_path(path) {
            Response::new(200, page::CONTENT_TYPE, page::watch(port))
        } else {
            let name = path.rsplit('/').next().unwrap_or_default();
            let found =
                name.rsplit_once('.').map_or(String::new(), |(_, it)| format!(", found .{it}"));
            let expected = "expected /APP/NAME.flv, .ts, .mp4 or .m3u8, or /APP/NAME for a page";
            Response::json_error(404, "not found", &format!("{expected}{found}"))
        };
        self.protocol.respond(ask, &response, now);
        Ok(())
    }

    /// Whom a trusted proxy asks for: many clients may share its connection, some of whom may not
    /// be here.
    fn find_requester(&mut self, request: &Request, now: Instant) -> Result<(), Response> {
        let setup = self.conn.core.setup();
        let (proxy, about) = (&setup.config.proxy, &mut self.conn.about);
        let said = || {
            let (field, list) = request.forwarded.as_ref()?;
            let is_believed = proxy.trusts(about.hop().ip());
            is_believed.then(|| field.client(list, |address| proxy.trusts(address)))?
        };
        let requester = said();
        let same = requester.unwrap_or(about.hop()) == about.peer;
        let here = if same { 0 } else { about.set_requester(requester) };
        if let Some(reason) = self.conn.core.blocked(self.conn.about.peer.ip(), now) {
            self.conn.core.node.refused.count(Reason::Blocked);
            self.log_sparingly(&format!("refused: {reason}"));
            return Err(Response::json_error(403, FORBIDDEN, &reason));
        }
        if same {
            return Ok(());
        }
        let about = &mut self.conn.about;
        match accept::too_many_of_one(&self.conn.core, about.peer.ip(), here) {
            Some(reason) => {
                about.set_requester(None);
                Err(no_room(&reason))
            }
            None => Ok(()),
        }
    }

    /// How this node is, for balancers and supervisors.
    fn health(&self, path: &str) -> Option<Response> {
        let node = &self.conn.core.node;
        let state = match path {
            HEALTHY => node.healthy(),
            READY => node.ready(),
            _ => return None,
        };
        let (status, text) = match state {
            Ok(()) => (200, "ok\n".to_owned()),
            Err(unfit) => (503, format!("{unfit}\n")),
        };
        Some(Response::new(status, "text/plain; charset=utf-8", text))
    }

    fn wish_to_play(
        &mut self,
        key: StreamKey,
        format: Format,
        request: Request,
        now: Instant,
    ) -> Result<(), Stop<Wish>> {
        let query = Query::new(&request.query);
        let flag = |name| query.flag(name).unwrap_or(true);
        if !flag("audio") && !flag("video") {
            let response = Response::json_error(400, "bad request", super::rtmp::NOTHING_LEFT);
            self.protocol.respond(request.ask, &response, now);
            return Ok(());
        }
        let play = Play {
            head_only: request.method == http::Method::Head,
            selection: Selection { audio: flag("audio"), video: flag("video") },
            from_cache: flag("gop"),
            format,
        };
        let wish = Wish::Play(request.ask, play);
        let (question, bearer) = self.question(Action::Play(key), request);
        self.ask(question, bearer.as_ref(), wish, now)
    }

    /// What `request` asks for, and the token that it shows.
    pub(super) fn question(
        &mut self,
        action: Action,
        request: Request,
    ) -> (Question, Option<Secret>) {
        // The question says it all.
        self.protocol.page = None;
        let said = HttpClient {
            referer: request.referer.or(request.origin).map(kept),
            user_agent: request.user_agent.map(kept),
        };
        let about = &self.conn.about;
        let question = Question {
            client: about.client,
            peer: about.peer,
            protocol: about.protocol.into(),
            action,
            asked: None,
            record: None,
            query: request.query.into(),
            connect: None,
            http: Some(self.conn.core.same_http(said)),
        };
        (question, request.bearer)
    }

    /// At the owner of the stream: its viewer's place, or its head alone.
    fn start_play(&mut self, at: Arrival, ask: AskId, play: Play) -> Result<(), Refused> {
        let body = match self.conn.core.setup().config.http.body {
            Body::Close => http::Framing::Close,
            Body::Chunked => http::Framing::Chunked,
        };
        let content_type = content_type(play.format);
        let greeting = self.protocol.machine.greeting(ask, content_type, body);
        let Some(greeting) = greeting else { return Ok(()) };
        let now = at.now;
        if play.head_only {
            if self.conn.core.hub.borrow().is_published(&at.key) {
                self.conn.out.push(greeting.bytes);
                self.protocol.machine.accept_stream(ask, http::Framing::Close);
                self.protocol.status = Some(200);
            } else {
                self.protocol.answer(ask, 404, NOT_FOUND, now);
            }
            self.end_grant("a HEAD was answered", SinkStats::default());
            return Ok(());
        }
        let framing = greeting.framing.unwrap_or(http::Framing::Close);
        let request = PlayRequest {
            key: at.key,
            settings: at.settings,
            epoch: at.epoch,
            fd: self.conn.socket.fd(),
            format: play.format,
            selection: play.selection,
            framing: match framing {
                http::Framing::WebSocket => Framing::WebSocket,
                http::Framing::Chunked => Framing::Chunked,
                http::Framing::Close => Framing::Raw,
            },
            greeting: greeting.bytes,
            from_cache: play.from_cache,
            tag: self.tag(),
        };
        self.protocol.playing = Some((ask, framing));
        self.play(request, now)
    }
}

/// The path of a stream without its extension, which says how it is to be muxed.
fn stream_path<'a>(path: &'a str, query: &str) -> Option<(&'a str, Format)> {
    let (path, extension) = path.rsplit_once('.')?;
    let format = match extension {
        "flv" => {
            let legacy = Query::new(query).get("hevc").is_some_and(|form| form == "legacy");
            Format::Flv { hevc: if legacy { HevcForm::Legacy } else { HevcForm::Enhanced } }
        }
        "ts" => Format::Ts,
        "mp4" => Format::Fmp4,
        _ => return None,
    };
    Some((path, format))
}

/// How it is announced.
fn content_type(format: Format) -> &'static str {
    match format {
        Format::Flv { .. } => "video/x-flv",
        Format::Ts => "video/mp2t",
        Format::Fmp4 => "video/mp4",
        // Nobody can ask for these here.
        Format::Rtmp { .. } | Format::Hls(_) => "application/octet-stream",
    }
}

/// What a client says of itself is kept for as long as it watches, up to [`KEPT_BYTES`].
fn kept(mut text: String) -> Box<str> {
    text.truncate(text.floor_char_boundary(KEPT_BYTES));
    text.into()
}

const KEPT_BYTES: usize = 512;

/// `/APP/NAME` without an extension is a page that plays the stream.
fn is_watch_path(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    !last.contains('.') && StreamKey::parse(path).is_ok()
}
