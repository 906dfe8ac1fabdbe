//! How many may be connected to the API, and how many of them from one address: nobody is to take all
//! places before anyone has looked at a token.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::audit::Paced;
use crate::serve::Tally;
use crate::serve::access::Network;

/// From one address (of IPv6, from one network of 64 bits) no more are served at once.
pub(super) const OF_ONE_MAX: usize = 64;

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    free: Arc<Semaphore>,
    of_one: Arc<Tally>,
    refusals: Paced,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _place: OwnedSemaphorePermit,
    of_one: Arc<Tally>,
    network: Network,
}

impl Seats {
    /// So many.
    pub(super) fn new(count: usize) -> Self {
        let free = Arc::new(Semaphore::new(count));
        Self { free, of_one: Arc::default(), refusals: Paced::default() }
    }

    /// A place for whoever comes next, as soon as one is free.
    pub(super) async fn free(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.free).acquire_owned().await.expect("nobody closes it")
    }

    /// Has `client` take its `place`. None if there are too many from there, which is logged.
    pub(super) fn take(&self, place: OwnedSemaphorePermit, client: SocketAddr) -> Option<Seat> {
        let network = Network::of(client.ip());
        let here = self.of_one.enter(network);
        let seat = Seat { _place: place, of_one: Arc::clone(&self.of_one), network };
        if here <= OF_ONE_MAX {
            return Some(seat);
        }
        if let Some(left_out) = self.refusals.line() {
            tracing::warn!(%client, left_out, "admin: closed: {OF_ONE_MAX} are connected from there");
        }
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.of_one.leave(self.network);
    }
}
