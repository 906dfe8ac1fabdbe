use std::fmt::Display;

use super::lengths::SECOND;
use crate::codec::{self, CaptionChannels};
use crate::container::m3u8::{AudioRendition, Captions, MultivariantPlaylist, Variant};
use crate::media::{Frame, Track, TrackKind};

/// What a multivariant playlist says of the stream, as far as it is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    video: Option<Track>,
    audio: Option<Track>,
    pub(super) separate_audio: bool,
    /// Seen so far; none while the pictures have no place for captions.
    captions: Option<CaptionChannels>,
    frame_rate_millis: Option<u64>,
    /// Pictures of the open segment.
    pictures: u64,
    /// Most bits per second of a segment.
    peak_bps: u64,
    bits: u128,
    duration_ns: u128,
}

impl Program {
    /// Other tracks from now on.
    pub(super) fn set_tracks(&mut self, video: Option<&Track>, audio: Option<&Track>) {
        if self.video.as_ref() != video {
            (self.frame_rate_millis, self.captions) = (None, None);
        }
        (self.video, self.audio) = (video.cloned(), audio.cloned());
    }

    pub(super) fn count(&mut self, frame: &Frame) {
        if frame.kind != TrackKind::Video {
            return;
        }
        self.pictures += 1;
        let found = self.video.as_ref().and_then(|track| codec::captions(track, &frame.data));
        let Some(found) = found else { return };
        self.captions.get_or_insert_default().add(found);
    }

    /// A segment of that length and size has ended.
    pub(super) fn end_segment(&mut self, length: i64, bytes: usize) {
        let pictures = std::mem::take(&mut self.pictures);
        let Ok(length) = u64::try_from(length) else { return };
        // A short one tells little.
        if length < SECOND.unsigned_abs() / 2 {
            return;
        }
        let per_second = |count: u64, unit: u64| {
            let rate = u128::from(count) * u128::from(unit) * 1_000_000_000 / u128::from(length);
            u64::try_from(rate).unwrap_or(u64::MAX)
        };
        if pictures > 0 {
            self.frame_rate_millis = Some(per_second(pictures, 1000));
        }
        self.peak_bps = self.peak_bps.max(per_second(bytes as u64, 8));
        self.bits += bytes as u128 * 8;
        self.duration_ns += u128::from(length);
    }

    fn captions(&self) -> Captions {
        match self.captions {
            Some(channels) if !channels.is_empty() => Captions::In(channels),
            // Where there is a place for them they may come.
            Some(_) => Captions::Unknown,
            // A segment was seen whole.
            None if self.frame_rate_millis.is_some() => Captions::None,
            None => Captions::Unknown,
        }
    }

    /// The multivariant playlist. `so_far_bps`: of what there is of the first segment.
    pub(super) fn playlist(
        &self,
        main: &dyn Display,
        audio: &dyn Display,
        so_far_bps: u64,
    ) -> String {
        let mut playlist = MultivariantPlaylist::new();
        let separate_audio = self.separate_audio && self.audio.is_some();
        if separate_audio {
            let channels =
                self.audio.as_ref().and_then(|track| track.audio).map(|audio| audio.channels);
            playlist.audio(audio, AudioRendition { channels });
        }
        let peak = self.peak_bps.max(if self.peak_bps == 0 { so_far_bps } else { 0 });
        let average = self.bits * 1_000_000_000 / self.duration_ns.max(1);
        let tracks = [&self.video, &self.audio];
        let picture = self.video.as_ref().and_then(|track| track.video);
        playlist.variant(
            main,
            &Variant {
                // The largest segment is yet to come.
                bandwidth: peak.saturating_add(peak / 10).max(1),
                average_bandwidth: u64::try_from(average).ok().filter(|average| *average > 0),
                codecs: tracks.into_iter().flatten().filter_map(codec::codec_string).collect(),
                resolution: picture.map(|picture| (picture.width, picture.height)),
                frame_rate_millis: self.frame_rate_millis.filter(|_| self.video.is_some()),
                captions: self.video.as_ref().map(|_| self.captions()),
                separate_audio,
            },
        );
        playlist.into_text()
    }
}
