//! Readers without a socket: what they are handed, and that they hold up nobody.

use super::*;

struct Reader {
    tap: Tap,
}

impl Reader {
    fn open(rig: &Rig, bytes_max: usize) -> Option<Self> {
        Tap::open(&rig.hub, &Rig::key(), FLV, bytes_max, rig.now).map(|tap| Self { tap })
    }

    fn next(&self) -> Option<Result<Piece, TapEnd>> {
        match self.tap.poll_piece(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(next) => Some(next),
            Poll::Pending => None,
        }
    }

    /// All pieces there are, as words, each with a bar in front, and the end if there is one.
    fn read(&self) -> (String, Option<TapEnd>) {
        let mut words = Vec::new();
        loop {
            match self.next() {
                Some(Ok(piece)) => {
                    words.push("|".to_owned());
                    words.extend(flv_words(&piece.bytes).0);
                }
                Some(Err(end)) => return (words.join(" "), Some(end)),
                None => return (words.join(" "), None),
            }
        }
    }
}

const ENOUGH: usize = 1 << 20;

#[test]
fn a_tap_begins_at_the_newest_key_frame_and_is_handed_each_block_as_it_is_sealed() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, picture(40, false, 10));
    let reader = Reader::open(&rig, ENOUGH).expect("it is live");
    assert_eq!(reader.read(), ("| K0 v40".to_owned(), None));
    rig.push(&publisher, picture(80, false, 10));
    assert_eq!(reader.read(), (String::new(), None), "nothing was sealed");
    reader.tap.seal(rig.now);
    rig.push(&publisher, picture(120, true, 10));
    rig.push(&publisher, picture(160, true, 10));
    assert_eq!(reader.read(), ("| v80 | K120".to_owned(), None));
    drop(publisher);
    assert_eq!(reader.read(), ("| K160".to_owned(), Some(TapEnd::PublisherGone)));
    rig.advance(0);
}

#[test]
fn a_tap_without_a_key_frame_waits_for_one_and_there_is_none_of_what_nobody_publishes() {
    let rig = Rig::with(|settings| settings.gop_cache = false);
    assert!(Reader::open(&rig, ENOUGH).is_none());
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    let reader = Reader::open(&rig, ENOUGH).expect("it is live");
    rig.push(&publisher, picture(40, false, 10));
    rig.push(&publisher, picture(80, true, 10));
    reader.tap.seal(rig.now);
    assert_eq!(reader.read(), ("| K80".to_owned(), None));
}

#[test]
fn a_tap_that_has_no_room_for_what_is_kept_waits_for_the_next_key_frame() {
    let rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 3000));
    // Two blocks: one may wait, however large it is.
    let first = Reader::open(&rig, ENOUGH).expect("it is live");
    rig.push(&publisher, picture(40, false, 3000));
    let reader = Reader::open(&rig, 5000).expect("it is live");
    assert_eq!(first.read(), ("| K0 | v40".to_owned(), None));
    assert_eq!(reader.read(), (String::new(), None));
    rig.push(&publisher, picture(80, true, 10));
    reader.tap.seal(rig.now);
    assert_eq!(reader.read(), ("| K80".to_owned(), None));
}

#[test]
fn what_waits_for_a_tap_is_bounded_and_viewers_do_not_notice() {
    let mut rig = Rig::new();
    let (publisher, watcher) = rig.on_air();
    let reader = Reader::open(&rig, 20_000).expect("it is live");
    rig.stream(&publisher, 4000, 400);
    let (read, end) = reader.read();
    assert_eq!((read.as_str(), end), ("", Some(TapEnd::TooSlow(20_000))));
    assert!(reader.tap.poll_too_slow(&mut Context::from_waker(Waker::noop())).is_ready());
    assert_eq!(watcher.viewer.stats().skips, 0);
    assert_eq!(watcher.event(), None);
}

#[test]
fn headers_that_change_all_the_time_count_as_what_waits() {
    // TS has none, but what they would be made from waits.
    for format in [FLV, Format::Ts] {
        let rig = Rig::new();
        let publisher = rig.publish_av();
        rig.push(&publisher, picture(0, true, 10));
        let tap = Tap::open(&rig.hub, &Rig::key(), format, 200_000, rig.now).expect("it is live");
        for version in 0..40 {
            let config = Bytes::from(vec![version; 10_000]);
            publisher.set_track(Track { config, ..video_track(1) }, rig.now);
            rig.push(&publisher, picture(40 * (1 + u64::from(version)), true, 10));
        }
        let end = Reader { tap }.read();
        assert_eq!(end, (String::new(), Some(TapEnd::TooSlow(200_000))), "{format:?}");
    }
}

#[test]
fn a_tap_that_is_closed_is_handed_what_had_come_and_no_more() {
    let rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    let reader = Reader::open(&rig, ENOUGH).expect("it is live");
    rig.push(&publisher, picture(40, true, 10));
    rig.push(&publisher, picture(80, false, 10));
    assert_eq!(reader.tap.waiting(), 1);
    reader.tap.close(rig.now);
    rig.push(&publisher, picture(120, true, 10));
    rig.push(&publisher, picture(160, true, 10));
    assert_eq!(reader.tap.waiting(), 2);
    assert_eq!(reader.read(), ("| K0 | K40 v80".to_owned(), Some(TapEnd::Closed)));
}

#[test]
fn a_trans_stream_that_only_a_tap_reads_stays_and_goes_when_it_is_closed() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    let reader = Reader::open(&rig, ENOUGH).expect("it is live");
    rig.stream(&publisher, 20_000, 2000);
    assert_eq!(rig.hub.borrow().transes.len(), 1);
    drop(reader);
    rig.stream(&publisher, 40_000, 2000);
    assert_eq!(rig.hub.borrow().transes.len(), 0);
}

#[test]
fn who_takes_over_ends_the_taps_of_the_one_before() {
    let mut rig = Rig::with(|settings| settings.on_conflict = OnConflict::TakeOver);
    let first = rig.publish_av();
    rig.push(&first, picture(0, true, 10));
    let reader = Reader::open(&rig, ENOUGH).expect("it is live");
    let second = rig.publish_av();
    assert_eq!(reader.read(), ("| K0".to_owned(), Some(TapEnd::TakenOver)));
    rig.push(&second, picture(40, true, 10));
    rig.advance(0);
    let live = HubEvent::Live { key: Rig::key() };
    assert_eq!(rig.events.iter().filter(|event| **event == live).count(), 2);
    drop(first);
}
