//! Who is there, and how somebody outside ends it.

use std::sync::Arc;

use super::super::Tag;
use super::*;
use crate::plane::{PublisherEnd, SinkState};

fn end_of(publisher: &Publisher) -> Option<PublisherEnd> {
    match publisher.poll_end(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(end) => Some(end),
        Poll::Pending => None,
    }
}

/// The only viewers of the stream.
fn viewers(rig: &Rig) -> Vec<SinkSnapshot> {
    let listed = rig.hub.borrow().viewers_of(&Rig::key(), (0, 100), rig.now);
    let (total, page) = listed.expect("the stream is there");
    assert_eq!(total, page.len());
    page
}

#[test]
fn a_viewer_that_keeps_up_lags_by_nothing_and_one_that_does_not_by_what_waits_for_it() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let (fast, slow) = (rig.join(), rig.join());
    rig.stream(&publisher, 2000, 1000);
    rig.socket(&slow).room = 0;
    rig.stream(&publisher, 5000, 1000);
    let listed = viewers(&rig);
    let of = |watcher: &Watcher| listed.iter().find(|it| it.id == watcher.viewer.id()).expect("it");
    let (fast, slow) = (of(&fast), of(&slow));
    assert_eq!((fast.state, fast.lag_ms, fast.lag_bytes), (SinkState::Playing, 0, 0));
    assert!((2000..4000).contains(&slow.lag_ms), "{slow:?}");
    assert!(slow.lag_bytes > 0 && slow.lag_bytes < fast.bytes, "{slow:?}");
    assert_eq!((slow.age_s, slow.format), (5, "flv"));
}

#[test]
fn viewers_are_told_in_pages_that_stay_while_others_leave() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let mut watchers: Vec<_> = (0..10).map(|_| rig.join()).collect();
    rig.stream(&publisher, 1000, 1000);
    let page = |rig: &Rig, offset| {
        let (total, page) =
            rig.hub.borrow().viewers_of(&Rig::key(), (offset, 4), rig.now).expect("there");
        (total, page.iter().map(|viewer| viewer.id).collect::<Vec<_>>())
    };
    let (total, first) = page(&rig, 0);
    assert_eq!((total, first.len(), page(&rig, 8).1.len(), page(&rig, 99).1.len()), (10, 4, 2, 0));
    watchers.remove(9);
    assert_eq!(page(&rig, 0), (9, first));
    let outputs = rig.hub.borrow().stream(&Rig::key(), rig.now).expect("there").outputs;
    assert_eq!((outputs[0].viewers_raw, outputs[0].viewers_chunked), (9, 0));
}

#[test]
fn a_viewer_is_ended_once_with_the_reason_at_the_end_of_a_message() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 1000, 1000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    let it = &viewers(&rig)[0];
    let end = |serial| rig.hub.borrow_mut().end_viewer(it.id, serial, "too loud", rig.now);
    assert!(!end(it.serial + 1), "that is another");
    assert!(end(it.serial) && !end(it.serial));
    let Some(SinkEvent::Ended(end)) = watcher.event() else { panic!("it is told") };
    assert_eq!((end.to_string().as_str(), end.breaks_off()), ("too loud", false));
    assert!(rig.hub.borrow().viewer(it.id, it.serial, rig.now).is_none());
    assert!(viewers(&rig).is_empty());
}

#[test]
fn a_viewer_that_waits_is_ended_and_not_counted_as_one_that_waited_in_vain() {
    let mut rig = Rig::new();
    let watcher = rig.join();
    let it = &viewers(&rig)[0];
    assert_eq!(it.state, SinkState::Waiting);
    assert!(rig.hub.borrow_mut().end_viewer(it.id, it.serial, "go", rig.now));
    assert!(matches!(watcher.event(), Some(SinkEvent::Ended(_))));
    assert_eq!(rig.hub.borrow().totals().not_found, 0);
    assert!(rig.hub.borrow().stream(&Rig::key(), rig.now).is_none(), "nobody is there any more");
}

#[test]
fn a_publisher_is_put_out_at_once_and_its_viewers_go_on_with_the_next() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.stream(&publisher, 1000, 1000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    let end = || rig.hub.borrow_mut().end_publisher(&Rig::key(), "wrong", rig.now);
    assert!(end() && !end());
    assert_eq!(end_of(&publisher).map(|end| end.to_string()).as_deref(), Some("wrong"));
    let next = rig.publish_av();
    drop(publisher);
    rig.stream(&next, 3000, 1000);
    assert_eq!(watcher.event(), None, "it stays");
    assert!(end_of(&next).is_none());
}

#[test]
fn all_of_one_tag_are_ended_and_nobody_else() {
    let mut rig = Rig::new();
    rig.tag = Some(Tag::new(Arc::new("bad")));
    let publisher = rig.publish_av();
    let bad = rig.join();
    rig.tag = Some(Tag::new(Arc::new("good")));
    let good = rig.join();
    rig.stream(&publisher, 1000, 1000);
    let is_bad = |tag: &Tag| tag.downcast_ref::<&str>() == Some(&"bad");
    assert_eq!(rig.hub.borrow_mut().end_all_of(is_bad, "rude", rig.now), 2);
    assert_eq!((bad.event(), good.event()), (Some(SinkEvent::Started), Some(SinkEvent::Started)));
    assert!(matches!(bad.event(), Some(SinkEvent::Ended(_))));
    assert_eq!(good.event(), None);
    assert!(end_of(&publisher).is_some());
}

#[test]
fn a_skip_is_told_with_whom_it_befell() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let tag = Tag::new(Arc::new("slow"));
    rig.tag = Some(tag.clone());
    let slow = rig.join();
    rig.stream(&publisher, 2000, 1000);
    rig.socket(&slow).room = 0;
    rig.stream(&publisher, 11_500, 1000);
    rig.socket(&slow).room = usize::MAX;
    rig.stream(&publisher, 13_000, 1000);
    let skipped = viewers(&rig)[0].clone();
    let is_live = |event: &&HubEvent| matches!(event, HubEvent::Live { .. });
    let told: Vec<_> = rig.events.iter().filter(|event| !is_live(event)).collect();
    let (ms, bytes) = (skipped.skipped_ms, skipped.skipped_bytes);
    assert_eq!((skipped.skips, told), (1, vec![&HubEvent::Skipped { tag, ms, bytes }]));
}
