//! When blocks are sealed and flushed, and whom a sweep visits.

use super::*;
use crate::media::{PrivateStream, PrivateStreams};

/// When the viewer's socket was written to, in milliseconds.
fn times(rig: &Rig, of: &Watcher) -> Vec<u64> {
    rig.sockets[&of.fd].writes.iter().map(|(at, _)| *at).collect()
}

fn heads(rig: &Rig) -> Vec<u64> {
    rig.hub.borrow().transes.iter().map(|(_, trans)| trans.log.head()).collect()
}

#[test]
fn a_flush_is_due_one_window_after_the_first_frame_that_waits() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.advance(100);
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(300);
    rig.push(&publisher, picture(300, false, 10));
    rig.advance(400);
    // Nothing waits now: the next window begins with the next frame.
    rig.push(&publisher, picture(700, false, 10));
    rig.advance(1000);
    assert_eq!(times(&rig, &watcher), [450, 1150]);
}

#[test]
fn private_data_wakes_no_flush_where_it_has_no_place() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let mut streams = PrivateStreams::default();
    assert!(streams.push(PrivateStream { stream_type: 6, descriptors: Bytes::new() }));
    let flv = rig.join();
    let mp4 = rig.join_with(|request| request.format = Format::Fmp4);
    let ts = rig.join_with(|request| request.format = Format::Ts);
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    publisher.set_private_streams(streams);
    rig.push(&publisher, frame(TrackKind::Private, 100, false, 30));
    rig.advance(200);
    rig.push(&publisher, picture(600, false, 10));
    rig.advance(1000);
    // Where it has one, a window began with it.
    assert_eq!(times(&rig, &ts), [350, 750]);
    let mut packets = rig.sockets[&ts.fd].got.chunks_exact(188);
    assert!(packets.any(|packet| packet[1..3] == [0x41, 2]), "of its PID");
    for watcher in [&flv, &mp4] {
        assert_eq!(times(&rig, watcher), [350, 950]);
    }
    assert_eq!(rig.words(&flv), "flv5 V1 A1 K0 v600", "and its tracks are those of before");
    let boxes = |name: &[u8]| rig.sockets[&mp4.fd].got.windows(4).filter(|it| *it == name).count();
    assert_eq!((boxes(b"moov"), boxes(b"moof")), (1, 2));
}

#[test]
fn the_time_a_frame_waited_to_be_read_is_part_of_its_window() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.advance(100);
    publisher.set_waited(Duration::from_millis(80));
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(600);
    publisher.set_waited(Duration::ZERO);
    rig.push(&publisher, picture(600, false, 10));
    rig.advance(1000);
    assert_eq!(times(&rig, &watcher), [370, 1050]);
}

#[test]
fn a_key_frame_seals_but_does_not_flush() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    rig.push(&publisher, picture(40, false, 10));
    rig.push(&publisher, picture(80, true, 10));
    rig.advance(1);
    assert_eq!(heads(&rig), [2]);
    assert_eq!(times(&rig, &watcher), [350]);
    rig.advance(349);
    assert_eq!(times(&rig, &watcher), [350, 700], "both blocks in one write");
}

#[test]
fn window_0_flushes_after_each_read() {
    let mut rig = Rig::with(|settings| settings.merge_window = Duration::ZERO);
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.run();
    rig.advance(40);
    rig.push(&publisher, picture(40, false, 10));
    rig.push(&publisher, sound(40, 10));
    rig.run();
    assert_eq!(times(&rig, &watcher), [0, 40]);
}

#[test]
fn a_block_is_sealed_at_the_size_cap_and_a_larger_message_has_its_own() {
    let mut rig = Rig::with(|settings| settings.block_bytes = 1000);
    let publisher = rig.publish_av();
    let watcher = rig.join();
    for (at, len) in [(0, 10), (40, 900), (80, 200), (120, 5000), (160, 10)] {
        rig.push(&publisher, picture(at, at == 0, len));
    }
    assert_eq!(heads(&rig), [3]);
    rig.advance(350);
    assert_eq!(heads(&rig), [4]);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 v40 v80 v120 v160");
}

#[test]
fn newcomers_seal_at_most_once_in_50_ms_and_make_nobody_else_be_visited() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    let before = heads(&rig)[0];
    let mut newcomers = Vec::new();
    for at in 0..30 {
        rig.push(&publisher, picture(400 + at * 10, false, 10));
        newcomers.push(rig.join());
        rig.advance(10);
    }
    let sealed = heads(&rig)[0] - before;
    assert!((5..=7).contains(&sealed), "{sealed} in 300 ms");
    assert_eq!(times(&rig, &watcher), [350]);
    rig.advance(50);
    assert_eq!(times(&rig, &watcher), [350, 700]);
    for newcomer in &newcomers {
        assert_eq!(rig.words(newcomer), rig.words(&watcher));
    }
}

#[test]
fn a_sweep_visits_each_sink_once_though_sinks_leave_and_join_in_the_middle() {
    for leaver in 0..10 {
        let mut rig = Rig::new();
        let publisher = rig.publish_av();
        rig.push(&publisher, picture(0, true, 10));
        let mut watchers: Vec<_> = (0..10).map(|_| rig.join()).collect();
        rig.run();
        rig.push(&publisher, picture(40, false, 10));
        rig.now += Duration::from_millis(350);
        let now = rig.now;
        let mut visited = Vec::new();
        for turn in 0..5 {
            let mut hub = rig.hub.borrow_mut();
            let id = hub.next_visit(now).expect("a sweep is due");
            let (_, slices) = hub.slices(id, now);
            let offered = slices.iter().map(|slice| slice.len()).sum();
            drop(slices);
            hub.wrote(id, offered, Outcome::Wrote(offered), now);
            visited.push(id);
            drop(hub);
            if turn == 2 {
                watchers.remove(leaver);
            }
        }
        let late = rig.join();
        rig.visits.clear();
        rig.run();
        visited.extend(&rig.visits);
        let times_visited = |id: SinkId| visited.iter().filter(|other| **other == id).count();
        for watcher in &watchers {
            assert_eq!(times_visited(watcher.viewer.id()), 1, "{leaver} left: {visited:?}");
        }
        // The newcomer may have got the leaver's place in the slab.
        assert!(times_visited(late.viewer.id()) <= 2);
        assert_eq!(rig.words(&late), "flv5 V1 A1 K0 v40");
    }
}

#[test]
fn one_write_per_viewer_and_window_when_all_keep_up() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watchers: Vec<_> = (0..5).map(|_| rig.join()).collect();
    rig.stream(&publisher, 7000, 1000);
    // Windows begin with the next frame, so they are of 360 ms here.
    for watcher in &watchers {
        assert_eq!(times(&rig, watcher).len(), 7000 / 360);
    }
}

#[test]
fn a_sweep_that_runs_when_its_next_is_due_is_an_overrun_and_widens_the_window() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watchers = [rig.join(), rig.join()];
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(350);
    rig.push(&publisher, picture(20, false, 10));
    rig.now += Duration::from_millis(350);
    // One visit, and then the core is busy elsewhere for a window.
    let first = rig.hub.borrow_mut().next_visit(rig.now).expect("a sweep is due");
    rig.hub.borrow_mut().visit_at(first, rig.now);
    rig.push(&publisher, picture(40, false, 10));
    rig.now += Duration::from_millis(350);
    rig.run();
    assert_eq!(rig.totals().overruns, 1);
    rig.hub.borrow_mut().second(0.1, Duration::ZERO);
    assert_eq!(rig.hub.borrow().pressure().step, 1);
    rig.advance(1000);
    rig.sockets.values_mut().for_each(|socket| socket.writes.clear());
    let at = rig.ms();
    rig.push(&publisher, picture(80, false, 10));
    rig.advance(1000);
    // 350 ms and one step of eight to 1 s.
    assert_eq!(times(&rig, &watchers[1]), [at + 431]);
}

#[test]
fn newcomers_are_refused_only_at_the_widest_window_and_let_in_when_there_is_air() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    for _ in 0..8 {
        rig.hub.borrow_mut().second(0.95, Duration::ZERO);
        assert!(rig.try_join(|_| ()).is_ok());
    }
    rig.hub.borrow_mut().second(0.95, Duration::ZERO);
    assert_eq!(rig.try_join(|_| ()).err(), Some(PlayRefused::Overloaded));
    assert_eq!(rig.totals().refused_overloaded, 1);
    rig.hub.borrow_mut().second(0.5, Duration::ZERO);
    assert!(rig.try_join(|_| ()).is_ok());
    drop(publisher);
}

#[test]
fn pressure_does_not_outlast_the_last_source() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    for _ in 0..9 {
        rig.hub.borrow_mut().second(1.0, Duration::ZERO);
    }
    drop(publisher);
    rig.advance(15_000);
    assert!(!rig.hub.borrow().is_active());
    assert!(rig.try_join(|_| ()).is_ok(), "nobody measures an idle core");
}

#[test]
fn a_trans_stream_goes_when_it_was_idle_for_5_s_and_is_made_again_from_the_cache() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 1000, 400);
    drop(watcher);
    rig.stream(&publisher, 5960, 400);
    assert_eq!(rig.totals().transes, 1);
    rig.stream(&publisher, 6200, 400);
    let Totals { transes, log_bytes, .. } = rig.totals();
    assert_eq!((transes, log_bytes), (0, 0));
    let watcher = rig.join();
    rig.run();
    assert_eq!(rig.words(&watcher).split(' ').nth(3), Some("K6000"));
}

#[test]
fn a_viewer_who_comes_in_time_keeps_an_idle_trans_stream() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    drop(rig.join());
    rig.stream(&publisher, 4000, 400);
    let _watcher = rig.join();
    rig.stream(&publisher, 20_000, 400);
    assert_eq!(rig.totals().transes, 1);
}

#[test]
fn the_flush_loop_is_woken_for_what_is_due_sooner_than_it_sleeps() {
    use std::sync::atomic::{AtomicBool, Ordering};
    struct Flag(AtomicBool);
    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let rig = Rig::new();
    let flag = Arc::new(Flag(AtomicBool::new(false)));
    rig.hub.borrow_mut().sleep(None, &Arc::clone(&flag).into());
    let publisher = rig.publish_av();
    assert!(flag.0.swap(false, Ordering::Relaxed), "the probe has a limit");
    let until = rig.hub.borrow().poll_timeout(rig.now);
    rig.hub.borrow_mut().sleep(until, &Arc::clone(&flag).into());
    drop(publisher);
    assert!(!flag.0.load(Ordering::Relaxed), "the grace ends later");
}
