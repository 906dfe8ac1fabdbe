use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use super::stream::Listener;
use super::{Closed, Found, Word};
use crate::media::StreamKey;
use crate::net::rt::Deadline;
use crate::plane::hls::{Rendition, Request};
use crate::proto::http::AskId;
use crate::serve::Tell;
use crate::serve::admit::Ticket;
use crate::serve::core::Core;
use crate::serve::grant::Grant;
use crate::serve::reply::Reply;
use crate::shard::CoreId;

/// A request of one connection that cannot be answered yet.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(super) wanted: Wanted,
    pub(super) stage: Stage,
}

/// In which form the answer is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// Texts may be compressed.
    pub(super) gzip: bool,
    /// Nothing of it but the head.
    pub(super) head_only: bool,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) ask: AskId,
    pub(super) key: StreamKey,
    pub(super) what: What,
    pub(super) form: Form,
    /// It was waited for long enough.
    pub(super) late: bool,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// The multivariant playlist.
    Multivariant,
    /// A media playlist, for that viewer.
    Playlist { rendition: Rendition, request: Request, playback: u128 },
    /// What such a playlist lists.
    Media { dir: u128, name: String },
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The owner looks whether it can be watched.
    Opening(Opening),
    /// This core does not know the stream, or the viewer: whose stream is it?
    Locating(Reply<Ticket>),
    /// Its owner was asked. The ticket keeps it there meanwhile.
    Finding { _ticket: Ticket, reply: Reply<Option<Found>> },
    /// It comes with a later snapshot.
    Waiting { news: Listener, until: Instant, deadline: Deadline },
}

/// A place that the owner of a stream was asked for. Dropping it gives the place back, whether there is
/// one yet or not.
#[derive(Debug)]
pub(super) struct Opening {
    core: Weak<Core>,
    owner: CoreId,
    reply: Reply<Result<Found, Closed>>,
    is_answered: bool,
}

/// What has become of it.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The viewer has a place.
    Opened(Found),
    /// It has none.
    Closed(Closed),
    /// All that can be known is known: look again.
    Found,
    /// There is more: look again.
    News,
    /// It was waited for long enough.
    TooLate,
}

impl Fetching {
    /// Asks around for a stream, or a viewer, that this core does not know.
    pub(super) fn locate(core: &Rc<Core>, wanted: Wanted) -> Self {
        let home = core.post.mesh().home(&wanted.key);
        if home == core.id {
            let ticket = Ticket::new(core, wanted.key.clone(), core.look_up(&wanted.key));
            let stage = Self::find(core, &wanted, ticket);
            return Self { wanted, stage };
        }
        let reply = core.places.expect();
        let key = wanted.key.clone();
        core.tell(home, Tell::Lookup { key, from: core.id, ask: reply.id() });
        Self { wanted, stage: Stage::Locating(reply) }
    }

    fn find(core: &Rc<Core>, wanted: &Wanted, ticket: Ticket) -> Stage {
        let reply = core.hls.found.expect();
        let playback = match wanted.what {
            What::Playlist { playback, .. } => Some(playback),
            What::Multivariant | What::Media { .. } => None,
        };
        let (key, ask) = (wanted.key.clone(), reply.id());
        core.say(ticket.owner(), Word::Find { key, playback, from: core.id, ask });
        Stage::Finding { _ticket: ticket, reply }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, core: &Rc<Core>) -> Poll<Fetched> {
        loop {
            match &mut self.stage {
                Stage::Opening(opening) => {
                    return opening.poll(cx).map(|opened| match opened {
                        Ok(found) => Fetched::Opened(found),
                        Err(closed) => Fetched::Closed(closed),
                    });
                }
                Stage::Locating(reply) => match reply.poll(cx) {
                    Poll::Ready(ticket) => self.stage = Self::find(core, &self.wanted, ticket),
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Finding { reply, .. } => {
                    return reply.poll(cx).map(|found| {
                        if let Some(found) = found {
                            core.hls.learn(&found);
                        }
                        Fetched::Found
                    });
                }
                Stage::Waiting { news, until, deadline } => {
                    if news.poll(cx).is_ready() {
                        return Poll::Ready(Fetched::News);
                    }
                    return deadline.poll(cx, Some(*until)).map(|()| Fetched::TooLate);
                }
            }
        }
    }
}

impl Opening {
    /// Asks its owner for the stream that `ticket` leads to.
    pub(super) fn ask(core: &Rc<Core>, ticket: Ticket, grant: Option<Grant>) -> Self {
        let (owner, reply) = (ticket.owner(), core.hls.opened.expect());
        let (key, place) = ticket.into_parts();
        core.say(owner, Word::Open { key, place, grant, from: core.id, ask: reply.id() });
        Self { core: Rc::downgrade(core), owner, reply, is_answered: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Found, Closed>> {
        let opened = self.reply.poll(cx);
        self.is_answered = opened.is_ready();
        opened
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        match (self.reply.take(), self.core.upgrade()) {
            (Some(Ok(Found { playback: Some(playback), .. })), _) => playback.leave(),
            (Some(_), _) | (None, None) => {}
            // If the answer is on its way, the owner does not know it any more, and who brings it finds
            // nobody.
            (None, Some(core)) => {
                core.say(self.owner, Word::Leave { from: core.id, ask: self.reply.id() });
            }
        }
    }
}
