//! Publishing by HTTP: the body of a POST or PUT is the stream.
//!
//! Who may publish, who holds the slot, how it is read and when it is silent is what it is for RTMP
//! ([`Publishing`](super::publishing::Publishing)); here is what is asked for and what is answered.

use std::time::Instant;

use super::http::{Http, Wish};
use super::refusals::Reason;
use super::session::{Session, Stop};
use super::verdict::Action;
use crate::container::flv::Item;
use crate::media::StreamKey;
use crate::proto::http::{AskId, Container, Request, Response};

impl Session<Http> {
    /// Asks whether it may publish, if that is what it wants.
    pub(super) fn upload(&mut self, request: Request, now: Instant) -> Result<(), Stop<Wish>> {
        let (key, container) = match target(&request) {
            Ok(target) => target,
            Err(response) => {
                self.protocol.respond(request.ask, &response, now);
                return Ok(());
            }
        };
        let stranger = foreign_page(&request).map(str::to_owned);
        let wish = Wish::Publish(request.ask, container);
        let (question, bearer) = self.question(Action::Publish(key), request);
        if !self.conn.core.setup().config.http.publish {
            let why = "nobody may publish by HTTP here (http.publish)".to_owned();
            self.deny(question.into(), &wish, (Reason::App, why), now);
            return Ok(());
        }
        if let Some(origin) = stranger {
            let why = format!("expected a page of this server, or none, found one of {origin}");
            self.deny(question.into(), &wish, (Reason::Referers, why), now);
            return Ok(());
        }
        self.ask(question, bearer.as_ref(), wish, now)
    }

    /// What the body held.
    pub(super) fn take_media(&mut self, item: Item, now: Instant) {
        if let Err(error) = self.push(item, now) {
            let why = error.to_string();
            self.leave(&why);
            self.protocol.end_publish(403, &why);
            self.ended_for(&why);
        }
    }

    /// The body has come to its end.
    pub(super) fn publish_is_over(&mut self, ask: AskId, now: Instant) {
        let reason = "the body is over";
        self.log_sparingly(&format!("unpublish: {reason}"));
        self.leave(reason);
        let response = Response::new(200, "text/plain; charset=utf-8", "ok\n");
        self.protocol.respond(ask, &response, now);
    }
}

/// What is to be published, and in which form it comes.
fn target(request: &Request) -> Result<(StreamKey, Container), Response> {
    let of = |container: Container| {
        let path = request.path.strip_suffix(container.extension())?;
        Some((path, container))
    };
    let Some((path, container)) = Container::ALL.into_iter().find_map(of) else {
        let [known @ .., last] = Container::ALL.map(Container::extension);
        let known = known.join(", ");
        let detail = format!("expected /APP/NAME with {known} or {last}, found {}", request.path);
        return Err(Response::json_error(415, "unsupported media type", &detail));
    };
    let key = StreamKey::parse(path)
        .map_err(|error| Response::json_error(404, "not found", &error.to_string()))?;
    if request.body.is_none() {
        let detail = "expected a body, with Content-Length or in chunks, found none";
        return Err(Response::json_error(411, "length required", detail));
    }
    Ok((key, container))
}

/// The site of the page that asks, if it is not this one: a browser lets any page send its visitor's
/// network what it likes, as long as the page does not want to see the answer.
fn foreign_page(request: &Request) -> Option<&str> {
    let origin = request.origin.as_deref()?;
    let site = origin.split_once("://").map(|(_, site)| site);
    let is_ours = site
        .zip(request.host.as_deref())
        .is_some_and(|(site, host)| site.eq_ignore_ascii_case(host));
    (!is_ours).then_some(origin)
}
