//! Streams that are on when their numbers change.

use super::*;

fn configure(rig: &mut Rig, change: impl FnOnce(&mut Settings)) {
    let mut settings = Settings::clone(&rig.settings);
    change(&mut settings);
    rig.settings = Rc::new(settings);
    rig.hub.borrow_mut().configure(|_| Some(Rc::clone(&rig.settings)));
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_new_merge_window_holds_from_the_next_frame_on_and_viewers_miss_nothing() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    let watcher = rig.join();
    rig.push(&publisher, picture(0, true, 10));
    rig.advance(400);
    configure(&mut rig, |settings| settings.merge_window = ms(100));
    rig.push(&publisher, picture(400, false, 10));
    rig.advance(100);
    assert_eq!(rig.socket(&watcher).writes.last().map(|(at, _)| *at), Some(500));
    assert_eq!(rig.take_words(&watcher), "flv5 V1 A1 K0 v400");
}

#[test]
fn a_log_that_may_be_longer_keeps_more_and_one_that_may_be_shorter_less() {
    let mut rig = Rig::with(|settings| settings.max_lag = ms(2000));
    let publisher = rig.publish_av();
    let _watcher = rig.join();
    rig.stream(&publisher, 10_000, 400);
    let short = rig.totals().log_bytes;
    configure(&mut rig, |settings| settings.max_lag = ms(8000));
    rig.stream(&publisher, 20_000, 400);
    let long = rig.totals().log_bytes;
    assert!(long > 3 * short, "{short} {long}");
    configure(&mut rig, |settings| settings.max_lag = ms(2000));
    rig.stream(&publisher, 21_000, 400);
    assert!(rig.totals().log_bytes < short * 3 / 2, "{}", rig.totals().log_bytes);
}

#[test]
fn without_a_gop_cache_nothing_is_kept_and_with_one_again_the_next_gop_is() {
    let mut rig = Rig::new();
    let publisher = rig.publish_av();
    rig.stream(&publisher, 2000, 1000);
    assert!(rig.totals().gop_bytes > 0);
    configure(&mut rig, |settings| settings.gop_cache = false);
    assert_eq!(rig.totals().gop_bytes, 0);
    rig.stream(&publisher, 3400, 1000);
    assert_eq!(rig.totals().gop_bytes, 0);
    configure(&mut rig, |settings| settings.gop_cache = true);
    rig.stream(&publisher, 4200, 1000);
    let watcher = rig.join();
    rig.advance(1);
    assert!(rig.words(&watcher).starts_with("flv5 V1 A1 K4000"), "{}", rig.words(&watcher));
}
