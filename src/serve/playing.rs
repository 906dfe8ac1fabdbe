//! A connection that plays: its place among the viewers of a stream, and what becomes of it there.

use std::sync::Arc;
use std::time::Instant;

use super::conn::{About, End};
use super::event::Event;
use super::grant::Grant;
use super::refused::Refused;
use super::session::{Doing, Protocol, Session, Stop};
use crate::plane::{PlayRequest, SinkEnd, SinkEvent, Viewer};

impl<P: Protocol> Session<P> {
    /// Takes a viewer's place.
    pub(crate) fn play(&mut self, request: PlayRequest, now: Instant) -> Result<(), Refused> {
        let key = request.key.clone();
        let viewer = Viewer::join(&self.conn.core.hub, request, now)?;
        self.doing = Doing::Playing(viewer);
        let About { granted, node, .. } = &self.conn.about;
        let vacant = self.conn.core.hub.borrow().is_vacant(&key);
        if let Some(grant) = granted.as_ref().filter(|_| vacant) {
            node.events.tell(Event::NotFound(Arc::clone(grant.question())));
        }
        Ok(())
    }

    /// Goes by what the plane has to tell.
    pub(super) fn see(&mut self, event: SinkEvent, now: Instant) -> Result<(), Stop<P::Wish>> {
        match event {
            SinkEvent::Started => {
                // From here the plane's stall_timeout tells the slow from the dead.
                self.conn.socket.lift_user_timeout()?;
                if let Doing::Playing(viewer) = &self.doing {
                    self.conn.socket.bound_unsent(viewer.unsent_max())?;
                }
                self.protocol.started();
                self.has_started();
                self.log("play");
            }
            SinkEvent::NotFound => {
                self.stop_playing(NOT_FOUND);
                self.protocol.not_found(NOT_FOUND, now);
                self.why = Some(NOT_FOUND.to_owned().into());
            }
            SinkEvent::TurnedAway => {
                let why = SinkEnd::Draining.to_string();
                self.stop_playing(&why);
                self.protocol.turned_away(&why, now);
                self.why = Some(why.into());
            }
            SinkEvent::Ended(SinkEnd::NotCarried(why)) => {
                self.stop_playing(&why);
                self.protocol.not_carried(&why, now);
                self.why = Some(why.to_string().into());
            }
            SinkEvent::Ended(SinkEnd::Kicked(why)) => {
                let granted = self.conn.about.granted.as_ref();
                let started = granted.is_some_and(Grant::has_started);
                self.stop_playing(&why);
                self.protocol.kicked(started, &why, now);
                return Err(End::Finished(why.to_string()).into());
            }
            SinkEvent::Ended(end) => {
                self.stop_playing(&end.to_string());
                if end.breaks_off() {
                    return Err(End::BrokenOff(end).into());
                }
                self.protocol.viewer_ended(&end, now);
                self.ended_for(&end);
            }
        }
        Ok(())
    }

    /// Gives up a viewer's place; what the flush has begun to say is for the driver to finish.
    pub(crate) fn stop_playing(&mut self, why: &str) {
        if let Doing::Playing(viewer) = &self.doing {
            for slice in viewer.take_rest().drain() {
                self.conn.out.push(slice);
            }
        }
        self.leave(why);
    }
}

/// What a viewer is told whose wait was in vain.
pub(super) const NOT_FOUND: &str = "nobody publishes this stream";
