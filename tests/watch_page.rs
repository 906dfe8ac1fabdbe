//! The watch page, in a browser: every format that it offers, and what it does about those that the
//! browser does not play.

mod support;

use std::thread::sleep;

use support::clips::{self, Clip};
use support::machine::{beside_others, secs};
use support::server::{Server, Setup};
use support::{browser, players};

/// What a visitor sees on the page of a stream that `clip` is published to.
fn seen_of(clip: &Clip, options: &[&str]) {
    seen_with("", clip, options);
}

/// The same with other settings of the app.
fn seen_with(app: &'static str, clip: &Clip, options: &[&str]) {
    let _machine = beside_others();
    let server = Server::with(&Setup { app, ..Setup::default() });
    let (url, forever) = (server.rtmp("live/a"), ["-stream_loop", "-1"]);
    let publisher = players::publish_with(clip, &url, &server.dir, &forever, &[]);
    // The page is of a stream that is on, however long its publisher takes to begin.
    server.expect_log(" publish client=", secs(20));
    sleep(secs(1));
    println!("{}", browser::run("formats.py", &server.http("live/a"), options));
    drop(publisher);
    server.stop();
}

#[test]
fn it_plays_every_format_by_its_address_and_by_its_button() {
    seen_of(&clips::h264_aac(), &["--formats", "flv,hls,mp4,ts,ws-flv"]);
}

#[test]
fn what_flv_does_not_carry_to_the_browser_is_played_in_the_next_format() {
    seen_of(&clips::vp9_opus(), &["--first", "hls", "--gone", "flv", "--formats", "hls,mp4"]);
}

#[test]
fn a_browser_that_decodes_none_of_it_is_told_so_with_the_reasons() {
    seen_of(&clips::h264_aac(), &["--nothing"]);
}

#[test]
fn of_sound_that_has_a_playlist_of_its_own_both_codecs_are_shown() {
    seen_with("hls_audio = 'separate'", &clips::h264_aac(), &["--formats", "hls"]);
}

#[test]
fn who_wants_hls_where_it_is_off_is_told_why_and_sees_the_next_format() {
    seen_with("hls = false", &clips::h264_aac(), &["--off", "hls = false"]);
}

#[test]
fn where_hls_is_off_a_publisher_is_waited_for_in_another_format() {
    let _machine = beside_others();
    let (app, wait_for_publisher) = ("hls = false", "1s");
    let server = Server::with(&Setup { app, wait_for_publisher, ..Setup::default() });
    let seen =
        browser::run("formats.py", &server.http("live/a"), &["--off", "hls = false", "--waits"]);
    println!("{seen}");
    server.stop();
}
