//! RTMP connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::admit::{Admission, Admitted, Ticket};
use super::conn::{Conn, End, Io, Totals};
use super::hand_over::{Driver, HandOver};
use super::verdict::{Action, Question};
use crate::bytes::Chain;
use crate::container::flv::HevcForm;
use crate::media::StreamKey;
use crate::net::rt;
use crate::plane::{
    Format, Framing, PlayRequest, PublishRequest, Publisher, PublisherEnd, PushError, Selection,
    SinkEvent, Viewer,
};
use crate::proto::http::Query;
use crate::proto::rtmp::{AskId, Connect, Event, Refusal, Server};

/// One connection and what it is about.
struct Rtmp {
    /// Before the socket: a sink must be unlinked before its socket closes.
    doing: Doing,
    conn: Conn,
    machine: Box<Server>,
    connect: Option<Arc<Connect>>,
    /// The stream of the last publish or play, for the log.
    stream: Option<StreamKey>,
    received: u64,
    sent: crate::plane::SinkStats,
}

/// What the machine waits for, or is let do.
enum Doing {
    Nothing,
    Asking(Box<(Admission, Wish)>),
    Publishing(Publisher),
    Playing(Viewer),
}

/// A question of the machine.
#[derive(Debug)]
enum Wish {
    Connect { ask: AskId },
    Publish { ask: AskId },
    Play { ask: AskId, selection: Selection, from_cache: bool, hevc: HevcForm },
}

/// What crosses cores with the socket.
pub(crate) struct Moving {
    machine: Box<Server>,
    connect: Option<Arc<Connect>>,
    wish: Wish,
    received: u64,
}

enum Wake {
    Io(Io),
    Admitted(Admitted),
    Publisher(PublisherEnd),
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

/// A new connection.
pub(crate) async fn run(conn: Conn) {
    let now = Instant::now();
    let config = Arc::clone(&conn.core.rtmp_config);
    let seed = conn.about.client.0 ^ u64::from(conn.about.peer.port()) << 48;
    let machine = Box::new(Server::new(config, seed, now));
    Rtmp::new(conn, machine).run(Ok(())).await;
}

/// A connection that comes from another core, to the owner of its stream.
pub(crate) async fn go_on(conn: Conn, moved: Moving, ticket: Ticket) {
    let mut driver = Rtmp::new(conn, moved.machine);
    driver.connect = moved.connect;
    driver.received = moved.received;
    let arrived = driver.arrive(ticket, moved.wish, Instant::now());
    driver.run(arrived).await;
}

impl Rtmp {
    fn new(conn: Conn, machine: Box<Server>) -> Self {
        let (connect, stream, sent) = (None, None, Default::default());
        Self { doing: Doing::Nothing, conn, machine, connect, stream, received: 0, sent }
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
        let totals =
            Totals { offset: self.machine.offset(), received: self.received, sent: self.sent };
        self.conn.log_end(&end, self.stream.as_ref(), &totals);
        if !matches!(end, End::PeerClosed | End::Socket(_)) {
            self.conn.say_goodbye().await;
        }
    }

    async fn work_until_stopped(&mut self) -> Stop {
        loop {
            if let Err(stop) = self.work() {
                return stop;
            }
            if let Err(error) = self.flush().await {
                return error.into();
            }
            if self.machine.is_finished() {
                return Stop::End(End::Finished("finished".to_owned()));
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
            Doing::Publishing(publisher) => publisher.poll_end(cx).map(Wake::Publisher),
            Doing::Playing(viewer) => viewer.poll_event(cx).map(Wake::Sink),
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
            Wake::Publisher(end) => {
                self.doing = Doing::Nothing;
                self.machine.publish_ended(&end.to_string());
                Ok(())
            }
            Wake::Sink(SinkEvent::Started) => {
                self.log("play");
                Ok(())
            }
            Wake::Sink(SinkEvent::NotFound) => {
                self.take_rest();
                self.leave();
                self.machine.play_not_found(now, "nobody publishes this stream");
                Ok(())
            }
            Wake::Sink(SinkEvent::Ended(end)) => {
                self.take_rest();
                self.leave();
                match end {
                    crate::plane::SinkEnd::PublisherGone => {
                        self.machine.play_ended(now);
                        Ok(())
                    }
                    end => Err(End::Finished(end.to_string()).into()),
                }
            }
        }
    }

    /// Feeds what was held back and applies what the machine has to say, until it is quiet.
    fn work(&mut self) -> Result<(), Stop> {
        loop {
            while let Some(event) = self.machine.poll_event() {
                self.apply(event)?;
            }
            let (now, machine) = (Instant::now(), &mut self.machine);
            let fed = self.conn.feed_rest(|input| machine.handle_input(now, input));
            if !fed.map_err(violation)? {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, event: Event) -> Result<(), Stop> {
        let now = Instant::now();
        match event {
            Event::Connect { ask, info } => {
                let app = info.app.clone();
                let query = info.query.clone();
                self.connect = Some(info);
                self.ask(Action::Connect { app }, query, Wish::Connect { ask }, now)
            }
            Event::Publish { ask, key, query, kind: _ } => {
                self.stream = Some(key.clone());
                self.ask(Action::Publish(key), query, Wish::Publish { ask }, now)
            }
            Event::Play { ask, key, query, hevc, .. } => {
                self.stream = Some(key.clone());
                let wish = {
                    let query = Query::new(&query);
                    let flag = |name| query.flag(name).unwrap_or(true);
                    let selection = Selection { audio: flag("audio"), video: flag("video") };
                    Wish::Play { ask, selection, from_cache: flag("gop"), hevc }
                };
                self.ask(Action::Play(key), query, wish, now)
            }
            Event::Frame(frame) => match &self.doing {
                Doing::Publishing(publisher) => match publisher.push(frame, now) {
                    // Its end is on its way.
                    Err(PushError::NotHeld) => Ok(()),
                    pushed => pushed.map_err(violation),
                },
                _ => Ok(()),
            },
            Event::Track(track) => {
                if let Doing::Publishing(publisher) = &self.doing {
                    let stream = publisher.key();
                    tracing::info!(client = %self.conn.about.client, %stream, codec = %track.codec,
                        config_bytes = track.config.len(), video = ?track.video,
                        audio = ?track.audio, "track");
                    publisher.set_track(track, now);
                }
                Ok(())
            }
            Event::Metadata(metadata) => {
                if let Doing::Publishing(publisher) = &self.doing {
                    publisher.set_metadata(metadata, now);
                }
                Ok(())
            }
            Event::Notice(notice) => {
                tracing::warn!(client = %self.conn.about.client, stream = ?self.stream, "{notice}");
                Ok(())
            }
            // The publisher may go on with another sequence; viewers are told when it has left.
            Event::EndOfSequence(_) => Ok(()),
            Event::Pause => {
                if let Doing::Playing(viewer) = &self.doing {
                    viewer.pause();
                }
                Ok(())
            }
            Event::Resume => {
                if let Doing::Playing(viewer) = &self.doing {
                    viewer.resume(now);
                }
                Ok(())
            }
            Event::Select { audio, video } => {
                if let Doing::Playing(viewer) = &self.doing {
                    viewer.select(Selection { audio, video }, now);
                }
                Ok(())
            }
            Event::PublishEnded { reason } => {
                self.log(&format!("unpublish: {reason}"));
                self.leave();
                Ok(())
            }
            Event::PlayEnded => {
                self.take_rest();
                self.leave();
                Ok(())
            }
        }
    }

    fn ask(&mut self, action: Action, query: String, wish: Wish, now: Instant) -> Result<(), Stop> {
        let question = Question {
            client: self.conn.about.client,
            peer: self.conn.about.peer,
            protocol: self.conn.about.protocol,
            action,
            query,
            connect: self.connect.clone(),
            referer: None,
            user_agent: None,
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
            Admitted::Connect => {
                if let Wish::Connect { ask } = wish {
                    self.machine.accept_connect(now, ask);
                }
                Ok(())
            }
            Admitted::Refused(reason) => {
                self.refuse(&wish, &Refusal::Denied(reason), now);
                Ok(())
            }
            Admitted::Stream(ticket) if ticket.owner() == self.conn.core.id => {
                self.arrive(ticket, wish, now)
            }
            Admitted::Stream(ticket) => Err(Stop::Move(ticket, wish)),
        }
    }

    /// At the owner: takes the publisher's slot or a viewer's place, and only then tells the
    /// client.
    fn arrive(&mut self, ticket: Ticket, wish: Wish, now: Instant) -> Result<(), Stop> {
        let core = std::rc::Rc::clone(&self.conn.core);
        let (key, epoch) = (ticket.key().clone(), ticket.epoch());
        self.stream = Some(key.clone());
        let Some((_, settings)) = core.app(key.app()) else {
            return Ok(());
        };
        let settings = std::rc::Rc::clone(settings);
        core.hub.borrow_mut().set_now(now);
        let refusal = match &wish {
            Wish::Connect { .. } => None,
            Wish::Publish { ask } => {
                match Publisher::acquire(&core.hub, PublishRequest { key, settings, epoch }, now) {
                    Ok(publisher) => {
                        self.doing = Doing::Publishing(publisher);
                        self.machine.accept_publish(now, *ask);
                        self.log("publish");
                        None
                    }
                    Err(refused) => Some(Refusal::InUse(refused.to_string())),
                }
            }
            Wish::Play { ask, selection, from_cache, hevc } => {
                let chunk_size = core.rtmp_config.chunk_size_bytes;
                let greeting = self.machine.accept_play(*ask);
                let request = PlayRequest {
                    key,
                    settings,
                    epoch,
                    fd: self.conn.socket.fd(),
                    format: Format::Rtmp { chunk_size, hevc: *hevc },
                    selection: *selection,
                    framing: Framing::Raw,
                    greeting,
                    from_cache: *from_cache,
                };
                match Viewer::join(&core.hub, request, now) {
                    Ok(viewer) => {
                        self.doing = Doing::Playing(viewer);
                        None
                    }
                    Err(refused) => {
                        self.machine.play_not_found(now, &refused.to_string());
                        None
                    }
                }
            }
        };
        ticket.used();
        core.is_active();
        if let Some(refusal) = refusal {
            self.refuse(&wish, &refusal, now);
        }
        Ok(())
    }

    fn refuse(&mut self, wish: &Wish, refusal: &Refusal, now: Instant) {
        let (Wish::Connect { ask } | Wish::Publish { ask } | Wish::Play { ask, .. }) = wish;
        self.log(&format!("refused: {refusal}"));
        self.machine.refuse(now, *ask, refusal);
    }

    /// What the flush has begun to say is for the driver to finish.
    fn take_rest(&mut self) {
        if let Doing::Playing(viewer) = &self.doing {
            for slice in viewer.take_rest().drain() {
                self.conn.out.push(slice);
            }
        }
    }

    /// Leaves the slot or the place, if it has one.
    fn leave(&mut self) {
        if let Doing::Playing(viewer) = &self.doing {
            self.sent = viewer.stats();
        }
        self.doing = Doing::Nothing;
    }

    /// While a viewer is attached, only the flush writes to its socket: replies go through it.
    async fn flush(&mut self) -> std::io::Result<()> {
        let mut replies = Chain::default();
        while self.machine.poll_transmit(&mut replies) {}
        match &self.doing {
            Doing::Playing(viewer) => {
                let now = Instant::now();
                for slice in replies.drain() {
                    viewer.send(slice, now);
                }
                Ok(())
            }
            _ => {
                for slice in replies.drain() {
                    self.conn.out.push(slice);
                }
                self.conn.flush().await
            }
        }
    }

    fn hand_over(mut self, ticket: Ticket, wish: Wish) -> Result<(), Box<Self>> {
        let owner = ticket.owner();
        let core = std::rc::Rc::clone(&self.conn.core);
        let socket = match self.conn.socket.duplicate() {
            Ok(socket) => socket,
            Err(error) => {
                self.refuse(&wish, &Refusal::Denied(format!("no room: {error}")), Instant::now());
                while self.machine.poll_transmit(&mut self.conn.out) {}
                return Err(Box::new(self));
            }
        };
        let Conn { socket: here, about, unread, mut out, .. } = self.conn;
        drop(here);
        while self.machine.poll_transmit(&mut out) {}
        let (key, place) = ticket.into_parts();
        let moving =
            Moving { machine: self.machine, connect: self.connect, wish, received: self.received };
        let driver = Driver::Rtmp(moving);
        let moved = HandOver { socket, about, unread, unsent: out, key, place, driver };
        match core.post.hand_over(owner, Box::new(moved)) {
            Ok(()) => Ok(()),
            Err(moved) => Err(Box::new(Self::not_moved(&core, *moved))),
        }
    }

    /// The owner's inbox is full: refused properly.
    fn not_moved(core: &std::rc::Rc<super::core::Core>, moved: HandOver) -> Self {
        drop(Ticket::new(core, moved.key.clone(), moved.place));
        let mut conn = Conn::new(core, crate::net::TcpStream::from_fd(moved.socket), moved.about);
        conn.unread = moved.unread;
        conn.out = moved.unsent;
        let Driver::Rtmp(Moving { machine, connect, wish, received }) = moved.driver else {
            unreachable!("an RTMP connection was handed over just now")
        };
        let mut this = Self::new(conn, machine);
        (this.connect, this.received, this.stream) = (connect, received, Some(moved.key));
        let reason = "the core that owns this stream is too busy to take more".to_owned();
        this.refuse(&wish, &Refusal::Denied(reason), Instant::now());
        while this.machine.poll_transmit(&mut this.conn.out) {}
        this
    }

    fn log(&self, what: &str) {
        let about = &self.conn.about;
        let stream = self.stream.as_ref().map_or("-", StreamKey::as_str);
        tracing::info!(client = %about.client, peer = %about.peer, protocol = %about.protocol,
            core = %self.conn.core.id, %stream, "{what}");
    }
}

fn violation(error: impl std::fmt::Display) -> Stop {
    Stop::End(End::Violation(error.to_string()))
}
