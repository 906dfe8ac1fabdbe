//! A file that publishers send over and over: its frames in order, on one clock from zero.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use corecast::codec::nal;
use corecast::container::flv::{Demux, FileReader, Item, Limits};
use corecast::media::{Codec, Frame, Track, TrackKind, VideoCodec};
use corecast::time::Timestamp;

use super::mp4;
use crate::mark::Mark;

/// A clip that is always there.
const DEMO: &[u8] = include_bytes!("../../../src/app/demo/clip.flv");

/// The frames of a file, all in memory.
#[derive(Debug)]
pub struct Clip {
    /// At most one of each kind.
    pub(super) tracks: Vec<Track>,
    /// `onMetaData`, if there is one.
    pub(super) metadata: Option<Bytes>,
    /// In order of sending; the first is at zero.
    pub(super) frames: Vec<Frame>,
    /// After which it begins again.
    pub(super) length_ns: i64,
    /// From the first key frame to the second, or to the end.
    pub(super) group: Duration,
}

impl Clip {
    /// Reads an FLV or MP4 file.
    ///
    /// # Errors
    /// It cannot be read, is neither, or has no frames.
    pub fn read(path: &Path) -> io::Result<Self> {
        let wrap =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let file = std::fs::read(path).map_err(wrap)?;
        Self::of_file(&file.into()).map_err(wrap)
    }

    /// The clip that is built in: ten seconds of H.264 and AAC.
    pub fn demo() -> Self {
        Self::of_file(&Bytes::from_static(DEMO)).expect("a test reads it")
    }

    fn of_file(file: &Bytes) -> io::Result<Self> {
        match &file[..] {
            [b'F', b'L', b'V', ..] => Self::of_flv(file),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => {
                let (tracks, frames) = mp4::read(file)?;
                Self::new(tracks, None, frames)
            }
            _ => Err(io::Error::other("expected an FLV or MP4 file, found another kind")),
        }
    }

    fn of_flv(file: &[u8]) -> io::Result<Self> {
        let (mut reader, mut demux) =
            (FileReader::new(Limits::default()), Demux::new(Limits::default()));
        let (mut input, mut items) = (file, Vec::new());
        while let Some((kind, ms, body)) = reader.read(&mut input).map_err(io::Error::other)? {
            let time = Timestamp::from_millis(ms.into());
            demux.push(kind, time, body, &mut items).map_err(io::Error::other)?;
        }
        let (mut tracks, mut metadata, mut frames) = (Vec::<Track>::new(), None, Vec::new());
        for item in items {
            match item {
                Item::Track(track) if tracks.iter().all(|known| known.kind() != track.kind()) => {
                    tracks.push(track);
                }
                Item::Frame(frame) => frames.push(frame),
                Item::Metadata(data) => metadata = Some(data),
                Item::Track(_) | Item::EndOfSequence(_) | Item::PrivateStreams(_) => {}
            }
        }
        Self::new(tracks, metadata, frames)
    }

    fn new(
        mut tracks: Vec<Track>,
        metadata: Option<Bytes>,
        mut frames: Vec<Frame>,
    ) -> io::Result<Self> {
        let begin = frames.iter().map(|frame| frame.dts).min();
        let begin = begin.ok_or_else(|| io::Error::other("expected frames, found none"))?;
        for frame in &mut frames {
            let shift = Timestamp::ZERO.since(begin);
            (frame.dts, frame.pts) = (frame.dts + shift, frame.pts + shift);
        }
        if let Some(track) = tracks.iter_mut().find(|track| is_h264(track)) {
            lengths_of_four_bytes(track, &mut frames);
            for frame in frames.iter_mut().filter(|frame| frame.kind == TrackKind::Video) {
                // A recording of a marked stream: its marks would be taken for ours.
                frame.data = Mark::remove_from(&frame.data);
            }
        }
        let length_ns = [TrackKind::Video, TrackKind::Audio].map(|kind| length_ns(&frames, kind));
        let length_ns = length_ns.into_iter().max().filter(|length| *length > 0);
        let length_ns =
            length_ns.ok_or_else(|| io::Error::other("expected pictures or sound, found none"))?;
        let mut keys = frames.iter().filter(|frame| frame.key).map(|frame| frame.dts);
        let group_ns = match (keys.next(), keys.next()) {
            (Some(first), Some(second)) => second.since(first),
            _ => length_ns,
        };
        let group = Duration::from_nanos(group_ns.unsigned_abs());
        Ok(Self { tracks, metadata, frames, length_ns, group })
    }
}

pub(super) fn is_h264(track: &Track) -> bool {
    track.codec == Codec::Video(VideoCodec::H264)
}

/// Marks are written with lengths of four bytes, so everything beside them must have such too.
fn lengths_of_four_bytes(track: &mut Track, frames: &mut [Frame]) {
    const LENGTH_SIZE_AT: usize = 4;
    let Some(length_bytes) = track.config.get(LENGTH_SIZE_AT).map(|byte| (byte & 3) + 1) else {
        return;
    };
    if length_bytes == 4 {
        return;
    }
    let mut config = track.config.to_vec();
    config[LENGTH_SIZE_AT] |= 3;
    track.config = config.into();
    for frame in frames.iter_mut().filter(|frame| frame.kind == TrackKind::Video) {
        let mut data = Vec::with_capacity(frame.data.len() + 64);
        for nal in nal::length_prefixed(&frame.data, length_bytes) {
            data.extend((nal.len() as u32).to_be_bytes());
            data.extend(nal);
        }
        frame.data = data.into();
    }
}

/// Where a track's next round may begin: one interval after its last frame.
fn length_ns(frames: &[Frame], kind: TrackKind) -> i64 {
    let mut times = frames.iter().filter(|frame| frame.kind == kind).map(|frame| frame.dts);
    let Some(first) = times.next() else { return 0 };
    let (count, last) = times.fold((0, first), |(count, _), time| (count + 1, time));
    let interval = if count > 0 { last.since(first) / count } else { SECOND_NS / 25 };
    last.as_nanos() + interval
}

const SECOND_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_lengths_become_four_bytes() {
        let demo = Clip::demo();
        let mut track =
            demo.tracks.iter().find(|track| is_h264(track)).expect("it has one").clone();
        let mut config = track.config.to_vec();
        config[4] = config[4] & !3 | 1;
        track.config = config.into();
        let at = Timestamp::ZERO;
        let data = Bytes::from_static(&[0, 2, 0x65, 7, 0, 1, 0x65]);
        let frame = Frame { kind: TrackKind::Video, dts: at, pts: at, key: true, data };
        let clip = Clip::new(vec![track], None, vec![frame]).expect("a frame");
        assert_eq!(clip.frames[0].data[..], [0, 0, 0, 2, 0x65, 7, 0, 0, 0, 1, 0x65]);
        assert_eq!(clip.tracks[0].config[4] & 3, 3);
    }

    #[test]
    fn other_files_and_empty_ones_are_told() {
        for file in [&b""[..], b"RIFF....WAVE", b"FLV\x01\x05\0\0\0\x09\0\0\0\0"] {
            let error = Clip::of_file(&Bytes::from_static(file)).expect_err("no clip");
            assert!(error.to_string().starts_with("expected"), "{error}");
        }
        let error = Clip::read(Path::new("/nonexistent.flv")).expect_err("no file");
        assert!(error.to_string().starts_with("/nonexistent.flv: "), "{error}");
    }

    #[test]
    fn a_recording_loses_the_marks_it_has() {
        let mut frames = Clip::demo().frames;
        let mark = Mark {
            clock_ns: 1,
            picture: 2,
            hash: 3,
            first_sound: 4,
            sounds: arrayvec::ArrayVec::new(),
        };
        let plain = frames.clone();
        for frame in frames.iter_mut().filter(|frame| frame.kind == TrackKind::Video) {
            frame.data = mark.write_into(&frame.data);
        }
        let clip = Clip::new(Clip::demo().tracks, None, frames).expect("frames");
        assert!(clip.frames == plain);
    }
}
