//! The way from "somebody wants that stream" to "it is here, and allowed".

use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use super::core::Core;
use super::reply::Reply;
use super::verdict::{Action, Question, Verdict};
use crate::media::StreamKey;
use crate::net::rt::Deadline;
use crate::shard::{CoreId, Place, Tell};

/// An open question of one connection: a verdict, then the owner of its stream.
#[derive(Debug)]
pub(crate) struct Admission {
    stage: Stage,
    action: Action,
}

#[derive(Debug)]
enum Stage {
    Verdict { reply: Reply<Verdict>, until: Instant, deadline: Deadline },
    Place(Reply<Ticket>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// An RTMP client may connect.
    Connect,
    /// The stream's owner, and the way in.
    Stream(Ticket),
    /// No, and what the client is told.
    Refused(String),
}

/// The right to arrive at the owner of a stream once. Dropping it gives it back to the home core.
#[derive(Debug)]
pub(crate) struct Ticket {
    core: Weak<Core>,
    key: StreamKey,
    place: Place,
}

impl Admission {
    /// Rules first, here and now; then whoever is to be asked; then the home core. Often all of
    /// it is settled at once.
    pub(crate) fn begin(
        core: &Rc<Core>,
        question: Question,
        now: Instant,
    ) -> Result<Self, Admitted> {
        let action = question.action.clone();
        if let Err(reason) = rules(core, &action) {
            return Err(Admitted::Refused(reason));
        }
        let Some(ask) = &core.node.ask else { return Self::locate(core, action) };
        let reply = core.verdicts.expect();
        ask.ask(question, core.id, reply.id());
        let until = now + core.node.config.limits.verdict_timeout;
        Ok(Self { stage: Stage::Verdict { reply, until, deadline: Deadline::default() }, action })
    }

    fn locate(core: &Rc<Core>, action: Action) -> Result<Self, Admitted> {
        let key = match &action {
            Action::Connect { .. } => return Err(Admitted::Connect),
            Action::Publish(key) | Action::Play(key) => key.clone(),
        };
        let home = core.post.mesh().home(&key);
        if home == core.id {
            let place = core.look_up(&key);
            return Err(Admitted::Stream(Ticket::new(core, key, place)));
        }
        let reply = core.places.expect();
        core.tell(home, Tell::Lookup { key, from: core.id, ask: reply.id() });
        Ok(Self { stage: Stage::Place(reply), action })
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, core: &Rc<Core>) -> Poll<Admitted> {
        loop {
            match &mut self.stage {
                Stage::Place(reply) => return reply.poll(cx).map(Admitted::Stream),
                Stage::Verdict { reply, until, deadline } => match reply.poll(cx) {
                    Poll::Ready(Verdict::Deny(reason)) => {
                        return Poll::Ready(Admitted::Refused(reason));
                    }
                    Poll::Ready(Verdict::Allow) => match Self::locate(core, self.action.clone()) {
                        Ok(next) => *self = next,
                        Err(admitted) => return Poll::Ready(admitted),
                    },
                    Poll::Pending => {
                        return deadline.poll(cx, Some(*until)).map(|()| {
                            let limit = core.node.config.limits.verdict_timeout;
                            Admitted::Refused(format!(
                                "expected a verdict within {limit:?} (limits.verdict_timeout), \
                                 found none"
                            ))
                        });
                    }
                },
            }
        }
    }
}

/// What the configuration alone says.
fn rules(core: &Core, action: &Action) -> Result<(), String> {
    let name = match action {
        Action::Connect { app } => app.split('/').next().unwrap_or_default(),
        Action::Publish(key) | Action::Play(key) => key.app(),
    };
    let Some((app, _)) = core.app(name) else {
        return Err(format!("expected a configured app (strict_apps), found {name:?}"));
    };
    match action {
        Action::Publish(_) if !app.publish => Err(format!("publishing to {name} is not allowed")),
        Action::Play(_) if !app.play => Err(format!("playing from {name} is not allowed")),
        _ => Ok(()),
    }
}

impl Ticket {
    pub(crate) fn new(core: &Rc<Core>, key: StreamKey, place: Place) -> Self {
        Self { core: Rc::downgrade(core), key, place }
    }

    pub(crate) fn owner(&self) -> CoreId {
        self.place.owner
    }

    pub(crate) fn key(&self) -> &StreamKey {
        &self.key
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.place.epoch
    }

    /// Takes it along to the owner, where [`Self::new`] makes a ticket of it again.
    pub(crate) fn into_parts(mut self) -> (StreamKey, Place) {
        self.core = Weak::new();
        (self.key.clone(), self.place)
    }

    /// It has arrived, and what it was for was tried.
    pub(crate) fn used(mut self) {
        if let Some(core) = std::mem::take(&mut self.core).upgrade() {
            let empty = !core.hub.borrow().holds(&self.key);
            let home = core.post.mesh().home(&self.key);
            let (key, epoch) = (self.key.clone(), self.place.epoch);
            core.tell(home, Tell::TicketUsed { key, epoch, empty });
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(core) = self.core.upgrade() {
            let home = core.post.mesh().home(&self.key);
            core.tell(home, Tell::TicketBack { key: self.key.clone(), epoch: self.place.epoch });
        }
    }
}
