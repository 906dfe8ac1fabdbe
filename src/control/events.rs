//! Hears what happens on the cores, and how a drain goes, and hands it on to whoever listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};

use super::drain;
use crate::serve::event::Event;

/// Where events can be listened to. Who is slower than [`BACKLOG`] events misses some, and is told
/// how many.
#[derive(Debug, Clone)]
pub(crate) struct Bulletin {
    sender: broadcast::Sender<Arc<News>>,
    /// Events handed on so far.
    count: Arc<AtomicU64>,
}

/// Hears events, each with its number: all events of the node are counted, so that one who comes
/// back knows what it has missed.
#[derive(Debug)]
pub(crate) struct Listener {
    receiver: broadcast::Receiver<Arc<News>>,
    /// Of the last event there was.
    number: u64,
}

/// What listeners are told of.
#[derive(Debug)]
pub(crate) enum News {
    /// Something on a core.
    Event(Event),
    /// A step of the node's way out of service, or back.
    Drain(drain::Step, drain::Progress),
}

/// Events kept for listeners that are slow.
const BACKLOG: usize = 4096;

impl Bulletin {
    /// One that nobody listens to yet.
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(BACKLOG).0, count: Arc::default() }
    }

    /// All events from now on. To be called on the control thread, where none comes between.
    pub(crate) fn listen(&self) -> Listener {
        let receiver = self.sender.subscribe();
        Listener { receiver, number: self.count.load(Ordering::Relaxed) }
    }

    /// Hands on `news`. To be called on the control thread.
    pub(crate) fn tell(&self, news: News) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.sender.receiver_count() > 0 {
            // Err: the last has just left.
            let _ = self.sender.send(Arc::new(news));
        }
    }

    /// Hands on what is heard, for as long as there are cores. `first` misses nothing of it.
    pub(crate) async fn run(self, mut heard: mpsc::Receiver<Event>, first: impl Fn(&Event)) {
        while let Some(event) = heard.recv().await {
            first(&event);
            self.tell(News::Event(event));
        }
    }
}

impl Listener {
    /// The next event. Who has missed some is told how many by the error, and goes on behind them.
    pub(crate) async fn hear(&mut self) -> Result<(u64, Arc<News>), RecvError> {
        let heard = self.receiver.recv().await;
        match &heard {
            Ok(_) => self.number += 1,
            Err(RecvError::Lagged(missed)) => self.number += missed,
            Err(RecvError::Closed) => {}
        }
        heard.map(|event| (self.number, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::StreamKey;

    #[tokio::test(flavor = "current_thread")]
    async fn numbers_go_on_over_what_was_missed_and_from_listener_to_listener() {
        let bulletin = Bulletin::new();
        let (events, heard) = mpsc::channel(16);
        let run = tokio::spawn(bulletin.clone().run(heard, |_| ()));
        let idle = || Event::Idle(StreamKey::new("live", "x").expect("valid"));
        let mut first = bulletin.listen();
        for _ in 0..BACKLOG + 3 {
            events.send(idle()).await.expect("it runs");
        }
        drop(events);
        run.await.expect("it ends with the cores");
        assert!(matches!(first.hear().await, Err(RecvError::Lagged(3))));
        assert!(matches!(first.hear().await, Ok((4, _))));
        assert_eq!(bulletin.listen().number, BACKLOG as u64 + 3);
    }
}
