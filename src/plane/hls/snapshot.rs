use std::sync::Arc;
use std::time::Duration;

use super::program::Program;
use super::segment::Segment;
use super::{BadRequest, Container, Readiness, Rendition, Request, Resource, What};
use crate::bytes::Slice;
use crate::container::m3u8::{Head, MediaPlaylist};

/// All that players may ask for at one moment. It never changes, is cheap to clone, and may go to any
/// core; the media in it is shared by count.
#[derive(Debug, Clone)]
pub struct Snapshot(pub(super) Arc<State>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) container: Container,
    pub(super) target_s: u64,
    pub(super) part_target: Duration,
    pub(super) program: Program,
    /// Whole segments, oldest first; the numbers are without holes.
    pub(super) segments: Vec<Arc<Segment>>,
    /// So many of them are no longer listed.
    pub(super) unlisted: usize,
    /// What there is of the next.
    pub(super) open: Option<Segment>,
    /// The number of the next.
    pub(super) next_msn: u64,
    /// The directory of its media.
    pub(super) next_dir: u128,
    /// How many discontinuities there were.
    pub(super) discontinuities: u64,
    /// Nothing follows.
    pub(super) ended: bool,
}

/// What a snapshot has of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All of it, in shared pieces.
    Here(Vec<Slice>),
    /// It is the part that is made now: ask a later snapshot.
    Wait,
    /// It is not there, and nothing says that it will be.
    Missing,
    /// Nothing that is there, or is to come next, has that directory.
    Astray,
}

/// Parts are listed while they are at most as many target durations from the end (4.4.4.9).
const PARTS_LISTED: u32 = 3;
/// A player of parts stays as many of them behind (4.4.3.8).
const PARTS_HELD_BACK: u32 = 3;
/// Deltas leave out what is further from the end than as many target durations (4.4.3.8).
const SKIPPED_AFTER: u32 = 6;

impl Snapshot {
    pub(super) fn new(state: State) -> Self {
        Self(Arc::new(state))
    }

    /// What segments and parts are muxed as.
    pub fn container(&self) -> Container {
        self.0.container
    }

    /// Nothing follows this one.
    pub fn is_ended(&self) -> bool {
        self.0.ended
    }

    /// Sound has a playlist of its own.
    pub fn has_separate_audio(&self) -> bool {
        self.0.program.separate_audio
    }

    /// The segment and the index of the part that is not there yet. It grows from snapshot to snapshot.
    pub fn next_part(&self) -> (u64, u32) {
        let parts = self.0.open.as_ref().map_or(0, |open| open.parts.len());
        (self.0.next_msn, index(parts))
    }

    /// The directory of that part's media: nobody has seen it before the part could be asked for.
    pub fn next_dir(&self) -> u128 {
        self.0.next_dir
    }

    /// How many segments are listed, and how much they last.
    pub fn listed(&self) -> (usize, Duration) {
        let listed = &self.0.segments[self.0.unlisted..];
        (listed.len(), listed.iter().map(|segment| segment.duration).sum())
    }

    /// Seconds that no segment is longer than; players reload about as often.
    pub fn target(&self) -> Duration {
        Duration::from_secs(self.0.target_s)
    }

    /// The longest time between this snapshot and the next, while media flows.
    pub fn part_target(&self) -> Duration {
        self.0.part_target
    }

    /// The multivariant playlist; media playlists are named as they lie in `dir` (`cam.hls/`), with
    /// `query` behind the name if it is not empty.
    pub fn multivariant(&self, dir: &str, query: &str) -> String {
        let state = &*self.0;
        let name =
            |rendition| Resource { rendition, what: What::Playlist }.named(state.container, query);
        let so_far = state.open.as_ref().map_or(0, |open| {
            let micros = open.duration.as_micros().max(1);
            u64::try_from(open.bytes as u128 * 8_000_000 / micros).unwrap_or(u64::MAX)
        });
        let (main, audio) = (name(Rendition::Main), name(Rendition::Audio));
        state.program.playlist(&format_args!("{dir}{main}"), &format_args!("{dir}{audio}"), so_far)
    }

    /// Whether `request` for a media playlist can be answered from this snapshot (6.2.5.2).
    pub fn readiness(&self, request: &Request) -> Readiness {
        let Some(msn) = request.msn else { return Readiness::Ready };
        if self.0.ended {
            return Readiness::Ready;
        }
        let (next_msn, next_part) = self.next_part();
        // The last segment of the playlist is the one before the next.
        let too_far = Readiness::Bad(BadRequest::TooFarAhead { msn: next_msn, part: next_part });
        if msn > next_msn.saturating_add(1) {
            return too_far;
        }
        let Some(part) = request.part else {
            return if msn < next_msn { Readiness::Ready } else { Readiness::Wait };
        };
        let (msn, part) = self.in_its_segment(msn, part);
        let first_missing = if msn == next_msn { next_part } else { 0 };
        if msn < next_msn || (msn == next_msn && part < next_part) {
            Readiness::Ready
        } else if part >= first_missing.saturating_add(self.advance_part_limit()) {
            too_far
        } else {
            Readiness::Wait
        }
    }

    /// The media playlist of a rendition. `skip`: a delta will do. `query` stands behind the names of
    /// other playlists; media have none, so that all players and caches share them.
    pub fn playlist(&self, rendition: Rendition, skip: bool, query: &str) -> String {
        let state = &*self.0;
        let listed = &state.segments[state.unlisted..];
        let target = Duration::from_secs(state.target_s);
        let can_skip_until = target * SKIPPED_AFTER;
        // What has ended is told whole (6.2.5.1).
        let skip = skip && !state.ended;
        let first = listed.first().map(|first| &**first).or(state.open.as_ref());
        let mut playlist = MediaPlaylist::new(&Head {
            target_s: state.target_s,
            part_target: state.part_target,
            part_hold_back: state.part_target * PARTS_HELD_BACK,
            can_skip_until,
            media_sequence: first.map_or(state.next_msn, |first| first.msn),
            discontinuity_sequence: first.map_or(state.discontinuities, |first| {
                first.discontinuities - u64::from(first.discontinuity)
            }),
        });
        let all = listed.iter().map(|segment| &**segment).chain(&state.open);
        let media = |dir, what| self.media(dir, rendition, what);
        let mut from_end: Duration = all.map(|segment| segment.duration).sum();
        let mut init = None;
        let mut skipped = 0;
        for segment in listed {
            from_end = from_end.saturating_sub(segment.duration);
            if skip && from_end >= can_skip_until {
                skipped += 1;
                init = segment.inits[rendition as usize].as_ref();
                continue;
            }
            if skipped > 0 {
                playlist.skip(std::mem::take(&mut skipped));
            }
            self.tags(&mut playlist, segment, rendition, &mut init);
            if from_end + segment.duration <= target * PARTS_LISTED {
                self.parts(&mut playlist, segment, rendition);
            }
            let name = media(segment.dir, What::Segment(segment.msn));
            match segment.is_gap(rendition) {
                true => playlist.gap(&name, segment.duration),
                false => playlist.segment(&name, segment.duration),
            }
        }
        if skipped > 0 {
            playlist.skip(skipped);
        }
        if let Some(open) = state.open.as_ref().filter(|open| !open.parts.is_empty()) {
            self.tags(&mut playlist, open, rendition, &mut init);
            self.parts(&mut playlist, open, rendition);
        }
        if state.ended {
            playlist.end();
        } else {
            let (msn, part) = self.next_part();
            playlist.preload_hint(&media(state.next_dir, What::Part(msn, part)));
            self.report(&mut playlist, rendition, query);
        }
        playlist.into_text()
    }

    /// What there is of `resource` in that directory; for playlists see [`Self::playlist`].
    pub fn find(&self, dir: u128, resource: &Resource) -> Found {
        let state = &*self.0;
        if resource.rendition == Rendition::Audio && !state.program.separate_audio {
            return Found::Missing;
        }
        let pieces = |segment: &Segment| -> Vec<Slice> {
            segment.pieces(resource.rendition).map(|piece| piece.data.clone()).collect()
        };
        match resource.what {
            What::Playlist => Found::Missing,
            What::Segment(msn) | What::Part(msn, _) if self.dir_of(msn) != Some(dir) => {
                Found::Astray
            }
            What::Init(number) => {
                let all = state.segments.iter().map(|segment| &**segment).chain(&state.open);
                let mut inits =
                    all.filter_map(|segment| segment.inits[resource.rendition as usize].as_ref());
                let init = inits.find(|init| (init.dir, init.number) == (dir, number));
                init.map_or(Found::Astray, |init| Found::Here(vec![init.data.clone().into()]))
            }
            What::Segment(msn) => {
                match self.whole(msn).filter(|segment| !segment.is_gap(resource.rendition)) {
                    Some(segment) => Found::Here(pieces(segment)),
                    None => Found::Missing,
                }
            }
            What::Part(msn, part) => {
                if (msn, part) == self.next_part() && !state.ended {
                    return Found::Wait;
                }
                let open = state.open.as_ref().filter(|open| open.msn == msn);
                let segment = self.whole(msn).or(open);
                let mut pieces =
                    segment.into_iter().flat_map(|segment| segment.pieces(resource.rendition));
                let piece = usize::try_from(part).ok().and_then(|part| pieces.nth(part));
                let piece = piece.filter(|piece| !piece.is_gap());
                piece.map_or(Found::Missing, |piece| Found::Here(vec![piece.data.clone()]))
            }
        }
    }

    /// The name of a medium.
    fn media(&self, dir: u128, rendition: Rendition, what: What) -> String {
        let name = Resource { rendition, what }.named(self.0.container, "");
        format!("{dir:032x}/{name}")
    }

    /// The directory of a segment that is there, or the next.
    fn dir_of(&self, msn: u64) -> Option<u128> {
        let next = (msn == self.0.next_msn).then_some(self.0.next_dir);
        self.whole(msn).map(|segment| segment.dir).or(next)
    }

    fn tags<'a>(
        &self,
        playlist: &mut MediaPlaylist,
        segment: &'a Segment,
        rendition: Rendition,
        before: &mut Option<&'a Arc<super::segment::Init>>,
    ) {
        if segment.discontinuity {
            playlist.discontinuity();
        }
        let init = segment.inits[rendition as usize].as_ref();
        if init != *before
            && let Some(init) = init
        {
            playlist.map(&self.media(init.dir, rendition, What::Init(init.number)));
        }
        *before = init;
        playlist.program_date_time(segment.wall);
    }

    fn parts(&self, playlist: &mut MediaPlaylist, segment: &Segment, rendition: Rendition) {
        for (part, at) in segment.parts.iter().zip(0..) {
            let name = self.media(segment.dir, rendition, What::Part(segment.msn, at));
            let piece = &part.pieces[rendition as usize];
            match piece.is_gap() {
                true => playlist.part_gap(&name, part.duration),
                false => playlist.part(&name, part.duration, piece.independent),
            }
        }
    }

    fn report(&self, playlist: &mut MediaPlaylist, rendition: Rendition, query: &str) {
        if !self.0.program.separate_audio {
            return;
        }
        let other = match rendition {
            Rendition::Main => Rendition::Audio,
            Rendition::Audio => Rendition::Main,
        };
        let open = self.0.open.as_ref().filter(|open| !open.parts.is_empty());
        let Some(last) = open.or(self.0.segments.last().map(|last| &**last)) else { return };
        let name =
            Resource { rendition: other, what: What::Playlist }.named(self.0.container, query);
        playlist.rendition_report(&name, last.msn, index(last.parts.len().saturating_sub(1)));
    }

    /// A part beyond the last of its segment is the first of the next (6.2.5.2).
    fn in_its_segment(&self, msn: u64, part: u32) -> (u64, u32) {
        match self.whole(msn) {
            Some(segment) if part >= index(segment.parts.len()) => (msn + 1, 0),
            _ => (msn, part),
        }
    }

    /// How far beyond the last part a request may reach (6.2.5.2).
    fn advance_part_limit(&self) -> u32 {
        let target_ms = self.0.part_target.as_millis().max(1);
        if target_ms >= 1000 {
            3
        } else {
            u32::try_from(3000_u128.div_ceil(target_ms)).unwrap_or(3)
        }
    }

    fn whole(&self, msn: u64) -> Option<&Segment> {
        let first = self.0.segments.first()?.msn;
        let at = usize::try_from(msn.checked_sub(first)?).ok()?;
        self.0.segments.get(at).map(|segment| &**segment)
    }
}

fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
