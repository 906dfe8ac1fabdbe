use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::serve::core::Node;

/// The place of a file that is open for a replay, given back on drop.
#[derive(Debug)]
pub(super) struct Seat(Arc<Node>);

impl Seat {
    /// One of `most`, if there is one.
    pub(super) fn take(node: &Arc<Node>, most: usize) -> Option<Self> {
        let seat = Self(Arc::clone(node));
        let before = node.replays.fetch_add(1, Ordering::Relaxed);
        // None: it is given back at once.
        (before < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.replays.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::Mesh;

    #[test]
    fn there_are_as_many_as_may_be_and_one_that_is_given_back_is_there_again() {
        let node = Arc::new(Node::new(Mesh::new(1, 16)));
        let first = Seat::take(&node, 2);
        let second = Seat::take(&node, 2);
        assert!(first.is_some() && second.is_some() && Seat::take(&node, 2).is_none());
        drop(first);
        assert!(Seat::take(&node, 2).is_some());
        drop(second);
        assert_eq!(node.replays.load(Ordering::Relaxed), 0);
    }
}
