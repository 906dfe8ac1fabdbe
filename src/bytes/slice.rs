use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::{Buf, Bytes};

/// Bytes that are shared by count and may lie in a file as well.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    bytes: Bytes,
    place: Option<Place>,
}

/// Where in a file bytes lie: the kernel can send them from there, and nobody copies them.
#[derive(Debug, Clone)]
pub struct Place {
    /// The file.
    pub file: Arc<OwnedFd>,
    /// The first byte.
    pub offset: u64,
}

impl Slice {
    /// `bytes`, which lie at `place` too.
    pub fn in_file(bytes: Bytes, place: Place) -> Self {
        Self { bytes, place: Some(place) }
    }

    /// Where they lie in a file, if they do.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Forgets the first `count` bytes.
    pub(super) fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(place) = &mut self.place {
            place.offset += count as u64;
        }
    }

    /// True if `next` lies right behind it in the same file.
    fn goes_on_in(&self, next: &Self) -> bool {
        self.place().zip(next.place()).is_some_and(|(place, next)| {
            Arc::ptr_eq(&place.file, &next.file)
                && place.offset + self.bytes.len() as u64 == next.offset
        })
    }
}

impl From<Bytes> for Slice {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, place: None }
    }
}

/// Wherever they lie.
impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Slice {}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What lies in one file from the first of `slices` on without a gap: where, and how many bytes.
pub(super) fn run<'a>(slices: impl Iterator<Item = &'a Slice>) -> Option<(&'a Place, usize)> {
    let mut slices = slices.peekable();
    let place = slices.peek()?.place()?;
    let (mut len, mut last) = (0, None::<&Slice>);
    for slice in slices {
        if last.is_some_and(|last| !last.goes_on_in(slice)) {
            break;
        }
        len += slice.len();
        last = Some(slice);
    }
    Some((place, len))
}
