use std::fmt;

use bytes::Bytes;

use crate::bytes::Slice;

/// Where the parts of one rendition lie.
pub trait Store: fmt::Debug + Send {
    /// A segment begins, and will be about so many bytes.
    fn begin_segment(&mut self, bytes: usize);

    /// Keeps `part`, for as long as somebody has what this answers.
    fn keep(&mut self, part: &[u8]) -> Slice;
}

/// In the program's own memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heap;

impl Store for Heap {
    fn begin_segment(&mut self, _: usize) {}

    fn keep(&mut self, part: &[u8]) -> Slice {
        Bytes::copy_from_slice(part).into()
    }
}
