//! Fragmented MP4 without end (ISO/IEC 14496-12), as HTTP and WebSocket carry it and as segments of
//! HLS make it up, to frames: an init, then fragments of one `moof` and one `mdat` each.
//!
//! Fragments are numbered, and each says by itself when it begins. A number that goes back is the
//! server's fault, a hole is what it left out.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use arrayvec::ArrayVec;
use bytes::Bytes;
use corecast::media::{Frame, TrackKind};
use corecast::time::Timestamp;
use shiguredo_mp4::boxes::{HdlrBox, MoofBox, MoovBox, TrafBox, TrexBox};
use shiguredo_mp4::{Decode, SampleFlags};

use super::{Event, Fragment};

/// The reader of one viewer.
#[derive(Debug)]
pub(super) struct Mp4 {
    stage: Stage,
    /// Of the last init.
    tracks: ArrayVec<Track, TRACKS_MAX>,
    /// Whose samples are to come, and how much has come since it began.
    moof: Option<(MoofBox, u64)>,
    /// Number of the last fragment since the init.
    sequence: Option<u32>,
    events: VecDeque<Event>,
}

/// ```text
/// Header ─> Kept | Skipped ─> Header
/// ```
#[derive(Debug)]
enum Stage {
    /// Size and type of a box, as far as they have come.
    Header(ArrayVec<u8, HEADER_MAX>),
    /// A box that is read when it is whole. Of `mdat` only what it holds.
    Kept { kind: [u8; 4], bytes: Vec<u8>, left: usize },
    /// A box of no interest here.
    Skipped { left: u64 },
}

#[derive(Debug)]
struct Track {
    id: u32,
    kind: TrackKind,
    timescale: u32,
    /// Where fragments say nothing else.
    defaults: Option<TrexBox>,
}

/// With a size of 64 bits.
const HEADER_MAX: usize = 16;
/// No server here sends more.
const TRACKS_MAX: usize = 8;
/// The largest `moov` or `moof`, and the largest `mdat`, that are taken for one.
const INDEX_BYTES_MAX: u64 = 4 << 20;
const MEDIA_BYTES_MAX: u64 = 64 << 20;
/// The samples of one fragment.
const SAMPLES_MAX: usize = 1 << 16;

impl Mp4 {
    /// Before the first box.
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header(ArrayVec::new()),
            tracks: ArrayVec::new(),
            moof: None,
            sequence: None,
            events: VecDeque::new(),
        }
    }

    /// A frame that is whole already, or the fragment after its last one.
    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Takes bytes from the front of `input` up to the end of a fragment, or the first `count` of
    /// them if none ends there. How many it took.
    ///
    /// # Errors
    /// It is no fragmented MP4, or fragments come twice.
    pub(super) fn read(&mut self, input: &mut &[u8], count: usize) -> io::Result<usize> {
        let mut part = &input[..count];
        while !part.is_empty() && self.events.is_empty() {
            self.step(&mut part).map_err(io::Error::other)?;
        }
        let taken = count - part.len();
        *input = &input[taken..];
        Ok(taken)
    }

    fn step(&mut self, part: &mut &[u8]) -> Result<(), String> {
        let before = part.len();
        match &mut self.stage {
            Stage::Header(header) => {
                header.push(part[0]);
                *part = &part[1..];
                if let Some(stage) = Stage::of(header, self.moof.is_some())? {
                    self.stage = stage;
                }
            }
            Stage::Skipped { left } => {
                let count = usize::try_from(*left).map_or(part.len(), |left| left.min(part.len()));
                *part = &part[count..];
                *left -= count as u64;
            }
            Stage::Kept { bytes, left, .. } => {
                let (taken, rest) = part.split_at((*left).min(part.len()));
                bytes.extend_from_slice(taken);
                (*left, *part) = (*left - taken.len(), rest);
            }
        }
        if let Some((_, since)) = &mut self.moof {
            *since += (before - part.len()) as u64;
        }
        self.finish_box()
    }

    /// Reads a box that is whole.
    fn finish_box(&mut self) -> Result<(), String> {
        match &mut self.stage {
            Stage::Skipped { left: 0 } => {}
            Stage::Kept { left: 0, kind, bytes } => {
                let (kind, bytes) = (*kind, std::mem::take(bytes));
                self.take_box(kind, bytes)?;
            }
            Stage::Header(_) | Stage::Skipped { .. } | Stage::Kept { .. } => return Ok(()),
        }
        self.stage = Stage::Header(ArrayVec::new());
        Ok(())
    }

    fn take_box(&mut self, kind: [u8; 4], bytes: Vec<u8>) -> Result<(), String> {
        let broken = |error: shiguredo_mp4::Error| {
            format!("expected a {} box, found another: {error}", kind.escape_ascii())
        };
        match &kind {
            b"moov" => {
                let (moov, _) = MoovBox::decode(&bytes).map_err(broken)?;
                self.tracks = tracks(&moov);
                // A new init may count anew.
                (self.moof, self.sequence) = (None, None);
            }
            b"moof" => {
                let (moof, _) = MoofBox::decode(&bytes).map_err(broken)?;
                self.moof = Some((moof, bytes.len() as u64));
            }
            _ => {
                if let Some((moof, since)) = self.moof.take() {
                    let begin = since - bytes.len() as u64;
                    self.fragment(&moof, begin, &Bytes::from(bytes))?;
                }
            }
        }
        Ok(())
    }

    /// The frames of a fragment, of which `data` begins `begin` bytes after its `moof` did.
    fn fragment(&mut self, moof: &MoofBox, begin: u64, data: &Bytes) -> Result<(), String> {
        let number = moof.mfhd_box.sequence_number;
        let missing = match self.sequence.replace(number) {
            Some(last) if number <= last => {
                return Err(format!(
                    "fragments are there twice: expected a number above {last}, found {number}"
                ));
            }
            Some(last) => number - last - 1,
            None => 0,
        };
        let (mut frames, mut lasts) = (Vec::new(), Duration::ZERO);
        for traf in &moof.traf_boxes {
            let id = traf.tfhd_box.track_id;
            let track = self.tracks.iter().find(|track| track.id == id).ok_or_else(|| {
                format!("expected a track of the init in a fragment, found track {id}")
            })?;
            lasts = lasts.max(track.frames(traf, begin, data, &mut frames)?);
        }
        // As they were before somebody sorted them by track.
        frames.sort_by_key(|frame| frame.dts);
        self.events.extend(frames.into_iter().map(Event::Frame));
        self.events.push_back(Event::Fragment(Fragment { missing, lasts }));
        Ok(())
    }
}

impl Stage {
    /// What `header` begins; none while it is not whole. Samples count only after their `moof`.
    fn of(header: &[u8], has_moof: bool) -> Result<Option<Self>, String> {
        let [a, b, c, d, kind @ ..] = header else { return Ok(None) };
        let Some(kind) = kind.first_chunk::<4>() else { return Ok(None) };
        let (size, long) = (u32::from_be_bytes([*a, *b, *c, *d]), header.get(8..HEADER_MAX));
        let size = match (size, long) {
            (1, None) => return Ok(None),
            (1, Some(long)) => u64::from_be_bytes(long.try_into().expect("eight of them")),
            (size, _) => size.into(),
        };
        let left = size.checked_sub(header.len() as u64).filter(|_| size > 0).ok_or_else(|| {
            format!("expected the size and type of a box, found \"{}\"", header.escape_ascii())
        })?;
        let most = match kind {
            b"moov" | b"moof" => INDEX_BYTES_MAX,
            b"mdat" if has_moof => MEDIA_BYTES_MAX,
            _ => return Ok(Some(Self::Skipped { left })),
        };
        if left > most {
            return Err(format!(
                "expected a {} box of at most {most} bytes, found {left}",
                kind.escape_ascii()
            ));
        }
        // It is read with its header, of which `mdat` needs nothing.
        let bytes = if kind == b"mdat" { Vec::new() } else { header.to_vec() };
        Ok(Some(Self::Kept { kind: *kind, bytes, left: left as usize }))
    }
}

/// The tracks of an init that have pictures or sound.
fn tracks(moov: &MoovBox) -> ArrayVec<Track, TRACKS_MAX> {
    let extends = moov.mvex_box.iter().flat_map(|mvex| &mvex.trex_boxes);
    let track = |trak: &shiguredo_mp4::boxes::TrakBox| {
        let kind = match trak.mdia_box.hdlr_box.handler_type {
            HdlrBox::HANDLER_TYPE_VIDE => TrackKind::Video,
            HdlrBox::HANDLER_TYPE_SOUN => TrackKind::Audio,
            _ => TrackKind::Data,
        };
        let id = trak.tkhd_box.track_id;
        let defaults = extends.clone().find(|trex| trex.track_id == id).cloned();
        Track { id, kind, timescale: trak.mdia_box.mdhd_box.timescale.get(), defaults }
    };
    moov.trak_boxes.iter().map(track).take(TRACKS_MAX).collect()
}

impl Track {
    /// Appends the samples of `traf`, and says how long they last.
    fn frames(
        &self,
        traf: &TrafBox,
        begin: u64,
        data: &Bytes,
        frames: &mut Vec<Frame>,
    ) -> Result<Duration, String> {
        let header = &traf.tfhd_box;
        if header.base_data_offset.is_some() {
            return Err(
                "expected samples at a distance from their moof, found one from the begin \
                        of a file"
                    .to_owned(),
            );
        }
        let defaults = self.defaults.as_ref();
        let first_ticks = traf.tfdt_box.as_ref().map_or(0, |tfdt| tfdt.base_media_decode_time);
        let (mut ticks, mut at) = (first_ticks as i64, 0_usize);
        for run in &traf.trun_boxes {
            if let Some(offset) = run.data_offset {
                let offset = i64::from(offset).checked_sub_unsigned(begin);
                at = offset.and_then(|offset| usize::try_from(offset).ok()).ok_or_else(|| {
                    format!("expected samples within their mdat, found them {offset:?} from it")
                })?;
            }
            for (number, sample) in run.samples.iter().enumerate() {
                let first = run.first_sample_flags.filter(|_| number == 0);
                let flags = first.or(sample.flags).or(header.default_sample_flags);
                let flags = flags.or(defaults.map(|trex| trex.default_sample_flags));
                let size = sample.size.or(header.default_sample_size);
                let size = size.or(defaults.map(|trex| trex.default_sample_size)).unwrap_or(0);
                let lasts = sample.duration.or(header.default_sample_duration);
                let lasts =
                    lasts.or(defaults.map(|trex| trex.default_sample_duration)).unwrap_or(0);
                let end = at.saturating_add(size as usize);
                if end > data.len() || frames.len() == SAMPLES_MAX {
                    return Err(format!(
                        "expected at most {SAMPLES_MAX} samples in the {} bytes of an mdat, found \
                         one that ends at {end}",
                        data.len()
                    ));
                }
                let shown = ticks.saturating_add(sample.composition_time_offset.unwrap_or(0));
                if self.kind != TrackKind::Data {
                    frames.push(Frame {
                        kind: self.kind,
                        dts: self.time(ticks),
                        pts: self.time(shown),
                        key: flags
                            .is_none_or(|flags| !SampleFlags::sample_is_non_sync_sample(flags)),
                        data: data.slice(at..end),
                    });
                }
                (ticks, at) = (ticks.saturating_add(lasts.into()), end);
            }
        }
        let lasts = self.time(ticks).since(self.time(first_ticks as i64));
        Ok(Duration::from_nanos(u64::try_from(lasts).unwrap_or(0)))
    }

    fn time(&self, ticks: i64) -> Timestamp {
        let ns = i128::from(ticks) * 1_000_000_000 / i128::from(self.timescale);
        Timestamp::from_nanos(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use corecast::container::fmp4::{Fragmenter, init};
    use corecast::media::{AudioCodec, AudioFormat, Codec, Track, VideoCodec, VideoFormat};

    use super::*;

    fn tracks() -> [Track; 2] {
        let video = VideoFormat { width: 640, height: 360, profile: 0, level: 0 };
        let audio = AudioFormat { sample_rate_hz: 48_000, channels: 2 };
        let track = |codec, config: &'static [u8], video, audio| Track {
            codec,
            config: Bytes::from_static(config),
            hdr: None,
            video,
            audio,
        };
        let avcc = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 0, 1, 0, 2, 0x68, 0xee];
        [
            track(Codec::Video(VideoCodec::H264), avcc, Some(video), None),
            track(Codec::Audio(AudioCodec::Aac), &[0x11, 0x90], None, Some(audio)),
        ]
    }

    fn frame(kind: TrackKind, dts_ms: i64, pts_ms: i64, key: bool) -> Frame {
        let data = Bytes::from(vec![dts_ms as u8; 700]);
        let [dts, pts] = [dts_ms, pts_ms].map(Timestamp::from_millis);
        Frame { kind, dts, pts, key, data }
    }

    /// An init, and fragments of three frames each.
    fn file() -> (Bytes, Vec<Bytes>, Vec<Frame>) {
        let [video, audio] = tracks();
        let mut fragmenter = Fragmenter::new();
        fragmenter.set_tracks(Some(&video), Some(&audio));
        let (mut all, mut fragments) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let begin = number * 80;
            let frames = [
                frame(TrackKind::Video, begin, begin + 40, number == 0),
                frame(TrackKind::Audio, begin + 20, begin + 20, true),
                frame(TrackKind::Video, begin + 40, begin + 40, false),
            ];
            frames.iter().for_each(|frame| fragmenter.push(frame));
            all.extend(frames);
            let mut out = BytesMut::new();
            fragmenter.flush(&mut out);
            fragments.push(out.freeze());
        }
        (init(Some(&video), Some(&audio)), fragments, all)
    }

    fn read(pieces: &[&[u8]], size: usize) -> io::Result<(Vec<Frame>, Vec<Fragment>)> {
        let (mut mp4, mut frames, mut fragments) = (Mp4::new(), Vec::new(), Vec::new());
        for mut piece in pieces.concat().chunks(size) {
            while !piece.is_empty() {
                let count = piece.len();
                mp4.read(&mut piece, count)?;
                while let Some(event) = mp4.poll_event() {
                    match event {
                        Event::Frame(frame) => frames.push(frame),
                        Event::Fragment(fragment) => fragments.push(fragment),
                        Event::Joined { .. } => unreachable!("that is not the file's"),
                    }
                }
            }
        }
        Ok((frames, fragments))
    }

    #[test]
    fn frames_are_those_that_were_written_however_the_bytes_are_cut() {
        let (init, fragments, all) = file();
        let pieces = [&init, &fragments[0], &fragments[1], &fragments[2]].map(|it| &it[..]);
        for size in [1, 7, 1000, usize::MAX] {
            let (frames, fragments) = read(&pieces, size).expect("a good file");
            assert_eq!(frames, all, "pieces of {size}");
            assert_eq!(fragments.len(), 3);
            assert!(fragments.iter().all(|fragment| fragment.missing == 0), "{fragments:?}");
            assert_eq!(fragments[0].lasts, Duration::from_millis(80));
        }
    }

    #[test]
    fn a_hole_is_counted_and_a_fragment_twice_is_told() {
        let (init, fragments, _) = file();
        let (_, found) = read(&[&init, &fragments[0], &fragments[2]], 99).expect("it has a hole");
        assert_eq!(found.iter().map(|fragment| fragment.missing).collect::<Vec<_>>(), [0, 1]);
        let error = read(&[&init, &fragments[1], &fragments[1]], 99).expect_err("twice");
        assert!(error.to_string().contains("there twice"), "{error}");
        // A new init counts anew.
        read(&[&init, &fragments[1], &init, &fragments[0]], 99).expect("started again");
    }

    #[test]
    fn what_is_no_mp4_is_told() {
        let (init, fragments, _) = file();
        for (bytes, words) in [
            (&b"\0\0\0\x03moov"[..], "size and type of a box"),
            (b"\xff\0\0\0moov", "at most 4194304 bytes"),
            (b"\0\0\0\x10moovabcdefgh", "expected a moov box"),
        ] {
            let error = read(&[bytes], 3).expect_err("broken").to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = read(&[&fragments[0]], 9).expect_err("without an init").to_string();
        assert!(error.contains("a track of the init"), "{error}");
        for cut in 1..fragments[0].len() {
            // Half a fragment is no error, and no frame.
            let (frames, _) = read(&[&init, &fragments[0][..cut]], 50).expect("more may come");
            assert!(frames.is_empty());
        }
    }
}
