use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::{CoreId, Place};
use crate::media::StreamKey;
use crate::net::rt;
use atomic_waker::AtomicWaker;
use crossbeam::queue::ArrayQueue;

/// What crosses cores. `C` is a connection on its way to another core, `O` an order of the control
/// thread.
#[derive(Debug)]
pub enum Tell<C, O> {
    /// To a key's home: who owns it? The answer goes to `from`.
    Lookup {
        /// The key.
        key: StreamKey,
        /// Who asks.
        from: CoreId,
        /// The asker's number for its question.
        ask: u64,
    },
    /// From a key's home: that core does; a ticket goes with it.
    Located {
        /// The key.
        key: StreamKey,
        /// The asker's number.
        ask: u64,
        /// The owner.
        place: Place,
    },
    /// To a key's home: the ticket arrived at the owner.
    TicketUsed {
        /// The key.
        key: StreamKey,
        /// Of the ticket.
        epoch: u64,
        /// Nobody uses the key at the owner.
        empty: bool,
    },
    /// To a key's home: the ticket was not used.
    TicketBack {
        /// The key.
        key: StreamKey,
        /// Of the ticket.
        epoch: u64,
    },
    /// To a key's home: nobody uses the key at its owner.
    Emptied {
        /// The key.
        key: StreamKey,
        /// It was last acquired with.
        epoch: u64,
    },
    /// A connection for the owner of its key.
    HandOver(Box<C>),
    /// From the control thread, which neither waits for the core nor makes it wait.
    Order(O),
}

/// The inboxes of all cores.
#[derive(Debug)]
pub struct Mesh<C, O> {
    inboxes: Box<[Inbox<C, O>]>,
    hasher: std::hash::RandomState,
    /// Of each inbox, how much may be connections: what carries tickets must never lack room.
    hand_overs: usize,
}

/// What waits for one core. Any thread may put in; only the core takes out.
#[derive(Debug)]
pub struct Inbox<C, O> {
    queue: ArrayQueue<Tell<C, O>>,
    waker: AtomicWaker,
}

impl<C, O> Mesh<C, O> {
    /// Inboxes for `cores` cores of `capacity` messages each; connections may take half of it.
    pub fn new(cores: usize, capacity: usize) -> Arc<Self> {
        let capacity = capacity.max(16);
        let inbox = || Inbox { queue: ArrayQueue::new(capacity), waker: AtomicWaker::new() };
        let inboxes = (0..cores).map(|_| inbox()).collect();
        Arc::new(Self { inboxes, hasher: std::hash::RandomState::new(), hand_overs: capacity / 2 })
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.inboxes.len()
    }

    /// The core that alone places `key`.
    pub fn home(&self, key: &StreamKey) -> CoreId {
        let cores = self.inboxes.len() as u64;
        CoreId(u16::try_from(self.hasher.hash_one(key) % cores).expect("fewer than 2^16 cores"))
    }

    /// Puts `message` into the inbox of `to`, or gives it back if that is full.
    pub fn try_tell(&self, to: CoreId, message: Tell<C, O>) -> Result<(), Tell<C, O>> {
        let inbox = &self.inboxes[to.index()];
        inbox.queue.push(message)?;
        inbox.waker.wake();
        Ok(())
    }

    /// The next message for `core`, in the order each sender put its own in. Only that core may
    /// ask.
    pub async fn receive(&self, core: CoreId) -> Tell<C, O> {
        let inbox = &self.inboxes[core.index()];
        poll_fn(|cx| {
            if let Some(message) = inbox.queue.pop() {
                return Poll::Ready(message);
            }
            inbox.waker.register(cx.waker());
            // One may have come between the look and the registration.
            inbox.queue.pop().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

/// One core's way to the others. What must not be lost waits here while an inbox is full.
#[derive(Debug)]
pub struct Post<C, O> {
    mesh: Arc<Mesh<C, O>>,
    /// Per core. Its length is bounded by the connections of this core: each has one question.
    waiting: RefCell<Vec<VecDeque<Tell<C, O>>>>,
    /// Somebody delivers what waits.
    retrying: Cell<bool>,
}

/// How often a full inbox is tried again.
const RETRY: Duration = Duration::from_millis(1);

impl<C, O> Post<C, O> {
    /// A core's own.
    pub fn new(mesh: Arc<Mesh<C, O>>) -> Self {
        let waiting = (0..mesh.cores()).map(|_| VecDeque::new()).collect();
        Self { mesh, waiting: RefCell::new(waiting), retrying: Cell::new(false) }
    }

    /// The inboxes.
    pub fn mesh(&self) -> &Arc<Mesh<C, O>> {
        &self.mesh
    }

    /// Tells `to`, now or as soon as there is room; in order.
    pub fn tell(&self, to: CoreId, message: Tell<C, O>) {
        let waiting = &mut self.waiting.borrow_mut()[to.index()];
        if !waiting.is_empty() {
            waiting.push_back(message);
        } else if let Err(message) = self.mesh.try_tell(to, message) {
            waiting.push_back(message);
        }
    }

    /// Hands a connection over, or gives it back if too many wait there already.
    pub fn hand_over(&self, to: CoreId, connection: Box<C>) -> Result<(), Box<C>> {
        let crowded = self.mesh.inboxes[to.index()].queue.len() >= self.mesh.hand_overs;
        if crowded || !self.waiting.borrow()[to.index()].is_empty() {
            return Err(connection);
        }
        match self.mesh.try_tell(to, Tell::HandOver(connection)) {
            Err(Tell::HandOver(connection)) => Err(connection),
            _ => Ok(()),
        }
    }

    /// True if something waits and nobody runs [`Self::retry_until_delivered`] yet: the caller
    /// must.
    pub fn wants_retries(&self) -> bool {
        let waits = self.waiting.borrow().iter().any(|queue| !queue.is_empty());
        waits && !self.retrying.replace(true)
    }

    /// Delivers what had to wait. Answers true if something still waits.
    fn retry(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        for (to, queue) in waiting.iter_mut().enumerate() {
            let to = CoreId(u16::try_from(to).expect("fewer than 2^16 cores"));
            while let Some(message) = queue.pop_front() {
                if let Err(message) = self.mesh.try_tell(to, message) {
                    queue.push_front(message);
                    break;
                }
            }
        }
        waiting.iter().any(|queue| !queue.is_empty())
    }

    /// Delivers what had to wait, as long as something does.
    pub async fn retry_until_delivered(&self) {
        while self.retry() {
            rt::sleep(RETRY).await;
        }
        self.retrying.set(false);
    }
}
