//! Where questions of the cores are answered: beside the media, whenever the answer is there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::serve::Mesh;
use crate::serve::event::Events;
use crate::serve::grant::Grant;
use crate::serve::order::{Answer, Order};
use crate::serve::verdict::{Advice, Ask, Concern, Question, Verdict};
use crate::shard::{CoreId, Tell};

/// Decides who may connect, publish and play. It may take its time: the core that asks goes on
/// meanwhile, and stops waiting after `limits.verdict_timeout`.
pub trait Answerer: Send + Sync + fmt::Debug {
    /// The answer to `question`.
    fn answer(&self, question: Arc<Question>)
    -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>>;

    /// Whether the publish that `question` was about is to be closed for `concern`.
    fn advise(
        &self,
        _question: Arc<Question>,
        _concern: Concern,
    ) -> Pin<Box<dyn Future<Output = Advice> + Send + '_>> {
        Box::pin(std::future::ready(None))
    }
}

/// The cores' end: puts questions into the control thread's queue.
#[derive(Debug)]
pub(crate) struct Questions {
    queue: mpsc::UnboundedSender<Open>,
    /// One permit for each question that may be open; it bounds the queue as well.
    room: Arc<Semaphore>,
    mesh: Arc<Mesh>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct Desk {
    queue: mpsc::UnboundedReceiver<Open>,
    mesh: Arc<Mesh>,
    events: Arc<Events>,
    answerer: Arc<dyn Answerer>,
}

/// A question, who asks it, and its place among those that are open.
#[derive(Debug)]
struct Open {
    question: Arc<Question>,
    /// `None`: may it? Else: what is to become of it?
    concern: Option<Concern>,
    core: CoreId,
    ask: u64,
    /// None for what a publisher asks, which it does not do often.
    place: Option<OwnedSemaphorePermit>,
}

/// More open questions than this are answered by no. One is open until the answerer has answered,
/// even if its client has left.
const OPEN_MAX: usize = 4096;

/// A queue of questions to `answerer`.
pub(crate) fn desk(
    mesh: &Arc<Mesh>,
    events: Arc<Events>,
    answerer: Arc<dyn Answerer>,
) -> (Questions, Desk) {
    let (sender, queue) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let questions = Questions { queue: sender, room, mesh: Arc::clone(mesh) };
    (questions, Desk { queue, mesh: Arc::clone(mesh), events, answerer })
}

impl Ask for Questions {
    fn ask(&self, question: Arc<Question>, core: CoreId, ask: u64) {
        if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            // Err: the node is stopping, and nobody waits for an answer any more.
            let open = Open { question, concern: None, core, ask, place: Some(place) };
            let _ = self.queue.send(open);
            return;
        }
        let answer = Err("too many open questions".to_owned());
        // If even the asker's inbox is full, its own timeout answers.
        drop(self.mesh.try_tell(core, Tell::Order(Order::Answer { ask, answer })));
    }

    fn consult(&self, question: Arc<Question>, concern: Concern, core: CoreId, ask: u64) {
        let _ = self.queue.send(Open { question, concern: Some(concern), core, ask, place: None });
    }
}

impl Desk {
    /// Answers for as long as there are cores that ask.
    pub(crate) async fn run(mut self) {
        while let Some(Open { question, concern, core, ask, place }) = self.queue.recv().await {
            let (mesh, answerer) = (Arc::clone(&self.mesh), Arc::clone(&self.answerer));
            let events = Arc::clone(&self.events);
            tokio::spawn(async move {
                let order = match concern {
                    Some(concern) => {
                        Order::Advice { ask, advice: answerer.advise(question, concern).await }
                    }
                    None => {
                        let verdict = answerer.answer(Arc::clone(&question)).await;
                        Order::Answer { ask, answer: answer(verdict, question, events) }
                    }
                };
                // Err: the asker's inbox is full, so its own timeout answers, and a grant ends here.
                drop(mesh.try_tell(core, Tell::Order(order)));
                drop(place);
            });
        }
    }
}

fn answer(verdict: Verdict, question: Arc<Question>, events: Arc<Events>) -> Answer {
    match verdict {
        Verdict::Allow => Ok(Grant::new(question, events)),
        Verdict::AllowAs(key) => Ok(Grant::new(Arc::new(question.renamed(key)), events)),
        Verdict::Deny(reason) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::verdict::{Action, ClientId, Protocol};

    #[derive(Debug)]
    struct Silent;

    impl Answerer for Silent {
        fn answer(&self, _: Arc<Question>) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn question() -> Arc<Question> {
        Arc::new(Question {
            client: ClientId(1),
            peer: ([127, 0, 0, 1], 1).into(),
            protocol: Protocol::Rtmp,
            action: Action::Connect { app: "live".to_owned() },
            asked: None,
            query: "".into(),
            connect: None,
            http: None,
        })
    }

    #[test]
    fn questions_that_are_never_answered_do_not_pile_up() {
        let mesh = Mesh::new(1, 16);
        let (events, _heard) = Events::new(1);
        let (questions, desk) = desk(&mesh, events, Arc::new(Silent));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.spawn(desk.run());
        let open = OPEN_MAX as u64;
        for ask in 0..=open {
            questions.ask(question(), CoreId(0), ask);
            // The desk takes each at once: it is not the queue that is full.
            runtime.block_on(tokio::task::yield_now());
        }
        match runtime.block_on(mesh.receive(CoreId(0))) {
            Tell::Order(Order::Answer { ask, answer: Err(_) }) => assert_eq!(ask, open),
            other => panic!("{other:?}"),
        }
    }
}
