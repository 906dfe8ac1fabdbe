use bytes::Bytes;

use super::*;

/// A stream of 25 pictures and 50 sounds a second as a publisher marks it, with a key frame each
/// second, and what an inspected viewer finds out about it.
struct Talk {
    start: Instant,
    inspector: Inspector,
    findings: Findings,
}

/// As it came: frames with the milliseconds after which they were sent and read.
type Sent = Vec<(Frame, u64)>;

const LATENCY_MS: u64 = 40;

fn frame(kind: TrackKind, ms: u64, key: bool, data: Bytes) -> Frame {
    let at = Timestamp::from_millis(ms as i64);
    Frame { kind, dts: at, pts: at, key, data }
}

fn sound(number: u64) -> Bytes {
    Bytes::from(format!("sound {number}"))
}

fn picture(number: u32, sounds: &[Bytes], first_sound: u64, ms: u64) -> Frame {
    let data = format!("picture {number}");
    let nal = [&(data.len() as u32 + 1).to_be_bytes()[..], &[0x41], data.as_bytes()].concat();
    let mark = Mark {
        clock_ns: ms * 1_000_000,
        picture: number,
        hash: Mark::hash_without(&nal),
        first_sound: first_sound as u32,
        sounds: sounds.iter().map(|sound| Mark::hash(sound)).collect(),
    };
    frame(TrackKind::Video, ms, number.is_multiple_of(25), mark.write_into(&nal))
}

/// `seconds` of the stream from `from_ms` of it on.
fn stream(from_ms: u64, seconds: u64) -> Sent {
    stream_of(from_ms, seconds, sound)
}

fn stream_of(from_ms: u64, seconds: u64, sound: fn(u64) -> Bytes) -> Sent {
    let mut sent = Vec::new();
    for number in 0..seconds * 25 {
        let ms = from_ms + number * 40;
        let first = (number * 2).saturating_sub(2);
        let sounds = (first..number * 2).map(sound).collect::<Vec<_>>();
        sent.push((picture(number as u32, &sounds, first, ms), ms));
        for half in 0..2 {
            let ms = ms + half * 20;
            sent.push((frame(TrackKind::Audio, ms, false, sound(number * 2 + half)), ms));
        }
    }
    sent
}

impl Talk {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            inspector: Inspector::new(Moment { at: start, clock_ns: 0 }, start),
            findings: Findings::default(),
        }
    }

    fn hear(&mut self, sent: &Sent) {
        for (frame, ms) in sent {
            let at = self.start + Duration::from_millis(ms + LATENCY_MS);
            let read = Moment { at, clock_ns: (ms + LATENCY_MS) * 1_000_000 };
            self.inspector.take(frame, read, &mut self.findings);
        }
    }

    /// Missing, repeated, damaged, out of order, stalls.
    fn found(&self) -> [u64; 5] {
        let counts = &self.findings.counts;
        let Inspected { missing, repeated, damaged, out_of_order, stalls, .. } = *counts;
        [missing, repeated, damaged, out_of_order, stalls]
    }
}

fn found(sent: &Sent) -> [u64; 5] {
    let mut talk = Talk::new();
    talk.hear(sent);
    talk.found()
}

/// Where the `nth` frame of `kind` stands.
fn place(sent: &Sent, kind: TrackKind, nth: usize) -> usize {
    let mut places = (0..sent.len()).filter(|at| sent[*at].0.kind == kind);
    places.nth(nth).expect("the stream is longer")
}

#[test]
fn a_whole_stream_is_found_whole_and_its_latency_measured() {
    let mut talk = Talk::new();
    talk.hear(&stream(0, 4));
    assert_eq!(talk.found(), [0; 5]);
    let (second, count) = talk.findings.take_second().expect("pictures came");
    assert!(second.iter().all(|ms| (39.9..40.1).contains(ms)), "{second:?}");
    assert!(count > 0);
    assert_eq!(talk.findings.take_second(), None);
    let mut warnings = Vec::new();
    let inspected = talk.findings.finish(1, &mut warnings);
    assert_eq!((inspected.frames, inspected.marked), (300, 100));
    let latency = inspected.latency_ms.expect("pictures came");
    assert_eq!((latency.count(), latency.value_at(1.0).map(f64::round)), (100, Some(40.0)));
    let gap = inspected.frame_gap_ms.value_at(1.0).map(f64::round);
    assert_eq!((inspected.first_key_ms.count(), gap, warnings.len()), (1, Some(20.0), 0));
}

#[test]
fn what_is_left_out_is_missing() {
    for (kind, nths) in [(TrackKind::Video, 30..31), (TrackKind::Audio, 60..61)] {
        let mut sent = stream(0, 4);
        for nth in nths.rev() {
            sent.remove(place(&sent, kind, nth));
        }
        assert_eq!(found(&sent), [1, 0, 0, 0, 0], "{kind:?}");
    }
    // A skip to a later key frame: 20 pictures and the 40 sounds with them.
    let mut sent = stream(0, 4);
    sent.drain(30 * 3..50 * 3);
    assert_eq!(found(&sent), [60, 0, 0, 0, 0]);
    // The same of one kind only. The lists of the lost pictures are lost with them, so the sounds
    // are known by their count alone.
    for (kind, missing) in [(TrackKind::Video, 20), (TrackKind::Audio, 40)] {
        let mut sent = stream(0, 4);
        let range = 30 * 40..50 * 40;
        sent.retain(|(frame, ms)| frame.kind != kind || !range.contains(ms));
        assert_eq!(found(&sent), [missing, 0, 0, 0, 0], "{kind:?}");
    }
    // No sound at all from the second second on.
    let mut sent = stream(0, 30);
    sent.retain(|(frame, ms)| frame.kind == TrackKind::Video || *ms < 1000);
    let [missing, ..] = found(&sent);
    assert!((900..=1450).contains(&missing), "{missing}");
}

#[test]
fn what_comes_twice_is_repeated() {
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let mut sent = stream(0, 4);
        let at = place(&sent, kind, 40);
        sent.insert(at, sent[at].clone());
        assert_eq!(found(&sent), [0, 1, 0, 0, 0], "{kind:?}");
    }
}

#[test]
fn what_is_altered_is_damaged() {
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let mut sent = stream(0, 4);
        let at = place(&sent, kind, 40);
        let mut data = sent[at].0.data.to_vec();
        let last = data.len() - 1;
        data[last] ^= 0x80;
        sent[at].0.data = data.into();
        assert_eq!(found(&sent), [0, 0, 1, 0, 0], "{kind:?}");
    }
    // A picture whose mark is gone.
    let mut sent = stream(0, 4);
    let at = place(&sent, TrackKind::Video, 40);
    sent[at].0.data = Bytes::from_static(&[0, 0, 0, 2, 0x41, 0]);
    assert_eq!(found(&sent)[2], 1);
    // All sounds are others than were sent.
    let mut sent = stream(0, 40);
    for (frame, _) in
        sent.iter_mut().filter(|(frame, ms)| frame.kind == TrackKind::Audio && *ms > 1000)
    {
        frame.data = [&frame.data[..], b"!"].concat().into();
    }
    let [missing, repeated, damaged, ..] = found(&sent);
    assert!(missing == 0 && repeated == 0 && damaged > 900, "{missing} {repeated} {damaged}");
}

#[test]
fn nothing_counts_before_the_first_key_frame() {
    let sent = stream(0, 4).split_off(7 * 3);
    let mut talk = Talk::new();
    talk.hear(&sent);
    assert_eq!(talk.found(), [0; 5]);
    assert_eq!(talk.findings.counts.frames, 75 * 3);
    let first_key = talk.findings.counts.first_key_ms.value_at(1.0).map(f64::round);
    assert_eq!(first_key, Some(1040.0));
}

#[test]
fn sounds_may_lie_elsewhere_between_the_pictures() {
    for shift in [-13, -4, 5, 20] {
        let mut sent = stream(0, 6);
        let kinds = sent.iter().map(|(frame, _)| frame.kind).collect::<Vec<_>>();
        let mut sounds = sent.clone();
        sounds.retain(|(frame, _)| frame.kind == TrackKind::Audio);
        let mut pictures = sent.clone();
        pictures.retain(|(frame, _)| frame.kind == TrackKind::Video);
        let early = sounds.split_off(usize::try_from(shift).unwrap_or(0));
        let late = pictures.split_off(usize::try_from(-shift).unwrap_or(0));
        let (mut early, mut late) = (early.into_iter(), late.into_iter());
        sent = kinds
            .iter()
            .filter_map(|kind| match kind {
                TrackKind::Audio => early.next(),
                _ => late.next(),
            })
            .collect();
        let [missing, repeated, damaged, ..] = found(&sent);
        assert_eq!([missing, repeated, damaged], [0; 3], "{shift}");
    }
}

#[test]
fn a_silence_of_equal_sounds_hides_nothing() {
    let silent = |number| match number {
        100..150 => Bytes::from_static(b"silence"),
        _ => sound(number),
    };
    let mut sent = stream_of(0, 5, silent);
    assert_eq!(found(&sent), [0; 5]);
    sent.remove(place(&sent, TrackKind::Audio, 120));
    assert_eq!(found(&sent), [1, 0, 0, 0, 0]);
    // A viewer that comes at its begin.
    assert_eq!(found(&stream_of(0, 5, silent).split_off(50 * 3)), [0; 5]);
}

#[test]
fn a_publisher_that_starts_again_repeats_nothing() {
    let mut sent = stream(0, 3);
    sent.extend(stream(3000, 3));
    assert_eq!(found(&sent), [0; 5]);
}

#[test]
fn a_dts_that_goes_back_is_out_of_order_and_a_long_gap_a_stall() {
    let mut sent = stream(0, 4);
    let at = place(&sent, TrackKind::Video, 40);
    sent[at].0.dts = Timestamp::from_millis(1000);
    assert_eq!(found(&sent), [0, 0, 0, 1, 0]);
    // Late from here on; once a player has waited, it goes on.
    let mut sent = stream(0, 8);
    sent.iter_mut().skip(300).for_each(|(_, ms)| *ms += 2500);
    assert_eq!(found(&sent), [0, 0, 0, 0, 1]);
    let mut talk = Talk::new();
    talk.hear(&stream(0, 2));
    talk.inspector.leave(talk.start + Duration::from_secs(3), &mut talk.findings);
    assert_eq!(talk.found()[4], 0);
    talk.inspector.leave(talk.start + Duration::from_secs(10), &mut talk.findings);
    assert_eq!(talk.found()[4], 1);
}

#[test]
fn a_new_window_forgets_all_but_joining() {
    let mut sent = stream(0, 4);
    sent.remove(place(&sent, TrackKind::Video, 30));
    let mut talk = Talk::new();
    talk.inspector.joined(talk.start + Duration::from_millis(3), &mut talk.findings);
    let rest = sent.split_off(200);
    talk.hear(&sent);
    assert_eq!(talk.found()[0], 1);
    talk.findings.begin();
    talk.hear(&rest);
    assert_eq!(talk.found(), [0; 5]);
    let counts = &talk.findings.counts;
    assert_eq!((counts.join_ms.count(), counts.first_key_ms.count()), (1, 1));
    assert_eq!(counts.frames, rest.len() as u64);
}

#[test]
fn what_is_kept_for_newcomers_is_not_late() {
    let mut talk = Talk::new();
    talk.inspector = Inspector::new(Moment { at: talk.start, clock_ns: 500_000_000 }, talk.start);
    talk.hear(&stream(0, 1));
    assert_eq!(talk.findings.counts.marked, 25);
    assert_eq!(talk.findings.latency.count(), 12);
}

#[test]
fn sounds_without_pictures_to_list_them_are_not_held_against_anybody() {
    let mut sent = stream(0, 60);
    sent.retain(|(frame, ms)| frame.kind == TrackKind::Audio || !(5000..50_000).contains(ms));
    let [missing, repeated, damaged, ..] = found(&sent);
    // The pictures that did not come.
    assert_eq!([missing, repeated, damaged], [45 * 25, 0, 0]);
}

#[test]
fn sound_alone_counts_when_no_picture_comes() {
    let mut sent = stream(0, 5);
    sent.retain(|(frame, _)| frame.kind == TrackKind::Audio);
    let mut talk = Talk::new();
    talk.hear(&sent);
    assert_eq!(talk.found(), [0; 5]);
    assert_eq!((talk.findings.counts.frames, talk.findings.counts.marked), (150, 0));
}

#[test]
fn joining_takes_from_when_the_viewer_was_to_come() {
    let mut talk = Talk::new();
    let connected = Moment { at: talk.start + Duration::from_millis(800), clock_ns: 800_000_000 };
    talk.inspector = Inspector::new(connected, talk.start);
    talk.inspector.joined(talk.start + Duration::from_millis(900), &mut talk.findings);
    talk.hear(&stream(1000, 2));
    let counts = &talk.findings.counts;
    let times = [&counts.join_ms, &counts.first_key_ms].map(|ms| ms.value_at(1.0).map(f64::round));
    assert_eq!(times, [Some(900.0), Some(1040.0)]);
    // What was sent before it connected is no less old for that.
    let latency = talk.findings.latency.value_at(1.0).map(f64::round);
    assert_eq!(latency, Some(LATENCY_MS as f64));
}

#[test]
fn a_stream_that_lies_about_its_numbers_and_times_is_survived() {
    let mut talk = Talk::new();
    let bare = Bytes::from_static(b"\0\0\0\x02\x41x");
    let mut last = picture(u32::MAX, &[], u64::from(u32::MAX), 40);
    last.key = true;
    let mut sent = vec![(last, 40), (frame(TrackKind::Video, 80, false, bare), 80)];
    for number in [u32::MAX, 0, u32::MAX] {
        sent.push((picture(number, &[sound(1), sound(2)], u64::from(u32::MAX), 120), 120));
    }
    for dts in [i64::MIN, i64::MAX, i64::MIN] {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let mut frame = frame(kind, 160, false, sound(7));
            frame.dts = Timestamp::from_nanos(dts);
            sent.push((frame, 160));
        }
    }
    talk.hear(&sent);
    assert_eq!(talk.findings.counts.frames, sent.len() as u64);
    assert!(talk.findings.counts.damaged > 0);
}

#[test]
fn a_viewer_that_never_came_to_a_key_frame_has_stalled() {
    let without_key = |sent: &Sent, seconds: u64| {
        let mut talk = Talk::new();
        talk.hear(sent);
        talk.inspector.leave(talk.start + Duration::from_secs(seconds), &mut talk.findings);
        (talk.findings.counts.without_key, talk.found()[4])
    };
    let no_key = stream(0, 4).split_off(3)[..20].to_vec();
    for sent in [&Sent::new(), &no_key] {
        assert_eq!(without_key(sent, 3), (1, 1));
        assert_eq!(without_key(sent, 1), (0, 0), "it has only just come");
    }
    assert_eq!(without_key(&stream(0, 3), 4), (0, 0));
}

#[test]
fn marks_from_the_future_are_warned_of() {
    let mut talk = Talk::new();
    for (frame, ms) in stream(5000, 1) {
        let at = talk.start + Duration::from_millis(ms);
        talk.inspector.take(&frame, Moment { at, clock_ns: 0 }, &mut talk.findings);
    }
    let mut warnings = Vec::new();
    talk.findings.finish(1, &mut warnings);
    assert!(warnings[0].contains("25 of 25 marks"), "{warnings:?}");
}
