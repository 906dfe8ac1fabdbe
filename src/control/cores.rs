//! Orders to every core, and their answers.

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

/// Gives each core of `node` the order that `order` makes for it, and waits for the answers. `None`
/// for a core that has not answered in time; unless its inbox was full all the while, it obeys when
/// it can.
pub(crate) async fn ask_all<T>(
    node: &Node,
    within: Duration,
    mut order: impl FnMut(CoreId, oneshot::Sender<T>) -> Order,
) -> Vec<Option<T>> {
    let until = Instant::now() + within;
    let mut waiting = Vec::with_capacity(node.mesh.cores());
    for core in all(node) {
        let (asker, answer) = oneshot::channel();
        let order = order(core, asker);
        waiting.push((core, answer, tell(node, core, order).err()));
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for (core, answer, mut untold) in waiting {
        while let Some(order) = untold.take() {
            if Instant::now() >= until {
                break;
            }
            sleep(RETRY).await;
            untold = tell(node, core, order).err();
        }
        answers.push(timeout_at(until, answer).await.ok().and_then(Result::ok));
    }
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

fn tell(node: &Node, core: CoreId, order: Order) -> Result<(), Order> {
    match node.mesh.try_tell(core, Tell::Order(order)) {
        Err(Tell::Order(order)) => Err(order),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Mesh;

    #[tokio::test(flavor = "current_thread")]
    async fn a_core_that_does_not_answer_is_named_and_a_full_inbox_is_tried_again() {
        let node = std::sync::Arc::new(Node::new(Mesh::new(2, 16)));
        while node.mesh.try_tell(CoreId(0), Tell::Order(Order::Stop)).is_ok() {}
        let core = std::sync::Arc::clone(&node);
        let answering = tokio::spawn(async move {
            loop {
                if let Tell::Order(Order::Ping(asker)) = core.mesh.receive(CoreId(0)).await {
                    let _ = asker.send(());
                }
            }
        });
        let within = Duration::from_millis(300);
        let answers = ask_all(&node, within, |_, asker| Order::Ping(asker)).await;
        answering.abort();
        assert_eq!(answers, [Some(()), None]);
        assert_eq!(silent(&answers).as_deref(), Some("core 1 does not answer"));
        assert_eq!(silent(&[Some(())]), None);
    }
}
