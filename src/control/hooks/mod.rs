//! Hooks: servers of the operator's that are asked what clients may do, and told what happens.
//!
//! An answer is awaited for `hooks.timeout`; then `on_..._error` decides. What is told waits in the
//! [`queue`] until it is heard. Each yes has one end: of a yes that reached a core, the end of its
//! [`Grant`](crate::serve::grant::Grant); of one that came too late, or may have been said unheard,
//! an end made here. Each hook has its own bounds, so that one that is slow delays no other.

mod client;
mod payload;
mod queue;
mod reply;
mod send;
mod tally;

use std::collections::HashMap;
use std::future::Future;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use self::payload::{About, Message, Teller};
use self::queue::Outbox;
use self::reply::{Opinion, Reply};
use self::send::{Failed, Sender};
pub(crate) use self::tally::{Latency, Tally};
use super::ask::Answerer;
use super::stats::measure;
use crate::config::{self, Config, Hook, OnError};
use crate::media::StreamKey;
use crate::plane::SinkStats;
use crate::serve::core::Node;
use crate::serve::event::{Event, Events, GrantEnd};
use crate::serve::verdict::{Action, Advice, ClientId, Concern, Question, Verdict};
use crate::time::RateLimit;

/// Asks and tells the servers that the configuration names.
#[derive(Debug, Clone)]
pub(crate) struct Hooks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: watch::Receiver<Arc<Config>>,
    events: Arc<Events>,
    /// Of the events, those that found no room, as far as the log knows.
    events_lost: AtomicU64,
    teller: Teller,
    sender: Sender,
    /// One for each hook.
    targets: [Target; Hook::ALL.len()],
    outbox: Outbox,
    /// Requests that wait for an answer whose client does not.
    late: Arc<Semaphore>,
    /// Clients that wait.
    open: AtomicUsize,
    /// Of log lines.
    chatter: Mutex<RateLimit>,
    /// What was granted and has not ended, by whom and what kind it is. The control thread's alone.
    granted: Mutex<HashMap<(ClientId, Discriminant<Action>), Given>>,
}

/// A yes whose end is to be told.
#[derive(Debug)]
struct Given {
    question: Arc<Question>,
    since: Instant,
}

#[derive(Debug)]
struct Target {
    /// Places for requests that somebody waits for.
    asked: Semaphore,
    /// Places for those that nobody does.
    told: Semaphore,
    tally: Tally,
}

/// Requests to one hook at once that a client waits for: a thousand viewers that come together are
/// let in in time by a server that takes 100 ms for each.
const ASKED_MAX: usize = 64;
/// The same that nobody waits for.
const TOLD_MAX: usize = 32;
/// Answers that are waited for after their time.
const LATE_MAX: usize = 64;
/// Log lines in a second.
const CHATTER_PER_SECOND: u32 = 10;
/// How long a server that stops waits for ends to be heard.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// As many connections to hook servers may be open.
pub(crate) fn connections_max(hooks: &config::Hooks) -> u64 {
    let of = |hook: &Hook| match hook {
        Hook::Connect | Hook::Publish | Hook::Play => ASKED_MAX,
        _ => TOLD_MAX,
    };
    let all: usize = Hook::ALL.iter().filter(|hook| hooks.has(**hook)).map(of).sum();
    if all == 0 { 0 } else { (all + LATE_MAX) as u64 }
}

impl Hooks {
    /// Hooks as the configuration names them, now and later.
    pub(crate) fn new(config: watch::Receiver<Arc<Config>>, events: Arc<Events>) -> Self {
        let target = |_| Target {
            asked: Semaphore::new(ASKED_MAX),
            told: Semaphore::new(TOLD_MAX),
            tally: Tally::default(),
        };
        Self(Arc::new(Inner {
            config,
            events,
            events_lost: AtomicU64::new(0),
            teller: Teller::new(),
            sender: Sender::new(),
            targets: Hook::ALL.map(target),
            outbox: Outbox::default(),
            late: Arc::new(Semaphore::new(LATE_MAX)),
            open: AtomicUsize::new(0),
            chatter: Mutex::new(RateLimit::new(CHATTER_PER_SECOND)),
            granted: Mutex::default(),
        }))
    }

    /// An answerer that asks `first`, if there is one, and then the hooks.
    pub(crate) fn after(&self, first: Option<Arc<dyn Answerer>>) -> Arc<dyn Answerer> {
        Arc::new(Decision { first, hooks: self.clone() })
    }

    /// Tells that the server has started, and from then on its figures. Inside a runtime.
    pub(crate) fn start(&self, node: Arc<Node>) {
        let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        self.tell(Hook::ServerStarted, About { more: Some(version), ..About::default() });
        tokio::spawn(self.clone().tell_stats(node));
    }

    /// Tells of what happened on a core, if that is told. Inside a runtime.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Started(question) => self.0.note(question),
            Event::Ended { question, end } => {
                self.0.granted().remove(&by(question));
                self.tell_end(question, end);
            }
            Event::NotFound(question) => {
                self.tell(Hook::NotFound, About { question: Some(question), ..About::default() });
            }
            _ => {}
        }
        let lost = self.0.events.lost();
        if self.0.events_lost.swap(lost, Ordering::Relaxed) != lost {
            self.0.warn(|suppressed| {
                tracing::warn!(lost, suppressed, "the control thread is behind: events were lost");
            });
        }
    }

    /// What has become of requests, by the key of their hook.
    pub(crate) fn tallies(&self) -> impl Iterator<Item = (&'static str, &Tally)> {
        Hook::ALL.iter().map(|hook| (hook.key(), &self.0.target(*hook).tally))
    }

    /// What was told and not yet heard.
    pub(crate) fn waiting(&self) -> usize {
        self.0.outbox.waiting()
    }

    /// The cores have stopped: waits a while until what they had to tell is heard.
    pub(crate) async fn finish(&self) {
        let late = || LATE_MAX - self.0.late.available_permits();
        let open = || self.0.open.load(Ordering::Relaxed);
        let until = Instant::now() + LAST_WORDS;
        while !self.0.events.are_heard() && Instant::now() < until {
            sleep(Duration::from_millis(1)).await;
        }
        // Of connections that the cores have left where they were.
        let left: Vec<Given> = self.0.granted().drain().map(|(_, given)| given).collect();
        for Given { question, since } in left {
            let end = GrantEnd {
                started: true,
                lasted: since.elapsed(),
                received: 0,
                sent: SinkStats::default(),
                reason: "the server stopped".into(),
            };
            self.tell_end(&question, &end);
        }
        while !self.0.events.are_heard() || self.waiting() + late() + open() > 0 {
            if Instant::now() >= until {
                let lost = self.waiting() + late() + open();
                tracing::warn!(lost, "hooks: stopping, although not all was heard");
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn tell_end(&self, question: &Question, end: &GrantEnd) {
        let hook = match question.action {
            Action::Connect { .. } => Hook::Close,
            Action::Publish(_) => Hook::PublishDone,
            Action::Play(_) => Hook::PlayDone,
        };
        self.tell(hook, About { question: Some(question), end: Some(end), more: None });
    }

    /// What a client may do.
    async fn ask(&self, question: &Arc<Question>) -> Verdict {
        let hook = match question.action {
            Action::Connect { .. } => Hook::Connect,
            Action::Publish(_) => Hook::Publish,
            Action::Play(_) => Hook::Play,
        };
        let config = self.0.config();
        if !config.hooks.has(hook) {
            return Verdict::Allow;
        }
        let _open = Open::new(&self.0.open);
        let asked = Asked { question, hook, at: Instant::now() };
        let until = asked.at + config.hooks.timeout;
        let place = timeout_at(until, self.0.target(hook).asked.acquire()).await;
        if place.is_err() {
            return self.no_answer(hook, "too many wait for its answers");
        }
        let about = About { question: Some(question), ..About::default() };
        let (inner, message) = (Arc::clone(&self.0), self.0.teller.message(hook, about));
        let longest = config.hooks.timeout + config.hooks.retry_for;
        let mut attempt = tokio::spawn(async move { inner.attempt(&message, longest).await });
        match timeout_at(until, &mut attempt).await {
            Ok(Ok(Ok(reply))) => self.verdict(&asked, &reply),
            Ok(Ok(Err(Failed { why, perhaps_heard }))) => {
                let verdict = self.no_answer(hook, &why);
                if perhaps_heard && matches!(verdict, Verdict::Deny(_)) {
                    self.take_back(&asked, "its verdict was not heard");
                }
                verdict
            }
            Ok(Err(panic)) => self.no_answer(hook, &panic.to_string()),
            Err(_) => {
                let verdict = self.no_answer(hook, "no answer in time (hooks.timeout)");
                match verdict {
                    Verdict::Deny(_) => self.wait_for_late(&asked, attempt, longest),
                    // There is a grant, which will have its end.
                    _ => self.0.give_up(hook, &attempt),
                }
                verdict
            }
        }
    }

    fn verdict(&self, asked: &Asked<'_>, reply: &Reply) -> Verdict {
        let hook = asked.hook;
        match reply.opinion() {
            Opinion::Yes { key } => match (asked.question.stream(), key) {
                (Some(stream), Some(key)) => match StreamKey::parse(&key) {
                    Ok(key) if key == *stream => Verdict::Allow,
                    Ok(key) => Verdict::AllowAs(key),
                    Err(error) => {
                        let verdict = self.no_answer(hook, &format!("data.key: {error}"));
                        if let Verdict::Deny(_) = verdict {
                            self.take_back(asked, "the stream it named cannot be one");
                        }
                        verdict
                    }
                },
                _ => Verdict::Allow,
            },
            Opinion::No(reason) => {
                Verdict::Deny(reason.unwrap_or_else(|| format!("denied (hooks.{})", hook.key())))
            }
            Opinion::Error => self.no_answer(hook, &format!("status {}", reply.status)),
        }
    }

    /// What that means for who asks. Why is for the log alone.
    fn no_answer(&self, hook: Hook, why: &str) -> Verdict {
        let hooks = &self.0.config().hooks;
        let (hook, on_error) = (hook.key(), hooks.on_error(hook));
        self.0.warn(|suppressed| {
            tracing::warn!(hook, ?on_error, suppressed, "no verdict: {why}");
        });
        match on_error {
            OnError::Allow => Verdict::Allow,
            OnError::Deny => Verdict::Deny(format!("no verdict, try again later (hooks.{hook})")),
        }
    }

    /// If it says yes after all, that has an end, which is told after it was said.
    fn wait_for_late(
        &self,
        asked: &Asked<'_>,
        attempt: JoinHandle<Result<Reply, Failed>>,
        longest: Duration,
    ) {
        let Ok(place) = Arc::clone(&self.0.late).try_acquire_owned() else {
            self.0.give_up(asked.hook, &attempt);
            return self.take_back(asked, TOO_LATE);
        };
        let (hooks, question) = (self.clone(), Arc::clone(asked.question));
        let (hook, at) = (asked.hook, asked.at);
        tokio::spawn(async move {
            let answer = timeout(longest, attempt).await;
            let said_no = match &answer {
                Ok(Ok(Ok(reply))) => {
                    tally::add(&hooks.0.target(hook).tally.failed, 1);
                    !matches!(reply.opinion(), Opinion::Yes { .. })
                }
                _ => false,
            };
            if !said_no {
                hooks.take_back(&Asked { question: &question, hook, at }, TOO_LATE);
            }
            drop(place);
        });
    }

    /// Tells the end of a yes that no client has heard of.
    fn take_back(&self, asked: &Asked<'_>, reason: &str) {
        let end = GrantEnd {
            started: false,
            lasted: asked.at.elapsed(),
            received: 0,
            sent: SinkStats::default(),
            reason: reason.into(),
        };
        self.tell_end(asked.question, &end);
    }

    /// Tells of `concern`, and hears what is to be done.
    async fn advise(&self, question: &Question, concern: Concern) -> Advice {
        let config = self.0.config();
        let (hook, patience) = match concern {
            Concern::Idle => (Hook::Idle, config.hooks.retry_for),
            // It is closed by the time that anyone would be asked again.
            Concern::Silent => (Hook::PublishTimeout, Duration::ZERO),
        };
        let about = About { question: Some(question), ..About::default() };
        self.deliver(hook, about, patience).await?.close()
    }

    /// What has become of requests, to be told.
    fn figures(&self) -> serde_json::Value {
        let figures = self.tallies().filter(|(_, tally)| tally.is_used());
        figures.map(|(hook, tally)| (hook.to_owned(), tally.figures())).collect()
    }

    async fn tell_stats(self, node: Arc<Node>) {
        let mut config = self.0.config.clone();
        let mut before = None;
        loop {
            let hooks = config.borrow_and_update().hooks.clone();
            if !hooks.has(Hook::Stats) {
                before = None;
                if config.changed().await.is_err() {
                    return;
                }
                continue;
            }
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return },
                () = sleep(hooks.stats_interval) => {
                    let now = measure(&node, before.as_ref()).await;
                    let mut figures = serde_json::to_value(&now).expect("plain values");
                    if let Some(figures) = figures.as_object_mut() {
                        // With all their streams, which may be thousands.
                        figures.remove("cores");
                        figures.insert("hooks".to_owned(), self.figures());
                    }
                    self.tell(Hook::Stats, About { more: Some(figures), ..About::default() });
                    before = Some(now);
                }
            }
        }
    }
}

/// A question on its way.
struct Asked<'a> {
    question: &'a Arc<Question>,
    hook: Hook,
    at: Instant,
}

const TOO_LATE: &str = "its verdict came too late (hooks.timeout)";

/// A client has one connect, and publishes or plays one stream at a time.
fn by(question: &Question) -> (ClientId, Discriminant<Action>) {
    (question.client, discriminant(&question.action))
}

impl Inner {
    fn granted(&self) -> MutexGuard<'_, HashMap<(ClientId, Discriminant<Action>), Given>> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A yes was said, or has come to what it was for.
    fn note(&self, question: &Arc<Question>) {
        let done = match question.action {
            Action::Connect { .. } => Hook::Close,
            Action::Publish(_) => Hook::PublishDone,
            Action::Play(_) => Hook::PlayDone,
        };
        if self.config().hooks.has(done) {
            let given = || Given { question: Arc::clone(question), since: Instant::now() };
            self.granted().entry(by(question)).or_insert_with(given);
        }
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    fn target(&self, hook: Hook) -> &Target {
        &self.targets[hook as usize]
    }

    /// One request, and what came of it.
    async fn attempt(&self, message: &Message, within: Duration) -> Result<Reply, Failed> {
        let (config, began) = (self.config(), Instant::now());
        let Some(url) = config.hooks.url(message.hook) else {
            let why = "it was taken out of the configuration".to_owned();
            return Err(Failed { why, perhaps_heard: false });
        };
        let tally = &self.target(message.hook).tally;
        tally::add(&tally.sent, 1);
        let sent = timeout(within, self.sender.post(url, &config.hooks, message)).await;
        let result = sent.unwrap_or_else(|_| {
            Err(Failed { why: format!("no answer within {within:?}"), perhaps_heard: true })
        });
        match &result {
            Ok(reply) if reply.status < 500 => tally.latency.record(began.elapsed()),
            _ => tally::add(&tally.failed, 1),
        }
        result
    }

    fn give_up(&self, hook: Hook, attempt: &JoinHandle<Result<Reply, Failed>>) {
        attempt.abort();
        tally::add(&self.target(hook).tally.failed, 1);
    }

    /// A line that may come often: it is told how many were left out.
    fn warn(&self, line: impl FnOnce(u64)) {
        let mut chatter = self.chatter.lock().expect("nobody panics with it");
        if let Some(suppressed) = chatter.allow(std::time::Instant::now()) {
            line(suppressed);
        }
    }
}

/// A client that waits.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The caller's own answerer, then the hooks.
#[derive(Debug)]
struct Decision {
    first: Option<Arc<dyn Answerer>>,
    hooks: Hooks,
}

impl Answerer for Decision {
    fn answer(
        &self,
        question: Arc<Question>,
    ) -> Pin<Box<dyn Future<Output = Verdict> + Send + '_>> {
        Box::pin(async move {
            let first = match &self.first {
                Some(first) => first.answer(Arc::clone(&question)).await,
                None => Verdict::Allow,
            };
            match first {
                Verdict::Deny(reason) => Verdict::Deny(reason),
                yes => {
                    let verdict = match self.hooks.ask(&question).await {
                        Verdict::Allow => yes,
                        other => other,
                    };
                    if !matches!(verdict, Verdict::Deny(_)) {
                        self.hooks.0.note(&question);
                    }
                    verdict
                }
            }
        })
    }

    fn advise(
        &self,
        question: Arc<Question>,
        concern: Concern,
    ) -> Pin<Box<dyn Future<Output = Advice> + Send + '_>> {
        Box::pin(async move { self.hooks.advise(&question, concern).await })
    }
}
