//! Program specific information: the tables that say what is in the stream (2.4.4).

use arrayvec::ArrayVec;
use crc::{CRC_32_MPEG_2, Crc};

/// The table of programs.
pub(super) const PAT_PID: u16 = 0;
/// The table of our one program, and what is in it; the numbers that most muxers use.
pub(super) const PMT_PID: u16 = 0x1000;
pub(super) const VIDEO_PID: u16 = 0x100;
pub(super) const AUDIO_PID: u16 = 0x101;
/// The first private stream; the others follow.
pub(super) const PRIVATE_PID: u16 = 0x102;

const TRANSPORT_STREAM_ID: u16 = 1;
const PROGRAM: u16 = 1;
pub(super) const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_MPEG_2);

/// The longest section of a table there may be.
pub(super) type Section = ArrayVec<u8, 1024>;

/// An elementary stream, as the table of its program tells of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) stream_type: u8,
    pub(super) pid: u16,
    pub(super) descriptors: Descriptors<'a>,
}

/// Descriptors of one stream (2.6).
#[derive(Debug, Clone, Copy)]
pub(super) enum Descriptors<'a> {
    None,
    /// As they stand there.
    Given(&'a [u8]),
    /// Which private format it is: a registration descriptor.
    Registered([u8; 4]),
    /// The same of Opus, with how its channels are configured.
    Opus(u8),
}

/// The table of programs.
pub(super) fn pat() -> Section {
    let mut body = Section::new();
    body.extend(PROGRAM.to_be_bytes());
    body.extend((0xe000 | PMT_PID).to_be_bytes());
    section(0, TRANSPORT_STREAM_ID, 0, &body)
}

/// The table of the program: its clock is in the packets of `clock`. All descriptors that are given
/// have at most [`PrivateStreams::DESCRIPTOR_BYTES_MAX`](crate::media::PrivateStreams) bytes.
pub(super) fn pmt<'a>(
    version: u8,
    clock: u16,
    of_program: Descriptors<'_>,
    streams: impl IntoIterator<Item = Listed<'a>>,
) -> Section {
    let mut body = Section::new();
    body.extend((0xe000 | clock).to_be_bytes());
    of_program.write(&mut body);
    for Listed { stream_type, pid, descriptors } in streams {
        body.push(stream_type);
        body.extend((0xe000 | pid).to_be_bytes());
        descriptors.write(&mut body);
    }
    section(2, PROGRAM, version, &body)
}

impl Descriptors<'_> {
    /// Behind their length.
    fn write(self, body: &mut Section) {
        let own = self.own();
        let bytes = if let Self::Given(bytes) = self { bytes } else { &own };
        body.extend((0xf000 | bytes.len() as u16).to_be_bytes());
        body.extend(bytes.iter().copied());
    }

    /// Those that are made here.
    fn own(self) -> ArrayVec<u8, 10> {
        const REGISTRATION: u8 = 5;
        let mut bytes = ArrayVec::new();
        let registered = match self {
            Self::None | Self::Given(_) => return bytes,
            Self::Registered(format) => format,
            Self::Opus(_) => *b"Opus",
        };
        bytes.extend([REGISTRATION, 4]);
        bytes.extend(registered);
        if let Self::Opus(channels) = self {
            // An extension descriptor of ETSI TS 103 491.
            bytes.extend([0x7f, 2, 0x80, channels]);
        }
        bytes
    }
}

fn section(table: u8, id: u16, version: u8, body: &[u8]) -> Section {
    const AFTER_LENGTH: usize = 5;
    const CRC_BYTES: usize = 4;
    let mut section = Section::new();
    section.push(table);
    let length = (AFTER_LENGTH + body.len() + CRC_BYTES) as u16;
    section.extend((0xb000 | length).to_be_bytes());
    section.extend(id.to_be_bytes());
    // In force from now on, and the only section of its table.
    section.extend([0xc1 | (version & 31) << 1, 0, 0]);
    section.extend(body.iter().copied());
    section.extend(CRC.checksum(&section).to_be_bytes());
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PrivateStreams;

    #[test]
    fn tables_are_those_that_other_muxers_write() {
        // ffmpeg's PAT of one program with PMT PID 0x1000.
        let ffmpeg = [0, 0xb0, 0xd, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 0x2a, 0xb1, 4, 0xb2];
        assert_eq!(pat()[..], ffmpeg);
        let streams = [(0x1b, VIDEO_PID), (0x0f, AUDIO_PID)];
        let listed = streams.map(|(stream_type, pid)| Listed {
            stream_type,
            pid,
            descriptors: Descriptors::None,
        });
        // Its PMT of H.264 and AAC.
        let ffmpeg = [
            2, 0xb0, 0x17, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0, 0xf, 0xe1,
            1, 0xf0, 0, 0x2f, 0x44, 0xb9, 0x9b,
        ];
        assert_eq!(pmt(0, VIDEO_PID, Descriptors::None, listed)[..], ffmpeg);
    }

    #[test]
    fn the_longest_table_fits_into_a_section() {
        let given = [0xff; PrivateStreams::DESCRIPTOR_BYTES_MAX];
        let listed = |descriptors| Listed { stream_type: 6, pid: 1, descriptors };
        let media = [listed(Descriptors::Registered(*b"HEVC")), listed(Descriptors::Opus(2))];
        let private = (0..PrivateStreams::MAX)
            .map(|at| listed(Descriptors::Given(if at == 0 { &given } else { &[] })));
        let streams = media.into_iter().chain(private);
        let table = pmt(31, 1, Descriptors::Registered(*b"CUEI"), streams);
        assert!(table.len() < 1000, "{}", table.len());
    }
}
