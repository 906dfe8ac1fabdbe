//! The task of one connection: the loop that every driver has.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use super::access::Full;
use super::admit::{Admission, Admitted, Ticket};
use super::conn::{About, Conn, End, Io};
use super::core::Core;
use super::end_line::{EndLine, RequestLine};
use super::event::Event;
use super::grant::Grant;
use super::hand_over::{Driver, HandOver};
use super::pace::Pace;
use super::publishing::{News, Publishing};
use super::verdict::Question;
use crate::config::Secret;
use crate::media::StreamKey;
use crate::net::{TcpStream, rt};
use crate::plane::{
    PlayRefused, PlayRequest, PublishRefused, PublishRequest, Publisher, PublisherEnd, Settings,
    SinkEnd, SinkEvent, SinkStats, Tag, Viewer,
};
use crate::proto::Machine;

/// What one protocol adds to the loop: its machine, and what its questions and answers mean.
pub(crate) trait Protocol: Sized + 'static {
    /// Its machine.
    type Machine: Machine;
    /// A question of the machine, while it is open.
    type Wish: 'static;

    fn machine(&mut self) -> &mut Self::Machine;

    /// Applies one thing the machine has to say. Answers false when it is silent.
    fn apply(session: &mut Session<Self>, now: Instant) -> Result<bool, Stop<Self::Wish>>;

    /// The client may connect; only protocols that ask for it are told.
    fn connected(&mut self, wish: Self::Wish, now: Instant);

    /// The session is at the owner of the stream it wishes for: take the publisher's slot or a
    /// viewer's place, and only then tell the client.
    fn arrive(session: &mut Session<Self>, at: Arrival, wish: Self::Wish);

    /// No.
    fn refuse(&mut self, wish: &Self::Wish, why: &Refused, now: Instant);

    /// The greeting is on its way.
    fn started(&mut self);

    /// Nobody published in time, and the greeting was not sent.
    fn not_found(&mut self, reason: &str, now: Instant);

    /// The server is going out of service, and the greeting was not sent.
    fn turned_away(&mut self, reason: &str, now: Instant);

    /// The plane has ended the viewer.
    fn viewer_ended(&mut self, end: &SinkEnd, now: Instant);

    /// Somebody outside has ended the viewer, which may not have started. The connection closes.
    fn kicked(&mut self, started: bool, reason: &str, now: Instant);

    /// A publisher was silent for too long, and gets as long again: until then. `None` if that is not
    /// what its machine waits for.
    fn extend_silence(&mut self, now: Instant) -> Option<Instant>;

    /// The plane has ended the publisher.
    fn publisher_ended(&mut self, end: &PublisherEnd);

    /// The last request, for the last line in the log, where clients make requests.
    fn last_request(&self) -> Option<RequestLine<'_>> {
        None
    }

    /// What crosses cores.
    fn pack(self, wish: Self::Wish) -> Driver;

    /// The reverse; `None` for another protocol's.
    fn unpack(driver: Driver) -> Option<(Self, Self::Wish)>;
}

/// One connection and what it is about.
pub(crate) struct Session<P: Protocol> {
    /// Before the socket: a sink must be unlinked before its socket closes.
    pub(crate) doing: Doing<P::Wish>,
    pub(crate) conn: Conn,
    pub(crate) protocol: P,
    /// The last question, and once it is granted what it was granted, for the log.
    question: Option<Arc<Question>>,
    received: u64,
    /// By plays that have ended.
    sent: Option<Box<SinkStats>>,
    /// What ended its last wish, which may be what ends the connection.
    #[allow(clippy::box_collection, reason = "of thousands, hardly one has any")]
    why: Option<Box<String>>,
    /// It only asked how the node is, which is not worth a line: balancers do so all the time.
    pub(crate) is_check: bool,
}

/// What the connection waits for, or is let do.
pub(crate) enum Doing<W> {
    Nothing,
    Asking(Box<(Admission, W)>),
    Publishing(Box<Publishing>),
    Playing(Viewer),
}

/// Where a session has arrived.
pub(crate) struct Arrival {
    pub(crate) key: StreamKey,
    pub(crate) settings: Rc<Settings>,
    pub(crate) epoch: u64,
    pub(crate) now: Instant,
}

/// Why a question is answered by no.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// Not allowed.
    #[error("{0}")]
    Denied(String),
    /// Allowed, but there are as many as there may be.
    #[error("{0}")]
    NoRoom(Full),
    /// Somebody else publishes.
    #[error(transparent)]
    Publish(#[from] PublishRefused),
    /// Too many wait, or the core is overloaded.
    #[error(transparent)]
    Play(#[from] PlayRefused),
    /// Moving takes a descriptor for a moment, and there is none.
    #[error("no room: {0}")]
    NoDescriptor(std::io::Error),
    /// The owner's inbox is full.
    #[error(
        "the core that owns this stream is too busy to take more: try another server, or this one again later"
    )]
    OwnerIsBusy,
}

/// Why the loop ended.
pub(crate) enum Stop<W> {
    End(End),
    Move(Ticket, W),
}

impl<W, E: Into<End>> From<E> for Stop<W> {
    fn from(end: E) -> Self {
        Self::End(end.into())
    }
}

enum Wake {
    Io(std::io::Result<Io>),
    Admitted(Admitted),
    Publisher(News),
    Viewer(SinkEvent),
}

impl<P: Protocol> Session<P> {
    /// Boxed: a future that is handed another by value has room for it twice.
    pub(crate) fn new(conn: Conn, protocol: P) -> Box<Self> {
        let (doing, question) = (Doing::Nothing, None);
        let (sent, why, is_check) = (None, None, false);
        // What came behind a proxy's header.
        let received = conn.unread.as_ref().map_or(0, |unread| unread.len() as u64);
        Box::new(Self { doing, conn, protocol, question, received, sent, why, is_check })
    }

    /// Goes on with a connection that has come to the owner of its stream.
    pub(crate) async fn arrive_and_run(mut self: Box<Self>, ticket: Ticket, wish: P::Wish) {
        self.arrive(ticket, wish, Instant::now());
        self.run().await;
    }

    /// Serves a connection to its end.
    pub(crate) async fn run(mut self: Box<Self>) {
        let end = match self.work_until_stopped().await {
            Stop::End(end) => end,
            Stop::Move(ticket, wish) => match self.hand_over(ticket, wish) {
                Ok(()) => return,
                Err(this) => {
                    self = this;
                    End::Finished("it could not be moved to the owner of the stream".to_owned())
                }
            },
        };
        if matches!(end, End::BrokenOff(_)) {
            // What it did not take would stay with the kernel for minutes.
            self.conn.socket.reset_on_close();
        }
        self.end(&end);
        if !matches!(end, End::PeerClosed | End::Socket(_) | End::BrokenOff(_) | End::Blocked(_)) {
            while self.protocol.machine().poll_transmit(&mut self.conn.out) {}
            // Boxed: every driver would have room for it all its life.
            Box::pin(self.conn.say_goodbye()).await;
        }
    }

    /// Leaves everything, and says so.
    fn end(&mut self, end: &End) {
        let reason = end.to_string();
        self.leave(&reason);
        let sent = self.sent.as_deref().copied().unwrap_or_default();
        if let Some(grant) = self.conn.about.connected.take() {
            grant.end(&reason, self.received, sent);
        }
        let line = EndLine {
            offset: self.protocol.machine().offset(),
            question: self.question.as_deref(),
            stream: self.stream(),
            request: self.protocol.last_request(),
            received: self.received,
            sent,
            is_check: self.is_check,
        };
        line.write(&self.conn, end);
    }

    async fn work_until_stopped(&mut self) -> Stop<P::Wish> {
        loop {
            if let Err(stop) = self.work() {
                return stop;
            }
            if self.conn.out.is_empty() && self.protocol.machine().is_finished() {
                let why = self.why.take().map_or_else(|| "finished".to_owned(), |why| *why);
                return End::Finished(why).into();
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
            Doing::Asking(asking) => {
                let Conn { core, about, .. } = &mut self.conn;
                asking.0.poll(cx, core, about).map(Wake::Admitted)
            }
            Doing::Publishing(it) => it.poll(cx).map(Wake::Publisher),
            Doing::Playing(viewer) => viewer.poll_event(cx).map(Wake::Viewer),
        };
        if woken.is_ready() {
            return woken;
        }
        let until = self.protocol.machine().deadline();
        if let Doing::Publishing(it) = &mut self.doing {
            while let Some(rest) = it.pace.rest_until() {
                match ready!(self.conn.poll_rest(cx, until, rest)) {
                    Some(io) => return Poll::Ready(Wake::Io(io)),
                    None => it.pace.nothing(Instant::now()),
                }
            }
        }
        self.conn.poll_io(cx, until).map(Wake::Io)
    }

    fn handle(&mut self, wake: Wake) -> Result<(), Stop<P::Wish>> {
        let now = Instant::now();
        self.conn.core.hub.borrow_mut().set_now(now);
        match wake {
            Wake::Io(io) => match io? {
                Io::Closed => return Err(End::PeerClosed.into()),
                Io::Written => {}
                Io::Deadline => self.time_is_up(now)?,
                Io::Input { read, all } => {
                    if let Some(reason) = self.blocked(now) {
                        return Err(End::Blocked(reason).into());
                    }
                    self.received += read as u64;
                    if let Doing::Publishing(it) = &mut self.doing {
                        let window = it.publisher.set_waited(it.pace.waited(now));
                        it.pace.read(all, window, now);
                    }
                    let machine = self.protocol.machine();
                    let fed = self.conn.feed(read, |input| machine.handle_input(now, input));
                    fed.map_err(violation)?;
                }
            },
            Wake::Admitted(admitted) => {
                let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
                if let Doing::Asking(asking) = doing {
                    let (admission, wish) = *asking;
                    self.admitted(admitted, admission.question(), wish, now)?;
                }
            }
            Wake::Publisher(news) => self.hear(news, now)?,
            Wake::Viewer(SinkEvent::Started) => {
                // From here the plane's stall_timeout tells the slow from the dead.
                self.conn.socket.lift_user_timeout()?;
                if let Doing::Playing(viewer) = &self.doing {
                    self.conn.socket.bound_unsent(viewer.unsent_max())?;
                }
                self.protocol.started();
                self.has_started();
                self.log("play");
            }
            Wake::Viewer(SinkEvent::NotFound) => {
                self.stop_playing(NOT_FOUND);
                self.protocol.not_found(NOT_FOUND, now);
            }
            Wake::Viewer(SinkEvent::TurnedAway) => {
                let why = SinkEnd::Draining.to_string();
                self.stop_playing(&why);
                self.protocol.turned_away(&why, now);
                self.why = Some(why.into());
            }
            Wake::Viewer(SinkEvent::Ended(SinkEnd::Kicked(why))) => {
                let granted = self.conn.about.granted.as_ref();
                let started = granted.is_some_and(Grant::has_started);
                self.stop_playing(&why);
                self.protocol.kicked(started, &why, now);
                return Err(End::Finished(why.to_string()).into());
            }
            Wake::Viewer(SinkEvent::Ended(end)) => {
                self.stop_playing(&end.to_string());
                if end.breaks_off() {
                    return Err(End::BrokenOff(end).into());
                }
                self.protocol.viewer_ended(&end, now);
                self.ended_for(&end);
            }
        }
        Ok(())
    }

    /// Applies what the machine has to say and feeds what was held back, until it is quiet or has
    /// answers to be written first.
    fn work(&mut self) -> Result<(), Stop<P::Wish>> {
        let now = Instant::now();
        loop {
            while P::apply(self, now)? {}
            self.take_replies(now);
            if !self.conn.out.is_empty() {
                return Ok(());
            }
            let machine = self.protocol.machine();
            let fed = self.conn.feed_rest(|input| machine.handle_input(now, input));
            if !fed.map_err(violation)? {
                return Ok(());
            }
        }
    }

    /// While a viewer is attached, only the flush writes to its socket: replies go through it.
    fn take_replies(&mut self, now: Instant) {
        while self.protocol.machine().poll_transmit(&mut self.conn.out) {}
        if let Doing::Playing(viewer) = &self.doing {
            for slice in self.conn.out.drain() {
                viewer.send(slice, now);
            }
        }
    }

    /// Asks whether the client may do what it wishes. Often the answer is there at once. `bearer`
    /// is a token that stands beside the query; it goes no further than our own rules.
    pub(crate) fn ask(
        &mut self,
        question: Question,
        bearer: Option<&Secret>,
        wish: P::Wish,
        now: Instant,
    ) -> Result<(), Stop<P::Wish>> {
        let question = Arc::new(question);
        self.question = Some(Arc::clone(&question));
        self.why = None;
        if question.query.len() > QUERY_MAX {
            let found = question.query.len();
            let why = format!("expected a query of at most {QUERY_MAX} bytes, found {found}");
            self.refuse(&wish, &Refused::Denied(why), now);
            return Ok(());
        }
        self.end_grant("its client asked for something else", SinkStats::default());
        let Conn { core, about, .. } = &mut self.conn;
        match Admission::begin(core, about, Arc::clone(&question), bearer, now) {
            Ok(admission) => {
                self.doing = Doing::Asking(Box::new((admission, wish)));
                Ok(())
            }
            Err(admitted) => self.admitted(admitted, &question, wish, now),
        }
    }

    fn admitted(
        &mut self,
        admitted: Admitted,
        question: &Arc<Question>,
        wish: P::Wish,
        now: Instant,
    ) -> Result<(), Stop<P::Wish>> {
        match admitted {
            Admitted::Connect => {
                if let Some(grant) = &mut self.conn.about.connected {
                    grant.start();
                }
                self.protocol.connected(wish, now);
            }
            Admitted::Refused(reason) => {
                if self.conn.about.granted.is_none() {
                    let (question, told) = (Arc::clone(question), reason.clone());
                    self.conn.about.node.events.tell(Event::Refused { question, reason: told });
                }
                self.refuse(&wish, &Refused::Denied(reason), now);
            }
            Admitted::NoRoom(full) => self.refuse(&wish, &Refused::NoRoom(full), now),
            Admitted::Stream(ticket) => {
                let granted = self.conn.about.granted.as_ref().map(Grant::question);
                if let Some((granted, asked)) = granted.and_then(|it| Some((it, it.asked.clone()?)))
                {
                    self.question = Some(Arc::clone(granted));
                    self.log(&format!("given instead of {asked}"));
                }
                if ticket.owner() != self.conn.core.id {
                    return Err(Stop::Move(ticket, wish));
                }
                self.arrive(ticket, wish, now);
            }
        }
        Ok(())
    }

    /// At the owner of the stream.
    pub(crate) fn arrive(&mut self, ticket: Ticket, wish: P::Wish, now: Instant) {
        let core = Rc::clone(&self.conn.core);
        let (key, epoch) = (ticket.key().clone(), ticket.epoch());
        core.hub.borrow_mut().set_now(now);
        // What was said before must not wait with the greeting for the first block.
        while self.protocol.machine().poll_transmit(&mut self.conn.out) {}
        // It may have been on its way when its address was blocked.
        let blocked = self.blocked(now);
        match core.setup().app(key.app()) {
            _ if blocked.is_some() => {
                self.refuse(&wish, &Refused::Denied(blocked.unwrap_or_default()), now);
            }
            Some((_, settings)) => {
                let settings = Rc::clone(settings);
                P::arrive(self, Arrival { key, settings, epoch, now }, wish);
            }
            None => self.refuse(&wish, &Refused::Denied("no such app".to_owned()), now),
        }
        ticket.used();
        core.is_active();
    }

    /// Takes the publisher's slot.
    pub(crate) fn publish(&mut self, at: &Arrival) -> Result<(), Refused> {
        let Arrival { key, settings, epoch, now } = at;
        let request = PublishRequest {
            key: key.clone(),
            settings: Rc::clone(settings),
            epoch: *epoch,
            tag: self.tag(),
        };
        let publisher = Publisher::acquire(&self.conn.core.hub, request, *now)?;
        let core = &self.conn.core;
        let pace = Pace::new(core.published.replace(core.published.get() + 1), core.born);
        self.doing = Doing::Publishing(Box::new(Publishing::new(publisher, pace)));
        self.has_started();
        self.log("publish");
        Ok(())
    }

    /// Takes a viewer's place.
    pub(crate) fn play(&mut self, request: PlayRequest, now: Instant) -> Result<(), Refused> {
        let key = request.key.clone();
        let viewer = Viewer::join(&self.conn.core.hub, request, now)?;
        self.doing = Doing::Playing(viewer);
        let About { granted, node, .. } = &self.conn.about;
        let vacant = self.conn.core.hub.borrow().is_vacant(&key);
        if let Some(grant) = granted.as_ref().filter(|_| vacant) {
            node.events.tell(Event::NotFound(Arc::clone(grant.question())));
        }
        Ok(())
    }

    pub(crate) fn refuse(&mut self, wish: &P::Wish, why: &Refused, now: Instant) {
        // A client may ask again and again.
        if self.conn.core.violations.borrow_mut().allow(now).is_some() {
            self.log_sparingly(&format!("refused: {why}"));
        }
        self.count_refusal(why);
        let reason = why.to_string();
        if let Some(grant) = &self.conn.about.granted {
            let (question, reason) = (Arc::clone(grant.question()), reason.clone());
            self.conn.about.node.events.tell(Event::Refused { question, reason });
        }
        self.end_grant(&reason, SinkStats::default());
        self.why = Some(reason.into());
        self.protocol.refuse(wish, why, now);
    }

    /// Whom the plane is to know this connection by.
    pub(crate) fn tag(&self) -> Option<Tag> {
        let grant = self.conn.about.granted.as_ref()?;
        Some(Tag::new(Arc::clone(grant.question()) as Arc<_>))
    }

    /// Why nothing may be done from its address, if that is so.
    fn blocked(&self, now: Instant) -> Option<String> {
        let reason = self.conn.core.blocked(self.conn.about.peer.ip(), now);
        reason.map(|reason| reason.to_string())
    }

    fn count_refusal(&self, why: &Refused) {
        let counters = &self.conn.core.node.counters;
        let counter = match why {
            Refused::Denied(_) => &counters.refused_denied,
            Refused::Publish(_) => &counters.refused_conflicts,
            Refused::NoRoom(_) => &counters.refused_no_room,
            Refused::NoDescriptor(_) => &counters.refused_no_descriptor,
            // Counted where they are found.
            Refused::Play(_) | Refused::OwnerIsBusy => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What was granted has begun.
    fn has_started(&mut self) {
        if let Some(grant) = &mut self.conn.about.granted {
            grant.start();
        }
    }

    /// What was granted is over.
    pub(crate) fn end_grant(&mut self, why: &str, sent: SinkStats) {
        if let Some(grant) = self.conn.about.granted.take() {
            grant.end(why, self.received, sent);
        }
    }

    pub(super) fn ended_for(&mut self, why: &impl std::fmt::Display) {
        let why = why.to_string();
        self.log(&why);
        self.why = Some(why.into());
    }

    /// Gives up a viewer's place; what the flush has begun to say is for the driver to finish.
    pub(crate) fn stop_playing(&mut self, why: &str) {
        if let Doing::Playing(viewer) = &self.doing {
            for slice in viewer.take_rest().drain() {
                self.conn.out.push(slice);
            }
        }
        self.leave(why);
    }

    /// Leaves the slot or the place, if it has one.
    pub(crate) fn leave(&mut self, why: &str) {
        let mut sent = SinkStats::default();
        if let Doing::Playing(viewer) = &self.doing {
            sent = viewer.stats();
            **self.sent.get_or_insert_default() += sent;
        }
        self.doing = Doing::Nothing;
        self.end_grant(why, sent);
    }

    /// What the last question was about.
    fn stream(&self) -> Option<&StreamKey> {
        self.question.as_ref()?.stream()
    }

    /// A line that a client can cause as often as it likes.
    pub(crate) fn log_sparingly(&self, what: &str) {
        let allowed = self.conn.core.chatter.borrow_mut().allow(Instant::now());
        if let Some(suppressed) = allowed {
            match suppressed {
                0 => self.log(what),
                lines => self.log(&format!("{what} ({lines} lines left out before)")),
            }
        }
    }

    /// A line of this connection's life.
    pub(crate) fn log(&self, what: &str) {
        let about = &self.conn.about;
        let stream = self.stream().map_or("-", StreamKey::as_str);
        tracing::info!(client = %about.client, peer = %about.peer, protocol = %about.protocol,
            core = %self.conn.core.id, %stream, "{what}");
    }

    fn hand_over(mut self: Box<Self>, ticket: Ticket, wish: P::Wish) -> Result<(), Box<Self>> {
        let (owner, core) = (ticket.owner(), Rc::clone(&self.conn.core));
        let socket = match self.conn.socket.duplicate() {
            Ok(socket) => socket,
            Err(error) => {
                self.refuse(&wish, &Refused::NoDescriptor(error), Instant::now());
                return Err(self);
            }
        };
        let Self { conn, mut protocol, received, sent, .. } = *self;
        let Conn { socket: here, about, unread, out: mut unsent, input_waits, .. } = conn;
        let socket = here.depart(socket);
        while protocol.machine().poll_transmit(&mut unsent) {}
        let (key, place) = ticket.into_parts();
        let driver = protocol.pack(wish);
        let moved = HandOver {
            socket,
            about,
            unread,
            unsent,
            input_waits,
            received,
            sent,
            key,
            place,
            driver,
        };
        match core.post.hand_over(owner, Box::new(moved)) {
            Ok(()) => Ok(()),
            Err(moved) => match Self::unpack(&core, *moved) {
                None => Ok(()),
                Some((mut this, ticket, wish)) => {
                    drop(ticket);
                    core.node.counters.refused_hand_overs.fetch_add(1, Ordering::Relaxed);
                    this.refuse(&wish, &Refused::OwnerIsBusy, Instant::now());
                    Err(this)
                }
            },
        }
    }

    /// Takes over what was packed up, on this core.
    pub(crate) fn unpack(core: &Rc<Core>, moved: HandOver) -> Option<(Box<Self>, Ticket, P::Wish)> {
        let ticket = Ticket::new(core, moved.key.clone(), moved.place);
        let mut conn = Conn::new(core, TcpStream::arrive(moved.socket), moved.about);
        (conn.unread, conn.out) = (moved.unread, moved.unsent);
        conn.input_waits = moved.input_waits;
        let (protocol, wish) = P::unpack(moved.driver)?;
        let mut this = Self::new(conn, protocol);
        (this.received, this.sent) = (moved.received, moved.sent);
        let granted = this.conn.about.granted.as_ref();
        this.question = granted.map(|grant| Arc::clone(grant.question()));
        Some((this, ticket, wish))
    }
}

/// Of a query, which is kept for as long as what it asks for lasts.
const QUERY_MAX: usize = 4 << 10;
/// What a viewer is told whose wait was in vain.
pub(super) const NOT_FOUND: &str = "nobody publishes this stream";

pub(super) fn violation<W>(error: impl std::fmt::Display) -> Stop<W> {
    Stop::End(End::Violation(error.to_string()))
}
