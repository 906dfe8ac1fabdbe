//! One viewer of a stream that is fetched, from its multivariant playlist until it asks no more.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{Closed, Found, Word};
use crate::bytes::unguessable;
use crate::media::StreamKey;
use crate::net::rt::{self, Deadline};
use crate::plane::{
    Format, Framing, NO_SOCKET, PlayRefused, PlayRequest, Selection, SinkEnd, SinkEvent, SinkStats,
    Tag, Viewer,
};
use crate::serve::admit::Ticket;
use crate::serve::core::Core;
use crate::serve::end_line::{cut, seconds};
use crate::serve::event::Event;
use crate::serve::grant::Grant;
use crate::serve::guard;
use crate::serve::pace::next_beat;
use crate::serve::playing::NOT_FOUND;
use crate::serve::verdict::Question;
use crate::shard::CoreId;

/// A viewer, for all cores: it may ask any of them.
#[derive(Debug)]
pub struct Playback {
    id: u128,
    key: StreamKey,
    /// What it was sent.
    bytes: AtomicU64,
    /// It has asked since that was last looked at.
    asked: AtomicBool,
    /// It may not ask any more.
    over: AtomicBool,
}

impl Playback {
    fn new(key: StreamKey) -> Arc<Self> {
        Arc::new(Self {
            id: unguessable(),
            key,
            bytes: AtomicU64::new(0),
            asked: AtomicBool::new(true),
            over: AtomicBool::new(false),
        })
    }

    /// Nobody can guess it.
    pub(super) fn id(&self) -> u128 {
        self.id
    }

    pub(in crate::serve) fn key(&self) -> &StreamKey {
        &self.key
    }

    /// It asks, and is sent `bytes`.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
    }

    /// From `time` to when it is looked at next, which is once in `every`.
    fn until_look(&self, every: Duration, time: Duration) -> Duration {
        let phase = (self.id % u128::from(PHASES)) as u32;
        next_beat(time + every / PHASES * phase, every)
    }

    /// It asks no more.
    pub(super) fn leave(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// A playback among those that its core knows. Dropping it ends that, and the playback.
struct Entry {
    core: Rc<Core>,
    playback: Arc<Playback>,
}

impl Entry {
    fn new(core: &Rc<Core>, playback: &Arc<Playback>) -> Self {
        core.hls.playbacks.borrow_mut().insert(playback.id, Arc::clone(playback));
        Self { core: Rc::clone(core), playback: Arc::clone(playback) }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.playback.leave();
        self.core.hls.playbacks.borrow_mut().remove(&self.playback.id);
    }
}

/// Of an app that has it off. The pages know it by its beginning.
pub(super) const NO_HLS: &str = "HLS is off: this app has hls = false";

/// How often it is looked at, in the time that it may be idle.
const LOOKS: u32 = 4;
/// The viewers of a core are looked at in so many goes: one by one they would wake a sleeping core
/// hundreds of times a second, which costs as much as what they fetch, and all in one would keep
/// others waiting.
const PHASES: u32 = 8;

/// At the owner of a stream: a place for somebody who wants to watch it.
pub(super) fn open(core: &Rc<Core>, ticket: Ticket, grant: Option<Grant>, asker: (CoreId, u64)) {
    let now = Instant::now();
    core.hub.borrow_mut().set_now(now);
    let viewer = join(core, &ticket, grant.as_ref(), now);
    let key = ticket.key().clone();
    ticket.used();
    core.is_active();
    match viewer {
        Ok((viewer, idle)) => {
            // The word that it waits no more may come before the task has run.
            core.hls.wait(asker);
            let stream = key.clone();
            let watch = watch(Rc::clone(core), (key, viewer), grant, asker, idle);
            let panicked_on = Rc::clone(core);
            guard::spawn(core, watch, move || {
                tracing::error!(%stream, "the task of a viewer panicked");
                panicked(&panicked_on, asker);
            });
        }
        Err(closed) => refuse(core, grant, asker, closed),
    }
}

fn join(
    core: &Rc<Core>,
    ticket: &Ticket,
    grant: Option<&Grant>,
    now: Instant,
) -> Result<(Viewer, Duration), Closed> {
    let key = ticket.key();
    let setup = core.setup();
    let Some((app, settings)) = setup.app(key.app()).filter(|(app, _)| app.hls) else {
        return Err(Closed { status: 404, detail: NO_HLS.to_owned() });
    };
    // It may have been on its way when its address was blocked.
    let peer = grant.map(|grant| grant.question().peer.ip());
    if let Some(why) = peer.and_then(|peer| core.blocked(peer, now)) {
        return Err(Closed { status: 403, detail: why.to_string() });
    }
    let request = PlayRequest {
        key: key.clone(),
        settings: Rc::clone(settings),
        epoch: ticket.epoch(),
        fd: NO_SOCKET,
        format: Format::Hls(settings.hls.container),
        selection: Selection::ALL,
        framing: Framing::Raw,
        greeting: bytes::Bytes::new(),
        from_cache: true,
        tag: grant.map(|grant| Tag::new(Arc::clone(grant.question()) as Arc<_>)),
    };
    let viewer = Viewer::join(&core.hub, request, now);
    let viewer = viewer
        .map_err(|refused: PlayRefused| Closed { status: 503, detail: refused.to_string() })?;
    if core.hub.borrow().is_vacant(key)
        && let Some(grant) = grant
    {
        core.node.events.tell(Event::NotFound(Arc::clone(grant.question())));
    }
    Ok((viewer, app.hls_session_idle))
}

fn refuse(core: &Rc<Core>, grant: Option<Grant>, (from, ask): (CoreId, u64), closed: Closed) {
    if let Some(grant) = grant {
        grant.end(&closed.detail, 0, SinkStats::default());
    }
    core.say(from, Word::Opened { ask, opened: Err(closed) });
}

/// Its task has ended by a panic. If somebody still waits for the place, there is none.
fn panicked(core: &Rc<Core>, asker: (CoreId, u64)) {
    core.hls.wait_no_more(asker);
    let detail = "the task of the viewer panicked".to_owned();
    refuse(core, None, asker, Closed { status: 500, detail });
}

/// Waits for the stream, then for the end of the viewer.
#[allow(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice")]
fn watch(
    core: Rc<Core>,
    (key, viewer): (StreamKey, Viewer),
    mut grant: Option<Grant>,
    asker: (CoreId, u64),
    idle: Duration,
) -> impl Future<Output = ()> {
    async move {
        let event = poll_fn(|cx| match core.hls.poll_wait(asker, cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => viewer.poll_event(cx).map(Some),
        });
        let event = event.await;
        core.hls.wait_no_more(asker);
        let channel = match event {
            None => {
                if let Some(grant) = grant {
                    grant.end("the viewer left", 0, SinkStats::default());
                }
                return;
            }
            Some(SinkEvent::Started) => core.hub.borrow().channel(&key),
            Some(event) => return refuse(&core, grant, asker, closed(event)),
        };
        let Some(channel) = channel else {
            // The stream has ended since, and the viewer with it.
            let event = poll_fn(|cx| viewer.poll_event(cx)).await;
            return refuse(&core, grant, asker, closed(event));
        };
        if let Some(grant) = &mut grant {
            grant.start();
        }
        let playback = Playback::new(key);
        let _entry = Entry::new(&core, &playback);
        let found = Found { channel, playback: Some(Arc::clone(&playback)) };
        // The owner remembers the stream beyond its end, as long as players may ask for it.
        core.hls.learn(&found);
        let (from, ask) = asker;
        let segments = found.channel.latest().map_or(Duration::ZERO, |latest| 3 * latest.target());
        let idle = idle.max(segments);
        let linger = found.channel.linger();
        log_start(&core, grant.as_ref());
        let started = Instant::now();
        core.say(from, Word::Opened { ask, opened: Ok(found) });

        let end = until_the_end(&core, &viewer, &playback, idle).await;
        count(&viewer, &playback);
        let stats = viewer.stats();
        let reason = match &end {
            Some(end) => end.to_string(),
            None => format!("asked for nothing for {idle:?} (hls_session_idle)"),
        };
        log_end(&core, grant.as_ref(), started.elapsed(), stats.bytes, &reason);
        drop(viewer);
        if let Some(grant) = grant {
            grant.end(&reason, 0, stats);
        }
        if end == Some(SinkEnd::PublisherGone) {
            // What there was it may have to its end.
            rt::sleep(linger).await;
        }
    }
}

/// Why the plane ended it; none if it asks for nothing any more.
async fn until_the_end(
    core: &Core,
    viewer: &Viewer,
    playback: &Playback,
    idle: Duration,
) -> Option<SinkEnd> {
    let (mut deadline, mut silent) = (Deadline::default(), 0);
    let next_look = |now: Instant| now + playback.until_look(idle / LOOKS, now - core.born);
    let mut look = next_look(Instant::now());
    loop {
        let event = poll_fn(|cx| match viewer.poll_event(cx) {
            Poll::Ready(event) => Poll::Ready(Some(event)),
            Poll::Pending => deadline.poll(cx, Some(look)).map(|()| None),
        });
        match event.await {
            Some(SinkEvent::Ended(end)) => return Some(end),
            Some(_) => {}
            None => {
                look = next_look(Instant::now());
                count(viewer, playback);
                silent = if playback.asked.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
                if silent >= LOOKS || playback.is_over() {
                    return None;
                }
            }
        }
    }
}

/// What it was sent meanwhile, for whoever asks who is there.
fn count(viewer: &Viewer, playback: &Playback) {
    let all = playback.bytes.load(Ordering::Relaxed);
    viewer.fetched(all.saturating_sub(viewer.stats().bytes));
}

fn closed(event: SinkEvent) -> Closed {
    let (status, detail) = match event {
        SinkEvent::TurnedAway | SinkEvent::Ended(SinkEnd::Draining) => {
            (503, SinkEnd::Draining.to_string())
        }
        SinkEvent::Ended(SinkEnd::NotCarried(why)) => (415, why.to_string()),
        SinkEvent::Ended(SinkEnd::Kicked(why)) => (403, why.to_string()),
        _ => (404, NOT_FOUND.to_owned()),
    };
    Closed { status, detail }
}

fn log_start(core: &Core, grant: Option<&Grant>) {
    let Some((question, stream)) = asked(grant) else { return };
    tracing::info!(client = %question.client, peer = %question.peer, protocol = %"hls",
        core = %core.id, %stream, "play");
}

/// Its line in the access log. It was sent `sent` at least: segments by connections that asked for no
/// playlist are not known to be its. The lines of its connections have all of it.
fn log_end(core: &Core, grant: Option<&Grant>, lasted: Duration, sent: u64, reason: &str) {
    let Some((question, stream)) = asked(grant) else { return };
    tracing::info!(target: "corecast::access", client = %question.client, peer = %question.peer,
        protocol = %"hls", agent = question.agent().map(cut), %stream, core = %core.id,
        seconds = seconds(lasted), sent, reason, "stop");
}

fn asked(grant: Option<&Grant>) -> Option<(&Question, &str)> {
    let question = grant?.question();
    Some((question, question.stream().map_or("-", StreamKey::as_str)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::task::{Context, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::config::App;
    use crate::media::{Frame, TrackKind};
    use crate::serve::alone::{h264, on_the_only_core, publish};
    use crate::time::Timestamp;

    fn picture(ms: i64) -> Frame {
        let (at, data) = (Timestamp::from_millis(ms), Bytes::from_static(&[0, 0, 0, 1, 0x65]));
        Frame { kind: TrackKind::Video, dts: at, pts: at, key: ms % 1000 == 0, data }
    }

    #[test]
    fn who_waits_for_a_place_hears_of_a_panic_and_nothing_stays_of_it() {
        let app = App { hls: true, ..App::default() };
        on_the_only_core(app, |core| async move {
            let (key, publisher) = publish(&core, "a");
            let now = Instant::now();
            publisher.set_track(h264(31), now);
            publisher.push(picture(0), now).expect("within limits");
            // Where its playback would be entered it panics.
            std::mem::forget(core.hls.playbacks.borrow_mut());
            let mut reply = core.hls.opened.expect();
            let ticket = Ticket::new(&core, key.clone(), core.look_up(&key));
            open(&core, ticket, None, (core.id, reply.id()));
            let (mut ms, gave_up) = (0, now + Duration::from_secs(20));
            let closed = loop {
                if let Poll::Ready(opened) = reply.poll(&mut Context::from_waker(Waker::noop())) {
                    break opened.expect_err("it panicked");
                }
                assert!(Instant::now() < gave_up, "it still waits");
                ms += 40;
                // Err: the panic has ended the stream.
                let _ = publisher.push(picture(ms), Instant::now());
                rt::sleep(Duration::from_millis(1)).await;
            };
            assert_eq!(closed.status, 500);
            assert!(core.hls.waiting.borrow().is_empty());
        });
    }

    #[test]
    fn a_playback_is_over_and_forgotten_when_its_entry_is_dropped() {
        on_the_only_core(App::default(), |core| async move {
            let playback = Playback::new(StreamKey::new("live", "a").expect("valid"));
            let entry = Entry::new(&core, &playback);
            assert!(core.hls.playbacks.borrow().contains_key(&playback.id()));
            drop(entry);
            assert!(playback.is_over() && core.hls.playbacks.borrow().is_empty());
        });
    }

    #[test]
    fn a_thousand_viewers_that_began_at_any_time_are_looked_at_in_a_few_goes() {
        let every = Duration::from_millis(3750);
        let key = StreamKey::new("live", "a").expect("valid");
        let looks: BTreeSet<_> = (0..1000)
            .map(|nth| {
                let began = Duration::from_secs(100) + Duration::from_millis(nth * 7);
                let until = Playback::new(key.clone()).until_look(every, began);
                assert!(until > Duration::ZERO && until <= every, "{until:?}");
                (began + until).as_millis() % every.as_millis()
            })
            .collect();
        assert_eq!(looks.len(), PHASES as usize);
    }
}
