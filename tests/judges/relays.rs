//! nginx-rtmp pulls from us and pushes to us.

use std::fs;

use crate::support::clips;
use crate::support::frames::{Expect, Packet, Recording};
use crate::support::machine::{beside_others, eventually, secs};
use crate::support::nginx::Nginx;
use crate::support::players::{self, Player};
use crate::support::server::Server;
use crate::waiting::{self, wait_for_viewers};

/// Waits until `player`, which nobody tells of the end, has the last second of `sent`, but for what it
/// may hold back until then, and nothing more comes.
#[track_caller]
pub(crate) fn wait_for_the_end(player: &Player, sent: &Recording) {
    let has = |sent: &[Packet], got: &[Packet]| {
        let late = &sent[sent.len() - 25];
        got.iter().any(|got| got.hash == late.hash)
    };
    let has_most = || {
        let got = Recording::parse(&fs::read_to_string(player.output()).unwrap_or_default());
        has(&sent.video, &got.video) && has(&sent.audio, &got.audio)
    };
    assert!(eventually(secs(30), has_most), "the end does not come:\n{}", player.child.log_tail());
    player.falls_quiet(secs(2), secs(20));
}

#[test]
fn nginx_pulls_from_us_bit_exact() {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let clip = clips::h264_aac();
    let nginx = Nginx::start(4096, &format!("pull {} name=a static;", server.rtmp("live/a")));
    // A static pull is there before the publisher, so it waits like any viewer.
    let player = players::play(clip.tool, &nginx.rtmp("a"), &server.dir);
    wait_for_viewers(&server, "live/a", 1);
    nginx.wait_for_players("a", 1);
    players::publish(&clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
    let sent = clip.sent();
    wait_for_the_end(&player, &sent);
    drop(nginx);
    sent.assert_came_out(&player.finish(secs(30)), Expect::WHOLE);
    server.stop();
}

fn nginx_pushes_to_us(chunk_size: u32) {
    let _machine = beside_others();
    let server = Server::with(&waiting::SETUP);
    let clip = clips::h264_aac();
    let nginx = Nginx::start(chunk_size, &format!("push {};", server.rtmp("live")));
    let rtmp = players::play(clip.tool, &server.rtmp("live/a"), &server.dir);
    let flv = players::play_curl(clip.tool, &server.http("live/a.flv"), &server.dir);
    wait_for_viewers(&server, "live/a", 2);
    players::publish(&clip, &nginx.rtmp("a"), &server.dir).succeed(secs(40));
    // The relay is set up while the publisher sends already: its beginning may be lost in nginx,
    // which then goes on in the midst of a GOP. Until the next key frame there is only sound.
    let expect = Expect::from_key(clip.gop).sound_ahead(2500);
    // nginx keeps the push open when its publisher has gone; ending it ends the stream.
    let sent = clip.sent();
    wait_for_the_end(&rtmp, &sent);
    drop(nginx);
    for player in [rtmp, flv] {
        sent.assert_came_out(&player.finish(secs(20)), expect);
    }
    server.stop();
}

#[test]
fn nginx_pushes_to_us_bit_exact() {
    nginx_pushes_to_us(4096);
}

#[test]
fn chunks_of_128_bytes_come_out_bit_exact() {
    nginx_pushes_to_us(128);
}
