//! What the tables of programs and of streams say (2.4.4.3, 2.4.4.8).

use bytes::Bytes;

use crate::bytes::{Reader, Short};
use crate::media::{AudioCodec, Codec, VideoCodec};

/// A program, as the table of programs lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) number: u16,
    /// Where its table of streams is.
    pub(super) table_pid: u16,
}

/// A section of the table of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramTable {
    /// The number of this section.
    pub(super) section: u8,
    pub(super) programs: Vec<Program>,
}

/// The table of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamTable {
    /// The program's number.
    pub(super) program: u16,
    /// The PID whose packets have the clock.
    pub(super) clock_pid: u16,
    pub(super) streams: Vec<Listed>,
    /// More streams than may be.
    pub(super) is_cut: bool,
}

/// A stream of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) pid: u16,
    pub(super) stream_type: u8,
    /// The format its registration descriptor names (2.6.8).
    pub(super) registered: Option<[u8; 4]>,
    /// Descriptors that name a codec by themselves.
    is_dvb_ac3: bool,
    opus_channels: Option<u8>,
    is_dvb_sound: bool,
    /// All of them, as they stand there.
    pub(super) descriptors: Bytes,
}

/// What is to be taken out of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Video(VideoCodec),
    Aac,
    MpegAudio,
    Ac3,
    /// With how its channels are configured (ETSI TS 103 491).
    Opus(u8),
}

impl Form {
    pub(super) fn codec(self) -> Codec {
        match self {
            Self::Video(codec) => Codec::Video(codec),
            Self::Aac => Codec::Audio(AudioCodec::Aac),
            Self::MpegAudio => Codec::Audio(AudioCodec::Mp3),
            Self::Ac3 => Codec::Audio(AudioCodec::Ac3),
            Self::Opus(_) => Codec::Audio(AudioCodec::Opus),
        }
    }
}

impl ProgramTable {
    /// None if it is another table, or one that is not in force yet.
    pub(super) fn parse(section: &[u8]) -> Option<Self> {
        let (head, mut reader) = Head::read(section, 0).ok()??;
        let mut programs = Vec::new();
        while reader.left() >= 4 {
            let number = reader.u16("program_number").ok()?;
            let table_pid = reader.u16("program_map_PID").ok()? & 0x1fff;
            // Number 0 is the network's.
            if number != 0 {
                programs.push(Program { number, table_pid });
            }
        }
        Some(Self { section: head.section, programs })
    }
}

impl StreamTable {
    /// None if it is another table, or one that is not in force yet, or ends within a field. Streams
    /// beyond `max` are left out.
    pub(super) fn parse(section: &[u8], max: usize) -> Option<Self> {
        let (head, mut reader) = Head::read(section, 2).ok()??;
        let clock_pid = reader.u16("PCR_PID").ok()? & 0x1fff;
        let length = reader.u16("program_info_length").ok()? & 0xfff;
        reader.take("program descriptors", length.into()).ok()?;
        let mut table = Self { program: head.id, clock_pid, streams: Vec::new(), is_cut: false };
        while !reader.is_empty() {
            let stream = Listed::read(&mut reader).ok()?;
            if table.streams.len() == max {
                table.is_cut = true;
                break;
            }
            table.streams.push(stream);
        }
        Some(table)
    }
}

impl Listed {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Short> {
        let stream_type = reader.u8("stream_type")?;
        let pid = reader.u16("elementary_PID")? & 0x1fff;
        let length = reader.u16("ES_info_length")? & 0xfff;
        let descriptors = reader.take("descriptors", length.into())?;
        let mut stream = Self {
            pid,
            stream_type,
            registered: None,
            is_dvb_ac3: false,
            opus_channels: None,
            is_dvb_sound: false,
            descriptors: Bytes::copy_from_slice(descriptors),
        };
        let mut descriptors = Reader::new(descriptors);
        while !descriptors.is_empty() {
            let tag = descriptors.u8("descriptor_tag")?;
            let length = descriptors.u8("descriptor_length")?;
            match (tag, descriptors.take("descriptor", length.into())?) {
                (REGISTRATION, &[a, b, c, d, ..]) => stream.registered = Some([a, b, c, d]),
                (DVB_AC3, _) => stream.is_dvb_ac3 = true,
                (DVB_EAC3..=DVB_AAC, _) => stream.is_dvb_sound = true,
                (DVB_EXTENSION, &[OPUS_EXTENSION, channels, ..]) => {
                    stream.opus_channels = Some(channels);
                }
                _ => {}
            }
        }
        Ok(stream)
    }

    /// None if it is nothing that is carried.
    pub(super) fn form(&self) -> Option<Form> {
        match (self.stream_type, self.registered.as_ref()) {
            (0x1b, _) => Some(Form::Video(VideoCodec::H264)),
            (0x24, _) | (PRIVATE, Some(b"HEVC")) => Some(Form::Video(VideoCodec::H265)),
            (0x0f, _) => Some(Form::Aac),
            (0x03 | 0x04, _) => Some(Form::MpegAudio),
            (0x81, _) | (PRIVATE, Some(b"AC-3")) => Some(Form::Ac3),
            (PRIVATE, Some(b"Opus")) => self.opus_channels.map(Form::Opus),
            (PRIVATE, _) if self.is_dvb_ac3 => Some(Form::Ac3),
            _ => None,
        }
    }

    /// True if it is private data, which is handed on, and no media that is not carried.
    pub(super) fn is_private(&self) -> bool {
        const MEDIA: [&[u8; 4]; 9] =
            [b"AV01", b"VP09", b"Opus", b"EAC3", b"AC-4", b"BSSD", b"DTS1", b"DTS2", b"DTS3"];
        match self.stream_type {
            METADATA | CUES => true,
            PRIVATE if self.form().is_some() || self.is_dvb_sound => false,
            PRIVATE => !self.registered.as_ref().is_some_and(|format| MEDIA.contains(&format)),
            _ => false,
        }
    }
}

/// PES packets whose content only descriptors tell.
const PRIVATE: u8 = 0x06;
/// Metadata in PES packets (2.12).
const METADATA: u8 = 0x15;
/// Sections of SCTE 35.
const CUES: u8 = 0x86;
const REGISTRATION: u8 = 0x05;
const DVB_AC3: u8 = 0x6a;
/// E-AC-3, DTS and AAC (ETSI EN 300 468 6.1).
const DVB_EAC3: u8 = 0x7a;
const DVB_AAC: u8 = 0x7c;
const DVB_EXTENSION: u8 = 0x7f;
const OPUS_EXTENSION: u8 = 0x80;

/// What tables have in common.
struct Head {
    id: u16,
    section: u8,
}

impl Head {
    /// None if it is not table `table`, or not in force.
    fn read(section: &[u8], table: u8) -> Result<Option<(Self, Reader<'_>)>, Short> {
        let mut reader = Reader::new(section);
        let found = reader.u8("table_id")?;
        reader.u16("section_length")?;
        let id = reader.u16("table_id_extension")?;
        let version = reader.u8("version_number")?;
        let [section, _last] = reader.array("section_number")?;
        let is_ours = found == table && version & 1 == 1;
        Ok(is_ours.then_some((Self { id, section }, reader)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::psi;
    use super::*;

    fn bare(section: &[u8]) -> &[u8] {
        &section[..section.len() - 4]
    }

    #[test]
    fn the_tables_we_write_are_read() {
        let programs = ProgramTable::parse(bare(&psi::pat())).unwrap();
        let program = Program { number: 1, table_pid: psi::PMT_PID };
        assert_eq!(programs, ProgramTable { section: 0, programs: vec![program] });
        let streams = [
            (0x1b, psi::Descriptors::None),
            (0x24, psi::Descriptors::Registered(*b"HEVC")),
            (0x06, psi::Descriptors::Opus(2)),
            (0x06, psi::Descriptors::Registered(*b"AC-3")),
            (0x06, psi::Descriptors::None),
        ];
        let listed = streams.map(|(stream_type, descriptors)| psi::Listed {
            stream_type,
            pid: 0x101,
            descriptors,
        });
        let section = psi::pmt(3, 0x100, psi::Descriptors::None, listed);
        let table = StreamTable::parse(bare(&section), 9).unwrap();
        assert_eq!((table.program, table.clock_pid, table.is_cut), (1, 0x100, false));
        let forms: Vec<_> = table.streams.iter().map(Listed::form).collect();
        let h265 = Form::Video(VideoCodec::H265);
        let h264 = Form::Video(VideoCodec::H264);
        assert_eq!(forms, [Some(h264), Some(h265), Some(Form::Opus(2)), Some(Form::Ac3), None]);
        let cut = StreamTable::parse(bare(&section), 2).unwrap();
        assert_eq!((cut.streams.len(), cut.is_cut), (2, true));
        for end in 0..section.len() - 4 {
            let _ = StreamTable::parse(&section[..end], 9);
        }
    }

    #[test]
    fn a_table_that_is_not_in_force_is_left_alone() {
        let mut section = psi::pat();
        section[5] &= !1;
        assert_eq!(ProgramTable::parse(bare(&section)), None);
        assert_eq!(StreamTable::parse(bare(&psi::pat()), 9), None);
    }
}
