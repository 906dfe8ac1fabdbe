//! The flush loop: the one writer of every attached viewer on this core.

use std::cell::RefCell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{fd, rt};
use crate::plane::{Hub, HubEvent};

/// A turn ends after this time or that many bytes; then ingest gets its own.
const TURN: Duration = Duration::from_millis(1);
const TURN_BYTES: usize = 1 << 20;

/// Runs for as long as the core does. `on_event` hears what the plane has to tell.
pub async fn run(hub: Rc<RefCell<Hub>>, mut on_event: impl FnMut(HubEvent)) {
    loop {
        {
            let mut hub = hub.borrow_mut();
            let now = Instant::now();
            hub.set_now(now);
            hub.handle_timeout(now);
        }
        let more = turn(&hub);
        while let Some(event) = next_event(&hub) {
            on_event(event);
        }
        if more {
            rt::yield_now().await;
        } else {
            sleep(&hub).await;
        }
    }
}

fn next_event(hub: &RefCell<Hub>) -> Option<HubEvent> {
    hub.borrow_mut().poll_event()
}

/// Visits sinks until nothing is due or the turn is over. Answers true if more is due.
fn turn(hub: &RefCell<Hub>) -> bool {
    let start = Instant::now();
    let mut written = 0;
    loop {
        let now = Instant::now();
        if now - start >= TURN || written >= TURN_BYTES {
            return true;
        }
        let Some(id) = hub.borrow_mut().next_visit(now) else { return false };
        // A fault in one stream must not end the loop that serves all of them.
        let visit = catch_unwind(AssertUnwindSafe(|| {
            let mut hub = hub.borrow_mut();
            let (socket, slices) = hub.slices(id, now);
            let offered = slices.iter().map(|slice| slice.len()).sum();
            if offered > 0 {
                let outcome = fd::send(socket, &slices);
                drop(slices);
                hub.wrote(id, offered, outcome, now);
            }
            offered
        }));
        match visit {
            Ok(offered) => written += offered,
            Err(_) => hub.borrow_mut().abort_source_of(id, now),
        }
    }
}

async fn sleep(hub: &RefCell<Hub>) {
    let mut deadline = rt::Deadline::default();
    let mut first = true;
    poll_fn(|cx| {
        let mut hub = hub.borrow_mut();
        let until = hub.poll_timeout(Instant::now());
        if deadline.poll(cx, until).is_ready() {
            return Poll::Ready(());
        }
        hub.sleep(until, cx.waker());
        // Woken before its time: look again at what is due.
        if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}
