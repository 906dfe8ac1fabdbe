//! Frames to fragments: one `moof` and one `mdat`.

use bytes::{BufMut, Bytes, BytesMut};
use shiguredo_mp4::boxes::{MfhdBox, MoofBox, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample};
use shiguredo_mp4::{Encode, SampleFlags};

use super::clock::Clock;
use super::hvc1::InBand;
use super::{carries, timescale, track_id};
use crate::codec;
use crate::media::{Codec, Frame, Track, TrackKind, VideoCodec};

/// Gathers frames and writes them as fragments, each with a run of samples per track. Frames come
/// in the order of their dts.
///
/// A sample lasts until the next of its track. How long the last of a fragment lasts is not known
/// when it is written: sound has its samples, a picture is taken to last as long as the one before.
/// The next fragment says when it begins, which puts a wrong guess right.
///
/// Frames are held by count until their fragment is written, and copied once, into it.
#[derive(Debug, Default)]
pub struct Fragmenter {
    video: Option<Run>,
    audio: Option<Run>,
    /// Of the last fragment.
    sequence: u32,
    /// A decoder may start at the next picture, key frame or not.
    starts: bool,
}

/// The samples of a track for the next fragment.
#[derive(Debug)]
struct Run {
    track: Track,
    /// Of H.265.
    in_band: Option<InBand>,
    clock: Clock,
    samples: Vec<Sample>,
    bytes: usize,
}

#[derive(Debug)]
struct Sample {
    data: Bytes,
    /// When it is decoded, in the track's ticks.
    at: u64,
    /// How much later it is shown.
    shown_after: i32,
    sync: bool,
}

/// Of a fragment, `moof`, `mfhd` and the header of `mdat`; of a track, `traf`, `tfhd`, `tfdt` and
/// `trun`; of a sample, its part of `trun`.
const FRAGMENT_BYTES: usize = 8 + 16 + 8;
const RUN_BYTES: usize = 8 + 16 + 20 + 20;
const SAMPLE_BYTES: usize = 16;

impl Fragmenter {
    /// One without tracks.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is written from now on. The init of these tracks goes before the next fragment if they
    /// are others; nothing may be gathered then.
    pub fn set_tracks(&mut self, video: Option<&Track>, audio: Option<&Track>) {
        for (run, track) in [(&mut self.video, video), (&mut self.audio, audio)] {
            if run.as_ref().map(|run| &run.track) == track {
                continue;
            }
            let before = run.take();
            debug_assert!(before.is_none_or(|run| run.samples.is_empty()), "of the tracks before");
            *run = track.filter(|track| carries(track)).map(Run::new);
        }
    }

    /// True if there is nothing that can be written.
    pub fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }

    /// True if frames of that kind are written.
    pub fn carries(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.video.is_some(),
            TrackKind::Audio => self.audio.is_some(),
            TrackKind::Data | TrackKind::Private => false,
        }
    }

    /// Makes the next picture one to start at: a recovery point is no key frame, and yet players
    /// wait for what is called one.
    pub fn start_at_next_picture(&mut self) {
        self.starts = true;
    }

    /// Gathers a frame. One whose track is not written adds nothing.
    pub fn push(&mut self, frame: &Frame) {
        let run = match frame.kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
            TrackKind::Data | TrackKind::Private => return,
        };
        let Some(run) = run else { return };
        let starts = frame.kind == TrackKind::Video && std::mem::take(&mut self.starts);
        // Every sound is one to start at.
        run.push(frame, frame.key || starts || frame.kind == TrackKind::Audio);
    }

    /// Bytes of the fragment that [`Self::flush`] would write, or a few more.
    pub fn gathered(&self) -> usize {
        let bytes: usize = self.runs().map(Run::wire_bytes).sum();
        if bytes == 0 { 0 } else { FRAGMENT_BYTES + bytes }
    }

    /// Writes what was gathered as one fragment; nothing if there is nothing.
    pub fn flush(&mut self, out: &mut BytesMut) {
        let gathered = self.gathered();
        if gathered == 0 {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        out.reserve(gathered);
        let data_bytes: usize = self.runs().map(|run| run.bytes).sum();
        self.write_head(out, gathered - data_bytes);
        out.put_u32(length(MDAT_HEADER_BYTES + data_bytes));
        out.put_slice(b"mdat");
        for run in [&mut self.video, &mut self.audio].into_iter().flatten() {
            run.samples.iter().for_each(|sample| out.put_slice(&sample.data));
            run.samples.clear();
            run.bytes = 0;
        }
    }

    /// Writes `moof`, which has at most `room` bytes.
    fn write_head(&self, out: &mut BytesMut, room: usize) {
        let moof = |begin: usize| {
            let fragments = self.runs().scan(begin, |at, run| {
                let fragment = run.fragment(*at);
                *at += run.bytes;
                Some(fragment)
            });
            MoofBox {
                mfhd_box: MfhdBox { sequence_number: self.sequence },
                traf_boxes: fragments.collect(),
                unknown_boxes: Vec::new(),
            }
        };
        let start = out.len();
        out.put_bytes(0, room);
        let mut write = |begin| {
            let bytes = moof(begin).encode(&mut out[start..]);
            bytes.expect("every field fits, and the room was counted")
        };
        // Where the samples begin is known once the length of this is.
        let bytes = write(0);
        write(bytes + MDAT_HEADER_BYTES);
        out.truncate(start + bytes);
    }

    /// Those with samples, in the order in which they are written.
    fn runs(&self) -> impl Iterator<Item = &Run> {
        [&self.video, &self.audio].into_iter().flatten().filter(|run| !run.samples.is_empty())
    }
}

const MDAT_HEADER_BYTES: usize = 8;

impl Run {
    fn new(track: &Track) -> Self {
        let clock = Clock::new(timescale(track));
        let is_h265 = track.codec == Codec::Video(VideoCodec::H265);
        let in_band = is_h265.then(|| InBand::of(&track.config));
        Self { track: track.clone(), in_band, clock, samples: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, frame: &Frame, sync: bool) {
        let data = match &mut self.in_band {
            Some(in_band) => in_band.strip(&frame.data),
            None => sample_of(self.track.codec, &frame.data),
        };
        if data.is_empty() {
            return;
        }
        let at = self.clock.tick(frame.dts, codec::samples(&self.track, &data));
        let shown_after = match frame.kind {
            TrackKind::Video => i128::from(self.clock.ticks(frame.pts)) - i128::from(at),
            TrackKind::Audio | TrackKind::Data | TrackKind::Private => 0,
        };
        // No encoder reorders over hours, and 32 bits hold no more.
        let shown_after = i32::try_from(shown_after).unwrap_or(0);
        self.bytes += data.len();
        self.samples.push(Sample { data, at, shown_after, sync });
    }

    fn wire_bytes(&self) -> usize {
        RUN_BYTES + SAMPLE_BYTES * self.samples.len() + self.bytes
    }

    /// Its part of `moof`. `data_offset` counts from the first byte of that.
    fn fragment(&self, data_offset: usize) -> TrafBox {
        let next = self.samples.iter().skip(1).map(|sample| sample.at);
        let last = self.samples.last().map(|last| last.at.saturating_add(self.clock.last_ticks()));
        let reordered = self.samples.iter().any(|sample| sample.shown_after != 0);
        let sample = |(sample, end): (&Sample, u64)| TrunSample {
            duration: Some(u32::try_from(end.saturating_sub(sample.at)).unwrap_or(u32::MAX)),
            size: Some(length(sample.data.len())),
            flags: Some(if sample.sync { SYNC } else { NOT_SYNC }),
            composition_time_offset: reordered.then_some(sample.shown_after.into()),
        };
        TrafBox {
            tfhd_box: TfhdBox {
                track_id: track_id(self.track.kind()),
                base_data_offset: None,
                sample_description_index: None,
                default_sample_duration: None,
                default_sample_size: None,
                default_sample_flags: None,
                duration_is_empty: false,
                default_base_is_moof: true,
            },
            tfdt_box: Some(TfdtBox {
                version: 1,
                base_media_decode_time: self.samples.first().map_or(0, |first| first.at),
            }),
            trun_boxes: vec![TrunBox {
                data_offset: Some(i32::try_from(data_offset).unwrap_or(i32::MAX)),
                first_sample_flags: None,
                samples: self.samples.iter().zip(next.chain(last)).map(sample).collect(),
            }],
            unknown_boxes: Vec::new(),
        }
    }
}

/// A picture that needs no other (ISO/IEC 14496-12 8.8.3.1), and one that does.
const SYNC: SampleFlags = SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0);
const NOT_SYNC: SampleFlags = SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0);

/// No frame has 4 GiB, nor do those of a fragment.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A frame as a sample has it: of AV1 without its temporal delimiter (AV1-ISOBMFF 2.4).
fn sample_of(codec: Codec, data: &Bytes) -> Bytes {
    const DELIMITER: [u8; 2] = [0x12, 0];
    match codec {
        Codec::Video(VideoCodec::Av1) if data.starts_with(&DELIMITER) => data.slice(2..),
        _ => data.clone(),
    }
}
