use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::bytes::PutU24;
use crate::proto::rtmp::kind;

/// A message with the chunk stream it travels on.
#[derive(Debug, Clone)]
struct Sent {
    csid: u32,
    message: Message,
}

fn sent(csid: u32, timestamp_ms: u32, payload: impl Into<Bytes>) -> Sent {
    let payload = payload.into();
    Sent { csid, message: Message { kind: kind::VIDEO, timestamp_ms, stream_id: 1, payload } }
}

/// `len` bytes that differ from their neighbours.
fn body(len: usize) -> Bytes {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// What the writer makes of `sent`, cut into its chunks.
fn chunks(writer: ChunkWriter, sent: &Sent) -> Vec<Bytes> {
    let Sent { csid, message } = sent;
    let (head, payload) = message.payload.split_at(message.payload.len() / 3);
    let Message { kind, timestamp_ms, stream_id, .. } = *message;
    let mut out = BytesMut::new();
    assert!(writer.write(&mut out, *csid, kind, timestamp_ms, stream_id, head, payload));
    let mut out = out.freeze();

    let chunk_size = writer.chunk_size() as usize;
    let mut left = message.payload.len();
    let head = writer.wire_bytes(*csid, timestamp_ms, 0);
    let mut chunks = vec![out.split_to(head + left.min(chunk_size))];
    left = left.saturating_sub(chunk_size);
    while left > 0 {
        chunks.push(out.split_to(head - 11 + left.min(chunk_size)));
        left = left.saturating_sub(chunk_size);
    }
    assert!(out.is_empty());
    chunks
}

/// A wire on which the messages take turns, chunk by chunk, as `turns` has it. Messages of one
/// chunk stream keep their order. Also answers the messages in the order they become whole.
fn interleave(writer: ChunkWriter, all: &[Sent], turns: &[usize]) -> (Vec<u8>, Vec<Message>) {
    let mut waiting: Vec<_> = all.iter().map(|sent| (sent, chunks(writer, sent), 0)).collect();
    let (mut wire, mut whole) = (Vec::new(), Vec::new());
    let mut turns = turns.iter().copied().cycle();
    while !waiting.is_empty() {
        let turn = turns.next().unwrap_or(0) % waiting.len();
        let csid = waiting[turn].0.csid;
        let at = waiting.iter().position(|entry| entry.0.csid == csid).expect("itself at least");
        let (sent, chunks, done) = &mut waiting[at];
        wire.extend_from_slice(&chunks[*done]);
        *done += 1;
        if *done == chunks.len() {
            whole.push(sent.message.clone());
            waiting.remove(at);
        }
    }
    (wire, whole)
}

fn wire(writer: ChunkWriter, all: &[Sent]) -> Vec<u8> {
    all.iter().flat_map(|sent| chunks(writer, sent)).flatten().collect()
}

/// Announces `writer`'s chunk size, with the size in force before.
fn announce(writer: ChunkWriter) -> Vec<u8> {
    let mut out = BytesMut::new();
    let size = Control::SetChunkSize(writer.chunk_size());
    ChunkWriter::new(128).write_control(&mut out, size);
    out.to_vec()
}

/// Feeds all of `wire` in the given piece lengths (repeated), and holds the reader to its promises.
fn feed(
    reader: &mut ChunkReader,
    mut wire: &[u8],
    pieces: &[usize],
) -> Result<Vec<Message>, ChunkError> {
    let mut messages = Vec::new();
    let mut pieces = pieces.iter().copied().cycle();
    while !wire.is_empty() {
        let (mut piece, rest) = wire.split_at(pieces.next().unwrap_or(usize::MAX).min(wire.len()));
        while let Some(message) = reader.read(&mut piece)? {
            messages.push(message);
            check(reader);
        }
        check(reader);
        assert!(piece.is_empty());
        wire = rest;
    }
    Ok(messages)
}

fn check(reader: &ChunkReader) {
    let reserved: usize = reader.channels.iter().map(|channel| channel.partial.capacity()).sum();
    assert_eq!(reader.reserved as usize, reserved);
    assert!(reserved <= reader.limits.reassembly_bytes as usize);
    assert!(reader.channels.len() <= reader.limits.csids as usize);
}

fn read_all(wire: &[u8], pieces: &[usize]) -> Result<Vec<Message>, ChunkError> {
    feed(&mut ChunkReader::new(ChunkLimits::default()), wire, pieces)
}

/// A header in fmt 0, 1 or 2 on a one-byte csid, with the fields that format has.
fn head(fmt: u8, csid: u8, time: u32, length: u32, kind: u8) -> Vec<u8> {
    let mut out = vec![fmt << 6 | csid];
    out.put_u24(time.min(EXTENDED));
    if fmt < 2 {
        out.put_u24(length);
        out.put_u8(kind);
    }
    if fmt == 0 {
        out.put_u32_le(1);
    }
    if time >= EXTENDED {
        out.put_u32(time);
    }
    out
}

fn times(wire: &[u8]) -> Vec<u32> {
    let messages = read_all(wire, &[]).expect("valid chunks");
    messages.iter().map(|message| message.timestamp_ms).collect()
}

#[test]
fn spec_example_1_four_audio_messages() {
    // RTMP 1.0, 5.3.2.1: fmt 0, then a delta of 20, then twice nothing.
    let mut wire = [head(0, 3, 1000, 32, kind::AUDIO), vec![1; 32]].concat();
    assert_eq!(wire.len(), 44);
    wire.extend([head(2, 3, 20, 0, 0), vec![2; 32]].concat());
    assert_eq!(wire.len(), 44 + 36);
    wire.extend([vec![0xc3], vec![3; 32], vec![0xc3], vec![4; 32]].concat());
    assert_eq!(wire.len(), 44 + 36 + 33 + 33);

    let messages = read_all(&wire, &[]).expect("the spec's own example");
    let seen: Vec<_> = messages.iter().map(|m| (m.timestamp_ms, m.payload[0])).collect();
    assert_eq!(seen, [(1000, 1), (1020, 2), (1040, 3), (1060, 4)]);
    assert!(messages.iter().all(|m| (m.kind, m.stream_id, m.payload.len()) == (8, 1, 32)));
}

#[test]
fn spec_example_2_a_video_message_in_three_chunks() {
    // RTMP 1.0, 5.3.2.2: 307 bytes as 140, 129 and 52 on the wire.
    let video = sent(4, 1000, body(307));
    let chunks = chunks(ChunkWriter::new(128), &video);
    assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [140, 129, 52]);
    assert_eq!(read_all(&chunks.concat(), &[]), Ok(vec![video.message]));
}

#[test]
fn chunk_stream_ids_are_read_in_all_three_forms() {
    let limits = ChunkLimits::default();
    for csid in [2, 3, 63, 64, 319, 320, 65599] {
        let mut reader = ChunkReader::new(limits);
        let sent = sent(csid, 5, body(300));
        let wire = wire(ChunkWriter::new(128), std::slice::from_ref(&sent));
        assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![sent.message]));
        assert_eq!(reader.channels[0].csid, csid);
        assert_eq!(reader.offset(), wire.len() as u64);
    }
    // 64 may also be written in three bytes; it is the same chunk stream.
    let long = [&[0x01, 0, 0][..], &head(0, 3, 7, 1, 9)[1..], &[1], &[0xc0, 0], &[2]].concat();
    assert_eq!(times(&long), [7, 14]);
}

#[test]
fn a_message_cut_at_every_byte_is_whole_only_at_the_end() {
    let writer = ChunkWriter::new(10);
    let sent = sent(320, 0x0123_4567, body(35));
    let wire = [announce(writer), wire(writer, std::slice::from_ref(&sent))].concat();
    for cut in 0..wire.len() {
        let mut reader = ChunkReader::new(ChunkLimits::default());
        assert_eq!(feed(&mut reader, &wire[..cut], &[]), Ok(vec![]), "cut at {cut}");
        assert_eq!(reader.offset(), cut as u64);
        assert_eq!(feed(&mut reader, &wire[cut..], &[]), Ok(vec![sent.message.clone()]));
    }
}

#[test]
fn reading_stops_after_each_message_and_leaves_the_rest() {
    let all = [sent(4, 1, body(3)), sent(6, 2, Bytes::new()), sent(4, 3, body(9))];
    let wire = wire(ChunkWriter::new(128), &all);
    let mut input = &wire[..];
    let mut reader = ChunkReader::new(ChunkLimits::default());
    for sent in &all {
        assert_eq!(reader.read(&mut input), Ok(Some(sent.message.clone())));
    }
    assert_eq!((reader.read(&mut input), input.len()), (Ok(None), 0));
}

#[test]
fn deltas_add_up_and_wrap() {
    let mut wire = [head(0, 4, 0xffff_fff0, 1, 8), vec![0]].concat();
    wire.extend(
        [head(1, 4, 0x20, 1, 8), vec![0], vec![0xc4, 0], head(2, 4, 1, 0, 0), vec![0]].concat(),
    );
    assert_eq!(times(&wire), [0xffff_fff0, 0x10, 0x30, 0x31]);
}

#[test]
fn fmt_3_after_fmt_0_takes_its_timestamp_for_the_delta() {
    assert_eq!(times(&[head(0, 4, 23, 1, 8), vec![0, 0xc4, 0, 0xc4, 0]].concat()), [23, 46, 69]);
}

#[test]
fn fmt_3_after_an_extended_fmt_0_has_a_time_of_its_own() {
    let first = 0x0100_0000_u32;
    let mut wire = [head(0, 4, first, 1, 8), vec![0]].concat();
    for time in [first, first + 40] {
        wire.extend([&[0xc4][..], &time.to_be_bytes(), &[0]].concat());
    }
    assert_eq!(times(&wire), [first, first, first + 40]);
}

#[test]
fn a_negative_step_as_an_extended_delta_goes_back() {
    // librtmp writes the difference of two times as 32 bits, whatever its sign.
    let mut wire = [head(0, 4, 1000, 1, 8), vec![0]].concat();
    wire.extend([head(1, 4, 5_u32.wrapping_neg(), 1, 8), vec![0]].concat());
    wire.extend([head(1, 4, 7, 1, 8), vec![0]].concat());
    assert_eq!(times(&wire), [1000, 995, 1002]);
}

/// A message of three chunks of 128 with extended time, headed by fmt 0 or by fmt 1 after a first
/// message at 1000; `repeated` stands after each fmt 3.
fn extended(fmt: u8, field: u32, repeated: &[u8], payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() > 256);
    let mut wire = Vec::new();
    if fmt > 0 {
        wire.extend([head(0, 4, 1000, 1, 8), vec![0]].concat());
    }
    wire.extend(head(fmt, 4, field, payload.len() as u32, 9));
    wire.extend(&payload[..128]);
    wire.extend([&[0xc4], repeated, &payload[128..256]].concat());
    wire.extend([&[0xc4], repeated, &payload[256..]].concat());
    wire
}

#[test]
fn an_extended_timestamp_may_be_repeated_or_not_and_as_delta_or_as_time() {
    let field = 0x0102_0304_u32;
    let absolute = field + 1000;
    for len in [257, 258, 260, 261, 384] {
        for (fmt, time, repeated) in [
            (0, field, &field.to_be_bytes()[..]),
            (0, field, &[]),
            (1, absolute, &field.to_be_bytes()),
            (1, absolute, &absolute.to_be_bytes()),
            (1, absolute, &[]),
        ] {
            // A message after it shows that nothing was eaten.
            let mut wire = extended(fmt, field, repeated, &body(len));
            wire.extend([head(0, 5, 1, 1, 8), vec![0]].concat());
            for pieces in [&[][..], &[1], &[2], &[3, 1]] {
                let messages = read_all(&wire, pieces).expect("valid chunks");
                let [.., long, last] = &messages[..] else { panic!("{messages:?}") };
                assert_eq!((long.timestamp_ms, &long.payload), (time, &body(len)));
                assert_eq!(last.timestamp_ms, 1);
            }
        }
    }
}

#[test]
fn payload_that_begins_like_the_omitted_timestamp_is_not_mistaken_for_it() {
    // Three of its four bytes stand at the head of each continuation, in chunks so small that the
    // bytes held back to compare reach into the next chunks.
    let time = 0x0102_0304_u32;
    for chunk_size in 1..=5_u32 {
        let payload = [9, 1, 2, 3, 1, 1, 2, 3, 1, 2, 1, 2, 3, 5, 1, 2, 3];
        let mut wire = announce(ChunkWriter::new(chunk_size));
        wire.extend(head(0, 4, time, payload.len() as u32, 9));
        let parts: Vec<&[u8]> = payload.chunks(chunk_size as usize).collect();
        wire.extend(parts.join(&0xc4));
        wire.extend([head(0, 5, 1, 1, 8), vec![7]].concat());
        for pieces in [&[][..], &[1], &[2], &[3]] {
            let messages = read_all(&wire, pieces).expect("valid chunks");
            assert_eq!(messages.len(), 2, "chunks of {chunk_size}");
            assert_eq!(messages[0].payload, payload[..], "chunks of {chunk_size}");
        }
    }
}

#[test]
fn a_chunk_size_change_holds_from_the_next_chunk_on() {
    let long = sent(6, 5, body(600));
    let old = chunks(ChunkWriter::new(128), &long);
    let mut wire = [&old[0][..], &old[1]].concat();
    wire.extend(announce(ChunkWriter::new(1000)));
    wire.extend([&[0xc6][..], &long.message.payload[256..]].concat());
    assert_eq!(read_all(&wire, &[1]), Ok(vec![long.message]));
}

#[test]
fn a_refused_chunk_size_is_an_error() {
    for size in [0, 0x8000_0000] {
        let mut out = BytesMut::new();
        ChunkWriter::new(128).write_control(&mut out, Control::SetChunkSize(size));
        let expected = ChunkError::Control(ControlError::ChunkSize { found: size });
        assert_eq!(read_all(&out, &[]), Err(expected));
    }
}

#[test]
fn an_aborted_message_is_dropped_and_its_chunk_stream_goes_on() {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let begun = &chunks(ChunkWriter::new(128), &sent(6, 5, body(600)))[0];
    assert_eq!(feed(&mut reader, begun, &[]), Ok(vec![]));
    assert!(reader.reserved > 0);
    let mut out = BytesMut::new();
    ChunkWriter::new(128).write_control(&mut out, Control::Abort(6));
    ChunkWriter::new(128).write_control(&mut out, Control::Abort(77));
    assert_eq!(feed(&mut reader, &out, &[]), Ok(vec![]));
    assert_eq!(reader.reserved, 0);
    let next = sent(6, 9, body(3));
    let wire = wire(ChunkWriter::new(128), std::slice::from_ref(&next));
    assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![next.message]));
}

#[test]
fn a_new_header_inside_a_message_is_an_error_that_says_so() {
    let begun = chunks(ChunkWriter::new(128), &sent(6, 5, body(600)))[0].to_vec();
    for fmt in 0..3 {
        let wire = [&begun[..], &head(fmt, 6, 5, 3, 9)].concat();
        let expected = ChunkError::Interrupted { csid: 6, fmt, received: 128, length: 600 };
        assert_eq!(read_all(&wire, &[]), Err(expected));
    }
}

#[test]
fn a_chunk_stream_opens_with_fmt_0_or_1() {
    assert_eq!(read_all(&[0x83], &[]), Err(ChunkError::NothingToRepeat { csid: 3, fmt: 2 }));
    assert_eq!(read_all(&[0xc3], &[]), Err(ChunkError::NothingToRepeat { csid: 3, fmt: 3 }));
    let ping = [head(1, 2, 7, 6, kind::USER_CONTROL), vec![0, 6, 0, 0, 0, 1]].concat();
    let messages = read_all(&ping, &[]).expect("a ping as librtmp sends it");
    assert_eq!((messages[0].timestamp_ms, messages[0].stream_id), (7, 0));
}

#[test]
fn one_chunk_stream_too_many_is_an_error() {
    let limits = ChunkLimits { csids: 3, ..ChunkLimits::default() };
    let wire: Vec<_> = (3..=6).flat_map(|csid| head(0, csid, 0, 0, 9)).collect();
    let expected = ChunkError::TooManyChunkStreams { csid: 6, limit: 3 };
    assert_eq!(feed(&mut ChunkReader::new(limits), &wire, &[]), Err(expected));
}

#[test]
fn an_announced_length_beyond_the_limit_is_refused_at_its_header() {
    let limits = ChunkLimits { message_bytes: 1000, ..ChunkLimits::default() };
    let read = |limits, length| feed(&mut ChunkReader::new(limits), &head(0, 4, 0, length, 9), &[]);
    assert_eq!(read(limits, 1000), Ok(vec![]));
    let error = ChunkError::MessageTooLong { csid: 4, kind: 9, length: 1001, limit: 1000 };
    assert_eq!(read(limits, 1001), Err(error));
    // Nor can one be put together that is longer than all of them may be.
    let limits = ChunkLimits { reassembly_bytes: 500, ..limits };
    assert!(matches!(read(limits, 501), Err(ChunkError::MessageTooLong { limit: 500, .. })));
}

#[test]
fn unfinished_messages_share_one_limit_and_freed_memory_counts_again() {
    let limits = ChunkLimits { reassembly_bytes: 1000, ..ChunkLimits::default() };
    let begun = |csid| chunks(ChunkWriter::new(128), &sent(csid, 0, body(140)))[0].clone();
    let wire: Vec<_> = (3..10).flat_map(begun).collect();
    let mut reader = ChunkReader::new(limits);
    assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![]));
    let expected = ChunkError::ReassemblyFull { csid: 10, needed: 8 * 128, limit: 1000 };
    assert_eq!(feed(&mut reader, &begun(10), &[]), Err(expected));

    // With the limit of a publisher the same reader goes on where it was.
    reader.set_limits(ChunkLimits::default());
    let rest = [&begun(10)[12..], &[0xc3], &body(140)[128..]].concat();
    assert_eq!(feed(&mut reader, &rest, &[]), Ok(vec![sent(3, 0, body(140)).message]));
}

#[test]
fn announced_lengths_take_no_memory_of_their_own() {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    for csid in 3..60 {
        let mut wire = head(0, csid, 0, 8 << 20, 9);
        assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![]));
        wire = vec![0; 128];
        assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![]));
    }
    assert!(reader.reserved as usize <= 57 * FIRST_PIECE_BYTES);

    // Before publish is granted, far less.
    let limits = ChunkLimits { reassembly_bytes: 64 << 10, ..ChunkLimits::default() };
    let mut reader = ChunkReader::new(limits);
    for csid in 3..60 {
        let wire = [head(0, csid, 0, 60_000, 9), vec![0; 128]].concat();
        assert_eq!(feed(&mut reader, &wire, &[]), Ok(vec![]));
    }
    assert!(reader.reserved <= 57 << 10);
}

#[test]
fn a_frame_of_ordinary_size_gets_its_memory_once_and_keeps_none_over() {
    let frame = sent(6, 5, body(50_000));
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let (mut input, mut place) = (&wire(ChunkWriter::new(128), &[frame])[..], None);
    let message = loop {
        let (mut piece, rest) = input.split_at(input.len().min(1000));
        if let Some(message) = reader.read(&mut piece).expect("valid chunks") {
            break message;
        }
        input = rest;
        let partial = &reader.channels[0].partial;
        assert_eq!(partial.capacity(), 50_000);
        assert_eq!(*place.get_or_insert(partial.as_ptr()), partial.as_ptr());
    };
    assert_eq!(place, Some(message.payload.as_ptr()));
    assert_eq!(reader.reserved, 0);
}

#[test]
fn a_connection_that_only_pings_keeps_next_to_no_memory() {
    let mut reader = ChunkReader::new(ChunkLimits::default());
    let mut out = BytesMut::new();
    for time_ms in 0..1000 {
        let ping = crate::proto::rtmp::UserControl::Ping(time_ms);
        ChunkWriter::new(128).write_control(&mut out, Control::User(ping));
    }
    assert_eq!(feed(&mut reader, &out, &[13]).map(|pings| pings.len()), Ok(1000));
    assert_eq!(reader.reserved, 0);
    assert!(reader.channels.capacity() * size_of::<Channel>() <= 200);
    assert!(size_of::<ChunkReader>() <= 72);
}

fn any_sent() -> impl Strategy<Value = Sent> {
    let csid = prop_oneof![3_u32..8, 60_u32..70, 316_u32..324, 65590_u32..=65599];
    let time = prop_oneof![0_u32..100, 0x00ff_fff0_u32..0x0100_0010, any::<u32>()];
    let len = prop_oneof![0_usize..20, 100_usize..300, 0_usize..5000];
    let kinds = prop::sample::select(&[3, 4, 5, 6, 8, 9, 15, 17, 18, 20, 22, 99]);
    (csid, time, len, kinds, any::<u32>()).prop_map(|(csid, timestamp_ms, len, kind, stream_id)| {
        Sent { csid, message: Message { kind, timestamp_ms, stream_id, payload: body(len) } }
    })
}

fn any_wire() -> impl Strategy<Value = (Vec<u8>, Vec<Message>)> {
    let all = prop::collection::vec(any_sent(), 1..12);
    let size = prop_oneof![1_u32..20, 100_u32..200, 1000_u32..70_000];
    let turns = prop::collection::vec(0_usize..12, 1..50);
    (all, size, turns).prop_map(|(all, size, turns)| {
        let writer = ChunkWriter::new(size);
        let (wire, messages) = interleave(writer, &all, &turns);
        ([announce(writer), wire].concat(), messages)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_was_written_is_read_however_it_is_interleaved_and_cut(
        (wire, messages) in any_wire(),
        pieces in prop::collection::vec(1_usize..3000, 1..20),
    ) {
        prop_assert_eq!(&read_all(&wire, &[]).expect("whole"), &messages);
        prop_assert_eq!(&read_all(&wire, &[1]).expect("byte by byte"), &messages);
        prop_assert_eq!(&read_all(&wire, &pieces).expect("in pieces"), &messages);
    }

    #[test]
    fn damaged_bytes_never_panic_and_mean_the_same_in_any_pieces(
        (mut wire, _) in any_wire(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        reassembly_bytes in 64_u32..20_000,
    ) {
        for (place, byte) in damage {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        let limits = ChunkLimits { reassembly_bytes, csids: 8, ..ChunkLimits::default() };
        let whole = feed(&mut ChunkReader::new(limits), &wire, &[]);
        let bytes = feed(&mut ChunkReader::new(limits), &wire, &[1]);
        match (whole, bytes) {
            (Ok(whole), Ok(bytes)) => prop_assert_eq!(whole, bytes),
            // How much memory is asked for at once differs, so may the place where it is refused.
            (whole, bytes) => prop_assert!(whole.is_err() || bytes.is_err()),
        }
    }

    #[test]
    fn random_bytes_never_panic_nor_go_beyond_the_limit(
        wire: Vec<u8>,
        pieces in prop::collection::vec(1_usize..40, 1..5),
    ) {
        let limits = ChunkLimits { message_bytes: 5000, reassembly_bytes: 300, csids: 4 };
        let _ = feed(&mut ChunkReader::new(limits), &wire, &pieces);
        let opened = [&head(0, 3, 0x0100_0000, 290, 9)[..], &wire].concat();
        let _ = feed(&mut ChunkReader::new(limits), &opened, &pieces);
    }
}
