//! What the node listens on, and how that changes while it runs: sockets are bound here, and each
//! core is given its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::admin::{self, Place as AdminPlace};
use super::cores::{ANSWER_WITHIN, ask_all, silent};
use super::inputs;
use super::start_checks::Listening;
use crate::config::{Config, v6_only};
use crate::net;
use crate::serve::core::Node;
use crate::serve::doors::{Door, Place};
use crate::serve::order::Order;
use crate::serve::verdict::Protocol;

/// All listeners of the node.
#[derive(Debug)]
pub(crate) struct Listeners {
    node: Arc<Node>,
    api: Served,
    /// The metrics alone.
    metrics: Served,
    /// Those for media that are open, or would be if the node did not drain.
    media: Vec<Place>,
    /// Those for media are closed, because the node goes out of service.
    shut: bool,
}

/// Listeners of one server on the control thread.
#[derive(Debug)]
struct Served {
    /// Its table or key in the configuration.
    name: &'static str,
    /// The key that names a place of it.
    key: fn(AdminPlace) -> &'static str,
    /// None before [`Listeners::serve`].
    server: Option<admin::Server>,
    open: Vec<(AdminPlace, JoinHandle<()>)>,
}

/// The places that one is to have, and the sockets of those that it has not yet.
#[derive(Debug, Default)]
struct Wanted {
    places: Vec<AdminPlace>,
    sockets: Vec<(AdminPlace, TcpListener)>,
}

impl Served {
    fn new(name: &'static str, key: fn(AdminPlace) -> &'static str) -> Self {
        Self { name, key, server: None, open: Vec::new() }
    }

    fn places(&self) -> impl Iterator<Item = AdminPlace> {
        self.open.iter().map(|(place, _)| *place)
    }

    /// Binds those of `places` that it has not.
    fn prepare(&self, places: Vec<AdminPlace>, backlog: u32, problems: &mut Vec<String>) -> Wanted {
        let mut sockets = Vec::new();
        for &place in places.iter().filter(|place| !self.places().any(|open| open == **place)) {
            match bind_admin(place, &places, backlog) {
                Ok(socket) => sockets.push((place, socket)),
                Err(error) => {
                    problems.push(format!("{}: {}: {error}", (self.key)(place), place.address));
                }
            }
        }
        Wanted { places, sockets }
    }

    /// Closes and opens. Inside a runtime.
    async fn apply(&mut self, Wanted { places, sockets }: Wanted) {
        let name = self.name;
        let goes = |(place, _): &mut (AdminPlace, _)| !places.contains(place);
        for (AdminPlace { address, secure }, task) in self.open.extract_if(.., goes) {
            task.abort();
            // Its socket goes with it. Err: it was aborted.
            let _ = task.await;
            tracing::info!(%address, secure, "{name}: listens no more");
        }
        if let Some(server) = &self.server {
            for (place, socket) in sockets {
                let AdminPlace { address, secure } = place;
                tracing::info!(%address, secure, "{name}: listens");
                self.open.push((place, server.serve(socket, secure)));
            }
        }
    }
}

/// What is to be opened and closed. The new sockets are bound already, so that nothing of it can
/// fail.
#[derive(Debug)]
pub(crate) struct Change {
    media: Vec<Place>,
    /// For each core.
    opens: Vec<Vec<Door>>,
    closes: Vec<SocketAddr>,
    admin: Wanted,
    metrics: Wanted,
    inputs: inputs::Change,
}

/// What the control thread serves from the start: a server, and the sockets it begins with.
pub(crate) type Serves = (admin::Server, Vec<(AdminPlace, TcpListener)>);

impl Listeners {
    /// What the node began with: the cores have the sockets of `host` already.
    pub(crate) fn new(node: Arc<Node>, host: &Listening) -> Self {
        let (api, metrics) = (
            Served::new("admin", AdminPlace::key),
            Served::new("admin.metrics_listen", |_| "admin.metrics_listen"),
        );
        Self { node, media: host.media().collect(), api, metrics, shut: false }
    }

    /// Serves the API and the metrics, on the sockets that are given and on those that are added
    /// later. Inside a runtime.
    pub(crate) fn serve(&mut self, api: Serves, metrics: Serves) {
        for (served, (server, sockets)) in [(&mut self.api, api), (&mut self.metrics, metrics)] {
            let serve =
                |(place, socket): (AdminPlace, _)| (place, server.serve(socket, place.secure));
            served.open = sockets.into_iter().map(serve).collect();
            served.server = Some(server);
        }
    }

    /// The addresses that are ours.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let open = if self.shut { &[][..] } else { &self.media[..] };
        let media = open.iter().map(|place| place.address);
        let admin = self.api.places().chain(self.metrics.places());
        media.chain(admin.map(|place| place.address)).collect()
    }

    /// Binds what `wanted` has and we have not.
    ///
    /// # Errors
    /// What could not be bound; then nothing stays bound of it.
    pub(crate) fn prepare(
        &self,
        wanted: &Listening,
        config: &Config,
    ) -> Result<Change, Vec<String>> {
        let media: Vec<Place> = wanted.media().collect();
        let (mut problems, mut change) = (Vec::new(), self.nothing());
        let (old, new): (&[_], &[_]) = match self.shut {
            true => (&[], &[]),
            false => (&self.media, &media),
        };
        let gone = old.iter().filter(|place| !new.contains(place));
        change.closes = gone.map(|place| place.address).collect();
        for &place in new.iter().filter(|place| !old.contains(place)) {
            for doors in &mut change.opens {
                match bind_door(place, wanted, config.tcp.backlog) {
                    Ok(door) => doors.push(door),
                    Err(error) => {
                        let Place { address, protocol, .. } = place;
                        problems.push(format!("{protocol}.listen: {address}: {error}"));
                        break;
                    }
                }
            }
        }
        let backlog = config.tcp.backlog;
        change.admin = self.api.prepare(wanted.admin().collect(), backlog, &mut problems);
        change.metrics = self.metrics.prepare(wanted.metrics().collect(), backlog, &mut problems);
        match inputs::prepare(&self.node, config) {
            Ok(inputs) => change.inputs = inputs,
            Err(failures) => problems.extend(
                failures
                    .iter()
                    .map(|(input, error)| format!("ts_udp.listen: {}: {error}", input.listen)),
            ),
        }
        change.media = media;
        if problems.is_empty() { Ok(change) } else { Err(problems) }
    }

    fn nothing(&self) -> Change {
        Change {
            media: self.media.clone(),
            opens: (0..self.node.mesh.cores()).map(|_| Vec::new()).collect(),
            closes: Vec::new(),
            admin: Wanted::default(),
            metrics: Wanted::default(),
            inputs: inputs::Change::default(),
        }
    }

    /// Opens and closes. Who has come in by a listener that closes stays. Answers with what is late.
    pub(crate) async fn apply(&mut self, change: Change) -> Option<String> {
        let Change { media, mut opens, closes, admin, metrics, inputs } = change;
        self.api.apply(admin).await;
        self.metrics.apply(metrics).await;
        // First out, then in: one address may change its protocol.
        let late = self.close(&closes).await;
        for Door { place: Place { address, protocol, secure }, .. } in &opens[0] {
            tracing::info!(%address, %protocol, secure, "listens");
        }
        let late = if opens[0].is_empty() {
            late
        } else {
            let open = |core: crate::shard::CoreId, asker| {
                Order::Open(std::mem::take(&mut opens[core.index()]), asker)
            };
            late.or(silent(&ask_all(&self.node, ANSWER_WITHIN, open).await))
        };
        let late = late.or(inputs::apply(&self.node, inputs).await);
        // Now that it is so.
        self.media = media;
        let is_rtmp = |place: &&Place| place.protocol == Protocol::Rtmp && !place.secure;
        if let Some(place) = self.media.iter().find(is_rtmp) {
            self.node.rtmp_port.store(place.address.port(), Ordering::Relaxed);
        }
        late
    }

    /// Closes those for media, until [`Self::reopen`]. The API stays.
    pub(crate) async fn shut(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.shut, true) {
            return None;
        }
        let all: Vec<_> = self.media.iter().map(|place| place.address).collect();
        self.close(&all).await
    }

    /// Opens them again. Answers with what is late.
    ///
    /// # Errors
    /// What could not be bound; then all of them stay closed.
    pub(crate) async fn reopen(&mut self, config: &Config) -> Result<Option<String>, Vec<String>> {
        if !self.shut {
            return Ok(None);
        }
        let of = |protocol, secure| {
            let like =
                self.media.iter().filter(|at| (at.protocol, at.secure) == (protocol, secure));
            like.map(|place| place.address).collect()
        };
        let admin = |secure| {
            let like = self.api.places().filter(|place| place.secure == secure);
            like.map(|place| place.address).collect()
        };
        let wanted = Listening {
            rtmp: of(Protocol::Rtmp, false),
            rtmps: of(Protocol::Rtmp, true),
            http: of(Protocol::Http, false),
            https: of(Protocol::Http, true),
            admin: admin(false),
            admin_tls: admin(true),
            metrics: self.metrics.places().map(|place| place.address).collect(),
        };
        let media = std::mem::take(&mut self.media);
        self.shut = false;
        match self.prepare(&wanted, config) {
            Ok(change) => Ok(self.apply(change).await),
            Err(problems) => {
                (self.media, self.shut) = (media, true);
                Err(problems)
            }
        }
    }

    async fn close(&self, addresses: &[SocketAddr]) -> Option<String> {
        if addresses.is_empty() {
            return None;
        }
        tracing::info!(?addresses, "listens no more");
        let close = |_, asker| Order::Close(addresses.to_vec(), asker);
        silent(&ask_all(&self.node, ANSWER_WITHIN, close).await)
    }
}

/// One of several sockets at `place`, which is one of `all`.
pub(crate) fn bind_door(place: Place, all: &Listening, backlog: u32) -> std::io::Result<Door> {
    let like = |other: &Place| (other.protocol, other.secure) == (place.protocol, place.secure);
    let like: Vec<_> = all.media().filter(like).map(|other| other.address).collect();
    let socket = net::bind(place.address, v6_only(place.address, &like), backlog)?;
    Ok(Door { place, socket })
}

/// A socket of the API or of the metrics, at one place of `all`. Inside a runtime.
pub(crate) fn bind_admin(
    place: AdminPlace,
    all: &[AdminPlace],
    backlog: u32,
) -> std::io::Result<TcpListener> {
    let like = all.iter().filter(|other| other.secure == place.secure);
    let like: Vec<_> = like.map(|other| other.address).collect();
    let socket = net::bind(place.address, v6_only(place.address, &like), backlog)?;
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Mesh;
    use crate::shard::{CoreId, Tell};

    #[tokio::test(flavor = "current_thread")]
    async fn a_core_that_does_not_listen_again_is_named() {
        let node = Arc::new(Node::new(Mesh::new(1, 16)));
        let http = vec!["127.0.0.1:0".parse().expect("an address")];
        let host = Listening { http, ..Listening::default() };
        let mut listeners = Listeners::new(Arc::clone(&node), &host);
        let core = Arc::clone(&node);
        // It closes, and is stuck then.
        let closes = tokio::spawn(async move {
            match core.mesh.receive(CoreId(0)).await {
                Tell::Order(Order::Close(_, asker)) => asker.send(()).expect("it is waited for"),
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(listeners.shut().await, None);
        closes.await.expect("it was told to close");
        let late = listeners.reopen(&Config::default()).await.expect("any port");
        assert_eq!(late.as_deref(), Some("core 0 does not answer"));
    }
}
