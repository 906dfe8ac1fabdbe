use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::Network;

/// How often connections come from each address, on all cores together, without a lock.
///
/// Each connection moves a moment of its address on by the time that one connection is worth, from
/// now on at the least; as long as that moment is less than a second ahead, it may come in (GCRA, as
/// cells of ATM were policed). An address has such a moment in each row, and the earliest is its
/// own: it is too late only for one that shares all of its moments with others.
#[derive(Debug)]
pub struct Arrivals {
    born: Instant,
    hasher: RandomState,
    /// Nanoseconds since `born`, row by row.
    moments: Box<[AtomicU64]>,
}

const ROWS: usize = 3;
/// Many times as many as addresses that come in one second, though they be a whole crowd that lost
/// another server: then hardly two of them share a moment in each row.
const WIDTH: usize = 1 << 16;
const SECOND_NS: u64 = 1_000_000_000;

impl Default for Arrivals {
    fn default() -> Self {
        // Of zeroes that the kernel gives, and need no memory before one is changed.
        let moments = vec![0; ROWS * WIDTH].into_iter().map(AtomicU64::new).collect();
        Self { born: Instant::now(), hasher: RandomState::new(), moments }
    }
}

impl Arrivals {
    /// Whether a connection from `network` may come in at `now`, with at most `rate` in a second
    /// and as many at once; a `rate` of zero lets all in. One that may not does not count.
    pub fn let_in(&self, network: Network, rate: u32, now: Instant) -> bool {
        if rate == 0 {
            return true;
        }
        let now = now.saturating_duration_since(self.born).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX / 2);
        let worth = SECOND_NS / u64::from(rate);
        let at = self.places(network);
        let moments = || at.into_iter().map(|at| &self.moments[at]);
        for moment in moments() {
            let later = |moment: u64| Some(moment.max(now) + worth);
            // Err cannot be: `later` always says Some.
            let _ = moment.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
        }
        // All of them were moved before anyone looks, in one order for all threads: of several that
        // come at once, at least the last sees all the others.
        let earliest = moments().map(|moment| moment.load(Ordering::SeqCst)).min();
        let may = earliest.is_some_and(|moment| moment <= now + worth * u64::from(rate));
        if !may {
            for moment in moments() {
                moment.fetch_sub(worth, Ordering::SeqCst);
            }
        }
        may
    }

    fn places(&self, network: Network) -> [usize; ROWS] {
        let mut hash = self.hasher.hash_one(network);
        std::array::from_fn(|row| {
            #[allow(clippy::cast_possible_truncation)]
            let place = hash as usize % WIDTH;
            hash /= WIDTH as u64;
            row * WIDTH + place
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn local() -> Network {
        Network::of(Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn as_many_as_the_rate_come_at_once_and_then_one_at_a_time() {
        let arrivals = Arrivals::default();
        let start = arrivals.born + Duration::from_secs(5);
        let come = |ms| arrivals.let_in(local(), 10, start + Duration::from_millis(ms));
        assert_eq!((0..30).filter(|_| come(0)).count(), 10);
        assert!(!come(99) && come(100) && !come(100) && come(200));
        assert_eq!((0..30).filter(|_| come(5000)).count(), 10);
        assert_eq!((0..100_000).filter(|ms| come(10_000 + ms)).count(), 10 + 999);
    }

    #[test]
    fn each_address_has_its_own_and_zero_is_no_limit() {
        let arrivals = Arrivals::default();
        let now = arrivals.born;
        assert!(arrivals.let_in(local(), 1, now) && !arrivals.let_in(local(), 1, now));
        assert!(arrivals.let_in(Network::of("::1".parse().expect("one")), 1, now));
        assert!((0..1000).all(|_| arrivals.let_in(local(), 0, now)));
    }

    #[test]
    fn a_crowd_that_comes_in_one_second_is_let_in() {
        let arrivals = Arrivals::default();
        let come = |number: u32| {
            let now = arrivals.born + Duration::from_micros(u64::from(number) * 50);
            arrivals.let_in(Network::of(IpAddr::from(number.to_be_bytes())), 2, now)
        };
        let refused = (0..20_000).filter(|number| !come(*number)).count();
        assert!(refused <= 20, "{refused} of 20000");
    }

    #[test]
    fn two_threads_never_let_in_more_than_one_would() {
        for _ in 0..50 {
            let (arrivals, let_in) = (Arrivals::default(), AtomicUsize::new(0));
            let now = arrivals.born + Duration::from_secs(1);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..50 {
                            let may = arrivals.let_in(local(), 20, now);
                            let_in.fetch_add(usize::from(may), Ordering::Relaxed);
                        }
                    });
                }
            });
            assert!(let_in.into_inner() <= 20);
        }
    }
}
