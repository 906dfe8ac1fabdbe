//! Recordings on disk: what ffmpeg published is there, bit for bit, in files that rotate and are
//! removed; a bad disk ends a recording and nothing else; and what a crash leaves plays.

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

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use binary::Binary;
use corecast::proto::rtmp::{Goal, kind};
use hook_server::{HookServer, say, yes};
use node::{eventually, free_port};
use rustix::process::Signal;
use serde_json::Value;
use support::clips;
use support::frames::{Expect, Recording};
use support::machine::{self, RunDir, beside_others, secs};
use support::players::{self, Ffmpeg, publish};
use talk::{Peer, Raw};
use web::Web;

/// A server that records into `dir`, and the port of its API. It has patience with publishers and hook
/// servers that a busy machine holds up.
fn start(dir: &Path, lines: &str) -> (Binary, u16) {
    let admin = free_port();
    let lines = format!(
        "admin.listen = ['127.0.0.1:{admin}']\nhooks.timeout = '15s'\n\
         limits.verdict_timeout = '20s'\nlimits.publisher_silence = '60s'\n\
         app_defaults.video_stall = '20s'\n\
         app_defaults.record_directory = {:?}\napp_defaults.publisher_grace = '1s'\n{lines}",
        dir.to_str().expect("our names are text")
    );
    (Binary::start(1000, &lines), admin)
}

/// Files below `dir` whose names end so, in the order of their paths.
fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path, suffix));
        } else if path.to_str().is_some_and(|path| path.ends_with(suffix)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[track_caller]
fn sidecar_of(file: &Path) -> Value {
    let text = fs::read(format!("{}.json", file.display())).expect("it is beside its file");
    serde_json::from_slice(&text).expect("JSON")
}

/// What ffprobe says of a file.
#[track_caller]
fn probe(file: &Path, entries: &str) -> Vec<String> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("ffprobe starts");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", file.display());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().map(|line| line.trim_end_matches(',').to_owned()).collect()
}

/// Waits until so many frames of `live/a` have come: what is asked of the API next, on a connection of
/// its own, may overtake them.
#[track_caller]
fn wait_for_frames(admin: u16, count: u64) {
    eventually("the frames have come", || {
        call(admin, "GET", "streams/live/a").1["frames"].as_u64() == Some(count)
    });
}

/// Waits for what retention is to do: behind a look that a busy machine holds up it rests ten times as
/// long as that took.
#[track_caller]
fn wait_for_sweep(what: &str, done: impl FnMut() -> bool) {
    assert!(machine::eventually(secs(45), done), "in vain: {what}");
}

/// A request to the API, and its status and body.
#[track_caller]
fn call(admin: u16, method: &str, path: &str) -> (u16, Value) {
    call_with(admin, method, path, "")
}

/// The same with a body.
#[track_caller]
fn call_with(admin: u16, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut web = Web::new(admin);
    web.send(&format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let answer = web.answer();
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::Null))
}

/// The sidecar's index leads to tags of key frames with the times it says.
#[track_caller]
fn expect_index_of_key_frames(file: &Path) -> usize {
    let (bytes, sidecar) = (fs::read(file).expect("it is there"), sidecar_of(file));
    assert_eq!(sidecar["bytes"], bytes.len());
    let index = sidecar["key_frames"].as_array().expect("a list");
    for place in index {
        let at = place[1].as_u64().expect("a number") as usize;
        let tag = &bytes[at..at + 12];
        assert_eq!((tag[0], tag[11] & 0x70), (9, 0x10), "a key frame at {at}: {tag:?}");
        let ms = u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]]);
        assert_eq!(place[0], ms, "in {}", file.display());
    }
    index.len()
}

#[test]
fn what_ffmpeg_publishes_is_on_disk_bit_exact_and_told_to_hooks() {
    let _machine = beside_others();
    let dir = RunDir::new("record");
    let hooks = HookServer::start(|_| yes());
    let root = dir.path().join("rec");
    let lines = hooks.lines(&["on_record", "on_segment"]);
    let (server, _) = start(&root, &format!("app_defaults.record = true\n{lines}"));
    let clip = clips::h264_aac();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    let mut publisher = publish(&clip, &url, &dir);
    eventually("a file that is being written", || !files(&root, ".flv.part").is_empty());
    publisher.succeed(secs(30));
    eventually("a file that is whole", || !files(&root, ".flv").is_empty());

    let file = files(&root, ".flv").remove(0);
    assert!(file.starts_with(root.join("live/a")), "{}", file.display());
    clip.sent().assert_came_out(&Recording::of_file(Ffmpeg::Debian, &file), Expect::WHOLE);
    let mut codecs = probe(&file, "stream=codec_name");
    codecs.sort();
    assert_eq!(codecs, ["aac", "h264"]);
    assert_eq!(expect_index_of_key_frames(&file), 5);
    let sidecar = sidecar_of(&file);
    assert_eq!((&sidecar["stream"], &sidecar["sequence"]), (&"live/a".into(), &0.into()));
    assert_eq!(sidecar["codecs"][0]["codec"], "h264");
    let (start, end) = (sidecar["start"].as_f64(), sidecar["end"].as_f64());
    assert!(start < end, "{sidecar}");

    let told = hooks.wait_for("on_record", 2);
    let states: Vec<_> = told.iter().map(|heard| heard.said["state"].clone()).collect();
    assert_eq!(states, ["started", "ended"]);
    let (ended, segment) = (&told[1].said, &hooks.wait_for("on_segment", 1)[0].said);
    assert_eq!((&ended["key"], &ended["failed"]), (&"live/a".into(), &false.into()));
    assert_eq!(ended["reason"], "the publisher left");
    assert_eq!(segment["file"], file.to_str().expect("our names are text"));
    assert_eq!((&segment["bytes"], &ended["bytes"]), (&sidecar["bytes"], &sidecar["bytes"]));
    assert_eq!(segment["recording"], sidecar["recording"]);
    assert!(files(&root, ".part").is_empty());
}

/// Bytes that the server's kernel holds of what `peer`, here, has sent, and that the server has not read.
fn unread_from(peer: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let SocketAddr::V4(peer) = peer else { panic!("{peer} is in another table") };
    // Its bytes as a number of this machine.
    let peer = format!("{:08X}:{:04X}", u32::from_ne_bytes(peer.ip().octets()), peer.port());
    let from_here = |fields: &Vec<&str>| fields[2] == peer;
    let queues = sockets.filter(from_here).find_map(|fields| fields[4].split_once(':'));
    // None: the table is read in parts, and a line is left out if others go between two of them.
    queues.map_or(0, |(_, received)| u64::from_str_radix(received, 16).expect("hexadecimal"))
}

#[test]
fn what_had_come_before_a_publisher_broke_off_is_recorded() {
    const COUNT: i64 = 300;
    let dir = RunDir::new("reset");
    let root = dir.path().join("rec");
    let (server, _) = start(&root, "app_defaults.record = true\n");
    let mut publisher = Raw::ready(server.rtmp, "live");
    // It wants to hear of each 1000 bytes, and then does not listen.
    publisher.send(&talk::message(kind::WINDOW_ACK_SIZE, 2, 0, 0, &1000_u32.to_be_bytes()));
    publisher.send(&[talk::publish("a"), talk::sound_message(), talk::frame_message(0)].concat());
    eventually("it is being written", || !files(&root, ".part").is_empty());
    // While the server stands still all the rest comes, and then the connection breaks.
    server.signal(Signal::STOP);
    let state = || fs::read_to_string(format!("/proc/{}/stat", server.pid().as_raw_nonzero()));
    eventually("it stands still", || state().expect("it is there").contains(") T "));
    let rest: Vec<u8> = (1..COUNT).flat_map(talk::frame_message).collect();
    publisher.send(&rest);
    let peer = publisher.address();
    eventually("all has come", || unread_from(peer) >= rest.len() as u64);
    socket2::SockRef::from(&publisher.socket).set_linger(Some(Duration::ZERO)).expect("TCP");
    drop(publisher);
    server.signal(Signal::CONT);
    eventually("the file is whole", || !files(&root, ".flv").is_empty());
    let file = fs::read(&files(&root, ".flv")[0]).expect("it is there");
    let (mut at, mut sounds) = (13, 0);
    while let Some(tag) = file.get(at..at + 13) {
        // Sound, and not what decodes it.
        sounds += i64::from(tag[0] == 8 && tag[12] == 1);
        at += 15 + usize::from(tag[1]) * 65536 + usize::from(tag[2]) * 256 + usize::from(tag[3]);
    }
    assert_eq!((sounds, at), (COUNT, file.len()));
}

#[test]
fn what_a_silent_publisher_is_recorded_into_is_not_taken_for_left_over() {
    let dir = RunDir::new("silent");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_keep = '1h'";
    let (server, _) = start(&root, lines);
    let mut silent = Peer::publish(server.rtmp, "live/silent");
    silent.announce_pictures();
    silent.push_picture(true);
    silent.push_picture(false);
    eventually("it is being written", || !files(&root, ".flv.part").is_empty());
    let part = files(&root, ".flv.part").remove(0);
    eventually("all of it is", || fs::metadata(&part).expect("it is there").len() > 250);
    // Somebody's that is gone.
    let left = root.join("live/gone/1.flv.part");
    fs::create_dir_all(root.join("live/gone")).expect("room for it");
    fs::write(root.join("live/gone/1.flv.json"), "{}").expect("room for it");
    fs::write(&left, "FLV").expect("room for it");
    for (path, hours) in [(&left, 2), (&part, 3)] {
        let file = fs::File::options().append(true).open(path).expect("it is there");
        file.set_modified(SystemTime::now() - secs(3600 * hours)).expect("ours");
    }
    // That a file is done has it looked at what is there.
    let mut other = Peer::publish(server.rtmp, "live/other");
    other.announce_pictures();
    other.push_picture(true);
    let others = root.join("live/other");
    eventually("it is being written", || !files(&others, ".flv.part").is_empty());
    other.leave();
    wait_for_sweep("what is left over was removed, and not before what is older", || {
        !left.exists()
    });
    assert!(part.exists());
    silent.push_picture(false);
    silent.leave();
    eventually("it is whole", || part.with_extension("").exists());
    assert_eq!(sidecar_of(&part.with_extension(""))["duration_ms"], 80);
}

#[test]
fn files_rotate_at_key_frames_and_together_hold_everything() {
    let _machine = beside_others();
    let dir = RunDir::new("rotate");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_rotate = '2s'";
    let (server, _) = start(&root, lines);
    let clip = clips::small();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    publish(&clip, &url, &dir).succeed(secs(30));
    eventually("three files", || files(&root, ".flv").len() == 3);
    let mut whole: Option<Recording> = None;
    for (sequence, file) in files(&root, ".flv").iter().enumerate() {
        assert_eq!(expect_index_of_key_frames(file), 2);
        assert_eq!(sidecar_of(file)["sequence"], sequence);
        let part = Recording::of_file(Ffmpeg::Debian, file);
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => {
                whole.video.extend(part.video);
                whole.audio.extend(part.audio);
            }
        }
    }
    clip.sent().assert_came_out(&whole.expect("three files"), Expect::WHOLE);
}

#[test]
fn transport_packets_are_recorded_from_key_frame_to_key_frame() {
    let _machine = beside_others();
    let dir = RunDir::new("ts");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_format = 'ts'\n\
                 app_defaults.record_rotate = '2s'";
    let (server, _) = start(&root, lines);
    let clip = clips::small();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    publish(&clip, &url, &dir).succeed(secs(30));
    eventually("three files", || files(&root, ".ts").len() == 3);
    let (mut pictures, mut sounds) = (0, 0);
    for file in files(&root, ".ts") {
        let (bytes, sidecar) = (fs::read(&file).expect("it is there"), sidecar_of(&file));
        let index = sidecar["key_frames"].as_array().expect("a list");
        assert_eq!((index.len(), &index[0][1]), (2, &0.into()), "{sidecar}");
        for place in index {
            // A packet of the program association table (PID 0).
            let at = place[1].as_u64().expect("a number") as usize;
            assert_eq!(bytes[at..at + 3], [0x47, 0x40, 0x00], "at {at}");
        }
        let flags = probe(&file, "packet=codec_type,flags");
        let of = |kind: &str| flags.iter().filter(|line| line.starts_with(kind)).count();
        pictures += of("video");
        sounds += of("audio");
        let first = flags.iter().find(|line| line.starts_with("video"));
        assert!(first.is_some_and(|line| line.contains("K")), "{flags:?}");
    }
    assert_eq!((pictures, sounds), (clip.sent().video.len(), clip.sent().audio.len()));
}

#[test]
fn fragments_of_mp4_are_recorded_bit_exact_and_indexed_by_key_frame() {
    let _machine = beside_others();
    let dir = RunDir::new("mp4");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_format = 'fmp4'";
    let (server, _) = start(&root, lines);
    let clip = clips::h264_aac();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    publish(&clip, &url, &dir).succeed(secs(30));
    eventually("a file that is whole", || !files(&root, ".mp4").is_empty());
    let file = files(&root, ".mp4").remove(0);
    // Sound is counted in samples, and then in milliseconds again.
    let whole = Expect::WHOLE.rounded_by(2);
    clip.sent().assert_came_out(&Recording::of_file(Ffmpeg::Debian, &file), whole);
    let mut codecs = probe(&file, "stream=codec_name");
    codecs.sort();
    assert_eq!(codecs, ["aac", "h264"]);

    let (bytes, sidecar) = (fs::read(&file).expect("it is there"), sidecar_of(&file));
    assert_eq!((&sidecar["format"], &sidecar["bytes"]), (&"fmp4".into(), &bytes.len().into()));
    let index = sidecar["key_frames"].as_array().expect("a list");
    assert_eq!((index.len(), &index[0][1]), (5, &sidecar["init_bytes"]), "{sidecar}");
    for place in index {
        let at = place[1].as_u64().expect("a number") as usize;
        assert_eq!(&bytes[at + 4..at + 8], b"moof", "at {at}");
    }
    // It begins with one init, and nothing else is one.
    assert_eq!(&bytes[4..8], b"ftyp");
    assert_eq!(bytes.windows(4).filter(|four| four == b"moov").count(), 1);
}

#[test]
fn other_tracks_begin_another_file_of_mp4() {
    let dir = RunDir::new("tracks");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_format = 'fmp4'";
    let (server, _) = start(&root, lines);
    let mut publisher = Peer::publish(server.rtmp, "live/a");
    publisher.push(50);
    eventually("sound is recorded", || files(&root, ".mp4.part").len() == 1);
    publisher.announce_pictures();
    publisher.push_picture(true);
    eventually("that file is whole", || files(&root, ".mp4").len() == 1);
    publisher.leave();
    eventually("all are whole", || files(&root, ".mp4").len() == 2);
    let codecs: Vec<_> = files(&root, ".mp4")
        .iter()
        .map(|file| {
            let inits = fs::read(file).expect("it is there");
            assert_eq!(inits.windows(4).filter(|four| four == b"moov").count(), 1);
            sidecar_of(file)["codecs"].as_array().expect("a list").len()
        })
        .collect();
    assert_eq!(codecs, [1, 2]);
}

#[test]
fn a_file_ends_when_it_is_large_and_no_file_is_written_over() {
    let dir = RunDir::new("bytes");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\napp_defaults.record_rotate_bytes = '64KiB'\n\
                 app_defaults.record_sync = '100ms'\n\
                 app_defaults.record_path = '{app}/{name}-{sequence}'";
    let (server, admin) = start(&root, lines);
    for name in ["a%2Fb-0000.flv", "a%2Fb-0000-2.flv"] {
        let mut publisher = Peer::publish(server.rtmp, "live/a/b");
        let whole = root.join("live").join(name);
        eventually("a file that is large", || {
            publisher.push(50);
            whole.exists()
        });
        publisher.leave();
        // Between two of its files none is being written, and it is not over yet.
        eventually("it is over", || call(admin, "GET", "recordings").1["total"] == 0);
        assert!(files(&root, ".part").is_empty());
    }
    let all = files(&root, ".flv");
    let first = all.iter().find(|path| path.ends_with("a%2Fb-0000.flv")).expect("the first");
    assert!(fs::metadata(first).expect("it is there").len() >= 64 << 10);
}

#[test]
fn names_of_streams_lead_nowhere_else() {
    let dir = RunDir::new("escape");
    let root = dir.path().join("rec");
    let (server, _) = start(&root, "app_defaults.record = true");
    // What RTMP lets through; the rest is refused with the name itself.
    for name in ["a/b/c", "...", ".x", "a\\..\\b", "%2e%2e%2fx", "ä b", "~", "a//b", "-rf"] {
        let before = files(&root, ".flv").len();
        let mut publisher = Peer::publish(server.rtmp, &format!("live/{name}"));
        publisher.announce_pictures();
        publisher.push_picture(true);
        eventually(name, || !files(&root, ".flv.part").is_empty());
        publisher.leave();
        eventually(name, || files(&root, ".flv").len() == before + 1);
    }
    let below =
        |path: &PathBuf| path.strip_prefix(root.join("live")).expect("below").components().count();
    assert!(files(dir.path(), ".flv").iter().all(|path| below(path) == 3));
}

#[test]
fn the_api_begins_lists_and_ends_recordings() {
    let dir = RunDir::new("api");
    let root = dir.path().join("rec");
    let (server, admin) = start(&root, "[app.nowhere]\nrecord_directory = ''\n");
    let recording = "streams/live/a/recording";
    assert_eq!(call(admin, "POST", recording).0, 404);
    let mut publisher = Peer::publish(server.rtmp, "live/a");
    publisher.announce_pictures();
    publisher.push_picture(true);
    eventually("it is live", || call(admin, "GET", "streams/live/a").1["state"] == "live");
    assert_eq!(call(admin, "DELETE", recording).0, 404);
    let (status, begun) = call(admin, "POST", recording);
    assert_eq!((status, &begun["stream"]), (201, &"live/a".into()), "{begun}");
    assert_eq!(call(admin, "POST", recording).0, 409);
    eventually("it is being written", || {
        let (_, page) = call(admin, "GET", "recordings");
        assert_eq!((&page["total"], &page["items"][0]["id"]), (&1.into(), &begun["id"]));
        page["items"][0]["bytes"].as_u64() > Some(0)
    });
    publisher.push_picture(false);
    wait_for_frames(admin, 2);
    assert_eq!(call(admin, "DELETE", recording).0, 204);
    eventually("it is whole", || files(&root, ".flv").len() == 1);
    eventually("it is listed no more", || call(admin, "GET", "recordings").1["total"] == 0);
    // What had come until then is in it.
    assert_eq!(sidecar_of(&files(&root, ".flv")[0])["duration_ms"], 40);

    for bad in ["{\"format\":\"mkv\"}", "{\"formats\":\"ts\"}", "{"] {
        let (status, said) = call_with(admin, "POST", recording, bad);
        assert!([400, 422].contains(&status), "{bad}: {said}");
    }
    let (status, begun) = call_with(admin, "POST", recording, "{\"format\":\"ts\"}");
    assert_eq!((status, &begun["format"]), (201, &"ts".into()), "{begun}");
    assert_eq!(call(admin, "DELETE", recording).0, 204);

    let mut elsewhere = Peer::publish(server.rtmp, "nowhere/a");
    elsewhere.announce_pictures();
    elsewhere.push_picture(true);
    eventually("it is live", || call(admin, "GET", "streams/nowhere/a").1["state"] == "live");
    assert_eq!(call(admin, "POST", "streams/nowhere/a/recording").0, 409);
}

#[test]
fn whoever_lets_a_publisher_in_says_whether_and_how_it_is_recorded() {
    let dir = RunDir::new("verdict");
    let root = dir.path().join("rec");
    let hooks = HookServer::start(|heard| match heard.said["stream"].as_str() {
        Some("no") => say("{\"code\":0,\"record\":false}"),
        Some("yes") => say("{\"code\":0,\"record\":true}"),
        Some("mp4") => say("{\"code\":0,\"data\":{\"key\":\"on/other\",\"record\":\"fmp4\"}}"),
        Some("bad") => say("{\"code\":0,\"record\":\"avi\"}"),
        _ => yes(),
    });
    let lines = hooks.lines(&["on_publish"]);
    let (server, admin) = start(&root, &format!("{lines}[app.on]\nrecord = true\n"));
    let publish = |key: &str| {
        let mut publisher = Peer::publish(server.rtmp, key);
        publisher.announce_pictures();
        publisher.push_picture(true);
        publisher
    };
    let mut publishers = Vec::new();
    for (key, extension) in [("on/a", "flv"), ("off/yes", "flv"), ("off/mp4", "mp4")] {
        let before = files(&root, ".part").len();
        publishers.push(publish(key));
        eventually(key, || files(&root, ".part").len() == before + 1);
        let newest = files(&root, &format!(".{extension}.part"));
        let stream = if key == "off/mp4" { "on/other" } else { key };
        assert!(newest.iter().any(|file| file.starts_with(root.join(stream))), "{newest:?}");
    }
    for key in ["on/no", "off/a"] {
        publishers.push(publish(key));
        eventually("it is live", || {
            call(admin, "GET", &format!("streams/{key}")).1["state"] == "live"
        });
    }
    // Its word comes before theirs would: a recording begins as its stream goes live.
    publishers.push(publish("on/last"));
    eventually("it is recorded", || files(&root, ".part").len() == 4);
    assert_eq!(call(admin, "GET", "recordings").1["total"], 4);
    assert_eq!(call(admin, "POST", "streams/on/no/recording").0, 201, "the operator may");
    // What cannot be done is no answer, which is a no by default.
    let mut refused = Peer::new(server.rtmp, Goal::Publish, "off/bad");
    let (_, told) = refused.try_start().expect_err("it is refused");
    assert!(told.contains("no verdict"), "{told}");
}

#[test]
fn files_that_are_whole_are_listed_and_removed_by_the_api() {
    let dir = RunDir::new("listed");
    let root = dir.path().join("rec");
    let lines = "app_defaults.record = true\n[app.shown]\nrecord_replay = true\n";
    let (server, admin) = start(&root, lines);
    assert_eq!(call(admin, "GET", "recordings/files").1["total"], 0);
    for key in ["live/a/b", "shown/a b"] {
        let mut publisher = Peer::publish(server.rtmp, key);
        publisher.announce_pictures();
        publisher.push_picture(true);
        eventually("it is being written", || !files(&root, ".flv.part").is_empty());
        let (_, page) = call(admin, "GET", &format!("recordings/files?app={}", &key[..4]));
        assert_eq!(page["total"], 0, "it is not whole: {page}");
        publisher.push_picture(false);
        publisher.leave();
        eventually("it is whole", || files(&root, ".part").is_empty());
    }
    let (_, page) = call(admin, "GET", "recordings/files");
    assert_eq!(page["total"], 2, "{page}");
    let (newest, first) = (&page["items"][0], &page["items"][1]);
    assert_eq!((&newest["stream"], &first["stream"]), (&"shown/a b".into(), &"live/a/b".into()));
    let file = newest["file"].as_str().expect("a path");
    assert!(file.starts_with("shown/a%20b/"), "{page}");
    let url = newest["url"].as_str().expect("it is replayed");
    assert_eq!(url, format!("/rec/{}", file.replace('%', "%25")));
    assert!(first["url"].is_null(), "nobody may: {page}");
    let size = fs::metadata(root.join(file)).expect("it is there").len();
    assert_eq!((&newest["format"], &newest["bytes"]), (&"flv".into(), &size.into()));
    assert_eq!(
        (&newest["codecs"], &newest["duration_ms"]),
        (&["h264", "aac"][..].into(), &40.into())
    );
    assert!(newest["start"].as_f64() < newest["end"].as_f64(), "{page}");

    let total =
        |query: &str| call(admin, "GET", &format!("recordings/files?{query}")).1["total"].clone();
    assert_eq!([total("name=a%2Fb"), total("app=live&name=a%20b"), total("offset=1")], [1, 0, 2]);
    assert_eq!(call(admin, "GET", "recordings/files?limit=0").0, 400);
    assert_eq!(call(admin, "GET", "recordings/files?offset=100001").0, 400);

    let named = format!("recordings/files?file={}", file.replace('%', "%25"));
    assert_eq!(call(admin, "DELETE", "recordings/files?file=shown/../live/x.flv").0, 404);
    assert_eq!(call(admin, "DELETE", "recordings/files?file=shown/x.flv").0, 404);
    assert_eq!(call(admin, "DELETE", &named).0, 204);
    assert_eq!(call(admin, "DELETE", &named).0, 404);
    assert!(!root.join("shown/a%20b").exists());
    assert_eq!(call(admin, "GET", "recordings/files").1["total"], 1);
}

#[test]
fn the_oldest_files_go_when_an_app_holds_too_much() {
    let dir = RunDir::new("keep");
    let root = dir.path().join("rec");
    let lines = format!(
        "app_defaults.record_directory = {:?}\napp_defaults.record = true\n\
         app_defaults.record_rotate = '1s'\napp_defaults.record_keep_bytes = '64KiB'",
        root.to_str().expect("our names are text")
    );
    let server = Binary::demo(&lines);
    let removed = || server.log().matches("recording: removed").count();
    wait_for_sweep("two files were removed", || removed() >= 2);
    let first = |file: &PathBuf| file.to_str().is_some_and(|file| file.ends_with("-0000.flv"));
    assert!(!files(&root, ".flv").iter().any(first));
    // A file goes with its sidecar; those that are left belong to what is there.
    let alone = |sidecar: &PathBuf| {
        let media = sidecar.with_extension("");
        !media.exists() && !Path::new(&format!("{}.part", media.display())).exists()
    };
    eventually("no sidecar is alone", || !files(&root, ".flv.json").iter().any(alone));
}

#[test]
fn a_server_that_is_stopped_leaves_whole_files() {
    let dir = RunDir::new("stop");
    let root = dir.path().join("rec");
    let (mut server, admin) = start(&root, "app_defaults.record = true\ndrain.delay = 0\n");
    let mut publisher = Peer::publish(server.rtmp, "live/a");
    publisher.announce_pictures();
    publisher.push_picture(true);
    eventually("it is being written", || !files(&root, ".part").is_empty());
    publisher.push_picture(false);
    wait_for_frames(admin, 2);
    let metrics = || {
        let mut page = Web::new(admin);
        page.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        page.answer().body
    };
    // The file is there before its bytes are counted.
    let none = "corecast_recorded_bytes_total 0\n";
    eventually("its bytes are counted", || !metrics().contains(none));
    let page = metrics();
    for line in ["corecast_recordings 1\n", "corecast_recordings_failed_total 0\n"] {
        assert!(page.contains(line), "expected {line} in {page}");
    }
    // At once: nobody waits for its publisher to leave.
    server.signal(Signal::INT);
    server.wait();
    assert!(files(&root, ".part").is_empty());
    assert_eq!(sidecar_of(&files(&root, ".flv")[0])["duration_ms"], 40);
}

/// A file system of a few bytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(dir: &RunDir, size: &str) -> Self {
        let place = dir.path().join("disk");
        fs::create_dir_all(&place).expect("the run directory is ours");
        let size = format!("size={size}");
        let options = ["-t", "tmpfs", "-o", &size, "none"].map(Path::new);
        run("mount", &[&options[..], &[&place]].concat());
        Self(place)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

/// What recordings are muxed as, and how their files end.
const FORMATS: [(&str, &str); 3] = [("flv", ".flv"), ("ts", ".ts"), ("fmp4", ".mp4")];

#[test]
#[ignore = "mounts file systems, which wants root: make disks"]
fn a_full_disk_ends_the_recording_once_and_not_the_stream() {
    let _machine = beside_others();
    thread::scope(|scope| {
        for (format, ending) in FORMATS {
            scope.spawn(move || fill_a_disk(format, ending));
        }
    });
}

fn fill_a_disk(format: &str, ending: &str) {
    let dir = RunDir::new("full");
    let disk = SmallDisk::new(&dir, "1m");
    let hooks = HookServer::start(|_| yes());
    let lines = hooks.lines(&["on_record", "on_segment"]);
    let lines =
        format!("app_defaults.record = true\napp_defaults.record_format = '{format}'\n{lines}");
    let (server, admin) = start(&disk.0, &lines);
    let clip = clips::h264_aac();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    let player = players::play(Ffmpeg::Debian, &url, &dir);
    eventually("it waits", || call(admin, "GET", "streams/live/a").1["waiting"] == 1);
    publish(&clip, &url, &dir).succeed(secs(30));
    clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE);

    let told = hooks.wait_for("on_record", 2);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[1].said["state"], &told[1].said["failed"]), (&"ended".into(), &true.into()));
    let reason = told[1].said["reason"].to_string();
    assert!(reason.contains("No space left"), "{reason}");
    assert_eq!(server.log().matches("recording: failed").count(), 1);
    // What fitted plays.
    let left = [files(&disk.0, ending), files(&disk.0, &format!("{ending}.part"))].concat();
    assert!(probe(&left[0], "packet=flags").len() > 50, "{left:?}");
}

/// A file system that can be made to stop: who writes then waits.
struct StoppableDisk(PathBuf);

impl StoppableDisk {
    fn new(dir: &RunDir) -> Self {
        let (image, place) = (dir.file("image"), dir.path().join("disk"));
        fs::create_dir_all(&place).expect("the run directory is ours");
        let file = fs::File::create(&image).expect("the run directory is ours");
        file.set_len(32 << 20).expect("room for it");
        // Writable for whoever runs the test.
        let options = ["-q", "-E", "root_owner"].map(Path::new);
        run("mkfs.ext4", &[&options[..], &[&image]].concat());
        run("mount", &["-o".as_ref(), "loop".as_ref(), image.as_ref(), place.as_ref()]);
        Self(place)
    }

    /// Until [`Self::go_on`], or for half a minute: nothing must hang if this test is killed.
    fn stop(&self) {
        let free = "(sleep 30; fsfreeze -u \"$0\") > /dev/null 2>&1 &";
        run("sh", &["-c".as_ref(), free.as_ref(), self.0.as_ref()]);
        run("fsfreeze", &["-f".as_ref(), self.0.as_ref()]);
    }

    fn go_on(&self) {
        run("fsfreeze", &["-u".as_ref(), self.0.as_ref()]);
    }
}

impl Drop for StoppableDisk {
    fn drop(&mut self) {
        // Err: it goes on already.
        let _ = as_root("fsfreeze").arg("-u").arg(&self.0).stderr(Stdio::null()).status();
        let _ = as_root("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn run(program: &str, arguments: &[&Path]) {
    let status = as_root(program).args(arguments).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}, as root");
}

fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

#[test]
#[ignore = "mounts file systems, which wants root: make disks"]
fn a_disk_that_stops_ends_the_recording_once_and_not_the_stream() {
    let _machine = beside_others();
    thread::scope(|scope| {
        for (format, ending) in FORMATS {
            scope.spawn(move || stop_a_disk(format, ending));
        }
    });
}

fn stop_a_disk(format: &str, ending: &str) {
    let dir = RunDir::new("stopped");
    let disk = StoppableDisk::new(&dir);
    let lines = format!(
        "app_defaults.record = true\napp_defaults.record_format = '{format}'\n\
         app_defaults.record_buffer = '1MiB'"
    );
    let (server, admin) = start(&disk.0.join("rec"), &lines);
    let clip = clips::h264_aac();
    let url = format!("rtmp://127.0.0.1:{}/live/a", server.rtmp);
    let player = players::play(Ffmpeg::Debian, &url, &dir);
    eventually("it waits", || call(admin, "GET", "streams/live/a").1["waiting"] == 1);
    let mut publisher = publish(&clip, &url, &dir);
    eventually("it is being written", || !files(&disk.0, ".part").is_empty());
    disk.stop();
    // Told at once, though the write goes on waiting.
    eventually("it is told", || server.log().contains("recording: failed"));
    assert!(server.log().contains("the disk is too slow"), "{}", server.log());
    assert!(!server.log().contains("a file is whole"));
    publisher.succeed(secs(30));
    clip.sent().assert_came_out(&player.finish(secs(20)), Expect::WHOLE);
    disk.go_on();
    eventually("what was written is whole", || !files(&disk.0, ending).is_empty());
    assert_eq!(server.log().matches("recording: failed").count(), 1);
    assert!(probe(&files(&disk.0, ending)[0], "packet=flags").len() > 5);
}

#[test]
fn a_directory_that_cannot_be_written_ends_the_recording_once_and_not_the_stream() {
    let dir = RunDir::new("nodir");
    let file = dir.file("no-directory");
    let (server, _) = start(&file, "app_defaults.record = true");
    // It was there for the taking when the server began.
    fs::write(&file, "").expect("the run directory is ours");
    let mut publisher = Peer::publish(server.rtmp, "live/a");
    publisher.announce_pictures();
    publisher.push_picture(true);
    eventually("it is told", || server.log().contains("recording: failed"));
    let mut player = Peer::play(server.rtmp, "live/a");
    player.start();
    assert_eq!(server.log().matches("recording: failed").count(), 1);
}

/// When the pictures of a file are shown that ffprobe finds in it, in milliseconds.
fn pictures_of(file: &Path) -> impl Iterator<Item = i64> {
    let packets = probe(file, "packet=codec_type,pts_time").into_iter();
    packets.filter_map(|packet| {
        let seconds = packet.strip_prefix("video,")?.parse::<f64>().expect("a number");
        Some((seconds * 1000.0).round() as i64)
    })
}

/// Moments to kill a server at: as many milliseconds after somebody began to watch it. Each run has
/// others; `KILL_SEED` in the environment repeats those that a failed one has told.
fn moments(count: u64) -> (u64, Vec<u64>) {
    let seed = std::env::var("KILL_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one("seed"));
    let moment = |round: u64| {
        let mut hasher = DefaultHasher::new();
        (seed, round).hash(&mut hasher);
        600 + hasher.finish() % 4000
    };
    (seed, (0..count).map(moment).collect())
}

#[test]
fn what_kill_leaves_plays_and_lacks_no_more_than_a_sync() {
    let _machine = beside_others();
    let (seed, moments) = moments(20);
    kill_side_by_side(seed, moments.chunks(5).map(|some| (some, ["flv", "flv"])));
}

#[test]
fn what_kill_leaves_of_mp4_and_ts_plays_too() {
    let _machine = beside_others();
    let (seed, moments) = moments(12);
    kill_side_by_side(seed, moments.chunks(6).zip([["fmp4", "mp4"], ["ts", "ts"]]));
}

/// Kills at all these moments, each part of them beside the others, with its format and extension.
/// That nothing is lost says something only if something was due.
#[track_caller]
fn kill_side_by_side<'a>(seed: u64, parts: impl Iterator<Item = (&'a [u64], [&'static str; 2])>) {
    /// The GOP that a viewer begins with comes at once, and the server may stand still for a while.
    const AT_ONCE: Duration = Duration::from_secs(2);
    let killed = thread::scope(|scope| {
        let parts = parts.map(|(some, [format, extension])| {
            let kill = move |ms: &u64| kill_after(*ms, format, extension, seed);
            scope.spawn(move || some.iter().map(kill).collect::<Vec<_>>())
        });
        let parts: Vec<_> = parts.collect();
        let ended = parts.into_iter().flat_map(|part| part.join().expect("nothing is lost"));
        ended.collect::<Vec<_>>()
    });
    if killed.iter().any(|killed| killed.due > 0) {
        return;
    }
    let is_slow = |killed: &Killed| Duration::from_millis(killed.ms) < killed.most + AT_ONCE;
    assert!(killed.iter().all(is_slow), "KILL_SEED={seed}: nothing was due: {killed:?}");
    println!("the disk is too slow for anything to be due: {killed:?}");
}

/// Watches the demo of `server` for `ms` milliseconds of it and kills it. Tells of each picture that
/// came its time in milliseconds, and when it came.
fn watch_and_kill(server: &mut Binary, ms: u64) -> Vec<(i64, Instant)> {
    /// As far as pictures are apart.
    const STEP_MS: u64 = 40;
    let mut web = Web::new(server.http);
    web.send("GET /live/demo.flv HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(web.head().0, 200);
    web.take(13);
    let timeout = Some(Duration::from_millis(5));
    web.socket.set_read_timeout(timeout).expect("not zero");
    let (mut pictures, mut end, mut buffer) = (Vec::new(), None, vec![0; 64 << 10]);
    let mut joined = None;
    loop {
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            server.child.kill().expect("it runs");
            return pictures;
        }
        // Err: nothing has come.
        let count = web.socket.read(&mut buffer);
        assert!(!matches!(count, Ok(0)), "the server stays");
        web.heard.extend(&buffer[..count.unwrap_or(0)]);
        while let Some(&[kind, high, mid, low, t2, t1, t0, t3]) = web.heard.first_chunk() {
            let length = 15 + u32::from_be_bytes([0, high, mid, low]) as usize;
            if web.heard.len() < length {
                break;
            }
            let tag = web.take(length);
            // A picture, and not what decodes it.
            if kind == 9 && tag[12] == 1 {
                let at = u32::from_be_bytes([t3, t2, t1, t0]);
                pictures.push((i64::from(at), Instant::now()));
            }
        }
        let Some((last, _)) = pictures.last() else { continue };
        let watched = last - *joined.get_or_insert(*last);
        if end.is_none() && watched >= ms as i64 {
            // Not always right behind a picture.
            end = Some(now + Duration::from_millis(ms % STEP_MS));
        }
    }
}

/// What is to be on disk of what a viewer was sent: all but what came while the server was seen at work
/// for no longer than `most` after it. That it stood still (and with it the disk's turn) is no fault
/// of its own.
fn due(pictures: &[(i64, Instant)], most: Duration) -> Vec<i64> {
    /// Twice as far apart as pictures are.
    const AT_WORK: Duration = Duration::from_millis(80);
    let mut at_work = Duration::ZERO;
    let mut later = pictures.last().map(|(_, came)| *came);
    let mut due = Vec::new();
    for (ms, came) in pictures.iter().rev() {
        at_work +=
            later.replace(*came).map_or(Duration::ZERO, |later| (later - *came).min(AT_WORK));
        if at_work >= most {
            due.push(*ms);
        }
    }
    due
}

/// Does `work`, and tells the longest that the disk of `dir` took meanwhile for a few bytes, with how late
/// the thread was that woke up to write them: those that write for a server are woken, too.
fn timing_the_disk<T>(dir: &Path, work: impl FnOnce() -> T) -> (T, Duration) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let timed = scope.spawn(|| {
            const REST: Duration = Duration::from_millis(20);
            let mut file = fs::File::create(dir.join("timed")).expect("there is room");
            let mut longest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                thread::sleep(REST);
                file.write_all(&[0; 4096]).and_then(|()| file.sync_data()).expect("there is room");
                longest = longest.max(began.elapsed().saturating_sub(REST));
            }
            longest
        });
        let worked = {
            let _ends = Sets(&over);
            work()
        };
        (worked, timed.join().expect("it does not panic"))
    })
}

/// Sets it in the end, also where there is a panic.
struct Sets<'a>(&'a AtomicBool);

impl Drop for Sets<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was due at a kill.
#[derive(Debug)]
struct Killed {
    /// When it was.
    ms: u64,
    /// What came no longer before it may be lost.
    most: Duration,
    /// How many pictures had come before that.
    due: usize,
}

fn kill_after(ms: u64, format: &str, extension: &str, seed: u64) -> Killed {
    const SYNC: Duration = Duration::from_millis(200);
    /// For the disk to take it, when it takes no time for anything else.
    const DISK: Duration = Duration::from_millis(200);
    /// What else the disk may be asked for before: a sync that has begun; file, sidecar and folder of one
    /// that is to be whole before what follows goes into the next; and the sidecar of that.
    const TURNS: u32 = 5;
    let dir = RunDir::new("kill");
    let root = dir.path().join("rec");
    // What comes is read at once, so that a sync finds all that was sent.
    let lines = format!(
        "app_defaults.record_directory = {:?}\napp_defaults.record = true\n\
         app_defaults.record_rotate = '1s'\napp_defaults.record_sync = '{}ms'\n\
         app_defaults.record_format = '{format}'\napp_defaults.merge_window = 0",
        root.to_str().expect("our names are text"),
        SYNC.as_millis()
    );
    let mut server = Binary::demo(&lines);
    eventually("it records", || !files(&root, ".part").is_empty());
    let (seen, disk) = timing_the_disk(dir.path(), || watch_and_kill(&mut server, ms));
    server.child.wait().expect("our child");
    // A file that was just begun may hold headers alone, or nothing yet.
    let names = [format!(".{extension}"), format!(".{extension}.part")];
    let all = names.map(|name| files(&root, &name)).concat();
    let written = |file: &&PathBuf| fs::metadata(file).is_ok_and(|file| file.len() > 0);
    // Times of transport streams begin at a second.
    let zero = if format == "ts" { 1000 } else { 0 };
    let kept: HashSet<i64> =
        all.iter().filter(written).flat_map(|file| pictures_of(file)).map(|ms| ms - zero).collect();
    let most = SYNC + DISK + TURNS * disk;
    let due = due(&seen, most);
    let mut lost: Vec<_> = due.iter().filter(|ms| !kept.contains(ms)).collect();
    lost.sort();
    let last = seen.last().map(|(ms, _)| ms);
    assert!(
        lost.is_empty(),
        "{format}, KILL_SEED={seed}, after {ms} ms: {lost:?} are lost of what came until {last:?}, disk {disk:?}"
    );
    assert!(all.iter().all(|file| {
        Path::new(&format!("{}.json", file.display().to_string().trim_end_matches(".part")))
            .exists()
    }));
    Killed { ms, most, due: due.len() }
}

#[test]
fn what_kill_leaves_is_named_at_the_next_start_and_is_a_recording_like_others() {
    let _machine = beside_others();
    thread::scope(|scope| {
        for (format, extension) in [("flv", "flv"), ("fmp4", "mp4"), ("ts", "ts")] {
            scope.spawn(move || recover_after_kill(format, extension));
        }
    });
}

fn recover_after_kill(format: &str, extension: &str) {
    let dir = RunDir::new("recover");
    let root = dir.path().join("rec");
    let lines = format!(
        "app_defaults.record_directory = {:?}\napp_defaults.record = true\n\
         app_defaults.record_format = '{format}'\napp_defaults.record_replay = true",
        root.to_str().expect("our names are text")
    );
    let mut server = Binary::demo(&lines);
    let written = |least: u64| {
        let parts = files(&root, ".part");
        parts.iter().any(|part| fs::metadata(part).is_ok_and(|about| about.len() > least))
    };
    eventually("it records", || written(200_000));
    server.child.kill().expect("it runs");
    server.child.wait().expect("our child");
    let part = files(&root, ".part").remove(0);
    let file = part.with_extension("");
    let held = fs::read(&part).expect("it is there");

    let lines = "app_defaults.record_replay = true";
    let (server, admin) = start(&root, lines);
    eventually("it has its name", || file.exists() && !part.exists());
    assert!(fs::read(&file).expect("it is there") == held);
    let said = || server.log().matches("recording: recovered after a crash").count();
    eventually("it is told", || said() == 1);
    assert!(server.log().contains(&format!("{}", file.display())));
    let sidecar = sidecar_of(&file);
    let [start, end] = ["start", "end"].map(|key| sidecar[key].as_f64().expect("a time"));
    assert!(end > start && sidecar["recovered"] == true, "{sidecar}");
    let (_, listed) = call(admin, "GET", "recordings/files");
    assert_eq!((&listed["total"], &listed["items"][0]["recovered"]), (&1.into(), &true.into()));
    let url = listed["items"][0]["url"].as_str().expect("it is served").to_owned();
    let mut web = Web::new(server.http);
    web.send(&format!("HEAD {url} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_eq!(web.head().0, 200);
    // What is whole plays.
    let played = Command::new("ffprobe")
        .args(["-v", "quiet", "-count_packets", "-show_entries", "stream=nb_read_packets"])
        .args(["-of", "csv=p=0", &format!("http://127.0.0.1:{}{url}", server.http)])
        .output()
        .expect("ffprobe starts");
    let packets = String::from_utf8_lossy(&played.stdout).into_owned();
    let most = packets.lines().filter_map(|line| line.trim_matches(',').parse::<u32>().ok()).max();
    assert!(most.is_some_and(|most| most > 10), "{packets}");
    let name = file.strip_prefix(&root).expect("below it").display().to_string();
    let (status, _) = call(admin, "DELETE", &format!("recordings/files?file={name}"));
    assert!(status == 204 && !file.exists() && files(&root, extension).is_empty());
}
