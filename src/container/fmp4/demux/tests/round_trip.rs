//! What our multiplexer writes comes out as it went in.

use super::*;

/// The same frames in the same order; times may differ by a tick of 90 kHz, of sound by rounding.
#[track_caller]
fn assert_same(got: &[Frame], sent: &[Frame]) {
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(sent) {
        assert_eq!((got.kind, got.key), (sent.kind, sent.key), "at {:?}", sent.dts);
        assert!(got.data == sent.data, "at {:?}", sent.dts);
        for (got, sent) in [(got.dts, sent.dts), (got.pts, sent.pts)] {
            let off = got.since(sent).abs();
            assert!(off <= 23_000, "{got:?} is {off} ns off {sent:?}");
        }
    }
}

#[test]
fn pictures_out_of_order_and_sound_come_out_as_they_went_in() {
    let sent = media(60);
    for each in [1, 2, 7, 50, 1000] {
        let read = Read::of(&write(Some(&h264()), Some(&aac()), &sent, each));
        read.assert_clean();
        assert_eq!(read.tracks(), [h264(), aac()]);
        assert_same(&read.frames(), &sent);
        assert_eq!(read.counts.fragments, sent.len().div_ceil(each) as u64);
    }
}

#[test]
fn every_codec_keeps_its_record() {
    let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
    let many = b"OpusHead\x01\x03\x38\x01\x80\xbb\0\0\0\0\x01\x02\x01\0\x02\x01".to_vec();
    let mut av1 = video(VideoCodec::Av1, vec![0x81, 0, 0x0c, 0]);
    let mut vp9 = video(VideoCodec::Vp9, vec![1, 0, 0, 0, 0, 11, 0x82, 2, 2, 2, 0, 0]);
    let size = |profile, level| Some(VideoFormat { width: 320, height: 180, profile, level });
    (av1.video, vp9.video) = (size(0, 0), size(0, 11));
    let three = Track {
        audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 3 }),
        ..audio(AudioCodec::Opus, many)
    };
    for (video, audio) in [
        (h264(), aac()),
        (video(VideoCodec::H265, hex(HVCC)), audio(AudioCodec::Mp3, Vec::new())),
        (vp9, audio(AudioCodec::Opus, head)),
        (av1, three),
    ] {
        let read = Read::of(&write(Some(&video), Some(&audio), &media(3), 5));
        read.assert_clean();
        let [got, sound] = &read.tracks()[..] else { panic!("{read:?}") };
        assert_eq!((got.codec, &got.config), (video.codec, &video.config));
        assert_eq!(sound, &audio);
        assert!(got.video == video.video || video.codec == Codec::Video(VideoCodec::Av1));
        assert_eq!(read.frames().len(), media(3).len());
    }
}

#[test]
fn one_track_alone_is_enough() {
    for (video, audio) in [(Some(h264()), None), (None, Some(aac()))] {
        let kind = if video.is_some() { TrackKind::Video } else { TrackKind::Audio };
        let sent: Vec<Frame> = media(30).into_iter().filter(|frame| frame.kind == kind).collect();
        let read = Read::of(&write(video.as_ref(), audio.as_ref(), &sent, 9));
        read.assert_clean();
        assert_eq!(read.tracks().len(), 1);
        assert_same(&read.frames(), &sent);
    }
}

#[test]
fn a_frame_comes_out_with_its_last_byte() {
    let sent = [picture(0, 0, true, 100), picture(40, 40, false, 100)];
    let stream = write(Some(&h264()), None, &sent, 2);
    let mut demux = Demux::new(Limits::default());
    let mut items = Vec::new();
    let frames = |items: &[Item]| items.iter().filter(|it| matches!(it, Item::Frame(_))).count();
    demux.push(&stream[..stream.len() - 101], &mut items).unwrap();
    assert_eq!(frames(&items), 0);
    demux.push(&stream[stream.len() - 101..][..1], &mut items).unwrap();
    assert_eq!(frames(&items), 1);
    demux.push(&stream[stream.len() - 100..][..99], &mut items).unwrap();
    assert_eq!(frames(&items), 1);
    demux.push(&stream[stream.len() - 1..], &mut items).unwrap();
    assert_eq!(frames(&items), 2);
}

#[test]
fn another_movie_in_the_stream_is_told_once_and_a_kind_that_is_gone_too() {
    let sent = media(10);
    let whole = write(Some(&h264()), Some(&aac()), &sent, 5);
    let pictures: Vec<Frame> =
        sent.iter().filter(|frame| frame.kind == TrackKind::Video).cloned().collect();
    let alone = write(Some(&h264()), None, &pictures, 5);
    let other = video(VideoCodec::H265, hex(HVCC));
    let changed = write(Some(&other), Some(&aac()), &sent, 5);
    let read = Read::of(&[whole.clone(), whole, alone, changed].concat());
    read.assert_clean();
    let rest: Vec<&Item> =
        read.items.iter().filter(|item| !matches!(item, Item::Frame(_))).collect();
    let [video, sound, gone, next, again] = rest[..] else { panic!("{rest:?}") };
    assert_eq!([video, sound], [&Item::Track(h264()), &Item::Track(aac())]);
    assert_eq!(gone, &Item::EndOfSequence(TrackKind::Audio));
    assert_eq!([next, again], [&Item::Track(other), &Item::Track(aac())]);
    assert_eq!(read.frames().len(), 3 * sent.len() + pictures.len());
}

proptest! {
    #[test]
    fn whatever_is_written_is_read(
        pictures in proptest::collection::vec((1_i64..200, 0_i64..400, any::<bool>(), 1_usize..4000), 0..40),
        sounds in proptest::collection::vec(1_usize..600, 0..60),
        each in 1_usize..30,
        cuts in proptest::collection::vec(1_usize..5000, 1..20),
    ) {
        let mut at = 0;
        let video = pictures.into_iter().map(|(step, later, key, bytes)| {
            at += step;
            picture(at, at + later, key, bytes)
        });
        let sounds = sounds.into_iter().enumerate().map(|(n, bytes)| tone(n as i64 * 1024, bytes));
        let mut sent: Vec<Frame> = video.chain(sounds).collect();
        sent.sort_by_key(|frame| (frame.dts, frame.kind));
        let stream = write(Some(&h264()), Some(&aac()), &sent, each);
        let mut rest = &stream[..];
        let pieces = cuts.iter().cycle().map_while(|cut| {
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            rest = behind;
            (!piece.is_empty()).then_some(piece)
        });
        let read = Read::in_pieces(pieces, Limits::default());
        read.assert_clean();
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let of_kind = |frames: &[Frame]| -> Vec<Frame> {
                frames.iter().filter(|frame| frame.kind == kind).cloned().collect()
            };
            assert_same(&of_kind(&read.frames()), &of_kind(&sent));
        }
    }
}
