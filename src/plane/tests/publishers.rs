//! Who has the slot, the probe, the grace, the line of time, and faults.

use super::*;

fn nothing_left(rig: &mut Rig) {
    rig.advance(6000);
    let Totals { sources, sinks, transes, log_bytes, gop_bytes, .. } = rig.totals();
    assert_eq!((sources, sinks, transes, log_bytes, gop_bytes), (0, 0, 0, 0, 0));
    let waiting = rig.node.waiting_sinks.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(waiting, 0);
    assert!(!rig.hub.borrow().holds(&Rig::key()));
    rig.events.retain(|event| !matches!(event, HubEvent::Live { .. }));
    assert_eq!(rig.events, [HubEvent::Emptied { key: Rig::key(), epoch: 7 }]);
}

#[test]
fn publisher_first_then_viewer() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 100));
    rig.push(&publisher, sound(0, 100));
    let watcher = rig.join();
    rig.run();
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 a0");
}

#[test]
fn viewer_first_then_publisher() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    rig.advance(5000);
    assert_eq!(watcher.event(), None);
    assert_eq!(rig.node.waiting_sinks.load(std::sync::atomic::Ordering::Relaxed), 1);
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(350);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0");
    assert_eq!(rig.node.waiting_sinks.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[test]
fn a_viewer_waits_for_a_publisher_then_is_told_not_found_and_nothing_is_left() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    rig.advance(14_999);
    assert_eq!(watcher.event(), None);
    rig.advance(1);
    assert_eq!(watcher.event(), Some(SinkEvent::NotFound));
    assert!(rig.socket(&watcher).got.is_empty());
    assert_eq!(rig.totals().not_found, 1);
    nothing_left(&mut rig);
    drop(watcher);
    assert_eq!(rig.hub.borrow().sinks.len(), 0);
}

#[test]
fn a_key_in_use_again_is_not_called_empty() {
    let mut rig = Rig::new();
    drop(rig.join());
    // The flush loop has not run yet when the next one comes.
    let watcher = rig.join();
    assert_eq!(rig.hub.borrow_mut().poll_event(), None);
    drop(watcher);
    let emptied = HubEvent::Emptied { key: Rig::key(), epoch: 7 };
    assert_eq!(rig.hub.borrow_mut().poll_event(), Some(emptied));
}

#[test]
fn a_viewer_that_leaves_while_it_waits_leaves_nothing() {
    let mut rig = Rig::new();
    drop(rig.join());
    nothing_left(&mut rig);
}

#[test]
fn a_source_nobody_uses_leaves_nothing_after_the_grace() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 1000, 400);
    let watcher = rig.join();
    rig.advance(100);
    drop((watcher, publisher));
    rig.advance(14_999);
    assert!(rig.hub.borrow().holds(&Rig::key()));
    rig.advance(1);
    nothing_left(&mut rig);
}

#[test]
fn a_publisher_that_never_showed_a_track_has_no_grace() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(true, true), rig.now);
    drop(publisher);
    nothing_left(&mut rig);
}

#[test]
fn a_second_publisher_is_refused_with_the_reason() {
    let mut rig = Rig::new();
    let first = rig.publish_av();
    rig.advance(3000);
    let since = Duration::from_secs(3);
    assert_eq!(
        rig.try_publish().expect_err("not let in"),
        PublishRefused::InUse { key: Rig::key(), since }
    );
    rig.push(&first, picture(0, true, 10));
    assert_eq!(ended(&first), None);
}

#[test]
fn take_over_ends_the_first_publisher_and_viewers_go_on() {
    let mut rig = Rig::with(|settings| settings.on_conflict = OnConflict::TakeOver);
    let first = rig.publish_av();
    let watcher = rig.join();
    rig.push(&first, picture(1000, true, 10));
    rig.push(&first, picture(1040, false, 10));
    let second = rig.publish();
    let error = first.push(picture(1080, false, 10), rig.now).expect_err("not let in");
    assert_eq!(error, PushError::NotHeld);
    assert_eq!(ended(&first), Some(PublisherEnd::TakenOver(Rig::key())));
    drop(first);
    second.set_track(video_track(1), rig.now);
    second.set_track(audio_track(1), rig.now);
    rig.push(&second, picture(0, true, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K1000 v1040 K1080");
}

#[test]
fn within_the_grace_viewers_hear_nothing_and_go_on_one_interval_later() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(5000, true, 10));
    rig.push(&publisher, picture(5040, false, 10));
    drop(publisher);
    rig.run();
    assert_eq!(rig.take_words(&watcher), "flv5 V1 A1 K5000 v5040", "the last words are not held");
    rig.advance(14_000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(watcher.event(), None);
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, false, 10));
    rig.push(&publisher, sound(3, 10));
    rig.push(&publisher, picture(40, true, 10));
    rig.advance(5000);
    assert_eq!(rig.take_words(&watcher), "a5080 K5117", "video before the first key is dropped");
    assert_eq!(watcher.event(), None);
}

#[test]
fn newcomers_wait_during_the_grace_and_start_with_the_publisher_that_returned() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _watcher = rig.join();
    rig.stream(&publisher, 400, 200);
    drop(publisher);
    rig.advance(1000);
    let newcomer = rig.join();
    rig.advance(1000);
    assert_eq!(newcomer.event(), None);
    let publisher = rig.publish_av();
    rig.push(&publisher, sound(0, 10));
    rig.advance(400);
    assert_eq!(newcomer.event(), None, "the end of the old stream is no start");
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    assert_eq!(newcomer.event(), Some(SinkEvent::Started));
    // Sound ended at 380 and goes on at 400; the key frame has the same time.
    assert_eq!(rig.words(&newcomer), "flv5 V1 A1 K400");
}

#[test]
fn sinks_are_ended_when_the_grace_is_over() {
    let mut rig = Rig::new();
    let (publisher, watcher) = rig.on_air();
    drop(publisher);
    rig.advance(15_000);
    assert_eq!(watcher.event(), Some(SinkEvent::Ended(SinkEnd::PublisherGone)));
    nothing_left(&mut rig);
}

#[test]
fn who_has_not_been_sent_all_when_the_grace_is_over_stays_for_it_and_no_one_else_does() {
    let mut rig = Rig::with(|settings| settings.publisher_grace = Duration::from_secs(1));
    let (publisher, ordinary) = rig.on_air();
    let (slow, stuck) = (rig.join(), rig.join());
    rig.stream(&publisher, 3000, 1000);
    rig.socket(&slow).room = 100;
    rig.socket(&stuck).room = 100;
    rig.stream(&publisher, 4000, 1000);
    drop(publisher);
    let gone = Some(SinkEvent::Ended(SinkEnd::PublisherGone));
    assert_eq!([slow.event(), stuck.event()], [Some(SinkEvent::Started), Some(SinkEvent::Started)]);
    rig.advance(1000);
    assert_eq!((ordinary.event(), slow.event(), stuck.event()), (gone.clone(), None, None));
    rig.advance(2000);
    assert_eq!(slow.event(), None);
    rig.socket(&slow).room = usize::MAX;
    rig.advance(1000);
    assert_eq!(slow.event(), gone);
    let (words, all) = (rig.words(&slow), rig.words(&ordinary));
    let last = all.rsplit(' ').next().expect("the last frame");
    assert!(words.ends_with(last), "{words}");
    // No longer than max_lag, of which half is over.
    rig.advance(3999);
    assert_eq!(stuck.event(), None);
    rig.advance(1);
    assert_eq!(stuck.event(), gone);
    nothing_left(&mut rig);
}

#[test]
fn who_publishes_while_another_is_still_being_sent_begins_anew() {
    let mut rig = Rig::with(|settings| settings.publisher_grace = Duration::from_secs(1));
    let (publisher, slow) = rig.on_air();
    rig.socket(&slow).room = 0;
    rig.stream(&publisher, 2000, 1000);
    drop(publisher);
    rig.advance(3000);
    let hub = Rc::clone(&rig.hub);
    assert!(hub.borrow().holds(&Rig::key()) && hub.borrow().is_vacant(&Rig::key()));
    let newcomer = rig.join();
    rig.run();
    assert_eq!((slow.event(), newcomer.event()), (None, None));
    let publisher = rig.publish_av();
    assert_eq!(slow.event(), Some(SinkEvent::Ended(SinkEnd::PublisherGone)));
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(8000);
    assert_eq!(newcomer.event(), Some(SinkEvent::Started));
    assert_eq!(rig.words(&newcomer), "flv5 V1 A1 K0");
    assert_eq!(newcomer.event(), None);
}

#[test]
fn a_viewer_that_never_started_is_told_not_found_when_the_grace_is_over() {
    let mut rig = Rig::with(|settings| settings.key_wait = Duration::from_secs(60));
    let publisher = rig.publish_av();
    let watcher = rig.join();
    drop(publisher);
    rig.advance(15_000);
    assert_eq!(watcher.event(), Some(SinkEvent::NotFound));
    assert!(rig.socket(&watcher).got.is_empty());
}

#[test]
fn a_publisher_that_returns_with_sound_alone_starts_viewers_at_sound() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 400, 200);
    drop(publisher);
    rig.advance(10);
    rig.take_words(&watcher);
    let publisher = rig.publish();
    publisher.set_metadata(metadata(false, true), rig.now);
    publisher.set_track(audio_track(1), rig.now);
    rig.push(&publisher, sound(0, 10));
    let newcomer = rig.join();
    rig.advance(400);
    assert_eq!(rig.words(&newcomer), "flv4 meta A1 a400");
    // Told of the metadata at once, and again with the headers that changed.
    assert_eq!(rig.words(&watcher), "meta meta A1 a400");
}

#[test]
fn the_probe_ends_when_the_announced_tracks_are_there() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(false, true), rig.now);
    publisher.set_track(audio_track(1), rig.now);
    rig.push(&publisher, sound(0, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv4 meta A1 a0");
}

#[test]
fn the_probe_waits_for_the_other_track_and_its_frames_are_not_lost() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(true, true), rig.now);
    publisher.set_track(video_track(1), rig.now);
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(1000);
    assert_eq!(watcher.event(), None);
    publisher.set_track(audio_track(1), rig.now);
    rig.push(&publisher, sound(20, 10));
    rig.advance(350);
    // The picture came before there was sound, and yet both are told of at once.
    assert_eq!(rig.words(&watcher), "flv5 meta V1 A1 K0 a20");
}

#[test]
fn the_probe_ends_at_its_limit_with_the_tracks_there_are() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    let publisher = rig.publish();
    publisher.set_track(video_track(1), rig.now);
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(1999);
    assert_eq!(watcher.event(), None);
    rig.advance(1);
    assert_eq!(rig.words(&watcher), "flv1 V1 K0");
}

#[test]
fn a_probe_without_any_track_goes_on() {
    let mut rig = Rig::with(|settings| settings.wait_for_publisher = Duration::from_secs(1));
    let watcher = rig.join();
    let publisher = rig.publish();
    rig.advance(7000);
    assert_eq!(watcher.event(), None, "somebody publishes: the viewer waits on");
    publisher.set_track(audio_track(1), rig.now);
    rig.push(&publisher, sound(0, 10));
    rig.advance(2400);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
}

#[test]
fn a_failing_source_tells_its_publisher_and_viewers() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watchers = [rig.join(), rig.join_with(|request| request.selection.video = false)];
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, sound(0, 10));
    rig.advance(350);
    rig.hub.borrow_mut().abort(&Rig::key(), rig.now);
    for watcher in &watchers {
        assert_eq!(watcher.event(), Some(SinkEvent::Started));
        assert_eq!(watcher.event(), Some(SinkEvent::Ended(SinkEnd::SourceFailed)));
    }
    assert_eq!(ended(&publisher), Some(PublisherEnd::SourceFailed(Rig::key())));
    assert_eq!(publisher.push(picture(0, true, 10), rig.now), Err(PushError::NotHeld));
    rig.hub.borrow_mut().abort_source_of(watchers[0].viewer.id(), rig.now);
    nothing_left(&mut rig);
}

#[test]
fn a_new_life_of_a_source_is_not_touched_by_the_timers_of_the_old() {
    let mut rig = Rig::new();
    drop(rig.publish_av());
    rig.advance(10_000);
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(1000);
    drop(publisher);
    rig.advance(14_900);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(watcher.event(), None, "the grace of now, not that of the first publisher");
}

#[test]
fn a_publisher_over_its_bitrate_is_told_and_a_burst_is_not_over() {
    let mut rig = Rig::with(|settings| settings.publisher_bitrate_max = 80_000);
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 30_000));
    rig.push(&publisher, picture(40, false, 10_000));
    let error = publisher.push(picture(80, false, 1000), rig.now).expect_err("not let in");
    assert_eq!(error, PushError::TooFast { allowed: 80_000, found: 82_000 });
    rig.advance(4000);
    rig.push(&publisher, picture(120, false, 40_000));
}

#[test]
fn a_publisher_over_its_bitrate_goes_on_where_it_is_only_told_of() {
    let rig = Rig::with(|settings| {
        settings.publisher_bitrate_max = 80_000;
        settings.publisher_bitrate_action = BitrateAction::Warn;
    });
    let publisher = rig.publish_av();
    for at in 0..10 {
        rig.push(&publisher, picture(40 * at, at == 0, 30_000));
    }
}

#[test]
fn a_jump_of_the_clock_becomes_one_interval_and_is_counted() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(100_000, true, 10));
    rig.push(&publisher, picture(100_040, false, 10));
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, sound(0, 10));
    rig.push(&publisher, picture(40, false, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K100000 v100040 K100080 a100080 v100120");
    assert_eq!(rig.totals().jumps, 1);
}

#[test]
fn frames_of_a_track_nobody_described_are_dropped() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(true, false), rig.now);
    publisher.set_track(video_track(1), rig.now);
    let watcher = rig.join();
    rig.push(&publisher, sound(0, 10));
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv1 meta V1 K0");
}

#[test]
fn frames_without_a_byte_do_not_fill_the_cache_without_bound() {
    let rig = Rig::with(|settings| settings.gop_cache_bytes = 100_000);
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    for _ in 0..10_000 {
        let mut empty = sound(0, 0);
        empty.data = Bytes::new();
        rig.push(&publisher, empty);
    }
    assert!(rig.totals().gop_bytes <= 100_000);
    assert_eq!(rig.totals().gop_overgrown, 1);
}

#[test]
fn a_timer_that_panics_ends_its_stream_and_no_other() {
    let mut rig = Rig::new();
    let bad = rig.publish();
    let other = StreamKey::new("live", "b").expect("valid");
    let request = PublishRequest {
        key: other.clone(),
        settings: Rc::clone(&rig.settings),
        epoch: 1,
        tag: None,
    };
    let good = Publisher::acquire(&rig.hub, request, rig.now).expect("nobody is there");
    // No clock reaches that far: the end of the probe cannot be put off by so much.
    let settings = Settings { probe_timeout: Duration::MAX, ..Settings::default() };
    let settings = Rc::new(settings);
    let of_bad = |key: &StreamKey| (*key == Rig::key()).then(|| Rc::clone(&settings));
    rig.hub.borrow_mut().configure(of_bad);
    rig.advance(3000);
    assert!(matches!(ended(&bad), Some(PublisherEnd::SourceFailed(_))));
    assert_eq!(ended(&good), None);
    drop(bad);
    assert!(!rig.hub.borrow().holds(&Rig::key()) && rig.hub.borrow().holds(&other));
}
