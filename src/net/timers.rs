//! One queue of deadlines per core. glommio's own timers walk their whole map at each turn of
//! the reactor; thousands of connections want a deadline, so here a look costs the soonest one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::Alarm;

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

#[derive(Default)]
struct Queue {
    entries: BTreeMap<(Instant, u64), Waker>,
    serial: u64,
    /// The task that sleeps for everyone, and until when.
    sleeper: Option<(Option<Instant>, Waker)>,
}

/// A deadline that can be waited for and moved. Moving it later costs nothing until the old one
/// has passed, so a deadline that is pushed back by each packet is cheap.
#[derive(Debug, Default)]
pub struct Deadline {
    queued: Option<(Instant, u64)>,
}

impl Deadline {
    /// Ready when `at` has passed; never if it is `None`. A later call may name another time.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else {
            self.cancel();
            return Poll::Pending;
        };
        let now = Instant::now();
        if at <= now {
            self.cancel();
            return Poll::Ready(());
        }
        if self.queued.is_some_and(|(queued, _)| queued > at || queued <= now) {
            self.cancel();
        }
        QUEUE.with_borrow_mut(|queue| match self.queued {
            Some(key) => {
                if let Some(waker) = queue.entries.get_mut(&key) {
                    waker.clone_from(cx.waker());
                }
            }
            None => self.queued = Some(queue.add(at, cx.waker().clone())),
        });
        Poll::Pending
    }

    fn cancel(&mut self) {
        if let Some(key) = self.queued.take() {
            // The thread's storage may be gone when the executor drops its last tasks.
            let _ = QUEUE.try_with(|queue| queue.borrow_mut().entries.remove(&key));
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Queue {
    fn add(&mut self, at: Instant, waker: Waker) -> (Instant, u64) {
        self.serial += 1;
        let key = (at, self.serial);
        self.entries.insert(key, waker);
        if self.sleeper.as_ref().is_some_and(|(until, _)| until.is_none_or(|until| at < until)) {
            let (_, waker) = self.sleeper.take().expect("just looked at");
            waker.wake();
        }
        key
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some(entry) = self.entries.first_entry().filter(|entry| entry.key().0 <= now) {
            entry.remove().wake();
        }
    }
}

/// The longest sleep of a core at work, which is one with a deadline within [`AT_WORK`], unless
/// something is due [`SOON`] anyway: the runtime may lose what should have woken it, see [`Alarm`],
/// and a stream cannot wait for that.
const NAP: Duration = Duration::from_millis(100);
/// Wherever anything is published or watched, something is due within this time.
const AT_WORK: Duration = Duration::from_secs(1);
/// So what is lost may cost half a second. A core with streams that are flushed once per window has
/// something due so soon, and naps beside that would cost it more than its streams do.
const SOON: Duration = Duration::from_millis(500);
/// What ends a sleep may be lost in the same way; then the next of these ends it. Milliseconds.
const AFTER_MS: [u64; 4] = [0, 5, 50, 500];

/// Wakes whose time has come, for as long as the core runs. One per core.
pub(super) async fn run(alarm: &Alarm) {
    let mut timers = None;
    poll_fn(|cx| -> Poll<()> {
        loop {
            let now = Instant::now();
            let until = QUEUE.with_borrow_mut(|queue| {
                queue.wake_due(now);
                let until = queue.entries.first_key_value().map(|((at, _), _)| *at);
                queue.sleeper = Some((until, cx.waker().clone()));
                until
            });
            alarm.set(until, cx.waker());
            let Some(until) = until else {
                timers = None;
                return Poll::Pending;
            };
            let wait = until.saturating_duration_since(now);
            let wait = if wait > SOON && wait <= AT_WORK { NAP } else { wait };
            let wait = wait.max(Duration::from_micros(50));
            // A timer is with the runtime from its first poll until it is dropped.
            let timer = |ms| glommio::timer::Timer::new(wait + Duration::from_millis(ms));
            let timers = timers.insert(AFTER_MS.map(timer));
            let polls = timers.each_mut().map(|timer| Pin::new(timer).poll(cx));
            if polls.iter().all(Poll::is_pending) {
                return Poll::Pending;
            }
        }
    })
    .await;
}
