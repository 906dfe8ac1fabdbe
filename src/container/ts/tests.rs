//! What is written, read again packet by packet.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::media::{
    AudioCodec, AudioFormat, Codec, Frame, PrivateStream, PrivateStreams, PrivateUnit, Track,
    TrackKind, VideoCodec,
};

const AVCC: &[u8] = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 0, 1, 0, 2, 0x68, 0xee];
/// AAC-LC, 48 kHz, two channels.
const AAC: &[u8] = &[0x11, 0x90];

fn track(codec: Codec, config: &'static [u8]) -> Track {
    let audio = Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 });
    Track { codec, config: Bytes::from_static(config), hdr: None, video: None, audio }
}

fn video() -> Track {
    track(Codec::Video(VideoCodec::H264), AVCC)
}

fn sound() -> Track {
    track(Codec::Audio(AudioCodec::Aac), AAC)
}

fn frame(kind: TrackKind, ms: i64, key: bool, data: Vec<u8>) -> Frame {
    let at = Timestamp::from_millis(ms);
    Frame { kind, dts: at, pts: at, key, data: data.into() }
}

/// A picture of one NAL unit.
fn picture(ms: i64, key: bool, bytes: usize) -> Frame {
    let mut data = (bytes as u32).to_be_bytes().to_vec();
    data.push(if key { 0x65 } else { 0x41 });
    data.resize(4 + bytes, 0xab);
    frame(TrackKind::Video, ms, key, data)
}

fn tone(ms: i64, bytes: usize) -> Frame {
    frame(TrackKind::Audio, ms, false, vec![0xcd; bytes])
}

/// A reader that is strict in all it looks at.
#[derive(Default)]
struct Read {
    /// By PID: the counter of the last packet.
    counters: HashMap<u16, u8>,
    /// PES packets: their PID, and their bytes.
    units: Vec<(u16, Vec<u8>)>,
    /// Each later than the one before, but for the wrap.
    clocks: Vec<u64>,
    /// Before which unit there are tables.
    tables: Vec<usize>,
    /// PIDs whose counters jumped, as they said.
    jumps: Vec<u16>,
}

impl Read {
    fn of(bytes: &[u8]) -> Self {
        let mut read = Self::default();
        read.go_on(bytes);
        read
    }

    fn go_on(&mut self, bytes: &[u8]) {
        assert_eq!(bytes.len() % PACKET_BYTES, 0);
        bytes.chunks(PACKET_BYTES).for_each(|packet| self.packet(packet));
    }

    fn packet(&mut self, packet: &[u8]) {
        assert_eq!(packet[0], 0x47);
        let starts = packet[1] & 0x40 != 0;
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let (counter, mut at) = (packet[3] & 15, 4);
        let (has_field, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let mut jumps = false;
        if has_field {
            let length = usize::from(packet[4]);
            assert!(length <= if has_payload { 182 } else { 183 });
            if length > 0 {
                jumps = packet[5] & 0x80 != 0;
                if packet[5] & 0x10 != 0 {
                    let high = u64::from(u32::from_be_bytes(packet[6..10].try_into().unwrap()));
                    let clock = high << 1 | u64::from(packet[10] >> 7);
                    if let Some(last) = self.clocks.last() {
                        let step = clock.wrapping_sub(*last) & WIRE_TIME_MAX;
                        assert!((1..=WIRE_TIME_MAX / 2).contains(&step), "{clock} after {last}");
                    }
                    self.clocks.push(clock);
                }
            }
            at += 1 + length;
        }
        if jumps {
            self.jumps.push(pid);
        } else if let Some(last) = self.counters.get(&pid) {
            let expected = if has_payload { (last + 1) & 15 } else { *last };
            assert_eq!(counter, expected, "of PID {pid:#x}");
        }
        self.counters.insert(pid, counter);
        if !has_payload {
            return;
        }
        match pid {
            psi::PAT_PID => {
                assert!(starts);
                self.tables.push(self.units.len());
            }
            psi::PMT_PID => assert!(starts),
            _ if starts => self.units.push((pid, packet[at..].to_vec())),
            _ => {
                let unit = self.units.iter_mut().rfind(|(of, _)| *of == pid);
                unit.expect("it has begun").1.extend_from_slice(&packet[at..]);
            }
        }
    }

    fn clock_steps_ms(&self) -> impl Iterator<Item = u64> {
        self.clocks.windows(2).map(|pair| pair[1].checked_sub(pair[0]).expect("it goes on") / 90)
    }
}

/// Two seconds at so many pictures a second, with sound.
fn two_seconds(mux: &mut Mux, out: &mut BytesMut, from_ms: i64, interval_ms: i64) {
    let mut next_tone = from_ms;
    for at in (from_ms..from_ms + 2000).step_by(interval_ms as usize) {
        while next_tone < at {
            mux.push(out, &tone(next_tone, 300));
            next_tone += 21;
        }
        mux.push(out, &picture(at, at == from_ms, 5000));
    }
    mux.flush(out);
}

#[test]
fn counters_clocks_and_tables_are_right_at_any_rate_of_pictures() {
    for interval in [4, 16, 33, 40, 41, 66, 100, 500] {
        let (mut mux, mut out) = (Mux::new(), BytesMut::new());
        mux.set_tracks(Some(&video()), Some(&sound()));
        mux.tables(&mut out, Timestamp::ZERO);
        for second in [0, 2000, 4000] {
            two_seconds(&mut mux, &mut out, second, interval);
        }
        let read = Read::of(&out);
        let longest = read.clock_steps_ms().max().expect("there are some");
        assert!(longest <= 40, "{longest} ms at a picture each {interval} ms");
        assert!(read.tables.len() >= 12 && read.tables[0] == 0, "{:?}", read.tables);
    }
}

#[test]
fn the_clock_goes_on_however_far_sound_is_ahead_of_the_pictures() {
    for ahead in [0, 20, 63, 100, 300, 700] {
        let (mut mux, mut out) = (Mux::new(), BytesMut::new());
        mux.set_tracks(Some(&video()), Some(&sound()));
        mux.tables(&mut out, Timestamp::ZERO);
        for at in (0..ahead).step_by(21) {
            mux.push(&mut out, &tone(at, 100));
        }
        for at in (0..4000).step_by(40) {
            // Whoever begins at a key frame has a clock with it.
            let key = at % 200 == 0;
            if key {
                mux.flush(&mut out);
                mux.tables(&mut out, Timestamp::from_millis(at));
            }
            let before = out.len();
            mux.push(&mut out, &picture(at, key, 100));
            assert!(!key || !Read::of(&out[before..]).clocks.is_empty());
            mux.push(&mut out, &tone(at + ahead, 50));
            mux.push(&mut out, &tone(at + ahead + 20, 50));
        }
        let read = Read::of(&out);
        let longest = read.clock_steps_ms().max().expect("there are some");
        assert!(longest <= 40, "{longest} ms with sound {ahead} ms ahead");
    }
}

#[test]
fn the_clock_of_sound_alone_goes_on_by_more_than_a_tick() {
    for bytes in [100, 4200] {
        let (mut mux, mut out) = (Mux::new(), BytesMut::new());
        mux.set_tracks(None, Some(&sound()));
        for number in 0..200 {
            mux.push(&mut out, &tone(number * 64 / 3, bytes));
        }
        mux.flush(&mut out);
        let read = Read::of(&out);
        assert!(read.clock_steps_ms().all(|step| (2..=40).contains(&step)));
        assert!(read.tables.len() >= 9, "{:?}", read.tables);
    }
}

#[test]
fn an_access_unit_has_a_delimiter_and_parameter_sets_once() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), None);
    mux.push(&mut out, &picture(0, true, 3));
    // One that has brought all of it itself.
    let own = [0, 0, 0, 2, 9, 0x10, 0, 0, 0, 2, 0x67, 7, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65];
    mux.push(&mut out, &frame(TrackKind::Video, 40, true, own.to_vec()));
    mux.push(&mut out, &picture(80, false, 3));
    let read = Read::of(&out);
    let unit = |at: usize| {
        let unit = &read.units[at].1;
        unit[9 + usize::from(unit[8])..].to_vec()
    };
    assert_eq!(
        unit(0),
        [
            &[0, 0, 0, 1, 9, 0xf0][..],
            &[0, 0, 0, 1, 0x67, 0x64, 0, 0, 0, 0, 1, 0x68, 0xee],
            &[0, 0, 0, 1, 0x65, 0xab, 0xab],
        ]
        .concat()
    );
    assert_eq!(
        unit(1),
        [&[0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 7][..], &[0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65],]
            .concat()
    );
    assert_eq!(unit(2), [0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x41, 0xab, 0xab]);
}

#[test]
fn sound_shares_packets_behind_adts_headers() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(None, Some(&sound()));
    for at in [0, 21, 43, 64] {
        mux.push(&mut out, &tone(at, 100));
    }
    assert_eq!(mux.gathered(), 0, "sixty milliseconds are enough");
    mux.push(&mut out, &tone(85, 100));
    assert_eq!(mux.gathered(), 107);
    mux.flush(&mut out);
    let read = Read::of(&out);
    let sizes: Vec<_> = read.units.iter().map(|(pid, unit)| (*pid, unit.len())).collect();
    assert_eq!(sizes, [(psi::AUDIO_PID, 14 + 4 * 107), (psi::AUDIO_PID, 14 + 107)]);
    assert_eq!(read.units[0].1[14..21], [0xff, 0xf1, 0x4c, 0x80, 0xd, 0x7f, 0xfc]);
    assert!(!read.clocks.is_empty(), "without pictures the clock goes with it");
}

/// A time of a PES header.
fn ticks(bytes: &[u8]) -> i64 {
    let [a, b, c, d, e]: [i64; 5] = std::array::from_fn(|at| bytes[at].into());
    (a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1
}

/// The times of PES packets of `pid`, in milliseconds: pts, and dts if it is another.
fn times_ms(read: &Read, pid: u16) -> Vec<Vec<i64>> {
    let time = |bytes: &[u8]| (ticks(bytes) - 90_000) / 90;
    let units = read.units.iter().filter(|(of, _)| *of == pid);
    units.map(|(_, unit)| unit[9..9 + usize::from(unit[8])].chunks(5).map(time).collect()).collect()
}

#[test]
fn sound_behind_a_gap_has_a_time_of_its_own() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(None, Some(&sound()));
    for at in [0, 20, 500, 520, 1500] {
        mux.push(&mut out, &tone(at, 100));
    }
    mux.flush(&mut out);
    let read = Read::of(&out);
    assert_eq!(times_ms(&read, psi::AUDIO_PID), [[0], [500], [1500]]);
    assert!(margins_ms(&out).iter().all(|margin| *margin >= 0));
}

#[test]
fn no_picture_is_shown_before_it_is_decoded() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), None);
    for (dts, pts) in [(0, 40), (1000, 950), (1040, 1080)] {
        let pts = Timestamp::from_millis(pts);
        mux.push(&mut out, &Frame { pts, ..picture(dts, dts == 0, 100) });
    }
    let times = times_ms(&Read::of(&out), psi::VIDEO_PID);
    assert_eq!(times, [vec![40, 0], vec![1000], vec![1080, 1040]]);
}

#[test]
fn who_has_missed_something_is_told_that_counters_jump_and_goes_on() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), Some(&sound()));
    let mut streams = PrivateStreams::default();
    for stream_type in [6, 0x86] {
        assert!(streams.push(PrivateStream { stream_type, descriptors: Bytes::new() }));
    }
    mux.set_private_streams(&streams);
    let two_seconds = |mux: &mut Mux, out: &mut BytesMut, from_ms: i64| {
        two_seconds(mux, out, from_ms, 40);
        for stream in [0, 1, 0] {
            let data = PrivateUnit { stream, ticks: 0, bytes: &[0; 20] }.to_data().to_vec();
            mux.push(out, &frame(TrackKind::Private, from_ms + 1960, false, data));
        }
    };
    mux.tables(&mut out, Timestamp::ZERO);
    two_seconds(&mut mux, &mut out, 0);
    let mut read = Read::of(&out);
    // This part never reaches it.
    two_seconds(&mut mux, &mut BytesMut::new(), 2000);
    read.go_on(&mux.rejoin());
    let private = [psi::PRIVATE_PID, psi::PRIVATE_PID + 1];
    let media = [psi::PAT_PID, psi::PMT_PID, psi::VIDEO_PID, psi::AUDIO_PID];
    assert_eq!(read.jumps, [&media[..], &private].concat());
    let mut out = BytesMut::new();
    mux.tables(&mut out, Timestamp::from_millis(4000));
    two_seconds(&mut mux, &mut out, 4000);
    read.go_on(&out);
    let came = |pid: u16| read.units.iter().filter(|(of, _)| *of == pid).count();
    assert_eq!(private.map(came), [4, 2]);
}

#[test]
fn times_wrap_after_33_bits_and_clocks_with_them() {
    let wrap_ms = (1_i64 << 33) / 90 - 1000;
    assert_eq!(wire_time(Timestamp::from_millis(-1001)), (1 << 33) - 90);
    assert!(wire_time(Timestamp::from_millis(wrap_ms + 1)) < 180);
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), Some(&sound()));
    two_seconds(&mut mux, &mut out, wrap_ms - 1000, 41);
    let read = Read::of(&out);
    let steps = read.clocks.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) & ((1 << 33) - 1));
    assert!(steps.max().is_some_and(|longest| longest <= 40 * 90));
}

#[test]
fn other_tracks_are_a_new_version_of_the_table_and_the_same_are_not() {
    let mut mux = Mux::new();
    let version = |mux: &mut Mux| {
        let mut out = BytesMut::new();
        mux.tables(&mut out, Timestamp::ZERO);
        out[PACKET_BYTES + 10] >> 1 & 31
    };
    mux.set_tracks(Some(&video()), Some(&sound()));
    let first = version(&mut mux);
    mux.set_tracks(Some(&video()), Some(&sound()));
    assert_eq!(version(&mut mux), first);
    mux.set_tracks(Some(&video()), None);
    assert_eq!(version(&mut mux), first + 1);
}

#[test]
fn what_has_no_place_in_a_transport_stream_is_left_out() {
    let mut mux = Mux::new();
    let av1 = track(Codec::Video(VideoCodec::Av1), &[0x81, 0, 0, 0]);
    let flac = track(Codec::Audio(AudioCodec::Flac), &[]);
    mux.set_tracks(Some(&av1), Some(&flac));
    assert!(mux.is_empty());
    let mut out = BytesMut::new();
    mux.push(&mut out, &picture(0, true, 100));
    mux.push(&mut out, &tone(0, 100));
    mux.flush(&mut out);
    assert!(out.is_empty());
}

/// Whether each picture has parameter sets.
fn with_parameter_sets(read: &Read) -> Vec<bool> {
    let video = read.units.iter().filter(|(pid, _)| *pid == psi::VIDEO_PID);
    video.map(|(_, unit)| unit.windows(4).any(|bytes| bytes == [0, 0, 1, 0x67])).collect()
}

#[test]
fn who_begins_at_a_picture_that_is_no_key_frame_has_parameter_sets_too() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), None);
    for (at, key) in [(0, true), (40, false), (80, false), (120, false)] {
        // A recovery point.
        if at == 80 {
            mux.tables(&mut out, Timestamp::from_millis(at));
        }
        mux.push(&mut out, &picture(at, key, 100));
    }
    assert_eq!(with_parameter_sets(&Read::of(&out)), [true, false, true, false]);
}

#[test]
fn a_key_frame_with_one_parameter_set_gets_the_others() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), None);
    let own = [0, 0, 0, 2, 0x67, 7, 0, 0, 0, 1, 0x65];
    mux.push(&mut out, &frame(TrackKind::Video, 0, true, own.to_vec()));
    let unit = &Read::of(&out).units[0].1;
    let of = |kind: u8| unit.windows(4).filter(|bytes| *bytes == [0, 0, 1, kind]).count();
    assert_eq!([of(0x67), of(0x68), of(0x65)], [2, 1, 1]);
}

/// Times of PES packets, less the last clock before each.
fn margins_ms(out: &[u8]) -> Vec<i64> {
    let mut margins = Vec::new();
    let mut read = Read::default();
    for packet in out.chunks(PACKET_BYTES) {
        let units = read.units.len();
        read.packet(packet);
        if let Some((_, unit)) = read.units.get(units) {
            let clock = *read.clocks.last().expect("a clock is there before any unit");
            margins.push((ticks(&unit[9..]) - clock as i64) / 90);
        }
    }
    margins
}

#[test]
fn nothing_comes_later_than_its_time_however_late_sound_is() {
    for late in [0, 100, 300, 600] {
        let (mut mux, mut out) = (Mux::new(), BytesMut::new());
        mux.set_tracks(Some(&video()), Some(&sound()));
        for at in (0..4000).step_by(40) {
            mux.push(&mut out, &picture(at, at == 0, 500));
            // It stops for a while, with some of it gathered.
            if at >= late && !(1000..3000).contains(&at) {
                mux.push(&mut out, &tone(at - late, 100));
                mux.push(&mut out, &tone(at - late + 20, 100));
            }
        }
        mux.flush(&mut out);
        let margins = margins_ms(&out);
        assert!(margins.len() > 110, "{}", margins.len());
        // That it is late is known when the first has come. The clock waits then.
        let begun = margins.iter().rposition(|margin| *margin < 0).map_or(0, |last| last + 1);
        assert!(begun <= if late > 100 { 40 } else { 0 }, "sound {late} ms late: {margins:?}");
        assert!(margins.iter().all(|margin| *margin < 1000));
    }
}

#[test]
fn sound_without_its_pictures_has_a_clock_and_tables() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), Some(&sound()));
    // A block that ends before any picture has come.
    mux.push(&mut out, &tone(0, 100));
    mux.flush(&mut out);
    // The pictures never come, and the sound pauses for longer than is filled with clocks.
    for at in (20..1000).chain(4000..5000).step_by(20) {
        mux.push(&mut out, &tone(at, 100));
    }
    assert!(margins_ms(&out).iter().all(|margin| (0..1000).contains(margin)));
    let read = Read::of(&out);
    assert_eq!(read.tables[0], 0);
    assert!(read.tables.len() >= 5, "{:?}", read.tables);
    let gaps = read.clock_steps_ms().filter(|step| *step > 40);
    assert_eq!(gaps.count(), 1);
}

#[test]
fn tables_are_repeated_between_pictures_that_are_far_apart() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    mux.set_tracks(Some(&video()), None);
    for at in [0, 900, 1800] {
        // One that begins says so too, before the clocks of the time in which nothing came.
        if at == 900 {
            mux.tables(&mut out, Timestamp::from_millis(at));
        }
        mux.push(&mut out, &picture(at, at == 0, 100));
    }
    let (mut read, mut last) = (Read::default(), 0);
    for packet in out.chunks(PACKET_BYTES) {
        let tables = read.tables.len();
        read.packet(packet);
        let clock = read.clocks.last().copied().unwrap_or(0);
        if read.tables.len() > tables {
            assert!(last == 0 || clock - last <= 500 * 90, "{} ms", (clock - last) / 90);
            last = clock;
        }
    }
    assert!(read.tables.len() >= 5, "{:?}", read.tables);
}

#[test]
fn a_frame_that_can_be_no_sound_is_left_out() {
    let (mut mux, mut out) = (Mux::new(), BytesMut::new());
    let mp3 = track(Codec::Audio(AudioCodec::Mp3), &[]);
    mux.set_tracks(None, Some(&mp3));
    for bytes in [0, 100, 1 << 20] {
        mux.push(&mut out, &tone(0, bytes));
    }
    mux.flush(&mut out);
    let sizes: Vec<_> = Read::of(&out).units.iter().map(|(_, unit)| unit.len()).collect();
    assert_eq!(sizes, [14 + 100]);
}
