//! A sample entry and the record in it to a track: the other way of `fmp4::sample_entry`.

use bytes::Bytes;

use super::boxes::{Atom, version_and_flags};
use super::{Error, Limits};
use crate::bytes::{Reader, Short};
use crate::codec;
use crate::media::{AudioCodec, AudioFormat, Codec, Track, VideoCodec, VideoFormat};

/// None if it is of a codec that is not carried.
pub(super) fn track_of(entry: Atom<'_>, limits: &Limits) -> Result<Option<Track>, Error> {
    let video = |codec, record| visual(entry, codec, record, limits).map(Some);
    match &entry.kind {
        // In-band parameter sets, which avc3 and hev1 allow, do not make the record less of one.
        b"avc1" | b"avc3" => video(VideoCodec::H264, *b"avcC"),
        b"hvc1" | b"hev1" => video(VideoCodec::H265, *b"hvcC"),
        b"av01" => video(VideoCodec::Av1, *b"av1C"),
        b"vp09" => video(VideoCodec::Vp9, *b"vpcC"),
        b"mp4a" | b"Opus" | b".mp3" | b"ac-3" | b"fLaC" => audio(entry, limits),
        _ => Ok(None),
    }
}

/// 12.1.3: before the boxes stand 78 bytes of fields.
fn visual(
    entry: Atom<'_>,
    codec: VideoCodec,
    record: [u8; 4],
    limits: &Limits,
) -> Result<Track, Error> {
    const WIDTH_AT: usize = 24;
    let (width, height) = entry.read(|reader| {
        reader.take("fields before width", WIDTH_AT)?;
        Ok((reader.u16("width")?, reader.u16("height")?))
    })?;
    let record = entry.behind("VisualSampleEntry", 78)?.get(record)?;
    let track = described(Codec::Video(codec), record, record.content, limits)?;
    let (width, height) = (width.into(), height.into());
    // VP9's record has all but the size.
    let of_entry = match record.content {
        [_, _, _, _, profile, level, ..] if codec == VideoCodec::Vp9 && width > 0 && height > 0 => {
            Some(VideoFormat { width, height, profile: *profile, level: *level })
        }
        _ => None,
    };
    Ok(Track { video: track.video.or(of_entry), ..track })
}

/// 12.2.3: before the boxes stand 28 bytes of fields.
fn audio(entry: Atom<'_>, limits: &Limits) -> Result<Option<Track>, Error> {
    const CHANNELS_AT: usize = 16;
    let (channels, sample_rate_hz) = entry.read(|reader| {
        reader.take("fields before channelcount", CHANNELS_AT)?;
        let channels = reader.u16("channelcount")?;
        reader.take("samplesize", 6)?;
        // 16.16 bits.
        Ok((channels, reader.u32("samplerate")? >> 16))
    })?;
    let boxes = entry.behind("AudioSampleEntry", 28)?;
    let of_entry = (sample_rate_hz > 0 && channels > 0).then(|| AudioFormat {
        sample_rate_hz,
        channels: u8::try_from(channels).unwrap_or(u8::MAX),
    });
    let (codec, record, config) = match &entry.kind {
        b"mp4a" => {
            let record = boxes.get(*b"esds")?;
            match record.read(elementary_stream)? {
                // ISO/IEC 14496-1 7.2.6.6.2 and its registration authority.
                (0x40 | 0x66..=0x68, config) => (AudioCodec::Aac, record, config.to_vec()),
                (0x69 | 0x6b, _) => (AudioCodec::Mp3, record, Vec::new()),
                (0xa5, _) => (AudioCodec::Ac3, record, Vec::new()),
                _ => return Ok(None),
            }
        }
        b"Opus" => {
            let record = boxes.get(*b"dOps")?;
            (AudioCodec::Opus, record, opus_head(record.content))
        }
        b"fLaC" => {
            let record = boxes.get(*b"dfLa")?;
            // Version, flags and the head of the first block, which is STREAMINFO.
            let info = record.behind("STREAMINFO's head", 8)?;
            let info = info.read(|reader| reader.take("STREAMINFO", 34))?;
            (AudioCodec::Flac, record, [b"fLaC\x80\0\0\x22", info].concat())
        }
        b".mp3" => (AudioCodec::Mp3, boxes, Vec::new()),
        _ => (AudioCodec::Ac3, boxes, Vec::new()),
    };
    let track = described(Codec::Audio(codec), record, &config, limits)?;
    Ok(Some(Track { audio: track.audio.or(of_entry), ..track }))
}

/// The track of a record that came in this box.
fn described(codec: Codec, from: Atom<'_>, config: &[u8], limits: &Limits) -> Result<Track, Error> {
    let (kind, at, max) = (from.kind, from.at, limits.config_bytes);
    if config.len() > max {
        let found = Some(config.len() as u64);
        return Err(Error::TooLong { what: kind, at, max, found });
    }
    let told = codec::describe(codec, config).map_err(|error| Error::Config { kind, at, error })?;
    let config = Bytes::copy_from_slice(config);
    Ok(Track { codec, config, hdr: None, video: told.video, audio: told.audio })
}

/// What is coded, and the record of it, of an `ES_Descriptor` (ISO/IEC 14496-1 7.2.6.5).
fn elementary_stream<'a>(reader: &mut Reader<'a>) -> Result<(u8, &'a [u8]), Short> {
    const ES: u8 = 3;
    const DECODER_CONFIG: u8 = 4;
    const DECODER_SPECIFIC: u8 = 5;
    version_and_flags(reader)?;
    let mut stream = Reader::new(descriptor(reader, ES)?);
    stream.u16("ES_ID")?;
    let flags = stream.u8("ES flags")?;
    if flags & 0x80 != 0 {
        stream.u16("dependsOn_ES_ID")?;
    }
    if flags & 0x40 != 0 {
        let length = stream.u8("URLlength")?;
        stream.take("URLstring", length.into())?;
    }
    if flags & 0x20 != 0 {
        stream.u16("OCR_ES_Id")?;
    }
    let mut config = Reader::new(descriptor(&mut stream, DECODER_CONFIG)?);
    let coded = config.u8("objectTypeIndication")?;
    config.take("DecoderConfigDescriptor", 12)?;
    // What has no need of one has none.
    let record =
        if config.is_empty() { &[][..] } else { descriptor(&mut config, DECODER_SPECIFIC)? };
    Ok((coded, record))
}

/// The content of the next descriptor of a tag. Others before it are left out.
fn descriptor<'a>(reader: &mut Reader<'a>, tag: u8) -> Result<&'a [u8], Short> {
    loop {
        let found = reader.u8("descriptor tag")?;
        // Seven bits a byte; nobody needs more than four.
        let mut length = 0_usize;
        for _ in 0..4 {
            let byte = reader.u8("descriptor length")?;
            length = length << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let content = reader.take("descriptor", length)?;
        if found == tag {
            return Ok(content);
        }
    }
}

/// `OpusHead` (RFC 7845 5.1) of `dOps` (Opus in ISOBMFF 4.3.2): the same fields, but little-endian.
/// One that is too short gives one that is too short.
fn opus_head(record: &[u8]) -> Vec<u8> {
    let Some((&[_, channels, p, q, a, b, c, d, g, h, family], table)) = record.split_first_chunk()
    else {
        return Vec::new();
    };
    let fields = [1, channels, q, p, d, c, b, a, h, g, family];
    let table = if family == 0 { &[] } else { table };
    [&b"OpusHead"[..], &fields, table].concat()
}
