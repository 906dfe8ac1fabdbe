//! The sounds that came, compared with those that the pictures' marks say were sent.
//!
//! Muxers interleave the two kinds differently: a sound may come before or after the picture that
//! lists it. So both wait in line, and are compared in order. Where they differ, the nearest place
//! where both go on alike tells how many are missing, repeated or damaged between.

use std::collections::{HashMap, VecDeque};

use crate::report::Inspected;

/// One viewer's sounds.
#[derive(Debug, Default)]
pub(super) struct Sounds {
    /// Hashes of those that came and are not accounted for.
    heard: VecDeque<u32>,
    /// Of those that were sent; None if the picture that lists it did not come.
    listed: VecDeque<Option<u32>>,
    /// The number after the last one listed.
    next: Option<u32>,
    /// The fronts of both lines belong together.
    aligned: bool,
}

/// No two sounds of one time are further apart in any muxing: 10 s at 48 kHz.
const APART_MAX: usize = 470;

impl Sounds {
    /// A sound came.
    pub(super) fn hear(&mut self, hash: u32, counts: &mut Inspected) {
        self.heard.push_back(hash);
        self.match_fronts();
        if self.heard.len() > 2 * APART_MAX {
            self.give_up(counts);
        }
    }

    /// A picture came that lists the sounds from number `first` on. Those of the `viewer's first`
    /// picture were sent before the viewer came, and need not be there.
    pub(super) fn list(
        &mut self,
        first: u32,
        hashes: &[u32],
        viewers_first: bool,
        counts: &mut Inspected,
    ) {
        let next = self.next.unwrap_or(first);
        let hole = first.wrapping_sub(next) as usize;
        self.next = Some(first.wrapping_add(hashes.len() as u32));
        if hole > 100 * APART_MAX {
            // Nobody can have missed so many: another count has begun.
            *self = Self { next: self.next, ..Self::default() };
        } else {
            self.listed.extend(std::iter::repeat_n(None, hole));
        }
        if !viewers_first {
            self.listed.extend(hashes.iter().copied().map(Some));
        }
        self.compare(counts);
        while self.listed.len() > self.heard.len() + APART_MAX {
            self.listed.pop_front();
            counts.missing += u64::from(self.aligned);
        }
        if self.listed.len() > 2 * APART_MAX {
            self.give_up(counts);
        }
    }

    fn match_fronts(&mut self) {
        while self.aligned
            && let (Some(heard), Some(Some(listed))) = (self.heard.front(), self.listed.front())
            && heard == listed
        {
            self.heard.pop_front();
            self.listed.pop_front();
        }
    }

    fn compare(&mut self, counts: &mut Inspected) {
        self.match_fronts();
        while !self.heard.is_empty()
            && !self.listed.is_empty()
            && let Some((heard, listed)) = self.next_pair()
        {
            self.account(heard, listed, counts);
            self.match_fronts();
        }
    }

    /// The nearest sound that was heard and listed, and is like no other: how many stand before
    /// it in either line. None if it may still come.
    fn next_pair(&self) -> Option<(usize, usize)> {
        let heard = only_ones(self.heard.iter().copied().zip(0..));
        let listed = self.listed.iter().copied().zip(0..);
        let listed = only_ones(listed.filter_map(|(hash, place)| Some((hash?, place))));
        let pairs = listed.iter().filter_map(|(hash, j)| Some((*heard.get(hash)?, *j)));
        pairs.min_by_key(|(i, j)| i + j)
    }

    /// Takes so many off the front of each line and counts what they mean.
    fn account(&mut self, heard: usize, listed: usize, counts: &mut Inspected) {
        self.heard.drain(..heard);
        let unknown = self.listed.drain(..listed).filter(Option::is_none).count();
        if !std::mem::replace(&mut self.aligned, true) {
            return;
        }
        // What was heard for a sound that is listed nowhere is taken to be good.
        let filled = heard.min(unknown);
        let (heard, known) = (heard - filled, listed - unknown);
        let damaged = heard.min(known);
        counts.damaged += damaged as u64;
        counts.repeated += (heard - damaged) as u64;
        counts.missing += (unknown - filled + known - damaged) as u64;
    }

    /// Nothing fits for too long: the older half is accounted for as it stands.
    fn give_up(&mut self, counts: &mut Inspected) {
        let half = self.heard.len().min(self.listed.len()) / 2;
        if half < APART_MAX / 4 {
            // Pictures have ceased, and with them the lists.
            self.aligned = false;
            self.heard.drain(..self.heard.len() / 2);
            return;
        }
        let aligned = self.aligned;
        self.account(half, half, counts);
        self.aligned = aligned;
    }
}

/// Where each hash stands that stands in one place only.
fn only_ones(hashes: impl Iterator<Item = (u32, usize)>) -> HashMap<u32, usize> {
    let mut places = HashMap::new();
    for (hash, place) in hashes {
        places.entry(hash).and_modify(|place| *place = None).or_insert(Some(place));
    }
    places.into_iter().filter_map(|(hash, place)| Some((hash, place?))).collect()
}
