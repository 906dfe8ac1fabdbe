//! What is told: heard at least once, or counted as lost.
//!
//! What is told of one connection is told one after the other; connections do not wait for each
//! other.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::payload::{About, Message};
use super::reply::Reply;
use super::{Hooks, Inner, tally};
use crate::config::Hook;
use crate::serve::verdict::ClientId;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// A lane is there while something of its connection is being told; what comes then waits in
    /// it. The node itself has one, too.
    lanes: Mutex<HashMap<Option<ClientId>, VecDeque<Notice>>>,
    waiting: AtomicUsize,
}

/// A message, and how long it is tried.
#[derive(Debug)]
struct Notice {
    message: Message,
    until: Instant,
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Outbox {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Puts `notice` into its lane, or hands it back: then the lane is new.
    fn put(&self, lane: Option<ClientId>, notice: Notice) -> Option<Notice> {
        let mut lanes = self.lanes.lock().expect("nobody panics with it");
        match lanes.get_mut(&lane) {
            Some(before) => {
                before.push_back(notice);
                None
            }
            None => {
                lanes.insert(lane, VecDeque::new());
                Some(notice)
            }
        }
    }

    /// The next of `lane`, which ends with the last.
    fn next(&self, lane: Option<ClientId>) -> Option<Notice> {
        let mut lanes = self.lanes.lock().expect("nobody panics with it");
        let next = lanes.get_mut(&lane).and_then(VecDeque::pop_front);
        if next.is_none() {
            lanes.remove(&lane);
        }
        next
    }
}

impl Hooks {
    /// Tells `hook` of `about`, if it is told, now or as soon as it hears. Inside a runtime.
    pub(super) fn tell(&self, hook: Hook, about: About<'_>) {
        let lane = about.question.map(|question| question.client);
        let retry_for = self.0.config().hooks.retry_for;
        let Some(notice) = self.notice(hook, about, retry_for) else { return };
        if let Some(notice) = self.0.outbox.put(lane, notice) {
            tokio::spawn(self.clone().empty(lane, notice));
        }
    }

    /// The same, and waits for the answer.
    pub(super) async fn deliver(
        &self,
        hook: Hook,
        about: About<'_>,
        patience: Duration,
    ) -> Option<Reply> {
        let notice = self.notice(hook, about, patience)?;
        let reply = self.0.deliver(&notice).await;
        self.0.outbox.waiting.fetch_sub(1, Ordering::Relaxed);
        reply
    }

    /// Counts as waiting from here on.
    fn notice(&self, hook: Hook, about: About<'_>, patience: Duration) -> Option<Notice> {
        let (inner, config) = (&self.0, self.0.config());
        if !config.hooks.has(hook) {
            return None;
        }
        if inner.outbox.waiting() >= config.hooks.queue {
            let client = about.question.map(|question| question.client);
            inner.lose(hook, client, "too much waits to be heard (hooks.queue)");
            return None;
        }
        inner.outbox.waiting.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + patience;
        Some(Notice { message: inner.teller.message(hook, about), until })
    }

    /// Tells what is in `lane`, `first` first.
    async fn empty(self, lane: Option<ClientId>, first: Notice) {
        let mut next = Some(first);
        while let Some(notice) = next {
            self.0.deliver(&notice).await;
            self.0.outbox.waiting.fetch_sub(1, Ordering::Relaxed);
            next = self.0.outbox.next(lane);
        }
    }
}

impl Inner {
    /// Tries until it is heard. `None`: it was not.
    async fn deliver(&self, notice: &Notice) -> Option<Reply> {
        let Notice { message, until } = notice;
        let hook = message.hook;
        let target = self.target(hook);
        let (mut pause, mut why) = (FIRST_PAUSE, "too many wait to be heard".to_owned());
        let mut again = false;
        // Whatever is not told again is told once, even if many come together.
        let mut place_until = (*until).max(Instant::now() + self.config().hooks.timeout);
        while let Ok(place) = timeout_at(place_until, target.told.acquire()).await {
            place_until = *until;
            let config = self.config();
            if !config.hooks.has(hook) {
                return None;
            }
            let was_tried = std::mem::replace(&mut again, true);
            tally::add(&target.tally.retried, u64::from(was_tried));
            why = match self.attempt(message, &config, config.hooks.timeout).await {
                Ok(reply) if reply.is_heard() => return Some(reply),
                Ok(reply) => format!("status {}", reply.status),
                Err(failed) => failed.why,
            };
            drop(place);
            let rest = jittered(pause);
            if Instant::now() + rest >= *until {
                break;
            }
            let (hook, event) = (hook.key(), &*message.event_id);
            let client = message.client.map(tracing::field::display);
            if was_tried {
                tracing::debug!(hook, client, event, "not heard again: {why}");
            } else {
                self.warn(|suppressed| {
                    let tells = "not heard, and tried again";
                    tracing::warn!(hook, client, event, suppressed, "{tells}: {why}");
                });
            }
            sleep(rest).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.lose(hook, message.client, &why);
        None
    }

    fn lose(&self, hook: Hook, client: Option<ClientId>, why: &str) {
        tally::add(&self.target(hook).tally.lost, 1);
        let (hook, client) = (hook.key(), client.map(tracing::field::display));
        self.warn(|suppressed| {
            tracing::warn!(hook, client, suppressed, "lost, as nobody heard it: {why}");
        });
    }
}

/// Four fifths to six fifths of `pause`, so that those who failed together do not come together.
fn jittered(pause: Duration) -> Duration {
    // The hasher's keys are random.
    let random = RandomState::new().build_hasher().finish() as u32;
    pause.mul_f64(0.8 + 0.4 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_differ_and_keep_to_their_length() {
        let pauses: Vec<_> = (0..100).map(|_| jittered(FIRST_PAUSE)).collect();
        let least = Duration::from_millis(399);
        assert!(pauses.iter().all(|pause| *pause >= least && *pause <= least + FIRST_PAUSE / 2));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }
}
