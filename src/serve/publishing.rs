//! A connection that publishes, and what may become of it besides its own end: nobody watches, or
//! nothing comes. Whoever has a say in that is asked, and the stream goes on meanwhile.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::event::Event;
use super::pace::Pace;
use super::reply::Reply;
use super::session::{Doing, Protocol, Session, Stop, violation};
use super::verdict::{Advice, Concern};
use crate::config::Hook;
use crate::container::flv::Item;
use crate::plane::{Publisher, PublisherEnd, PushError};
use crate::proto::Machine;

/// A publisher's slot, how often its socket is looked at, and what was asked about it.
pub(crate) struct Publishing {
    pub(crate) publisher: Publisher,
    pub(crate) pace: Pace,
    idle: Option<Reply<Advice>>,
    silence: Option<Silence>,
}

/// A publisher that was silent for too long, and has until then now: media moves that, and then
/// the answer is of no interest any more.
struct Silence {
    until: Instant,
    advice: Reply<Advice>,
}

/// What happened beside the socket.
pub(crate) enum News {
    /// The slot was taken away.
    Ended(PublisherEnd),
    /// Nobody watches.
    Idle,
    /// What is to become of that.
    IdleAdvice(Advice),
    /// What is to become of one that was silent, and was to say something until then.
    SilenceAdvice(Instant, Advice),
}

impl Publishing {
    pub(crate) fn new(publisher: Publisher, pace: Pace) -> Self {
        Self { publisher, pace, idle: None, silence: None }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        if let Poll::Ready(end) = self.publisher.poll_end(cx) {
            return Poll::Ready(News::Ended(end));
        }
        if self.publisher.poll_idle(cx).is_ready() {
            return Poll::Ready(News::Idle);
        }
        if let Some(reply) = &mut self.idle
            && let Poll::Ready(advice) = reply.poll(cx)
        {
            self.idle = None;
            return Poll::Ready(News::IdleAdvice(advice));
        }
        if let Some(Silence { until, advice }) = &mut self.silence
            && let Poll::Ready(advice) = advice.poll(cx)
        {
            let until = *until;
            self.silence = None;
            return Poll::Ready(News::SilenceAdvice(until, advice));
        }
        Poll::Pending
    }
}

impl<P: Protocol> Session<P> {
    /// Hands on what its publisher has sent, if it publishes.
    ///
    /// # Errors
    /// It sends more than it may.
    pub(super) fn push(&self, item: Item, now: Instant) -> Result<(), PushError> {
        let Doing::Publishing(it) = &self.doing else { return Ok(()) };
        match item {
            Item::Frame(frame) => match it.publisher.push(frame, now) {
                // The plane tells it by an event of its own, too.
                Err(PushError::NotHeld) => {}
                result => return result,
            },
            Item::Track(track) => {
                self.log_sparingly(&format!("track: {track}"));
                it.publisher.set_track(track, now);
            }
            Item::Metadata(metadata) => it.publisher.set_metadata(metadata, now),
            Item::PrivateStreams(streams) => it.publisher.set_private_streams(streams),
            // It may go on with another sequence; viewers are told when it has left.
            Item::EndOfSequence(_) => {}
        }
        Ok(())
    }

    /// Goes by what happened to its publish.
    pub(super) fn hear(&mut self, news: News, now: Instant) -> Result<(), Stop<P::Wish>> {
        match news {
            News::Ended(end) => self.end_publish(&end),
            News::Idle => {
                let reply = self.consult(Concern::Idle);
                if let Doing::Publishing(it) = &mut self.doing {
                    let key = it.publisher.key();
                    it.idle = reply;
                    self.log("nobody watches it (idle_timeout)");
                    self.conn.about.node.events.tell(Event::Idle(key));
                }
            }
            News::IdleAdvice(advice) => {
                if let (Some(true), Doing::Publishing(it)) = (advice, &self.doing)
                    // Somebody may have come while whoever answers thought about it.
                    && it.publisher.is_idle()
                {
                    let end = PublisherEnd::Idle(it.publisher.key());
                    self.end_publish(&end);
                }
            }
            News::SilenceAdvice(until, advice) => {
                let machine = self.protocol.machine();
                if machine.deadline() == Some(until) {
                    match advice {
                        Some(false) => self.log_sparingly("silent, and kept (on_publish_timeout)"),
                        // As if it had come to that.
                        _ => machine.handle_timeout(until.max(now)).map_err(violation)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// The machine's deadline has passed.
    pub(super) fn time_is_up(&mut self, now: Instant) -> Result<(), Stop<P::Wish>> {
        if !self.asks_about_silence(now) {
            self.protocol.machine().handle_timeout(now).map_err(violation)?;
        }
        Ok(())
    }

    /// If it is a publisher's silence, and somebody has a say in it who was not yet asked.
    fn asks_about_silence(&mut self, now: Instant) -> bool {
        let due = self.protocol.machine().deadline();
        let Doing::Publishing(it) = &self.doing else { return false };
        let is_asked = it.silence.as_ref().is_some_and(|silence| Some(silence.until) == due);
        if is_asked || !self.conn.core.setup().config.hooks.has(Hook::PublishTimeout) {
            return false;
        }
        let Some(until) = self.protocol.extend_silence(now) else { return false };
        let advice = self.consult(Concern::Silent);
        if let Doing::Publishing(it) = &mut self.doing {
            it.silence = advice.map(|advice| Silence { until, advice });
        }
        true
    }

    fn consult(&self, concern: Concern) -> Option<Reply<Advice>> {
        let hook = match concern {
            Concern::Idle => Hook::Idle,
            Concern::Silent => Hook::PublishTimeout,
        };
        let core = &self.conn.core;
        let ask = core.node.ask.as_ref().filter(|_| core.setup().config.hooks.has(hook))?;
        let question = Arc::clone(self.conn.about.granted.as_ref()?.question());
        let reply = core.advice.expect();
        ask.consult(question, concern, core.id, reply.id());
        Some(reply)
    }

    fn end_publish(&mut self, end: &PublisherEnd) {
        self.leave(&end.to_string());
        self.protocol.publisher_ended(end);
        self.ended_for(end);
    }
}
