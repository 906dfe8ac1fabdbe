//! What the node listens on, and how that changes while it runs: sockets are bound here, and each
//! core is given its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::admin;
use super::cores::{ANSWER_WITHIN, ask_all, silent};
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
    /// What answers at those of the API; none before [`Self::serve`].
    api: Option<admin::Server>,
    /// Those for media that are open, or would be if the node did not drain.
    media: Vec<Place>,
    admin: Vec<(SocketAddr, JoinHandle<()>)>,
    /// Those for media are closed, because the node goes out of service.
    shut: bool,
}

/// What is to be opened and closed. The new sockets are bound already, so that nothing of it can
/// fail.
#[derive(Debug)]
pub(crate) struct Change {
    media: Vec<Place>,
    /// For each core.
    opens: Vec<Vec<Door>>,
    closes: Vec<SocketAddr>,
    admin: Vec<SocketAddr>,
    admin_opens: Vec<(SocketAddr, TcpListener)>,
}

impl Listeners {
    /// What the node began with: the cores have the sockets of `host` already.
    pub(crate) fn new(node: Arc<Node>, host: &Listening) -> Self {
        Self { node, media: host.media().collect(), admin: Vec::new(), api: None, shut: false }
    }

    /// Serves the API on `sockets`, and on those that are added later. Inside a runtime.
    pub(crate) fn serve(&mut self, api: admin::Server, sockets: Vec<(SocketAddr, TcpListener)>) {
        let sockets = sockets.into_iter().map(|(address, socket)| (address, api.serve(socket)));
        self.admin = sockets.collect();
        self.api = Some(api);
    }

    /// The addresses that are ours.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let open = if self.shut { &[][..] } else { &self.media[..] };
        let media = open.iter().map(|place| place.address);
        media.chain(self.admin.iter().map(|(address, _)| *address)).collect()
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
        let (mut problems, mut change) = (Vec::new(), self.nothing(wanted));
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
        let open = |address: &&SocketAddr| self.admin.iter().any(|(open, _)| open == *address);
        for address in wanted.admin.iter().filter(|address| !open(address)) {
            match bind_admin(*address, &wanted.admin, config.tcp.backlog) {
                Ok(socket) => change.admin_opens.push((*address, socket)),
                Err(error) => problems.push(format!("admin.listen: {address}: {error}")),
            }
        }
        change.media = media;
        if problems.is_empty() { Ok(change) } else { Err(problems) }
    }

    fn nothing(&self, wanted: &Listening) -> Change {
        Change {
            media: self.media.clone(),
            opens: (0..self.node.mesh.cores()).map(|_| Vec::new()).collect(),
            closes: Vec::new(),
            admin: wanted.admin.clone(),
            admin_opens: Vec::new(),
        }
    }

    /// Opens and closes. Who has come in by a listener that closes stays. Answers with what is late.
    pub(crate) async fn apply(&mut self, change: Change) -> Option<String> {
        let Change { media, mut opens, closes, admin, admin_opens } = change;
        for (address, task) in &self.admin {
            if !admin.contains(address) {
                tracing::info!(%address, "admin: listens no more");
                task.abort();
            }
        }
        self.admin.retain(|(address, _)| admin.contains(address));
        if let Some(api) = &self.api {
            for (address, socket) in admin_opens {
                tracing::info!(%address, "admin: listens");
                self.admin.push((address, api.serve(socket)));
            }
        }
        self.media = media;
        let is_rtmp = |place: &&Place| place.protocol == Protocol::Rtmp && !place.secure;
        if let Some(place) = self.media.iter().find(is_rtmp) {
            self.node.rtmp_port.store(place.address.port(), Ordering::Relaxed);
        }
        // First out, then in: one address may change its protocol.
        let late = self.close(&closes).await;
        for Door { place: Place { address, protocol, secure }, .. } in &opens[0] {
            tracing::info!(%address, %protocol, secure, "listens");
        }
        if opens[0].is_empty() {
            return late;
        }
        let open = |core: crate::shard::CoreId, asker| {
            Order::Open(std::mem::take(&mut opens[core.index()]), asker)
        };
        late.or(silent(&ask_all(&self.node, ANSWER_WITHIN, open).await))
    }

    /// Closes those for media, until [`Self::reopen`]. The API stays.
    pub(crate) async fn shut(&mut self) -> Option<String> {
        if std::mem::replace(&mut self.shut, true) {
            return None;
        }
        let all: Vec<_> = self.media.iter().map(|place| place.address).collect();
        self.close(&all).await
    }

    /// Opens them again.
    ///
    /// # Errors
    /// What could not be bound; then all of them stay closed.
    pub(crate) async fn reopen(&mut self, config: &Config) -> Result<(), Vec<String>> {
        if !self.shut {
            return Ok(());
        }
        let of = |protocol, secure| {
            let like =
                self.media.iter().filter(|at| (at.protocol, at.secure) == (protocol, secure));
            like.map(|place| place.address).collect()
        };
        let wanted = Listening {
            rtmp: of(Protocol::Rtmp, false),
            rtmps: of(Protocol::Rtmp, true),
            http: of(Protocol::Http, false),
            https: of(Protocol::Http, true),
            admin: self.admin.iter().map(|(address, _)| *address).collect(),
        };
        let media = std::mem::take(&mut self.media);
        self.shut = false;
        match self.prepare(&wanted, config) {
            Ok(change) => {
                self.apply(change).await;
                Ok(())
            }
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

/// A socket of the API, inside a runtime.
pub(crate) fn bind_admin(
    address: SocketAddr,
    all: &[SocketAddr],
    backlog: u32,
) -> std::io::Result<TcpListener> {
    let socket = net::bind(address, v6_only(address, all), backlog)?;
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}
