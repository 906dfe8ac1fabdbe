//! Blocks into a log, and a frame's whole way from the publisher into the open block.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use corecast::plane::{Block, BlockLog, Hub, Init, Settings, Start};
use corecast::time::Timestamp;
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::clip::{Clip, FORMATS, media_bytes, settings};
use crate::join::watch;

/// One of the default merge windows in a block.
const BLOCK: Duration = Duration::from_millis(350);
const BLOCK_NS: i64 = 350_000_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    block(criterion);
    push(criterion);
}

/// A log that is as long as it gets, so that each block appended lets one go.
fn block(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a block to a full log", |bencher| {
        let settings = Settings::default();
        let mut log = BlockLog::new(settings.max_lag, settings.log_max_bytes);
        let init = Rc::new(Init { version: 1, bytes: Bytes::from_static(b"headers") });
        let bytes = Bytes::from(vec![0x5a; 12 << 10]);
        let mut append = || {
            let number = log.head();
            let key = if number.is_multiple_of(4) { Start::Picture } else { Start::No };
            let start = Timestamp::from_nanos(number as i64 * BLOCK_NS);
            let span = (start, start + BLOCK_NS);
            log.append(Block::new(number, bytes.clone(), key, Rc::clone(&init), span));
            number
        };
        while append() < 100 {}
        bencher.iter(append);
    });
    group.finish();
}

/// What reading one frame sets off: its time, the GOP cache, and the muxing of each living format.
fn push(criterion: &mut Criterion) {
    let clip = Clip::read();
    let mut group = criterion.benchmark_group("push the clip's frames");
    group.throughput(Throughput::Elements(clip.frames.len() as u64));
    println!("    {} frames of {} bytes in all", clip.frames.len(), media_bytes(&clip.frames));
    for formats in 0..=FORMATS.len() {
        let watched = FORMATS.iter().take(formats).map(|(name, _)| *name).collect::<Vec<_>>();
        let id = match formats {
            0 => "nobody watches".to_owned(),
            _ => format!("watched as {}", watched.join(" and ")),
        };
        group.bench_function(BenchmarkId::from_parameter(id), |bencher| {
            let hub = Rc::new(RefCell::new(Hub::new(Arc::default(), Instant::now())));
            let settings = settings(BLOCK);
            let publisher = clip.publish(&hub, &settings);
            let viewers = FORMATS.iter().take(formats);
            // Nothing is written to them: a format is alive as long as it has a viewer.
            let viewers = viewers.map(|(_, format)| watch(&hub, &settings, *format, -1));
            let viewers = viewers.collect::<Vec<_>>();
            let mut frames = clip.endless();
            bencher.iter(|| {
                for frame in frames.by_ref().take(clip.frames.len()) {
                    publisher.push(frame, Instant::now()).expect("it holds the key");
                }
            });
            drop(viewers);
        });
    }
    group.finish();
}
