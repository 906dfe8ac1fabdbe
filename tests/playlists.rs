//! Playlists of simulated streams, each looked at all through its life by a checker of RFC 8216bis.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "support/playlist_rules.rs"]
mod playlist_rules;

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use corecast::bytes::Slice;
use corecast::media::{
    AudioCodec, AudioFormat, Codec, Frame, PrivateStreams, Track, TrackKind, VideoCodec,
    VideoFormat,
};
use corecast::plane::Tracks;
use corecast::plane::hls::{
    BadRequest, Container, Found, Heap, Packager, Readiness, Rendition, Request, Resource,
    Settings, Snapshot, Store, What,
};
use corecast::time::Timestamp;
use playlist_rules::{Follower, Playlist, Segment, expanded, multivariant};
use proptest::prelude::*;

const AVCC: &[u8] = &[1, 0x64, 0, 0xc, 0xff, 0xe1, 0, 3, 0x67, 0x64, 0, 1, 0, 2, 0x68, 0xee];
const EPOCH: Duration = Duration::from_secs(1_700_000_000);
const FIRST_MSN: u64 = 1_700_000_000;
const US: i64 = 1000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000_000_000;

fn tracks(version: u32, video: bool, audio: bool) -> Tracks {
    let format = VideoFormat { width: 1280, height: 720, profile: 100, level: 12 };
    let mut config = AVCC.to_vec();
    // Other parameters with each version.
    config[10] = version.to_le_bytes()[0];
    let pictures = Track {
        codec: Codec::Video(VideoCodec::H264),
        config: config.into(),
        hdr: None,
        video: Some(format),
        audio: None,
    };
    let sound = Track {
        codec: Codec::Audio(AudioCodec::Aac),
        config: Bytes::from_static(&[0x11, 0x90]),
        hdr: None,
        video: None,
        audio: Some(AudioFormat { sample_rate_hz: 48_000, channels: 2 }),
    };
    Tracks {
        version,
        video: video.then_some(pictures),
        audio: audio.then_some(sound),
        metadata: None,
        private: PrivateStreams::default(),
    }
}

fn heap() -> Box<dyn Store> {
    Box::new(Heap)
}

/// In the order in which they are asked for, so that what is seen is seen each time.
fn next_dir() -> u128 {
    thread_local!(static LAST: Cell<u128> = const { Cell::new(0) });
    LAST.with(|last| {
        last.set(last.get() + 1);
        last.get()
    })
}

/// How a publisher sends.
#[derive(Debug, Clone)]
struct Pattern {
    picture_us: Option<i64>,
    gop: i64,
    /// The length of every other GOP is off by as many pictures.
    gop_off: i64,
    sound_us: Option<i64>,
    /// Times are rounded to it.
    round_us: i64,
    /// Sound arrives this much before pictures of the same time.
    sound_ahead_us: i64,
}

const REGULAR: Pattern = Pattern {
    picture_us: Some(33_333),
    gop: 60,
    gop_off: 0,
    sound_us: Some(21_333),
    round_us: 1000,
    sound_ahead_us: 0,
};

#[derive(Debug, Clone, Copy)]
struct Sent {
    kind: TrackKind,
    dts: i64,
    key: bool,
    /// In which order they arrive.
    arrives: i64,
}

impl Pattern {
    /// All frames of the time from `from` until `to`, as they arrive.
    fn frames(&self, from: i64, to: i64) -> Vec<Sent> {
        let round = |at: i64| at / (self.round_us * US) * (self.round_us * US);
        let mut frames = Vec::new();
        if let Some(step) = self.picture_us {
            let (mut at, mut left, mut gops) = (from, 0, 0);
            while at < to {
                let key = left == 0;
                if key {
                    gops += 1;
                    left = (self.gop + if gops % 2 == 0 { self.gop_off } else { 0 }).max(1);
                }
                left -= 1;
                frames.push(Sent { kind: TrackKind::Video, dts: round(at), key, arrives: at });
                at += step * US;
            }
        }
        if let Some(step) = self.sound_us {
            let mut at = from + 3 * MS;
            while at < to {
                let arrives = at - self.sound_ahead_us * US;
                frames.push(Sent { kind: TrackKind::Audio, dts: round(at), key: false, arrives });
                at += step * US;
            }
        }
        frames.sort_by_key(|frame| frame.arrives);
        frames
    }
}

/// One NAL unit behind its length.
fn picture(key: bool, bytes: u32) -> Vec<u8> {
    let mut data = bytes.to_be_bytes().to_vec();
    data.push(if key { 0x65 } else { 0x41 });
    data.resize(4 + bytes as usize, 0xab);
    data
}

/// A source, its packager, and players that look at what it publishes.
struct Stage {
    packager: Packager,
    tracks: Tracks,
    followers: [Follower; 2],
    /// What each address gave when it was first loaded.
    bodies: HashMap<String, Vec<Slice>>,
    looked_at: i64,
}

impl Stage {
    fn new(settings: Settings, tracks: Tracks) -> Self {
        let packager = Packager::new(settings, FIRST_MSN, next_dir, heap);
        Self {
            packager,
            tracks,
            followers: Default::default(),
            bodies: HashMap::new(),
            looked_at: -S,
        }
    }

    fn send(&mut self, frame: Sent) -> bool {
        let data = match frame.kind {
            TrackKind::Video => picture(frame.key, if frame.key { 4000 } else { 900 }),
            _ => vec![0xcd; 170],
        };
        let at = Timestamp::from_nanos(frame.dts);
        let taken = Frame { kind: frame.kind, dts: at, pts: at, key: frame.key, data: data.into() };
        let now = EPOCH + Duration::from_nanos(u64::try_from(frame.dts).unwrap());
        let has_video = self.tracks.video.is_some();
        let is_new = self.packager.push(now, &self.tracks, &taken, frame.key, has_video);
        if frame.arrives - self.looked_at >= 100 * MS {
            self.looked_at = frame.arrives;
            self.look();
        }
        is_new
    }

    fn run(&mut self, pattern: &Pattern, from: i64, to: i64) {
        for frame in pattern.frames(from, to) {
            self.send(frame);
        }
        self.look();
    }

    /// Loads the playlists, and all that stands in them.
    fn look(&mut self) {
        let Some(snapshot) = self.packager.snapshot().cloned() else { return };
        let broken = multivariant(&snapshot.multivariant("cam.hls/", "id=1"));
        assert!(broken.is_empty(), "{broken:#?}");
        for rendition in [Rendition::Main, Rendition::Audio] {
            if rendition == Rendition::Audio && !snapshot.has_separate_audio() {
                continue;
            }
            let text = snapshot.playlist(rendition, false, "");
            let follower = &mut self.followers[rendition as usize];
            let broken = follower.load(&text);
            assert!(broken.is_empty(), "{broken:#?}\n{text}");
            let playlist = follower.last.clone().unwrap();
            self.check_requests(&snapshot, &playlist);
            self.check_bodies(&snapshot, &playlist);
            let mut broken = Vec::new();
            let delta = Playlist::read(&snapshot.playlist(rendition, true, ""), &mut broken);
            assert!(broken.is_empty(), "{broken:#?}");
            assert_eq!(expanded(&delta, &playlist), playlist.segments);
            assert_eq!((delta.open, delta.hint), (playlist.open, playlist.hint));
        }
    }

    fn check_requests(&self, snapshot: &Snapshot, playlist: &Playlist) {
        let (msn, part) = snapshot.next_part();
        assert_eq!(playlist.next_part(), (msn, part as usize));
        let ask = |msn, part| snapshot.readiness(&Request { msn: Some(msn), part, skip: false });
        if playlist.ended {
            assert_eq!(ask(msn + 9, None), Readiness::Ready);
            return;
        }
        assert_eq!(ask(msn, Some(part)), Readiness::Wait);
        assert_eq!(ask(msn, None), Readiness::Wait);
        assert_eq!(ask(msn - 1, None), Readiness::Ready);
        assert!(part == 0 || ask(msn, Some(part - 1)) == Readiness::Ready);
        assert_eq!(ask(msn + 1, None), Readiness::Wait);
        let too_far = Readiness::Bad(BadRequest::TooFarAhead { msn, part });
        assert_eq!(ask(msn + 2, None), too_far);
        assert_eq!(ask(msn, Some(part + 100)), too_far);
    }

    fn check_bodies(&mut self, snapshot: &Snapshot, playlist: &Playlist) {
        let find = |uri: &str| {
            let (dir, resource) = address(uri, snapshot.container());
            snapshot.find(dir, &resource)
        };
        let open = playlist.open.clone();
        for segment in playlist.segments.iter().chain([&open]) {
            if let Some(map) = &segment.map {
                let Found::Here(init) = find(map) else { panic!("{map} is missing") };
                let first = self.bodies.entry(map.clone()).or_insert_with(|| init.clone());
                assert_eq!(*first, init, "{map} has changed");
            }
            let mut of_parts = Vec::new();
            for part in &segment.parts {
                if part.gap {
                    assert_eq!(find(&part.uri), Found::Missing);
                    continue;
                }
                let Found::Here(pieces) = find(&part.uri) else {
                    panic!("{} is missing", part.uri)
                };
                assert!(is_whole(&pieces[0], snapshot.container()), "{}", part.uri);
                of_parts.extend(pieces.clone());
                let first = self.bodies.entry(part.uri.clone()).or_insert_with(|| pieces.clone());
                assert_eq!(*first, pieces, "{} has changed", part.uri);
            }
            if segment.gap {
                assert_eq!(find(&segment.uri), Found::Missing);
            } else if !segment.uri.is_empty() {
                let Found::Here(pieces) = find(&segment.uri) else {
                    panic!("{} is missing", segment.uri)
                };
                let shared = |(a, b): (&Slice, &Slice)| a.as_ptr() == b.as_ptr();
                assert!(of_parts.is_empty() || pieces.iter().zip(&of_parts).all(shared));
                let first =
                    self.bodies.entry(segment.uri.clone()).or_insert_with(|| pieces.clone());
                assert_eq!(*first, pieces, "{} has changed", segment.uri);
            }
        }
        if let Some(hint) = &playlist.hint {
            assert_eq!(find(hint), Found::Wait);
        }
    }

    fn playlist(&self) -> &Playlist {
        self.followers[0].last.as_ref().expect("one was published")
    }
}

/// What a playlist names.
fn address(uri: &str, container: Container) -> (u128, Resource) {
    let (dir, name) = uri.split_once('/').unwrap();
    assert_eq!(dir.len(), 32, "{uri}");
    (u128::from_str_radix(dir, 16).unwrap(), Resource::parse(name, container).unwrap())
}

/// Packets, or boxes, and nothing beside.
fn is_whole(part: &[u8], container: Container) -> bool {
    let mut rest = part;
    while let Some((head, _)) = rest.split_first_chunk() {
        let length = match container {
            Container::Ts => 188,
            Container::Fmp4 => u32::from_be_bytes(*head) as usize,
        };
        if length < 8 || length > rest.len() {
            return false;
        }
        rest = &rest[length..];
    }
    rest.is_empty() && !part.is_empty()
}

/// Without linger and window in the way of looking at all of it.
fn long_window() -> Settings {
    Settings { window: Duration::from_secs(600), ..Settings::default() }
}

fn container() -> impl Strategy<Value = Container> {
    prop_oneof![Just(Container::Ts), Just(Container::Fmp4)]
}

#[test]
fn a_regular_stream_has_segments_and_parts_as_they_were_asked_for() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&REGULAR, 0, 60 * S);
    let playlist = stage.playlist();
    assert_eq!((playlist.target_s, playlist.media_sequence), (2, FIRST_MSN));
    assert_eq!(playlist.segments.len(), 30);
    for segment in &playlist.segments {
        assert!((segment.duration - 2.0).abs() < 0.002, "{segment:?}");
    }
    let last = playlist.segments.last().unwrap();
    assert_eq!(last.parts.len(), 10);
    assert!(last.parts[0].independent && last.parts[1..].iter().all(|part| !part.independent));
    assert_eq!(stage.packager.counters(), Default::default());
}

#[test]
fn the_first_playlist_comes_with_the_first_segment_or_with_the_first_part_if_the_target_is_known() {
    for (target, expected_ms) in [(None, 2000), (Some(Duration::from_secs(2)), 220)] {
        let mut stage =
            Stage::new(Settings { target, ..Settings::default() }, tracks(1, true, true));
        let frames = REGULAR.frames(0, 3 * S);
        let first = frames.into_iter().find(|frame| stage.send(*frame)).unwrap();
        assert!(first.dts <= expected_ms * MS && first.dts > (expected_ms - 50) * MS, "{first:?}");
        assert_eq!(stage.packager.snapshot().unwrap().next_part().1, u32::from(target.is_some()));
    }
}

#[test]
fn a_key_frame_that_comes_too_late_is_not_waited_for() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&REGULAR, 0, 10 * S);
    // Now each twenty seconds.
    let late = Pattern { gop: 600, ..REGULAR };
    stage.run(&late, 10 * S, 50 * S);
    assert_eq!(stage.playlist().target_s, 2);
    assert!(stage.packager.counters().forced > 10);
    // One who has them from the beginning gets segments as long.
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&Pattern { gop: 150, ..REGULAR }, 0, 50 * S);
    assert_eq!((stage.playlist().target_s, stage.packager.counters().forced), (5, 0));
    // But not longer than they may be.
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&late, 0, 50 * S);
    assert_eq!(stage.playlist().target_s, 10);
}

#[test]
fn sound_alone_needs_no_key_frames_and_waits_for_nothing() {
    let mut stage = Stage::new(long_window(), tracks(1, false, true));
    let pattern = Pattern { picture_us: None, ..REGULAR };
    let mut frames = pattern.frames(0, 20 * S).into_iter();
    let first = frames.find(|frame| stage.send(*frame)).unwrap();
    assert!(first.dts < 250 * MS, "{first:?}");
    for frame in frames {
        stage.send(frame);
    }
    stage.look();
    let playlist = stage.playlist();
    assert_eq!(playlist.target_s, 2);
    assert!(playlist.segments.iter().all(|segment| segment.duration == 2.0));
    assert!(playlist.open.parts.iter().all(|part| part.independent));
    let text = stage.packager.snapshot().unwrap().multivariant("", "");
    assert!(text.contains("CODECS=\"mp4a.40.2\"") && !text.contains("RESOLUTION"), "{text}");
}

#[test]
fn pictures_that_stop_before_the_first_segment_has_ended_leave_it_no_longer_than_the_target() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&Pattern { gop: 600, ..REGULAR }, 0, 7 * S);
    assert!(stage.packager.snapshot().is_none(), "the next key frame is waited for");
    stage.tracks = tracks(2, false, true);
    stage.run(&Pattern { picture_us: None, ..REGULAR }, 7 * S, 12 * S);
    assert_eq!(stage.playlist().target_s, 7);
}

#[test]
fn sound_with_a_playlist_of_its_own_keeps_step_with_the_pictures() {
    let settings = Settings { separate_audio: true, ..long_window() };
    let mut stage = Stage::new(settings, tracks(1, true, true));
    stage.run(&REGULAR, 0, 20 * S + 500 * MS);
    let [main, audio] = stage.followers.each_ref().map(|follower| follower.last.clone().unwrap());
    let lengths = |playlist: &Playlist| -> Vec<f64> {
        playlist.segments.iter().map(|segment| segment.duration).collect()
    };
    assert_eq!(lengths(&main), lengths(&audio));
    assert!(audio.open.parts.iter().all(|part| part.independent));
    assert_eq!(main.reports[0]["URI"], "audio.m3u8");
    assert_eq!(main.reports[0]["LAST-MSN"], audio.next_part().0.to_string());
    let text = stage.packager.snapshot().unwrap().multivariant("cam.hls/", "id=7");
    assert!(text.contains("URI=\"cam.hls/audio.m3u8?id=7\""), "{text}");
    assert!(text.contains("CODECS=\"avc1.64000c,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.0"));
    assert!(text.contains("AUDIO=\"audio\",CLOSED-CAPTIONS=NONE\ncam.hls/main.m3u8?id=7\n"));
    // Where there is nothing to part it from, it stays where it is.
    let settings = Settings { separate_audio: true, ..long_window() };
    let mut stage = Stage::new(settings, tracks(1, false, true));
    stage.run(&Pattern { picture_us: None, ..REGULAR }, 0, 5 * S);
    assert!(!stage.packager.snapshot().unwrap().has_separate_audio());
}

#[test]
fn of_the_time_before_sound_was_parted_from_pictures_its_playlist_has_gaps() {
    for container in [Container::Fmp4, Container::Ts] {
        let settings = Settings { container, separate_audio: true, ..long_window() };
        let mut stage = Stage::new(settings, tracks(1, false, true));
        stage.run(&Pattern { picture_us: None, ..REGULAR }, 0, 4 * S + 500 * MS);
        stage.tracks = tracks(2, true, true);
        stage.run(&REGULAR, 5 * S, 10 * S);
        let audio = stage.followers[1].last.as_ref().unwrap();
        let gaps: Vec<bool> = audio.segments.iter().map(|segment| segment.gap).collect();
        assert_eq!(gaps, [true, true, true, false, false]);
        let parts = audio.segments[2].parts.iter().chain(&audio.segments[3].parts);
        assert!(parts.clone().count() > 5);
        assert!(parts.clone().all(|part| part.gap != part.independent));
        assert!(stage.playlist().segments.iter().all(|segment| !segment.gap));
    }
}

#[test]
fn other_parameters_and_another_publisher_are_discontinuities_that_are_counted_as_they_pass() {
    let settings = Settings { window: Duration::from_secs(6), ..Settings::default() };
    let mut stage = Stage::new(settings, tracks(1, true, true));
    stage.run(&REGULAR, 0, 10 * S);
    stage.tracks = tracks(2, true, true);
    stage.run(&REGULAR, 10 * S, 12 * S);
    stage.packager.interrupt();
    stage.look();
    stage.run(&REGULAR, 20 * S, 23 * S);
    let playlist = stage.playlist();
    let count = |playlist: &Playlist| {
        playlist
            .segments
            .iter()
            .chain([&playlist.open])
            .filter(|segment| segment.discontinuity)
            .count()
    };
    assert_eq!((count(playlist), playlist.discontinuity_sequence), (2, 0));
    // The time in between passed on the clock too.
    let times: Vec<i64> =
        playlist.segments.iter().filter_map(|segment| segment.date_time).collect();
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 7_000), "{times:?}");
    stage.run(&REGULAR, 24 * S, 40 * S);
    assert_eq!((count(stage.playlist()), stage.playlist().discontinuity_sequence), (0, 2));
    assert!(stage.packager.end());
    assert!(!stage.packager.end());
    stage.look();
    assert!(stage.playlist().ended && stage.packager.snapshot().unwrap().is_ended());
    assert!(!stage.send(Sent { kind: TrackKind::Video, dts: 41 * S, key: true, arrives: 41 * S }));
}

#[test]
fn other_sound_goes_on_with_the_picture_in_hand_and_other_pictures_await_a_key_frame() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&REGULAR, 0, 5 * S);
    let mut other = tracks(1, true, true);
    other.version = 2;
    other.audio.as_mut().unwrap().config = Bytes::from_static(&[0x11, 0x88]);
    stage.tracks = other;
    let mut rest = REGULAR.frames(0, 9 * S).into_iter().filter(|frame| frame.dts >= 5 * S);
    for frame in rest.by_ref().take(60) {
        stage.send(frame);
    }
    stage.look();
    let open = &stage.playlist().open;
    assert!(open.discontinuity && !open.parts[0].independent, "{open:?}");
    stage.tracks = tracks(3, true, true);
    for frame in rest {
        stage.send(frame);
    }
    stage.look();
    let playlist = stage.playlist();
    let last =
        playlist.segments.iter().chain([&playlist.open]).rfind(|segment| segment.discontinuity);
    assert!(last.unwrap().parts[0].independent);
}

#[test]
fn silence_is_told_in_parts_and_named_a_gap_where_it_takes_a_segment() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&REGULAR, 0, 5 * S);
    stage.run(&REGULAR, 5 * S + 700 * MS, 10 * S);
    assert_eq!(stage.packager.counters().gaps, 0);
    stage.run(&REGULAR, 20 * S, 30 * S);
    let gaps = stage.playlist().segments.iter().filter(|segment| segment.gap).count();
    assert_eq!((gaps as u64, gaps), (stage.packager.counters().gaps, 4));
    // After a minute nobody is interested in what was not there.
    stage.run(&REGULAR, 300 * S, 310 * S);
    assert_eq!(stage.packager.counters().gaps, 4);
    assert!(stage.playlist().segments.iter().any(|segment| segment.discontinuity));
}

#[test]
fn who_sees_no_more_playlists_finds_nothing_that_is_made_later() {
    for separate_audio in [false, true] {
        let mut stage =
            Stage::new(Settings { separate_audio, ..long_window() }, tracks(1, true, true));
        stage.run(&REGULAR, 0, 11 * S);
        // All that such a one was ever told: what there is, and what comes next.
        let seen = stage.playlist().clone();
        let all = |playlist: &Playlist| -> Vec<String> {
            let of = |segment: &Segment| {
                let parts = segment.parts.iter().map(|part| part.uri.clone());
                parts.chain([segment.uri.clone()]).filter(|uri| !uri.is_empty()).collect::<Vec<_>>()
            };
            playlist.segments.iter().chain([&playlist.open]).flat_map(of).collect()
        };
        let dir = |uri: &String| uri.split_once('/').unwrap().0.to_owned();
        let told: BTreeSet<String> = all(&seen).iter().chain(&seen.hint).map(dir).collect();
        assert_eq!(told.len(), seen.segments.len() + 1, "one for each");
        // Other parameters, for another init; a publisher that leaves; and what it goes on with.
        stage.run(&REGULAR, 12 * S, 15 * S);
        stage.tracks = tracks(2, true, true);
        stage.run(&REGULAR, 15 * S, 18 * S);
        stage.packager.interrupt();
        stage.look();
        stage.run(&REGULAR, 20 * S, 25 * S);
        let snapshot = stage.packager.snapshot().unwrap();
        let (next_msn, _) = seen.next_part();
        let later: Vec<String> = stage
            .followers
            .iter()
            .flat_map(|it| &it.last)
            .flat_map(all)
            .filter(|uri| match address(uri, snapshot.container()).1.what {
                What::Segment(msn) | What::Part(msn, _) => msn > next_msn,
                What::Playlist | What::Init(_) => false,
            })
            .collect();
        assert!(later.len() > 10, "{later:?}");
        for uri in &later {
            let (own, resource) = address(uri, snapshot.container());
            assert!(!told.contains(&dir(uri)), "{uri} lies where it was told");
            assert!(matches!(snapshot.find(own, &resource), Found::Here(_)), "{uri}");
            for told in &told {
                let told = u128::from_str_radix(told, 16).unwrap();
                assert_eq!(snapshot.find(told, &resource), Found::Astray, "{uri} in {told}");
            }
        }
    }
}

#[test]
fn deltas_leave_out_what_is_old() {
    let mut stage = Stage::new(long_window(), tracks(1, true, true));
    stage.run(&REGULAR, 0, 40 * S);
    let snapshot = stage.packager.snapshot().unwrap();
    let (full, delta) = (
        snapshot.playlist(Rendition::Main, false, ""),
        snapshot.playlist(Rendition::Main, true, ""),
    );
    assert!(delta.len() + 1000 < full.len(), "{} of {}", delta.len(), full.len());
    assert!(delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=14\n"), "{delta}");
    // Who comes for the last time needs nothing from before.
    stage.packager.end();
    stage.look();
    let snapshot = stage.packager.snapshot().unwrap();
    let whole = snapshot.playlist(Rendition::Main, true, "");
    assert_eq!(whole, snapshot.playlist(Rendition::Main, false, ""));
}

#[test]
fn a_part_with_a_recovery_point_is_one_to_begin_at() {
    let target = Some(Duration::from_secs(2));
    let mut packager = Packager::new(Settings { target, ..Settings::default() }, 0, next_dir, heap);
    let tracks = tracks(1, true, false);
    for at in 0..30_i64 {
        let dts = Timestamp::from_millis(at * 40);
        let data = picture(false, 900).into();
        let frame = Frame { kind: TrackKind::Video, dts, pts: dts, key: false, data };
        packager.push(EPOCH, &tracks, &frame, at == 0, true);
    }
    let mut broken = Vec::new();
    let text = packager.snapshot().unwrap().playlist(Rendition::Main, false, "");
    let playlist = Playlist::read(&text, &mut broken);
    let begins: Vec<bool> = playlist.open.parts.iter().map(|part| part.independent).collect();
    assert_eq!((begins, broken), (vec![true, false, false, false, false], vec![]));
}

#[test]
fn bytes_have_a_bound_whatever_is_sent() {
    let bound = 200_000;
    let settings = Settings { max_bytes: bound, ..Settings::default() };
    let mut packager = Packager::new(settings, 0, next_dir, heap);
    let tracks = tracks(1, true, true);
    for at in 0..2000_i64 {
        // A second of a stream that fits, then one that sends far too much.
        let bytes = if at % 60 < 30 { 1000 } else { 9000 };
        let dts = Timestamp::from_millis(at * 33);
        let data = picture(at % 15 == 0, bytes).into();
        let frame = Frame { kind: TrackKind::Video, dts, pts: dts, key: at % 15 == 0, data };
        packager.push(EPOCH, &tracks, &frame, frame.key, true);
        assert!(packager.bytes() <= bound, "{} at {at}", packager.bytes());
    }
    let counters = packager.counters();
    assert!(counters.cut_short > 0 && counters.overgrown > 0, "{counters:?}");
}

#[test]
fn little_more_is_kept_than_what_is_listed() {
    for container in [Container::Fmp4, Container::Ts] {
        let mut packager =
            Packager::new(Settings { container, ..Settings::default() }, 0, next_dir, heap);
        let tracks = tracks(1, true, true);
        for frame in REGULAR.frames(0, 60 * S) {
            let (key, kind) = (frame.key, frame.kind);
            let data = match kind {
                TrackKind::Video => picture(key, if key { 60_000 } else { 7000 }),
                _ => vec![0xcd; 300],
            };
            let dts = Timestamp::from_nanos(frame.dts);
            let taken = Frame { kind, dts, pts: dts, key, data: data.into() };
            if !packager.push(EPOCH, &tracks, &taken, key, true) || frame.dts < 20 * S {
                continue;
            }
            let snapshot = packager.snapshot().unwrap();
            let text = snapshot.playlist(Rendition::Main, false, "");
            let segments = Playlist::read(&text, &mut Vec::new()).segments;
            assert_eq!(segments.len(), 6, "two seconds each, but for rounding");
            let listed: usize = segments
                .iter()
                .map(|segment| {
                    let (dir, resource) = address(&segment.uri, container);
                    match snapshot.find(dir, &resource) {
                        Found::Here(pieces) => pieces.iter().map(|piece| piece.len()).sum(),
                        _ => 0,
                    }
                })
                .sum();
            let most = listed * 128 / 100;
            assert!(packager.bytes() <= most, "{} of {listed}", packager.bytes());
        }
    }
}

#[test]
fn a_year_of_media_is_not_too_long() {
    let settings = Settings { separate_audio: true, ..Settings::default() };
    let mut stage = Stage::new(settings, tracks(1, true, true));
    let year = 365 * 86_400 * S;
    stage.run(&Pattern { picture_us: Some(33_367), round_us: 1, ..REGULAR }, year, year + 30 * S);
    assert_eq!(stage.packager.counters(), Default::default());
}

#[test]
fn times_far_apart_are_no_parts_to_be_filled() {
    let mut packager = Packager::new(Settings::default(), 0, next_dir, heap);
    let times = [i64::MIN, i64::MAX, 0, i64::MAX, -1, i64::MIN, 0, 1];
    for (dts, at) in times.into_iter().chain(times).zip(0..) {
        let dts = Timestamp::from_nanos(dts);
        let (kind, data) = (TrackKind::Video, picture(true, 9).into());
        let frame = Frame { kind, dts, pts: dts, key: true, data };
        packager.push(EPOCH, &tracks(at / 3, true, false), &frame, true, true);
    }
    packager.end();
    let text = packager.snapshot().unwrap().playlist(Rendition::Main, false, "");
    assert!(text.matches("#EXTINF").count() < 20, "{text}");
}

#[test]
fn publishers_that_change_their_tracks_all_the_time_fill_no_playlist() {
    let mut packager = Packager::new(Settings::default(), 0, next_dir, heap);
    for at in 0..3000_i64 {
        let tracks = tracks(u32::try_from(at).unwrap(), true, false);
        let dts = Timestamp::from_millis(at);
        let frame = Frame {
            kind: TrackKind::Video,
            dts,
            pts: dts,
            key: true,
            data: picture(true, 9).into(),
        };
        packager.push(EPOCH, &tracks, &frame, true, true);
    }
    packager.end();
    let text = packager.snapshot().unwrap().playlist(Rendition::Main, false, "");
    assert!(text.matches("#EXTINF").count() < 100);
    // It sends three seconds in none.
    let dates = text.lines().filter(|line| line.starts_with("#EXT-X-PROGRAM-DATE-TIME"));
    assert!(text.contains("DISCONTINUITY\n") && dates.is_sorted(), "{text}");
}

/// A playlist that is right.
const RIGHT: &str = "\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-TARGETDURATION:2
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.66,CAN-SKIP-UNTIL=12.0
#EXT-X-PART-INF:PART-TARGET=0.22
#EXT-X-MEDIA-SEQUENCE:5
#EXT-X-DISCONTINUITY-SEQUENCE:1
#EXT-X-MAP:URI=\"i.mp4\"
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z
#EXTINF:2.4,
5.ts
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.400Z
#EXTINF:2.0,
6.ts
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:24.400Z
#EXT-X-GAP
#EXTINF:2.0,
7.ts
#EXT-X-DISCONTINUITY
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:30.000Z
#EXT-X-GAP
#EXTINF:2.0,
8.ts
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:32.000Z
#EXT-X-PART:DURATION=0.2,URI=\"9.0.ts\",INDEPENDENT=YES
#EXT-X-PART:DURATION=0.1,URI=\"9.1.ts\"
#EXTINF:0.3,
9.ts
#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:32.300Z
#EXT-X-PART:DURATION=0.2,URI=\"10.0.ts\"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.1.ts\"
#EXT-X-RENDITION-REPORT:URI=\"audio.m3u8\",LAST-MSN=10,LAST-PART=0
";

#[test]
fn the_checker_finds_what_is_wrong_in_one_playlist() {
    assert_eq!(Follower::default().load(RIGHT), [""; 0]);
    for (right, wrong) in [
        ("#EXTM3U\n", "\n#EXTM3U\n"),
        ("VERSION:9", "VERSION:5"),
        ("#EXT-X-VERSION:9", "#EXT-X-VERSION:9\n#EXT-X-VERSION:9"),
        ("TARGETDURATION:2", "TARGETDURATION:1"),
        ("#EXT-X-TARGETDURATION:2\n", ""),
        ("PART-HOLD-BACK=0.66,", ""),
        ("PART-HOLD-BACK=0.66", "PART-HOLD-BACK=0.65"),
        ("CAN-SKIP-UNTIL=12.0", "CAN-SKIP-UNTIL=11.9"),
        ("#EXT-X-PART-INF:PART-TARGET=0.22\n", ""),
        ("PART-TARGET=0.22", "PART-TARGET=0.19"),
        ("PART-TARGET=0.22", "PART-TARGET=0.24"),
        ("#EXT-X-MEDIA-SEQUENCE:5\n", "#EXT-X-SKIP:SKIPPED-SEGMENTS=0\n"),
        ("#EXTINF:2.4,", "#EXTINF:2.5,"),
        ("#EXTINF:2.4,", "#EXTINF:2.3,"),
        ("#EXTINF:2.4,", "#EXTINF:x,"),
        ("#EXTINF:2.4,\n", ""),
        ("5.ts\n", ""),
        ("6.ts", "5.ts"),
        ("10.1.ts", "10.0.ts"),
        ("6.ts", "6 .ts"),
        ("6.ts\n", "6.ts\n#EXT-X-MEDIA-SEQUENCE:5\n"),
        ("6.ts\n", "6.ts\n#EXT-X-WHAT\n"),
        ("#EXT-X-DISCONTINUITY\n", ""),
        ("22.400Z", "23.400Z"),
        ("22.400Z", "22.400"),
        ("DURATION=0.1", "DURATION=0.11"),
        ("#EXTINF:2.4,", "#EXT-X-PART:DURATION=2.4,URI=\"5.0.ts\"\n#EXTINF:2.4,"),
        ("TYPE=PART,", ""),
        ("LAST-MSN=10,", ""),
        ("LAST-MSN=10,", "LAST-MSN=x,"),
        ("URI=\"audio.m3u8\"", "URI=\"http://b/audio.m3u8\""),
        ("CAN-BLOCK-RELOAD=YES,", ""),
        ("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.1.ts\"\n", ""),
        ("2023-11-14T22:13:30.000Z", "2023-11-14T22:13:20.000Z"),
        ("#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:32.300Z\n", ""),
        ("6.ts\n", "6.ts\n#EXT-X-MAP:URI=\"j.mp4\"\n"),
        (
            "#EXT-X-MAP:URI=\"i.mp4\"\n#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n\
             #EXTINF:2.4,\n5.ts",
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n#EXTINF:2.4,\n5.m4s?a",
        ),
        ("LAST-PART=0\n", "LAST-PART=0\n#EXT-X-ENDLIST\n"),
        ("LAST-PART=0\n", "LAST-PART=0\n#EXT-X-GAP\n"),
    ] {
        assert!(RIGHT.contains(right), "{right:?}");
        let text = RIGHT.replacen(right, wrong, 1);
        assert!(!Follower::default().load(&text).is_empty(), "{right:?} became {wrong:?}");
    }
}

#[test]
fn the_checker_finds_what_is_wrong_after_another_playlist() {
    let cut = |text: &str, from: &str, to: &str| {
        let (from, to) = (text.find(from).unwrap(), text.find(to).unwrap());
        format!("{}{}", &text[..from], &text[to..])
    };
    // The first of them goes, and the last becomes whole.
    let next = cut(
        RIGHT,
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n#EXTINF:2.4",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.400Z",
    );
    let next = next.replace("SEQUENCE:5", "SEQUENCE:6").replace(
        "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"10.1.ts\"",
        "#EXTINF:0.2,\n10.ts\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"11.0.ts\"",
    );
    let load = |next: &str| {
        let mut follower = Follower::default();
        assert_eq!(follower.load(RIGHT), [""; 0]);
        follower.load(next)
    };
    assert_eq!(load(&next), [""; 0]);
    for (right, wrong) in [
        ("VERSION:9", "VERSION:8"),
        ("TARGETDURATION:2", "TARGETDURATION:3"),
        ("CAN-BLOCK-RELOAD=YES,", ""),
        ("PART-TARGET=0.22", "PART-TARGET=0.215"),
        ("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:5"),
        ("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:4"),
        ("DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:2"),
        ("DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:0"),
        ("7.ts", "7b.ts"),
        ("#EXT-X-GAP\n", ""),
        ("#EXT-X-DISCONTINUITY\n", ""),
        ("URI=\"10.0.ts\"", "URI=\"10.00.ts\""),
        ("URI=\"10.0.ts\"", "URI=\"10.0.ts\",INDEPENDENT=YES"),
        ("URI=\"11.0.ts\"", "URI=\"10.0.ts\""),
        ("#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:32.300Z\n", ""),
    ] {
        assert!(next.contains(right), "{right:?}");
        let text = next.replacen(right, wrong, 1);
        assert!(!load(&text).is_empty(), "{right:?} became {wrong:?}");
    }
    let short = cut(
        &next,
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:22.400Z",
        "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:24.400Z",
    );
    let short = short.replace("MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:7");
    assert!(load(&short)[0].starts_with("6.2.2"), "three targets are to be left");
    let ended = cut(&next, "#EXT-X-PRELOAD-HINT", "#EXT-X-RENDITION")
        .replace("LAST-PART=0\n", "LAST-PART=0\n#EXT-X-ENDLIST\n");
    assert_eq!(load(&ended), [""; 0]);
    let mut follower = Follower::default();
    follower.load(&ended);
    assert!(!follower.load(&next).is_empty(), "nothing follows the end");
}

#[test]
fn the_checker_finds_what_is_wrong_in_a_multivariant_playlist() {
    let right = "#EXTM3U\n#EXT-X-VERSION:9\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"a.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"x,y\",AUDIO=\"a\",CLOSED-CAPTIONS=NONE\nm.m3u8\n";
    assert_eq!(multivariant(right), [""; 0]);
    for (from, to) in [
        ("#EXTM3U\n", ""),
        ("BANDWIDTH=1,", ""),
        ("CODECS=\"x,y\",", ""),
        ("GROUP-ID=\"a\"", "GROUP-ID=\"b\""),
        (",URI=\"a.m3u8\"", ""),
        ("=NONE", "=\"c\""),
        ("TYPE=AUDIO", "TYPE=CLOSED-CAPTIONS"),
        ("m.m3u8\n", ""),
        ("x,y\"", "x,y"),
    ] {
        assert!(!multivariant(&right.replacen(from, to, 1)).is_empty(), "{from:?} became {to:?}");
    }
}

fn pattern() -> impl Strategy<Value = Pattern> {
    let picture = prop_oneof![
        Just(Some(33_333)),
        Just(Some(33_367)),
        Just(Some(40_000)),
        Just(Some(41_708)),
        Just(Some(16_667)),
        (5_000..400_000_i64).prop_map(Some),
        Just(None),
    ];
    let sound = prop_oneof![Just(Some(21_333)), Just(Some(20_000)), Just(Some(64_000)), Just(None)];
    let round = prop_oneof![Just(1), Just(1000), Just(10_000)];
    (picture, 1..200_i64, -20..20_i64, sound, round, -80_000..80_000_i64).prop_map(
        |(picture_us, gop, gop_off, sound_us, round_us, sound_ahead_us)| Pattern {
            picture_us,
            gop,
            gop_off,
            sound_us: sound_us.or(Some(23_220).filter(|_| picture_us.is_none())),
            round_us,
            sound_ahead_us,
        },
    )
}

#[derive(Debug, Clone, Copy)]
enum Then {
    Interrupted,
    OtherParameters,
    Hole(i64),
    NoPictures,
    Nothing,
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        Just(Then::Interrupted),
        Just(Then::OtherParameters),
        (1..9_000_i64).prop_map(Then::Hole),
        Just(Then::NoPictures),
        Just(Then::Nothing),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_minute_of_any_stream_breaks_no_rule(
        pattern in pattern(),
        lives in proptest::collection::vec((1_000..25_000_i64, then()), 1..6),
        separate_audio: bool,
        container in container(),
        target in proptest::option::of(1..4_u64),
        window_s in 1..40_u64,
        part_ms in 50..600_u64,
    ) {
        let settings = Settings {
            container,
            separate_audio,
            target: target.map(Duration::from_secs),
            window: Duration::from_secs(window_s),
            part: Duration::from_millis(part_ms),
            ..Settings::default()
        };
        let (video, audio) = (pattern.picture_us.is_some(), pattern.sound_us.is_some());
        let mut stage = Stage::new(settings, tracks(1, video, audio));
        let mut at = S;
        for ((life_ms, then), version) in lives.into_iter().zip(2..) {
            let end = (at + life_ms * MS).min(61 * S);
            stage.run(&pattern, at, end);
            at = end + 40 * MS;
            match then {
                Then::Interrupted => {
                    stage.packager.interrupt();
                }
                Then::OtherParameters => stage.tracks = tracks(version, video, audio),
                Then::Hole(ms) => at += ms * MS,
                Then::NoPictures if audio => stage.tracks = tracks(version, false, audio),
                Then::NoPictures | Then::Nothing => {}
            }
            stage.look();
        }
        stage.packager.end();
        stage.look();
    }
}
