//! Private data beside the media: KLV, subtitles, timed ID3, SCTE 35. It is carried from transport
//! stream to transport stream, and nobody here reads it.

use bytes::{BufMut, Bytes, BytesMut};

/// A stream of private data, as the table of its program lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateStream {
    /// Its type (ISO/IEC 13818-1 table 2-34).
    pub stream_type: u8,
    /// Its descriptors (2.6), as they came.
    pub descriptors: Bytes,
}

impl PrivateStream {
    /// True if it is made of sections and not of PES packets.
    pub fn is_of_sections(&self) -> bool {
        self.stream_type == SCTE_35
    }
}

/// The private streams of a source: a bounded list, in which each is known by its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivateStreams(Vec<PrivateStream>);

impl PrivateStreams {
    /// So many at most.
    pub const MAX: usize = 8;
    /// Bytes of all their descriptors at most: with the media, the table of a program has no more room.
    pub const DESCRIPTOR_BYTES_MAX: usize = 896;

    /// Adds one; false if there is no room for it.
    pub fn push(&mut self, stream: PrivateStream) -> bool {
        let bytes = self.bytes() + stream.descriptors.len();
        let fits = self.0.len() < Self::MAX && bytes <= Self::DESCRIPTOR_BYTES_MAX;
        if fits {
            self.0.push(stream);
        }
        fits
    }

    /// In order.
    pub fn iter(&self) -> std::slice::Iter<'_, PrivateStream> {
        self.0.iter()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of descriptors.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|stream| stream.descriptors.len()).sum()
    }
}

/// What a frame of [`TrackKind::Private`](super::TrackKind::Private) holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrivateUnit<'a> {
    /// The place of its stream among [`PrivateStreams`].
    pub stream: u8,
    /// The frame's pts by the publisher's own clock, in ticks of 90 kHz, 33 bits. Times inside of
    /// `bytes` are of that clock.
    pub ticks: u64,
    /// A PES packet as it came; or a section, without its sum (`CRC_32`).
    pub bytes: &'a [u8],
}

impl<'a> PrivateUnit<'a> {
    /// Bytes of a frame beside those of the unit.
    const HEAD_BYTES: usize = 9;

    /// As a frame has it.
    pub fn to_data(self) -> Bytes {
        let mut data = BytesMut::with_capacity(Self::HEAD_BYTES + self.bytes.len());
        data.put_u8(self.stream);
        data.put_u64(self.ticks);
        data.put_slice(self.bytes);
        data.freeze()
    }

    /// That of a frame; none if it is too short.
    pub fn of(data: &'a [u8]) -> Option<Self> {
        let (&stream, rest) = data.split_first()?;
        let (ticks, bytes) = rest.split_first_chunk()?;
        Some(Self { stream, ticks: u64::from_be_bytes(*ticks), bytes })
    }
}

/// The stream type of cues for splicing (SCTE 35 8.1).
const SCTE_35: u8 = 0x86;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_in_streams_and_in_bytes() {
        let stream = |bytes: usize| PrivateStream {
            stream_type: 6,
            descriptors: Bytes::from(vec![0; bytes]),
        };
        let mut streams = PrivateStreams::default();
        assert!(!streams.push(stream(PrivateStreams::DESCRIPTOR_BYTES_MAX + 1)));
        assert!(streams.push(stream(PrivateStreams::DESCRIPTOR_BYTES_MAX - 1)));
        assert!(!streams.push(stream(2)) && streams.push(stream(1)));
        while streams.push(stream(0)) {}
        assert_eq!(streams.iter().count(), PrivateStreams::MAX);
        assert_eq!(streams.bytes(), PrivateStreams::DESCRIPTOR_BYTES_MAX);
    }

    #[test]
    fn a_unit_is_read_as_it_was_written_and_what_is_shorter_than_its_head_is_none() {
        let unit = PrivateUnit { stream: 3, ticks: (1 << 33) - 1, bytes: b"klv" };
        let data = unit.to_data();
        assert_eq!(PrivateUnit::of(&data), Some(unit));
        assert!((0..9).all(|end| PrivateUnit::of(&data[..end]).is_none()));
    }
}
