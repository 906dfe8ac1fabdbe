//! The publishers' side of the hub: who holds a source's slot, and the way of a frame.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::drain::Admits;
use super::hub::Timer;
use super::sink::Position;
use super::source::{Phase, Placed, PublisherMail, Slot};
use super::{
    Hub, OnConflict, PublisherEnd, PushError, Settings, SinkEnd, SinkId, SourceId, Tag, TapEnd,
    TransId,
};
use crate::media::{Frame, PrivateStreams, StreamKey, Track};

/// A request to publish, authorised.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// The key.
    pub key: StreamKey,
    /// The app's numbers.
    pub settings: Rc<Settings>,
    /// The directory's epoch of the key.
    pub epoch: u64,
    /// Whom the driver knows it by.
    pub tag: Option<Tag>,
}

/// Why a publisher was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    /// `on_conflict = "refuse"`, and somebody is there.
    #[error("{key} is being published already, for {:.0} s (on_conflict = \"refuse\")", since.as_secs_f64())]
    InUse {
        /// The key.
        key: StreamKey,
        /// How long the other has been there.
        since: Duration,
    },
    /// The node is going out of service, and its publishers have been ended.
    #[error("this server is going out of service: try another")]
    Draining,
}

impl Hub {
    pub(super) fn publish(
        &mut self,
        request: PublishRequest,
        mail: &Rc<RefCell<PublisherMail>>,
        now: Instant,
    ) -> Result<(SourceId, u64), PublishRefused> {
        if self.drain.admits == Admits::Nobody {
            return Err(PublishRefused::Draining);
        }
        if let Some(&id) = self.by_key.get(&request.key)
            && self.sources[id].is_vacant()
        {
            // Those who still have to be sent what another said before.
            self.end_source(id, &SinkEnd::PublisherGone, now);
        }
        let id = self.source_for(&request.key, &request.settings, request.epoch, now);
        let serial = self.next_serial();
        let source = &mut self.sources[id];
        if let Some(slot) = &source.publisher {
            if request.settings.on_conflict == OnConflict::Refuse {
                let since = now.saturating_duration_since(slot.since);
                return Err(PublishRefused::InUse { key: request.key, since });
            }
            slot.end(PublisherEnd::TakenOver(request.key));
        }
        source.app = self.apps.place(source.key.app());
        source.settings = request.settings;
        source.start(Slot { serial, since: now, mail: Rc::clone(mail), tag: request.tag });
        let (until, serial_of_source) = (now + source.settings.probe_timeout, source.serial);
        self.at(until, Timer::Probe(id, serial_of_source));
        self.watch_for_idleness(id, now);
        self.interrupt_hls(id);
        for trans in self.sources[id].transes.clone() {
            // Newcomers start with this publisher, not with the end of the one before.
            self.forget_starts(trans, now);
            self.transes[trans].end_taps(&TapEnd::TakenOver);
        }
        Ok((id, serial))
    }

    pub(super) fn unpublish(&mut self, id: SourceId, serial: u64) {
        let now = self.now;
        let Some(source) = self.published(id, serial) else { return };
        source.leave(now);
        let (phase, serial) = (source.phase, source.serial);
        self.interrupt_hls(id);
        // What the publisher said last must not wait for a frame that never comes.
        for trans in self.sources[id].transes.clone() {
            self.seal(trans, now);
            self.transes[trans].end_taps(&TapEnd::PublisherGone);
            self.flush_by(trans, now);
        }
        match phase {
            Phase::Grace { until } => self.at(until, Timer::Grace(id, serial)),
            _ => self.drop_unused(id),
        }
    }

    pub(super) fn set_track(&mut self, id: SourceId, serial: u64, track: Track, now: Instant) {
        if self.published(id, serial).is_some_and(|source| source.set_track(track)) {
            self.went_live(id, now);
        }
    }

    pub(super) fn set_metadata(&mut self, id: SourceId, serial: u64, data: Bytes, now: Instant) {
        let Some(source) = self.published(id, serial) else { return };
        let changed = source.tracks.metadata.as_ref() != Some(&data);
        let went_live = source.set_metadata(data);
        if let Some(placed) = source.announcement().filter(|_| changed) {
            for at in 0..self.sources[id].transes.len() {
                let trans = self.sources[id].transes[at];
                self.push_to(id, trans, &placed, now);
            }
        }
        if went_live {
            self.went_live(id, now);
        }
    }

    pub(super) fn set_tag(&mut self, id: SourceId, serial: u64, tag: Tag) {
        let source = self.published(id, serial);
        if let Some(slot) = source.and_then(|source| source.publisher.as_mut()) {
            slot.tag = Some(tag);
        }
    }

    pub(super) fn set_private_streams(
        &mut self,
        id: SourceId,
        serial: u64,
        streams: PrivateStreams,
    ) {
        if let Some(source) = self.published(id, serial) {
            source.set_private_streams(streams);
        }
    }

    pub(super) fn set_waited(&mut self, id: SourceId, serial: u64, waited: Duration) -> Duration {
        if let Some(source) = self.published(id, serial) {
            source.waited = waited;
        }
        let Some(source) = self.sources.get(id) else { return Duration::ZERO };
        let window = self.window_of(source);
        // A part ends when its time has come, not at the next flush.
        let part = source.hls.as_ref().map(|_| source.settings.hls.part / READS_PER_PART);
        part.map_or(window, |part| window.min(part))
    }

    pub(super) fn push(
        &mut self,
        id: SourceId,
        serial: u64,
        frame: Frame,
        now: Instant,
    ) -> Result<(), PushError> {
        let Some(source) = self.sources.get_mut(id).filter(|source| source.is_held_by(serial))
        else {
            return Err(PushError::NotHeld);
        };
        self.totals.ingest_bytes += frame.data.len() as u64;
        self.published_by = Some(id);
        let starving = |trans: &TransId| self.transes[*trans].is_awaited();
        let fetched = source.hls.as_ref().is_some_and(|hls| hls.is_awaited());
        let seek_start =
            source.gop.is_overgrown() || fetched || source.transes.iter().any(starving);
        let Some(placed) = source.place(now, frame, seek_start)? else { return Ok(()) };
        self.totals.jumps += u64::from(placed.jumped);
        self.totals.gop_overgrown += u64::from(placed.overgrown);
        if placed.overgrown {
            for trans in source.transes.clone() {
                self.forget_starts(trans, now);
            }
        }
        for at in 0..self.sources[id].transes.len() {
            let trans = self.sources[id].transes[at];
            self.push_to(id, trans, &placed, now);
        }
        self.push_hls(id, &placed, now);
        Ok(())
    }

    fn push_to(&mut self, id: SourceId, trans_id: TransId, placed: &Placed, now: Instant) {
        let source = &self.sources[id];
        let trans = &mut self.transes[trans_id];
        let sealed = trans.push(&source.tracks, &placed.frame, placed.starts, placed.has_video);
        if trans.sinks.is_empty() {
            return;
        }
        if sealed || trans.has_open() {
            self.flush_in_a_window(trans_id, now);
        }
        if sealed {
            self.after_seal(trans_id, now);
        }
    }

    /// The source failed inside: everyone at it is told, nobody else notices.
    pub fn abort(&mut self, key: &StreamKey, now: Instant) {
        let Some(&id) = self.by_key.get(key) else { return };
        let source = &mut self.sources[id];
        if let Some(slot) = source.publisher.take() {
            slot.end(PublisherEnd::SourceFailed(source.key.clone()));
        }
        source.forget();
        self.end_source(id, &SinkEnd::SourceFailed, now);
    }

    /// As [`Self::abort`], for the source of a publisher, unless another has taken the slot over: then
    /// nothing that this one did can have changed it.
    pub(super) fn abort_published(&mut self, id: SourceId, serial: u64, now: Instant) {
        if let Some(source) = self.published(id, serial) {
            let key = source.key.clone();
            self.abort(&key, now);
        }
    }

    /// As [`Self::abort`], for the source of a sink.
    pub fn abort_source_of(&mut self, id: SinkId, now: Instant) {
        if let Some(sink) = self.sinks.get(id).filter(|sink| sink.position != Position::Ended) {
            let key = self.sources[sink.source].key.clone();
            self.abort(&key, now);
        }
    }

    /// What the publisher of `key` is known by, if it has one.
    pub fn publisher_tag(&self, key: &StreamKey) -> Option<Tag> {
        let source = &self.sources[*self.by_key.get(key)?];
        source.publisher.as_ref()?.tag.clone()
    }

    fn went_live(&mut self, id: SourceId, now: Instant) {
        for sink in std::mem::take(&mut self.sources[id].waiting) {
            self.node.waiting_sinks.fetch_sub(1, Ordering::Relaxed);
            self.seat(sink, now);
        }
        self.tell_live(self.sources[id].key.clone());
    }

    pub(super) fn probe_is_over(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        if matches!(source.phase, Phase::Probing { until } if until <= now) {
            if source.end_probe() {
                self.went_live(id, now);
            } else {
                let again = now + source.settings.probe_timeout;
                source.phase = Phase::Probing { until: again };
                self.at(again, Timer::Probe(id, serial));
            }
        }
    }

    pub(super) fn grace_is_over(&mut self, id: SourceId, serial: u64, now: Instant) {
        let Some(source) = self.source_mut(id, serial) else { return };
        if matches!(source.phase, Phase::Grace { until } if until <= now) {
            source.forget();
            let rest = source.settings.max_lag.saturating_sub(source.settings.grace());
            self.end_tail(id, serial, now + rest, now);
        }
    }

    /// Ends the viewers of a source that is over as they have been sent all of it: at `last`,
    /// everyone.
    pub(super) fn end_tail(&mut self, id: SourceId, serial: u64, last: Instant, now: Instant) {
        let Some(source) = self.source_mut(id, serial).filter(|source| source.is_vacant()) else {
            return;
        };
        let transes = source.transes.clone();
        let seated = transes.into_iter().flat_map(|trans| self.transes[trans].sinks.clone());
        let (ended, lag): (Vec<_>, Vec<_>) =
            seated.partition(|sink| now >= last || self.is_at_head(&self.sinks[*sink]));
        if lag.is_empty() {
            return self.end_source(id, &SinkEnd::PublisherGone, now);
        }
        let fetching = self.finish_hls(id, &SinkEnd::PublisherGone);
        self.end_fetching(id, fetching, &SinkEnd::PublisherGone, now);
        for sink in ended {
            self.end_sink(sink, SinkEnd::PublisherGone, now);
        }
        self.at(last.min(now + LOOK), Timer::Tail(id, serial, last));
    }

    /// Ends every seated sink and drops the trans streams; waiting ones go on waiting.
    fn end_source(&mut self, id: SourceId, why: &SinkEnd, now: Instant) {
        let end = match why {
            SinkEnd::SourceFailed => TapEnd::SourceFailed,
            _ => TapEnd::PublisherGone,
        };
        // If it fails, all is still in its place for whoever ends the source for that.
        let fetching = self.finish_hls(id, why);
        // The last of its viewers may take the source along.
        let transes = std::mem::take(&mut self.sources[id].transes);
        self.end_fetching(id, fetching, why, now);
        for trans in transes {
            self.transes[trans].end_taps(&end);
            for sink in self.transes[trans].sinks.clone() {
                self.end_sink(sink, why.clone(), now);
            }
            self.remove_trans(trans);
        }
        self.drop_unused(id);
    }

    /// Ends those who fetch, and lets go of what they fetched.
    fn end_fetching(
        &mut self,
        id: SourceId,
        fetching: BTreeSet<SinkId>,
        why: &SinkEnd,
        now: Instant,
    ) {
        for sink in fetching {
            self.end_sink(sink, why.clone(), now);
        }
        if let Some(hls) = self.sources.get_mut(id).and_then(|source| source.take_hls()) {
            self.forget_hls(*hls);
        }
    }
}

/// Between two looks whether viewers have been sent the last of what a publisher said.
const LOOK: Duration = Duration::from_millis(100);
/// So often a publisher is looked at in the time of a part, where somebody fetches them: a part is
/// there at most as much after its time.
const READS_PER_PART: u32 = 10;
