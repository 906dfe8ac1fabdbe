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
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 0, staying: 0, publishers: 1 });
}

#[test]
fn a_slow_viewer_gets_the_rest_of_its_block_and_leaves_before_the_next_key_block() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
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
    let watchers: Vec<_> = (0..4).map(|_| rig.join()).collect();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    assert_eq!(drain(&mut rig, 1).staying, 3);
    rig.push(&publisher, picture(400, true, 10));
    rig.advance(400);
    assert_eq!(rig.hub.borrow().left().viewers, 3);
    assert_eq!(drain(&mut rig, 2).staying, 1);
    assert!(matches!(rig.try_join(|_| ()), Err(PlayRefused::Draining)));
    rig.hub.borrow_mut().stay();
    assert_eq!(rig.hub.borrow().left(), Left { viewers: 3, staying: 3, publishers: 1 });
    rig.push(&publisher, picture(800, true, 10));
    rig.advance(400);
    let gone = watchers.iter().filter(|watcher| {
        watcher.event();
        watcher.event().is_some()
    });
    assert_eq!(gone.count(), 1);
    rig.join();
}

#[test]
fn who_waits_is_turned_away_at_once() {
    let mut rig = Rig::new();
    let waiting = rig.join();
    assert_eq!(drain(&mut rig, 1), Left::default());
    assert_eq!(waiting.event(), Some(SinkEvent::TurnedAway));
    assert!(rig.socket(&waiting).got.is_empty());
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
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    let now = rig.now;
    rig.hub.borrow_mut().drain_now(now);
    assert_eq!(watcher.event(), GONE);
    assert_eq!(ended(&publisher), Some(PublisherEnd::Draining));
    assert_eq!(rig.hub.borrow().left(), Left::default());
}
