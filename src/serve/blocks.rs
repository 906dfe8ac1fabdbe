//! Addresses that may not connect for a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::access::Network;

/// Blocked addresses: until when, and why. The control thread has the list, and gives every core a
/// snapshot of it whenever it changes. One of IPv6 stands for its network: its host would come back
/// from the next.
#[derive(Debug, Clone, Default)]
pub struct Blocks(HashMap<Network, Block>);

/// One blocked address.
#[derive(Debug, Clone)]
pub struct Block {
    /// As it was named.
    pub address: IpAddr,
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
        let block = self.0.get(&Network::of(address)).filter(|block| now < block.until);
        block.map(|block| &block.reason)
    }

    /// Adds a block, or replaces that of the same address. Answers false if there are too many.
    pub fn add(&mut self, block: Block, now: Instant) -> bool {
        self.0.retain(|_, block| now < block.until);
        let network = Network::of(block.address);
        let fits = self.0.len() < BLOCKS_MAX || self.0.contains_key(&network);
        if fits {
            self.0.insert(network, block);
        }
        fits
    }

    /// Lets `address` connect again. Answers false if it was not blocked.
    pub fn remove(&mut self, address: IpAddr, now: Instant) -> bool {
        self.0.retain(|_, block| now < block.until);
        self.0.remove(&Network::of(address)).is_some()
    }

    /// Those in force at `now`.
    pub fn in_force(&self, now: Instant) -> impl Iterator<Item = &Block> {
        self.0.values().filter(move |block| now < block.until)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn block(address: IpAddr, now: Instant) -> Block {
        Block { address, until: now + Duration::from_secs(5), reason: "rude".into() }
    }

    #[test]
    fn of_ipv6_the_whole_network_of_the_address_is_blocked() {
        let now = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut blocks = Blocks::default();
        assert!(blocks.add(block(address("2001:db8:1:2::3"), now), now));
        let is_blocked = |text| blocks.reason(address(text), now).is_some();
        assert!(is_blocked("2001:db8:1:2::3") && is_blocked("2001:db8:1:2:ffff::4"));
        assert!(!is_blocked("2001:db8:1:3::3") && !is_blocked("192.0.2.1"));
        // Another address of the network replaces it, and lets it in again.
        assert!(blocks.add(block(address("2001:db8:1:2::4"), now), now));
        let named: Vec<_> = blocks.in_force(now).map(|block| block.address).collect();
        assert_eq!(named, [address("2001:db8:1:2::4")]);
        assert!(blocks.remove(address("2001:db8:1:2::5"), now));
    }

    #[test]
    fn a_block_ends_by_itself_and_counts_however_the_address_is_written() {
        let now = Instant::now();
        let [mapped, plain] =
            ["::ffff:10.0.0.1", "10.0.0.1"].map(|text| text.parse::<IpAddr>().expect("valid"));
        let mut blocks = Blocks::default();
        assert!(blocks.add(block(mapped, now), now));
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
            blocks.add(block(address, now), now)
        };
        assert!((0..BLOCKS_MAX).all(|number| add(number, now)));
        assert!(!add(BLOCKS_MAX, now), "no room");
        assert!(add(7, now), "known");
        assert!(add(BLOCKS_MAX, now + Duration::from_secs(5)));
    }
}
