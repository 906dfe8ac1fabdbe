//! mpegts.js in headless Chromium: frames are really decoded and shown.

use crate::support::browser;
use crate::support::clips::{self, Clip};
use crate::support::machine::{beside_others, secs};
use crate::support::players;
use crate::support::server::{Server, Setup};

const FOREVER: [&str; 2] = ["-stream_loop", "-1"];

fn shown(clip: &Clip, options: &[&str], query: &str) {
    let _machine = beside_others();
    let server = Server::with(&Setup { cores: 2, ..Setup::default() });
    let url = server.rtmp("live/a");
    let publisher = players::publish_with(clip, &url, &server.dir, &FOREVER, &[]);
    std::thread::sleep(secs(1));
    for media in [server.http("live/a.flv"), server.ws("live/a.flv")] {
        let media = format!("{media}{query}");
        let seen =
            browser::watch(&server.http("live/a"), &[&["--media", &media], options].concat());
        println!("{media}: {seen}");
        if seen["supported"] == true {
            assert_eq!(seen["width"].as_i64(), Some(640), "{seen}");
            assert_eq!(seen["errors"].as_array().map(Vec::len), Some(0), "{seen}");
        }
    }
    drop(publisher);
    server.stop();
}

#[test]
fn chromium_shows_h264_and_aac_by_flv_and_websocket() {
    shown(&clips::h264_aac(), &["--seconds", "4"], "");
}

#[test]
fn chromium_shows_video_without_its_audio() {
    shown(&clips::h264_aac(), &["--seconds", "3", "--audio", "no"], "?audio=0");
}

#[test]
fn chromium_shows_h265_where_it_can() {
    shown(
        &clips::h265_aac(),
        &["--seconds", "3", "--mime", "video/mp4; codecs=\"hvc1.1.6.L93.B0\""],
        "",
    );
}
