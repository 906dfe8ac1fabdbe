//! Ends that are neither the stream's nor the viewer's doing: somebody outside says so.

use std::rc::Rc;
use std::time::Instant;

use super::sink::Position;
use super::{Hub, PublisherEnd, SinkEnd, SinkId, SourceId, Tag};
use crate::media::StreamKey;

impl Hub {
    /// Ends a viewer. Answers false if it is not there any more.
    pub fn end_viewer(&mut self, id: SinkId, serial: u64, reason: &str, now: Instant) -> bool {
        let there = self
            .sinks
            .get(id)
            .is_some_and(|sink| sink.serial == serial && sink.position != Position::Ended);
        if there {
            self.end_sink(id, SinkEnd::Kicked(Rc::new(reason.to_owned())), now);
        }
        there
    }

    /// Puts the publisher of `key` out, as if it had left. Its viewers wait for another as long as
    /// they always do. Answers false if there is none.
    pub fn end_publisher(&mut self, key: &StreamKey, reason: &str, now: Instant) -> bool {
        self.set_now(now);
        self.by_key.get(key).copied().is_some_and(|id| self.put_out(id, reason))
    }

    /// Ends every viewer and publisher whose tag is `meant`, and answers how many they were.
    pub fn end_all_of(
        &mut self,
        meant: impl Fn(&Tag) -> bool,
        reason: &str,
        now: Instant,
    ) -> usize {
        self.set_now(now);
        let is_meant = |tag: &Option<Tag>| tag.as_ref().is_some_and(&meant);
        let viewers = self
            .sinks
            .iter()
            .filter(|(_, sink)| sink.position != Position::Ended && is_meant(&sink.tag));
        let viewers: Vec<SinkId> = viewers.map(|(id, _)| id).collect();
        let publishers = self.sources.iter().filter(|(_, source)| {
            source.publisher.as_ref().is_some_and(|slot| is_meant(&slot.tag))
        });
        let publishers: Vec<SourceId> = publishers.map(|(id, _)| id).collect();
        let reason_of_all = Rc::new(reason.to_owned());
        for id in &viewers {
            self.end_sink(*id, SinkEnd::Kicked(Rc::clone(&reason_of_all)), now);
        }
        for id in &publishers {
            self.put_out(*id, reason);
        }
        viewers.len() + publishers.len()
    }

    fn put_out(&mut self, id: SourceId, reason: &str) -> bool {
        // It may have ended with the last of its viewers.
        let Some(source) = self.sources.get(id) else { return false };
        let Some(slot) = &source.publisher else { return false };
        let (key, serial) = (source.key.clone(), slot.serial);
        slot.end(PublisherEnd::Kicked { key, reason: reason.to_owned() });
        self.unpublish(id, serial);
        true
    }
}
