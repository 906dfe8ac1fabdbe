//! Streams of private data.

use proptest::collection::vec;

use super::super::super::packets::{Adaptation, Channel};
use super::super::super::{WIRE_TIME_MAX, pes, wire_time};
use super::*;
use crate::media::{PrivateStream, PrivateStreams, PrivateUnit};

/// What the publisher's clock said when the media began.
const TICKS: u64 = WIRE_TIME_MAX - 1000;

fn list(streams: &[(u8, &[u8])]) -> PrivateStreams {
    let mut list = PrivateStreams::default();
    for &(stream_type, descriptors) in streams {
        let descriptors = Bytes::copy_from_slice(descriptors);
        assert!(list.push(PrivateStream { stream_type, descriptors }));
    }
    list
}

/// Asynchronous KLV, synchronous KLV, teletext and cues.
fn all_sorts() -> PrivateStreams {
    let klv = [0x26, 9, 1, 0, 0xff, b'K', b'L', b'V', b'A', 0, 0x0f];
    let text = [0x56, 5, b'd', b'e', b'u', 9, 0x1f];
    list(&[(6, b"\x05\x04KLVA"), (0x15, &klv), (6, &text), (0x86, &[0x8a, 1, 0])])
}

fn beside(stream: u8, at: Timestamp, ticks: u64, unit: &[u8]) -> Frame {
    let data = PrivateUnit { stream, ticks, bytes: unit }.to_data().to_vec();
    frame(TrackKind::Private, at, false, data)
}

/// Sections of cues without their sums: of a splice, with an adjustment of 5, and of nothing.
const SPLICE: &[u8] = &[
    0xfc, 0x30, 0x25, 0, 0, 0, 0, 0, 5, 0, 0xff, 0xf0, 0x14, 5, 0, 0, 0, 1, 0x7f, 0xef, 0xfe,
    0x12, //
    0x34, 0x56, 0x78, 0xfe, 0, 0x52, 0xcc, 0xf5, 0, 0, 0, 0, 0, 0,
];

/// The unit that a publisher's clock of `ticks` makes of each stream.
fn unit(stream: u8, ticks: u64, payload: &[u8]) -> Vec<u8> {
    match stream {
        // Without a time.
        0 => {
            let length = (3 + payload.len() as u16).to_be_bytes();
            [&[0, 0, 1, 0xbd], &length[..], &[0x84, 0, 0], payload].concat()
        }
        1 => [&pes::header(0xfc, Some(payload.len()), ticks, ticks)[..], payload].concat(),
        // Its header is stuffed (ETSI EN 300 472 4.2).
        2 => {
            let mut header = pes::header(0xbd, Some(31 + payload.len()), ticks, ticks).to_vec();
            header[8] = 0x24;
            header.resize(45, 0xff);
            [&header[..], payload].concat()
        }
        _ => SPLICE.to_vec(),
    }
}

/// Media with units of all four streams beside it.
fn with_private(pictures: i64) -> Vec<Frame> {
    let mut frames = media(0, pictures);
    for number in 0..pictures * 2 {
        let at = Timestamp::from_millis(20 * number + 10);
        let ticks = (TICKS + 1800 * number as u64 + 900) & WIRE_TIME_MAX;
        let stream = (number % 4) as u8;
        let payload =
            vec![number as u8; if number == 9 { 60_000 } else { 1 + number as usize * 7 }];
        frames.push(beside(stream, at, ticks, &unit(stream, ticks, &payload)));
    }
    frames.sort_by_key(|frame| frame.dts);
    frames
}

/// What stands beside the media: stream, milliseconds and unit.
fn units(read: &Read) -> Vec<(u8, i64, Vec<u8>)> {
    let frames = read.frames(TrackKind::Private).into_iter();
    let units = frames.map(|frame| {
        let unit = PrivateUnit::of(&frame.data).unwrap();
        (unit.stream, frame.pts.as_millis(), unit.bytes.to_vec())
    });
    units.collect()
}

#[test]
fn private_data_comes_out_as_it_went_in_with_its_times_moved_like_those_of_the_media() {
    let mut mux = both();
    mux.set_private_streams(&all_sorts());
    let frames = with_private(40);
    let read = Read::of(&write(&mut mux, &frames));
    read.assert_clean();
    assert!(read.items.contains(&Item::PrivateStreams(all_sorts())));
    let units = units(&read);
    assert_eq!(units.len(), 80);
    for stream in 0..4 {
        let sent = frames.iter().filter_map(|frame| {
            let of_kind = frame.kind == TrackKind::Private;
            let unit = of_kind.then(|| PrivateUnit::of(&frame.data).unwrap())?;
            (unit.stream == stream).then_some((frame.pts, unit))
        });
        let came = units.iter().filter(|(of, ..)| *of == stream);
        for ((at, sent), (_, came_ms, came)) in sent.zip(came) {
            let wire = wire_time(at);
            if stream == 3 {
                // What is spliced at 0x12345678 and 5 ticks of the publisher's clock.
                let adjustment = came[4..9].iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
                let expected = (5 + wire).wrapping_sub(sent.ticks) & WIRE_TIME_MAX;
                assert_eq!(adjustment, expected);
                assert_eq!((&came[..4], &came[9..]), (&SPLICE[..4], &SPLICE[9..]));
            } else {
                let head = [9, 9, 45][usize::from(stream)];
                assert_eq!(
                    *came,
                    unit(stream, wire, &sent.bytes[head + 5 * usize::from(stream == 1)..])
                );
            }
            // What has a time of its own keeps it; the rest is where the clock was.
            let off = at.as_millis() - came_ms;
            assert!(if matches!(stream, 1 | 2) { off.abs() <= 1 } else { (0..500).contains(&off) });
        }
    }
    let media = media(0, 40);
    assert_same(&read.frames(TrackKind::Video), &of_kind(&media, TrackKind::Video));
    assert_same(&read.frames(TrackKind::Audio), &of_kind(&media, TrackKind::Audio));
}

#[test]
fn streams_that_come_and_go_are_told_of_and_counters_go_on() {
    let mut mux = both();
    let mut stream = BytesMut::new();
    // Tables of one packet, of many, and of one again, to one who is skipped in between.
    let long = [&[0x80, 0xff][..], &[7; 255]].concat().repeat(3);
    let lists = [list(&[]), all_sorts(), list(&[(6, &long), (0x15, b"")]), list(&[])];
    for (list, at) in lists.iter().zip(0..) {
        mux.set_private_streams(list);
        let frames: Vec<Frame> = with_private(25)
            .into_iter()
            .map(|mut frame| {
                frame.dts = frame.dts + at * 1_000_000_000;
                frame.pts = frame.pts + at * 1_000_000_000;
                frame
            })
            .collect();
        stream.extend_from_slice(&write(&mut mux, &frames));
        write(&mut mux, &frames);
        stream.extend_from_slice(&mux.rejoin());
    }
    let read = Read::of(&stream);
    assert_eq!(
        (read.error.clone(), read.counts.losses, read.counts.damaged_sections),
        (None, 0, 0)
    );
    let told = read.items.iter().filter_map(|item| match item {
        Item::PrivateStreams(streams) => Some(streams.clone()),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), lists[1..]);
    let of_stream = |stream: u8| units(&read).iter().filter(|(of, ..)| *of == stream).count();
    assert!(of_stream(0) > 20 && of_stream(1) > 20, "of two lists");
    assert!(of_stream(2) > 10 && of_stream(3) > 10, "of one");
    assert_eq!(read.frames(TrackKind::Video).len(), 100);
}

/// Packets of `payload` behind tables that list it as `streams` of private data on PIDs from 0x200
/// on, between media.
fn foreign(streams: &[(u8, &[u8])], packets: &[(u16, &[u8])]) -> BytesMut {
    let frames = media(0, 50);
    let mut stream = write(&mut both(), &frames[..frames.len() / 2]);
    let descriptors = psi::Descriptors::None;
    let media = [(0x1b, psi::VIDEO_PID), (0x0f, psi::AUDIO_PID)]
        .map(|(stream_type, pid)| psi::Listed { stream_type, pid, descriptors });
    let private = streams.iter().zip(0x200..).map(|(&(stream_type, given), pid)| psi::Listed {
        stream_type,
        pid,
        descriptors: psi::Descriptors::Given(given),
    });
    let streams = media.into_iter().chain(private);
    let none = Adaptation::default();
    let table = psi::pmt(9, psi::VIDEO_PID, psi::Descriptors::None, streams);
    let pmt = Channel::new(psi::PMT_PID);
    // As if the ones before had been of this number.
    let mut continues = stream
        .chunks(PACKET_BYTES)
        .filter(|packet| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == psi::PMT_PID)
        .fold(pmt, |mut pmt, _| {
            pmt.write_section(&mut BytesMut::new(), none, &[0; 9]);
            pmt
        });
    continues.write_section(&mut stream, none, &table);
    let mut channels: Vec<Channel> = (0x200..0x220).map(Channel::new).collect();
    for &(pid, payload) in packets {
        channels[usize::from(pid - 0x200)].write(&mut stream, none, [payload], payload.len());
    }
    stream
}

#[test]
fn more_streams_or_longer_descriptors_than_may_be_are_left_out() {
    let klv: (u8, &[u8]) = (6, b"\x05\x04KLVA");
    let read = Read::of(&foreign(&[klv; 12], &[]));
    assert!(read.items.contains(&Item::PrivateStreams(list(&[klv; PrivateStreams::MAX]))));
    assert_eq!(read.notices, [Notice::TooManyStreams]);
    let long = [&[0x80, 0xfe][..], &[7; 254]].concat();
    let long: (u8, &[u8]) = (6, &long);
    let most = PrivateStreams::DESCRIPTOR_BYTES_MAX / 256;
    assert_eq!(most, 3, "and the table would have no room for more");
    let read = Read::of(&foreign(&[long, long, long, klv], &[]));
    assert!(read.items.contains(&Item::PrivateStreams(list(&[long, long, long, klv]))));
}

#[test]
fn descriptors_longer_than_their_stream_says_list_nothing() {
    let read = Read::of(&foreign(&[(6, b"\x05\x09KLVA")], &[]));
    assert!(!read.items.iter().any(|item| matches!(item, Item::PrivateStreams(_))));
    assert_eq!(read.error, None);
}

#[test]
fn units_that_do_not_end_or_contradict_themselves_are_dropped_alone() {
    let klv: (u8, &[u8]) = (6, b"\x05\x04KLVA");
    let whole = unit(0, 0, b"klv");
    let cut = &unit(0, 0, &[7; 900])[..800];
    let endless = [&[0, 0, 1, 0xbd, 0, 0, 0x84, 0, 0][..], &vec![7; 70_000]].concat();
    let open = &endless[..5000];
    let wrong = [0, 0, 1, 0xbe, 0, 3, 1, 2, 3];
    let packets = [&whole[..], cut, &endless, open, &wrong, &whole].map(|payload| (0x200, payload));
    let read = Read::of(&foreign(&[klv], &packets));
    let came: Vec<_> = units(&read).into_iter().map(|(.., unit)| unit).collect();
    assert_eq!(came, [whole.clone(), open.to_vec(), whole]);
    assert_eq!(read.counts.damaged_units, 3);
    assert!(read.notices.contains(&Notice::TooLong { pid: 0x200 }));
    assert!(read.notices.contains(&Notice::Damaged { pid: 0x200 }));
}

#[test]
fn what_comes_before_the_first_picture_follows_it_and_is_bounded() {
    let mut mux = both();
    mux.set_private_streams(&all_sorts());
    let early = |number: i64| beside(0, Timestamp::from_millis(number), 0, &unit(0, 0, b"klv"));
    let mut frames = vec![tone(0, 100)];
    frames.extend((0..100).map(early));
    frames.extend([picture(200, true, 500), picture(240, false, 500)]);
    let mut out = BytesMut::new();
    mux.tables(&mut out, Timestamp::ZERO);
    out.extend_from_slice(&write(&mut mux, &frames));
    let read = Read::of(&out);
    let kinds = read.items.iter().filter_map(|item| match item {
        Item::Frame(frame) => Some(frame.kind),
        _ => None,
    });
    let kinds: Vec<_> = kinds.filter(|kind| *kind != TrackKind::Audio).collect();
    assert_eq!(kinds[0], TrackKind::Video);
    assert_eq!(units(&read).len(), EARLY_MAX);
}

#[test]
fn what_came_before_the_first_picture_is_of_the_list_that_follows_or_dropped() {
    let (mut mux, mut out) = (both(), BytesMut::new());
    mux.set_private_streams(&list(&[(6, b"\x05\x04KLVA")]));
    mux.tables(&mut out, Timestamp::ZERO);
    mux.push(&mut out, &beside(0, Timestamp::ZERO, 0, &unit(0, 0, b"klv")));
    mux.set_private_streams(&list(&[(0x86, b"")]));
    out.extend_from_slice(&write(&mut mux, &media(0, 5)));
    let read = Read::of(&out);
    read.assert_clean();
    assert_eq!(units(&read), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_in_private_streams_media_come_out(
        payloads in vec((0_u16..3, vec(any::<u8>(), 1..600), 0_usize..4), 0..60),
        descriptors in vec(any::<u8>(), 0..40),
    ) {
        let heads: [&[u8]; 4] = [&[], &[0, 0, 1, 0xbd], &[0, 0xfc, 0x30, 0x11], &[0, 0, 1, 0xfc, 0, 20, 0x84, 0xc0]];
        let payloads: Vec<(u16, Vec<u8>)> = payloads
            .into_iter()
            .map(|(pid, payload, head)| (0x200 + pid, [heads[head], &payload].concat()))
            .collect();
        let packets: Vec<(u16, &[u8])> = payloads.iter().map(|(pid, payload)| (*pid, &payload[..])).collect();
        for given in [&descriptors[..], b"\x05\x04KLVA"] {
            let read = Read::of(&foreign(&[(6, given), (0x15, b""), (0x86, b"")], &packets));
            prop_assert_eq!(&read.error, &None);
            prop_assert!(read.frames(TrackKind::Video).len() >= 20);
            // All of it can be written.
            let (mut mux, mut out) = (both(), BytesMut::new());
            for item in &read.items {
                match item {
                    Item::PrivateStreams(streams) => mux.set_private_streams(streams),
                    Item::Frame(frame) => mux.push(&mut out, frame),
                    _ => {}
                }
            }
            prop_assert_eq!(out.len() % PACKET_BYTES, 0);
        }
    }
}
