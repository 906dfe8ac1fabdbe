//! What the drivers of one core share.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::access::{Arrivals, Census, Network};
use super::admit::Ticket;
use super::blocks::Blocks;
use super::doors::{Door, Doors};
use super::event::{Event, Events};
use super::guard;
use super::health::{Health, Unfit};
use super::hls::Hls;
use super::order::{Answer, Leave, Order};
use super::record::{self, Recordings};
use super::refusals::Refusals;
use super::reply::Replies;
use super::scheduled::Scheduler;
use super::sessions;
use super::setup::Setup;
use super::tally::Tally;
use super::ts_udp::Inputs;
use super::verdict::{Advice, Ask, ClientId, HttpClient, Protocol, Question};
use super::{Mesh, Post, Tell};
use crate::config::Config;
use crate::media::StreamKey;
use crate::net::{Pages, TcpStream, TlsConfigs, flush, rt};
use crate::plane::{
    CoreSnapshot, CoreTimes, Hub, HubEvent, Left, NodeCounters, PublishRequest, SinkStats, Tag,
};
use crate::proto::rtmp;
use crate::shard::{CoreId, Directory, Place};
use crate::time::RateLimit;

/// What all cores of the node have in common: what never changes, and counters.
#[derive(Debug)]
pub struct Node {
    /// Connections that may be open at once.
    pub connections_max: usize,
    /// RTMP newcomers beyond those that are told why at once; beside them, not among them.
    pub refusals_max: usize,
    /// How many are.
    pub refusals: AtomicUsize,
    /// The way between cores.
    pub mesh: Arc<Mesh>,
    /// Counted by all.
    pub counters: Arc<NodeCounters>,
    /// Load of each core, in bytes per second moved, see [`SOURCE_LOAD`](super::load::SOURCE_LOAD).
    pub loads: Box<[AtomicU64]>,
    /// Asked about each connect, publish and play, if there is anyone to ask; without one the rules
    /// alone decide.
    pub ask: Option<Arc<dyn Ask>>,
    /// Whether it is to be asked about all of them, or only where the configuration has a hook.
    pub asks_always: bool,
    /// Told what happens.
    pub events: Arc<Events>,
    /// It is going out of service, or is out of it: load balancers should send nobody here.
    pub draining: AtomicBool,
    /// Where RTMP can be reached, for the pages to say.
    pub rtmp_port: AtomicU16,
    /// Open connections by [`Network`].
    pub addresses: Tally,
    /// How often they come.
    pub arrivals: Arrivals,
    /// Who publish and watch.
    pub census: Arc<Census>,
    /// Who was refused.
    pub refused: Refusals,
    /// What becomes of recordings.
    pub recordings: record::Counters,
    /// Files that are open for replays.
    pub replays: AtomicUsize,
    /// What it receives in datagrams.
    pub inputs: Inputs,
    /// The next connection's id.
    pub clients: AtomicU64,
    /// How its cores are.
    pub health: Health,
}

impl Node {
    /// A node of `mesh`'s cores on which nobody may connect yet.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        Self {
            connections_max: 0,
            refusals_max: 0,
            refusals: AtomicUsize::new(0),
            counters: Arc::new(NodeCounters { cores: mesh.cores(), ..NodeCounters::default() }),
            loads: (0..mesh.cores()).map(|_| AtomicU64::new(0)).collect(),
            health: Health::new(mesh.cores()),
            draining: AtomicBool::new(false),
            mesh,
            ask: None,
            asks_always: false,
            // Nobody hears.
            events: Events::new(1).0,
            rtmp_port: AtomicU16::new(0),
            addresses: Tally::default(),
            arrivals: Arrivals::default(),
            census: Arc::new(Census::new(0)),
            refused: Refusals::default(),
            recordings: record::Counters::default(),
            replays: AtomicUsize::new(0),
            inputs: Inputs::default(),
            clients: AtomicU64::new(1),
        }
    }

    /// Whether this process works: each core has woken up within a second.
    ///
    /// # Errors
    /// What does not.
    pub fn healthy(&self) -> Result<(), Unfit> {
        self.health.check(Instant::now())
    }

    /// Whether a balancer should send newcomers here.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), Unfit> {
        self.healthy()?;
        if self.draining.load(Ordering::Relaxed) {
            return Err(Unfit::Draining);
        }
        self.health.shedding().map_or(Ok(()), |core| Err(Unfit::Shedding(core)))
    }
}

/// One core's streams, its way to the others, and what its drivers need.
#[derive(Debug)]
pub struct Core {
    pub(crate) id: CoreId,
    /// Since when it runs; the clock of its publishers' beats begins here.
    pub(crate) born: Instant,
    /// How many have begun to publish.
    pub(crate) published: Cell<u64>,
    pub(super) scheduler: Scheduler,
    pub(crate) node: Arc<Node>,
    pub(crate) hub: Rc<RefCell<Hub>>,
    pub(crate) post: Post,
    pub(crate) directory: RefCell<Directory>,
    pub(crate) answers: Rc<Replies<Answer>>,
    pub(crate) advice: Rc<Replies<Advice>>,
    pub(crate) places: Rc<Replies<Ticket>>,
    /// Everybody's read buffer: what is read into it is used up before anyone else runs.
    pub(crate) scratch: RefCell<Box<[u8]>>,
    /// Of log lines about broken rules.
    pub(crate) violations: RefCell<RateLimit>,
    /// Of log lines that a client can cause as often as it likes.
    pub(crate) chatter: RefCell<RateLimit>,
    /// What the latest RTMP client said of itself; the next one often says the same.
    latest_connect: RefCell<Arc<rtmp::Connect>>,
    /// The same of HTTP clients.
    latest_http: RefCell<Arc<HttpClient>>,
    pub(super) recordings: Recordings,
    pub(crate) hls: Hls,
    setup: RefCell<Rc<Setup>>,
    doors: Doors,
    blocks: RefCell<Arc<Blocks>>,
    /// For connections over TLS, if there is a certificate.
    tls: RefCell<Option<Arc<TlsConfigs>>>,
    pub(super) idle: RefCell<Option<Waker>>,
    stop: RefCell<Option<Waker>>,
    stopped: Cell<bool>,
}

/// Lines about tracks and refusals that one core writes in a second.
const CHATTER_PER_SECOND: u32 = 100;

/// As much as is read at once. A publisher of 100 Mbit/s fills it five times in 25 ms.
pub(super) const SCRATCH_BYTES: usize = 64 << 10;

impl Core {
    /// The context of core `id`, which is the calling thread.
    pub fn new(id: CoreId, node: Arc<Node>, config: Arc<Config>) -> Rc<Self> {
        let mut hub = Hub::new(Arc::clone(&node.counters), Instant::now());
        hub.keep_segments_in(Pages::store);
        Rc::new(Self {
            id,
            born: Instant::now(),
            published: Cell::new(0),
            scheduler: Scheduler::of_this_thread(),
            hub: Rc::new(RefCell::new(hub)),
            post: Post::new(Arc::clone(&node.mesh)),
            directory: RefCell::default(),
            answers: Rc::default(),
            advice: Rc::default(),
            places: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into()),
            violations: RefCell::new(RateLimit::new(config.limits.log_violations_per_second)),
            chatter: RefCell::new(RateLimit::new(CHATTER_PER_SECOND)),
            latest_connect: RefCell::default(),
            latest_http: RefCell::default(),
            recordings: Recordings::default(),
            hls: Hls::default(),
            setup: RefCell::new(Rc::new(Setup::new(config))),
            doors: Doors::default(),
            blocks: RefCell::default(),
            tls: RefCell::default(),
            idle: RefCell::default(),
            stop: RefCell::default(),
            stopped: Cell::new(false),
            node,
        })
    }

    /// The configuration in force, and what follows from it.
    pub(crate) fn setup(&self) -> Rc<Setup> {
        Rc::clone(&self.setup.borrow())
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.setup.borrow().config)
    }

    /// From now on newcomers over TLS are shown what `configs` say.
    pub fn certify(&self, configs: Arc<TlsConfigs>) {
        self.tls.replace(Some(configs));
    }

    /// Has a new connection begin with a handshake, of which `begun` has come.
    pub(crate) fn secure(
        &self,
        socket: &mut TcpStream,
        protocol: Protocol,
        begun: &[u8],
    ) -> io::Result<()> {
        let configs = self.tls.borrow();
        let configs = configs.as_ref().ok_or_else(|| io::Error::other("no certificate"))?;
        let config = match protocol {
            Protocol::Rtmp => &configs.rtmp,
            Protocol::Http => &configs.http,
        };
        socket.secure(Arc::clone(config), begun)
    }

    /// From now on `config` holds: for newcomers, and for the streams there are.
    fn configure(&self, config: Arc<Config>) {
        let setup = Rc::new(Setup::new(config));
        let limit = setup.config.limits.log_violations_per_second;
        self.violations.replace(RateLimit::new(limit));
        let settings = |key: &StreamKey| Some(Rc::clone(setup.app(key.app())?.1));
        self.hub.borrow_mut().configure(settings);
        self.doors.configure(&setup.config.tcp);
        self.setup.replace(setup);
    }

    /// Accepts on `door` until it is closed.
    pub fn open(self: &Rc<Self>, door: Door) {
        self.doors.open(self, door);
    }

    /// Accepts no more anywhere.
    pub fn close_doors(&self) {
        self.doors.close_all();
    }

    /// From now on `blocks` may not connect. Who publishes or plays from `newly` goes now; any
    /// other connection when it next says something.
    fn block(&self, blocks: Arc<Blocks>, newly: Option<IpAddr>) -> usize {
        let now = Instant::now();
        let reason = newly.and_then(|newly| blocks.reason(newly, now).cloned());
        self.blocks.replace(blocks);
        let Some((address, reason)) = newly.zip(reason) else { return 0 };
        let network = Network::of(address);
        let is_there = |tag: &Tag| {
            let question = tag.downcast_ref::<Question>();
            question.is_some_and(|question| Network::of(question.peer.ip()) == network)
        };
        self.hub.borrow_mut().end_all_of(is_there, &reason, now)
    }

    /// Why `address` may not be here, if it may not.
    pub(crate) fn blocked(&self, address: IpAddr, now: Instant) -> Option<Arc<str>> {
        self.blocks.borrow().reason(address, now).cloned()
    }

    /// The streams.
    pub fn hub(&self) -> &Rc<RefCell<Hub>> {
        &self.hub
    }

    /// The right to publish `key` from inside, if this core is its home and owns it.
    pub fn claim(self: &Rc<Self>, key: &StreamKey) -> Option<PublishRequest> {
        if self.post.mesh().home(key) != self.id {
            return None;
        }
        let ticket = Ticket::new(self, key.clone(), self.look_up(key));
        let setup = self.setup();
        let (_, settings) = setup.app(key.app()).filter(|_| ticket.owner() == self.id)?;
        let settings = Rc::clone(settings);
        let request =
            PublishRequest { key: key.clone(), settings, epoch: ticket.epoch(), tag: None };
        // As if somebody had arrived: the entry stays until the hub says that the key is empty.
        let (key, place) = ticket.into_parts();
        self.directory.borrow_mut().ticket_used(&key, place.epoch, false);
        self.is_active();
        Some(request)
    }

    /// The copy that all who say `info` share.
    pub(crate) fn same_connect(&self, info: Arc<rtmp::Connect>) -> Arc<rtmp::Connect> {
        same(&self.latest_connect, info)
    }

    /// Likewise.
    pub(crate) fn same_http(&self, said: HttpClient) -> Arc<HttpClient> {
        same(&self.latest_http, Arc::new(said))
    }

    pub(crate) fn next_client(&self) -> ClientId {
        ClientId(self.node.clients.fetch_add(1, Ordering::Relaxed))
    }

    /// Ready when the core was told to stop.
    pub async fn stopped(&self) {
        std::future::poll_fn(|cx| {
            if self.stopped.get() {
                return std::task::Poll::Ready(());
            }
            *self.stop.borrow_mut() = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }

    /// Runs what every core runs beside its connections.
    pub fn start(self: &Rc<Self>) {
        let core = Rc::clone(self);
        rt::spawn_urgent(async move { core.receive().await });
        let core = Rc::clone(self);
        rt::spawn(async move { core.count_seconds().await });
        let (core, hub) = (Rc::clone(self), Rc::clone(&self.hub));
        rt::spawn(flush::run(hub, move |event| match event {
            HubEvent::Emptied { key, epoch } => {
                let home = core.post.mesh().home(&key);
                core.tell(home, Tell::Emptied { key, epoch });
            }
            HubEvent::Live { key } => core.record_if_wanted(&key),
            HubEvent::HlsNews { channel, cores } => core.tell_of_news(&channel, cores),
            HubEvent::HlsGone { channel } => core.tell_that_gone(&channel),
            HubEvent::Skipped { tag, ms, bytes } => {
                if let Some(question) = tag.downcast::<Question>() {
                    core.node.events.tell(Event::Skipped { question, ms, bytes });
                }
            }
        }));
    }

    /// Tells another core, or this one.
    pub(crate) fn tell(self: &Rc<Self>, to: CoreId, message: Tell) {
        if to == self.id {
            return self.handle(message);
        }
        self.post.tell(to, message);
        if self.post.wants_retries() {
            let core = Rc::clone(self);
            rt::spawn(async move { core.post.retry_until_delivered().await });
        }
    }

    /// The place of a key whose home is this core; a ticket goes with it.
    pub(crate) fn look_up(&self, key: &StreamKey) -> Place {
        self.directory.borrow_mut().lookup(key, || self.least_loaded())
    }

    /// Something is published or watched here.
    pub(crate) fn is_active(&self) {
        if let Some(waker) = self.idle.take() {
            waker.wake();
        }
    }

    async fn receive(self: &Rc<Self>) {
        loop {
            let message = self.node.mesh.receive(self.id).await;
            // Who waits for an answer hears that there is none.
            if guard::step(|| self.handle(message)).is_none() {
                tracing::error!(core = %self.id, "a message made it panic, and was given up");
            }
            rt::yield_if_needed().await;
        }
    }

    fn handle(self: &Rc<Self>, message: Tell) {
        match message {
            Tell::Lookup { key, from, ask } => {
                let place = self.look_up(&key);
                self.tell(from, Tell::Located { key, ask, place });
            }
            Tell::Located { key, ask, place } => {
                // A ticket for somebody who has left goes back when it is dropped.
                drop(self.places.answer(ask, Ticket::new(self, key, place)));
            }
            Tell::TicketUsed { key, epoch, empty } => {
                self.directory.borrow_mut().ticket_used(&key, epoch, empty);
            }
            Tell::TicketBack { key, epoch } => {
                if let Some(owner) = self.directory.borrow_mut().ticket_back(&key, epoch) {
                    self.expect_less_of(owner);
                }
            }
            Tell::Emptied { key, epoch } => self.directory.borrow_mut().emptied(&key, epoch),
            Tell::HandOver(connection) => super::accept::take_over(self, connection),
            Tell::Order(order) => self.obey(order),
        }
    }

    /// What is answered to somebody who has stopped waiting is dropped.
    fn obey(self: &Rc<Self>, order: Order) {
        match order {
            Order::Answer { ask, answer } => {
                if let Err(Ok(grant)) = self.answers.answer(ask, answer) {
                    grant.end("its client had stopped waiting", 0, SinkStats::default());
                }
            }
            Order::Advice { ask, advice } => {
                let _ = self.advice.answer(ask, advice);
            }
            Order::Measure(asker) => {
                let _ = asker.send(self.snapshot());
            }
            Order::Configure(config, asker) => {
                self.configure(config);
                let _ = asker.send(());
            }
            Order::Open(doors, asker) => {
                doors.into_iter().for_each(|door| self.open(door));
                let _ = asker.send(());
            }
            Order::Close(addresses, asker) => {
                self.doors.close(self, &addresses);
                let _ = asker.send(());
            }
            Order::Receive(moved, asker) => {
                self.receive_datagrams(*moved);
                let _ = asker.map(|asker| asker.send(()));
            }
            Order::Leave(who, asker) => {
                let _ = asker.send(self.leave(who));
            }
            Order::Stream(key, asker) => {
                let details = self.hub.borrow().stream(&key, Instant::now());
                let _ = asker.send(details.map(Box::new));
            }
            Order::Sinks { stream, page, asker } => {
                let _ = asker.send(self.hub.borrow().viewers_of(&stream, page, Instant::now()));
            }
            Order::Sink(id, serial, asker) => {
                let _ = asker.send(self.hub.borrow().viewer(id, serial, Instant::now()));
            }
            Order::EndSink { id, serial, reason, asker } => {
                let mut hub = self.hub.borrow_mut();
                let _ = asker.send(hub.end_viewer(id, serial, &reason, Instant::now()));
            }
            Order::EndPublisher { stream, reason, asker } => {
                let mut hub = self.hub.borrow_mut();
                let _ = asker.send(hub.end_publisher(&stream, &reason, Instant::now()));
            }
            Order::Hls(word) => self.hear(word),
            Order::Record { key, format, asker } => {
                let _ = asker.send(self.record(&key, format));
            }
            Order::EndRecording(stream, asker) => {
                let _ = asker.send(self.end_recording(&stream, "by the operator"));
            }
            Order::Recordings(asker) => {
                let _ = asker.send(self.recordings.snapshots());
            }
            Order::Block { blocks, newly, asker } => {
                let _ = asker.send(self.block(blocks, newly));
            }
            Order::Certify(configs, asker) => {
                self.certify(configs);
                let _ = asker.send(());
            }
            Order::Stop => {
                self.hub.borrow_mut().drain_now(Instant::now());
                sessions::end();
                self.stopped.set(true);
                if let Some(waker) = self.stop.take() {
                    waker.wake();
                }
            }
        }
    }

    /// After it was told to stop: gives drivers a moment to say how their viewers and publishers
    /// ended, and their connections. The runtime lets go of no task that it has not finished. Three
    /// kinds of connections end without such a line: those on their way to a core that has stopped
    /// already, those whose proxy has not said yet whose they are, and those that are being refused.
    pub async fn say_ends(&self) {
        let until = Instant::now() + ENDS;
        let all_have = || sessions::is_empty() && self.hub.borrow().is_deserted();
        while !all_have() && Instant::now() < until {
            rt::sleep(ENDS / 100).await;
        }
        // What the last of them said may still be to be written.
        rt::sleep(ENDS / 100).await;
        // Their publishers have left, so they have what is to be written.
        let until = Instant::now() + LAST_WRITES;
        while !self.recordings.is_empty() && Instant::now() < until {
            rt::sleep(ENDS / 100).await;
        }
    }

    fn leave(&self, who: Leave) -> Left {
        let (mut hub, now) = (self.hub.borrow_mut(), Instant::now());
        match who {
            Leave::Nobody => hub.stay(),
            Leave::Viewers(count) => hub.drain(count, now),
            Leave::Publishers => hub.end_publishers(now),
            Leave::Everyone => hub.drain_now(now),
        }
        hub.left()
    }

    /// What this core has to say of itself.
    fn snapshot(&self) -> CoreSnapshot {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let times = CoreTimes {
            core: self.id.0,
            uptime: self.born.elapsed(),
            cpu: cpu.try_into().expect("the time a thread has run is not negative"),
            waited: self.scheduler.look().waited,
        };
        self.hub.borrow().snapshot(Instant::now(), times)
    }

    /// Runs one turn of a task. If it publishes, the turn is counted towards its stream.
    pub(crate) fn turn<T>(&self, turn: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let done = turn();
        self.hub.borrow_mut().end_ingest_turn(|| start.elapsed());
        done
    }
}

/// The latest, if it is equal; else `new`, which is the latest then.
fn same<T: PartialEq>(latest: &RefCell<Arc<T>>, new: Arc<T>) -> Arc<T> {
    let mut latest = latest.borrow_mut();
    if **latest != *new {
        *latest = new;
    }
    Arc::clone(&latest)
}

/// A driver that has not been heard by then was stuck.
const ENDS: Duration = Duration::from_millis(500);
/// A disk that takes longer over the ends of recordings leaves them as after a crash.
const LAST_WRITES: Duration = Duration::from_secs(3);
