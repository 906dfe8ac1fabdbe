//! Waiting limits, pause and resume, other tracks, the end.

use super::*;

#[test]
fn a_viewer_that_changes_its_mind_all_the_time_sets_no_more_timers() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, sound(0, 100));
    let watcher = rig.join();
    let flip = || {
        watcher.viewer.select(Selection { audio: true, video: false }, rig.now);
        watcher.viewer.select(Selection::ALL, rig.now);
        rig.hub.borrow().timers.len()
    };
    let first = flip();
    for _ in 0..100 {
        assert!(flip() <= first + 1);
    }
    rig.advance(60_000);
    assert_eq!(rig.hub.borrow().transes.len(), 1, "the one it left is gone");
    drop((watcher, publisher));
}

#[test]
fn a_stream_has_so_many_viewers_waiting_ones_included() {
    let mut rig = Rig::with(|settings| settings.sinks_max = 2);
    let first = rig.join();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    let second = rig.join();
    let full = rig.try_join(|_| ()).map(|_| ()).expect_err("two are there");
    assert_eq!(full, PlayRefused::StreamIsFull(2));
    assert!(full.to_string().contains("(viewers_max_per_stream)"), "{full}");
    assert_eq!(rig.totals().refused_full, 1);
    drop(second);
    let _third = rig.join();
    assert!(rig.try_join(|_| ()).is_err());
    drop(first);
    rig.join();
}

#[test]
fn viewers_that_wait_are_limited_per_key_and_per_node() {
    let mut rig = Rig::with(|settings| {
        settings.waiting_sinks_per_key = 2;
        settings.waiting_sinks = 3;
    });
    let other = |name: &str| StreamKey::new("live", name).expect("valid");
    let first = rig.join();
    let _second = rig.join();
    assert_eq!(rig.try_join(|_| ()).err(), Some(PlayRefused::TooManyWaitForKey(2)));
    let _third = rig.join_with(|request| request.key = other("b"));
    let fourth = rig.try_join(|request| request.key = other("c")).err();
    assert_eq!(fourth, Some(PlayRefused::TooManyWait(3)));
    assert_eq!(rig.totals().refused_waiting, 2);
    assert!(!rig.hub.borrow().holds(&other("c")), "who is refused leaves nothing");
    drop(first);
    let _fifth = rig.join_with(|request| request.key = other("c"));
    // Who can watch at once does not wait.
    let publisher = rig.publish_av();
    let _sixth = [rig.join(), rig.join(), rig.join()];
    drop(publisher);
}

#[test]
fn a_paused_viewer_gets_nothing_and_goes_on_at_the_newest_key_block() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 800, 1000);
    watcher.viewer.pause();
    rig.take_words(&watcher);
    rig.stream(&publisher, 4400, 1000);
    assert_eq!(rig.take_words(&watcher), "");
    watcher.viewer.resume(rig.now);
    rig.run();
    let words = rig.words(&watcher);
    assert!(words.starts_with("K4000 a4000 a4020 v4040"), "{words}");
    assert_eq!(watcher.viewer.stats().skips, 0);
}

#[test]
fn who_goes_on_further_ahead_is_told_of_the_jump_even_with_a_block_in_hand() {
    let mut rig = Rig::new();
    let publisher = rig.publish();
    publisher.set_metadata(metadata(false, true), rig.now);
    publisher.set_track(audio_track(0x10), rig.now);
    let watcher = rig.join_with(|request| request.format = Format::Ts);
    rig.sound(&publisher, 1000);
    rig.socket(&watcher).room = 300;
    rig.sound(&publisher, 2000);
    watcher.viewer.pause();
    rig.sound(&publisher, 4000);
    rig.socket(&watcher).room = usize::MAX;
    watcher.viewer.resume(rig.now);
    rig.sound(&publisher, 5000);
    let (mut last, mut jumps) = (std::collections::HashMap::new(), 0);
    for packet in rig.sockets[&watcher.fd].got.chunks_exact(188) {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (counter, counts) = (packet[3] & 15, packet[3] >> 4 & 1);
        let jumps_here = packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x80 != 0;
        jumps += u32::from(jumps_here);
        let before = last.insert(pid, counter).filter(|_| !jumps_here);
        assert!(before.is_none_or(|before| (before + counts) & 15 == counter), "PID {pid:#x}");
    }
    assert_eq!(jumps, 3, "of the tables and of the sound");
}

#[test]
fn a_short_pause_leaves_nothing_out() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 400, 10_000);
    watcher.viewer.pause();
    rig.stream(&publisher, 1200, 10_000);
    watcher.viewer.resume(rig.now);
    rig.stream(&publisher, 2000, 10_000);
    rig.advance(350);
    let words = rig.words(&watcher);
    assert_eq!(words.matches(['v', 'K']).count(), 1 + 50, "{words}");
}

#[test]
fn other_tracks_begin_at_a_key_block_with_their_headers_and_time_does_not_go_back() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 1500, 1000);
    watcher.viewer.select(Selection { audio: true, video: false }, rig.now);
    rig.stream(&publisher, 2500, 1000);
    watcher.viewer.select(Selection::ALL, rig.now);
    rig.stream(&publisher, 4000, 1000);
    let words = rig.words(&watcher);
    let sound_only = words.find(" A1 a").expect("headers of sound alone");
    let both = words.rfind(" V1 A1 ").expect("headers of both");
    assert!(sound_only < both, "{words}");
    assert!(!words[sound_only..both].contains(['v', 'K']), "{words}");
    assert!(words[both..].starts_with(" V1 A1 K3000 a3000"), "{words}");
    let sounds = words.split(' ').filter(|word| word.starts_with('a'));
    let times: Vec<u64> = sounds.map(|word| word[1..].parse().expect("a time")).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
}

#[test]
fn changing_tracks_before_the_start_starts_with_those() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    watcher.viewer.select(Selection { audio: true, video: false }, rig.now);
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, sound(0, 10));
    rig.advance(350);
    assert_eq!(rig.words(&watcher), "flv4 A1 a0");
}

#[test]
fn a_viewer_that_changes_tracks_inside_a_block_finishes_it() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 720, 1000);
    rig.socket(&watcher).room = 150;
    rig.stream(&publisher, 1080, 1000);
    watcher.viewer.select(Selection { audio: true, video: false }, rig.now);
    rig.stream(&publisher, 1200, 1000);
    rig.socket(&watcher).room = usize::MAX;
    rig.stream(&publisher, 2000, 1000);
    let words = rig.words(&watcher);
    let (before, after) = words.rsplit_once(" A1 ").expect("new headers");
    assert!(before.contains("v720"), "{words}");
    assert!(!after.contains(['v', 'K']), "{words}");
}

#[test]
fn what_is_left_of_a_block_is_the_drivers_to_write_when_the_stream_ends() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join_with(|request| request.framing = Framing::Chunked);
    rig.push(&publisher, picture(0, true, 1000));
    rig.advance(350);
    let start = rig.socket(&watcher).got.len();
    rig.push(&publisher, picture(40, false, 1000));
    rig.socket(&watcher).room = 300;
    drop(publisher);
    rig.advance(10);
    watcher.viewer.send(Bytes::from_static(b"bye"), rig.now);
    rig.hub.borrow_mut().abort(&Rig::key(), rig.now);
    let mut got = rig.socket(&watcher).got[start..].to_vec();
    assert_eq!(got.len(), 300);
    got.extend_from_slice(&watcher.viewer.take_rest().into_bytes());
    assert!(watcher.viewer.take_rest().is_empty());
    // Tag header, 5 bytes before the picture, the picture, the size.
    assert!(got.starts_with(b"3fc\r\n"));
    assert_eq!(flv_words(&got[5..5 + 1020]), (vec!["v40".to_owned()], 0));
    assert_eq!(got[5 + 1020..], *b"\r\nbye");
}

#[test]
fn replies_before_the_start_are_written_before_the_greeting() {
    let mut rig = Rig::new();
    let watcher = rig.join_with(|request| request.greeting = Bytes::from_static(b"hello"));
    watcher.viewer.send(Bytes::from_static(b"pong"), rig.now);
    rig.run();
    assert_eq!(rig.socket(&watcher).got, b"pong");
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    assert!(rig.socket(&watcher).got.starts_with(b"ponghelloFLV"));
}

#[test]
fn a_place_in_the_slab_has_no_memory() {
    let mut rig = Rig::new();
    let first = rig.join();
    let place = first.viewer.id();
    rig.advance(10_000);
    drop(first);
    let second = rig.join();
    assert_eq!(second.viewer.id(), place);
    rig.advance(10_000);
    assert_eq!(second.event(), None, "the wait of now, not that of the one before");
    rig.advance(5000);
    assert_eq!(second.event(), Some(SinkEvent::NotFound));
}
