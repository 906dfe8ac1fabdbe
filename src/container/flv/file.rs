use bytes::{Bytes, BytesMut};

use super::{Error, Limits, TagKind};
use crate::bytes::Reader;

/// Cuts an FLV file, or an endless stream of that form, into tag bodies.
#[derive(Debug)]
pub struct FileReader {
    limits: Limits,
    state: State,
    /// Bytes of the part `state` waits for.
    part: BytesMut,
}

/// What is read next.
///
/// ```text
/// FileHeader -> Skip -> TagHeader -> Body --+
///                 ^        ^   ^------------+
///                 |        v
///                 +---- (unknown tag)
/// ```
#[derive(Debug, Clone, Copy)]
enum State {
    FileHeader,
    /// Bytes of no interest: a longer file header, a tag of unknown type.
    Skip(usize),
    /// PreviousTagSize and the header of the next tag.
    TagHeader,
    Body {
        kind: TagKind,
        time_ms: u32,
        len: usize,
    },
}

impl FileReader {
    /// A reader before the file header. Only [`Limits::tag_bytes`] matters.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::FileHeader, part: BytesMut::new() }
    }

    /// Takes bytes from the front of `input` until one tag is whole (its kind, time in
    /// milliseconds and body) or `input` is used up (none). Memory grows with received bytes only.
    ///
    /// # Errors
    /// The bytes are no FLV file, or a body is over the limit. The reader is of no more use.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<(TagKind, u32, Bytes)>, Error> {
        loop {
            match self.state {
                State::FileHeader => {
                    let Some(part) = self.gather(input, FILE_HEADER_BYTES) else {
                        return Ok(None);
                    };
                    self.state = State::Skip(file_header_rest(&part)?);
                }
                State::Skip(count) => {
                    let (_, rest) = input.split_at(count.min(input.len()));
                    let left = count - (input.len() - rest.len());
                    *input = rest;
                    if left > 0 {
                        self.state = State::Skip(left);
                        return Ok(None);
                    }
                    self.state = State::TagHeader;
                }
                State::TagHeader => {
                    let Some(part) = self.gather(input, TAG_HEADER_BYTES) else {
                        return Ok(None);
                    };
                    self.state = self.tag(&part)?;
                }
                State::Body { kind, time_ms, len } => {
                    let Some(body) = self.gather(input, len) else {
                        return Ok(None);
                    };
                    self.state = State::TagHeader;
                    return Ok(Some((kind, time_ms, body)));
                }
            }
        }
    }

    /// To be called at the end of a file. The last PreviousTagSize may be missing, as some writers
    /// leave it out.
    ///
    /// # Errors
    /// It ends before its header or a tag does.
    pub fn finish(&self) -> Result<(), Error> {
        let found = self.part.len();
        let (what, expected) = match self.state {
            State::TagHeader if matches!(found, 0 | PREVIOUS_TAG_SIZE_BYTES) => return Ok(()),
            State::FileHeader => ("file header", FILE_HEADER_BYTES),
            State::TagHeader => ("tag header", TAG_HEADER_BYTES),
            State::Skip(left) => ("what is skipped", left),
            State::Body { len, .. } => ("tag body", len),
        };
        Err(Error::CutOff { what, expected, found })
    }

    /// The next `need` bytes once they are all there.
    fn gather(&mut self, input: &mut &[u8], need: usize) -> Option<Bytes> {
        let take = input.len().min(need - self.part.len());
        let (taken, rest) = input.split_at(take);
        self.part.extend_from_slice(taken);
        *input = rest;
        (self.part.len() == need).then(|| std::mem::take(&mut self.part).freeze())
    }

    fn tag(&self, part: &[u8]) -> Result<State, Error> {
        let mut reader = Reader::new(part);
        reader.take("PreviousTagSize", 4)?;
        let kind = reader.u8("TagType")?;
        let len = reader.u24("DataSize")? as usize;
        let low = reader.u24("Timestamp")?;
        let high = reader.u8("TimestampExtended")?;
        if kind & FILTER != 0 {
            return Err(Error::Encrypted);
        }
        let max = self.limits.tag_bytes;
        if len > max {
            return Err(Error::TooLong { what: "tag body", max, found: len });
        }
        let time_ms = u32::from(high) << 24 | low;
        Ok(match TagKind::from_wire(kind & 0x1f) {
            Some(kind) => State::Body { kind, time_ms, len },
            None => State::Skip(len),
        })
    }
}

/// How many bytes follow the file header's known fields.
fn file_header_rest(part: &[u8]) -> Result<usize, Error> {
    let mut reader = Reader::new(part);
    let found = reader.array("signature")?;
    if found != *b"FLV\x01" {
        return Err(Error::NotFlv { found });
    }
    reader.u8("TypeFlags")?;
    let found = reader.u32("DataOffset")?;
    let rest = (found as usize).checked_sub(FILE_HEADER_BYTES);
    rest.ok_or(Error::DataOffset { found })
}

const FILE_HEADER_BYTES: usize = 9;
const PREVIOUS_TAG_SIZE_BYTES: usize = 4;
/// PreviousTagSize (4) and the tag header (11).
const TAG_HEADER_BYTES: usize = 15;
/// The bit of TagType that says the body is filtered.
const FILTER: u8 = 0x20;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::{file_header, previous_tag_size, tag_header};
    use super::*;

    const TAGS: [(TagKind, u32, &[u8]); 4] = [
        (TagKind::Script, 0, b"meta"),
        (TagKind::Video, 0x0102_0304, b"picture"),
        (TagKind::Audio, u32::MAX, b""),
        (TagKind::Audio, 5, b"x"),
    ];

    fn file() -> Vec<u8> {
        let mut file = file_header(true, true).to_vec();
        for (kind, time_ms, body) in TAGS {
            file.extend(tag_header(kind, body.len(), time_ms.into()));
            file.extend(body);
            file.extend(previous_tag_size(body.len()));
        }
        file
    }

    fn read_all(reader: &mut FileReader, mut input: &[u8]) -> Vec<(TagKind, u32, Bytes)> {
        std::iter::from_fn(|| reader.read(&mut input).unwrap()).collect()
    }

    fn error_of(file: &[u8]) -> Error {
        FileReader::new(Limits::default()).read(&mut &file[..]).unwrap_err()
    }

    #[test]
    fn file_split_at_every_byte_gives_the_same_tags() {
        let file = file();
        let want = TAGS.map(|(kind, time_ms, body)| (kind, time_ms, Bytes::from_static(body)));
        for at in 0..=file.len() {
            let mut reader = FileReader::new(Limits::default());
            let mut tags = read_all(&mut reader, &file[..at]);
            tags.extend(read_all(&mut reader, &file[at..]));
            assert_eq!(tags, want, "split at {at}");
        }
    }

    #[test]
    fn longer_file_headers_and_unknown_tags_are_skipped() {
        let mut file = file();
        file.splice(13.., [15, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 13]);
        file.extend(&self::file()[13..]);
        file[8] += 1;
        file.insert(9, 0);
        for chunk in 1..20 {
            let mut reader = FileReader::new(Limits::default());
            let tags = file.chunks(chunk).flat_map(|part| read_all(&mut reader, part));
            assert_eq!(tags.count(), TAGS.len(), "in pieces of {chunk}");
        }
    }

    #[test]
    fn what_is_no_flv_is_refused_by_name() {
        assert_eq!(error_of(b"GIF89a..."), Error::NotFlv { found: *b"GIF8" });
        assert_eq!(error_of(b"FLV\x01\0\0\0\0\x08"), Error::DataOffset { found: 8 });
        let mut file = file();
        file[13] |= 0x20;
        assert_eq!(error_of(&file), Error::Encrypted);
    }

    #[test]
    fn a_tag_over_the_limit_is_refused_before_it_is_kept() {
        let mut file = file();
        file[14..17].copy_from_slice(&[0xff; 3]);
        assert!(matches!(error_of(&file), Error::TooLong { found: 0xff_ffff, .. }));
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut reader = FileReader::new(Limits::default());
        let mut head = file_header(true, true).to_vec();
        head.extend(tag_header(TagKind::Video, 15 << 20, 0));
        assert_eq!(read_all(&mut reader, &head), []);
        assert!(reader.part.capacity() < 1024);
    }

    #[test]
    fn a_file_may_end_behind_a_whole_tag_and_nowhere_else() {
        let file = file();
        let mut ends = vec![9, 13];
        for (_, _, body) in TAGS {
            let end = ends[ends.len() - 1] + 11 + body.len();
            ends.extend([end, end + 4]);
        }
        for at in 0..=file.len() {
            let mut reader = FileReader::new(Limits::default());
            read_all(&mut reader, &file[..at]);
            assert_eq!(reader.finish().is_ok(), ends.contains(&at), "{at}: {:?}", reader.finish());
        }
        let mut reader = FileReader::new(Limits::default());
        read_all(&mut reader, &file[..26]);
        let cut = Error::CutOff { what: "tag body", expected: 4, found: 2 };
        assert_eq!(reader.finish(), Err(cut));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, keep_header: bool) {
            let mut file = if keep_header { file_header(true, true).to_vec() } else { Vec::new() };
            file.extend(bytes);
            let mut reader = FileReader::new(Limits::default());
            let mut input = &file[..];
            while let Ok(Some(_)) = reader.read(&mut input) {}
        }
    }
}
