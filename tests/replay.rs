//! Replay: what was recorded plays by HTTP, whole, in part and as HLS, to those who may play the
//! stream; and no path leads anywhere else.

#[path = "support/binary.rs"]
mod binary;
#[path = "support/hook_server.rs"]
mod hook_server;
#[path = "support/node.rs"]
mod node;
mod support;
#[path = "support/talk.rs"]
mod talk;
#[path = "support/web.rs"]
mod web;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use binary::Binary;
use hook_server::{HookServer, say, yes};
use node::{eventually, free_port};
use serde_json::{Value, json};
use support::clips::{self, Clip};
use support::frames::{Expect, Recording};
use support::http;
use support::machine::{RunDir, beside_others, secs};
use support::players::{self, Ffmpeg};
use web::{Answer, Web};

/// A server whose apps replay what lies in `root`, and keep to `lines`. It has patience with publishers,
/// readers and hook servers that a busy machine holds up.
fn start(root: &Path, lines: &str) -> Binary {
    let lines = format!(
        "hooks.timeout = '15s'\nlimits.verdict_timeout = '20s'\nlimits.reply_timeout = '60s'\n\
         app_defaults.video_stall = '20s'\napp_defaults.record_directory = {:?}\n\
         app_defaults.record_replay = true\n{lines}",
        root.to_str().expect("our names are text")
    );
    Binary::start(1000, &lines)
}

/// A recording of stream `live/a` as the server leaves one: a file of `bytes`, and its sidecar.
fn put(root: &Path, path: &str, bytes: &[u8]) -> PathBuf {
    let file = root.join(path);
    fs::create_dir_all(file.parent().expect("below the root")).expect("room for it");
    fs::write(&file, bytes).expect("room for it");
    let sidecar = json!({
        "version": 1, "stream": "live/a", "app": "live", "name": "a", "recording": "1",
        "sequence": 0, "format": "ts", "file": "x", "start": 1.0, "end": 2.0, "start_ms": 0,
        "duration_ms": 1000, "bytes": bytes.len(), "codecs": [], "key_frames": [[0, 0]],
    });
    fs::write(format!("{}.json", file.display()), sidecar.to_string()).expect("room for it");
    file
}

/// Bytes of which each part is another.
fn numbers(count: u32) -> Vec<u8> {
    (0..count).flat_map(u32::to_be_bytes).collect()
}

/// One answer on `web`, with its body as bytes.
#[track_caller]
fn ask(web: &mut Web, method: &str, path: &str, fields: &str) -> (Answer, Vec<u8>) {
    web.send(&format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"));
    let (status, head) = web.head();
    let answer = Answer { status, head, body: String::new() };
    let length = answer.field("content-length").map(|length| length.parse().expect("a number"));
    let length = length.filter(|_| method != "HEAD" && status != 304);
    let body = web.take(length.unwrap_or(0));
    (answer, body)
}

#[track_caller]
fn status(server: &Binary, path: &str) -> u16 {
    ask(&mut Web::new(server.http), "GET", path, "").0.status
}

/// What curl gets of `url`.
#[track_caller]
fn curl(url: &str, options: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["-sS", "-f", "-m", "30"])
        .args(options)
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .expect("curl starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{url}: {complaint}");
    output.stdout
}

/// Packets that ffprobe finds, of pictures and of sound; it must complain of nothing.
#[track_caller]
fn packets(url: &str) -> [usize; 2] {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "packet=codec_type", "-of", "csv=p=0", url])
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{url}: {complaint}");
    let said = String::from_utf8_lossy(&output.stdout);
    ["video", "audio"].map(|kind| said.lines().filter(|line| line.starts_with(kind)).count())
}

/// Files of recordings that are whole, as the API lists them.
#[track_caller]
fn listed(admin: u16) -> Vec<Value> {
    let mut web = Web::new(admin);
    web.send("GET /api/v1/recordings/files HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let page: Value = serde_json::from_str(&web.answer().body).expect("JSON");
    page["items"].as_array().expect("a list").clone()
}

#[test]
fn what_was_recorded_of_h264_and_aac_plays_whole_by_itself_and_as_hls() {
    what_was_recorded_plays(&clips::h264_aac(), &["flv", "ts", "fmp4"]);
}

#[test]
fn what_was_recorded_of_h265_and_aac_plays_whole_by_itself_and_as_hls() {
    what_was_recorded_plays(&clips::h265_aac(), &["flv", "ts", "fmp4"]);
}

#[test]
fn what_was_recorded_of_av1_and_opus_plays_whole_by_itself_and_as_hls() {
    what_was_recorded_plays(&clips::av1_opus(), &["flv", "fmp4"]);
}

#[test]
fn what_was_recorded_of_sound_alone_plays_whole_by_itself_and_as_hls() {
    what_was_recorded_plays(&clips::aac(), &["flv", "ts", "fmp4"]);
}

/// Records `clip` in each of `formats`, and replays that.
#[track_caller]
fn what_was_recorded_plays(clip: &Clip, formats: &[&str]) {
    let _machine = beside_others();
    let dir = RunDir::new("replay");
    let root = dir.path().join("rec");
    let admin = free_port();
    let of = |app: &&str| format!("[app.{app}]\nrecord = true\nrecord_format = '{app}'\n");
    let lines = format!(
        "admin.listen = ['127.0.0.1:{admin}']\napp_defaults.publisher_grace = '1s'\n{}",
        formats.iter().map(of).collect::<String>()
    );
    let server = start(&root, &lines);
    let publish = |app: &&str| {
        let url = format!("rtmp://127.0.0.1:{}/{app}/a%20b/c", server.rtmp);
        players::publish(clip, &url, &dir)
    };
    let publishers: Vec<_> = formats.iter().map(publish).collect();
    publishers.into_iter().for_each(|mut publisher| {
        publisher.succeed(secs(40));
    });
    eventually("all files are listed", || listed(admin).len() == formats.len());
    for item in listed(admin) {
        let (file, url) = (item["file"].as_str().expect("a path"), item["url"].as_str());
        let url = format!("http://127.0.0.1:{}{}", server.http, url.expect("it is replayed"));
        replays(&item, clip, &root.join(file), &url);
    }
}

/// What of `clip` is in a recording.
fn recorded(clip: &Clip, format: &Value) -> Recording {
    let mut sent = clip.sent();
    let is_av1 = clip.path.file_name().is_some_and(|name| name.to_string_lossy().contains("av1"));
    if is_av1 {
        // Of AV1, fMP4 has no temporal delimiters. And its Opus begins before the first picture, where no
        // file begins.
        if format == "fmp4" {
            let config = sent.config;
            sent = clip.sent_with(&["-bsf:v", "filter_units=remove_types=2"]);
            sent.config = config;
        }
        sent.audio.remove(0);
    }
    sent
}

/// `url` gives the whole file and parts of it, and its playlist the same; all of `clip` is in it.
#[track_caller]
fn replays(item: &Value, clip: &Clip, on_disk: &Path, url: &str) {
    let sent = recorded(clip, &item["format"]);
    let counts = [sent.video.len(), sent.audio.len()];
    let bytes = fs::read(on_disk).expect("it is there");
    assert!(curl(url, &[]) == bytes, "{url} is another file");
    let [from, to] = [bytes.len() / 3, bytes.len() / 2];
    let part = curl(url, &["-r", &format!("{from}-{to}")]);
    assert!(part == bytes[from..=to], "{url} has other parts");

    let playlist = format!("{url}.m3u8");
    let expect = match clip.tool {
        Ffmpeg::Debian => Expect::WHOLE,
        Ffmpeg::Current => Expect::WHOLE.other_config(),
    };
    if item["format"] == "flv" {
        sent.assert_came_out(&Recording::of_file(clip.tool, Path::new(url)), expect);
        let refused = curl(&playlist, &["--no-fail"]);
        let refused = String::from_utf8_lossy(&refused);
        return assert!(refused.contains("FLV has no HLS"), "{refused}");
    }
    assert_eq!(packets(url), counts, "{url}");
    let text = String::from_utf8(curl(&playlist, &[])).expect("a playlist");
    let map_bytes = is_vod(&text, bytes.len() as u64);
    assert_eq!(map_bytes > 0, item["format"] == "fmp4", "{text}");
    if counts[0] > 0 {
        // 10 s, cut at the first key frames from 4 s on.
        assert_eq!(text.matches("#EXTINF:").count(), 3, "{text}");
    }
    assert_eq!(packets(&playlist), counts, "{playlist}");
    // Bit for bit, and at the same times, what is in the file.
    let by_hls = Recording::of_file(Ffmpeg::Debian, Path::new(&playlist));
    let by_file = Recording::of_file(Ffmpeg::Debian, on_disk);
    if item["format"] == "ts" && counts[0] == 0 {
        // Of sound alone in a transport stream ffmpeg's reader of HLS guesses the times.
        let hashes = |of: &Recording| -> Vec<_> {
            of.audio.iter().map(|packet| packet.hash.clone()).collect()
        };
        assert_eq!(hashes(&by_hls), hashes(&by_file), "{playlist}");
    } else {
        let [by_hls, by_file] = [&by_hls, &by_file].map(|of| (&of.video, &of.audio));
        assert_eq!(by_hls, by_file, "{playlist}");
    }
    if item["format"] == "fmp4" {
        return sent.assert_came_out(&by_hls, expect.rounded_by(2));
    }
    // In a transport stream the bytes are others.
    for decoded in [players::pictures, players::sounds] {
        let [sent, kept] = [&clip.path, on_disk].map(|path| decoded(Ffmpeg::Current, path));
        assert!(sent == kept, "{url}: {} of {}", kept.len(), sent.len());
    }
}

/// Checks a playlist as the crate m3u8-rs reads it: that its parts are `bytes` in all, without a gap.
/// Tells how many of them precede all segments.
#[track_caller]
fn is_vod(text: &str, bytes: u64) -> u64 {
    let (rest, read) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect(text);
    assert!(rest.is_empty() && read.end_list, "{text}");
    assert_eq!(read.playlist_type, Some(m3u8_rs::MediaPlaylistType::Vod), "{text}");
    let map = read.segments.first().and_then(|segment| segment.map.as_ref());
    let map = map.and_then(|map| map.byte_range.as_ref()).map_or(0, |range| range.length);
    let mut at = map;
    for segment in &read.segments {
        let range = segment.byte_range.as_ref().expect("a part of the file");
        assert_eq!(range.offset, Some(at), "{text}");
        at += range.length;
        assert!(segment.duration.round() as u64 <= read.target_duration, "{text}");
    }
    assert_eq!(at, bytes, "{text}");
    map
}

#[test]
fn parts_of_a_file_are_served_and_what_the_client_has_is_not() {
    let dir = RunDir::new("ranges");
    let all = numbers(100_000);
    put(dir.path(), "live/a/1.ts", &all);
    let server = start(dir.path(), "");
    // One connection for all of it.
    let mut web = Web::new(server.http);
    let (whole, body) = ask(&mut web, "GET", "/rec/live/a/1.ts", "");
    assert_eq!((whole.status, whole.field("accept-ranges")), (200, Some("bytes")));
    assert_eq!(whole.field("content-type"), Some("video/mp2t"));
    assert!(body == all);
    let etag = whole.field("etag").expect("it has a name").to_owned();

    for (range, first, last) in [
        ("0-0", 0, 0),
        ("100-199", 100, 199),
        ("399990-", 399_990, 399_999),
        ("-10", 399_990, 399_999),
        ("200000-999999", 200_000, 399_999),
    ] {
        let (part, body) =
            ask(&mut web, "GET", "/rec/live/a/1.ts", &format!("Range: bytes={range}\r\n"));
        let named = format!("bytes {first}-{last}/400000");
        assert_eq!((part.status, part.field("content-range")), (206, Some(&*named)), "{range}");
        assert!(body == all[first..=last], "{range}");
        assert_eq!(part.field("etag"), Some(&*etag));
    }
    let (beyond, _) = ask(&mut web, "GET", "/rec/live/a/1.ts", "Range: bytes=400000-\r\n");
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */400000")));
    // To be shown, or to be kept.
    assert_eq!(whole.field("content-disposition"), None);
    let (kept, body) = ask(&mut web, "GET", "/rec/live/a/1.ts?download=1", "");
    let called = "attachment; filename=\"live_a_1.ts\"";
    assert_eq!(kept.field("content-disposition"), Some(called));
    assert!(body == all);
    // Several parts at once may be answered by all of them.
    let (several, body) = ask(&mut web, "GET", "/rec/live/a/1.ts", "Range: bytes=0-1,3-4\r\n");
    assert!(several.status == 200 && body == all);

    let of_this = format!("Range: bytes=0-3\r\nIf-Range: {etag}\r\n");
    assert_eq!(ask(&mut web, "GET", "/rec/live/a/1.ts", &of_this).1.len(), 4);
    let of_another = "Range: bytes=0-3\r\nIf-Range: \"other\"\r\n";
    assert!(ask(&mut web, "GET", "/rec/live/a/1.ts", of_another).1 == all);
    // What is known goes before what part is wanted.
    for fields in ["", "Range: bytes=0-3\r\n", "Range: bytes=400000-\r\n"] {
        let known = format!("If-None-Match: {etag}\r\n{fields}");
        let (unchanged, _) = ask(&mut web, "GET", "/rec/live/a/1.ts", &known);
        assert_eq!((unchanged.status, unchanged.field("content-range")), (304, None));
    }
    let (head, _) = ask(&mut web, "HEAD", "/rec/live/a/1.ts", "");
    assert_eq!((head.status, head.field("content-length")), (200, Some("400000")));

    let (playlist, text) = ask(&mut web, "GET", "/rec/live/a/1.ts.m3u8?x=1", "");
    let text = String::from_utf8(text).expect("a playlist");
    assert_eq!(playlist.field("content-type"), Some("application/vnd.apple.mpegurl"));
    assert!(text.contains("#EXT-X-BYTERANGE:400000@0\n1.ts?x=1\n"), "{text}");
    let known = format!("If-None-Match: {}\r\n", playlist.field("etag").expect("it has a name"));
    assert_eq!(ask(&mut web, "GET", "/rec/live/a/1.ts.m3u8?x=1", &known).0.status, 304);
    let (head, _) = ask(&mut web, "HEAD", "/rec/live/a/1.ts.m3u8?x=1", "");
    assert_eq!(head.field("content-length"), Some(&*text.len().to_string()));

    // At each part of a playlist stands its query.
    let path = format!("/rec/live/a/1.ts.m3u8?{}", "x".repeat(1025));
    assert_eq!(ask(&mut web, "GET", &path, "").0.status, 400);
    let sidecar = dir.path().join("live/a/1.ts.json");
    let whole = fs::read(&sidecar).expect("it was put there");
    for damaged in [&whole[..whole.len() / 2], b"{}", b"[1"] {
        fs::write(&sidecar, damaged).expect("room for it");
        for path in ["/rec/live/a/1.ts", "/rec/live/a/1.ts.m3u8"] {
            let (answer, body) = ask(&mut web, "GET", path, "");
            assert_eq!(answer.status, 404, "{}", String::from_utf8_lossy(&body));
            assert!(String::from_utf8_lossy(&body).contains("sidecar"));
        }
    }

    // An empty file has no parts, and a body of no bytes.
    put(dir.path(), "live/a/0.ts", b"");
    let (empty, body) = ask(&mut web, "GET", "/rec/live/a/0.ts", "");
    assert_eq!((empty.status, body.len()), (200, 0));
    assert_eq!(ask(&mut web, "GET", "/rec/live/a/0.ts", "Range: bytes=0-\r\n").0.status, 416);
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let dir = RunDir::new("pipeline");
    let (one, other) = (numbers(50_000), numbers(70_000));
    put(dir.path(), "live/a/1.ts", &one);
    put(dir.path(), "live/a/2.ts", &other);
    let server = start(dir.path(), "");
    let mut web = Web::new(server.http);
    let request = |file: &str| format!("GET /rec/live/a/{file} HTTP/1.1\r\nHost: test\r\n\r\n");
    web.send(&[request("1.ts"), request("2.ts"), request("3.ts"), request("1.ts")].concat());
    for (status, body) in [(200, &one[..]), (200, &other), (404, &[]), (200, &one)] {
        let (found, head) = web.head();
        assert_eq!(found, status, "{head}");
        let answer = Answer { status, head, body: String::new() };
        let length = answer.field("content-length").expect("it has one").parse().expect("a number");
        let got = web.take(length);
        assert!(status == 404 || got == body);
    }
}

#[test]
fn no_path_leads_out_of_the_directory_or_to_what_is_no_recording() {
    let dir = RunDir::new("escape");
    let root = dir.path().join("rec");
    let secret = put(dir.path(), "outside/secret.ts", b"secret");
    put(&root, "live/a/1.ts", b"public");
    put(&root, "live/a/unfinished.ts", b"x");
    let sidecar = root.join("live/a/unfinished.ts.json");
    let text =
        fs::read_to_string(&sidecar).expect("it is there").replace("\"end\":2.0", "\"end\":null");
    fs::write(&sidecar, text).expect("room for it");
    fs::write(root.join("live/a/2.ts.part"), "x").expect("room for it");
    fs::write(root.join("live/a/alone.ts"), "x").expect("room for it");
    put(&root, "other/a/1.ts", b"of app live, says its sidecar");
    // Links: to a file and a folder outside, to one inside, and to itself.
    for suffix in ["", ".json"] {
        let to = format!("{}{suffix}", secret.display());
        symlink(to, root.join(format!("live/a/link.ts{suffix}"))).expect("room for it");
        let inside = format!("1.ts{suffix}");
        symlink(inside, root.join(format!("live/a/inside.ts{suffix}"))).expect("room for it");
    }
    symlink(dir.path().join("outside"), root.join("live/folder")).expect("room for it");
    symlink("loop.ts", root.join("live/a/loop.ts")).expect("room for it");
    fs::create_dir(root.join("live/a/folder.ts")).expect("room for it");
    fs::write(root.join("live/a/folder.ts.json"), "{}").expect("room for it");
    let made = Command::new("mkfifo").arg(root.join("live/a/pipe.ts")).status();
    assert!(made.expect("mkfifo starts").success());

    let server = start(&root, "[app.off]\nrecord_replay = false\n");
    put(&root, "off/a/1.ts", b"x");
    assert_eq!(status(&server, "/rec/live/a/1.ts"), 200);
    assert_eq!(status(&server, "/rec/%6cive/a%2f1%2ets"), 200, "it is the same path");
    assert_eq!(status(&server, "/rec/live/a/inside.ts"), 200, "it stays below");
    let long = format!("/rec/live/{}1.ts", "a/".repeat(2000));
    let wide = format!("/rec/live/{}.ts", "a".repeat(300));
    for path in [
        "/rec/",
        "/rec/live",
        "/rec/live/a/",
        "/rec/1.ts",
        "/rec/live/a/3.ts",
        "/rec/../outside/secret.ts",
        "/rec/live/../../outside/secret.ts",
        "/rec/live/a/../a/1.ts",
        "/rec/live/%2e%2e/%2e%2e/outside/secret.ts",
        "/rec/%2e%2e%2foutside%2fsecret.ts",
        "/rec/live/..%2f..%2foutside/secret.ts",
        "/rec/live/..%5c..%5coutside/secret.ts",
        "/rec/live/..\\..\\outside\\secret.ts",
        "/rec/live/%252e%252e/%252e%252e/outside/secret.ts",
        "/rec//live/a/1.ts",
        "/rec/live//a/1.ts",
        "/rec/live/./a/1.ts",
        &format!("/rec/{}", secret.display()),
        &format!("/rec/%2f{}", &secret.display().to_string()[1..]),
        "/rec/live/a/1.ts.json",
        "/rec/live/a/2.ts",
        "/rec/live/a/2.ts.part",
        "/rec/live/a/unfinished.ts",
        "/rec/live/a/alone.ts",
        "/rec/live/a/link.ts",
        "/rec/live/folder/secret.ts",
        "/rec/live/a/loop.ts",
        "/rec/live/a/folder.ts",
        "/rec/live/a/pipe.ts",
        "/rec/other/a/1.ts",
        "/rec/off/a/1.ts",
        &long,
        &wide,
    ] {
        assert_eq!(status(&server, path), 404, "{path}");
        let playlist = format!("{path}.m3u8");
        assert_eq!(status(&server, &playlist), 404, "{playlist}");
    }
    for path in
        ["/rec/live/a/1.ts%00", "/rec/live/a%00/1.ts", "/rec/live/a/1.ts%0a", "/rec/%ff/1.ts"]
    {
        assert_eq!(status(&server, path), 400, "{path}");
    }
    assert_eq!(status(&server, "/rec/live/a/1.ts"), 200);
}

#[test]
fn recordings_are_for_those_who_may_play_the_stream_and_it_is_asked_once() {
    let dir = RunDir::new("access");
    let all = numbers(1000);
    put(dir.path(), "live/a/1.ts", &all);
    let hooks = HookServer::start(|heard| match heard.said["param"].as_str() {
        Some("?token=good") => yes(),
        Some("?token=other") => say("{\"code\":0,\"data\":{\"key\":\"live/b\"}}"),
        _ => say("{\"code\":1,\"msg\":\"not paid\"}"),
    });
    let lines = hooks.lines(&["on_play", "on_play_done"]);
    let server = start(dir.path(), &format!("{lines}[app.closed]\nplay = false\n"));
    for path in ["/rec/live/a/1.ts", "/rec/live/a/1.ts.m3u8", "/rec/live/a/1.ts?token=bad"] {
        let refused = web::get(server.http, path);
        assert_eq!(refused.status, 403, "{path}");
        assert!(refused.body.contains("not paid"), "{}", refused.body);
    }
    assert_eq!(status(&server, "/rec/live/a/1.ts?token=other"), 403);
    let asked = hooks.of("on_play").len();

    let mut web = Web::new(server.http);
    for fields in ["", "Range: bytes=0-99\r\n", "Range: bytes=100-199\r\n"] {
        assert!(ask(&mut web, "GET", "/rec/live/a/1.ts?token=good", fields).0.status < 300);
    }
    let (_, text) = ask(&mut web, "GET", "/rec/live/a/1.ts.m3u8?token=good", "");
    assert!(String::from_utf8_lossy(&text).contains("\n1.ts?token=good\n"));
    assert_eq!(hooks.of("on_play").len(), asked + 1, "the same client is let see the rest");
    let heard = hooks.of("on_play").pop().expect("it was asked");
    assert_eq!((&heard.said["app"], &heard.said["stream"]), (&"live".into(), &"a".into()));
    // Other words, another question.
    assert_eq!(ask(&mut web, "GET", "/rec/live/a/1.ts?token=bad", "").0.status, 403);
    assert_eq!(ask(&mut web, "GET", "/rec/live/a/1.ts", "").0.status, 403);
    let client = &heard.said["client_id"];
    let ended = || {
        let ends = hooks.of("on_stop").into_iter();
        ends.filter(|end| end.said["client_id"] == *client).collect::<Vec<_>>()
    };
    eventually("its end is told", || !ended().is_empty());
    let end = &ended()[0].said;
    let sent = 4200 + text.len();
    assert_eq!((&end["started"], &end["send_bytes"]), (&true.into(), &sent.into()), "{end}");

    let rest = fs::read_to_string(dir.path().join("live/a/1.ts.json")).expect("it is there");
    put(dir.path(), "closed/a/1.ts", &all);
    let closed = rest.replace("\"app\":\"live\"", "\"app\":\"closed\"");
    fs::write(dir.path().join("closed/a/1.ts.json"), closed).expect("room for it");
    assert_eq!(status(&server, "/rec/closed/a/1.ts?token=good"), 403, "nobody may play there");
}

#[test]
fn who_goes_on_with_a_live_stream_on_the_same_connection_has_left_the_recording() {
    let dir = RunDir::new("goes-on");
    put(dir.path(), "live/a/1.ts", &numbers(1000));
    let hooks = HookServer::start(|_| yes());
    let server = start(dir.path(), &hooks.lines(&["on_play", "on_play_done"]));
    let (url, forever) =
        (format!("rtmp://127.0.0.1:{}/live/b", server.rtmp), ["-stream_loop", "-1"]);
    let publisher = players::publish_with(&clips::h264_aac(), &url, &dir, &forever, &[]);
    let (answer, text) = ask(&mut Web::new(server.http), "GET", "/live/b.m3u8", "");
    let text = String::from_utf8(text).expect("text");
    assert_eq!(answer.status, 200, "{text}");
    let playlist = text.lines().find(|line| !line.starts_with('#')).expect("a media playlist");
    let mut web = Web::new(server.http);
    for path in ["/rec/live/a/1.ts", &format!("/live/{playlist}")] {
        assert_eq!(ask(&mut web, "GET", path, "").0.status, 200, "{path}");
    }
    let ended = || hooks.of("on_stop").into_iter().find(|end| end.said["stream"] == "a");
    eventually("its end is told", || ended().is_some());
    assert_eq!(ended().expect("it was told").said["send_bytes"], 4000);
    drop((web, publisher));
}

#[test]
fn a_slow_reader_costs_no_memory_and_is_sent_all() {
    const BYTES: u64 = 256 << 20;
    let _machine = beside_others();
    let dir = RunDir::new("slow");
    let file = put(dir.path(), "live/a/1.ts", b"");
    let large = fs::File::options().write(true).open(&file).expect("ours");
    large.set_len(BYTES).expect("it takes no room");
    large.write_all_at(b"the end", BYTES - 7).expect("room for it");
    put(dir.path(), "live/a/2.ts", b"small");
    let server = start(dir.path(), "");
    let rss = || {
        let text = fs::read_to_string(format!("/proc/{}/statm", server.pid())).expect("it runs");
        let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
        pages * 4096
    };
    let before = rss();
    let mut reader = http::connect(server.http, Some(8 << 10));
    reader.write_all(b"GET /rec/live/a/1.ts HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    let mut buffer = vec![0; 1 << 20];
    // The kernel's buffers are full then, and the server waits.
    for _ in 0..10 {
        assert!(reader.read(&mut buffer[..4096]).expect("it sends") > 0);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(web::get(server.http, "/rec/live/a/2.ts").body, "small", "others are served");
    }
    assert!(rss() < before + (16 << 20), "{} of {before}", rss());
    let mut end: Vec<u8> = Vec::new();
    let mut got = 10 * 4096_u64;
    // It ends with these, wherever TCP cuts them, and is kept open.
    while end != b"the end" {
        let read = reader.read(&mut buffer).expect("it sends");
        assert!(read > 0, "it ended after {got} bytes");
        got += read as u64;
        end.extend_from_slice(&buffer[..read]);
        end.drain(..end.len().saturating_sub(7));
    }
    assert!(got > BYTES, "{got}");
    assert!(rss() < before + (16 << 20), "{} of {before}", rss());
}

#[test]
fn as_many_files_are_read_at_once_as_may_be() {
    let dir = RunDir::new("many");
    let file = put(dir.path(), "live/a/1.ts", b"");
    let large = fs::File::options().write(true).open(&file).expect("ours");
    large.set_len(64 << 20).expect("it takes no room");
    let server = start(dir.path(), "limits.replays = 2");
    let mut slow = [(); 2].map(|()| Web::on(http::connect(server.http, Some(8 << 10))));
    for reader in &mut slow {
        reader.send("GET /rec/live/a/1.ts HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(reader.head().0, 200);
    }
    let refused = web::get(server.http, "/rec/live/a/1.ts");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
    assert!(refused.body.contains("limits.replays"), "{}", refused.body);
    drop(slow);
    let head = || ask(&mut Web::new(server.http), "HEAD", "/rec/live/a/1.ts", "").0.status;
    eventually("there is room again", || head() == 200);
}

#[test]
fn who_hangs_up_while_a_file_is_looked_for_leaves_nothing_behind() {
    let dir = RunDir::new("hang_up");
    put(dir.path(), "live/a/1.ts", &numbers(100));
    let server = start(dir.path(), "limits.replays = 2");
    let descriptors = || {
        let of_process = format!("/proc/{}/fd", server.pid().as_raw_nonzero());
        fs::read_dir(of_process).expect("it runs").count()
    };
    assert_eq!(status(&server, "/rec/live/a/1.ts"), 200);
    let before = descriptors();
    for _ in 0..100 {
        let mut web = Web::new(server.http);
        web.send("GET /rec/live/a/1.ts HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    eventually("all of them have gone", || descriptors() <= before);
    eventually("there is room", || status(&server, "/rec/live/a/1.ts") == 200);
}

#[test]
fn who_is_blocked_while_a_file_is_sent_gets_no_more_of_it() {
    let dir = RunDir::new("blocked");
    let file = put(dir.path(), "live/a/1.ts", b"");
    let large = fs::File::options().write(true).open(&file).expect("ours");
    large.set_len(64 << 20).expect("it takes no room");
    let admin = free_port();
    let server = start(dir.path(), &format!("admin.listen = ['127.0.0.1:{admin}']"));
    let mut reader = Web::on(http::connect(server.http, Some(8 << 10)));
    reader.send("GET /rec/live/a/1.ts HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(reader.head().0, 200);
    let body = json!({ "address": "127.0.0.1", "for_s": 60, "reason": "enough" }).to_string();
    let mut api = Web::new(admin);
    api.send(&format!(
        "POST /api/v1/block HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(api.answer().status, 200);
    let mut buffer = vec![0; 1 << 20];
    let mut got = reader.heard.len();
    // Err: the connection is broken off.
    while let Ok(read @ 1..) = reader.socket.read(&mut buffer) {
        got += read;
    }
    assert!(got < 64 << 20, "{got}");
}

#[test]
fn a_file_that_is_cut_short_while_it_is_sent_ends_the_connection() {
    let dir = RunDir::new("short");
    let file = put(dir.path(), "live/a/1.ts", b"");
    let large = fs::File::options().write(true).open(&file).expect("ours");
    large.set_len(64 << 20).expect("it takes no room");
    let server = start(dir.path(), "");
    let mut web = Web::on(http::connect(server.http, Some(8 << 10)));
    web.send("GET /rec/live/a/1.ts HTTP/1.1\r\nHost: test\r\n\r\n");
    let (status, _) = web.head();
    assert_eq!(status, 200);
    large.set_len(1000).expect("ours");
    web.expect_closed();
    assert!(web.heard.len() < 64 << 20);
    assert_eq!(status_of_small(&server, dir.path()), 200, "the server goes on");
}

fn status_of_small(server: &Binary, root: &Path) -> u16 {
    put(root, "live/a/2.ts", b"small");
    status(server, "/rec/live/a/2.ts")
}
