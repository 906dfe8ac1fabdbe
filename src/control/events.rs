//! Hears what happens on the cores and hands it on to whoever listens.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc};

use crate::serve::event::{Event, Events};

/// Where events can be listened to. Who is slower than [`BACKLOG`] events misses some, and is told
/// how many.
#[derive(Debug, Clone)]
pub(crate) struct Bulletin(broadcast::Sender<Arc<Event>>);

/// Events kept for listeners that are slow.
const BACKLOG: usize = 4096;

impl Bulletin {
    /// One that nobody listens to yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    /// All events from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }

    /// Hands on what is heard, for as long as there are cores. `first` misses nothing of it.
    pub(crate) async fn run(self, mut heard: mpsc::Receiver<Event>, first: impl Fn(&Event)) {
        while let Some(event) = heard.recv().await {
            first(&event);
            if self.0.receiver_count() > 0 {
                // Err: the last has just left.
                let _ = self.0.send(Arc::new(event));
            }
        }
    }
}

/// The cores are gone, with connections on them: tells the end of what those were granted. What
/// hears events must run.
pub(crate) async fn end_all(events: &Events) {
    while events.end_one("the server stopped") {
        while !events.are_heard() {
            tokio::task::yield_now().await;
        }
    }
}
