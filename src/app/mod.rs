//! Builds the program from a configuration and waits for its end.
//!
//! The calling thread becomes the control thread; each core is a thread of its own, started
//! before anything else.

mod demo;
pub mod sign;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{self, Config, Secret};
use crate::control::admin::{self, Admin, Token};
use crate::control::ask::{self, Answerer, Desk};
use crate::control::events::{self, Bulletin};
use crate::control::hooks::Hooks;
use crate::control::log::{self, Log};
use crate::control::metrics::Metrics;
use crate::control::start_checks::{self, Host, StartError};
use crate::control::stats;
use crate::control::tls::{self, TlsError};
use crate::control::view::View;
use crate::net::{self, Alarm, Listener, rt};
use crate::serve::access::Census;
use crate::serve::core::{Core, Node};
use crate::serve::event::Events;
use crate::serve::order::Order;
use crate::serve::verdict::Protocol;
use crate::serve::{Mesh, Tally, accept};
use crate::shard::{self, CoreEnded, CoreId, Tell};

/// What the caller asks for besides the configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// Publish the built-in clip in a loop.
    pub demo: bool,
    /// Asked before anyone may connect, publish or play; without one the configuration decides.
    pub answerer: Option<Arc<dyn Answerer>>,
    /// Ends the program when it is sent to or dropped, as SIGTERM does.
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
    #[error("admin.{key}: {cause}")]
    Token {
        /// Where it stands.
        key: &'static str,
        /// What is wrong with it.
        cause: String,
    },
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

/// Runs until SIGTERM, SIGINT or [`Options::stop`].
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
    let token = token(&config.admin)?;
    let tls = tls::load(&config.tls)?;
    let config = Arc::new(config.clone());
    let (_configuration, in_force) = watch::channel(Arc::clone(&config));
    let hooks = Hooks::new(in_force.clone(), Arc::clone(&events));
    let asks_always = options.answerer.is_some();
    let (ask, desk) = ask::desk(&mesh, Arc::clone(&events), hooks.after(options.answerer));
    let node = Arc::new(Node {
        connections_max: host.connections,
        refusals_max: host.refusals,
        ask: Some(Arc::new(ask)),
        asks_always,
        events,
        rtmp_port: host.rtmp.first().map_or(1935, SocketAddr::port),
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
    // Heard from before the first connection on: a signal without an ear kills.
    let signals = {
        let _inside = runtime.enter();
        Signals::listen().map_err(Error::Control)?
    };
    let (ended, mut ends) = mpsc::unbounded_channel();
    let alarms: Vec<_> = host.cores.iter().map(|_| Arc::new(Alarm::default())).collect();
    // Each ring registers a small buffer, and the kernel charges the whole page it lies in to the
    // limit of locked memory: a huge one would use it up. They stay off: with them a heap holds
    // 2 MiB where it uses a few KiB, and memory does not come back when viewers leave.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "huge pages stay on");
    }
    // Before the first connection on too: whoever is served can look who serves.
    let sockets = listen(&host.admin, config.tcp.backlog)?;
    let for_metrics = listen(&host.metrics, config.tcp.backlog)?;
    launch(&node, &config, &host, &alarms, options.demo, ended)?;
    tracing::info!(cores = ?host.cores, rtmp = ?host.rtmp, rtmps = ?host.rtmps, http = ?host.http, https = ?host.https, admin = ?host.admin,
        connections = host.connections, "listening");
    if options.demo {
        print!("{}", demo::welcome(&host));
    }
    runtime.spawn(stats::log(Arc::clone(&node), config.log.stats_interval));
    if let Some(configs) = &tls {
        tls::certify(&node.mesh, configs);
        runtime.spawn(tls::watch(config.tls.clone(), Arc::clone(&node.mesh)));
    }
    let bulletin = Bulletin::new();
    let hears = hooks.clone();
    runtime.spawn(bulletin.clone().run(heard, move |event| hears.hear(event)));
    let admin = Admin {
        bulletin,
        view: View::new(Arc::clone(&node)),
        node: Arc::clone(&node),
        config: in_force,
        blocks: Default::default(),
        host,
        log: log.handle(),
        metrics: Arc::new(Metrics::new(hooks.clone())),
        since: began,
    };
    let admin = Arc::new(admin);
    {
        let _inside = runtime.enter();
        admin::serve_metrics(for_metrics, Arc::clone(&admin)).map_err(Error::Control)?;
        admin::serve(sockets, admin, token).map_err(Error::Control)?;
        hooks.start(Arc::clone(&node));
    }
    let reason = runtime.block_on(control(
        Some(desk),
        (options.stop, signals),
        &mut ends,
        &mut log,
        (&node, &alarms),
    ));
    let reason = match reason {
        Ok(reason) => reason,
        Err(error) => {
            tracing::error!(%error, "stopping");
            return Err(error);
        }
    };
    tracing::info!(reason, "stopping");
    for core in 0..node.mesh.cores() {
        let core = CoreId(u16::try_from(core).expect("fewer than 2^16 cores"));
        // A core whose inbox stays full is stopped by the end of the process.
        drop(node.mesh.try_tell(core, Tell::Order(Order::Stop)));
    }
    runtime.block_on(wait_for(node.mesh.cores(), &mut ends));
    runtime.block_on(async {
        events::end_all(&node.events).await;
        hooks.finish().await;
    });
    // Not for a name that is being looked up.
    runtime.shutdown_background();
    Ok(())
}

/// Events that may wait for the control thread.
const EVENT_QUEUE: usize = 65_536;

/// The signals that end the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Inside a runtime.
    fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }
}

/// The control thread's life. Answers with why it ended.
async fn control(
    desk: Option<Desk>,
    (stop, mut signals): (Option<oneshot::Receiver<()>>, Signals),
    ends: &mut mpsc::UnboundedReceiver<CoreEnded>,
    log: &mut Log,
    (node, alarms): (&Node, &[Arc<Alarm>]),
) -> Result<&'static str, Error> {
    if let Some(desk) = desk {
        tokio::spawn(desk.run());
    }
    let told = async {
        match stop {
            Some(stop) => drop(stop.await),
            None => std::future::pending().await,
        }
    };
    tokio::pin!(told);
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok("SIGTERM"),
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

/// The sockets one core listens on: what is spoken, and whether over TLS.
type Sockets = Vec<(OwnedFd, Protocol, bool)>;

fn launch(
    node: &Arc<Node>,
    config: &Arc<Config>,
    host: &Host,
    alarms: &[Arc<Alarm>],
    demo: bool,
    ended: mpsc::UnboundedSender<CoreEnded>,
) -> Result<(), Error> {
    let sockets = host.cores.iter().map(|_| bind(config.tcp.backlog, host).map(Some));
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

async fn core_main(core: Rc<Core>, sockets: Sockets, demo: bool) {
    core.start();
    let config = core.config();
    let tcp = &config.tcp;
    let mut listeners = Vec::new();
    for (socket, protocol, secure) in sockets {
        let listener = Rc::new(Listener::new(socket, tcp.keepalive, tcp.user_timeout));
        rt::spawn(accept::run(Rc::clone(&core), Rc::clone(&listener), protocol, secure));
        listeners.push(listener);
    }
    if demo {
        demo::start(&core);
    }
    core.stopped().await;
    for listener in listeners {
        if let Err(error) = listener.close() {
            tracing::debug!(%error, "a listener was not closed");
        }
    }
}

fn bind(backlog: u32, host: &Host) -> Result<Sockets, Error> {
    let ports = [
        (&host.rtmp, Protocol::Rtmp, false),
        (&host.rtmps, Protocol::Rtmp, true),
        (&host.http, Protocol::Http, false),
        (&host.https, Protocol::Http, true),
    ];
    let mut sockets = Sockets::new();
    for (addresses, protocol, secure) in ports {
        let bound = listen(addresses, backlog)?;
        sockets.extend(bound.into_iter().map(|socket| (socket, protocol, secure)));
    }
    Ok(sockets)
}

fn listen(addresses: &[SocketAddr], backlog: u32) -> Result<Vec<OwnedFd>, Error> {
    let bind = |address: &SocketAddr| {
        let v6_only = config::v6_only(*address, addresses);
        let socket = net::bind(*address, v6_only, backlog);
        socket.map_err(|error| Error::Bind { address: *address, error })
    };
    addresses.iter().map(bind).collect()
}

/// What clients of the API must know.
fn token(admin: &config::Admin) -> Result<Option<Token>, Error> {
    let wrong = |key, cause: String| Error::Token { key, cause };
    if !admin.enabled || (admin.token.is_empty() && admin.token_file.is_empty()) {
        return Ok(None);
    }
    if admin.token_file.is_empty() {
        return Token::new(&admin.token).map(Some).map_err(|cause| wrong("token", cause));
    }
    let in_file = |cause| wrong("token_file", format!("{}: {cause}", admin.token_file));
    let text = std::fs::read_to_string(&admin.token_file);
    let text = text.map_err(|error| in_file(error.to_string()))?;
    Token::new(&Secret::from(text.trim().to_owned())).map(Some).map_err(in_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_ends_unasked_ends_the_program_with_its_name() {
        let (ended, mut ends) = mpsc::unbounded_channel();
        ended.send(CoreEnded { core: CoreId(3), panicked: true }).expect("the other end is there");
        let mut log = log::start(&config::Log::default()).expect("no file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let end = runtime.expect("a runtime").block_on(async {
            let signals = Signals::listen().expect("signals");
            let node = Node::new(Mesh::new(1, 16));
            control(None, (None, signals), &mut ends, &mut log, (&node, &[])).await
        });
        let error = end.expect_err("it did not end by itself");
        assert_eq!(
            error.to_string(),
            "core 3 died; its streams are lost, so the whole process ends"
        );
    }
}
