//! Going out of service: viewers first, some at a time, each where it can go on elsewhere without a
//! gap; then publishers.

use std::time::Instant;

use super::sink::{Position, Sink};
use super::source::Source;
use super::{Hub, PublisherEnd, SinkEnd, SinkId, SourceId};

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Drain {
    pub(super) admits: Admits,
    /// All sinks before this place were told to leave. Nobody new comes into one: viewers are let in
    /// again when this begins anew.
    told_before: SinkId,
    /// Those who were told, and had not been ended when that was last looked at; with their serial.
    leaving: Vec<(SinkId, u64)>,
}

/// Who may come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Admits {
    #[default]
    Everyone,
    /// Who is watched goes on being watched, and may return.
    Publishers,
    Nobody,
}

/// Who is left.
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
    ///
    /// Looks at those, and at those of before who are still here, but not at the thousands whose turn
    /// has not come: it is called ten times per second.
    pub fn drain(&mut self, count: usize, now: Instant) {
        self.drain.admits = self.drain.admits.max(Admits::Publishers);
        let mut chosen = 0;
        while chosen < count && self.drain.told_before < self.sinks.capacity() {
            let id = self.drain.told_before;
            self.drain.told_before += 1;
            if let Some(sink) = self.sinks.get_mut(id).filter(|sink| !has_ended(sink)) {
                sink.leaving = true;
                self.drain.leaving.push((id, sink.serial));
                chosen += 1;
            }
        }
        // Those of before are looked at too: their publisher may have left meanwhile.
        let mut leaving = std::mem::take(&mut self.drain.leaving);
        leaving.retain(|(id, serial)| self.is_leaving(*id, *serial));
        leaving.retain(|(id, _)| {
            let ends = self.waits_in_vain(&self.sinks[*id]);
            if ends {
                self.end_sink(*id, SinkEnd::Draining, now);
            }
            !ends
        });
        self.drain.leaving = leaving;
    }

    /// Ends all viewers now, and their publishers.
    pub fn drain_now(&mut self, now: Instant) {
        let left = self.sinks.iter().filter(|(_, sink)| !has_ended(sink));
        for id in left.map(|(id, _)| id).collect::<Vec<_>>() {
            self.end_sink(id, SinkEnd::Draining, now);
        }
        self.end_publishers(now);
    }

    /// True when the drivers of all viewers and publishers have let go of them.
    pub fn is_deserted(&self) -> bool {
        self.sinks.is_empty() && self.publishers == 0
    }

    /// Ends all publishers, and refuses others from now on.
    pub fn end_publishers(&mut self, now: Instant) {
        self.drain.admits = Admits::Nobody;
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
        for (id, serial) in std::mem::take(&mut self.drain).leaving {
            if let Some(sink) = self.sink_mut(id, serial) {
                sink.leaving = false;
            }
        }
    }

    /// Who has not been ended. A viewer is left until its driver has heard that it is not.
    pub fn left(&self) -> Left {
        let on = self.sources.iter().map(|(_, source)| source.sinks).sum::<usize>();
        let leaving = &self.drain.leaving;
        let leaving = leaving.iter().filter(|(id, serial)| self.is_leaving(*id, *serial));
        let published = |(_, source): &(SourceId, &Source)| source.publisher.is_some();
        Left {
            viewers: self.sinks.len(),
            staying: on - leaving.count(),
            publishers: self.sources.iter().filter(published).count(),
        }
    }

    /// It is still here.
    fn is_leaving(&self, id: SinkId, serial: u64) -> bool {
        self.sinks.get(id).is_some_and(|sink| sink.serial == serial && !has_ended(sink))
    }

    /// No key block will come for it, or none that it has to wait for.
    fn waits_in_vain(&self, sink: &Sink) -> bool {
        let source = &self.sources[sink.source];
        match sink.position {
            Position::Waiting | Position::AwaitingKey { .. } | Position::Fetching { .. } => true,
            Position::At { .. } => sink.paused || source.publisher.is_none() || !source.has_video(),
            Position::Ended => false,
        }
    }
}

fn has_ended(sink: &Sink) -> bool {
    sink.position == Position::Ended
}
