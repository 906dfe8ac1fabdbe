//! Viewers whose sockets do not take everything at once.

use super::*;

fn write_times(rig: &Rig, of: &Watcher) -> Vec<u64> {
    rig.sockets[&of.fd].writes.iter().map(|(at, _)| *at).collect()
}

/// The times of all pictures a viewer got, in order.
fn pictures(rig: &Rig, of: &Watcher) -> Vec<u64> {
    let words = rig.words(of);
    let pictures = words.split(' ').filter(|word| word.starts_with(['K', 'v']));
    pictures.map(|word| word[1..].parse().expect("a time")).collect()
}

#[test]
fn one_visit_writes_256_kib_and_viewers_take_turns() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    for at in 0..7 {
        rig.push(&publisher, picture(at * 40, at == 0, 100_000));
    }
    let watchers = [rig.join(), rig.join()];
    rig.run();
    for watcher in &watchers {
        let sizes: Vec<_> = rig.socket(watcher).writes.iter().map(|(_, size)| *size).collect();
        assert_eq!(sizes[..2], [256 << 10; 2]);
        assert_eq!(sizes.len(), 3);
        assert_eq!(pictures(&rig, watcher).len(), 7);
    }
    let ids = watchers.each_ref().map(|watcher| watcher.viewer.id());
    assert_eq!(rig.visits, [ids[0], ids[1], ids[0], ids[1], ids[0], ids[1]]);
}

#[test]
fn who_takes_batches_is_visited_again_at_once_in_its_turn() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    for at in 0..4 {
        rig.push(&publisher, picture(at * 40, at == 0, 30_000));
    }
    let watchers = [rig.join(), rig.join()];
    watchers.iter().for_each(|watcher| rig.socket(watcher).batch = Some(50_000));
    rig.run();
    for watcher in &watchers {
        let writes = &rig.socket(watcher).writes;
        assert_eq!(writes.iter().map(|(_, size)| *size).collect::<Vec<_>>()[..2], [50_000; 2]);
        assert!(writes.iter().all(|(at, _)| *at == writes[0].0), "{writes:?}");
        assert_eq!(pictures(&rig, watcher), [0, 40, 80, 120]);
    }
    let ids = watchers.each_ref().map(|watcher| watcher.viewer.id());
    assert_eq!(rig.visits, [ids[0], ids[1], ids[0], ids[1], ids[0], ids[1]]);
    assert_eq!((rig.totals().short_writes, rig.totals().blocked_writes), (0, 0));
}

#[test]
fn a_short_write_is_tried_again_after_10_ms_and_then_ever_less_often() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.socket(&watcher).room = 50;
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(2000);
    let writes = write_times(&rig, &watcher);
    let gaps: Vec<_> = writes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps, [10, 20, 40, 80, 160, 320, 320, 320, 320]);
    let Totals { short_writes, blocked_writes, .. } = rig.totals();
    assert_eq!((short_writes, blocked_writes), (1, writes.len() as u64 - 1));
    // It takes again: the rest goes out, and it is visited with the others from then on.
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(320);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0");
    let visits = rig.visits.len();
    rig.advance(1000);
    assert_eq!(rig.visits.len(), visits);
}

#[test]
fn a_slow_reader_that_never_stalls_misses_nothing() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.socket(&watcher).room = 0;
    // 8.5 kB/s of FLV to a reader that takes 100 bytes each 10 ms.
    for _ in 0..500 {
        let at = rig.ms();
        rig.push(&publisher, picture(at, at.is_multiple_of(1000), 300));
        for _ in 0..4 {
            rig.advance(10);
            let socket = rig.socket(&watcher);
            socket.room = (socket.room + 100).min(400);
        }
    }
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(400);
    assert_eq!(pictures(&rig, &watcher), (0..500).map(|at| at * 40).collect::<Vec<_>>());
    assert_eq!(watcher.viewer.stats().skips, 0);
}

#[test]
fn a_viewer_past_max_lag_finishes_its_block_and_skips_to_the_newest_key_block() {
    let mut rig = Rig::with(|settings| {
        settings.max_lag = Duration::from_secs(2);
        settings.stall_timeout = Duration::from_secs(60);
    });
    let publisher = rig.publish_av();
    let (watcher, ordinary) = (rig.join(), rig.join());
    rig.stream(&publisher, 1000, 1000);
    rig.socket(&watcher).room = 100;
    rig.stream(&publisher, 5500, 1000);
    rig.socket(&watcher).room = usize::MAX;
    rig.stream(&publisher, 7000, 1000);
    let pictures = pictures(&rig, &watcher);
    let gap = pictures.windows(2).find(|pair| pair[1] - pair[0] != 40).expect("a gap");
    assert_eq!(gap, [960, 5000], "the block in hand ended where a key frame sealed it");
    assert!(rig.words(&watcher).contains(" K5000 "));
    let stats = watcher.viewer.stats();
    assert_eq!((stats.skips, rig.totals().skips), (1, 1));
    assert_eq!(stats.skipped_ms, 4020, "from the end of the last block to the key frame");
    assert_eq!(stats.bytes as usize, rig.socket(&watcher).got.len());
    assert_eq!(stats.bytes + stats.skipped_bytes, ordinary.viewer.stats().bytes);
}

#[test]
fn a_socket_may_hold_two_windows_of_the_stream_unsent() {
    let mut rig = Rig::with(|settings| {
        settings.merge_window = Duration::from_millis(800);
    });
    let publisher = rig.publish_av();
    let watcher = rig.join();
    assert_eq!(watcher.viewer.unsent_max(), rig.settings.block_bytes, "nothing is known yet");
    let pictures = |rig: &mut Rig, until: u64, bytes: usize| {
        while rig.ms() < until {
            let at = rig.ms();
            rig.push(&publisher, picture(at, at.is_multiple_of(1000), bytes));
            rig.advance(40);
        }
        watcher.viewer.unsent_max()
    };
    // 500 000 bytes a second.
    let most = pictures(&mut rig, 4000, 20_000);
    assert!((800_000..850_000).contains(&most), "{most}");
    assert_eq!(pictures(&mut rig, 24_000, 100), 128 << 10, "of a small stream");
}

#[test]
fn lag_does_not_count_before_the_first_catch_up() {
    let mut rig = Rig::with(|settings| {
        settings.max_lag = Duration::from_secs(1);
        settings.log_max_bytes = 1 << 20;
    });
    let publisher = rig.publish_av();
    let _other = rig.join();
    rig.stream(&publisher, 6000, 10_000);
    let watcher = rig.join();
    rig.socket(&watcher).room = 2000;
    // It takes more than comes, and yet needs seconds to be where the others are.
    while rig.ms() < 9000 {
        let to = rig.ms() + 40;
        rig.stream(&publisher, to, 10_000);
        rig.socket(&watcher).room = 700;
    }
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(400);
    assert_eq!(watcher.viewer.stats().skips, 0);
    assert_eq!(pictures(&rig, &watcher), (0..225).map(|at| at * 40).collect::<Vec<_>>());
}

#[test]
fn a_viewer_that_takes_nothing_for_stall_timeout_is_ended_and_says_no_more() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 1000, 1000);
    rig.socket(&watcher).room = 10;
    rig.stream(&publisher, 11_000, 1000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(watcher.event(), None);
    rig.stream(&publisher, 12_000, 1000);
    let end = SinkEnd::Stalled(Duration::from_secs(10));
    assert_eq!(watcher.event(), Some(SinkEvent::Ended(end.clone())));
    assert!(end.breaks_off());
    assert!(watcher.viewer.take_rest().is_empty());
    assert_eq!((rig.totals().stalls, rig.totals().sinks), (1, 0));
}

#[test]
fn nothing_stalls_while_nothing_waits() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 400, 1000);
    rig.socket(&watcher).room = 0;
    rig.stream(&publisher, 5000, 1000);
    // It pauses, and then all it was blocked for is no longer due.
    watcher.viewer.pause();
    rig.stream(&publisher, 20_000, 1000);
    watcher.viewer.resume(rig.now);
    rig.stream(&publisher, 25_000, 1000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(watcher.event(), None);
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(400);
    assert!(rig.words(&watcher).contains("v320 a320 a340 K"));
}

#[test]
fn those_who_hold_the_oldest_blocks_are_ended_when_too_much_is_pinned() {
    let mut rig = Rig::with(|settings| {
        settings.log_max_bytes = 20_000;
        settings.pinned_max_bytes = 15_000;
        settings.stall_timeout = Duration::from_secs(600);
    });
    let publisher = rig.publish_av();
    let watchers = [rig.join(), rig.join(), rig.join(), rig.join()];
    let push = |rig: &mut Rig, at: u64| {
        rig.push(&publisher, picture(at, true, 10_000));
        rig.advance(400);
    };
    push(&mut rig, 0);
    // Two hold one block, one holds another.
    for watcher in &watchers[..2] {
        rig.socket(watcher).room = 100;
    }
    push(&mut rig, 400);
    rig.socket(&watchers[2]).room = 100;
    push(&mut rig, 800);
    let blocks = |rig: &Rig| -> Vec<_> {
        let hub = rig.hub.borrow();
        let pinned = watchers.each_ref().map(|watcher| {
            let sink = &hub.sinks[watcher.viewer.id()];
            sink.in_hand.as_ref().map(|(block, _)| block.number)
        });
        pinned.to_vec()
    };
    assert_eq!(blocks(&rig), [Some(1), Some(1), Some(2), None]);
    for at in 3..7 {
        push(&mut rig, at * 400);
    }
    assert_eq!(blocks(&rig), [None, None, Some(2), None]);
    assert_eq!(rig.totals().pinned_out, 2);
    for watcher in &watchers[..2] {
        assert_eq!(watcher.event(), Some(SinkEvent::Started));
        assert_eq!(watcher.event(), Some(SinkEvent::Ended(SinkEnd::Pinned)));
        assert!(watcher.viewer.take_rest().is_empty());
    }
    assert_eq!(watchers[2].event(), Some(SinkEvent::Started));
    assert_eq!(watchers[2].event(), None);
}

#[test]
fn private_bytes_go_at_once_at_a_boundary_and_else_wait_for_one() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(350);
    rig.take_words(&watcher);
    watcher.viewer.send(Bytes::from_static(b"pong"), rig.now);
    rig.run();
    assert_eq!(rig.socket(&watcher).got, b"pong");
    rig.socket(&watcher).got.clear();
    rig.socket(&watcher).room = 20;
    rig.push(&publisher, picture(40, false, 100));
    rig.advance(350);
    watcher.viewer.send(Bytes::from_static(b"pong"), rig.now);
    rig.advance(350);
    rig.push(&publisher, picture(80, false, 100));
    rig.advance(350);
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(350);
    let got = rig.socket(&watcher).got.clone();
    let at = got.windows(4).position(|part| part == b"pong").expect("sent");
    assert_eq!(flv_words(&got[..at]), (vec!["v40".to_owned()], 0));
    assert_eq!(flv_words(&got[at + 4..]), (vec!["v80".to_owned()], 0));
}

#[test]
fn a_viewer_that_asks_and_does_not_read_is_ended() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(350);
    for _ in 0..1000 {
        watcher.viewer.send(Bytes::from_static(&[0; 1000]), rig.now);
        rig.run();
    }
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(watcher.event(), None, "it reads");
    rig.socket(&watcher).room = 0;
    for _ in 0..66 {
        watcher.viewer.send(Bytes::from_static(&[0; 1000]), rig.now);
        rig.run();
    }
    assert_eq!(watcher.event(), Some(SinkEvent::Ended(SinkEnd::Flooded)));
    assert!(watcher.viewer.take_rest().is_empty());
}

#[test]
fn a_broken_socket_ends_its_viewer_alone() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watchers = [rig.join(), rig.join()];
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(350);
    rig.socket(&watchers[0]).broken = true;
    rig.stream(&publisher, 1000, 1000);
    let end = SinkEnd::WriteFailed(ErrorKind::BrokenPipe);
    assert_eq!(watchers[0].event(), Some(SinkEvent::Started));
    assert_eq!(watchers[0].event(), Some(SinkEvent::Ended(end)));
    assert_eq!(watchers[1].event(), Some(SinkEvent::Started));
    assert_eq!(watchers[1].event(), None);
}

#[test]
fn a_viewer_the_log_has_left_behind_waits_for_the_next_key_frame_and_gets_it() {
    let mut rig = Rig::with(|settings| {
        settings.gop_cache_max = Duration::from_secs(2);
        settings.max_lag = Duration::from_secs(2);
        settings.stall_timeout = Duration::from_secs(60);
    });
    let publisher = rig.publish_av();
    let (watcher, ordinary) = (rig.join(), rig.join());
    rig.stream(&publisher, 1000, 100_000);
    rig.socket(&watcher).room = 0;
    rig.stream(&publisher, 6000, 100_000);
    rig.socket(&watcher).room = usize::MAX;
    rig.stream(&publisher, 8000, 100_000);
    let (stats, bytes) = (watcher.viewer.stats(), ordinary.viewer.stats().bytes);
    assert_eq!(stats.skips, 1);
    // Of eight seconds, each as large as the others.
    let share = stats.skipped_ms * bytes / 8000;
    assert!(stats.skipped_bytes.abs_diff(share) < bytes / 100, "{stats:?} of {bytes}");
    let last = *pictures(&rig, &watcher).last().expect("some");
    assert!(last < 1000);
    rig.push(&publisher, picture(8000, true, 100));
    rig.push(&publisher, picture(8040, false, 100));
    rig.advance(400);
    assert!(rig.words(&watcher).ends_with("K8000 v8040"));
    rig.stream(&publisher, 9000, 100_000);
    rig.advance(400);
    assert_eq!(pictures(&rig, &watcher).last(), Some(&8960));
}
