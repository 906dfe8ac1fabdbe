use std::time::Duration;

use crate::media::TrackKind;
use crate::time::Timestamp;

/// Puts a publisher's timestamps on one line that never goes back.
///
/// All tracks share one shift, so their offset to each other stays as the publisher made it. A
/// jump (back or forward past the limits) becomes "last dts + one interval" by changing the
/// shift, for all tracks alike; frames of the other tracks that still carry the old clock are
/// recognised and keep the old shift. Steps back within the limit are held at the last dts.
///
/// A track whose first frame is out of bounds against the others gets a skew of its own.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    back: i64,
    forward: i64,
    shift: i64,
    /// The shift before the last jump, for stragglers.
    old_shift: Option<i64>,
    clocks: [Option<Clock>; 4],
    /// The next frame, of whichever track, goes on where the line ended.
    resuming: bool,
    jumps: u64,
}

#[derive(Debug, Clone, Copy)]
struct Clock {
    last: Timestamp,
    interval: i64,
    skew: i64,
}

/// Until two frames have been seen, a frame is taken to last this long.
const FIRST_INTERVAL: i64 = 33_333_333;
/// No interval is taken to be longer: it would be a pause, not a frame.
const LONGEST_INTERVAL: i64 = 1_000_000_000;

impl Timeline {
    pub(crate) fn new(back: Duration, forward: Duration) -> Self {
        let mut new = Self {
            back: 0,
            forward: 0,
            shift: 0,
            old_shift: None,
            clocks: [None; 4],
            resuming: false,
            jumps: 0,
        };
        new.set_bounds(back, forward);
        new
    }

    /// How far a step may go without being a jump.
    pub(crate) fn set_bounds(&mut self, back: Duration, forward: Duration) {
        let nanos = |limit: Duration| i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
        (self.back, self.forward) = (nanos(back), nanos(forward));
    }

    /// Another publisher goes on with this line: its first frame comes one interval after the
    /// last.
    pub(crate) fn resume(&mut self) {
        self.resuming = self.latest().is_some();
        self.old_shift = None;
        for clock in self.clocks.iter_mut().flatten() {
            clock.skew = 0;
        }
    }

    /// How many jumps were taken out.
    pub(crate) fn jumps(&self) -> u64 {
        self.jumps
    }

    /// The place of a frame's `dts` and `pts` on the line.
    pub(crate) fn place(
        &mut self,
        kind: TrackKind,
        dts: Timestamp,
        pts: Timestamp,
    ) -> (Timestamp, Timestamp) {
        if std::mem::take(&mut self.resuming) {
            let (last, interval) = self.latest().expect("resuming follows a placed frame");
            self.shift = (last + interval).since(dts);
        }
        let shift = match kind {
            TrackKind::Data | TrackKind::Private => self.shift_for_data(dts),
            TrackKind::Video | TrackKind::Audio => self.shift_for(kind, dts),
        };
        let wanted = dts + shift;
        let clock = &mut self.clocks[kind as usize];
        let placed = match clock {
            Some(clock) => {
                let step = wanted.since(clock.last);
                if step > 0 && step <= LONGEST_INTERVAL {
                    clock.interval = step;
                }
                clock.last = clock.last.max(wanted);
                clock.last
            }
            None => {
                *clock = Some(Clock { last: wanted, interval: FIRST_INTERVAL, skew: 0 });
                wanted
            }
        };
        (placed, pts + shift)
    }

    /// The place of private data that is shown at `pts`: behind what has come, and as far from the
    /// pictures as it was. It never moves the line. None where there is none yet, or the next frame
    /// is the first of another publisher.
    pub(crate) fn place_beside(&self, pts: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (last, _) = self.latest().filter(|_| !self.resuming)?;
        Some((last, pts + self.shift))
    }

    fn shift_for(&mut self, kind: TrackKind, dts: Timestamp) -> i64 {
        let Some(clock) = self.clocks[kind as usize] else {
            return self.shift_for_new_track(kind, dts);
        };
        let shift = self.shift.saturating_add(clock.skew);
        if self.follows(clock.last, dts + shift) {
            return shift;
        }
        let old = self.old_shift.map(|old| old.saturating_add(clock.skew));
        if let Some(old) = old.filter(|old| self.follows(clock.last, dts + *old)) {
            return old;
        }
        self.jumps += 1;
        self.old_shift = Some(self.shift);
        let shift = (clock.last + clock.interval).since(dts);
        self.shift = shift.saturating_sub(clock.skew);
        shift
    }

    fn shift_for_new_track(&mut self, kind: TrackKind, dts: Timestamp) -> i64 {
        let skew = match self.latest() {
            Some((last, _)) if !self.follows(last, dts + self.shift) => {
                self.jumps += 1;
                last.since(dts + self.shift)
            }
            _ => 0,
        };
        let shift = self.shift.saturating_add(skew);
        let clock = Clock { last: dts + shift, interval: FIRST_INTERVAL, skew };
        self.clocks[kind as usize] = Some(clock);
        shift
    }

    /// Script data never moves the line: encoders stamp it carelessly, often with zero.
    fn shift_for_data(&self, dts: Timestamp) -> i64 {
        match self.latest() {
            Some((last, _)) if !self.follows(last, dts + self.shift) => last.since(dts),
            _ => self.shift,
        }
    }

    fn follows(&self, last: Timestamp, next: Timestamp) -> bool {
        let step = next.since(last);
        step >= -self.back && step <= self.forward
    }

    /// The last dts of any track that carries media, and its interval.
    pub(crate) fn latest(&self) -> Option<(Timestamp, i64)> {
        let clocks = self.clocks.iter().flatten();
        clocks.map(|clock| (clock.last, clock.interval)).max_by_key(|(last, _)| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::TrackKind::{Audio, Video};
    use super::*;

    fn timeline() -> Timeline {
        Timeline::new(Duration::from_secs(1), Duration::from_secs(10))
    }

    fn place(line: &mut Timeline, kind: TrackKind, ms: i64) -> i64 {
        let at = Timestamp::from_millis(ms);
        line.place(kind, at, at).0.as_millis()
    }

    #[test]
    fn source_time_is_kept_and_zero_is_not_made_up() {
        let mut line = timeline();
        assert_eq!(place(&mut line, Video, 100_000), 100_000);
        assert_eq!(place(&mut line, Audio, 99_990), 99_990);
    }

    #[test]
    fn jump_back_becomes_one_interval_for_all_tracks() {
        let mut line = timeline();
        for ms in [5000, 5040] {
            place(&mut line, Video, ms);
        }
        place(&mut line, Audio, 5030);
        assert_eq!(place(&mut line, Video, 0), 5080);
        // Audio keeps its offset of 10 ms ahead of the video it goes with.
        assert_eq!(place(&mut line, Audio, 10), 5090);
        assert_eq!(line.jumps(), 1);
    }

    #[test]
    fn stragglers_of_the_old_clock_do_not_jump_back() {
        let mut line = timeline();
        place(&mut line, Video, 50_000);
        place(&mut line, Audio, 50_000);
        place(&mut line, Video, 50_040);
        let first_after = place(&mut line, Video, 0);
        assert_eq!(first_after, 50_080);
        assert_eq!(place(&mut line, Audio, 50_021), 50_021);
        assert_eq!(place(&mut line, Video, 40), 50_120);
        assert_eq!(place(&mut line, Audio, 2), 50_082);
        assert_eq!(line.jumps(), 1);
    }

    #[test]
    fn jump_forward_past_ten_seconds_is_taken_out_and_nine_is_kept() {
        let mut line = timeline();
        place(&mut line, Video, 0);
        assert_eq!(place(&mut line, Video, 9_000), 9_000);
        place(&mut line, Video, 9_040);
        assert_eq!(place(&mut line, Video, 3_000_000), 9_080);
    }

    #[test]
    fn small_step_back_is_held_and_pts_is_not_touched() {
        let mut line = timeline();
        place(&mut line, Video, 1000);
        let at = Timestamp::from_millis;
        let (dts, pts) = line.place(Video, at(900), at(950));
        assert_eq!((dts.as_millis(), pts.as_millis()), (1000, 950));
    }

    #[test]
    fn returning_publisher_goes_on_one_interval_after_the_last_frame() {
        let mut line = timeline();
        for ms in [1000, 1040, 1080] {
            place(&mut line, Video, ms);
        }
        place(&mut line, Audio, 1070);
        line.resume();
        assert_eq!(place(&mut line, Audio, 0), 1120);
        assert_eq!(place(&mut line, Video, 5), 1125);
    }

    #[test]
    fn a_track_on_another_clock_is_brought_to_the_others() {
        let mut line = timeline();
        place(&mut line, Video, 1_000_000);
        assert_eq!(place(&mut line, Audio, 0), 1_000_000);
        assert_eq!(place(&mut line, Audio, 23), 1_000_023);
        assert_eq!(place(&mut line, Video, 1_000_040), 1_000_040);
    }

    #[test]
    fn script_data_stamped_zero_moves_nothing() {
        let mut line = timeline();
        place(&mut line, Video, 60_000);
        assert_eq!(place(&mut line, TrackKind::Data, 0), 60_000);
        assert_eq!(place(&mut line, Video, 60_040), 60_040);
        assert_eq!(line.jumps(), 0);
    }

    #[test]
    fn private_data_keeps_its_distance_to_the_pictures_and_moves_nothing() {
        let mut line = timeline();
        let beside = |line: &Timeline, ms| {
            let placed = line.place_beside(Timestamp::from_millis(ms));
            placed.map(|(dts, pts)| (dts.as_millis(), pts.as_millis()))
        };
        assert_eq!(beside(&line, 0), None);
        place(&mut line, Video, 60_000);
        assert_eq!(beside(&line, 59_900), Some((60_000, 59_900)));
        assert_eq!(beside(&line, 100_000), Some((60_000, 100_000)));
        assert_eq!(place(&mut line, Video, 60_040), 60_040);
        line.resume();
        assert_eq!(beside(&line, 5), None, "its publisher has sent no picture yet");
        assert_eq!(place(&mut line, Video, 0), 60_080);
        assert_eq!(beside(&line, 5), Some((60_080, 60_085)));
    }

    #[test]
    fn extreme_timestamps_do_not_overflow() {
        let mut line = timeline();
        for nanos in [i64::MAX, i64::MIN, 0, i64::MIN, i64::MAX, -1] {
            let at = Timestamp::from_nanos(nanos);
            for kind in [Video, Audio] {
                line.place(kind, at, at);
            }
        }
    }
}
