use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Shared slices in order, waiting to be written: what one connection has to say for itself.
///
/// Appending and writing share by count; no byte is copied.
#[derive(Debug, Default)]
pub struct Chain {
    /// `None` while nothing waits: a viewer keeps its chain for hours and fills it for milliseconds.
    waiting: Option<Box<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    slices: VecDeque<Bytes>,
    len: usize,
}

impl Chain {
    /// Appends `slice`. An empty one is dropped.
    pub fn push(&mut self, slice: impl Into<Bytes>) {
        let slice = slice.into();
        if !slice.is_empty() {
            let waiting = self.waiting.get_or_insert_default();
            waiting.len += slice.len();
            waiting.slices.push_back(slice);
        }
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len)
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_none()
    }

    /// The slice to be written next.
    pub fn first(&self) -> Option<&[u8]> {
        self.slices().next()
    }

    /// The waiting slices, first to last.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let slices = self.waiting.iter().flat_map(|waiting| &waiting.slices);
        slices.map(|slice| &slice[..])
    }

    /// Forgets the first `count` bytes: they were written. `count` must not exceed [`Self::len`].
    pub fn advance(&mut self, mut count: usize) {
        let Some(waiting) = &mut self.waiting else {
            debug_assert_eq!(count, 0, "nothing waits");
            return;
        };
        waiting.len -= count;
        while count > 0 {
            let first = waiting.slices.front_mut().expect("len counts the bytes of the slices");
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            waiting.slices.pop_front();
        }
        if waiting.slices.is_empty() {
            self.waiting = None;
        }
    }

    /// Moves everything out, first to last.
    pub fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        self.waiting.take().into_iter().flat_map(|waiting| waiting.slices)
    }

    /// Everything as one slice; copies only when there is more than one.
    pub fn into_bytes(self) -> Bytes {
        let Some(mut waiting) = self.waiting else { return Bytes::new() };
        match waiting.slices.len() {
            1 => waiting.slices.pop_front().expect("one slice"),
            _ => waiting.slices.iter().flatten().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advance_crosses_slices() {
        let mut chain = Chain::default();
        for part in ["abc", "", "de", "f"] {
            chain.push(part);
        }
        chain.advance(4);
        assert_eq!(chain.len(), 2);
        assert_eq!(chain.into_bytes(), "ef");
    }
}
