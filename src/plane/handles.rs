use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::source::PublisherMail;
use super::{
    Hub, PlayRefused, PlayRequest, PublishRefused, PublishRequest, PublisherEnd, PushError,
    Selection, SinkEvent, SinkId, SinkStats, SourceId, Tag,
};
use crate::bytes::Chain;
use crate::media::{Frame, PrivateStreams, StreamKey, Track};

/// The slot of a source, held by a publisher's driver. Dropping it leaves the slot.
#[derive(Debug)]
pub struct Publisher {
    hub: Rc<RefCell<Hub>>,
    key: StreamKey,
    source: SourceId,
    serial: u64,
    mail: Rc<RefCell<PublisherMail>>,
}

impl Publisher {
    /// Takes the slot, from whoever has it if the app says so.
    pub fn acquire(
        hub: &Rc<RefCell<Hub>>,
        request: PublishRequest,
        now: Instant,
    ) -> Result<Self, PublishRefused> {
        let (mail, key) = (Rc::default(), request.key.clone());
        let (source, serial) = {
            let mut hub = hub.borrow_mut();
            let slot = hub.publish(request, &mail, now)?;
            hub.publishers += 1;
            slot
        };
        Ok(Self { hub: Rc::clone(hub), key, source, serial, mail })
    }

    /// The key it holds.
    pub fn key(&self) -> StreamKey {
        self.key.clone()
    }

    /// A track with its configuration, before its first frame and whenever it changes.
    pub fn set_track(&self, track: Track, now: Instant) {
        self.hub.borrow_mut().set_track(self.source, self.serial, track, now);
    }

    /// `onMetaData` as AMF0, its name first.
    pub fn set_metadata(&self, metadata: Bytes, now: Instant) {
        self.hub.borrow_mut().set_metadata(self.source, self.serial, metadata, now);
    }

    /// Its driver knows it by `tag` from now on.
    pub fn set_tag(&self, tag: Tag) {
        self.hub.borrow_mut().set_tag(self.source, self.serial, tag);
    }

    /// The streams of private data beside its tracks, before their frames and whenever they change.
    pub fn set_private_streams(&self, streams: PrivateStreams) {
        self.hub.borrow_mut().set_private_streams(self.source, self.serial, streams);
    }

    /// One frame, in the order it came.
    ///
    /// # Errors
    /// The publisher sends too much, or no longer has the slot: close its connection.
    pub fn push(&self, frame: Frame, now: Instant) -> Result<(), PushError> {
        self.hub.borrow_mut().push(self.source, self.serial, frame, now)
    }

    /// How long the oldest of what is pushed next may have waited to be read: the merge window
    /// counts it. Answers how long what comes may rest before it is read: the merge window in force,
    /// or less where a part would have to wait for it.
    pub fn set_waited(&self, waited: Duration) -> Duration {
        self.hub.borrow_mut().set_waited(self.source, self.serial, waited)
    }

    /// Ready when nobody has watched for the app's `idle_timeout`; once until somebody has.
    pub fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut mail = self.mail.borrow_mut();
        match std::mem::take(&mut mail.idle) {
            true => Poll::Ready(()),
            false => {
                listen(&mut mail.waker, cx);
                Poll::Pending
            }
        }
    }

    /// True if nobody has watched since [`Self::poll_idle`] was ready.
    pub fn is_idle(&self) -> bool {
        let hub = self.hub.borrow();
        let source = hub.sources.get(self.source).filter(|it| it.is_held_by(self.serial));
        source.is_some_and(|source| source.idle.is_told())
    }

    /// What its driver did has failed inside: the source may be half changed, and ends.
    pub fn abort(&self, now: Instant) {
        self.hub.borrow_mut().abort_published(self.source, self.serial, now);
    }

    /// Ready when the slot was taken away.
    pub fn poll_end(&self, cx: &mut Context<'_>) -> Poll<PublisherEnd> {
        let mut mail = self.mail.borrow_mut();
        match mail.end.take() {
            Some(end) => Poll::Ready(end),
            None => {
                listen(&mut mail.waker, cx);
                Poll::Pending
            }
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut hub = self.hub.borrow_mut();
        hub.publishers -= 1;
        if std::thread::panicking() {
            // The source may be half changed: it ends, and nobody else notices.
            let now = hub.now();
            hub.abort_published(self.source, self.serial, now);
        } else {
            hub.unpublish(self.source, self.serial);
        }
    }
}

/// One sink, held by a viewer's driver. Dropping it unlinks the sink; the socket may be closed
/// only after that.
#[derive(Debug)]
pub struct Viewer {
    hub: Rc<RefCell<Hub>>,
    id: SinkId,
}

impl Viewer {
    /// Takes a place: at the stream if it is live, else among those who wait for it.
    pub fn join(
        hub: &Rc<RefCell<Hub>>,
        request: PlayRequest,
        now: Instant,
    ) -> Result<Self, PlayRefused> {
        let id = hub.borrow_mut().play(request, now)?;
        Ok(Self { hub: Rc::clone(hub), id })
    }

    /// What the plane has to tell.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SinkEvent> {
        let mut hub = self.hub.borrow_mut();
        let sink = &mut hub.sinks[self.id];
        match sink.event() {
            Some(event) => Poll::Ready(event),
            None => {
                listen(&mut sink.waker, cx);
                Poll::Pending
            }
        }
    }

    /// Bytes for this viewer alone, sent at the next message boundary.
    pub fn send(&self, bytes: Bytes, now: Instant) {
        self.hub.borrow_mut().send_private(self.id, bytes, now);
    }

    /// No more blocks until [`Self::resume`].
    pub fn pause(&self) {
        self.hub.borrow_mut().pause(self.id);
    }

    /// Goes on at the newest key block, if that is ahead.
    pub fn resume(&self, now: Instant) {
        self.hub.borrow_mut().resume(self.id, now);
    }

    /// Moves to other tracks at a key block.
    pub fn select(&self, selection: Selection, now: Instant) {
        self.hub.borrow_mut().select(self.id, selection, now);
    }

    /// What must still be written, by the driver, after the plane ended this viewer: nothing if
    /// the end [breaks off](super::SinkEnd::breaks_off).
    pub fn take_rest(&self) -> Chain {
        self.hub.borrow_mut().sinks[self.id].take_rest()
    }

    /// Bytes that its socket should hold at most without having sent them, now that it has
    /// started: what a viewer does not take is to wait in the log, where it is shared and bounded.
    pub fn unsent_max(&self) -> usize {
        self.hub.borrow().unsent_max(self.id)
    }

    /// A viewer that fetches has fetched so many bytes more.
    pub fn fetched(&self, bytes: u64) {
        self.hub.borrow_mut().fetched(self.id, bytes);
    }

    /// What it was sent, and how far it is behind.
    pub fn stats(&self) -> SinkStats {
        self.hub.borrow().sink_stats(self.id)
    }

    /// Its number on this core, as in the logs.
    pub fn id(&self) -> SinkId {
        self.id
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.hub.borrow_mut().leave(self.id);
    }
}

/// Whoever asked is woken when there is something. A publisher's task asks for two things at each of
/// its turns, and almost always waits already.
fn listen(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}
