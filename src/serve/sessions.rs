//! The sessions of a core, which are to say how they ended before it stops.
//!
//! There are as many as connections, so a place among them is a number and no more: whose list it
//! is in follows from the thread.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::task::Waker;

use slab::Slab;

/// Those of this thread's core that have not said it.
#[derive(Debug, Default)]
struct Sessions {
    wakers: RefCell<Slab<Waker>>,
    end: Cell<bool>,
}

thread_local! {
    static OF_THIS_CORE: Sessions = Sessions::default();
}

/// A session's place among them, given back on drop. It does not leave its thread.
#[derive(Debug)]
pub(crate) struct Listed(NonZeroU32, std::marker::PhantomData<*const ()>);

/// Whoever it is that waits with `waker`, which a task has for all its life.
pub(crate) fn list(waker: &Waker) -> Listed {
    let place = OF_THIS_CORE.with(|it| it.wakers.borrow_mut().insert(waker.clone()));
    let number = u32::try_from(place + 1).ok().and_then(NonZeroU32::new);
    Listed(number.expect("fewer connections than 2^32"), std::marker::PhantomData)
}

/// Has all of them end now, and those that come.
pub(crate) fn end() {
    OF_THIS_CORE.with(|it| {
        it.end.set(true);
        it.wakers.borrow().iter().for_each(|(_, waker)| waker.wake_by_ref());
    });
}

/// True from then on.
pub(crate) fn are_to_end() -> bool {
    OF_THIS_CORE.with(|it| it.end.get())
}

/// True if all have said how they ended.
pub(crate) fn is_empty() -> bool {
    OF_THIS_CORE.with(|it| it.wakers.borrow().is_empty())
}

impl Drop for Listed {
    fn drop(&mut self) {
        // Err: the thread ends, and the list has gone before.
        let _ = OF_THIS_CORE.try_with(|it| {
            it.wakers.borrow_mut().try_remove(self.0.get() as usize - 1);
        });
    }
}
