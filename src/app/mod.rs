//! Builds the program from a configuration and waits for its end.
//!
//! The calling thread becomes the control thread; each core is a thread of its own, started
//! before anything else.

mod demo;
pub mod files;
pub mod sign;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::config::Config;
use crate::control::BadToken;
use crate::control::admin::{self, Admin, Token};
use crate::control::ask::{self, Answerer};
use crate::control::cores;
use crate::control::drain::{self, Drain};
use crate::control::events::Bulletin;
use crate::control::hooks::{Hooks, check_authorities};
use crate::control::inputs;
use crate::control::listeners::{Listeners, bind_admin, bind_door};
use crate::control::log::{self, Log};
use crate::control::metrics::Metrics;
use crate::control::notify::Notify;
use crate::control::recovery;
use crate::control::reload::{Reload, Source};
use crate::control::retention;
use crate::control::start_checks::{self, Host, Listening, StartError};
use crate::control::stats;
use crate::control::tls::{self, Shown, TlsError};
use crate::control::view::View;
use crate::net::TlsConfigs;
use crate::serve::access::Census;
use crate::serve::core::{Core, Node};
use crate::serve::doors::{Door, Place};
use crate::serve::event::Events;
use crate::serve::order::Order;
use crate::serve::{Mesh, Tally};
use crate::shard::{self, CoreEnded, CoreId, Tell};

/// What the caller asks for besides the configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// Publish the built-in clip in a loop.
    pub demo: bool,
    /// Asked before anyone may connect, publish or play; without one the configuration decides.
    pub answerer: Option<Arc<dyn Answerer>>,
    /// Reads the configuration again; without one there is no file to reload.
    pub source: Option<Source>,
    /// Ends the program at once when it is sent to or dropped, as SIGINT does.
    pub stop: Option<oneshot::Receiver<()>>,
}

/// Why the program could not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host is not fit, or a port is taken. Nothing was bound.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A listener that could be bound a moment ago cannot be now.
    #[error("{address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The token of the API cannot be used.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// A certificate cannot be shown.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No hook server of https can be trusted.
    #[error("{0}")]
    Authorities(String),
    /// The file of the log cannot be written.
    #[error(
        "log.file: {path}: {error}\n  cure: name a file in a directory that this user may write to"
    )]
    LogFile {
        /// Which.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A core's thread could not be started.
    #[error(
        "a core could not be started: {0}\n  cure: its io_uring needs locked memory, about 1 MiB \
         per core: `ulimit -l unlimited`, or LimitMEMLOCK=infinity in the service file"
    )]
    Launch(String),
    /// A core's thread ended although nobody told it to.
    #[error("core {0} died; its streams are lost, so the whole process ends")]
    CoreDied(CoreId),
    /// The control thread could not be set up.
    #[error("control thread: {0}")]
    Control(#[source] io::Error),
}

/// Runs until SIGINT or [`Options::stop`], or until it has drained after SIGTERM.
///
/// # Errors
/// [`Error::Start`] before anything is bound; the others later.
pub fn run(config: &Config, options: Options) -> Result<(), Error> {
    // To the end of this function: dropped, it writes what waits, the last words too.
    let began = Instant::now();
    let mut log = log::start(&config.log)
        .map_err(|error| Error::LogFile { path: config.log.file.clone(), error })?;
    let host = start_checks::run(config)?;
    let mesh = Mesh::new(host.cores.len(), config.limits.mesh_queue);
    let (events, heard) = Events::new(EVENT_QUEUE);
    let token = Token::of(&config.admin)?.map(Arc::new);
    let loaded = tls::load(&config.tls)?;
    let tls = loaded.as_ref().map(|loaded| Arc::clone(&loaded.configs));
    check_authorities(&config.hooks).map_err(Error::Authorities)?;
    let config = Arc::new(config.clone());
    let (configuration, in_force) = watch::channel(Arc::clone(&config));
    let hooks = Hooks::new(in_force.clone(), Arc::clone(&events));
    let asks_always = options.answerer.is_some();
    let (ask, desk) = ask::desk(&mesh, Arc::clone(&events), hooks.clone(), options.answerer);
    let node = Arc::new(Node {
        connections_max: host.connections,
        refusals_max: host.refusals,
        ask: Some(Arc::new(ask)),
        asks_always,
        events,
        rtmp_port: AtomicU16::new(host.rtmp.first().map_or(1935, SocketAddr::port)),
        addresses: Tally::new(host.connections),
        census: Arc::new(Census::new(host.connections)),
        ..Node::new(mesh)
    });
    let inputs = inputs::prepare(&node, &config).map_err(|failures| {
        let first = failures.into_iter().next().expect("there is one if it fails");
        Error::Bind { address: first.0.listen, error: first.1 }
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // They look up names.
        .max_blocking_threads(16)
        .build()
        .map_err(Error::Control)?;
    let (mut signals, sockets, for_metrics) = {
        let _inside = runtime.enter();
        // Heard from before the first connection on: a signal without an ear kills. Who asks the API
        // as soon as media is served waits to be accepted.
        let signals = Signals::listen().map_err(Error::Control)?;
        let backlog = config.tcp.backlog;
        let all = host.listening();
        let sockets = listen_admin(&all.admin().collect::<Vec<_>>(), backlog)?;
        (signals, sockets, listen_admin(&all.metrics().collect::<Vec<_>>(), backlog)?)
    };
    let (ended, mut ends) = mpsc::unbounded_channel();
    // Each ring registers a small buffer, and the kernel charges the whole page it lies in to the
    // limit of locked memory: a huge one would use it up. They stay off: with them a heap holds
    // 2 MiB where it uses a few KiB, and memory does not come back when viewers leave.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
    launch(&node, &config, &host, (tls, options.demo), ended)?;
    if let Some(late) = runtime.block_on(inputs::apply(&node, inputs)) {
        tracing::warn!("{late}");
    }
    tracing::info!(cores = ?host.cores, rtmp = ?host.rtmp, rtmps = ?host.rtmps, http = ?host.http, https = ?host.https, admin = ?host.admin,
        admin_tls = ?host.admin_tls, connections = host.connections, "listening");
    if options.demo {
        print!("{}", demo::welcome(&host));
    }
    let (token, tokens) = watch::channel(token);
    runtime.spawn(stats::log(Arc::clone(&node), in_force.clone()));
    let shown = Shown::new(Arc::clone(&node), loaded.as_ref());
    runtime.spawn(tls::remind(shown.certificates()));
    let certificates = shown.certificates();
    let by_api = shown.by_api();
    runtime.spawn(tls::watch(in_force.clone(), shown.clone()));
    let bulletin = Bulletin::new();
    let hears = hooks.clone();
    runtime.spawn(bulletin.clone().run(heard, move |event| hears.hear(event)));
    let open = node.recordings.open();
    runtime.spawn(recovery::run(Arc::clone(&config), Arc::clone(&open)));
    runtime.spawn(retention::run(in_force.clone(), bulletin.clone(), open));
    let listeners = Listeners::new(Arc::clone(&node), &host.listening());
    let listeners = Arc::new(tokio::sync::Mutex::new(listeners));
    let notify = Arc::new(Notify::new());
    let (its_node, its_listeners) = (Arc::clone(&node), Arc::clone(&listeners));
    let drain = Drain::new(its_node, its_listeners, in_force.clone(), bulletin.clone());
    let drain = Arc::new(drain);
    let reload = Reload::new(
        Arc::clone(&node),
        Arc::clone(&listeners),
        configuration,
        token,
        shown,
        Arc::clone(&notify),
        log.handle(),
    );
    let reload = Arc::new(reload.from(options.source));
    let admin = Admin {
        bulletin,
        view: View::new(Arc::clone(&node)),
        node: Arc::clone(&node),
        config: in_force.clone(),
        reload: Arc::clone(&reload),
        drain: Arc::clone(&drain),
        blocks: Default::default(),
        host,
        log: log.handle(),
        metrics: Arc::new(Metrics::new(hooks.clone(), certificates)),
        since: began,
        hearers: Arc::new(Semaphore::new(admin::HEARERS_MAX)),
    };
    let admin = Arc::new(admin);
    {
        let _inside = runtime.enter();
        let metrics = admin::Server::of_metrics(Arc::clone(&admin));
        let api = admin::Server::new(admin, tokens, by_api);
        let mut listeners = listeners.try_lock().expect("nobody else runs yet");
        listeners.serve((api, sockets), (metrics, for_metrics));
        hooks.start(Arc::clone(&node));
    }
    runtime.spawn(Arc::clone(&notify).run(Arc::clone(&node), drain.watch()));
    runtime.spawn(desk.run());
    let operator = Operator { drain, reload, notify: Arc::clone(&notify), in_force };
    let told = (options.stop, &mut signals);
    let reason = runtime.block_on(control(&operator, told, &mut ends, &mut log, &node));
    operator.drain.give_up();
    notify.stopping(STOP_TIMEOUT);
    match &reason {
        Ok(reason) => tracing::info!(reason, "stopping"),
        Err(error) => tracing::error!(%error, "stopping"),
    }
    let died = match &reason {
        Err(Error::CoreDied(core)) => Some(*core),
        _ => None,
    };
    let running = cores::all(&node).filter(|core| Some(*core) != died).collect();
    runtime.block_on(stop(&node, running, &mut ends));
    // After a core has died too: what there is to tell is told, or counted as lost.
    runtime.block_on(hooks.finish(signals.any_to_stop()));
    // Not for a name that is being looked up.
    runtime.shutdown_background();
    reason.map(drop)
}

/// Events that may wait for the control thread.
const EVENT_QUEUE: usize = 65_536;

/// The signals that mean something to the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Inside a runtime.
    fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt, hang_up: signal(SignalKind::hangup())? })
    }

    /// Somebody wants it to stop, whether in order or at once.
    async fn any_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What signals set going.
struct Operator {
    drain: Arc<Drain>,
    reload: Arc<Reload>,
    notify: Arc<Notify>,
    in_force: watch::Receiver<Arc<Config>>,
}

impl Operator {
    /// False if it drains already: then it is to stop.
    fn drain(&self) -> bool {
        let drains = self.drain.start(true);
        if drains {
            self.notify.stopping(self.in_force.borrow().drain.timeout);
        }
        drains
    }

    fn reload(&self) {
        let reload = Arc::clone(&self.reload);
        tokio::spawn(async move { reload.reload().await });
    }
}

/// The control thread's life. Answers with why it ended.
async fn control(
    operator: &Operator,
    (stop, signals): (Option<oneshot::Receiver<()>>, &mut Signals),
    ends: &mut mpsc::UnboundedReceiver<CoreEnded>,
    log: &mut Log,
    node: &Node,
) -> Result<&'static str, Error> {
    let told = async {
        match stop {
            Some(stop) => drop(stop.await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(told);
    let mut drain = operator.drain.watch();
    let drained = drain.wait_for(|at| at.then_stops && at.state == drain::State::Drained);
    tokio::pin!(drained);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => match operator.drain() {
                true => tracing::info!("SIGTERM: drains; once more, or SIGINT, stops it at once"),
                false => return Ok("SIGTERM once more"),
            },
            _ = &mut drained => return Ok("SIGTERM, and drained"),
            _ = signals.hang_up.recv() => operator.reload(),
            _ = signals.interrupt.recv() => return Ok("SIGINT"),
            () = &mut told => return Ok("told to"),
            Some(end) = ends.recv() => return Err(Error::CoreDied(end.core)),
            _ = seconds.tick() => {
                log.drops().tell();
                node.health.ring(Instant::now());
            }
        }
    }
}

/// A core that does not end in this time is left to the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one with a full inbox is told again.
const STOP_RETRY: Duration = Duration::from_millis(5);
/// How often those that have not ended are woken, all being told.
const STOP_RING: Duration = Duration::from_millis(100);

/// Has those cores stop that are `running`, and waits for their ends.
async fn stop(node: &Node, running: Vec<CoreId>, ends: &mut mpsc::UnboundedReceiver<CoreEnded>) {
    let all = async {
        let (mut untold, mut running) = (running.clone(), running);
        while !running.is_empty() {
            // One whose inbox is full is told as soon as there is room.
            untold.retain(|core| node.mesh.try_tell(*core, Tell::Order(Order::Stop)).is_err());
            let pause = if untold.is_empty() { STOP_RING } else { STOP_RETRY };
            match tokio::time::timeout(pause, ends.recv()).await {
                Ok(Some(end)) => running.retain(|core| *core != end.core),
                Ok(None) => return,
                // One may have lost what was to wake it, and nobody else rings any more.
                Err(_) => running.iter().for_each(|core| node.health.wake(*core)),
            }
        }
    };
    if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
        tracing::warn!("a core did not stop within {STOP_TIMEOUT:?}");
    }
}

fn launch(
    node: &Arc<Node>,
    config: &Arc<Config>,
    host: &Host,
    (tls, demo): (Option<Arc<TlsConfigs>>, bool),
    ended: mpsc::UnboundedSender<CoreEnded>,
) -> Result<(), Error> {
    let listening = host.listening();
    let sockets = host.cores.iter().map(|_| bind(config.tcp.backlog, &listening).map(Some));
    // Each core takes its own, once; the lock is never waited for.
    let sockets = Arc::new(Mutex::new(sockets.collect::<Result<Vec<_>, _>>()?));
    let (of_cores, config) = (Arc::clone(node), Arc::clone(config));
    let ended = move |end| {
        // Nobody listens any more when the process is ending anyway.
        let _ = ended.send(end);
    };
    let main = move |id: CoreId| {
        let (node, config) = (Arc::clone(&of_cores), Arc::clone(&config));
        let (sockets, tls) = (Arc::clone(&sockets), tls.clone());
        async move {
            let own = sockets.lock().map(|mut all| all[id.index()].take()).ok().flatten();
            let core = Core::new(id, node, config);
            // Before it accepts: who comes over TLS while the others start is to find it.
            tls.into_iter().for_each(|configs| core.certify(configs));
            core_main(core, own.unwrap_or_default(), demo).await;
        }
    };
    shard::launch(&host.cores, node.health.alarms(), ended, main).map_err(Error::Launch)
}

async fn core_main(core: Rc<Core>, doors: Vec<Door>, demo: bool) {
    core.start();
    doors.into_iter().for_each(|door| core.open(door));
    if demo {
        demo::start(&core);
    }
    core.stopped().await;
    core.say_ends().await;
    core.close_doors();
}

fn bind(backlog: u32, listening: &Listening) -> Result<Vec<Door>, Error> {
    let bind = |place: Place| {
        let door = bind_door(place, listening, backlog);
        door.map_err(|error| Error::Bind { address: place.address, error })
    };
    listening.media().map(bind).collect()
}

/// The sockets of the API, or of the metrics. Inside a runtime.
fn listen_admin(
    all: &[admin::Place],
    backlog: u32,
) -> Result<Vec<(admin::Place, TcpListener)>, Error> {
    let bind = |&place: &admin::Place| match bind_admin(place, all, backlog) {
        Ok(socket) => Ok((place, socket)),
        Err(error) => Err(Error::Bind { address: place.address, error }),
    };
    all.iter().map(bind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_ends_unasked_ends_the_program_with_its_name() {
        let (ended, mut ends) = mpsc::unbounded_channel();
        ended.send(CoreEnded { core: CoreId(3), panicked: true }).expect("the other end is there");
        let mut log = log::start(&crate::config::Log::default()).expect("no file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let end = runtime.expect("a runtime").block_on(async {
            let mut signals = Signals::listen().expect("signals");
            let node = Arc::new(Node::new(Mesh::new(1, 16)));
            let operator = operator(&node, log.handle());
            control(&operator, (None, &mut signals), &mut ends, &mut log, &node).await
        });
        let error = end.expect_err("it did not end by itself");
        assert_eq!(
            error.to_string(),
            "core 3 died; its streams are lost, so the whole process ends"
        );
    }

    #[tokio::test(flavor = "current_thread")]
    async fn cores_stop_though_one_inbox_was_full_and_another_core_has_died() {
        let node = Arc::new(Node::new(Mesh::new(3, 16)));
        while node.mesh.try_tell(CoreId(0), Tell::Order(Order::Stop)).is_ok() {}
        let (ended, mut ends) = mpsc::unbounded_channel();
        for (core, stops_before) in [(CoreId(0), 16), (CoreId(1), 0)] {
            let (node, ended) = (Arc::clone(&node), ended.clone());
            tokio::spawn(async move {
                // The one that was full has heard others before ours.
                for _ in 0..=stops_before {
                    assert!(matches!(node.mesh.receive(core).await, Tell::Order(Order::Stop)));
                }
                ended.send(CoreEnded { core, panicked: false })
            });
        }
        stop(&node, vec![CoreId(0), CoreId(1)], &mut ends).await;
        drop(ended);
        assert_eq!(ends.recv().await.map(|end| end.core), None, "both were waited for");
    }

    /// Of a node that listens nowhere.
    fn operator(node: &Arc<Node>, log: log::Handle) -> Operator {
        let (configuration, in_force) = watch::channel(Arc::default());
        let (token, _) = watch::channel(None);
        let listeners = Listeners::new(Arc::clone(node), &Listening::default());
        let listeners = Arc::new(tokio::sync::Mutex::new(listeners));
        let (its_node, its_listeners) = (Arc::clone(node), Arc::clone(&listeners));
        let drain = Drain::new(its_node, its_listeners, in_force.clone(), Bulletin::new());
        let notify = Arc::new(Notify::new());
        let shown = Shown::new(Arc::clone(node), None);
        let node = Arc::clone(node);
        let reload =
            Reload::new(node, listeners, configuration, token, shown, Arc::clone(&notify), log);
        Operator { drain: Arc::new(drain), reload: Arc::new(reload), notify, in_force }
    }
}
