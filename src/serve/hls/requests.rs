//! Requests for what belongs to a stream that is fetched, on whichever core they come.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::Path;
use super::answer::{self, SESSION};
use super::fetch::{Fetched, Fetching, Form, Opening, Stage, Wanted, What};
use super::path::unguessable_of;
use super::playback::{NO_HLS, Playback};
use super::stream::Stream;
use crate::media::StreamKey;
use crate::net::rt::Deadline;
use crate::plane::SinkStats;
use crate::plane::hls::{self, Readiness, Rendition, Resource, Snapshot};
use crate::proto::http::{AskId, Method, Query, Request, Response};
use crate::serve::admit::Ticket;
use crate::serve::http::{Fetches, Http, Wish};
use crate::serve::session::{Doing, Session, Stop};
use crate::serve::verdict::Action;

/// What can be said now.
enum Now {
    Answer(Response),
    /// A later snapshot has it.
    Wait(Rc<Stream>, Snapshot),
    /// This core knows no such stream, or no such viewer.
    Unknown,
}

/// What is said in vain to wait for lasts at most so many segments (RFC 8216bis 6.2.5.2).
const WAITS: u32 = 3;

impl Session<Http> {
    /// A request for something that [`Path::parse`] knows.
    pub(in crate::serve) fn fetch(
        &mut self,
        path: &Path<'_>,
        request: &Request,
        now: Instant,
    ) -> Result<(), Stop<Wish>> {
        let ask = request.ask;
        let head_only = request.method == Method::Head;
        let form = Form { gzip: request.accepts_gzip, head_only };
        let refuse = |this: &mut Self, status, error, detail: &str| {
            let response = Response::json_error(status, error, detail);
            this.protocol.respond(ask, &response, now);
            Ok(())
        };
        let key = match path.key() {
            Ok(key) => key,
            Err(detail) => return refuse(self, 404, NOT_FOUND, &detail),
        };
        let setup = self.conn.core.setup();
        match setup.app(key.app()) {
            Some((app, _)) if app.hls => {}
            Some(_) => return refuse(self, 404, NOT_FOUND, NO_HLS),
            None => return refuse(self, 404, NOT_FOUND, "expected a configured app (strict_apps)"),
        }
        let what = match path {
            Path::Multivariant { .. } => {
                let query = Query::new(&request.query);
                if [query.flag("audio"), query.flag("video")].contains(&Some(false)) {
                    return refuse(self, 400, "bad request", NO_SELECTION);
                }
                let wish = Wish::Fetch(ask, form);
                let (question, bearer) = self.question(Action::Play(key), request.clone());
                return self.ask(question, bearer.as_ref(), wish, now);
            }
            Path::Playlist { rendition, .. } => {
                let query = Query::new(&request.query);
                let Some(session) = query.get(SESSION) else {
                    self.protocol.respond(ask, &to_multivariant(&key, &request.query), now);
                    return Ok(());
                };
                let Some(playback) = unguessable_of(&session) else {
                    return refuse(self, 404, NOT_FOUND, NO_SESSION);
                };
                match hls::Request::parse(query) {
                    Ok(request) => What::Playlist { rendition: *rendition, request, playback },
                    Err(error) => return refuse(self, 400, "bad request", &error.to_string()),
                }
            }
            Path::Media { dir, name, .. } => What::Media { dir: *dir, name: (*name).to_owned() },
        };
        self.look(Wanted { ask, key, what, form, late: false }, true, now);
        Ok(())
    }

    /// A viewer is let in: the owner of the stream has its place, and it stays where it is.
    pub(in crate::serve) fn open(&mut self, ticket: Ticket, (ask, form): (AskId, Form)) {
        let core = Rc::clone(&self.conn.core);
        let key = ticket.key().clone();
        let wanted = Wanted { ask, key, what: What::Multivariant, form, late: false };
        let opening = Opening::ask(&core, ticket, self.conn.about.granted.take());
        self.doing = Doing::Fetching(Box::new(Fetching { wanted, stage: Stage::Opening(opening) }));
    }

    /// What was waited for has come, or not.
    pub(in crate::serve) fn fetched(&mut self, fetched: Fetched, now: Instant) {
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        let Doing::Fetching(fetching) = doing else { return };
        let wanted = fetching.wanted;
        match fetched {
            Fetched::News => self.look(wanted, true, now),
            Fetched::Found => self.look(wanted, false, now),
            Fetched::TooLate => self.give_up(&wanted, now),
            Fetched::Closed(closed) => {
                self.log_sparingly(&format!("refused: {}", closed.detail));
                self.why = Some(closed.detail.clone().into());
                self.protocol.answer(wanted.ask, closed.status, &closed.detail, now);
            }
            Fetched::Opened(found) => {
                self.conn.core.hls.learn(&found);
                let (latest, playback) = (found.channel.latest(), found.playback);
                let Wanted { ask, form, .. } = &wanted;
                let Some((snapshot, playback)) = latest.zip(playback) else {
                    return self.protocol.answer(*ask, 404, NO_MEDIA, now);
                };
                let asked = self.question.as_ref().and_then(|question| question.asked.as_ref());
                let response = answer::multivariant(&snapshot, asked, &playback, form.gzip);
                match form.head_only {
                    // It watches nothing.
                    true => playback.leave(),
                    false => self.fetches_for(playback),
                }
                self.send(&wanted, &response, now);
            }
        }
    }

    /// Answers, or waits for what is to come. `may_ask`: others were not asked yet.
    fn look(&mut self, wanted: Wanted, may_ask: bool, now: Instant) {
        let core = Rc::clone(&self.conn.core);
        let mut said = self.now(&wanted);
        let mut news = None;
        if let Now::Wait(stream, _) = &said {
            // Look again: it may have come before anyone listened.
            news = Some(stream.listen(core.id));
            said = self.now(&wanted);
        }
        match (said, news) {
            (Now::Answer(response), _) => {
                self.send(&wanted, &response, now);
            }
            (Now::Wait(_, snapshot), Some(news)) => {
                let until = now + WAITS * snapshot.target();
                let stage = Stage::Waiting { news, until, deadline: Deadline::default() };
                self.doing = Doing::Fetching(Box::new(Fetching { wanted, stage }));
            }
            (Now::Unknown, _) if may_ask => {
                self.doing = Doing::Fetching(Box::new(Fetching::locate(&core, wanted)));
            }
            (Now::Wait(..) | Now::Unknown, _) => {
                let detail = match wanted.what {
                    What::Playlist { .. } => NO_SESSION,
                    What::Multivariant | What::Media { .. } => NO_MEDIA,
                };
                self.protocol.answer(wanted.ask, 404, detail, now);
            }
        }
    }

    /// What this core can say of it.
    fn now(&mut self, wanted: &Wanted) -> Now {
        let Some(stream) = self.conn.core.hls.stream(&wanted.key) else { return Now::Unknown };
        let Some(snapshot) = stream.channel().latest() else { return Now::Unknown };
        match &wanted.what {
            What::Multivariant => Now::Unknown,
            What::Playlist { rendition, request, playback } => {
                let Some(playback) = stream.playback(*playback).filter(|it| !it.is_over()) else {
                    return Now::Unknown;
                };
                // Also while it waits.
                playback.count(0);
                if *rendition == Rendition::Audio && !snapshot.has_separate_audio() {
                    return Now::Answer(Response::json_error(404, NOT_FOUND, NO_RENDITION));
                }
                // Players that know no parts take a playlist without segments for an empty stream.
                let is_empty = snapshot.listed().0 == 0 && !snapshot.is_ended();
                match snapshot.readiness(request) {
                    Readiness::Ready if is_empty && request.msn.is_none() && !wanted.late => {
                        Now::Wait(stream, snapshot)
                    }
                    Readiness::Wait => Now::Wait(stream, snapshot),
                    Readiness::Bad(why) => {
                        let detail = why.to_string();
                        Now::Answer(Response::json_error(400, "bad request", &detail))
                    }
                    Readiness::Ready => {
                        let how = (*rendition, request.skip, request.msn.is_some());
                        let gzip = wanted.form.gzip;
                        let response =
                            answer::media_playlist(&stream, &snapshot, how, &playback, gzip);
                        self.fetches_for(playback);
                        Now::Answer(response)
                    }
                }
            }
            What::Media { dir, name } => {
                let Some(resource) = Resource::parse(name, snapshot.container()) else {
                    return Now::Answer(Response::json_error(404, NOT_FOUND, NO_MEDIA));
                };
                match answer::media(&snapshot, *dir, &resource) {
                    Ok(response) => Now::Answer(response),
                    Err(hls::Found::Wait) => Now::Wait(stream, snapshot),
                    // It may be of a stream of that name that this core has not heard of.
                    Err(hls::Found::Astray) => Now::Unknown,
                    Err(_) => Now::Answer(Response::json_error(404, NOT_FOUND, NO_MEDIA)),
                }
            }
        }
    }

    /// It did not come: a playlist is answered as it is, and players ask again. 6.2.5.2 would have it be
    /// 503, of which hls.js takes three before it gives up for good, long before `publisher_grace` is over.
    fn give_up(&mut self, wanted: &Wanted, now: Instant) {
        let mut late = Wanted { late: true, ..wanted.clone() };
        match &mut late.what {
            What::Playlist { request, .. } => request.msn = None,
            What::Multivariant | What::Media { .. } => {
                return self.protocol.answer(wanted.ask, 404, NO_MEDIA, now);
            }
        }
        self.look(late, false, now);
    }

    /// Who fetches `key` by this connection, as far as it was said.
    fn playback_of(&self, key: &StreamKey) -> Option<&Arc<Playback>> {
        match self.protocol.fetches.as_deref() {
            Some(Fetches::Live(it)) if it.key() == key && !it.is_over() => Some(it),
            _ => None,
        }
    }

    /// What comes is for `playback`.
    fn fetches_for(&mut self, playback: Arc<Playback>) {
        if self.protocol.seen().is_some() {
            // A viewer has its grant at the owner of its stream; that of the recording is over.
            self.end_grant("its client asked for something else", SinkStats::default());
        }
        match self.protocol.fetches.as_deref_mut() {
            Some(Fetches::Live(before)) => *before = playback,
            _ => self.protocol.fetches = Some(Box::new(Fetches::Live(playback))),
        }
    }

    fn send(&mut self, wanted: &Wanted, response: &Response, now: Instant) {
        let bytes = self.protocol.send(wanted.ask, response, now);
        if !wanted.form.head_only {
            match self.playback_of(&wanted.key) {
                Some(playback) => playback.count(bytes),
                None => self.fetches_of(&wanted.key),
            }
            let core = &self.conn.core;
            if let Some(stream) = core.hls.stream(&wanted.key) {
                stream.channel().count_served(bytes);
            }
            core.hub.borrow_mut().count_served(bytes);
        }
    }

    /// What comes is of `key`, for whom is not known.
    fn fetches_of(&mut self, key: &StreamKey) {
        match self.protocol.fetches.as_deref_mut() {
            None => self.protocol.fetches = Some(Box::new(Fetches::Media(key.clone()))),
            Some(Fetches::Media(before)) if before != key => *before = key.clone(),
            Some(_) => {}
        }
    }
}

const NOT_FOUND: &str = "not found";
const NO_SESSION: &str = "expected ?session=… of a viewer that is here, found none: it has been idle for too long, or was \
     ended; begin again with the multivariant playlist, /APP/NAME.m3u8";
const NO_SELECTION: &str = "expected no audio=0 and no video=0: HLS has all tracks; players of it choose, \
     and .flv, .ts and .mp4 can leave one out";
const NO_RENDITION: &str = "the sound has no playlist of its own: it is in main.m3u8";
const NO_MEDIA: &str = "expected what a playlist lists now, found what it does not";

/// Who has no session gets one there.
fn to_multivariant(key: &StreamKey, query: &str) -> Response {
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let location = format!("../{}.m3u8{query}", answer::file_name(key));
    Response::new(302, "text/plain; charset=utf-8", "see the multivariant playlist\n")
        .with_header("Location", location)
}
