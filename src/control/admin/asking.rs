//! Questions to the cores, whose answers are waited for.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::sync::oneshot;

use super::problem::Problem;
use crate::control::cores;
use crate::serve::core::Node;
use crate::serve::order::Order;
use crate::shard::CoreId;

/// Who asks the API does not wait for as long as the control thread may.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The answer of one core. `order` is the question, made with where its answer goes.
pub(super) async fn ask<T>(
    node: &Node,
    core: CoreId,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
) -> Result<T, Problem> {
    cores::ask(node, core, ANSWER_WITHIN, order).await.ok_or_else(late)
}

/// The answers of all cores, the first one's first.
pub(super) async fn ask_all<T>(
    node: &Node,
    order: impl Fn(oneshot::Sender<T>) -> Order,
) -> Result<Vec<T>, Problem> {
    let answers = cores::ask_all(node, ANSWER_WITHIN, |_, asker| order(asker)).await;
    answers.into_iter().collect::<Option<_>>().ok_or_else(late)
}

/// The answer of the core that has one, and which it is. A core that is silent is a problem only if
/// no other has one.
pub(super) async fn find<T>(
    node: &Node,
    order: impl Fn(oneshot::Sender<Option<T>>) -> Order,
) -> Result<Option<(CoreId, T)>, Problem> {
    let (mut found, mut silent) = (None, None);
    let hear = |core, answer| match answer {
        Some(Some(answer)) => {
            found = Some((core, answer));
            ControlFlow::Break(())
        }
        Some(None) => ControlFlow::Continue(()),
        None => {
            silent = Some(late());
            ControlFlow::Continue(())
        }
    };
    cores::ask_each(node, ANSWER_WITHIN, |_, asker| order(asker), hear).await;
    match silent {
        Some(late) if found.is_none() => Err(late),
        _ => Ok(found),
    }
}

fn late() -> Problem {
    Problem::unavailable("a core did not answer in time: ask again later")
}
