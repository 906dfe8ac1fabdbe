//! Access units and PES packets as others cut them.

use super::super::super::packets::{Adaptation, Channel};
use super::super::super::{pes, wire_time};
use super::super::sound_frame::{Head, head};
use super::super::tables::Form;
use super::*;

/// One PES packet of the tests' own.
struct Pes<'a> {
    /// pts in ms, if it has a time.
    at_ms: Option<i64>,
    has_length: bool,
    data: &'a [u8],
}

/// A stream of these packets behind the tables of one stream.
fn stream(stream_type: u8, packets: &[Pes<'_>]) -> BytesMut {
    let mut out = BytesMut::new();
    let listed =
        psi::Listed { stream_type, pid: psi::VIDEO_PID, descriptors: psi::Descriptors::None };
    let none = Adaptation::default();
    Channel::new(psi::PAT_PID).write_section(&mut out, none, &psi::pat());
    let table = psi::pmt(1, psi::VIDEO_PID, psi::Descriptors::None, [listed]);
    Channel::new(psi::PMT_PID).write_section(&mut out, none, &table);
    let mut channel = Channel::new(psi::VIDEO_PID);
    for packet in packets {
        let length = packet.has_length.then_some(packet.data.len());
        let at = wire_time(Timestamp::from_millis(packet.at_ms.unwrap_or(0)));
        let mut header = pes::header(0xe0, length, at, at).to_vec();
        if packet.at_ms.is_none() {
            // The time is left as stuffing.
            header[7] = 0;
        }
        let bytes = header.len() + packet.data.len();
        channel.write(&mut out, none, [&header[..], packet.data], bytes);
    }
    out
}

fn timed(at_ms: i64, data: &[u8]) -> Pes<'_> {
    Pes { at_ms: Some(at_ms), has_length: false, data }
}

/// The sets of [`AVCC`] behind start codes.
fn sets() -> Vec<u8> {
    let avcc = hex(AVCC);
    [&[0, 0, 0, 1], &avcc[8..34], &[0, 0, 0, 1], &avcc[37..41]].concat()
}

const DELIMITER: &[u8] = &[0, 0, 0, 1, 9, 0xf0];
const IDR: &[u8] = &[0, 0, 1, 0x65, 0x88, 1];
const FIRST: &[u8] = &[0, 0, 1, 0x41, 0x9a, 2];
/// A slice that is not its picture's first.
const MORE: &[u8] = &[0, 0, 1, 0x41, 0x4a, 3];

fn pictures(read: &Read) -> Vec<(i64, bool, Vec<u8>)> {
    let frames = read.frames(TrackKind::Video).into_iter();
    frames.map(|frame| (frame.dts.as_millis(), frame.key, frame.data.to_vec())).collect()
}

fn units(parts: &[&[u8]]) -> Vec<u8> {
    let with_length = |part: &&[u8]| [&[0, 0, 0, part.len() as u8], *part].concat();
    parts.iter().flat_map(with_length).collect()
}

#[test]
fn a_picture_goes_on_in_a_packet_without_a_time() {
    let first = [&sets()[..], IDR, &[7; 300]].concat();
    for has_length in [false, true] {
        let packets = [
            Pes { at_ms: Some(100), has_length, data: &first },
            Pes { at_ms: None, has_length, data: MORE },
            Pes { at_ms: Some(140), has_length, data: FIRST },
        ];
        let read = Read::of(&stream(0x1b, &packets));
        read.assert_clean();
        let slice = [&IDR[3..], &[7; 300]].concat();
        let mut data = (slice.len() as u32).to_be_bytes().to_vec();
        data.extend(slice);
        data.extend(units(&[&MORE[3..]]));
        assert_eq!(pictures(&read), [(100, true, data), (140, false, units(&[&FIRST[3..]]))]);
    }
}

#[test]
fn pictures_that_share_a_packet_are_parted_at_delimiters_and_first_slices() {
    let three = [DELIMITER, FIRST, MORE, DELIMITER, FIRST, FIRST].concat();
    let key = [&sets()[..], IDR].concat();
    let packets = [timed(0, &key), timed(20, &three), timed(80, FIRST)];
    let read = Read::of(&stream(0x1b, &packets));
    read.assert_clean();
    let (one, two) = (units(&[&FIRST[3..]]), units(&[&FIRST[3..], &MORE[3..]]));
    let idr = units(&[&IDR[3..]]);
    assert_eq!(
        pictures(&read),
        [
            (0, true, idr),
            (20, false, two),
            (40, false, one.clone()),
            (60, false, one.clone()),
            (80, false, one)
        ]
    );
}

#[test]
fn sets_and_filler_are_left_out_and_other_messages_are_not() {
    let sei = [0, 0, 1, 6, 5, 1, 9, 0x80];
    let filler = [0, 0, 1, 12, 0xff, 0xff, 0x80];
    let data = [DELIMITER, &sets(), &sei, IDR, &filler].concat();
    let read = Read::of(&stream(0x1b, &[timed(0, &data)]));
    read.assert_clean();
    assert_eq!(pictures(&read), [(0, true, units(&[&sei[3..], &IDR[3..]]))]);
    assert_eq!(read.tracks(), [h264()]);
}

#[test]
fn decoding_may_begin_where_the_sender_says_that_pictures_are_right_at_once() {
    let recovery = |count: u8| [&[0, 0, 1, 6, 6, 1, count, 0x80][..], FIRST].concat();
    let key = [&sets()[..], IDR].concat();
    let (at_once, later) = (recovery(0xc4), recovery(0x44));
    let packets = [timed(0, &key), timed(40, &at_once), timed(80, &later)];
    let read = Read::of(&stream(0x1b, &packets));
    let keys: Vec<bool> = pictures(&read).into_iter().map(|(_, key, _)| key).collect();
    assert_eq!(keys, [true, true, false]);
}

#[test]
fn pictures_without_sets_are_dropped_and_told_once() {
    let key = [&sets()[..], IDR].concat();
    let packets = [timed(0, FIRST), timed(40, FIRST), timed(80, &key)];
    let read = Read::of(&stream(0x1b, &packets));
    assert_eq!(pictures(&read).len(), 1);
    assert_eq!(read.notices, [Notice::FrameBeforeConfig(Codec::Video(VideoCodec::H264))]);
}

#[test]
fn a_damaged_set_leaves_the_ones_before_in_force() {
    let key = [&sets()[..], IDR].concat();
    let damaged = [&[0, 0, 1, 0x67, 100, 0, 12, 0xff][..], IDR].concat();
    let packets = [timed(0, &key), timed(40, &damaged), timed(80, &key)];
    let read = Read::of(&stream(0x1b, &packets));
    assert_eq!(pictures(&read).len(), 3);
    assert_eq!((read.tracks(), read.counts.damaged_units), (vec![h264()], 1));
}

#[test]
fn more_pictures_than_anybody_sends_at_once_are_left_out() {
    let key = [&sets()[..], IDR].concat();
    let many = [DELIMITER, FIRST].concat().repeat(10_000);
    let packets = [timed(0, &key), timed(40, &many), timed(80, FIRST)];
    let read = Read::of(&stream(0x1b, &packets));
    assert!((200..300).contains(&pictures(&read).len()), "{}", pictures(&read).len());
    assert_eq!(read.notices, [Notice::TooLong { pid: psi::VIDEO_PID }]);
}

#[test]
fn sets_that_become_others_at_each_picture_of_a_packet_do_so_a_few_times() {
    // Each picture brings another PPS 2, of all those that have three bytes.
    let pictures = (0..100_u8).flat_map(|other| {
        [&[0, 0, 1, 0x68, 0x68 | other >> 6, 0x80 | other << 2 >> 1 | 1][..], IDR].concat()
    });
    let many: Vec<u8> = [sets(), IDR.to_vec(), pictures.collect()].concat();
    let read = Read::of(&stream(0x1b, &[timed(0, &many), timed(40, FIRST)]));
    assert_eq!(read.tracks().len(), 4);
    assert_eq!(read.notices, [Notice::TooLong { pid: psi::VIDEO_PID }]);
}

#[test]
fn more_sets_than_are_kept_are_left_out_before_the_pictures_they_come_with() {
    // PPS 127 to 254, each of three bytes.
    let more = (128..=255_u16)
        .flat_map(|set| [&[0, 0, 1, 0x68][..], &(set << 1 | 1).to_be_bytes()].concat());
    let key = [sets(), more.collect(), IDR.to_vec()].concat();
    let read = Read::of(&stream(0x1b, &[timed(0, &key), timed(40, FIRST)]));
    assert_eq!(pictures(&read).len(), 2);
    assert_eq!(read.notices, [Notice::TooLong { pid: psi::VIDEO_PID }]);
}

#[test]
fn a_size_of_opus_that_goes_on_is_none() {
    let endless = [&[0x7f, 0xe0][..], &[0xff; 300]].concat();
    let front = |bytes: &[u8]| head(Form::Opus(2), bytes);
    assert_eq!(front(&endless), Head::None);
    assert_eq!(front(&endless[..100]), Head::Short);
}

#[test]
fn frames_of_aac_are_found_wherever_packets_cut_them() {
    let frames: Vec<Vec<u8>> = (0..20).map(|at| vec![at + 1; 100 + usize::from(at)]).collect();
    let adts = |frame: &Vec<u8>| {
        let length = 7 + frame.len() as u32;
        let mut head = vec![0xff, 0xf1, 0x4c, 0x80 | (length >> 11) as u8, (length >> 3) as u8];
        head.extend([(length << 5) as u8 | 0x1f, 0xfc]);
        [&head[..], frame].concat()
    };
    let all: Vec<u8> = frames.iter().flat_map(adts).collect();
    for cut in [50, 107, 250, 600] {
        // The time of each packet is that of the frame that first begins in it.
        let packets: Vec<Pes<'_>> = all
            .chunks(cut)
            .enumerate()
            .map(|(at, data)| {
                let at_ms = (at == 0).then_some(1000);
                Pes { at_ms, has_length: true, data }
            })
            .collect();
        let read = Read::of(&stream(0x0f, &packets));
        read.assert_clean();
        assert_eq!(read.tracks(), [aac()]);
        let sent: Vec<Frame> = frames
            .iter()
            .enumerate()
            .map(|(at, data)| {
                let after = at as i64 * 1024 * 1_000_000_000 / 48_000;
                let at = Timestamp::from_millis(1000) + after;
                frame(TrackKind::Audio, at, false, data.clone())
            })
            .collect();
        assert_same(&read.frames(TrackKind::Audio), &sent);
    }
}

#[test]
fn a_frame_of_aac_with_a_checksum_loses_it() {
    let with_crc = [0xff, 0xf0, 0x4c, 0x80, 1, 0x9f, 0xfc, 0xab, 0xcd, 1, 2, 3];
    let data = with_crc.repeat(3);
    let read = Read::of(&stream(0x0f, &[timed(0, &data)]));
    read.assert_clean();
    let frames = read.frames(TrackKind::Audio);
    assert!(frames.len() == 3 && frames.iter().all(|frame| frame.data[..] == [1, 2, 3]));
}

#[test]
fn sound_is_found_again_behind_bytes_that_are_none() {
    let frame = [0xff, 0xf1, 0x4c, 0x80, 1, 0x5f, 0xfc, 1, 2, 3];
    let data = [&[9; 30][..], &frame, &frame, &[0xff, 0xf1, 0, 0xff], &frame, &frame].concat();
    let read = Read::of(&stream(0x0f, &[timed(0, &data)]));
    assert_eq!((read.frames(TrackKind::Audio).len(), read.counts.damaged_units), (4, 1));
    assert_eq!(read.notices, [Notice::Damaged { pid: psi::VIDEO_PID }]);
}

#[test]
fn forms_that_are_not_carried_are_named() {
    let told = |stream_type, frame: &[u8]| {
        let data = frame.repeat(4);
        let read = Read::of(&stream(stream_type, &[timed(0, &data)]));
        assert_eq!(read.items, []);
        read.notices
    };
    let layer_2 = [0xff, 0xfd, 0x94, 0, 0, 0];
    assert_eq!(told(3, &layer_2), [Notice::UnsupportedForm("MPEG audio of layer II")]);
    let blocks = [0xff, 0xf1, 0x4c, 0x80, 1, 0x5f, 0xfd, 1, 2, 3];
    let what = "AAC with several blocks in an ADTS frame";
    assert_eq!(told(0x0f, &blocks), [Notice::UnsupportedForm(what)]);
    let enhanced = [0x0b, 0x77, 0, 0, 0, 0x80, 0, 0];
    assert_eq!(told(0x81, &enhanced), [Notice::UnsupportedForm("enhanced AC-3")]);
}
