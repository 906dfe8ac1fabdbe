//! Builds the program from a configuration and waits for its end.
//!
//! The calling thread becomes the control thread; each core is a thread of its own, started
//! before anything else.

mod demo;
pub mod sign;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Config;
use crate::control::BadToken;
use crate::control::admin::{self, Admin, Token};
use crate::control::ask::{self, Answerer};
use crate::control::drain::{self, Drain};
use crate::control::events::Bulletin;
use crate::control::hooks::Hooks;
use crate::control::listeners::{Listeners, bind_admin, bind_door};
use crate::control::log::{self, Log};
use crate::control::metrics::Metrics;
use crate::control::notify::Notify;
use crate::control::reload::{Reload, Source};
use crate::control::start_checks::{self, Host, Listening, StartError};
use crate::control::stats;
use crate::control::tls::{self, TlsError};
use crate::control::view::View;
use crate::net::Alarm;
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
    let tls = tls::load(&config.tls)?;
    let config = Arc::new(config.clone());
    let (configuration, in_force) = watch::channel(Arc::clone(&config));
    let hooks = Hooks::new(in_force.clone(), Arc::clone(&events));
    let asks_always = options.answerer.is_some();
    let (ask, desk) = ask::desk(&mesh, Arc::clone(&events), hooks.after(options.answerer));
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // They look up names.
        .max_blocking_threads(16)
        .build()
        .map_err(Error::Control)?;
    let (signals, sockets, for_metrics) = {
        let _inside = runtime.enter();
        // Heard from before the first connection on: a signal without an ear kills. Who asks the API
        // as soon as media is served waits to be accepted.
        let signals = Signals::listen().map_err(Error::Control)?;
        let sockets = listen_admin(&host.admin, config.tcp.backlog)?;
        (signals, sockets, listen_admin(&host.metrics, config.tcp.backlog)?)
    };
    let (ended, mut ends) = mpsc::unbounded_channel();
    let alarms: Vec<_> = host.cores.iter().map(|_| Arc::new(Alarm::default())).collect();
    // Each ring registers a small buffer, and the kernel charges the whole page it lies in to the
    // limit of locked memory: a huge one would use it up. They stay off: with them a heap holds
    // 2 MiB where it uses a few KiB, and memory does not come back when viewers leave.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
    launch(&node, &config, &host, &alarms, options.demo, ended)?;
    tracing::info!(cores = ?host.cores, rtmp = ?host.rtmp, rtmps = ?host.rtmps, http = ?host.http, https = ?host.https, admin = ?host.admin,
        connections = host.connections, "listening");
    if options.demo {
        print!("{}", demo::welcome(&host));
    }
    let (token, tokens) = watch::channel(token);
    runtime.spawn(stats::log(Arc::clone(&node), in_force.clone()));
    if let Some(configs) = &tls {
        tls::certify(&node.mesh, configs);
    }
    runtime.spawn(tls::watch(in_force.clone(), Arc::clone(&node.mesh)));
    let bulletin = Bulletin::new();
    let hears = hooks.clone();
    runtime.spawn(bulletin.clone().run(heard, move |event| hears.hear(event)));
    let listeners = Listeners::new(Arc::clone(&node), &host.listening());
    let listeners = Arc::new(tokio::sync::Mutex::new(listeners));
    let notify = Arc::new(Notify::new());
    let drain = Drain::new(Arc::clone(&node), Arc::clone(&listeners), in_force.clone());
    let drain = Arc::new(drain);
    let reload = Arc::new(Reload::new(
        options.source,
        Arc::clone(&node),
        Arc::clone(&listeners),
        configuration,
        token,
        Arc::clone(&notify),
        log.handle(),
    ));
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
        metrics: Arc::new(Metrics::new(hooks.clone())),
        since: began,
    };
    let admin = Arc::new(admin);
    {
        let _inside = runtime.enter();
        for (_, socket) in for_metrics {
            admin::Server::of_metrics(Arc::clone(&admin)).serve(socket);
        }
        let mut listeners = listeners.try_lock().expect("nobody else runs yet");
        listeners.serve(admin::Server::new(admin, tokens), sockets);
        hooks.start(Arc::clone(&node));
    }
    runtime.spawn(Arc::clone(&notify).run(Arc::clone(&node), drain.watch()));
    runtime.spawn(desk.run());
    let operator = Operator { drain, reload, notify: Arc::clone(&notify), in_force };
    let told = (options.stop, signals);
    let reason = runtime.block_on(control(&operator, told, &mut ends, &mut log, (&node, &alarms)));
    let reason = match reason {
        Ok(reason) => reason,
        Err(error) => {
            tracing::error!(%error, "stopping");
            return Err(error);
        }
    };
    notify.stopping(STOP_TIMEOUT);
    tracing::info!(reason, "stopping");
    for core in 0..node.mesh.cores() {
        let core = CoreId(u16::try_from(core).expect("fewer than 2^16 cores"));
        // A core whose inbox stays full is stopped by the end of the process.
        drop(node.mesh.try_tell(core, Tell::Order(Order::Stop)));
    }
    runtime.block_on(wait_for(node.mesh.cores(), &mut ends));
    runtime.block_on(hooks.finish());
    // Not for a name that is being looked up.
    runtime.shutdown_background();
    Ok(())
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
    (stop, mut signals): (Option<oneshot::Receiver<()>>, Signals),
    ends: &mut mpsc::UnboundedReceiver<CoreEnded>,
    log: &mut Log,
    (node, alarms): (&Node, &[Arc<Alarm>]),
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
                ring(alarms);
                node.health.ask(&node.mesh, Instant::now());
            }
        }
    }
}

fn ring(alarms: &[Arc<Alarm>]) {
    let now = Instant::now();
    for (core, alarm) in alarms.iter().enumerate() {
        if let Some(late) = alarm.ring(now) {
            tracing::warn!(core, ?late, "slept past its deadline, and was woken");
        }
    }
}

/// A core that does not end in this time is left to the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

async fn wait_for(cores: usize, ends: &mut mpsc::UnboundedReceiver<CoreEnded>) {
    let all = async {
        for _ in 0..cores {
            ends.recv().await;
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
    alarms: &[Arc<Alarm>],
    demo: bool,
    ended: mpsc::UnboundedSender<CoreEnded>,
) -> Result<(), Error> {
    let listening = host.listening();
    let sockets = host.cores.iter().map(|_| bind(config.tcp.backlog, &listening).map(Some));
    // Each core takes its own, once; the lock is never waited for.
    let sockets = Arc::new(Mutex::new(sockets.collect::<Result<Vec<_>, _>>()?));
    let (node, config) = (Arc::clone(node), Arc::clone(config));
    let ended = move |end| {
        // Nobody listens any more when the process is ending anyway.
        let _ = ended.send(end);
    };
    let main = move |id: CoreId| {
        let (node, config) = (Arc::clone(&node), Arc::clone(&config));
        let sockets = Arc::clone(&sockets);
        async move {
            let own = sockets.lock().map(|mut all| all[id.index()].take()).ok().flatten();
            core_main(Core::new(id, node, config), own.unwrap_or_default(), demo).await;
        }
    };
    shard::launch(&host.cores, alarms, ended, main).map_err(Error::Launch)
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

/// The sockets of the API, inside a runtime.
fn listen_admin(
    addresses: &[SocketAddr],
    backlog: u32,
) -> Result<Vec<(SocketAddr, TcpListener)>, Error> {
    let bind = |&address: &SocketAddr| match bind_admin(address, addresses, backlog) {
        Ok(socket) => Ok((address, socket)),
        Err(error) => Err(Error::Bind { address, error }),
    };
    addresses.iter().map(bind).collect()
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
            let signals = Signals::listen().expect("signals");
            let node = Arc::new(Node::new(Mesh::new(1, 16)));
            let operator = operator(&node, log.handle());
            control(&operator, (None, signals), &mut ends, &mut log, (&node, &[])).await
        });
        let error = end.expect_err("it did not end by itself");
        assert_eq!(
            error.to_string(),
            "core 3 died; its streams are lost, so the whole process ends"
        );
    }

    /// Of a node that listens nowhere.
    fn operator(node: &Arc<Node>, log: log::Handle) -> Operator {
        let (configuration, in_force) = watch::channel(Arc::default());
        let (token, _) = watch::channel(None);
        let listeners = Listeners::new(Arc::clone(node), &Listening::default());
        let listeners = Arc::new(tokio::sync::Mutex::new(listeners));
        let drain = Drain::new(Arc::clone(node), Arc::clone(&listeners), in_force.clone());
        let notify = Arc::new(Notify::new());
        let node = Arc::clone(node);
        let reload =
            Reload::new(None, node, listeners, configuration, token, Arc::clone(&notify), log);
        Operator { drain: Arc::new(drain), reload: Arc::new(reload), notify, in_force }
    }
}
