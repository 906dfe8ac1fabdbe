//! Questions to the cores, whose answers are waited for.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;
use crate::serve::core::Node;
use crate::serve::order::Order;
use crate::shard::{CoreId, Tell};

/// A core that is not stuck answers within a few milliseconds, busy or not.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The answer of one core. `order` is the question, made with where its answer goes.
pub(super) async fn ask<T>(
    node: &Node,
    core: CoreId,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<T, Problem> {
    let answer = put(node, core, order);
    wait(answer, Instant::now() + ANSWER_WITHIN).await
}

/// The answers of all cores, the first one's first.
pub(super) async fn ask_all<T>(
    node: &Node,
    order: impl Fn(oneshot::Sender<T>) -> Order,
) -> Result<Vec<T>, Problem> {
    let until = Instant::now() + ANSWER_WITHIN;
    let open: Vec<_> = cores(node).map(|core| put(node, core, &order)).collect();
    let mut answers = Vec::new();
    for answer in open {
        answers.push(wait(answer, until).await?);
    }
    Ok(answers)
}

/// The answer of the core that has one, and which it is. A core that is silent is a problem only if
/// no other has one.
pub(super) async fn find<T>(
    node: &Node,
    order: impl Fn(oneshot::Sender<Option<T>>) -> Order,
) -> Result<Option<(CoreId, T)>, Problem> {
    let until = Instant::now() + ANSWER_WITHIN;
    let open: Vec<_> = cores(node).map(|core| (core, put(node, core, &order))).collect();
    let mut silent = None;
    for (core, answer) in open {
        match wait(answer, until).await {
            Ok(Some(found)) => return Ok(Some((core, found))),
            Ok(None) => {}
            Err(problem) => silent = Some(problem),
        }
    }
    silent.map_or(Ok(None), Err)
}

fn cores(node: &Node) -> impl Iterator<Item = CoreId> {
    (0..u16::try_from(node.mesh.cores()).expect("fewer than 2^16 cores")).map(CoreId)
}

fn put<T>(
    node: &Node,
    core: CoreId,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> oneshot::Receiver<T> {
    let (asker, answer) = oneshot::channel();
    // Err: its inbox is full. The asker is dropped with the order, which is an answer too.
    drop(node.mesh.try_tell(core, Tell::Order(order(asker))));
    answer
}

async fn wait<T>(answer: oneshot::Receiver<T>, until: Instant) -> Result<T, Problem> {
    match timeout_at(until, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => Err(Problem::unavailable("a core did not answer in time: ask again later")),
    }
}
