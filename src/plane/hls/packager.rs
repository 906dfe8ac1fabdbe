use std::time::Duration;

use super::cutting::Cutting;
use super::lane::Lane;
use super::lengths::{Lengths, SECOND, whole_micros};
use super::program::Program;
use super::segment::{Part, Piece, Segment};
use super::shelf::{Bounds, Shelf};
use super::snapshot::State;
use super::{Container, Rendition, Settings, Snapshot, Store};
use crate::media::{Frame, PrivateStreams, Track, TrackKind};
use crate::plane::Tracks;
use crate::time::Timestamp;

/// Cuts one source into parts and segments: frames in, a new [`Snapshot`] after each part.
///
/// ```text
/// Idle ──a frame to start at──▶ Cutting ──end──▶ Ended
///   ▲                              │
///   └── publisher left, other pictures, too many bytes at once
/// ```
#[derive(Debug)]
pub struct Packager {
    settings: Settings,
    lengths: Lengths,
    phase: Phase,
    /// By rendition.
    lanes: [Option<Lane>; Rendition::COUNT],
    tracks: Option<Known>,
    shelf: Shelf,
    program: Program,
    next_msn: u64,
    /// Makes names of directories.
    dirs: fn() -> u128,
    /// Of the segment with that number, from the moment on that something may name it.
    next_dir: u128,
    next_init: u32,
    discontinuities: u64,
    /// What comes next does not go on from what was there.
    broken: bool,
    /// When what was there ended, in nanoseconds since 1970.
    dated_until: i128,
    snapshot: Option<Snapshot>,
    /// There is something that the snapshot has not.
    changed: bool,
    counters: Counters,
}

/// How often a bound was hit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Segments that ended without a key frame, as none came in time.
    pub forced: u64,
    /// Segments that went before their time, for the bytes kept (`max_bytes`).
    pub cut_short: u64,
    /// Times that one part alone had more than an eighth of `max_bytes`: the stream went on at the
    /// next key frame.
    pub overgrown: u64,
    /// Segments in whose time nothing came.
    pub gaps: u64,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Cutting(Box<Cutting>),
    Ended,
}

/// The tracks in force.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    version: u32,
    video: Option<Track>,
    audio: Option<Track>,
    /// Of a container that carries them.
    private: PrivateStreams,
}

/// A longer silence is not filled: what follows it is a new start.
const HOLE_MAX: i64 = 60 * SECOND;
/// One part may have an eighth of `max_bytes`, and a segment ends at a quarter; the rest is for
/// segments that are whole.
const PART_SHARE: usize = 8;
const SEGMENT_SHARE: usize = 4;
/// Segments are kept in fours for each that the window has when they are as long as they should be,
/// and some more; there are as many only where a publisher changes its tracks all the time.
const SEGMENTS_LEAST: usize = 32;

impl Packager {
    /// A packager that has seen nothing. `first_msn` is the number of its first segment; taken from the
    /// clock (seconds since 1970), no number and so no name comes twice, whatever restarts. `dirs`
    /// names the directory of each segment's media: if nobody can guess them, who is shown no
    /// playlists any more finds nothing that was made since. `stores` makes one for each rendition.
    pub fn new(
        settings: Settings,
        first_msn: u64,
        dirs: fn() -> u128,
        stores: fn() -> Box<dyn Store>,
    ) -> Self {
        let lane = || Some(Lane::new(settings.container.muxer(), stores()));
        Self {
            lengths: Lengths::new(&settings),
            phase: Phase::Idle,
            lanes: [lane(), settings.separate_audio.then(lane).flatten()],
            tracks: None,
            shelf: Shelf::default(),
            program: Program::default(),
            next_msn: first_msn,
            next_dir: dirs(),
            dirs,
            next_init: 0,
            discontinuities: 0,
            broken: false,
            dated_until: 0,
            snapshot: None,
            changed: false,
            counters: Counters::default(),
            settings,
        }
    }

    /// Takes a frame, in the order of arrival. `since_1970`: when it came. `tracks`: those in force at it.
    /// `starts`: a decoder of video can start here. `has_video`: the source's video is alive. Answers
    /// true if there is a new snapshot.
    pub fn push(
        &mut self,
        since_1970: Duration,
        tracks: &Tracks,
        frame: &Frame,
        starts: bool,
        has_video: bool,
    ) -> bool {
        if frame.kind == TrackKind::Data || matches!(self.phase, Phase::Ended) {
            return false;
        }
        if frame.kind == TrackKind::Private {
            // It comes along with the media, and no cut is made for it.
            if self.knows(tracks) {
                self.mux(frame, false, has_video);
            }
            return self.publish();
        }
        let at = Timestamp::from_nanos(whole_micros(frame.dts.as_nanos()));
        if matches!(&self.phase, Phase::Cutting(cutting) if at.since(cutting.clock) > HOLE_MAX) {
            self.stop();
        }
        let goes_on = self.set_tracks(tracks, at, has_video);
        if !self.carries(frame.kind) {
            return self.publish();
        }
        let has_video = has_video && self.carries(TrackKind::Video);
        if matches!(self.phase, Phase::Idle) {
            if has_video && !starts && !goes_on {
                return self.publish();
            }
            self.start(since_1970, at);
        }
        self.advance(at, starts, has_video);
        self.mux(frame, starts, has_video);
        self.publish()
    }

    /// The publisher has left, or another took its place. What there is can be played to its last
    /// frame; what follows begins at a key frame, behind a discontinuity. Answers true if there is a
    /// new snapshot.
    pub fn interrupt(&mut self) -> bool {
        self.stop();
        self.publish()
    }

    /// Nothing follows. Answers true if there is a new snapshot.
    pub fn end(&mut self) -> bool {
        if matches!(self.phase, Phase::Ended) {
            return false;
        }
        self.stop();
        self.phase = Phase::Ended;
        if self.has_begun() {
            self.lengths.settle_target(0);
            self.changed = true;
        }
        self.publish()
    }

    /// What parts are muxed as.
    pub fn container(&self) -> Container {
        self.settings.container
    }

    /// What players may ask for now; none before there is a first part and a target duration.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }

    /// Of media in memory. Snapshots that somebody still has may hold more.
    pub fn bytes(&self) -> usize {
        let open = match &self.phase {
            Phase::Cutting(cutting) => cutting.open.bytes,
            Phase::Idle | Phase::Ended => 0,
        };
        self.shelf.bytes() + open + self.part_bytes()
    }

    /// How often bounds were hit.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Keeps fewer bytes, or more, from the next segment on.
    pub fn set_max_bytes(&mut self, max_bytes: usize) {
        self.settings.max_bytes = max_bytes;
    }

    /// True if these are the tracks in force, as far as the container carries them.
    fn knows(&self, tracks: &Tracks) -> bool {
        self.tracks.as_ref().is_some_and(|known| {
            let same_private = || match self.settings.container {
                Container::Fmp4 => true,
                Container::Ts => known.private == tracks.private,
            };
            known.version == tracks.version && same_private()
        })
    }

    /// Answers true if what comes next may begin with any frame, although it begins anew.
    fn set_tracks(&mut self, tracks: &Tracks, at: Timestamp, has_video: bool) -> bool {
        if self.knows(tracks) {
            return false;
        }
        let (version, video, audio) = (tracks.version, tracks.video.clone(), tracks.audio.clone());
        let private = match self.settings.container {
            Container::Fmp4 => PrivateStreams::default(),
            Container::Ts => tracks.private.clone(),
        };
        let known = Known { version, video, audio, private };
        let same_video = self.tracks.as_ref().is_some_and(|before| before.video == known.video);
        let same_audio = self.tracks.as_ref().is_some_and(|before| before.audio == known.audio);
        let same_private =
            self.tracks.as_ref().is_some_and(|before| before.private == known.private);
        if !(same_video && same_audio && same_private) {
            if matches!(self.phase, Phase::Cutting(_)) {
                self.advance(at, false, has_video && self.carries(TrackKind::Video));
            }
            self.stop_at(at);
            self.set_muxers(known.video.as_ref(), known.audio.as_ref());
            if let [Some(lane), _] = &mut self.lanes {
                lane.muxer.set_private_streams(&known.private);
            }
        }
        self.tracks = Some(known);
        same_video && !(same_audio && same_private)
    }

    fn set_muxers(&mut self, video: Option<&Track>, audio: Option<&Track>) {
        // What can be carried at all, the muxer knows.
        let mut both = self.settings.container.muxer();
        both.set_tracks(video, audio);
        let video = video.filter(|_| both.carries(TrackKind::Video));
        let audio = audio.filter(|_| both.carries(TrackKind::Audio));
        let dir = self.next_dir;
        let [main, beside] = &mut self.lanes;
        let separate_audio = beside.is_some() && video.is_some() && audio.is_some();
        if let Some(lane) = main {
            let audio = audio.filter(|_| !separate_audio);
            lane.set_tracks(video, audio, (&mut self.next_init, dir));
        }
        if let Some(lane) = beside {
            let audio = audio.filter(|_| separate_audio);
            lane.set_tracks(None, audio, (&mut self.next_init, dir));
        }
        self.program.set_tracks(video, audio);
        self.program.separate_audio = separate_audio;
    }

    fn carries(&self, kind: TrackKind) -> bool {
        self.lanes.iter().flatten().any(|lane| lane.muxer.carries(kind))
    }

    fn start(&mut self, since_1970: Duration, at: Timestamp) {
        let wall = i128::try_from(since_1970.as_nanos()).unwrap_or(i128::MAX);
        // Who sends faster than time goes is not followed by something of the same dates.
        let wall = wall.max(self.dated_until);
        let wall_shift = wall.saturating_sub(i128::from(at.as_nanos()));
        let cutting = Cutting {
            open: self.segment(at, wall_shift),
            segment_start: at,
            part_start: at,
            clock: at,
            longest_step: 0,
            last_step: 0,
            key: None,
            key_interval: None,
            has_frames: false,
            segment_has_frames: false,
            wall_shift,
        };
        self.phase = Phase::Cutting(Box::new(cutting));
        self.lanes.iter_mut().flatten().for_each(Lane::begin_segment);
        self.begin_part(at);
    }

    /// Makes the cuts that lie before a frame of time `at`.
    fn advance(&mut self, at: Timestamp, starts: bool, has_video: bool) {
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        let at = at.max(cutting.clock);
        cutting.step_to(at);
        let ends = starts && cutting.may_end(at, &self.lengths);
        if starts {
            cutting.note_key(at);
        }
        loop {
            let Phase::Cutting(cutting) = &mut self.phase else { return };
            let length = at.since(cutting.part_start);
            self.lengths.settle_part(length, cutting.longest_step);
            let (part, longest) = (self.lengths.part(), self.lengths.part_target());
            if ends && length <= longest {
                break;
            }
            let spares_one = ends || cutting.key_is_near(part, &self.lengths);
            let due = if spares_one { longest } else { part };
            if length < due {
                break;
            }
            let end = cutting.part_start + due;
            self.end_part(end);
            self.end_full_segment(end, has_video);
        }
        if ends {
            self.end_segment_before_key(at);
        }
    }

    /// A key frame of time `at` begins a segment.
    fn end_segment_before_key(&mut self, at: Timestamp) {
        let Phase::Cutting(cutting) = &self.phase else { return };
        if cutting.has_frames && at > cutting.part_start {
            self.end_part(at);
        }
        // A part without frames, or without length, is not worth an end: it begins the next segment.
        let Phase::Cutting(cutting) = &self.phase else { return };
        if !cutting.open.parts.is_empty() {
            let end = cutting.part_start;
            self.end_segment(end, true);
            self.open_segment(end);
        }
    }

    /// Ends the segment if what has just ended at `end` was its last part, key frame or not.
    fn end_full_segment(&mut self, end: Timestamp, has_video: bool) {
        let Phase::Cutting(cutting) = &self.phase else { return };
        let length = end.since(cutting.segment_start);
        let too_long = self.lengths.is_too_long(length + self.lengths.part_target());
        let too_large = cutting.open.bytes > self.settings.max_bytes / SEGMENT_SHARE;
        let enough = !has_video && self.lengths.is_enough(length);
        if !has_video && self.lengths.target_s().is_none() {
            // Without pictures nothing is waited for any more.
            self.lengths.settle_target(length);
        }
        if enough || too_long || too_large {
            self.counters.forced += u64::from(has_video);
            self.end_segment(end, true);
            self.open_segment(end);
        }
    }

    /// The series ends one frame after its last.
    fn stop(&mut self) {
        let Phase::Cutting(cutting) = &self.phase else { return };
        let step = cutting.last_step.clamp(SECOND / 1000, self.lengths.part());
        self.stop_at(cutting.clock + step);
    }

    /// The series ends at `at`, or where its last part has the longest length.
    fn stop_at(&mut self, at: Timestamp) {
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        self.lengths.settle_part(i64::MAX, cutting.longest_step);
        let latest = cutting.part_start + self.lengths.part_target();
        let end = at.max(cutting.part_start + 1000).min(latest);
        if cutting.has_frames {
            self.end_part(end);
        }
        let Phase::Cutting(cutting) = &self.phase else { return };
        self.broken = true;
        self.dated_until =
            cutting.wall_shift.saturating_add(i128::from(cutting.part_start.as_nanos()));
        if !cutting.open.parts.is_empty() {
            self.end_segment(cutting.part_start, false);
        }
        for lane in self.lanes.iter_mut().flatten() {
            lane.out.clear();
        }
        self.phase = Phase::Idle;
    }

    fn begin_part(&mut self, at: Timestamp) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.begin_part(at);
        }
    }

    fn end_part(&mut self, end: Timestamp) {
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        let duration = between(cutting.part_start, end);
        let pieces = self
            .lanes
            .each_mut()
            .map(|lane| lane.as_mut().map_or_else(Piece::default, Lane::end_part));
        cutting.open.add(Part { duration, pieces });
        self.shelf.let_go(cutting.open.duration, self.settings.linger);
        cutting.segment_has_frames |= std::mem::take(&mut cutting.has_frames);
        cutting.part_start = end;
        self.changed = true;
        self.begin_part(end);
    }

    fn end_segment(&mut self, end: Timestamp, in_its_place: bool) {
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        let length = end.since(cutting.segment_start);
        let mut segment = cutting.open.clone();
        self.program.end_segment(length, segment.bytes);
        if !cutting.segment_has_frames {
            self.counters.gaps += 1;
            segment.bytes = 0;
            segment.parts.clear();
        }
        // What ended early tells nothing of how long segments are.
        match in_its_place {
            true => self.lengths.settle_target(length),
            false => self.lengths.note_segment(length),
        }
        self.next_msn += 1;
        self.next_dir = (self.dirs)();
        self.shelf.add(segment);
        self.counters.cut_short += self.shelf.trim(self.bounds());
        self.changed = true;
    }

    fn bounds(&self) -> Bounds {
        let Settings { window, linger, segment, max_bytes, .. } = self.settings;
        // A playlist is never shorter than three targets (6.2.2).
        let least = Duration::from_secs(self.lengths.target_s().unwrap_or(0)) * 3;
        // A segment that is a little short takes no other's place.
        let window = window.saturating_sub(segment / 8).max(least);
        let regular = window.saturating_add(linger).as_millis() / segment.as_millis().max(100);
        let max_segments = usize::try_from(regular).unwrap_or(usize::MAX).saturating_mul(4);
        Bounds {
            window,
            linger,
            max_bytes: max_bytes - max_bytes / PART_SHARE - max_bytes / SEGMENT_SHARE,
            max_segments: max_segments.saturating_add(SEGMENTS_LEAST),
        }
    }

    fn open_segment(&mut self, at: Timestamp) {
        let Phase::Cutting(cutting) = &self.phase else { return };
        let open = self.segment(at, cutting.wall_shift);
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        (cutting.open, cutting.segment_start, cutting.segment_has_frames) = (open, at, false);
        self.lanes.iter_mut().flatten().for_each(Lane::begin_segment);
    }

    fn segment(&mut self, at: Timestamp, wall_shift: i128) -> Segment {
        let discontinuity = std::mem::take(&mut self.broken) && self.has_begun();
        self.discontinuities += u64::from(discontinuity);
        let wall = wall_shift.saturating_add(i128::from(at.as_nanos())).max(0);
        Segment {
            msn: self.next_msn,
            dir: self.next_dir,
            wall: Duration::from_nanos(u64::try_from(wall).unwrap_or(u64::MAX)),
            duration: Duration::ZERO,
            discontinuity,
            discontinuities: self.discontinuities,
            inits: self
                .lanes
                .each_ref()
                .map(|lane| lane.as_ref().and_then(|lane| lane.init.clone())),
            parts: Vec::new(),
            bytes: 0,
        }
    }

    /// There was a segment.
    fn has_begun(&self) -> bool {
        self.shelf.all().1.next().is_some() || self.snapshot.is_some()
    }

    fn mux(&mut self, frame: &Frame, starts: bool, has_video: bool) {
        self.program.count(frame);
        let Phase::Cutting(cutting) = &mut self.phase else { return };
        cutting.has_frames |= frame.kind != TrackKind::Private;
        for (lane, at) in self.lanes.iter_mut().zip(0..) {
            let Some(lane) = lane.as_mut().filter(|lane| lane.muxer.carries(frame.kind)) else {
                continue;
            };
            lane.muxer.push(&mut lane.out, frame, starts);
            let sound_alone = !has_video || at == Rendition::Audio as usize;
            let begins = frame.key || (starts && frame.kind == TrackKind::Video);
            lane.independent |= begins || (frame.kind == TrackKind::Audio && sound_alone);
        }
        if self.part_bytes() > self.settings.max_bytes / PART_SHARE {
            self.counters.overgrown += 1;
            self.stop();
        }
    }

    /// Of the part that is made.
    fn part_bytes(&self) -> usize {
        self.lanes.iter().flatten().map(|lane| lane.out.len() + lane.muxer.gathered()).sum()
    }

    fn publish(&mut self) -> bool {
        let Some(target_s) = self.lengths.target_s().filter(|_| self.changed) else { return false };
        let open = match &self.phase {
            Phase::Cutting(cutting) => Some(cutting.open.clone()),
            Phase::Idle | Phase::Ended => None,
        };
        let (unlisted, segments) = self.shelf.all();
        let state = State {
            container: self.settings.container,
            target_s,
            part_target: between(Timestamp::ZERO, Timestamp::ZERO + self.lengths.part_target()),
            program: self.program.clone(),
            segments: segments.cloned().collect(),
            unlisted,
            open,
            next_msn: self.next_msn,
            next_dir: self.next_dir,
            discontinuities: self.discontinuities,
            ended: matches!(self.phase, Phase::Ended),
        };
        self.snapshot = Some(Snapshot::new(state));
        self.changed = false;
        true
    }
}

fn between(start: Timestamp, end: Timestamp) -> Duration {
    Duration::from_nanos(end.since(start).max(0).unsigned_abs())
}
