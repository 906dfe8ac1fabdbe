//! Going out of service: viewers first, some at a time, each where it can go on elsewhere without a
//! gap; then publishers.

use std::time::Instant;

use super::sink::{Position, Sink};
use super::source::Source;
use super::{Hub, PublisherEnd, SinkEnd, SinkId, SourceId};

/// Who has not been ended yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Left {
    /// Viewers, those who wait for a publisher included.
    pub viewers: usize,
    /// Of the viewers, those who have not been told to leave.
    pub staying: usize,
    /// Publishers.
    pub publishers: usize,
}

impl Hub {
    /// Tells `count` more viewers to leave, and refuses newcomers from now on. Who watches leaves
    /// where the next key block begins; who waits, for a publisher or for a picture, leaves at once.
    pub fn drain(&mut self, count: usize, now: Instant) {
        self.draining = true;
        let staying = self.sinks.iter().filter(|(_, sink)| !sink.leaving && !has_ended(sink));
        let chosen: Vec<SinkId> = staying.map(|(id, _)| id).take(count).collect();
        for id in chosen {
            self.sinks[id].leaving = true;
        }
        // Those of before are looked at too: their publisher may have left meanwhile.
        let leaving = self.sinks.iter().filter(|(_, sink)| sink.leaving && !has_ended(sink));
        let idle = leaving.filter(|(_, sink)| self.waits_in_vain(sink));
        for id in idle.map(|(id, _)| id).collect::<Vec<_>>() {
            self.end_sink(id, SinkEnd::Draining, now);
        }
    }

    /// Ends all viewers now, and their publishers.
    pub fn drain_now(&mut self, now: Instant) {
        self.draining = true;
        let left = self.sinks.iter().filter(|(_, sink)| !has_ended(sink));
        for id in left.map(|(id, _)| id).collect::<Vec<_>>() {
            self.end_sink(id, SinkEnd::Draining, now);
        }
        self.end_publishers(now);
    }

    /// True when the drivers of all viewers have heard that those are ended.
    pub fn is_left(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Ends all publishers.
    pub fn end_publishers(&mut self, now: Instant) {
        self.set_now(now);
        let published = self.sources.iter().filter_map(|(id, source)| {
            let slot = source.publisher.as_ref()?;
            slot.end(PublisherEnd::Draining);
            Some((id, slot.serial))
        });
        for (id, serial) in published.collect::<Vec<(SourceId, u64)>>() {
            self.unpublish(id, serial);
        }
    }

    /// Who has not been ended stays, and newcomers are let in again.
    pub fn stay(&mut self) {
        self.draining = false;
        for (_, sink) in &mut self.sinks {
            sink.leaving = false;
        }
    }

    /// Who has not been ended.
    pub fn left(&self) -> Left {
        let mut left = Left::default();
        for (_, sink) in self.sinks.iter().filter(|(_, sink)| !has_ended(sink)) {
            left.viewers += 1;
            left.staying += usize::from(!sink.leaving);
        }
        let published = |(_, source): &(SourceId, &Source)| source.publisher.is_some();
        left.publishers = self.sources.iter().filter(published).count();
        left
    }

    /// No key block will come for it, or none that it has to wait for.
    fn waits_in_vain(&self, sink: &Sink) -> bool {
        let source = &self.sources[sink.source];
        match sink.position {
            Position::Waiting | Position::AwaitingKey { .. } => true,
            Position::At { .. } => sink.paused || source.publisher.is_none() || !source.has_video(),
            Position::Ended => false,
        }
    }
}

fn has_ended(sink: &Sink) -> bool {
    sink.position == Position::Ended
}
