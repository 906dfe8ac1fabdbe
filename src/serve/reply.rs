use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Answers that connections of one core wait for, by number. An answer nobody waits for any more
/// is handed back to whoever brings it.
#[derive(Debug)]
pub(crate) struct Replies<T> {
    next: Cell<u64>,
    waiting: RefCell<HashMap<u64, Slot<T>>>,
}

#[derive(Debug)]
enum Slot<T> {
    Waiting(Option<Waker>),
    Answered(T),
}

impl<T> Default for Replies<T> {
    fn default() -> Self {
        Self { next: Cell::new(0), waiting: RefCell::default() }
    }
}

impl<T> Replies<T> {
    /// A new number, and the place where its answer will be.
    pub(crate) fn expect(self: &Rc<Self>) -> Reply<T> {
        let id = self.next.get();
        self.next.set(id + 1);
        self.waiting.borrow_mut().insert(id, Slot::Waiting(None));
        Reply { id, replies: Rc::clone(self) }
    }

    /// Brings an answer. `Err`: the one who asked is gone.
    pub(crate) fn answer(&self, id: u64, answer: T) -> Result<(), T> {
        let mut waiting = self.waiting.borrow_mut();
        let Some(slot) = waiting.get_mut(&id) else { return Err(answer) };
        if let Slot::Waiting(Some(waker)) = std::mem::replace(slot, Slot::Answered(answer)) {
            waker.wake();
        }
        Ok(())
    }
}

/// One awaited answer. Dropping it says that nobody waits any more.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    id: u64,
    replies: Rc<Replies<T>>,
}

impl<T> Reply<T> {
    /// The number the answer comes with.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Ready once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let mut waiting = self.replies.waiting.borrow_mut();
        match waiting.remove(&self.id) {
            Some(Slot::Answered(answer)) => Poll::Ready(answer),
            _ => {
                waiting.insert(self.id, Slot::Waiting(Some(cx.waker().clone())));
                Poll::Pending
            }
        }
    }

    /// An answer that came but was not looked at.
    pub(crate) fn take(&self) -> Option<T> {
        match self.replies.waiting.borrow_mut().remove(&self.id) {
            Some(Slot::Answered(answer)) => Some(answer),
            _ => None,
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // The answer is dropped outside the borrow: it may have something to give back.
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_answer_comes_back_to_its_bearer() {
        let replies = Rc::new(Replies::default());
        let reply = replies.expect();
        let id = reply.id();
        drop(reply);
        assert_eq!(replies.answer(id, "late"), Err("late"));
    }

    #[test]
    fn an_answer_is_given_once_to_the_one_who_asked() {
        let replies = Rc::new(Replies::default());
        let (mut first, mut second) = (replies.expect(), replies.expect());
        assert_eq!(replies.answer(second.id(), 2), Ok(()));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(first.poll(&mut cx), Poll::Pending);
        assert_eq!(second.poll(&mut cx), Poll::Ready(2));
    }
}
