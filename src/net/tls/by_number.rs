//! Things of some sockets, found by the sockets' numbers.

use std::os::fd::RawFd;

/// A list with a place for each number up to the largest in use: the kernel gives out small ones
/// first, so it is no longer than the process has descriptors, at eight bytes for a pointer.
#[derive(Debug)]
pub(super) struct ByNumber<T>(Vec<Option<T>>);

/// So many places are kept though nobody has them, that the list need not grow again and again.
const SPARE_MAX: usize = 64;

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByNumber<T> {
    /// That of `socket`, if it has one.
    pub(super) fn get(&self, socket: RawFd) -> Option<&T> {
        // Numbers that are none become large ones.
        self.0.get(socket as usize)?.as_ref()
    }

    /// `socket`, which is open, has this from now on.
    pub(super) fn insert(&mut self, socket: RawFd, thing: T) {
        let at = usize::try_from(socket).expect("numbers of open files begin at zero");
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(thing);
    }

    /// It has it no more.
    pub(super) fn remove(&mut self, socket: RawFd) {
        let place = usize::try_from(socket).ok().and_then(|at| self.0.get_mut(at));
        place.into_iter().for_each(|place| *place = None);
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        if self.0.capacity() > 4 * used + SPARE_MAX {
            self.0.shrink_to(2 * used);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_socket_has_nothing() {
        let mut list = ByNumber::default();
        for number in [-1, 0, 7, RawFd::MIN, RawFd::MAX] {
            assert_eq!(list.get(number), None);
            list.remove(number);
        }
        list.insert(7, 'a');
        assert_eq!(
            [6, 7, 8, -1, RawFd::MAX].map(|number| list.get(number).copied()),
            [None, Some('a'), None, None, None]
        );
    }

    #[test]
    fn memory_goes_back_when_all_have_gone() {
        let mut list = ByNumber::default();
        (0..10_000).for_each(|number| list.insert(number, number));
        (0..10_000).rev().for_each(|number| list.remove(number));
        assert!(list.0.is_empty() && list.0.capacity() <= SPARE_MAX, "{}", list.0.capacity());
    }

    proptest! {
        #[test]
        fn it_finds_what_a_map_finds(steps: Vec<(bool, u8)>) {
            let (mut list, mut map) = (ByNumber::default(), HashMap::new());
            for (step, (comes, number)) in steps.into_iter().enumerate() {
                let number = RawFd::from(number);
                if comes {
                    list.insert(number, step);
                    map.insert(number, step);
                } else {
                    list.remove(number);
                    map.remove(&number);
                }
                for number in -1..300 {
                    prop_assert_eq!(list.get(number), map.get(&number));
                }
                let places = map.keys().max().map_or(0, |last| *last as usize + 1);
                prop_assert_eq!(list.0.len(), places);
            }
        }
    }
}
