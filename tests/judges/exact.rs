//! Bit-exact under unusual conditions.

use std::thread::sleep;

use crate::support::clips;
use crate::support::frames::{Expect, Recording};
use crate::support::machine::{beside_others, eventually, secs};
use crate::support::players;
use crate::support::proxy::OneByteProxy;
use crate::support::server::{Server, Setup};
use crate::support::ws;
use crate::waiting::{self, wait_for_viewers};

#[test]
fn at_merge_window_zero() {
    let _machine = beside_others();
    let server = Server::with(&Setup { app: "merge_window = \"0ms\"", ..waiting::SETUP });
    let clip = clips::h264_aac();
    let rtmp = players::play(clip.tool, &server.rtmp("live/a"), &server.dir);
    let flv = players::play(clip.tool, &server.http("live/a.flv"), &server.dir);
    let record = server.dir.file("ws.flv");
    let socket = ws::record(&server.ws("live/a.flv"), &record);
    wait_for_viewers(&server, "live/a", 3);
    players::publish(&clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
    let sent = clip.sent();
    for player in [rtmp, flv] {
        sent.assert_came_out(&player.finish(secs(20)), Expect::WHOLE);
    }
    let seen = socket.join().expect("the viewer is well");
    // Merged they would be about thirty. A machine that keeps pace makes one of each of the 680 frames.
    assert!(seen.messages > 100, "{seen:?}");
    sent.assert_came_out(&Recording::of_file(clip.tool, &record), Expect::WHOLE);
    server.stop();
}

#[test]
fn in_segments_of_one_byte_both_ways() {
    let _machine = beside_others();
    // A handshake is three thousand segments each way.
    let tables = "[limits]\nhandshake_timeout = '60s'";
    let server = Server::with(&Setup { tables, ..waiting::SETUP });
    let clip = clips::small();
    let (rtmp, http) = (OneByteProxy::start(server.rtmp), OneByteProxy::start(server.http));
    let crumbs = format!("rtmp://127.0.0.1:{}/live/a", rtmp.port);
    let web = format!("127.0.0.1:{}/live/a.flv", http.port);
    let viewers = [
        players::play(clip.tool, &crumbs, &server.dir),
        players::play(clip.tool, &format!("http://{web}"), &server.dir),
        players::play_rtmpdump(clip.tool, &crumbs, &server.dir),
    ];
    let record = server.dir.file("ws.flv");
    let socket = ws::record(&format!("ws://{web}"), &record);
    wait_for_viewers(&server, "live/a", 4);
    players::publish(&clip, &crumbs, &server.dir).succeed(secs(60));
    let sent = clip.sent();
    for viewer in viewers {
        sent.assert_came_out(&viewer.finish(secs(30)), Expect::WHOLE);
    }
    socket.join().expect("the viewer is well");
    sent.assert_came_out(&Recording::of_file(clip.tool, &record), Expect::WHOLE);
    server.stop();
}

/// The kernel spreads connections over the cores' listeners by their ports. Of 5 publishers and 8
/// viewers each, some pairs meet on one core and some do not (all alike: 1 in 2^39).
#[test]
fn with_publisher_and_viewer_on_different_cores() {
    let _machine = beside_others();
    let server = Server::with(&Setup { cores: 2, ..waiting::SETUP });
    let clip = clips::small();
    let names = ["live/a", "live/b", "live/c", "live/d", "other/e"];
    let view = || -> Vec<_> {
        let each = |name: &&str| {
            let (rtmp, flv) = (server.rtmp(name), server.http(&format!("{name}.flv")));
            [
                players::play_rtmpdump(clip.tool, &rtmp, &server.dir),
                players::play_rtmpdump(clip.tool, &rtmp, &server.dir),
                players::play_curl(clip.tool, &flv, &server.dir),
                players::play_curl(clip.tool, &flv, &server.dir),
            ]
        };
        names.iter().flat_map(each).collect()
    };
    let early = view();
    names.iter().for_each(|name| wait_for_viewers(&server, name, 4));
    let publish = |name: &&str| players::publish(&clip, &server.rtmp(name), &server.dir);
    let publishers: Vec<_> = names.iter().map(publish).collect();
    // Twenty programs are to start before the first of these has come to its end.
    let published = || server.log().matches(" publish client=").count();
    assert!(eventually(secs(20), || published() == names.len()), "{}", server.log());
    sleep(secs(1));
    let late = view();
    for mut publisher in publishers {
        publisher.succeed(secs(40));
    }
    let sent = clip.sent();
    for (players, expect) in [(early, Expect::WHOLE), (late, Expect::from_key(clip.gop))] {
        for player in players {
            sent.assert_came_out(&player.finish(secs(20)), expect);
        }
    }
    server.stop();
}
