//! The configuration, read again while the node runs: on SIGHUP, and when the API is asked to.
//!
//! What is read is checked as at the start, new listeners are bound, and only then anything changes:
//! a file that is wrong changes nothing. Connections stay through all of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, Semaphore, oneshot, watch};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::admin::Token;
use super::cores::{ANSWER_WITHIN, ask_all, silent};
use super::hooks::check_authorities;
use super::listeners::Listeners;
use super::notify::Notify;
use super::tls::Shown;
use super::{log, start_checks, tls};
use crate::config::Config;
use crate::serve::core::Node;
use crate::serve::order::Order;

/// Reads the configuration from where it came at the start.
pub struct Source(Arc<Read>);

type Read = dyn Fn() -> Result<Config, Vec<String>> + Send + Sync;

impl Source {
    /// `read` answers with a checked configuration, or with everything that is wrong with it.
    pub fn new(read: impl Fn() -> Result<Config, Vec<String>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Reloaded {
    /// Keys that hold from now on.
    pub(crate) applied: Vec<String>,
    /// Keys that have changed, and keep their old value until the process is started anew.
    pub(crate) needs_restart: Vec<String>,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
}

impl Reloaded {
    /// Nothing has changed, because of `problems`.
    pub(crate) fn is_refused(&self) -> bool {
        let Self { applied, needs_restart, problems } = self;
        !problems.is_empty() && applied.is_empty() && needs_restart.is_empty()
    }
}

/// The configuration in force, and the way to another.
#[derive(Debug)]
pub(crate) struct Reload {
    source: Option<Source>,
    node: Arc<Node>,
    listeners: Arc<Mutex<Listeners>>,
    in_force: watch::Sender<Arc<Config>>,
    token: watch::Sender<Option<Arc<Token>>>,
    shown: Shown,
    notify: Arc<Notify>,
    log: log::Handle,
    /// One at a time.
    turn: Mutex<()>,
    /// For that one, and for those that wait for their turn.
    room: Semaphore,
    /// Places for threads that read, of which some may have been given up.
    readers: Arc<Semaphore>,
}

/// A file that has not come by then is given up.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// So many may wait until one is done. Each of them reads what was written before it was asked for.
const WAITING_MAX: usize = 4;
/// So many threads may read, also for nobody any more.
const READERS_MAX: usize = 8;

/// What cannot change while the process runs: its key, and how to keep what is in force.
type Fixed = (&'static str, fn(&mut Config, &Config));

const FIXED: [Fixed; 11] = [
    ("cores", |new, old| new.cores.clone_from(&old.cores)),
    ("limits.connections", |new, old| new.limits.connections = old.limits.connections),
    ("limits.mesh_queue", |new, old| new.limits.mesh_queue = old.limits.mesh_queue),
    ("limits.reserved_fds", |new, old| new.limits.reserved_fds = old.limits.reserved_fds),
    ("log.file", |new, old| new.log.file.clone_from(&old.log.file)),
    ("log.format", |new, old| new.log.format = old.log.format),
    ("log.keep", |new, old| new.log.keep = old.log.keep),
    ("log.queue_lines", |new, old| new.log.queue_lines = old.log.queue_lines),
    ("log.rotate", |new, old| new.log.rotate = old.log.rotate),
    ("log.rotate_bytes", |new, old| new.log.rotate_bytes = old.log.rotate_bytes),
    ("tcp.backlog", |new, old| new.tcp.backlog = old.tcp.backlog),
];

impl Reload {
    /// For what `in_force` and `token` hold now; there is nothing to read yet.
    pub(crate) fn new(
        node: Arc<Node>,
        listeners: Arc<Mutex<Listeners>>,
        in_force: watch::Sender<Arc<Config>>,
        token: watch::Sender<Option<Arc<Token>>>,
        shown: Shown,
        notify: Arc<Notify>,
        log: log::Handle,
    ) -> Self {
        let (source, turn) = (None, Mutex::default());
        let room = Semaphore::new(1 + WAITING_MAX);
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        Self { source, node, listeners, in_force, token, shown, notify, log, turn, room, readers }
    }

    /// It is read from `source`.
    pub(crate) fn from(self, source: Option<Source>) -> Self {
        Self { source, ..self }
    }

    /// Reads, checks, compares and applies, and says so in the log. To be polled to its end: half of
    /// it must not be done.
    pub(crate) async fn reload(&self) -> Reloaded {
        let Ok(_place) = self.room.try_acquire() else {
            let problem = format!("{WAITING_MAX} wait already until the one before them is done");
            tracing::error!("reload: {problem}");
            return Reloaded { problems: vec![problem], ..Reloaded::default() };
        };
        let _turn = self.turn.lock().await;
        self.notify.reloading();
        // It may be what somebody who has moved the file away has sent a signal for.
        self.log.reopen();
        let reloaded = self
            .try_reload()
            .await
            .unwrap_or_else(|problems| Reloaded { problems, ..Reloaded::default() });
        self.notify.ready();
        let Reloaded { applied, needs_restart, problems } = &reloaded;
        for problem in problems {
            tracing::error!("reload: {problem}");
        }
        if !needs_restart.is_empty() {
            tracing::warn!(keys = ?needs_restart, "reload: these keep their old value until a restart");
        }
        match (&applied[..], &problems[..]) {
            ([], []) => tracing::info!("reload: nothing else has changed"),
            ([], _) => tracing::error!("reload: nothing was changed"),
            _ => tracing::info!(keys = ?applied, "reload: applied"),
        }
        reloaded
    }

    async fn try_reload(&self) -> Result<Reloaded, Vec<String>> {
        let Some(Source(read)) = &self.source else {
            return Err(vec!["there is no file to reload: none was named at the start".to_owned()]);
        };
        let (checked, mut listeners) = loop {
            let (read, old) = (Arc::clone(read), Arc::clone(&self.in_force.borrow()));
            let own = self.listeners.lock().await.addresses();
            let ours = own.clone();
            let check = move || check(&read, &old, &ours);
            let checked = on_a_thread(&self.readers, READ_WITHIN, check).await?;
            // A drain does not wait for a file. If one has opened or closed doors meanwhile, ports that
            // seem to be taken may be our own.
            let listeners = self.listeners.lock().await;
            if listeners.addresses() == own {
                break (checked?, listeners);
            }
        };
        let Checked { config, token, listening, certificates, mut reloaded } = checked;
        if config.admin.enabled && *self.token.borrow() != token {
            let key = "admin.token_file".to_owned();
            let told = reloaded.applied.iter().any(|key| key.starts_with("admin.token"));
            reloaded.applied.extend(Some(key).filter(|_| !told));
        }
        if let Some(certificates) = &certificates {
            let shown = Arc::clone(&self.shown.certificates().borrow());
            let dates = certificates.check_dates(&shown, std::time::SystemTime::now());
            dates.map_err(|error| vec![error.to_string()])?;
        }
        let change = listeners.prepare(&listening, &config)?;
        let config = Arc::new(config);
        let configure = |_, asker| Order::Configure(Arc::clone(&config), asker);
        let mut late = silent(&ask_all(&self.node, ANSWER_WITHIN, configure).await);
        if let Some(certificates) = certificates {
            late = late.or(self.shown.certify(certificates).await.err());
        }
        let again =
            |who| format!("{who}: it changes as soon as it does; if it has not, reload again");
        reloaded.problems.extend(late.map(again));
        // Before there are doors that need it.
        if token.is_some() {
            self.token.send_replace(token.clone());
        }
        let late = listeners.apply(change).await;
        // Only when those are closed that needed one. Without the API it stays: somebody may still be
        // connected.
        if token.is_none() && config.admin.enabled {
            self.token.send_replace(None);
        }
        let anew = |who| {
            format!("{who}: it listens elsewhere as soon as it does; if it never does, start anew")
        };
        reloaded.problems.extend(late.map(anew));
        if reloaded.applied.iter().any(|key| key == "log.level")
            && let Err(error) = self.log.set_level(&config.log.level)
        {
            reloaded.problems.push(format!("log.level: {error}"));
        }
        self.in_force.send_replace(config);
        Ok(reloaded)
    }
}

/// Does `work`, for which files and ports may be waited for, on a thread of its own: those of the
/// runtime may all be busy with names that nobody resolves. What is not done `within` that time is
/// left to its thread, which has a place of `readers` until then.
async fn on_a_thread<T: Send + 'static>(
    readers: &Arc<Semaphore>,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Vec<String>> {
    let Ok(place) = Arc::clone(readers).try_acquire_owned() else {
        let still = "reloads that were given up still read: does the file system answer?";
        return Err(vec![format!("{READERS_MAX} {still}")]);
    };
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("reload".to_owned());
    let work = move || {
        let result = work();
        drop(place);
        // Err: nobody waits for it any more.
        drop(done.send(result));
    };
    thread.spawn(work).map_err(|error| vec![format!("no thread to read it: {error}")])?;
    match timeout(within, result).await {
        Ok(result) => result.map_err(|_| vec!["it could not be read: see the log".to_owned()]),
        Err(_) => Err(vec![format!(
            "after {within:?} the file, or one that it names, was not read to its end: does the file \
             system answer?"
        )]),
    }
}

/// A configuration that may be applied.
struct Checked {
    config: Config,
    token: Option<Arc<Token>>,
    listening: start_checks::Listening,
    /// None if none are named: then those of before go on.
    certificates: Option<tls::Loaded>,
    reloaded: Reloaded,
}

/// Reads and checks all that can be checked without touching anything. `own` are addresses that we
/// listen on.
fn check(
    read: &Arc<Read>,
    old: &Config,
    own: &[std::net::SocketAddr],
) -> Result<Checked, Vec<String>> {
    let mut config = read()?;
    let mut reloaded = Reloaded::default();
    for key in old.changed(&config) {
        match FIXED.iter().find(|(fixed, _)| *fixed == key) {
            None => reloaded.applied.push(key),
            Some((_, keep)) => {
                keep(&mut config, old);
                reloaded.needs_restart.push(key);
            }
        }
    }
    let mut problems = Vec::new();
    let token = Token::of(&config.admin).map_err(|error| problems.push(error.to_string()));
    let listening = start_checks::listening(&config, own);
    let listening = listening.map_err(|failures| {
        problems.extend(failures.iter().map(ToString::to_string));
    });
    // What is in use stays so, whatever has become of it.
    let directories = start_checks::directories(&config, Some(old));
    let is_writable = directories.is_empty();
    problems.extend(directories.iter().map(ToString::to_string));
    let certificates = tls::load(&config.tls).map_err(|error| problems.push(error.to_string()));
    let authorities = check_authorities(&config.hooks).map_err(|error| problems.push(error));
    match (token, listening, certificates, authorities) {
        (Ok(token), Ok(listening), Ok(certificates), Ok(())) if is_writable => {
            let token = token.map(Arc::new);
            Ok(Checked { config, token, listening, certificates, reloaded })
        }
        _ => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::load(text, "test", []).expect("valid")
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_file_that_does_not_come_is_given_up_and_the_next_is_read() {
        let readers = Arc::new(Semaphore::new(2));
        let (comes, file) = std::sync::mpsc::channel::<()>();
        let short = Duration::from_millis(50);
        let problems = on_a_thread(&readers, short, move || file.recv()).await.expect_err("hung");
        assert!(problems[0].starts_with("after 50ms the file, or one"), "{problems:?}");
        let read = |within| on_a_thread(&readers, within, || 7);
        assert_eq!(read(READ_WITHIN).await, Ok(7));
        // The hung one has its place; more than there are have none.
        let other = Arc::clone(&readers).try_acquire_owned().expect("the other's is free");
        let problems = read(READ_WITHIN).await.expect_err("no place");
        assert!(problems[0].contains("still read"), "{problems:?}");
        drop(other);
        drop(comes);
        let all = readers.acquire_many(2).await;
        drop(all.expect("the thread has ended"));
    }

    #[test]
    fn what_cannot_change_is_named_and_keeps_its_value() {
        let quiet = "rtmp.enabled = false\nhttp.enabled = false\nadmin.enabled = false\n";
        let old = config(quiet);
        let new = format!(
            "{quiet}cores = 1\nlimits.connections = 9\nlimits.mesh_queue = 64\n\
             limits.reserved_fds = 70\nlog.format = 'json'\nlog.file = '/x'\nlog.keep = 1\nlog.rotate = 'never'\n\
             log.rotate_bytes = 0\nadmin.metrics_streams_max = 9\nadmin.token = '0123456789abcdef'\n\
             log.queue_lines = 9\ntcp.backlog = 9\nrtmp.chunk_size = 4096\n\
             app.new.gop_cache = false"
        );
        let read: Arc<Read> = Arc::new(move || Ok(config(&new)));
        let Checked { config, reloaded, .. } = check(&read, &old, &[]).expect("it is right");
        let fixed = FIXED.map(|(key, _)| key.to_owned());
        assert_eq!(reloaded.needs_restart, fixed);
        assert_eq!(
            reloaded.applied,
            ["admin.metrics_streams_max", "admin.token", "app.new", "rtmp.chunk_size"]
        );
        assert_eq!(old.changed(&config), reloaded.applied);
    }

    /// The reference marks a key by a word in the comment above it.
    #[test]
    fn the_keys_marked_restart_are_those_that_cannot_change() {
        let (mut marked, mut section, mut comment) = (Vec::new(), "", String::new());
        for line in include_str!("../../config/corecast.toml").lines() {
            if let Some(text) = line.strip_prefix('#') {
                comment.push_str(text);
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if let Some((key, _)) = line.split_once(" = ")
                && comment.contains("(restart)")
            {
                let dot = if section.is_empty() { "" } else { "." };
                marked.push(format!("{section}{dot}{key}"));
            }
            comment.clear();
        }
        marked.sort();
        assert_eq!(marked, FIXED.map(|(key, _)| key));
    }
}
