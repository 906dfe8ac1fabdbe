use std::collections::VecDeque;

use bytes::Bytes;

use super::slice::{self, Place, Slice};

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
    slices: VecDeque<Slice>,
    len: usize,
}

impl Chain {
    /// Appends `slice`. An empty one is dropped.
    pub fn push(&mut self, slice: impl Into<Bytes>) {
        self.push_slice(slice.into().into());
    }

    /// The same, of one that may lie in a file.
    pub fn push_slice(&mut self, slice: Slice) {
        if !slice.is_empty() {
            let waiting = self.waiting.get_or_insert_default();
            waiting.len += slice.len();
            waiting.slices.push_back(slice);
        }
    }

    /// Moves all of `other` behind what waits here.
    pub fn append(&mut self, other: &mut Self) {
        let Some(more) = other.waiting.take() else { return };
        match &mut self.waiting {
            Some(waiting) => {
                waiting.len += more.len;
                waiting.slices.extend(more.slices);
            }
            None => self.waiting = Some(more),
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

    /// What lies in one file from the `skip`th slice on without a gap: where, and how many bytes. None
    /// if that slice does not.
    pub fn in_file(&self, skip: usize) -> Option<(&Place, usize)> {
        let slices = self.waiting.iter().flat_map(|waiting| &waiting.slices);
        slice::run(slices.skip(skip))
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
        let slices = self.waiting.take().into_iter().flat_map(|waiting| waiting.slices);
        slices.map(Slice::into_bytes)
    }

    /// Everything as one slice; copies only when there is more than one.
    pub fn into_bytes(self) -> Bytes {
        let Some(mut waiting) = self.waiting else { return Bytes::new() };
        match waiting.slices.len() {
            1 => waiting.slices.pop_front().expect("one slice").into_bytes(),
            _ => waiting.slices.iter().flat_map(|slice| slice.iter()).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

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

    #[test]
    fn what_lies_in_a_file_without_a_gap_goes_together() {
        let file = || Arc::new(OwnedFd::from(File::open("/dev/null").expect("it is there")));
        let (one, other) = (file(), file());
        let slice = |file: &Arc<OwnedFd>, offset, len| {
            let place = Place { file: Arc::clone(file), offset };
            Slice::in_file(Bytes::from(vec![0; len]), place)
        };
        let mut chain = Chain::default();
        chain.push("head");
        chain.push_slice(slice(&one, 10, 5));
        chain.push_slice(slice(&one, 15, 3));
        chain.push_slice(slice(&one, 19, 1));
        chain.push_slice(slice(&other, 20, 2));
        let mut moved = Chain::default();
        moved.append(&mut chain);
        let at = |chain: &Chain, skip| {
            let (place, len) = chain.in_file(skip)?;
            Some((Arc::ptr_eq(&place.file, &one), place.offset, len))
        };
        assert_eq!((at(&moved, 0), at(&moved, 1)), (None, Some((true, 10, 8))));
        assert_eq!((at(&moved, 3), at(&moved, 4)), (Some((true, 19, 1)), Some((false, 20, 2))));
        assert_eq!(at(&moved, 5), None);
        // A part of it was written.
        moved.advance(4 + 6);
        assert_eq!(at(&moved, 0), Some((true, 16, 2)));
    }
}
