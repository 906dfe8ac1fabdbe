//! Boxes (ISO/IEC 14496-12 4.2): a length, a type of four letters, and what is in it.

use std::cell::Cell;

use super::Error;
use crate::bytes::{Reader, Short};

/// What stands before the content of a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: [u8; 4],
    /// Its own length.
    pub(super) bytes: u64,
    /// That of what follows; none if it goes on to the end.
    pub(super) content: Option<u64>,
}

impl Header {
    /// Reads what there is of the header of a box at `at`; none if it is not whole.
    pub(super) fn parse(have: &[u8], at: u64) -> Result<Option<Self>, Error> {
        let mut reader = Reader::new(have);
        let Ok((length, kind)) = read_short(&mut reader) else { return Ok(None) };
        if !kind.iter().all(|letter| is_letter(*letter)) {
            return Err(Error::NotABox { at, found: kind });
        }
        let whole = match length {
            TO_THE_END => None,
            LONG => match reader.u64("largesize") {
                Ok(length) => Some(length),
                Err(_) => return Ok(None),
            },
            length => Some(length.into()),
        };
        let bytes = reader.position() as u64;
        let content = match whole {
            None => None,
            Some(whole) => Some(whole.checked_sub(bytes).ok_or(Error::Length {
                kind,
                at,
                expected: "at least its header's",
                found: whole,
            })?),
        };
        Ok(Some(Self { kind, bytes, content }))
    }

    /// True if an MP4 may begin with it.
    pub(super) fn may_be_first(&self) -> bool {
        const KINDS: [&[u8; 4]; 13] = [
            b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid",
            b"pdin", b"sidx", b"emsg", b"prft",
        ];
        KINDS.contains(&&self.kind)
    }
}

const TO_THE_END: u32 = 0;
const LONG: u32 = 1;

fn read_short(reader: &mut Reader<'_>) -> Result<(u32, [u8; 4]), Short> {
    Ok((reader.u32("size")?, reader.array("type")?))
}

/// ASCII, and the © of QuickTime.
fn is_letter(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | 0xa9)
}

/// A box that is there whole: QuickTime calls it an atom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atom<'a> {
    pub(super) kind: [u8; 4],
    /// Where its content begins in the stream.
    pub(super) at: u64,
    pub(super) content: &'a [u8],
    /// Of the outermost that it is in.
    pub(super) looks: &'a Looks,
}

/// How often boxes may be looked at, each as often as it is: one that is empty costs its sender eight
/// bytes, and whoever looks for another passes it.
#[derive(Debug)]
pub(super) struct Looks {
    max: usize,
    left: Cell<usize>,
}

impl Looks {
    pub(super) fn new(max: usize) -> Self {
        Self { max, left: Cell::new(max) }
    }

    fn take(&self, at: u64) -> Result<(), Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or(Error::TooManyBoxes { at, max: self.max })?);
        Ok(())
    }
}

impl<'a> Atom<'a> {
    /// The boxes in it, up to a fault.
    pub(super) fn children(self) -> impl Iterator<Item = Result<Self, Error>> {
        let mut rest = self;
        std::iter::from_fn(move || {
            // Writers leave a few bytes of zero behind the last.
            if rest.content.len() < HEADER_BYTES {
                return None;
            }
            let child = rest.first();
            if child.is_err() {
                rest.content = &[];
            }
            child.transpose()
        })
    }

    /// Takes off the first box in it; none if what is left are zeros.
    fn first(&mut self) -> Result<Option<Self>, Error> {
        let (at, content) = (self.at, self.content);
        if content.iter().take(HEADER_BYTES).all(|byte| *byte == 0) {
            self.content = &[];
            return Ok(None);
        }
        let length = |kind, found| Error::Length {
            kind,
            at,
            expected: "at most what its box has left",
            found,
        };
        self.looks.take(at)?;
        let header = Header::parse(content, at)?;
        let header = header.ok_or(length(*b"....", content.len() as u64))?;
        let (_, content) = content.split_at(usize::try_from(header.bytes).unwrap_or(HEADER_BYTES));
        let bytes = header.content.unwrap_or(content.len() as u64);
        let whole = usize::try_from(bytes).ok().filter(|bytes| *bytes <= content.len());
        let (content, behind) = content.split_at(whole.ok_or(length(header.kind, bytes))?);
        let child = Self { kind: header.kind, at: at + header.bytes, content, ..*self };
        *self = Self { content: behind, at: child.at + bytes, ..*self };
        Ok(Some(child))
    }

    /// The first box of a type in it.
    pub(super) fn find(self, kind: [u8; 4]) -> Result<Option<Self>, Error> {
        let is_it = |child: &Result<Self, Error>| !matches!(child, Ok(child) if child.kind != kind);
        self.children().find(is_it).transpose()
    }

    /// The same where it must be there.
    pub(super) fn get(self, kind: [u8; 4]) -> Result<Self, Error> {
        let missing = Error::Missing { kind: self.kind, at: self.at, missing: kind };
        self.find(kind)?.ok_or(missing)
    }

    /// Reads fields of it from the first on.
    pub(super) fn read<T>(
        self,
        fields: impl FnOnce(&mut Reader<'a>) -> Result<T, Short>,
    ) -> Result<T, Error> {
        let short =
            |short: Short| Error::Short { kind: self.kind, at: self.at + short.at as u64, short };
        fields(&mut Reader::new(self.content)).map_err(short)
    }

    /// What follows so many bytes of fields.
    pub(super) fn behind(self, what: &'static str, bytes: usize) -> Result<Self, Error> {
        let content = self.read(|reader| reader.take(what, bytes).map(|_| reader.rest()))?;
        Ok(Self { content, at: self.at + bytes as u64, ..self })
    }

    /// A value that a field of it cannot have.
    pub(super) fn field(self, expected: &'static str, found: impl Into<u64>) -> Error {
        Error::Field { kind: self.kind, at: self.at, expected, found: found.into() }
    }
}

const HEADER_BYTES: usize = 8;

/// The fields every `FullBox` begins with: version and flags.
pub(super) fn version_and_flags(reader: &mut Reader<'_>) -> Result<(u8, u32), Short> {
    Ok((reader.u8("version")?, reader.u24("flags")?))
}
