//! Four parsers that no one here wrote read what our own does: npm's hls-parser (in its strict mode)
//! and m3u8-parser, PyPI's m3u8, and the crate m3u8-rs.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::playlist_rules::{Part, Playlist};
use crate::session::{Session, read, tags};
use crate::support::clips::{self, Clip};
use crate::support::machine::{RunDir, beside_others, root, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};

/// What the parsers that are no crates say of each of `texts`.
#[track_caller]
fn ask(texts: &[String], dir: &RunDir) -> Vec<[(&'static str, Value); 3]> {
    let path = dir.file("playlists.json");
    fs::write(&path, json!(texts).to_string()).expect("the run directory is ours");
    let said = |command: &mut Command| -> Vec<Value> {
        let output = command.arg(&path).output().expect("tests/install.sh installs it");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        serde_json::from_slice(&output.stdout).expect("the script prints JSON")
    };
    let in_node = said(Command::new("node").arg(root().join("tests/node/playlists.mjs")));
    let in_python = said(
        Command::new(root().join(".venv/bin/python")).arg(root().join("tests/hls/playlists.py")),
    );
    assert_eq!((in_node.len(), in_python.len()), (texts.len(), texts.len()));
    let both = in_node.into_iter().zip(in_python).map(|(mut node, python)| {
        let [strict, other] = ["hls-parser", "m3u8-parser"].map(|name| (name, node[name].take()));
        [strict, other, ("m3u8", python)]
    });
    both.collect()
}

/// What hls-parser says of parts in the fourth segment from the end, with that to come: it counts
/// segments, where the specification has seconds (RFC 8216bis 4.4.4.9), which our own rules count.
const COUNTS_SEGMENTS: &str = "Invalid Playlist : Remove EXT-X-PART tags from the Playlist after they \
    are greater than three target durations from the end of the Playlist.";

/// Has all four read `texts`.
#[track_caller]
fn judge(texts: &[String], dir: &RunDir) {
    for (text, found) in texts.iter().zip(ask(texts, dir)) {
        let expected = match text.contains("#EXT-X-STREAM-INF") {
            true => variants(text),
            false => media(&read(text)),
        };
        for (name, found) in found {
            let complaints = found["complaints"].as_array().expect("a list");
            let others: Vec<_> =
                complaints.iter().filter(|what| *what != COUNTS_SEGMENTS).collect();
            assert!(others.is_empty(), "{name} complains: {others:?} of\n{text}");
            if !complaints.is_empty() {
                continue;
            }
            same(name, &expected, &found, text);
        }
        by_the_crate(text, &expected);
    }
}

/// All that `found` tells is as we expect it. It need not tell all.
#[track_caller]
fn same(name: &str, expected: &Value, found: &Value, text: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, expected) in expected {
                if let Some(found) = found.get(key) {
                    same(&format!("{name}: {key}"), expected, found, text);
                }
            }
        }
        (Value::Array(all), Value::Array(found)) => {
            assert_eq!(all.len(), found.len(), "{name}: {expected} and {found:?} in\n{text}");
            for (expected, found) in all.iter().zip(found) {
                same(name, expected, found, text);
            }
        }
        (Value::Number(_), Value::Number(_)) => {
            assert_eq!(expected.as_f64(), found.as_f64(), "{name} in\n{text}");
        }
        _ => assert_eq!(expected, found, "{name} in\n{text}"),
    }
}

/// What parsers are to find in a media playlist.
fn media(playlist: &Playlist) -> Value {
    let parts = |parts: &[Part]| -> Vec<Value> {
        parts.iter().map(|part| json!([part.uri, part.duration, part.independent])).collect()
    };
    let mut map = None;
    let segments = playlist.segments.iter().map(|segment| {
        map = segment.map.clone().or(map.take());
        json!({
            "uri": segment.uri,
            "duration": segment.duration,
            "discontinuity": segment.discontinuity,
            "gap": segment.gap,
            "map": map,
            "date_time": segment.date_time,
            "parts": parts(&segment.parts),
        })
    });
    json!({
        "segments": segments.collect::<Vec<_>>(),
        "sequence": playlist.media_sequence,
        "discontinuity_sequence": playlist.discontinuity_sequence,
        "target": playlist.target_s,
        "part_target": playlist.part_target,
        "skipped": playlist.skipped,
        "ended": playlist.ended,
        "open": parts(&playlist.open.parts),
        "hint": playlist.hint,
    })
}

/// What parsers are to find in a multivariant playlist.
fn variants(text: &str) -> Value {
    let addresses = text.lines().filter(|line| !line.starts_with('#'));
    let renditions = tags(text, "EXT-X-MEDIA");
    let of = |kind: &str, name: &str| -> Vec<String> {
        let found = renditions.iter().filter(|media| media["TYPE"] == kind);
        found.map(|media| media[name].clone()).collect()
    };
    let variants = tags(text, "EXT-X-STREAM-INF").into_iter().zip(addresses).map(|(tag, uri)| {
        let resolution = tag.get("RESOLUTION").and_then(|size| size.split_once('x'));
        let width = resolution.map(|(width, _)| width.parse::<u32>().expect("a number"));
        json!({
            "uri": uri,
            "bandwidth": tag["BANDWIDTH"].parse::<u64>().expect("a number"),
            "codecs": tag["CODECS"],
            "width": width,
            "audio": of("AUDIO", "URI"),
            "captions": of("CLOSED-CAPTIONS", "INSTREAM-ID"),
        })
    });
    json!({ "variants": variants.collect::<Vec<_>>() })
}

/// m3u8-rs knows nothing of parts, and leaves such tags in a list of their own.
#[track_caller]
fn by_the_crate(text: &str, expected: &Value) {
    let (rest, found) = m3u8_rs::parse_playlist(text.as_bytes()).expect(text);
    assert!(rest.is_empty(), "it stops before {:?}", String::from_utf8_lossy(rest));
    let found = match found {
        m3u8_rs::Playlist::MasterPlaylist(read) => {
            let variants = read.variants.iter().map(|variant| {
                json!({
                    "uri": variant.uri,
                    "bandwidth": variant.bandwidth,
                    "codecs": variant.codecs,
                    "width": variant.resolution.map(|size| size.width),
                })
            });
            json!({ "variants": variants.collect::<Vec<_>>() })
        }
        m3u8_rs::Playlist::MediaPlaylist(read) => {
            // It tells of a map where the tag stands, not of the one in force.
            let segments = read.segments.iter().map(|segment| {
                json!({
                    "uri": segment.uri,
                    "discontinuity": segment.discontinuity,
                    "date_time": segment.program_date_time.map(|at| at.timestamp_millis()),
                })
            });
            json!({
                "segments": segments.collect::<Vec<_>>(),
                "sequence": read.media_sequence,
                "discontinuity_sequence": read.discontinuity_sequence,
                "target": read.target_duration,
                "ended": read.end_list,
            })
        }
    };
    same("m3u8-rs", expected, &found, text);
}

/// Playlists of all kinds of one stream while it lives, and when it has ended.
fn live_playlists_of(clip: &Clip, key: &str, app: &'static str) {
    let _machine = beside_others();
    let server = Server::with(&Setup { app, ..Setup::default() });
    let url = server.rtmp(key);
    // Half of it would do on a machine that keeps pace: deltas are there from the fourteenth second on,
    // and until the end.
    let looped = ["-stream_loop", "2"];
    let mut publisher = players::publish_with(clip, &url, &server.dir, &looped, &[]);
    let mut session = Session::open(server.http, key);
    let mut texts = vec![session.multivariant.clone()];
    session.wait_for("eight segments", |playlist| {
        playlist.next_part().0 >= playlist.media_sequence + 7
    });
    // Once frame rate and the rest are known.
    texts.push(Session::open(server.http, key).multivariant);
    let paths = [Some(session.main.clone()), session.audio.clone()];
    for path in paths.into_iter().flatten() {
        session.main = path;
        for _ in 0..3 {
            let plain = session.playlist("");
            let (msn, part) = read(&plain).next_part();
            let next = format!("_HLS_msn={msn}&_HLS_part={part}");
            let delta = session.playlist(&format!("{next}&_HLS_skip=YES"));
            assert!(read(&delta).skipped > 0, "{delta}");
            let (msn, part) = read(&delta).next_part();
            let blocked = session.playlist(&format!("_HLS_msn={msn}&_HLS_part={part}"));
            texts.extend([plain, delta, blocked]);
        }
        texts.push(session.playlist(""));
    }
    texts.push(session.until_end());
    publisher.succeed(secs(30));
    judge(&texts, &server.dir);
    server.stop();
}

/// More than a delta may leave out.
const LONG: &str = "hls_window = '20s'";

#[test]
fn parsers_read_what_we_mean() {
    live_playlists_of(&clips::h264_aac(), "live/a", LONG);
}

#[test]
fn parsers_read_what_we_mean_of_h265_and_aac() {
    live_playlists_of(&clips::h265_aac(), "live/a", LONG);
}

#[test]
fn parsers_read_what_we_mean_of_av1_and_opus() {
    live_playlists_of(&clips::av1_opus(), "live/a", LONG);
}

#[test]
fn parsers_read_what_we_mean_of_sound_alone() {
    live_playlists_of(&clips::aac(), "live/a", LONG);
}

#[test]
fn parsers_read_what_we_mean_where_sound_stands_apart() {
    let app = "hls_window = '20s'\nhls_audio = 'separate'";
    live_playlists_of(&clips::h264_aac(), "live/some/folder/a", app);
}

#[test]
fn parsers_read_what_we_mean_of_transport_streams() {
    let app = "hls_window = '20s'\nhls_container = 'ts'";
    live_playlists_of(&clips::h264_aac(), "live/a", app);
}

/// A judge that is pleased with everything would judge nothing.
#[test]
fn parsers_complain_of_what_is_wrong() {
    const RIGHT: &str = "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.66,CAN-SKIP-UNTIL=12.0\n\
        #EXT-X-PART-INF:PART-TARGET=0.22\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI=\"i.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-11-21T22:58:18.073Z\n\
        #EXT-X-PART:DURATION=0.2,URI=\"7.0.m4s\",INDEPENDENT=YES\n\
        #EXT-X-PART:DURATION=0.1,URI=\"7.1.m4s\"\n#EXTINF:0.3,\n7.m4s\n\
        #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"8.0.m4s\"\n";
    let changes = [
        ("#EXTINF:0.3", "#EXTINF:3.3"),
        ("=0.66", "=0.1"),
        ("UNTIL=12.0", "UNTIL=6.0"),
        ("#EXT-X-PART-INF:PART-TARGET=0.22\n", ""),
        ("DURATION=0.2,", "DURATION=0.1,"),
        ("VERSION:9", "VERSION:2"),
        ("#EXTM3U\n", ""),
    ];
    let wrong = changes.map(|(from, to)| RIGHT.replacen(from, to, 1));
    let dir = RunDir::new("parsers");
    judge(&[RIGHT.to_owned()], &dir);
    for (text, found) in wrong.iter().zip(ask(&wrong, &dir)) {
        let complaints = found.iter().filter(|(_, found)| found["complaints"] != json!([]));
        assert!(complaints.count() > 0, "nobody complains of\n{text}");
    }
    for (from, to) in [("7.m4s", "8.m4s"), ("QUENCE:7", "QUENCE:8"), ("0.1,", "0.11,")] {
        let other = media(&read(RIGHT));
        let text = RIGHT.replacen(from, to, 1);
        let found = ask(std::slice::from_ref(&text), &dir).remove(0);
        for (name, found) in found {
            let differs = std::panic::catch_unwind(|| same(name, &other, &found, &text));
            assert!(differs.is_err(), "{name} reads the same in\n{text}");
        }
    }
}
