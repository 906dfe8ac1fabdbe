//! What happens on the way costs what it hits, and nothing else.

use std::collections::HashSet;

use proptest::collection::vec;

use super::*;

fn stream() -> Vec<u8> {
    write(&mut both(), &media(0, 60)).to_vec()
}

fn pid_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1] & 0x1f, packet[2]])
}

/// The numbers of the packets of `pid` that begin no unit.
fn inner(stream: &[u8], pid: u16) -> Vec<usize> {
    let packets = stream.chunks(PACKET_BYTES).enumerate();
    let inner = packets.filter(|(_, packet)| pid_of(packet) == pid && packet[1] & 0x40 == 0);
    // Those that have a payload.
    inner.filter(|(_, packet)| packet[3] & 0x10 != 0).map(|(at, _)| at).collect()
}

fn without(stream: &[u8], lost: usize) -> Vec<u8> {
    [&stream[..lost * PACKET_BYTES], &stream[(lost + 1) * PACKET_BYTES..]].concat()
}

/// The frames that came out were all sent, in that order, but for so many that hold what was damaged.
#[track_caller]
fn assert_near(
    read: &Read,
    whole: &Read,
    missing: std::ops::RangeInclusive<usize>,
    damaged: usize,
) {
    let sent = [TrackKind::Video, TrackKind::Audio].map(|kind| whole.frames(kind));
    let came = [TrackKind::Video, TrackKind::Audio].map(|kind| read.frames(kind));
    let (mut lost, mut strange) = (0, 0);
    for (came, sent) in came.iter().zip(&sent) {
        let mut rest = &sent[..];
        for frame in came {
            match rest.iter().position(|sent| sent.data == frame.data) {
                Some(at) => rest = &rest[at + 1..],
                None => strange += 1,
            }
        }
        lost += sent.len() - came.len();
    }
    assert!(strange <= damaged, "{strange} were not sent");
    assert!(missing.contains(&lost), "{lost} are missing: {:?}", read.counts);
}

#[track_caller]
fn assert_some_of(read: &Read, whole: &Read, missing: std::ops::RangeInclusive<usize>) {
    assert_near(read, whole, missing, 0);
}

#[test]
fn a_lost_packet_costs_one_picture_and_is_told_once() {
    let stream = stream();
    let whole = Read::of(&stream);
    let inner = inner(&stream, psi::VIDEO_PID);
    let read = Read::of(&without(&stream, inner[7]));
    assert_some_of(&read, &whole, 1..=1);
    assert_eq!((read.counts.losses, read.counts.damaged_units), (1, 1));
    assert_eq!(read.notices, [Notice::LostPackets { pid: psi::VIDEO_PID }]);
    let read = Read::of(&without(&without(&stream, inner[30]), inner[7]));
    assert_some_of(&read, &whole, 2..=2);
    assert_eq!((read.counts.losses, read.counts.damaged_units), (2, 2));
    assert_eq!(read.notices.len(), 1);
}

#[test]
fn a_lost_packet_of_sound_costs_the_frames_of_one_pes_packet() {
    let stream = stream();
    let whole = Read::of(&stream);
    let inner = inner(&stream, psi::AUDIO_PID);
    let read = Read::of(&without(&stream, inner[3]));
    assert_some_of(&read, &whole, 1..=4);
    assert_eq!(read.counts.losses, 1);
}

#[test]
fn packets_that_come_twice_are_taken_once() {
    let stream = stream();
    let twice: Vec<u8> =
        stream.chunks(PACKET_BYTES).flat_map(|packet| [packet, packet].concat()).collect();
    let read = Read::of(&twice);
    let packets = stream.chunks(PACKET_BYTES).filter(|packet| packet[3] & 0x10 != 0).count();
    assert_eq!(read.counts, Counts { duplicates: packets as u64, ..Counts::default() });
    assert_eq!(read.items, Read::of(&stream).items);
}

#[test]
fn bytes_too_many_between_packets_cost_what_the_last_packet_is_of() {
    let stream = stream();
    let whole = Read::of(&stream);
    let at = inner(&stream, psi::VIDEO_PID)[9] * PACKET_BYTES;
    for strange in [&[0; 5][..], &[0x47; 11], &[0x47, 0, 0x11], &[7; 700]] {
        let read = Read::of(&[&stream[..at], strange, &stream[at..]].concat());
        assert_some_of(&read, &whole, 0..=5);
        assert!(read.counts.lost_sync == 1 || strange[0] == 0x47, "{:?}", read.counts);
        assert_eq!(read.error, None);
    }
}

#[test]
fn a_piece_that_is_missing_costs_what_it_was_of() {
    let stream = stream();
    let whole = Read::of(&stream);
    for (at, count) in [(1000, 10), (20_000, 188), (20_000, 187), (20_001, 4000)] {
        let read = Read::of(&[&stream[..at], &stream[at + count..]].concat());
        // A frame of sound that ends in a packet is given out before it is known that the next
        // packet does not follow.
        assert_near(&read, &whole, 1..=20, 1);
        assert_eq!(read.error, None);
    }
}

#[test]
fn a_table_with_a_wrong_sum_changes_nothing() {
    let mut stream = stream();
    let whole = Read::of(&stream);
    let tables = stream.chunks(PACKET_BYTES).enumerate();
    let tables = tables.filter(|(_, packet)| pid_of(packet) == psi::PMT_PID);
    let second = tables.map(|(at, _)| at).nth(1).unwrap();
    stream[second * PACKET_BYTES + 20] ^= 0x10;
    let read = Read::of(&stream);
    assert_eq!(read.items, whole.items);
    assert_eq!(read.notices, [Notice::Damaged { pid: psi::PMT_PID }]);
    assert_eq!(read.counts, Counts { damaged_sections: 1, ..Counts::default() });
}

#[test]
fn a_scrambled_stream_is_refused_by_name_and_a_few_scrambled_packets_are_not() {
    let mut stream = stream();
    let video: Vec<usize> = inner(&stream, psi::VIDEO_PID);
    stream[video[5] * PACKET_BYTES + 3] |= 0x80;
    let read = Read::of(&stream);
    assert_eq!((read.error.clone(), read.counts.scrambled_packets), (None, 1));
    assert_eq!(read.notices, [Notice::Scrambled { pid: psi::VIDEO_PID }]);
    for packet in stream.chunks_mut(PACKET_BYTES) {
        if pid_of(packet) == psi::VIDEO_PID {
            packet[3] |= 0xc0;
        }
    }
    let error = Read::of(&stream).error.unwrap();
    assert_eq!(error, Error::Scrambled { pid: psi::VIDEO_PID, packets: 65 });
    assert!(error.to_string().contains("PID 0x100"), "{error}");
}

#[test]
fn what_is_no_transport_stream_is_refused() {
    assert!(matches!(Read::of(&[0; 100_000]).error, Some(Error::NotTs { .. })));
    assert_eq!(Read::of(&[]), Read::default());
}

#[test]
fn a_picture_over_the_limit_is_dropped_and_the_next_comes() {
    let limits = Limits { unit_bytes: 1000, ..Limits::default() };
    let frames = [picture(0, true, 500), picture(40, false, 5000), picture(80, false, 500)];
    let stream = write(&mut both(), &frames);
    let read = Read::in_pieces([&stream[..]], limits);
    assert_same(&read.frames(TrackKind::Video), &[frames[0].clone(), frames[2].clone()]);
    assert_eq!(read.notices, [Notice::TooLong { pid: psi::VIDEO_PID }]);
    assert_eq!(read.counts.damaged_units, 1);
}

#[test]
fn other_streams_are_told_of_and_left_out() {
    let listed = |stream_type, pid, descriptors| psi::Listed { stream_type, pid, descriptors };
    let none = psi::Descriptors::None;
    let table = psi::pmt(
        1,
        psi::VIDEO_PID,
        none,
        [
            listed(0x02, 0x99, none),
            listed(0x1b, psi::VIDEO_PID, none),
            listed(0x0f, psi::AUDIO_PID, none),
            listed(0x0f, 0x102, none),
            listed(0x06, 0x103, psi::Descriptors::Registered(*b"AV01")),
        ],
    );
    let mut stream = stream();
    // The same tables each time, or the last would be in force alone.
    for packet in stream.chunks_mut(PACKET_BYTES) {
        if pid_of(packet) == psi::PMT_PID {
            packet[5..5 + table.len()].copy_from_slice(&table);
        }
    }
    let read = Read::of(&stream);
    assert_eq!(read.tracks(), [h264(), aac()]);
    let unsupported =
        |pid, stream_type, registered| Notice::UnsupportedStream { pid, stream_type, registered };
    assert_eq!(
        read.notices,
        [
            unsupported(0x99, 2, None),
            Notice::OtherStream { kind: TrackKind::Audio, pid: 0x102 },
            unsupported(0x103, 6, Some(*b"AV01")),
        ]
    );
    let few = Limits { streams: 2, ..Limits::default() };
    let read = Read::in_pieces([&stream[..]], few);
    assert_eq!(read.tracks(), [h264()]);
    assert!(read.notices.contains(&Notice::TooManyStreams));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_cut_of_the_input_means_the_same(
        cuts in vec(0_usize..20_000, 0..40),
        damage in vec((0_usize..20_000, any::<u8>()), 0..4),
    ) {
        let mut stream = stream();
        stream.truncate(20_000);
        for (at, byte) in damage {
            stream[at] = byte;
        }
        let mut cuts = cuts;
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(Read::in_pieces(pieces, Limits::default()), Read::of(&stream));
    }

    #[test]
    fn damage_never_panics_and_costs_what_is_near(
        damage in vec((0_usize..1 << 20, any::<u8>()), 1..60),
        drops in vec((0_usize..1 << 20, 1_usize..400), 0..6),
    ) {
        let mut stream = stream();
        let touched: HashSet<usize> = damage.iter().map(|(at, _)| at % stream.len()).collect();
        for (at, byte) in damage {
            let at = at % stream.len();
            stream[at] = byte;
        }
        for (at, count) in drops {
            let at = at % stream.len();
            let end = (at + count).min(stream.len());
            stream.drain(at..end);
        }
        let read = Read::of(&stream);
        prop_assert_eq!(read.error, None);
        prop_assert!(read.counts.damaged_units < 200 + 4 * touched.len() as u64);
    }

    #[test]
    fn random_packets_never_panic_and_are_bounded(
        packets in vec((0_usize..6, any::<u8>(), vec(any::<u8>(), 0..184)), 0..200),
        head in 0_usize..8,
    ) {
        let mut stream = stream()[..head * PACKET_BYTES].to_vec();
        let pids = [psi::PAT_PID, psi::PMT_PID, psi::VIDEO_PID, psi::AUDIO_PID, 0x1fff, 0x123];
        for (pid, control, payload) in packets {
            let mut packet = vec![0x47];
            packet.extend((pids[pid] | u16::from(control & 1) << 14).to_be_bytes());
            packet.push(control & 0x3f);
            packet.extend(payload);
            packet.resize(PACKET_BYTES, 0xff);
            stream.extend(packet);
        }
        let limits = Limits { unit_bytes: 2000, sound_bytes: 500, ..Limits::default() };
        let read = Read::in_pieces([&stream[..]], limits);
        for item in read.items {
            if let Item::Frame(frame) = item {
                // Each start code of three bytes becomes a length of four.
                prop_assert!(frame.data.len() <= 3000);
            }
        }
    }
}
