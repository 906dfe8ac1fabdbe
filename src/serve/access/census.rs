use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::refusals::Reason;
use super::super::tally::Tally;
use super::super::verdict::{Action, Question};
use super::Network;
use super::network::Kind;
use crate::config::{App, Limits};
use crate::media::StreamKey;

/// How many publish and watch on the node, counted by all cores together, without a lock.
///
/// Who comes is counted in first and looked at then; who is over a limit is counted out again, and
/// may for that moment be in the way of another. So there are never too many, and as many as cores
/// may be turned away that come for the last place in the same microsecond.
#[derive(Debug)]
pub struct Census {
    viewers: AtomicUsize,
    publishers: AtomicUsize,
    /// By wish and app. Apps have no list: without `strict_apps` strangers make them up.
    by_app: Tally,
    /// Viewers, by app and address, or network.
    by_address: Tally,
}

/// Somebody who is counted in, and is counted out on drop.
#[derive(Debug)]
pub(crate) struct Counted {
    census: Arc<Census>,
    question: Arc<Question>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected at most {most} {of}: try another server, or this one again later")]
pub(crate) struct Full {
    most: usize,
    of: Of,
}

/// Who is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum Of {
    #[error("viewers (limits.viewers)")]
    Viewers,
    #[error("publishers (limits.publishers)")]
    Publishers,
    #[error("viewers of this app (viewers_max)")]
    ViewersOfApp,
    #[error("publishers of this app (publishers_max)")]
    PublishersOfApp,
    #[error("viewers of this app from {0} (viewers_max_per_address)")]
    ViewersFrom(Kind),
}

impl Full {
    /// What it is counted as.
    pub(crate) fn reason(&self) -> Reason {
        match self.of {
            Of::Viewers => Reason::Viewers,
            Of::Publishers => Reason::Publishers,
            Of::ViewersOfApp => Reason::ViewersOfApp,
            Of::PublishersOfApp => Reason::PublishersOfApp,
            Of::ViewersFrom(_) => Reason::ViewersPerAddress,
        }
    }
}

impl Census {
    /// For a node of so many connections at most.
    pub fn new(connections: usize) -> Self {
        Self {
            viewers: AtomicUsize::new(0),
            publishers: AtomicUsize::new(0),
            by_app: Tally::new(APPS),
            by_address: Tally::new(connections),
        }
    }

    /// Who publish now, or are about to.
    pub fn publishers(&self) -> usize {
        self.publishers.load(Ordering::Relaxed)
    }

    /// Who watch now, or wait for it.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

/// Apps in use at once, as they are expected; there may be more.
const APPS: usize = 4096;

impl Counted {
    /// Counts one in who was allowed what it asks for, if there is a place. `None` for one that
    /// asks for no stream.
    pub(crate) fn new(
        census: &Arc<Census>,
        question: &Arc<Question>,
        limits: &Limits,
        app: &App,
    ) -> Result<Option<Self>, Full> {
        let Some(wish) = Wish::of(question) else { return Ok(None) };
        let (of_node, of_app) = match wish {
            Wish::Publish(_) => (
                (&census.publishers, limits.publishers, Of::Publishers),
                (app.publishers_max, Of::PublishersOfApp),
            ),
            Wish::Play(..) => (
                (&census.viewers, limits.viewers, Of::Viewers),
                (app.viewers_max, Of::ViewersOfApp),
            ),
        };
        let (count, most, of) = of_node;
        let full = |found: usize, most: usize, of| match most {
            0 => Ok(()),
            most if found <= most => Ok(()),
            most => Err(Full { most, of }),
        };
        let on_node = count.fetch_add(1, Ordering::Relaxed) + 1;
        let in_app = census.by_app.enter(wish.app());
        let from_here = wish.viewer().map_or(0, |viewer| census.by_address.enter(viewer));
        // From here on it is counted out by being dropped.
        let counted = Self { census: Arc::clone(census), question: Arc::clone(question) };
        full(on_node, most, of)?;
        let (most, of) = of_app;
        full(in_app, most, of)?;
        if let Some((_, network)) = wish.viewer() {
            full(from_here, app.viewers_max_per_address, Of::ViewersFrom(network.kind()))?;
        }
        Ok(Some(counted))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { census, question } = self;
        let Some(wish) = Wish::of(question) else { return };
        match wish {
            Wish::Publish(_) => census.publishers.fetch_sub(1, Ordering::Relaxed),
            Wish::Play(..) => census.viewers.fetch_sub(1, Ordering::Relaxed),
        };
        census.by_app.leave(wish.app());
        if let Some(viewer) = wish.viewer() {
            census.by_address.leave(viewer);
        }
    }
}

/// What is counted of a question.
enum Wish<'a> {
    Publish(&'a StreamKey),
    Play(&'a StreamKey, Network),
}

impl<'a> Wish<'a> {
    fn of(question: &'a Question) -> Option<Self> {
        match &question.action {
            Action::Connect { .. } => None,
            Action::Publish(key) => Some(Self::Publish(key)),
            Action::Play(key) => Some(Self::Play(key, Network::of(question.peer.ip()))),
        }
    }

    fn app(&self) -> (bool, &'a str) {
        match self {
            Self::Publish(key) => (true, key.app()),
            Self::Play(key, _) => (false, key.app()),
        }
    }

    fn viewer(&self) -> Option<(&'a str, Network)> {
        match self {
            Self::Publish(_) => None,
            Self::Play(key, from) => Some((key.app(), *from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::super::verdict::{ClientId, Protocol};
    use super::*;

    fn question(wish: fn(StreamKey) -> Action, path: &str, from: [u8; 4]) -> Arc<Question> {
        Arc::new(Question {
            client: ClientId(1),
            peer: (from, 1).into(),
            protocol: Protocol::Rtmp.into(),
            action: wish(StreamKey::parse(path).expect("a key")),
            asked: None,
            record: None,
            query: "".into(),
            connect: None,
            http: None,
        })
    }

    struct Gate {
        census: Arc<Census>,
        limits: Limits,
        app: App,
    }

    impl Gate {
        fn new(change: impl FnOnce(&mut Limits, &mut App)) -> Self {
            let (mut limits, mut app) = (Limits::default(), App::default());
            change(&mut limits, &mut app);
            Self { census: Arc::new(Census::new(100)), limits, app }
        }

        fn come(&self, question: &Arc<Question>) -> Result<Counted, &'static str> {
            let counted = Counted::new(&self.census, question, &self.limits, &self.app);
            counted.map(|counted| counted.expect("a stream")).map_err(|full| full.reason().name())
        }

        fn play(&self, path: &str, from: [u8; 4]) -> Result<Counted, &'static str> {
            self.come(&question(Action::Play, path, from))
        }

        fn publish(&self, path: &str) -> Result<Counted, &'static str> {
            self.come(&question(Action::Publish, path, [10, 0, 0, 1]))
        }
    }

    #[test]
    fn each_limit_counts_its_own() {
        let gate = Gate::new(|limits, app| {
            (limits.viewers, limits.publishers) = (5, 2);
            (app.viewers_max, app.publishers_max, app.viewers_max_per_address) = (3, 1, 2);
        });
        let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let mut inside = vec![gate.play("live/x", a), gate.play("live/y", a)];
        assert_eq!(gate.play("live/x", a).err(), Some("viewers_max_per_address"));
        inside.push(gate.play("live/x", b));
        assert_eq!(gate.play("live/x", b).err(), Some("viewers_max"));
        inside.extend([gate.play("other/x", a), gate.play("other/x", b)]);
        assert_eq!(gate.play("other/x", b).err(), Some("viewers"));
        inside.push(gate.publish("live/x"));
        assert_eq!(gate.publish("live/y").err(), Some("publishers_max"));
        inside.push(gate.publish("other/x"));
        assert_eq!(gate.publish("third/x").err(), Some("publishers"));
        assert!(inside.iter().all(Result::is_ok));
        assert_eq!((gate.census.viewers(), gate.census.publishers()), (5, 2));
        // Who was refused has left nothing behind, nor has who leaves.
        drop(inside);
        assert_eq!((gate.census.viewers(), gate.census.publishers()), (0, 0));
        assert!(
            (0..3).map(|_| gate.play("live/x", a)).collect::<Vec<_>>().pop().expect("3").is_err()
        );
        assert!(gate.play("live/x", a).is_ok() && gate.publish("live/x").is_ok());
    }

    #[test]
    fn two_threads_never_let_in_more_than_one_would() {
        let gate = Gate::new(|_, app| app.viewers_max = 7);
        let one = |_| gate.play("live/x", [10, 0, 0, 1]).ok();
        for _ in 0..100 {
            let inside = thread::scope(|scope| {
                let come = || (0..20).map(one).collect::<Vec<_>>();
                [scope.spawn(come), scope.spawn(come)]
                    .map(|thread| thread.join().expect("it counts"))
            });
            let inside: Vec<_> = inside.into_iter().flatten().flatten().collect();
            assert!((5..=7).contains(&inside.len()), "{}", inside.len());
        }
        assert_eq!(gate.census.viewers(), 0);
    }
}
