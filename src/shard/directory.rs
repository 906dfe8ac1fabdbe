use std::collections::HashMap;

use super::CoreId;
use crate::media::StreamKey;

/// Who owns the streams whose home this core is.
///
/// Each lookup takes a ticket, which is used when the asker arrives at the owner, or given back.
/// An entry goes when the owner has reported the key empty, with the same epoch, and no ticket
/// is out: nobody can then be on the way to an owner that no longer is one.
#[derive(Debug, Default)]
pub struct Directory {
    entries: HashMap<StreamKey, Entry>,
    epochs: u64,
}

/// Where a stream lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The core that owns it.
    pub owner: CoreId,
    /// Distinguishes this ownership from earlier and later ones of the same key.
    pub epoch: u64,
}

#[derive(Debug)]
struct Entry {
    place: Place,
    tickets: u32,
    /// Nobody has used the key at the owner since it last said so.
    empty: bool,
}

impl Directory {
    /// The place of `key`, and a ticket to it. `choose` names an owner if there is none.
    pub fn lookup(&mut self, key: &StreamKey, choose: impl FnOnce() -> CoreId) -> Place {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.tickets += 1;
            return entry.place;
        }
        self.epochs += 1;
        let place = Place { owner: choose(), epoch: self.epochs };
        self.entries.insert(key.clone(), Entry { place, tickets: 1, empty: true });
        let (Place { owner, epoch }, keys) = (place, self.entries.len());
        tracing::debug!(stream = %key, %owner, epoch, keys, "placed");
        place
    }

    /// A ticket came to the owner. `empty`: nothing came of it, and nobody uses the key there.
    pub fn ticket_used(&mut self, key: &StreamKey, epoch: u64, empty: bool) {
        let _ = self.update(key, epoch, |entry| {
            entry.tickets = entry.tickets.saturating_sub(1);
            entry.empty = empty;
        });
    }

    /// A ticket was not used. Answers with the owner if that was the last of the key.
    pub fn ticket_back(&mut self, key: &StreamKey, epoch: u64) -> Option<CoreId> {
        self.update(key, epoch, |entry| entry.tickets = entry.tickets.saturating_sub(1))
    }

    /// Nobody uses the key at the owner any more.
    pub fn emptied(&mut self, key: &StreamKey, epoch: u64) {
        let _ = self.update(key, epoch, |entry| entry.empty = true);
    }

    /// Keys that have an owner.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no key has an owner.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Answers with the owner of the entry if that was forgotten.
    fn update(
        &mut self,
        key: &StreamKey,
        epoch: u64,
        change: impl FnOnce(&mut Entry),
    ) -> Option<CoreId> {
        let entry = self.entries.get_mut(key).filter(|entry| entry.place.epoch == epoch)?;
        change(entry);
        if !entry.empty || entry.tickets > 0 {
            return None;
        }
        let entry = self.entries.remove(key)?;
        tracing::debug!(stream = %key, epoch, keys = self.entries.len(), "forgotten");
        Some(entry.place.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> StreamKey {
        StreamKey::new("live", "x").expect("valid")
    }

    fn never() -> CoreId {
        panic!("the key has an owner")
    }

    #[test]
    fn the_first_lookup_places_and_later_ones_follow() {
        let mut directory = Directory::default();
        let place = directory.lookup(&key(), || CoreId(1));
        assert_eq!(directory.lookup(&key(), never), place);
    }

    #[test]
    fn an_entry_goes_when_empty_and_no_ticket_is_out() {
        let mut directory = Directory::default();
        let epoch = directory.lookup(&key(), || CoreId(1)).epoch;
        directory.ticket_used(&key(), epoch, false);
        assert_eq!(directory.len(), 1);
        directory.emptied(&key(), epoch);
        assert!(directory.is_empty());
    }

    #[test]
    fn a_ticket_on_its_way_keeps_the_owner_although_it_said_empty() {
        let mut directory = Directory::default();
        let place = directory.lookup(&key(), || CoreId(1));
        directory.ticket_used(&key(), place.epoch, false);
        assert_eq!(directory.lookup(&key(), never), place);
        directory.emptied(&key(), place.epoch);
        assert_eq!(directory.len(), 1);
        directory.ticket_used(&key(), place.epoch, false);
        assert_eq!(directory.len(), 1, "the one who arrived uses the key again");
        directory.emptied(&key(), place.epoch);
        assert!(directory.is_empty());
    }

    #[test]
    fn a_ticket_given_back_leaves_no_trace() {
        let mut directory = Directory::default();
        let place = directory.lookup(&key(), || CoreId(0));
        directory.lookup(&key(), never);
        assert_eq!(directory.ticket_back(&key(), place.epoch), None);
        assert_eq!(directory.ticket_back(&key(), place.epoch), Some(CoreId(0)));
        assert!(directory.is_empty());
        let used_in_vain = directory.lookup(&key(), || CoreId(0));
        directory.ticket_used(&key(), used_in_vain.epoch, true);
        assert!(directory.is_empty());
    }

    #[test]
    fn a_late_word_of_an_earlier_owner_changes_nothing() {
        let mut directory = Directory::default();
        let old = directory.lookup(&key(), || CoreId(0));
        directory.ticket_back(&key(), old.epoch);
        let new = directory.lookup(&key(), || CoreId(1));
        directory.ticket_used(&key(), new.epoch, false);
        directory.emptied(&key(), old.epoch);
        directory.ticket_back(&key(), old.epoch);
        assert_eq!(directory.lookup(&key(), never), new);
    }
}
