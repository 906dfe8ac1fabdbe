//! Publishers against the real server, with ffmpeg as the judge of what they send.

#![allow(missing_docs)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use corecast::container::flv::{Demux, FileReader, Item, Limits};
use corecast::media::{Frame, TrackKind};
use corecast::time::Timestamp;
use corecast_load::mark::Mark;
use corecast_load::publish::{Fleet, Options};
use corecast_load::stream::{Material, Shape};
use support::{Corecast, RunDir, eventually, output, secs};

const SHAPE: Shape =
    Shape { bitrate: 200_000, fps: 25, gop: Duration::from_secs(1), sound: Some(32_000), seed: 1 };

fn fleet(url: String, publishers: usize, material: &Material, reconnect: bool) -> Fleet {
    let material = material.clone();
    Fleet::start(&Options { url, publishers, material, reconnect }).expect("they are let in")
}

/// An MP4 of three seconds: pictures with B-frames, and sound.
fn mp4(dir: &RunDir) -> String {
    let path = dir.file("clip.mp4").display().to_string();
    let arguments = "-v error -f lavfi -i testsrc2=s=320x180:r=25 -f lavfi -i sine=r=48000 \
                     -t 3 -c:v libx264 -preset veryfast -g 25 -c:a aac -y";
    let arguments = arguments.split_whitespace().chain([path.as_str()]);
    output("ffmpeg", &arguments.collect::<Vec<_>>());
    path
}

/// Records `seconds` of `url` as FLV with ffmpeg; fails if ffmpeg complains.
fn record(url: &str, seconds: &str, dir: &RunDir) -> Vec<Frame> {
    let path = dir.file("recorded.flv");
    let file = path.display().to_string();
    let (_, complaints) =
        output("ffmpeg", &["-v", "warning", "-i", url, "-t", seconds, "-c", "copy", &file]);
    // Of the end of a recording that is cut off, and of a live stream without a duration.
    let others = complaints.lines().filter(|line| !line.contains("Failed to update header"));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
    frames(&path)
}

fn frames(flv: &Path) -> Vec<Frame> {
    let file = std::fs::read(flv).expect("it was recorded");
    let mut input = &file[..];
    let (mut reader, mut demux) =
        (FileReader::new(Limits::default()), Demux::new(Limits::default()));
    let mut items = Vec::new();
    while let Ok(Some((kind, ms, body))) = reader.read(&mut input) {
        demux.push(kind, Timestamp::from_millis(ms.into()), body, &mut items).expect("FLV");
    }
    let frame = |item| if let Item::Frame(frame) = item { Some(frame) } else { None };
    items.into_iter().filter_map(frame).collect()
}

#[test]
fn fifty_publishers_are_paced_and_none_fails() {
    let server = Corecast::start("");
    let material = Material::made_up(SHAPE).expect("enough bits");
    let begin = Instant::now();
    let fleet = fleet(server.rtmp("live/x{n}"), 50, &material, false);
    assert_eq!(fleet.progress().publishing, 50);
    // None begins before its share of a second: from then on 25 pictures and 46.875 audio frames a
    // second, the first of both at once.
    let shares = (0..50).map(|n| (f64::from(n) * 0.618_033_988_749_895).fract()).sum::<f64>();
    let look = || {
        let (frames, seconds) = (fleet.progress().frames as f64, begin.elapsed().as_secs_f64());
        (frames, 71.875 * (50.0 * seconds - shares))
    };
    std::thread::sleep(secs(4));
    // Not ahead of time, but for those of one wake-up; a machine that is busy may leave it behind, but
    // not for long.
    let (frames, due) = look();
    assert!(frames <= due + 150.0, "{frames} frames, {due} were due");
    let keeps_up = || {
        let (frames, due) = look();
        frames > due * 0.8
    };
    assert!(eventually(secs(30), keeps_up), "{:?} were sent and due", look());
    let published = fleet.stop();
    assert_eq!((published.publishers, published.failed), (50, 0));
    assert_eq!(published.late_ms.count(), published.frames);
}

#[test]
fn an_mp4_clip_is_published_and_ffprobe_reads_it() {
    let (server, dir) = (Corecast::start(""), RunDir::new("mp4"));
    let clip = Material::clip(Path::new(&mp4(&dir))).expect("an MP4");
    assert!(clip.describe().contains("h264 320x180"), "{}", clip.describe());
    let fleet = fleet(server.rtmp("live/mp4"), 1, &clip, false);
    let url = server.http("live/mp4.flv");
    let entries = "stream=codec_name,width,height,sample_rate:frame=media_type";
    let (text, complaints) = output(
        "ffprobe",
        &["-v", "warning", "-read_intervals", "%+2", "-show_entries", entries, "-of", "csv", &url],
    );
    assert_eq!(complaints, "", "it likes what it reads");
    assert!(text.contains("h264,320,180"), "{text}");
    assert!(text.contains("aac,48000"), "{text}");
    let count = |kind: &str| text.lines().filter(|line| line.starts_with(kind)).count();
    assert!(count("frame,video") >= 25, "{text}");
    assert!(count("frame,audio") >= 40, "{text}");
    assert_eq!(fleet.stop().failed, 0);
}

#[test]
fn fragments_hold_the_same_frames_as_the_whole() {
    let dir = RunDir::new("fragments");
    let all = |path: &str| {
        let clip = Material::clip(Path::new(path)).expect("an MP4");
        let mut stream = clip.stream();
        let mut frames = Vec::new();
        while stream.next_at() < secs(7) {
            frames.push(stream.next_frame(0));
        }
        (clip.describe(), frames)
    };
    let path = mp4(&dir);
    let whole = all(&path);
    // Two rounds and a part: three pictures a tenth of a second, and the sound.
    assert!(whole.1.iter().filter(|frame| frame.kind == TrackKind::Video).count() > 160);
    assert!(whole.1.iter().any(|frame| frame.pts > frame.dts), "it has B-frames");
    let other = dir.file("fragments.mp4").display().to_string();
    let flags = "frag_keyframe+empty_moov+default_base_moof";
    output("ffmpeg", &["-v", "error", "-i", &path, "-c", "copy", "-movflags", flags, &other]);
    let fragments = all(&other);
    assert_eq!(whole.0, fragments.0);
    let key = |frame: &Frame| (frame.kind, frame.key, Mark::hash_without(&frame.data));
    let hashes = |frames: &[Frame], kind| {
        frames.iter().filter(|frame| frame.kind == kind).map(key).collect::<Vec<_>>()
    };
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let (whole, fragments) = (hashes(&whole.1, kind), hashes(&fragments.1, kind));
        let differs = whole.iter().zip(&fragments).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{kind:?}");
    }
}

#[test]
fn marks_come_through_the_server_with_every_frame() {
    let (server, dir) = (Corecast::start(""), RunDir::new("marks"));
    let fleet = fleet(server.rtmp("live/marks"), 1, &Material::demo(), false);
    let frames = record(&server.http("live/marks.flv"), "3", &dir);
    drop(fleet);
    let pictures = frames.iter().filter(|frame| frame.kind == TrackKind::Video);
    let marks = pictures.map(|frame| {
        let mark = Mark::find(&frame.data).expect("each picture has one");
        assert_eq!(mark.hash, Mark::hash_without(&frame.data));
        mark
    });
    let marks = marks.collect::<Vec<_>>();
    assert!(marks.len() > 40, "{}", marks.len());
    for pair in marks.windows(2) {
        assert_eq!(pair[0].picture + 1, pair[1].picture);
        assert_eq!(pair[0].first_sound + pair[0].sounds.len() as u32, pair[1].first_sound);
        assert!(pair[0].clock_ns < pair[1].clock_ns);
    }
    let listed = marks.iter().flat_map(|mark| mark.sounds.clone()).collect::<Vec<_>>();
    let sounds = frames.iter().filter(|frame| frame.kind == TrackKind::Audio);
    let sounds = sounds.map(|frame| Mark::hash(&frame.data)).collect::<Vec<_>>();
    // Both begin and end where the recording happened to.
    let begin = listed.iter().position(|hash| *hash == sounds[1]).expect("it is listed");
    let both = listed.len().min(sounds.len() - 1 + begin) - begin;
    assert!(both > 60, "{both}");
    assert_eq!(listed[begin..begin + both], sounds[1..=both]);
}

#[test]
fn publishers_come_back_after_an_interruption() {
    let server = Corecast::start("");
    let material = Material::made_up(SHAPE).expect("enough bits");
    let fleet = fleet(server.rtmp("live/x{n}"), 5, &material, true);
    for round in 1..=3 {
        fleet.interrupt();
        assert!(eventually(secs(30), || fleet.progress().broken >= 5 * round), "round {round}");
        assert!(eventually(secs(30), || fleet.progress().publishing == 5), "round {round}");
    }
    assert_eq!(fleet.stop().failed, 0);
}

#[test]
fn publishers_without_reconnect_fail_with_the_server() {
    let server = Corecast::start("");
    let material = Material::made_up(SHAPE).expect("enough bits");
    let fleet = fleet(server.rtmp("live/x{n}"), 3, &material, false);
    drop(server);
    assert!(eventually(secs(30), || fleet.progress().failed == 3));
    assert!(!fleet.reasons().is_empty());
    assert_eq!(fleet.stop().failed, 3);
}

#[test]
fn a_second_publisher_of_a_name_is_told_why_it_may_not() {
    let server = Corecast::start("");
    let first = fleet(server.rtmp("live/x"), 1, &Material::demo(), false);
    let url = server.rtmp("live/x");
    let options = Options { url, publishers: 1, material: Material::demo(), reconnect: false };
    let error = Fleet::start(&options).expect_err("the name is taken").to_string();
    assert!(error.contains("NetStream.Publish.BadName"), "{error}");
    assert_eq!(first.stop().failed, 0);
}
