//! Hooks: servers of the operator's that are asked what clients may do, and told what happens.
//!
//! An answer is awaited for `hooks.timeout`; then `on_..._error` decides. What is told waits in the
//! [`queue`] until it is heard. Each yes has one end: of a yes that reached a core, the end of its
//! [`Grant`](crate::serve::grant::Grant); of one that came too late, or may have been said unheard,
//! an end made here. Each hook has its own bounds, so that one that is slow delays no other.

mod asking;
mod client;
mod ledger;
mod payload;
mod queue;
pub(crate) mod reply;
mod send;
mod tally;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub(crate) use self::client::check_authorities;
use self::ledger::Ledger;
use self::payload::{About, Message, Teller};
use self::queue::Outbox;
use self::reply::Reply;
use self::send::{Failed, Sender};
pub(crate) use self::tally::{Latency, Tally};
use super::stats::measure;
use crate::config::{self, Config, Hook};
use crate::serve::core::Node;
use crate::serve::event::{Event, Events, GrantEnd, Recorded};
use crate::serve::verdict::{Action, Advice, Concern, Question};
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
    /// The control thread's alone.
    granted: Ledger,
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
/// How often ends are looked for that were lost, if anything was.
const LOST_ENDS_EVERY: Duration = Duration::from_secs(10);
/// How long a server that stops waits for ends to be heard.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long it does so without a word in the log: hook servers that are well have answered.
const QUIET: Duration = Duration::from_millis(500);

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
            granted: Ledger::default(),
        }))
    }

    /// Tells that the server has started, and from then on its figures. Inside a runtime.
    pub(crate) fn start(&self, node: Arc<Node>) {
        let version = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        self.tell(Hook::ServerStarted, About { more: Some(version), ..About::default() });
        tokio::spawn(self.clone().tell_stats(node));
        tokio::spawn(self.clone().find_lost_ends());
        tokio::spawn(self.clone().trust_anew());
    }

    /// Tells of what happened on a core, if that is told. Inside a runtime.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Started(question) => self.note(question, true),
            Event::Ended { question, end } => {
                let is_new = self.0.granted.strike(question);
                if is_new {
                    self.tell_end(question, end);
                }
            }
            Event::NotFound(question) => {
                self.tell(Hook::NotFound, About { question: Some(question), ..About::default() });
            }
            Event::RecordStarted(recording) => {
                let mut more = of_recording(recording);
                more["state"] = "started".into();
                self.tell(Hook::Record, About { more: Some(more), ..About::default() });
            }
            Event::RecordEnded { recording, end } => {
                let mut more = of_recording(recording);
                more["state"] = "ended".into();
                more["reason"] = (*end.reason).into();
                more["failed"] = end.failed.into();
                more["files"] = end.files.into();
                more["bytes"] = end.bytes.into();
                self.tell(Hook::Record, About { more: Some(more), ..About::default() });
            }
            Event::Segment { recording, segment } => {
                let mut more = of_recording(recording);
                more["file"] = (*segment.file).into();
                more["sidecar"] = (*segment.sidecar).into();
                more["sequence"] = segment.sequence.into();
                more["bytes"] = segment.bytes.into();
                more["duration_s"] = segment.lasted.as_secs_f64().into();
                self.tell(Hook::Segment, About { more: Some(more), ..About::default() });
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

    /// The cores have stopped: waits until what they had to tell is heard, a while, and not after
    /// `once_more`.
    pub(crate) async fn finish(&self, once_more: impl Future<Output = ()>) {
        let why = tokio::select! {
            biased;
            () = self.all_heard() => return,
            () = sleep(LAST_WORDS) => "stopping",
            () = once_more => "told to stop once more",
        };
        self.tell_rest();
        tracing::warn!(lost = self.unheard(), "hooks: {why}, although not all was heard");
    }

    async fn all_heard(&self) {
        while !self.0.events.are_heard() {
            sleep(Duration::from_millis(1)).await;
        }
        let mut says_at = Some(Instant::now() + QUIET);
        loop {
            // Again and again: what is granted now reaches no core any more.
            self.tell_rest();
            let waiting = self.unheard();
            if waiting == 0 && self.0.events.are_heard() {
                return;
            }
            if says_at.take_if(|at| *at <= Instant::now()).is_some() {
                tracing::info!(
                    waiting,
                    "hooks: waits up to {LAST_WORDS:?} for their servers; SIGINT or SIGTERM ends that"
                );
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What is told or asked and has no answer yet.
    fn unheard(&self) -> usize {
        let late = LATE_MAX - self.0.late.available_permits();
        self.waiting() + late + self.0.open.load(Ordering::Relaxed)
    }

    /// Tells the ends of what no core will end: it has stopped, or is taken to have.
    fn tell_rest(&self) {
        for (question, end) in self.0.granted.end_all("the server stopped") {
            self.tell_end(&question, &end);
        }
    }

    /// A yes is about to be said to `question`.
    pub(crate) fn grants(&self, question: &Arc<Question>) {
        self.note(question, false);
    }

    fn note(&self, question: &Arc<Question>, started: bool) {
        if self.0.config().hooks.has(of_end(question)) {
            self.0.granted.enter(question, started);
        }
    }

    fn tell_end(&self, question: &Question, end: &GrantEnd) {
        let hook = of_end(question);
        self.tell(hook, About { question: Some(question), end: Some(end), more: None });
    }

    /// Tells of `concern`, and hears what is to be done.
    pub(crate) async fn advise(&self, question: &Question, concern: Concern) -> Advice {
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

    /// Tells the ends of those whose cores have told them to a queue that was full.
    async fn find_lost_ends(self) {
        loop {
            sleep(LOST_ENDS_EVERY).await;
            if self.0.events.lost() > 0 {
                self.tell_lost_ends();
            }
        }
    }

    fn tell_lost_ends(&self) {
        for given in self.0.granted.take_lost() {
            self.tell_end(&given.question, &given.end("its end was lost: the server was too busy"));
        }
    }

    /// Reads after each reload whom to trust: it may be others, by the same name.
    async fn trust_anew(self) {
        let mut config = self.0.config.clone();
        while config.changed().await.is_ok() {
            let config = Arc::clone(&config.borrow_and_update());
            if let Err(error) = self.0.sender.trust_anew(config).await {
                tracing::error!("those who were trusted before are: {error}");
            }
        }
    }

    async fn tell_stats(self, node: Arc<Node>) {
        let mut config = self.0.config.clone();
        let (mut before, mut told) = (None, Instant::now());
        loop {
            let hooks = config.borrow_and_update().hooks.clone();
            if !hooks.has(Hook::Stats) {
                before = None;
                if config.changed().await.is_err() {
                    return;
                }
                told = Instant::now();
                continue;
            }
            tokio::select! {
                changed = config.changed() => if changed.is_err() { return },
                // However often the configuration changes.
                () = sleep_until(told + hooks.stats_interval) => {
                    told = Instant::now();
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

/// What is told of each recording.
fn of_recording(recording: &Recorded) -> serde_json::Value {
    serde_json::json!({
        "app": recording.key.app(),
        "stream": recording.key.name(),
        "key": recording.key.as_str(),
        "recording": recording.id,
        "format": recording.format,
    })
}

/// What is told the end of what `question` asks for.
fn of_end(question: &Question) -> Hook {
    match question.action {
        Action::Connect { .. } => Hook::Close,
        Action::Publish(_) => Hook::PublishDone,
        Action::Play(_) => Hook::PlayDone,
    }
}

impl Inner {
    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.borrow())
    }

    fn target(&self, hook: Hook) -> &Target {
        &self.targets[hook as usize]
    }

    /// One request, and what came of it.
    async fn attempt(
        &self,
        message: &Message,
        config: &Config,
        within: Duration,
    ) -> Result<Reply, Failed> {
        let began = Instant::now();
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
            Ok(reply) if reply.is_well(message.hook) => tally.latency.record(began.elapsed()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::grant::Grant;

    fn of_config(text: &str, events: &Arc<Events>) -> Hooks {
        let config = Arc::new(Config::load(text, "test", []).expect("valid"));
        Hooks::new(watch::channel(config).1, Arc::clone(events))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_end_that_found_no_room_is_told_nevertheless_and_forgotten() {
        let (events, mut heard) = Events::new(1);
        // Nobody listens there, so that what is told waits.
        let hooks = of_config("hooks.on_close = 'http://127.0.0.1:1/'", &events);
        let grant = || {
            let grant = Grant::new(Arc::new(Question::to_connect()), Arc::clone(&events));
            hooks.grants(grant.question());
            grant
        };
        let (mut ends, stays) = (grant(), grant());
        // Its start fills the queue.
        ends.start();
        drop(ends);
        hooks.tell_lost_ends();
        assert_eq!(hooks.waiting(), 0, "its start may come to be heard");
        hooks.hear(&heard.try_recv().expect("there was room"));
        hooks.tell_lost_ends();
        assert_eq!(hooks.waiting(), 1);
        // The other has an end of its own, and none besides.
        drop(stays);
        hooks.hear(&heard.try_recv().expect("there is room"));
        hooks.tell_lost_ends();
        assert_eq!((hooks.waiting(), hooks.0.granted.end_all("").len()), (2, 0));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_the_stop_of_the_server_has_ended_has_no_other_end() {
        let (events, mut heard) = Events::new(8);
        let hooks = of_config("hooks.on_close = 'http://127.0.0.1:1/'", &events);
        let mut grant = Grant::new(Arc::new(Question::to_connect()), Arc::clone(&events));
        hooks.grants(grant.question());
        hooks.tell_rest();
        assert_eq!(hooks.waiting(), 1);
        // Its core was only slow.
        grant.start();
        drop(grant);
        while let Ok(event) = heard.try_recv() {
            hooks.hear(&event);
            hooks.tell_rest();
        }
        hooks.tell_lost_ends();
        assert_eq!(hooks.waiting(), 1);
    }
}
