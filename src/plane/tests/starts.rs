//! Where a viewer starts, and with which headers.

use super::*;

#[test]
fn a_newcomer_gets_everything_from_the_last_key_frame_at_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _other = rig.join();
    rig.stream(&publisher, 1000, 400);
    let watcher = rig.join();
    rig.run();
    assert_eq!(rig.socket(&watcher).writes.len(), 1);
    let words = rig.words(&watcher);
    assert!(words.starts_with("flv5 V1 A1 K800 a800 a820 v840 "), "{words}");
    assert!(words.ends_with("v960 a960 a980"), "{words}");
}

#[test]
fn the_first_viewer_of_a_format_gets_the_kept_gop_too() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 1000, 400);
    let watcher = rig.join();
    rig.run();
    assert_eq!(rig.words(&watcher).split(' ').nth(3), Some("K800"));
    rig.stream(&publisher, 1400, 400);
    rig.advance(350);
    let words = rig.words(&watcher);
    assert!(words.contains("a980 v1000 a1000 a1020 v1040"), "{words}");
}

#[test]
fn gop_0_starts_at_the_next_key_block() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _other = rig.join();
    rig.stream(&publisher, 480, 400);
    // The key frame of 400 ms waits in the open block: it is not the next one.
    let watcher = rig.join_with(|request| request.from_cache = false);
    rig.stream(&publisher, 760, 400);
    assert_eq!(watcher.event(), None);
    rig.stream(&publisher, 1200, 400);
    let words = rig.words(&watcher);
    assert!(words.starts_with("flv5 V1 A1 K800 a800"), "{words}");
}

#[test]
fn gop_0_does_not_start_at_the_kept_gop_of_a_trans_stream_made_for_it() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 360, 400);
    let watcher = rig.join_with(|request| request.from_cache = false);
    rig.stream(&publisher, 800, 400);
    assert_eq!(rig.words(&watcher).split(' ').nth(3), Some("K400"));
}

#[test]
fn an_app_without_gop_cache_keeps_none_and_starts_at_the_next_key_block() {
    let mut rig = Rig::with(|settings| settings.gop_cache = false);
    let publisher = rig.publish_av();
    rig.stream(&publisher, 480, 400);
    assert_eq!(rig.totals().gop_bytes, 0);
    let watcher = rig.join();
    rig.stream(&publisher, 1200, 400);
    assert_eq!(rig.words(&watcher).split(' ').nth(3), Some("K800"));
}

#[test]
fn an_endless_gop_is_dropped_and_counted_and_newcomers_start_at_the_head_after_key_wait() {
    for watched in [false, true] {
        let mut rig = Rig::with(|settings| {
            settings.gop_cache_max = Duration::from_secs(5);
            settings.key_wait = Duration::from_secs(2);
        });
        let publisher = rig.publish_av();
        let other = watched.then(|| rig.join());
        rig.stream(&publisher, 6000, 100_000);
        assert_eq!((rig.totals().gop_bytes, rig.totals().gop_overgrown), (0, 1));
        let watcher = rig.join();
        rig.stream(&publisher, 7960, 100_000);
        assert_eq!(watcher.event(), None);
        rig.stream(&publisher, 8400, 100_000);
        assert_eq!(watcher.event(), Some(SinkEvent::Started));
        let words = rig.words(&watcher);
        let first = words.strip_prefix("flv5 V1 A1 ").expect("headers first");
        assert!(first.starts_with("v7") || first.starts_with("v8"), "{words}");
        if let Some(other) = other {
            assert_eq!(rig.words(&other).matches('v').count(), rig.frames_flushed(&other));
        }
    }
}

#[test]
fn who_starts_between_key_frames_by_ts_gets_the_tables_first() {
    let mut rig = Rig::with(|settings| {
        settings.gop_cache_max = Duration::from_secs(5);
        settings.key_wait = Duration::from_secs(2);
    });
    let publisher = rig.publish_av();
    rig.stream(&publisher, 6000, 100_000);
    let watcher = rig.join_with(|request| request.format = Format::Ts);
    rig.stream(&publisher, 8400, 100_000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    let pids = rig.sockets[&watcher.fd].got.chunks_exact(188);
    let mut pids = pids.map(|packet| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]));
    assert_eq!(pids.next(), Some(0));
}

impl Rig {
    /// Pictures up to the last that a viewer got, its key frame and the word `flv` aside.
    fn frames_flushed(&self, of: &Watcher) -> usize {
        let words = self.words(of);
        let last = words.split(' ').rfind(|word| word.starts_with('v')).expect("one at least");
        last[1..].parse::<usize>().expect("a time") / 40 + 1
    }
}

#[test]
fn where_no_key_frame_comes_a_recovery_point_is_a_start() {
    let mut rig = Rig::with(|settings| settings.gop_cache_max = Duration::from_secs(1));
    let publisher = rig.publish_av();
    rig.stream(&publisher, 2000, 100_000);
    let watcher = rig.join();
    let mut recovery = picture(2000, false, 10);
    recovery.data = Bytes::from_static(&[0, 0, 0, 5, 6, 6, 1, 0xc0, 0x80, 0, 0, 0, 2, 0x41, 0x9a]);
    rig.push(&publisher, recovery);
    rig.push(&publisher, picture(2040, false, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 v2000 v2040");
}

#[test]
fn without_video_a_newcomer_starts_one_second_back() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(false, true), rig.now);
    publisher.set_track(audio_track(1), rig.now);
    let _other = rig.join();
    rig.sound(&publisher, 5000);
    for join_later in [false, true] {
        let selection = Selection { audio: true, video: !join_later };
        let watcher = rig.join_with(|request| request.selection = selection);
        rig.run();
        let words = rig.words(&watcher);
        let first: u64 = words.split(' ').nth(3).expect("a frame")[1..].parse().expect("a time");
        assert!((3640..=4000).contains(&first), "{words}");
        assert!(words.ends_with("a4980"), "{words}");
    }
}

#[test]
fn who_wants_no_video_starts_at_any_block_and_gets_none() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let sound_only = |request: &mut PlayRequest| request.selection.video = false;
    let _other = rig.join_with(sound_only);
    rig.stream(&publisher, 5000, 100_000);
    let watcher = rig.join_with(sound_only);
    rig.run();
    let words = rig.words(&watcher);
    assert!(words.starts_with("flv4 A1 a"), "{words}");
    let first: u64 = words.split(' ').nth(2).expect("a frame")[1..].parse().expect("a time");
    assert!((3600..=4000).contains(&first), "{words}");
    assert!(!words["flv4".len()..].contains(['v', 'K', 'V']), "{words}");
}

#[test]
fn while_video_is_stalled_newcomers_start_at_sound_until_it_returns() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _other = rig.join();
    rig.stream(&publisher, 2000, 1000);
    rig.sound(&publisher, 5000);
    let watcher = rig.join();
    rig.run();
    let words = rig.take_words(&watcher);
    let first: u64 = words.split(' ').nth(3).expect("a frame")[1..].parse().expect("a time");
    assert!(words.contains("A1 a") && first >= 3600, "{words}");
    rig.stream(&publisher, 6000, 1000);
    let newcomer = rig.join();
    rig.run();
    assert_eq!(rig.words(&newcomer).split(' ').nth(3), Some("K5000"));
    assert!(rig.words(&watcher).starts_with("K5000 a5000"));
}

#[test]
fn pictures_that_return_do_not_stand_in_a_block_to_start_at() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _other = rig.join();
    rig.stream(&publisher, 400, 10_000);
    rig.sound(&publisher, 3000);
    rig.push(&publisher, sound(3000, 10));
    rig.push(&publisher, picture(3010, false, 10));
    rig.advance(350);
    let hub = rig.hub.borrow();
    let (_, trans) = hub.transes.iter().next().expect("one");
    let last = trans.log.get(trans.log.head() - 1).expect("in the log");
    assert_eq!((last.key, last.start.as_millis()), (Start::No, 3010));
}

#[test]
fn a_video_track_whose_first_frame_never_comes_counts_as_stalled() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.sound(&publisher, 3000);
    let watcher = rig.join();
    rig.run();
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert!(rig.words(&watcher).starts_with("flv5 V1 A1 a"));
}

#[test]
fn new_audio_parameters_in_a_gop_reach_everyone_before_their_first_frame() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, sound(0, 10));
    publisher.set_track(audio_track(2), rig.now);
    rig.push(&publisher, sound(20, 10));
    rig.push(&publisher, picture(40, false, 10));
    let newcomer = rig.join();
    rig.advance(350);
    let whole = "flv5 V1 A1 K0 a0 V1 A2 a20 v40";
    assert_eq!(rig.words(&watcher), whole);
    assert_eq!(rig.words(&newcomer), whole, "the headers of its block first");
}

#[test]
fn new_video_parameters_start_a_key_block_with_a_new_init() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    publisher.set_track(video_track(2), rig.now);
    rig.push(&publisher, picture(40, true, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 V2 A1 K40");
    let newcomer = rig.join();
    rig.run();
    assert_eq!(rig.words(&newcomer), "flv5 V2 A1 K40");
}

#[test]
fn an_init_that_has_not_changed_is_sent_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    for at in 0..20 {
        publisher.set_track(video_track(1), rig.now);
        publisher.set_track(audio_track(1), rig.now);
        rig.push(&publisher, picture(at * 40, true, 10));
        rig.advance(350);
    }
    assert_eq!(rig.words(&watcher).matches("V1 A1").count(), 1);
}

#[test]
fn script_data_keeps_its_place_among_the_frames() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, frame(TrackKind::Data, 10, false, 10));
    rig.push(&publisher, picture(40, false, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 d10 v40");
}

#[test]
fn a_newcomer_waits_a_moment_for_a_key_frame_rather_than_start_at_an_old_one() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let _first = rig.join();
    rig.stream(&publisher, 120, 10_000);
    let _second = rig.join();
    rig.run();
    rig.push(&publisher, picture(130, true, 10));
    rig.advance(10);
    let third = rig.join();
    rig.run();
    assert_eq!(third.event(), None, "sealed for the second just now");
    rig.advance(40);
    assert_eq!(rig.words(&third), "flv5 V1 A1 K130");
}

#[test]
fn changed_metadata_is_passed_on_without_headers_and_newcomers_get_the_latest() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    publisher.set_metadata(metadata(true, true), rig.now);
    publisher.set_metadata(metadata(true, true), rig.now);
    rig.push(&publisher, picture(40, false, 10));
    rig.push(&publisher, picture(80, true, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 meta v40 K80");
    let newcomer = rig.join();
    rig.run();
    assert_eq!(rig.words(&newcomer), "flv5 meta V1 A1 K80");
}
