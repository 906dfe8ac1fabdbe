//! Addresses that may not connect for a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Blocked addresses: until when, and why. The control thread has the list, and gives every core a
/// snapshot of it whenever it changes.
#[derive(Debug, Clone, Default)]
pub struct Blocks(HashMap<IpAddr, Block>);

/// One blocked address.
#[derive(Debug, Clone)]
pub struct Block {
    /// From then on it may connect again.
    pub until: Instant,
    /// As its connections are told, and the log.
    pub reason: Arc<str>,
}

/// More addresses are not blocked at once; a firewall does that better.
pub const BLOCKS_MAX: usize = 10_000;

impl Blocks {
    /// Why `address` may not connect at `now`, if it may not.
    pub fn reason(&self, address: IpAddr, now: Instant) -> Option<&Arc<str>> {
        // Almost always there is none.
        if self.0.is_empty() {
            return None;
        }
        let block = self.0.get(&address).filter(|block| now < block.until);
        block.map(|block| &block.reason)
    }

    /// Adds a block, or replaces that of the same address. Answers false if there are too many.
    pub fn add(&mut self, address: IpAddr, block: Block, now: Instant) -> bool {
        self.0.retain(|_, block| now < block.until);
        let fits = self.0.len() < BLOCKS_MAX || self.0.contains_key(&address.to_canonical());
        if fits {
            self.0.insert(address.to_canonical(), block);
        }
        fits
    }

    /// Lets `address` connect again. Answers false if it was not blocked.
    pub fn remove(&mut self, address: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, block| now < block.until);
        self.0.remove(&address.to_canonical()).is_some()
    }

    /// Those in force at `now`.
    pub fn in_force(&self, now: Instant) -> impl Iterator<Item = (IpAddr, &Block)> {
        let blocks = self.0.iter().filter(move |(_, block)| now < block.until);
        blocks.map(|(address, block)| (*address, block))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_block_ends_by_itself_and_counts_however_the_address_is_written() {
        let now = Instant::now();
        let [mapped, plain] =
            ["::ffff:10.0.0.1", "10.0.0.1"].map(|text| text.parse::<IpAddr>().expect("valid"));
        let mut blocks = Blocks::default();
        let block = Block { until: now + Duration::from_secs(5), reason: "rude".into() };
        assert!(blocks.add(mapped, block, now));
        assert_eq!(blocks.reason(plain, now).map(|reason| &**reason), Some("rude"));
        let later = now + Duration::from_secs(5);
        assert_eq!(blocks.reason(plain, later), None);
        assert_eq!(blocks.in_force(later).count(), 0);
        assert!(blocks.remove(mapped, now) && !blocks.remove(plain, now));
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_some_are_over() {
        let now = Instant::now();
        let mut blocks = Blocks::default();
        let mut add = |number: usize, now| {
            let address = IpAddr::from(u32::try_from(number).expect("small").to_be_bytes());
            let block = Block { until: now + Duration::from_secs(5), reason: "".into() };
            blocks.add(address, block, now)
        };
        assert!((0..BLOCKS_MAX).all(|number| add(number, now)));
        assert!(!add(BLOCKS_MAX, now), "no room");
        assert!(add(7, now), "known");
        assert!(add(BLOCKS_MAX, now + Duration::from_secs(5)));
    }
}
