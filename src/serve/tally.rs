use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many there are of each kind (connections by address, say), on all cores together, without a
/// lock.
///
/// Each kind is counted in one counter of each row, and the least of them is its number. It is never
/// too low, so a limit always holds; it is too high for a kind that shares all its counters with
/// others, which the rows make rare, and by those that come in the same microsecond.
#[derive(Debug)]
pub struct Tally {
    hasher: RandomState,
    rows: [Box<[AtomicU32]>; ROWS],
}

const ROWS: usize = 3;
const WIDTH_MIN: usize = 1 << 10;
/// The places of all rows come from one hash of 64 bits, and 3 MB of counters are enough.
const WIDTH_MAX: usize = 1 << 18;

impl Default for Tally {
    fn default() -> Self {
        Self::new(4096)
    }
}

impl Tally {
    /// For so many kinds at once: then one in a hundred of them has one more than it should, and
    /// one in fifty thousand two.
    pub fn new(kinds: usize) -> Self {
        let width = kinds.min(WIDTH_MAX / 4).next_power_of_two() * 4;
        // Of zeroes that the kernel gives, and need no memory before one is changed.
        let zeroes = || vec![0; width.max(WIDTH_MIN)].into_iter();
        let row = |_| zeroes().map(AtomicU32::new).collect();
        Self { hasher: RandomState::new(), rows: std::array::from_fn(row) }
    }

    /// Counts one in, and says how many there are of its `kind` now.
    pub fn enter(&self, kind: impl Hash) -> usize {
        let counters = self.counters(kind);
        // All rows are counted before any is looked at, in one order for all threads: of several that
        // come at once, at least the last one to be counted sees all the others in each row.
        for counter in counters {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let counts = counters.map(|counter| counter.load(Ordering::SeqCst));
        counts.into_iter().min().map_or(0, |count| count as usize)
    }

    /// Counts one out that was counted in.
    pub fn leave(&self, kind: impl Hash) {
        for counter in self.counters(kind) {
            counter.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn counters(&self, kind: impl Hash) -> [&AtomicU32; ROWS] {
        let mut hash = self.hasher.hash_one(kind);
        self.rows.each_ref().map(|counters| {
            #[allow(clippy::cast_possible_truncation)]
            let at = hash as usize % counters.len();
            hash /= counters.len() as u64;
            &counters[at]
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn each_kind_is_counted_by_itself_and_back_to_nothing() {
        let tally = Tally::default();
        let [a, b] = ["10.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().expect("valid"));
        assert_eq!((tally.enter(a), tally.enter(a), tally.enter(b)), (1, 2, 1));
        tally.leave(a);
        tally.leave(a);
        assert_eq!(tally.enter(a), 1);
    }

    #[test]
    fn as_many_kinds_as_it_is_for_are_hardly_in_each_others_way() {
        let tally = Tally::new(10_000);
        let wrong = (0..10_000).filter(|kind| tally.enter(kind) > 1).count();
        assert!(wrong < 300, "{wrong} of 10000");
    }
}
