//! MP4 files, whole or in fragments: their first track of pictures and of sound.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use bytes::Bytes;
use corecast::codec;
use corecast::media::{AudioCodec, Codec, Frame, Track, TrackKind, VideoCodec};
use corecast::time::Timestamp;
use shiguredo_mp4::boxes::{DopsBox, SampleEntry};
use shiguredo_mp4::demux::{
    DemuxError, Fmp4FileDemuxer, Input, Mp4FileDemuxer, Mp4FileKind, Mp4FileKindDetector,
    RequiredInput, Sample,
};
use shiguredo_mp4::{BoxHeader, Decode, Encode};

/// The tracks of `file` and their frames in order of decoding. Edit lists are not applied: they
/// shift a track by a few frames at most, which no server looks at.
pub(super) fn read(file: &Bytes) -> io::Result<(Vec<Track>, Vec<Frame>)> {
    let mut tracks = Tracks::default();
    let mut detector = Mp4FileKindDetector::new();
    while let Some(required) = detector.required_input() {
        detector.handle_input(part(file, required));
    }
    match detector.file_kind().map_err(broken)? {
        Some(Mp4FileKind::FragmentedMp4) => {
            let mut demuxer = Fmp4FileDemuxer::new();
            loop {
                // It stops after each fragment until that has been taken.
                while let Some(required) = demuxer.required_input() {
                    demuxer.handle_input(part(file, required));
                }
                match demuxer.next_sample() {
                    Ok(Some(sample)) => tracks.push(&sample, file)?,
                    Ok(None) => break,
                    Err(DemuxError::InputRequired(_)) => {}
                    Err(error) => return Err(broken(error)),
                }
            }
        }
        _ => {
            let mut demuxer = Mp4FileDemuxer::new();
            while let Some(required) = demuxer.required_input() {
                demuxer.handle_input(part(file, required));
            }
            while let Some(sample) = demuxer.next_sample().map_err(broken)? {
                tracks.push(&sample, file)?;
            }
        }
    }
    tracks.frames.sort_by_key(|frame| frame.dts);
    Ok((tracks.by_kind.into_values().map(|(_, track)| track).collect(), tracks.frames))
}

/// What is asked for, or what there is of it.
fn part(file: &[u8], required: RequiredInput) -> Input<'_> {
    let rest = file.get(required.position as usize..).unwrap_or_default();
    let size = required.size.unwrap_or(rest.len());
    required.to_input(&rest[..size.min(rest.len())])
}

#[derive(Default)]
struct Tracks {
    /// With its number in the file.
    by_kind: BTreeMap<TrackKind, (u32, Track)>,
    frames: Vec<Frame>,
}

impl Tracks {
    fn push(&mut self, sample: &Sample<'_>, file: &Bytes) -> io::Result<()> {
        let kind = match sample.track.kind {
            shiguredo_mp4::TrackKind::Video => TrackKind::Video,
            shiguredo_mp4::TrackKind::Audio => TrackKind::Audio,
            _ => return Ok(()),
        };
        let id = sample.track.track_id;
        if let (false, Some(entry)) = (self.by_kind.contains_key(&kind), sample.sample_entry) {
            self.by_kind.insert(kind, (id, track(entry)?));
        }
        if self.by_kind.get(&kind).is_none_or(|(first, _)| *first != id) {
            return Ok(());
        }
        let (begin, end) = (sample.data_offset as usize, sample.data_size);
        let range = begin..begin.saturating_add(end);
        let data = file.get(range.clone()).map(|_| file.slice(range));
        let data = data.ok_or_else(|| broken("it ends within a frame"))?;
        let scale = i128::from(sample.track.timescale.get());
        let at = |ticks: i128| Timestamp::from_nanos((ticks * 1_000_000_000 / scale) as i64);
        let dts = i128::from(sample.timestamp);
        let pts = dts + i128::from(sample.composition_time_offset.unwrap_or_default());
        let key = kind == TrackKind::Video && sample.keyframe;
        self.frames.push(Frame { kind, dts: at(dts), pts: at(pts), key, data });
        Ok(())
    }
}

fn track(entry: &SampleEntry) -> io::Result<Track> {
    let (codec, config) = match entry {
        SampleEntry::Avc1(entry) => (Codec::Video(VideoCodec::H264), record(&entry.avcc_box)?),
        SampleEntry::Hvc1(entry) => (Codec::Video(VideoCodec::H265), record(&entry.hvcc_box)?),
        SampleEntry::Hev1(entry) => (Codec::Video(VideoCodec::H265), record(&entry.hvcc_box)?),
        SampleEntry::Av01(entry) => (Codec::Video(VideoCodec::Av1), record(&entry.av1c_box)?),
        SampleEntry::Mp4a(entry) => {
            let info = &entry.esds_box.es.dec_config_descr.dec_specific_info;
            let info = info.as_ref().ok_or_else(|| broken("no AudioSpecificConfig"))?;
            (Codec::Audio(AudioCodec::Aac), info.payload.clone())
        }
        SampleEntry::Opus(entry) => (Codec::Audio(AudioCodec::Opus), opus_head(&entry.dops_box)),
        _ => return Err(broken("expected H.264, H.265, AV1, AAC or Opus, found another codec")),
    };
    let about = codec::describe(codec, &config).map_err(io::Error::other)?;
    let (config, hdr) = (config.into(), None);
    Ok(Track { codec, config, hdr, video: about.video, audio: about.audio })
}

/// A box without its header: the record that other containers carry too.
fn record(found: &impl Encode) -> io::Result<Vec<u8>> {
    let bytes = found.encode_to_vec().map_err(broken)?;
    let (_, header_bytes) = BoxHeader::decode(&bytes).map_err(broken)?;
    Ok(bytes[header_bytes..].to_vec())
}

/// RFC 7845 5.1, channel mapping family 0.
fn opus_head(dops: &DopsBox) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(dops.output_channel_count);
    head.extend(dops.pre_skip.to_le_bytes());
    head.extend(dops.input_sample_rate.to_le_bytes());
    head.extend(dops.output_gain.to_le_bytes());
    head.push(0);
    head
}

fn broken(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::other(format!(
        "MP4: {}\n  cure: an ordinary file is made by `ffmpeg -i FILE -c copy OTHER.mp4`",
        error.into()
    ))
}
