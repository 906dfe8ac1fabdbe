//! Samples to frames: what `mdat` brings is cut up where the index says, and put in order.

use std::collections::VecDeque;

use super::boxes::Atom;
use super::fragment::{self, Fragment};
use super::movie::{Movie, Times};
use super::notice::{Notice, Report};
use super::table::Table;
use super::{Error, Limits};
use crate::container::Item;
use crate::media::{Frame, TrackKind};
use crate::time::Timestamp;

/// A frame that was announced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// Where it begins in the stream.
    pub(super) at: u64,
    pub(super) bytes: u32,
    pub(super) times: Times,
    /// Decoding can start at it.
    pub(super) key: bool,
}

/// The tracks of a movie that are routed, each with the samples that were announced and have not
/// come out.
///
/// Those of one track come in the order in which they are decoded, and lie in that order too: all
/// there is to choose is which track is next.
#[derive(Debug)]
pub(super) struct Lanes {
    movie: Movie,
    /// As the movie's tracks.
    lanes: Vec<Lane>,
    /// The sample that is being gathered.
    open: Option<Open>,
    /// Bytes of frames that wait.
    waiting_bytes: usize,
    /// Samples were announced by now.
    were_filled: bool,
    /// Nanoseconds by which all is later than it says.
    lead: i64,
}

#[derive(Debug)]
struct Lane {
    kind: TrackKind,
    /// The next to come, and those behind it.
    next: Option<Sample>,
    behind: Behind,
    /// Whole, but not out yet.
    waiting: VecDeque<Frame>,
}

#[derive(Debug)]
enum Behind {
    Fragment(VecDeque<Sample>),
    Movie(Box<Table>),
}

#[derive(Debug)]
struct Open {
    lane: usize,
    sample: Sample,
    data: Vec<u8>,
}

/// What a frame that waits costs beside its bytes, roughly: its place, which a list that grows has
/// twice, and memory of its own.
const FRAME_BYTES: usize = 128;

impl Lanes {
    pub(super) fn new(mut movie: Movie) -> Self {
        let lanes: Vec<Lane> = movie
            .tracks
            .iter_mut()
            .map(|routed| {
                let behind = match routed.table.take() {
                    Some(table) => Behind::Movie(Box::new(table)),
                    None => Behind::Fragment(VecDeque::new()),
                };
                Lane::new(routed.track.kind(), behind)
            })
            .collect();
        let were_filled = lanes.iter().any(|lane| lane.next.is_some());
        let lead = if were_filled { movie.lead() } else { 0 };
        Self { movie, lanes, open: None, waiting_bytes: 0, were_filled, lead }
    }

    /// False until any sample was announced.
    pub(super) fn were_filled(&self) -> bool {
        self.were_filled
    }

    /// Reads `moof`, which begins at `begin`. Nothing may be left of what went before.
    pub(super) fn on_fragment(
        &mut self,
        moof: Atom<'_>,
        begin: u64,
        limits: &Limits,
    ) -> Result<(), Error> {
        let fragment: Fragment = fragment::parse(moof, begin, &mut self.movie, limits)?;
        self.were_filled = true;
        if fragment.iter().any(|samples| !samples.is_empty()) {
            self.lead = self.movie.lead();
        }
        for (lane, samples) in self.lanes.iter_mut().zip(fragment) {
            *lane = Lane::new(lane.kind, Behind::Fragment(samples));
        }
        Ok(())
    }

    /// Takes the first of `bytes`, which are content of `mdat` and not empty; says how many.
    pub(super) fn take(
        &mut self,
        at: u64,
        bytes: &[u8],
        limits: &Limits,
        report: &mut Report,
    ) -> Result<usize, Error> {
        if self.open.is_none() {
            let gap = self.open_next(at, limits, report)?;
            if self.open.is_none() {
                let gap = gap.and_then(|gap| usize::try_from(gap).ok()).unwrap_or(bytes.len());
                let taken = gap.min(bytes.len());
                report.counts.skipped_bytes += taken as u64;
                return Ok(taken);
            }
        }
        let Some(open) = &mut self.open else { return Ok(bytes.len()) };
        let whole = open.sample.bytes as usize;
        let taken = (whole - open.data.len()).min(bytes.len());
        let bytes = &bytes[..taken];
        // So that it does not end with more room than it needs.
        if open.data.capacity() - open.data.len() < taken {
            let more = (open.data.len() + taken).max(2 * open.data.len()).min(whole);
            open.data.reserve_exact(more - open.data.len());
        }
        open.data.extend_from_slice(bytes);
        if open.data.len() == whole
            && let Some(open) = self.open.take()
        {
            report.counts.frames += 1;
            self.close(open);
        }
        Ok(taken)
    }

    /// Opens the sample that begins at `at`. If there is none, says how far the next is away.
    fn open_next(
        &mut self,
        at: u64,
        limits: &Limits,
        report: &mut Report,
    ) -> Result<Option<u64>, Error> {
        loop {
            report.check(at, limits)?;
            let lanes = self.lanes.iter().enumerate();
            let next = lanes.filter_map(|(lane, it)| Some((it.next?.at, lane))).min();
            let Some((place, lane)) = next else { return Ok(None) };
            if place > at {
                return Ok(Some(place - at));
            }
            let kind = self.lanes[lane].kind;
            let Some(sample) = self.lanes[lane].pop() else { return Ok(None) };
            if place < at || sample.bytes == 0 {
                report.counts.missing_samples += 1;
                report.note(Notice::MissingSamples { kind }, limits);
            } else if sample.bytes as usize > limits.sample_bytes {
                report.counts.long_samples += 1;
                report.note(Notice::TooLong { kind }, limits);
            } else {
                self.open = Some(Open { lane, sample, data: Vec::new() });
                return Ok(None);
            }
        }
    }

    fn close(&mut self, open: Open) {
        let (dts, pts) = self.times(open.lane, &open.sample);
        let lane = &mut self.lanes[open.lane];
        let key = open.sample.key && lane.kind == TrackKind::Video;
        self.waiting_bytes += FRAME_BYTES + open.data.len();
        let data = open.data.into();
        lane.waiting.push_back(Frame { kind: lane.kind, dts, pts, key, data });
    }

    /// Appends to `items` the frames that none to come is earlier than.
    pub(super) fn give(&mut self, items: &mut Vec<Item>, limits: &Limits, report: &mut Report) {
        while let Some(lane) = self.earliest_waiting() {
            let at = self.lanes[lane].waiting.front().map(|frame| frame.dts);
            if self.earliest_to_come().is_some_and(|to_come| at > Some(to_come)) {
                let frames: usize = self.lanes.iter().map(|lane| lane.waiting.len()).sum();
                if self.waiting_bytes <= limits.waiting_bytes && frames <= limits.waiting_frames {
                    return;
                }
                report.counts.unordered_frames += 1;
                report.note(Notice::Unordered, limits);
            }
            self.give_first(lane, items);
        }
    }

    /// Nothing of what was announced comes any more: appends to `items` what waits.
    pub(super) fn end(&mut self, items: &mut Vec<Item>, limits: &Limits, report: &mut Report) {
        if let Some(open) = self.open.take() {
            report.counts.missing_samples += 1;
            report.note(Notice::MissingSamples { kind: self.lanes[open.lane].kind }, limits);
        }
        for lane in &mut self.lanes {
            let left = lane.clear();
            if left > 0 {
                report.counts.missing_samples += left;
                report.note(Notice::MissingSamples { kind: lane.kind }, limits);
            }
        }
        while let Some(lane) = self.earliest_waiting() {
            self.give_first(lane, items);
        }
    }

    fn give_first(&mut self, lane: usize, items: &mut Vec<Item>) {
        if let Some(frame) = self.lanes[lane].waiting.pop_front() {
            self.waiting_bytes -= FRAME_BYTES + frame.data.len();
            items.push(Item::Frame(frame));
        }
    }

    fn earliest_waiting(&self) -> Option<usize> {
        let lanes = self.lanes.iter().enumerate();
        let firsts = lanes.filter_map(|(lane, it)| Some((it.waiting.front()?.dts, lane)));
        firsts.min().map(|(_, lane)| lane)
    }

    fn earliest_to_come(&self) -> Option<Timestamp> {
        let open = self.open.iter().map(|open| (open.lane, open.sample));
        let lanes = self.lanes.iter().enumerate();
        let nexts = lanes.filter_map(|(lane, it)| Some((lane, it.next?)));
        let times = open.chain(nexts).map(|(lane, sample)| self.times(lane, &sample).0);
        times.min()
    }

    fn times(&self, lane: usize, sample: &Sample) -> (Timestamp, Timestamp) {
        self.movie.tracks[lane].place(sample.times, self.lead)
    }
}

impl Lane {
    fn new(kind: TrackKind, behind: Behind) -> Self {
        let mut lane = Self { kind, next: None, behind, waiting: VecDeque::new() };
        lane.pop();
        lane
    }

    /// Takes off the next that is to come.
    fn pop(&mut self) -> Option<Sample> {
        let next = match &mut self.behind {
            Behind::Fragment(samples) => samples.pop_front(),
            Behind::Movie(table) => table.next(),
        };
        std::mem::replace(&mut self.next, next)
    }

    /// Forgets what was to come; says how many samples.
    fn clear(&mut self) -> u64 {
        let behind = match &self.behind {
            Behind::Fragment(samples) => samples.len() as u64,
            Behind::Movie(table) => table.left(),
        };
        self.behind = Behind::Fragment(VecDeque::new());
        behind + u64::from(self.pop().is_some())
    }
}
