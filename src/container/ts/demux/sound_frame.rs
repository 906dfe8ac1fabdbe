//! The heads of frames of sound: ADTS (ISO/IEC 14496-3 1.A.2.2), MPEG audio, AC-3, and the control
//! headers of Opus (ETSI TS 103 491).

use bytes::Bytes;

use super::tables::Form;
use crate::bytes::{BitReader, Reader, Short};
use crate::codec::{self, AudioSpecificConfig, ac3, mp3, opus};
use crate::media::{AudioFormat, Track};

/// What stands at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// It is not seen yet.
    Short,
    /// No frame.
    None,
    Frame(FrameHead),
    /// A frame of a form that is not carried.
    Unsupported(&'static str),
}

/// A frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes before its content.
    skip: usize,
    /// Bytes in all.
    pub(super) bytes: usize,
    /// Samples per channel, and how many of them a second has; never zero.
    pub(super) samples: u32,
    pub(super) rate_hz: u32,
    /// What frames of one track have in common.
    pub(super) kind: u32,
}

/// Looks at the front of `bytes`.
pub(super) fn head(form: Form, bytes: &[u8]) -> Head {
    match form {
        Form::Aac => adts(bytes),
        Form::MpegAudio => mpeg_audio(bytes),
        Form::Ac3 => sync_frame(bytes),
        Form::Opus(_) => control(bytes).unwrap_or(Head::Short),
        Form::Video(_) => Head::None,
    }
}

/// The content of a whole frame.
pub(super) fn payload(form: Form, whole: &[u8], frame: FrameHead) -> &[u8] {
    match form {
        Form::Aac | Form::Opus(_) => &whole[frame.skip..],
        Form::MpegAudio | Form::Ac3 | Form::Video(_) => whole,
    }
}

/// The track that a whole frame is of.
pub(super) fn track(form: Form, whole: &[u8]) -> Option<Track> {
    let codec = form.codec();
    let (config, audio) = match form {
        Form::Aac => {
            let config = audio_specific_config(whole)?;
            let audio = AudioSpecificConfig::parse(&config)?.audio_format();
            (Bytes::copy_from_slice(&config), Some(audio))
        }
        Form::Opus(channels) => {
            let config = opus::head(channels)?;
            let audio = AudioFormat { sample_rate_hz: OPUS_HZ, channels: config[9] };
            (Bytes::from(config), Some(audio))
        }
        _ => (Bytes::new(), codec::describe_frame(codec, whole).audio),
    };
    Some(Track { codec, config, hdr: None, video: None, audio })
}

/// Object type, rate and channels of an ADTS header.
fn audio_specific_config(header: &[u8]) -> Option<[u8; 2]> {
    let &[_, _, a, b, ..] = header else { return None };
    let (object_type, rate, channels) = ((a >> 6) + 1, a >> 2 & 15, (a & 1) << 2 | b >> 6);
    Some([object_type << 3 | rate >> 1, rate << 7 | channels << 3])
}

fn adts(bytes: &[u8]) -> Head {
    const SAMPLES: u32 = 1024;
    const HEADER_BYTES: usize = 7;
    const CRC_BYTES: usize = 2;
    // Sync word, and a layer of zero.
    let is_one = match *bytes {
        [] | [0xff] => return Head::Short,
        [first, second, ..] => first == 0xff && second & 0xf6 == 0xf0,
        _ => false,
    };
    if !is_one {
        return Head::None;
    }
    let &[_, second, a, b, c, d, e, ..] = bytes else { return Head::Short };
    let rate = AudioSpecificConfig::rate_hz(a >> 2 & 15);
    let length = usize::from(b & 3) << 11 | usize::from(c) << 3 | usize::from(d >> 5);
    let skip = HEADER_BYTES + if second & 1 == 0 { CRC_BYTES } else { 0 };
    let Some(rate_hz) = rate.filter(|_| length >= skip) else { return Head::None };
    if e & 3 != 0 {
        return Head::Unsupported("AAC with several blocks in an ADTS frame");
    }
    if a & 1 == 0 && b >> 6 == 0 {
        return Head::Unsupported("AAC whose channels are told in its frames only");
    }
    // What does not change from header to header (1.A.2.2.1), without what players may set.
    let kind = u32::from_be_bytes([0, 0, a & 0xfd, b >> 6]);
    Head::Frame(FrameHead { skip, bytes: length, samples: SAMPLES, rate_hz, kind })
}

fn mpeg_audio(bytes: &[u8]) -> Head {
    match *bytes {
        [] | [0xff] => return Head::Short,
        [0xff, second, ..] if second & 0xe0 == 0xe0 => {}
        _ => return Head::None,
    }
    let &[_, version, rate, mode, ..] = bytes else { return Head::Short };
    match mp3::FrameHeader::parse(bytes) {
        Some(header) if header.layer == 3 => {
            // Version, layer, rate, and one channel or two.
            let mono = u8::from(mode >> 6 == 3);
            let kind = u32::from_be_bytes([0, version & 0xfe, rate & 0x0c, mono]);
            let (samples, rate_hz) = (header.samples, header.format.sample_rate_hz);
            Head::Frame(FrameHead { skip: 0, bytes: header.bytes, samples, rate_hz, kind })
        }
        Some(header) if header.layer == 2 => Head::Unsupported("MPEG audio of layer II"),
        Some(_) => Head::Unsupported("MPEG audio of layer I"),
        None => Head::None,
    }
}

fn sync_frame(bytes: &[u8]) -> Head {
    /// Up to the low frequency channel.
    const NEEDED: usize = 8;
    match *bytes {
        [] | [0x0b] => return Head::Short,
        [0x0b, 0x77, ..] => {}
        _ => return Head::None,
    }
    if bytes.len() < NEEDED {
        return Head::Short;
    }
    if bytes[5] >> 3 > 10 {
        return Head::Unsupported("enhanced AC-3");
    }
    let format = codec::describe_frame(Form::Ac3.codec(), bytes).audio;
    let (Some(bytes), Some(format)) = (ac3::frame_bytes(bytes), format) else {
        return Head::None;
    };
    let AudioFormat { sample_rate_hz: rate_hz, channels } = format;
    let kind = rate_hz << 8 | u32::from(channels);
    Head::Frame(FrameHead { skip: 0, bytes, samples: ac3::SAMPLES, rate_hz, kind })
}

/// `Short` also tells that the first bytes of the packet are not there.
fn control(bytes: &[u8]) -> Result<Head, Short> {
    let mut reader = Reader::new(bytes);
    let word = reader.u16("control_header_prefix")?;
    if word >> 5 != 0x3ff {
        return Ok(Head::None);
    }
    let mut flags = BitReader::new(&bytes[1..2]);
    flags.skip("control_header_prefix", 3)?;
    let [start_trim, end_trim, extension] =
        [flags.bit("start_trim_flag")?, flags.bit("end_trim_flag")?, flags.bit("extension_flag")?];
    let mut size = 0;
    loop {
        let byte = reader.u8("au_size")?;
        size += usize::from(byte);
        if size > OPUS_BYTES_MAX {
            return Ok(Head::None);
        }
        if byte != 255 {
            break;
        }
    }
    for _ in 0..u8::from(start_trim) + u8::from(end_trim) {
        reader.u16("trim")?;
    }
    if extension {
        let length = reader.u8("control_extension_length")?;
        reader.take("control_extension", length.into())?;
    }
    let skip = reader.position();
    // A frame of no bytes stands for silence that is not sent.
    let samples = match size {
        0 => Some(OPUS_SILENCE),
        1 => opus::packet_samples(&[reader.u8("TOC")?]),
        _ => opus::packet_samples(&reader.array::<2>("TOC and frame count")?),
    };
    let Some(samples) = samples else { return Ok(Head::None) };
    Ok(Head::Frame(FrameHead { skip, bytes: skip + size, samples, rate_hz: OPUS_HZ, kind: 0 }))
}

const OPUS_HZ: u32 = 48_000;
/// Of 48 frames of 1275 bytes, with their lengths (RFC 6716 3.2.5). Without it, a size that goes on
/// would be read anew with each packet.
const OPUS_BYTES_MAX: usize = 62 << 10;
/// Samples of a frame that is left out: 20 ms.
const OPUS_SILENCE: u32 = 960;
