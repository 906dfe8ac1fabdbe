//! Viewers whose peer has gone without a word.

use super::*;

/// One that has begun, of a stream that is on.
fn viewer(rig: &mut Rig) -> (Publisher, Watcher) {
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 100));
    rig.advance(1000);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
    (publisher, watcher)
}

const SILENT: Delivery =
    Delivery { acknowledged: 1000, waits: true, silent: Duration::from_secs(5) };

/// Lets `seconds` pass, of each of which the hub is told, and of its socket what `say` says.
fn ask(rig: &mut Rig, seconds: u64, say: impl Fn(u64) -> Option<Delivery>) {
    for second in 0..seconds {
        rig.advance(1000);
        rig.hub.borrow_mut().end_the_vanished(rig.now, |_| say(second));
    }
}

#[test]
fn who_acknowledges_nothing_for_the_stall_timeout_is_ended_as_stalled() {
    let mut rig = Rig::with(|settings| settings.stall_timeout = Duration::from_secs(20));
    let (_publisher, watcher) = viewer(&mut rig);
    ask(&mut rig, 20, |_| Some(SILENT));
    assert_eq!(watcher.event(), None);
    ask(&mut rig, 16, |_| Some(SILENT));
    let end = SinkEnd::Stalled(Duration::from_secs(20));
    assert_eq!(watcher.event(), Some(SinkEvent::Ended(end)));
    assert_eq!(rig.totals().stalls, 1);
}

#[test]
fn each_viewer_is_asked_for_once_in_eight_seconds() {
    let mut rig = Rig::new();
    let (_publisher, first) = viewer(&mut rig);
    let mut fds: Vec<_> = (0..30).map(|_| rig.join()).collect();
    fds.push(first);
    rig.advance(1000);
    let asked = RefCell::new(Vec::new());
    for _ in 0..8 {
        rig.hub.borrow_mut().end_the_vanished(rig.now, |fd| {
            asked.borrow_mut().push(fd);
            None
        });
    }
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    let mut expected: Vec<_> = fds.iter().map(|watcher| watcher.fd).collect();
    expected.sort_unstable();
    assert_eq!(asked, expected);
}

#[test]
fn of_many_viewers_a_thousand_are_asked_for_at_once_and_all_in_turn() {
    let mut rig = Rig::new();
    let (_publisher, first) = viewer(&mut rig);
    let mut watchers: Vec<_> = (0..8999).map(|_| rig.join()).collect();
    watchers.push(first);
    rig.advance(1000);
    let asked = RefCell::new(Vec::new());
    // There may be twice as many places.
    for call in 0..18 {
        let before = asked.borrow().len();
        let ask = |fd| {
            asked.borrow_mut().push(fd);
            None
        };
        rig.hub.borrow_mut().end_the_vanished(rig.now, ask);
        assert!(asked.borrow().len() - before <= 1000, "call {call}");
    }
    let mut asked = asked.into_inner();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 9000);
}

#[test]
fn who_takes_something_or_has_nothing_to_take_or_has_paused_or_waits_stays() {
    let mut rig = Rig::with(|settings| settings.stall_timeout = Duration::from_secs(1));
    let (publisher, watcher) = viewer(&mut rig);
    // However little, and however long ago.
    ask(&mut rig, 60, |second| Some(Delivery { acknowledged: 1000 + second, ..SILENT }));
    ask(&mut rig, 60, |_| Some(Delivery { waits: false, ..SILENT }));
    // It said something just now, as on a path with much on its way.
    ask(&mut rig, 60, |_| Some(Delivery { silent: Duration::ZERO, ..SILENT }));
    ask(&mut rig, 60, |_| None);
    watcher.viewer.pause();
    ask(&mut rig, 60, |_| Some(SILENT));
    assert_eq!(watcher.event(), None);
    drop((publisher, watcher));
    // Nobody publishes for it yet.
    let mut rig = Rig::with(|settings| {
        settings.stall_timeout = Duration::from_secs(1);
        settings.wait_for_publisher = Duration::from_secs(100);
    });
    let watcher = rig.join();
    ask(&mut rig, 60, |_| Some(SILENT));
    assert_eq!(watcher.event(), None);
}

#[test]
fn who_watches_a_large_stream_is_not_asked_for() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    let asked = RefCell::new(0);
    let mut stream = |rate: usize, from: u64| {
        asked.replace(0);
        for second in from..from + 30 {
            for at in (0..1000).step_by(40) {
                let at = second * 1000 + at;
                rig.push(&publisher, picture(at, at.is_multiple_of(2000), rate / 25));
                rig.advance(40);
            }
            rig.hub.borrow_mut().end_the_vanished(rig.now, |_| {
                *asked.borrow_mut() += 1;
                None
            });
        }
        asked.take()
    };
    assert!(matches!(stream(8_000, 0), 3 | 4));
    // From when the log holds enough of it.
    assert!(matches!(stream(20_000, 30), 0 | 1));
    assert_eq!(stream(20_000, 60), 0);
    assert_eq!(watcher.event(), Some(SinkEvent::Started));
}

#[test]
fn who_takes_the_place_of_one_that_was_silent_begins_anew() {
    let mut rig = Rig::with(|settings| settings.stall_timeout = Duration::from_secs(20));
    let (_publisher, watcher) = viewer(&mut rig);
    ask(&mut rig, 16, |_| Some(SILENT));
    let id = watcher.viewer.id();
    drop(watcher);
    let next = rig.join();
    rig.advance(1000);
    assert_eq!((next.viewer.id(), next.event()), (id, Some(SinkEvent::Started)));
    ask(&mut rig, 20, |_| Some(SILENT));
    assert_eq!(next.event(), None);
}
