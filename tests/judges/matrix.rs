//! Publishers × players.

use std::cell::Cell;
use std::thread::sleep;

use crate::relays;
use crate::support::clips::{self, Clip};
use crate::support::frames::{Expect, Recording, Start};
use crate::support::machine::{RunDir, beside_others, secs};
use crate::support::nginx::Nginx;
use crate::support::players::{self, Ffmpeg, GstSink, Player};
use crate::support::server::Server;
use crate::support::ws;
use crate::waiting::{self, wait_for_viewers};

/// Each player by each way out, from before the publisher and from the midst of a GOP.
fn every_player_gets(
    server: &Server,
    clip: &Clip,
    sent: &Recording,
    publish: impl FnOnce(&str) + Send,
) {
    let tool = clip.tool;
    let dir = &server.dir;
    let view = |name: &str| -> Vec<(&'static str, Player, usize)> {
        let (rtmp, flv) = (server.rtmp(name), server.http(&format!("{name}.flv")));
        vec![
            ("ffmpeg RTMP", players::play(tool, &rtmp, dir), 0),
            ("ffmpeg FLV", players::play(tool, &flv, dir), 0),
            ("rtmpdump", players::play_rtmpdump(tool, &rtmp, dir), 0),
            // Its source drops what is still queued when the stream ends.
            ("gst rtmp2src", players::play_gst(tool, &rtmp, dir), 4),
            ("curl", players::play_curl(tool, &flv, dir), 0),
        ]
    };
    let early = view("live/a");
    let record = dir.file("ws.flv");
    let socket = ws::record(&server.ws("live/a.flv"), &record);
    wait_for_viewers(server, "live/a", 6);
    let late = std::thread::scope(|scope| {
        let url = server.rtmp("live/a");
        let publisher = scope.spawn(move || publish(&url));
        server.expect_log(" publish client=", secs(20));
        sleep(secs(3));
        let late = view("live/a");
        publisher.join().expect("it publishes to the end");
        late
    });
    // Without video each moment is as good a start as any other.
    let midst = match sent.video.is_empty() {
        true => Expect { start: Start::Any, ..Expect::WHOLE },
        false => Expect::from_key(clip.gop),
    };
    for (players, expect) in [(early, Expect::WHOLE), (late, midst)] {
        for (name, player, tail) in players {
            let got = player.finish(secs(20));
            if let Err(what) = sent.compare(&got, expect.but_tail(tail)) {
                panic!("{name}, {:?}: {what}", expect.start);
            }
        }
    }
    socket.join().expect("the viewer is well");
    sent.assert_came_out(&Recording::of_file(tool, &record), Expect::WHOLE);
}

fn every_player_gets_what_ffmpeg_sends(clip: &Clip) {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    every_player_gets(&server, clip, &clip.sent(), |url| {
        players::publish(clip, url, &server.dir).succeed(secs(40));
    });
    server.stop();
}

#[test]
fn h264_and_aac_of_ffmpeg_5() {
    every_player_gets_what_ffmpeg_sends(&clips::h264_aac());
}

#[test]
fn h264_and_mp3_of_ffmpeg_5() {
    every_player_gets_what_ffmpeg_sends(&clips::h264_mp3());
}

#[test]
fn video_alone_of_ffmpeg_5() {
    every_player_gets_what_ffmpeg_sends(&clips::h264());
}

#[test]
fn audio_alone_of_ffmpeg_5() {
    every_player_gets_what_ffmpeg_sends(&clips::aac());
}

#[test]
fn h264_and_aac_of_ffmpeg_9() {
    every_player_gets_what_ffmpeg_sends(&Clip { tool: Ffmpeg::Current, ..clips::h264_aac() });
}

#[test]
fn h264_and_aac_of_gstreamer() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let clip = clips::h264_aac();
    // What it sends, it also writes: its muxer makes other times than ffmpeg's.
    let file = server.dir.file("gst-sent.flv");
    players::publish_gst(&clip, GstSink::File(&file), &server.dir).succeed(secs(20));
    let sent = Recording::of_file(clip.tool, &file);
    every_player_gets(&server, &clip, &sent, |url| {
        players::publish_gst(&clip, GstSink::Rtmp(url), &server.dir).succeed(secs(40));
    });
    server.stop();
}

/// Enhanced RTMP: only a current ffmpeg reads it, the others carry it.
fn enhanced_comes_out_of_a_current_ffmpeg(clip: &Clip, whole: Expect) {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let dir = &server.dir;
    let is_late = Cell::new(false);
    let view = || {
        let (rtmp, flv) = (server.rtmp("live/a"), server.http("live/a.flv"));
        let record = dir.file("ws.flv");
        let socket = ws::record(&server.ws("live/a.flv"), &record);
        let players = [
            players::play(clip.tool, &rtmp, dir),
            players::play(clip.tool, &flv, dir),
            players::play_curl(clip.tool, &flv, dir),
        ];
        if !is_late.replace(true) {
            wait_for_viewers(&server, "live/a", 4);
        }
        (players, socket, record)
    };
    let [early, late] = players::early_and_late(clip, &server, view);
    let sent = clip.sent();
    for ((players, socket, record), expect) in
        [(early, whole), (late, Expect { start: Start::KeyFrame { every: clip.gop }, ..whole })]
    {
        for player in players {
            sent.assert_came_out(&player.finish(secs(20)), expect);
        }
        socket.join().expect("the viewer is well");
        sent.assert_came_out(&Recording::of_file(clip.tool, &record), expect);
    }
    server.stop();
}

#[test]
fn enhanced_h265_and_aac() {
    enhanced_comes_out_of_a_current_ffmpeg(&clips::h265_aac(), Expect::WHOLE);
}

#[test]
fn enhanced_av1_and_opus() {
    enhanced_comes_out_of_a_current_ffmpeg(&clips::av1_opus(), Expect::WHOLE);
}

#[test]
fn enhanced_vp9_and_opus() {
    enhanced_comes_out_of_a_current_ffmpeg(&clips::vp9_opus(), Expect::WHOLE);
}

#[test]
fn enhanced_flac() {
    // ffmpeg sends the bare STREAMINFO; a FLAC sequence header has its marker and block header too.
    enhanced_comes_out_of_a_current_ffmpeg(&clips::h264_flac(), Expect::WHOLE.other_config());
}

#[test]
fn enhanced_ac3() {
    enhanced_comes_out_of_a_current_ffmpeg(&clips::h264_ac3(), Expect::WHOLE);
}

#[test]
fn vlc_shows_every_picture_by_rtmp_flv_and_ts() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let clip = clips::h264_aac();
    let urls = [server.rtmp("live/a"), server.http("live/a.flv"), server.http("live/a.ts")];
    let players = urls.map(|url| players::play_vlc(&url, &server.dir));
    wait_for_viewers(&server, "live/a", 3);
    sleep(secs(2));
    let mut publisher = players::publish(&clip, &server.rtmp("live/a"), &server.dir);
    publisher.succeed(secs(40));
    for mut player in players {
        player.child.succeed(secs(30));
        assert_pictures(&clip, &players::pictures(clip.tool, player.output()));
    }
    server.stop();
}

/// VLC's file sometimes lacks the parameter sets until the second key frame, and always its last
/// packets; all between must be there, each once.
fn assert_pictures(clip: &Clip, got: &[String]) {
    const CUT: usize = 8;
    let sent = players::pictures(clip.tool, &clip.path);
    let first = got.first().and_then(|first| sent.iter().position(|picture| picture == first));
    let first = first.expect("a picture that was sent");
    assert!(first == 0 || first == clip.gop, "begins with picture {first}");
    assert!(first + got.len() + CUT >= sent.len(), "{} from {first} on", got.len());
    let whole = got.len().saturating_sub(CUT);
    assert!(got[..whole] == sent[first..][..whole], "a picture is missing, twice or broken");
}

/// The same comparison with another server between: if this fails, the judges are wrong.
#[test]
fn the_judges_find_no_fault_with_nginx() {
    let _machine = beside_others();
    let nginx = Nginx::start(4096, "");
    let clip = clips::h264_aac();
    let url = nginx.rtmp("a");
    let dir = &RunDir::new("reference");
    let players = [
        players::play(clip.tool, &url, dir),
        players::play_rtmpdump(clip.tool, &url, dir),
        players::play_gst(clip.tool, &url, dir),
    ];
    let mut vlc = players::play_vlc(&url, dir);
    nginx.wait_for_players("a", 4);
    players::publish(&clip, &url, dir).succeed(secs(40));
    let sent = clip.sent();
    relays::wait_for_the_end(&players[0], &sent);
    drop(nginx);
    for (player, tail) in players.into_iter().zip([0, 0, 4]) {
        sent.assert_came_out(&player.finish(secs(30)), Expect::WHOLE.but_tail(tail));
    }
    vlc.child.succeed(secs(30));
    assert_pictures(&clip, &players::pictures(clip.tool, vlc.output()));
}
