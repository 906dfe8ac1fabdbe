use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many connections each address has open, on all cores together, without a lock.
///
/// Each address is counted in one counter of each row, and the least of them is its number. It
/// is never too low, so the limit always holds; it is too high only for an address that shares
/// all its counters with others, which the rows make rare.
#[derive(Debug)]
pub struct Addresses {
    rows: [(RandomState, Box<[AtomicU32]>); ROWS],
}

const ROWS: usize = 3;
const COUNTERS: usize = 1 << 14;

impl Default for Addresses {
    fn default() -> Self {
        let row = |_| {
            let counters = (0..COUNTERS).map(|_| AtomicU32::new(0)).collect();
            (RandomState::new(), counters)
        };
        Self { rows: std::array::from_fn(row) }
    }
}

impl Addresses {
    /// Counts a connection in, and says how many `address` has now.
    pub fn enter(&self, address: IpAddr) -> usize {
        let counts = self.counters(address).map(|counter| counter.fetch_add(1, Ordering::Relaxed));
        counts.into_iter().min().map_or(0, |before| before as usize + 1)
    }

    /// Counts one out that was counted in.
    pub fn leave(&self, address: IpAddr) {
        for counter in self.counters(address) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn counters(&self, address: IpAddr) -> [&AtomicU32; ROWS] {
        self.rows.each_ref().map(|(hasher, counters)| {
            #[allow(clippy::cast_possible_truncation)]
            let at = hasher.hash_one(address) as usize % COUNTERS;
            &counters[at]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_counted_by_itself_and_back_to_nothing() {
        let addresses = Addresses::default();
        let [a, b] = ["10.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().expect("valid"));
        assert_eq!((addresses.enter(a), addresses.enter(a), addresses.enter(b)), (1, 2, 1));
        addresses.leave(a);
        addresses.leave(a);
        assert_eq!(addresses.enter(a), 1);
    }
}
