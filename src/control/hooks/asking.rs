//! What a client may do: a hook server's answer, in time or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::payload::About;
use super::reply::{Opinion, Reply};
use super::send::Failed;
use super::{Hooks, tally};
use crate::config::{Config, Hook, OnError, RecordFormat};
use crate::media::StreamKey;
use crate::plane::SinkStats;
use crate::serve::event::GrantEnd;
use crate::serve::verdict::{Action, Question, Record, Terms, Verdict};

/// A question on its way.
struct Asked<'a> {
    question: &'a Arc<Question>,
    /// What the core that asks went by: a reload does not change it half way.
    config: &'a Arc<Config>,
    hook: Hook,
    at: Instant,
}

const TOO_LATE: &str = "its verdict came too late (hooks.timeout)";

impl Hooks {
    /// What a client may do, by the hooks of `config`: that of the core which asks. During a reload that
    /// may be another than ours, and what its rules leave to a hook is no other's to allow.
    pub(crate) async fn ask(&self, question: &Arc<Question>, config: &Arc<Config>) -> Verdict {
        let hook = match question.action {
            Action::Connect { .. } => Hook::Connect,
            Action::Publish(_) => Hook::Publish,
            Action::Play(_) => Hook::Play,
        };
        if !config.hooks.has(hook) {
            return Verdict::Allow;
        }
        let _open = Open::new(&self.0.open);
        let asked = Asked { question, config, hook, at: Instant::now() };
        let until = asked.at + config.hooks.timeout;
        let place = timeout_at(until, self.0.target(hook).asked.acquire()).await;
        if place.is_err() {
            return self.no_answer(&asked, "too many wait for its answers");
        }
        let about = About { question: Some(question), ..About::default() };
        let (inner, message) = (Arc::clone(&self.0), self.0.teller.message(hook, about));
        let longest = config.hooks.timeout + config.hooks.retry_for;
        let by = Arc::clone(config);
        let mut attempt = tokio::spawn(async move { inner.attempt(&message, &by, longest).await });
        match timeout_at(until, &mut attempt).await {
            Ok(Ok(Ok(reply))) => self.verdict(&asked, &reply),
            Ok(Ok(Err(Failed { why, perhaps_heard }))) => {
                let verdict = self.no_answer(&asked, &why);
                if perhaps_heard && matches!(verdict, Verdict::Deny(_)) {
                    self.take_back(&asked, "its verdict was not heard");
                }
                verdict
            }
            Ok(Err(panic)) => self.no_answer(&asked, &panic.to_string()),
            Err(_) => {
                let verdict = self.no_answer(&asked, "no answer in time (hooks.timeout)");
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
        let hook = asked.hook.key();
        let denied = || format!("denied (hooks.{hook})");
        match reply.opinion() {
            Opinion::Yes { key, record } => match terms(asked, key, record) {
                Ok(terms) if terms == Terms::default() => Verdict::Allow,
                Ok(terms) => Verdict::AllowWith(terms),
                Err(Undoable { what, why }) => {
                    let verdict = self.no_answer(asked, &why);
                    if let Verdict::Deny(_) = verdict {
                        self.take_back(asked, what);
                    }
                    verdict
                }
            },
            Opinion::No(reason) => Verdict::Deny(reason.unwrap_or_else(denied)),
            Opinion::Unclear => {
                let (status, body) = (reply.status, &*reply.excerpt());
                self.0.warn(|suppressed| {
                    tracing::warn!(
                        hook,
                        client = %asked.question.client,
                        status,
                        body,
                        suppressed,
                        "neither yes nor no, which counts as no: is the URL that of a hook server?"
                    );
                });
                Verdict::Deny(denied())
            }
            Opinion::Error => self.no_answer(asked, &format!("status {}", reply.status)),
        }
    }

    /// What that means for who asks. Why is for the log alone.
    fn no_answer(&self, asked: &Asked<'_>, why: &str) -> Verdict {
        let (hook, on_error) = (asked.hook.key(), asked.config.hooks.on_error(asked.hook));
        let client = asked.question.client;
        self.0.warn(|suppressed| {
            tracing::warn!(hook, %client, ?on_error, suppressed, "no verdict: {why}");
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
        let hooks = self.clone();
        let (question, config) = (Arc::clone(asked.question), Arc::clone(asked.config));
        let (hook, at) = (asked.hook, asked.at);
        tokio::spawn(async move {
            let answer = timeout(longest, attempt).await;
            let said_no = match &answer {
                Ok(Ok(Ok(reply))) => {
                    // Else it has been counted as such.
                    let in_time = u64::from(reply.is_well(hook));
                    tally::add(&hooks.0.target(hook).tally.failed, in_time);
                    !matches!(reply.opinion(), Opinion::Yes { .. })
                }
                _ => false,
            };
            if !said_no {
                let asked = Asked { question: &question, config: &config, hook, at };
                hooks.take_back(&asked, TOO_LATE);
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
}

/// A yes to what cannot be.
struct Undoable {
    /// For whoever said it.
    what: &'static str,
    /// For the log.
    why: String,
}

/// How what was granted differs from what was asked for.
fn terms(asked: &Asked<'_>, key: Option<String>, record: Option<Value>) -> Result<Terms, Undoable> {
    let Some(stream) = asked.question.stream() else { return Ok(Terms::default()) };
    let key = key.map(|key| {
        StreamKey::parse(&key).map_err(|error| Undoable {
            what: "the stream it named cannot be one",
            why: format!("data.key: {error}"),
        })
    });
    let key = key.transpose()?.filter(|key| key != stream);
    let record = match asked.hook {
        Hook::Publish => record.map(record_of).transpose()?,
        _ => None,
    };
    Ok(Terms { key, record })
}

fn record_of(said: Value) -> Result<Record, Undoable> {
    match said {
        Value::Bool(false) => Ok(Record::No),
        Value::Bool(true) => Ok(Record::Yes),
        said => match RecordFormat::deserialize(&said) {
            Ok(format) => Ok(Record::As(format)),
            Err(_) => Err(Undoable {
                what: "there is no such way to record it",
                why: format!("record: expected true, false, flv, ts or fmp4, found {said}"),
            }),
        },
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
