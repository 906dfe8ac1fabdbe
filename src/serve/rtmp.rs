//! RTMP connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::conn::Conn;
use super::hand_over::Driver;
use super::refusals::Reason;
use super::refused::Refused;
use super::session::{Arrival, Doing, Protocol, Session, Stop, violation};
use super::verdict::{Action, ClientId, Question};
use crate::container::flv::{HevcForm, Item};
use crate::plane::{
    Format, Framing, PlayRefused, PlayRequest, PublishRefused, PublisherEnd, Selection, SinkEnd,
    Viewer,
};
use crate::proto::http::Query;
use crate::proto::rtmp::{AskId, Connect, Event, Refusal, Server};

/// The machine, and who the client said it is.
pub(crate) struct Rtmp {
    machine: Box<Server>,
    connect: Option<Arc<Connect>>,
}

/// A question of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Wish {
    Connect { ask: AskId },
    Publish { ask: AskId },
    Play { ask: AskId, selection: Selection, from_cache: bool, hevc: HevcForm },
}

/// For a query that leaves out both.
pub(super) const NOTHING_LEFT: &str =
    "expected audio or video to be left, found audio=0 and video=0";

/// A new connection.
pub(crate) fn session(conn: Conn) -> Box<Session<Rtmp>> {
    let config = Arc::clone(&conn.core.setup().rtmp);
    let seed = seed(conn.about.client, conn.about.peer);
    let machine = Box::new(Server::new(config, seed, Instant::now()));
    Session::new(conn, Rtmp { machine, connect: None })
}

/// Handshake bytes need to differ, not to be secret.
pub(super) fn seed(client: ClientId, peer: SocketAddr) -> u64 {
    client.0 ^ u64::from(peer.port()) << 48
}

impl Protocol for Rtmp {
    type Machine = Server;
    type Wish = Wish;

    fn machine(&mut self) -> &mut Server {
        &mut self.machine
    }

    fn apply(session: &mut Session<Self>, now: Instant) -> Result<bool, Stop<Wish>> {
        let Some(event) = session.protocol.machine.poll_event() else { return Ok(false) };
        match event {
            Event::Connect { ask, info } => {
                let (app, query) = (info.app.clone(), info.query.clone());
                let info = session.conn.core.same_connect(info);
                session.protocol.machine.share_connect(&info);
                session.protocol.connect = Some(info);
                let question = session.question(Action::Connect { app }, query);
                session.ask(question, None, Wish::Connect { ask }, now)?;
            }
            Event::Publish { ask, key, query, kind: _ } => {
                let question = session.question(Action::Publish(key), query);
                session.ask(question, None, Wish::Publish { ask }, now)?;
            }
            Event::Play { ask, key, query, hevc, .. } => {
                let wish = wish_to_play(ask, &query, hevc);
                if let Wish::Play { selection: Selection { audio: false, video: false }, .. } = wish
                {
                    // The reason says what was wrong with its query.
                    let question = session.question(Action::Play(key), String::new());
                    let why = NOTHING_LEFT.to_owned();
                    session.deny(question.into(), &wish, (Reason::Request, why), now);
                } else {
                    let question = session.question(Action::Play(key), query);
                    session.ask(question, None, wish, now)?;
                }
            }
            Event::PublishEnded { reason } => {
                session.log_sparingly(&format!("unpublish: {reason}"));
                session.leave(reason);
            }
            Event::PlayEnded => session.stop_playing("the player stopped"),
            Event::Frame(frame) => session.push(Item::Frame(frame), now).map_err(violation)?,
            Event::Track(track) => session.push(Item::Track(track), now).map_err(violation)?,
            Event::Metadata(metadata) => {
                session.push(Item::Metadata(metadata), now).map_err(violation)?;
            }
            Event::EndOfSequence(kind) => {
                session.push(Item::EndOfSequence(kind), now).map_err(violation)?;
            }
            Event::Notice(notice) => session.log(&notice.to_string()),
            event => {
                if let Doing::Playing(viewer) = &session.doing {
                    control(viewer, &event, now);
                }
            }
        }
        Ok(true)
    }

    fn connected(&mut self, wish: Wish, now: Instant) {
        if let Wish::Connect { ask } = wish {
            self.machine.accept_connect(now, ask);
        }
    }

    fn arrive(session: &mut Session<Self>, at: Arrival, wish: Wish) {
        let now = at.now;
        let refused = match wish {
            Wish::Connect { .. } => Ok(()),
            Wish::Publish { ask } => {
                let published = session.publish(&at);
                if published.is_ok() {
                    session.protocol.machine.accept_publish(now, ask);
                }
                published
            }
            Wish::Play { ask, selection, from_cache, hevc } => {
                let chunk_size = session.protocol.machine.chunk_size_bytes();
                let request = PlayRequest {
                    key: at.key,
                    settings: at.settings,
                    epoch: at.epoch,
                    fd: session.conn.socket.fd(),
                    format: Format::Rtmp { chunk_size, hevc },
                    selection,
                    framing: Framing::Raw,
                    greeting: session.protocol.machine.accept_play(ask),
                    from_cache,
                    tag: session.tag(),
                };
                session.play(request, now)
            }
        };
        if let Err(refused) = refused {
            session.refuse(&wish, &refused, now);
        }
    }

    fn refuse(&mut self, wish: &Wish, why: &Refused, now: Instant) {
        let (Wish::Connect { ask } | Wish::Publish { ask } | Wish::Play { ask, .. }) = wish;
        match why {
            // Its greeting was made, and is thrown away. Another stream may be on another core, but
            // who is told to try elsewhere should go.
            Refused::Play(
                PlayRefused::Overloaded | PlayRefused::StreamIsFull(_) | PlayRefused::Draining,
            ) => {
                self.machine.play_refused(&why.to_string());
            }
            Refused::Play(_) => self.machine.play_not_found(now, &why.to_string()),
            Refused::Publish(PublishRefused::InUse { .. }) => {
                self.machine.refuse(now, *ask, &Refusal::InUse(why.to_string()));
            }
            Refused::Publish(PublishRefused::Draining)
            | Refused::Denied(..)
            | Refused::NoRoom(_)
            | Refused::NoDescriptor(_)
            | Refused::OwnerIsBusy => {
                self.machine.refuse(now, *ask, &Refusal::Denied(why.to_string()));
            }
        }
    }

    fn started(&mut self) {}

    fn not_found(&mut self, reason: &str, now: Instant) {
        self.machine.play_not_found(now, reason);
    }

    fn turned_away(&mut self, reason: &str, _: Instant) {
        self.machine.play_refused(reason);
    }

    fn viewer_ended(&mut self, end: &SinkEnd, now: Instant) {
        match end {
            SinkEnd::Draining => self.machine.play_over(now, &end.to_string()),
            _ => self.machine.play_ended(now),
        }
    }

    fn kicked(&mut self, started: bool, reason: &str, _: Instant) {
        match started {
            true => self.machine.play_stopped(reason),
            false => self.machine.play_refused(reason),
        }
    }

    fn extend_silence(&mut self, now: Instant) -> Option<Instant> {
        self.machine.extend_silence(now)
    }

    fn publisher_ended(&mut self, end: &PublisherEnd) {
        self.machine.publish_ended(&end.to_string());
    }

    fn pack(self, wish: Wish) -> Driver {
        Driver::Rtmp(Box::new((self, wish)))
    }

    fn unpack(driver: Driver) -> Option<(Self, Wish)> {
        match driver {
            Driver::Rtmp(packed) => Some(*packed),
            Driver::Http(_) => None,
        }
    }
}

impl Session<Rtmp> {
    fn question(&self, action: Action, query: String) -> Question {
        let about = &self.conn.about;
        Question {
            client: about.client,
            peer: about.peer,
            protocol: about.protocol.into(),
            action,
            asked: None,
            record: None,
            query: query.into(),
            connect: self.protocol.connect.clone(),
            http: None,
        }
    }
}

fn wish_to_play(ask: AskId, query: &str, hevc: HevcForm) -> Wish {
    let query = Query::new(query);
    let flag = |name| query.flag(name).unwrap_or(true);
    let selection = Selection { audio: flag("audio"), video: flag("video") };
    Wish::Play { ask, selection, from_cache: flag("gop"), hevc }
}

/// What a player may ask of a running play.
fn control(viewer: &Viewer, event: &Event, now: Instant) {
    match event {
        Event::Pause => viewer.pause(),
        Event::Resume => viewer.resume(now),
        Event::Select { audio, video } => {
            viewer.select(Selection { audio: *audio, video: *video }, now);
        }
        _ => {}
    }
}
