//! Where questions of the cores are answered: beside the media, whenever the answer is there.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::serve::HandOver;
use crate::serve::verdict::{Ask, Question, Verdict};
use crate::shard::{CoreId, Mesh, Tell};

/// Decides who may connect, publish and play. It may take its time: the core that asks goes on
/// meanwhile, and stops waiting after `limits.verdict_timeout`.
pub trait Answerer: Send + Sync + fmt::Debug {
    /// The answer to `question`.
    fn answer(&self, question: Question) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>>;
}

/// The cores' end: puts questions into the control thread's queue.
#[derive(Debug)]
pub(crate) struct Questions {
    queue: mpsc::Sender<(Question, CoreId, u64)>,
    mesh: Arc<Mesh<HandOver, Verdict>>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct Desk {
    queue: mpsc::Receiver<(Question, CoreId, u64)>,
    mesh: Arc<Mesh<HandOver, Verdict>>,
    answerer: Arc<dyn Answerer>,
}

/// More open questions than this are answered by no.
const QUEUE: usize = 4096;

/// A queue of questions to `answerer`.
pub(crate) fn desk(
    mesh: &Arc<Mesh<HandOver, Verdict>>,
    answerer: Arc<dyn Answerer>,
) -> (Questions, Desk) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let questions = Questions { queue: sender, mesh: Arc::clone(mesh) };
    (questions, Desk { queue, mesh: Arc::clone(mesh), answerer })
}

impl Ask for Questions {
    fn ask(&self, question: Question, core: CoreId, ask: u64) {
        if self.queue.try_send((question, core, ask)).is_err() {
            let verdict = Verdict::Deny("too many open questions".to_owned());
            // If even the asker's inbox is full, its own timeout answers.
            drop(self.mesh.try_tell(core, Tell::Verdict { ask, verdict }));
        }
    }
}

impl Desk {
    /// Answers for as long as there are cores that ask.
    pub(crate) async fn run(mut self) {
        while let Some((question, core, ask)) = self.queue.recv().await {
            let (mesh, answerer) = (Arc::clone(&self.mesh), Arc::clone(&self.answerer));
            tokio::spawn(async move {
                let verdict = answerer.answer(question).await;
                drop(mesh.try_tell(core, Tell::Verdict { ask, verdict }));
            });
        }
    }
}
