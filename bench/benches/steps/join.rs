//! A viewer joins: from the moment it is let in to the first write that lies ready for it.

use std::cell::RefCell;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast::plane::{Format, Framing, Hub, PlayRequest, Selection, Settings, Viewer};
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::clip::{Clip, FORMATS, key, media_bytes, settings};

/// A format nobody watches is gone by then.
const IDLE: Duration = Duration::from_secs(6);

pub(crate) fn benches(criterion: &mut Criterion) {
    let clip = Clip::read();
    let settings = settings(Duration::from_millis(350));
    let mut group = criterion.benchmark_group("join at a whole GOP");
    group.throughput(Throughput::Elements(1));
    for (name, format) in FORMATS {
        for (who, alone) in [("first of its format", true), ("one more viewer", false)] {
            group.bench_function(BenchmarkId::new(name, who), |bencher| {
                let mut now = Instant::now();
                let hub = Rc::new(RefCell::new(Hub::new(Arc::default(), now)));
                let publisher = clip.publish(&hub, &settings);
                for frame in clip.gop() {
                    publisher.push(frame.clone(), now).expect("it holds the key");
                }
                let others = (!alone).then(|| watch(&hub, &settings, format, -1));
                bencher.iter_custom(|joins| {
                    let mut took = Duration::ZERO;
                    for _ in 0..joins {
                        if alone {
                            now += IDLE;
                        }
                        hub.borrow_mut().set_now(now);
                        hub.borrow_mut().handle_timeout(now);
                        while hub.borrow_mut().next_visit(now).is_some() {}
                        let start = Instant::now();
                        let viewer = watch(&hub, &settings, format, -1);
                        let ready = first_write(&hub, now);
                        took += start.elapsed();
                        assert!(ready as u64 > media_bytes(clip.gop()), "not all of the GOP");
                        drop(viewer);
                    }
                    took
                });
                drop(others);
            });
        }
    }
    group.finish();
}

/// Bytes of the write that is due.
fn first_write(hub: &RefCell<Hub>, now: Instant) -> usize {
    let mut hub = hub.borrow_mut();
    let mut offered = 0;
    while let Some(id) = hub.next_visit(now) {
        let (_, slices) = hub.slices(id, now);
        offered = slices.iter().map(|slice| slice.len()).sum();
    }
    offered
}

/// One viewer of the clip on `fd`.
pub(crate) fn watch(
    hub: &Rc<RefCell<Hub>>,
    settings: &Rc<Settings>,
    format: Format,
    fd: RawFd,
) -> Viewer {
    let request = PlayRequest {
        tag: None,
        key: key(),
        settings: Rc::clone(settings),
        epoch: 1,
        fd,
        format,
        selection: Selection::ALL,
        framing: Framing::Raw,
        greeting: Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"),
        from_cache: true,
    };
    let now = hub.borrow().now();
    Viewer::join(hub, request, now).expect("there is room")
}
