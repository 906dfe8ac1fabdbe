//! Panics stay where they happen: one closes one connection, one input or one recording, and nobody
//! else loses a byte.
//!
//! The loops that a core lives by (its inbox, its flush loop) go on after one; only the message or the
//! stream that they were at is given up. Those that nothing from outside gets into, such as the one
//! that counts seconds, are not guarded: a core without them is better ended, and started anew.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::core::Core;
use crate::net::rt;

/// Runs `task` on this core. If it panics it is over, and `told` is to say so, and to do what the
/// task has left undone.
pub(super) fn spawn(
    core: &Rc<Core>,
    task: impl Future<Output = ()> + 'static,
    told: impl Fn() + 'static,
) {
    rt::spawn(Guarded { core: Rc::clone(core), told, task });
}

/// Runs one step of a loop that goes on whatever becomes of it. None: it panicked.
pub(super) fn step<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

pin_project_lite::pin_project! {
    /// One piece of memory, of which there may be many thousands.
    struct Guarded<F, T> {
        core: Rc<Core>,
        told: T,
        #[pin]
        task: F,
    }
}

impl<F: Future<Output = ()>, T: Fn()> Future for Guarded<F, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let polled = this.core.turn(|| step(|| this.task.poll(cx)));
        polled.unwrap_or_else(|| {
            (this.told)();
            Poll::Ready(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot;

    use super::*;
    use crate::media::StreamKey;
    use crate::plane::Publisher;
    use crate::serve::core::Node;
    use crate::serve::order::Order;
    use crate::serve::{Mesh, Tell};
    use crate::shard::CoreId;

    #[test]
    fn a_panic_in_a_task_ends_its_source_and_nothing_else() {
        let node = Arc::new(Node { connections_max: 10, ..Node::new(Mesh::new(1, 16)) });
        let main = move || async move {
            let core = Core::new(CoreId(0), node, Arc::default());
            core.start();
            let [bad, good] =
                ["bad", "good"].map(|name| StreamKey::new("live", name).expect("valid"));
            let publish = |key: &StreamKey| {
                let request = core.claim(key).expect("the only core");
                Publisher::acquire(core.hub(), request, Instant::now()).expect("nobody is there")
            };
            let (publisher, other) = (publish(&bad), publish(&good));
            let hub = Rc::clone(core.hub());
            let told = Rc::new(std::cell::Cell::new(0));
            let tell = Rc::clone(&told);
            let task = async move {
                let _held = publisher;
                // In the midst of the plane, as a bug there would be.
                let _hub = hub.borrow_mut();
                panic!("as the test wants it");
            };
            spawn(&core, task, move || tell.set(tell.get() + 1));
            let gave_up = Instant::now() + Duration::from_secs(20);
            while core.hub().borrow().holds(&bad) && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert!(!core.hub().borrow().holds(&bad), "the source has ended");
            assert_eq!(told.get(), 1);
            assert!(core.hub().borrow().holds(&good));
            assert!(other.poll_end(&mut Context::from_waker(Waker::noop())).is_pending());
            // The home core has heard of it too.
            while core.directory.borrow().len() > 1 && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(core.directory.borrow().len(), 1);
            publish(&bad);
        };
        rt::on_a_core(main);
    }

    #[test]
    #[allow(clippy::await_holding_refcell_ref, reason = "it makes the core panic")]
    fn a_message_that_makes_a_core_panic_is_given_up_and_the_next_one_is_heard() {
        let node = Arc::new(Node::new(Mesh::new(1, 16)));
        let main = move || async move {
            let core = Core::new(CoreId(0), node, Arc::default());
            core.start();
            let tell = |message| core.node.mesh.try_tell(core.id, message).expect("there is room");
            // It stays borrowed, as if a bug had left it so.
            std::mem::forget(core.directory.borrow_mut());
            let key = StreamKey::new("live", "bad").expect("valid");
            tell(Tell::TicketUsed { key, epoch: 1, empty: true });
            let (asker, answer) = oneshot::channel();
            tell(Tell::Order(Order::Measure(asker)));
            answer.await.expect("it is still there, and has heard of both");
        };
        rt::on_a_core(main);
    }
}
