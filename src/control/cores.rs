//! Orders to the cores, and their answers.

use std::future::poll_fn;
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::serve::core::Node;
use crate::serve::order::Order;
use crate::shard::{CoreId, Tell};

/// A core that is not stuck answers within a few milliseconds, busy or not.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How often a full inbox is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Gives `core` the order that `order` makes with where its answer goes, and waits for the answer.
/// `None` if it has not come in time; unless its inbox was full all the while, the core obeys when
/// it can.
pub(crate) async fn ask<T>(
    node: &Node,
    core: CoreId,
    within: Duration,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Option<T> {
    let (asker, answer) = oneshot::channel();
    give(node, core, within, order(asker), answer).await
}

/// The same with each core of `node`, at the same time: `hear` hears each answer when it comes, until
/// it says that it has heard enough.
pub(crate) async fn ask_each<T>(
    node: &Node,
    within: Duration,
    mut order: impl FnMut(CoreId, oneshot::Sender<T>) -> Order,
    mut hear: impl FnMut(CoreId, Option<T>) -> ControlFlow<()>,
) {
    let ask = |core| {
        let (asker, answer) = oneshot::channel();
        (core, Box::pin(give(node, core, within, order(core, asker), answer)))
    };
    let mut open: Vec<_> = all(node).map(ask).collect();
    // All of them each time: one may wait for room in an inbox, while another is stuck.
    poll_fn(|cx| {
        let mut heard_enough = false;
        open.retain_mut(|(core, answer)| {
            if heard_enough {
                return true;
            }
            let Poll::Ready(answer) = answer.as_mut().poll(cx) else { return true };
            heard_enough = hear(*core, answer).is_break();
            false
        });
        if heard_enough || open.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The answers of all cores, the first one's first.
pub(crate) async fn ask_all<T>(
    node: &Node,
    within: Duration,
    order: impl FnMut(CoreId, oneshot::Sender<T>) -> Order,
) -> Vec<Option<T>> {
    let mut answers: Vec<_> = all(node).map(|_| None).collect();
    ask_each(node, within, order, |core, answer| {
        answers[core.index()] = answer;
        ControlFlow::Continue(())
    })
    .await;
    answers
}

/// The cores that have not answered, in words; `None` if all have.
pub(crate) fn silent<T>(answers: &[Option<T>]) -> Option<String> {
    let silent = answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
    let silent: Vec<String> = silent.map(|(core, _)| core.to_string()).collect();
    match &silent[..] {
        [] => None,
        [one] => Some(format!("core {one} does not answer")),
        several => Some(format!("the cores {} do not answer", several.join(", "))),
    }
}

/// All cores of `node`.
pub(crate) fn all(node: &Node) -> impl Iterator<Item = CoreId> + use<> {
    let cores = u16::try_from(node.mesh.cores()).expect("fewer than 2^16 cores");
    (0..cores).map(CoreId)
}

/// Gives it at once, or as soon as there is room, for as long as its answer is waited for.
fn give<T>(
    node: &Node,
    core: CoreId,
    within: Duration,
    order: Order,
    answer: oneshot::Receiver<T>,
) -> impl Future<Output = Option<T>> {
    let until = Instant::now() + within;
    let mut untold = tell(node, core, order).err();
    async move {
        while let Some(order) = untold.take().filter(|_| Instant::now() < until) {
            sleep(RETRY).await;
            untold = tell(node, core, order).err();
        }
        timeout_at(until, answer).await.ok()?.ok()
    }
}

fn tell(node: &Node, core: CoreId, order: Order) -> Result<(), Order> {
    match node.mesh.try_tell(core, Tell::Order(order)) {
        Err(Tell::Order(order)) => Err(order),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::Left;
    use crate::serve::Mesh;
    use crate::serve::order::Leave;

    #[tokio::test(flavor = "current_thread")]
    async fn a_core_that_does_not_answer_is_named_and_a_full_inbox_is_tried_again() {
        let node = std::sync::Arc::new(Node::new(Mesh::new(2, 16)));
        while node.mesh.try_tell(CoreId(0), Tell::Order(Order::Stop)).is_ok() {}
        let core = std::sync::Arc::clone(&node);
        let answering = tokio::spawn(async move {
            loop {
                if let Tell::Order(Order::Leave(_, asker)) = core.mesh.receive(CoreId(0)).await {
                    let _ = asker.send(Left::default());
                }
            }
        });
        // Long enough for that one, however busy the host is; the other never answers.
        let within = Duration::from_secs(3);
        let answers = ask_all(&node, within, |_, asker| Order::Leave(Leave::Nobody, asker)).await;
        answering.abort();
        assert_eq!(answers, [Some(Left::default()), None]);
        assert_eq!(silent(&answers).as_deref(), Some("core 1 does not answer"));
        assert_eq!(silent(&[Some(())]), None);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn while_one_core_is_stuck_another_whose_inbox_was_full_is_told() {
        let node = std::sync::Arc::new(Node::new(Mesh::new(2, 16)));
        while node.mesh.try_tell(CoreId(1), Tell::Order(Order::Stop)).is_ok() {}
        let core = std::sync::Arc::clone(&node);
        let working = tokio::spawn(async move {
            sleep(3 * RETRY).await;
            loop {
                if let Tell::Order(Order::Leave(_, asker)) = core.mesh.receive(CoreId(1)).await {
                    let _ = asker.send(Left::default());
                }
            }
        });
        // Long enough for that one, however busy the host is; the other never answers.
        let within = Duration::from_secs(3);
        let answers = ask_all(&node, within, |_, asker| Order::Leave(Leave::Nobody, asker)).await;
        working.abort();
        assert_eq!(answers, [None, Some(Left::default())]);
    }
}
