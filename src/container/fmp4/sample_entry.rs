//! How the samples of a track are to be decoded: its configuration record, as it came, in the box
//! of its codec.

use std::num::NonZeroU16;

use shiguredo_mp4::boxes::{
    AudioSampleEntryFields, EsdsBox, Mp4aBox, SampleEntry, UnknownBox, VisualSampleEntryFields,
};
use shiguredo_mp4::descriptors::{
    DecoderConfigDescriptor, DecoderSpecificInfo, EsDescriptor, SlConfigDescriptor,
};
use shiguredo_mp4::{BoxSize, BoxType, Encode, FixedPointNumber, Uint};

use super::hvc1;
use crate::media::{AudioCodec, AudioFormat, Codec, Track, VideoCodec, VideoFormat};

/// None if its codec has no place here, or its record is not enough.
pub(super) fn of(track: &Track) -> Option<SampleEntry> {
    match track.codec {
        Codec::Video(codec) => visual(codec, track),
        Codec::Audio(codec) => audio(codec, track),
    }
}

fn visual(codec: VideoCodec, track: &Track) -> Option<SampleEntry> {
    let (kind, record_kind, record) = match codec {
        VideoCodec::H264 => (b"avc1", b"avcC", track.config.to_vec()),
        VideoCodec::H265 => (b"hvc1", b"hvcC", hvc1::complete(&track.config)),
        VideoCodec::Av1 => (b"av01", b"av1C", track.config.to_vec()),
        VideoCodec::Vp9 => (b"vp09", b"vpcC", vp9_record(track)?),
    };
    if record.is_empty() {
        return None;
    }
    let size = track.video.map_or((0, 0), |VideoFormat { width, height, .. }| (width, height));
    let fields = VisualSampleEntryFields {
        data_reference_index: THIS_FILE,
        width: u16::try_from(size.0).unwrap_or(u16::MAX),
        height: u16::try_from(size.1).unwrap_or(u16::MAX),
        horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
        vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
        frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
        compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
        depth: VisualSampleEntryFields::DEFAULT_DEPTH,
    };
    entry(*kind, &fields, Some(as_it_is(*record_kind, record)))
}

fn audio(codec: AudioCodec, track: &Track) -> Option<SampleEntry> {
    let format = track.audio?;
    let fields = AudioSampleEntryFields {
        data_reference_index: THIS_FILE,
        channelcount: format.channels.into(),
        samplesize: AudioSampleEntryFields::DEFAULT_SAMPLESIZE,
        // A rate beyond 16 bits stands in the record alone.
        samplerate: FixedPointNumber::new(u16::try_from(format.sample_rate_hz).unwrap_or(0), 0),
    };
    match codec {
        AudioCodec::Aac => Some(SampleEntry::Mp4a(Mp4aBox {
            audio: fields,
            esds_box: EsdsBox { es: aac_descriptor(&track.config) },
            unknown_boxes: Vec::new(),
        })),
        AudioCodec::Opus => {
            let record = opus_record(&track.config, format)?;
            entry(*b"Opus", &fields, Some(as_it_is(*b"dOps", record)))
        }
        AudioCodec::Mp3 => entry(*b".mp3", &fields, None),
        AudioCodec::Ac3 | AudioCodec::Flac | AudioCodec::G711A | AudioCodec::G711U => None,
    }
}

/// The only entry of the data references.
const THIS_FILE: NonZeroU16 = NonZeroU16::MIN;

/// A sample entry of `fields`, and a record behind them.
fn entry(kind: [u8; 4], fields: &impl Encode, record: Option<UnknownBox>) -> Option<SampleEntry> {
    let mut payload = fields.encode_to_vec().ok()?;
    if let Some(record) = record {
        payload.extend(record.encode_to_vec().ok()?);
    }
    Some(SampleEntry::Unknown(as_it_is(kind, payload)))
}

/// A box of bytes that are not looked into.
fn as_it_is(kind: [u8; 4], payload: Vec<u8>) -> UnknownBox {
    let box_type = BoxType::Normal(kind);
    let box_size = BoxSize::with_payload_size(box_type, payload.len() as u64);
    UnknownBox { box_type, box_size, payload }
}

/// `vpcC` is a box with a version (VP9-ISOBMFF 2.2), RTMP's record is what follows it. Without a
/// record, the frames' profile says what must be known.
fn vp9_record(track: &Track) -> Option<Vec<u8>> {
    const VERSION: [u8; 4] = [1, 0, 0, 0];
    const RECORD_BYTES: usize = 8;
    if track.config.len() >= VERSION.len() + RECORD_BYTES && track.config.starts_with(&VERSION) {
        return Some(track.config.to_vec());
    }
    if track.config.len() >= RECORD_BYTES {
        return Some([&VERSION, &track.config[..]].concat());
    }
    let VideoFormat { profile, .. } = track.video?;
    // Profiles 2 and 3 have ten bits or more, 1 and 3 finer chroma than 4:2:0.
    let bits = if profile >= 2 { 10 } else { 8 };
    let chroma = if profile & 1 == 1 { 3 } else { 1 };
    let unspecified = 2;
    let record = [profile, 10, bits << 4 | chroma << 1, unspecified, unspecified, unspecified];
    Some([&VERSION, &record[..], &[0, 0]].concat())
}

/// ISO/IEC 14496-14 3.1.2.
fn aac_descriptor(config: &[u8]) -> EsDescriptor {
    EsDescriptor {
        es_id: EsDescriptor::MIN_ES_ID,
        stream_priority: EsDescriptor::LOWEST_STREAM_PRIORITY,
        depends_on_es_id: None,
        url_string: None,
        ocr_es_id: None,
        dec_config_descr: DecoderConfigDescriptor {
            object_type_indication:
                DecoderConfigDescriptor::OBJECT_TYPE_INDICATION_AUDIO_ISO_IEC_14496_3,
            stream_type: DecoderConfigDescriptor::STREAM_TYPE_AUDIO,
            up_stream: DecoderConfigDescriptor::UP_STREAM_FALSE,
            buffer_size_db: Uint::new(0),
            max_bitrate: 0,
            avg_bitrate: 0,
            dec_specific_info: Some(DecoderSpecificInfo { payload: config.to_vec() }),
        },
        sl_config_descr: SlConfigDescriptor,
    }
}

/// `dOps` (Opus in ISOBMFF 4.3.2) of an `OpusHead` (RFC 7845 5.1): the same fields, but big-endian.
/// Without a head, as the channels demand.
fn opus_record(config: &[u8], format: AudioFormat) -> Option<Vec<u8>> {
    const DECODED_HZ: u32 = 48_000;
    let Some(head) = config.strip_prefix(b"OpusHead") else {
        let channels = Some(format.channels).filter(|channels| (1..=2).contains(channels))?;
        let [a, b, c, d] = DECODED_HZ.to_be_bytes();
        return Some(vec![0, channels, 0, 0, a, b, c, d, 0, 0, 0]);
    };
    let (&[_, channels, p, q, a, b, c, d, g, h, family], table) = head.split_first_chunk()?;
    let mut record = vec![0, channels, q, p, d, c, b, a, h, g, family];
    if family != 0 {
        record.extend_from_slice(table.get(..2 + usize::from(channels))?);
    }
    Some(record)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn opus_head_becomes_big_endian_with_its_mapping() {
        let format = AudioFormat { sample_rate_hz: 48_000, channels: 6 };
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\xfe\xff\x00";
        let record = [0, 2, 1, 0x38, 0, 0, 0xbb, 0x80, 0xff, 0xfe, 0];
        assert_eq!(opus_record(head, format).unwrap(), record);
        let many = b"OpusHead\x01\x03\x38\x01\x80\xbb\x00\x00\x00\x00\x01\x02\x01\x00\x02\x01";
        let record = [0, 3, 1, 0x38, 0, 0, 0xbb, 0x80, 0, 0, 1, 2, 1, 0, 2, 1];
        assert_eq!(opus_record(many, format).unwrap(), record);
        for end in 8..many.len() {
            assert_eq!(opus_record(&many[..end], format), None);
        }
        assert_eq!(opus_record(&[], format), None, "six channels need a mapping");
    }
}
