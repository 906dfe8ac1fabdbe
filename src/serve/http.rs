//! HTTP connections: pages, FLV by HTTP and by WebSocket.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::accept;
use super::conn::Conn;
use super::end_line::{PageRequest, RequestLine};
use super::hand_over::Driver;
use super::page;
use super::session::{Arrival, NOT_FOUND, Protocol, Refused, Session, Stop};
use super::verdict::{Action, HttpClient, Question};
use crate::config::Body;
use crate::container::flv::HevcForm;
use crate::media::StreamKey;
use crate::net::TcpStream;
use crate::plane::{Format, Framing, PlayRequest, PublisherEnd, Selection, SinkEnd, SinkStats};
use crate::proto::http::{self, AskId, End, Event, Query, Request, Response, Server};

/// The machine, and the stream it is about to send or sends.
pub(crate) struct Http {
    machine: Server,
    playing: Option<(AskId, http::Framing)>,
    /// The last request, if it was for no stream.
    page: Option<Box<PageRequest>>,
    /// What the last request was answered.
    status: Option<u16>,
}

/// A request for a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    ask: AskId,
    head_only: bool,
    selection: Selection,
    from_cache: bool,
    hevc: HevcForm,
}

const FLV: &str = "video/x-flv";

/// A new connection.
pub(crate) fn session(conn: Conn) -> Box<Session<Http>> {
    let machine = Server::new(Arc::clone(&conn.core.setup().http), Instant::now());
    Session::new(conn, Http { machine, playing: None, page: None, status: None })
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
fn no_room(detail: &str) -> Response {
    Response::json_error(503, "no room", detail).with_header("Retry-After", "5")
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
            Some(Event::Closed { code }) => {
                session.stop_playing("the viewer left");
                let code = code.map_or("none".to_owned(), |code| code.to_string());
                session.log(&format!("the viewer left (WebSocket close code {code})"));
            }
        }
        Ok(true)
    }

    fn connected(&mut self, _: Wish, _: Instant) {}

    fn arrive(session: &mut Session<Self>, at: Arrival, wish: Wish) {
        let body = match session.conn.core.setup().config.http.body {
            Body::Close => http::Framing::Close,
            Body::Chunked => http::Framing::Chunked,
        };
        let Some(greeting) = session.protocol.machine.greeting(wish.ask, FLV, body) else { return };
        let now = at.now;
        if wish.head_only {
            if session.conn.core.hub.borrow().is_published(&at.key) {
                session.conn.out.push(greeting.bytes);
                session.protocol.machine.accept_stream(wish.ask, http::Framing::Close);
                session.protocol.status = Some(200);
            } else {
                session.protocol.answer(wish.ask, 404, NOT_FOUND, now);
            }
            session.end_grant("a HEAD was answered", SinkStats::default());
            return;
        }
        let framing = greeting.framing.unwrap_or(http::Framing::Close);
        let request = PlayRequest {
            key: at.key,
            settings: at.settings,
            epoch: at.epoch,
            fd: session.conn.socket.fd(),
            format: Format::Flv { hevc: wish.hevc },
            selection: wish.selection,
            framing: match framing {
                http::Framing::WebSocket => Framing::WebSocket,
                http::Framing::Chunked => Framing::Chunked,
                http::Framing::Close => Framing::Raw,
            },
            greeting: greeting.bytes,
            from_cache: wish.from_cache,
            tag: session.tag(),
        };
        session.protocol.playing = Some((wish.ask, framing));
        if let Err(refused) = session.play(request, now) {
            session.refuse(&wish, &refused, now);
        }
    }

    fn refuse(&mut self, wish: &Wish, why: &Refused, now: Instant) {
        let status = match why {
            Refused::Denied(_) => 403,
            Refused::Publish(_) => 409,
            Refused::Play(_)
            | Refused::NoRoom(_)
            | Refused::NoDescriptor(_)
            | Refused::OwnerIsBusy => 503,
        };
        self.answer(wish.ask, status, &why.to_string(), now);
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

    fn viewer_ended(&mut self, end: &SinkEnd, now: Instant) {
        let why = if *end == SinkEnd::PublisherGone { End::Over } else { End::Policy };
        self.machine.end_stream(now, why, &end.to_string());
    }

    fn kicked(&mut self, started: bool, reason: &str, now: Instant) {
        match self.playing.take().filter(|_| !started) {
            Some((ask, _)) => self.answer(ask, 403, reason, now),
            None => self.machine.end_stream(now, End::Policy, reason),
        }
    }

    fn extend_silence(&mut self, _: Instant) -> Option<Instant> {
        None
    }

    fn publisher_ended(&mut self, _: &PublisherEnd) {}

    fn last_request(&self) -> Option<RequestLine<'_>> {
        Some(RequestLine { page: self.page.as_deref(), status: self.status })
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
    fn answer(&mut self, ask: AskId, status: u16, detail: &str, now: Instant) {
        let error = match status {
            403 => "forbidden",
            404 => "not found",
            409 => "in use",
            _ => return self.respond(ask, &no_room(detail), now),
        };
        self.respond(ask, &Response::json_error(status, error, detail), now);
    }

    fn respond(&mut self, ask: AskId, response: &Response, now: Instant) {
        self.status = Some(response.status);
        self.machine.respond(now, ask, response);
    }
}

impl Session<Http> {
    fn route(&mut self, request: Request, now: Instant) -> Result<(), Stop<Wish>> {
        let method = if request.method == http::Method::Head { "HEAD" } else { "GET" };
        let (target, agent) = ((&*request.path, &*request.query), request.user_agent.as_deref());
        self.protocol.page = Some(Box::new(PageRequest::new(method, target, agent)));
        self.protocol.status = None;
        self.is_check = false;
        if let Err(reason) = self.find_requester(&request) {
            self.protocol.respond(request.ask, &no_room(&reason), now);
            return Ok(());
        }
        let (ask, path) = (request.ask, request.path.as_str());
        let port = self.conn.core.node.rtmp_port;
        let response = if let Some(path) = path.strip_suffix(".flv") {
            match StreamKey::parse(path) {
                Ok(key) => return self.wish_to_play(key, request, now),
                Err(error) => Response::json_error(404, "not found", &error.to_string()),
            }
        } else if let Some(response) = self.health(path) {
            response
        } else if path == "/" {
            Response::new(200, page::CONTENT_TYPE, page::landing(port))
        } else if let Some((content_type, bytes)) = page::asset(path) {
            Response::new(200, content_type, bytes).with_cache_control("public, max-age=3600")
        } else if is_watch_path(path) {
            Response::new(200, page::CONTENT_TYPE, page::watch(port))
        } else {
            let detail = "expected /APP/NAME.flv, or /APP/NAME for a page";
            Response::json_error(404, "not found", detail)
        };
        self.protocol.respond(ask, &response, now);
        Ok(())
    }

    /// Whom a trusted proxy asks for: many clients may share its connection.
    fn find_requester(&mut self, request: &Request) -> Result<(), String> {
        let setup = self.conn.core.setup();
        let (proxy, about) = (&setup.config.proxy, &mut self.conn.about);
        let said = || {
            let list = request.forwarded.as_deref().filter(|_| proxy.trusts(about.hop().ip()))?;
            setup.http.client_field?.client(list, |address| proxy.trusts(address))
        };
        let requester = said();
        if requester.unwrap_or(about.hop()) == about.peer {
            return Ok(());
        }
        let here = about.set_requester(requester);
        match accept::too_many_of_one(&self.conn.core, about.peer.ip(), here) {
            Some(reason) => {
                about.set_requester(None);
                Err(reason)
            }
            None => Ok(()),
        }
    }

    /// How this node is, for balancers and supervisors.
    fn health(&mut self, path: &str) -> Option<Response> {
        let node = &self.conn.core.node;
        let state = match path {
            "/healthz" => node.healthy(),
            "/readyz" => node.ready(),
            _ => return None,
        };
        self.is_check = true;
        let (status, text) = match state {
            Ok(()) => (200, "ok\n".to_owned()),
            Err(unfit) => (503, format!("{unfit}\n")),
        };
        Some(Response::new(status, "text/plain; charset=utf-8", text))
    }

    fn wish_to_play(
        &mut self,
        key: StreamKey,
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
        let legacy = query.get("hevc").is_some_and(|form| form == "legacy");
        let wish = Wish {
            ask: request.ask,
            head_only: request.method == http::Method::Head,
            selection: Selection { audio: flag("audio"), video: flag("video") },
            from_cache: flag("gop"),
            hevc: if legacy { HevcForm::Legacy } else { HevcForm::Enhanced },
        };
        let said = HttpClient {
            referer: request.referer.or(request.origin).map(kept),
            user_agent: request.user_agent.map(kept),
        };
        let about = &self.conn.about;
        let question = Question {
            client: about.client,
            peer: about.peer,
            protocol: about.protocol,
            action: Action::Play(key),
            asked: None,
            query: request.query.into(),
            connect: None,
            http: Some(self.conn.core.same_http(said)),
        };
        // The question says it all.
        self.protocol.page = None;
        self.ask(question, request.bearer.as_ref(), wish, now)
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
