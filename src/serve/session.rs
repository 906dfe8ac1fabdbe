//! The task of one connection: the loop that every driver has.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::admit::{Admission, Admitted, Ticket};
use super::conn::{Conn, End, Io};
use super::end_line::{EndLine, RequestLine};
use super::grant::Grant;
use super::hand_over::Driver;
use super::hls::{Fetched, Fetching};
use super::pace::Pace;
use super::publishing::{News, Publishing};
use super::refusals::Reason;
use super::refused::Refused;
use super::replay::{News as Replayed, Replay};
use super::sessions::{self, Listed};
use super::verdict::Question;
use crate::bytes::Chain;
use crate::config::Secret;
use crate::media::StreamKey;
use crate::net::rt;
use crate::plane::{
    PublishRequest, Publisher, PublisherEnd, Settings, SinkEnd, SinkEvent, SinkStats, Tag, Viewer,
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

    /// The wish was granted. Answers with it and its ticket if it goes on at the owner of its stream;
    /// one that is served on this core begins, and its ticket goes back or along.
    fn granted(
        _: &mut Session<Self>,
        ticket: Ticket,
        wish: Self::Wish,
        _now: Instant,
    ) -> Option<(Ticket, Self::Wish)> {
        Some((ticket, wish))
    }

    /// What a replay waited for is there. Only protocols that have begun one are told.
    fn replayed(_: &mut Session<Self>, _: Replayed, _now: Instant) -> Result<(), Stop<Self::Wish>> {
        Ok(())
    }

    /// Bytes that its answers have carried of what was granted; from then on none.
    fn take_sent(&mut self) -> u64 {
        0
    }

    /// The session is at the owner of the stream it wishes for: take the publisher's slot or a
    /// viewer's place, and only then tell the client.
    fn arrive(session: &mut Session<Self>, at: Arrival, wish: Self::Wish);

    /// What a fetch waited for has come, or not. Only protocols that have begun one are told.
    fn fetched(_: &mut Session<Self>, _: Fetched, _: Instant) {}

    /// The stream of which something was fetched that nobody asks a question about.
    fn fetched_stream(&self) -> Option<&StreamKey> {
        None
    }

    /// No.
    fn refuse(&mut self, wish: &Self::Wish, why: &Refused, now: Instant);

    /// The greeting is on its way.
    fn started(&mut self);

    /// Nobody published in time, and the greeting was not sent.
    fn not_found(&mut self, reason: &str, now: Instant);

    /// There is nothing in the stream that can be sent as it was asked for, and the greeting was not
    /// sent.
    fn not_carried(&mut self, reason: &str, now: Instant) {
        self.not_found(reason, now);
    }

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
    pub(super) question: Option<Arc<Question>>,
    pub(super) received: u64,
    /// By plays that have ended.
    pub(super) sent: Option<Box<SinkStats>>,
    /// What ended its last wish, which may be what ends the connection.
    #[allow(clippy::box_collection, reason = "of thousands, hardly one has any")]
    pub(super) why: Option<Box<String>>,
    /// It only asked how the node is, which is not worth a line: balancers do so all the time.
    pub(crate) is_check: bool,
    /// Until it has said how it ended.
    listed: Option<Listed>,
}

/// What the connection waits for, or is let do.
pub(crate) enum Doing<W> {
    Nothing,
    Asking(Box<(Admission, W)>),
    Publishing(Box<Publishing>),
    Playing(Viewer),
    /// Waits for what it fetches.
    Fetching(Box<Fetching>),
    /// A file of a recording is looked for, or read.
    Replaying(Box<Replay>),
}

/// Where a session has arrived.
pub(crate) struct Arrival {
    pub(crate) key: StreamKey,
    pub(crate) settings: Rc<Settings>,
    pub(crate) epoch: u64,
    pub(crate) now: Instant,
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
    Io(io::Result<Io>),
    Admitted(Admitted),
    Publisher(News),
    Viewer(SinkEvent),
    Fetched(Fetched),
    Replay(Replayed),
    /// The server ends.
    End,
}

impl<P: Protocol> Session<P> {
    /// Boxed: a future that is handed another by value has room for it twice.
    pub(crate) fn new(conn: Conn, protocol: P) -> Box<Self> {
        let (doing, question) = (Doing::Nothing, None);
        let (sent, why, is_check) = (None, None, false);
        // What came behind a proxy's header.
        let received = conn.unread.as_ref().map_or(0, |unread| unread.len() as u64);
        let listed = None;
        Box::new(Self { doing, conn, protocol, question, received, sent, why, is_check, listed })
    }

    /// Serves a connection to its end.
    ///
    /// There is one such future per connection: what it keeps from one turn to the next is this
    /// session and little else.
    #[allow(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice")]
    pub(crate) fn run(mut self: Box<Self>) -> impl Future<Output = ()> {
        async move {
            let stop = loop {
                let is_quiet = match self.work_until_quiet() {
                    Ok(is_quiet) => is_quiet,
                    Err(stop) => break stop,
                };
                if !is_quiet {
                    rt::yield_if_needed().await;
                    continue;
                }
                let wake = poll_fn(|cx| self.poll_wake(cx)).await;
                let answered = matches!(wake, Wake::Io(Ok(Io::Written)));
                if let Err(stop) = self.handle(wake) {
                    break stop;
                }
                // One answer at a time: who asked for one is not to wait for all that others asked for.
                if answered && self.conn.unread.is_some() {
                    rt::yield_now().await;
                }
                rt::yield_if_needed().await;
            };
            if let Some(mut last) = self.stop(stop) {
                // Boxed: every driver would have room for it all its life.
                Box::pin(last.conn.say_goodbye()).await;
            }
        }
    }

    /// Moves, or leaves everything. Answers with itself if something is left to be written.
    fn stop(mut self: Box<Self>, stop: Stop<P::Wish>) -> Option<Box<Self>> {
        let end = match stop {
            Stop::End(end) => end,
            Stop::Move(ticket, wish) => {
                self = self.hand_over(ticket, wish).err()?;
                End::Finished("it could not be moved to the owner of the stream".to_owned())
            }
        };
        if matches!(end, End::BrokenOff(_)) {
            // What it did not take would stay with the kernel for minutes.
            self.conn.socket.reset_on_close();
        }
        self.end(&end);
        if matches!(end, End::PeerClosed | End::Socket(_) | End::BrokenOff(_) | End::Blocked(_)) {
            return None;
        }
        while self.protocol.machine().poll_transmit(&mut self.conn.out) {}
        Some(self)
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
        self.listed = None;
    }

    /// A turn of its work. False if some is left for the next.
    fn work_until_quiet(&mut self) -> Result<bool, Stop<P::Wish>> {
        if !self.work()? {
            return Ok(false);
        }
        if self.conn.out.is_empty() && self.protocol.machine().is_finished() {
            let why = self.why.take().map_or_else(|| "finished".to_owned(), |why| *why);
            return Err(End::Finished(why).into());
        }
        Ok(true)
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.listed.get_or_insert_with(|| sessions::list(cx.waker()));
        let woken = match &mut self.doing {
            Doing::Nothing => Poll::Pending,
            Doing::Asking(asking) => {
                let Conn { core, about, .. } = &mut self.conn;
                asking.0.poll(cx, core, about).map(Wake::Admitted)
            }
            Doing::Publishing(it) => it.poll(cx).map(Wake::Publisher),
            Doing::Playing(viewer) => viewer.poll_event(cx).map(Wake::Viewer),
            Doing::Fetching(it) => it.poll(cx, &self.conn.core).map(Wake::Fetched),
            // A piece is read when the one before was written.
            Doing::Replaying(_) if !self.conn.out.is_empty() => Poll::Pending,
            Doing::Replaying(it) => it.poll(cx).map(Wake::Replay),
        };
        if woken.is_ready() {
            return woken;
        }
        if sessions::are_to_end() {
            return Poll::Ready(Wake::End);
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
            // What it published before it went is still to be read; that it has gone is read behind it.
            Wake::Io(Err(error)) if self.leaves_input(&error) => self.conn.out = Chain::default(),
            Wake::Io(io) => match io? {
                Io::Closed => return Err(End::PeerClosed.into()),
                Io::Written => {}
                Io::Deadline => self.time_is_up(now)?,
                Io::Input { read, all } => {
                    // A proxy's connection may be shared: who asks is looked at with each request.
                    if let Some(reason) = self.blocked(self.conn.about.hop(), now) {
                        return Err(End::Blocked(reason).into());
                    }
                    self.received += read as u64;
                    if let Doing::Publishing(it) = &mut self.doing {
                        let window = it.publisher.set_waited(it.pace.waited(now));
                        it.pace.read(all, window, now);
                    }
                    let machine = self.protocol.machine();
                    let due = machine.deadline();
                    let fed = self.conn.feed(read, |input| machine.handle_input(now, input));
                    fed.map_err(violation)?;
                    // What lay there when a deadline was over has been read now, unless there is much
                    // of it. Who sends without end does not escape it.
                    let overdue = due.filter(|due| machine.deadline() == Some(*due));
                    let overdue = overdue.and_then(|due| now.checked_duration_since(due));
                    let may_be_behind = !all && matches!(self.doing, Doing::Publishing(_));
                    if overdue.is_some_and(|overdue| !may_be_behind || overdue > LATE_MAX) {
                        self.time_is_up(now)?;
                    }
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
            Wake::Viewer(event) => self.see(event, now)?,
            Wake::Fetched(fetched) => P::fetched(self, fetched, now),
            Wake::Replay(news) => P::replayed(self, news, now)?,
            Wake::End => {
                let why = self.why.take().map(|why| *why);
                let why = why.unwrap_or_else(|| SinkEnd::Draining.to_string());
                return Err(End::Finished(why).into());
            }
        }
        Ok(())
    }

    /// True if it is a publisher that has gone without taking our answers, which is all that `error`
    /// says: the kernel keeps what had come from it.
    fn leaves_input(&self, error: &io::Error) -> bool {
        let gone = matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        gone && matches!(self.doing, Doing::Publishing(_)) && !self.conn.out.is_empty()
    }

    /// Applies what the machine has to say and feeds what was held back, until it is quiet or has
    /// answers to be written first. False after [`EVENTS_PER_TURN`]: there may be more.
    fn work(&mut self) -> Result<bool, Stop<P::Wish>> {
        let now = Instant::now();
        self.conn.core.hub.borrow_mut().set_now(now);
        let mut turn = 0..EVENTS_PER_TURN;
        loop {
            while P::apply(self, now)? {
                if turn.next().is_none() {
                    return Ok(false);
                }
            }
            self.take_replies(now);
            if !self.conn.out.is_empty() {
                return Ok(true);
            }
            let machine = self.protocol.machine();
            let fed = self.conn.feed_rest(|input| machine.handle_input(now, input));
            if !fed.map_err(violation)? {
                return Ok(true);
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
        mut question: Question,
        bearer: Option<&Secret>,
        wish: P::Wish,
        now: Instant,
    ) -> Result<(), Stop<P::Wish>> {
        self.end_grant("its client asked for something else", SinkStats::default());
        self.why = None;
        let found = question.query.len();
        if found > QUERY_MAX {
            let why = format!("expected a query of at most {QUERY_MAX} bytes, found {found}");
            // It would lie here until the next question, or the end.
            question.query = "".into();
            self.deny(question.into(), &wish, (Reason::Request, why), now);
            return Ok(());
        }
        let question = Arc::new(question);
        self.question = Some(Arc::clone(&question));
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
            Admitted::Refused(by, reason) => {
                self.deny(Arc::clone(question), &wish, (by, reason), now);
            }
            Admitted::NoRoom(full) => self.refuse(&wish, &Refused::NoRoom(full), now),
            Admitted::Stream(ticket) => {
                let granted = self.conn.about.granted.as_ref().map(Grant::question);
                if let Some((granted, asked)) = granted.and_then(|it| Some((it, it.asked.clone()?)))
                {
                    self.question = Some(Arc::clone(granted));
                    self.log(&format!("given instead of {asked}"));
                }
                // Without them it is served here, wherever the stream is.
                let goes_on = P::granted(self, ticket, wish, now);
                let Some((ticket, wish)) = goes_on else { return Ok(()) };
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
        let blocked = self.blocked(self.conn.about.peer, now);
        let denied = |by, told| Refused::Denied(by, told);
        match (blocked, core.setup().app(key.app())) {
            (Some(told), _) => self.refuse(&wish, &denied(Reason::Blocked, told), now),
            (None, Some((_, settings))) => {
                let settings = Rc::clone(settings);
                P::arrive(self, Arrival { key, settings, epoch, now }, wish);
            }
            (None, None) => {
                self.refuse(&wish, &denied(Reason::App, "no such app".to_owned()), now);
            }
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

    /// Whom the plane is to know this connection by.
    pub(crate) fn tag(&self) -> Option<Tag> {
        let grant = self.conn.about.granted.as_ref()?;
        Some(Tag::new(Arc::clone(grant.question()) as Arc<_>))
    }

    /// Why nothing may be done from `address`, if that is so.
    fn blocked(&self, address: SocketAddr, now: Instant) -> Option<String> {
        self.conn.core.blocked(address.ip(), now).map(|reason| reason.to_string())
    }

    /// What was granted has begun.
    pub(super) fn has_started(&mut self) {
        if let Some(grant) = &mut self.conn.about.granted {
            grant.start();
        }
    }

    /// What was granted is over.
    pub(crate) fn end_grant(&mut self, why: &str, mut sent: SinkStats) {
        sent.bytes += self.protocol.take_sent();
        if let Some(grant) = self.conn.about.granted.take() {
            grant.end(why, self.received, sent);
        }
    }

    pub(super) fn ended_for(&mut self, why: &impl std::fmt::Display) {
        let why = why.to_string();
        self.log(&why);
        self.why = Some(why.into());
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

    /// What the last question was about, else what is fetched without one.
    fn stream(&self) -> Option<&StreamKey> {
        let asked = self.question.as_ref().and_then(|question| question.stream());
        asked.or_else(|| self.protocol.fetched_stream())
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
}

/// What a connection says before others have their turn: a frame, with all that is made of it, costs a
/// microsecond or a few. What is left waits in the machine, and nothing is read meanwhile.
const EVENTS_PER_TURN: usize = 256;
/// How much later than a deadline a publisher's input may still have come before it: what a core that
/// was late has to read through first.
const LATE_MAX: Duration = Duration::from_secs(5);
/// Of a query, which is kept for as long as what it asks for lasts.
const QUERY_MAX: usize = 4 << 10;
pub(super) fn violation<W>(error: impl std::fmt::Display) -> Stop<W> {
    Stop::End(End::Violation(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::{http::Http, rtmp::Rtmp};
    use super::*;

    /// Each viewer has one, and the allocator rounds up: the next larger sizes cost 64 and 128 bytes.
    #[test]
    fn a_session_is_no_larger_than_it_must_be() {
        assert!(size_of::<Session<Rtmp>>() <= 384, "{}", size_of::<Session<Rtmp>>());
        assert!(size_of::<Session<Http>>() <= 512, "{}", size_of::<Session<Http>>());
    }

    #[test]
    fn a_task_keeps_little_beside_its_session() {
        fn bytes<S, F>(_: impl Fn(S) -> F) -> usize {
            size_of::<F>()
        }
        let (rtmp, http) = (bytes(Session::<Rtmp>::run), bytes(Session::<Http>::run));
        assert!(rtmp <= 40 && http <= 40, "{rtmp}, {http}");
    }
}
