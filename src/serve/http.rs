//! HTTP connections: pages, FLV by HTTP and by WebSocket.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::admit::{Admission, Admitted, Ticket};
use super::conn::{Conn, End, Io, Totals};
use super::core::{Core, http_config};
use super::hand_over::{Driver, HandOver};
use super::page;
use super::verdict::{Action, Question};
use crate::bytes::Chain;
use crate::config::Body;
use crate::container::flv::HevcForm;
use crate::media::StreamKey;
use crate::net::{TcpStream, rt};
use crate::plane::{
    Format, Framing, PlayRequest, Selection, SinkEnd, SinkEvent, SinkStats, Viewer,
};
use crate::proto::http::{self, AskId, Event, Query, Request, Response, Server};

/// One connection and what it is about.
struct Http {
    /// Before the socket: a sink must be unlinked before its socket closes.
    doing: Doing,
    conn: Conn,
    machine: Server,
    /// The stream of the last request, for the log.
    stream: Option<StreamKey>,
    received: u64,
    sent: SinkStats,
}

enum Doing {
    Nothing,
    Asking(Box<(Admission, Wish)>),
    Playing(Viewer, Wish),
}

/// A request for a stream.
#[derive(Debug, Clone)]
struct Wish {
    ask: AskId,
    head_only: bool,
    selection: Selection,
    from_cache: bool,
    hevc: HevcForm,
}

/// What crosses cores with the socket.
#[derive(Debug)]
pub(crate) struct Moving {
    machine: Server,
    wish: Wish,
    received: u64,
}

enum Wake {
    Io(Io),
    Admitted(Admitted),
    Sink(SinkEvent),
}

/// Why the loop ended.
enum Stop {
    End(End),
    Move(Ticket, Wish),
}

impl<E: Into<End>> From<E> for Stop {
    fn from(end: E) -> Self {
        Self::End(end.into())
    }
}

const FLV: &str = "video/x-flv";

/// A new connection.
pub(crate) async fn run(conn: Conn) {
    let machine = Server::new(http_config(&conn.core.node.config), Instant::now());
    Http::new(conn, machine).run(Ok(())).await;
}

/// A connection that comes from another core, to the owner of its stream.
pub(crate) async fn go_on(conn: Conn, moved: Moving, ticket: Ticket) {
    let mut driver = Http::new(conn, moved.machine);
    driver.received = moved.received;
    driver.arrive(ticket, moved.wish, Instant::now());
    driver.run(Ok(())).await;
}

/// Tells a peer that there is no room, before it has a driver or a place.
pub(super) fn refuse_at_the_door(socket: &TcpStream, reason: &str) {
    let head = Response::json_error(503, "no room", reason).to_bytes();
    // Whether it is heard or not, the connection closes.
    let _ = crate::net::fd::send(socket.fd(), &[std::io::IoSlice::new(&head)]);
    let _ = socket.shutdown_write();
}

impl Http {
    fn new(conn: Conn, machine: Server) -> Self {
        let (stream, sent) = (None, SinkStats::default());
        Self { doing: Doing::Nothing, conn, machine, stream, received: 0, sent }
    }

    async fn run(mut self, start: Result<(), Stop>) {
        let stop = match start {
            Ok(()) => self.work_until_stopped().await,
            Err(stop) => stop,
        };
        let end = match stop {
            Stop::Move(ticket, wish) => match self.hand_over(ticket, wish) {
                Ok(()) => return,
                Err(this) => {
                    self = *this;
                    End::Finished("the owner of the stream has no room".to_owned())
                }
            },
            Stop::End(end) => end,
        };
        self.leave();
        let totals = Totals { offset: self.received, received: self.received, sent: self.sent };
        self.conn.log_end(&end, self.stream.as_ref(), &totals);
        if !matches!(end, End::PeerClosed | End::Socket(_)) {
            while self.machine.poll_transmit(&mut self.conn.out) {}
            self.conn.say_goodbye().await;
        }
    }

    async fn work_until_stopped(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.work().await {
                return stop;
            }
            if self.machine.is_finished() {
                return Stop::End(End::Finished("answered".to_owned()));
            }
            let wake = poll_fn(|cx| self.poll_wake(cx)).await;
            if let Err(stop) = self.handle(wake) {
                return stop;
            }
            rt::yield_if_needed().await;
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        let woken = match &mut self.doing {
            Doing::Nothing => Poll::Pending,
            Doing::Asking(asking) => asking.0.poll(cx, &self.conn.core).map(Wake::Admitted),
            Doing::Playing(viewer, _) => viewer.poll_event(cx).map(Wake::Sink),
        };
        if woken.is_ready() {
            return woken;
        }
        let until = self.machine.poll_timeout().map(|(at, _)| at);
        self.conn.poll_io(cx, until).map(|io| match io {
            Ok(io) => Wake::Io(io),
            Err(_) => Wake::Io(Io::Closed),
        })
    }

    fn handle(&mut self, wake: Wake) -> Result<(), Stop> {
        let now = Instant::now();
        self.conn.core.hub.borrow_mut().set_now(now);
        match wake {
            Wake::Io(Io::Closed) => Err(End::PeerClosed.into()),
            Wake::Io(Io::Deadline) => self.machine.handle_timeout(now).map_err(violation),
            Wake::Io(Io::Input(read)) => {
                self.received += read as u64;
                let machine = &mut self.machine;
                self.conn.feed(read, |input| machine.handle_input(now, input)).map_err(violation)
            }
            Wake::Admitted(admitted) => {
                let Doing::Asking(asking) = std::mem::replace(&mut self.doing, Doing::Nothing)
                else {
                    return Ok(());
                };
                self.admitted(admitted, asking.1, now)
            }
            Wake::Sink(event) => {
                let Doing::Playing(viewer, wish) = &self.doing else { return Ok(()) };
                match event {
                    SinkEvent::Started => {
                        self.machine.accept_stream(wish.ask, self.framing(wish));
                        self.log("play");
                        Ok(())
                    }
                    SinkEvent::NotFound => {
                        let ask = wish.ask;
                        self.leave();
                        self.not_found(ask, "nobody publishes this stream", now);
                        Ok(())
                    }
                    SinkEvent::Ended(end) => {
                        for slice in viewer.take_rest().drain() {
                            self.conn.out.push(slice);
                        }
                        self.leave();
                        let why = if end == SinkEnd::PublisherGone {
                            http::End::Over
                        } else {
                            http::End::Policy
                        };
                        self.machine.end_stream(now, why, &end.to_string());
                        Err(End::Finished(end.to_string()).into())
                    }
                }
            }
        }
    }

    /// Feeds what was held back, applies what the machine has to say and writes its answers,
    /// until it is quiet.
    async fn work(&mut self) -> Result<(), Stop> {
        loop {
            while let Some(event) = self.machine.poll_event() {
                self.apply(event)?;
            }
            self.flush().await?;
            let (now, machine) = (Instant::now(), &mut self.machine);
            let fed = self.conn.feed_rest(|input| machine.handle_input(now, input));
            if !fed.map_err(violation)? {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Request(request) => self.route(request, Instant::now()),
            Event::Closed { code } => {
                self.leave();
                let code = code.map_or("none".to_owned(), |code| code.to_string());
                self.log(&format!("the viewer left (WebSocket close code {code})"));
                Ok(())
            }
        }
    }

    fn route(&mut self, request: Request, now: Instant) -> Result<(), Stop> {
        let (ask, path) = (request.ask, request.path.as_str());
        let port = self.conn.core.node.rtmp_port;
        if let Some(path) = path.strip_suffix(".flv") {
            return match StreamKey::parse(path) {
                Ok(key) => self.play(key, request, now),
                Err(error) => {
                    self.not_found(ask, &error.to_string(), now);
                    Ok(())
                }
            };
        }
        let response = if path == "/" {
            Response::new(200, page::CONTENT_TYPE, page::landing(port))
        } else if let Some((content_type, bytes)) = page::asset(path) {
            Response::new(200, content_type, bytes).with_cache_control("public, max-age=3600")
        } else if is_watch_path(path) {
            Response::new(200, page::CONTENT_TYPE, page::watch(port))
        } else {
            return {
                self.not_found(ask, "expected /APP/NAME.flv, or /APP/NAME for a page", now);
                Ok(())
            };
        };
        self.machine.respond(now, ask, &response);
        Ok(())
    }

    fn play(&mut self, key: StreamKey, request: Request, now: Instant) -> Result<(), Stop> {
        self.stream = Some(key.clone());
        let query = Query::new(&request.query);
        let flag = |name| query.flag(name).unwrap_or(true);
        let legacy = query.get("hevc").is_some_and(|form| form == "legacy");
        let wish = Wish {
            ask: request.ask,
            head_only: request.method == http::Method::Head,
            selection: Selection { audio: flag("audio"), video: flag("video") },
            from_cache: flag("gop"),
            hevc: if legacy { HevcForm::Legacy } else { HevcForm::Enhanced },
        };
        let question = Question {
            client: self.conn.about.client,
            peer: self.conn.about.peer,
            protocol: self.conn.about.protocol,
            action: Action::Play(key),
            query: request.query,
            connect: None,
            referer: request.referer.or(request.origin),
            user_agent: request.user_agent,
        };
        match Admission::begin(&self.conn.core, question, now) {
            Ok(admission) => {
                self.doing = Doing::Asking(Box::new((admission, wish)));
                Ok(())
            }
            Err(admitted) => self.admitted(admitted, wish, now),
        }
    }

    fn admitted(&mut self, admitted: Admitted, wish: Wish, now: Instant) -> Result<(), Stop> {
        match admitted {
            Admitted::Connect => Ok(()),
            Admitted::Refused(reason) => {
                self.log(&format!("refused: {reason}"));
                let response = Response::json_error(403, "forbidden", &reason);
                self.machine.respond(now, wish.ask, &response);
                Ok(())
            }
            Admitted::Stream(ticket) if ticket.owner() == self.conn.core.id => {
                self.arrive(ticket, wish, now);
                Ok(())
            }
            Admitted::Stream(ticket) => Err(Stop::Move(ticket, wish)),
        }
    }

    /// At the owner: takes a viewer's place. The client hears of it with the first block.
    fn arrive(&mut self, ticket: Ticket, wish: Wish, now: Instant) {
        let core = Rc::clone(&self.conn.core);
        let (key, epoch) = (ticket.key().clone(), ticket.epoch());
        self.stream = Some(key.clone());
        let settings = core.app(key.app()).map(|(_, settings)| Rc::clone(settings));
        let body = self.body_framing();
        let greeting = self.machine.greeting(wish.ask, FLV, body);
        let (Some(settings), Some(greeting)) = (settings, greeting) else { return };
        core.hub.borrow_mut().set_now(now);
        if wish.head_only {
            if core.hub.borrow().is_published(&key) {
                self.conn.out.push(greeting.bytes);
                self.machine.accept_stream(wish.ask, http::Framing::Close);
            } else {
                self.not_found(wish.ask, "nobody publishes this stream", now);
            }
            return ticket.used();
        }
        let request = PlayRequest {
            key,
            settings,
            epoch,
            fd: self.conn.socket.fd(),
            format: Format::Flv { hevc: wish.hevc },
            selection: wish.selection,
            framing: match greeting.framing {
                Some(http::Framing::WebSocket) => Framing::WebSocket,
                Some(http::Framing::Chunked) => Framing::Chunked,
                Some(http::Framing::Close) | None => Framing::Raw,
            },
            greeting: greeting.bytes,
            from_cache: wish.from_cache,
        };
        match Viewer::join(&core.hub, request, now) {
            Ok(viewer) => self.doing = Doing::Playing(viewer, wish),
            Err(refused) => {
                let response = Response::json_error(503, "no room", &refused.to_string());
                self.machine.respond(now, wish.ask, &response);
            }
        }
        ticket.used();
        core.is_active();
    }

    fn body_framing(&self) -> http::Framing {
        match self.conn.core.node.config.http.body {
            Body::Close => http::Framing::Close,
            Body::Chunked => http::Framing::Chunked,
        }
    }

    /// As the greeting said; it is asked again rather than kept per viewer.
    fn framing(&self, wish: &Wish) -> http::Framing {
        let greeting = self.machine.greeting(wish.ask, FLV, self.body_framing());
        greeting.and_then(|greeting| greeting.framing).unwrap_or(http::Framing::Close)
    }

    fn not_found(&mut self, ask: AskId, detail: &str, now: Instant) {
        self.machine.respond(now, ask, &Response::json_error(404, "not found", detail));
    }

    /// Leaves the viewer's place, if it has one.
    fn leave(&mut self) {
        if let Doing::Playing(viewer, _) = &self.doing {
            self.sent = viewer.stats();
        }
        self.doing = Doing::Nothing;
    }

    /// While a viewer is attached, only the flush writes to its socket: pongs go through it.
    async fn flush(&mut self) -> std::io::Result<()> {
        if let Doing::Playing(viewer, _) = &self.doing {
            let mut replies = Chain::default();
            while self.machine.poll_transmit(&mut replies) {}
            let now = Instant::now();
            for slice in replies.drain() {
                viewer.send(slice, now);
            }
            return Ok(());
        }
        while self.machine.poll_transmit(&mut self.conn.out) {}
        self.conn.flush().await
    }

    fn hand_over(mut self, ticket: Ticket, wish: Wish) -> Result<(), Box<Self>> {
        let owner = ticket.owner();
        let core = Rc::clone(&self.conn.core);
        let socket = match self.conn.socket.duplicate() {
            Ok(socket) => socket,
            Err(error) => {
                let response = Response::json_error(503, "no room", &error.to_string());
                self.machine.respond(Instant::now(), wish.ask, &response);
                return Err(Box::new(self));
            }
        };
        let Conn { socket: here, about, unread, mut out, .. } = self.conn;
        drop(here);
        while self.machine.poll_transmit(&mut out) {}
        let (key, place) = ticket.into_parts();
        let moving = Moving { machine: self.machine, wish, received: self.received };
        let driver = Driver::Http(moving);
        let moved = HandOver { socket, about, unread, unsent: out, key, place, driver };
        match core.post.hand_over(owner, Box::new(moved)) {
            Ok(()) => Ok(()),
            Err(moved) => Err(Box::new(Self::not_moved(&core, *moved))),
        }
    }

    /// The owner's inbox is full: refused properly.
    fn not_moved(core: &Rc<Core>, moved: HandOver) -> Self {
        drop(Ticket::new(core, moved.key.clone(), moved.place));
        let mut conn = Conn::new(core, TcpStream::from_fd(moved.socket), moved.about);
        (conn.unread, conn.out) = (moved.unread, moved.unsent);
        let Driver::Http(Moving { machine, wish, received }) = moved.driver else {
            unreachable!("an HTTP connection was handed over just now")
        };
        let mut this = Self::new(conn, machine);
        (this.received, this.stream) = (received, Some(moved.key));
        let reason = "the core that owns this stream is too busy to take more";
        let response = Response::json_error(503, "no room", reason);
        this.machine.respond(Instant::now(), wish.ask, &response);
        this
    }

    fn log(&self, what: &str) {
        let about = &self.conn.about;
        let stream = self.stream.as_ref().map_or("-", StreamKey::as_str);
        tracing::info!(client = %about.client, peer = %about.peer, protocol = %about.protocol,
            core = %self.conn.core.id, %stream, "{what}");
    }
}

/// `/APP/NAME` without an extension is a page that plays the stream.
fn is_watch_path(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    !last.contains('.') && StreamKey::parse(path).is_ok()
}

fn violation(error: http::Error) -> Stop {
    Stop::End(End::Violation(error.to_string()))
}
