//! The node's figures for everyone who looks: measured when somebody asks, once a second at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::stats::{NodeSnapshot, measure};
use crate::serve::core::Node;

/// What was seen last. All who ask share it, so that a crowd of them asks the cores once.
#[derive(Debug)]
pub(crate) struct View {
    node: Arc<Node>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Debug)]
struct Seen {
    figures: Arc<NodeSnapshot>,
    /// When all cores had answered: with a stuck one that is seconds after they were asked.
    at: Instant,
}

/// Figures younger than this are told again.
const FRESH: Duration = Duration::from_millis(900);
/// After a pause as long as this the rates are taken anew.
const STALE: Duration = Duration::from_secs(30);
/// Whoever asks first waits so long for rates of now.
const FIRST_SPAN: Duration = Duration::from_millis(100);

impl View {
    /// A view of `node`.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, seen: Mutex::default() }
    }

    /// The figures, at most a second old. Its rates are of the time since they were told before.
    pub(crate) async fn latest(&self) -> Arc<NodeSnapshot> {
        // Held while the cores are asked: who comes meanwhile gets the same answer.
        let mut seen = self.seen.lock().await;
        if let Some(fresh) = seen.as_ref().filter(|seen| seen.at.elapsed() < FRESH) {
            return Arc::clone(&fresh.figures);
        }
        let earlier = seen.as_ref().filter(|seen| seen.at.elapsed() < STALE);
        let earlier = match earlier {
            Some(earlier) => Arc::clone(&earlier.figures),
            None => {
                let first = Arc::new(measure(&self.node, None).await);
                tokio::time::sleep(FIRST_SPAN).await;
                first
            }
        };
        // Who stops waiting meanwhile leaves what was seen before.
        let figures = Arc::new(measure(&self.node, Some(&earlier)).await);
        *seen = Some(Seen { figures: Arc::clone(&figures), at: Instant::now() });
        figures
    }
}
