//! The node's figures for everyone who looks: measured when somebody asks, once a second at most.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::stats::{NodeSnapshot, measure};
use crate::serve::core::Node;

/// What was seen last. All who ask share it, so that a crowd of them costs no more than one.
#[derive(Debug)]
pub(crate) struct View {
    node: Arc<Node>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    latest: Option<Arc<NodeSnapshot>>,
}

/// Figures younger than this are told again.
const FRESH: Duration = Duration::from_millis(900);
/// After a pause as long as this the rates are taken anew.
const STALE: Duration = Duration::from_secs(30);

impl View {
    /// A view of `node`.
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, seen: Mutex::default() }
    }

    /// The figures, at most a second old. Its rates are of the time since they were told before.
    pub(crate) async fn latest(&self) -> Arc<NodeSnapshot> {
        // Held while the cores are asked: who comes meanwhile gets the same answer.
        let mut seen = self.seen.lock().await;
        let now = Instant::now();
        let age = |snapshot: &Arc<NodeSnapshot>| now.saturating_duration_since(snapshot.at);
        if let Some(latest) = seen.latest.as_ref().filter(|latest| age(latest) < FRESH) {
            return Arc::clone(latest);
        }
        let mut earlier = seen.latest.take().filter(|latest| age(latest) < STALE);
        if earlier.is_none() {
            earlier = Some(Arc::new(measure(&self.node, None).await));
            tokio::time::sleep(FIRST_SPAN).await;
        }
        let latest = Arc::new(measure(&self.node, earlier.as_deref()).await);
        seen.latest = Some(Arc::clone(&latest));
        latest
    }
}

/// Whoever asks first waits so long for rates of now.
const FIRST_SPAN: Duration = Duration::from_millis(100);
