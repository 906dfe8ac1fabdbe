//! The flush loop: the one writer of every attached viewer on this core.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::{rt, tls};
use crate::plane::{Hub, HubEvent, Outcome};

/// A turn ends after this time or that many bytes; then ingest gets its own.
const TURN: Duration = Duration::from_millis(1);
const TURN_BYTES: usize = 1 << 20;

/// Runs for as long as the core does. `on_event` hears what the plane has to tell.
pub async fn run(hub: Rc<RefCell<Hub>>, mut on_event: impl FnMut(HubEvent)) {
    loop {
        {
            let mut hub = hub.borrow_mut();
            let now = Instant::now();
            hub.set_now(now);
            hub.handle_timeout(now);
        }
        let more = turn(&hub, tls::send);
        while let Some(event) = next_event(&hub) {
            // What it would have led to is not done; streams go on.
            if catch_unwind(AssertUnwindSafe(|| on_event(event))).is_err() {
                tracing::error!("what a stream had to tell made its core panic");
            }
        }
        if more {
            rt::yield_now().await;
        } else {
            sleep(&hub).await;
        }
    }
}

fn next_event(hub: &RefCell<Hub>) -> Option<HubEvent> {
    hub.borrow_mut().poll_event()
}

/// Visits sinks until nothing is due or the turn is over. Answers true if more is due.
///
/// The loop's own step, with [`fd::send`](super::fd::send) or its like; benches and tests take it by itself.
pub fn turn(hub: &RefCell<Hub>, mut send: impl FnMut(RawFd, &[IoSlice<'_>]) -> Outcome) -> bool {
    let start = Instant::now();
    let mut written = 0;
    loop {
        let now = Instant::now();
        if now - start >= TURN || written >= TURN_BYTES {
            hub.borrow_mut().end_flush_turn(now);
            return true;
        }
        let Some(id) = hub.borrow_mut().next_visit(now) else { return false };
        // A fault in one stream must not end the loop that serves all of them.
        let visit = catch_unwind(AssertUnwindSafe(|| {
            let mut hub = hub.borrow_mut();
            let held = hub.is_held(id);
            let (socket, slices) = hub.slices(id, now);
            let offered = slices.iter().map(|slice| slice.len()).sum();
            if offered > 0 || held {
                let outcome = send(socket, &slices);
                drop(slices);
                hub.wrote(id, offered, outcome, now);
                if let Outcome::Batch(taken) = outcome {
                    return taken;
                }
            }
            offered
        }));
        match visit {
            Ok(offered) => written += offered,
            Err(_) => hub.borrow_mut().abort_source_of(id, now),
        }
    }
}

/// To be called once a second: ends viewers of small streams whose peers have vanished.
pub fn end_the_vanished(hub: &RefCell<Hub>, now: Instant) {
    hub.borrow_mut().end_the_vanished(now, super::fd::delivery);
}

async fn sleep(hub: &RefCell<Hub>) {
    let mut deadline = rt::Deadline::default();
    let mut first = true;
    poll_fn(|cx| {
        let mut hub = hub.borrow_mut();
        let until = hub.poll_timeout(Instant::now());
        if deadline.poll(cx, until).is_ready() {
            return Poll::Ready(());
        }
        hub.sleep(until, cx.waker());
        // Woken before its time: look again at what is due.
        if std::mem::take(&mut first) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::container::flv::HevcForm;
    use crate::media::{AudioCodec, Codec, Frame, StreamKey, Track, TrackKind};
    use crate::plane::{
        Format, Framing, PlayRequest, PublishRequest, Publisher, PublisherEnd, Selection, Settings,
        SinkEnd, SinkEvent, Viewer,
    };
    use crate::time::Timestamp;

    /// The socket of the stream whose writes panic. Nothing is sent: the numbers are made up.
    const BAD: RawFd = 1000;

    fn stream(hub: &Rc<RefCell<Hub>>, name: &str, fd: RawFd) -> (Publisher, Viewer) {
        let now = Instant::now();
        let settings = Settings { probe_timeout: Duration::ZERO, ..Settings::default() };
        let (key, settings) = (StreamKey::new("live", name).expect("valid"), Rc::new(settings));
        let request = PublishRequest {
            key: key.clone(),
            settings: Rc::clone(&settings),
            epoch: 1,
            tag: None,
        };
        let publisher = Publisher::acquire(hub, request, now).expect("nobody is there");
        let config = Bytes::from_static(&[0x12, 0x10]);
        let codec = Codec::Audio(AudioCodec::Aac);
        let track = Track { codec, config, hdr: None, video: None, audio: None };
        publisher.set_track(track, now);
        push(&publisher, 0);
        hub.borrow_mut().handle_timeout(Instant::now());
        let request = PlayRequest {
            tag: None,
            key,
            settings,
            epoch: 1,
            fd,
            format: Format::Flv { hevc: HevcForm::Enhanced },
            selection: Selection { audio: true, video: true },
            framing: Framing::Raw,
            greeting: Bytes::from_static(b"hello"),
            from_cache: true,
        };
        (publisher, Viewer::join(hub, request, now).expect("there is room"))
    }

    fn push(publisher: &Publisher, ms: i64) {
        let (kind, dts) = (TrackKind::Audio, Timestamp::from_millis(ms));
        let frame = Frame { kind, dts, pts: dts, key: false, data: Bytes::from_static(b"sound") };
        publisher.push(frame, Instant::now()).expect("it holds the key");
    }

    #[test]
    fn a_panic_in_one_visit_ends_that_source_and_the_loop_goes_on() {
        let hub = Rc::new(RefCell::new(Hub::new(Default::default(), Instant::now())));
        let (bad, viewer_of_bad) = stream(&hub, "bad", BAD);
        let (good, viewer_of_good) = stream(&hub, "good", BAD + 1);
        let mut sent = 0;
        let mut turn = || {
            let mut send = |fd, slices: &[IoSlice<'_>]| {
                assert_ne!(fd, BAD, "as the test wants it");
                let offered = slices.iter().map(|slice| slice.len()).sum();
                sent += offered;
                Outcome::Wrote(offered)
            };
            // Telling of the panic may take longer than a turn.
            while turn(&hub, &mut send) {}
            sent
        };
        let first = turn();
        assert!(first > b"hello".len());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(bad.poll_end(&mut cx), Poll::Ready(PublisherEnd::SourceFailed(_))));
        assert_eq!(viewer_of_bad.poll_event(&mut cx), Poll::Ready(SinkEvent::Started));
        let end = viewer_of_bad.poll_event(&mut cx);
        assert_eq!(end, Poll::Ready(SinkEvent::Ended(SinkEnd::SourceFailed)));
        assert!(good.poll_end(&mut cx).is_pending());
        push(&good, 23);
        let gave_up = Instant::now() + Duration::from_secs(20);
        while turn() == first {
            assert!(Instant::now() < gave_up, "the good stream goes on");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop((bad, viewer_of_bad, viewer_of_good));
        assert!(!hub.borrow().holds(&StreamKey::new("live", "bad").expect("valid")));
    }

    #[test]
    fn a_panic_in_who_hears_of_streams_does_not_end_the_loop() {
        let main = || async {
            let hub = Rc::new(RefCell::new(Hub::new(Default::default(), Instant::now())));
            let heard = Rc::new(RefCell::new(Vec::new()));
            let hears = Rc::clone(&heard);
            rt::spawn(run(Rc::clone(&hub), move |event| {
                let HubEvent::Emptied { key, .. } = event else { return };
                assert_ne!(key.name(), "bad", "as the test wants it");
                hears.borrow_mut().push(key);
            }));
            for name in ["bad", "good"] {
                let held = stream(&hub, name, BAD);
                // Without grace.
                let key = StreamKey::new("live", name).expect("valid");
                hub.borrow_mut().abort(&key, Instant::now());
                drop(held);
            }
            let gave_up = Instant::now() + Duration::from_secs(20);
            while heard.borrow().is_empty() && Instant::now() < gave_up {
                rt::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(heard.borrow().len(), 1);
        };
        rt::on_a_core(main);
    }
}
