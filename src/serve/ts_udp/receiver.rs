//! The task of one input: datagrams to frames, frames to the slot of its stream.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Figures, Input};
use crate::container::{Item, ts};
use crate::net::rt::{self, Deadline};
use crate::net::udp::UdpSocket;
use crate::plane::{PublishRequest, Publisher, PublisherEnd, SinkStats, Tag};
use crate::proto::ts_udp::{Config, Ingest};
use crate::serve::Tell;
use crate::serve::access::Counted;
use crate::serve::admit::Ticket;
use crate::serve::core::Core;
use crate::serve::event::Event;
use crate::serve::grant::Grant;
use crate::serve::guard;
use crate::serve::order::Order;
use crate::serve::refusals::Reason;
use crate::serve::refused::Refused;
use crate::serve::sessions::{self, Listed};
use crate::serve::verdict::{Action, Question, Way};
use crate::shard::Place;

/// An input on its way to a core.
#[derive(Debug)]
pub struct Moved {
    it: Box<Kept>,
    socket: OwnedFd,
    /// The owner of its stream, whose ticket goes with it; none on the way home.
    place: Option<Place>,
}

/// What goes with an input from core to core.
#[derive(Debug)]
struct Kept {
    input: Held,
    machine: Ingest,
    /// What the machine has said and the stream has not been given: tracks until the first frame.
    items: VecDeque<Item>,
    figures: Figures,
    /// It was taken over: it does not take over in turn.
    yields: bool,
    /// When the log was last told that it is refused.
    refusal_told: Option<Instant>,
    /// Who sends, as the log knows it.
    sender_told: Option<SocketAddr>,
}

/// An input for as long as somebody holds it.
#[derive(Debug)]
struct Held(Arc<Input>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.gone.store(true, Ordering::Release);
    }
}

impl Moved {
    pub(super) fn new(input: Arc<Input>, socket: OwnedFd, ts: ts::Limits) -> Self {
        let settings = &input.settings;
        let machine = Ingest::new(Config {
            source: settings.source,
            program: Some(settings.program).filter(|program| *program > 0),
            silence: settings.timeout,
            ts,
        });
        let it = Kept {
            input: Held(input),
            machine,
            items: VecDeque::new(),
            figures: Figures::default(),
            yields: false,
            refusal_told: None,
            sender_told: None,
        };
        Self { it: Box::new(it), socket, place: None }
    }
}

pub(super) fn start(core: &Rc<Core>, moved: Moved) {
    let Moved { it, socket, place } = moved;
    let input = Arc::clone(&it.input.0);
    let ticket = place.map(|place| Ticket::new(core, input.key.clone(), place));
    let told = move || {
        let again = "its task panicked: receives no more until it is configured anew";
        tracing::error!(input = %input.settings.listen, stream = %input.key, "{again}");
    };
    guard::spawn(core, Receiver::new(core, it, socket).run(ticket), told);
}

/// An input on its core.
struct Receiver {
    state: State,
    socket: UdpSocket,
    core: Rc<Core>,
    it: Box<Kept>,
    /// What one datagram held; kept for its memory.
    fresh: Vec<Item>,
    going: Option<Going>,
    silence: Deadline,
    /// Since when the socket is not looked at, and until when.
    rest: Option<(Instant, Instant)>,
    rest_over: Deadline,
    drops_asked: Option<Instant>,
    /// Until it has said how it ended.
    listed: Option<Listed>,
}

/// ```text
/// Waiting ──first frame──▶ Publishing ──silence──▶ Waiting
///    │ refused                 │ put out
///    └────────▶ Paused ◀───────┘
///                 └── PAUSE over ──▶ Waiting
/// ```
enum State {
    /// For a frame.
    Waiting,
    /// What comes is thrown away.
    Paused { until: Instant },
    /// Until it is silent.
    Publishing(Box<Publishing>),
}

struct Publishing {
    publisher: Publisher,
    grant: Grant,
    /// What had been received before.
    bytes_before: u64,
}

/// Where it is to go on.
enum Going {
    Home,
    /// To the owner.
    With(Ticket),
}

enum Wake {
    Readable(io::Result<()>),
    /// It has been silent for too long.
    Silent,
    /// The slot was taken away.
    Ended(PublisherEnd),
    /// Nobody watches.
    Idle,
    /// The input was removed, or the server ends.
    Closed(&'static str),
}

/// So many datagrams are read in one turn: at 1316 bytes each some 80 KiB.
const PER_TURN: usize = 64;
/// Turns until it looks whether it is to end, and what else there is.
const TURNS: usize = 64;
/// What comes within that time is read at once: a task that wakes up costs more than a datagram.
const REST: Duration = Duration::from_millis(5);
/// If more than this part of the kernel's room was taken, the socket is looked at all the time.
const REST_PART: u64 = 16;
/// One that was refused or put out throws away for so long what comes, and tries again then.
const PAUSE: Duration = Duration::from_secs(5);
/// How often one that is refused again and again tells the log.
const TELL_REFUSAL: Duration = Duration::from_secs(60);
/// How often the kernel is asked what it dropped.
const ASK_DROPS: Duration = Duration::from_secs(1);
/// Tracks and ends of sequences before the first frame; a stream has three of them.
const ITEMS_BEFORE: usize = 16;

impl Receiver {
    fn new(core: &Rc<Core>, it: Box<Kept>, socket: OwnedFd) -> Self {
        Self {
            state: State::Waiting,
            socket: UdpSocket::arrive(socket),
            core: Rc::clone(core),
            it,
            fresh: Vec::new(),
            going: None,
            silence: Deadline::default(),
            rest: None,
            rest_over: Deadline::default(),
            drops_asked: None,
            listed: None,
        }
    }

    async fn run(mut self, ticket: Option<Ticket>) {
        let now = Instant::now();
        self.step(now, |this| {
            match ticket {
                Some(ticket) => this.publish(ticket, now),
                None => this.tell_buffer(),
            }
            this.pump(now);
        });
        let reason = loop {
            if let Some(going) = self.going.take() {
                self = match self.go(going) {
                    Some(this) => this,
                    None => return,
                };
            }
            let wake = self.wait().await;
            let now = Instant::now();
            self.core.hub.borrow_mut().set_now(now);
            match wake {
                Wake::Readable(Ok(())) => self.read().await,
                Wake::Readable(Err(error)) => self.fail(&error, now),
                Wake::Silent => {
                    self.step(now, |this| this.fall_silent(now));
                }
                Wake::Ended(end) => {
                    self.it.yields = matches!(end, PublisherEnd::TakenOver(_));
                    self.pause(&end.to_string(), now);
                }
                Wake::Idle => {
                    self.log("nobody watches it (idle_timeout)");
                    self.core.node.events.tell(Event::Idle(self.input().key.clone()));
                }
                Wake::Closed(reason) => break reason,
            }
            self.count(now);
            rt::yield_if_needed().await;
        };
        self.leave(reason);
        self.log(&format!("receives no more: {reason}"));
    }

    fn input(&self) -> &Arc<Input> {
        &self.it.input.0
    }

    async fn wait(&mut self) -> Wake {
        let Self { state, socket, it, silence, rest, rest_over, listed, .. } = self;
        let input = &it.input.0;
        let mut readable = pin!(socket.readable());
        poll_fn(|cx| {
            listed.get_or_insert_with(|| sessions::list(cx.waker()));
            input.waker.register(cx.waker());
            if input.is_closed() {
                return Poll::Ready(Wake::Closed("it was taken out of the configuration"));
            }
            if sessions::are_to_end() {
                return Poll::Ready(Wake::Closed("the server ends"));
            }
            if let State::Publishing(it) = state {
                if let Poll::Ready(end) = it.publisher.poll_end(cx) {
                    return Poll::Ready(Wake::Ended(end));
                }
                if it.publisher.poll_idle(cx).is_ready() {
                    return Poll::Ready(Wake::Idle);
                }
            }
            let is_rested = match rest {
                Some((_, until)) => rest_over.poll(cx, Some(*until)).is_ready(),
                None => true,
            };
            if is_rested && let Poll::Ready(result) = readable.as_mut().poll(cx) {
                return Poll::Ready(Wake::Readable(result));
            }
            silence.poll(cx, it.machine.poll_timeout()).map(|()| Wake::Silent)
        })
        .await
    }

    /// Takes all that is there, and lets others have their turns between.
    async fn read(&mut self) {
        let (setup, before) = (self.core.setup(), self.it.figures.bytes);
        let silence = match self.input().settings.timeout {
            Duration::ZERO => setup.config.limits.publisher_silence,
            own => own,
        };
        self.it.machine.set_silence(silence);
        if let (State::Publishing(it), Some((since, _))) = (&self.state, self.rest.take()) {
            it.publisher.set_waited(since.elapsed());
        }
        for turn in 0.. {
            let now = Instant::now();
            if turn == TURNS {
                // There is no end of it, and little of it may be the sender's.
                if self.it.machine.poll_timeout().is_some_and(|at| at <= now) {
                    self.step(now, |this| this.fall_silent(now));
                }
                return;
            }
            match self.step(now, |this| this.read_some(now)) {
                Some(Ok(true)) => rt::yield_if_needed().await,
                Some(Ok(false)) => break,
                Some(Err(error)) => return self.fail(&error, now),
                None => return,
            }
        }
        let took = self.it.figures.bytes - before;
        let room = self.socket.buffer_bytes().unwrap_or(0) as u64;
        let now = Instant::now();
        self.rest = (took < room / REST_PART).then_some((now, now + REST));
    }

    /// Lets machine and plane work. If they panic, the publish ends, and the input goes on as after any
    /// other end.
    fn step<T>(&mut self, now: Instant, step: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let core = Rc::clone(&self.core);
        let done = core.turn(|| guard::step(|| step(self)));
        if done.is_none() {
            if let State::Publishing(it) = &self.state {
                it.publisher.abort(now);
            }
            self.pause("its driver panicked", now);
        }
        done
    }

    /// True if there may be more.
    fn read_some(&mut self, now: Instant) -> io::Result<bool> {
        let core = Rc::clone(&self.core);
        let mut scratch = core.scratch.borrow_mut();
        for _ in 0..PER_TURN {
            let Some((bytes, from)) = self.socket.receive(&mut scratch)? else {
                return Ok(false);
            };
            self.it.figures.datagrams += 1;
            self.it.figures.bytes += bytes as u64;
            match self.state {
                State::Paused { until } if now < until => continue,
                State::Paused { .. } => self.state = State::Waiting,
                _ => {}
            }
            if let Some(why) = core.blocked(from.ip(), now) {
                self.leave_out(from, &why, now);
                continue;
            }
            let datagram = &scratch[..bytes];
            let taken = self.it.machine.handle_datagram(now, from, datagram, &mut self.fresh);
            self.it.items.extend(self.fresh.drain(..));
            self.pump(now);
            if let Err(error) = taken {
                self.pause(&error.to_string(), now);
            }
            self.tell_sender();
            if self.going.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// It is blocked: others may take its place at once.
    fn leave_out(&mut self, from: SocketAddr, why: &str, now: Instant) {
        self.it.machine.leave_out();
        if self.it.machine.sender() == Some(from) {
            self.leave(why);
            self.it.machine.forget();
            self.it.items.clear();
        }
        if self.may_tell_refusal(now) {
            self.log(&format!("leaves out what {from} sends: {why}"));
        }
    }

    /// Hands on what the machine has said.
    fn pump(&mut self, now: Instant) {
        if matches!(self.state, State::Waiting) {
            if !self.it.items.iter().any(Item::is_media) {
                let over = self.it.items.len().saturating_sub(ITEMS_BEFORE);
                self.it.items.drain(..over);
                return;
            }
            self.look_for_place(now);
        }
        let State::Publishing(it) = &self.state else { return };
        while let Some(item) = self.it.items.pop_front() {
            match item {
                Item::Frame(frame) => {
                    if let Err(error) = it.publisher.push(frame, now) {
                        // That another has the slot is told by an end of its own.
                        if !matches!(error, crate::plane::PushError::NotHeld) {
                            return self.pause(&error.to_string(), now);
                        }
                    }
                }
                Item::Track(track) => {
                    self.log_sparingly(&format!("track: {track}"), now);
                    it.publisher.set_track(track, now);
                }
                Item::Metadata(metadata) => it.publisher.set_metadata(metadata, now),
                Item::PrivateStreams(streams) => it.publisher.set_private_streams(streams),
                Item::EndOfSequence(_) => {}
            }
        }
    }

    /// Publishes here, or is to go where it can.
    fn look_for_place(&mut self, now: Instant) {
        let (core, key) = (Rc::clone(&self.core), self.input().key.clone());
        if core.post.mesh().home(&key) != core.id {
            self.going = Some(Going::Home);
            return;
        }
        let place = core.look_up(&key);
        let ticket = Ticket::new(&core, key, place);
        match ticket.owner() == core.id {
            true => self.publish(ticket, now),
            false => self.going = Some(Going::With(ticket)),
        }
    }

    /// Takes the slot at the owner of the stream.
    fn publish(&mut self, ticket: Ticket, now: Instant) {
        let question = Arc::new(Question {
            client: self.core.next_client(),
            peer: self.it.machine.sender().unwrap_or(self.input().settings.listen),
            protocol: Way::TsUdp,
            action: Action::Publish(ticket.key().clone()),
            asked: None,
            record: None,
            query: "".into(),
            connect: None,
            http: None,
        });
        match self.try_publish(&ticket, &question, now) {
            Ok(publishing) => {
                self.state = State::Publishing(Box::new(publishing));
                (self.it.yields, self.it.refusal_told) = (false, None);
                self.log(&format!("publish, of {}", question.peer));
            }
            Err(refused) => self.refuse(&refused, Some(question), now),
        }
        ticket.used();
        self.core.is_active();
    }

    fn try_publish(
        &self,
        ticket: &Ticket,
        question: &Arc<Question>,
        now: Instant,
    ) -> Result<Publishing, Refused> {
        let (core, key) = (&self.core, ticket.key().clone());
        let (node, setup) = (&core.node, core.setup());
        let denied = |by, why: &str| Refused::Denied(by, why.to_owned());
        let (app, settings) =
            setup.app(key.app()).ok_or_else(|| denied(Reason::App, "no such app"))?;
        if let Some(why) = core.blocked(question.peer.ip(), now) {
            return Err(denied(Reason::Blocked, &why));
        }
        if self.it.yields && core.hub.borrow().is_published(&key) {
            let why = "who took it over is still there, and an input does not take over in turn";
            return Err(denied(Reason::Conflict, why));
        }
        let counted = Counted::new(&node.census, question, &setup.config.limits, app);
        let counted = counted.map_err(Refused::NoRoom)?;
        let (settings, epoch) = (Rc::clone(settings), ticket.epoch());
        let tag = Some(Tag::new(Arc::clone(question) as Arc<_>));
        let request = PublishRequest { key, settings, epoch, tag };
        let publisher = Publisher::acquire(&core.hub, request, now)?;
        // Not before: what is refused has nothing to end, and is tried again and again.
        let events = Arc::clone(&node.events);
        let mut grant = Grant::counted(Arc::clone(question), events, counted);
        grant.start();
        Ok(Publishing { publisher, grant, bytes_before: self.it.figures.bytes })
    }

    fn refuse(&mut self, refused: &Refused, question: Option<Arc<Question>>, now: Instant) {
        if let Some(reason) = refused.reason() {
            self.core.node.refused.count(reason);
        }
        let reason = refused.to_string();
        if self.may_tell_refusal(now) {
            self.log(&format!("refused: {refused}; tries again every {PAUSE:?}"));
            if let Some(question) = question {
                let reason = reason.clone();
                self.core.node.events.tell(Event::Refused { question, reason });
            }
        }
        self.pause(&reason, now);
    }

    fn may_tell_refusal(&mut self, now: Instant) -> bool {
        let is_told = |at: Instant| now.saturating_duration_since(at) < TELL_REFUSAL;
        let may = !self.it.refusal_told.is_some_and(is_told);
        if may {
            self.it.refusal_told = Some(now);
        }
        may
    }

    /// Leaves the slot, and throws away for a while what comes.
    fn pause(&mut self, why: &str, now: Instant) {
        // Whatever it was on its way to has nobody to publish any more.
        self.going = None;
        self.leave(why);
        self.it.machine.forget();
        self.it.items.clear();
        self.state = State::Paused { until: now + PAUSE };
    }

    /// Leaves the slot, if it has it.
    fn leave(&mut self, why: &str) {
        let State::Publishing(it) = std::mem::replace(&mut self.state, State::Waiting) else {
            return;
        };
        let Publishing { publisher, grant, bytes_before } = *it;
        drop(publisher);
        grant.end(why, self.it.figures.bytes - bytes_before, SinkStats::default());
        self.log(&format!("unpublish: {why}"));
        if self.core.post.mesh().home(&self.input().key) != self.core.id {
            self.going = Some(Going::Home);
        }
    }

    fn fall_silent(&mut self, now: Instant) {
        let silence = self.it.machine.silence();
        let taken = self.it.machine.handle_timeout(now, &mut self.fresh);
        self.it.items.extend(self.fresh.drain(..));
        self.pump(now);
        match taken {
            Ok(false) => {}
            Ok(true) => {
                self.going = None;
                self.leave(&format!("silent for {silence:?}"));
                self.it.items.clear();
                self.it.sender_told = None;
            }
            Err(error) => self.pause(&error.to_string(), now),
        }
    }

    fn fail(&mut self, error: &io::Error, now: Instant) {
        self.log_sparingly(&format!("its socket: {error}"), now);
        // Not again at once.
        self.rest = Some((now, now + PAUSE));
    }

    /// Goes to another core. Answers with itself if it could not.
    fn go(self, going: Going) -> Option<Self> {
        let (core, key) = (Rc::clone(&self.core), self.input().key.clone());
        let socket = match self.socket.duplicate() {
            Ok(socket) => socket,
            Err(error) => {
                drop(going);
                let mut this = self;
                this.refuse(&Refused::NoDescriptor(error), None, Instant::now());
                return Some(Self { going: None, ..this });
            }
        };
        let (to, place) = match going {
            Going::Home => (core.post.mesh().home(&key), None),
            Going::With(ticket) => (ticket.owner(), Some(ticket.into_parts().1)),
        };
        let Self { it, socket: here, .. } = self;
        drop(here);
        let moved = Box::new(Moved { it, socket, place });
        let order = Tell::Order(Order::Receive(moved, None));
        let Err(Tell::Order(Order::Receive(moved, _))) = core.node.mesh.try_tell(to, order) else {
            return None;
        };
        // What it goes for is given up; the ticket goes back.
        let Moved { it, socket, place } = *moved;
        drop(place.map(|place| Ticket::new(&core, key, place)));
        let mut this = Self::new(&core, it, socket);
        this.refuse(&Refused::OwnerIsBusy, None, Instant::now());
        Some(this)
    }

    fn tell_sender(&mut self) {
        let sender = self.it.machine.sender();
        if sender.is_some() && sender != self.it.sender_told {
            if let (Some(before), Some(now)) = (self.it.sender_told, sender) {
                self.log(&format!("sent by {now} from now on, not by {before}"));
                if let State::Publishing(it) = &self.state {
                    // Who is ended by address is ended by the present one.
                    let question = Question { peer: now, ..(**it.grant.question()).clone() };
                    it.publisher.set_tag(Tag::new(Arc::new(question)));
                }
            }
            self.it.sender_told = sender;
        }
        while let Some(notice) = self.it.machine.poll_notice() {
            self.log_sparingly(&notice.to_string(), Instant::now());
        }
    }

    /// What the kernel grants may be less than what was asked for.
    fn tell_buffer(&self) {
        let wanted = self.input().settings.receive_buffer;
        // It doubles what it is asked for, and tells that.
        let granted = self.socket.buffer_bytes().unwrap_or(0) / 2;
        self.log("receives");
        if granted < wanted {
            self.log(&format!(
                "the kernel holds {granted} bytes, not {wanted} (receive_buffer): raise \
                 net.core.rmem_max, or datagrams may be lost in bursts"
            ));
        }
    }

    /// Shows what was counted.
    fn count(&mut self, now: Instant) {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < ASK_DROPS;
        if !self.drops_asked.is_some_and(is_fresh) {
            self.drops_asked = Some(now);
            self.it.figures.dropped = self.socket.dropped().into();
        }
        self.it.figures.counts = self.it.machine.counts();
        self.input().tell(self.it.figures);
    }

    /// A line that a sender can cause as often as it likes.
    fn log_sparingly(&self, what: &str, now: Instant) {
        if self.core.chatter.borrow_mut().allow(now).is_some() {
            self.log(what);
        }
    }

    fn log(&self, what: &str) {
        let input = self.input();
        tracing::info!(input = %input.settings.listen, stream = %input.key,
            protocol = %Way::TsUdp, core = %self.core.id, "{what}");
    }
}
