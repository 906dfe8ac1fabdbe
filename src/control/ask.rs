//! Where questions of the cores are answered: beside the media, whenever the answer is there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::hooks::Hooks;
use crate::config::Config;
use crate::serve::Mesh;
use crate::serve::event::Events;
use crate::serve::grant::Grant;
use crate::serve::order::{Answer, Order};
use crate::serve::verdict::{Ask, Concern, Question, Verdict};
use crate::shard::{CoreId, Tell};

/// Decides who may connect, publish and play. It may take its time: the core that asks goes on
/// meanwhile, and stops waiting after `limits.verdict_timeout`.
pub trait Answerer: Send + Sync + fmt::Debug {
    /// The answer to `question`.
    fn answer(&self, question: Arc<Question>)
    -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>>;
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
    /// The caller's own, who is asked before the hooks.
    first: Option<Arc<dyn Answerer>>,
    hooks: Hooks,
}

/// A question, who asks it, and its place among those that are open.
#[derive(Debug)]
struct Open {
    question: Arc<Question>,
    about: About,
    core: CoreId,
    ask: u64,
    /// None for what a publisher asks, which it does not do often.
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum About {
    /// Whether it may, by the hooks of this configuration.
    Wish(Arc<Config>),
    /// What is to become of it.
    Concern(Concern),
}

/// More open questions than this are answered by no. One is open until the answerer has answered,
/// even if its client has left.
const OPEN_MAX: usize = 4096;

/// A queue of questions to `first`, if there is one, and then to `hooks`.
pub(crate) fn desk(
    mesh: &Arc<Mesh>,
    events: Arc<Events>,
    hooks: Hooks,
    first: Option<Arc<dyn Answerer>>,
) -> (Questions, Desk) {
    let (sender, queue) = mpsc::unbounded_channel();
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let questions = Questions { queue: sender, room, mesh: Arc::clone(mesh) };
    (questions, Desk { queue, mesh: Arc::clone(mesh), events, first, hooks })
}

impl Ask for Questions {
    fn ask(&self, question: Arc<Question>, config: Arc<Config>, core: CoreId, ask: u64) {
        if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            // Err: the node is stopping, and nobody waits for an answer any more.
            let about = About::Wish(config);
            let open = Open { question, about, core, ask, place: Some(place) };
            let _ = self.queue.send(open);
            return;
        }
        let answer = Err("too many open questions".to_owned());
        // If even the asker's inbox is full, its own timeout answers.
        drop(self.mesh.try_tell(core, Tell::Order(Order::Answer { ask, answer })));
    }

    fn consult(&self, question: Arc<Question>, concern: Concern, core: CoreId, ask: u64) {
        let about = About::Concern(concern);
        let _ = self.queue.send(Open { question, about, core, ask, place: None });
    }
}

impl Desk {
    /// Answers for as long as there are cores that ask.
    pub(crate) async fn run(mut self) {
        while let Some(Open { question, about, core, ask, place }) = self.queue.recv().await {
            let (mesh, events) = (Arc::clone(&self.mesh), Arc::clone(&self.events));
            let (first, hooks) = (self.first.clone(), self.hooks.clone());
            tokio::spawn(async move {
                let order = match about {
                    About::Concern(concern) => {
                        Order::Advice { ask, advice: hooks.advise(&question, concern).await }
                    }
                    About::Wish(config) => {
                        let verdict = decide(first.as_ref(), &hooks, &question, &config).await;
                        let answer = answer(verdict, question, events);
                        if let Ok(grant) = &answer {
                            hooks.grants(grant.question());
                        }
                        Order::Answer { ask, answer }
                    }
                };
                // Err: the asker's inbox is full, so its own timeout answers, and a grant ends here.
                drop(mesh.try_tell(core, Tell::Order(order)));
                drop(place);
            });
        }
    }
}

async fn decide(
    first: Option<&Arc<dyn Answerer>>,
    hooks: &Hooks,
    question: &Arc<Question>,
    config: &Arc<Config>,
) -> Verdict {
    let first = match first {
        Some(first) => first.answer(Arc::clone(question)).await,
        None => Verdict::Allow,
    };
    match first {
        Verdict::Deny(reason) => Verdict::Deny(reason),
        yes => match hooks.ask(question, config).await {
            Verdict::Allow => yes,
            other => other,
        },
    }
}

fn answer(verdict: Verdict, question: Arc<Question>, events: Arc<Events>) -> Answer {
    match verdict {
        Verdict::Allow => Ok(Grant::new(question, events)),
        Verdict::AllowWith(terms) => Ok(Grant::new(Arc::new(question.granted(terms)), events)),
        Verdict::Deny(reason) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Silent;

    impl Answerer for Silent {
        fn answer(&self, _: Arc<Question>) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn hooks(text: &str) -> Arc<Config> {
        Arc::new(Config::load(text, "test", []).expect("valid"))
    }

    /// What a core that goes by `asks` is answered when `in_force` holds.
    fn answer_to(asks: &Arc<Config>, in_force: &Arc<Config>) -> Answer {
        let mesh = Mesh::new(1, 16);
        let (events, _heard) = Events::new(1);
        let in_force = tokio::sync::watch::channel(Arc::clone(in_force)).1;
        let hooks = Hooks::new(in_force, Arc::clone(&events));
        let (questions, desk) = desk(&mesh, events, hooks, None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.spawn(desk.run());
        questions.ask(Arc::new(Question::to_connect()), Arc::clone(asks), CoreId(0), 7);
        match runtime.block_on(mesh.receive(CoreId(0))) {
            Tell::Order(Order::Answer { ask: 7, answer }) => answer,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn during_a_reload_the_hook_that_a_core_leaves_it_to_is_asked() {
        // Nobody listens there, so it is a no.
        let guarded = hooks("hooks.on_connect = 'http://127.0.0.1:1/'");
        let open = hooks("");
        for in_force in [&guarded, &open] {
            let no = answer_to(&guarded, in_force).expect_err("it is no other's to allow");
            assert_eq!(no, "no verdict, try again later (hooks.on_connect)");
        }
        answer_to(&open, &guarded).expect("its core has other guards");
    }

    #[test]
    fn questions_that_are_never_answered_do_not_pile_up() {
        let mesh = Mesh::new(1, 16);
        let (events, _heard) = Events::new(1);
        let config = Arc::new(Config::default());
        let in_force = tokio::sync::watch::channel(Arc::clone(&config)).1;
        let hooks = Hooks::new(in_force, Arc::clone(&events));
        let (questions, desk) = desk(&mesh, events, hooks, Some(Arc::new(Silent)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.spawn(desk.run());
        let open = OPEN_MAX as u64;
        for ask in 0..=open {
            questions.ask(Arc::new(Question::to_connect()), Arc::clone(&config), CoreId(0), ask);
            // The desk takes each at once: it is not the queue that is full.
            runtime.block_on(tokio::task::yield_now());
        }
        match runtime.block_on(mesh.receive(CoreId(0))) {
            Tell::Order(Order::Answer { ask, answer: Err(_) }) => assert_eq!(ask, open),
            other => panic!("{other:?}"),
        }
    }
}
