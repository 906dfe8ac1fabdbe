//! What the multiplexer writes comes out as it went in.

use super::*;

#[test]
fn pictures_and_sound_come_out_as_they_went_in() {
    let frames = media(1000, 60);
    let read = Read::of(&write(&mut both(), &frames));
    read.assert_clean();
    assert_eq!(read.tracks(), [h264(), aac()]);
    assert_same(&read.frames(TrackKind::Video), &of_kind(&frames, TrackKind::Video));
    assert_same(&read.frames(TrackKind::Audio), &of_kind(&frames, TrackKind::Audio));
}

#[test]
fn h265_comes_out_with_the_record_it_went_in_with() {
    let h265 = track(Codec::Video(VideoCodec::H265), HVCC);
    let mut mux = Mux::new();
    mux.set_tracks(Some(&h265), None);
    let data = |first: u8| [&[0, 0, 0, 9, first, 1, 0x80, 1, 2, 3, 4, 5, 6][..]].concat();
    let frames: Vec<Frame> = (0..10)
        .map(|at| {
            let key = at % 5 == 0;
            let data = data(if key { 0x2a } else { 0x02 });
            frame(TrackKind::Video, Timestamp::from_millis(at * 40), key, data)
        })
        .collect();
    let read = Read::of(&write(&mut mux, &frames));
    read.assert_clean();
    assert_eq!(read.tracks(), [h265]);
    assert_same(&read.frames(TrackKind::Video), &frames);
}

#[test]
fn decoding_and_showing_times_are_kept_apart() {
    let mut frames: Vec<Frame> = (0..20).map(|at| picture(at * 40, at == 0, 500)).collect();
    for (at, frame) in frames.iter_mut().enumerate() {
        frame.pts = frame.pts + [80, 160, 40, 0][at % 4] * 1_000_000;
    }
    let read = Read::of(&write(&mut both(), &frames));
    read.assert_clean();
    assert_same(&read.frames(TrackKind::Video), &frames);
}

#[test]
fn each_kind_of_sound_comes_out_as_it_went_in() {
    let mp3 = |at: i64| {
        let mut data = vec![0xff, 0xfb, 0x94, 0x64]; // 128 kbit/s, 48 kHz
        data.resize(384, at as u8 & 0x7f);
        data
    };
    let ac3 = |at: i64| {
        let mut data = vec![0x0b, 0x77, 0, 0, 8, 0x40, 0x40, 0]; // 64 kbit/s, 48 kHz, stereo
        data.resize(256, at as u8 & 0x7f);
        data
    };
    let opus = |at: i64| vec![31 << 3; 10 + (at as usize * 83) % 600];
    let head = crate::codec::opus::head(2).unwrap();
    let head: String = head.iter().map(|byte| format!("{byte:02x}")).collect();
    type Make<'a> = &'a dyn Fn(i64) -> Vec<u8>;
    let all: [(AudioCodec, &str, i64, Make<'_>); 3] = [
        (AudioCodec::Mp3, "", 1152, &mp3),
        (AudioCodec::Ac3, "", 1536, &ac3),
        (AudioCodec::Opus, &head, 960, &opus),
    ];
    for (codec, config, samples, data) in all {
        let sound = track(Codec::Audio(codec), config);
        let mut mux = Mux::new();
        mux.set_tracks(None, Some(&sound));
        let frames: Vec<Frame> = (0..40)
            .map(|at| {
                let time = Timestamp::from_nanos(at * samples * 1_000_000_000 / 48_000);
                frame(TrackKind::Audio, time, false, data(at))
            })
            .collect();
        let mut out = BytesMut::new();
        mux.tables(&mut out, Timestamp::ZERO);
        out.extend_from_slice(&write(&mut mux, &frames));
        let read = Read::of(&out);
        read.assert_clean();
        assert_eq!(read.tracks(), [sound]);
        assert_same(&read.frames(TrackKind::Audio), &frames);
    }
}

#[test]
fn times_go_on_over_the_wrap() {
    let wrap_ms = (1 << 33) / 90;
    let frames = media(wrap_ms - 1000, 50);
    let read = Read::of(&write(&mut both(), &frames));
    read.assert_clean();
    assert_same(&read.frames(TrackKind::Video), &of_kind(&frames, TrackKind::Video));
    assert_same(&read.frames(TrackKind::Audio), &of_kind(&frames, TrackKind::Audio));
}

#[test]
fn other_parameter_sets_are_another_track_and_the_same_are_not() {
    let other = AVCC.replace("efcb", "efcc");
    let other = track(Codec::Video(VideoCodec::H264), &other.replace("68ef8f", "68ee8f"));
    let mut mux = both();
    let mut stream = write(&mut mux, &media(0, 50));
    mux.set_tracks(Some(&other), Some(&aac()));
    stream.extend_from_slice(&write(&mut mux, &media(2000, 50)));
    let read = Read::of(&stream);
    read.assert_clean();
    assert_eq!(read.tracks(), [h264(), aac(), other.clone()]);
    let at = read.items.iter().position(|item| *item == Item::Track(other.clone())).unwrap();
    // The multiplexer moves all times by a second.
    let next = read.items[at..].iter().find_map(|item| match item {
        Item::Frame(frame) if frame.kind == TrackKind::Video => Some(frame.clone()),
        _ => None,
    });
    assert_eq!(next.map(|frame| (frame.key, frame.dts.as_millis())), Some((true, 3000)));
    assert_eq!(read.frames(TrackKind::Video).len(), 100);
}

#[test]
fn a_stream_that_leaves_the_program_ends_and_one_that_comes_begins() {
    let mut mux = Mux::new();
    mux.set_tracks(Some(&h264()), None);
    let mut stream = write(&mut mux, &of_kind(&media(0, 50), TrackKind::Video));
    mux.set_tracks(None, Some(&aac()));
    mux.tables(&mut stream, Timestamp::from_millis(2000));
    stream.extend_from_slice(&write(&mut mux, &of_kind(&media(2000, 50), TrackKind::Audio)));
    let read = Read::of(&stream);
    read.assert_clean();
    let end = Item::EndOfSequence(TrackKind::Video);
    let at = read.items.iter().position(|item| *item == end).unwrap();
    assert_eq!(at, 51, "behind the track and all pictures");
    assert_eq!(read.items[at + 1], Item::Track(aac()));
    assert!(read.frames(TrackKind::Audio).len() > 90);
}

#[test]
fn a_program_that_begins_anew_with_another_clock_goes_on() {
    for from_ms in [0, 50_000_000] {
        let mut stream = write(&mut both(), &media(3_600_000, 50));
        stream.extend_from_slice(&write(&mut both(), &media(from_ms, 50)));
        let read = Read::of(&stream);
        assert_eq!((read.counts.clock_jumps, read.error.clone()), (1, None));
        assert!(read.notices.contains(&Notice::ClockJump));
        // Both multiplexers count from zero: the same number again is a jump of counters.
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let frames = read.frames(kind);
            let steps = frames.windows(2).map(|pair| pair[1].dts.since(pair[0].dts) / 1_000_000);
            let steps: Vec<i64> = steps.collect();
            assert!(steps.iter().all(|step| (0..=250).contains(step)), "{kind:?}: {steps:?}");
        }
    }
}

#[test]
fn who_was_skipped_ahead_misses_nothing_that_came() {
    let mut mux = both();
    let first = media(0, 50);
    let mut stream = write(&mut mux, &first);
    write(&mut mux, &media(2000, 50));
    stream.extend_from_slice(&mux.rejoin());
    let last = media(4000, 50);
    stream.extend_from_slice(&write(&mut mux, &last));
    let read = Read::of(&stream);
    read.assert_clean();
    let sent = [first, last].concat();
    assert_same(&read.frames(TrackKind::Video), &of_kind(&sent, TrackKind::Video));
    assert_same(&read.frames(TrackKind::Audio), &of_kind(&sent, TrackKind::Audio));
}

/// The same packets as those of another program: its number, the PID of its table, and those of its
/// streams instead of [`VIDEO_PID`](psi::VIDEO_PID) and the next.
fn moved(stream: &[u8], program: u16, table_pid: u16, video_pid: u16) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_MPEG_2);
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let by_pid = |pid: u16| match pid & 0x1fff {
        psi::PMT_PID => table_pid,
        psi::VIDEO_PID => video_pid,
        psi::AUDIO_PID => video_pid + 1,
        other => other,
    };
    let set_pid = |bytes: &mut [u8]| {
        let pid = word(bytes) & 0xe000 | by_pid(word(bytes));
        bytes.copy_from_slice(&pid.to_be_bytes());
    };
    let mut stream = stream.to_vec();
    for packet in stream.chunks_exact_mut(PACKET_BYTES) {
        let pid = word(&packet[1..]) & 0x1fff;
        set_pid(&mut packet[1..3]);
        if !matches!(pid, PAT_PID | psi::PMT_PID) {
            continue;
        }
        assert_eq!((packet[3] & 0x30, packet[4]), (0x10, 0), "a section alone");
        let section = &mut packet[5..];
        let end = 3 + usize::from(word(&section[1..]) & 0xfff) - 4;
        if pid == PAT_PID {
            section[8..10].copy_from_slice(&program.to_be_bytes());
            set_pid(&mut section[10..12]);
        } else {
            section[3..5].copy_from_slice(&program.to_be_bytes());
            set_pid(&mut section[8..10]);
            // Descriptors there are none.
            section[12..end].chunks_exact_mut(5).for_each(|listed| set_pid(&mut listed[1..3]));
        }
        let sum = crc.checksum(&section[..end]);
        section[end..end + 4].copy_from_slice(&sum.to_be_bytes());
    }
    stream
}

#[test]
fn a_program_that_moves_to_another_number_and_other_pids_goes_on_without_loss() {
    for video_pid in [psi::VIDEO_PID, 0x200] {
        let mut mux = both();
        let frames = [media(0, 50), media(2000, 50)].concat();
        let mut stream = write(&mut mux, &media(0, 50));
        stream.extend_from_slice(&moved(&write(&mut mux, &media(2000, 50)), 7, 0x1abc, video_pid));
        let read = Read::of(&stream);
        read.assert_clean();
        assert_same(&read.frames(TrackKind::Video), &of_kind(&frames, TrackKind::Video));
        assert_same(&read.frames(TrackKind::Audio), &of_kind(&frames, TrackKind::Audio));
        let ends = |item: &Item| matches!(item, Item::EndOfSequence(_));
        assert!(!read.items.iter().any(ends), "it never ended");
    }
}

#[test]
fn a_program_that_is_wanted_by_number_ends_with_it_and_is_there_when_it_returns() {
    let mut mux = both();
    let mut stream = write(&mut mux, &media(0, 50));
    stream.extend_from_slice(&moved(&write(&mut mux, &media(2000, 50)), 7, 0x1abc, 0x200));
    stream.extend_from_slice(&write(&mut mux, &media(4000, 50)));
    let mut demux = Demux::new(Limits::default()).of_program(1);
    let mut read = Read::default();
    demux.push(&stream, &mut read.items).unwrap();
    demux.finish(&mut read.items).unwrap();
    let ends = read.items.iter().filter(|item| matches!(item, Item::EndOfSequence(_)));
    assert_eq!(ends.count(), 2, "of pictures and of sound");
    let notice = Notice::OtherProgram { number: 7 };
    assert_eq!(std::iter::from_fn(|| demux.poll_notice()).collect::<Vec<_>>(), [notice]);
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let sent = of_kind(&[media(0, 50), media(4000, 50)].concat(), kind);
        assert_same(&read.frames(kind), &sent);
    }
}
