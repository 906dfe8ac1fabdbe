//! nginx-rtmp pulls from us and pushes to us.

use std::thread::sleep;

use crate::support::clips;
use crate::support::frames::Expect;
use crate::support::machine::{beside_others, secs};
use crate::support::nginx::Nginx;
use crate::support::players;
use crate::support::server::Server;

#[test]
fn nginx_pulls_from_us_bit_exact() {
    let _machine = beside_others();
    let server = Server::start();
    let clip = clips::h264_aac();
    let nginx = Nginx::start(4096, &format!("pull {} name=a static;", server.rtmp("live/a")));
    // A static pull is there before the publisher, so it waits like any viewer.
    let player = players::play(clip.tool, &nginx.rtmp("a"), &server.dir);
    sleep(secs(1));
    players::publish(&clip, &server.rtmp("live/a"), &server.dir).succeed(secs(40));
    player.falls_quiet(secs(2), secs(20));
    drop(nginx);
    clip.sent().assert_came_out(&player.finish(secs(10)), Expect::WHOLE);
    server.stop();
}

fn nginx_pushes_to_us(chunk_size: u32) {
    let _machine = beside_others();
    let server = Server::start();
    let clip = clips::h264_aac();
    let nginx = Nginx::start(chunk_size, &format!("push {};", server.rtmp("live")));
    let rtmp = players::play(clip.tool, &server.rtmp("live/a"), &server.dir);
    let flv = players::play_curl(clip.tool, &server.http("live/a.flv"), &server.dir);
    sleep(secs(1));
    players::publish(&clip, &nginx.rtmp("a"), &server.dir).succeed(secs(40));
    // The relay is set up while the publisher sends already: its beginning may be lost in nginx,
    // which then goes on in the midst of a GOP. Until the next key frame there is only sound.
    let expect = Expect::from_key(clip.gop).sound_ahead(2500);
    // nginx keeps the push open when its publisher has gone; ending it ends the stream.
    sleep(secs(1));
    drop(nginx);
    for player in [rtmp, flv] {
        clip.sent().assert_came_out(&player.finish(secs(20)), expect);
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
