use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Shared slices in order, waiting to be written: what one connection has to say for itself.
///
/// Appending and writing share by count; no byte is copied.
#[derive(Debug, Default)]
pub struct Chain {
    slices: VecDeque<Bytes>,
    len: usize,
}

impl Chain {
    /// Appends `slice`. An empty one is dropped.
    pub fn push(&mut self, slice: impl Into<Bytes>) {
        let slice = slice.into();
        if !slice.is_empty() {
            self.len += slice.len();
            self.slices.push_back(slice);
        }
    }

    /// Bytes waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slice to be written next.
    pub fn first(&self) -> Option<&[u8]> {
        self.slices.front().map(|slice| &slice[..])
    }

    /// The waiting slices, first to last.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.slices.iter().map(|slice| &slice[..])
    }

    /// Forgets the first `count` bytes: they were written. `count` must not exceed [`Self::len`].
    pub fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let first = self.slices.front_mut().expect("len counts the bytes of the slices");
            if count < first.len() {
                first.advance(count);
                return;
            }
            count -= first.len();
            self.slices.pop_front();
        }
        if self.slices.is_empty() {
            // A viewer keeps its chain for hours and fills it for milliseconds.
            self.slices.shrink_to_fit();
        }
    }

    /// Moves everything out, first to last.
    pub fn drain(&mut self) -> impl Iterator<Item = Bytes> {
        self.len = 0;
        std::mem::take(&mut self.slices).into_iter()
    }

    /// Everything as one slice; copies only when there is more than one.
    pub fn into_bytes(mut self) -> Bytes {
        match self.slices.len() {
            1 => self.slices.pop_front().expect("one slice"),
            _ => self.slices.iter().flatten().copied().collect(),
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
