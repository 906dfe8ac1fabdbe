//! The way from "somebody wants that stream" to "it is here, and allowed".

use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use super::Tell;
use super::access::Full;
use super::conn::About;
use super::core::Core;
use super::grant::Grant;
use super::order::Answer;
use super::refusals::Reason;
use super::reply::Reply;
use super::verdict::{Action, Ask, Question};
use crate::config::{Hook, Hooks, NO_APP_REC, REPLAY_APP, Secret};
use crate::media::StreamKey;
use crate::net::rt::Deadline;
use crate::shard::{CoreId, Place};

/// An open question of one connection: a verdict, then the owner of its stream.
#[derive(Debug)]
pub(crate) struct Admission {
    stage: Stage,
    question: Arc<Question>,
}

#[derive(Debug)]
enum Stage {
    Verdict { reply: Reply<Answer>, until: Instant, deadline: Deadline },
    Place(Reply<Ticket>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// An RTMP client may connect.
    Connect,
    /// The stream's owner, and the way in.
    Stream(Ticket),
    /// No, by what, and what the client is told.
    Refused(Reason, String),
    /// Yes, but there is no place.
    NoRoom(Full),
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
    /// it is settled at once. From the yes on `about` has the grant.
    pub(crate) fn begin(
        core: &Rc<Core>,
        about: &mut About,
        question: Arc<Question>,
        bearer: Option<&Secret>,
        now: Instant,
    ) -> Result<Self, Admitted> {
        rules(core, &question, bearer)?;
        let setup = core.setup();
        let hooks = &setup.config.hooks;
        let Some(ask) = who_decides(core, hooks, &question.action) else {
            let grant = || Grant::new(Arc::clone(&question), Arc::clone(&core.node.events));
            match question.stream() {
                Some(_) => about.granted = Some(grant()),
                // Nobody else cares for the end of a connect.
                None if hooks.has(Hook::Close) => about.connected = Some(grant()),
                None => {}
            }
            return Self::locate(core, about, question);
        };
        let reply = core.answers.expect();
        ask.ask(Arc::clone(&question), Arc::clone(&setup.config), core.id, reply.id());
        let until = now + core.setup().config.limits.verdict_timeout;
        let deadline = Deadline::default();
        Ok(Self { stage: Stage::Verdict { reply, until, deadline }, question })
    }

    /// `question` is what was granted, which may be another stream than was asked for.
    fn locate(
        core: &Rc<Core>,
        about: &mut About,
        question: Arc<Question>,
    ) -> Result<Self, Admitted> {
        let Some(key) = question.stream().cloned() else { return Err(Admitted::Connect) };
        // Keys and signatures were for the stream that was asked for.
        if question.asked.is_some() {
            is_open(core, &question.action)?;
        }
        let setup = core.setup();
        // An app that is no more refuses it later.
        if let (Some((app, _)), Some(grant)) = (setup.app(key.app()), &mut about.granted)
            && let Err(full) = grant.count(&core.node.census, &setup.config.limits, app)
        {
            return Err(Admitted::NoRoom(full));
        }
        let home = core.post.mesh().home(&key);
        if home == core.id {
            let place = core.look_up(&key);
            return Err(Admitted::Stream(Ticket::new(core, key, place)));
        }
        let reply = core.places.expect();
        core.tell(home, Tell::Lookup { key, from: core.id, ask: reply.id() });
        Ok(Self { stage: Stage::Place(reply), question })
    }

    /// What was asked.
    pub(crate) fn question(&self) -> &Arc<Question> {
        &self.question
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        core: &Rc<Core>,
        about: &mut About,
    ) -> Poll<Admitted> {
        loop {
            match &mut self.stage {
                Stage::Place(reply) => return reply.poll(cx).map(Admitted::Stream),
                Stage::Verdict { reply, until, deadline } => match reply.poll(cx) {
                    Poll::Ready(Err(told)) => {
                        return Poll::Ready(Admitted::Refused(Reason::Verdict, told));
                    }
                    Poll::Ready(Ok(grant)) => {
                        let granted = Arc::clone(grant.question());
                        match granted.stream() {
                            Some(_) => about.granted = Some(grant),
                            None => about.connected = Some(grant),
                        }
                        match Self::locate(core, about, granted) {
                            Ok(next) => *self = next,
                            Err(admitted) => return Poll::Ready(admitted),
                        }
                    }
                    Poll::Pending => {
                        return deadline.poll(cx, Some(*until)).map(|()| {
                            let limit = core.setup().config.limits.verdict_timeout;
                            let told = format!(
                                "expected a verdict within {limit:?} (limits.verdict_timeout), \
                                 found none"
                            );
                            Admitted::Refused(Reason::Verdict, told)
                        });
                    }
                },
            }
        }
    }
}

/// Whoever is to be asked about `action`.
fn who_decides<'a>(core: &'a Core, hooks: &Hooks, action: &Action) -> Option<&'a Arc<dyn Ask>> {
    let hook = match action {
        Action::Connect { .. } => Hook::Connect,
        Action::Publish(_) => Hook::Publish,
        Action::Play(_) => Hook::Play,
    };
    core.node.ask.as_ref().filter(|_| core.node.asks_always || hooks.has(hook))
}

/// What the configuration alone says.
fn rules(core: &Core, question: &Question, bearer: Option<&Secret>) -> Result<(), Admitted> {
    let name = is_open(core, &question.action)?;
    let setup = core.setup();
    let access = setup.access(name);
    access
        .check(question, bearer, SystemTime::now())
        .map_err(|denied| Admitted::Refused(denied.reason(), denied.to_string()))
}

/// The app of `action`, if it has that, for anyone at all.
fn is_open<'a>(core: &Core, action: &'a Action) -> Result<&'a str, Admitted> {
    let name = match action {
        Action::Connect { app } => app.split('/').next().unwrap_or_default(),
        Action::Publish(key) | Action::Play(key) => key.app(),
    };
    let setup = core.setup();
    let told = match (setup.app(name), action) {
        (_, Action::Publish(_)) if name == REPLAY_APP => NO_APP_REC.to_owned(),
        (None, _) => format!("expected a configured app (strict_apps), found {name:?}"),
        (Some((app, _)), Action::Publish(_)) if !app.publish => {
            format!("publishing to {name} is not allowed")
        }
        (Some((app, _)), Action::Play(_)) if !app.play => {
            format!("playing from {name} is not allowed")
        }
        _ => return Ok(name),
    };
    Err(Admitted::Refused(Reason::App, told))
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
