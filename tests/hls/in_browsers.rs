//! hls.js and Shaka Player in headless Chromium: they play, near the live edge, and tell of no error.

use std::thread;

use serde_json::Value;

use crate::flv;
use crate::publisher;
use crate::support::browser;
use crate::support::clips::{self, Clip};
use crate::support::machine::{alone, beside_others, root, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};
use crate::waiting::wait_for_viewers;

const FOREVER: [&str; 2] = ["-stream_loop", "-1"];

/// Plays `/KEY.m3u8` with hls.js, with more options of the script.
#[track_caller]
fn play(server: &Server, key: &str, options: &[&str]) -> Value {
    play_with("hls", "hls.js/dist/hls.min.js", server, key, options)
}

/// The same with Shaka Player. It looks for closed captions in three segments, and of a playlist that
/// has two it takes the one that is growing, which has no address: "Cannot read properties of undefined".
#[track_caller]
fn play_shaka(server: &Server, key: &str, low_latency: bool, options: &[&str]) -> Value {
    let script = "shaka-player/dist/shaka-player.compiled.js";
    let config = serde_json::json!({
        "manifest": {"hls": {"disableClosedCaptionsDetection": true}},
        "streaming": {"lowLatencyMode": low_latency},
    });
    let config = ["--config", &config.to_string()];
    play_with("shaka", script, server, key, &[&config, options].concat())
}

/// What hls.js tells of a hole in the stream, where it goes on by itself. A clip has some: at its begin,
/// for pictures are shown a little after they are decoded, and where it is looped or joined. A part right
/// before a hole may hold sound only, which is no progress to it.
const HOLES: [&str; 4] =
    ["bufferSeekOverHole", "bufferStalledError", "bufferNudgeOnStall", "bufferAppendNoProgress"];
/// It asks for what comes next, and waits in vain for it when the publisher has left.
const NOTHING_CAME: &str = "levelLoadTimeOut";

/// Panics if it did not play for so long, or the player told of an error that is no hole.
#[track_caller]
fn play_with(player: &str, script: &str, server: &Server, key: &str, options: &[&str]) -> Value {
    // A page of another origin: that has another name for the same host.
    let page = format!("http://localhost:{}/healthz", server.http);
    let script = root().join("tests/node/node_modules").join(script);
    let script = script.to_str().expect("our names are text");
    let media = server.http(&format!("{key}.m3u8"));
    let own = ["--player", player, "--script", script, "--media", &media];
    let seen = browser::run("hls.py", &page, &[&own, options].concat());
    println!("{player} {key}: {seen}");
    if seen["supported"] == true {
        let errors = seen["errors"].as_array().expect("a list").iter();
        let bad = errors.filter(|error| {
            let details = error["details"].as_str().unwrap_or_default();
            error["fatal"] != false || !(HOLES.contains(&details) || details == NOTHING_CAME)
        });
        assert_eq!(bad.count(), 0, "{player}: {seen}");
        assert_eq!(seen["broken"], Value::Null, "{player}: {seen}");
    }
    seen
}

/// Media came in time: the player never waited for it once it played.
#[track_caller]
fn never_waited(seen: &Value) {
    assert_eq!(seen["errors"], Value::Array(Vec::new()), "{seen}");
    assert_eq!(seen["waits"], Value::Array(Vec::new()), "{seen}");
    assert_eq!(seen["waiting"], Value::Null, "{seen}");
    assert!(number(&seen["longest_still"]) < 500.0, "{seen}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

/// The measure is the player's own, and the clock that stands in the pictures: what is seen was made
/// so long ago.
#[test]
#[ignore = "wants a machine that keeps pace: make realtime"]
fn a_minute_of_low_latency_without_a_stall() {
    const MOST_MS: f64 = 1500.0;
    let _machine = alone();
    let server = Server::with(&Setup { cores: 2, ..Setup::default() });
    let _publisher = publisher::stamped(&server.rtmp("live/a"), &server.dir);
    // Who has fallen behind, for the machine was busy, catches up.
    let config = "{\"maxLiveSyncPlaybackRate\": 1.5}";
    let seen = play(&server, "live/a", &["--seconds", "60", "--config", config]);
    never_waited(&seen);
    assert!(number(&seen["decoded"]) > 1400.0 && number(&seen["dropped"]) < 60.0, "{seen}");
    for measure in ["latency", "date", "picture"] {
        let behind = &seen["behind"][measure];
        assert!(number(&behind["samples"]) > 500.0, "{seen}");
        for when in ["median", "end"] {
            assert!(number(&behind[when]) <= MOST_MS, "{measure} {when}: {seen}");
        }
    }
    server.stop();
}

/// Half a second late, it tells of a TypeError of its own ("null (reading 'next')") for ever.
#[test]
#[ignore = "wants a machine that keeps pace: make realtime"]
fn low_latency_in_shaka_player() {
    let _machine = alone();
    let server = Server::with(&Setup { cores: 2, ..Setup::default() });
    let _publisher = publisher::stamped(&server.rtmp("live/a"), &server.dir);
    let seen = play_shaka(&server, "live/a", true, &["--seconds", "20"]);
    assert_eq!(seen["errors"], Value::Array(Vec::new()), "{seen}");
    let behind = &seen["behind"]["date"];
    assert!(number(&behind["samples"]) > 50.0 && number(&behind["median"]) < 3000.0, "{seen}");
    server.stop();
}

/// The codecs and forms of streams, in both players where the browser has the decoders.
fn plays(clip: &Clip, app: &'static str, mime: &str) {
    let _machine = beside_others();
    let server = Server::with(&Setup { cores: 2, app, ..Setup::default() });
    let url = server.rtmp("live/a");
    let _publisher = players::publish_with(clip, &url, &server.dir, &FOREVER, &[]);
    let mime = format!("video/mp4; codecs=\"{mime}\"");
    let options = ["--seconds", "6", "--mime", &mime];
    let hls = play(&server, "live/a", &options);
    // It goes by parts, however late it is: by whole segments it would aim at 6 s.
    assert!(hls["supported"] == false || number(&hls["aim"]) < 4000.0, "{hls}");
    for seen in [hls, play_shaka(&server, "live/a", false, &options)] {
        if browser::supports(&seen, &mime) {
            assert!(number(&seen["audio_bytes"]) > 0.0, "{seen}");
            let has_pictures = mime.contains(',');
            assert_eq!(number(&seen["decoded"]) > 5.0, has_pictures, "{seen}");
        }
    }
    server.stop();
}

#[test]
fn h264_and_aac() {
    plays(&clips::h264_aac(), "", "avc1.64001e,mp4a.40.2");
}

#[test]
fn h264_and_aac_in_transport_streams() {
    plays(&clips::h264_aac(), "hls_container = 'ts'", "avc1.64001e,mp4a.40.2");
}

#[test]
fn sound_with_a_playlist_of_its_own() {
    plays(&clips::h264_aac(), "hls_audio = 'separate'", "avc1.64001e,mp4a.40.2");
}

#[test]
fn h265_and_aac_where_it_can() {
    plays(&clips::h265_aac(), "", "hvc1.1.6.L93.B0,mp4a.40.2");
}

#[test]
fn av1_and_opus() {
    plays(&clips::av1_opus(), "", "av01.0.01M.08,opus");
}

#[test]
fn sound_alone() {
    plays(&clips::aac(), "", "mp4a.40.2");
}

/// A player goes over to other pictures of the same publisher, and to those of one who comes back.
#[test]
fn a_player_goes_on_behind_discontinuities() {
    let _machine = beside_others();
    let (publisher_grace, wait_for_publisher) = ("10s", "40s");
    let setup = Setup { admin: true, publisher_grace, wait_for_publisher, ..Setup::default() };
    let server = Server::with(&setup);
    // Made before the player asks: it waits for an answer for 20 s.
    let mut tags = flv::read(&clips::h264_aac().path);
    flv::append(&mut tags, &flv::read(&clips::small().path));
    flv::append(&mut tags, &flv::read(&clips::small().path));
    let seen = thread::scope(|scope| {
        let browser = scope.spawn(|| {
            play(&server, "live/a", &["--seconds", "15", "--widths", "3", "--within", "80"])
        });
        wait_for_viewers(&server, "live/a", 1);
        flv::publish(&tags, server.http, "live/a");
        thread::sleep(secs(1));
        let url = server.rtmp("live/a");
        players::publish(&clips::h264_aac(), &url, &server.dir).succeed(secs(30));
        browser.join().expect("it plays")
    });
    assert_eq!(seen["widths"], serde_json::json!([640, 128, 640]), "{seen}");
    server.stop();
}

#[test]
fn a_player_stops_at_the_end() {
    let _machine = beside_others();
    let setup = Setup { admin: true, wait_for_publisher: "40s", ..Setup::default() };
    let server = Server::with(&setup);
    // Made before the player asks; twice, for what a page that stood still has not watched is not counted.
    let (clip, twice) = (clips::h264(), ["-stream_loop", "1"]);
    let seen = thread::scope(|scope| {
        let browser = scope.spawn(|| play(&server, "live/a", &["--until-end", "--within", "80"]));
        wait_for_viewers(&server, "live/a", 1);
        let url = server.rtmp("live/a");
        players::publish_with(&clip, &url, &server.dir, &twice, &[]).succeed(secs(45));
        browser.join().expect("it plays to the end")
    });
    assert!(number(&seen["seconds"]) > 5.0, "{seen}");
    server.stop();
}
