//! A node that goes out of service.

use super::*;

fn drain(rig: &mut Rig, count: usize) -> Left {
    let now = rig.now;
    let mut hub = rig.hub.borrow_mut();
    hub.drain(count, now);
    hub.left()
}

const GONE: Option<SinkEvent> = Some(SinkEvent::Ended(SinkEnd::Draining));

#[test]
fn a_viewer_leaves_before_the_next_key_frame_with_all_that_was_before() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.push(&publisher, picture(40, false, 10));
    rig.advance(400);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    assert_eq!(drain(&mut rig, 9), Left { viewers: 1, staying: 0, publishers: 1 });
    rig.push(&publisher, picture(400, false, 10));
    rig.advance(400);
    assert_eq!(watcher.event(), None);
    rig.push(&publisher, picture(800, false, 10));
    rig.push(&publisher, picture(840, true, 10));
    rig.push(&publisher, picture(880, false, 10));
    rig.advance(400);
    assert_eq!(watcher.event(), GONE);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 v40 v400 v800");
    assert!(watcher.viewer.take_rest().is_empty());
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 1, staying: 0, publishers: 1 });
    drop(watcher);
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 0, staying: 0, publishers: 1 });
}

#[test]
fn a_slow_viewer_gets_the_rest_of_its_block_and_leaves_before_the_next_key_block() {
    let mut rig = Rig::new();
    let (publisher, watcher) = rig.on_air();
    rig.socket(&watcher).room = 20;
    rig.push(&publisher, picture(400, false, 100));
    rig.advance(400);
    rig.push(&publisher, picture(800, true, 100));
    rig.advance(400);
    drain(&mut rig, 1);
    rig.advance(100);
    assert_eq!(watcher.event(), None, "it stands inside a message");
    rig.socket(&watcher).room = usize::MAX;
    rig.advance(400);
    assert_eq!(watcher.event(), GONE);
    assert_eq!(rig.words(&watcher), "flv5 V1 A1 K0 v400");
}

#[test]
fn so_many_leave_as_are_told_to_and_the_others_stay_if_it_is_undone() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let mut watchers: Vec<_> = (0..4).map(|_| rig.join()).collect();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    assert_eq!(drain(&mut rig, 1).staying, 3);
    rig.push(&publisher, picture(400, true, 10));
    rig.advance(400);
    let before = watchers.len();
    watchers.retain(|watcher| {
        assert_eq!(watcher.event(), Some(SinkEvent::Started));
        watcher.event() != GONE
    });
    assert_eq!(before - watchers.len(), 1);
    assert_eq!(rig.hub.borrow().left().viewers, 3);
    assert_eq!(drain(&mut rig, 2).staying, 1);
    assert!(matches!(rig.try_join(|_| ()), Err(PlayRefused::Draining)));
    rig.hub.borrow_mut().stay();
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 3, staying: 3, publishers: 1 });
    rig.push(&publisher, picture(800, true, 10));
    rig.advance(400);
    assert!(watchers.iter().all(|watcher| watcher.event().is_none()));
    rig.join();
}

#[test]
fn who_waits_is_turned_away_at_once() {
    let mut rig = Rig::new();
    let waiting = rig.join();
    assert_eq!(drain(&mut rig, 1), Left { viewers: 1, staying: 0, publishers: 0 });
    assert_eq!(waiting.event(), Some(SinkEvent::TurnedAway));
    assert!(rig.socket(&waiting).got.is_empty());
    drop(waiting);
    assert_eq!(rig.hub.borrow().left(), Left::default());
}

#[test]
fn without_a_picture_to_wait_for_viewers_leave_at_once() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watchers = [rig.join(), rig.join()];
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    watchers.iter().for_each(|watcher| assert_eq!(watcher.event(), Some(SinkEvent::Started)));
    watchers[0].viewer.pause();
    drain(&mut rig, 2);
    assert_eq!(watchers[0].event(), GONE, "it is paused");
    assert_eq!(watchers[1].event(), None);
    drop(publisher);
    rig.advance(10);
    drain(&mut rig, 0);
    assert_eq!(watchers[1].event(), GONE, "its publisher has left");
}

#[test]
fn publishers_are_told_and_leave() {
    let rig = Rig::new();
    let publisher = rig.publish_av();
    let now = rig.now;
    rig.hub.borrow_mut().end_publishers(now);
    assert_eq!(ended(&publisher), Some(PublisherEnd::Draining));
    assert_eq!(rig.hub.borrow().left().publishers, 0);
    assert_eq!(publisher.push(picture(0, true, 10), now), Err(PushError::NotHeld));
}

#[test]
fn at_the_last_everyone_is_ended_where_it_stands() {
    let mut rig = Rig::new();
    let (publisher, watcher) = rig.on_air();
    let now = rig.now;
    rig.hub.borrow_mut().drain_now(now);
    assert_eq!(watcher.event(), GONE);
    assert_eq!(ended(&publisher), Some(PublisherEnd::Draining));
    // Their drivers have still to say so.
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 1, staying: 0, publishers: 0 });
    drop(watcher);
    assert_eq!(rig.hub.borrow().left(), Left::default());
    assert!(!rig.hub.borrow().is_deserted());
    drop(publisher);
    assert!(rig.hub.borrow().is_deserted());
}

#[test]
fn who_publishes_when_publishers_were_ended_is_refused_until_it_is_undone() {
    let mut rig = Rig::new();
    let now = rig.now;
    // Viewers go first, and as long as there is somebody to watch, publishers may come.
    drain(&mut rig, 1);
    let publisher = rig.publish_av();
    rig.hub.borrow_mut().end_publishers(now);
    assert_eq!(ended(&publisher), Some(PublisherEnd::Draining));
    drain(&mut rig, 1);
    let Err(refused) = rig.try_publish() else { panic!("nobody may come") };
    assert_eq!(refused.to_string(), PlayRefused::Draining.to_string());
    assert_eq!(rig.hub.borrow().left(), Left::default());
    drop(publisher);
    rig.hub.borrow_mut().stay();
    let publisher = rig.publish_av();
    let now = rig.now;
    rig.hub.borrow_mut().drain_now(now);
    assert_eq!(ended(&publisher), Some(PublisherEnd::Draining));
    drop(publisher);
    assert!(rig.try_publish().is_err());
}

/// Some are told per tick, of many who come and go, also if it is undone in between.
#[test]
fn each_is_told_once_and_all_are_told_whoever_leaves_by_itself() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.push(&publisher, picture(0, true, 10));
    for round in 0..3 {
        let mut watchers: Vec<_> = (0..50).map(|_| rig.join()).collect();
        rig.advance(400);
        for tick in 1..=5 {
            drop(watchers.swap_remove(tick * 3));
            drop(watchers.swap_remove(0));
            let left = drain(&mut rig, 5);
            let staying = (watchers.len() - 5 * tick).max(left.staying);
            assert_eq!(left, Left { viewers: watchers.len(), staying, publishers: 1 });
            assert!(left.staying <= 50 - 5 * tick, "{left:?}");
        }
        if round == 1 {
            rig.hub.borrow_mut().stay();
            assert_eq!(rig.hub.borrow().left().staying, watchers.len());
        }
        let left = drain(&mut rig, 50);
        assert_eq!(left, Left { viewers: watchers.len(), staying: 0, publishers: 1 });
        let at = rig.ms();
        rig.push(&publisher, picture(at, true, 10));
        rig.advance(400);
        for watcher in &watchers {
            assert_eq!(watcher.event(), Some(SinkEvent::Started));
            assert_eq!(watcher.event(), GONE);
        }
        drop(watchers);
        assert_eq!(rig.hub.borrow().left(), Left { viewers: 0, staying: 0, publishers: 1 });
        rig.hub.borrow_mut().stay();
    }
}
