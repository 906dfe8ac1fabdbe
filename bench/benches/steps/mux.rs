//! Frames to the messages of a format, once for all viewers of it.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::clip::{Clip, FORMATS, media_bytes};

pub(crate) fn benches(criterion: &mut Criterion) {
    let clip = Clip::read();
    let tracks = clip.known();
    let mut group = criterion.benchmark_group("mux");
    let picture = std::slice::from_ref(clip.usual_picture());
    for (what, frames) in [("a picture", picture), ("a GOP", clip.gop())] {
        group.throughput(Throughput::Bytes(media_bytes(frames)));
        for (name, format) in FORMATS {
            group.bench_function(BenchmarkId::new(name, what), |bencher| {
                // As in a block, whose buffer has room for what comes.
                let mut out = BytesMut::with_capacity(1 << 20);
                let mut muxer = format.muxer();
                bencher.iter(|| {
                    out.clear();
                    for frame in frames {
                        muxer.push(&mut out, &tracks, black_box(frame));
                    }
                    out.len()
                });
            });
        }
    }
    group.finish();
}
