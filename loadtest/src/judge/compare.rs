//! Whether two readers of one stream have read the same.

use std::collections::HashMap;

use corecast::media::TrackKind;

use super::Seen;
use crate::report::figures::{count, many, seconds};

/// Compares what our parser and another program read of one stream, over the time that both
/// watched. The answer is how many frames of it are the same, and that in words.
///
/// Either may have come first, and servers exist that let each viewer's time begin at zero: the
/// frames themselves tell how both times belong together.
///
/// # Errors
/// How both differ, or that they have nothing in common.
pub fn compare(ours: &[Seen], theirs: &[Seen]) -> Result<(u64, String), String> {
    let nothing = || {
        let (ours, theirs) = (count(ours.len() as u64), count(theirs.len() as u64));
        format!("nothing in common: ffmpeg read {theirs} frames, our parser {ours}")
    };
    let shift_ms = shift(ours, theirs).ok_or_else(nothing)?;
    let mine: Vec<_> =
        ours.iter().map(|seen| Seen { dts_ms: seen.dts_ms + shift_ms, ..*seen }).collect();
    let common = Common::of(&mine, theirs).ok_or_else(nothing)?;
    let mut found = Differences::default();
    for kind in [TrackKind::Video, TrackKind::Audio] {
        found.walk(&common.part(&mine, kind), &common.part(theirs, kind));
    }
    match (found.first_ms, found.same) {
        (None, 0) => Err(nothing()),
        (None, same) if !common.is_most_of(&mine, theirs) => {
            let [common, ours, theirs] =
                [common.to_ms - common.from_ms, time_ms(&mine), time_ms(theirs)]
                    .map(|ms| seconds(ms as f64 * 1e-3));
            Err(format!(
                "too little in common: {} alike over {common}; ffmpeg read {theirs} of the stream, \
                 our parser {ours}",
                many(same, "frame", "frames")
            ))
        }
        (None, same) => {
            let time = seconds((common.to_ms - common.from_ms) as f64 * 1e-3);
            let apart = match shift_ms {
                0 => String::new(),
                _ => format!(", {} ms apart", count(shift_ms.unsigned_abs())),
            };
            Ok((same, format!("the same {} over {time}{apart}", many(same, "frame", "frames"))))
        }
        (Some(at_ms), same) => Err(format!(
            "{} only ffmpeg has read, {} only our parser, {} differently, {} alike; the first at \
             dts {at_ms} ms",
            count(found.only_theirs),
            count(found.only_ours),
            count(found.different),
            count(same),
        )),
    }
}

/// What to add to our dts to have theirs: by the first frame that is like no other.
fn shift(ours: &[Seen], theirs: &[Seen]) -> Option<i64> {
    let (mine, others) = (only_ones(ours), only_ones(theirs));
    theirs.iter().find_map(|seen| {
        let name = (seen.kind, seen.size, seen.hash);
        others.contains_key(&name).then(|| mine.get(&name).map(|at| seen.dts_ms - at))?
    })
}

/// The dts of each frame whose like is not there twice.
fn only_ones(list: &[Seen]) -> HashMap<(TrackKind, u32, u32), i64> {
    let mut found = HashMap::new();
    for seen in list {
        let name = (seen.kind, seen.size, seen.hash);
        found.entry(name).and_modify(|at| *at = None).or_insert(Some(seen.dts_ms));
    }
    found.into_iter().filter_map(|(name, at)| Some((name, at?))).collect()
}

/// From the first frame of a list to its last.
fn time_ms(list: &[Seen]) -> i64 {
    let times = || list.iter().map(|seen| seen.dts_ms);
    times().max().zip(times().min()).map_or(0, |(last, first)| last - first)
}

/// The time that both have watched.
#[derive(Debug, Clone, Copy)]
struct Common {
    from_ms: i64,
    to_ms: i64,
}

impl Common {
    fn of(ours: &[Seen], theirs: &[Seen]) -> Option<Self> {
        // A reader begins and ends within each kind at another time.
        let ends = |list: &[Seen]| {
            let mut first = None;
            let mut last = None;
            for kind in [TrackKind::Video, TrackKind::Audio] {
                let mut times =
                    list.iter().filter(|seen| seen.kind == kind).map(|seen| seen.dts_ms);
                let Some(begin) = times.next() else { continue };
                let end = times.next_back().unwrap_or(begin);
                first = first.max(Some(begin));
                last = Some(last.map_or(end, |last: i64| last.min(end)));
            }
            first.zip(last)
        };
        let ((a, b), (c, d)) = (ends(ours)?, ends(theirs)?);
        Some(Self { from_ms: a.max(c), to_ms: b.min(d) })
    }

    /// Whether it is at least 80 % of what the one has read that has read less, and that at least
    /// half of what the other has: else the frames that are alike say little of the rest.
    fn is_most_of(self, ours: &[Seen], theirs: &[Seen]) -> bool {
        let (ours, theirs) = (time_ms(ours), time_ms(theirs));
        let (less, more) = (ours.min(theirs), ours.max(theirs));
        10 * (self.to_ms - self.from_ms) >= 8 * less && 2 * less >= more
    }

    /// Frames within it; those at its very end may be cut off.
    fn part(self, list: &[Seen], kind: TrackKind) -> Vec<Seen> {
        let within = |seen: &&Seen| (self.from_ms..self.to_ms).contains(&seen.dts_ms);
        list.iter().filter(|seen| seen.kind == kind).filter(within).copied().collect()
    }
}

#[derive(Debug, Default)]
struct Differences {
    same: u64,
    different: u64,
    only_ours: u64,
    only_theirs: u64,
    first_ms: Option<i64>,
}

impl Differences {
    /// Both in the order in which they were read.
    fn walk(&mut self, mut ours: &[Seen], mut theirs: &[Seen]) {
        while let (Some(mine), Some(other)) = (ours.first(), theirs.first()) {
            let (take_mine, take_other) = match mine.dts_ms.cmp(&other.dts_ms) {
                std::cmp::Ordering::Less => (1, 0),
                std::cmp::Ordering::Greater => (0, 1),
                std::cmp::Ordering::Equal => (1, 1),
            };
            match (take_mine, take_other) {
                (1, 1) if mine == other => self.same += 1,
                (1, 1) => self.note(mine.dts_ms, |found| &mut found.different),
                (1, _) => self.note(mine.dts_ms, |found| &mut found.only_ours),
                _ => self.note(other.dts_ms, |found| &mut found.only_theirs),
            }
            (ours, theirs) = (&ours[take_mine..], &theirs[take_other..]);
        }
        ours.iter().for_each(|seen| self.note(seen.dts_ms, |found| &mut found.only_ours));
        theirs.iter().for_each(|seen| self.note(seen.dts_ms, |found| &mut found.only_theirs));
    }

    fn note(&mut self, at_ms: i64, count: fn(&mut Self) -> &mut u64) {
        *count(self) += 1;
        self.first_ms = Some(self.first_ms.map_or(at_ms, |first| first.min(at_ms)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of 25 pictures and 50 sounds each.
    fn list(from_ms: i64) -> Vec<Seen> {
        let seen = |number: i64| {
            let kind = if number % 3 == 0 { TrackKind::Video } else { TrackKind::Audio };
            let dts_ms = from_ms + if number % 3 == 2 { 20 } else { 0 } + number / 3 * 40;
            Seen { kind, dts_ms, size: 100, hash: dts_ms as u32 ^ (kind as u32) << 20 }
        };
        (0..150).map(seen).collect()
    }

    #[test]
    fn who_came_later_and_left_earlier_has_read_the_same() {
        let ours = list(0);
        let (frames, finding) = compare(&ours, &ours[10..140]).expect("the same");
        assert!((115..=130).contains(&frames), "{frames}");
        assert!(finding.starts_with("the same 1"), "{finding}");
        assert_eq!(compare(&ours[10..140], &ours).map(|(frames, _)| frames), Ok(frames));
    }

    #[test]
    fn a_frame_that_one_has_not_read_is_found_by_its_time() {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let (whole, mut part) = (list(0), list(0));
            let at = part.iter().position(|seen| seen.kind == kind && seen.dts_ms == 1000);
            part.remove(at.expect("one is there"));
            let error = compare(&part, &whole).expect_err("one is missing");
            assert!(error.starts_with("1 only ffmpeg has read, 0 only our parser"), "{error}");
            assert!(error.ends_with("dts 1000 ms"), "{error}");
            let error = compare(&whole, &part).expect_err("one is missing");
            assert!(error.starts_with("0 only ffmpeg has read, 1 only our parser"), "{error}");
        }
    }

    #[test]
    fn another_size_hash_or_order_is_found() {
        let (ours, theirs) = (list(0), list(0));
        let differs = |change: fn(&mut Vec<Seen>)| {
            let mut theirs = theirs.clone();
            change(&mut theirs);
            compare(&ours, &theirs).is_err()
        };
        assert!(!differs(|_| {}));
        assert!(differs(|theirs| theirs[70].size += 1));
        assert!(differs(|theirs| theirs[70].hash += 1));
        assert!(differs(|theirs| theirs[70].dts_ms += 1));
        assert!(differs(|theirs| theirs.swap(69, 72)));
        assert!(differs(|theirs| theirs.insert(70, theirs[70])));
    }

    #[test]
    fn a_time_that_begins_at_zero_for_each_viewer_is_understood() {
        let ours = list(70_000);
        let theirs: Vec<_> =
            ours.iter().map(|seen| Seen { dts_ms: seen.dts_ms - 70_000, ..*seen }).collect();
        let (_, finding) = compare(&ours, &theirs[30..]).expect("the same");
        assert!(finding.ends_with("70 000 ms apart"), "{finding}");
    }

    #[test]
    fn some_frames_in_common_are_too_few_to_agree() {
        let ours = list(0);
        for theirs in [&ours[140..], &ours[..10], &ours[100..]] {
            let error = compare(&ours, theirs).expect_err("a part");
            assert!(error.contains("in common"), "{error}");
            compare(theirs, &ours).expect_err("a part");
        }
        // Both as long, but only a quarter at the same time.
        let error = compare(&ours[..90], &ours[60..]).expect_err("a part");
        assert!(error.starts_with("too little in common: "), "{error}");
    }

    #[test]
    fn two_that_have_nothing_in_common_do_not_agree() {
        let ours = list(0);
        for theirs in [vec![], list(1_000_000)] {
            let error = compare(&ours, &theirs).expect_err("nothing in common");
            assert!(error.contains("nothing in common"), "{error}");
        }
    }
}
