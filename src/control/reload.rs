//! The configuration, read again while the node runs: on SIGHUP, and when the API is asked to.
//!
//! What is read is checked as at the start, new listeners are bound, and only then anything changes:
//! a file that is wrong changes nothing. Connections stay through all of it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{Mutex, watch};
use utoipa::ToSchema;

use super::admin::Token;
use super::cores::{ANSWER_WITHIN, ask_all, silent};
use super::listeners::Listeners;
use super::notify::Notify;
use super::{log, start_checks, tls};
use crate::config::Config;
use crate::net::TlsConfigs;
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
    notify: Arc<Notify>,
    log: log::Handle,
    /// One at a time.
    turn: Mutex<()>,
}

/// What cannot change while the process runs: its key, and how to keep what is in force.
type Fixed = (&'static str, fn(&mut Config, &Config));

const FIXED: [Fixed; 12] = [
    ("admin.metrics_listen", |new, old| {
        new.admin.metrics_listen.clone_from(&old.admin.metrics_listen);
    }),
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
    /// For what `in_force` and `token` hold now.
    pub(crate) fn new(
        source: Option<Source>,
        node: Arc<Node>,
        listeners: Arc<Mutex<Listeners>>,
        in_force: watch::Sender<Arc<Config>>,
        token: watch::Sender<Option<Arc<Token>>>,
        notify: Arc<Notify>,
        log: log::Handle,
    ) -> Self {
        let turn = Mutex::default();
        Self { source, node, listeners, in_force, token, notify, log, turn }
    }

    /// Reads, checks, compares and applies, and says so in the log.
    pub(crate) async fn reload(&self) -> Reloaded {
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
        let (read, old) = (Arc::clone(read), Arc::clone(&self.in_force.borrow()));
        let mut listeners = self.listeners.lock().await;
        let own = listeners.addresses();
        // Files and ports may be waited for.
        let checked = tokio::task::spawn_blocking(move || check(&read, &old, &own));
        let checked = checked.await.map_err(|error| vec![error.to_string()])??;
        let Checked { config, token, listening, certificates, mut reloaded } = checked;
        if *self.token.borrow() != token {
            let key = "admin.token_file".to_owned();
            let told = reloaded.applied.iter().any(|key| key.starts_with("admin.token"));
            reloaded.applied.extend(Some(key).filter(|_| !told));
        }
        let change = listeners.prepare(&listening, &config)?;
        let config = Arc::new(config);
        let configure = |_, asker| Order::Configure(Arc::clone(&config), asker);
        let late = silent(&ask_all(&self.node, ANSWER_WITHIN, configure).await);
        if let Some(certificates) = certificates {
            tls::certify(&self.node.mesh, &certificates);
        }
        let late = late.or(listeners.apply(change).await);
        reloaded.problems.extend(late.map(|who| format!("{who}: it changes as soon as it does")));
        if reloaded.applied.iter().any(|key| key == "log.level")
            && let Err(error) = self.log.set_level(&config.log.level)
        {
            reloaded.problems.push(format!("log.level: {error}"));
        }
        self.token.send_replace(token);
        self.in_force.send_replace(config);
        Ok(reloaded)
    }
}

/// A configuration that may be applied.
struct Checked {
    config: Config,
    token: Option<Arc<Token>>,
    listening: start_checks::Listening,
    /// None if none are named: then those of before go on.
    certificates: Option<TlsConfigs>,
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
    let certificates = tls::load(&config.tls).map_err(|error| problems.push(error.to_string()));
    match (token, listening, certificates) {
        (Ok(token), Ok(listening), Ok(certificates)) => {
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

    #[test]
    fn what_cannot_change_is_named_and_keeps_its_value() {
        let quiet = "rtmp.enabled = false\nhttp.enabled = false\nadmin.enabled = false\n";
        let old = config(quiet);
        let new = format!(
            "{quiet}cores = 1\nlimits.connections = 9\nlimits.mesh_queue = 64\n\
             limits.reserved_fds = 70\nlog.format = 'json'\nlog.file = '/x'\nlog.keep = 1\nlog.rotate = 'never'\n\
             log.rotate_bytes = 0\nadmin.metrics_listen = ['127.0.0.1:9']\nadmin.token = '0123456789abcdef'\n\
             log.queue_lines = 9\ntcp.backlog = 9\nrtmp.chunk_size = 4096\n\
             app.new.gop_cache = false"
        );
        let read: Arc<Read> = Arc::new(move || Ok(config(&new)));
        let Checked { config, reloaded, .. } = check(&read, &old, &[]).expect("it is right");
        let fixed = FIXED.map(|(key, _)| key.to_owned());
        assert_eq!(reloaded.needs_restart, fixed);
        assert_eq!(reloaded.applied, ["admin.token", "app.new", "rtmp.chunk_size"]);
        assert_eq!(old.changed(&config), reloaded.applied);
    }
}
