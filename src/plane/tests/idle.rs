//! Streams that nobody watches.

use super::*;
use crate::plane::hub::Timer;

fn is_told(publisher: &Publisher) -> bool {
    publisher.poll_idle(&mut Context::from_waker(Waker::noop())).is_ready()
}

fn rig() -> Rig {
    Rig::with(|settings| settings.idle_timeout = Duration::from_secs(5))
}

#[test]
fn a_publisher_is_told_once_that_nobody_watches_and_again_when_viewers_have_come_and_gone() {
    let mut rig = rig();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 4960, 1000);
    assert!(!is_told(&publisher));
    rig.stream(&publisher, 5040, 1000);
    assert!(is_told(&publisher));
    rig.stream(&publisher, 20_000, 1000);
    assert!(!is_told(&publisher), "told already");
    let watcher = rig.join();
    rig.stream(&publisher, 30_000, 1000);
    assert!(!is_told(&publisher), "somebody watches");
    drop(watcher);
    rig.stream(&publisher, 34_960, 1000);
    assert!(!is_told(&publisher));
    rig.stream(&publisher, 35_080, 1000);
    assert!(is_told(&publisher));
}

#[test]
fn viewers_that_come_and_go_leave_one_timer_behind() {
    let mut rig = rig();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 1000, 1000);
    for _ in 0..100 {
        drop(rig.join());
        rig.advance(40);
    }
    let idle = |timer: &Timer| matches!(timer, Timer::Idle(..));
    assert_eq!(rig.hub.borrow().timers.values().filter(|timer| idle(timer)).count(), 1);
    rig.advance(4900);
    assert!(!is_told(&publisher), "the last has left 4.94 s ago");
    rig.advance(200);
    assert!(is_told(&publisher));
}

#[test]
fn whoever_returns_or_takes_over_has_its_own_time_and_a_key_without_publisher_none() {
    let mut rig = rig();
    let publisher = rig.publish_av();
    rig.advance(4000);
    drop(publisher);
    rig.advance(4000);
    let publisher = rig.publish_av();
    rig.advance(4900);
    assert!(!is_told(&publisher));
    rig.advance(200);
    assert!(is_told(&publisher));
    drop(publisher);
    rig.advance(60_000);
    assert!(rig.hub.borrow().poll_timeout(rig.now).is_none(), "nothing is left to wait for");
}

#[test]
fn zero_is_never_and_another_time_holds_at_once() {
    let mut rig = Rig::with(|settings| settings.idle_timeout = Duration::ZERO);
    let publisher = rig.publish_av();
    rig.advance(100_000);
    assert!(!is_told(&publisher));
    let mut settings = Settings::clone(&rig.settings);
    settings.idle_timeout = Duration::from_secs(2);
    rig.settings = Rc::new(settings);
    rig.hub.borrow_mut().configure(|_| Some(Rc::clone(&rig.settings)));
    rig.advance(1900);
    assert!(!is_told(&publisher));
    rig.advance(200);
    assert!(is_told(&publisher));
}

#[test]
fn a_shorter_time_counts_from_when_the_last_has_left() {
    let mut rig = Rig::with(|settings| settings.idle_timeout = Duration::from_secs(60));
    let publisher = rig.publish_av();
    rig.advance(10_000);
    let set = |rig: &mut Rig, seconds| {
        let mut settings = Settings::clone(&rig.settings);
        settings.idle_timeout = Duration::from_secs(seconds);
        rig.settings = Rc::new(settings);
        rig.hub.borrow_mut().configure(|_| Some(Rc::clone(&rig.settings)));
    };
    set(&mut rig, 12);
    rig.advance(1900);
    assert!(!is_told(&publisher));
    rig.advance(200);
    assert!(is_told(&publisher));
    // Told already; and what the timer of the old time finds is nothing.
    set(&mut rig, 30);
    rig.advance(100_000);
    assert!(!is_told(&publisher));
    // A longer one holds too, and one that is over by now is told at once.
    drop(rig.join());
    set(&mut rig, 60);
    rig.advance(50_000);
    assert!(!is_told(&publisher));
    set(&mut rig, 20);
    rig.advance(1);
    assert!(is_told(&publisher));
}

#[test]
fn it_is_idle_from_when_it_was_told_until_somebody_comes() {
    let mut rig = rig();
    let publisher = rig.publish_av();
    rig.advance(4900);
    assert!(!publisher.is_idle());
    rig.advance(200);
    assert!(publisher.is_idle());
    let watcher = rig.join();
    assert!(!publisher.is_idle());
    // That is over, and begins anew.
    drop(watcher);
    rig.advance(4900);
    assert!(!publisher.is_idle());
    rig.advance(200);
    assert!(publisher.is_idle());
    // Nor does it count for who comes after it.
    drop(publisher);
    assert!(!rig.publish_av().is_idle());
}
