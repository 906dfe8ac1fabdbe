//! The way in: what a publisher sends over RTMP becomes messages, and these frames.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use corecast::bytes::Chain;
use corecast::proto::rtmp::{
    ChunkLimits, ChunkReader, ChunkWriter, Client, ClientConfig, Control, Event, Goal, Server,
    ServerConfig, client,
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};

use crate::clip::Clip;

/// Chunk sizes of publishers: RTMP's own first one, that of OBS, and ours.
const CHUNK_SIZES: [u32; 3] = [128, 4096, 60_000];
/// What a driver reads at once.
const READ_BYTES: usize = 64 << 10;

pub(crate) fn benches(criterion: &mut Criterion) {
    let clip = Clip::read();
    let mut group = criterion.benchmark_group("read the clip");
    for chunk_size in CHUNK_SIZES {
        let (_, sent) = publish(&clip, chunk_size);
        group.throughput(Throughput::Bytes(sent.len() as u64));
        let mut with_size = BytesMut::new();
        ChunkWriter::new(ChunkWriter::INITIAL_CHUNK_SIZE)
            .write_control(&mut with_size, Control::SetChunkSize(chunk_size));
        with_size.extend_from_slice(&sent);
        let id = BenchmarkId::new("chunks to messages", chunk_size);
        group.bench_function(id, |bencher| bencher.iter(|| messages(&with_size)));
        let id = BenchmarkId::new("chunks to frames", chunk_size);
        group.bench_function(id, |bencher| {
            let server = || publish(&clip, chunk_size).0;
            let read = |mut server: Server| (frames(&mut server, &sent), server);
            bencher.iter_batched(server, read, BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// The chunk layer alone.
fn messages(input: &[u8]) -> usize {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut count = 0;
    for mut read in input.chunks(READ_BYTES) {
        while let Some(message) = reader.read(&mut read).expect("our own chunks") {
            black_box(message);
            count += 1;
        }
    }
    count
}

/// The whole machine, as its driver uses it.
fn frames(server: &mut Server, input: &[u8]) -> usize {
    let (now, mut out, mut count) = (Instant::now(), Chain::default(), 0);
    for read in input.chunks(READ_BYTES) {
        server.handle_input(now, read).expect("our own chunks");
        while let Some(event) = server.poll_event() {
            count += usize::from(matches!(event, Event::Frame(_)));
            black_box(event);
        }
        while server.poll_transmit(&mut out) {}
        drop(out.drain());
    }
    count
}

/// A server that has granted the publish of a client with chunks of that size, and the bytes that
/// the client sends after that: all of the clip.
fn publish(clip: &Clip, chunk_size_bytes: u32) -> (Server, Vec<u8>) {
    let now = Instant::now();
    let mut server = Server::new(ServerConfig::default(), 1, now);
    let url = "rtmp://127.0.0.1/live/clip".parse().expect("a URL");
    let config = ClientConfig { chunk_size_bytes, ..ClientConfig::default() };
    let mut client = Client::new(config, Arc::new(url), Goal::Publish, 2, now);
    loop {
        let to_server = said(|out| client.poll_transmit(out));
        let mut rest = &to_server[..];
        // While a question is open the machine takes nothing more.
        loop {
            let taken = server.handle_input(now, rest).expect("our own client");
            rest = &rest[taken..];
            let mut asked = false;
            while let Some(event) = server.poll_event() {
                match event {
                    Event::Connect { ask, .. } => server.accept_connect(now, ask),
                    Event::Publish { ask, .. } => server.accept_publish(now, ask),
                    _ => continue,
                }
                asked = true;
            }
            if !asked && rest.is_empty() {
                break;
            }
        }
        let to_client = said(|out| server.poll_transmit(out));
        client.handle_input(now, &to_client).expect("our own server");
        let started = |client: &mut Client| {
            std::iter::from_fn(|| client.poll_event())
                .any(|event| matches!(event, client::Event::Started))
        };
        if started(&mut client) {
            break;
        }
    }
    drop(said(|out| client.poll_transmit(out)));
    client.push_metadata(&clip.metadata);
    for track in &clip.tracks {
        client.push_track(track);
    }
    let mut sent = Vec::new();
    for frame in &clip.frames {
        client.push_frame(frame);
        sent.extend(said(|out| client.poll_transmit(out)));
    }
    (server, sent)
}

/// Everything one end has to say now.
fn said(mut transmit: impl FnMut(&mut Chain) -> bool) -> Vec<u8> {
    let mut out = Chain::default();
    while transmit(&mut out) {}
    out.into_bytes().to_vec()
}
