//! What is written, read again box by box.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use shiguredo_mp4::Decode;
use shiguredo_mp4::boxes::{FtypBox, MoofBox, MoovBox, SampleEntry, TrafBox};

use super::*;
use crate::media::{AudioCodec, AudioFormat, Codec, Frame, VideoCodec, VideoFormat};
use crate::time::Timestamp;

const AVCC: &[u8] = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 0, 1, 0, 2, 0x68, 0xee];
/// AAC-LC, 48 kHz, two channels.
const AAC: &[u8] = &[0x11, 0x90];

fn video(codec: VideoCodec, config: &'static [u8]) -> Track {
    let video = Some(VideoFormat { width: 640, height: 360, profile: 0, level: 0 });
    let (codec, config) = (Codec::Video(codec), Bytes::from_static(config));
    Track { codec, config, hdr: None, video, audio: None }
}

fn audio(codec: AudioCodec, config: &'static [u8]) -> Track {
    let audio = Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 });
    let (codec, config) = (Codec::Audio(codec), Bytes::from_static(config));
    Track { codec, config, hdr: None, video: None, audio }
}

fn h264() -> Track {
    video(VideoCodec::H264, AVCC)
}

fn aac() -> Track {
    audio(AudioCodec::Aac, AAC)
}

fn picture(dts_ms: i64, pts_ms: i64, key: bool, data: &'static [u8]) -> Frame {
    let [dts, pts] = [dts_ms, pts_ms].map(Timestamp::from_millis);
    Frame { kind: TrackKind::Video, dts, pts, key, data: Bytes::from_static(data) }
}

fn tone(ms: i64, data: &'static [u8]) -> Frame {
    let at = Timestamp::from_millis(ms);
    let data = Bytes::from_static(data);
    Frame { kind: TrackKind::Audio, dts: at, pts: at, key: false, data }
}

fn fragmenter() -> Fragmenter {
    let mut fragmenter = Fragmenter::new();
    fragmenter.set_tracks(Some(&h264()), Some(&aac()));
    fragmenter
}

/// A sample as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sample {
    at: u64,
    shown_after: i64,
    duration: u32,
    sync: bool,
    data: Vec<u8>,
}

/// Reads one fragment strictly: its number, and by track the samples.
fn read(fragment: &[u8]) -> (u32, Vec<(u32, Vec<Sample>)>) {
    let (moof, head) = MoofBox::decode(fragment).unwrap();
    assert!(moof.unknown_boxes.is_empty());
    let data = &fragment[head..];
    assert_eq!(data[..4], (data.len() as u32).to_be_bytes(), "mdat is all that follows");
    assert_eq!(&data[4..8], b"mdat");
    let mut end = head + 8;
    let mut samples = |run: &TrafBox| {
        assert!(run.tfhd_box.default_base_is_moof);
        let [trun] = &run.trun_boxes[..] else { panic!("{run:?}") };
        assert_eq!(trun.data_offset, Some(end as i32), "it begins where the one before ends");
        let mut at = run.tfdt_box.as_ref().unwrap().base_media_decode_time;
        let read = trun.samples.iter().map(|sample| {
            let (duration, size) = (sample.duration.unwrap(), sample.size.unwrap() as usize);
            let flags = sample.flags.unwrap();
            assert_eq!(flags.sample_depends_on(), 1 + u8::from(!flags.sample_is_non_sync_sample()));
            let sample = Sample {
                at,
                shown_after: sample.composition_time_offset.unwrap_or(0),
                duration,
                sync: !flags.sample_is_non_sync_sample(),
                data: fragment[end..][..size].to_vec(),
            };
            at += u64::from(duration);
            end += size;
            sample
        });
        (run.tfhd_box.track_id, read.collect())
    };
    let read = moof.traf_boxes.iter().map(&mut samples).collect();
    assert_eq!(end, fragment.len());
    (moof.mfhd_box.sequence_number, read)
}

fn flush(fragmenter: &mut Fragmenter) -> BytesMut {
    let mut out = BytesMut::new();
    let room = fragmenter.gathered();
    fragmenter.flush(&mut out);
    assert!(out.len() <= room);
    assert_eq!(fragmenter.gathered(), 0);
    out
}

fn read_init(init: &[u8]) -> MoovBox {
    let (_, length) = FtypBox::decode(init).unwrap();
    let (moov, rest) = MoovBox::decode(&init[length..]).unwrap();
    assert_eq!(length + rest, init.len());
    moov
}

#[test]
fn pictures_out_of_order_have_offsets_and_sound_has_none() {
    let mut fragmenter = fragmenter();
    fragmenter.push(&picture(1000, 1080, true, b"key"));
    fragmenter.push(&tone(1001, b"la"));
    fragmenter.push(&picture(1040, 1200, false, b"p"));
    fragmenter.push(&tone(1022, b"lala"));
    fragmenter.push(&picture(1080, 1120, false, b"b"));
    let (number, tracks) = read(&flush(&mut fragmenter));
    let sample = |at, shown_after, duration, sync, data: &[u8]| Sample {
        at,
        shown_after,
        duration,
        sync,
        data: data.to_vec(),
    };
    assert_eq!(number, 1);
    assert_eq!(
        tracks,
        [
            (
                1,
                vec![
                    sample(90_000, 7200, 3600, true, b"key"),
                    sample(93_600, 14_400, 3600, false, b"p"),
                    sample(97_200, 3600, 3600, false, b"b"),
                ]
            ),
            (2, vec![sample(48_048, 0, 1024, true, b"la"), sample(49_072, 0, 1024, true, b"lala")]),
        ]
    );
}

#[test]
fn a_wrong_guess_of_the_last_duration_is_put_right_by_the_next_fragment() {
    let mut fragmenter = fragmenter();
    fragmenter.push(&picture(0, 0, true, b"a"));
    fragmenter.push(&picture(40, 40, false, b"b"));
    let (_, tracks) = read(&flush(&mut fragmenter));
    assert_eq!(tracks[0].1[1].duration, 3600, "as long as the one before");
    fragmenter.push(&picture(60, 60, false, b"c"));
    let (number, tracks) = read(&flush(&mut fragmenter));
    assert_eq!((number, tracks[0].1[0].at), (2, 5400));
    assert_eq!(tracks.len(), 1, "no run without samples");
}

#[test]
fn who_starts_at_a_recovery_point_finds_it_marked() {
    let mut fragmenter = fragmenter();
    fragmenter.start_at_next_picture();
    fragmenter.push(&tone(0, b"la"));
    fragmenter.push(&picture(0, 0, false, b"a"));
    fragmenter.push(&picture(40, 40, false, b"b"));
    let (_, tracks) = read(&flush(&mut fragmenter));
    assert_eq!(tracks[0].1.iter().map(|s| s.sync).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn without_frames_nothing_is_written() {
    let mut fragmenter = fragmenter();
    let data = Frame { kind: TrackKind::Data, ..tone(0, b"x") };
    fragmenter.push(&data);
    fragmenter.push(&tone(0, b""));
    assert!(flush(&mut fragmenter).is_empty());
    fragmenter.push(&tone(0, b"la"));
    assert_eq!(read(&flush(&mut fragmenter)).0, 1, "and nothing was counted");
}

#[test]
fn av1_goes_without_its_temporal_delimiters() {
    let mut fragmenter = Fragmenter::new();
    fragmenter.set_tracks(Some(&video(VideoCodec::Av1, &[0x81, 0, 0, 0])), None);
    fragmenter.push(&picture(0, 0, true, &[0x12, 0, 0x0a, 1]));
    fragmenter.push(&picture(40, 40, false, &[0x32, 1]));
    fragmenter.push(&picture(80, 80, false, &[0x12, 0]));
    let (_, tracks) = read(&flush(&mut fragmenter));
    let data: Vec<_> = tracks[0].1.iter().map(|sample| &sample.data[..]).collect();
    assert_eq!(data, [[0x0a, 1], [0x32, 1]]);
}

#[test]
fn the_init_has_each_codecs_record_as_it_came() {
    let hvcc = &[&[1; 22][..], &[0]].concat();
    let hvcc: &'static [u8] = Box::leak(hvcc.clone().into_boxed_slice());
    let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00";
    let vpcc = &[0, 10, 0x82, 1, 1, 1, 0, 0];
    let none: &[u8] = &[];
    for (track, kind, holds) in [
        (h264(), b"avc1", [b"avcC", AVCC].concat()),
        (video(VideoCodec::H265, hvcc), b"hvc1", [b"hvcC", hvcc].concat()),
        (video(VideoCodec::Av1, &[0x81, 0, 0, 0]), b"av01", b"av1C\x81\0\0\0".to_vec()),
        (video(VideoCodec::Vp9, vpcc), b"vp09", [&b"vpcC\x01\0\0\0"[..], vpcc].concat()),
        (video(VideoCodec::Vp9, none), b"vp09", b"vpcC\x01\0\0\0\0\x0a\x82".to_vec()),
        (aac(), b"mp4a", [&[5, 2][..], AAC].concat()),
        (audio(AudioCodec::Opus, head), b"Opus", b"dOps\0\x02\x01\x38\0\0\xbb\x80".to_vec()),
        (audio(AudioCodec::Opus, none), b"Opus", b"dOps\0\x02\0\0\0\0\xbb\x80".to_vec()),
        (audio(AudioCodec::Mp3, none), b".mp3", b".mp3".to_vec()),
    ] {
        let is_video = track.kind() == TrackKind::Video;
        let bytes = init(is_video.then_some(&track), (!is_video).then_some(&track));
        let [trak] = &read_init(&bytes).trak_boxes[..] else { panic!("one track") };
        let [entry] = &trak.mdia_box.minf_box.stbl_box.stsd_box.entries[..] else { panic!() };
        let entry = match entry {
            SampleEntry::Unknown(entry) => entry.box_type.as_bytes().to_vec(),
            _ => kind.to_vec(),
        };
        assert_eq!(entry, kind);
        assert!(bytes.windows(4).any(|window| window == kind), "{track}");
        assert!(bytes.windows(holds.len()).any(|window| window == holds), "{track}");
        let hz = if is_video { 90_000 } else { 48_000 };
        assert_eq!(trak.mdia_box.mdhd_box.timescale.get(), hz);
    }
}

#[test]
fn both_tracks_are_in_the_init_and_extended_by_fragments() {
    let moov = read_init(&init(Some(&h264()), Some(&aac())));
    let ids = |moov: &MoovBox| {
        moov.trak_boxes.iter().map(|trak| trak.tkhd_box.track_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&moov), [1, 2]);
    let extended = &moov.mvex_box.as_ref().unwrap().trex_boxes;
    assert_eq!(extended.iter().map(|trex| trex.track_id).collect::<Vec<_>>(), [1, 2]);
    let track = &moov.trak_boxes[0].tkhd_box;
    assert_eq!((track.width.integer, track.height.integer), (640, 360));
    assert!(moov.trak_boxes.iter().all(|trak| trak.edts_box.is_none()));
    assert_eq!(ids(&read_init(&init(None, Some(&aac())))), [2]);
}

#[test]
fn what_has_no_place_in_mp4_is_left_out() {
    let (g711, bare) = (audio(AudioCodec::G711A, &[]), video(VideoCodec::H264, &[]));
    assert!(!carries(&bare) && !carries(&g711) && carries(&h264()) && carries(&aac()));
    assert!(init(Some(&bare), Some(&g711)).is_empty());
    let mut fragmenter = Fragmenter::new();
    fragmenter.set_tracks(Some(&bare), Some(&g711));
    assert!(fragmenter.is_empty());
    fragmenter.push(&picture(0, 0, true, b"a"));
    fragmenter.push(&tone(0, b"la"));
    assert!(flush(&mut fragmenter).is_empty());
}

proptest! {
    #[test]
    fn any_frames_can_be_read_again(
        frames in proptest::collection::vec(any::<(bool, i64, i64, bool, Vec<u8>, bool)>(), 0..60)
    ) {
        let mut fragmenter = fragmenter();
        let mut ends = [0; 2];
        let mut check = |fragmenter: &mut Fragmenter| {
            let fragment = flush(fragmenter);
            if fragment.is_empty() {
                return;
            }
            for (id, samples) in read(&fragment).1 {
                let end = &mut ends[id as usize - 1];
                for sample in samples {
                    assert!(sample.at >= *end && sample.duration > 0);
                    *end = sample.at + 1;
                }
            }
        };
        for (is_video, dts, pts, key, data, ends) in frames {
            let kind = if is_video { TrackKind::Video } else { TrackKind::Audio };
            // A century of stream and no more: then ticks are far from their end.
            let [dts, pts] = [dts, pts].map(|at| Timestamp::from_nanos(at >> 2));
            fragmenter.push(&Frame { kind, dts, pts, key, data: data.into() });
            if ends {
                check(&mut fragmenter);
            }
        }
        check(&mut fragmenter);
    }

    #[test]
    fn any_record_makes_an_init_or_none(config: Vec<u8>) {
        for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Av1, VideoCodec::Vp9] {
            let track = Track { config: config.clone().into(), ..video(codec, &[]) };
            prop_assert!(is_whole(&init(Some(&track), None)));
        }
        for codec in [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3, AudioCodec::Flac] {
            let track = Track { config: config.clone().into(), ..audio(codec, &[]) };
            prop_assert!(is_whole(&init(None, Some(&track))));
        }
    }
}

/// True of `ftyp` and `moov`, and of nothing at all.
fn is_whole(init: &[u8]) -> bool {
    let length = |at: usize| Some(u32::from_be_bytes(*init.get(at..)?.first_chunk()?) as usize);
    init.is_empty()
        || length(0).zip(length(length(0).unwrap())).is_some_and(|(a, b)| {
            a + b == init.len() && &init[4..8] == b"ftyp" && &init[a + 4..a + 8] == b"moov"
        })
}
